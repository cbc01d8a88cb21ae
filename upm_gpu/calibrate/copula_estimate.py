"""Student-t marginals and a t copula from a history, with standard errors: what `upm calibrate copula` estimates.

Marginals: location 0, scale and degrees of freedom nu together by maximum likelihood, of plain returns (`filter = "none"`) or of returns over yesterday's EWMA volatility (`ewma`: the law of a day given the days before; the noise of the filter makes its nu
slightly too small). Copula: pseudo-likelihood of the ranks (C. Genest, K. Ghoudi, L.-P. Rivest, Biometrika 82, 1995), so that no marginal law enters; correlation from Kendall's tau, sin(pi tau / 2), repaired to a matrix; nu by one-dimensional maximum
likelihood (Demarta and McNeil 2005). Its standard error is a jackknife over blocks of days of ranks, tau and likelihood together: ranks are estimated too, and the curvature of the pseudo-likelihood alone would be too sure.

Verified: tests/statistics/test_copula_estimate.py (recovery and coverage), tests/known_answers/test_covariance.py (the likelihoods).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from upm_gpu.calibrate.tail_fit import HIGHEST, LOWEST, copula_degrees_of_freedom, filtered
from upm_gpu.errors import CalibrationError
from upm_gpu.model.psd import nearest_correlation

Filter = Literal["none", "ewma"]
FILTERS: tuple[Filter, ...] = ("none", "ewma")
LEAST_RETURNS = 250
BLOCKS = 40
"""of the jackknife: its own error is then 11 % of the standard error"""


@dataclass(frozen=True)
class MarginalFit:
    """A Student t of one series: scale a day, degrees of freedom, their standard errors (NaN on a bound)."""

    scale: float
    degrees_of_freedom: float
    scale_error: float
    degrees_error: float
    bound: str
    observations: int


@dataclass(frozen=True)
class CopulaFit:
    """A t copula of K series."""

    degrees_of_freedom: float
    error: float
    """NaN on a bound"""
    bound: str
    correlation: NDArray[np.float64]
    correlation_error: NDArray[np.float64]
    """(K, K)"""
    repair_distance: float
    observations: int


def fit_marginal(returns: NDArray[np.float64], name: str, how: Filter = "ewma") -> MarginalFit:
    """Raises `CalibrationError` UPM-CA-222 for a short or still series."""
    z = filtered(returns) if how == "ewma" else returns
    if len(z) < LEAST_RETURNS:
        raise CalibrationError("UPM-CA-222", f"{name}: {len(z)} returns are too few for a tail, {LEAST_RETURNS} are needed. Lengthen the history.")
    unit = float(np.sqrt(np.mean(z * z)))
    if not unit > 0.0:
        raise CalibrationError("UPM-CA-222", f"{name}: the series stands still and has no tail. Leave it out.")
    x = np.array([np.log(0.7 * unit), np.log(5.0)])
    low, high = np.array([np.log(1e-3 * unit), np.log(LOWEST)]), np.array([np.log(10.0 * unit), np.log(HIGHEST)])
    for _ in range(60):
        slope, bend = _curvature(z, x)
        held = ((x <= low) & (slope < 0.0)) | ((x >= high) & (slope > 0.0))
        size = np.where(held, 0.0, slope)
        bend = np.where(held[:, None] | held[None, :], -np.eye(2), bend)
        values, vectors = np.linalg.eigh(-bend)
        step = vectors @ ((vectors.T @ size) / np.maximum(np.abs(values), 1e-6 * np.max(np.abs(values))))
        now = _log_likelihood(z, x)
        for half in 0.5 ** np.arange(20):
            trial = np.clip(x + half * step, low, high)
            if _log_likelihood(z, trial) > now:
                x = trial
                break
        else:
            break
        if float(np.sum(size * step)) < 1e-10:
            break
    bound = "lower" if x[1] <= low[1] + 1e-9 else "upper" if x[1] >= high[1] - 1e-9 else ""
    _, bend = _curvature(z, x)
    inverse = np.linalg.inv(-bend) if not bound else np.array([[-1.0 / bend[0, 0], 0.0], [0.0, np.nan]])
    scale, nu = np.exp(x)
    return MarginalFit(float(scale), float(nu), float(scale * np.sqrt(inverse[0, 0])), float(nu * np.sqrt(inverse[1, 1])), bound, len(z))


def fit_copula(returns: NDArray[np.float64], names: tuple[str, ...], how: Filter = "ewma") -> CopulaFit:
    """A t copula of common returns (T, K), K of 2 or more. Raises `CalibrationError` UPM-CA-222."""
    z = np.stack([filtered(c) for c in returns.T], axis=1) if how == "ewma" else returns
    count, size = z.shape
    if count < LEAST_RETURNS or size < 2:
        raise CalibrationError("UPM-CA-222", f"{', '.join(names)}: {count} common returns of {size} series are too few for a copula; {LEAST_RETURNS} returns of two are needed. Lengthen the history or name more assets.")
    block = np.arange(count) * BLOCKS // count
    whole, without = _rank_correlations(z, block)
    repair = nearest_correlation(whole, names)
    correlation, distance = repair.correlation, repair.distance
    nu = copula_degrees_of_freedom(_ranks(z), correlation)
    bound = "lower" if nu <= LOWEST * 1.001 else "upper" if nu >= HIGHEST * 0.999 else ""
    parts = np.log([copula_degrees_of_freedom(_ranks(z[block != b]), nearest_correlation(without[b], names).correlation) for b in range(BLOCKS)])
    spread = np.sqrt((BLOCKS - 1) / BLOCKS * np.sum((parts - np.mean(parts)) ** 2))
    cross = np.sqrt((BLOCKS - 1) / BLOCKS * np.sum((without - np.mean(without, axis=0)) ** 2, axis=0))
    return CopulaFit(nu, float("nan") if bound else float(nu * spread), bound, correlation, cross, distance, count)


def _rank_correlations(z: NDArray[np.float64], block: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """sin(pi tau / 2) of all days (K, K) and without each block (B, K, K): concordant less discordant pairs are counted once, by day and by block."""
    count, size = z.shape
    blocks = int(block[-1]) + 1
    whole, without = np.eye(size), np.repeat(np.eye(size)[None], blocks, axis=0)
    inside = [np.flatnonzero(block == b) for b in range(blocks)]
    left = np.array([count - len(i) for i in inside], np.float64)
    for i in range(size):
        for j in range(i):
            day = np.empty(count)
            for first in range(0, count, 256):
                rows = slice(first, first + 256)
                day[rows] = np.sum(np.sign(z[rows, None, i] - z[None, :, i]) * np.sign(z[rows, None, j] - z[None, :, j]), axis=1)
            own = np.array([np.sum(np.sign(z[b][:, None, i] - z[b][None, :, i]) * np.sign(z[b][:, None, j] - z[b][None, :, j])) for b in inside])
            gone = np.array([day[b].sum() for b in inside])
            total = float(day.sum())
            whole[i, j] = whole[j, i] = np.sin(0.5 * np.pi * total / (count * (count - 1.0)))
            without[:, i, j] = without[:, j, i] = np.sin(0.5 * np.pi * (total - 2.0 * gone + own) / (left * (left - 1.0)))
    return whole, without


def _ranks(z: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ranks over T + 1; ties in the order of time."""
    return np.asarray((np.argsort(np.argsort(z, axis=0, kind="stable"), axis=0, kind="stable") + 1.0) / (len(z) + 1.0), np.float64)


