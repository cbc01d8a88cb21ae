"""SSVI: one smile for a whole chain, its slices tied by the total variance at the money.

    w(k, theta) = theta / 2 (1 + rho phi k + sqrt((phi k + rho)^2 + 1 - rho^2)),   phi = phi(theta)

(J. Gatheral, A. Jacquier, "Arbitrage-free SVI volatility surfaces", Quantitative Finance 14, 2014), with
    power_law   phi = eta theta^-gamma,                                               eta > 0, 0 <= gamma <= 1,
    heston      phi = (1 - (1 - exp(-lambda theta)) / (lambda theta)) / (lambda theta),  lambda > 0.
A slice is raw SVI: a = theta (1 - rho^2) / 2, b = theta phi / 2, m = -rho / phi, s = sqrt(1 - rho^2) / phi.

No calendar arbitrage (their theorem 4.1): theta does not fall in T and 0 <= d(theta phi) / d theta <= (1 + sqrt(1 - rho^2)) phi / rho^2. No butterfly
(theorem 4.2, sufficient): theta phi (1 + |rho|) < 4 and theta phi^2 (1 + |rho|) <= 4. Both curves hold the first for all parameters above. The fit holds
the second by construction: eta and lambda are bounded by what the range of theta allows.

Verified: tests/known_answers/test_ssvi.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from upm_gpu.market.svi_fit import ROBUST_SCALE, at_the_money

Phi = Literal["power_law", "heston"]
LEAST_GROWTH = 1e-4
"""of total variance at the money from one expiry to the next, relative: quotes that fall are held there"""
BUTTERFLY = 4.0 * (1.0 - 1e-9)
"""theorem 4.2's bound, a rounding below"""
MAX_RHO = 0.995
"""keeps the vertex of a slice smooth: s = sqrt(1 - rho^2) / phi"""
PRIOR = 1e-4
"""pull towards the start, in units of the robust loss: decides what few quotes leave open"""
EVALUATIONS = 200


@dataclass(frozen=True)
class Ssvi:
    """One surface: a curve phi, its parameters and the total variance at the money (E,) of every expiry."""

    phi: Phi
    rho: float
    shape: tuple[float, ...]
    """power_law: eta, gamma; heston: lambda"""
    theta: NDArray[np.float64]

    def slices(self) -> NDArray[np.float64]:
        """(E, 5) raw SVI parameters a, b, rho, m, s."""
        phi = curvature(self.phi, self.theta, self.shape)
        flat = np.sqrt(1.0 - self.rho**2)
        return np.stack([0.5 * self.theta * flat**2, 0.5 * self.theta * phi, np.full(len(phi), self.rho), -self.rho / phi, flat / phi], axis=1)


def curvature(phi: Phi, theta: Any, shape: Sequence[Any], xp: Any = np) -> Any:
    """phi(theta); arrays of `xp`."""
    if phi == "power_law":
        eta, gamma = shape
        return xp.asarray(eta * theta**-gamma)
    x = shape[0] * theta
    # 1 - (1 - e^-x) / x cancels for small x: 1/2 - x/6 + x^2/24 - x^3/120 there.
    near = x < 1e-3
    far = xp.where(near, 1.0, x)
    return xp.where(near, 0.5 - x / 6.0 + x * x / 24.0 - x**3 / 120.0, (1.0 + xp.expm1(-far) / far) / far)


def slice_variance(theta: Any, phi: Any, rho: Any, k: Any, xp: Any = np) -> Any:
    """w of theta, phi(theta), rho and k = ln(K / F); arrays of `xp`."""
    return 0.5 * theta * (1.0 + rho * phi * k + xp.sqrt((phi * k + rho) ** 2 + 1.0 - rho**2))


def variance(ssvi: Ssvi, k: NDArray[np.float64]) -> NDArray[np.float64]:
    """w (E, len(k))."""
    return np.asarray(slice_variance(ssvi.theta[:, None], curvature(ssvi.phi, ssvi.theta, ssvi.shape)[:, None], ssvi.rho, k))


