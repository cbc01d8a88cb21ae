"""Margins of the accounts of a changed book by the functions of a run: its rows are summed from the resident scenarios where they may end in the tail (`cube.py`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from upm_gpu.backend.contract import TailState
from upm_gpu.desk.cube import Cube, attribution, kept, row_of, tail_state, worst
from upm_gpu.desk.felt_tables import doubts
from upm_gpu.desk.resident import Resident
from upm_gpu.domain.book import Book, Collateral, Positions
from upm_gpu.engine import charged, to_fitted
from upm_gpu.errors import InputError
from upm_gpu.margin.collateral import posted_of
from upm_gpu.margin.requests import NAME, Measure, MeasureRequest, Rest, StressRequest
from upm_gpu.margin.result import Common, account_equity, account_shares, margin_columns
from upm_gpu.margin.rows import name_rows
from upm_gpu.margin.units import build_rows, build_units
from upm_gpu.measuring import Further, Pass, exposures_of, measure_set
from upm_gpu.passes import in_memory, measure_of
from upm_gpu.plan import Plan
from upm_gpu.pricing.compiled import Rows
from upm_gpu.risk.dependence import dependence_of
from upm_gpu.risk.tail import finish, quantile_weights, tail_weights
from upm_gpu.stresses import stressed

PREFIX = 6
MAIN = -1
"""number of the run's own set among kept vectors"""


@dataclass(frozen=True)
class State:
    """Margins of the accounts of a sub-book."""

    table: dict[str, Any]
    tails: dict[int, TailState]
    """by index of the horizon"""
    core: int
    """the horizon of the core"""
    value_at_risk: NDArray[np.float64]
    shortfall: NDArray[np.float64]
    shares: tuple[NDArray[np.float64], NDArray[np.int32], NDArray[np.int32]]
    doubts: tuple[bool, ...] = ()
    """of sub-books whose own run would price by other value tables (`felt_tables.py`); none where no tables are read"""

    @property
    def tail(self) -> TailState:
        """At the horizon of the core."""
        return self.tails[self.core]


@dataclass(frozen=True)
class _Kept(Pass):
    """A further set whose rows are summed from its cubes."""

    cubes: tuple[Cube, ...] = ()
    rank: NDArray[np.int64] | None = None

    def tails(self, rows: Rows, second: bool) -> TailState:
        """(H, R, depth) of rows; the second pass is like the first."""
        states = [tail_state([worst(cube, row_of(rows, r, self.rank), self.sub.depth) for r in range(rows.count)], cube.count) for cube in self.cubes]
        return replace(states[0], pnl=np.concatenate([s.pnl for s in states]), scenario=np.concatenate([s.scenario for s in states]), block_sums=np.zeros((0, len(states), rows.count, 2)))


def _stacked(books: Sequence[Book]) -> Book:
    """One book of copies of accounts, book after book; ids begin with the number of their book, `PREFIX` letters long."""
    offsets = np.cumsum([0, *(len(b.accounts) for b in books)])
    accounts = tuple(replace(a, account_id=f"{n:0{PREFIX}d}{a.account_id}", member_id=f"{n:0{PREFIX}d}{a.member_id}" if a.member_id else "") for n, b in enumerate(books) for a in b.accounts)
    p, c = [b.positions for b in books], [b.collateral for b in books]
    positions = Positions(np.concatenate([x.account + np.int32(o) for x, o in zip(p, offsets, strict=False)]), *(np.concatenate([getattr(x, name) for x in p]) for name in
                          ("netting_set", "instrument", "contracts", "quantity", "entry_quantity", "entry_cost")))
    collateral = Collateral(np.concatenate([x.account + np.int32(o) for x, o in zip(c, offsets, strict=False)]), tuple(a for x in c for a in x.asset), np.concatenate([x.quantity for x in c]))
    return replace(books[0], accounts=accounts, positions=positions, collateral=collateral)


def margined(resident: Resident, books: Sequence[Book], rank: NDArray[np.int64] | None, held: NDArray[np.bool_], keep: bool = False) -> State:
    """Margins of the accounts of sub-books by the functions of a run; with `keep` the P&L vectors of their units stay. `held` (N,) is what the whole book holds then."""
    whole, book = resident.plan, _stacked(books)
    # only what these accounts hold: per-instrument work is much of a small question
    used = np.unique(book.positions.instrument)
    simulated = {a for a in set(book.collateral.asset) if a in resident.coin_of or a in resident.simulable}
    place = resident.place_of[used]
    coins = [coin_place(resident, a) for a in simulated]
    chosen = np.unique(np.r_[place[place >= 0], coins].astype(np.int64))
    plan = _of_instruments(whole, chosen)
    book = replace(book, instruments=tuple(book.instruments[n] for n in used.tolist()), positions=replace(book.positions, instrument=np.searchsorted(used, book.positions.instrument).astype(np.int32)))
    units = build_units(book, plan.instruments, simulated)
    rows, entry = build_rows(units, plan.compiled)
    apart = units  # no two names alike
    units = replace(units, names=tuple(n[PREFIX:] for n in units.names), member=tuple(m[PREFIX:] for m in units.member))
    sub = replace(plan, book=book, units=units, rows=rows, line_entry=entry)
    tails = {}
    for h, cube in resident.cubes.items():
        parts = []
        for r, name in enumerate(units.names):
            row, key = row_of(rows, r, rank), (name, MAIN, h)
            if keep:
                resident.bases.setdefault(key, kept(cube, row))
            parts.append(worst(cube, row, plan.depth, resident.bases.get(key)))
        tails[h] = tail_state(parts, cube.count)
    measures = measures_of(plan, tails)
    further = _further(resident, sub, rank, chosen, held)
    posted = posted_of(book, plan.market, plan.methodology.collateral, simulated)
    measured, charges = charged(sub, measures, further, posted, resident.charges, homes=apart)
    core = plan.horizon(plan.core.horizon)
    equity = account_equity(book, plan.market, posted, resident.known.unit_value)
    shares = account_shares([a.account_id for a in book.accounts], apart, _contributions(resident, sub, rank, tails[core], measures[plan.core]))
    table, _ = margin_columns(book, units, measured, plan.core, charges, equity, *shares, plan.methodology.maintenance_ratio, Common(tails[core], 0, dependence_of(plan.scenarios)))
    table["account_id"] = [a.account_id[PREFIX:] for a in book.accounts]
    found = measures[plan.core]
    doubted: tuple[bool, ...] = ()
    if plan.compiled.programs[core].table_requests:
        book_of = np.array([int(n[:PREFIX]) for n in apart.names], np.int64)
        doubted = tuple(doubts(resident, sub, book_of, [[a.account_id for a in b.accounts] for b in books], tails[core], found).tolist())
    return State(table, tails, core, found.value_at_risk, found.expected_shortfall, shares, doubted)


