"""Options on two assets in a scenario: the twin of `kernels/pair.cuh`, which says the formulae and why equal steps are enough.

Arrays broadcast: by convention terms are (C, 1) and forwards (S,). Undiscounted. Verified against the operation `two_asset` in tests/end_to_end/test_two_asset_book.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from upm_gpu.formula.black import black_undiscounted
from upm_gpu.formula.normal import normal_cdf, normal_density

SPREAD, MAXIMUM, MINIMUM = 0, 1, 2
LEAST_ROOT_YEARS = 1e-10


@dataclass(frozen=True)
class Pair:
    """Forwards, total standard deviations and their correlation; `half` steps of length `step` lie on either side of 0."""

    forward: Any
    forward_2: Any
    stdev: Any
    stdev_2: Any
    correlation: float
    half: int
    step: float

    @property
    def log_ratio(self) -> Any:
        """ln(F1 / F2)."""
        return np.log(self.forward / self.forward_2)

    @property
    def stdev_of_ratio(self) -> Any:
        """Of ln(S1 / S2)."""
        return np.sqrt(self.stdev**2 + self.stdev_2**2 - 2.0 * self.correlation * self.stdev * self.stdev_2)

    def nodes(self) -> Iterator[tuple[float, float]]:
        """(z, weight of a standard normal there)."""
        for j in range(2 * self.half + 1):
            z = self.step * (j - self.half)
            yield z, self.step * float(normal_density(z))


def spread_call(p: Pair, strike: Any) -> Any:
    """E max(S1 - S2 - K, 0), the second asset given; a strike of 0 or above."""
    slope = p.correlation * p.stdev
    left = p.stdev * np.sqrt(1.0 - p.correlation**2)
    lead, lead_2 = np.log(p.forward) - 0.5 * slope**2, np.log(p.forward_2) - 0.5 * p.stdev_2**2
    total: Any = 0.0
    for z, weight in p.nodes():
        asked = np.exp(lead_2 + p.stdev_2 * z) + strike
        total = total + weight * black_undiscounted(np.exp(lead + slope * z), asked, lead + slope * z - np.log(asked), left, 1.0)
    return total


def bivariate_normal(p: Pair, a: Any, b: Any, r: Any, rest: Any) -> Any:
    """P(X <= a, Y <= b) of correlation r; rest = 1 - r^2."""
    scale = 1.0 / np.sqrt(rest / (1.0 + np.abs(r)))
    slope = np.sqrt(np.abs(r)) * scale
    total: Any = 0.0
    for z, weight in p.nodes():
        total = total + weight * (normal_cdf(a * scale - slope * z) * normal_cdf(b * scale - np.where(r < 0.0, -slope, slope) * z))
    return total


def minimum_call(p: Pair, strike: Any) -> Any:
    """E max(min(S1, S2) - K, 0) by Stulz's formula."""
    rho, s, free = p.correlation, p.stdev_of_ratio, 1.0 - p.correlation**2
    y = p.log_ratio / s
    x1, x2 = (np.log(f / strike) / v - 0.5 * v for f, v in ((p.forward, p.stdev), (p.forward_2, p.stdev_2)))
    first = bivariate_normal(p, x1 + p.stdev, -y - 0.5 * s, (rho * p.stdev_2 - p.stdev) / s, p.stdev_2**2 * (free / (s * s)))
    second = bivariate_normal(p, x2 + p.stdev_2, y - 0.5 * s, (rho * p.stdev - p.stdev_2) / s, p.stdev**2 * (free / (s * s)))
    return p.forward * first + p.forward_2 * second - strike * bivariate_normal(p, x1, x2, rho, free)


def pair_value(p: Pair, strike: Any, sign: Any, payoff: int) -> Any:
    """Undiscounted value of a spread option, or of one on the better or the worse of two."""
    if payoff == SPREAD:
        if np.any(np.asarray(strike) < 0.0):  # S1 - S2 - K is -(S2 - S1 + K); a group has one strike
            p, strike, sign = replace(p, forward=p.forward_2, forward_2=p.forward, stdev=p.stdev_2, stdev_2=p.stdev), -strike, -sign
        call = spread_call(p, strike)
        return np.maximum(np.where(sign > 0.0, call, call - (p.forward - p.forward_2 - strike)), 0.0)
    worse = minimum_call(p, strike)
    exchange = black_undiscounted(p.forward, p.forward_2, p.log_ratio, p.stdev_of_ratio, 1.0)
    call, mean = worse, p.forward - exchange
    if payoff == MAXIMUM:
        each = sum(black_undiscounted(f, strike, np.log(f / strike), v, 1.0) for f, v in ((p.forward, p.stdev), (p.forward_2, p.stdev_2)))
        call, mean = each - worse, p.forward_2 + exchange
    return np.maximum(np.where(sign > 0.0, call, call - mean + strike), 0.0)


def pair_payoff(level: Any, level_2: Any, strike: Any, sign: Any, payoff: int) -> Any:
    """What is paid at the levels of the expiry."""
    at = level - level_2 if payoff == SPREAD else np.maximum(level, level_2) if payoff == MAXIMUM else np.minimum(level, level_2)
    return np.maximum(sign * (at - strike), 0.0)


__all__ = ["MAXIMUM", "MINIMUM", "SPREAD", "Pair", "pair_payoff", "pair_value"]
