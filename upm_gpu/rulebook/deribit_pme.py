"""Deribit's portfolio margin, segregated and cross: worst case of a risk matrix and its extended table, delta shock, roll shock, order margins.

Positions of one underlying with one settlement currency (the coin of inverse contracts, dollars of linear ones) are a pair. With k = -4 .. 4, R the price
range of the underlying, T the days to expiry and P the P&L of a pair in its settlement currency:

    matrix    P at the moves k R / 4, volatilities down, same and up;  up: max(sigma (1 + u q), minimum), down: sigma max(0, 1 - d q), q = (30 / max(T, 1))^p
    extended  f(m) P(m, volatilities up) for far moves m;  f = factor R / |m|, of coins times (1 + m) / (1 + sign(m) R), so that a future counts what it counts at the edge
    dampener  the extended P&L of a pair comes nearer to zero by (max(|m| / R, 1) - 1) x dampener, at most to zero; of coins at the index of the edge
    offset    a gain of a pair counts pnl_offset of itself, at most max_offsetable_pnl, against losses of other pairs
    worst     segregated: pairs apart; cross: pairs of one underlying added scenario by scenario. Underlyings in the correlation set are added bucket by bucket,
              a correlation contingency charges its share of what that saves; other underlyings add their worst losses
    roll      sum over expiries of |delta| x max(minimum, exp(a T / 365) - 1), expiries do not net; without expiry the minimum
    delta     D min(m_inc max(D - threshold, 0), maximum), D in coins: futures and short options, long options only reducing it
    initial = worst + correlation contingency + roll + delta (the risk matrix margin) + haircut of collateral (cross) + order margins
    maintenance = mm factor x risk matrix margin

Source: Deribit help centre and API reference, an answer of the live engine; see docs/methodologies/deribit_pme.md, also for which parts are house readings.
Verified: tests/known_answers/test_deribit_pme.py (published vectors, 1e-12), tests/properties/test_crypto_venue_laws.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from upm_gpu.errors import InputError
from upm_gpu.rulebook.frame.grid import Moves, Values, greeks, local_values, unmoved
from upm_gpu.rulebook.frame.held import Grouped, Held
from upm_gpu.rulebook.frame.parameters import RuleParameters
from upm_gpu.rulebook.frame.result import RuleMargin, composed, worst_of
from upm_gpu.rulebook.frame.terms import OPTION, SPOT, Terms
from upm_gpu.rulebook.frame.volatility import DIRECTIONS, MultiplicativeShock, directions, shocked
from upm_gpu.strict_toml import Rule, Strict
from upm_gpu.strict_toml import check as check_rules

LINEAR = "USD"
"""settlement currency of linear contracts"""


class Currency(Strict):
    """A settlement currency: the coin of inverse contracts, USD of linear ones."""

    min_annualised_move: float = Field(ge=0.0, le=1.0, description="least share of a delta in the roll shock")
    annualised_move_risk: float = Field(ge=0.0, le=10.0, description="a of the roll shock, a year")
    pnl_offset: float = Field(ge=0.0, le=1.0, description="share of a gain that counts")
    max_offsetable_pnl: float = Field(ge=0.0, description="a gain counts at most this, reporting currency")
    extended_dampener: float = Field(ge=0.0, description="reporting currency")


class Pair(Strict):
    """An underlying against the dollar."""

    price_range: float = Field(gt=0.0, lt=1.0, description="largest move of the risk matrix")
    volatility: MultiplicativeShock
    extended_table_factor: float = Field(ge=0.0, le=10.0)
    delta_threshold: float = Field(ge=0.0, description="reporting currency: delta beyond it is shocked")
    delta_increment: float = Field(ge=0.0, description="m_inc: rise of the delta shock a coin beyond the threshold")
    max_delta_shock: float = Field(ge=0.0, le=1.0, description="share of the delta")
    correlation_set: bool = Field(default=False, description="moves bucket by bucket with the other underlyings of the set")


class Parameters(RuleParameters):
    """The parameter file."""

    collateral_model: Literal["segregated", "cross"]
    maintenance_factor: float = Field(gt=0.0, le=1.0)
    buckets_per_side: int = Field(ge=1, le=100, description="moves each side of the risk matrix")
    extended_moves: list[float] = Field(min_length=1, description="-0.66 is a fall by 66 %")
    correlation_contingency: float = Field(default=0.0, ge=0.0, le=1.0, description="share of what the correlation set saves")
    haircuts: dict[str, float] = Field(default={}, description="of collateral in the initial margin of the cross model")
    currencies: dict[str, Currency]
    pairs: dict[str, Pair]


def check(made: Parameters, name: str, text: str) -> None:
    """Stop at moves that are none, haircuts outside 0 to 1, no dollar terms."""
    check_rules(_rules(made), name, text)


def _rules(made: Parameters) -> Iterator[Rule]:
    moves = made.extended_moves
    yield "extended_moves", 56, all(m > -1.0 and m != 0.0 for m in moves) and len(set(moves)) == len(moves), f"extended_moves {moves}: give each once, above -1 and not 0."
    for asset, cut in made.haircuts.items():
        yield f"haircuts.{asset}", 56, 0.0 <= cut <= 1.0, f"haircut {cut:g} of {asset}; give 0 to 1."
    for asset in sorted({LINEAR, *made.pairs} - set(made.currencies)):
        yield "currencies", 56, False, f"no [currencies.{asset}]: every underlying of [pairs] and {LINEAR} needs its settlement terms."


@dataclass(frozen=True)
class Orders:
    """Margins of open orders by unit, reporting currency: the venue computes them from its order book, a book of positions has none."""

    open_orders: Mapping[str, float] = field(default_factory=dict)
    market_maker_protection: Mapping[str, float] = field(default_factory=dict)
    spot: Mapping[str, float] = field(default_factory=dict)


NO_ORDERS = Orders()


@dataclass(frozen=True)
class Vectors:
    """P&L of G pairs, reporting currency at today's index, before offsets; scenarios as `scenario_names`."""

    groups: Grouped
    """label: 2 x underlying + (1 for coins)"""
    matrix: NDArray[np.float64]
    """(G, 3 (2 B + 1))"""
    extended: NDArray[np.float64]
    """(G, E) before the dampener"""


