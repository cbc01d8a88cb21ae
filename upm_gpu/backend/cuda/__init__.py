"""The CUDA backend: the kernels of `kernels/*.cu` on a device, NumPy arrays in and out.

The orchestration here knows a device only through `interface.Device`; `device.py` is the CuPy implementation and the only
file that imports CuPy, the emulator in the tests is the other. A device is an argument of `prepare`; without one the
first CUDA device is opened.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from upm_gpu.backend.contract import Precision, TailState
from upm_gpu.backend.cuda import attribution as _attribution
from upm_gpu.backend.cuda import kept as _kept
from upm_gpu.backend.cuda import memory, tail, waves
from upm_gpu.backend.cuda import values as _values
from upm_gpu.backend.cuda.interface import Device, OutOfDeviceMemory
from upm_gpu.backend.cuda.memory import ALIGNMENT, Prepared
from upm_gpu.backend.kept import KeptRow, KeptUnit, RowChanges
from upm_gpu.errors import CapacityError
from upm_gpu.pricing.compiled import Compiled, Rows
from upm_gpu.scenario.sets import ScenarioSet

name = "cuda"


def available() -> tuple[bool, str, str]:
    """Whether a CUDA device can run the kernels here, a reason code, and words for `upm doctor`."""
    from upm_gpu.backend.cuda.device import available as look

    return look()


def open_device(ordinal: int = 0) -> Device:
    """The CUDA device `ordinal`, its kernels compiled. Raises DeviceError with a reason code."""
    from upm_gpu.backend.cuda.device import CupyDevice

    return CupyDevice(ordinal)


def prepare(compiled: Compiled, rows: Rows, precision: Precision, threads: int = 0, device: Device | None = None) -> Prepared:
    """A book on `device`; `threads` is accepted and ignored."""
    return memory.prepare(device if device is not None else open_device(), compiled, rows, precision)


def states(prepared: Prepared, scenarios: ScenarioSet, first: int, last: int) -> NDArray[np.float64]:
    """(D, K, S) of the range."""
    result = np.empty((len(scenarios.dates), len(scenarios.state_names), last - first))
    with _within_memory(prepared.device):
        wave = memory.open_wave(prepared, scenarios, last - first, unit=False, pnl=False, floor=ALIGNMENT)
        for start in range(first, last, wave.length):
            count = min(wave.length, last - start)
            waves.draw(prepared, scenarios, wave, start, count)
            result[:, :, start - first : start - first + count] = prepared.device.download(wave.states)[:, :, :count]
    return result


def unit_pnl(prepared: Prepared, scenarios: ScenarioSet, first: int, last: int, horizon: int) -> NDArray:
    """(C, S) in the stored type of the precision."""
    result = np.empty((prepared.compiled.columns, last - first), prepared.stored)
    with _within_memory(prepared.device):
        wave = memory.open_wave(prepared, scenarios, last - first, unit=True, pnl=False, floor=ALIGNMENT)
        for start in range(first, last, wave.length):
            count = min(wave.length, last - start)
            waves.draw(prepared, scenarios, wave, start, count)
            waves.price(prepared, wave, len(scenarios.state_names), horizon, count)
            result[:, start - first : start - first + count] = prepared.device.download(wave.unit)[: len(result), :count]
    return result


def row_pnl(prepared: Prepared, scenarios: ScenarioSet, first: int, last: int, horizon: int) -> NDArray[np.float64]:
    """(R, S)."""
    result = np.empty((prepared.rows.count, last - first))
    with _within_memory(prepared.device):
        wave = memory.open_wave(prepared, scenarios, last - first, unit=True, pnl=True, floor=ALIGNMENT)
        for start in range(first, last, wave.length):
            count = min(wave.length, last - start)
            waves.draw(prepared, scenarios, wave, start, count)
            waves.price(prepared, wave, len(scenarios.state_names), horizon, count)
            waves.sum_rows(prepared, wave, count)
            result[:, start - first : start - first + count] = prepared.device.download(wave.pnl)[: len(result), :count]
    return result


def row_tail(prepared: Prepared, scenarios: ScenarioSet, first: int, last: int, depth: int, threshold: NDArray[np.float64] | None = None) -> TailState:
    """The worst `depth` of the range per (H, R) and the block sums; `first` is a multiple of 4,096."""
    with _within_memory(prepared.device):
        return tail.row_tail(prepared, scenarios, first, last, depth, threshold)


def attribution(prepared: Prepared, scenarios: ScenarioSet, horizon: int, tail_first: NDArray[np.int64], tail_scenario: NDArray[np.uint32],
                tail_weight: NDArray[np.float64]) -> NDArray[np.float64]:
    """(P,) per entry of the rows: quantity x sum over the row's tail scenarios of weight x unit P&L."""
    with _within_memory(prepared.device):
        return _attribution.attribution(prepared, scenarios, horizon, tail_first, tail_scenario, tail_weight)


def values(operation: str, columns: dict[str, NDArray[np.float64]], device: Device | None = None) -> dict[str, NDArray[np.float64]]:
    """An operation of `formula/operations.py`; those without a launch are run by the CPU engine."""
    device = device if device is not None else open_device()
    with _within_memory(device):
        return _values.values(device, operation, columns)


def keep_unit(unit: NDArray, threads: int = 1, device: Device | None = None) -> KeptUnit:
    """The unit P&L of a set on the device."""
    return _kept.keep_unit(device if device is not None else open_device(), unit, threads)


def kept_sums(unit: KeptUnit, column: NDArray[np.int32], quantity: NDArray[np.float64], scenarios: NDArray[np.uint32] | None = None) -> NDArray[np.float64]:
    """(n,) P&L of a row."""
    with _within_memory(unit.home.device):
        return _kept.kept_sums(unit, column, quantity, scenarios)


def keep_row(unit: KeptUnit, column: NDArray[np.int32], quantity: NDArray[np.float64]) -> KeptRow:
    """A row on all scenarios."""
    with _within_memory(unit.home.device):
        return _kept.keep_row(unit, column, quantity)


def changed_tails(row: KeptRow, changes: RowChanges, depth: int) -> tuple[NDArray[np.float64], NDArray[np.uint32]]:
    """(M, depth) P&L and ids of the worst scenarios of every changed row."""
    with _within_memory(row.unit.home.device):
        return _kept.changed_tails(row, changes, depth)


@contextmanager
def _within_memory(device: Device) -> Iterator[None]:
    """A refused allocation that no smaller wave can answer is a capacity error."""
    try:
        yield
    except OutOfDeviceMemory as refusal:
        device.trim()
        raise CapacityError("UPM-CP-063", f"{device.name} has no memory left ({refusal}). Free the device, split the book, or use --device cpu.") from None
