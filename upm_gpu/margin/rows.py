"""Rows that charges ask for beside the margined units: the part of a unit in one underlying, and what is left without its largest names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from upm_gpu.domain.instrument import Instrument, Option
from upm_gpu.margin.requests import Exposures, Names, ProductClass, Rest, Slower, SlowParts
from upm_gpu.margin.units import Lines, Units, grouped_rows, sum_by
from upm_gpu.pricing.compiled import Compiled, Rows


def underlyings_of(instruments: Sequence[Instrument]) -> tuple[str, ...]:
    """The underlyings of what is priced, ascending.

    What `Names.underlying` and `Exposures.underlying` index.
    """
    return tuple(sorted({i.underlying for i in instruments}))


def line_underlyings(lines: Lines, instruments: Sequence[Instrument]) -> NDArray[np.int32]:
    """(L,) index into `underlyings_of` of every line."""
    place = {name: k for k, name in enumerate(underlyings_of(instruments))}
    return np.array([place[i.underlying] for i in instruments], np.int32)[lines.instrument]


def name_rows(units: Units, instruments: Sequence[Instrument], compiled: Compiled) -> tuple[Names, Rows]:
    """One row for each underlying of each unit, ascending by (unit, underlying)."""
    count = max(len(underlyings_of(instruments)), 1)
    key = units.lines.unit.astype(np.int64) * count + line_underlyings(units.lines, instruments)
    distinct, group = np.unique(key, return_inverse=True)
    rows, _ = grouped_rows(units.lines, group.astype(np.int32), len(distinct), compiled)
    return Names((distinct // count).astype(np.int32), (distinct % count).astype(np.int32)), rows


def kind_of(instrument: Instrument) -> str:
    """spot, future, perpetual or option."""
    return "option" if isinstance(instrument, Option) else type(instrument).__name__.lower()


def class_of(instruments: Sequence[Instrument], classes: Sequence[ProductClass]) -> NDArray[np.int64]:
    """(N,) number of the first class each instrument fits; the number of classes where it fits none."""
    return np.array([next((c for c, k in enumerate(classes) if (not k.kinds or kind_of(i) in k.kinds) and (not k.underlyings or i.underlying in k.underlyings)), len(classes)) for i in instruments], np.int64)


def class_rows(units: Units, instruments: Sequence[Instrument], compiled: Compiled, classes: Sequence[ProductClass]) -> Rows:
    """(U x (C + 1)) rows, unit by unit."""
    lines, size = units.lines, len(classes) + 1
    group = lines.unit.astype(np.int64) * size + class_of(instruments, classes)[lines.instrument]
    return grouped_rows(lines, group.astype(np.int32), len(units.names) * size, compiled)[0]


def largest_names(names: Names, shortfall: NDArray[np.float64], underlyings: Sequence[str], units: int, rest: Rest) -> NDArray[np.int64]:
    """(U, rest.names) rows of the largest own expected shortfall `shortfall` (E,), largest first, -1 where a unit has fewer; ties go to the first underlying."""
    eligible = np.array([u not in rest.not_eligible for u in underlyings] or [False])[names.underlying]
    rows = np.flatnonzero(eligible)
    rows = rows[np.lexsort((rows, -shortfall[rows], names.unit[rows]))]
    unit = names.unit[rows]
    rank = np.arange(len(rows)) - np.searchsorted(unit, unit, side="left")
    found = np.full((units, rest.names), -1, np.int64)
    kept = rank < rest.names
    found[unit[kept], rank[kept]] = rows[kept]
    return found


def rest_rows(units: Units, instruments: Sequence[Instrument], compiled: Compiled, names: Names, largest: NDArray[np.int64]) -> Rows:
    """(U) rows of the lines that are in none of `largest` (U, n)."""
    lines, count = units.lines, max(len(underlyings_of(instruments)), 1)
    taken = largest[largest >= 0]
    out = names.unit[taken].astype(np.int64) * count + names.underlying[taken]
    kept = np.flatnonzero(~np.isin(lines.unit.astype(np.int64) * count + line_underlyings(lines, instruments), out))
    left = replace(lines, unit=lines.unit[kept], account=lines.account[kept], instrument=lines.instrument[kept], quantity=lines.quantity[kept])
    return grouped_rows(left, left.unit, len(units.names), compiled)[0]


def days_to_close(held: Exposures, underlyings: Sequence[str], slower: Slower) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """(C,) cells unit x number of underlyings + underlying that are held, ascending, and the days each takes to close out."""
    count, daily = max(len(underlyings), 1), dict(slower.daily)
    a_day = np.array([daily.get(u, slower.default_daily) for u in underlyings] or [1.0])
    cell, place = np.unique(held.unit.astype(np.int64) * count + held.underlying, return_inverse=True)
    return cell, np.abs(sum_by(place, held.delta, len(cell))) / a_day[cell % count]


def slow_rows(units: Units, instruments: Sequence[Instrument], compiled: Compiled, held: Exposures, slower: Slower) -> tuple[SlowParts, Rows]:
    """The rows of a `Slower`: today's net deltas say which underlyings of a unit are slow."""
    underlyings = underlyings_of(instruments)
    count, steps = max(len(underlyings), 1), len(slower.ladder) - 1
    cell, days = days_to_close(held, underlyings, slower)
    line_key = units.lines.unit.astype(np.int64) * count + line_underlyings(units.lines, instruments)
    taken = days[np.searchsorted(cell, line_key)] if len(cell) else np.zeros(len(line_key))
    longer = [np.flatnonzero(taken > step) for step in slower.ladder[:-1]]
    line = np.concatenate([*longer, np.zeros(0, np.int64)]).astype(np.int64)
    group = units.lines.unit[line].astype(np.int64) * max(steps, 1) + np.repeat(np.arange(steps), [len(found) for found in longer])
    order = np.lexsort((line, group))  # within a row in the order of the lines
    line = line[order]
    distinct, row = np.unique(group[order], return_inverse=True)
    parts = replace(units.lines, unit=units.lines.unit[line], account=units.lines.account[line], instrument=units.lines.instrument[line], quantity=units.lines.quantity[line])
    rows, _ = grouped_rows(parts, row.astype(np.int32), len(distinct), compiled)
    return SlowParts(distinct // max(steps, 1), distinct % max(steps, 1)), rows


def stacked(parts: Sequence[Rows]) -> Rows:
    """All rows of the parts, one part after another."""
    first = np.concatenate([[0], *(np.diff(p.first) for p in parts)]).cumsum()
    return Rows(first.astype(np.int64), np.concatenate([p.column for p in parts]), np.concatenate([p.quantity for p in parts]))
