"""Unit P&L of every column on every scenario, kept: rows are summed from it with the bits of a fresh run.

A row is, in every backend, one float64 sum over its columns in ascending order of quantity x stored unit P&L (`backend/contract.py`), so a row's P&L is a function of the stored values
alone. A changed row needs that sum only where it may end in the tail:

  approximation a(s) = base(s) + sum over changed columns of (q' - q) u(s), base the kept sum of the row before the change;
  |a(s) - exact(s)| <= e = 2 (n + 8) 2^-53 sum over columns of (|q| + |q'|) max |u|, n the number of columns (sequential summation, Higham, Accuracy and Stability, 2002, 4.2);
  every scenario whose exact P&L is among the worst `depth` has a(s) <= a_(depth) + 2 e, a_(depth) the depth-th smallest approximation.

Those scenarios, some more than `depth`, are summed again in full. Approximations are needed only where the row was bad before: the changes can add no less than the sum over changed columns
of min((q' - q) min u, (q' - q) max u), so whoever was further above the bound than that cannot come below it. The work is done by operations of the backend (`backend/kept.py`): selection, sum
and order of many changed rows in one call. Verified by tests/properties/test_desk.py against fresh runs, byte for byte, and tests/parity/test_kept.py between backends.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from upm_gpu.backend import reference
from upm_gpu.backend.contract import TailState
from upm_gpu.backend.kept import GONE, INSERTED, REPLACED, KeepsRows, KeptRow, KeptUnit, RowChanges
from upm_gpu.desk.stored import Store
from upm_gpu.errors import CapacityError, InputError
from upm_gpu.margin.units import sum_by
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
    backend: KeepsRows = reference
    """whose operations sum its rows"""
    threads: int = 1

    @cached_property
    def home(self) -> KeptUnit:
        """The stored values where the backend reads them."""
        return self.backend.keep_unit(self.unit, self.threads)

    @property
    def on_device(self) -> bool:
        """Whether a copy is in the memory of a device: from the first sum of a row on."""
        return "home" in vars(self) and self.home.home is not None

    @cached_property
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
    kept: KeptRow
    """the same at the backend"""

    @property
    def bytes(self) -> int:
        """Memory of what is kept, some more where the backend lays scenarios together."""
        return int(self.pnl.nbytes + self.kept.order.nbytes + self.kept.ascending.nbytes)

    @property
    def order(self) -> NDArray[np.uint32]:
        """(S,) scenarios, worst first."""
        return self.kept.order

    @property
    def ascending(self) -> NDArray[np.float64]:
        """(S,) the P&L in that order."""
        return self.kept.ascending


def draw_cubes(backend: ModuleType, compiled: Compiled, rows: Rows, precision: str, threads: int, scenarios: ScenarioSet, horizons: list[int],
               progress: Callable[[int, int], None] | None = None, store: Store | None = None, name: str = "core") -> tuple[dict[int, Cube], NDArray[np.float64]]:
    """Cubes of one set by index of the horizon, and today's values of the columns beyond the linear ones. `store` may have them under `name`, or keeps them. Raises CapacityError where they do not fit
    into memory."""
    stored: type[np.floating] = np.float32 if precision == "mixed" else np.float64
    shape = (compiled.columns, scenarios.count)
    cubes = {}
    with backend.prepare(compiled, rows, precision, threads) as prepared:
        value0 = np.array(prepared.value0)
        for h in horizons if store is not None else ():
            known = store.take(f"{name}_{h}", shape, stored)  # type: ignore[union-attr]
            if known is not None:
                cubes[h] = Cube(known[0], known[1], known[2], backend, max(threads, 1))
        missing = [h for h in horizons if h not in cubes]
        try:
            units = {h: np.empty(shape, stored) if store is None else store.place(f"{name}_{h}", shape, stored) for h in missing}
        except MemoryError:
            size = len(missing) * compiled.columns * scenarios.count * np.dtype(stored).itemsize
            raise CapacityError("UPM-CP-090", f"the resident scenarios of {compiled.columns} columns x {scenarios.count} scenarios take {size / 1e9:.1f} GB, more memory than there is. "
                                "Run with fewer scenarios, or on a machine with more memory.") from None
        size = max(BLOCK, min(16 * BLOCK, (1 << 26) // max(compiled.columns, 1) // BLOCK * BLOCK))
        for first in range(0, scenarios.count, size) if missing else ():
            last = min(first + size, scenarios.count)
            for h in missing:
                units[h][:, first:last] = backend.unit_pnl(prepared, scenarios, first, last, h)
            if progress is not None:
                progress(last, scenarios.count)
    for h, unit in units.items():
        cubes[h] = cube = check_finite(cube_of(unit, backend, threads))
        if store is not None:
            store.done(f"{name}_{h}", unit, cube.lowest, cube.highest)
    return cubes, value0


def check_finite(cube: Cube) -> Cube:
    """The cube; InputError where a value of it is no number."""
    if not np.all(np.isfinite(cube.largest)):
        raise InputError("UPM-PR-078", "scenario P&L values are NaN or infinite: a volatility, level or quantity is beyond what float64 can hold. Check the largest inputs.")
    return cube


def cube_of(unit: NDArray, backend: KeepsRows = reference, threads: int = 1) -> Cube:
    """The cube of stored unit P&L (C, S)."""
    return Cube(unit, np.array([np.min(u) for u in unit], np.float64), np.array([np.max(u) for u in unit], np.float64), backend, max(threads, 1))


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
    return cube.backend.kept_sums(cube.home, row.column, row.quantity, None if scenarios is None else scenarios.astype(np.uint32))


def kept(cube: Cube, row: Row) -> Base:
    """The row with its sum on every scenario."""
    found = cube.backend.keep_row(cube.home, row.column, row.quantity)
    pnl = np.empty(cube.count)
    pnl[found.order] = found.ascending
    return Base(row, pnl, found)


def worst(cube: Cube, row: Row, depth: int, base: Base | None = None) -> tuple[NDArray[np.float64], NDArray[np.uint32]]:
    """The `depth` smallest (P&L, scenario) of a row, ascending, as a fresh run has them; `base` is the row before the change."""
    depth = min(depth, cube.count)
    if base is None or not len(base.row.column):
        return _smallest(exact_sum(cube, row), np.arange(cube.count, dtype=np.uint32), depth)
    entries = entries_changed(row, base.row)
    if entries is None:
        return _reordered(cube, row, depth, base)
    pnl, scenario = cube.backend.changed_tails(base.kept, row_changes(cube, base, [entries]), depth)
    return pnl[0], scenario[0]


def _reordered(cube: Cube, row: Row, depth: int, base: Base) -> tuple[NDArray[np.float64], NDArray[np.uint32]]:
    """`worst` of a row whose columns are summed in another order than before: selected alike, summed from the cube."""
    changes = _changes(row, base.row)
    assert changes is not None
    columns, differences, size = changes
    guard = 2.0 * guard_band(cube, row, base.row, size)
    some = min(2 * depth, cube.count)
    guess = _guess(cube, base, columns, differences, some)
    bound = np.partition(guess, depth - 1)[depth - 1] + guard  # no smaller than that of all scenarios
    # a scenario left out has gained at least the least that the changes can make anywhere
    least = float(np.sum(np.minimum(differences * cube.lowest[columns], differences * cube.highest[columns])))
    reach = int(np.searchsorted(base.ascending, bound + guard - least, side="right"))
    if reach > some:
        guess = _guess(cube, base, columns, differences, reach)
        bound = np.partition(guess, depth - 1)[depth - 1] + guard
    found = base.order[np.flatnonzero(guess <= bound)]
    return _smallest(exact_sum(cube, row, found), found, depth)


def _guess(cube: Cube, base: Base, columns: NDArray[np.int32], differences: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """(count,) the approximation on the scenarios that were worst before the change."""
    guess, ids = base.ascending[:count].copy(), base.order[:count]
    for column, difference in zip(columns.tolist(), differences.tolist(), strict=True):
        guess += np.multiply(cube.unit[column].take(ids), difference, dtype=np.float64)
    return guess


Entry = tuple[int, int, int, float, float]
"""place in the kept row, kind, column, quantity, difference of quantity: one change of `backend/kept.py`"""


def entries_changed(row: Row, before: Row) -> list[Entry] | None:
    """What makes `row` of `before`, as a backend takes it; None where columns of both stand in another order."""
    count = len(before.column)
    where = np.full(1 + int(max(before.column.max(initial=-1), row.column.max(initial=-1))), -1, np.int64)
    where[before.column] = np.arange(count)
    at = where[row.column]
    common = at >= 0
    if np.any(np.diff(at[common]) < 0):
        return None
    following = np.where(common, at, count)
    place = np.minimum.accumulate(following[::-1])[::-1]
    found = [(int(place[i]), INSERTED, int(row.column[i]), float(row.quantity[i]), float(row.quantity[i])) for i in np.flatnonzero(~common)]
    here = np.flatnonzero(common)
    moved = here[row.quantity[here] != before.quantity[at[here]]]
    found += [(int(at[i]), REPLACED, int(row.column[i]), float(row.quantity[i]), float(row.quantity[i] - before.quantity[at[i]])) for i in moved]
    stays = np.zeros(count, bool)
    stays[at[common]] = True
    found += [(int(p), GONE, int(before.column[p]), 0.0, -float(before.quantity[p])) for p in np.flatnonzero(~stays)]
    return sorted(found, key=lambda e: (e[0], e[1] != INSERTED))  # stable: new columns keep the order of the row


def row_changes(cube: Cube, base: Base, items: Sequence[Sequence[Entry]]) -> RowChanges:
    """Changed rows with the bounds of their selection, as at the head of this file."""
    first = np.zeros(len(items) + 1, np.int64)
    np.cumsum([len(i) for i in items], out=first[1:])
    flat = [e for i in items for e in i]
    place, kind, column = (np.array([e[k] for e in flat], np.int32) for k in range(3))
    quantity, difference = (np.array([e[k] for e in flat], np.float64) for k in (3, 4))
    return bounded(cube, base, first, place, kind, column, quantity, difference)


def bounded(cube: Cube, base: Base, first: NDArray[np.int64], place: NDArray[np.int32], kind: NDArray[np.int32], column: NDArray[np.int32], quantity: NDArray[np.float64],
            difference: NDArray[np.float64]) -> RowChanges:
    """The same of arrays: those of `RowChanges`."""
    count = len(first) - 1
    item = np.repeat(np.arange(count), np.diff(first))
    before = float(np.abs(base.row.quantity) @ cube.largest[base.row.column])
    gross = 2.0 * before + sum_by(item, np.abs(quantity) * cube.largest[column], count)
    guard = 4.0 * (len(base.row.column) + np.diff(first) + 8) * ROUNDING * gross
    least = sum_by(item, np.minimum(difference * cube.lowest[column], difference * cube.highest[column]), count)
    return RowChanges(first, place, kind, column, quantity, difference, guard, least)


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
