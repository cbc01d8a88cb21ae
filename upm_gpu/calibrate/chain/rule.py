"""Prices of a whole chain as one linear map of the moment function: what makes a step of a fit cheap.

On Re s = 1/2, with X = ln(S_T / F), M(s) = E[e^(s X)] and k = ln(F / K), the price of the out-of-the-money side over the forward is that of any other law with the same forward plus

  e^(-k / 2) / pi  integral over u > 0 of  Re[e^(i u k) (M_0 - M)(1/2 + i u)] / (u^2 + 1/4) du

(Lewis 2001). The other law is Black's at the money of the expiry, so the poles at +-i/2 cancel and the integrand is smooth. On u = c sinh y the trapezoidal rule converges geometrically and reaches
far out with few points. Points and Black's law belong to the expiry and not to the parameters: prices of all quotes are A + B [Re M; Im M] with A and B made once, and their derivatives B [Re M_p; Im M_p].
Absolute accuracy only, which is what a fit needs; fitted prices are compared with the engine's own contour integral afterwards (`fit.py`). Verified: tests/known_answers/test_chain_moments.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from upm_gpu.calibrate.chain.moments import ModelName, log_moments
from upm_gpu.formula.out_of_the_money import black_out_of_the_money

POINTS = 96
NEAREST = 0.35
"""c in units of 1 / (standard deviation at the money): where the points begin to spread"""
FARTHEST = 60.0
"""last point in the same units: Black's law is e^(-1800) there, a Heston law with a vol of vol of 40 times its volatility e^(-30)"""


@dataclass(frozen=True)
class Rule:
    """C chains of E expiries of at most Q quotes, padded; N points an expiry."""

    s: NDArray[np.complex128]
    """(C, 1, E, N)"""
    years: NDArray[np.float64]
    """(C, 1, E, 1)"""
    constant: NDArray[np.float64]
    """(C, E, Q)"""
    matrix: NDArray[np.float64]
    """(C, E, Q, 2N)"""

    def rows(self, chains: NDArray[Any]) -> Rule:
        """The rule of some of the chains."""
        return Rule(self.s[chains], self.years[chains], self.constant[chains], self.matrix[chains])


def make_rule(years: NDArray[np.float64], log_moneyness: NDArray[np.float64], deviation: NDArray[np.float64], points: int = POINTS) -> Rule:
    """The rule for times `years` (C, E), k = ln(F / K) (C, E, Q), and total standard deviations at the money (C, E)."""
    step = np.arcsinh(FARTHEST / NEAREST) / (points - 0.5)
    y = step * (np.arange(points) + 0.5)
    # midpoints: half a step off 0, where an even integrand loses nothing
    u = NEAREST * np.sinh(y) / deviation[..., None]
    weight = step * NEAREST * np.cosh(y) / deviation[..., None] / (u * u + 0.25)
    angle = u[..., None, :] * log_moneyness[..., None]
    scale = np.exp(-0.5 * log_moneyness)[..., None] / np.pi * weight[..., None, :]
    real, imaginary = scale * np.cos(angle), scale * np.sin(angle)
    reference = np.exp(-0.5 * deviation[..., None] ** 2 * (u * u + 0.25))
    black = black_out_of_the_money(np.abs(log_moneyness), deviation[..., None] + 0.0 * log_moneyness) * np.minimum(1.0, np.exp(-log_moneyness))
    return Rule((0.5 + 1j * u)[:, None], years[:, None, :, None], black + np.einsum("ceqn,cen->ceq", real, reference), np.concatenate([-real, imaginary], axis=-1))


def chain_prices(rule: Rule, model: ModelName, parameters: Any, slopes: bool = True, xp: Any = np) -> tuple[Any, Any]:
    """Out-of-the-money prices over the forward (C, J, E, Q) of J parameter sets (C, J, P) a chain, and derivatives (C, J, E, Q, P), None without `slopes`; arrays of `xp`."""
    sets = parameters.shape[1]
    log, by = log_moments(model, xp.moveaxis(parameters, -1, 0)[..., None, None], rule.s, rule.years, slopes, xp)
    m = xp.exp(log)
    held = [m, *(m * part for part in by)]
    # (C, E, 2N, J (1 + P))
    stack = xp.stack(held, axis=-1).transpose(0, 2, 3, 1, 4)
    columns = xp.concatenate([stack.real, stack.imag], axis=2).reshape(*stack.shape[:2], -1, sets * len(held))
    found = xp.matmul(rule.matrix, columns).reshape(*rule.constant.shape, sets, len(held)).transpose(0, 3, 1, 2, 4)
    return found[..., 0] + rule.constant[:, None], found[..., 1:] if slopes else None