def scenario_names(parameters: Parameters, price_range: float | None) -> tuple[str, ...]:
    """Such as `spot -16 %, volatility up`; with None, of several ranges, `bucket -4 of 4, volatility up`."""
    b = parameters.buckets_per_side

    def spot(k: int) -> str:
        if price_range is None:
            return f"bucket {k:+d} of {b}" if k else "bucket 0"
        return f"spot {100.0 * price_range * k / b:+.4g} %" if k else "spot unchanged"

    return (*(f"{spot(k)}, volatility {v}" for k in range(-b, b + 1) for v in ("down", "same", "up")), *(f"extended spot {100.0 * m:+.4g} %" for m in parameters.extended_moves))


def moves(terms: Terms, parameters: Parameters) -> Moves:
    """(N, S): the risk matrix by move and volatility, then the extended table. Raises InputError UPM-CF-140 for an underlying without terms."""
    b, far = parameters.buckets_per_side, parameters.extended_moves
    step = np.repeat(np.arange(-b, b + 1) / b, 3)
    direction = np.concatenate([np.tile(directions(["down", "none", "up"]), 2 * b + 1), np.full(len(far), DIRECTIONS["up"])])
    multiplier = np.ones((terms.count, len(direction)))
    volatility = np.full(multiplier.shape, np.nan)
    for u, asset in enumerate(terms.underlyings):
        mine = (terms.underlying == u) & (terms.kind != SPOT)
        if mine.any():
            pair = pair_of(parameters, asset)
            multiplier[mine] = np.concatenate([1.0 + pair.price_range * step, 1.0 + np.array(far)])
            volatility[mine] = shocked(terms.volatility[mine], terms.days[mine], direction, pair.volatility)
    return Moves(multiplier, multiplier, volatility)


def pair_of(parameters: Parameters, asset: str) -> Pair:
    """Terms of an underlying. Raises InputError UPM-CF-140."""
    if asset not in parameters.pairs:
        raise InputError("UPM-CF-140", f"{parameters.name} {parameters.version} has no terms of the held underlying {asset}. Add [pairs.{asset}] and [currencies.{asset}] to a copy of the file, or remove its positions.")
    return parameters.pairs[asset]


