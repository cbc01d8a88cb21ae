"""What a methodology asks in all of the portfolios of a long history: the day as a market and a book of the engine.

The market of a day has the closes as spots and perpetuals without basis, the history up to it, and, where a group has straddles, one quote at the money that expires in 30 days under a flat
surface at the 30-day volatility. A portfolio of weights is linear perpetuals of its notionals, a straddle its call, put and perpetual against its delta, all of `money.notional`: charges that grow with size
read it. Plan and outcome are those of `upm run`, under the law of the back-test's day (`forecast.py`), its seed and the methodology's own margin period; nothing is estimated twice.
A history of closes has no volumes, spreads, quotes or dates to come: charges that need what is not there say so by name, and dated moves of a day not yet known are refused with that day.
Verified by tests/end_to_end/test_linear_margin.py: the engine's expected shortfall is the back-test's own.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from upm_gpu.backtest.forecast import Law, day_seed, model_of
from upm_gpu.backtest.past import Past
from upm_gpu.backtest.portfolios import TENOR_DAYS, YEAR_DAYS, Holdings
from upm_gpu.domain.book import Account, Book, Collateral, Positions
from upm_gpu.domain.instrument import Instrument, Option, Perpetual
from upm_gpu.market.snapshot import MarketSnapshot, Quotes
from upm_gpu.market.surface import SliceDiagnostics, Surface, SviSlice
from upm_gpu.scenario.spec import ScenarioSpec

if TYPE_CHECKING:
    from upm_gpu.engine import Outcome


def initial_margins(past: Past, held: Holdings, law: Law, begin: int, spec: ScenarioSpec, methodology: Any, choice: Any, currency: str, notional: float) -> NDArray[np.float64]:
    """(P,) initial margin of every portfolio per unit of gross notional; NaN for straddles without a volatility that day."""
    found = np.full(len(held.names), np.nan)
    outcome = outcome_of(past, held, law, begin, spec, methodology, choice, currency, notional)
    table = outcome.result.table.set_index("account_id")["initial_margin"]
    for p, name in enumerate(held.names):
        if name in table.index:
            found[p] = float(table[name]) / notional
    return found


def outcome_of(past: Past, held: Holdings, law: Law, begin: int, spec: ScenarioSpec, methodology: Any, choice: Any, currency: str, notional: float) -> Outcome:
    """The run of a day. Raises what a run raises."""
    from upm_gpu.engine import compute_outcome
    from upm_gpu.passes import in_memory
    from upm_gpu.plan import make_plan

    time = float(past.time[begin])
    market, surfaces = market_of(past, held, begin, currency)
    book = book_of(past, held, market, currency, notional)
    asked = replace(spec, seed=day_seed(spec.seed, time))
    return compute_outcome(make_plan(book, market, asked, methodology, model_of(law, past, time, spec), surfaces), choice, 0, in_memory(None))


def market_of(past: Past, held: Holdings, begin: int, currency: str) -> tuple[MarketSnapshot, dict[str, Surface]]:
    """The closes of a day as a market, and the flat surfaces of what has straddles."""
    time = float(past.time[begin])
    at, group = past.instant(time), past.group
    spots = {currency: 1.0, **{a: float(np.exp(past.value[begin, k])) for k, a in enumerate(group.assets)}}
    forwards: dict[tuple[str, datetime | None], float] = {(a, None): spots[a] for a in group.assets}
    expiry, years = at + timedelta(days=TENOR_DAYS), TENOR_DAYS / YEAR_DAYS
    surfaces: dict[str, Surface] = {}
    volatility: dict[str, float] = {}
    for s in held.straddles:
        asset, today = group.volatility[s.volatility], float(np.exp(past.value[begin, len(group.assets) + s.volatility]))
        if np.isfinite(today):
            forwards[asset, expiry], volatility[asset] = spots[asset], today
            surfaces[asset] = Surface(asset, at, (SviSlice(expiry, years, today * today * years, 0.0, 0.0, 0.0, 1.0),), (SliceDiagnostics(expiry, 1, 0.0, 0.0, 0.0, 0.0, 1.0),))
    names = sorted(volatility)
    missing = np.full(len(names), np.nan)
    quotes = Quotes(np.array(names, object), (expiry,) * len(names), np.array([spots[a] for a in names]), np.array([volatility[a] for a in names]), missing, missing, missing,
                    np.array([""] * len(names), object), np.zeros(len(names)), np.zeros(len(names)))
    known = past.history[past.history["timestamp"] <= at].sort_values(["asset", "timestamp"], kind="stable").reset_index(drop=True)
    return MarketSnapshot(at, currency, spots, forwards, quotes, {}, known), surfaces


def book_of(past: Past, held: Holdings, market: MarketSnapshot, currency: str, notional: float) -> Book:
    """Every portfolio as an account of linear perpetuals and options, without collateral; straddles on what has no quote that day are left out."""
    from scipy.special import ndtr

    instruments: dict[str, Instrument] = {}
    lots: dict[tuple[str, str], float] = {}

    def add(account: str, instrument: Instrument, quantity: float) -> None:
        instruments[instrument.instrument_id] = instrument
        lots[account, instrument.instrument_id] = lots.get((account, instrument.instrument_id), 0.0) + quantity

    def perpetual(asset: str) -> Perpetual:
        return Perpetual(f"{asset}-PERPETUAL", asset, "linear", currency, 1.0)

    for name, weights in zip(held.names, held.weights, strict=False):
        for k in np.flatnonzero(weights):
            asset = past.group.assets[k]
            add(name, perpetual(asset), float(weights[k]) * notional / market.spots[asset])
    quoted = {str(u): (market.quotes.expiry[i], float(market.quotes.implied_volatility[i])) for i, u in enumerate(market.quotes.underlying)}
    for name, s in zip(held.names[len(held.weights):], held.straddles, strict=True):
        asset = past.group.volatility[s.volatility]
        if asset in quoted:
            expiry, volatility = quoted[asset]
            units, strike = s.side * notional / market.spots[asset], market.spots[asset]
            add(name, Option(f"{asset}-AT-THE-MONEY-CALL", asset, "linear", currency, 1.0, expiry, strike, "call"), units)
            add(name, Option(f"{asset}-AT-THE-MONEY-PUT", asset, "linear", currency, 1.0, expiry, strike, "put"), units)
            add(name, perpetual(asset), -units * (2.0 * float(ndtr(0.5 * volatility * np.sqrt(TENOR_DAYS / YEAR_DAYS))) - 1.0))
    names, ids = sorted({a for a, _ in lots}), sorted(instruments)
    account, place = {n: i for i, n in enumerate(names)}, {n: i for i, n in enumerate(ids)}
    order = sorted(lots)
    quantity, nothing = np.array([lots[k] for k in order]), np.zeros(len(order))
    positions = Positions(np.array([account[a] for a, _ in order], np.int32), np.zeros(len(order), np.int32), np.array([place[i] for _, i in order], np.int32), quantity, quantity, nothing, nothing)
    return Book(tuple(instruments[i] for i in ids), tuple(Account(n) for n in names), ("",), positions, Collateral(np.zeros(0, np.int32), (), np.zeros(0)))
