"""The positions and collateral tables: rows by the million, checked by columns and netted exactly."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from upm_gpu.domain.book import Positions
from upm_gpu.domain.cells import (
    LARGEST_EXACT,
    CellFault,
    currency,
    identifiers,
    numbers,
    reject_codes,
    require,
    shown,
)
from upm_gpu.domain.combos import combos_text, split_combos
from upm_gpu.domain.instrument import Future, Instrument, Perpetual, expiry_of
from upm_gpu.domain.netting import group_starts, sum_groups
from upm_gpu.domain.tables import Chunk, Schema, Sheet, nearest, read_chunks
from upm_gpu.domain.terms import Terms, expired
from upm_gpu.domain.text import instant_text

POSITIONS = Schema(
    "positions", ("account_id", "instrument_id", "quantity"), ("netting_set", "entry_price", "trade_id"),
    frozenset({"account_id", "instrument_id", "netting_set", "trade_id"}),
)
COLLATERAL = Schema("collateral", ("account_id", "asset", "quantity"), ids=frozenset({"account_id", "asset"}), may_be_empty=True)
NAMES_COMPARED = 50
"""distinct unknown instruments for which the nearest known name is looked up: the search reads every instrument id"""

COMBOS_NAMED = 5
"""combos named in the remark that they were split"""


@dataclass(frozen=True)
class Lots:
    """Position rows as read: indices into `accounts`, `netting_sets`, and the sorted instrument ids; arrays (n,)."""

    accounts: tuple[str, ...]
    netting_sets: tuple[str, ...]
    account: NDArray[np.int32]
    netting_set: NDArray[np.int32]
    instrument: NDArray[np.int32]
    contracts: NDArray[np.float64]
    entry_price: NDArray[np.float64]
    has_trade_id: NDArray[np.bool_]


def _mapped(codes: NDArray[np.int32], ids: list[str], index: dict[str, int], keep: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Kept rows' codes in the numbering of the whole file; ids seen only in rejected rows get no number."""
    used = np.zeros(len(ids), bool)
    used[codes[keep]] = True
    table = np.array([index.setdefault(name, len(index)) if use else -1 for name, use in zip(ids, used.tolist(), strict=True)], np.int32)
    return table[codes[keep]]


def _known(chunk: Chunk, codes: NDArray[np.int32], ids: list[str], index: dict[str, int], terms: Terms, valuation_time: datetime | None,
           faults: dict[str, CellFault]) -> NDArray[np.int32]:
    """(n,) instrument index; rows of unknown, refused or expired instruments are set aside."""
    table = np.full(len(ids), -1, np.int32)
    found: dict[int, CellFault] = {}
    for code, name in enumerate(ids):
        fault = faults.get(name) or _instrument_fault(name, terms, valuation_time, len(faults) < NAMES_COMPARED)
        if fault is None:
            table[code] = index[name]
        else:
            found[code] = faults[name] = fault
    reject_codes(chunk, "instrument_id", codes, found)
    return table[codes]


def _instrument_fault(name: str, terms: Terms, valuation_time: datetime | None, suggest: bool) -> CellFault | None:
    for leg, _ in terms.combos.get(name, ()):
        fault = _instrument_fault(leg, terms, valuation_time, False)
        if fault is not None:
            return CellFault(fault.number, f"combo {shown(name)}: {fault.message}")
    if name in terms.combos:
        return None
    instrument = terms.instruments.get(name)
    if instrument is None:
        if name in terms.refused:
            return CellFault(27, f"instrument {shown(name)} cannot be used: {terms.refused[name]}.")
        near = nearest(name, [*terms.instruments, *terms.combos]) if suggest else ""
        hint = f" Did you mean {near}?" if near else " Add it to instruments or correct the id."
        return CellFault(27, f"instrument {shown(name)} is not in the instruments file.{hint}")
    expiry = expiry_of(instrument)
    if expiry is not None and expired(instrument, valuation_time):
        return CellFault(29, f"instrument {shown(name)} expired at {instant_text(expiry)}, not after the valuation time. Remove the settled position.")
    return None


