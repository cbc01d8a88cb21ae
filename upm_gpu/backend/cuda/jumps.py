"""The jump clocks of a scenario set on a device, shared by the kinds that have them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from upm_gpu.backend.cuda.interface import Device
from upm_gpu.backend.cuda.memory import Wave
from upm_gpu.scenario.sets import Jumps

JUMP_THREADS = 128


@dataclass(frozen=True)
class DeviceJumps:
    """`Jumps` in device memory."""

    jumps: Jumps
    clocks: tuple[Any, ...]
    """address, mean, deviation, most, thresholds"""
    splits: tuple[Any, ...]
    """stream, step, side, table, thresholds"""
    entries: tuple[Any, ...]
    """first, clock, loading"""


def upload_jumps(device: Device, jumps: Jumps | None) -> DeviceJumps | None:
    """The clocks uploaded; None where there are none."""
    if jumps is None:
        return None

    def up(values: Any, dtype: Any) -> Any:
        return device.upload(np.ascontiguousarray(values, dtype) if np.size(values) else np.zeros(1, dtype))

    return DeviceJumps(
        jumps, (up(jumps.address, np.uint32), up(jumps.mean, np.float64), up(jumps.deviation, np.float64), np.int32(jumps.threshold.shape[1]), up(jumps.threshold, np.float64)),
        (up(jumps.split_stream, np.uint32), up(jumps.split_step, np.uint32), up(jumps.split_side, np.int32), up(jumps.split_table, np.int32),
         up(jumps.split_threshold, np.float64)),
        (up(jumps.first_entry, np.int32), up(jumps.entry_clock, np.int32), up(jumps.entry_loading, np.float64)))


def draw_jumps(device: Device, source: DeviceJumps | None, scenarios: Any, wave: Wave, where: tuple[Any, ...], leg: int, tiles: int) -> tuple[Any, ...]:
    """Queue the jumps of a leg into `wave.jump`; what a kernel that moves states is told of them: (whether, first, clock, loading, sizes)."""
    if source is None:
        return (np.int32(0), wave.listed, wave.listed, wave.jump, wave.jump)
    jumps = source.jumps
    splits = (np.int32(jumps.leg_first_split[leg]), np.int32(jumps.leg_first_split[leg + 1]))
    device.launch("jumps", "draw_jumps", (tiles, len(jumps.address), 1), (JUMP_THREADS, 1, 1),
                  (*where, np.uint32(scenarios.leg_step[leg]), np.uint32(jumps.stream), *source.clocks, *splits, *source.splits, wave.jump))
    return (np.int32(1), *source.entries, wave.jump)
