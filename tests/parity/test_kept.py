"""Tails of rows that differ from a kept one: every backend gives the bits of the plain sum over all scenarios, whatever the changes, ties and rows."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import cache

import numpy as np
import pytest
from emulator import build
from emulator.backend import EmulatedCuda

from upm_gpu.backend import cpu, reference
from upm_gpu.backend.cpu import kept as compiled
from upm_gpu.backend.cpu.library import KeptStruct, RowChangesStruct, load
from upm_gpu.backend.kept import GONE, INSERTED, REPLACED, KeepsRows, RowChanges
from upm_gpu.desk.cube import Base, Entry, Row, cube_of, entries_changed, row_changes

SHAPES = [(40, 3_000, 25, 12, 70, 1.0), (40, 900, 0, 5, 50, 1.0), (60, 100, 40, 6, 30, 1.0), (80, 5_000, 64, 9, 140, 100.0), (12, 20, 9, 5, 20, 1.0), (50, 600, 33, 6, 60, 0.0)]
"""columns, scenarios, entries of the row, items, depth, size of the changes; the last: nothing but ties"""


def case(shape: tuple, stored: type) -> tuple[np.ndarray, Row, list[list[Entry]]]:
    """Unit P&L of common factors, a row, and items of up to three changes each: other quantities, columns that go, columns that come, at every place."""
    columns, scenarios, entries, items, _, size = shape
    draw = np.random.default_rng(entries)
    unit = draw.normal(size=(columns, 4)) @ draw.standard_t(4.0, (4, scenarios)) + 0.3 * draw.normal(size=(columns, scenarios))
    unit = (np.round(unit) if size == 0.0 else unit).astype(stored)
    row = Row(np.sort(draw.choice(columns, entries, replace=False)).astype(np.int32), draw.normal(size=entries) * 10.0)
    found = []
    for _ in range(items):
        quantity = dict(zip(row.column.tolist(), row.quantity.tolist(), strict=True))
        for column in draw.choice(columns, draw.integers(0, 4), replace=False).tolist():
            if column in quantity and draw.random() < 0.4:
                del quantity[column]
            else:
                quantity[column] = quantity.get(column, 0.0) + draw.normal() * (size or 1.0)
        changed = Row(np.array(sorted(quantity), np.int32), np.array([quantity[c] for c in sorted(quantity)]))
        entries_of = entries_changed(changed, row)
        assert entries_of is not None
        found.append(entries_of)
    return unit, row, found


def tails(backend: KeepsRows, unit: np.ndarray, row: Row, items: Sequence[Sequence[Entry]], depth: int, threads: int = 1, **more: int) -> tuple[np.ndarray, np.ndarray]:
    cube = cube_of(unit, backend, threads)
    kept = backend.keep_row(backend.keep_unit(unit, threads), row.column, row.quantity)
    assert np.array_equal(kept.ascending, np.sort(kept.ascending))
    return backend.changed_tails(kept, row_changes(cube, Base(row, np.zeros(0), kept), items), depth, **more)


def plain(unit: np.ndarray, row: Row, items: Sequence[Sequence[Entry]], depth: int) -> tuple[np.ndarray, np.ndarray]:
    """Without any of the code under test: a dictionary of quantities, a loop over columns, a sort of all scenarios."""
    pnl, scenario = [], []
    for entries in items:
        quantity = dict(zip(row.column.tolist(), row.quantity.tolist(), strict=True))
        for _, kind, column, new, _ in entries:
            if kind == GONE:
                del quantity[column]
            else:
                quantity[column] = new
        total = np.zeros(unit.shape[1])
        for column in sorted(quantity):
            total = total + quantity[column] * unit[column].astype(np.float64)
        order = np.lexsort((np.arange(len(total)), total))[:depth]
        pnl.append(total[order])
        scenario.append(order)
    return np.array(pnl), np.array(scenario, np.uint32)


@cache
def emulated() -> EmulatedCuda:
    if build.unavailable():
        pytest.skip(str(build.unavailable()))
    return EmulatedCuda(build.build())


@pytest.mark.parametrize("stored", [np.float32, np.float64])
@pytest.mark.parametrize("shape", SHAPES)
def test_every_backend_gives_the_plain_sums(shape, stored):
    unit, row, items = case(shape, stored)
    assert {e[1] for i in items for e in i} <= {REPLACED, INSERTED, GONE}
    expected = plain(unit, row, items, shape[4])
    found = [tails(reference, unit, row, items, shape[4])]
    found += [tails(cpu, unit, row, items, shape[4], threads, isa=isa) for threads, isa in ((1, -1), (2, -1), *((1, i) for _, i in cpu._isa_indices()))]
    if shape[1] <= 3_000 and not build.unavailable():
        found.append(tails(emulated(), unit, row, items, shape[4]))
    for pnl, scenario in found:
        assert pnl.tobytes() == expected[0].tobytes()
        assert np.array_equal(scenario, expected[1])


@pytest.mark.parametrize("stored", [np.float32, np.float64])
def test_what_loses_where_the_row_gains_most(stored):
    """An order that loses far more in the row's best scenario than anywhere else: too little to bring it into the tail, and just enough. Asked twice: what is found for a column is kept."""
    draw = np.random.default_rng(7)
    unit = draw.normal(size=(31, 5_000)).astype(stored)
    row = Row(np.arange(30, dtype=np.int32), draw.normal(size=30) * 10.0)
    pnl = row.quantity @ unit[:30].astype(np.float64)
    best = int(np.argmax(pnl))
    enough = float(pnl[best] - np.sort(pnl)[49])
    unit[30, best] = -enough
    items = [[(30, INSERTED, 30, d, d)] for d in (0.6, 0.95, 1.05, -0.6)]
    expected = plain(unit, row, items, 50)
    assert [best in ids for ids in expected[1].tolist()] == [False, False, True, False]
    cube = cube_of(unit, cpu)
    kept = cpu.keep_row(cpu.keep_unit(unit), row.column, row.quantity)
    for _ in range(2):
        pnl, scenario = cpu.changed_tails(kept, row_changes(cube, Base(row, np.zeros(0), kept), items), 50)
        assert pnl.tobytes() == expected[0].tobytes()
        assert np.array_equal(scenario, expected[1])


