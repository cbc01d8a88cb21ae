"""A book and a wave of scenarios in device memory."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from upm_gpu.backend.contract import Precision
from upm_gpu.backend.cuda.interface import Device, OutOfDeviceMemory, blocks_for
from upm_gpu.errors import CapacityError
from upm_gpu.pricing.compiled import Compiled, Program, Rows, require_tables
from upm_gpu.scenario.derived import base_of
from upm_gpu.scenario.sets import BLOCK, ScenarioSet

ALIGNMENT = 64
"""scenarios; the stride of an array of a wave is a multiple, so that four neighbours load at once"""
SLICE = 16
"""columns of one group that a thread prices: enough to share the group's exponentials, few enough for many blocks"""
LARGEST_WAVE = 4 * BLOCK
"""scenarios in flight: launches are few against the work, and a redone wave costs little"""
SHARE_OF_FREE_MEMORY = 0.8


@dataclass(frozen=True)
class DeviceProgram:
    """How to price every column at one horizon."""

    linear_state: Any
    linear_date: Any
    linear_form: Any
    group_integers: Any
    group_reals: Any
    slices: Any
    """(n, 3): group, first column, last column"""
    slice_count: int
    table_axes: Any
    """(tables, 4): low and inverse step of both coordinates"""
    table_nodes: Any
    """(tables, 3): nodes of both coordinates, place of the first value"""
    table_values: Any


