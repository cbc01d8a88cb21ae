"""Interest-rate risk: curves, inflation and cross-currency basis, a bucket a currency.

WS = RW s CR with CR = max(1, sqrt(|sum over the currency| / T)) for curves and inflation, WS = RW s for the basis; two tenors of two
sub-curves correlate rho_kl phi; inflation with any curve and the basis with anything have a correlation of their own. Vega: VR = VRW (vega
times volatility) VCR by expiry; curvature of the same amounts, over the square of the volatility ratio.
Source: ISDA SIMM Methodology, sections B, C, D. Verified: tests/known_answers/test_simm.py.
"""

from __future__ import annotations

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


def delta(held: list[Factors], rates: InterestRate, period: Period) -> MeasureMargin:
    """Delta margin of the currencies held."""
    buckets = [_delta_bucket(f, rates, period) for f in held]
    return measure_margin(buckets, _between_currencies(buckets, rates))


def _delta_bucket(f: Factors, rates: InterestRate, period: Period) -> Bucket:
    basis, inflation = f.kind == "Risk_XCcyBasis", f.kind == "Risk_Inflation"
    group = "regular" if f.bucket in rates.regular_volatility else "low" if f.bucket in rates.low_volatility else "high"
    weight = of_period(rates, f"weight_{group}", period)[np.maximum(f.tenor, 0)]
    weight = np.where(inflation, of_period(rates, "weight_inflation", period), np.where(basis, of_period(rates, "weight_basis", period), weight))
    crowd = float(concentration(f.amount[~basis].sum(), MILLION * threshold_group(rates, f.bucket).delta))
    weighted = f.amount * weight * np.where(basis, 1.0, crowd)
    return Bucket(f.bucket, weighted, _correlation(f, rates, basis, inflation), crowd)


def _correlation(f: Factors, rates: InterestRate, basis: NDArray[np.bool_], inflation: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(K, K) between the factors of a currency."""
    t = np.maximum(f.tenor, 0)
    made = square(rates.correlation_tenors)[np.ix_(t, t)] * np.where(f.same("curve"), 1.0, rates.correlation_curves)
    made = np.where(inflation[:, None] != inflation[None, :], rates.correlation_inflation, made)
    made = np.where(basis[:, None] | basis[None, :], rates.correlation_basis, made)
    np.fill_diagonal(made, 1.0)
    return made


def vega(held: list[Factors], rates: InterestRate, period: Period) -> MeasureMargin:
    """Vega margin of the currencies held."""
    weight = float(of_period(rates, "weight_vega", period))
    buckets = []
    for f in held:
        crowd = float(concentration(f.amount.sum(), MILLION * threshold_group(rates, f.bucket).vega))
        buckets.append(Bucket(f.bucket, f.amount * weight * crowd, _vega_correlation(f, rates), crowd))
    return measure_margin(buckets, _between_currencies(buckets, rates))


def _vega_correlation(f: Factors, rates: InterestRate) -> NDArray[np.float64]:
    """(K, K): expiries as tenors, inflation volatility with rate volatility as inflation with rates."""
    return np.where(f.same("kind"), square(rates.correlation_tenors)[np.ix_(f.tenor, f.tenor)], rates.correlation_inflation)


def curvature(held: list[Factors], rates: InterestRate, period: Period) -> MeasureMargin:
    """Curvature margin of the currencies held."""
    buckets = [Bucket(f.bucket, f.amount * decay(f.tenor, period), _vega_correlation(f, rates) ** 2) for f in held]
    gamma = np.full((len(buckets),) * 2, rates.correlation_currencies**2)
    return curvature_margin(buckets, gamma, float(of_period(rates, "volatility_ratio", period)) ** -2)


def _between_currencies(buckets: list[Bucket], rates: InterestRate) -> NDArray[np.float64]:
    """(B, B) gamma g, g the ratio of the smaller concentration factor to the larger."""
    return rates.correlation_currencies * concentration_ratio(np.array([b.concentration for b in buckets]))
