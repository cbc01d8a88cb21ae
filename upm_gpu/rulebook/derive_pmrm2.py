"""Derive's portfolio margin, version 2 (PMRM v2): worst case of a grid, tails, skew moves and a basis move by expiry, plus contingencies.

One sub-account margins one underlying; what a unit holds in several underlyings is several sub-accounts whose margins add. With tau in years of
365 days, r = max(rate, 0), df = exp(-r tau), V_e the value of all options of expiry e (Black-76 with df), m the spot multiplier of a scenario:

    s+ = long exp(-tau (a_l r + c_l)),  s- = min(1 / df, short exp(tau (a_s r + c_s)))
    P&L of a scenario = D [ sum_e (V_e(shock) x (s+ if V_e(shock) >= 0 else s-) - V_e) + perpetuals P (m - 1) + risk-cancelling collateral value (m - 1) ]
    skew scenarios: spot unchanged, volatilities x (1 + clip(k cap / k*, -cap, cap)), k = ln(K / F) or |k|, cap = cap_0 + c sqrt(tau),
                    k* = max(k_min, width sqrt(tau) (v_0 + v_1 sqrt(tau))); every expiry counts minus the absolute value of its P&L
    basis: sum_e min(0, V_e(up) - V_e, V_e(down) - V_e) (a + b tau), volatilities unchanged
    W = min(basis, P&L of every scenario, 0)
    initial = -(f_i + peg) W + IM contingencies,  maintenance = -f_m W + MM contingencies

Contingencies: a share of the spot notional of perpetuals, of naked short options (by expiry and strike, calls and puts netted), of collateral, and for
the initial margin (1 - confidence) x notional where an oracle is less sure than the threshold. Inside the last 30 minutes the forward is an average
of which the settled share no longer moves. Amounts are in the venue's cash (USDC); collateral is divided by its price.

Source: documentation and published test vectors of the venue's open risk manager (version of January 2026), see docs/methodologies/derive_pmrm2.md.
Verified: tests/known_answers/test_derive_pmrm2.py (30 published cases, 1e-12; every scenario's P&L where published).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from upm_gpu.errors import InputError
from upm_gpu.rulebook.frame.grid import Moves, Values, local_values, reporting_values
from upm_gpu.rulebook.frame.held import Held
from upm_gpu.rulebook.frame.parameters import RuleParameters
from upm_gpu.rulebook.frame.result import RuleMargin, composed, worst_of
from upm_gpu.rulebook.frame.terms import FUTURE, OPTION, PERPETUAL, SPOT, Terms
from upm_gpu.rulebook.frame.volatility import DIRECTIONS, MultiplicativeShock, shocked
from upm_gpu.strict_toml import Strict

SECONDS_PER_YEAR = 31_536_000.0
AVERAGING_SECONDS = 1800.0
"""length of the settlement average; a term of the contracts"""
BASIS = "basis"


class Scenario(Strict):
    """One move of the grid."""

    spot: float = Field(gt=0.0, description="multiplier of spot and forwards")
    volatility: Literal["up", "none", "down", "linear", "abs"] = Field(description="linear and abs are the skew moves")
    dampening: float = Field(default=1.0, ge=0.0, description="factor on the P&L")

    @property
    def name(self) -> str:
        """Such as `spot +18 %, volatility up`."""
        if self.volatility in ("linear", "abs"):
            return f"skew {self.volatility}"
        return f"spot {'unchanged' if self.spot == 1.0 else f'{100.0 * (self.spot - 1.0):+.4g} %'}, volatility {self.volatility}"


class StaticDiscount(Strict):
    """What the value of a long and of a short expiry counts in a scenario."""

    long: float = Field(gt=0.0)
    short: float = Field(gt=0.0)
    long_rate_multiplier: float = Field(ge=0.0)
    long_rate_addition: float = Field(ge=0.0)
    short_rate_multiplier: float = Field(ge=0.0)
    short_rate_addition: float = Field(ge=0.0)


class Factors(Strict):
    """Shares of the worst loss."""

    initial: float = Field(gt=0.0)
    maintenance: float = Field(gt=0.0)


class Basis(Strict):
    """The forward contingency."""

    spot_up: float = Field(gt=1.0)
    spot_down: float = Field(gt=0.0, lt=1.0)
    addition: float = Field(ge=0.0)
    per_year: float = Field(ge=0.0)


class Skew(Strict):
    """The two skew moves."""

    linear_cap: float = Field(ge=0.0)
    linear_cap_per_root_year: float
    abs_cap: float = Field(ge=0.0)
    abs_cap_per_root_year: float
    minimum_width: float = Field(gt=0.0)
    width: float = Field(ge=0.0)
    volatility_static: float
    volatility_per_root_year: float


class Contingency(Strict):
    """Shares of notional; `initial_extra` is added for the initial margin."""

    perpetual_maintenance: float = Field(ge=0.0)
    perpetual_initial_extra: float = Field(ge=0.0)
    option_maintenance: float = Field(ge=0.0)
    option_initial_extra: float = Field(ge=0.0)
    confidence_threshold: float = Field(ge=0.0, le=1.0)
    confidence_margin: float = Field(ge=0.0)


class Peg(Strict):
    """The depeg of the cash."""

    asset: str
    threshold: float = Field(ge=0.0)
    factor: float = Field(ge=0.0)


class CollateralTerms(Strict):
    """One accepted asset."""

    underlying: str = Field(default="", description="it moves with this underlying and cancels its risk; blank: it does not")
    maintenance_haircut: float = Field(ge=0.0, le=1.0)
    initial_haircut_extra: float = Field(ge=0.0, le=1.0)


class Parameters(RuleParameters):
    """The parameter file."""

    volatility: MultiplicativeShock
    static_discount: StaticDiscount
    factors: Factors
    basis: Basis
    skew: Skew
    contingency: Contingency
    peg: Peg
    collateral: dict[str, CollateralTerms]
    scenarios: list[Scenario] = Field(min_length=1)


@dataclass(frozen=True)
class Oracle:
    """How sure the price feeds are (1: fully) and what one unit of the cash is worth; feeds that are not named are sure."""

    stable_price: float | None = None
    """None: the spot of the peg's asset, 1 where the market has none"""
    spot: Mapping[str, float] = field(default_factory=dict)
    """by underlying"""
    perpetual: Mapping[str, float] = field(default_factory=dict)
    expiry: Mapping[int, float] = field(default_factory=dict)
    """by bucket of the terms: the least of forward, rate and volatility"""
    collateral: Mapping[str, float] = field(default_factory=dict)
    """by asset"""


