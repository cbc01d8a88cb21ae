"""Who holds what while books are closed: positions in whole lots, and who answers for them.

A *party* is who defaults as one: an account that stands alone, or all accounts of a member. A party has one or more margined units (`margin/units.py`); positions never net across units. A
lot is a hundred millionth of a contract: contracts of every venue are whole numbers of lots, so a position is an integer and nothing is lost in closing a share of it. What the accounts
give away the market takes, so the lots of an instrument always add up to the same. Verified by tests/properties/test_liquidation_laws.py.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from upm_gpu.domain.book import Book
from upm_gpu.domain.instrument import Instrument
from upm_gpu.errors import CapacityError
from upm_gpu.margin.units import Lines, Units

LOT = 1e-8
"""contracts"""
MOST = 2.0**53
"""lots beyond which single ones are no longer counted"""


@dataclass(frozen=True)
class Parties:
    """Who answers for which units."""

    names: tuple[str, ...]
    """(P,) account id, or member id, ascending"""
    of_account: NDArray[np.int64]
    """(A,)"""
    of_unit: NDArray[np.int64]
    """(U,)"""


def parties_of(book: Book, units: Units) -> Parties:
    """Members with all their accounts, and accounts that have none; "member M" where an account is called as a member is."""
    own = {a.account_id for a in book.accounts if not a.member_id}
    label = [(f"member {a.member_id}" if a.member_id in own else a.member_id) if a.member_id else a.account_id for a in book.accounts]
    names = sorted(set(label))
    place = {name: n for n, name in enumerate(names)}
    of_account = np.array([place[name] for name in label], np.int64)
    member = {a.member_id: place[name] for a, name in zip(book.accounts, label, strict=True) if a.member_id}
    alone = {a.account_id: n for a, n in zip(book.accounts, of_account.tolist(), strict=True)}
    of_unit = np.full(len(units.names), -1, np.int64)
    of_unit[units.lines.unit] = of_account[units.lines.account]
    for u in np.flatnonzero(of_unit < 0).tolist():  # a unit that holds nothing
        of_unit[u] = member.get(units.member[u], alone.get(units.names[u], 0))
    return Parties(tuple(names), of_account, of_unit)


@dataclass
class Holdings:
    """Positions of all units, lines (L,) in no order; lines are added when a unit takes on what it did not hold."""

    unit: NDArray[np.int64]
    instrument: NDArray[np.int64]
    lots: NDArray[np.int64]
    size: NDArray[np.float64]
    """(N,) units of an instrument in a lot"""
    market: NDArray[np.int64]
    """(N,) lots that the market took"""
    own: dict[int, list[int]] = field(init=False, repr=False)
    """lines of each unit that has any"""

    def __post_init__(self) -> None:
        self.own = {}
        for line, unit in enumerate(self.unit.tolist()):
            self.own.setdefault(unit, []).append(line)

    def total(self) -> list[int]:
        """(N,) lots of each instrument with everybody, as exact integers: the same after every trade."""
        found = [0] * len(self.size)
        for n, lots in zip(self.instrument.tolist(), self.lots.tolist(), strict=True):
            found[n] += lots
        return [a + b for a, b in zip(found, self.market.tolist(), strict=True)]

    def of(self, unit: int) -> NDArray[np.int64]:
        """Lines of a unit."""
        return np.array(self.own.get(unit, []), np.int64)

    def lots_of(self, unit: int) -> dict[int, int]:
        """instrument -> lots of a unit, none of nothing."""
        return {int(self.instrument[line]): int(self.lots[line]) for line in self.own.get(unit, []) if self.lots[line]}

    def quantity(self, lines: NDArray[np.int64] | slice = slice(None)) -> NDArray[np.float64]:
        """Units of the instrument on lines."""
        found: NDArray[np.float64] = self.lots[lines] * self.size[self.instrument[lines]]
        return found

    def to_market(self, unit: int, instrument: int, lots: int) -> None:
        """A unit gives lots to the market (takes them, where negative)."""
        self._add(unit, instrument, -lots)
        self.market[instrument] += lots

    def between(self, unit: int, other: int, instrument: int, lots: int) -> None:
        """A unit gives lots to another."""
        self._add(unit, instrument, -lots)
        self._add(other, instrument, lots)

    def _add(self, unit: int, instrument: int, lots: int) -> None:
        mine = self.own.setdefault(unit, [])
        for line in mine:
            if self.instrument[line] == instrument:
                self.lots[line] += lots
                return
        mine.append(len(self.lots))
        self.unit, self.instrument = np.append(self.unit, unit), np.append(self.instrument, instrument)
        self.lots = np.append(self.lots, np.int64(lots))

    def lines(self, wanted: NDArray[np.bool_] | None = None) -> Lines:
        """What units hold as lines of a plan, one a unit and instrument; of units `wanted` (U,) alone where given."""
        held = np.flatnonzero((self.lots != 0) & (True if wanted is None else wanted[self.unit]))
        held = held[np.lexsort((self.instrument[held], self.unit[held]))]
        return Lines(self.unit[held].astype(np.int32), np.zeros(len(held), np.int32), self.instrument[held].astype(np.int32), self.quantity(held))


def hold(units: Units, instruments: tuple[Instrument, ...]) -> Holdings:
    """The positions of a run; accounts of one unit net. Raises CapacityError for a position too large for single lots."""
    lines, contract = units.lines, np.array([i.contract_size for i in instruments], np.float64)
    size = contract * LOT
    lots = lines.quantity / size[lines.instrument] if len(size) else np.zeros(0)
    if np.any(~(np.abs(lots) < MOST)):
        worst = int(np.argmax(np.abs(lots)))
        raise CapacityError("UPM-CP-096", f"unit {units.names[lines.unit[worst]]}: {lots[worst] * LOT:g} contracts of {instruments[lines.instrument[worst]].instrument_id} are more than the "
                            f"{MOST * LOT:.0f} that are closed in whole lots. Give the instrument a larger contract size.")
    whole = np.rint(lots).astype(np.int64)
    key = lines.unit.astype(np.int64) * max(len(size), 1) + lines.instrument
    distinct, place = np.unique(key, return_inverse=True)
    netted = np.zeros(len(distinct), np.int64)
    np.add.at(netted, place, whole)
    return Holdings(distinct // max(len(size), 1), distinct % max(len(size), 1), netted, size, np.zeros(len(size), np.int64))
