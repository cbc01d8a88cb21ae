"""Another market: only what depends on it is priced again on the resident scenarios.

A column's unit P&L is a function of the states, its terms and the numbers of its group alone. So a changed market is compiled as a run would, and columns whose terms or group differ in any bit are priced
again on all scenarios; the others are kept. A move of one underlying changes its own options and nothing else (linear instruments are relative moves: their quantities carry the new price).

The scenarios themselves must be those of a fresh run: laws that are fitted again from what changed (a history, another valuation time, variances read from the surface) draw others, value tables are made
for one market, and a book of other instruments has other columns. Then a full run is due, and the refusal says why. Otherwise every answer equals that of a fresh run of the changed market to the bit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from upm_gpu.desk.change import with_nothing_of
from upm_gpu.desk.cube import Cube, cube_of
from upm_gpu.desk.keeping import posted_by_nobody
from upm_gpu.desk.resident import FurtherCube, Resident
from upm_gpu.errors import InputError
from upm_gpu.exhibits import unit_greeks
from upm_gpu.margin.methodology import simulated_assets
from upm_gpu.margin.result import option_values
from upm_gpu.margin.units import build_rows, build_units
from upm_gpu.market.snapshot import MarketSnapshot
from upm_gpu.measuring import sub_plans
from upm_gpu.plan import Plan, make_plan, with_count
from upm_gpu.pricing.compiled import GROUP_INTEGERS, Compiled, Program, Rows
from upm_gpu.scenario.sets import BLOCK

CHUNK = 16 * BLOCK
FIRST, COUNT, SECOND = (GROUP_INTEGERS.index(n) for n in ("first", "count", "second"))


@dataclass(frozen=True, eq=False)
class Moved:
    """A resident under another market."""

    resident: Resident
    revalued: int
    """columns priced again"""
    columns: int
    underlyings: tuple[str, ...]
    """whose instruments they are"""


def under_market(resident: Resident, market: MarketSnapshot, progress: Callable[[int, int], None] | None = None) -> Moved:
    """The same scenarios under another market. Raises InputError UPM-RN-086 with the reason where a full run is due."""
    old, book = resident.plan, resident.plan.book
    now, then = market.valuation_time, old.market.valuation_time
    if now < then:
        raise InputError("UPM-RN-086", f"the market snapshot is older than the run: its valuation time is {now:%Y-%m-%dT%H:%M}Z, that of the run {then:%Y-%m-%dT%H:%M}Z. Give the newest snapshot, or none to ask under the run's own.")
    if now != then:
        raise due(f"the valuation time is {now:%Y-%m-%dT%H:%M}Z and was {then:%Y-%m-%dT%H:%M}Z: every instrument is nearer to its expiry")
    if old.spec.surface_file:
        raise due("its volatility surfaces are those of a file, which was made for one market")
    if any(p.table_requests for p in old.compiled.programs):
        raise due("the book holds products that are read from value tables, which are made for one market")
    held = {book.instruments[n].instrument_id for n in np.unique(book.positions.instrument)}
    place = {i.instrument_id: n for n, i in enumerate(book.instruments)}
    new = [place[name] for name in old.compiled.instrument_ids if name in place and name not in held]
    coins = posted_by_nobody(old.methodology, book, old.market)
    plan = make_plan(with_nothing_of(book, new, coins) if new or coins else book, market, replace(old.spec, count=resident.cap), old.methodology, resident.model)
    simulated = simulated_assets(old.methodology, book)
    units = build_units(book, plan.instruments, simulated)
    rows, entry = build_rows(units, plan.compiled)
    plan = with_count(replace(plan, book=book, units=units, rows=rows, line_entry=entry, library=old.library), old.spec.count)
    reason = other_scenarios(old, plan)
    if reason:
        raise due(reason)
    changed = changed_columns(old.compiled, plan.compiled)
    cubes = {h: _revalued(resident, cube, plan.compiled, plan.scenarios, h, changed, progress) for h, cube in resident.cubes.items()}
    further = []
    for f, (sub, asked) in zip(resident.further, sub_plans(plan, plan.compiled, resident.choice), strict=True):
        own = changed_columns(f.sub.compiled, sub.compiled)
        further.append(FurtherCube(sub, tuple(asked), tuple(_revalued(resident, cube, sub.compiled, sub.scenarios, h, own, None) for h, cube in enumerate(f.cubes))))
    with resident.choice.module.prepare(plan.compiled, rows, resident.choice.precision, resident.choice.threads) as prepared:
        value0 = np.array(prepared.value0)
    greeks = None if resident.greeks is None else unit_greeks(resident.choice.module, plan.instruments, plan.compiled, market)
    known = replace(resident.known, assets=frozenset({market.reporting_currency, *market.spots}), unit_value=option_values(plan.compiled, plan.instruments, value0))
    made = Resident(None, plan, resident.choice, cubes, tuple(further), value0, greeks, resident.charges, known, resident.holders, {}, {}, resident.model, resident.cap)
    named = {i.underlying for i, c in zip(plan.instruments, plan.compiled.instrument_column.tolist(), strict=True) if changed[c]}
    return Moved(made, int(np.count_nonzero(changed)), plan.compiled.columns, tuple(sorted(named)))


def due(reason: str) -> InputError:
    """The refusal that says a full run is due."""
    return InputError("UPM-RN-086", f"a full run is due: {reason}. Run `upm run` on the new market.")


def other_scenarios(old: Plan, new: Plan) -> str:
    """Why the scenarios of two plans are not the same; "" where they are, to the bit."""
    if old.compiled.instrument_ids != new.compiled.instrument_ids or old.compiled.state_names != new.compiled.state_names or not np.array_equal(old.compiled.dates, new.compiled.dates):
        return "the new market prices other instruments, on other states or dates"
    if not same(old.scenarios, new.scenarios) or old.sets.keys() != new.sets.keys() or any(not same(old.sets[k], new.sets[k]) for k in old.sets):
        return "the law that scenarios are drawn from is another one, fitted to what changed (history, variances, rates)"
    if not np.array_equal(old.compiled.instrument_column, new.compiled.instrument_column) or old.compiled.linear != new.compiled.linear:
        return "instruments fold into other columns"
    return ""


def same(a: Any, b: Any) -> bool:
    """Whether two frozen values hold the same bits, arrays and dataclasses included."""
    if type(a) is not type(b):
        return False
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if is_dataclass(a):
        return all(same(getattr(a, f.name), getattr(b, f.name)) for f in fields(a))
    if isinstance(a, (tuple, list)):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    return bool(a == b)


def changed_columns(old: Compiled, new: Compiled) -> NDArray[np.bool_]:
    """(C,) columns whose terms or group differ in any bit at any horizon; a group and what it reads of a second asset go together."""
    changed = np.zeros(new.columns, bool)
    differ = np.any(old.terms.view(np.uint64) != new.terms.view(np.uint64), axis=0)
    changed[new.linear :] = differ
    for a, b in zip(old.programs, new.programs, strict=True):
        changed[: new.linear] |= (a.linear_state != b.linear_state) | (a.linear_date != b.linear_date)
        group = np.any(a.group_integers != b.group_integers, axis=1) | np.any(a.group_reals.view(np.uint64) != b.group_reals.view(np.uint64), axis=1)
        second = b.group_integers[:, SECOND]
        group |= (second >= 0) & group[np.maximum(second, 0)]
        for g in np.flatnonzero(group):
            changed[b.group_integers[g, FIRST] : b.group_integers[g, FIRST] + b.group_integers[g, COUNT]] = True
    return changed


def part_of(compiled: Compiled, wanted: NDArray[np.bool_]) -> tuple[Compiled, NDArray[np.intp]]:
    """The groups that hold wanted columns, and those they read of a second asset, with their columns in `compiled`; linear columns all stay."""
    integers = compiled.programs[0].group_integers
    keep = np.array([bool(wanted[f : f + n].any()) for f, n in integers[:, [FIRST, COUNT]].tolist()], bool)
    for g in np.flatnonzero(keep):
        if integers[g, SECOND] >= 0:
            keep[integers[g, SECOND]] = True
    kept = np.flatnonzero(keep)
    columns = np.concatenate([np.arange(compiled.linear), *(np.arange(integers[g, FIRST], integers[g, FIRST] + integers[g, COUNT]) for g in kept)])

    def part(program: Program) -> Program:
        own = program.group_integers[kept].copy()
        own[:, FIRST] = compiled.linear + np.cumsum(own[:, COUNT]) - own[:, COUNT]
        own[:, SECOND] = np.where(own[:, SECOND] >= 0, np.searchsorted(kept, np.maximum(own[:, SECOND], 0)), -1)
        return replace(program, group_integers=own, group_reals=program.group_reals[kept])

    made = replace(compiled, instrument_ids=(), instrument_column=np.zeros(0, np.int32), instrument_coefficient=np.zeros(0), terms=np.ascontiguousarray(compiled.terms[:, columns[compiled.linear :] - compiled.linear]),
                   programs=tuple(map(part, compiled.programs)))
    return made, columns


def _revalued(resident: Resident, cube: Cube, compiled: Compiled, scenarios: Any, horizon: int, changed: NDArray[np.bool_], progress: Callable[[int, int], None] | None) -> Cube:
    if not changed.any():
        return cube
    part, columns = part_of(compiled, changed)
    unit, choice = np.array(cube.unit), resident.choice
    nothing = Rows(np.zeros(1, np.int64), np.zeros(0, np.int32), np.zeros(0))
    with choice.module.prepare(part, nothing, choice.precision, choice.threads) as prepared:
        for first in range(0, scenarios.count, CHUNK):
            last = min(first + CHUNK, scenarios.count)
            unit[columns, first:last] = choice.module.unit_pnl(prepared, scenarios, first, last, horizon)
            if progress is not None:
                progress(last, scenarios.count)
    made = cube_of(unit, cube.backend, cube.threads)
    if not np.all(np.isfinite(made.largest)):
        raise InputError("UPM-PR-078", "scenario P&L values are NaN or infinite under the new market: a volatility or level is beyond what float64 can hold. Check the largest inputs.")
    return made
