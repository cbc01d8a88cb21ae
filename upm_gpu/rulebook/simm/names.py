"""Risk by name: credit (qualifying and not), equity, commodity and foreign exchange.

WS = RW s CR with CR = max(1, sqrt(|net sensitivity of the name| / T)), correlated inside a bucket by rho f. Credit has a factor for every name,
tenor and payment currency; equity, commodity and FX one for every name. The vega amounts of the latter three are turned into risk by
sigma = RW sqrt(365 / d) / Phi^-1(0.99), d the calendar days of the margin period, times the historical volatility ratio; curvature takes
sigma without the ratio. Equity bucket 12 (volatility indices) has no curvature.
Source: ISDA SIMM Methodology, sections B, C, E to I. Verified: tests/known_answers/test_simm.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from upm_gpu.rulebook.simm.aggregate import (
    RESIDUAL,
    Bucket,
    MeasureMargin,
    concentration,
    concentration_ratio,
    curvature_margin,
    measure_margin,
)
from upm_gpu.rulebook.simm.factors import Factors, by_name, calendar_days, decay, per_name
from upm_gpu.rulebook.simm.parameters import Calibration, Credit, ForeignExchange, Named, Period, of_period, square

MILLION = 1e6


@dataclass(frozen=True)
class ByName:
    """How a class weighs and correlates the factors of one bucket; functions of the bucket's factors."""

    weight: Callable[[Factors], NDArray[np.float64]]
    threshold: Callable[[Factors], NDArray[np.float64]]
    vega_weight: Callable[[Factors], NDArray[np.float64]]
    vega_threshold: Callable[[Factors], NDArray[np.float64]]
    sigma: Callable[[Factors], NDArray[np.float64]]
    ratio: float
    correlation: Callable[[Factors], NDArray[np.float64]]
    vega_correlation: Callable[[Factors], NDArray[np.float64]]
    gamma: Callable[[list[Bucket]], NDArray[np.float64]]
    expiries_apart: bool = False
    """curvature and vega have a factor for each expiry of a name (credit)"""


def delta(held: list[Factors], rules: ByName) -> MeasureMargin:
    """Delta margin of a class."""
    return _weighted(held, rules.weight, rules.threshold, rules.correlation, rules)


def vega(held: list[Factors], rules: ByName) -> MeasureMargin:
    """Vega margin of a class."""
    risk = [replace(f, amount=f.amount * rules.sigma(f) * rules.ratio) for f in held]
    return _weighted(risk, rules.vega_weight, rules.vega_threshold, rules.vega_correlation, rules)


def _weighted(held: list[Factors], weight: Callable[[Factors], NDArray[np.float64]], threshold: Callable[[Factors], NDArray[np.float64]],
              correlation: Callable[[Factors], NDArray[np.float64]], rules: ByName) -> MeasureMargin:
    buckets = []
    for f in held:
        crowd = concentration(by_name(f), MILLION * threshold(f))
        made = correlation(f) * concentration_ratio(crowd)
        buckets.append(Bucket(f.bucket, f.amount * weight(f) * crowd, made, float(crowd.max())))
    return measure_margin(buckets, rules.gamma(buckets))


def curvature(held: list[Factors], rules: ByName, period: Period) -> MeasureMargin:
    """Curvature margin of a class; `held` has a factor for each name and expiry, credit's keep their expiries apart, others are netted by name."""
    buckets = []
    for f in held:
        exposure = replace(f, amount=f.amount * decay(f.tenor, period) * rules.sigma(f))
        one = exposure if rules.expiries_apart else per_name(exposure)
        buckets.append(Bucket(f.bucket, one.amount, rules.vega_correlation(one) ** 2))
    return curvature_margin(buckets, rules.gamma(buckets) ** 2)


def credit(section: Credit, period: Period, kin: Literal["name", "curve"]) -> ByName:
    """The rules of a credit class; `kin` is what two factors of one name share: qualifying the name itself, non-qualifying the group in Label2."""
    names = _bucket_places(len(section.weight_10d))

    def correlation(f: Factors) -> NDArray[np.float64]:
        if f.bucket == RESIDUAL:
            made = np.full((len(f.amount),) * 2, section.correlation_residual)
        else:
            made = np.where(f.same(kin), section.correlation_same_name, section.correlation_different_name)
        np.fill_diagonal(made, 1.0)
        return made

    return ByName(_listed(of_period(section, "weight", period), names), _listed(np.array(section.threshold), names),
                  _flat(float(of_period(section, "weight_vega", period))), _flat(section.threshold_vega), _flat(1.0), 1.0, correlation, correlation,
                  _between(section.correlation_buckets, names), expiries_apart=True)


