"""A factor model of a correlation: loadings, specific shares and what the factors explain, with standard errors.

  R = L L' + diag(psi),   L (K, m) loadings in units of each series' own deviation, psi (K,) specific shares, h^2 = sum_f L^2 = 1 - psi the communality.

Estimator: the likeliest under normal days (D. Lawley 1940; K. Joreskog, "Some contributions to maximum likelihood factor analysis", Psychometrika 32, 1967): for given psi the loadings are closed, from the eigenvalues l and vectors of
psi^-1/2 S psi^-1/2, and log psi minimises sum over the other eigenvalues of l - ln l - 1. S is an EWMA correlation, or one of equal weights, shrunk or not; the estimator does not care where S is from. Loadings are turned so that L' psi^-1 L is diagonal and descending, each column's sum
positive. A specific share may fall to `LEAST_SPECIFIC` (a Heywood case): named as a bound.

Number of factors: as many as S has eigenvalues above the edge (1 + sqrt(K / T))^2 of pure noise (V. Marchenko, L. Pastur 1967; L. Laloux, P. Cizeau, J.-P. Bouchaud, M. Potters 1999), T the effective number of days, at least 1 and at most what K series can tell,
(K - m)^2 >= K + m.

Standard errors leave out blocks of days (`weighted_days.py`); loadings without a block are first turned to those of the whole, since a turn changes no correlation. Verified: tests/statistics/test_factor_estimate.py (recovery, cover of intervals, scikit-learn's factor
analysis and shrinkage).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from upm_gpu.calibrate.shrinkage import (
    constant_correlation_intensity,
    constant_correlation_target,
    identity_intensity,
)
from upm_gpu.calibrate.weighted_days import WeightedDays, correlation_of, jackknife_error, weighted_days
from upm_gpu.errors import CalibrationError

LEAST_SPECIFIC = 0.005
"""a share below it says that a series is a factor: no correlation of daily closes tells 0.5 % from nothing"""
LEAST_SERIES = 3
"""one factor of two series has two loadings for one correlation"""
SETTLED = 1e-6
"""largest slope of the objective by log psi at which a search has ended"""


@dataclass(frozen=True)
class FactorFit:
    """m factors of K series."""

    correlation: NDArray[np.float64]
    """(K, K) that the model was fitted to: shrunk where asked"""
    loading: NDArray[np.float64]
    """(K, m)"""
    loading_error: NDArray[np.float64]
    specific: NDArray[np.float64]
    """(K,) shares of the variance"""
    specific_error: NDArray[np.float64]
    explained: NDArray[np.float64]
    """(m,) shares of the variance of all series"""
    explained_error: NDArray[np.float64]
    bounds: tuple[str, ...]
    """(K,) "lower" where the specific share sits on it"""
    volatility: NDArray[np.float64]
    """(K,) of a day"""
    volatility_error: NDArray[np.float64]
    shrinkage_intensity: float
    eigenvalues: NDArray[np.float64]
    """(K,) of `correlation`, descending"""
    edge: float
    """of pure noise"""
    days: WeightedDays

    @property
    def implied(self) -> NDArray[np.float64]:
        """(K, K) the correlation of the model, positive definite."""
        found = self.loading @ self.loading.T
        np.fill_diagonal(found, 1.0)
        return np.asarray(found)

    @property
    def residual(self) -> NDArray[np.float64]:
        """(K, K) correlation less the model's, 0 on the diagonal."""
        found = self.correlation - self.implied
        np.fill_diagonal(found, 0.0)
        return np.asarray(found)


def most_factors(size: int) -> int:
    """As many as a correlation of `size` series can tell.

    >>> [most_factors(k) for k in (3, 5, 6, 20)]
    [1, 2, 3, 14]
    """
    return max(m for m in range(size) if (size - m) ** 2 >= size + m)


