"""Parameters of OKX's portfolio margin, what is wrong with them, and the two tables that are read by size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from upm_gpu.rulebook.frame.parameters import RuleParameters
from upm_gpu.strict_toml import Rule, Strict
from upm_gpu.strict_toml import check as check_rules


class Group(Strict):
    """Underlyings with the same moves."""

    underlyings: list[str] = Field(description="empty: all others")
    price_moves: list[float] = Field(min_length=1, description="of the spot shock, ascending, each taken up and down")
    extreme_move: float = Field(gt=0.0, lt=1.0)
    annualised_basis: float = Field(ge=0.0, le=10.0)
    minimum_basis: float = Field(ge=0.0, le=1.0, description="least move of a leg's basis; that of perpetuals")
    tiers_from: list[float] = Field(min_length=1, description="of the minimum charge, reporting currency")
    tier_multipliers: list[float] = Field(min_length=1)


class VolatilityNode(Strict):
    """Largest moves of volatility at so many days to expiry, linear between, flat outside."""

    days: float = Field(ge=0.0)
    points: float = Field(ge=0.0, description="decimal: 0.3 is 30 points")
    share: float = Field(ge=0.0, le=1.0)
    tilt: float = Field(description="of the vega term structure: points of the first of its two moves")


class MinimumCharge(Strict):
    """Shares of the index notional."""

    futures: float = Field(ge=0.0, le=1.0)
    short_options: float = Field(ge=0.0, le=1.0)


class Borrowing(Strict):
    """Shares of what is owed."""

    maintenance: float = Field(ge=0.0, le=1.0)
    initial: float = Field(ge=0.0, le=1.0)


class DepegRow(Strict):
    """Rates while a stablecoin is worth at least so much, one a tier of the hedged size."""

    price_at_least: float = Field(ge=0.0)
    rates: list[float] = Field(min_length=1)


class Depeg(Strict):
    """Stablecoin depeg."""

    tiers_from: list[float] = Field(min_length=1, description="of the hedged size, reporting currency")
    rows: list[DepegRow] = Field(min_length=1, description="by price, falling")


class Parameters(RuleParameters):
    """The parameter file."""

    initial_factor: float = Field(ge=1.0, le=10.0)
    decay_hours: float = Field(gt=0.0, le=240.0)
    interest_rate_move: float = Field(ge=0.0, le=1.0)
    extreme_share: float = Field(gt=0.0, le=1.0, description="of the loss at the extreme move")
    groups: list[Group] = Field(min_length=1)
    volatility: list[VolatilityNode] = Field(min_length=1)
    minimum_charge: MinimumCharge
    borrowing: Borrowing
    depeg: Depeg


def check(made: Parameters, name: str, text: str) -> None:
    """Stop at tiers that overlap, falling rates, an underlying in two groups, no group for others."""
    check_rules(_rules(made), name, text)


def _rules(made: Parameters) -> Iterator[Rule]:
    named = [u for g in made.groups for u in g.underlyings]
    yield "groups", 56, len(named) == len(set(named)), "an underlying stands in two groups; name it once."
    yield "groups", 56, sum(not g.underlyings for g in made.groups) == 1, "give exactly one group with underlyings = [], for all others."
    yield "groups", 56, len({len(g.price_moves) for g in made.groups}) == 1, "give every group as many price_moves."
    days = [v.days for v in made.volatility]
    yield "volatility", 56, days == sorted(set(days)), f"the days {days} do not ascend."
    for key, starts, rates in [*(("groups", g.tiers_from, g.tier_multipliers) for g in made.groups), *(("depeg", made.depeg.tiers_from, r.rates) for r in made.depeg.rows)]:
        yield key, 56, starts[0] == 0.0 and starts == sorted(set(starts)), f"tiers_from {starts}: the first is 0 and tiers do not overlap."
        yield key, 56, len(starts) == len(rates) and rates == sorted(rates) and rates[0] >= 0.0, f"{rates} over tiers from {starts}: one number a tier, none negative, none below the one before."
    for group in made.groups:
        moves = group.price_moves
        yield "groups", 56, moves == sorted(set(moves)) and moves[0] > 0.0 and moves[-1] < 1.0, f"price_moves {moves} are not ascending within 0 to 1."
    prices, first = [r.price_at_least for r in made.depeg.rows], [r.rates[0] for r in made.depeg.rows]
    yield "depeg", 56, prices == sorted(set(prices), reverse=True) and first == sorted(first), "rows fall in price and rise in rates."
    yield "borrowing", 56, made.borrowing.initial >= made.borrowing.maintenance, "the initial rate is below the maintenance rate."


def tiered(amount: NDArray[np.float64], starts: Sequence[float], rates: Sequence[float]) -> NDArray[np.float64]:
    """(N,) each slice of an amount at the rate of its tier.

    >>> float(tiered(np.array([30_000.0]), [0.0, 10_000.0], [1.0, 2.0])[0])
    50000.0
    """
    ends = [*starts[1:], np.inf]
    return np.sum([np.clip(amount - a, 0.0, b - a) * r for a, b, r in zip(starts, ends, rates, strict=True)], axis=0)


def depeg_row(price: float, depeg: Depeg) -> Sequence[float]:
    """Rates at a price of the stablecoin."""
    return next((r.rates for r in depeg.rows if price >= r.price_at_least), depeg.rows[-1].rates)


def group_of(parameters: Parameters, asset: str) -> Group:
    """The group of an underlying."""
    return next((g for g in parameters.groups if asset in g.underlyings), next(g for g in parameters.groups if not g.underlyings))
