"""The market, the book and the law at a date of one path: what a fresh run there would read.

Prices and forwards move with their underlying; quoted volatilities are what the run itself reprices with at that date (sticky moneyness, the quote's residual kept, the shift by expiry), so what an option is worth
at the start of the fresh run is what the path said. Surfaces keep their shape in moneyness, their total variance scaled to the time left. What has expired is out of the book, its payoff is collateral: coins where
it is paid in coins, cash elsewhere. An EWMA covariance takes the path's move as one more return,

  Sigma' = lambda^h Sigma + (1 - lambda^h) x x' / h,   x the moves over h days,

where the run's law came from the history that way; a law from a file or from equal weights stays. Refused by name: states other than prices and levels of volatility, other surface dynamics, models whose law
has a memory of its own, exotic options (their path is not known).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from upm_gpu.desk.outlook.paths import Paths
from upm_gpu.domain.book import Book, Collateral, Positions
from upm_gpu.domain.instrument import Exotic, Future, Option, expiry_of
from upm_gpu.errors import InputError
from upm_gpu.market.levels import exchange_rate, quote_price
from upm_gpu.market.marks import check_marks
from upm_gpu.market.snapshot import SECONDS_PER_DAY, MarketSnapshot, Quotes, days_between
from upm_gpu.market.surface import Surface, implied_volatility, slice_at
from upm_gpu.model.gbm import GbmParameters
from upm_gpu.plan import Plan

LEAST_VOLATILITY, MOST_VOLATILITY = 0.05, 5.0
"""limits of a repriced volatility, as in the conventions"""


@dataclass(frozen=True)
class Tomorrow:
    """Inputs of a fresh run."""

    book: Book
    market: MarketSnapshot
    model: Any
    surfaces: dict[str, Surface]


def check_can_move(plan: Plan) -> None:
    """Refuse what tomorrow's run cannot be given: InputError UPM-IN-182."""
    spec, d = plan.spec, plan.dynamics
    states = [s for s in plan.compiled.state_names if s.partition("[")[0] not in ("log_level", "volatility_shift") or "," in s]
    exotic = [i.instrument_id for i in plan.instruments if isinstance(i, Exotic)]
    for bad, what in ((bool(states), f"state {states[0] if states else ''} moves, and only prices and levels of volatility may"),
                      (not d.sticky_moneyness or d.sticky_delta or d.additive or d.project, f"volatility dynamics {spec.volatility_dynamics}, shift {spec.volatility_shift}, arbitrage {spec.arbitrage}"),
                      (not isinstance(plan.model, GbmParameters), f"model {spec.model}, whose law tomorrow is not that of today with one more return"),
                      (spec.sampler == "importance", "scenarios guided by where the book loses today"),
                      (bool(exotic), f"{exotic[0] if exotic else ''} is an exotic option, whose value tomorrow depends on its path")):
        if bad:
            raise InputError("UPM-IN-182", f"tomorrow's margin cannot be had for this run: {what}. Run with model gbm, sticky moneyness and products without a path.")


def tomorrow(paths: Paths, states: NDArray[np.float64], step: int) -> Tomorrow:
    """At a step of one path; `states` (D, K) are its states on all path dates."""
    plan = paths.plan
    index = {name: k for k, name in enumerate(plan.compiled.state_names)}
    elapsed = float(plan.horizons[paths.horizon[step]])
    now = states[paths.date[step]]
    market = _market(plan, {n: float(now[k]) for n, k in index.items()}, elapsed)
    surfaces = {u: _aged(s, plan, float(now[index[f"volatility_shift[{u}]"]]) if f"volatility_shift[{u}]" in index else 0.0, elapsed, market) for u, s in plan.surfaces.items()}
    return Tomorrow(_book(plan, paths.book, states, index, elapsed), market, _law(plan, now, elapsed), surfaces)


def _market(plan: Plan, moves: dict[str, float], elapsed: float) -> MarketSnapshot:
    market = plan.market
    level = {a: float(np.exp(moves.get(f"log_level[{a}]", 0.0))) for a in market.spots}
    when = market.valuation_time + timedelta(seconds=elapsed * SECONDS_PER_DAY)
    return replace(market, valuation_time=when, spots={a: p * level[a] for a, p in market.spots.items()}, forwards={(u, e): f * level.get(u, 1.0) for (u, e), f in market.forwards.items() if e is None or e > when},
                   carried_forwards=frozenset(k for k in market.carried_forwards if k[1] > when), quotes=_quotes(plan, moves, when), hashes={}, warnings=())