def read_lots(path: Path, sheet: Sheet, terms: Terms, valuation_time: datetime | None) -> Lots:
    """Every usable position row, streamed; the rest are rejects of `sheet`."""
    order = sorted(terms.instruments)
    combos = sorted(terms.combos)
    index = {name: i for i, name in enumerate([*order, *combos])}
    lot_size = np.array([terms.lot_size.get(name, np.nan) for name in index])
    any_lots = bool(np.any(~np.isnan(lot_size)))
    accounts: dict[str, int] = {}
    netting: dict[str, int] = {"": 0}
    columns = [Growing(t) for t in (np.int32, np.int32, np.int32, np.float64, np.float64, np.bool_)]
    hashes, hash_lines = Growing(np.uint64), Growing(np.uint32)
    faults: dict[str, CellFault] = {}
    for chunk in read_chunks(path, POSITIONS, sheet):
        account, account_ids = identifiers(chunk, "account_id")
        name, names = identifiers(chunk, "instrument_id")
        instrument = _known(chunk, name, names, index, terms, valuation_time, faults)
        contracts = numbers(chunk, "quantity")
        require(chunk, "quantity", contracts, np.abs(contracts) <= LARGEST_EXACT, 25,
                lambda cell: f"{cell} is beyond 2^53 = 9007199254740992, where single contracts are no longer counted. Check the unit.")
        if any_lots:
            lot = np.where(instrument >= 0, lot_size[instrument], np.nan)
            ratio = contracts / lot
            require(chunk, "quantity", contracts, np.isnan(ratio) | (np.abs(ratio - np.rint(ratio)) <= 1e-9 * np.maximum(1.0, np.abs(ratio))), 25,
                    lambda cell: f"{cell} is not a whole number of lots (lot_size in instruments).")
        netting_set, netting_ids = identifiers(chunk, "netting_set", blank=True)
        entry = numbers(chunk, "entry_price", blank=True)
        require(chunk, "entry_price", entry, entry > 0.0, 24, lambda cell: f"{cell} is not an entry price. It must be above 0, or blank for none.")
        if combos:
            require(chunk, "entry_price", entry, np.isnan(entry) | (instrument < len(order)), 47,
                    lambda cell: f"{cell} is the price of a combo, which says nothing of its legs'. Leave it blank, or enter the legs as positions of their own.")
        trade = identifiers(chunk, "trade_id", blank=True)
        keep = ~chunk.rejected
        traded = np.array([bool(t) for t in trade[1]], bool)[trade[0]] & keep
        if traded.any():
            hashes.append(_hash(trade[1])[trade[0]][traded])
            hash_lines.append(chunk.lines[traded])
        kept: tuple[NDArray, ...] = (_mapped(account, account_ids, accounts, keep), _mapped(netting_set, netting_ids, netting, keep),
                instrument[keep], contracts[keep], entry[keep], traded[keep])
        for column, values in zip(columns, kept, strict=True):
            column.append(values)
    release()
    lots = Lots(tuple(accounts), tuple(netting), *(c.finish() for c in columns))
    if hashes.used:
        lots = _drop_repeated_trades(path, sheet, lots, hashes.finish(), hash_lines.finish())
    held = np.bincount(lots.instrument[lots.instrument >= len(order)] - len(order), minlength=len(combos))
    if held.any():
        some = [f"{combos[c]} = {combos_text(terms.combos[combos[c]])}" for c in np.flatnonzero(held)[:COMBOS_NAMED]]
        more = int((held > 0).sum()) - len(some)
        sheet.warnings.append(f"UPM-IN-048 {sheet.file}: {int(held.sum())} rows hold combos and count as their legs: {', '.join(some)}{f' and {more} more' if more > 0 else ''}.")
    return split_combos(lots, order, [terms.combos[name] for name in combos])


