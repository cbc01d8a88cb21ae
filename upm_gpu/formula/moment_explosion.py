"""When a moment of the price under Heston ceases to exist.

E[(S_T / F)^u] = exp(A + B v_0), B' = xi^2 B^2 / 2 - (kappa - rho xi u) B + (u^2 - u) / 2, B(0) = 0. Between 0 and 1 it is finite for ever; outside it reaches infinity at T*(u), if at all:
with b = rho xi u - kappa and D = b^2 - xi^2 (u^2 - u),

    D < 0:           T* = 2 / sqrt(-D) atan2(sqrt(-D), b)
    D >= 0, b > 0:   T* = ln((b + sqrt D) / (b - sqrt D)) / sqrt D
    D >= 0, b <= 0:  never

(Andersen and Piterbarg 2007, "Moment explosions in stochastic volatility models"). Jumps of normal logarithm have every moment, so that Bates explodes as its Heston part does.

Verified: tests/known_answers/test_moment_explosion.py (the equation integrated).
"""

from __future__ import annotations

import math

SECOND = 2.0
"""of the price: what the variance of a hedge or of a short position in it rests on"""
SECOND_IN_COINS = -1.0
"""of 1 / S counted in coins: E[S (1 / S)^2]"""


def explosion_time(moment: float, mean_reversion: float, vol_of_vol: float, correlation: float) -> float:
    """T*(moment) in years; infinity where the moment is finite for ever. A variance that starts at 0 and stays there has none either: the caller knows."""
    curvature = vol_of_vol * vol_of_vol * (moment * moment - moment)
    if curvature <= 0.0:
        return math.inf
    slope = correlation * vol_of_vol * moment - mean_reversion
    discriminant = slope * slope - curvature
    if discriminant < 0.0:
        root = math.sqrt(-discriminant)
        return 2.0 / root * math.atan2(root, slope)
    if slope <= 0.0:
        return math.inf
    ratio = math.sqrt(discriminant) / slope
    return 2.0 / slope * (math.atanh(ratio) / ratio if 0.0 < ratio < 1.0 else 1.0 if ratio == 0.0 else math.inf)


__all__ = ["SECOND", "SECOND_IN_COINS", "explosion_time"]
