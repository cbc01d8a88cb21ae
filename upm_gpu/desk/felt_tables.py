"""Value tables that a changed unit may feel. A run makes the tables of such units finer and walks the book again (`pricing/table_refinement.py`); so the resident scenarios answer for a changed book only where its
fresh run would find nothing: the same look at the same tail scenarios of every changed unit. Where it would find something, or a unit reads tables that the run made finer, the fresh run itself is
made, in memory: seconds, and the answer is its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from upm_gpu.backend.contract import TailState
from upm_gpu.desk.cube import row_of, tail_state, worst
from upm_gpu.desk.resident import Resident
from upm_gpu.domain.book import Book
from upm_gpu.margin.adaptive import SHARE_OF_NOTIONAL
from upm_gpu.margin.requests import Measure
from upm_gpu.margin.result import account_shares
from upm_gpu.margin.units import gross_notional
from upm_gpu.plan import Plan, make_plan
from upm_gpu.pricing.compiled import Rows
from upm_gpu.pricing.table_refinement import finer_of
from upm_gpu.risk.tail import tail_weights
from upm_gpu.table_check import check_tables, tables_of_columns

if TYPE_CHECKING:
    from upm_gpu.desk.margins import State


def doubts(resident: Resident, sub: Plan, book_of: NDArray[np.int64], accounts: Sequence[Sequence[str]], tail: TailState, core: Measure) -> NDArray[np.bool_]:
    """(books,) whether a fresh run of each changed book would make tables finer, or reads some that the run did. `sub` is the plan of all their units, `book_of` (U,) the book of each, `accounts` whose they are,
    `tail` of one horizon."""
    found, plan = np.zeros(len(accounts), bool), resident.plan
    h = plan.horizon(plan.core.horizon)
    table_of = tables_of_columns(plan.compiled, h)
    finer = finer_of(plan.compiled, h)
    if finer:
        read = np.isin(table_of[sub.rows.column], list(finer))
        found[book_of[np.repeat(np.arange(sub.rows.count), np.diff(sub.rows.first))[read]]] = True
    every, own = _entries(plan.rows, table_of), _entries(sub.rows, table_of)
    of_account = [plan.units.lines.unit[np.isin(plan.units.lines.account, [resident.known.accounts[a] for a in names])] for names in accounts]
    others = np.array([every.sum() - every[np.unique(units)].sum() for units in of_account], np.int64)
    whole = (others + np.bincount(book_of, own, len(accounts)).astype(np.int64))[book_of]
    felt = _felt(sub, h, resident, tail, core, whole)
    found[book_of[felt]] = True
    return found


def others_feel(resident: Resident) -> bool:
    """Whether any unit of a book just made resident would feel its tables in a run."""
    from upm_gpu.desk.margins import measures_of

    plan = resident.plan
    h = plan.horizon(plan.core.horizon)
    entries = _entries(plan.rows, tables_of_columns(plan.compiled, h))
    chosen = np.flatnonzero(entries)
    if not len(chosen):
        return False
    lengths = np.diff(plan.rows.first)[chosen]
    at = np.concatenate([np.arange(plan.rows.first[u], plan.rows.first[u + 1]) for u in chosen])
    rows = Rows(np.r_[0, np.cumsum(lengths)].astype(np.int64), plan.rows.column[at], plan.rows.quantity[at])
    cube = resident.cubes[h]
    tail = tail_state([worst(cube, row_of(rows, r), plan.depth) for r in range(rows.count)], cube.count)
    core = measures_of(replace(plan, requests=(plan.core,), rows=rows), {h: tail})[plan.core]
    gross = gross_notional(plan.units, plan.instruments, plan.market)[chosen]
    return bool(len(_felt(replace(plan, rows=rows), h, resident, tail, core, np.full(rows.count, entries.sum()), gross)))


def _entries(rows: Rows, table_of: NDArray[np.int64]) -> NDArray[np.int64]:
    """(R,) entries of each row that read a table."""
    row = np.repeat(np.arange(rows.count), np.diff(rows.first))
    return np.bincount(row[table_of[rows.column] >= 0], minlength=rows.count).astype(np.int64)


def _felt(plan: Plan, horizon: int, resident: Resident, tail: TailState, core: Measure, whole: NDArray[np.int64], gross: NDArray[np.float64] | None = None) -> NDArray[np.int64]:
    """Units that feel their tables by the look of a run whose book has `whole` (U,) entries that read one."""
    first, scenario, _ = tail_weights(tail, 0, plan.core.level)
    nobody_minds = SHARE_OF_NOTIONAL * (gross_notional(plan.units, plan.instruments, plan.market) if gross is None else gross)
    names = plan.units.names if gross is None else ("",) * plan.rows.count
    found = check_tables(plan.compiled, plan.rows, names, plan.scenarios, horizon, first, scenario, np.maximum(core.expected_shortfall_standard_error, nobody_minds), resident.choice.module,
                         resident.choice.threads, whole=whole)
    return np.zeros(0, np.int64) if found is None or found[1] is None else found[1].units


def fresh_state(resident: Resident, book: Book) -> State:
    """Margins of a whole changed book by a fresh run of it."""
    from upm_gpu.desk.margins import State
    from upm_gpu.engine import compute_outcome
    from upm_gpu.passes import in_memory

    plan = resident.plan
    made = make_plan(book, plan.market, replace(plan.spec, count=resident.cap), plan.methodology, resident.model)
    outcome = compute_outcome(replace(made, library=plan.library), resident.choice, 0, in_memory())
    h, table = outcome.plan.horizon(plan.core.horizon), outcome.result.table
    tail = replace(outcome.tail, **{k: getattr(outcome.tail, k)[h : h + 1] for k in ("pnl", "scenario")})
    core = outcome.result.measured.measures[outcome.plan.core]
    columns = {name: [None if isinstance(x, float) and np.isnan(x) else x for x in table[name].tolist()] for name in table}
    shares = account_shares([a.account_id for a in book.accounts], outcome.plan.units, outcome.result.contributions["contribution"].to_numpy())
    return State(columns, {h: tail}, h, core.value_at_risk, core.expected_shortfall, shares)


__all__ = ["doubts", "fresh_state", "others_feel"]
