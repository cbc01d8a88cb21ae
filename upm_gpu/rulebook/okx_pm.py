"""OKX's portfolio margin: nine parts, MR1 to MR9, by risk unit (everything on one underlying), and borrowing by account.

    MMR of a risk unit = max(max(MR1, MR2, MR6) + MR3 + MR4 + MR5, MR7) + MR9;   MMR = sum over risk units + MR8
    IMR = initial factor x MMR of the risk units + borrowing at its initial rate

    MR1 spot shock        worst over 0, +-1/3, +-2/3, +-1 of the largest move x volatilities unchanged, +- points, +- a share, both by days to expiry
    MR2 time decay        loss over the next 24 hours, nothing else moving
    MR3 vega term structure   volatilities of near expiries up and of far ones down, and the reverse
    MR4 basis             sum over perpetuals and expiries of |delta| x index x max(minimum, exp(a T) - 1)
    MR5 interest rate     options alone: rate and forward up and down
    MR6 extreme move      a share of the worse of two far moves, volatilities unchanged
    MR7 minimum charge    shares of the notional of futures and short options, tiers multiplied
    MR8 borrowing         shares of what is owed
    MR9 stablecoin depeg  what contracts in one dollar hedge of contracts in another, by size and by the price of the stablecoin

A coin that is held counts in the scenarios only as far as it cancels the delta of the derivatives ("spot in use").
Source: OKX help pages and notices; see docs/methodologies/okx_pm.md, also for which parts are house readings.
Verified: tests/known_answers/test_okx_pm.py (published examples, exact; the rest by hand), tests/properties/test_crypto_venue_laws.py.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from upm_gpu.rulebook.frame.grid import Moves, Values, greeks, pnl
from upm_gpu.rulebook.frame.held import Grouped, Held
from upm_gpu.rulebook.frame.result import RuleMargin, composed, worst_of
from upm_gpu.rulebook.frame.terms import FUTURE, OPTION, PERPETUAL, SPOT, Terms
from upm_gpu.rulebook.grid import notional
from upm_gpu.rulebook.okx.parameters import Group, Parameters, check, depeg_row, group_of, tiered

__all__ = ["Parameters", "check", "margin"]
DOLLARS = ("USDT", "USDC", "USD")
PAIRS = (("USDT", "USD"), ("USDT", "USDC"), ("USDC", "USD"))
"""order in which hedges between dollars are matched"""
VOLATILITIES = ("unchanged", "points up", "points down", "share up", "share down")


@dataclass(frozen=True)
class Parts:
    """MR1 to MR7 and MR9 of G risk units, (G,), reporting currency, none negative."""

    spot_shock: NDArray[np.float64]
    time_decay: NDArray[np.float64]
    vega_term_structure: NDArray[np.float64]
    basis: NDArray[np.float64]
    interest_rate: NDArray[np.float64]
    extreme_move: NDArray[np.float64]
    minimum_charge: NDArray[np.float64]
    depeg: NDArray[np.float64]

    @property
    def worst(self) -> NDArray[np.float64]:
        """max(MR1, MR2, MR6)."""
        return np.maximum(np.maximum(self.spot_shock, self.time_decay), self.extreme_move)

    @property
    def before_minimum(self) -> NDArray[np.float64]:
        """max(MR1, MR2, MR6) + MR3 + MR4 + MR5."""
        return self.worst + self.vega_term_structure + self.basis + self.interest_rate

    @property
    def requirement(self) -> NDArray[np.float64]:
        """MMR of the risk unit."""
        return np.maximum(self.before_minimum, self.minimum_charge) + self.depeg


def shocks(terms: Terms, parameters: Parameters) -> tuple[Moves, dict[str, slice]]:
    """(N, S) every scenario of MR1, MR6, MR2, MR3 and MR5, and where each part stands."""
    groups = [group_of(parameters, u) for u in terms.underlyings]
    count = len(parameters.groups[0].price_moves)
    nodes = parameters.volatility
    with np.errstate(invalid="ignore"):
        points, share, tilt = (np.interp(terms.days, [v.days for v in nodes], [getattr(v, k) for v in nodes]) for k in ("points", "share", "tilt"))
    sigma = terms.volatility
    states = np.maximum(np.stack([sigma, sigma + points, sigma - points, sigma * (1.0 + share), sigma * (1.0 - share)], axis=1), 0.0)
    steps = np.repeat(np.arange(-count, count + 1), len(VOLATILITIES))
    where, width = {}, 0
    for part, size in (("spot_shock", len(steps)), ("extreme_move", 2), ("time_decay", 1), ("vega_term_structure", 2), ("interest_rate", 2)):
        where[part] = slice(width, width + size)
        width += size
    ladder = np.array([[0.0, *g.price_moves] for g in groups]).reshape(len(groups), count + 1)
    price = np.ones((terms.count, width))
    volatility = np.repeat(sigma[:, None], width, axis=1)
    forward_only = np.zeros_like(price)
    years, rate = np.repeat(terms.years[:, None], width, axis=1), np.repeat(terms.rate[:, None], width, axis=1)
    price[:, where["spot_shock"]] += (np.sign(steps) * ladder[:, np.abs(steps)])[terms.underlying]
    volatility[:, where["spot_shock"]] = np.tile(states, (1, 2 * count + 1))
    price[:, where["extreme_move"]] += (np.array([g.extreme_move for g in groups]).reshape(-1, 1) * [-1.0, 1.0])[terms.underlying]
    years[:, where["time_decay"]] = np.maximum(years[:, where["time_decay"]] - parameters.decay_hours / 8760.0, 0.0)
    volatility[:, where["vega_term_structure"]] = np.maximum(np.stack([sigma + tilt, sigma - tilt], axis=1), 0.0)
    option = (terms.kind == OPTION)[:, None]
    up_down = np.array([1.0, -1.0]) * parameters.interest_rate_move
    rate[:, where["interest_rate"]] += np.where(option & ~terms.inverse[:, None], up_down, 0.0)
    forward_only[:, where["interest_rate"]] = np.where(option, up_down * np.nan_to_num(terms.years)[:, None], 0.0)
    return Moves(price, price * np.exp(forward_only), volatility, years, rate), where


def scenario_names(group: Group) -> tuple[str, ...]:
    """Of MR1."""
    moves = [*(-m for m in reversed(group.price_moves)), 0.0, *group.price_moves]
    return tuple(f"{f'spot {100.0 * m:+.4g} %' if m else 'spot unchanged'}, volatility {v}" for m in moves for v in VOLATILITIES)


def risk_parts(held: Held, parameters: Parameters, values: Values) -> tuple[Grouped, Parts, tuple[str, ...]]:
    """Risk units as groups labelled by underlying, their parts, and the scenario of each one's MR1."""
    terms = held.terms
    derivative, spot = terms.kind != SPOT, terms.kind == SPOT
    moves, where = shocks(terms, parameters)
    unit_pnl = pnl(terms, moves, values)
    groups = held.grouped(terms.underlying.astype(np.int64))
    delta = greeks(terms, values)["delta"]
    owned = groups.totals(np.where(spot, 1.0, 0.0))
    used = np.clip(-groups.totals(np.where(derivative, delta, 0.0)), np.minimum(owned, 0.0), np.maximum(owned, 0.0))
    price = np.zeros(len(terms.underlyings))
    price[terms.underlying] = terms.index * terms.exchange
    shift = np.zeros((len(terms.underlyings), unit_pnl.shape[1]))
    shift[terms.underlying] = np.asarray(moves.spot) - 1.0
    total = groups.totals(np.where(derivative[:, None], unit_pnl, 0.0)) + (used * price[groups.label])[:, None] * shift[groups.label]

    size = notional(terms)
    raw = (parameters.minimum_charge.futures * groups.absolute(np.where(terms.of_kind(FUTURE, PERPETUAL), size, 0.0))
           + parameters.minimum_charge.short_options * _short(groups, np.where(terms.kind == OPTION, size, 0.0)))
    least = np.zeros(len(groups.unit))
    shock, names = np.zeros(len(groups.unit)), [""] * len(groups.unit)
    for u, asset in enumerate(terms.underlyings):
        group = group_of(parameters, asset)
        rows, named = np.flatnonzero(groups.label == u), scenario_names(group)
        least[rows] = tiered(raw[rows], group.tiers_from, group.tier_multipliers)
        shock[rows], place = worst_of(total[rows, where["spot_shock"]], named)
        for row, at in zip(rows, place, strict=True):
            names[row] = named[at]

    def loss(part: str) -> NDArray[np.float64]:
        return np.maximum(-np.min(total[:, where[part]], axis=1), 0.0)

    return groups, Parts(shock, loss("time_decay"), loss("vega_term_structure"), _basis(held, groups, parameters, delta * terms.index * terms.exchange, derivative), loss("interest_rate"),
                         parameters.extreme_share * loss("extreme_move"), least, _depeg(held, groups, parameters, delta * terms.index * terms.exchange)), tuple(names)


