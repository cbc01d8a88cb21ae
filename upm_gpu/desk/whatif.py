"""What-if: the margin of every account a trade set touches, before and after, from resident scenarios.

The changed book of the accounts that are margined together is built, its rows are summed where they may end in the tail (`cube.py`), and the same charges, equity and status are
computed by the functions of a run, so every figure of `after` is that of a fresh run of the changed book to the bit. The standard error of the difference is of common scenarios:

  SE^2 = variance of the mean over scenarios of sum over units of (e'(s) - e(s)) / (1 - level)^2, e = share x multiplier x max(L - VaR, 0),

dependent draws grouped as in `risk/dependence.py`: for a small trade far below the error of either margin. A unit whose core is floored at 0 adds nothing. Charges have no error of a
difference; the sum of their bounds before and after is given.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from upm_gpu.backend.contract import TailState
from upm_gpu.desk.change import Change, Order, Premium, Transfer, accounts_of, changed_book, check, sub_book
from upm_gpu.desk.cube import Cube, attribution, kept, row_of, tail_state, worst
from upm_gpu.desk.resident import Resident, column_rank, moving_order, payable
from upm_gpu.domain.book import Book, Collateral, Positions
from upm_gpu.domain.instrument import expiry_of
from upm_gpu.engine import charged, to_fitted
from upm_gpu.errors import InputError, IntegrityError
from upm_gpu.margin.collateral import posted_of
from upm_gpu.margin.requests import NAME, Measure, MeasureRequest, Rest, StressRequest
from upm_gpu.margin.result import OK, account_equity, account_shares, margin_columns
from upm_gpu.margin.rows import name_rows
from upm_gpu.margin.units import build_rows, build_units, sum_by
from upm_gpu.market.snapshot import days_between
from upm_gpu.measuring import Further, Pass, exposures_of, measure_set
from upm_gpu.passes import in_memory, measure_of
from upm_gpu.plan import Plan
from upm_gpu.pricing.compiled import Rows
from upm_gpu.risk.dependence import dependence_of, variance_of_mean
from upm_gpu.risk.tail import finish, quantile_weights, tail_weights
from upm_gpu.stresses import stressed

FIGURES = ("initial_margin", "maintenance_margin", "core", "expected_shortfall", "value_at_risk", "collateral_value", "unrealised_pnl", "option_value", "equity", "excess")
TOGETHER = 128
"""trade sets margined at once: their tails are some 100 MB's worth at ten thousand"""
PREFIX = 6
MAIN = -1
"""number of the run's own set among kept vectors"""


@dataclass(frozen=True)
class Answer:
    """One account under one trade set; amounts in the reporting currency."""

    account_id: str
    before: dict[str, Any]
    """columns of margin.csv"""
    after: dict[str, Any]
    difference: dict[str, float]
    """after less before, of every amount"""
    difference_standard_error: float | None
    """of the difference of the core, common scenarios; None where the core is a value-at-risk or from a fitted law"""
    charges_standard_error: float | None
    """bound of that of the difference of the charges; None where none has an error"""
    would_pass: bool
    """equity covers the initial margin after the change"""
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _State:
    """Margins of the accounts of a sub-book."""

    table: dict[str, Any]
    tail: TailState
    """at the horizon of the core"""
    value_at_risk: NDArray[np.float64]
    shortfall: NDArray[np.float64]
    shares: tuple[NDArray[np.float64], NDArray[np.int32], NDArray[np.int32]]


def whatif(resident: Resident, trade_sets: Sequence[Sequence[Change]], premium: Premium = "cash") -> list[tuple[Answer, ...]]:
    """Answers of every trade set, each on its own from the book of the run: one for each account that it names.

    Raises InputError for names that the run does not know, quantities that are none and instruments that are not resident (`open_run(also=...)`), IntegrityError where a file of the
    run changed or its margins cannot be had again.
    """
    resident.check()
    alone = any(c.module.NAME == "specific" for c in resident.charges)  # decisions name units
    answers: list[tuple[Answer, ...]] = []
    together = 1 if alone else TOGETHER
    for first in range(0, len(trade_sets), together):
        answers += _answered(resident, trade_sets[first : first + together], premium)
    return answers


@dataclass(frozen=True)
class _Asked:
    """One trade set with the accounts that are margined together."""

    changes: Sequence[Change]
    book: Book
    before: _State
    after: Book
    rank: NDArray[np.int64] | None
    held: NDArray[np.bool_]


