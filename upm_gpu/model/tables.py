"""Smooth tables: the special functions of a walk as polynomials, so that a kernel needs no incomplete gamma or beta function.

Two functions are tabulated when a model is compiled, each once per distinct degrees of freedom and kept (a back-test asks for the same ones every day):

* the mixing variable of a t copula, h(q) = 1/2 ln(nu / chi2_nu quantile) over the normal score q of its uniform, and
* the marginal map g(y) = Q_m(F_c(y)), from the latent variable y of the copula (normal or t) to a marginal of unit
  variance, over w = asinh |y| (odd, so one side is enough).

Both are analytic; Chebyshev interpolation of degree 7 on cells narrow enough leaves an error below 1e-13, checked at build
time against the function between the nodes and in the tests against multiple precision.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.polynomial import chebyshev
from numpy.typing import NDArray
from scipy import special

from upm_gpu.errors import CalibrationError
from upm_gpu.rng.normal import student_t_quantile
from upm_gpu.scenario.sets import SmoothTable

SCORE_LIMIT = 8.35
"""beyond the largest score of a 52-bit uniform, 8.2095"""
LATENT_LIMIT = 10.0
"""standard deviations a correlated normal is allowed: exceeded once in 1e23 draws"""
TOLERANCE = 5e-14
MAXIMUM_CELLS = 8192
DEGREE = 7


@lru_cache(maxsize=64)
def mixing_table(degrees_of_freedom: float) -> SmoothTable:
    """h(q) = 1/2 ln(W), W the quantile of nu / chi2_nu at u = Phi(q): exp(h) multiplies the normals of a t copula.

    A large uniform means a small chi-square and so a wild step. Both tails of u keep full relative precision.
    """
    check_degrees_of_freedom(degrees_of_freedom, "copula")
    return smooth_table(lambda q: half_log_mixing(q, degrees_of_freedom), -SCORE_LIMIT, SCORE_LIMIT)


def half_log_mixing(q: NDArray[np.float64], degrees_of_freedom: float) -> NDArray[np.float64]:
    """The function behind `mixing_table`, by the inverse incomplete gamma function."""
    a = 0.5 * degrees_of_freedom
    half_chi = np.where(q < 0.0, special.gammainccinv(a, special.ndtr(np.minimum(q, 0.0))),
                        special.gammaincinv(a, special.ndtr(-np.maximum(q, 0.0))))
    return 0.5 * np.log(a / half_chi)


@lru_cache(maxsize=64)
def marginal_table(marginal_nu: float, copula_nu: float) -> SmoothTable:
    """g over w = asinh |y|: `marginal_nu` and `copula_nu` may be infinite (Gaussian), not equal; unit variance."""
    if np.isfinite(marginal_nu):
        check_degrees_of_freedom(marginal_nu, "marginal")
    reach = LATENT_LIMIT
    if np.isfinite(copula_nu):
        check_degrees_of_freedom(copula_nu, "copula")
        reach *= float(np.exp(half_log_mixing(np.array([SCORE_LIMIT]), copula_nu))[0])
    return smooth_table(lambda w: marginal_map(np.sinh(w), marginal_nu, copula_nu), 0.0, float(np.arcsinh(reach)))


def marginal_map(y: NDArray[np.float64], marginal_nu: float, copula_nu: float) -> NDArray[np.float64]:
    """g(y) = Q_m(F_c(y)) / standard deviation of the marginal, odd; exact to a few ulp on either side of zero."""
    size = np.abs(y)
    with np.errstate(all="ignore"):
        if np.isfinite(copula_nu):
            square = size * size
            tail = 0.5 * special.betainc(0.5 * copula_nu, 0.5, copula_nu / (copula_nu + square))
            central = special.betainc(0.5, 0.5 * copula_nu, square / (copula_nu + square))
        else:
            tail, central = special.ndtr(-size), special.erf(size * np.sqrt(0.5))
        # `central` = 1 - 2 tail, known to full relative precision where the tail is near one half
        if np.isfinite(marginal_nu):
            half = 0.5 * marginal_nu
            ratio = special.betaincinv(0.5, half, central)
            near = np.sqrt(marginal_nu * ratio / (1.0 - ratio))
            g = np.where(central < 0.5, near, -student_t_quantile(tail, marginal_nu)) * unit_scale(marginal_nu)
        else:
            g = np.where(central < 0.5, np.sqrt(2.0) * special.erfinv(central), -special.ndtri(tail))
    return np.copysign(g, y)


def unit_scale(degrees_of_freedom: float) -> float:
    """What a t variable is multiplied by to have unit variance, sqrt((nu - 2) / nu)."""
    return float(np.sqrt((degrees_of_freedom - 2.0) / degrees_of_freedom))


def check_degrees_of_freedom(degrees_of_freedom: float, where: str) -> None:
    """Refuse nu <= 2: such a law has no variance to standardise to."""
    if not degrees_of_freedom > 2.0 or not np.isfinite(degrees_of_freedom):
        raise CalibrationError("UPM-CA-050", f"degrees of freedom {degrees_of_freedom} of the {where}: a Student-t law is scaled to its "
                               "variance, which exists only above 2. Use more than 2 (crypto: about 3 to 5), or gaussian.")


def smooth_table(function: Callable[[NDArray[np.float64]], NDArray[np.float64]], low: float, high: float) -> SmoothTable:
    """Interpolate on [low, high] with as few cells as keep the error below TOLERANCE x max(1, |value|)."""
    cells = 128
    while True:
        table = interpolate(function, low, high, cells)
        between = low + (np.arange(4 * cells) + 0.37) / 4.0 * (high - low) / cells
        exact = function(between)
        if np.all(np.abs(evaluate_table(table, between) - exact) <= TOLERANCE * np.maximum(1.0, np.abs(exact))):
            return table
        cells *= 2
        if cells > MAXIMUM_CELLS:
            raise CalibrationError("UPM-CA-051", f"a table on [{low:.6g}, {high:.6g}] does not reach {TOLERANCE:g} with {MAXIMUM_CELLS} cells. "
                                   "The degrees of freedom are too extreme; move them away from 2.")


def interpolate(function: Callable[[NDArray[np.float64]], NDArray[np.float64]], low: float, high: float, cells: int) -> SmoothTable:
    """Chebyshev interpolation per cell, turned into monomials in u = p - c - 1/2."""
    order = DEGREE + 1
    angle = np.pi * (np.arange(order) + 0.5) / order
    nodes = np.cos(angle)
    width = (high - low) / cells
    values = function(low + (np.arange(cells)[:, None] + 0.5 + 0.5 * nodes) * width)
    transform = np.cos(np.outer(np.arange(order), angle)) * (2.0 / order)
    transform[0] *= 0.5
    coefficients = np.sum(values[:, None, :] * transform, axis=2)
    monomials = np.zeros((order, order))
    for j in range(order):
        monomials[j, : j + 1] = chebyshev.cheb2poly(np.eye(order)[j])
    # s = 2 u on a cell, so power j carries 2^j
    powers = np.sum(coefficients[:, :, None] * monomials, axis=1) * 2.0 ** np.arange(order)
    return SmoothTable(low=low, inverse_width=1.0 / width, coefficients=np.ascontiguousarray(powers))


def evaluate_table(table: SmoothTable, t: NDArray[np.float64]) -> NDArray[np.float64]:
    """The table at t, in the operation order of its docstring: Horner from the highest power, multiply then add."""
    p = (t - table.low) * table.inverse_width
    cell = np.clip(np.floor(p), 0.0, len(table.coefficients) - 1.0)
    u = p - cell - 0.5
    rows = table.coefficients[cell.astype(np.int64)]
    value = rows[..., DEGREE]
    for j in range(DEGREE - 1, -1, -1):
        value = value * u + rows[..., j]
    return value