def _short(groups: Grouped, amount: NDArray[np.float64]) -> NDArray[np.float64]:
    """(G,) the amount of what is sold."""
    return np.asarray((groups.absolute(amount) - groups.totals(amount)) / 2.0).clip(0.0)


def _basis(held: Held, groups: Grouped, parameters: Parameters, worth: NDArray[np.float64], derivative: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(G,) MR4."""
    terms = held.terms
    own = [group_of(parameters, u) for u in terms.underlyings]
    yearly, minimum = (np.array([getattr(g, k) for g in own]) for k in ("annualised_basis", "minimum_basis"))
    rate = np.maximum(minimum[terms.underlying], np.expm1(yearly[terms.underlying] * np.nan_to_num(terms.years)))
    legs = held.grouped(terms.bucket.astype(np.int64), derivative)
    of_bucket = np.array([terms.underlyings.index(u) for u, _ in terms.expiries], np.int64)
    return _into(groups, legs.unit, of_bucket[legs.label], np.abs(legs.totals(worth * rate)))


def _into(groups: Grouped, unit: NDArray[np.int32], label: NDArray[np.int64], amount: NDArray[np.float64]) -> NDArray[np.float64]:
    """(G,) sums of finer groups; every finer group has its coarser one."""
    width = int(groups.label.max(initial=0)) + 1
    at = np.searchsorted(groups.unit.astype(np.int64) * width + groups.label, unit.astype(np.int64) * width + label)
    return np.bincount(at, amount, len(groups.unit)).astype(np.float64)


def _depeg(held: Held, groups: Grouped, parameters: Parameters, worth: NDArray[np.float64]) -> NDArray[np.float64]:
    """(G,) MR9."""
    terms = held.terms
    quoted = np.array([DOLLARS.index(q) if q in DOLLARS else 2 for q in terms.quote_currency] or [2] * terms.count, np.int64)
    quoted[terms.inverse] = 2
    cash = {}
    for n, name in enumerate(DOLLARS):
        mine = (quoted == n) & (terms.kind != SPOT)
        cash[name] = groups.totals(np.where(mine, worth, 0.0))
    price = {name: held.spots.get(name, 1.0) for name in DOLLARS[:2]} | {"USD": 1.0}
    charge = np.zeros(len(groups.unit))
    for a, b in PAIRS:
        hedged = np.where(cash[a] * cash[b] < 0.0, np.minimum(np.abs(cash[a]), np.abs(cash[b])), 0.0)
        cash[a], cash[b] = cash[a] - np.sign(cash[a]) * hedged, cash[b] - np.sign(cash[b]) * hedged
        ratio = price[a] / price[b]
        charge += tiered(hedged, parameters.depeg.tiers_from, depeg_row(min(ratio, 1.0 / ratio), parameters.depeg))
    return charge


def margin(held: Held, parameters: Parameters, values: Values) -> RuleMargin:
    """Margins of every unit."""
    terms, count = held.terms, len(held.units)
    groups, parts, names = risk_parts(held, parameters, values)
    factor = parameters.initial_factor
    owed = np.asarray(groups.by_unit(np.maximum(-groups.totals(np.where(terms.kind == SPOT, terms.index * terms.exchange, 0.0)), 0.0)))
    amounts = {"worst_move": parts.worst} | {f.name: getattr(parts, f.name) for f in fields(parts) if f.name in ("vega_term_structure", "basis", "interest_rate")}
    amounts |= {"minimum_charge": np.maximum(parts.minimum_charge - parts.before_minimum, 0.0), "stablecoin_depeg": parts.depeg}
    charges = {k: factor * np.asarray(groups.by_unit(v)) for k, v in amounts.items()} | {"borrowing": parameters.borrowing.initial * owed}
    required, decided, deciders = parts.requirement, [""] * count, _deciders(parts, names)
    for g in np.lexsort((required, groups.unit)):  # the last of a unit has its largest requirement
        if required[g] > 0.0:
            decided[groups.unit[g]] = f"{terms.underlyings[groups.label[g]]} {deciders[g]}"
    return composed(held.units, charges, np.asarray(groups.by_unit(required)) + parameters.borrowing.maintenance * owed, tuple(decided))


def _deciders(parts: Parts, shocks_named: tuple[str, ...]) -> list[str]:
    """What decided each risk unit."""
    least = parts.minimum_charge > parts.before_minimum
    which = np.argmax([parts.spot_shock, parts.time_decay, parts.extreme_move], axis=0)
    return ["minimum charge" if m else (named, "time decay", "extreme move")[w] for m, w, named in zip(least, which, shocks_named, strict=True)]
