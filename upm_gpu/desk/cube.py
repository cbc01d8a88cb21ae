"""Unit P&L of every column on every scenario, kept: rows are summed from it with the bits of a fresh run.

A row is, in every backend, one float64 sum over its columns in ascending order of quantity x stored unit P&L (`backend/contract.py`), so a row's P&L is a function of the stored values
alone. A changed row needs that sum only where it may end in the tail:

  approximation a(s) = base(s) + sum over changed columns of (q' - q) u(s), base the kept sum of the row before the change;
  |a(s) - exact(s)| <= e = 2 (n + 8) 2^-53 sum over columns of (|q| + |q'|) max |u|, n the number of columns (sequential summation, Higham, Accuracy and Stability, 2002, 4.2);
  every scenario whose exact P&L is among the worst `depth` has a(s) <= a_(depth) + 2 e, a_(depth) the depth-th smallest approximation.

Those scenarios, some more than `depth`, are summed again in full. Approximations are needed only where the row was bad before: the changes can add no less than the sum over changed columns
of min((q' - q) min u, (q' - q) max u), so whoever was further above the bound than that cannot come below it. Verified by tests/properties/test_desk.py against fresh runs, byte for byte.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from upm_gpu.backend.contract import TailState
from upm_gpu.errors import CapacityError, InputError
from upm_gpu.pricing.compiled import Compiled, Rows
from upm_gpu.scenario.sets import BLOCK, ScenarioSet

PIECE = 1 << 13
"""scenarios summed together: a row's accumulator stays in the first cache"""
ROUNDING = 2.0**-53


@dataclass(frozen=True, eq=False)
class Cube:
    """One scenario set at one horizon."""

    unit: NDArray
    """(C, S) unit P&L in the type the backend stores: float32 under precision mixed, float64 under double"""
    lowest: NDArray[np.float64]
    """(C,) smallest unit P&L of any scenario"""
    highest: NDArray[np.float64]
    """(C,) largest"""

    @property
    def largest(self) -> NDArray[np.float64]:
        """(C,) largest |unit P&L|."""
        return np.maximum(-self.lowest, self.highest)

    @property
    def count(self) -> int:
        """S."""
        return int(self.unit.shape[1])

    @property
    def bytes(self) -> int:
        """Memory of the stored values."""
        return int(self.unit.nbytes)


@dataclass(frozen=True, eq=False)
class Row:
    """A row in the order in which it is summed."""

    column: NDArray[np.int32]
    quantity: NDArray[np.float64]


@dataclass(eq=False)
class Base:
    """A row whose sum is kept on all scenarios of one cube, and in ascending order."""

    row: Row
    pnl: NDArray[np.float64]
    """(S,)"""
    order: NDArray[np.int64]
    """(S,) scenarios, worst first"""
    ascending: NDArray[np.float64]
    """(S,) the P&L in that order"""
    block: NDArray | None = None
    """(P, M) unit P&L of the row's columns on the M worst scenarios, in that order; made when it is first read"""


