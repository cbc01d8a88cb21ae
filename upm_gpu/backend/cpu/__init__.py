"""The CPU backend: the host build of `kernels/`, tiles of 64 scenarios in the L2 cache, one thread a tile.

The operations and their shapes are those of `backend/contract.py`. Results are the same bits for any thread count, tile
order, chunking, column block and instruction set; against the reference they differ by the elementary functions only.
Every call releases the interpreter lock; `call_scenarios` sizes a call so that it stays well below one second.
"""

from __future__ import annotations

import ctypes
import math
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from upm_gpu.backend.contract import Precision, TailState
from upm_gpu.backend.cpu import library
from upm_gpu.backend.cpu.kept import changed_tails, keep_row, keep_unit, kept_sums
from upm_gpu.backend.cpu.library import Keep, check, load
from upm_gpu.backend.cpu.structs import book_struct, scenarios_struct
from upm_gpu.errors import DeviceError, UpmError
from upm_gpu.pricing.compiled import Compiled, Rows
from upm_gpu.scenario.sets import BLOCK, ScenarioSet

name = "cpu"
PHASES = ("simulate", "price", "aggregate", "tail")
LINE = 8
"""float64 of a cache line"""


@dataclass(eq=False)
class Prepared:
    """A book in the engine. Holds the handle and the arrays it borrows until closed."""

    compiled: Compiled
    rows: Rows
    precision: Precision
    value0: NDArray[np.float64]
    threads: int
    isa: str
    handle: int | None
    borrowed: Keep = field(repr=False)
    release: Callable[[int], None] = field(repr=False)

    @property
    def stored(self) -> type:
        """Type of a stored unit P&L."""
        return np.float32 if self.precision == "mixed" else np.float64

    @property
    def timings(self) -> dict[str, float]:
        """Seconds of `row_tail` so far by phase; thread time divided by the threads."""
        seconds = np.zeros(len(PHASES))
        check(load().upm_timings(_handle(self), seconds, seconds.size), "timings")
        return {phase: float(s) / self.threads for phase, s in zip(PHASES, seconds, strict=True)}

    def close(self) -> None:
        """Give the engine's memory back; closing twice is harmless."""
        if self.handle is not None:
            self.release(self.handle)
            self.handle = None

    def __enter__(self) -> Prepared:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()


def available() -> tuple[bool, str, str]:
    """Whether the engine runs here: (runs, reason code, text)."""
    try:
        names = isas()
    except UpmError as error:
        return False, error.code, error.message
    slow = " (slow: no AVX2 here, correctness only)" if names[0] == "plain" else ""
    return True, "", f"{names[0]}, {default_threads()} threads{slow}"


def isas() -> tuple[str, ...]:
    """Instruction sets that are built in and run on this processor, widest first."""
    return tuple(isa for isa, _ in _isa_indices())


def _isa_indices() -> list[tuple[str, int]]:
    lib = load()
    return [(lib.upm_isa_name(i).decode(), i) for i in range(lib.upm_isa_count()) if lib.upm_isa_runs(i)]


def _isa_index(isa: str | None) -> int:
    """-1 lets the engine choose."""
    known = dict(_isa_indices())
    if isa is not None and isa not in known:
        raise DeviceError("UPM-DV-013", f"instruction set {isa} does not run here. Use one that this processor and build have: {', '.join(known)}.")
    return -1 if isa is None else known[isa]


def default_threads() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def prepare(compiled: Compiled, rows: Rows, precision: Precision, threads: int = 0, *, isa: str | None = None, block_columns: int = 0) -> Prepared:
    """Hand a book to the engine and value every option today.

    `threads` 0: the cores of this process. `isa` and `block_columns` (columns priced together; 0: from the L2 cache) are for
    tests and measurements; they change no bit.
    """
    lib, index = load(), _isa_index(isa)
    if precision not in ("double", "mixed"):
        raise DeviceError("UPM-DV-016", f"precision {precision} is not offered by the cpu backend. Use mixed or double.")
    book, borrowed = book_struct(compiled, rows, precision == "mixed")
    value0 = np.zeros(compiled.columns - compiled.linear)
    handle = ctypes.c_void_p()
    check(lib.upm_prepare(ctypes.byref(book), index, block_columns, ctypes.byref(handle), value0, value0.size), "prepare")
    chosen = lib.upm_isa_name(lib.upm_prepared_isa(handle)).decode()
    return Prepared(compiled, rows, precision, value0, threads or default_threads(), chosen, handle.value, borrowed, lib.upm_release)


