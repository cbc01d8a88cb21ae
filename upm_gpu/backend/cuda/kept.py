"""Rows kept on all scenarios, on a device: `kernels/kept.cu`. The unit P&L is uploaded once and stays; a question moves the changes up and the tails down."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from upm_gpu.backend.cuda.interface import Device, OutOfDeviceMemory, blocks_for
from upm_gpu.backend.cuda.tail import PAIR_BYTES, SORT_THREADS
from upm_gpu.backend.kept import KeptRow, KeptUnit, RowChanges, ordered
from upm_gpu.errors import CapacityError

THREADS = 128
TOGETHER = 256
"""items in flight: their candidates are some 10 MB for a tail of 1 % of 100,000"""


@dataclass(frozen=True, eq=False)
class DeviceUnit:
    """The unit P&L of a set on a device."""

    device: Device
    unit: Any
    suffix: str


@dataclass(frozen=True, eq=False)
class DeviceRow:
    """A kept row on the device of its unit."""

    column: Any
    quantity: Any
    pnl: Any
    order: Any


def keep_unit(device: Device, unit: NDArray, threads: int = 1) -> KeptUnit:
    """Upload the unit P&L. Raises CapacityError where the device cannot hold it."""
    try:
        return KeptUnit(unit, threads, DeviceUnit(device, device.upload(unit), "float" if unit.dtype == np.float32 else "double"))
    except OutOfDeviceMemory as refusal:
        raise CapacityError("UPM-CP-063", f"{device.name} has no memory left for {unit.nbytes} bytes of resident scenarios ({refusal}). Free the device, run fewer scenarios, or use --device cpu.") from None


def _some(device: Device, values: NDArray, dtype: type) -> Any:
    """Uploaded; an array on a device has an address even when nothing is in it."""
    return device.upload(values.astype(dtype) if values.size else np.zeros(1, dtype))


def kept_sums(unit: KeptUnit, column: NDArray[np.int32], quantity: NDArray[np.float64], scenarios: NDArray[np.uint32] | None = None) -> NDArray[np.float64]:
    """(n,) P&L of a row."""
    home: DeviceUnit = unit.home
    device, count = home.device, unit.scenarios if scenarios is None else len(scenarios)
    if not count:
        return np.zeros(0)
    out = device.allocate(count, np.float64)
    listed = _some(device, np.zeros(0, np.uint32) if scenarios is None else scenarios, np.uint32)
    device.launch("kept", f"kept_sums_{home.suffix}", (blocks_for(count, THREADS), 1, 1), (THREADS, 1, 1),
                  (home.unit, np.int64(unit.scenarios), np.int32(len(column)), _some(device, column, np.int32), _some(device, quantity, np.float64), listed, np.int32(scenarios is not None),
                   np.int64(count), out))
    return device.download(out)


def keep_row(unit: KeptUnit, column: NDArray[np.int32], quantity: NDArray[np.float64]) -> KeptRow:
    """A row on all scenarios."""
    device, pnl = unit.home.device, kept_sums(unit, column, quantity)
    order, ascending = ordered(pnl)
    home = DeviceRow(_some(device, column, np.int32), _some(device, quantity, np.float64), device.upload(pnl), device.upload(order))
    return KeptRow(unit, column, quantity, order, ascending, home)


def changed_tails(row: KeptRow, changes: RowChanges, depth: int) -> tuple[NDArray[np.float64], NDArray[np.uint32]]:
    """(M, depth) P&L and ids of the worst scenarios of every changed row."""
    pnl, scenario = np.empty((changes.count, depth)), np.empty((changes.count, depth), np.uint32)
    for begin in range(0, changes.count, TOGETHER):
        end = min(begin + TOGETHER, changes.count)
        pnl[begin:end], scenario[begin:end] = _some_tails(row, changes, begin, end, depth)
    return pnl, scenario


def _some_tails(row: KeptRow, changes: RowChanges, begin: int, end: int, depth: int) -> tuple[NDArray[np.float64], NDArray[np.uint32]]:
    home: DeviceUnit = row.unit.home
    own: DeviceRow = row.home
    device, suffix, scenarios, items = home.device, home.suffix, row.unit.scenarios, end - begin
    part = slice(int(changes.first[begin]), int(changes.first[end]))
    first = device.upload((changes.first[begin : end + 1] - changes.first[begin]).astype(np.int64))
    place, kind, column = (_some(device, x[part], np.int32) for x in (changes.place, changes.kind, changes.column))
    quantity, difference = (_some(device, x[part], np.float64) for x in (changes.quantity, changes.difference))
    some, block = min(2 * depth, scenarios), (THREADS, 1, 1)
    guess = device.allocate((items, some), np.float64)
    device.launch("kept", f"changed_guess_{suffix}", (blocks_for(some, THREADS), items, 1), block,
                  (home.unit, np.int64(scenarios), own.pnl, own.order, np.int32(some), first, column, difference, guess))
    bound = device.upload(np.partition(device.download(guess), depth - 1, axis=1)[:, depth - 1] + changes.guard[begin:end])
    capacity = 1 << (2 * depth - 1).bit_length()
    while True:
        count, kept = device.upload(np.zeros(items, np.int32)), device.allocate((items, capacity), np.uint32)
        device.launch("kept", f"changed_keep_{suffix}", (blocks_for(scenarios, THREADS), items, 1), block,
                      (home.unit, np.int64(scenarios), own.pnl, first, column, difference, bound, np.int32(capacity), count, kept))
        most = int(device.download(count).max())
        if most <= capacity:
            break
        capacity = 1 << (most - 1).bit_length()
    sums = device.allocate((items, capacity), np.float64)
    device.launch("kept", f"changed_sums_{suffix}", (blocks_for(most, THREADS), items, 1), block,
                  (home.unit, np.int64(scenarios), np.int32(len(row.column)), own.column, own.quantity, first, place, kind, column, quantity, np.int32(capacity), count, kept, sums))
    shared = capacity * PAIR_BYTES
    in_shared = shared <= device.shared_memory()
    device.launch("row_tail", "sort_candidates", (items, 1, 1), (SORT_THREADS, 1, 1),
                  (np.int32(capacity), np.int32(depth), np.int32(in_shared), count, device.allocate(items, np.float64), sums, kept), shared=shared if in_shared else 0)
    pnl, ids = device.allocate((items, depth), np.float64), device.allocate((items, depth), np.uint32)
    device.launch("row_tail", "collect_tail", (items, blocks_for(depth, SORT_THREADS), 1), (SORT_THREADS, 1, 1), (np.int32(capacity), np.int32(depth), sums, kept, pnl, ids))
    return device.download(pnl), device.download(ids)