def _log_likelihood(z: NDArray[np.float64], x: NDArray[np.float64]) -> float:
    from scipy.special import gammaln

    scale, nu = np.exp(x)
    return float(len(z) * (gammaln(0.5 * (nu + 1.0)) - gammaln(0.5 * nu) - 0.5 * np.log(np.pi * nu) - np.log(scale)) - 0.5 * (nu + 1.0) * np.sum(np.log1p((z / scale) ** 2 / nu)))


def _curvature(z: NDArray[np.float64], x: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Gradient (2,) and Hessian (2, 2) of the log-likelihood by ln scale and ln nu, by central differences."""
    h = 1e-3
    at = {(i, j): _log_likelihood(z, x + h * np.array([i, j], float)) for i in (-1, 0, 1) for j in (-1, 0, 1)}
    slope = np.array([at[1, 0] - at[-1, 0], at[0, 1] - at[0, -1]]) / (2.0 * h)
    cross = (at[1, 1] - at[1, -1] - at[-1, 1] + at[-1, -1]) / (4.0 * h * h)
    return slope, np.array([[(at[1, 0] - 2.0 * at[0, 0] + at[-1, 0]) / h**2, cross], [cross, (at[0, 1] - 2.0 * at[0, 0] + at[0, -1]) / h**2]])
