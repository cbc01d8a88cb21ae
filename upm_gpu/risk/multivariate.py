"""Bivariate normal and Student-t probabilities and the multivariate t density: closed-form partners of the copulas.

Verified by Haug's table of the bivariate normal (to 1e-12 recomputed), the bivariate t tables of Dunnett and Sobel
(1955), and the density of the multivariate t.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

PANELS = 24
NODES = 16


def bivariate_normal_cdf(x: ArrayLike, y: ArrayLike, correlation: ArrayLike) -> NDArray[np.float64]:
    """P(X <= x, Y <= y) of standard normals, |correlation| < 1, by Owen's T function (Owen 1956).

    >>> round(float(bivariate_normal_cdf(0.5, 0.5, 0.5)), 12)
    0.546244443857
    """
    x, y, rho = np.broadcast_arrays(*(np.asarray(a, np.float64) for a in (x, y, correlation)))
    root = np.sqrt((1.0 - rho) * (1.0 + rho))
    with np.errstate(divide="ignore", invalid="ignore"):
        slope_x = np.where(x == 0.0, np.copysign(np.inf, y), (y - rho * x) / (x * root))
        slope_y = np.where(y == 0.0, np.copysign(np.inf, x), (x - rho * y) / (y * root))
    opposite = (x * y < 0.0) | ((x * y == 0.0) & (x + y < 0.0))
    value = 0.5 * (special.ndtr(x) + special.ndtr(y)) - special.owens_t(x, slope_x) - special.owens_t(y, slope_y) - np.where(opposite, 0.5, 0.0)
    origin = 0.25 + np.arcsin(rho) / (2.0 * np.pi)
    return np.where((x == 0.0) & (y == 0.0), origin, value)[()]


def bivariate_student_t_cdf(x: float, y: float, correlation: float, degrees_of_freedom: float) -> float:
    """P(X <= x, Y <= y) of the standard bivariate t of any nu > 0: the normal one averaged over the mixing variable.

    T(x, y) = int Phi2(x s, y s) dF(s), s = sqrt(chi2_nu / nu), by Gauss-Legendre panels in ln s.
    """
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    nu = degrees_of_freedom
    # 12 standard deviations of ln chi2 on the right, the power tail exp(nu v) to 1e-17 on the left
    low, high = -40.0 / nu - 3.0 / np.sqrt(nu), 8.0 / np.sqrt(nu)
    half = 0.5 * (high - low) / PANELS
    v = (low + (2.0 * np.arange(PANELS)[:, None] + 1.0 + nodes) * half).ravel()
    s = np.exp(v)
    log_density = nu * v - 0.5 * nu * np.expm1(2.0 * v)
    density = np.exp(log_density) * np.tile(weights * half, PANELS)
    # normalised by the same rule, which removes the constant 2 (nu/2)^(nu/2) e^(-nu/2) / Gamma(nu/2)
    return float(np.sum(bivariate_normal_cdf(x * s, y * s, correlation) * density) / np.sum(density))


def multivariate_student_t_pdf(x: ArrayLike, location: ArrayLike, shape: ArrayLike, degrees_of_freedom: float) -> float:
    """Density at x (d,) of the t with `location` (d,) and `shape` (d, d), the covariance being shape nu / (nu - 2)."""
    deviation = np.asarray(x, np.float64) - np.asarray(location, np.float64)
    shape = np.asarray(shape, np.float64)
    nu, d = degrees_of_freedom, deviation.size
    square = float(deviation @ np.linalg.solve(shape, deviation))
    log_constant = special.gammaln(0.5 * (nu + d)) - special.gammaln(0.5 * nu) - 0.5 * d * np.log(nu * np.pi)
    return float(np.exp(log_constant - 0.5 * np.linalg.slogdet(shape)[1] - 0.5 * (nu + d) * np.log1p(square / nu)))