def _answered(resident: Resident, trade_sets: Sequence[Sequence[Change]], premium: Premium) -> list[tuple[Answer, ...]]:
    """Trade sets margined together, as copies of their accounts in one book: what is done a call is done once for all of them."""
    asked = []
    for changes in trade_sets:
        check(changes, resident.plan.book, resident.known)
        _require_resident(resident, changes)
        accounts = _together(resident, [resident.known.accounts[a] for a in accounts_of(changes)])
        if accounts not in resident.before:
            book, held = sub_book(resident.plan.book, accounts), resident.holders > 0
            state = _margined(resident, [book], column_rank(resident.plan, held), held, keep=True)
            _as_the_run(resident, book, state)
            resident.before[accounts] = (book, state)
        book, before = resident.before[accounts]
        after = changed_book(book, resident.plan.market, changes, resident.known, premium)
        asked.append(_Asked(changes, book, before, after, *_order_after(resident, book, after)))
    answers: list[tuple[Answer, ...] | None] = [None] * len(asked)
    groups: dict[bytes, list[int]] = {}
    for n, one in enumerate(asked):
        groups.setdefault(one.held.tobytes(), []).append(n)
    for members in groups.values():
        first = asked[members[0]]
        state = _margined(resident, [asked[n].after for n in members], first.rank, first.held)
        start = 0
        for n in members:
            answers[n] = _answer(resident, asked[n], state, start)
            start += len(asked[n].after.accounts)
    return [a for a in answers if a is not None]


def book_after(resident: Resident, changes: Sequence[Change], premium: Premium = "cash") -> Book:
    """The whole book of the run after a trade set: what a fresh run of would answer the same."""
    check(changes, resident.plan.book, resident.known)
    return changed_book(resident.plan.book, resident.plan.market, changes, resident.known, premium)


def _require_resident(resident: Resident, changes: Sequence[Change]) -> None:
    for c in changes:
        name = c.instrument_id if isinstance(c, Order) else c.name if isinstance(c, Transfer) else ""
        if name in resident.known.instruments and not payable(resident, name):
            raise InputError("UPM-IN-148", f"instrument {name!a} is held by nobody in the run, so its scenarios are not resident. Open the run with also=[{name!a}].")


def _together(resident: Resident, accounts: Sequence[int]) -> tuple[int, ...]:
    """The accounts and all that share a margined unit with them, ascending; those of one member may come to share one."""
    book = resident.plan.book
    members = {book.accounts[a].member_id for a in accounts} - {""}
    return tuple(sorted({*accounts, *(n for n, a in enumerate(book.accounts) if members and a.member_id in members)}))


def _answer(resident: Resident, asked: _Asked, after: _State, start: int) -> tuple[Answer, ...]:
    """The answer from margins of the changed accounts, which begin at `start` of the table."""
    plan, core, before = resident.plan, resident.plan.methodology.core, asked.before
    found = []
    for name in accounts_of(asked.changes):
        a = next(n for n, x in enumerate(asked.book.accounts) if x.account_id == name)
        old, new = {k: _plain(v[a]) for k, v in before.table.items()}, {k: _plain(v[start + a]) for k, v in after.table.items()} | {"account_id": name}
        amounts = [k for k in new if k in FIGURES or (k.startswith("charge_"))]
        bounds = [s["charges_standard_error"] for s in (old, new) if s.get("charges_standard_error") is not None]
        error = None if core.measure == "value_at_risk" or core.estimator != "plain" else _difference_error(plan, (before, a), (after, start + a))
        found.append(Answer(name, old, new, {k: float(new[k]) - float(old[k]) for k in amounts}, error, float(sum(bounds)) if bounds else None, bool(new["status"] == OK),
                            _notes(resident, name, asked.changes, old, new)))
    return tuple(found)


def _plain(value: Any) -> Any:
    plain = value.item() if isinstance(value, np.generic) else value
    return None if isinstance(plain, float) and np.isnan(plain) else plain


def _order_after(resident: Resident, book: Book, after: Book) -> tuple[NDArray[np.int64] | None, NDArray[np.bool_]]:
    """Order of columns in a fresh run of the changed book, and (N,) what that book holds."""
    held = resident.holders + _lines(resident, after) - _lines(resident, book)
    if np.array_equal(held > 0, resident.holders > 0):
        return resident.rank, held > 0
    if moving_order(resident.plan) or any(p.table_requests for p in resident.plan.compiled.programs):
        moved = resident.plan.instruments[int(np.flatnonzero((held > 0) != (resident.holders > 0))[0])]
        raise InputError("UPM-IN-149", f"after the trades {moved.instrument_id} is held by {'somebody for the first time' if held.sum() > resident.holders.sum() else 'nobody any more'}, and this book holds "
                         "products that another instrument may change (value tables, or states made for them): a fresh run could differ in its last digits. Leave a small position, or run again.")
    return column_rank(resident.plan, held > 0), held > 0


def _lines(resident: Resident, book: Book) -> NDArray[np.int64]:
    """(N,) lines of a book in each instrument of the plan: positions, and collateral that is simulated."""
    place = resident.place_of[book.positions.instrument]
    coins = [resident.coin_of[a] for a in book.collateral.asset if a in resident.coin_of]
    return np.bincount(np.r_[place[place >= 0], coins].astype(np.int64), minlength=len(resident.plan.instruments))


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