SURE = Oracle()


@dataclass(frozen=True)
class Losses:
    """The risk part by (unit, underlying), G groups."""

    unit: NDArray[np.int64]
    manager: NDArray[np.int64]
    managers: tuple[str, ...]
    scenario_pnl: NDArray[np.float64]
    """(G, S)"""
    basis: NDArray[np.float64]
    """(G,) at most 0"""


def margin(held: Held, parameters: Parameters, values: Values, oracle: Oracle = SURE) -> RuleMargin:
    """Margins of every unit; raises InputError UPM-CF-122 for collateral without terms."""
    held = replace(held, terms=replace(held.terms, rate=np.maximum(held.terms.rate, 0.0)))
    stable = oracle.stable_price if oracle.stable_price is not None else held.spots.get(parameters.peg.asset, 1.0)
    losses = scenario_losses(held, parameters, values, stable)
    names = (*(s.name for s in parameters.scenarios), BASIS)
    worst, place = worst_of(np.column_stack([losses.scenario_pnl, losses.basis]), names)
    count = len(held.units)
    loss = np.bincount(losses.unit, worst, count)
    largest = np.full(count, -1)
    for g in np.lexsort((worst, losses.unit)):  # the last of a unit has its largest loss
        largest[losses.unit[g]] = g
    decided = tuple("" if g < 0 or worst[g] <= 0.0 else f"{losses.managers[losses.manager[g]]} {names[place[g]]}" for g in largest)
    peg = max(parameters.peg.threshold - stable, 0.0) * parameters.peg.factor
    c = parameters.contingency
    perpetual, naked, maintenance_haircut, initial_haircut, unsure = _contingencies(held, parameters, oracle, stable)
    maintenance = parameters.factors.maintenance * loss + c.perpetual_maintenance * perpetual + c.option_maintenance * naked + maintenance_haircut
    charges = {"scenario_loss": parameters.factors.initial * loss, "depeg": peg * loss,
               "perpetuals": (c.perpetual_maintenance + c.perpetual_initial_extra) * perpetual, "short_options": (c.option_maintenance + c.option_initial_extra) * naked,
               "collateral_haircut": initial_haircut, "oracle_confidence": unsure}
    return composed(held.units, charges, maintenance, decided)


