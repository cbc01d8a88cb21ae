"""Prices and Greeks of single cases on a device."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from upm_gpu.backend.cuda.interface import Device, blocks_for
from upm_gpu.formula.operations import operation_columns, operation_named

THREADS = 64


def values(device: Device, operation: str, columns: dict[str, NDArray[np.float64]]) -> dict[str, NDArray[np.float64]]:
    """An operation of `formula/operations.py`: its inputs, (cases,), to its outputs, (cases,)."""
    wanted = operation_named(operation)
    if not wanted.on_device:
        from upm_gpu.backend import cpu

        return cpu.values(operation, columns)
    cases = operation_columns(wanted, columns)
    count = cases.shape[1]
    if not count:
        return {name: np.zeros(0) for name in wanted.outputs}
    out = device.allocate((len(wanted.outputs), count), np.float64)
    device.launch("values", "value_cases", (blocks_for(count, THREADS), 1, 1), (THREADS, 1, 1),
                  (np.int64(wanted.number), device.upload(cases), np.int64(count), out))
    return dict(zip(wanted.outputs, device.download(out), strict=True))
