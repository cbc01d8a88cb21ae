"""Tail measures that need no simulation: what simulated ones are compared with.

Every function returns (value_at_risk, expected_shortfall) of a loss, positive amounts, at a confidence `level`; z is the
normal quantile of the level. Verified by published examples (Hull; McNeil, Frey and Embrechts; Rockafellar and Uryasev) and by
independent quadrature.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from upm_gpu.risk.measures import check_level
from upm_gpu.rng.normal import normal_quantile, student_t_quantile

Tail = tuple[float, float]


def normal_tail(mean: float, standard_deviation: float, level: float) -> Tail:
    """Loss N(mean, sd^2): mean + sd z and mean + sd phi(z) / (1 - level)."""
    z = float(normal_quantile(check_level(level)))
    density = np.exp(-0.5 * z * z) / np.sqrt(2.0 * np.pi)
    return mean + standard_deviation * z, float(mean + standard_deviation * density / (1.0 - level))


def student_t_tail(degrees_of_freedom: float, level: float, location: float = 0.0, scale: float = 1.0) -> Tail:
    """Loss location + scale t_nu, nu > 1: ES = density(q) (nu + q^2) / ((nu - 1)(1 - level)); `scale` is not the deviation."""
    nu = degrees_of_freedom
    q = float(student_t_quantile(check_level(level), nu))
    density = float(special.poch(0.5 * nu, 0.5)) / np.sqrt(nu * np.pi) * np.exp(-0.5 * (nu + 1.0) * np.log1p(q * q / nu))
    shortfall = density * (nu + q * q) / ((nu - 1.0) * (1.0 - level))
    return location + scale * q, float(location + scale * shortfall)


def lognormal_tail(spot: float, drift: float, volatility: float, years: float, level: float, *, short: bool = False) -> Tail:
    """One unit long (or short) of a spot with E[S_T] = spot exp(drift T), undiscounted."""
    z = float(normal_quantile(check_level(level)))
    s = volatility * np.sqrt(years)
    middle = (drift - 0.5 * volatility**2) * years
    if short:
        return float(spot * np.expm1(middle + s * z)), float(spot * (np.exp(drift * years) * special.ndtr(s - z) / (1.0 - level) - 1.0))
    return float(-spot * np.expm1(middle - s * z)), float(spot * (1.0 - np.exp(drift * years) * special.ndtr(-z - s) / (1.0 - level)))


def inverse_perpetual_tail(spot: float, drift: float, volatility: float, years: float, level: float) -> Tail:
    """Long one unit of quote currency of an inverse perpetual: loss 1/S_T - 1/S_0 in coins."""
    z = float(normal_quantile(check_level(level)))
    s = volatility * np.sqrt(years)
    middle = -(drift - 0.5 * volatility**2) * years
    quantile = float(np.expm1(middle + s * z) / spot)
    mean = np.exp(middle + 0.5 * s * s)
    return quantile, float((mean * special.ndtr(s - z) / (1.0 - level) - 1.0) / spot)


def parametric_value_at_risk(positions: ArrayLike, daily_volatilities: ArrayLike, correlation: ArrayLike | None, days: float, level: float) -> float:
    """Linear positions, normal returns, square root of time."""
    amounts = np.asarray(positions, np.float64) * np.asarray(daily_volatilities, np.float64)
    matrix = np.eye(amounts.size) if correlation is None else np.asarray(correlation, np.float64)
    return normal_tail(0.0, float(np.sqrt(days * (amounts @ matrix @ amounts))), level)[0]


def elliptical_contributions(exposures: ArrayLike, covariance: ArrayLike, level: float,
                             degrees_of_freedom: float | None = None) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Euler contributions (P,) to VaR and ES of a linear loss of zero-mean factors with the given covariance.

    Every homogeneous measure of an elliptical loss is a multiple of its deviation sqrt(x' C x), so contribution i is
    that multiple of x_i (C x)_i / deviation. Student-t factors are scaled to the covariance (nu > 2).
    """
    x, matrix = np.asarray(exposures, np.float64), np.asarray(covariance, np.float64)
    deviation = float(np.sqrt(x @ matrix @ x))
    if degrees_of_freedom is None:
        tail = normal_tail(0.0, 1.0, level)
    else:
        tail = student_t_tail(degrees_of_freedom, level, scale=float(np.sqrt((degrees_of_freedom - 2.0) / degrees_of_freedom)))
    share = x * (matrix @ x) / deviation
    return tail[0] * share, tail[1] * share


def t_copula_sum_tail(degrees_of_freedom: float, correlation: float, level: float) -> Tail:
    """Loss X1 + X2 of standard normal margins under a t copula, by quadrature.

    Given the latent y1, y2 is t_(nu+1) about rho y1 with squared scale (1 - rho^2)(nu + y1^2)/(nu + 1), so
    P(X1 + X2 > x) = int phi(x1) P(y2 > y(x - x1) | y(x1)) dx1; the quantile by bisection, ES = VaR + int P / (1 - level).
    """
    from scipy import optimize

    nodes, weights = np.polynomial.legendre.leggauss(32)
    edges = np.linspace(-9.0, 9.0, 33)
    half = 0.5 * np.diff(edges)[:, None]
    x1 = (0.5 * (edges[:-1] + edges[1:])[:, None] + half * nodes).ravel()
    mass = (half * weights).ravel() * np.exp(-0.5 * x1 * x1) / np.sqrt(2.0 * np.pi)
    nu = degrees_of_freedom

    def latent(x: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.copysign(student_t_quantile(special.ndtr(-np.abs(x)), nu), x)

    y1 = latent(x1)
    scale = np.sqrt((1.0 - correlation**2) * (nu + y1 * y1) / (nu + 1.0))

    def beyond(x: float) -> float:
        return float(np.sum(mass * special.stdtr(nu + 1.0, (correlation * y1 - latent(x - x1)) / scale)))

    check_level(level)
    quantile = optimize.brentq(lambda x: beyond(x) - (1.0 - level), -20.0, 20.0, xtol=1e-12)
    points, point_weights = np.polynomial.legendre.leggauss(64)
    reach = 14.0
    tail = quantile + 0.5 * reach * (points + 1.0)
    integral = 0.5 * reach * sum(w * beyond(t) for t, w in zip(tail, point_weights, strict=True))
    return float(quantile), float(quantile + integral / (1.0 - level))
