"""What is asked: trades, deposits and transfers, and the book that they make.

The changed book is an ordinary book, so that a fresh run of it is the test of every answer: contracts of an order are added to those held (blank entry price: nothing gained yet),
deposits to the collateral posted. An order is done at today's model value. What is paid for at once, options with an upfront premium and spot, is paid from the account's cash in
the reporting currency (received, for a sale), so that a trade as such moves no equity; `premium = "none"` leaves the payment out. A transfer of contracts takes its share of the
entry prices along and moves no cash.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np

from upm_gpu.desk.ledger import book_with, ledger_of, touch
from upm_gpu.domain.book import Book, Collateral, Positions
from upm_gpu.domain.instrument import Instrument, Option, Spot
from upm_gpu.domain.tables import nearest
from upm_gpu.errors import InputError
from upm_gpu.market.levels import spot_price
from upm_gpu.market.snapshot import MarketSnapshot

LARGEST = 2.0**53
"""contracts beyond which single ones are no longer counted, as in the files of a book"""


@dataclass(frozen=True)
class Order:
    """Signed contracts of a listed instrument for an account."""

    account_id: str
    instrument_id: str
    contracts: float
    netting_set: str = ""


@dataclass(frozen=True)
class Deposit:
    """Collateral posted; negative: withdrawn."""

    account_id: str
    asset: str
    quantity: float


@dataclass(frozen=True)
class Transfer:
    """Contracts of an instrument, or collateral, from one account to another; contracts are signed as they are held."""

    account_id: str
    to_account: str
    name: str
    quantity: float
    netting_set: str = ""
    """of both accounts, for contracts"""


Change: TypeAlias = Order | Deposit | Transfer
Premium = Literal["cash", "none"]


def accounts_of(changes: Sequence[Change]) -> tuple[str, ...]:
    """The accounts that changes name, ascending."""
    return tuple(sorted({a for c in changes for a in ((c.account_id, c.to_account) if isinstance(c, Transfer) else (c.account_id,))}))


@dataclass(frozen=True)
class Known:
    """What changes may name, with today's values."""

    accounts: Mapping[str, int]
    """id -> place in the book"""
    instruments: Mapping[str, int]
    """id -> place in the book"""
    assets: frozenset[str]
    unit_value: dict[str, float]
    """model value today of one unit of each resident option that is paid for at once"""


def check(changes: Sequence[Change], book: Book, known: Known) -> None:
    """Refuse what cannot be a trade set: InputError with the nearest name."""
    if not changes:
        raise InputError("UPM-IN-140", "the trade set holds nothing: give an order, a deposit or a transfer.")
    for change in changes:
        for account in accounts_of([change]):
            if account not in known.accounts:
                raise InputError("UPM-IN-141", f"account {account!a} is not in the run.{_hint(account, list(known.accounts), ' Accounts are listed in margin.csv.')}")
        quantity = change.contracts if isinstance(change, Order) else change.quantity
        what = change.instrument_id if isinstance(change, Order) else change.asset if isinstance(change, Deposit) else change.name
        if not math.isfinite(quantity) or quantity == 0.0:
            raise InputError("UPM-IN-142", f"account {change.account_id!a}, {what!a}: the quantity is {quantity:g}. Give a quantity other than 0: positive buys or deposits, negative sells or withdraws.")
        if abs(quantity) > LARGEST:
            raise InputError("UPM-IN-142", f"account {change.account_id!a}, {what!a}: the quantity {quantity:g} is beyond 2^53, where single contracts are no longer counted. Check the unit.")
        if isinstance(change, Order) or (isinstance(change, Transfer) and what in known.instruments):
            if what not in known.instruments:
                raise unknown_instrument(what, list(known.instruments))
            if change.netting_set not in book.netting_sets:  # type: ignore[union-attr]
                raise InputError("UPM-IN-144", f"netting set {change.netting_set!a} is in no position of the run.{_hint(change.netting_set, list(book.netting_sets), ' Leave it blank for the account itself.')}")  # type: ignore[union-attr]
        elif what not in known.assets:
            raise InputError("UPM-IN-145", f"{what!a} is no instrument of the run and no asset with a price.{_hint(what, [*known.assets, *(known.instruments if isinstance(change, Transfer) else ())], ' Assets are those of spots and the reporting currency.')}")
        if isinstance(change, Transfer) and (change.account_id == change.to_account or (quantity < 0.0 and what not in known.instruments)):
            raise InputError("UPM-IN-146", f"a transfer of {quantity:g} {what} from {change.account_id!a} to {change.to_account!a}: give two accounts, and a positive quantity of an asset.")


