"""Accounts along the paths of a run: a plan of the same book, market and model whose P&L is read at dates before the margin period, a row an account.

Dates are added to the paths and change nothing at other dates. Every account is one row, whatever netting sets and pools its positions are margined in: equity is the account's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from upm_gpu.desk.change import Deposit, sub_book
from upm_gpu.desk.outlook.beside import Beside, beside_of
from upm_gpu.desk.resident import Resident
from upm_gpu.desk.whatif import whatif
from upm_gpu.domain.book import Book
from upm_gpu.errors import InputError
from upm_gpu.margin.methodology import simulated_assets
from upm_gpu.margin.units import build_rows, build_units
from upm_gpu.plan import Plan, make_plan, with_count
from upm_gpu.pricing.tables import with_tables
from upm_gpu.scenario.sets import BLOCK

VALUES = 1 << 24
"""P&L values held at once: some 130 MB"""
LONGEST = 30.0
"""days ahead: beyond, a book that nobody trades says little"""
MOST_STEPS = 256


@dataclass(frozen=True, eq=False)
class Paths:
    """Accounts (A) on paths."""

    plan: Plan
    """its rows are accounts"""
    book: Book
    """their positions in the netting sets and pools that they are margined in"""
    accounts: tuple[str, ...]
    days: tuple[float, ...]
    """(T,) of the trading clock"""
    horizon: tuple[int, ...]
    """(T,) the plan's number of each date"""
    date: tuple[int, ...]
    """(T,) the path's number of each date"""
    whole: tuple[int, ...]
    """(J,) the path's number of the date after each whole base step before the last date"""
    figures: dict[str, NDArray[np.float64]]
    """(A,) today: initial_margin, maintenance_margin, equity"""
    beside: Beside | None = None
    """what equity moves by that is not in the P&L"""

    @property
    def count(self) -> int:
        """Scenarios."""
        return self.plan.scenarios.count


def paths_of(resident: Resident, days: float, steps: int, accounts: Sequence[str] = (), scenarios: int = 0) -> Paths:
    """The paths of some accounts (none named: all of the run) on `steps` equal steps of `days`; `scenarios` of the run's (0: all).

    Raises InputError for dates that are none and accounts that the run does not know.
    """
    if not 0.0 < days <= LONGEST or not 1 <= steps <= MOST_STEPS:
        raise InputError("UPM-IN-180", f"{days:g} days in {steps} steps: give above 0 to {LONGEST:g} days and 1 to {MOST_STEPS} steps.")
    if scenarios < 0 or scenarios > resident.plan.scenarios.count:
        raise InputError("UPM-IN-180", f"{scenarios} scenarios: the run has {resident.plan.scenarios.count}. Give at most as many, or 0 for all.")
    whole = resident.plan.book
    for name in accounts:
        if name not in resident.known.accounts:
            raise InputError("UPM-IN-141", f"account {name!a} is not in the run. Accounts are listed in margin.csv.")
    members = {whole.accounts[resident.known.accounts[a]].member_id for a in accounts} - {""}  # who may share a pool is margined together
    book = sub_book(whole, [n for n, a in enumerate(whole.accounts) if a.account_id in set(accounts) or a.member_id in members]) if accounts else whole
    when = tuple(days * (i + 1) / steps for i in range(steps))
    if not len(book.positions.instrument) and not len(book.collateral.asset):
        raise InputError("UPM-IN-181", f"account{'s' * (len(accounts) > 1)} {', '.join(accounts)}: no position and no collateral, so nothing moves along a path. Name an account that holds something.")
    base = resident.plan.spec.base_step_days
    steps_done = tuple(base * (i + 1) for i in range(int(np.floor(days / base + 1e-9))))  # what the law of tomorrow remembers
    spec = replace(resident.plan.spec, count=resident.plan.scenarios.count, horizons=tuple(sorted({*when, *(d for d in steps_done if min(abs(d - w) for w in when) > 1e-9)})))
    plan = make_plan(book, resident.plan.market, spec, resident.plan.methodology, resident.plan.model, resident.plan.surfaces, resident.plan.fit)
    plan = with_count(plan, scenarios or resident.plan.scenarios.count)
    compiled, _ = with_tables(plan.compiled, (plan.scenarios,), resident.choice.module, resident.choice.threads)
    alone = _each_alone(book)
    units = build_units(alone, plan.instruments, simulated_assets(plan.methodology, alone))
    rows, entry = build_rows(units, compiled)
    plan = replace(plan, compiled=compiled, book=alone, units=units, rows=rows, line_entry=entry)
    at = tuple(plan.horizon(d) for d in when)
    dates = np.asarray(compiled.dates, np.float64)
    date = tuple(int(np.argmin(np.abs(dates - plan.horizons[h]))) for h in at)
    clock = np.asarray(plan.clock_days, np.float64)
    ends = tuple(int(np.argmin(np.abs(dates - plan.horizons[int(np.argmin(np.abs(clock - d)))]))) for d in steps_done)
    return Paths(plan, book, units.names, when, at, date, ends, figures_of(resident, units.names), beside_of(plan, book))


