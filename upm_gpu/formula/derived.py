"""Operations on drawn states: twins of `kernels/derived.cuh`, by the names of `kernels/derived.def`.

An operation is a function (inputs, reals, dates) -> (outputs (m, D, S), events, one number or (m,)): inputs are arrays (D, S), None where it does without one, reals a flat array
laid out as the function says, dates (D,) days since the valuation time. Verified against the kernels in tests/parity/test_derived.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from upm_gpu.formula.surface_shift import surface_shift

Inputs: TypeAlias = Sequence[Any]
Made: TypeAlias = "tuple[NDArray[np.float64], int | NDArray[np.int64]]"


def linear_combination(inputs: Inputs, reals: NDArray[np.float64], dates: NDArray[np.float64]) -> Made:
    """sum over i of reals[d, i] x inputs[i][d], in order, multiply then add from 0. reals (D, n)."""
    weight = reals.reshape(len(dates), len(inputs))
    total = np.zeros_like(inputs[0])
    for i, x in enumerate(inputs):
        total += weight[:, i, None] * x
    return total[None], 0


OPERATIONS: dict[int, Callable[[Inputs, NDArray[np.float64], NDArray[np.float64]], Made]] = {1: linear_combination, 2: surface_shift}
"""by the number in `kernels/derived.def`"""