def _quotes(plan: Plan, moves: dict[str, float], when: Any) -> Quotes:
    """Volatilities of the same strikes as the run reprices them at the state."""
    market, q = plan.market, plan.market.quotes
    sound = ~check_marks(market).quarantined
    kept, moved = [], []
    for n, (u, expiry) in enumerate(zip(q.underlying.tolist(), q.expiry, strict=True)):
        forward = market.forwards.get((u, expiry))
        if expiry <= when or forward is None or u not in plan.surfaces:
            continue
        svi, k = slice_at(plan.surfaces[u], expiry), float(np.log(q.strike[n] / forward))
        residual = float(q.implied_volatility[n]) - float(implied_volatility(svi, k)) if sound[n] else 0.0
        base = float(implied_volatility(svi, k - moves.get(f"log_level[{u}]", 0.0))) + residual
        shift = moves.get(f"volatility_shift[{u}]", 0.0) * plan.dynamics.loading(days_between(market.valuation_time, expiry))
        kept.append(n)
        moved.append(min(max(base * float(np.exp(shift)), LEAST_VOLATILITY), MOST_VOLATILITY))
    unknown = np.full(len(kept), np.nan)
    return Quotes(q.underlying[kept], tuple(q.expiry[n] for n in kept), q.strike[kept], np.array(moved), unknown, unknown, unknown, q.mark_type[kept], q.open_interest[kept], q.volume[kept])


def _aged(surface: Surface, plan: Plan, shift: float, elapsed: float, market: MarketSnapshot) -> Surface:
    slices = []
    for s in surface.slices:
        if s.expiry <= market.valuation_time:
            continue
        years = days_between(market.valuation_time, s.expiry) / 365.0
        scale = years / s.expiry_years * float(np.exp(2.0 * shift * plan.dynamics.loading(days_between(plan.market.valuation_time, s.expiry))))
        slices.append(replace(s, expiry_years=years, a=s.a * scale, b=s.b * scale))
    return replace(surface, valuation_time=market.valuation_time, slices=tuple(slices), broken=())


def _book(plan: Plan, book: Book, states: NDArray[np.float64], index: dict[str, int], elapsed: float) -> Book:
    """Without what has expired; its payoff among the collateral."""
    market, p = plan.market, book.positions
    left = np.array([np.inf if (e := expiry_of(i)) is None else days_between(market.valuation_time, e) for i in book.instruments])
    alive = left[p.instrument] > elapsed
    if bool(np.all(alive)):
        return book
    paid: dict[tuple[int, str], float] = {}
    dates = np.asarray(plan.compiled.dates, np.float64)
    for n in np.flatnonzero(~alive).tolist():
        instrument = book.instruments[int(p.instrument[n])]
        at = int(np.argmin(np.abs(dates - left[p.instrument[n]])))
        name = f"log_level[{instrument.underlying}]"
        asset, unit = _payoff(instrument, market, float(np.exp(states[at, index[name]])) if name in index else 1.0)
        key = (int(p.account[n]), asset)
        paid[key] = paid.get(key, 0.0) + float(p.quantity[n]) * unit
    c = book.collateral
    lines = {(int(a), name): float(x) for a, name, x in zip(c.account, c.asset, c.quantity, strict=True)}
    for key, amount in paid.items():
        if amount != 0.0:
            lines[key] = lines.get(key, 0.0) + amount
    ordered = sorted(lines)
    collateral = Collateral(np.array([k[0] for k in ordered], np.int32), tuple(k[1] for k in ordered), np.array([lines[k] for k in ordered], np.float64))
    kept = np.flatnonzero(alive)
    return replace(book, positions=Positions(*(getattr(p, f)[kept] for f in ("account", "netting_set", "instrument", "contracts", "quantity", "entry_quantity", "entry_cost"))), collateral=collateral)


def _payoff(instrument: Any, market: MarketSnapshot, growth: float) -> tuple[str, float]:
    """(asset, amount of it) that one unit pays when it expires; futures pay what they gained since the run."""
    rate = exchange_rate(market, instrument)
    level = market.spots[instrument.underlying] * growth / rate  # the index in the quote currency
    if isinstance(instrument, Option):
        gain = max((level - instrument.strike) * (1.0 if instrument.option_type == "call" else -1.0), 0.0)
    else:
        assert isinstance(instrument, Future)
        gain = level - quote_price(market, instrument)
        if instrument.settlement == "inverse":
            return instrument.underlying, 1.0 / quote_price(market, instrument) - 1.0 / level
    if instrument.settlement == "inverse":
        return instrument.underlying, gain / level
    return market.reporting_currency, gain * rate


def _law(plan: Plan, moves: NDArray[np.float64], elapsed: float) -> GbmParameters:
    model = plan.model
    assert isinstance(model, GbmParameters)
    if plan.spec.estimator != "ewma" or plan.spec.parameters:
        return model
    index = {name: k for k, name in enumerate(plan.compiled.state_names)}
    x = np.array([moves[index[name]] for name in model.state_names], np.float64)
    kept = plan.spec.ewma_lambda**elapsed
    sigma = np.asarray(model.daily_volatility, np.float64)
    covariance = kept * model.correlation * np.outer(sigma, sigma) + (1.0 - kept) * np.outer(x, x) / elapsed
    after = np.sqrt(np.diag(covariance))
    safe = np.where(after > 0.0, after, 1.0)
    correlation = covariance / np.outer(safe, safe)
    np.fill_diagonal(correlation, 1.0)
    return replace(model, daily_volatility=after, correlation=0.5 * (correlation + correlation.T))