def _each_alone(book: Book) -> Book:
    """The book with neither pools nor netting sets, lines in order again."""
    p = book.positions
    order = np.lexsort((p.instrument, p.account))
    columns = {name: getattr(p, name)[order] for name in ("account", "instrument", "contracts", "quantity", "entry_quantity", "entry_cost")}
    return replace(book, accounts=tuple(replace(a, member_id="") for a in book.accounts), netting_sets=("",), positions=replace(p, netting_set=np.zeros(len(order), np.int32), **columns))


def figures_of(resident: Resident, accounts: Sequence[str]) -> dict[str, NDArray[np.float64]]:
    """(A,) margins and equity today: as the run wrote them, else asked of the desk."""
    names = ("initial_margin", "maintenance_margin", "equity")
    rows: list[dict[str, Any]] = []
    for account in accounts:
        if account in resident.margins:
            rows.append(resident.margins[account])
        else:
            answers = whatif(resident, [[Deposit(account, resident.plan.market.reporting_currency, 1.0)]])[0]
            rows.append(next(a for a in answers if a.account_id == account).before)
    return {name: np.array([float(row[name]) for row in rows], np.float64) for name in names}


Walk = Callable[[int, int, int], tuple[NDArray[np.float64], NDArray[np.float64]]]
"""(first scenario, last, step) -> what equity (A, n) has moved by at the date and states (D, K, n) of the path"""


@contextmanager
def walking(resident: Resident, paths: Paths, states: bool = False) -> Iterator[tuple[list[tuple[int, int]], Walk]]:
    """The ranges of scenarios and what reads them; states are made only where they are asked for."""
    module, plan = resident.choice.module, paths.plan
    size = max(BLOCK, min(16 * BLOCK, VALUES // max(plan.rows.count, 1) // BLOCK * BLOCK))
    ranges = [(first, min(first + size, paths.count)) for first in range(0, paths.count, size)]
    with module.prepare(plan.compiled, plan.rows, resident.choice.precision, resident.choice.threads) as prepared:
        kept: dict[tuple[int, int], NDArray[np.float64]] = {}

        def read(first: int, last: int, step: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
            pnl = module.row_pnl(prepared, plan.scenarios, first, last, paths.horizon[step])
            if not states and paths.beside is None:
                return pnl, np.zeros((0, 0, last - first))
            if (first, last) not in kept:
                kept.clear()
                kept[first, last] = module.states(prepared, plan.scenarios, first, last)
            if paths.beside is not None:
                pnl = np.array(pnl)
                paths.beside.add(pnl, kept[first, last], paths.date[step])
            return pnl, kept[first, last]

        yield ranges, read