def call_scenarios(prepared: Prepared, scenarios: ScenarioSet, seconds: float = 0.5) -> int:
    """Whole blocks of scenarios that one call prices, sums and cuts in about `seconds`; at least one block."""
    struct, _keep = scenarios_struct(scenarios)
    each = load().upm_cost(_handle(prepared), ctypes.byref(struct)) * 1e-9 / prepared.threads
    return max(int(seconds / max(each, 1e-12)) // BLOCK, 1) * BLOCK


def _handle(prepared: Prepared) -> int:
    if prepared.handle is None:
        raise DeviceError("UPM-DV-017", "this prepared book was closed. Prepare it again.")
    return prepared.handle


def on_lines(shape: tuple[int, ...]) -> NDArray[np.float64]:
    """An array of float64, not initialised, from the start of a cache line on: rows written past the caches leave no part of a line to fetch."""
    count = math.prod(shape)
    memory = np.empty(count + LINE)
    start = -(memory.ctypes.data // memory.itemsize) % LINE
    return memory[start : start + count].reshape(shape)


def states(prepared: Prepared, scenarios: ScenarioSet, first: int, last: int) -> NDArray[np.float64]:
    """(D, K, S) of the range."""
    struct, _keep = scenarios_struct(scenarios)
    out = on_lines((struct.dates, struct.states, last - first))
    check(load().upm_states(_handle(prepared), ctypes.byref(struct), first, last, prepared.threads, out, out.size), f"states of scenarios {first} to {last}")
    return out


def unit_pnl(prepared: Prepared, scenarios: ScenarioSet, first: int, last: int, horizon: int) -> NDArray:
    """(C, S) in the stored type."""
    struct, _keep = scenarios_struct(scenarios)
    out: NDArray = np.empty((prepared.compiled.columns, last - first), prepared.stored)
    check(load().upm_unit_pnl(_handle(prepared), ctypes.byref(struct), first, last, horizon, prepared.threads, out.ctypes.data, out.nbytes),
          f"unit P&L of scenarios {first} to {last}")
    return out


def row_pnl(prepared: Prepared, scenarios: ScenarioSet, first: int, last: int, horizon: int) -> NDArray[np.float64]:
    """(R, S)."""
    struct, _keep = scenarios_struct(scenarios)
    out = np.empty((prepared.rows.count, last - first))
    check(load().upm_row_pnl(_handle(prepared), ctypes.byref(struct), first, last, horizon, prepared.threads, out, out.size),
          f"row P&L of scenarios {first} to {last}")
    return out


def row_tail(prepared: Prepared, scenarios: ScenarioSet, first: int, last: int, depth: int, threshold: NDArray[np.float64] | None = None) -> TailState:
    """The worst `depth` of the range per (H, R) and the block sums."""
    struct, _keep = scenarios_struct(scenarios)
    shape = (len(prepared.compiled.programs), prepared.rows.count)
    pnl, ids = np.empty((*shape, depth)), np.empty((*shape, depth), np.uint32)
    blocks = np.arange(first // BLOCK, -(-last // BLOCK), dtype=np.int64)
    sums = np.empty((len(blocks), *shape, 2))
    clipped, not_finite = np.zeros(struct.states, np.int64), ctypes.c_int64()
    start = None
    if threshold is not None:
        start = np.ascontiguousarray(threshold, np.float64)
        if start.shape != shape:
            raise DeviceError("UPM-DV-014", f"the threshold has shape {start.shape}, expected {shape}.")
    check(load().upm_row_tail(_handle(prepared), ctypes.byref(struct), first, last, depth, None if start is None else start.ctypes.data, prepared.threads,
                              pnl, ids, pnl.size, sums, sums.size, clipped, clipped.size, ctypes.byref(not_finite)), f"tail of scenarios {first} to {last}")
    return TailState(pnl, ids, blocks, sums, clipped, not_finite.value, last - first)


def attribution(prepared: Prepared, scenarios: ScenarioSet, horizon: int, tail_first: NDArray[np.int64], tail_scenario: NDArray[np.uint32],
                tail_weight: NDArray[np.float64]) -> NDArray[np.float64]:
    """(P,) quantity x weighted sum of the unit P&L over the row's tail scenarios; ids ascend inside a row."""
    struct, _keep = scenarios_struct(scenarios)
    first, ids = np.ascontiguousarray(tail_first, np.int64), np.ascontiguousarray(tail_scenario, np.uint32)
    weight = np.ascontiguousarray(tail_weight, np.float64)
    total = np.zeros(len(prepared.rows.column))
    if first.shape != (prepared.rows.count + 1,) or weight.shape != ids.shape:
        raise DeviceError("UPM-DV-014", "the tail has other rows or weights than the prepared book.")
    size = call_scenarios(prepared, scenarios)
    for start in range(0, scenarios.count, size):
        stop = min(start + size, scenarios.count)
        check(load().upm_attribution(_handle(prepared), ctypes.byref(struct), start, stop, horizon, first, ids, weight, ids.size, prepared.threads, total,
                                     total.size), f"attribution of scenarios {start} to {stop}")
    return prepared.rows.quantity * total


def values(operation: str, columns: dict[str, NDArray[np.float64]], threads: int = 0, *, isa: str | None = None) -> dict[str, NDArray[np.float64]]:
    """An operation of `formula/operations.py`: its inputs, (cases,), to its outputs, (cases,)."""
    from upm_gpu.formula.operations import operation_columns, operation_named

    wanted = operation_named(operation)
    lib, cases, out_count = load(), operation_columns(wanted, columns), len(wanted.outputs)
    parts = []
    for start in range(0, cases.shape[1], wanted.cases_a_call):
        part = np.ascontiguousarray(cases[:, start : start + wanted.cases_a_call])
        out: NDArray[np.float64] = np.empty((out_count, part.shape[1]))
        check(lib.upm_values(_isa_index(isa), wanted.number, part.shape[1], part, part.size, out, out.size, threads or default_threads()), f"{operation} values")
        parts.append(out)
    return dict(zip(wanted.outputs, np.concatenate(parts, axis=1) if parts else np.zeros((out_count, 0)), strict=True))


def merge_tails(a: TailState, b: TailState, threads: int = 0, *, reuse: bool = False) -> TailState:
    """`contract.merge` in native code: the state of two disjoint sets of scenarios.

    With `reuse` the result lies in the arrays of `a`, which must not be read afterwards: at 10,000 rows the page faults of fresh
    arrays cost more than merging.
    """
    depth = max(a.pnl.shape[2], b.pnl.shape[2])
    shape = (*a.pnl.shape[:2], depth)
    reuse = reuse and a.pnl.shape == shape and all(x.flags.c_contiguous and x.flags.writeable for x in (a.pnl, a.scenario))
    pnl, ids = (a.pnl, a.scenario) if reuse else (np.empty(shape), np.empty(shape, np.uint32))
    check(load().upm_merge_tails(shape[0] * shape[1], np.ascontiguousarray(a.pnl), np.ascontiguousarray(a.scenario), a.pnl.shape[2], np.ascontiguousarray(b.pnl),
                                 np.ascontiguousarray(b.scenario), b.pnl.shape[2], pnl, ids, depth, threads or default_threads()), "merge")
    blocks = np.concatenate([a.blocks, b.blocks])
    rank = np.argsort(blocks, kind="stable")
    return TailState(pnl, ids, blocks[rank], np.concatenate([a.block_sums, b.block_sums])[rank], a.clipped + b.clipped, a.not_finite + b.not_finite, a.count + b.count)


__all__ = ["Prepared", "attribution", "available", "call_scenarios", "changed_tails", "default_threads", "isas", "keep_row", "keep_unit", "kept_sums", "library", "merge_tails",
           "name", "prepare", "row_pnl", "row_tail", "states", "unit_pnl", "values"]
