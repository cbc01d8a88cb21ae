"""Operations on the states of a wave: a launch for each run of like operations that do not read one another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from upm_gpu.backend.cuda.interface import Device, blocks_for
from upm_gpu.backend.cuda.memory import Wave
from upm_gpu.scenario.derived import OPERATIONS, Derived

DERIVED_THREADS = 128
NAMES = {number: name for name, number in OPERATIONS.items()}


@dataclass(frozen=True)
class DeviceDerived:
    """The table in device memory, beside the arrays of the base."""

    base: Any
    """what the base uploads, or None"""
    runs: tuple[tuple[str, int, int], ...]
    """(kernel, first operation, operations)"""
    days: Any
    tables: tuple[Any, ...]
    """first_input, input, first_real, real, first_output"""
    events: Any
    """(K + E,) uint64"""


def upload_derived(device: Device, derived: Derived, base: Any) -> DeviceDerived:
    """The table uploaded."""
    real = derived.real if derived.real.size else np.zeros(1)
    tables = tuple(device.upload(np.ascontiguousarray(a)) for a in (derived.first_input, derived.input, derived.first_real, real, derived.first_output))
    return DeviceDerived(base, independent_runs(derived), device.upload(derived.dates.astype(np.float64)), tables,
                         device.upload(np.zeros(len(derived.state_names), np.uint64)))


def independent_runs(derived: Derived) -> tuple[tuple[str, int, int], ...]:
    """Operations in order, cut where the kind changes or where one reads an output of the same run."""
    drawn = len(derived.base.state_names)
    runs: list[tuple[str, int, int]] = []
    for o, number in enumerate(derived.operation):
        reads = derived.input[derived.first_input[o] : derived.first_input[o + 1]]
        name = f"derive_{NAMES[int(number)]}"
        if runs and runs[-1][0] == name and np.all(reads < drawn + derived.first_output[runs[-1][1]]):
            runs[-1] = (name, runs[-1][1], runs[-1][2] + 1)
        else:
            runs.append((name, o, 1))
    return tuple(runs)


def derive_wave(device: Device, source: DeviceDerived, derived: Derived, wave: Wave, first: int, count: int, listed: NDArray[np.uint32] | None) -> None:
    """Queue the states of a wave from `wave.base`: scenarios from `first`, or those listed."""
    if listed is not None:
        device.upload(np.resize(listed.astype(np.uint32), wave.stride), wave.listed)
    which = (np.uint32(first), wave.listed, np.int32(listed is not None))
    drawn, factors, dates = len(derived.base.state_names), len(derived.state_names), len(derived.dates)
    block, tiles = (DERIVED_THREADS, 1, 1), blocks_for(count, DERIVED_THREADS)
    size = (np.int32(factors), np.int32(count), np.int64(wave.stride))
    device.launch("derived", "place_base", (tiles, drawn, dates), block, (np.int32(drawn), *size, wave.base, wave.states))
    for kernel, start, operations in source.runs:
        device.launch("derived", kernel, (tiles, operations, 1), block,
                      (np.int32(start), np.int32(drawn), np.int32(dates), *size, source.days, *source.tables, wave.states, source.events, *which))