def scenario_losses(held: Held, parameters: Parameters, values: Values, stable: float) -> Losses:
    """P&L of every scenario and the basis contingency by (unit, underlying)."""
    terms, scenarios = held.terms, parameters.scenarios
    count = len(scenarios)
    moves = _moves(terms, parameters)
    worth = reporting_values(terms, moves, local_values(terms, moves, values))
    dampening, skew = np.array([s.dampening for s in scenarios]), np.array([s.volatility in ("linear", "abs") for s in scenarios])
    managers, manager = _managers(terms, parameters)
    linear = (terms.kind != OPTION) & (manager >= 0)
    moved = np.where(linear[:, None], worth[:, :count] - worth[:, -1:], 0.0)
    moved[terms.kind == SPOT] /= stable

    of_all = held.grouped(np.maximum(manager, 0), manager >= 0)
    total = of_all.totals(moved)
    basis: NDArray[np.float64] = np.zeros(len(of_all.unit))
    options = held.grouped(terms.bucket, terms.kind == OPTION)
    if len(options.unit):
        years, rate = (np.zeros(len(terms.expiries)) for _ in range(2))
        priced = terms.kind == OPTION
        years[terms.bucket[priced]], rate[terms.bucket[priced]] = terms.years[priced], terms.rate[priced]
        tau, r = years[options.label], rate[options.label]
        by_expiry = options.totals(np.where((terms.kind == OPTION)[:, None], worth, 0.0))
        now = by_expiry[:, -1:]
        d = parameters.static_discount
        long = d.long * np.exp(-tau * (r * d.long_rate_multiplier + d.long_rate_addition))
        short = np.minimum(np.exp(r * tau), d.short * np.exp(tau * (r * d.short_rate_multiplier + d.short_rate_addition)))
        shock = by_expiry[:, :count]
        change = shock * np.where(shock >= 0.0, long[:, None], short[:, None]) - now
        change[:, skew] = -np.abs(change[:, skew])
        around = np.minimum(np.min(by_expiry[:, count:count + 2] - now, axis=1), 0.0) * (parameters.basis.addition + parameters.basis.per_year * tau)
        owner = np.array([managers.index(u) for u, _ in terms.expiries])[options.label]
        width = len(managers)
        group = np.searchsorted(of_all.unit.astype(np.int64) * width + of_all.label, options.unit.astype(np.int64) * width + owner)
        for column in range(count):
            total[:, column] += np.bincount(group, change[:, column], len(basis))
        basis = np.bincount(group, around, len(basis)).astype(np.float64)
    return Losses(of_all.unit.astype(np.int64), of_all.label.astype(np.int64), managers, dampening * total, basis)


def _moves(terms: Terms, parameters: Parameters) -> Moves:
    """The scenarios, then the two of the basis, then today: (N, S + 3)."""
    scenarios, basis = parameters.scenarios, parameters.basis
    multiplier = np.array([*(s.spot for s in scenarios), basis.spot_up, basis.spot_down, 1.0])
    direction = np.array([*(DIRECTIONS.get(s.volatility, 0) for s in scenarios), 0, 0, 0])
    volatility = shocked(terms.volatility, terms.days, direction, parameters.volatility)
    for s, scenario in enumerate(scenarios):
        if scenario.volatility in ("linear", "abs"):
            volatility[:, s] = terms.volatility * (1.0 + _skew(terms, parameters.skew, scenario.volatility))
    settled = np.where(np.isnan(terms.years), 0.0, np.clip(1.0 - np.nan_to_num(terms.years) * SECONDS_PER_YEAR / AVERAGING_SECONDS, 0.0, 1.0))[:, None]
    return Moves(multiplier[None, :], settled + (1.0 - settled) * multiplier, volatility)


def _skew(terms: Terms, skew: Skew, kind: str) -> NDArray[np.float64]:
    """(N,) relative change of the volatility; NaN for what has none."""
    cap_0, slope = (skew.linear_cap, skew.linear_cap_per_root_year) if kind == "linear" else (skew.abs_cap, skew.abs_cap_per_root_year)
    with np.errstate(invalid="ignore"):
        root = np.sqrt(terms.years)
        k = np.log(terms.strike / terms.forward)
        cap = cap_0 + slope * root
        width = np.maximum(skew.minimum_width, skew.width * root * (skew.volatility_static + skew.volatility_per_root_year * root))
        return np.clip((k if kind == "linear" else np.abs(k)) * cap / width, -np.abs(cap), np.abs(cap))


