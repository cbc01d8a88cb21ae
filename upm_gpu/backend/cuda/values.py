"""European prices and Greeks on a device."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from upm_gpu.backend.cuda.interface import Device, blocks_for
from upm_gpu.formula.black import EUROPEAN_INPUTS, EUROPEAN_OUTPUTS, european_columns

THREADS = 64


def values(device: Device, columns: dict[str, NDArray[np.float64]]) -> dict[str, NDArray[np.float64]]:
    """Columns of EUROPEAN_INPUTS, (cases,), to columns of EUROPEAN_OUTPUTS, (cases,); see `formula/black.py`."""
    cases = european_columns(columns)
    assert len(cases) == len(EUROPEAN_INPUTS)
    count = cases.shape[1]
    if not count:
        return {name: np.zeros(0) for name in EUROPEAN_OUTPUTS}
    out = device.allocate((len(EUROPEAN_OUTPUTS), count), np.float64)
    device.launch("values", "value_europeans", (blocks_for(count, THREADS), 1, 1), (THREADS, 1, 1), (device.upload(cases), np.int64(count), out))
    return dict(zip(EUROPEAN_OUTPUTS, device.download(out), strict=True))