def fit_factors(returns: NDArray[np.float64], names: tuple[str, ...], count: int = 0, decay: float = 1.0, shrinkage: str = "none") -> FactorFit:
    """Factors of common returns (T, K), the newest last; `count` 0 chooses. Raises `CalibrationError` UPM-CA-228 (too few series or days, too many factors), 229 (no convergence)."""
    days, size = returns.shape
    if size < LEAST_SERIES:
        raise CalibrationError("UPM-CA-228", f"factors of {', '.join(names)}: {size} series; a factor model needs {LEAST_SERIES} or more. Name more assets.")
    if days < max(60, 2 * size):
        raise CalibrationError("UPM-CA-228", f"factors of {', '.join(names)}: {days} common returns of {size} series, {max(60, 2 * size)} are needed. Lengthen the history, or leave out the assets with the shortest one.")
    if not 0 <= count <= most_factors(size):
        raise CalibrationError("UPM-CA-228", f"factors of {', '.join(names)}: {count} factors asked for, and {size} series tell at most {most_factors(size)}. Ask for fewer, or for 0 to have them chosen.")
    sample = weighted_days(returns, decay)
    still = [n for n, v in zip(names, np.diag(sample.moment), strict=True) if not v > 0.0]
    if still:
        raise CalibrationError("UPM-CA-228", f"factors: the series {', '.join(still)} stands still over the common days. Leave it out.")
    intensity = {"none": lambda _: 0.0, "constant_correlation": constant_correlation_intensity, "identity": identity_intensity}[shrinkage](returns)

    def shrunk(moment: NDArray[np.float64]) -> NDArray[np.float64]:
        plain = correlation_of(moment)
        target = constant_correlation_target(plain) if shrinkage == "constant_correlation" else np.eye(size)
        return (1.0 - intensity) * plain + intensity * target

    correlation = shrunk(sample.moment)
    values = np.linalg.eigvalsh(correlation)[::-1]
    edge = float((1.0 + np.sqrt(size / sample.effective)) ** 2)
    m = count or int(np.clip(np.count_nonzero(values > edge), 1, most_factors(size)))
    start = np.log(np.clip(1.0 / np.diag(np.linalg.inv(correlation + 1e-6 * np.eye(size))), 2.0 * LEAST_SPECIFIC, 0.9))
    psi, good = _specific(_regular(correlation), m, start)
    if not good:
        raise CalibrationError("UPM-CA-229", f"factors of {', '.join(names)}: the likelihood of {m} factors did not converge. Ask for fewer with --factors.")
    loading = _canonical(_loading(correlation, psi, m), psi)
    turned, others = [], []
    for moment in sample.without:
        again = shrunk(moment)
        other, _ = _specific(_regular(again), m, np.log(psi))
        made = _loading(again, other, m)
        u, _, v = np.linalg.svd(made.T @ loading)
        turned.append(made @ u @ v)
        others.append(other)
    turns, specifics = np.stack(turned), np.stack(others)
    bound = psi <= LEAST_SPECIFIC * (1.0 + 1e-6)
    volatility = np.sqrt(np.diag(sample.moment))
    explained = np.mean(loading**2, axis=0)
    return FactorFit(correlation, loading, jackknife_error(sample.share, loading, turns), psi, np.where(bound, np.nan, jackknife_error(sample.share, psi, specifics)), explained,
                     jackknife_error(sample.share, explained, np.mean(turns**2, axis=1)), tuple("lower" if b else "" for b in bound), volatility,
                     jackknife_error(sample.share, volatility, np.sqrt(np.einsum("bii->bi", sample.without))), float(intensity), np.asarray(values, np.float64), edge, sample)


def _regular(correlation: NDArray[np.float64]) -> NDArray[np.float64]:
    """A ten-millionth of the identity mixed in: series that copy one another have no likelihood without it."""
    return np.asarray((1.0 - 1e-7) * correlation + 1e-7 * np.eye(len(correlation)))


def _specific(correlation: NDArray[np.float64], m: int, start: NDArray[np.float64]) -> tuple[NDArray[np.float64], bool]:
    """(K,) the likeliest specific shares, and whether the search ended: Newton steps in log psi with Joreskog's curvature, the squares of the projection on the other eigenvectors."""
    low = np.log(LEAST_SPECIFIC)

    def at(x: NDArray[np.float64]) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
        root = np.exp(-0.5 * x)
        values, vectors = np.linalg.eigh(correlation * np.outer(root, root))
        rest, others = values[: len(x) - m], vectors[:, : len(x) - m]
        # d l / d ln psi_i = -l v_i^2
        return float(np.sum(rest - np.log(np.maximum(rest, 1e-300)) - 1.0)), (others**2) @ (1.0 - rest), (others @ others.T) ** 2

    x = np.clip(start, low, 0.0)
    value, slope, bend = at(x)
    for _ in range(200):
        held = ((x <= low) & (slope > 0.0)) | ((x >= 0.0) & (slope < 0.0))
        if np.max(np.abs(np.where(held, 0.0, slope)), initial=0.0) < SETTLED:
            return np.exp(x), True
        free = np.flatnonzero(~held)
        step = np.zeros(len(x))
        step[free] = -np.linalg.solve(bend[np.ix_(free, free)] + 1e-9 * np.eye(len(free)), slope[free])
        step *= min(1.0, 2.0 / float(np.max(np.abs(step))))
        for half in 0.5 ** np.arange(24):
            trial = np.clip(x + half * step, low, 0.0)
            found = at(trial)
            if found[0] < value:
                break
        else:
            return np.exp(x), bool(np.max(np.abs(np.where(held, 0.0, slope))) < 1e3 * SETTLED)
        x, (value, slope, bend) = trial, found
    return np.exp(x), False


def _loading(correlation: NDArray[np.float64], psi: NDArray[np.float64], m: int) -> NDArray[np.float64]:
    """(K, m) the likeliest loadings for given specific shares."""
    root = np.sqrt(psi)
    values, vectors = np.linalg.eigh(correlation / np.outer(root, root))
    made = root[:, None] * vectors[:, ::-1][:, :m] * np.sqrt(np.maximum(values[::-1][:m] - 1.0, 0.0))
    # a share on its bound leaves the communality beside 1: the diagonal is kept at 1
    return np.asarray(made * np.sqrt(np.minimum(1.0, (1.0 - 0.5 * LEAST_SPECIFIC) / np.maximum(np.sum(made * made, axis=1), 1e-300)))[:, None])


def _canonical(loading: NDArray[np.float64], psi: NDArray[np.float64]) -> NDArray[np.float64]:
    """The same model with L' psi^-1 L diagonal and descending, columns with a positive sum."""
    _, vectors = np.linalg.eigh(loading.T @ (loading / psi[:, None]))
    turned = loading @ vectors[:, ::-1]
    return np.asarray(turned * np.where(turned.sum(axis=0) < 0.0, -1.0, 1.0))