def _margined(resident: Resident, books: Sequence[Book], rank: NDArray[np.int64] | None, held: NDArray[np.bool_], keep: bool = False) -> _State:
    """Margins of the accounts of sub-books by the functions of a run; with `keep` the P&L vectors of their units stay. `held` (N,) is what the whole book holds then."""
    whole, book = resident.plan, _stacked(books)
    # only what these accounts hold: per-instrument work is much of a small question
    used = np.unique(book.positions.instrument)
    simulated = {a for a in set(book.collateral.asset) if a in resident.coin_of or a in resident.simulable}
    place = resident.place_of[used]
    coins = [_coin(resident, a) for a in simulated]
    chosen = np.unique(np.r_[place[place >= 0], coins].astype(np.int64))
    plan = _of_instruments(whole, chosen)
    book = replace(book, instruments=tuple(book.instruments[n] for n in used.tolist()), positions=replace(book.positions, instrument=np.searchsorted(used, book.positions.instrument).astype(np.int32)))
    units = build_units(book, plan.instruments, simulated)
    rows, entry = build_rows(units, plan.compiled)
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
    measures = _measures(plan, tails)
    further = _further(resident, sub, rank, chosen, held)
    posted = posted_of(book, plan.market, plan.methodology.collateral, simulated)
    measured, charges = charged(sub, measures, further, posted, resident.charges)
    core = plan.horizon(plan.core.horizon)
    equity = account_equity(book, plan.market, posted, resident.known.unit_value)
    shares = account_shares([a.account_id[PREFIX:] for a in book.accounts], units, _contributions(resident, sub, rank, tails[core], measures[plan.core]))
    table, _ = margin_columns(book, units, measured, plan.core, charges, equity, *shares, plan.methodology.maintenance_ratio)
    table["account_id"] = [a.account_id[PREFIX:] for a in book.accounts]
    found = measures[plan.core]
    return _State(table, tails[core], found.value_at_risk, found.expected_shortfall, shares)


def _coin(resident: Resident, asset: str) -> int:
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


def _measures(plan: Plan, tails: Mapping[int, TailState]) -> dict[MeasureRequest, Measure]:
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


def _difference_error(plan: Plan, before: tuple[_State, int], after: tuple[_State, int]) -> float:
    """Standard error of the difference of the core of one account: (margins, its place in them)."""
    ids, values = [], []
    for (state, account), sign in ((before, -1.0), (after, 1.0)):
        shares, of, units = state.shares
        mine = np.flatnonzero(of == account)
        for share, u in zip(shares[mine].tolist(), units[mine].tolist(), strict=True):
            if state.shortfall[u] > 0.0:
                excess = np.maximum(-state.tail.pnl[0, u] - state.value_at_risk[u], 0.0)
                ids.append(state.tail.scenario[0, u][excess > 0.0])
                values.append(sign * share * excess[excess > 0.0])
    if not ids:
        return 0.0
    scenario, place = np.unique(np.concatenate(ids), return_inverse=True)
    total = sum_by(place, np.concatenate(values), len(scenario))
    variance = variance_of_mean(total, scenario.astype(np.uint32), plan.scenarios.count, dependence_of(plan.scenarios))
    return float(np.sqrt(variance) / (1.0 - plan.core.level) * plan.methodology.core.multiplier)


def _as_the_run(resident: Resident, book: Book, state: _State) -> None:
    """The margins before any change must be those the run wrote, to the bit."""
    for a, account in enumerate(book.accounts):
        if account.account_id in resident.checked or resident.path is None:
            continue
        wrote = resident.margins.get(account.account_id, {})
        for name in ("initial_margin", "equity"):
            again = float(state.table[name][a])
            if float(wrote.get(name, np.nan)) != again:
                raise IntegrityError("UPM-RN-084", f"account {account.account_id!a}: {name} is {again!r} from the scenarios drawn again, and {wrote.get(name)!r} in the run. Another processor or "
                                     "library computes other bits here: run again on this machine.")
        resident.checked.add(account.account_id)


def _notes(resident: Resident, account: str, changes: Sequence[Change], old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[str, ...]:
    """What a desk must be told beside the figures."""
    plan, notes = resident.plan, []
    if old["equity"] < 0.0:
        notes.append(f"account {account} is bankrupt before the change: its equity is {old['equity']:,.2f}.")
    elif old["status"] != OK:
        notes.append(f"account {account} is in {old['status']} before the change: equity {old['equity']:,.2f}, initial margin {old['initial_margin']:,.2f}.")
    if new["equity"] < 0.0 <= old["equity"]:
        notes.append(f"account {account} would be bankrupt: its equity would be {new['equity']:,.2f}.")
    days = plan.horizons[plan.horizon(plan.core.horizon)]
    for c in changes:
        name = c.instrument_id if isinstance(c, Order) else c.name if isinstance(c, Transfer) else ""
        if name not in resident.known.instruments or account not in accounts_of([c]):
            continue
        expiry: datetime | None = expiry_of(plan.book.instruments[resident.known.instruments[name]])
        if expiry is not None and days_between(plan.market.valuation_time, expiry) <= days:
            notes.append(f"{name} expires at {expiry:%Y-%m-%dT%H:%M}Z, inside the margin period: it settles at the index then, its payoff is held to the end of the period, and hedges stay open.")
    return tuple(dict.fromkeys(notes))
