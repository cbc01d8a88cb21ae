"""Rows kept on all scenarios, by the compiled engine (`kernels/host/kept.cpp`): the worst scenarios of a row lie together in tiles of 32, with the sum kept before every 32nd entry."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from upm_gpu.backend.cpu.library import Keep, KeptStruct, RowChangesStruct, check, load
from upm_gpu.backend.kept import KeptRow, KeptUnit, RowChanges, ordered

TILE, STEP = 32, 32
"""UPM_KEPT_TILE and UPM_KEPT_STEP of kernels/host/abi.h"""
WORST = 4096
"""scenarios whose unit P&L lies together: some four times a tail of 1 % of 100,000; those beyond are gathered one by one"""


@dataclass(frozen=True, eq=False)
class Block:
    """What lies together."""

    struct: KeptStruct
    lent: Keep


def keep_unit(unit: NDArray, threads: int = 1) -> KeptUnit:
    """The array itself; float32 or float64, rows contiguous."""
    assert unit.dtype in (np.float32, np.float64) and unit.flags.c_contiguous
    return KeptUnit(unit, threads)


def _struct(unit: KeptUnit, column: NDArray[np.int32], quantity: NDArray[np.float64], lent: Keep) -> KeptStruct:
    columns, scenarios = unit.unit.shape
    return KeptStruct(columns=columns, scenarios=scenarios, entries=len(column), unit=lent(unit.unit, unit.unit.dtype.type, unit.unit.shape), column=lent(column, np.int32, (len(column),)),
                      quantity=lent(quantity, np.float64, (len(column),)), float32=int(unit.unit.dtype == np.float32))


def kept_sums(unit: KeptUnit, column: NDArray[np.int32], quantity: NDArray[np.float64], scenarios: NDArray[np.uint32] | None = None) -> NDArray[np.float64]:
    """(n,) P&L of a row."""
    lent = Keep()
    out = np.empty(unit.scenarios if scenarios is None else len(scenarios))
    listed = None if scenarios is None else lent(scenarios, np.uint32, (len(scenarios),))
    check(load().upm_kept_sums(-1, ctypes.byref(_struct(unit, column, quantity, lent)), listed, len(out), unit.threads, out), "sums of a kept row")
    return out


def keep_row(unit: KeptUnit, column: NDArray[np.int32], quantity: NDArray[np.float64]) -> KeptRow:
    """A row on all scenarios, its worst ones together."""
    pnl = kept_sums(unit, column, quantity)
    order, ascending = ordered(pnl)
    rank = np.empty(len(order), np.uint32)
    rank[order] = np.arange(len(order), dtype=np.uint32)
    lent, worst = Keep(), min(WORST, unit.scenarios) // TILE * TILE
    struct = _struct(unit, column, quantity, lent)
    block, partial = np.empty((worst // TILE, len(column), TILE), unit.unit.dtype), np.empty((worst // TILE, len(column) // STEP + 1, TILE))
    struct.worst, struct.order, struct.ascending = worst, lent(order, np.uint32, order.shape), lent(ascending, np.float64, order.shape)
    struct.pnl, struct.rank = lent(pnl, np.float64, pnl.shape), lent(rank, np.uint32, rank.shape)
    struct.block, struct.partial = lent(block, block.dtype.type, block.shape), lent(partial, np.float64, partial.shape)
    struct.steepest = lent(np.full((len(unit.unit), 2), np.nan), np.float64, (len(unit.unit), 2))
    check(load().upm_kept_block(-1, ctypes.byref(struct), unit.threads), "the worst scenarios of a kept row")
    return KeptRow(unit, column, quantity, order, ascending, Block(struct, lent))


def changed_tails(row: KeptRow, changes: RowChanges, depth: int, isa: int = -1) -> tuple[NDArray[np.float64], NDArray[np.uint32]]:
    """(M, depth) P&L and ids of the worst scenarios of every changed row. `isa` is for tests."""
    lent, items, entries = Keep(), changes.count, len(changes.place)
    given = RowChangesStruct(items=items, entries=entries, first=lent(changes.first, np.int64, (items + 1,)), place=lent(changes.place, np.int32, (entries,)), kind=lent(changes.kind, np.int32, (entries,)),
                             column=lent(changes.column, np.int32, (entries,)), quantity=lent(changes.quantity, np.float64, (entries,)),
                             difference=lent(changes.difference, np.float64, (entries,)), guard=lent(changes.guard, np.float64, (items,)), least=lent(changes.least, np.float64, (items,)))
    pnl, scenario = np.empty((items, depth)), np.empty((items, depth), np.uint32)
    check(load().upm_changed_tails(isa, ctypes.byref(row.home.struct), ctypes.byref(given), depth, row.unit.threads, pnl, scenario, pnl.size), "tails of changed rows")
    return pnl, scenario
