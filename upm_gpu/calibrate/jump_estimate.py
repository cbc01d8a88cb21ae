"""Merton's jumps from a history: diffusion, a market-wide clock with its loadings and clocks of each asset's own, by maximum likelihood of all assets together.

Over one day the log-returns x of K assets are, given N market-wide jumps and n_k of each asset's own,

  normal with mean m + N mu_M l + n mu and covariance Sigma + N delta_M^2 l l' + diag(n_k delta_k^2),

so that a day's density is a mixture over N = 0, 1, 2 and n_k = 0, 1 (2 stands for two or more, 1 for one or more; with intensities of a jump a week what is lumped together has a probability of 4e-4; a single asset has no market-wide clock and counts to 4)
(the model of `model/merton.py`; R. C. Merton 1976). The first asset's loading is 1. Gradients are exact: those of a component's mean and covariance, weighted by its posterior, run through the chain rule. L-BFGS in a box from several starts, the
best one kept; standard errors from the observed information (differences of the gradient). Spans other than about one day are left out: jumps know no other clock.

Verified: tests/statistics/test_jump_estimate.py (gradient by differences, recovery, coverage).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from upm_gpu.calibrate.estimates import bounds_met, information_errors, through
from upm_gpu.errors import CalibrationError
from upm_gpu.model.jumps import YEAR_DAYS

MOST_ASSETS = 6
"""2^6 own jumps x 3 market-wide ones are 192 normal laws a day"""
LEAST_RETURNS = 250
MOST_ALONE = 4
"""jumps a day that a single asset is given at most"""
INTENSITY = (0.5, 120.0)
"""a year: one in two years is seldom seen in a history; three a week are no longer rare"""
DEVIATION = (2e-3, 1.0)
MEAN, LOADING = 1.0, 5.0
CONVERGED = 1e-4
"""log-likelihood that a Newton step may still promise at an optimum"""


@dataclass(frozen=True)
class JumpFit:
    """K assets; volatilities a day, intensities a year."""

    assets: tuple[str, ...]
    mean: NDArray[np.float64]
    volatility: NDArray[np.float64]
    correlation: NDArray[np.float64]
    """(K, K) of the diffusion"""
    systemic: NDArray[np.float64]
    """(3,) intensity, mean, deviation; zeros for one asset"""
    loading: NDArray[np.float64]
    own: NDArray[np.float64]
    """(3, K) intensity, mean, deviation"""
    names: tuple[str, ...]
    values: NDArray[np.float64]
    errors: NDArray[np.float64]
    bounds: tuple[str, ...]
    """of `names`: what is reported"""
    log_likelihood: float
    normal_log_likelihood: float
    """of the same returns without jumps"""
    observations: int


@dataclass(frozen=True)
class _Layout:
    """Where the unknowns stand: m, Cholesky factor of Sigma (logarithms on the diagonal), ln intensity, mean, ln deviation of the market clock, loadings of assets 2 to K, the same three of every own clock."""

    assets: int
    counts: NDArray[np.int64]
    """(C, 1 + K) market-wide and own jumps of every component"""
    lumped: tuple[int, int]
    """the market-wide and the own count that stands for itself and all above"""

    @property
    def lower(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        i, j = np.tril_indices(self.assets)
        return i, j

    def parts(self, x: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """m (K,), C (K, K), market (3,), loading (K,), own (3, K), in natural units."""
        k = self.assets
        i, j = self.lower
        factor = np.zeros((k, k))
        factor[i, j] = x[k : k + len(i)]
        factor[np.arange(k), np.arange(k)] = np.exp(np.diag(factor))
        at = k + len(i)
        market, loading = np.zeros(3), np.ones(k)
        if k > 1:
            market, loading[1:] = np.array([np.exp(x[at]), x[at + 1], np.exp(x[at + 2])]), x[at + 3 : at + 2 + k]
            at += 2 + k
        own = x[at:].reshape(3, k).copy()
        own[0], own[2] = np.exp(own[0]), np.exp(own[2])
        return x[:k], factor, market, loading, own


def fit_jumps(returns: NDArray[np.float64], assets: tuple[str, ...]) -> JumpFit:
    """Fit returns (T, K) of one day each. Raises `CalibrationError` UPM-CA-220 (too few, too many assets, a series that stands still), 221 (no convergence)."""
    from scipy.optimize import minimize

    count, size = returns.shape
    if count < LEAST_RETURNS:
        raise CalibrationError("UPM-CA-220", f"{', '.join(assets)}: {count} common returns of one day are too few for jumps, {LEAST_RETURNS} are needed. Lengthen the history, or leave an asset out.")
    if size > MOST_ASSETS:
        raise CalibrationError("UPM-CA-220", f"{size} assets are too many for jumps fitted together, {MOST_ASSETS} at most. Name fewer with --assets.")
    deviation = np.std(returns, axis=0)
    if not np.all(deviation > 0.0):
        raise CalibrationError("UPM-CA-220", f"{assets[int(np.argmin(deviation))]}: the series stands still and has no jumps. Leave it out.")
    layout = _layout(size)
    scaled = returns / deviation  # every unknown of the order of one
    low, high = _box(layout, deviation)
    best: Any = None
    for start in _starts(layout, scaled):
        found = minimize(lambda x: _negative(layout, scaled, x), np.clip(start, low, high), jac=True, method="L-BFGS-B", bounds=list(zip(low, high, strict=True)),
                         options={"maxiter": 300, "maxcor": 20, "ftol": 1e-9, "gtol": 1e-5})
        if np.isfinite(found.fun) and (best is None or found.fun < best.fun):
            best = found
    if best is None:
        raise CalibrationError("UPM-CA-221", f"{', '.join(assets)}: the likelihood of jumps has no finite value. Check the closes.")
    x, value, promise = _newton(layout, scaled, np.asarray(best.x), low, high)
    edges = bounds_met(x, low, high)
    free = np.array([not e for e in edges])
    if not promise < CONVERGED:
        raise CalibrationError("UPM-CA-221", f"{', '.join(assets)}: the likelihood of jumps did not converge (a step still promises {promise:.3g}). Lengthen the history, or fit fewer assets.")
    covariance = information_errors(lambda y: gradient(layout, scaled, y)[1], x, free)
    names, bounds = _names(layout, assets, edges)
    m, factor, market, loading, own = _unscaled(layout, x, deviation)
    sigma = factor @ factor.T
    volatility = np.sqrt(np.diag(sigma))
    plain = returns - returns.mean(axis=0)
    square = plain.T @ plain / count
    normal = -0.5 * count * (size * np.log(2.0 * np.pi) + float(np.linalg.slogdet(square)[1]) + size)
    correlation = sigma / np.outer(volatility, volatility)
    correlation[np.arange(size), np.arange(size)] = 1.0  # not a rounding above
    return JumpFit(assets, m, volatility, np.clip(correlation, -1.0, 1.0), market, loading, own, names, _natural(layout, x, deviation), through(lambda y: _natural(layout, y, deviation), x, covariance), bounds,
                   value - count * float(np.sum(np.log(deviation))), normal, count)


def gradient(layout: Any, returns: NDArray[np.float64], x: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
    """Log-likelihood and its gradient by the unknowns."""
    k = layout.assets
    m, factor, market, loading, own = layout.parts(x)
    counts = layout.counts.astype(np.float64)
    jumps, mine = counts[:, 0], counts[:, 1:]
    means = m + jumps[:, None] * market[1] * loading + mine * own[1]
    squares = factor @ factor.T + (jumps * market[2] ** 2)[:, None, None] * np.outer(loading, loading) + (mine * own[2] ** 2)[:, :, None] * np.eye(k)
    inverse = np.linalg.inv(squares)
    # (C, T) arrays an asset: matrices of a few assets are loops here, since threads of a linear algebra library would cost more than the product
    away = [returns[None, :, a] - means[:, a, None] for a in range(k)]
    turned = [np.add.reduce([inverse[:, a, b, None] * away[b] for b in range(k)]) for a in range(k)]
    weight, by_market, by_own = _weights(layout, market[0], own[0])
    log = weight[:, None] - 0.5 * (np.add.reduce([away[a] * turned[a] for a in range(k)]) + np.linalg.slogdet(squares)[1][:, None] + k * np.log(2.0 * np.pi))
    top = np.max(log, axis=0)
    share = np.exp(log - top)
    total = np.sum(share, axis=0)
    share /= total
    number = np.sum(share, axis=1)
    weighted = [share * one for one in turned]
    by_mean = np.stack([np.sum(one, axis=1) for one in weighted], axis=1)
    by_square = 0.5 * (np.stack([np.stack([np.sum(one * other, axis=1) for other in turned], axis=1) for one in weighted], axis=1) - number[:, None, None] * inverse)
    by_sigma = np.sum(by_square, axis=0)
    by_factor = 2.0 * by_sigma @ factor
    at = np.arange(k)
    by_factor[at, at] *= factor[at, at]
    i, j = layout.lower
    parts = [np.sum(by_mean, axis=0), by_factor[i, j]]
    if k > 1:
        along = np.einsum("cij,j->ci", by_square, loading)
        by_loading = np.sum(jumps[:, None] * (market[1] * by_mean + 2.0 * market[2] ** 2 * along), axis=0)
        parts += [np.array([market[0] * float(number @ by_market), float(np.sum(jumps * (by_mean @ loading))), 2.0 * market[2] ** 2 * float(np.sum(jumps * (along @ loading)))]), by_loading[1:]]
    diagonal = np.einsum("cii->ci", by_square)
    parts += [own[0] * (number @ by_own), np.sum(mine * by_mean, axis=0), 2.0 * own[2] ** 2 * np.sum(mine * diagonal, axis=0)]
    return float(np.sum(top + np.log(total))), np.concatenate(parts)


def _newton(layout: _Layout, returns: NDArray[np.float64], x: NDArray[np.float64], low: NDArray[np.float64], high: NDArray[np.float64]) -> tuple[NDArray[np.float64], float, float]:
    """Unknowns after damped Newton steps over those off their bounds, the log-likelihood, and what the last step promised."""
    value, slope = gradient(layout, returns, x)
    promise = np.inf
    for _ in range(12):
        free = ~(((x <= low) & (slope < 0.0)) | ((x >= high) & (slope > 0.0)))
        covariance = information_errors(lambda y: gradient(layout, returns, y)[1], x, free)
        step = covariance @ np.where(free, slope, 0.0)
        if not np.all(np.isfinite(step)):
            return x, value, float(np.max(np.abs(slope[free]), initial=0.0))
        promise = 0.5 * float(np.sum(np.where(free, slope * step, 0.0)))
        if promise < 1e-9:
            break
        for half in 0.5 ** np.arange(10):
            trial = np.clip(x + half * step, low, high)
            then, by = gradient(layout, returns, trial)
            if then > value:
                break
        else:
            break
        x, value, slope = trial, then, by
    return x, value, promise


def _unscaled(layout: _Layout, x: NDArray[np.float64], deviation: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """`_Layout.parts` in units of the returns."""
    m, factor, market, loading, own = layout.parts(x)
    one = np.array([1.0, deviation[0], deviation[0]])
    return m * deviation, factor * deviation[:, None], market * one, loading * deviation / deviation[0], own * np.stack([np.ones_like(deviation), deviation, deviation])


def _layout(assets: int) -> _Layout:
    if assets == 1:
        return _Layout(1, np.array([[0, n] for n in range(MOST_ALONE + 1)]), (0, MOST_ALONE))
    return _Layout(assets, np.array(list(product(range(3), *[range(2)] * assets))), (2, 1))


def _weights(layout: _Layout, market: float, own: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """ln of every component's probability (C,), and its derivatives by the market's intensity (C,) and the own ones (C, K), a year."""
    def clock(rate: float, most: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """ln P(N = n) for n below `most` and ln P(N >= most), with derivatives by the rate a day."""
        p = [np.exp(-rate)]
        for n in range(1, most):
            p.append(p[-1] * rate / n)
        by = [-p[0], *(p[n - 1] - p[n] for n in range(1, most))]
        rest = max(1.0 - sum(p), 1e-300)
        return np.log([*p, rest]), np.array([*by, -sum(by)]) / np.array([*p, rest])

    weight, by_market = np.zeros(len(layout.counts)), np.zeros(len(layout.counts))
    by_own = np.zeros((len(layout.counts), layout.assets))
    if layout.lumped[0]:
        log, by = clock(market / YEAR_DAYS, layout.lumped[0])
        weight, by_market = log[layout.counts[:, 0]], by[layout.counts[:, 0]] / YEAR_DAYS
    for k in range(layout.assets):
        log, by = clock(float(own[k]) / YEAR_DAYS, layout.lumped[1])
        weight, by_own[:, k] = weight + log[layout.counts[:, 1 + k]], by[layout.counts[:, 1 + k]] / YEAR_DAYS
    return weight, by_market, by_own


def _negative(layout: _Layout, returns: NDArray[np.float64], x: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
    value, by = gradient(layout, returns, x)
    return -value, -by


def _box(layout: _Layout, deviation: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    k = layout.assets
    i, j = layout.lower
    low, high = [np.full(k, -1.0), np.where(i == j, np.log(0.02), -3.0)], [np.ones(k), np.where(i == j, np.log(3.0), 3.0)]
    for side, sign, rate, width in ((low, -1.0, INTENSITY[0], DEVIATION[0]), (high, 1.0, INTENSITY[1], DEVIATION[1])):
        if k > 1:
            side += [np.array([np.log(rate), sign * MEAN / deviation[0], np.log(width / deviation[0])]), sign * LOADING * deviation[0] / deviation[1:]]
        side += [np.full(k, np.log(rate)), sign * MEAN / deviation, np.log(width / deviation)]
    return np.concatenate(low), np.concatenate(high)


def _starts(layout: _Layout, returns: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """Rare and large, and frequent and small jumps beside a diffusion of the middle of the returns."""
    k = layout.assets
    deviation = np.std(returns, axis=0)
    middle = np.subtract(*np.quantile(returns, [0.75, 0.25], axis=0)) / 1.349
    middle = np.where(middle > 0.2 * deviation, middle, 0.5 * deviation)
    correlation = np.corrcoef(returns.T).reshape(k, k)
    factor = np.linalg.cholesky(np.outer(middle, middle) * (0.95 * correlation + 0.05 * np.eye(k)))
    i, j = layout.lower
    lower = np.where(i == j, np.log(np.abs(factor[i, j])), factor[i, j])
    slope = np.clip(correlation[0], 0.2, 1.0)
    found = []
    for rate, times in ((6.0, 3.0), (20.0, 2.0), (60.0, 1.2)):
        clock = [np.full(k, np.log(rate)), np.zeros(k), np.full(k, np.log(times))]
        market = [np.array([np.log(rate), 0.0, np.log(times)]), slope[1:]] if k > 1 else []
        found.append(np.concatenate([np.zeros(k), lower, *market, *clock]))
    return found


def _natural(layout: _Layout, x: NDArray[np.float64], deviation: NDArray[np.float64]) -> NDArray[np.float64]:
    """What is reported, in the order of `_names`."""
    _, factor, market, loading, own = _unscaled(layout, x, deviation)
    sigma = factor @ factor.T
    volatility = np.sqrt(np.diag(sigma))
    i, j = np.tril_indices(layout.assets, -1)
    pairs = (sigma / np.outer(volatility, volatility))[i, j]
    return np.concatenate([volatility, pairs, *([market, loading[1:]] if layout.assets > 1 else []), own.ravel()])


def _names(layout: _Layout, assets: tuple[str, ...], edges: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    k = layout.assets
    i, j = np.tril_indices(k, -1)
    names = [*(f"daily_volatility {a}" for a in assets), *(f"correlation {assets[b]} {assets[a]}" for a, b in zip(i, j, strict=True))]
    bounds = [""] * len(names)
    rest = list(edges[k + k * (k + 1) // 2 :])
    if k > 1:
        names += ["systemic intensity", "systemic mean", "systemic deviation", *(f"systemic loading {a}" for a in assets[1:])]
    names += [f"own {what} {a}" for what in ("intensity", "mean", "deviation") for a in assets]
    return tuple(names), tuple(bounds + rest)