def risk_vectors(held: Held, parameters: Parameters, values: Values) -> Vectors:
    """What every pair gains in every scenario."""
    terms = held.terms
    shock, today = moves(terms, parameters), unmoved(terms)
    scale = np.where(terms.inverse, terms.index, 1.0) * terms.exchange
    traded = terms.kind != SPOT
    pnl = np.where(traded[:, None], (local_values(terms, shock, values) - local_values(terms, today, values)) * scale[:, None], 0.0)
    main = 3 * (2 * parameters.buckets_per_side + 1)
    groups = held.grouped(2 * terms.underlying.astype(np.int64) + terms.inverse, traded)
    total = groups.totals(pnl)
    far = np.array(parameters.extended_moves)
    size, coin = _ranges(groups, terms, parameters)
    factor = np.array([parameters.pairs[terms.underlyings[label // 2]].extended_table_factor for label in groups.label])[:, None] * size / np.abs(far)
    factor = np.where(coin, factor * (1.0 + far) / (1.0 + np.sign(far) * size), factor)
    return Vectors(groups, total[:, :main], total[:, main:] * factor)


def _ranges(groups: Grouped, terms: Terms, parameters: Parameters) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """(G, 1) price range, and whether a pair is in coins."""
    size = np.array([parameters.pairs[terms.underlyings[label // 2]].price_range for label in groups.label])
    return size.reshape(-1, 1), (groups.label % 2 == 1).reshape(-1, 1)


def settlement_terms(groups: Grouped, terms: Terms, parameters: Parameters, key: str) -> NDArray[np.float64]:
    """(G,) a number of the settlement currency of every group whose label is 2 x underlying + coins."""
    return np.array([getattr(parameters.currencies[terms.underlyings[label // 2] if label % 2 else LINEAR], key) for label in groups.label])


def counted(vectors: Vectors, terms: Terms, parameters: Parameters) -> NDArray[np.float64]:
    """(G, S) the aggregated vectors of the venue: extended P&L dampened, gains times their offset."""
    groups, far = vectors.groups, np.array(parameters.extended_moves)
    size, coin = _ranges(groups, terms, parameters)
    amount = (np.maximum(np.abs(far) / size, 1.0) - 1.0) * settlement_terms(groups, terms, parameters, "extended_dampener")[:, None]
    amount = np.where(coin, amount / (1.0 + np.sign(far) * size), amount)
    extended = np.sign(vectors.extended) * np.maximum(np.abs(vectors.extended) - amount, 0.0)
    pnl = np.concatenate([vectors.matrix, extended], axis=1)
    limit = settlement_terms(groups, terms, parameters, "max_offsetable_pnl")
    gain = np.minimum(pnl * settlement_terms(groups, terms, parameters, "pnl_offset")[:, None], limit[:, None])
    return np.where(pnl > 0.0, gain, pnl)


def margin(held: Held, parameters: Parameters, values: Values, orders: Orders = NO_ORDERS) -> RuleMargin:
    """Margins of every unit; raises InputError UPM-CF-122 for collateral without a haircut (cross), UPM-CF-140 for an underlying without terms."""
    count, terms = len(held.units), held.terms
    vectors = risk_vectors(held, parameters, values)
    worst, contingency, decided = worst_case(vectors, held, parameters)
    traded = terms.kind != SPOT
    delta = np.where(traded, greeks(terms, values)["delta_coin"], 0.0)
    level = terms.index * terms.exchange
    roll, shock = roll_shock(held, parameters, delta * level), delta_shock(vectors.groups, terms, parameters, delta, level)
    risk = worst + roll + shock + contingency
    orderly = {f"{name}_orders": np.array([given.get(unit, 0.0) for unit in held.units], float)
               for name, given in (("open", orders.open_orders), ("market_maker", orders.market_maker_protection), ("spot", orders.spot))}
    charges = {"worst_case": worst, "roll_shock": roll, "delta_shock": shock, "correlation_contingency": contingency,
               "collateral_haircut": collateral_haircut(held, parameters) if parameters.collateral_model == "cross" else np.zeros(count), **orderly}
    stand_still = parameters.collateral_model == "cross" and terms.collateral.any()
    notes = ("posted coins do not move with the scenarios: what the venue does with its field equity_side_impact is not published",) if stand_still else ()
    return composed(held.units, charges, parameters.maintenance_factor * risk, decided, notes)


def worst_case(vectors: Vectors, held: Held, parameters: Parameters) -> tuple[NDArray[np.float64], NDArray[np.float64], tuple[str, ...]]:
    """(U,) worst loss, (U,) correlation contingency, the scenario of the largest part."""
    terms, groups, count = held.terms, vectors.groups, len(held.units)
    cross = parameters.collateral_model == "cross"
    labels = np.arange(2 * len(terms.underlyings))
    pnl = counted(vectors, terms, parameters)
    unit, label, summed = groups.regrouped(labels // 2 * 2 if cross else labels)
    pnl = summed @ pnl
    names = [scenario_names(parameters, parameters.pairs[u].price_range if u in parameters.pairs else None) for u in terms.underlyings]
    loss, place = np.zeros(len(unit)), np.zeros(len(unit), np.intp)
    for u, named in enumerate(names):
        rows = np.flatnonzero(label // 2 == u)
        loss[rows], place[rows] = worst_of(pnl[rows], named)
    together = np.array([terms.underlyings[lb // 2] in parameters.pairs and parameters.pairs[terms.underlyings[lb // 2]].correlation_set for lb in label], bool)
    # a set lives inside one account of settlement: the whole unit (cross), or its dollars, for a coin has one underlying
    together &= (label % 2 == 0)
    worst = np.bincount(unit[~together], loss[~together], count).astype(np.float64)
    parts = [(int(u), float(x), f"{terms.underlyings[lb // 2]} {names[lb // 2][p]}") for u, x, lb, p in zip(unit[~together], loss[~together], label[~together], place[~together], strict=True)]
    contingency = np.zeros(count)
    if together.any():
        members = np.flatnonzero(together)
        owners, of_set = np.unique(unit[members], return_inverse=True)
        joint = np.stack([np.bincount(of_set, pnl[members, s], len(owners)) for s in range(pnl.shape[1])], axis=1).astype(np.float64)
        common = scenario_names(parameters, None)
        least, at = worst_of(joint, common)
        apart = np.bincount(of_set, loss[members], len(owners))
        worst[owners] += least
        contingency[owners] = parameters.correlation_contingency * np.maximum(apart - least, 0.0)
        parts += [(int(u), float(x), f"correlation set {common[p]}") for u, x, p in zip(owners, least, at, strict=True)]
    decided, largest = [""] * count, np.zeros(count)
    for u, x, name in parts:
        if x > largest[u]:
            decided[u], largest[u] = name, x
    return worst, contingency, tuple(decided)


def roll_shock(held: Held, parameters: Parameters, worth: NDArray[np.float64]) -> NDArray[np.float64]:
    """(U,) from the value (N,) of each instrument's delta; expiries do not net, nor settlement currencies."""
    terms = held.terms
    rate = np.zeros(terms.count)
    for n in np.flatnonzero(terms.kind != SPOT):
        currency = parameters.currencies[terms.underlyings[terms.underlying[n]] if terms.inverse[n] else LINEAR]
        years = 0.0 if np.isnan(terms.years[n]) else terms.years[n]
        rate[n] = max(currency.min_annualised_move, np.expm1(currency.annualised_move_risk * years))
    buckets = held.grouped(2 * terms.bucket.astype(np.int64) + terms.inverse, terms.kind != SPOT)
    return np.asarray(buckets.by_unit(np.abs(buckets.totals(worth * rate))))


def delta_shock(groups: Grouped, terms: Terms, parameters: Parameters, delta: NDArray[np.float64], level: NDArray[np.float64]) -> NDArray[np.float64]:
    """(U,) of the delta that would have to be traded: long options may reduce it, never raise it."""
    unit, label, summed = groups.regrouped(np.arange(2 * len(terms.underlyings)) // 2 * 2 if parameters.collateral_model == "cross" else np.arange(2 * len(terms.underlyings)))
    option = terms.kind == OPTION
    long = groups.matrix.copy()
    long.data = np.maximum(long.data, 0.0)
    bought = summed @ replace(groups, matrix=long).totals(np.where(option, delta, 0.0))
    rest = summed @ groups.totals(delta) - bought
    traded = np.where(rest < 0.0, np.clip(rest + bought, rest, 0.0), np.clip(rest + bought, 0.0, rest))
    price = np.zeros(len(terms.underlyings))
    price[terms.underlying] = level
    charge = np.zeros(len(unit))
    for g, (lb, size) in enumerate(zip(label, np.abs(traded), strict=True)):
        pair, spot = parameters.pairs[terms.underlyings[lb // 2]], price[lb // 2]
        charge[g] = min(pair.delta_increment * max(size - pair.delta_threshold / spot, 0.0), pair.max_delta_shock) * size * spot
    return np.bincount(unit, charge, groups.units).astype(np.float64)


def collateral_haircut(held: Held, parameters: Parameters) -> NDArray[np.float64]:
    """(U,) of what is posted. Raises InputError UPM-CF-122 for an asset without a haircut."""
    terms = held.terms
    spot = terms.kind == SPOT
    asset = np.array(terms.underlyings, object)[terms.underlying]
    for missing in sorted({*asset[spot]} - set(parameters.haircuts)):
        raise InputError("UPM-CF-122", f"{parameters.name} {parameters.version}: no haircut of {missing}, which the book holds. Add it under [haircuts] to a copy of the parameter file, or remove the asset.")
    posted = held.grouped(terms.underlying.astype(np.int64), spot)
    cut = np.array([parameters.haircuts.get(u, 0.0) for u in terms.underlyings])[posted.label] if len(posted.label) else np.zeros(0)
    return np.asarray(posted.by_unit(np.maximum(posted.totals(np.where(spot, terms.index * terms.exchange, 0.0)), 0.0) * cut))