@dataclass
class Prepared:
    """A book on a device; closed by `with`."""

    compiled: Compiled
    rows: Rows
    precision: Precision
    value0: NDArray[np.float64]
    device: Device
    programs: tuple[DeviceProgram, ...]
    terms: Any
    device_value0: Any
    row_first: Any
    row_column: Any
    row_quantity: Any
    refused: int = 0
    """allocations refused so far; each halved a wave"""
    sources: dict[str, Any] = field(default_factory=dict)
    """the last walk used, uploaded"""

    @property
    def stored(self) -> np.dtype:
        """Type of a stored unit P&L."""
        return np.dtype(np.float32 if self.precision == "mixed" else np.float64)

    @property
    def suffix(self) -> str:
        """Which instance of a kernel reads the stored unit P&L."""
        return "float" if self.precision == "mixed" else "double"

    def __enter__(self) -> Prepared:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Give the memory back; the object is of no use after."""
        self.programs = ()
        self.sources.clear()
        self.terms = self.device_value0 = self.row_first = self.row_column = self.row_quantity = None
        self.device.trim()


def prepare(device: Device, compiled: Compiled, rows: Rows, precision: Precision) -> Prepared:
    """Upload a book and value every option today. Raises CapacityError where the device cannot hold it."""
    options = compiled.terms.shape[1]
    try:
        programs = tuple(_program(device, p) for p in compiled.programs)
        terms = device.upload(_at_least_one(compiled.terms))
        value0 = device.allocate(max(options, 1), np.float64)
        if options:
            group = device.upload(_group_of_option(compiled, compiled.programs[0]))
            device.launch("unit_pnl", "value_today", (blocks_for(options, 128), 1, 1), (128, 1, 1),
                          (programs[0].group_integers, programs[0].group_reals, group, np.int64(options), terms, value0))
        return Prepared(
            compiled, rows, precision, device.download(value0)[:options], device, programs, terms, value0,
            device.upload(rows.first.astype(np.int64)), device.upload(_at_least_one(rows.column.astype(np.int32))),
            device.upload(_at_least_one(rows.quantity.astype(np.float64))))
    except OutOfDeviceMemory as refusal:
        raise CapacityError("UPM-CP-060", f"the book ({compiled.columns} columns, {rows.count} rows, {len(rows.column)} entries) does not fit into the free memory of "
                            f"{device.name} ({refusal}). Free the device, split the book, or use --device cpu.") from None


def _program(device: Device, program: Program) -> DeviceProgram:
    slices = [(g, first, min(first + SLICE, int(row[1] + row[2])))
              for g, row in enumerate(program.group_integers) for first in range(int(row[1]), int(row[1] + row[2]), SLICE)]
    return DeviceProgram(
        device.upload(_at_least_one(program.linear_state.astype(np.int32))), device.upload(_at_least_one(program.linear_date.astype(np.int32))),
        device.upload(_at_least_one(np.zeros(len(program.linear_date), np.int32) if program.linear_form is None else program.linear_form.astype(np.int32))),
        device.upload(_at_least_one(program.group_integers.astype(np.int32))), device.upload(_at_least_one(program.group_reals.astype(np.float64))),
        device.upload(np.array(slices or [(0, 0, 0)], np.int32)), len(slices), *(device.upload(a) for a in _tables(program)))


def _tables(program: Program) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]]:
    """The value tables of a program, one after the other."""
    require_tables(program)
    axes = np.array([(*t.low, *t.inverse_step) for t in program.tables] or [(0.0,) * 4])
    start = np.cumsum([0, *(t.values.size for t in program.tables)])
    nodes = np.array([(*t.values.shape, first) for t, first in zip(program.tables, start, strict=False)] or [(0, 0, 0)], np.int64)
    return axes, nodes, np.concatenate([t.values.ravel() for t in program.tables] or [np.zeros(1)])


def _group_of_option(compiled: Compiled, program: Program) -> NDArray[np.int32]:
    group = np.zeros(compiled.terms.shape[1], np.int32)
    for g, row in enumerate(program.group_integers):
        group[row[1] - compiled.linear : row[1] - compiled.linear + row[2]] = g
    return group


def _at_least_one(values: NDArray) -> NDArray:
    """A device array has an address even when nothing is in it."""
    return values if values.size else np.zeros(1, values.dtype)


@dataclass(frozen=True)
class Wave:
    """Arrays for some scenarios in flight."""

    length: int
    """most scenarios it holds"""
    stride: int
    states: Any
    """(D, K, stride)"""
    listed: Any
    """(stride,) uint32: scenario ids, where they are not a range"""
    normal: Any
    running: Any
    """(K, stride)"""
    stretch: Any
    """(stride,)"""
    jump: Any
    """(jump clocks, stride)"""
    unit: Any
    """(C, stride), stored type; None where not asked for"""
    pnl: Any
    """(R, stride); None where not asked for"""
    base: Any
    """(D, base states, stride) of a derived set; None for others"""


def open_wave(prepared: Prepared, scenarios: ScenarioSet, wanted: int, unit: bool, pnl: bool, floor: int) -> Wave:
    """The largest wave of at most `wanted` scenarios that the device has memory for.

    Begins at a share of the free memory and halves when an allocation is refused, down to `floor`; then CapacityError.
    Lengths are multiples of `floor` (a block of the contract where block sums are taken) unless one wave holds all.
    """
    assert floor % ALIGNMENT == 0
    shape = (len(scenarios.dates), len(scenarios.state_names), prepared.compiled.columns, prepared.rows.count)
    clocks = getattr(scenarios, "jump_clocks", 0)
    drawn = len(base_of(scenarios).state_names) if base_of(scenarios) is not scenarios else 0
    each = 8 * shape[0] * (shape[1] + drawn) + 16 * shape[1] + 8 * clocks + 12 + prepared.stored.itemsize * shape[2] * unit + 8 * shape[3] * pnl
    free = prepared.device.free_memory() * SHARE_OF_FREE_MEMORY
    length = min(wanted, LARGEST_WAVE, max(floor, int(free // each) // floor * floor))
    while True:
        try:
            return _allocate_wave(prepared, shape, clocks, drawn, length, unit, pnl)
        except OutOfDeviceMemory as refusal:
            prepared.refused += 1
            prepared.device.trim()
            if length <= floor:
                raise CapacityError("UPM-CP-061", f"{prepared.device.name} has no memory for {length} scenarios of {shape[2]} columns and {shape[3]} rows "
                                    f"({each * length} bytes, {prepared.device.free_memory()} free; {refusal}). Free the device, split the book, or use --device cpu.") from None
            length = max(floor, blocks_for(length // 2, floor) * floor)


def _allocate_wave(prepared: Prepared, shape: tuple[int, int, int, int], clocks: int, drawn: int, length: int, unit: bool, pnl: bool) -> Wave:
    dates, factors, columns, rows = shape
    stride = blocks_for(length, ALIGNMENT) * ALIGNMENT
    allocate = prepared.device.allocate
    return Wave(
        length, stride,
        allocate((dates, factors, stride), np.float64),
        allocate(stride, np.uint32),
        allocate((factors, stride), np.float64),
        allocate((factors, stride), np.float64),
        allocate(stride, np.float64),
        allocate((max(clocks, 1), stride), np.float64),
        allocate((max(columns, 1), stride), prepared.stored) if unit else None,
        allocate((max(rows, 1), stride), np.float64) if pnl else None,
        allocate((dates, drawn, stride), np.float64) if drawn else None)