def test_many_at_once_are_as_one_by_one():
    unit, row, items = case((40, 2_000, 30, 140, 60, 3.0), np.float32)
    together = tails(cpu, unit, row, items, 60, 2)
    for n in (0, 63, 64, 139):
        alone = tails(cpu, unit, row, [items[n]], 60)
        assert np.array_equal(alone[0][0], together[0][n])
        assert np.array_equal(alone[1][0], together[1][n])


def test_sums_on_listed_scenarios():
    unit, row, _ = case(SHAPES[0], np.float32)
    listed = np.array([5, 0, 2_999, 5], np.uint32)
    backends = [cpu, reference] + ([] if build.unavailable() else [emulated()])
    expected = plain(unit, row, [[]], 3_000)
    by_id = dict(zip(expected[1][0].tolist(), expected[0][0].tolist(), strict=True))
    for backend in backends:
        kept = backend.keep_unit(unit)
        assert backend.kept_sums(kept, row.column, row.quantity, listed).tolist() == [by_id[i] for i in listed.tolist()]
        assert backend.kept_sums(kept, row.column, row.quantity).tolist() == [by_id[i] for i in range(3_000)]
        assert len(backend.kept_sums(kept, row.column, row.quantity, np.zeros(0, np.uint32))) == 0


def test_rows_in_another_order_are_not_taken_for_changes():
    row = Row(np.array([1, 4, 6], np.int32), np.ones(3))
    assert entries_changed(Row(np.array([4, 1, 6], np.int32), np.ones(3)), row) is None
    assert entries_changed(Row(np.array([1, 9, 6, 7], np.int32), np.array([1.0, 2.0, 3.0, 4.0])), row) == [(1, GONE, 4, 0.0, -1.0), (2, INSERTED, 9, 2.0, 2.0), (2, REPLACED, 6, 3.0, 2.0), (3, INSERTED, 7, 4.0, 4.0)]


def test_the_compiled_engine_refuses_what_does_not_fit():
    """A place past the row, a column past the unit P&L, an unknown kind, a depth beyond the scenarios: a status, never a read out of bounds."""
    unit, row, _ = case(SHAPES[0], np.float32)
    kept = cpu.keep_row(cpu.keep_unit(unit), row.column, row.quantity)
    good = RowChanges(np.array([0, 1]), np.array([3], np.int32), np.array([0], np.int32), np.array([7], np.int32), np.ones(1), np.ones(1), np.ones(1), np.zeros(1))

    def status(depth: int = 5, **wrong: np.ndarray) -> int:
        lent, given = compiled.Keep(), good
        fields = {name: wrong.get(name, getattr(given, name)) for name in ("first", "place", "kind", "column", "quantity", "difference", "guard", "least")}
        struct = RowChangesStruct(items=1, entries=1, **{k: lent(v, v.dtype.type, v.shape) for k, v in fields.items()})
        pnl, ids = np.zeros((1, depth)), np.zeros((1, depth), np.uint32)
        return load().upm_changed_tails(-1, ctypes.byref(kept.home.struct), ctypes.byref(struct), depth, 1, pnl, ids, pnl.size)

    assert status() == 0
    for wrong in ({"place": np.array([25], np.int32)}, {"place": np.array([-1], np.int32)}, {"kind": np.array([3], np.int32)}, {"column": np.array([40], np.int32)}, {"first": np.array([0, 2])}):
        assert status(**wrong) == 1
    assert status(depth=3_001) == 1
    empty = KeptStruct(columns=1, scenarios=1, entries=0)
    assert load().upm_kept_sums(-1, ctypes.byref(empty), None, 1, 1, np.zeros(1)) == 1