def _managers(terms: Terms, parameters: Parameters) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """Underlyings that are margined, and (N,) the place of each instrument's; -1 for collateral that cancels no risk."""
    owner = []
    for n in range(terms.count):
        asset = terms.underlyings[terms.underlying[n]]
        if terms.kind[n] != SPOT:
            owner.append(asset)
            continue
        if asset not in parameters.collateral:
            raise InputError("UPM-CF-122", f"{parameters.name} {parameters.version}: no haircut of {asset}, which the book holds. Add [collateral.{asset}] to the parameter file, or remove the asset.")
        owner.append(parameters.collateral[asset].underlying)
    managers = tuple(sorted(set(owner) - {""} | {u for u, _ in terms.expiries}))
    return managers, np.array([managers.index(o) if o else -1 for o in owner], np.int64)


def _contingencies(held: Held, parameters: Parameters, oracle: Oracle, stable: float) -> tuple[NDArray[np.float64], ...]:
    """(U,) notionals of perpetuals and naked shorts, both haircuts of the collateral, and what unsure oracles cost."""
    terms, c = held.terms, parameters.contingency
    asset = np.array(terms.underlyings, object)[terms.underlying]
    level = terms.index * terms.exchange
    # an inverse contract's quantity is an amount of quote currency
    size = np.where(terms.inverse & (terms.kind != OPTION), 1.0 / terms.forward, 1.0) * level
    everything = held.grouped(np.zeros(terms.count, np.int64))
    linear = terms.of_kind(PERPETUAL, FUTURE)
    perpetual = everything.by_unit(everything.absolute(np.where(linear, size, 0.0)))
    option = terms.kind == OPTION
    _, same = np.unique(np.stack([terms.bucket.astype(float), np.nan_to_num(terms.strike)]), axis=1, return_inverse=True)
    strikes = held.grouped(same.ravel(), option)
    naked = strikes.by_unit(np.maximum(-strikes.totals(level), 0.0))
    posted = held.grouped(terms.underlying.astype(np.int64), terms.kind == SPOT)
    value = np.maximum(posted.totals(terms.index / stable), 0.0)
    owned = [parameters.collateral[terms.underlyings[u]] for u in posted.label]
    mm_cut, extra = np.array([o.maintenance_haircut for o in owned]), np.array([o.initial_haircut_extra for o in owned])

    def doubt(confidence: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.where(confidence < c.confidence_threshold, (1.0 - confidence) * c.confidence_margin, 0.0)

    spot = np.array([oracle.spot.get(a, 1.0) for a in asset])
    perp = np.minimum(spot, [oracle.perpetual.get(a, 1.0) for a in asset])
    expiry = np.minimum(spot, [oracle.expiry.get(int(b), 1.0) for b in terms.bucket])
    holds = held.grouped(terms.underlying.astype(np.int64), linear)
    fearful = {(int(u), int(a)) for u, a, q in zip(holds.unit, holds.label, holds.absolute(np.ones(terms.count)), strict=True) if q > 0.0}
    options = held.grouped(terms.bucket.astype(np.int64), option)
    of_bucket = {int(b): int(u) for b, u in zip(terms.bucket, terms.underlying, strict=True)}
    unsure_perp = everything.by_unit(everything.absolute(np.where(linear, size * doubt(perp), 0.0)))
    with_perp = np.array([(int(u), of_bucket[int(b)]) in fearful for u, b in zip(options.unit, options.label, strict=True)], bool)
    plain, joint = (options.absolute(np.where(option, level * doubt(x), 0.0)) for x in (expiry, np.minimum(expiry, perp)))
    unsure_options = options.by_unit(np.where(with_perp, joint, plain))
    feed = np.array([oracle.spot.get(a if terms.kind[n] != SPOT else parameters.collateral[a].underlying, 1.0) for n, a in enumerate(asset)])
    weakest = np.ones(len(held.units))
    np.minimum.at(weakest, held.unit, feed[held.instrument])
    own = np.array([oracle.collateral.get(terms.underlyings[u], 1.0) for u in posted.label])
    collateral_doubt = np.minimum(own, weakest[posted.unit])
    unsure_posted = posted.by_unit(value * doubt(collateral_doubt))
    return perpetual, naked, posted.by_unit(value * mm_cut), posted.by_unit(value * (mm_cut + extra)), unsure_perp + unsure_options + unsure_posted
