"""Scenarios kept for one book that serve another: columns whose terms, group numbers and table are the same to the bit are taken over, the others are priced.

A column's unit P&L is a function of the states, its terms, the numbers of its group and the nodes of its table alone. So where both books are drawn from the same states on the same dates, what is equal
in all of these is equal on every scenario; linear columns are known by the states and dates they read, options by their instrument. Held to fresh runs by tests/properties/test_whatif_tables.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from upm_gpu.backend.select import Choice
from upm_gpu.desk.cube import Cube, check_finite
from upm_gpu.plan import Plan
from upm_gpu.pricing.compiled import GROUP_INTEGERS, Compiled, Program, Rows, ValueTable
from upm_gpu.scenario.sets import BLOCK

CHUNK = 16 * BLOCK
PLACES = ("first", "count", "table", "second")
"""numbers of a group that only say where its columns, table and second asset stand"""
FIRST, COUNT, TABLE, SECOND = (GROUP_INTEGERS.index(n) for n in PLACES)


@dataclass
class MadeTables:
    """Value tables in memory, by key: a `Shelf` of `pricing/tables.py`."""

    made: dict[str, tuple[ValueTable, float]] = field(default_factory=dict)

    def take(self, key: str) -> tuple[ValueTable, float] | None:
        """The table of a key and its largest error."""
        return self.made.get(key)

    def keep(self, key: str, table: ValueTable, error: float) -> None:
        """Keep it."""
        self.made[key] = table, error


def same_scenarios(old: Plan, new: Plan) -> bool:
    """Whether both draw the same states on the same dates, to the bit."""
    from upm_gpu.desk.moved import same

    a, b = old.compiled, new.compiled
    return a.state_names == b.state_names and np.array_equal(a.dates, b.dates) and a.horizons == b.horizons and same(a.operations, b.operations) and same(old.scenarios, new.scenarios)


def places(old: Compiled, new: Compiled) -> NDArray[np.int64]:
    """(C,) where each column of a book stands in another of the same states, dates and horizons; -1 where it is not there or not the same to the bit."""
    found = np.full(new.columns, -1, np.int64)
    linear = {key: c for c, key in enumerate(_linear(old))}
    found[: new.linear] = [linear.get(key, -1) for key in _linear(new)]
    column = {name: int(c) for name, c in zip(old.instrument_ids, old.instrument_column.tolist(), strict=True)}
    groups = [(_groups(a), _groups(b)) for a, b in zip(old.programs, new.programs, strict=True)]
    for name, c in zip(new.instrument_ids, new.instrument_column.tolist(), strict=True):
        p = column.get(name, -1)
        if c < new.linear or p < old.linear:
            continue
        alike = np.array_equal(old.terms[:, p - old.linear].view(np.uint64), new.terms[:, c - new.linear].view(np.uint64))
        if alike and all(_same_group(a, of_a[p], b, of_b[c]) for a, b, (of_a, of_b) in zip(old.programs, new.programs, groups, strict=True)):
            found[c] = p
    return found


def _linear(compiled: Compiled) -> list[tuple[tuple[int, int, int], ...]]:
    """State, date and form of each linear column, at every horizon."""
    forms = [p.linear_form if p.linear_form is not None else np.zeros(compiled.linear, np.int32) for p in compiled.programs]
    parts = [list(zip(p.linear_state.tolist(), p.linear_date.tolist(), f.tolist(), strict=True)) for p, f in zip(compiled.programs, forms, strict=True)]
    return list(zip(*parts, strict=True))


def _groups(program: Program) -> dict[int, int]:
    """The group of each column that is not linear."""
    return {c: g for g, (first, count) in enumerate(program.group_integers[:, [FIRST, COUNT]].tolist()) for c in range(first, first + count)}


def _same_group(a: Program, g: int, b: Program, h: int) -> bool:
    """Two groups alike in all but where they stand; those that read a second asset are priced again."""
    one, other = a.group_integers[g].copy(), b.group_integers[h].copy()
    if one[SECOND] >= 0 or other[SECOND] >= 0 or (one[TABLE] >= 0) != (other[TABLE] >= 0):
        return False
    if one[TABLE] >= 0:
        s, t = a.tables[one[TABLE]], b.tables[other[TABLE]]
        if s is not t and not (s.low == t.low and s.inverse_step == t.inverse_step and s.values.shape == t.values.shape and s.values.tobytes() == t.values.tobytes()):
            return False
    one[[FIRST, COUNT, TABLE, SECOND]] = other[[FIRST, COUNT, TABLE, SECOND]] = 0
    return bool(np.array_equal(one, other)) and a.group_reals[g].tobytes() == b.group_reals[h].tobytes()


def carried_cubes(old: Plan, cubes: Mapping[int, Cube], new: Plan, choice: Choice, horizons: Sequence[int], progress: Callable[[int, int], None] | None = None) -> tuple[dict[int, Cube], NDArray[np.float64]]:
    """Cubes of a plan by horizon, and today's values of its columns beyond the linear ones, from those of another plan with the same scenarios."""
    from upm_gpu.desk.moved import part_of

    compiled, scenarios, backend = new.compiled, new.scenarios, choice.module
    with backend.prepare(compiled, new.rows, choice.precision, choice.threads) as prepared:
        value0 = np.array(prepared.value0)
    place = places(old.compiled, compiled)
    kept, missing = np.flatnonzero(place >= 0), place < 0
    made = {}
    for h in horizons:
        cube = cubes[h]
        unit, bounds = np.empty((compiled.columns, scenarios.count), cube.unit.dtype), np.empty((2, compiled.columns))
        for c in kept.tolist():
            unit[c] = cube.unit[place[c]]
        bounds[:, kept] = cube.lowest[place[kept]], cube.highest[place[kept]]
        if missing.any():
            part, columns = part_of(compiled, missing)
            nothing = Rows(np.zeros(1, np.int64), np.zeros(0, np.int32), np.zeros(0))
            with backend.prepare(part, nothing, choice.precision, choice.threads) as prepared:
                for first in range(0, scenarios.count, CHUNK):
                    last = min(first + CHUNK, scenarios.count)
                    unit[columns, first:last] = backend.unit_pnl(prepared, scenarios, first, last, h)
                    if progress is not None:
                        progress(last, scenarios.count)
            bounds[:, columns] = [np.min(unit[c]) for c in columns], [np.max(unit[c]) for c in columns]
        made[h] = check_finite(Cube(unit, bounds[0], bounds[1], backend, max(choice.threads, 1)))
    return made, value0


__all__ = ["MadeTables", "carried_cubes", "places", "same_scenarios"]
