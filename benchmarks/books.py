"""The same shapes as a book and a market, so that the whole engine (contributions, charges, margins) is timed and not only its tail."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd

from benchmarks.shapes import EXPIRIES, Shape
from upm_gpu.domain.book import Account, Book, Collateral, Positions
from upm_gpu.domain.instrument import Option, Perpetual
from upm_gpu.margin.methodology import core_request, load_methodology
from upm_gpu.market.snapshot import MarketSnapshot, Quotes
from upm_gpu.model.gbm import GbmParameters
from upm_gpu.plan import Plan, make_plan
from upm_gpu.scenario.spec import ScenarioSpec

VALUATION = datetime(2026, 2, 5, 8, 0, tzinfo=UTC)


def plan_of(shape: Shape, seed: int = 1, sticky_moneyness: bool = False) -> Plan:
    """A compiled margin run: one perpetual an underlying, half of the options inverse, Gaussian factors, one base step to the margin period."""
    rng = np.random.default_rng(seed)
    names = [f"U{u:03d}" for u in range(shape.underlyings)]
    spot = dict(zip(names, 100.0 * np.exp(rng.normal(0.0, 1.0, shape.underlyings)), strict=True))
    dates = [VALUATION + timedelta(days=d) for d in EXPIRIES]
    instruments: list[Option | Perpetual] = [Perpetual(f"{u}-PERP", u, "linear", "USD", 1.0) for u in names]
    quotes = []
    for n in range(shape.options):
        u, expiry = names[n % shape.underlyings], n // shape.underlyings % len(dates)
        moneyness, spread = rng.normal(0.0, 0.25), rng.normal(0.0, 0.005)
        strike = round(spot[u] * float(np.exp(moneyness)), 6)
        volatility = 0.6 + 0.3 * moneyness**2 + spread
        settlement, kind = ("inverse", "linear")[n % 2], ("call", "put")[int(rng.integers(2))]
        instruments.append(Option(f"{u}-{n:05d}", u, settlement, "USD", 1.0, dates[expiry], strike, kind))
        quotes.append((u, dates[expiry], strike, volatility))
    instruments.sort(key=lambda i: i.instrument_id)
    quotes.sort()
    blank = np.full(len(quotes), np.nan)
    market = MarketSnapshot(
        VALUATION, "USD", {**spot, "USD": 1.0}, {(u, d): spot[u] for u in names for d in (None, *dates)},
        Quotes(np.array([q[0] for q in quotes], object), tuple(q[1] for q in quotes), np.array([q[2] for q in quotes]), np.array([q[3] for q in quotes]),
               blank, blank, blank, np.full(len(quotes), "", object), blank, blank),
        {}, pd.DataFrame({"timestamp": pd.to_datetime([], utc=True), "asset": [], "close": []}))
    held = [np.sort(rng.choice(len(instruments), min(shape.positions, len(instruments)), replace=False)) for _ in range(shape.accounts)]
    account = np.repeat(np.arange(shape.accounts, dtype=np.int32), [len(h) for h in held])
    quantity = rng.integers(-20, 21, len(account)).astype(float)
    nothing = np.zeros(len(account))
    book = Book(tuple(instruments), tuple(Account(f"A{a:05d}") for a in range(shape.accounts)), ("",),
                Positions(account, np.zeros(len(account), np.int32), np.concatenate(held).astype(np.int32), quantity, quantity, nothing, nothing),
                Collateral(np.zeros(0, np.int32), (), np.zeros(0)))
    methodology = load_methodology()
    horizon = core_request(methodology).horizon
    states = tuple(f"{kind}[{u}]" for u in names for kind in ("log_level", "volatility_shift"))
    loadings = rng.normal(0.0, 1.0, (len(states), 8))
    covariance = loadings @ loadings.T + 4.0 * np.eye(len(states))
    scale = np.sqrt(np.diag(covariance))
    correlation = covariance / np.outer(scale, scale)
    np.fill_diagonal(correlation, 1.0)
    model = GbmParameters(states, np.tile([0.04, 0.06], shape.underlyings), (correlation + correlation.T) / 2.0, step_days=horizon)
    spec = ScenarioSpec(count=shape.scenarios, horizons=(horizon,), volatility_dynamics="sticky_moneyness" if sticky_moneyness else "sticky_strike")
    return make_plan(book, market, spec, methodology, model)
