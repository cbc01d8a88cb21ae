"""Degrees of freedom of Student-t marginals and of a t copula by maximum likelihood, bounded to [2.5, 30].

Marginals: returns over yesterday's EWMA volatility (lambda 0.94), scaled to unit variance; the likelihood of a unit-variance t.
Copula: S. Demarta, A. McNeil, "The t copula and related copulas", International Statistical Review 73 (2005), on the marginals'
own distribution functions with the correlation held fixed. Estimates only: the laws in force are those of the configuration.
Verified by `tests/known_answers/test_covariance.py` on samples of known degrees of freedom.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

LOWEST, HIGHEST = 2.5, 30.0
FILTER_LAMBDA = 0.94
MIN_RETURNS = 100


def fit_tails(
    returns: Sequence[NDArray[np.float64]], common: NDArray[np.float64], correlation: NDArray[np.float64]
) -> tuple[NDArray[np.float64], float]:
    """(K,) degrees of freedom of the marginals and those of the copula; NaN below 100 returns."""
    marginal = np.array([marginal_degrees_of_freedom(filtered(r)) for r in returns])
    if len(common) < MIN_RETURNS or not np.all(np.isfinite(marginal)):
        return marginal, float("nan")
    columns = [filtered(common[:, k]) for k in range(common.shape[1])]
    uniform = np.stack([_unit_t_cdf(z, nu) for z, nu in zip(columns, marginal, strict=True)], axis=1)
    return marginal, copula_degrees_of_freedom(uniform, correlation)


def filtered(returns: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns over the EWMA volatility known the day before, unit variance; the first 30 only start the filter."""
    if len(returns) < MIN_RETURNS:
        return np.zeros(0)
    variance = float(np.mean(returns[:30] ** 2))
    out = np.empty(len(returns) - 30)
    for i, r in enumerate(returns[30:]):
        out[i] = r / np.sqrt(variance)
        variance = FILTER_LAMBDA * variance + (1.0 - FILTER_LAMBDA) * r * r
    return out / np.sqrt(np.mean(out * out))


def marginal_degrees_of_freedom(z: NDArray[np.float64]) -> float:
    """Maximum likelihood of a unit-variance Student t; NaN without data."""
    from scipy.special import gammaln

    if not len(z):
        return float("nan")

    def loss(nu: float) -> float:
        constant = gammaln((nu + 1.0) / 2.0) - gammaln(nu / 2.0) - 0.5 * np.log(np.pi * (nu - 2.0))
        return float(-(constant - (nu + 1.0) / 2.0 * np.mean(np.log1p(z * z / (nu - 2.0)))))

    return _lowest(loss)


def copula_degrees_of_freedom(uniform: NDArray[np.float64], correlation: NDArray[np.float64]) -> float:
    """Maximum likelihood of the t copula of (T, K) uniforms with a fixed correlation."""
    from scipy.special import gammaln, stdtrit

    size = uniform.shape[1]
    # A singular matrix has no density; a hair on the diagonal gives the one of its neighbour.
    regular = correlation + 1e-9 * np.eye(size)
    inverse = np.linalg.inv(regular)
    log_determinant = float(np.linalg.slogdet(regular)[1])
    u = np.clip(uniform, 1e-12, 1.0 - 1e-12)

    def loss(nu: float) -> float:
        y = stdtrit(nu, u)
        quadratic = np.einsum("ti,ij,tj->t", y, inverse, y)
        joint = gammaln((nu + size) / 2.0) - gammaln(nu / 2.0) - 0.5 * log_determinant - (nu + size) / 2.0 * np.log1p(quadratic / nu)
        single = gammaln((nu + 1.0) / 2.0) - gammaln(nu / 2.0) - (nu + 1.0) / 2.0 * np.log1p(y * y / nu)
        return float(-np.mean(joint - single.sum(axis=1)))

    return _lowest(loss)


def _unit_t_cdf(z: NDArray[np.float64], nu: float) -> NDArray[np.float64]:
    from scipy.special import stdtr

    return stdtr(nu, z * np.sqrt(nu / (nu - 2.0)))


def _lowest(loss: Callable[[float], float]) -> float:
    from scipy.optimize import minimize_scalar

    found = minimize_scalar(lambda x: loss(float(np.exp(x))), bounds=(np.log(LOWEST), np.log(HIGHEST)), method="bounded", options={"xatol": 1e-4})
    return round(float(np.exp(found.x)), 4)
