"""The out-of-the-money Black price in units of the smaller of forward and strike: a function of two numbers.

Twin of `black_out_of_the_money` in `kernels/black.cuh`; both Black-76 and implied volatility stand on it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from upm_gpu.formula.normal import mills_ratio, normal_density


def black_out_of_the_money(moneyness: Any, total_stdev: Any, xp: Any = np, special: Any = None) -> Any:
    """Price over min(F, K) of the out-of-the-money side, in [0, 1], for m = |ln(F/K)| and s = sigma sqrt(tau).

    With a = m/s - s/2, b = m/s + s/2 and R the Mills ratio: phi(a) (R(a) - R(b)) for a >= 0, 1 - phi(a) (R(-a) + R(b))
    for a < 0. Zero where s = 0, one where s is infinite; absolute error a few 1e-16.
    """
    width = xp.minimum(total_stdev, 100.0)
    alive = width > 0.0
    x = xp.minimum(moneyness / xp.where(alive, width, 1.0), 100.0)
    a, b = x - 0.5 * width, x + 0.5 * width
    near, far = mills_ratio(xp.abs(a), special), mills_ratio(b, special)
    density = normal_density(a, xp)
    value = xp.where(a < 0.0, 1.0 - density * (near + far), density * (near - far))
    return xp.where(alive, xp.maximum(value, 0.0), 0.0 * width)
