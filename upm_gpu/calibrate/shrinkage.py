"""Shrinkage intensities in closed form, for zero-mean returns in units of their own standard deviation.

Constant correlation: O. Ledoit, M. Wolf, "Honey, I shrunk the sample covariance matrix", J. Portfolio Management 30
(2004). Identity: O. Ledoit, M. Wolf, "A well-conditioned estimator for large-dimensional covariance matrices",
J. Multivariate Analysis 88 (2004). With unit variances both targets keep the diagonal, so volatilities are not shrunk.
Verified by `tests/known_answers/test_covariance.py` against the same sums written as loops.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def standardised(returns: NDArray[np.float64]) -> NDArray[np.float64]:
    """(T, K) over the root mean square of each column."""
    return returns / np.sqrt(np.mean(returns * returns, axis=0))


def constant_correlation_target(correlation: NDArray[np.float64]) -> NDArray[np.float64]:
    """Every correlation replaced by their mean."""
    size = len(correlation)
    mean = (np.sum(correlation) - size) / (size * (size - 1.0)) if size > 1 else 0.0
    target = np.full((size, size), mean)
    np.fill_diagonal(target, 1.0)
    return target


def constant_correlation_intensity(returns: NDArray[np.float64]) -> float:
    """clip((pi - rho) / gamma / T, 0, 1) of (T, K) returns: asymptotic variance, covariance with the target, misfit."""
    x = standardised(returns)
    count, size = x.shape
    s = x.T @ x / count
    target = constant_correlation_target(s)
    mean = target[0, 1] if size > 1 else 0.0
    square = x * x
    pi = square.T @ square / count - s * s
    # theta[i, j]: covariance of x_i^2 with x_i x_j.
    theta = (square * x).T @ x / count - np.diag(s)[:, None] * s
    np.fill_diagonal(theta, 0.0)
    rho = float(np.trace(pi)) + mean * 0.5 * float(np.sum(theta + theta.T))
    gamma = float(np.sum((target - s) ** 2))
    if gamma <= 0.0:
        return 0.0
    return float(np.clip((float(np.sum(pi)) - rho) / gamma / count, 0.0, 1.0))


def identity_intensity(returns: NDArray[np.float64]) -> float:
    """min(b^2, d^2) / d^2: the sampling error of the correlations over their distance to the identity."""
    x = standardised(returns)
    count, size = x.shape
    s = x.T @ x / count
    distance = float(np.sum((s - np.eye(size)) ** 2))
    square = x * x
    error = float(np.sum(square.T @ square / count - s * s)) / count
    return float(min(error, distance) / distance) if distance > 0.0 else 0.0