def unknown_instrument(name: str, known: list[str]) -> InputError:
    """The refusal of an instrument that the run does not list, with the nearest id."""
    return InputError("UPM-IN-143", f"instrument {name!a} is not in the instruments file of the run, or has expired.{_hint(name, known, ' Orders are in listed instruments; of a combo give the legs.')}")


def _hint(name: str, known: list[str], otherwise: str) -> str:
    near = nearest(name, known)
    return f" Did you mean {ascii(near)[1:-1]}?" if near else otherwise


def sub_book(book: Book, accounts: Sequence[int]) -> Book:
    """The book of some accounts, everything else of it as it is; `accounts` ascend."""
    place = np.full(len(book.accounts), -1, np.int32)
    place[list(accounts)] = np.arange(len(accounts), dtype=np.int32)
    p, c = book.positions, book.collateral
    held, posted = np.flatnonzero(place[p.account] >= 0), np.flatnonzero(place[c.account] >= 0)
    return replace(book, accounts=tuple(book.accounts[a] for a in accounts), rejects=(), warnings=(),
                   positions=Positions(place[p.account[held]], p.netting_set[held], p.instrument[held], p.contracts[held], p.quantity[held], p.entry_quantity[held], p.entry_cost[held]),
                   collateral=Collateral(place[c.account[posted]], tuple(c.asset[i] for i in posted), c.quantity[posted]))


def changed_book(book: Book, market: MarketSnapshot, changes: Sequence[Change], known: Known, premium: Premium = "cash") -> Book:
    """The book after the changes; those are checked already. Raises InputError for a transfer of contracts that are not held."""
    ledger = ledger_of(book)
    return book_with(ledger, touch(ledger, market, changes, known, premium))


def paid_at_once(instrument: Instrument, market: MarketSnapshot, known: Known) -> float:
    """What one unit costs today in the reporting currency where it is paid for when it is bought: options with an upfront premium and spot; 0 for all others."""
    if isinstance(instrument, Spot):
        return spot_price(market, instrument.underlying, instrument.instrument_id)
    # an option that nobody holds then, in a book that must be priced again for it: bought and sold in one set
    return known.unit_value.get(instrument.instrument_id, 0.0) if isinstance(instrument, Option) else 0.0


def with_nothing_of(book: Book, instruments: Sequence[int], assets: Sequence[str]) -> Book:
    """The book with positions of 0 contracts and collateral of 0 units for its first account, so that their instruments are priced with it."""
    p, c = book.positions, book.collateral
    zero = np.zeros(len(instruments))
    more = np.array(list(instruments), np.int32)
    none = np.zeros(len(instruments), np.int32)
    positions = Positions(np.r_[p.account, none], np.r_[p.netting_set, none], np.r_[p.instrument, more], np.r_[p.contracts, zero], np.r_[p.quantity, zero], np.r_[p.entry_quantity, zero],
                          np.r_[p.entry_cost, zero])
    collateral = Collateral(np.r_[c.account, np.zeros(len(assets), np.int32)].astype(np.int32), (*c.asset, *assets), np.r_[c.quantity, np.zeros(len(assets))])
    return replace(book, positions=positions, collateral=collateral)
