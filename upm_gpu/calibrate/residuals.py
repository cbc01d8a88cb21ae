"""What a history's law leaves unexplained: its quantiles beside those observed, for a page.

Points lie on the diagonal where the law is right; a tail that runs away from it is the tail the law misses. Probabilities (i - 1/2) / n of the sorted sample, thinned in the body, whole in both tails. Verified: tests/statistics/test_residuals.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from upm_gpu.calibrate.garch_estimate import Estimate
from upm_gpu.calibrate.jump_estimate import MOST_ALONE, JumpFit
from upm_gpu.model.innovations import Innovation, quantile
from upm_gpu.model.jumps import YEAR_DAYS
from upm_gpu.model.recursion import variances

TAIL = 60
"""points kept whole at either end"""
BODY = 120


@dataclass(frozen=True)
class Residuals:
    """One series under its law."""

    name: str
    observed: NDArray[np.float64]
    """(P,) ascending"""
    model: NDArray[np.float64]
    """(P,) of the law at the same probabilities"""
    table: tuple[tuple[str, float, float], ...]
    """quantile, observed, of the law"""
    day: NDArray[np.float64] | None = None
    volatility: NDArray[np.float64] | None = None
    """(T,) of a day, where the law has one for each"""


def residuals(name: str, sample: NDArray[np.float64], law: Callable[[NDArray[np.float64]], NDArray[np.float64]], day: NDArray[np.float64] | None = None,
              volatility: NDArray[np.float64] | None = None) -> Residuals:
    """Of a sample (T,) and the quantile function of its law."""
    count = len(sample)
    probability = (np.arange(count) + 0.5) / count
    kept = np.unique(np.concatenate([np.arange(min(TAIL, count)), np.linspace(0, count - 1, BODY).astype(np.int64), np.arange(max(count - TAIL, 0), count)]))
    levels = np.array([0.01, 0.05, 0.5, 0.95, 0.99])
    rows = tuple((f"{100.0 * p:g} %", float(o), float(m)) for p, o, m in zip(levels, np.quantile(sample, levels, method="hazen"), law(levels), strict=True))
    return Residuals(name, np.sort(sample)[kept], law(probability[kept]), rows, day, volatility)


def student_t_law(scale: float, nu: float) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
    """Quantiles of scale times a t of nu degrees of freedom."""
    from scipy.special import stdtrit

    return lambda p: np.asarray(scale * stdtrit(nu, p))


def garch_law(fit: Estimate) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
    """Quantiles of the innovation, of mean 0 and variance 1."""
    law = Innovation({"normal": "gaussian"}.get(fit.distribution, fit.distribution), fit.nu, fit.skewness)
    return lambda p: np.asarray(quantile(law, np.minimum(p, 1.0 - p), p > 0.5))


def garch_residuals(name: str, fit: Estimate, returns: NDArray[np.float64], day: NDArray[np.float64]) -> Residuals:
    """Of percent returns (T,) that end on the days (T,)."""
    h = variances(returns, fit.model)[:-1]
    return residuals(name, (returns - fit.model.mu) / np.sqrt(h), garch_law(fit), day, np.sqrt(h))


def jump_law(fit: JumpFit, k: int) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
    """Quantiles of the daily change of asset k: a mixture of normals over the number of market-wide and own jumps."""
    from scipy.special import gammaln, ndtr

    market, own = fit.systemic[0] / YEAR_DAYS, fit.own[0, k] / YEAR_DAYS
    n, m = (a.ravel().astype(np.float64) for a in np.meshgrid(np.arange(MOST_ALONE + 3), np.arange(MOST_ALONE + 3)))

    def poisson(rate: float, count: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.where(count == 0.0, 1.0, rate**count) * np.exp(-rate - gammaln(count + 1.0))

    weight = poisson(market, n) * poisson(own, m)
    centre = fit.mean[k] + n * fit.systemic[1] * fit.loading[k] + m * fit.own[1, k]
    size = np.sqrt(fit.volatility[k] ** 2 + n * (fit.systemic[2] * fit.loading[k]) ** 2 + m * fit.own[2, k] ** 2)
    reach = 12.0 * float(np.max(size)) + float(np.max(np.abs(centre)))
    grid = np.sinh(np.linspace(-1.0, 1.0, 4001) * np.arcsinh(reach / fit.volatility[k])) * fit.volatility[k]
    below = ndtr((grid[:, None] - centre) / size) @ weight / weight.sum()
    rising = np.concatenate([[True], np.diff(below) > 0.0])
    return lambda p: np.asarray(np.interp(p, below[rising], grid[rising]))
