"""Interest-rate risk: curves, inflation and cross-currency basis, a bucket a currency.

WS = RW s CR with CR = max(1, sqrt(|sum over the currency| / T)) for curves and inflation, WS = RW s for the basis; two tenors of two
sub-curves correlate rho_kl phi; inflation with any curve and the basis with anything have a correlation of their own. Vega: VR = VRW (vega
times volatility) VCR by expiry; curvature of the same amounts, over the square of the volatility ratio.
Source: ISDA SIMM Methodology, sections B, C, D. Verified: tests/known_answers/test_simm.py.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from upm_gpu.rulebook.simm.aggregate import (
    Bucket,
    MeasureMargin,
    concentration,
    concentration_ratio,
    curvature_margin,
    measure_margin,
)
from upm_gpu.rulebook.simm.factors import Factors, decay
from upm_gpu.rulebook.simm.parameters import InterestRate, Period, of_period, square, threshold_group

MILLION = 1e6


@dataclass(frozen=True)
class RateRules:
    """The calibration of rates for one margin period, as arrays."""

    section: InterestRate
    period: Period
    tenors: NDArray[np.float64]
    """(12, 12) correlation"""
    weights: dict[str, NDArray[np.float64]]
    """(12,) by volatility group: regular, low, high"""
    inflation: float
    basis: float
    vega: float
    ratio: float


def rate_rules(section: InterestRate, period: Period) -> RateRules:
    """Made once for all portfolios."""
    weights = {group: of_period(section, f"weight_{group}", period) for group in ("regular", "low", "high")}
    inflation, basis, vega, ratio = (float(of_period(section, key, period)) for key in ("weight_inflation", "weight_basis", "weight_vega", "volatility_ratio"))
    return RateRules(section, period, square(section.correlation_tenors), weights, inflation, basis, vega, ratio)


def delta(held: list[Factors], rules: RateRules) -> MeasureMargin:
    """Delta margin of the currencies held."""
    buckets = [_delta_bucket(f, rules) for f in held]
    return measure_margin(buckets, _between_currencies(buckets, rules.section))


def _delta_bucket(f: Factors, rules: RateRules) -> Bucket:
    rates = rules.section
    basis, inflation = f.kind == "Risk_XCcyBasis", f.kind == "Risk_Inflation"
    group = "regular" if f.bucket in rates.regular_volatility else "low" if f.bucket in rates.low_volatility else "high"
    weight = np.where(inflation, rules.inflation, np.where(basis, rules.basis, rules.weights[group][np.maximum(f.tenor, 0)]))
    crowd = float(concentration(f.amount[~basis].sum(), MILLION * threshold_group(rates, f.bucket).delta))
    weighted = f.amount * weight * np.where(basis, 1.0, crowd)
    return Bucket(f.bucket, weighted, _correlation(f, rules, basis, inflation), crowd)


def _correlation(f: Factors, rules: RateRules, basis: NDArray[np.bool_], inflation: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(K, K) between the factors of a currency."""
    rates, t = rules.section, np.maximum(f.tenor, 0)
    made = rules.tenors[t[:, None], t] * np.where(f.same("curve"), 1.0, rates.correlation_curves)
    made = np.where(inflation[:, None] != inflation[None, :], rates.correlation_inflation, made)
    made = np.where(basis[:, None] | basis[None, :], rates.correlation_basis, made)
    np.fill_diagonal(made, 1.0)
    return made


def vega(held: list[Factors], rules: RateRules) -> MeasureMargin:
    """Vega margin of the currencies held."""
    buckets = []
    for f in map(_one_inflation, held):
        crowd = float(concentration(f.amount.sum(), MILLION * threshold_group(rules.section, f.bucket).vega))
        buckets.append(Bucket(f.bucket, f.amount * rules.vega * crowd, _vega_correlation(f, rules), crowd))
    return measure_margin(buckets, _between_currencies(buckets, rules.section))


def _one_inflation(f: Factors) -> Factors:
    """Inflation volatility is one risk factor of a currency: its expiries are added, like those of a name."""
    inflation = f.kind == "Risk_InflationVol"
    if inflation.sum() < 2:
        return f
    first = int(np.argmax(inflation))
    amount = f.amount.copy()
    amount[first] = math.fsum(f.amount[inflation])
    kept = ~inflation
    kept[first] = True
    return replace(f, kind=f.kind[kept], name=f.name[kept], tenor=f.tenor[kept], curve=f.curve[kept], amount=amount[kept])


def _vega_correlation(f: Factors, rules: RateRules) -> NDArray[np.float64]:
    """(K, K): expiries as tenors, inflation volatility with rate volatility as inflation with rates."""
    return np.where(f.same("kind"), rules.tenors[f.tenor[:, None], f.tenor], rules.section.correlation_inflation)


def curvature(held: list[Factors], rules: RateRules) -> MeasureMargin:
    """Curvature margin of the currencies held."""
    exposed = [_one_inflation(replace(f, amount=f.amount * decay(f.tenor, rules.period))) for f in held]
    buckets = [Bucket(f.bucket, f.amount, _vega_correlation(f, rules) ** 2) for f in exposed]
    gamma = np.full((len(buckets),) * 2, rules.section.correlation_currencies**2)
    return curvature_margin(buckets, gamma, rules.ratio**-2)


def _between_currencies(buckets: list[Bucket], rates: InterestRate) -> NDArray[np.float64]:
    """(B, B) gamma g, g the ratio of the smaller concentration factor to the larger."""
    return rates.correlation_currencies * concentration_ratio(np.array([b.concentration for b in buckets]))
