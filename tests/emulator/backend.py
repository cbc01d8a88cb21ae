"""The CUDA backend on emulated devices, in the shape of `upm_gpu.backend.contract.Backend`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from upm_gpu.backend import cuda
from upm_gpu.backend.contract import Precision
from upm_gpu.backend.cuda.memory import Prepared
from upm_gpu.backend.kept import KeptUnit
from upm_gpu.pricing.compiled import Compiled, Rows

from .device import EmulatedDevice


@dataclass(frozen=True)
class EmulatedCuda:
    """The module `upm_gpu.backend.cuda` with an emulated device where it would open a real one."""

    library: Path
    name: str = "cuda-emulated"
    seed: int = 1
    memory: int = 1 << 30

    states = staticmethod(cuda.states)
    unit_pnl = staticmethod(cuda.unit_pnl)
    row_pnl = staticmethod(cuda.row_pnl)
    row_tail = staticmethod(cuda.row_tail)
    attribution = staticmethod(cuda.attribution)
    kept_sums = staticmethod(cuda.kept_sums)
    keep_row = staticmethod(cuda.keep_row)
    changed_tails = staticmethod(cuda.changed_tails)

    def device(self) -> EmulatedDevice:
        return EmulatedDevice(self.library, self.seed, self.memory)

    def prepare(self, compiled: Compiled, rows: Rows, precision: Precision, threads: int = 0) -> Prepared:
        return cuda.prepare(compiled, rows, precision, threads, self.device())

    def values(self, operation: str, columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return cuda.values(operation, columns, self.device())

    def keep_unit(self, unit: np.ndarray, threads: int = 1) -> KeptUnit:
        return cuda.keep_unit(unit, threads, self.device())