def base_correlation(held: list[Factors], section: Credit, period: Period) -> MeasureMargin:
    """Base correlation margin: one bucket, a factor an index, no concentration."""
    buckets = []
    for f in held:
        made = np.full((len(f.amount),) * 2, section.correlation_base)
        np.fill_diagonal(made, 1.0)
        buckets.append(Bucket(f.bucket, f.amount * float(of_period(section, "weight_base_correlation", period)), made))
    return measure_margin(buckets, np.ones((len(buckets),) * 2))


def named(section: Named, period: Period) -> ByName:
    """The rules of equity or commodity."""
    names = _bucket_places(len(section.weight_10d), residual=len(section.weight_10d) == len(section.correlation_buckets) + 2)
    weight = _listed(of_period(section, "weight", period), names)
    vega_weight = of_period(section, "weight_vega", period)

    def correlation(f: Factors) -> NDArray[np.float64]:
        made = np.where(f.same("name"), 1.0, section.correlation_inside[names[f.bucket]])
        np.fill_diagonal(made, 1.0)
        return made

    return ByName(weight, _listed(np.array(section.threshold), names), _listed(np.broadcast_to(vega_weight, len(names)), names),
                  _listed(np.array(section.threshold_vega), names), lambda f: weight(f) * _volatility_scale(period), float(of_period(section, "volatility_ratio", period)),
                  correlation, correlation, _between(section.correlation_buckets, names))


def foreign_exchange(section: ForeignExchange, period: Period, currency: str) -> ByName:
    """The rules of FX seen from the calculation currency; one bucket."""
    weights = of_period(section, "weight", period)
    own = currency in section.high_volatility
    inside = np.array(section.correlation_high if own else section.correlation_regular)

    def high(code: str) -> int:
        return int(code in section.high_volatility)

    def category(code: str) -> int:
        return 0 if code in section.category_1 else 1 if code in section.category_2 else 2

    def correlation(f: Factors) -> NDArray[np.float64]:
        group = np.array([high(n) for n in f.name])
        made = inside[group[:, None] + group[None, :]]
        np.fill_diagonal(made, 1.0)
        return made

    def pair_weight(f: Factors) -> NDArray[np.float64]:
        return weights[np.array([high(n[:3]) + high(n[3:]) for n in f.name])] * _volatility_scale(period)

    def pair_threshold(f: Factors) -> NDArray[np.float64]:
        places = [sorted((category(n[:3]), category(n[3:]))) for n in f.name]
        return np.array([section.threshold_vega[(0, 3, 5)[a] + b - a] for a, b in places])

    def pair_correlation(f: Factors) -> NDArray[np.float64]:
        return np.where(f.same("name"), 1.0, section.correlation_vega)

    return ByName(lambda f: weights[np.array([own + high(n) for n in f.name])], lambda f: np.array([section.threshold[category(n)] for n in f.name]),
                  _flat(float(of_period(section, "weight_vega", period))), pair_threshold, pair_weight, float(of_period(section, "volatility_ratio", period)),
                  correlation, pair_correlation, lambda buckets: np.ones((len(buckets),) * 2))


def class_rules(calibration: Calibration, risk_class: str, period: Period, currency: str) -> ByName:
    """The rules of any class but interest rates."""
    if risk_class == "fx":
        return foreign_exchange(calibration.fx, period, currency)
    if risk_class in ("equity", "commodity"):
        return named(getattr(calibration, risk_class), period)
    return credit(getattr(calibration, risk_class), period, "name" if risk_class == "credit_qualifying" else "curve")


def _volatility_scale(period: Period) -> float:
    """From a weight (per cent over the margin period at 99 %) to a volatility (per cent a year)."""
    from scipy.special import ndtri

    return float(np.sqrt(365.0 / calendar_days(period)) / ndtri(0.99))


def _bucket_places(count: int, residual: bool = True) -> dict[str, int]:
    numbered = [str(i + 1) for i in range(count - residual)]
    return {name: i for i, name in enumerate([*numbered, RESIDUAL] if residual else numbered)}


def _listed(values: NDArray[np.float64], places: dict[str, int]) -> Callable[[Factors], NDArray[np.float64]]:
    return lambda f: np.full(len(f.amount), values[places[f.bucket]])


def _flat(value: float) -> Callable[[Factors], NDArray[np.float64]]:
    return lambda f: np.full(len(f.amount), value)


def _between(triangle: list[list[float]], places: dict[str, int]) -> Callable[[list[Bucket]], NDArray[np.float64]]:
    """(B, B) gamma between the buckets held; the residual bucket's entries are 0 and not read."""
    matrix = np.zeros((len(places),) * 2)
    numbered = len(triangle) + 1
    matrix[:numbered, :numbered] = square(triangle)

    def gamma(buckets: list[Bucket]) -> NDArray[np.float64]:
        at = [places[b.name] for b in buckets]
        place = np.array(at, np.intp)
        return matrix[place[:, None], place]

    return gamma
