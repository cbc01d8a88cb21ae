"""The normal distribution on arrays; twins of `kernels/normal.cuh`.

Arguments and results are float64 of any one shape. `special` is a module with SciPy's names (ndtr, log_ndtr, erfcx, ndtri),
so that the same text runs under `jax.scipy.special`; `xp` is the array module. Verified against published tables in
tests/known_answers and against the kernels within a few units in the last place.
"""

from __future__ import annotations

from typing import Any

import numpy as np

INVERSE_SQRT_2PI = 0.3989422804014327
SQRT_HALF = 0.7071067811865476
SQRT_HALF_PI = 1.2533141373155003


def _scipy() -> Any:
    import scipy.special

    return scipy.special


def normal_density(x: Any, xp: Any = np) -> Any:
    """phi(x) = exp(-x^2 / 2) / sqrt(2 pi).

    >>> round(float(normal_density(0.0)), 6)
    0.398942
    """
    return INVERSE_SQRT_2PI * xp.exp(-0.5 * x * x)


def normal_cdf(x: Any, special: Any = None) -> Any:
    """Phi(x), full relative accuracy in the left tail (Cephes ndtr)."""
    return (special or _scipy()).ndtr(x)


def normal_log_cdf(x: Any, special: Any = None) -> Any:
    """ln Phi(x), without underflow on the left."""
    return (special or _scipy()).log_ndtr(x)


def mills_ratio(x: Any, special: Any = None) -> Any:
    """(1 - Phi(x)) / phi(x) = sqrt(pi / 2) erfcx(x / sqrt 2), for x >= 0 between sqrt(pi / 2) and 1 / x (Mills 1926)."""
    return SQRT_HALF_PI * (special or _scipy()).erfcx(SQRT_HALF * x)


def normal_quantile(p: Any, special: Any = None) -> Any:
    """Phi^-1(p); -inf at 0, +inf at 1, NaN outside. The kernels use Wichura's AS 241, this is Cephes ndtri."""
    return (special or _scipy()).ndtri(p)