def draw_cubes(backend: ModuleType, compiled: Compiled, rows: Rows, precision: str, threads: int, scenarios: ScenarioSet, horizons: list[int],
               progress: Callable[[int, int], None] | None = None) -> tuple[dict[int, Cube], NDArray[np.float64]]:
    """Cubes of one set by index of the horizon, and today's values of the columns beyond the linear ones. Raises CapacityError where they do not fit into memory."""
    with backend.prepare(compiled, rows, precision, threads) as prepared:
        value0 = np.array(prepared.value0)
        stored: type[np.floating] = np.float32 if precision == "mixed" else np.float64
        try:
            units = {h: np.empty((compiled.columns, scenarios.count), stored) for h in horizons}
        except MemoryError:
            size = len(horizons) * compiled.columns * scenarios.count * np.dtype(stored).itemsize
            raise CapacityError("UPM-CP-090", f"the resident scenarios of {compiled.columns} columns x {scenarios.count} scenarios take {size / 1e9:.1f} GB, more memory than there is. "
                                "Run with fewer scenarios, or on a machine with more memory.") from None
        size = max(BLOCK, min(16 * BLOCK, (1 << 26) // max(compiled.columns, 1) // BLOCK * BLOCK))
        for first in range(0, scenarios.count, size):
            last = min(first + size, scenarios.count)
            for h in horizons:
                units[h][:, first:last] = backend.unit_pnl(prepared, scenarios, first, last, h)
            if progress is not None:
                progress(last, scenarios.count)
    cubes = {h: cube_of(unit) for h, unit in units.items()}
    for cube in cubes.values():
        if not np.all(np.isfinite(cube.largest)):
            raise InputError("UPM-PR-078", "scenario P&L values are NaN or infinite: a volatility, level or quantity is beyond what float64 can hold. Check the largest inputs.")
    return cubes, value0


def cube_of(unit: NDArray) -> Cube:
    """The cube of stored unit P&L (C, S)."""
    return Cube(unit, np.array([np.min(u) for u in unit], np.float64), np.array([np.max(u) for u in unit], np.float64))


def row_of(rows: Rows, r: int, rank: NDArray[np.int64] | None = None) -> Row:
    """Row `r`, its columns in the order of `rank` (C,): where each column stands in the sums of a fresh run; None: as they are numbered."""
    part = slice(int(rows.first[r]), int(rows.first[r + 1]))
    column, quantity = rows.column[part], rows.quantity[part]
    if rank is None:
        return Row(column, quantity)
    order = np.argsort(rank[column], kind="stable")
    return Row(column[order], quantity[order])


def exact_sum(cube: Cube, row: Row, scenarios: NDArray[np.integer] | None = None) -> NDArray[np.float64]:
    """(n,) P&L of a row on some scenarios (None: all), multiply then add, from 0.0."""
    if scenarios is None:
        out = np.zeros(cube.count)
        product = np.empty(PIECE)
        for first in range(0, cube.count, PIECE):
            part = out[first : first + PIECE]
            space = product[: len(part)]
            for column, quantity in zip(row.column.tolist(), row.quantity.tolist(), strict=True):
                np.multiply(cube.unit[column, first : first + PIECE], quantity, out=space, dtype=np.float64)
                part += space
        return out
    out, product = np.zeros(len(scenarios)), np.empty(len(scenarios))
    for column, quantity in zip(row.column.tolist(), row.quantity.tolist(), strict=True):
        np.multiply(cube.unit[column].take(scenarios), quantity, out=product, dtype=np.float64)
        out += product
    return out


def kept(cube: Cube, row: Row) -> Base:
    """The row with its sum on every scenario."""
    pnl = exact_sum(cube, row)
    order = np.argsort(pnl, kind="stable")
    return Base(row, pnl, order, pnl[order])


def worst(cube: Cube, row: Row, depth: int, base: Base | None = None) -> tuple[NDArray[np.float64], NDArray[np.uint32]]:
    """The `depth` smallest (P&L, scenario) of a row, ascending, as a fresh run has them; `base` is the row before the change."""
    if base is None or (changed := _changes(row, base.row)) is None or len(changed[0]) >= len(row.column):
        return _smallest(exact_sum(cube, row), np.arange(cube.count, dtype=np.uint32), depth)
    columns, differences, size = changed
    guard = 2.0 * guard_band(cube, row, base.row, size)
    at, some = min(depth, cube.count), min(2 * depth, cube.count)
    guess = _guess(cube, base, columns, differences, some)
    bound = np.partition(guess, at - 1)[at - 1] + guard  # no smaller than that of all scenarios
    # a scenario left out has gained at least the least that the changes can make anywhere
    least = float(np.sum(np.minimum(differences * cube.lowest[columns], differences * cube.highest[columns])))
    reach = int(np.searchsorted(base.ascending, bound + guard - least, side="right"))
    if reach > some:
        guess = _guess(cube, base, columns, differences, reach)
        bound = np.partition(guess, at - 1)[at - 1] + guard
    found = np.flatnonzero(guess <= bound)
    return _smallest(_summed(cube, row, base, found), base.order[found].astype(np.uint32), depth)


def _guess(cube: Cube, base: Base, columns: NDArray[np.int32], differences: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """(count,) the approximation on the scenarios that were worst before the change."""
    guess, ids = base.ascending[:count].copy(), base.order[:count]
    for column, difference in zip(columns.tolist(), differences.tolist(), strict=True):
        guess += np.multiply(cube.unit[column].take(ids), difference, dtype=np.float64)
    return guess


BLOCK_DEPTH = 4096
"""of the worst scenarios whose unit P&L is kept together for a row: gathering them is most of a sum"""


def _summed(cube: Cube, row: Row, base: Base, found: NDArray[np.intp]) -> NDArray[np.float64]:
    """(n,) exact sums on scenarios given by their place in the order of the base, `found` ascending."""
    if not len(found) or found[-1] >= min(BLOCK_DEPTH, cube.count) or len(base.row.column) < 8:
        return exact_sum(cube, row, base.order[found])
    if base.block is None:
        ids = base.order[:BLOCK_DEPTH]
        base.block = np.stack([cube.unit[c].take(ids) for c in base.row.column.tolist()])
    kept_at = {c: i for i, c in enumerate(base.row.column.tolist())}
    block, ids = base.block, base.order[found]
    out, product = np.zeros(len(found)), np.empty(len(found))
    for column, quantity in zip(row.column.tolist(), row.quantity.tolist(), strict=True):
        at = kept_at.get(column)
        np.multiply(cube.unit[column].take(ids) if at is None else block[at].take(found), quantity, out=product, dtype=np.float64)
        out += product
    return out


def guard_band(cube: Cube, row: Row, before: Row, count: int) -> float:
    """The most by which the approximation and the exact sum of a row can differ."""
    gross = float(np.abs(row.quantity) @ cube.largest[row.column]) + float(np.abs(before.quantity) @ cube.largest[before.column])
    return 2.0 * (count + 8) * ROUNDING * gross


def _changes(row: Row, before: Row) -> tuple[NDArray[np.int32], NDArray[np.float64], int] | None:
    """(columns, differences of quantity, columns of both); None where nothing is common."""
    if not len(before.column):
        return None
    both = np.concatenate([row.column, before.column])
    columns, place = np.unique(both, return_inverse=True)
    difference = np.zeros(len(columns))
    difference[place[: len(row.column)]] = row.quantity
    difference[place[len(row.column) :]] -= before.quantity
    moved = difference != 0.0
    return columns[moved], difference[moved], len(columns)


def _smallest(pnl: NDArray[np.float64], scenario: NDArray[np.uint32], depth: int) -> tuple[NDArray[np.float64], NDArray[np.uint32]]:
    if len(pnl) > depth:
        bound = np.partition(pnl, depth - 1)[depth - 1]
        inside = np.flatnonzero(pnl <= bound)
        pnl, scenario = pnl[inside], scenario[inside]
    order = np.lexsort((scenario, pnl))[:depth]
    return pnl[order], scenario[order]


def tail_state(parts: list[tuple[NDArray[np.float64], NDArray[np.uint32]]], count: int) -> TailState:
    """(1, R, depth) the tail of rows at one horizon; sums over all scenarios are not made (no margin needs them)."""
    pnl, scenario = np.stack([p for p, _ in parts])[None], np.stack([s for _, s in parts])[None]
    return TailState(pnl, scenario, np.zeros(0, np.int64), np.zeros((0, *pnl.shape[:2], 2)), np.zeros(0, np.int64), 0, count)


def attribution(cube: Cube, row: Row, scenario: NDArray[np.uint32], weight: NDArray[np.float64]) -> NDArray[np.float64]:
    """(P,) quantity x weighted sum of unit P&L over scenarios, ascending ids, one accumulator: the operation of the contract."""
    found = np.zeros(len(row.column))
    for i, column in enumerate(row.column.tolist()):
        found[i] = np.add.accumulate(np.r_[0.0, weight * cube.unit[column].take(scenario).astype(np.float64)])[-1]
    return row.quantity * found
