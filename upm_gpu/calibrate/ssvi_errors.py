"""Standard errors of the parameters of an SSVI surface: rho, the curve's own, and the total variance at the money of every expiry.

From the residuals r of the fit's robust loss and their derivatives J by the parameters, (J'J)^-1 (sum over quotes of (r_q / (1 - h_q))^2 j_q j_q') (J'J)^-1 with h_q = j_q' (J'J)^-1 j_q (H. White 1980; J. MacKinnon and H. White 1985, the third of theirs): quotes are
weighted by vega and spread, not by the inverse of their errors, so equal variances are not taken for granted; errors of different quotes are taken as independent. A curve on the bound that excludes butterflies follows the other
parameters: its level has no error. Verified: tests/known_answers/test_ssvi_errors.py (differences), tests/statistics/test_chain_recovery.py (coverage over seeds).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from upm_gpu.market.ssvi import BUTTERFLY, Phi, Ssvi, curvature, per_quote, quote_rows

SHAPE: dict[Phi, tuple[str, ...]] = {"power_law": ("eta", "gamma"), "heston": ("lambda",)}
NEAR = 1e-3
"""of the largest level without butterflies: nearer is on it"""

MOST_PULL = 0.99
"""of a quote on the fit: one that decides a parameter alone has no residual of its own"""


def tied_names(phi: Phi) -> tuple[str, ...]:
    """Parameters that all expiries share."""
    return ("rho", *SHAPE[phi])


def ssvi_errors(ssvi: Ssvi, years: NDArray[np.float64], log_moneyness: Sequence[NDArray[np.float64]], volatilities: Sequence[NDArray[np.float64]],
                weights: Sequence[NDArray[np.float64]]) -> tuple[NDArray[np.float64], NDArray[np.float64], tuple[str, ...]]:
    """Values (P,), standard errors (P,), NaN where there is none, and bounds ('' or 'butterfly'): `tied_names`, then theta (E,). Arguments as `fit_ssvi`."""
    values = np.concatenate([[ssvi.rho], ssvi.shape, ssvi.theta])
    residual, j = ssvi_slopes(ssvi, years, log_moneyness, volatilities, weights)
    held = on_the_bound(ssvi)
    bounds = tuple("butterfly" if held and i == 1 else "" for i in range(len(values)))
    free = np.array([not b for b in bounds])
    found = np.full(len(values), np.nan)
    count, size = len(residual), int(np.count_nonzero(free))
    length = np.linalg.norm(j[:, free], axis=0)
    if count <= size or not np.all(length > 0.0):
        return values, found, bounds
    unit = j[:, free] / length
    square = unit.T @ unit
    if np.linalg.cond(square) > 1e14:
        return values, found, bounds
    slopes = np.linalg.solve(square, unit.T)
    # what a quote's own error bends the fit by is missing from its residual
    pull = np.minimum(np.sum(unit.T * slopes, axis=0), MOST_PULL)
    found[free] = np.sqrt(np.sum((slopes * (residual / (1.0 - pull))) ** 2, axis=1)) / length
    return values, found, bounds


def ssvi_slopes(ssvi: Ssvi, years: NDArray[np.float64], log_moneyness: Sequence[NDArray[np.float64]], volatilities: Sequence[NDArray[np.float64]],
                weights: Sequence[NDArray[np.float64]]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Residuals of the loss (Q,) and their derivatives (Q, P) by rho, the curve's parameters and theta."""
    quotes = quote_rows(years, log_moneyness, volatilities, weights)
    residual, (by_theta, by_phi, by_rho) = per_quote(ssvi, quotes)
    at, theta = quotes[4], ssvi.theta
    phi = curvature(ssvi.phi, theta, ssvi.shape)
    if ssvi.phi == "power_law":
        eta, gamma = ssvi.shape
        by_shape, along = [phi / eta, -phi * np.log(theta)], -gamma * phi / theta
    else:
        x = ssvi.shape[0] * theta
        far = np.where(x < 1e-2, 1.0, x)
        # the derivative of (1 - (1 - e^-x) / x) / x; its series near 0
        bend = np.where(x < 1e-2, -1.0 / 6.0 + x / 12.0 - x * x / 40.0 + x**3 / 180.0, (2.0 - far - np.exp(-far) * (far + 2.0)) / far**3)
        by_shape, along = [bend * theta], bend * ssvi.shape[0]
    own = (by_theta + by_phi * along[at])[:, None] * (at[:, None] == np.arange(len(theta)))
    return residual, np.column_stack([by_rho, *(by_phi * b[at] for b in by_shape), own])


def on_the_bound(ssvi: Ssvi) -> bool:
    """Does the condition against butterflies hold the power law's level?"""
    if ssvi.phi != "power_law":
        return False
    phi = curvature(ssvi.phi, ssvi.theta[[0, -1]], ssvi.shape)
    widest = (1.0 + abs(ssvi.rho)) / BUTTERFLY
    return bool(max(np.max(ssvi.theta[[0, -1]] * phi * widest), np.sqrt(np.max(ssvi.theta[[0, -1]] * phi**2 * widest))) > 1.0 - NEAR)