class Growing:
    """An array that grows in place: rows by the million are never held as parts and whole at once."""

    def __init__(self, kind: type[np.generic]) -> None:
        self.values = np.zeros(0, kind)
        self.used = 0

    def append(self, more: NDArray) -> None:
        """Grow by `more`."""
        need = self.used + len(more)
        if need > len(self.values):
            self.values.resize(max(need, len(self.values) * 5 // 4, 1 << 16), refcheck=False)
        self.values[self.used : need] = more
        self.used = need

    def finish(self) -> NDArray:
        """The array, cut to what it holds."""
        self.values.resize(self.used, refcheck=False)
        return self.values


def release() -> None:
    """Give memory that Arrow keeps for later back to the system."""
    import pyarrow

    pyarrow.default_memory_pool().release_unused()


def _hash(texts: list[str]) -> NDArray[np.uint64]:
    """64-bit hashes of ids, to find candidates for repetition in eight bytes a row; repeats are confirmed on the text."""
    from pandas.util import hash_array

    return hash_array(np.array(texts, dtype=object), categorize=False)


def _drop_repeated_trades(path: Path, sheet: Sheet, lots: Lots, hashes: NDArray[np.uint64], lines: NDArray[np.int64]) -> Lots:
    """Reject the second and later rows of a trade_id; a second pass over the file reads the texts of the candidates."""
    ordered = np.sort(hashes)
    twice = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
    del ordered
    if not len(twice):
        return lots
    candidate = np.isin(hashes, twice)
    rank_of_line = {int(line): int(rank) for rank, line in zip(np.flatnonzero(candidate), lines[candidate], strict=True)}
    first: dict[str, int] = {}
    repeated: list[int] = []
    again = Sheet(sheet.file, sheet.room)
    for chunk in read_chunks(path, POSITIONS, again):
        for row in np.flatnonzero(np.isin(chunk.lines, lines[candidate])):
            line, trade = int(chunk.lines[row]), chunk.columns["trade_id"][int(row)].as_py().strip(" \t")
            if trade in first:
                sheet.reject(line, "trade_id", 26, f"trade {shown(trade)} is already on line {first[trade]}. Remove the repetition.", chunk.raw(int(row)))
                repeated.append(rank_of_line[line])
            else:
                first[trade] = line
    keep = np.ones(len(lots.contracts), bool)
    keep[np.flatnonzero(lots.has_trade_id)[repeated]] = False
    return Lots(lots.accounts, lots.netting_sets, lots.account[keep], lots.netting_set[keep], lots.instrument[keep], lots.contracts[keep],
                lots.entry_price[keep], lots.has_trade_id[keep])


def rank(names: Iterable[str], ordered: list[str]) -> NDArray[np.int32]:
    """(n,) place of each name in the sorted list; -1 where it is not in it."""
    place = {name: i for i, name in enumerate(ordered)}
    return np.array([place.get(name, -1) for name in names], np.int32)


def net(lots: Lots, accounts: list[str], netting_sets: list[str], instruments: list[Instrument]) -> tuple[Positions, int]:
    """Net the rows exactly: contracts per (account, netting set, instrument), costs per distinct entry price first.

    Returns the positions, and how many rows without trade_id repeat another word for word (counted as lots of their own).
    quantity = contracts x contract_size, rounded once. entry_cost = sum over distinct entry prices of quantity x price
    (quantity / price for inverse futures and perpetuals). Rows that net to nothing and cost nothing are left out.
    """
    n, m = len(netting_sets), max(len(instruments), 1)
    key = rank(lots.accounts, accounts)[lots.account].astype(np.int64) if len(lots.account) else np.zeros(0, np.int64)
    if len(key):
        key *= n
        key += rank(lots.netting_sets, netting_sets)[lots.netting_set]
        key *= m
        key += lots.instrument
    order = np.argsort(key, kind="stable")
    size_of_group = np.diff(group_starts(key[order]), append=len(key))
    shared = np.flatnonzero(np.repeat(size_of_group > 1, size_of_group))
    inner = order[shared]
    order[shared] = inner[np.lexsort((lots.contracts[inner], lots.entry_price[inner], key[inner]))]
    key, price, contracts = key[order], lots.entry_price[order], lots.contracts[order]
    same = (key[1:] == key[:-1]) & (contracts[1:] == contracts[:-1]) & ((price[1:] == price[:-1]) | (np.isnan(price[1:]) & np.isnan(price[:-1])))
    traded = lots.has_trade_id[order]
    repeated = int((same & ~traded[1:] & ~traded[:-1]).sum())
    del order, shared, inner, same, traded
    starts = group_starts(key)
    total = sum_groups(contracts, starts)
    unit = key[starts]
    del starts
    instrument = (unit % m).astype(np.int32)
    size = np.array([i.contract_size for i in instruments] or [1.0])
    inverse = np.array([isinstance(i, Future | Perpetual) and i.settlement == "inverse" for i in instruments] or [False])
    entry_quantity, entry_cost = np.zeros(len(unit)), np.zeros(len(unit))
    priced = ~np.isnan(price)
    if priced.any():
        if not priced.all():
            key, price, contracts = key[priced], price[priced], contracts[priced]
        by_price = group_starts(key, price)
        held, key, price = sum_groups(contracts, by_price), key[by_price], price[by_price]
        del contracts, by_price
        of = key % m
        cost = held * size[of]
        cost = np.where(inverse[of], cost / price, cost * price)
        del of, price
        by_key = group_starts(key)
        where = np.searchsorted(unit, key[by_key])
        entry_quantity[where] = sum_groups(held, by_key) * size[instrument[where]]
        entry_cost[where] = sum_groups(cost, by_key)
    keep = (total != 0.0) | (entry_cost != 0.0)
    unit, instrument, total = unit[keep], instrument[keep], total[keep]
    return Positions((unit // m // n).astype(np.int32), (unit // m % n).astype(np.int32), instrument, total, total * size[instrument] + 0.0,
                     entry_quantity[keep], entry_cost[keep]), repeated


def read_collateral(path: Path, sheet: Sheet) -> tuple[list[str], list[str], NDArray[np.float64]]:
    """Collateral lines summed per (account, asset) and sorted so: account ids, assets, quantities (L,)."""
    rows: list[tuple[str, str, float]] = []
    negative = 0
    for chunk in read_chunks(path, COLLATERAL, sheet):
        codes, ids = identifiers(chunk, "account_id")
        asset, assets = identifiers(chunk, "asset")
        faults: dict[int, CellFault] = {}
        for code, name in enumerate(assets):
            try:
                currency(name, "asset")
            except CellFault as fault:
                faults[code] = fault
        reject_codes(chunk, "asset", asset, faults)
        quantity = numbers(chunk, "quantity")
        require(chunk, "quantity", quantity, np.abs(quantity) <= LARGEST_EXACT, 25, lambda cell: f"{cell} is beyond 2^53. Check the unit.")
        keep = np.flatnonzero(~chunk.rejected)
        negative += int((quantity[keep] < 0.0).sum())
        rows += [(ids[a], assets[b], q) for a, b, q in zip(codes[keep].tolist(), asset[keep].tolist(), quantity[keep].tolist(), strict=True)]
    if negative:
        sheet.warnings.append(f"UPM-IN-044 {sheet.file}: {negative} rows are negative and count as debts.")
    rows.sort(key=lambda r: r[:2])
    starts = np.array([i for i, r in enumerate(rows) if i == 0 or r[:2] != rows[i - 1][:2]], np.int64)
    total = sum_groups(np.array([r[2] for r in rows], np.float64), starts)
    return [rows[s][0] for s in starts], [rows[s][1] for s in starts], total
