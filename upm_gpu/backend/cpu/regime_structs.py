"""Correlation regimes as the C struct of libupm_host."""

from __future__ import annotations

import ctypes

import numpy as np

from upm_gpu.backend.cpu.library import Keep, RegimesStruct, ScenariosStruct
from upm_gpu.scenario.regimes import Regimes


def lend_regimes(struct: ScenariosStruct, regimes: Regimes | None, keep: Keep) -> None:
    """Hang the regimes of a set on its struct, with the scratch to hold the moves of another one."""
    if regimes is None:
        return
    count, rows, columns = regimes.root.shape
    held = RegimesStruct(count=count, size=rows * columns, stream=regimes.stream, shift=regimes.shift, threshold=keep(regimes.threshold, np.float64, (count - 1,)),
                         root=keep(regimes.root, np.float64, (count, rows, columns)))
    keep.arrays.append(held)
    struct.regimes = ctypes.pointer(held)
    struct.scratch += rows
