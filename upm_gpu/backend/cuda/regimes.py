"""The square roots of a set on a device, and which of them every scenario of a wave moves by."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from upm_gpu.backend.cuda.interface import Device
from upm_gpu.scenario.regimes import Regimes

THREADS = 128


@dataclass(frozen=True)
class DeviceRegimes:
    """One root, or those of all regimes with their thresholds."""

    regimes: Regimes | None
    root: Any
    threshold: Any
    workspace: dict[str, Any] = field(default_factory=dict)


def upload_regimes(device: Device, own: NDArray[np.float64], regimes: Regimes | None) -> DeviceRegimes:
    """The set's own root, or those of its regimes."""
    root = own if regimes is None else regimes.root
    return DeviceRegimes(regimes, device.upload(np.ascontiguousarray(root, np.float64)), device.upload(np.zeros(1) if regimes is None else regimes.threshold.astype(np.float64)))


def draw_regimes(device: Device, source: DeviceRegimes, seed: int, which: tuple[Any, ...], size: tuple[Any, ...], tiles: int) -> tuple[Any, ...]:
    """Queue the regimes of a wave; what a kernel that correlates is told of them: (roots, doubles between two roots or 0, regimes)."""
    regimes = source.regimes
    if regimes is None:
        return source.root, np.int64(0), source.root
    count, rows, columns = regimes.root.shape
    if source.workspace.get("stride") != size[1]:
        source.workspace.update(stride=size[1], regime=device.allocate(int(size[1]), np.int32))
    regime = source.workspace["regime"]
    device.launch("walk", "draw_regimes", (tiles, 1, 1), (THREADS, 1, 1),
                  (np.uint64(seed), *which, size[0], np.uint32(regimes.shift), np.uint32(regimes.stream), source.threshold, np.int32(count), regime))
    return source.root, np.int64(rows * columns), regime
