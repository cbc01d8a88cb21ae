"""Uniforms of the null laws that test statistics are read against, by address: the same seed gives the same p-value."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from upm_gpu.rng.normal import uniform_at
from upm_gpu.rng.streams import BACKTEST, stream_word


def null_uniform(seed: int, samples: NDArray[np.integer], number: int, day: int = 0) -> NDArray[np.float64]:
    """The `number`-th draw of each of the samples (S,) on a day; shape (S,)."""
    return uniform_at(seed, np.asarray(samples, np.uint32), number, day, stream_word(0, BACKTEST))
