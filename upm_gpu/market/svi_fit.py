"""Least squares for SVI slices: the numerical half of `surface.py`.

Every slice is fitted in its own units (moneyness over the at-the-money standard deviation c, total variance over the at-the-money
w0 = c^2), where all parameters are of order 1:
  a = w0 a', b = (w0 / c) exp(b'), rho = tanh(rho'), m = c m', s = c (S_MIN + exp(s')).
All slices of an underlying are solved at once with an exact Jacobian: conflicts between neighbours are shared by
both, instead of being pushed into the later one. Only neighbours share equations, so the cost is linear in the number of expiries (`chain_solver.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from upm_gpu.market.chain_solver import chain_least_squares

# Smallest smoothing of the vertex in at-the-money standard deviations: keeps the curvature, hence the lift's bound, finite.
S_MIN = 0.02
# A volatility error of this size (relative) is where the robust loss turns from square to linear.
ROBUST_SCALE = 0.03
# Weak pull towards a plain smile; decides what quotes leave open, invisible where they do not.
PRIOR = 3e-3
PRIOR_POINT = np.array([0.5, np.log(0.4), 0.0, 0.0, np.log(1.0)])
PENALTY_GRID = 3.0 * np.sinh(4.5 * np.linspace(-1.0, 1.0, 61)) / np.sinh(4.5)
# Two rounds: a mild penalty first, so that slices move towards one another, then one that leaves little to lift.
PENALTIES = (10.0, 300.0)
# The fall of the sum of squares and the step at which a round ends: parts of a basis point of volatility.
XTOL, FTOL, EVALUATIONS = 1e-6, 1e-7, 40
# R. Lee's moment formula: beyond a slope of 2 a wing carries arbitrage.
MAX_SLOPE = 2.0


def fit_jointly(
    years: NDArray[np.float64],
    log_moneyness: Sequence[NDArray[np.float64]],
    volatilities: Sequence[NDArray[np.float64]],
    weights: Sequence[NDArray[np.float64]],
) -> NDArray[np.float64]:
    """(E, 5) raw SVI parameters a, b, rho, m, s of every expiry, ascending."""
    centre = np.array([at_the_money(k, v) for k, v in zip(log_moneyness, volatilities, strict=True)])
    unit = centre * np.sqrt(years)
    starts = []
    for i in range(len(years)):
        starts.append(_fit_one(unit[i], years[i], log_moneyness[i], volatilities[i], weights[i]))
    x = np.concatenate(starts)
    if len(years) == 1:
        return _unscale(x.reshape(-1, 5), unit)
    quotes = list(zip(log_moneyness, volatilities, weights, strict=True))

    for penalty in PENALTIES:
        x = chain_least_squares(partial(equations, years=years, unit=unit, quotes=quotes, penalty=penalty), x, EVALUATIONS, XTOL, FTOL)
    return _unscale(x.reshape(-1, 5), unit)


def equations(x: NDArray, years: NDArray, unit: NDArray, quotes: Sequence[tuple[NDArray, NDArray, NDArray]], penalty: float) -> list[NDArray]:
    """What the scaled parameters x (5 E,) are to make small, as `chain_solver.Blocks`: a slice against its quotes (log-moneyness, volatility, weight), then against the next slice."""
    theta = x.reshape(-1, 5)
    grids = [_variance(theta[i], unit[i], PENALTY_GRID) for i in range(len(years))]
    blocks = []
    for i in range(len(years)):
        r, j = _quote_residuals(theta[i], unit[i], years[i], *quotes[i])
        links = _links(*grids[i], *grids[i + 1], 1e-3 * unit[i + 1] ** 2, penalty) if i + 1 < len(years) else np.zeros((0, 11))
        block = np.zeros((len(r) + len(links), 11))
        block[: len(r), :5], block[: len(r), 10] = j, r
        block[len(r) :] = links
        blocks.append(block)
    return blocks


def _links(w: NDArray, j: NDArray, later: NDArray, later_j: NDArray, least: float, penalty: float) -> NDArray:
    """(active, 11) the equations that hold a slice to at least the total variance of the one before, as `chain_solver.Blocks`."""
    # Relative to the earlier slice's size there, so that wings and centre speak the same unit.
    size = np.maximum(np.abs(w), least)
    gap = (w - later) / size + 1e-3
    on = gap > 0.0
    scale = penalty / len(PENALTY_GRID) ** 0.5
    size, gap = size[on], gap[on]
    # d(w0 / w0 - w1 / w0) with w0 in the size: the quotient rule.
    inner = np.where(np.abs(w[on]) > least, later[on] / size**2, 1.0 / size)
    return scale * np.concatenate([inner[:, None] * j[on], -later_j[on] / size[:, None], gap[:, None]], axis=1)


class _Last:
    """Values and Jacobian come from one evaluation; the solver asks for them one after the other."""

    def __init__(self, function: Callable[[NDArray], tuple[NDArray, NDArray]]) -> None:
        self.function = function
        self.at: NDArray | None = None
        self.pair: tuple[NDArray, NDArray] | None = None

    def __call__(self, x: NDArray) -> tuple[NDArray, NDArray]:
        if self.at is None or self.pair is None or not np.array_equal(self.at, x):
            self.at, self.pair = x.copy(), self.function(x)
        return self.pair

    def value(self, x: NDArray) -> NDArray:
        """Residuals."""
        return self(x)[0]

    def jacobian(self, x: NDArray) -> NDArray:
        """Derivatives of the residuals."""
        return self(x)[1]


def fit_curve(
    years: float, k: NDArray[np.float64], volatility: NDArray[np.float64], weight: NDArray[np.float64], start: NDArray
) -> tuple[float, float, float, float, float]:
    """One slice through a smooth curve, from raw parameters near it."""
    unit = float(at_the_money(k, volatility) * np.sqrt(years))
    a, b, rho, m, s = start
    theta = np.array(
        [
            a / unit**2,
            np.log(max(b / unit, 1e-6)),
            np.arctanh(np.clip(rho, -0.999, 0.999)),
            m / unit,
            np.log(max(s / unit - S_MIN, 1e-6)),
        ]
    )
    x = _fit_one(unit, years, k, volatility, weight, theta, prior=0.0)
    a, b, rho, m, s = _unscale(x[None, :], np.array([unit]))[0]
    return float(a), float(b), float(rho), float(m), float(s)


def at_the_money(k: NDArray, volatility: NDArray) -> float:
    """Volatility at the forward, linear in log-moneyness between quotes."""
    order = np.argsort(k, kind="stable")
    return float(np.interp(0.0, k[order], volatility[order]))


def _fit_one(
    unit: float,
    years: float,
    k: NDArray,
    volatility: NDArray,
    weight: NDArray,
    start: NDArray | None = None,
    prior: float = PRIOR,
) -> NDArray:
    from scipy.optimize import least_squares

    x = PRIOR_POINT if start is None else start
    memory = _Last(lambda x: _quote_residuals(x, unit, years, k, volatility, weight, prior))
    return least_squares(memory.value, x, jac=memory.jacobian, method="lm", x_scale="jac", max_nfev=60, xtol=1e-7, ftol=1e-9).x


def _quote_residuals(
    theta: NDArray, unit: float, years: float, k: NDArray, volatility: NDArray, weight: NDArray, prior: float = PRIOR
) -> tuple[NDArray, NDArray]:
    """Robust relative volatility errors, the prior, and two fences: positive vertex, slope below `MAX_SLOPE`.

    The robust loss is written into the residual itself, r -> sign(r) sqrt(2 (sqrt(1 + r^2) - 1)), so that fences stay square.
    """
    w, gradient = _variance(theta, unit, k)
    floor = 1e-3 * unit * unit
    low = w < floor
    sigma = np.sqrt(np.where(low, floor, w) / years)
    r = (sigma / volatility - 1.0) / ROBUST_SCALE
    slope = np.where(low, 0.0, 1.0 / (2.0 * sigma * years * volatility * ROBUST_SCALE))
    root = np.sqrt(1.0 + r * r)
    soft = r * np.sqrt(2.0 / (root + 1.0))
    # d soft / d r, from soft^2 = 2 (root - 1): soft soft' = r / root.
    outer = np.sqrt((root + 1.0) / 2.0) / root
    share = weight / np.sqrt(np.sum(weight * weight))
    rows = [share * soft]
    jacobian = [(share * outer * slope)[:, None] * gradient]
    rows.append(prior * (theta - PRIOR_POINT))
    jacobian.append(prior * np.eye(5))
    fence, fence_jacobian = _fences(theta, unit)
    return np.concatenate([*rows, fence]), np.concatenate([*jacobian, fence_jacobian])


def _fences(theta: NDArray, unit: float) -> tuple[NDArray, NDArray]:
    a, lb, tr, _, ls = theta
    b, rho, s = np.exp(min(lb, 20.0)), np.tanh(tr), S_MIN + np.exp(min(ls, 20.0))
    values, rows = np.zeros(2), np.zeros((2, 5))
    flat = np.sqrt(1.0 - rho * rho)
    vertex = a + b * s * flat
    if vertex < 0.02:
        values[0] = 10.0 * (0.02 - vertex)
        # d flat / d tr = -rho flat (1 - rho^2) / flat^2 = -rho flat.
        rows[0] = -10.0 * np.array([1.0, b * s * flat, -b * s * rho * flat, 0.0, b * flat * (s - S_MIN)])
    wing = unit * b * (1.0 + abs(rho))
    if wing > MAX_SLOPE:
        values[1] = 10.0 * (wing - MAX_SLOPE)
        rows[1] = 10.0 * np.array([0.0, wing, unit * b * np.sign(rho) * (1.0 - rho * rho), 0.0, 0.0])
    return values, rows


def _variance(theta: NDArray, unit: float, k: NDArray) -> tuple[NDArray, NDArray]:
    """w (n,) and its gradient (n, 5) in the scaled parameters."""
    a, lb, tr, m, ls = theta
    b, rho, e = np.exp(min(lb, 20.0)), np.tanh(tr), np.exp(min(ls, 20.0))
    s = S_MIN + e
    d = k / unit - m
    root = np.sqrt(d * d + s * s)
    shape = rho * d + root
    w0 = unit * unit
    gradient = np.stack(
        [np.ones_like(d), b * shape, b * (1.0 - rho * rho) * d, -b * (rho + d / root), b * s / root * e], axis=1
    )
    return w0 * (a + b * shape), w0 * gradient


def _unscale(theta: NDArray, unit: NDArray) -> NDArray:
    a, lb, tr, m, ls = theta.T
    return np.stack(
        [unit**2 * a, unit * np.exp(lb), np.tanh(tr), unit * m, unit * (S_MIN + np.exp(ls))], axis=1
    )
