"""Rows kept on all scenarios, in NumPy: the twin of `kernels/host/kept.cpp` and `kernels/kept.cu`. Every changed row is summed on every scenario; nothing is selected."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from upm_gpu.backend.kept import GONE, INSERTED, KeptRow, KeptUnit, RowChanges, ordered

PIECE = 1 << 13
"""scenarios summed together: a row's accumulator stays in the first cache"""


def keep_unit(unit: NDArray, threads: int = 1) -> KeptUnit:
    """The array itself."""
    return KeptUnit(unit, threads)


def kept_sums(unit: KeptUnit, column: NDArray[np.int32], quantity: NDArray[np.float64], scenarios: NDArray[np.uint32] | None = None) -> NDArray[np.float64]:
    """(n,) multiply then add, from 0.0."""
    stored = unit.unit if scenarios is None else None
    count = unit.scenarios if scenarios is None else len(scenarios)
    out, product = np.zeros(count), np.empty(min(PIECE, count))
    for first in range(0, count, PIECE):
        part = out[first : first + PIECE]
        space = product[: len(part)]
        for c, q in zip(column.tolist(), quantity.tolist(), strict=True):
            values = stored[c, first : first + PIECE] if stored is not None else unit.unit[c].take(scenarios[first : first + PIECE])  # type: ignore[index]
            np.multiply(values, q, out=space, dtype=np.float64)
            part += space
    return out


def keep_row(unit: KeptUnit, column: NDArray[np.int32], quantity: NDArray[np.float64]) -> KeptRow:
    """The row and its order."""
    return KeptRow(unit, column, quantity, *ordered(kept_sums(unit, column, quantity)))


def changed_row(row: KeptRow, changes: RowChanges, item: int) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """(column, quantity) of a changed row in the order of its sum."""
    column, quantity = row.column.tolist(), row.quantity.tolist()
    for e in range(int(changes.first[item + 1]) - 1, int(changes.first[item]) - 1, -1):  # from behind: places stay those of the kept row
        at, kind = int(changes.place[e]), int(changes.kind[e])
        own: list[tuple[int, float]] = [] if kind == GONE else [(int(changes.column[e]), float(changes.quantity[e]))]
        stop = at if kind == INSERTED else at + 1
        column[at:stop], quantity[at:stop] = [c for c, _ in own], [q for _, q in own]
    return np.array(column, np.int32), np.array(quantity, np.float64)


def changed_tails(row: KeptRow, changes: RowChanges, depth: int) -> tuple[NDArray[np.float64], NDArray[np.uint32]]:
    """(M, depth) P&L and ids of the worst scenarios of every changed row."""
    pnl, scenario = np.empty((changes.count, depth)), np.empty((changes.count, depth), np.uint32)
    for item in range(changes.count):
        order, ascending = ordered(kept_sums(row.unit, *changed_row(row, changes, item)))
        pnl[item], scenario[item] = ascending[:depth], order[:depth]
    return pnl, scenario
