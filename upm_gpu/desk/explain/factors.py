"""Which factor the loss comes from: the P&L of an account on the worst scenarios of its units, parted among what moved.

On each scenario with states x the account is repriced with one factor moved and the others at today's, and with that one at today's and the others moved:

  part of f = ( [v(f alone) - v(nothing)] + [v(all) - v(all but f)] ) / 2,   passage of time = v(nothing),   joint = v(all) - v(nothing) - sum of the parts

v is P&L at the horizon of the core, so v(nothing) is what a quiet market leaves. For two factors the parts are Shapley's and `joint` is 0; for more, `joint` is what only three or more make together.
A factor is one kind of state of one asset: its price, its volatility (all expiries), a rate. Contributions are weighted like those of positions, so all parts add up to the core.
What the core would be if a factor stood still (`held_still`) is the measure of the same P&L over all scenarios, not over the tail alone, so another tail may be its.

Scenarios are the run's own states given outright, through the engine's own pricing. Where products read the path between dates (barriers, averages), that path would be drawn anew: refused by name.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from upm_gpu.desk.cube import exact_sum, row_of, tail_state
from upm_gpu.desk.explain.shares import (
    Parted,
    UnitTail,
    core_cube,
    difference_error,
    excess,
    fitted,
    has_errors,
    measured,
)
from upm_gpu.desk.resident import Resident
from upm_gpu.errors import InputError
from upm_gpu.margin.methodology import core_measure
from upm_gpu.margin.units import sum_by
from upm_gpu.pricing.compiled import Rows
from upm_gpu.pricing.tables import with_tables
from upm_gpu.scenario.derived import derive
from upm_gpu.scenario.sets import BLOCK, Explicit

TIME, JOINT = "passage of time", "joint moves"
PATHS = ("running_extreme", "running_fixings", "running_exit")
"""operations that draw the path between dates"""
TOGETHER = 1 << 15
"""scenarios drawn a call while the worst ones are collected"""


@dataclass(frozen=True)
class FactorGroups:
    """Drawn states by factor."""

    names: tuple[str, ...]
    of_state: NDArray[np.int64]
    """(K,) factor of each drawn state"""


def factor_groups(states: tuple[str, ...]) -> FactorGroups:
    """States of one kind and asset are one factor: `volatility_shift[BTC,2026-02-27]` belongs to `volatility_shift[BTC]`."""
    keys = [re.sub(r",[^\]]*\]$", "]", s) for s in states]
    names = tuple(dict.fromkeys(keys))
    return FactorGroups(names, np.array([names.index(k) for k in keys], np.int64))


def factor_parts(resident: Resident, of: UnitTail, lines: NDArray[np.intp]) -> tuple[tuple[str, ...], Parted]:
    """Names (factors, `passage of time`, `joint moves`), and the account's part of a unit's loss among them. InputError UPM-RN-090 where products read the path between dates."""
    plan = resident.plan
    drawing = [o.kind for o in plan.compiled.operations if o.kind in PATHS]
    if drawing:
        raise InputError("UPM-RN-090", "the book holds products that read the path between dates (barriers, touches, averages): with a factor held still that path would be another one, "
                         "so factors have no part of their own. Positions, underlyings and charges have.")
    _, cube = core_cube(resident)
    rows = _rows(resident, of, lines)
    groups = factor_groups(tuple(plan.compiled.drawn_names))
    ids = of.tail.scenario[0, 0].astype(np.int64)
    moved = _values(resident, rows, _states(resident, rows, ids), groups)
    total = exact_sum(cube, row_of(rows, 0, resident.rank), ids)
    quiet, alone, others = moved[0], moved[1 : 1 + len(groups.names)], moved[1 + len(groups.names) :]
    part = 0.5 * ((alone - quiet) + (total - others))
    pnl = np.concatenate([part, quiet[None], (total - quiet - part.sum(axis=0))[None]])
    weight = np.zeros(len(ids))
    weight[np.argsort(ids)[np.searchsorted(np.sort(ids), of.scenario)]] = of.weight
    contribution = fitted(of, pnl @ weight, plan)
    return (*groups.names, TIME, JOINT), Parted(of, contribution if of.charged else np.zeros(len(pnl)), -pnl)


def _rows(resident: Resident, of: UnitTail, lines: NDArray[np.intp]) -> Rows:
    """The account's lines in the unit as one row: the whole row where it is alone."""
    plan = resident.plan
    part = slice(int(plan.rows.first[of.unit]), int(plan.rows.first[of.unit + 1]))
    if len(lines) == int(np.count_nonzero(plan.units.lines.unit == of.unit)):
        return Rows(np.array([0, part.stop - part.start], np.int64), plan.rows.column[part], plan.rows.quantity[part])
    amount = plan.units.lines.quantity[lines] * plan.compiled.instrument_coefficient[plan.units.lines.instrument[lines]]
    column, place = np.unique(plan.compiled.instrument_column[plan.units.lines.instrument[lines]], return_inverse=True)
    return Rows(np.array([0, len(column)], np.int64), column.astype(np.int32), sum_by(place, amount, len(column)))