def conditions(ssvi: Ssvi) -> list[dict[str, Any]]:
    """The conditions of no arbitrage that do not hold, one object each: condition, expiry (its index), value, bound. Empty: the surface is free of arbitrage.

    Those of theorem 4.2 are sufficient, not necessary.
    """
    theta, rho = ssvi.theta, ssvi.rho
    phi = curvature(ssvi.phi, theta, ssvi.shape)
    h = 1e-6
    slope = ((1.0 + h) * curvature(ssvi.phi, (1.0 + h) * theta, ssvi.shape) - (1.0 - h) * curvature(ssvi.phi, (1.0 - h) * theta, ssvi.shape)) / (2.0 * h)
    widest = (1.0 + np.sqrt(1.0 - rho * rho)) / rho**2 if rho else np.inf
    found: list[dict[str, Any]] = []
    for name, value, bound, broken in (
        ("total variance at the money rises", np.append(0.0, np.diff(theta)), 0.0, np.append(False, np.diff(theta) < 0.0)),
        ("d(theta phi) / d theta >= 0", slope, 0.0, slope < -1e-8 * phi),
        ("d(theta phi) / d theta over phi", slope / phi, widest, slope > widest * phi * (1.0 + 1e-8)),
        ("theta phi (1 + |rho|) < 4", theta * phi * (1.0 + abs(rho)), 4.0, theta * phi * (1.0 + abs(rho)) >= 4.0),
        ("theta phi^2 (1 + |rho|) <= 4", theta * phi**2 * (1.0 + abs(rho)), 4.0, theta * phi**2 * (1.0 + abs(rho)) > 4.0),
    ):
        found += [{"condition": name, "expiry": int(i), "value": float(value[i]), "bound": float(bound)} for i in np.flatnonzero(broken)]
    return found


def fit_ssvi(
    years: NDArray[np.float64],
    log_moneyness: Sequence[NDArray[np.float64]],
    volatilities: Sequence[NDArray[np.float64]],
    weights: Sequence[NDArray[np.float64]],
    phi: Phi = "power_law",
) -> Ssvi:
    """The surface nearest to the quotes, free of arbitrage: the same robust loss of relative volatility errors as for SVI slices, every expiry with the same weight.

    Unknowns: ln of the first theta and of every increment beyond `LEAST_GROWTH`, atanh (rho / `MAX_RHO`), and the curve's parameters inside their bounds.
    """
    from scipy.optimize import least_squares

    start = ssvi_start(years, log_moneyness, volatilities, phi)
    quotes = quote_rows(years, log_moneyness, volatilities, weights)
    make = partial(_surface, phi=phi, expiries=len(years))
    residual, jacobian = partial(_residuals, make=make, quotes=quotes, start=start), partial(_jacobian, make=make, quotes=quotes)
    return make(least_squares(residual, start, jac=jacobian, method="lm", x_scale="jac", max_nfev=EVALUATIONS, xtol=1e-8, ftol=1e-10).x)


def ssvi_start(years: NDArray[np.float64], log_moneyness: Sequence[NDArray[np.float64]], volatilities: Sequence[NDArray[np.float64]], phi: Phi) -> NDArray[np.float64]:
    """Unknowns of the surface a fit begins at: total variances at the money as quoted, rho of -0.3, the middle of the curve's range."""
    theta = np.array([at_the_money(k, v) ** 2 * t for k, v, t in zip(log_moneyness, volatilities, years, strict=True)])
    return np.concatenate([_increments(theta), [np.arctanh(-0.3 / MAX_RHO)], [1.0, 0.0] if phi == "power_law" else [0.0]])


def surface_of(x: Any, phi: Phi, expiries: int, last: Any, xp: Any = np) -> tuple[Any, tuple[Any, ...], Any]:
    """rho, the shape and theta (E,) of the unknowns, out of place; `last` is the place of the last expiry that counts. Arrays of `xp`."""
    y = xp.clip(x, -60.0, 60.0)
    theta = _theta(y[:expiries], xp)
    rho = MAX_RHO * xp.tanh(y[expiries])
    if phi == "heston":
        # Their remark 4.4: lambda >= (1 + |rho|) / 4 excludes butterflies for every theta.
        return rho, ((1.0 + abs(rho)) / 4.0 * (1.0 + 1e-9) + xp.exp(y[-1]),), theta
    gamma = 1.0 / (1.0 + xp.exp(-y[-1]))
    ends = xp.stack([theta[0], theta[last]])
    # theta phi and theta phi^2 are monotone in theta: the ends decide.
    largest = xp.minimum(xp.min(BUTTERFLY / (1.0 + abs(rho)) * ends ** (gamma - 1.0)), xp.min(xp.sqrt(BUTTERFLY / (1.0 + abs(rho))) * ends ** (gamma - 0.5)))
    return rho, (largest / (1.0 + xp.exp(-y[-2])), gamma), theta


