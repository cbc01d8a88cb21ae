"""Bybit's portfolio margin of the unified account: worst loss of a grid by underlying, and contingencies.

    maintenance = worst loss + net short options + vega spread + delta spread + dollar spread + futures + borrowing
    initial     = factor of the underlying x the same without borrowing + borrowing at its initial rate

    net short options  sum over calls and puts apart of max(-sum q, 0) x rate x index
    vega spread        sum of hedged vega x days between the expiries x 0.03 %, vega a unit of volatility
    delta spread       sum of hedged delta x index x years between the legs x factor, perpetuals at no time
    dollar spread      (sum over USDT, USDC, coins of |delta| - |sum of them|) / 2 x rate x index
    futures            sum |q| x rate x index

Hedged amounts are matched nearest expiry first (`frame/matching.py`). Posted coins that `moving_collateral` names take part (the venue's spot hedging).
Source: Bybit help centre and notices; see docs/methodologies/bybit_pm.md: the venue publishes the composition and few numbers.
Verified: tests/known_answers/test_bybit_pm.py (by hand), tests/properties/test_crypto_venue_laws.py.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from upm_gpu.rulebook.frame.grid import Values, greeks
from upm_gpu.rulebook.frame.held import Grouped, Held
from upm_gpu.rulebook.frame.matching import spread_cost
from upm_gpu.rulebook.frame.parameters import RuleParameters
from upm_gpu.rulebook.frame.result import RuleMargin, composed
from upm_gpu.rulebook.frame.terms import FUTURE, OPTION, PERPETUAL, SPOT, Terms
from upm_gpu.rulebook.frame.volatility import MultiplicativeShock
from upm_gpu.rulebook.grid import GridScenario, notional, scan_risk
from upm_gpu.strict_toml import Rule, Strict
from upm_gpu.strict_toml import check as check_rules


class Contingencies(Strict):
    """Rates of what is added to the worst loss."""

    net_short_options: float = Field(ge=0.0, le=1.0, description="share of the index notional")
    vega_spread_per_day: float = Field(ge=0.0, le=1.0, description="of hedged vega")
    delta_spread_per_year: float = Field(ge=0.0, le=10.0, description="of hedged delta")
    least_days: float = Field(ge=0.0, description="between two legs of a delta spread")
    dollar_spread: float = Field(ge=0.0, le=1.0, description="of delta hedged in another dollar or in coins")
    futures: float = Field(ge=0.0, le=1.0, description="share of the gross index notional")


class Borrowing(Strict):
    """Shares of what is owed."""

    maintenance: float = Field(ge=0.0, le=1.0)
    initial: float = Field(ge=0.0, le=1.0)


class Parameters(RuleParameters):
    """The parameter file."""

    initial_factor: float = Field(ge=1.0, le=10.0)
    moving_collateral: list[str] = Field(default=[], description="posted assets that move with the scenarios")
    contingencies: Contingencies
    borrowing: Borrowing
    volatility: MultiplicativeShock
    scenarios: list[GridScenario] = Field(min_length=1)


def check(made: Parameters, name: str, text: str) -> None:
    """Stop at a borrowing rate that falls and a scenario given twice."""
    check_rules(_rules(made), name, text)


def _rules(made: Parameters) -> Iterator[Rule]:
    yield "borrowing", 56, made.borrowing.initial >= made.borrowing.maintenance, "the initial rate is below the maintenance rate."
    names = [s.name for s in made.scenarios]
    yield "scenarios", 56, len(names) == len(set(names)), "a scenario is given twice."


def margin(held: Held, parameters: Parameters, values: Values) -> RuleMargin:
    """Margins of every unit."""
    terms, c, count = held.terms, parameters.contingencies, len(held.units)
    worst, decided = scan_risk(held, parameters.scenarios, parameters.volatility, parameters.moving_collateral, "underlying", values, parameters.name)
    sensitive = greeks(terms, values)
    asset = np.array(terms.underlyings, object)[terms.underlying]
    traded = ~terms.collateral | (np.isin(asset, parameters.moving_collateral) if terms.count else np.zeros(0, bool))
    delta = np.where(traded, sensitive["delta"] * terms.index * terms.exchange, 0.0)
    option, future = terms.kind == OPTION, terms.of_kind(FUTURE, PERPETUAL)
    size = notional(terms)
    sides = held.grouped(2 * terms.underlying.astype(np.int64) + (terms.sign > 0.0), option)
    gross = held.grouped(terms.underlying.astype(np.int64), future)
    amounts = {"worst_loss": worst,
               "net_short_options": c.net_short_options * np.asarray(sides.by_unit(np.maximum(-sides.totals(np.where(option, size, 0.0)), 0.0))),
               "vega_spread": c.vega_spread_per_day * _across_time(held, np.where(option, sensitive["vega"], 0.0), option, 0.0),
               "delta_spread": c.delta_spread_per_year / 365.0 * _across_time(held, delta, traded, c.least_days),
               "dollar_spread": c.dollar_spread * _across_dollars(held, delta, traded),
               "futures": c.futures * np.asarray(gross.by_unit(gross.absolute(np.where(future, size, 0.0))))}
    coins = held.grouped(terms.underlying.astype(np.int64), terms.kind == SPOT)
    owed = np.asarray(coins.by_unit(np.maximum(-coins.totals(np.where(terms.kind == SPOT, terms.index * terms.exchange, 0.0)), 0.0)))
    maintenance = np.sum(list(amounts.values()), axis=0) + parameters.borrowing.maintenance * owed
    charges = {k: parameters.initial_factor * v for k, v in amounts.items()} | {"borrowing": parameters.borrowing.initial * owed}
    return composed(held.units, charges, maintenance.reshape(count), decided)


def _across_time(held: Held, amount: NDArray[np.float64], kept: NDArray[np.bool_], least_days: float) -> NDArray[np.float64]:
    """(U,) cost of spreads of an amount (N,) between the expiries of every underlying."""
    terms, out = held.terms, np.zeros(len(held.units))
    legs = held.grouped(terms.bucket.astype(np.int64), kept)
    total = legs.totals(np.where(kept, amount, 0.0))
    days, owner = _buckets(terms)
    for u in range(len(terms.underlyings)):
        columns = np.flatnonzero(owner == u)
        rows = np.flatnonzero(owner[legs.label] == u)
        if len(columns) > 1 and len(rows):
            holders, at = np.unique(legs.unit[rows], return_inverse=True)
            table = np.zeros((len(holders), len(columns)))
            table[at, np.searchsorted(columns, legs.label[rows])] = total[rows]
            out[holders] += spread_cost(table, days[columns], least_days)
    return out


def _buckets(terms: Terms) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Days to expiry of every bucket, 0 without one, and its underlying; buckets of an underlying ascend in time."""
    days = np.zeros(len(terms.expiries))
    days[terms.bucket] = np.nan_to_num(terms.days)
    return days, np.array([terms.underlyings.index(u) for u, _ in terms.expiries], np.int64)


def _across_dollars(held: Held, delta: NDArray[np.float64], traded: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(U,) delta of every underlying that contracts of another settlement hedge."""
    terms = held.terms
    settled = np.array([{"USDT": 1, "USDC": 2}.get(q, 0) for q in terms.quote_currency] or [0] * terms.count, np.int64)
    settled[terms.inverse | (terms.kind == SPOT)] = 0
    parts: Grouped = held.grouped(3 * terms.underlying.astype(np.int64) + settled, traded)
    amount = parts.totals(np.where(traded, delta, 0.0))
    gross, net = np.asarray(parts.by_unit(np.abs(amount))), np.zeros(len(held.units))
    unit, _, summed = parts.regrouped(np.arange(3 * len(terms.underlyings)) // 3)
    net += np.bincount(unit, np.abs(summed @ amount), len(held.units))
    return np.maximum(gross - net, 0.0) / 2.0
