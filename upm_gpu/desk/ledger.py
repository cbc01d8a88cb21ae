"""What trade sets touch in a book: the few positions and collateral amounts that are others afterwards. Everything else of the changed book is the book's own.

A position is known by its key, ((account, netting set), instrument) as one number, ascending as positions stand in a book; collateral by (account, asset).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from upm_gpu.domain.book import Book, Collateral, Positions
from upm_gpu.errors import InputError
from upm_gpu.market.snapshot import MarketSnapshot

if TYPE_CHECKING:
    from upm_gpu.desk.change import Change, Known, Premium, Transfer


@dataclass(frozen=True, eq=False)
class Ledger:
    """A book with the keys of its positions and collateral."""

    book: Book
    account: dict[str, int]
    netting_set: dict[str, int]
    keys: list[int]
    """(P,) ascending"""
    posted: list[tuple[int, str]]
    """(L,) ascending"""

    def key(self, account: int, netting_set: int, instrument: int) -> int:
        """Of a position, held or not."""
        return (account * len(self.netting_set) + netting_set) * max(len(self.book.instruments), 1) + instrument

    def parts(self, key: int) -> tuple[int, int, int]:
        """(account, netting set, instrument) of a key."""
        rest, instrument = divmod(key, max(len(self.book.instruments), 1))
        return (*divmod(rest, len(self.netting_set)), instrument)

    def place(self, key: int) -> tuple[int, bool]:
        """Where a position stands or would stand, and whether it is there."""
        at = bisect_left(self.keys, key)
        return at, at < len(self.keys) and self.keys[at] == key

    def place_posted(self, key: tuple[int, str]) -> tuple[int, bool]:
        """The same of collateral."""
        at = bisect_left(self.posted, key)
        return at, at < len(self.posted) and self.posted[at] == key


Held = tuple[float, float, float]
"""contracts, entry_quantity, entry_cost"""


@dataclass(frozen=True)
class Touched:
    """What is another afterwards."""

    positions: dict[int, Held | None]
    """by key; None: not there any more"""
    collateral: dict[tuple[int, str], float]
    """quantity by (account, asset)"""


def ledger_of(book: Book) -> Ledger:
    """The keys of a book."""
    p, c = book.positions, book.collateral
    n, m = len(book.netting_sets), max(len(book.instruments), 1)
    keys = (p.account.astype(np.int64) * n + p.netting_set) * m + p.instrument
    return Ledger(book, {a.account_id: i for i, a in enumerate(book.accounts)}, {name: i for i, name in enumerate(book.netting_sets)}, keys.tolist(), list(zip(c.account.tolist(), c.asset, strict=True)))


def touch(ledger: Ledger, market: MarketSnapshot, changes: Sequence[Change], known: Known, premium: Premium) -> Touched:
    """Changes done one after the other. Raises InputError for a transfer of contracts that are not held."""
    from upm_gpu.desk.change import Deposit, Order, paid_at_once

    found, account = Touched({}, {}), ledger.account
    for c in changes:
        if isinstance(c, Order):
            n = known.instruments[c.instrument_id]
            _add(ledger, found, ledger.key(account[c.account_id], ledger.netting_set[c.netting_set], n), (c.contracts, 0.0, 0.0))
            paid = c.contracts * ledger.book.instruments[n].contract_size * paid_at_once(ledger.book.instruments[n], market, known)
            if premium == "cash" and paid != 0.0:
                _post(ledger, found, (account[c.account_id], market.reporting_currency), -paid)
        elif isinstance(c, Deposit):
            _post(ledger, found, (account[c.account_id], c.asset), c.quantity)
        elif c.name in known.instruments:
            _move(ledger, found, c, known.instruments[c.name])
        else:
            _post(ledger, found, (account[c.account_id], c.name), -c.quantity)
            _post(ledger, found, (account[c.to_account], c.name), c.quantity)
    return found


def _held(ledger: Ledger, found: Touched, key: int) -> Held | None:
    if key in found.positions:
        return found.positions[key]
    at, there = ledger.place(key)
    p = ledger.book.positions
    return (float(p.contracts[at]), float(p.entry_quantity[at]), float(p.entry_cost[at])) if there else None


def _add(ledger: Ledger, found: Touched, key: int, more: Held) -> None:
    a, b, c = _held(ledger, found, key) or (0.0, 0.0, 0.0)
    after = (a + more[0], b + more[1], c + more[2])
    found.positions[key] = None if after[0] == 0.0 and after[2] == 0.0 else after


def _move(ledger: Ledger, found: Touched, change: Transfer, instrument: int) -> None:
    netting_set = ledger.netting_set[change.netting_set]
    source, target = (ledger.key(ledger.account[a], netting_set, instrument) for a in (change.account_id, change.to_account))
    held = _held(ledger, found, source) or (0.0, 0.0, 0.0)
    if held[0] == 0.0 or not 0.0 < change.quantity / held[0] <= 1.0:
        raise InputError("UPM-IN-147", f"transfer of {change.quantity:g} {change.name}: account {change.account_id!a} holds {held[0]:g} contracts. Give at most what is held, with its sign.")
    share = change.quantity / held[0]
    quantity, cost = (x if share == 1.0 else x * share for x in held[1:])
    _add(ledger, found, source, (-change.quantity, -quantity, -cost))
    _add(ledger, found, target, (change.quantity, quantity, cost))


def _post(ledger: Ledger, found: Touched, key: tuple[int, str], quantity: float) -> None:
    if key in found.collateral:
        found.collateral[key] += quantity
        return
    at, there = ledger.place_posted(key)
    found.collateral[key] = float(ledger.book.collateral.quantity[at]) + quantity if there else quantity


def book_with(ledger: Ledger, touched: Touched) -> Book:
    """The book after what was touched."""
    book, p, c = ledger.book, ledger.book.positions, ledger.book.collateral
    whole: list[NDArray[np.int32]] = [p.account.copy(), p.netting_set.copy(), p.instrument.copy()]
    numbers: list[NDArray[np.float64]] = [x.copy() for x in (p.contracts, p.quantity, p.entry_quantity, p.entry_cost)]
    for key, after in sorted(touched.positions.items(), reverse=True):  # from behind: places before stay what they are
        at, there = ledger.place(key)
        if after is None:
            if there:
                whole, numbers = [np.delete(x, at) for x in whole], [np.delete(x, at) for x in numbers]
            continue
        if not there:
            whole = [np.insert(x, at, part) for x, part in zip(whole, ledger.parts(key), strict=True)]
            numbers = [np.insert(x, at, 0.0) for x in numbers]
        size = book.instruments[int(whole[2][at])].contract_size
        numbers[0][at], numbers[1][at], numbers[2][at], numbers[3][at] = after[0], after[0] * size + 0.0, after[1], after[2]
    account, asset, quantity = c.account.copy(), list(c.asset), c.quantity.copy()
    for posted, amount in sorted(touched.collateral.items(), reverse=True):
        at, there = ledger.place_posted(posted)
        if not there:
            account, quantity = np.insert(account, at, posted[0]).astype(np.int32), np.insert(quantity, at, 0.0)
            asset.insert(at, posted[1])
        quantity[at] = amount
    return replace(book, positions=Positions(whole[0], whole[1], whole[2], numbers[0], numbers[1], numbers[2], numbers[3]), collateral=Collateral(account, tuple(asset), quantity))