def _states(resident: Resident, rows: Rows, ids: NDArray[np.int64]) -> NDArray[np.float64]:
    """(D, K, n) drawn states of scenarios, in the order of `ids`."""
    plan, choice = resident.plan, resident.choice
    count, order = len(plan.compiled.drawn_names), np.argsort(ids)
    ascending = ids[order]
    out = np.empty((len(plan.compiled.dates), count, len(ids)))
    with choice.module.prepare(plan.compiled, rows, choice.precision, choice.threads) as prepared:
        for first in range(0, int(ascending[-1]) + 1, TOGETHER):
            last = min(first + TOGETHER, plan.scenarios.count)
            some = slice(*np.searchsorted(ascending, [first, last]).tolist())
            if some.stop > some.start:
                out[:, :, order[some]] = choice.module.states(prepared, plan.scenarios, first, last)[:, :count, ascending[some] - first]
    return out


def _values(resident: Resident, rows: Rows, states: NDArray[np.float64], groups: FactorGroups) -> NDArray[np.float64]:
    """(1 + 2 F, n) P&L of the row: with nothing moved, with each factor alone, with all but each."""
    plan, choice = resident.plan, resident.choice
    h, _ = core_cube(resident)
    keep = [np.zeros(len(groups.of_state), bool), *(groups.of_state == f for f in range(len(groups.names))), *(groups.of_state != f for f in range(len(groups.names)))]
    names = tuple(plan.compiled.drawn_names)
    sets = [derive(Explicit(names, plan.compiled.dates, np.where(mask[None, :, None], states, 0.0)), plan.compiled.operations) for mask in keep]
    compiled, _ = with_tables(plan.compiled, [plan.scenarios, *sets], choice.module, choice.threads, library=plan.library)
    found = []
    with choice.module.prepare(compiled, rows, choice.precision, choice.threads) as prepared:
        for scenarios in sets:
            found.append(np.concatenate([choice.module.row_pnl(prepared, scenarios, first, min(first + BLOCK, scenarios.count), h) for first in range(0, scenarios.count, BLOCK)], axis=1)[0])
    return np.stack(found)


def held_still(resident: Resident, tails: Sequence[UnitTail], factors: Sequence[int]) -> list[tuple[float, float | None]]:
    """For each factor (index of `factor_groups`): the core of an account that is alone in its units when that factor stands still on every scenario, and the standard error of its difference from the core, on
    common scenarios (None where contributions have none)."""
    plan, choice = resident.plan, resident.choice
    if not factors:
        return []
    h, cube = core_cube(resident)
    groups, names = factor_groups(tuple(plan.compiled.drawn_names)), tuple(plan.compiled.drawn_names)
    spans = [slice(int(plan.rows.first[of.unit]), int(plan.rows.first[of.unit + 1])) for of in tails]
    rows = Rows(np.cumsum([0, *(s.stop - s.start for s in spans)]).astype(np.int64), np.concatenate([plan.rows.column[s] for s in spans]), np.concatenate([plan.rows.quantity[s] for s in spans]))
    nothing = derive(Explicit(names, plan.compiled.dates, np.zeros((len(plan.compiled.dates), len(names), 1))), plan.compiled.operations)
    compiled, _ = with_tables(plan.compiled, [plan.scenarios, nothing], choice.module, choice.threads)
    pnl = np.empty((len(factors), len(tails), cube.count))
    with choice.module.prepare(compiled, rows, choice.precision, choice.threads) as prepared:
        for first in range(0, cube.count, BLOCK):
            last = min(first + BLOCK, cube.count)
            states = choice.module.states(prepared, plan.scenarios, first, last)[:, : len(names)]
            for n, f in enumerate(factors):
                given = Explicit(names, plan.compiled.dates, np.where((groups.of_state == f)[None, :, None], 0.0, states))
                pnl[n, :, first:last] = choice.module.row_pnl(prepared, derive(given, plan.compiled.operations), 0, last - first, h)
    before = [excess(plan, of.tail, of.measure, of.amount) for of in tails]
    found = []
    for each in pnl:
        core, after = 0.0, []
        for values in each:
            order = np.argsort(values, kind="stable")[: plan.depth]
            tail = tail_state([(values[order], order.astype(np.uint32))], cube.count)
            measure = measured(plan, tail)
            amount = float(core_measure(plan.methodology.core, measure)[0][0])
            core += max(amount, 0.0) * plan.methodology.core.multiplier
            after.append(excess(plan, tail, measure, amount))
        found.append((core, difference_error(plan, before, after) if has_errors(plan) else None))
    return found