def coin_place(resident: Resident, asset: str) -> int:
    """Place in the plan of an asset whose moves are simulated."""
    if asset not in resident.coin_of:
        raise InputError("UPM-IN-148", f"collateral in {asset!a} is posted by nobody in the run, so its scenarios are not resident. Add it to the book and run again.")
    return resident.coin_of[asset]


def _of_instruments(plan: Plan, chosen: NDArray[np.int64]) -> Plan:
    """The plan with some of its instruments; columns stay as they are."""
    c = plan.compiled
    return replace(plan, instruments=tuple(plan.instruments[n] for n in chosen.tolist()),
                   compiled=replace(c, instrument_ids=tuple(c.instrument_ids[n] for n in chosen.tolist()), instrument_column=c.instrument_column[chosen],
                                    instrument_coefficient=c.instrument_coefficient[chosen]))


def measures_of(plan: Plan, tails: Mapping[int, TailState]) -> dict[MeasureRequest, Measure]:
    """What the methodology asks of the run's own set, from the tails of rows by horizon."""
    found, dependence = {}, dependence_of(plan.scenarios)
    for request in plan.requests:
        tail = tails[plan.horizon(request.horizon)]
        found[request] = measure_of(finish(tail, [request.level], dependence)[request.level], tail, 0, request.tail_share, dependence)
    return found


def _further(resident: Resident, sub: Plan, rank: NDArray[np.int64] | None, chosen: NDArray[np.int64], held: NDArray[np.bool_]) -> Further:
    """What charges ask for beside the core, for the units of a sub-book alone. Given moves are priced over all that the whole book holds then: they are summed in its order."""
    found, plan = Further(), resident.plan
    names = None
    if any(r.rows == NAME or isinstance(r.rows, Rest) for r in plan.further if isinstance(r, MeasureRequest)):
        names = name_rows(sub.units, sub.instruments, sub.compiled)
        found.names = names[0]
    if resident.greeks is not None:
        found.exposures = exposures_of(sub, resident.choice, resident.value0, {k: v[chosen] for k, v in resident.greeks.items()})
    for f in resident.further:
        measure_set(_Kept(sub, resident.choice, 0, in_memory(), None, f.sub, 0, f.cubes, rank), f.asked, names, found)
    moved = [r for r in plan.further if isinstance(r, StressRequest)]
    if moved:
        every, at = np.flatnonzero(held), np.cumsum(held) - 1
        lines = replace(sub.units.lines, instrument=at[chosen[sub.units.lines.instrument]].astype(np.int32))
        fresh = replace(_of_instruments(plan, every), units=replace(sub.units, lines=lines))
        found.stressed = {r: stressed(fresh, resident.choice, r) for r in moved}
    return found


def _contributions(resident: Resident, sub: Plan, rank: NDArray[np.int64] | None, tail: TailState, core: Measure) -> NDArray[np.float64]:
    """(L,) contributions of lines to the core of their unit: only pools share by them, so only theirs are made; 0 elsewhere."""
    plan, lines = resident.plan, sub.units.lines
    pairs = np.unique(lines.unit.astype(np.int64) * (len(sub.book.accounts) + 1) + lines.account)
    members = np.bincount(pairs // (len(sub.book.accounts) + 1), minlength=sub.rows.count)
    per_entry = np.zeros(len(sub.rows.column))
    weights = quantile_weights if plan.methodology.core.measure == "value_at_risk" else tail_weights
    cube: Cube = resident.cubes[plan.horizon(plan.core.horizon)]
    if np.any(members > 1):
        first, scenario, weight = weights(tail, 0, plan.core.level)
        for r in np.flatnonzero(members > 1).tolist():
            part, own = slice(int(sub.rows.first[r]), int(sub.rows.first[r + 1])), slice(int(first[r]), int(first[r + 1]))
            ones = Rows(np.array([0, part.stop - part.start]), sub.rows.column[part], np.ones(part.stop - part.start))
            per_entry[part] = attribution(cube, row_of(ones, 0), scenario[own], weight[own])
    found: NDArray[np.float64] = lines.quantity * sub.compiled.instrument_coefficient[lines.instrument] * per_entry[sub.line_entry]
    return found if core.tail is None else to_fitted(sub, found, core)