def _surface(x: NDArray[np.float64], phi: Phi, expiries: int) -> Ssvi:
    """The surface of the unknowns."""
    rho, shape, theta = surface_of(x, phi, expiries, expiries - 1)
    return Ssvi(phi, float(rho), tuple(float(v) for v in shape), theta)


def _theta(u: Any, xp: Any = np) -> Any:
    rows = [xp.exp(u[0])]
    for i in range(1, len(u)):
        rows.append(xp.exp(u[i]) + rows[-1] * (1.0 + LEAST_GROWTH))
    return xp.stack(rows)


def _increments(theta: NDArray[np.float64]) -> NDArray[np.float64]:
    """Inverse of `_theta`; where theta falls, a thousandth of growth."""
    held = theta.copy()
    for i in range(1, len(held)):
        held[i] = max(held[i], held[i - 1] * (1.0 + LEAST_GROWTH) * 1.001)
    return np.log(np.append(held[0], held[1:] - held[:-1] * (1.0 + LEAST_GROWTH)))


def quote_rows(years: NDArray[np.float64], log_moneyness: Sequence[NDArray[np.float64]], volatilities: Sequence[NDArray[np.float64]], weights: Sequence[NDArray[np.float64]]) -> tuple[NDArray, ...]:
    """Of every quote (Q,): ln(K / F), volatility, years, share of its expiry's weight, and place of its expiry."""
    return (np.concatenate(log_moneyness), np.concatenate(volatilities), np.repeat(years, [len(k) for k in log_moneyness]),
            np.concatenate([w / np.sqrt(np.sum(w * w)) for w in weights]), np.repeat(np.arange(len(years)), [len(k) for k in log_moneyness]))


def _residuals(x: NDArray, make: Callable[[NDArray], Ssvi], quotes: tuple[NDArray, ...], start: NDArray) -> NDArray:
    return np.append(per_quote(make(x), quotes)[0], PRIOR * (x - start))


def per_quote(ssvi: Ssvi, quotes: tuple[NDArray, ...]) -> tuple[NDArray, NDArray]:
    """Robust residuals (Q,) and their derivatives (3, Q) by theta and phi of the quote's expiry, and by rho."""
    k, volatility, years, share, at = quotes
    rho, theta, phi = ssvi.rho, ssvi.theta[at], curvature(ssvi.phi, ssvi.theta, ssvi.shape)[at]
    d = phi * k + rho
    root = np.sqrt(d * d + 1.0 - rho * rho)
    w = 0.5 * theta * (1.0 + rho * phi * k + root)
    sigma = np.sqrt(w / years)
    r = (sigma / volatility - 1.0) / ROBUST_SCALE
    size = np.sqrt(1.0 + r * r)
    outer = share * np.sqrt((size + 1.0) / 2.0) / size / (2.0 * sigma * years * volatility * ROBUST_SCALE)
    return share * r * np.sqrt(2.0 / (size + 1.0)), outer * np.stack([w / theta, 0.5 * theta * k * (rho + d / root), 0.5 * theta * phi * k * (1.0 + 1.0 / root)])


def _jacobian(x: NDArray, make: Callable[[NDArray], Ssvi], quotes: tuple[NDArray, ...]) -> NDArray:
    """Exact by theta, phi and rho of every expiry; those by the unknowns as central differences, which no quote enters."""
    at, h = quotes[4], 1e-5
    by_theta, by_phi, by_rho = per_quote(make(x), quotes)[1]
    out = np.empty((len(at) + len(x), len(x)))
    out[len(at) :] = PRIOR * np.eye(len(x))
    for j in range(len(x)):
        step = np.zeros(len(x))
        step[j] = h
        up, down = make(x + step), make(x - step)
        theta = (up.theta - down.theta) / (2.0 * h)
        phi = (curvature(up.phi, up.theta, up.shape) - curvature(down.phi, down.theta, down.shape)) / (2.0 * h)
        out[: len(at), j] = by_theta * theta[at] + by_phi * phi[at] + by_rho * (up.rho - down.rho) / (2.0 * h)
    return out
