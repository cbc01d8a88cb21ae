"""SPAN: 16 scenarios an option or future, calendar spread charges, credits between commodities, a delivery charge and a minimum for short options.

    risk of a commodity = max(scanning + calendar spreads + delivery - credits, short options x minimum)
    initial margin      = sum over commodities;  maintenance = initial x ratio

An underlying is a commodity. Options are Black-76 on the shocked forward after `look_ahead_days`. All money parameters are shares of today's index, so that
one file serves any level. Net option value is no part of the margin here: it counts in equity with its sign, long in full and short against, which is the same as
subtracting it from the risk (`clearing/spreads.py` `requirement`). Posted collateral is no position; spot positions are deltas of the first tier.
Source: CME SPAN pages on risk arrays and spreads; see docs/methodologies/span.md. Verified: tests/known_answers/test_span.py, tests/properties/test_clearing_laws.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from upm_gpu.errors import InputError
from upm_gpu.rulebook.clearing.risk_array import (
    DELTA_PRICE,
    FRACTION,
    NAMES,
    PRICE,
    VOLATILITY,
    composite_delta,
    scanning_risk,
    weighted_price_risk,
)
from upm_gpu.rulebook.clearing.spreads import (
    CommoditySpread,
    TierSpread,
    calendar_spreads,
    commodity_credits,
    commodity_risk,
    tier_deltas,
)
from upm_gpu.rulebook.frame.grid import Moves, Values, greeks, pnl
from upm_gpu.rulebook.frame.held import Held
from upm_gpu.rulebook.frame.parameters import RuleParameters
from upm_gpu.rulebook.frame.result import RuleMargin, composed
from upm_gpu.rulebook.frame.terms import OPTION, Terms
from upm_gpu.strict_toml import Rule, Strict
from upm_gpu.strict_toml import check as check_rules

SHORTEST_YEARS = 1.0 / (365.0 * 24.0)
"""an hour: deltas of options that end inside the look-ahead are taken there, where they still are a number"""


class CalendarSpread(Strict):
    """A charge for opposite deltas of two tiers, in order of priority as written."""

    tiers: list[int] = Field(min_length=2, max_length=2, description="counted from 1; the same twice: inside the tier")
    charge: float = Field(ge=0.0, description="share of the index a spread of one unit")


class Commodity(Strict):
    """The parameters of one underlying."""

    underlying: str
    price_scan: float = Field(gt=0.0, lt=0.5, description="price scan range, share of the price; the extreme move is twice it")
    volatility_scan: float = Field(ge=0.0, description="volatility scan range, share of the volatility")
    tier_days: list[float] = Field(default=[], description="longest days to expiry of every tier but the last")
    calendar_spreads: list[CalendarSpread] = Field(default=[])
    short_option_minimum: float = Field(default=0.0, ge=0.0, description="share of the index a unit of short options; the larger of calls and puts counts")
    delivery_days: float = Field(default=0.0, ge=0.0, description="futures that end within these days are in delivery")
    delivery_charge: float = Field(default=0.0, ge=0.0, description="share of the index a delta in delivery")


class Credit(Strict):
    """A credit for opposite deltas of two underlyings, in order of priority as written."""

    legs: list[str] = Field(min_length=2, max_length=2)
    ratios: list[float] = Field(min_length=2, max_length=2, description="deltas a spread")
    credit: float = Field(ge=0.0, le=1.0, description="share of the price risk")


class Parameters(RuleParameters):
    """The parameter file."""

    maintenance_ratio: float = Field(gt=0.0, le=1.0)
    look_ahead_days: float = Field(default=1.0, ge=0.0, le=30.0)
    commodities: list[Commodity] = Field(min_length=1)
    credits: list[Credit] = Field(default=[])


def check(made: Parameters, name: str, text: str) -> None:
    """Stop at tiers, spreads or credits that cannot be."""
    check_rules(_rules(made), name, text)


def _rules(made: Parameters) -> Iterator[Rule]:
    known = [c.underlying for c in made.commodities]
    twice = sorted({u for u in known if known.count(u) > 1})
    yield "commodities", 56, not twice, f"{', '.join(twice)} has two entries. Keep one."
    for c in made.commodities:
        yield "commodities", 56, c.tier_days == sorted(set(c.tier_days)), f"tier_days {c.tier_days} of {c.underlying} overlap: give ascending days."
        bad = [s.tiers for s in c.calendar_spreads if not all(1 <= t <= len(c.tier_days) + 1 for t in s.tiers)]
        yield "commodities", 56, not bad, f"{c.underlying} has {len(c.tier_days) + 1} tiers; spreads of {bad} cannot be formed."
    for k in made.credits:
        strange = [leg for leg in k.legs if leg not in known]
        yield "credits", 56, not strange, f"{', '.join(strange)} is no commodity of this file. Known: {', '.join(known)}."
        yield "credits", 56, k.legs[0] != k.legs[1] and min(k.ratios) > 0.0, f"a credit between {' and '.join(k.legs)} at {k.ratios} needs two commodities and ratios above 0."


def margin(held: Held, parameters: Parameters, values: Values) -> RuleMargin:
    """Margins of every unit. Raises InputError UPM-CF-130 for a held underlying without parameters."""
    terms = held.terms
    traded = ~terms.collateral
    goods = _commodities(held, parameters)
    index = _index(terms)
    array = risk_array(terms, np.array([c.price_scan for c in goods])[terms.underlying], np.array([c.volatility_scan for c in goods])[terms.underlying],
                       parameters.look_ahead_days, values)
    delta = _composite(terms, np.array([c.price_scan for c in goods])[terms.underlying], parameters.look_ahead_days, values)
    by_good, by_month = held.grouped(terms.underlying, traded), held.grouped(terms.bucket, traded)
    units, count = len(held.units), len(goods)
    shape = (units, count)
    total = np.zeros((*shape, len(PRICE)))
    total[by_good.unit, by_good.label] = by_good.totals(array)
    losses, places = scanning_risk(total.reshape(-1, len(PRICE)))
    scanning, worst = losses.reshape(shape), places.reshape(shape)
    month_delta = by_month.totals(delta)
    net, calendar, delivery = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    month_good = np.array([terms.underlyings.index(u) for u, _ in terms.expiries])
    month_days = _month_days(terms)
    for g, good in enumerate(goods):
        mine = month_good[by_month.label] == g
        unit, days = by_month.unit[mine], month_days[by_month.label[mine]]
        tier = np.searchsorted(np.array(good.tier_days), days, side="left")
        long, short = tier_deltas(month_delta[mine], unit, tier, units, len(good.tier_days) + 1)
        net[:, g] = (long - short).sum(axis=1)
        spreads = [TierSpread(s.tiers[0] - 1, s.tiers[1] - 1, s.charge * index[g]) for s in good.calendar_spreads]
        calendar[:, g] = calendar_spreads(long, short, spreads).charge
        near = (days > 0.0) & (days <= good.delivery_days)
        delivery[:, g] = np.bincount(unit[near], np.abs(month_delta[mine][near]), units) * good.delivery_charge * index[g]
    risk = weighted_price_risk(total.reshape(-1, len(PRICE)), net.reshape(-1)).reshape(shape)
    place = {c.underlying: g for g, c in enumerate(goods)}
    credits = [CommoditySpread(place[k.legs[0]], place[k.legs[1]], k.credit, *k.ratios) for k in parameters.credits if set(k.legs) <= set(place)]
    minimum = _short_options(held, terms) * np.array([c.short_option_minimum for c in goods]) * index
    parts = commodity_risk(scanning, calendar, delivery, commodity_credits(net, risk, credits), minimum)
    charges = {name: part.sum(axis=1) for name, part in parts.items()}
    largest = np.argmax(scanning, axis=1) if count else np.zeros(units, int)
    names = tuple("" if not scanning[u].any() else f"{goods[g].underlying}: {NAMES[worst[u, g]]}" for u, g in enumerate(largest)) if count else ("",) * units
    return composed(held.units, charges, parameters.maintenance_ratio * sum(charges.values()), names)


def risk_array(terms: Terms, price_scan: NDArray[np.float64], volatility_scan: NDArray[np.float64], look_ahead_days: float, values: Values) -> NDArray[np.float64]:
    """(N, 16) P&L of one unit in the reporting currency, the extreme moves at their fraction. Scan ranges (N,) are shares of price and volatility."""
    factor = 1.0 + price_scan[:, None] * PRICE
    years = np.broadcast_to(np.maximum(terms.years - look_ahead_days / 365.0, 0.0)[:, None], factor.shape)
    moves = Moves(factor, factor, terms.volatility[:, None] * np.maximum(1.0 + volatility_scan[:, None] * VOLATILITY, 0.0), years)
    return pnl(terms, moves, values) * FRACTION


def _composite(terms: Terms, price_scan: NDArray[np.float64], look_ahead_days: float, values: Values) -> NDArray[np.float64]:
    """(N,) composite delta of one unit, in units of the underlying."""
    years = np.where(terms.kind == OPTION, np.maximum(terms.years - look_ahead_days / 365.0, SHORTEST_YEARS), terms.years)
    today = greeks(terms, values)["delta"]
    deltas = np.stack([greeks(replace(terms, forward=terms.forward * (1.0 + price_scan * p), years=years), values)["delta"] for p in DELTA_PRICE], axis=1)
    return composite_delta(np.where((terms.kind == OPTION)[:, None], deltas, today[:, None]))


def _commodities(held: Held, parameters: Parameters) -> list[Commodity]:
    """One for every underlying of the terms, in their order; underlyings that are only posted take the first entry, which nothing reads."""
    terms = held.terms
    traded = {terms.underlyings[u] for u in np.unique(terms.underlying[~terms.collateral])}
    known = {c.underlying: c for c in parameters.commodities}
    missing = sorted(traded - set(known))
    if missing:
        raise InputError("UPM-CF-130", f"{parameters.name} {parameters.version} has no scan range of the held underlying {', '.join(missing)}. Add its [[commodities]] entry to a new version of the file.")
    return [known.get(u, parameters.commodities[0].model_copy(update={"underlying": u})) for u in terms.underlyings]


def _index(terms: Terms) -> NDArray[np.float64]:
    """(C,) index of every underlying in the reporting currency."""
    out = np.zeros(len(terms.underlyings))
    out[terms.underlying] = terms.index * terms.exchange
    return out


def _month_days(terms: Terms) -> NDArray[np.float64]:
    """(M,) days to every expiry of the terms, 0 for perpetuals and spots."""
    out = np.zeros(len(terms.expiries))
    out[terms.bucket] = np.nan_to_num(terms.days)
    return out


def _short_options(held: Held, terms: Terms) -> NDArray[np.float64]:
    """(U, C) units of short options: the larger of calls and puts."""
    sides = []
    for sign in (1.0, -1.0):
        short = (held.quantity < 0.0) & (terms.kind[held.instrument] == OPTION) & (terms.sign[held.instrument] == sign)
        out = np.zeros((len(held.units), len(terms.underlyings)))
        np.add.at(out, (held.unit[short], terms.underlying[held.instrument[short]]), -held.quantity[short])
        sides.append(out)
    return np.maximum(*sides)
