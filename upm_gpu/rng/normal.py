"""Uniforms and normals by address, and the quantiles that turn one into the other.

The draw at (scenario, factor, step, stream) is Philox4x32-10 of that counter under the 64-bit seed. Words (w0, w1) give
k = the top 52 bits of (w1 << 32 | w0) and u = (k + 1/2) 2^-52, which is exact in a double and never 0 or 1; the normal is
the quantile of u, so |z| <= 8.2095 or so. Any chunk, thread or device draws the same numbers.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from upm_gpu.rng.philox import philox4x32
from upm_gpu.rng.streams import FACTOR, key_words, stream_word

TWO_POWER_MINUS_52 = 2.0**-52


def uniform_from_words(low: NDArray[np.uint32], high: NDArray[np.uint32]) -> NDArray[np.float64]:
    """u = (k + 1/2) 2^-52, k the top 52 bits of (high << 32 | low).

    >>> float(uniform_from_words(np.uint32(0), np.uint32(0))) == 2.0**-53
    True
    """
    k = (np.asarray(high, np.uint64) << np.uint64(20)) | (np.asarray(low, np.uint64) >> np.uint64(12))
    return (k.astype(np.float64) + 0.5) * TWO_POWER_MINUS_52


def uniform_at(seed: int, scenarios: NDArray[np.uint32], factor: int, step: int, word: int) -> NDArray[np.float64]:
    """The uniforms at the counters (scenarios, factor, step, word); `word` is a whole stream word. Shape of `scenarios`."""
    counter = np.empty((*scenarios.shape, 4), np.uint32)
    counter[..., 0] = scenarios
    counter[..., 1:] = (factor, step, word)
    words = philox4x32(counter, key_words(seed))
    return uniform_from_words(words[..., 0], words[..., 1])


def uniform(seed: int, stream: int, scenarios: int | range | Sequence[int], factors: int | range | Sequence[int],
            steps: int | range | Sequence[int] = 1) -> NDArray[np.float64]:
    """The uniforms under the normals of `normal`, float64 (factors, steps, scenarios); a count means 0 to count - 1."""
    word = stream_word(stream, FACTOR)
    ids, columns, rows = (np.asarray(range(a) if isinstance(a, int | np.integer) else a, np.uint32)
                          for a in (scenarios, factors, steps))
    out = np.empty((columns.size, rows.size, ids.size))
    for f, factor in enumerate(columns):
        for j, step in enumerate(rows):
            out[f, j] = uniform_at(seed, ids, int(factor), int(step), word)
    return out


def normal(seed: int, stream: int, scenarios: int | range | Sequence[int], factors: int | range | Sequence[int],
           steps: int | range | Sequence[int] = 1) -> NDArray[np.float64]:
    """The independent normals every backend draws, float64 (factors, steps, scenarios).

    Scenario and step indices are global: a range draws the same numbers as the slice of a longer one.

    >>> bool((normal(7, 0, range(2, 5), 3) == normal(7, 0, 5, 3)[:, :, 2:]).all())
    True
    """
    return normal_quantile(uniform(seed, stream, scenarios, factors, steps))


def normal_quantile(p: ArrayLike) -> NDArray[np.float64]:
    """z with Phi(z) = p; -inf and inf at 0 and 1, NaN outside.

    Cephes' rational approximations (SciPy `ndtri`), checked against multiple precision: within 6e-16 relative
    from p = 1e-300 to 1 - 2^-53.

    >>> float(normal_quantile(0.975))
    1.959963984540054
    """
    return special.ndtri(np.asarray(p, np.float64))[()]


def student_t_quantile(p: ArrayLike, degrees_of_freedom: ArrayLike) -> NDArray[np.float64]:
    """t with T_nu(t) = p, not standardised; -inf and inf at 0 and 1, NaN outside and for nu <= 0.

    The inverse of the incomplete beta function on the side where its argument is small: in the tail
    2 min(p, 1 - p) = I(nu/2, 1/2; x) with x = nu / (nu + t^2), else |1 - 2 p| = I(1/2, nu/2; y) with y = 1 - x
    (SciPy's own `stdtrit` loses all digits at p -> 1/2). Where x underflows, its leading term is used in logarithms; above
    nu = 1e7 the expansion in 1/nu about the normal quantile (Abramowitz and Stegun 26.7.5).
    Checked against multiple precision: within 1e-13 relative for nu from 0.5 to 1e6 and p down to 1e-300.

    >>> round(float(student_t_quantile(0.99, 4)), 12)
    3.746947387979
    """
    p, nu = np.broadcast_arrays(np.asarray(p, np.float64), np.asarray(degrees_of_freedom, np.float64))
    with np.errstate(all="ignore"):
        tail = np.minimum(p, 1.0 - p)
        half = 0.5 * nu
        x = special.betaincinv(half, 0.5, 2.0 * tail)
        log_x = (np.log(2.0 * tail) + np.log(half) + special.betaln(half, 0.5)) / half
        far = np.where(x > 1e-280, np.sqrt(nu * (1.0 - x) / x), np.sqrt(nu) * np.exp(-0.5 * log_x))
        y = np.where(tail < 0.25, special.betainccinv(0.5, half, 2.0 * tail),
                     special.betaincinv(0.5, half, np.abs(1.0 - 2.0 * p)))
        size = np.where(x < 0.5, far, np.sqrt(nu * y / (1.0 - y)))
        z = np.abs(special.ndtri(p))
        expansion = z + (z**3 + z) / (4.0 * nu) + (5.0 * z**5 + 16.0 * z**3 + 3.0 * z) / (96.0 * nu * nu)
        size = np.where(nu > 1e7, np.where(tail > 0.0, expansion, z), size)
        size = np.where((tail >= 0.0) & (nu > 0.0), size, np.nan)
    return np.where(p < 0.5, -size, size)[()]
