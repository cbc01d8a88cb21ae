"""ISDA SIMM of a CRIF: product classes, risk classes, delta, vega, curvature, base correlation, buckets, add-ons.

    IM of a risk class    = delta + vega + curvature + base correlation
    SIMM of a product     = sqrt( sum_r sum_s psi_rs IM_r IM_s )
    SIMM of a portfolio   = sum over product classes of multiplier x SIMM + fixed add-ons + sum of factor x notional

Amounts in USD. `side` call takes the sensitivities as they are given (margin to collect), post their negatives: only curvature tells them
apart. The calculation currency has no FX risk of its own. Source: ISDA SIMM Methodology, sections A, B, K. Verified: tests/known_answers/test_simm.py (published results to 1e-9), tests/properties/test_simm_laws.py.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from upm_gpu.rulebook.simm import names, rates
from upm_gpu.rulebook.simm.aggregate import MeasureMargin
from upm_gpu.rulebook.simm.crif import PRODUCT_CLASSES, RISK_TYPES, Crif, Sensitivity
from upm_gpu.rulebook.simm.factors import Factors, Key, netted
from upm_gpu.rulebook.simm.parameters import RISK_CLASSES, Calibration, Period, square
from upm_gpu.rulebook.simm.rates import RateRules

Side = Literal["call", "post"]
VEGA_TYPES = ("Risk_IRVol", "Risk_InflationVol", "Risk_CreditVol", "Risk_CreditVolNonQ", "Risk_EquityVol", "Risk_CommodityVol", "Risk_FXVol")
VOLATILITY_INDICES = "12"
"""equity bucket that has no curvature"""


@dataclass(frozen=True)
class RiskClassMargin:
    """One risk class of one product class; measures are named delta, vega, curvature, base_correlation, absent ones left out."""

    name: str
    margin: float
    measures: dict[str, MeasureMargin]


@dataclass(frozen=True)
class ProductClassMargin:
    """One product class."""

    name: str
    margin: float
    """before its multiplier"""
    multiplier: float
    risk_classes: tuple[RiskClassMargin, ...]


@dataclass(frozen=True)
class PortfolioMargin:
    """One portfolio: what SIMM asks, and of what it is made."""

    portfolio: str
    margin: float
    add_on: float
    product_classes: tuple[ProductClassMargin, ...]


@dataclass(frozen=True)
class Model:
    """A calibration for one margin period and calculation currency, as arrays; made once for all portfolios."""

    calibration: Calibration
    period: Period
    currency: str
    rates: RateRules
    names: dict[str, names.ByName]
    """every other risk class"""
    risk_classes: NDArray[np.float64]
    """(6, 6) correlation in the order of RISK_CLASSES"""


def make_model(calibration: Calibration, period: Period, currency: str) -> Model:
    """The rules of every risk class."""
    by_name = {c: names.class_rules(calibration, c, period, currency) for c in RISK_CLASSES if c != "interest_rate"}
    return Model(calibration, period, currency, rates.rate_rules(calibration.interest_rate, period), by_name, square(calibration.risk_classes.correlation))


def simm(crif: Crif, calibration: Calibration, period: Period = 10, currency: str = "USD", side: Side = "call") -> tuple[PortfolioMargin, ...]:
    """The margin of every portfolio of a CRIF."""
    made = []
    model = make_model(calibration, period, currency)
    held, parameters = _by_portfolio(crif.sensitivities), _by_portfolio(crif.add_ons)
    for portfolio in crif.portfolios:
        rows, extra = held.get(portfolio, []), parameters.get(portfolio, [])
        products = tuple(_product(name, own, extra, model, side)
                         for name in PRODUCT_CLASSES if (own := [r for r in rows if r.product_class == name]))
        add_on = add_on_margin(extra)
        made.append(PortfolioMargin(portfolio, math.fsum(p.multiplier * p.margin for p in products) + add_on, add_on, products))
    return tuple(made)


def _by_portfolio(rows: Iterable[Sensitivity]) -> dict[str, list[Sensitivity]]:
    found: dict[str, list[Sensitivity]] = {}
    for row in rows:
        found.setdefault(row.portfolio, []).append(row)
    return found


def add_on_margin(rows: Iterable[Sensitivity]) -> float:
    """Fixed amounts, and for every product its factor (per cent) of the sum of its absolute notionals."""
    rows = list(rows)
    fixed = math.fsum(r.amount for r in rows if r.risk_type == "Param_AddOnFixedAmount")
    parts = [r.amount / 100.0 * math.fsum(abs(n.amount) for n in rows if n.risk_type == "Notional" and n.qualifier == r.qualifier)
             for r in rows if r.risk_type == "Param_AddOnNotionalFactor"]
    return fixed + math.fsum(parts)


def _product(name: str, rows: list[Sensitivity], extra: list[Sensitivity], model: Model, side: Side) -> ProductClassMargin:
    classes = tuple(RiskClassMargin(risk_class, math.fsum(m.margin for m in measures.values()), measures) for risk_class in RISK_CLASSES
                    if (measures := risk_class_measures(risk_class, [r for r in rows if RISK_TYPES[r.risk_type] == risk_class], model, side)))
    multiplier = math.prod(r.amount for r in extra if r.risk_type == "Param_ProductClassMultiplier" and r.qualifier == name)
    at = [RISK_CLASSES.index(c.name) for c in classes]
    im = np.array([c.margin for c in classes])
    total = float(np.sqrt(max(0.0, float(im @ model.risk_classes[np.ix_(at, at)] @ im)))) if classes else 0.0
    return ProductClassMargin(name, total, multiplier, classes)


def risk_class_measures(risk_class: str, rows: list[Sensitivity], model: Model, side: Side) -> dict[str, MeasureMargin]:
    """The margins of one risk class by measure; those without a sensitivity are left out."""
    sign = 1.0 if side == "call" else -1.0
    vegas = [r for r in rows if r.risk_type in VEGA_TYPES]
    deltas = [r for r in rows if r.risk_type not in (*VEGA_TYPES, "Risk_BaseCorr") and not (r.risk_type == "Risk_FX" and r.qualifier == model.currency)]
    bases = [r for r in rows if r.risk_type == "Risk_BaseCorr"]
    made: dict[str, MeasureMargin] = {}
    if risk_class == "interest_rate":
        if deltas:
            made["delta"] = rates.delta(_factors(deltas, sign), model.rates)
        if vegas:
            made["vega"] = rates.vega(_factors(vegas, sign), model.rates)
            made["curvature"] = rates.curvature(_factors(vegas, sign), model.rates)
        return made
    rules = model.names[risk_class]
    if deltas:
        made["delta"] = names.delta(_factors(deltas, sign), rules)
    if vegas:
        made["vega"] = names.vega(_factors(vegas, sign, expiries=rules.expiries_apart), rules)
    curved = [r for r in vegas if not (risk_class == "equity" and r.bucket == VOLATILITY_INDICES)]
    if curved:
        made["curvature"] = names.curvature(_factors(curved, sign), rules, model.period)
    if bases:
        made["base_correlation"] = names.base_correlation(_factors(bases, sign), model.calibration.credit_qualifying, model.period)
    return made


def _factors(rows: list[Sensitivity], sign: float, expiries: bool = True) -> list[Factors]:
    """Rows as risk factors; without `expiries` the tenors of a name are one factor."""
    return netted(((_key(r, expiries), r) for r in rows), sign)


def _key(row: Sensitivity, expiries: bool) -> Key:
    bucket = row.qualifier if RISK_TYPES[row.risk_type] == "interest_rate" else row.bucket
    return bucket, row.risk_type, row.qualifier, row.label1 if expiries else "", row.label2
