"""Standard errors of anything that is made of weighted second moments of days, by leaving out blocks of days.

A sample x (T, K) has weights w (T,) that sum to 1; its moment is M = sum_t w_t x_t x_t'. Days are cut into blocks of equal weight W, and an estimate g is made again without each block from (M - M_b) / (1 - W_b). Its variance is

  B / (B - 1) sum_b ((1 - W_b) (g_(-b) - g))^2,

the jackknife of unequal blocks to first order; with equal weights it is the usual one. It asks nothing of the law of a day, which is what a t law of four degrees of freedom needs, and serves EWMA weights, whose effective number of days is 1 / sum w^2 (65 for
lambda 0.97), as it serves equal ones.

Source: B. Efron, C. Stein, "The jackknife estimate of variance", Annals of Statistics 9 (1981); F. Busing, E. Meijer, R. van der Leeden, "Delete-m jackknife for unequal m", Statistics and Computing 9 (1999).
Verified: tests/statistics/test_factor_estimate.py (cover of intervals).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BLOCKS = 40
"""the standard error's own error is then 11 %"""


@dataclass(frozen=True)
class WeightedDays:
    """Days, their weights, and the moments without each block."""

    days: NDArray[np.float64]
    """(T, K)"""
    weight: NDArray[np.float64]
    """(T,) sums to 1"""
    block: NDArray[np.int64]
    """(T,) ascending from 0"""
    share: NDArray[np.float64]
    """(B,) weight of each block"""
    moment: NDArray[np.float64]
    """(K, K)"""
    without: NDArray[np.float64]
    """(B, K, K)"""

    @property
    def effective(self) -> float:
        """Number of equally weighted days that know as much: 1 / sum w^2."""
        return float(1.0 / np.sum(self.weight**2))


def weighted_days(days: NDArray[np.float64], decay: float = 1.0) -> WeightedDays:
    """Days (T, K), the newest last, under weights decay^age; `decay` 1 is equal weights."""
    count = len(days)
    weight = decay ** np.arange(count - 1, -1, -1.0)
    weight = weight / weight.sum()
    # the middle of a day's weight decides its block; what comes out empty is closed up
    block = np.unique(np.minimum(((np.cumsum(weight) - 0.5 * weight) * BLOCKS).astype(np.int64), BLOCKS - 1), return_inverse=True)[1].astype(np.int64)
    size = int(block[-1]) + 1
    own = np.zeros((size, days.shape[1], days.shape[1]))
    np.add.at(own, block, weight[:, None, None] * days[:, :, None] * days[:, None, :])
    share = np.asarray(np.bincount(block, weight, size), np.float64)
    moment = own.sum(axis=0)
    return WeightedDays(days, weight, block, share, moment, (moment - own) / (1.0 - share)[:, None, None])


def jackknife_error(share: NDArray[np.float64], whole: NDArray[np.float64], without: NDArray[np.float64]) -> NDArray[np.float64]:
    """Standard error of an estimate (...) from the estimates (B, ...) without each block of weight `share` (B,)."""
    size = len(share)
    away = (1.0 - share).reshape(-1, *[1] * np.ndim(whole)) * (without - whole)
    return np.asarray(np.sqrt(size / (size - 1.0) * np.sum(away * away, axis=0)))


def correlation_of(moment: NDArray[np.float64]) -> NDArray[np.float64]:
    """(..., K, K) moments over the roots of their diagonals."""
    unit = np.sqrt(np.einsum("...ii->...i", moment))
    return np.asarray(moment / (unit[..., :, None] * unit[..., None, :]))
