"""What-if: the margin of every account a trade set touches, before and after, from resident scenarios.

The changed book of the accounts that are margined together is built, its rows are summed where they may end in the tail (`cube.py`), and the same charges, equity and status are
computed by the functions of a run, so every figure of `after` is that of a fresh run of the changed book to the bit. The standard error of the difference is of common scenarios:

  SE^2 = variance of the mean over scenarios of sum over units of (e'(s) - e(s)) / (1 - level)^2, e = share x multiplier x max(L - VaR, 0),

dependent draws grouped as in `risk/dependence.py`: for a small trade far below the error of either margin. A unit whose core is floored at 0 adds nothing. Charges have no error of a
difference; the sum of their bounds before and after is given.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from upm_gpu.desk.answers import Answers, Margined, answers_of
from upm_gpu.desk.change import Change, Order, Premium, Transfer, accounts_of, changed_book, check, sub_book
from upm_gpu.desk.column_order import column_rank
from upm_gpu.desk.common_error import Pair, difference_errors
from upm_gpu.desk.felt_tables import fresh_state
from upm_gpu.desk.ledger import Touched, book_with, ledger_of, touch
from upm_gpu.desk.margins import State, margined
from upm_gpu.desk.rebuilt import Holdings, other_holdings, refused, with_holdings
from upm_gpu.desk.resident import Resident, payable
from upm_gpu.desk.single_orders import Orders, Slot, done_ahead, order_slot, ordered_margins
from upm_gpu.desk.stack import Group, Moved, group_of, moved_rows, stacked_margins
from upm_gpu.domain.book import Book
from upm_gpu.errors import InputError, IntegrityError

TOGETHER = 128
"""trade sets margined at once: what they share is made once, and their tails stay in the caches"""
ORDERS = 256
"""the same of trade sets of one order, where more is shared"""


def whatif(resident: Resident, trade_sets: Sequence[Sequence[Change]], premium: Premium = "cash", rebuild: bool = True) -> Answers:
    """Answers of every trade set, each on its own from the book of the run: one for each account that it names. Trades that change what the book holds in a book with value tables need it to be priced
    again (`rebuilt.py`), seconds for each set of holdings; without `rebuild` they are refused.

    Raises InputError for names that the run does not know, quantities that are none and instruments that are not resident (`open_run(also=...)`), IntegrityError where a file of the
    run changed or its margins cannot be had again.
    """
    resident.check()
    parts, left = _single_orders(resident, trade_sets, premium)
    asked = {n: _ask(resident, trade_sets[n], premium) for n in left}
    quick: dict[int, list[int]] = {}
    slow: dict[bytes, list[int]] = {}
    again: dict[Holdings, list[int]] = {}
    doubted: list[int] = []
    for n, one in asked.items():
        if one.holdings:
            if not rebuild:
                raise refused(one.holdings)
            again.setdefault(one.holdings, []).append(n)
        elif one.moved is not None:
            quick.setdefault(id(one.group), []).append(n)
        else:
            slow.setdefault(one.held.tobytes(), []).append(n)
    alone = any(c.module.NAME == "specific" for c in resident.charges)  # decisions name units
    for members in quick.values():
        for part in _parts(members, TOGETHER):
            some = [asked[n] for n in part]
            after = stacked_margins(some[0].group, [one.touched for one in some], [one.moved or {} for one in some])
            parts.append((part, _margined(resident, some, after), [len(one.names) for one in some]))
    for members in slow.values():
        for part in _parts(members, 1 if alone else TOGETHER):
            some = [asked[n] for n in part]
            after = margined(resident, [book_with(one.group.ledger, one.touched) for one in some], some[0].rank, some[0].held)
            parts.append((part, _margined(resident, some, after), [len(one.names) for one in some]))
            doubted += [n for n, one, doubt in zip(part, some, after.doubts, strict=False) if doubt or any(one.group.state.doubts)]
    for holdings, members in again.items():
        other = with_holdings(resident, holdings, asked[members[0]].changes)
        for part in _parts(members, 1 if alone else TOGETHER):
            some = [asked[n] for n in part]
            books = [book_with(one.group.ledger, touch(one.group.ledger, resident.plan.market, one.changes, other.known, premium)) for one in some]
            after = margined(other, books, other.rank, other.held)
            parts.append((part, _margined(resident, some, after), [len(one.names) for one in some]))
            doubted += [n for n, doubt in zip(part, after.doubts or [False] * len(part), strict=True) if doubt or other.doubtful]
    for n in doubted:
        fresh = fresh_state(resident, book_after(resident, trade_sets[n], premium))
        parts.append(([n], _margined(resident, [asked[n]], fresh, [resident.known.accounts[name] for name in asked[n].names]), [len(asked[n].names)]))
    return answers_of(parts, len(trade_sets))


def _single_orders(resident: Resident, trade_sets: Sequence[Sequence[Change]], premium: Premium) -> tuple[list[Rows], list[int]]:
    """Trade sets of one order margined many at a time, and the numbers of all others."""
    asked: dict[int, tuple[Group, list[int], list[int], list[Slot]]] = {}
    ways: dict[tuple[str, str, str], tuple[list[int], list[int], int] | None] = {}
    left: list[int] = []
    for n, changes in enumerate(trade_sets):
        order = changes[0] if len(changes) == 1 else None
        if type(order) is not Order:
            left.append(n)
            continue
        key = (order.account_id, order.instrument_id, order.netting_set)
        if key not in ways:
            group, slot = _slot(resident, key, order)
            ways[key] = None
            if group is not None and slot is not None:
                _, numbers, of, slots = asked.setdefault(id(group), (group, [], [], []))
                ways[key] = (numbers, of, len(slots))
                slots.append(slot)
        way = ways[key]
        if way is None:
            left.append(n)
        else:
            way[0].append(n)
            way[1].append(way[2])
    parts: list[Rows] = []
    for group, numbers, of, slots in asked.values():
        orders = Orders(group, slots, np.array(of), np.array([trade_sets[n][0].contracts for n in numbers], np.float64))  # type: ignore[union-attr]
        other = orders.left_over()
        left += [numbers[i] for i in np.flatnonzero(other).tolist()]
        for made in done_ahead(orders, orders.parts(ORDERS, other)):
            after, accounts, some = ordered_margins(orders, made, premium), made.s["account"], made.some
            rows = accounts + np.arange(len(some)) * len(group.book.accounts)
            of_sets = [trade_sets[numbers[i]] for i in some.tolist()]
            places = accounts.tolist()
            errors = _errors(resident, [(group.state, p, q) for p, q in zip(places, rows.tolist(), strict=True)], after)
            names = [c[0].account_id for c in of_sets]
            answered = Margined(resident, after.table, names, [(group.before, p) for p in places], rows, of_sets, errors)
            parts.append(([numbers[i] for i in some.tolist()], answered, [1] * len(some)))
    return parts, sorted(left)


def _slot(resident: Resident, key: tuple[str, str, str], order: Order) -> tuple[Group | None, Slot | None]:
    """What orders of (account, instrument, netting set) have in common; None for names that the run does not know and what goes another way."""
    known = resident.known
    if key[0] not in known.accounts or key[1] not in known.instruments or key[2] not in resident.plan.book.netting_sets:
        return None, None
    group = _group(resident, key[:1])
    if key not in group.slots:
        group.slots[key] = order_slot(group, order)
    return group, group.slots[key]


def _parts(members: list[int], size: int) -> list[list[int]]:
    return [members[first : first + size] for first in range(0, len(members), size)]


Rows = tuple[list[int], Margined, list[int]]
"""numbers of trade sets, their rows one after the other, how many each has"""


@dataclass(frozen=True, eq=False)
class _Asked:
    """One trade set with the accounts that are margined together."""

    changes: Sequence[Change]
    names: tuple[str, ...]
    """accounts it names"""
    group: Group
    touched: Touched
    held: NDArray[np.bool_]
    """(N,) what the whole book holds then"""
    rank: NDArray[np.int64] | None
    """order of sums then"""
    moved: Moved | None
    """None: the long way"""
    holdings: Holdings = frozenset()
    """what is held then that was not, and the other way, where the book must be priced again"""


def _ask(resident: Resident, changes: Sequence[Change], premium: Premium) -> _Asked:
    check(changes, resident.plan.book, resident.known)
    _require_resident(resident, changes)
    names = accounts_of(changes)
    group = _group(resident, names)
    touched = touch(group.ledger, resident.plan.market, changes, resident.known, premium)
    if resident.sized and (holdings := other_holdings(resident, group.ledger, touched)):
        return _Asked(changes, names, group, touched, resident.held, resident.rank, None, holdings)
    held, rank, same = _held_after(resident, group, touched)
    looked_at = bool(group.state.doubts)  # every changed unit's tail, on the long way
    moved = moved_rows(group, touched, rank) if not looked_at and (same or _in_order(group, rank)) else None
    return _Asked(changes, names, group, touched, held, rank, moved)


def _group(resident: Resident, names: Sequence[str]) -> Group:
    """Accounts and all that are margined with them, before any change."""
    accounts = _together(resident, [resident.known.accounts[a] for a in names])
    if accounts not in resident.before:
        book, held = sub_book(resident.plan.book, accounts), resident.holders > 0
        state = margined(resident, [book], resident.rank, held, keep=True)
        _as_the_run(resident, book, state)
        resident.before[accounts] = group_of(resident, book, state)
    group: Group = resident.before[accounts]
    return group


def _held_after(resident: Resident, group: Group, touched: Touched) -> tuple[NDArray[np.bool_], NDArray[np.int64] | None, bool]:
    """What the whole book holds after a trade set, the order of its sums, and whether both are those of the run."""
    more: dict[int, int] = {}
    for key, after in touched.positions.items():
        change = int(after is not None) - int(group.ledger.place(key)[1])
        place = resident.places[group.ledger.parts(key)[2]]
        if change and place >= 0:
            more[place] = more.get(place, 0) + change
    for posted in touched.collateral:
        if posted[1] in resident.coin_of and not group.ledger.place_posted(posted)[1]:
            place = resident.coin_of[posted[1]]
            more[place] = more.get(place, 0) + 1
    holders = resident.holders
    moved = frozenset((n, True) if holders[n] == 0 else (n, False) for n, change in more.items() if (holders[n] > 0) != (holders[n] + change > 0))
    if not moved:
        return resident.held, resident.rank, True
    if moved not in resident.orders:
        held = resident.held.copy()
        for n, first in moved:
            held[n] = first
        resident.orders[moved] = (held, column_rank(resident.plan, held))
    return (*resident.orders[moved], False)


def _in_order(group: Group, rank: NDArray[np.int64] | None) -> bool:
    """Whether the kept rows of a group stand in an order of sums."""
    horizon = next(iter(group.resident.cubes))
    columns = [group.base(name, horizon).row.column for name in group.units.names]
    return all(bool(np.all(np.diff(c if rank is None else rank[c]) > 0)) for c in columns)


def book_after(resident: Resident, changes: Sequence[Change], premium: Premium = "cash") -> Book:
    """The whole book of the run after a trade set: what a fresh run of would answer the same."""
    check(changes, resident.plan.book, resident.known)
    book, market = resident.plan.book, resident.plan.market
    if resident.sized:
        ledger = ledger_of(book)
        holdings = other_holdings(resident, ledger, touch(ledger, market, changes, resident.known, "none"))
        if holdings:
            return changed_book(book, market, changes, with_holdings(resident, holdings, changes).known, premium)
    return changed_book(book, market, changes, resident.known, premium)


def _require_resident(resident: Resident, changes: Sequence[Change]) -> None:
    for c in changes:
        name = c.instrument_id if isinstance(c, Order) else c.name if isinstance(c, Transfer) else ""
        if name in resident.known.instruments and not payable(resident, name) and not resident.sized:
            raise InputError("UPM-IN-148", f"instrument {name!a} is held by nobody in the run, so its scenarios are not resident. Open the run with also=[{name!a}].")


def _together(resident: Resident, accounts: Sequence[int]) -> tuple[int, ...]:
    """The accounts and all that share a margined unit with them, ascending; those of one member may come to share one."""
    members = {resident.plan.book.accounts[a].member_id for a in accounts} - {""}
    return tuple(sorted({*accounts, *(n for m in members for n in resident.of_member[m])}))


def _margined(resident: Resident, asked: Sequence[_Asked], after: State, whole: Sequence[int] | None = None) -> Margined:
    """The answers of trade sets from the margins of their changed accounts, one set after the other; `whole`: places of the accounts of a single set in margins of a whole book."""
    starts = np.cumsum([0, *(len(one.group.book.accounts) for one in asked)]).tolist()
    places = [[one.group.ledger.account[name] for name in one.names] for one in asked]
    there = [[start + p for p in own] for own, start in zip(places, starts, strict=False)] if whole is None else [list(whole)]
    pairs = [(one.group.state, p, q) for one, own, other in zip(asked, places, there, strict=True) for p, q in zip(own, other, strict=True)]
    return Margined(resident, after.table, [name for one in asked for name in one.names], [(one.group.before, p) for one, own in zip(asked, places, strict=True) for p in own],
                    np.array([q for _, _, q in pairs], np.int64), [one.changes for one in asked for _ in one.names], _errors(resident, pairs, after))


def _errors(resident: Resident, pairs: Sequence[Pair], after: State) -> list[float | None]:
    core = resident.plan.methodology.core
    if core.measure == "value_at_risk" or core.estimator != "plain":
        return [None] * len(pairs)
    return list(difference_errors(resident.plan, pairs, after))


def _as_the_run(resident: Resident, book: Book, state: State) -> None:
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
