"""ln E[(S_T / F)^s] of Merton, Heston and Bates with its derivatives by every parameter: what a fit to an option chain moves.

The moment function is that of `kernels/heston_price.cuh`, in the form whose logarithm stays on its branch. With q = s^2 - s, beta = kappa - rho xi s, d^2 = beta^2 - xi^2 q,
L = e^(-d T), E = (1 - L) / d and Q = (1 + L + beta E) / 2,

  ln M = kappa theta A + v0 B,   A = ((beta - d) T - 2 ln Q) / xi^2,   B = q E / (2 Q),

and for x one of kappa, xi, rho, with beta_x = 1, -rho s, -xi s and d_x = (beta beta_x - [x = xi] xi q) / d,

  E_x = (T L - E) d_x / d,   Q_x = (-T L d_x + beta_x E + beta E_x) / 2,
  A_x = ((beta_x - d_x) T - 2 Q_x / Q) / xi^2 - [x = xi] 2 A / xi,   B_x = q (E_x Q - E Q_x) / (2 Q^2).

Jumps add lambda T (e^(mu s + delta^2 s^2 / 2) - 1 - s m), m = e^(mu + delta^2 / 2) - 1. Verified: tests/known_answers/test_chain_moments.py (the pricing twin's moment function, central differences).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

ModelName = Literal["heston", "merton", "bates"]
DIFFUSION = ("initial_variance", "mean_reversion", "long_run_variance", "vol_of_vol", "correlation")
JUMPS = ("jump_intensity", "jump_mean", "jump_volatility")


@dataclass(frozen=True)
class ChainModel:
    """A model's parameters by the names of `upm price`, and the box a fit stays in; variances and rates a year of 365 days."""

    name: ModelName
    parameters: tuple[str, ...]
    lower: NDArray[np.float64]
    upper: NDArray[np.float64]
    """(P,)"""
    logarithmic: NDArray[np.bool_]
    """(P,) parameters a fit moves by their logarithm: positive ones whose order of magnitude is open"""


# A box is where prices still tell parameters apart: a variance of 1e-4 is a volatility of 1 %, 9 of 300 %; a mean reversion of 0.02 has a half-life of 35 years, 100 of 2.5 days.
# vol of vol may come near 0, where Heston ends in Black-Scholes; jumps twice a week are no longer rare; of half a promille they are none, of 150 % more than any price factor is let move (`max_log_move`).
_BOX = {
    "initial_variance": (1e-4, 9.0, True), "mean_reversion": (0.02, 100.0, True), "long_run_variance": (1e-4, 9.0, True), "vol_of_vol": (1e-3, 30.0, False),
    "correlation": (-0.995, 0.995, False), "volatility": (5e-3, 3.0, True), "jump_intensity": (1e-3, 100.0, True), "jump_mean": (-1.5, 1.5, False),
    "jump_volatility": (5e-4, 1.5, True),
}


def chain_model(name: str) -> ChainModel:
    """Heston, Merton or Bates. KeyError for another name."""
    parameters = {"heston": DIFFUSION, "merton": ("volatility", *JUMPS), "bates": (*DIFFUSION, *JUMPS)}[name]
    low, high, logarithmic = (np.array([_BOX[p][i] for p in parameters]) for i in range(3))
    return ChainModel(name, parameters, low, high, logarithmic.astype(bool))  # type: ignore[arg-type]


def log_moments(name: ModelName, p: Any, s: Any, years: Any, slopes: bool = True, xp: Any = np) -> tuple[Any, list[Any]]:
    """(ln M, its derivatives by each of P parameters) for parameters `p` (P, ...), points s and times, all of one shape after broadcasting; without `slopes` no derivative.

    Out of place and without branches, so that another array library (`xp`) runs the same text.
    """
    if name == "merton":
        half = 0.5 * (s * s - s) * years
        value, by = _jumps(p[1], p[2], p[3], s, years, slopes, xp)
        return p[0] * p[0] * half + value, [2.0 * p[0] * half, *by] if slopes else []
    value, by = _diffusion(p[0], p[1], p[2], p[3], p[4], s, years, slopes, xp)
    if name == "bates":
        jumps, by_jumps = _jumps(p[5], p[6], p[7], s, years, slopes, xp)
        value, by = value + jumps, [*by, *by_jumps]
    return value, by


def _diffusion(v0: Any, kappa: Any, theta: Any, xi: Any, rho: Any, s: Any, years: Any, slopes: bool, xp: Any) -> tuple[Any, list[Any]]:
    q, square = s * s - s, xi * xi
    beta = kappa - rho * xi * s
    d = xp.sqrt(beta * beta - square * q)
    z = d * years
    left = xp.exp(-z)
    over = -xp.expm1(-z) / d
    half = 0.5 * (1.0 + left + beta * over)
    b = 0.5 * q * over / half
    a = ((beta - d) * years - 2.0 * xp.log(half)) / square
    level = kappa * theta
    value = level * a + v0 * b
    if not slopes:
        return value, []
    by_reversion: list[Any] = []
    by_vol: list[Any] = []
    by_rho: list[Any] = []
    # E_d, times d_x below
    bend = (years * left - over) / d
    for found, beta_x, own in ((by_reversion, 1.0, 0.0), (by_vol, -rho * s, xi * q), (by_rho, -xi * s, 0.0)):
        d_x = (beta * beta_x - own) / d
        over_x = bend * d_x
        half_x = 0.5 * (beta_x * over + beta * over_x - years * left * d_x)
        a_x = ((beta_x - d_x) * years - 2.0 * half_x / half) / square
        found += [a_x, 0.5 * q * (over_x * half - over * half_x) / (half * half)]
    return value, [b, theta * a + level * by_reversion[0] + v0 * by_reversion[1], kappa * a,
                                level * (by_vol[0] - 2.0 * a / xi) + v0 * by_vol[1], level * by_rho[0] + v0 * by_rho[1]]


def _jumps(intensity: Any, mean: Any, deviation: Any, s: Any, years: Any, slopes: bool, xp: Any) -> tuple[Any, list[Any]]:
    variance = deviation * deviation
    growth, tilted = xp.exp(mean + 0.5 * variance), xp.exp(mean * s + 0.5 * variance * s * s)
    each = (tilted - 1.0 - s * (growth - 1.0)) * years
    if not slopes:
        return intensity * each, []
    return intensity * each, [each, intensity * years * s * (tilted - growth), intensity * years * deviation * s * (s * tilted - growth)]
