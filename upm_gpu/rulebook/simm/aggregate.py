"""From weighted sensitivities to a margin: inside buckets, across them, and the curvature of a risk class. Pure arithmetic.

    K_b    = sqrt( sum_k WS_k^2 + sum_{k != l} rho_kl f_kl WS_k WS_l ),   f_kl = min(CR_k, CR_l) / max(CR_k, CR_l)
    S_b    = clip(sum_k WS_k, -K_b, K_b)
    margin = sqrt( sum_b K_b^2 + sum_{b != c} gamma_bc g_bc S_b S_c ) + K_residual

For curvature, with CVR in place of WS and squared correlations:

    theta  = min(0, sum CVR / sum |CVR|),   lambda = (Phi^-1(0.995)^2 - 1) (1 + theta) - theta
    margin = max(0, sum CVR + lambda sqrt( sum_b K_b^2 + sum_{b != c} gamma_bc^2 S_b S_c )),   the residual bucket apart

Source: ISDA SIMM Methodology, section B. Verified: tests/known_answers/test_simm.py, tests/properties/test_simm_laws.py.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RESIDUAL = "Residual"
TAIL = 0.995
"""probability in the curvature's lambda"""


@dataclass(frozen=True)
class Bucket:
    """Weighted sensitivities of one bucket, USD."""

    name: str
    weighted: NDArray[np.float64]
    """(K,) by risk factor; CVR for curvature"""
    correlation: NDArray[np.float64]
    """(K, K), with the concentration factors f where the class has them; 1 on the diagonal"""
    concentration: float = 1.0
    """largest concentration risk factor of the bucket; the g of interest rates is made of it"""


@dataclass(frozen=True)
class BucketMargin:
    """What a bucket contributes, USD."""

    name: str
    margin: float
    """K_b"""
    net: float
    """S_b"""
    total: float
    """sum of the weighted sensitivities, not clipped"""
    gross: float
    """sum of their absolute values"""
    concentration: float


@dataclass(frozen=True)
class MeasureMargin:
    """Delta, vega, curvature or base correlation margin of a risk class, USD, with its buckets."""

    margin: float
    buckets: tuple[BucketMargin, ...]


def bucket_margin(bucket: Bucket) -> BucketMargin:
    """K_b and S_b of one bucket."""
    w = bucket.weighted
    k = float(np.sqrt(max(0.0, float(w @ bucket.correlation @ w))))
    total = float(w.sum())
    return BucketMargin(bucket.name, k, min(max(total, -k), k), total, float(np.abs(w).sum()), bucket.concentration)


def across_buckets(buckets: list[BucketMargin], gamma: NDArray[np.float64]) -> float:
    """sqrt( sum K^2 + sum gamma S S ) of buckets without the residual one; gamma (B, B), its diagonal is not read.

    Below 0 under the root, which matrices that are no true correlations allow, counts as 0.
    """
    k, s = np.array([b.margin for b in buckets]), np.array([b.net for b in buckets])
    off = gamma - np.diag(np.diag(gamma))
    return float(np.sqrt(max(0.0, float(k @ k + s @ off @ s))))


def measure_margin(buckets: list[Bucket], gamma: NDArray[np.float64]) -> MeasureMargin:
    """Delta, vega or base correlation margin. gamma (B, B) between the buckets in their order, the residual one's row is not read."""
    made = [bucket_margin(b) for b in buckets]
    inside = [i for i, b in enumerate(made) if b.name != RESIDUAL]
    margin = across_buckets([made[i] for i in inside], gamma[np.ix_(inside, inside)])
    return MeasureMargin(margin + sum(b.margin for b in made if b.name == RESIDUAL), tuple(made))


def curvature_margin(buckets: list[Bucket], gamma: NDArray[np.float64], scale: float = 1.0) -> MeasureMargin:
    """Curvature margin; `correlation` of the buckets and gamma are the squared ones. `scale` multiplies it (interest rates: ratio^-2)."""
    made = [bucket_margin(b) for b in buckets]
    inside = [i for i, b in enumerate(made) if b.name != RESIDUAL]
    margin = _one_sided([made[i] for i in inside], across_buckets([made[i] for i in inside], gamma[np.ix_(inside, inside)]))
    for b in made:
        margin += _one_sided([b], b.margin) if b.name == RESIDUAL else 0.0
    return MeasureMargin(scale * margin, tuple(made))


def _one_sided(buckets: list[BucketMargin], root: float) -> float:
    """max(0, sum CVR + lambda root)."""
    from scipy.special import ndtri

    total, gross = sum(b.total for b in buckets), sum(b.gross for b in buckets)
    theta = min(0.0, total / gross) if gross > 0.0 else 0.0
    weight = (float(ndtri(TAIL)) ** 2 - 1.0) * (1.0 + theta) - theta
    return max(0.0, total + weight * root)


def concentration(net: NDArray[np.float64] | float, threshold: NDArray[np.float64] | float) -> NDArray[np.float64]:
    """max(1, sqrt(|net| / threshold)); both in USD."""
    return np.maximum(1.0, np.sqrt(np.abs(np.asarray(net, np.float64)) / np.asarray(threshold, np.float64)))


def concentration_ratio(factors: NDArray[np.float64]) -> NDArray[np.float64]:
    """(K, K) min / max of every two concentration factors."""
    return np.minimum.outer(factors, factors) / np.maximum.outer(factors, factors)
