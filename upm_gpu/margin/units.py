"""Margined units and their rows: who is margined together, and the sparse portfolio each becomes.

A unit is (member_id, netting_set); where the netting set is blank the account stands alone, where only the member is blank the
netting set is the account's own. Positions never net across units. Simulated collateral joins the account's own unit with
the blank netting set.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from upm_gpu.domain.book import Book
from upm_gpu.domain.instrument import Exotic, Future, Instrument, Option, Perpetual, Spot, expiry_of
from upm_gpu.market.levels import payment_rate
from upm_gpu.market.snapshot import MarketSnapshot
from upm_gpu.pricing.compiled import Compiled, Rows

COLLATERAL_PREFIX = "collateral:"


@dataclass(frozen=True)
class Lines:
    """One line a netted position or simulated collateral amount; arrays (L,), sorted by (unit, account, instrument)."""

    unit: NDArray[np.int32]
    account: NDArray[np.int32]
    instrument: NDArray[np.int32]
    """index into the compiled instruments"""
    quantity: NDArray[np.float64]


@dataclass(frozen=True)
class Units:
    """Who is margined together."""

    member: tuple[str, ...]
    netting_set: tuple[str, ...]
    names: tuple[str, ...]
    """(U,) the account id where a unit is one account alone, else "member/netting set"; no two alike, see `unit_names`"""
    lines: Lines


def priced_instruments(book: Book, market: MarketSnapshot, simulated: set[str]) -> tuple[Instrument, ...]:
    """What the engine must price, ascending by id: held instruments and simulated collateral assets, never reporting cash."""
    held = {book.instruments[i].instrument_id: book.instruments[i] for i in np.unique(book.positions.instrument)}
    for asset in sorted(set(book.collateral.asset) & simulated):
        spot = Spot(COLLATERAL_PREFIX + asset, asset, market.reporting_currency)
        held[spot.instrument_id] = spot
    return tuple(held[k] for k in sorted(held) if not _is_cash(held[k], market))


def _is_cash(instrument: Instrument, market: MarketSnapshot) -> bool:
    return isinstance(instrument, Spot) and instrument.underlying == market.reporting_currency


def build_units(book: Book, instruments: Sequence[Instrument], simulated: set[str]) -> Units:
    """Units in the order (name), with their lines."""
    index = {i.instrument_id: n for n, i in enumerate(instruments)}
    book_to_compiled = np.array([index.get(i.instrument_id, -1) for i in book.instruments], np.int32)
    keys, position_unit, collateral_unit = unit_keys(book, simulated)
    wanted = [i for i, asset in enumerate(book.collateral.asset) if asset in simulated]
    account = book.collateral.account[wanted]
    unit = np.concatenate([position_unit, collateral_unit])
    line_account = np.concatenate([book.positions.account, account])
    instrument = np.concatenate([book_to_compiled[book.positions.instrument],
                                 np.array([index[COLLATERAL_PREFIX + book.collateral.asset[i]] for i in wanted], np.int32)])
    quantity = np.concatenate([book.positions.quantity, book.collateral.quantity[wanted]])
    names, order, rank = ordered_names(keys)
    unit = rank[unit]
    kept = np.flatnonzero(instrument >= 0)  # reporting cash has no P&L
    kept = kept[np.lexsort((instrument[kept], line_account[kept], unit[kept]))]
    ordered = [keys[i] for i in order]
    return Units(tuple(k[0] for k in ordered), tuple(k[1] for k in ordered), tuple(names[i] for i in order),
                 Lines(unit[kept], line_account[kept], instrument[kept], quantity[kept]))


def unit_keys(book: Book, simulated: set[str]) -> tuple[list[tuple[str, str, str]], NDArray[np.int32], NDArray[np.int32]]:
    """(member, netting set, account or "" for a pool) of every unit, and of which of them each position and each amount of simulated collateral is."""
    keys: dict[tuple[str, str, str], int] = {}
    position_unit = _unit_numbers(book, book.positions.account, book.positions.netting_set, keys)
    account = book.collateral.account[[i for i, asset in enumerate(book.collateral.asset) if asset in simulated]]
    collateral_unit = _unit_numbers(book, account, np.zeros(len(account), np.int32), keys)
    lonely = np.setdiff1d(np.arange(len(book.accounts)), np.concatenate([book.positions.account, account]))
    for a in lonely:
        keys.setdefault(("", "", book.accounts[a].account_id), len(keys))
    return list(keys), position_unit, collateral_unit


def ordered_names(keys: Sequence[tuple[str, str, str]]) -> tuple[list[str], NDArray[np.int64], NDArray[np.int32]]:
    """Names of units, the order they stand in, and the place of each in it."""
    names = unit_names(keys)
    order = np.argsort(np.array(names, object), kind="stable")
    rank = np.empty(len(order), np.int32)
    rank[order] = np.arange(len(order))
    return names, order, rank


def unit_names(keys: Sequence[tuple[str, str, str]]) -> list[str]:
    """A name for each (member, netting set, account), no two alike: an account alone keeps its id, "member/netting set" says what it is where that is taken.

    >>> unit_names([("M", "N", ""), ("", "", "M/N"), ("", "", "A")])
    ['M/N (pool)', 'M/N', 'A']
    """
    found = {key: key[2] for key in keys if not key[1]}
    taken = set(found.values())
    for key in sorted(k for k in keys if k[1]):
        member, netting_set, account = key
        name = f"{member or account}/{netting_set}"
        while name in taken:
            name += " (pool)" if member else " (netting set)"
        found[key] = name
        taken.add(name)
    return [found[k] for k in keys]


def _unit_numbers(book: Book, account: NDArray[np.int32], netting_set: NDArray[np.int32], keys: dict) -> NDArray[np.int32]:
    """Unit number of every (account, netting set) pair; a key is (member, netting set, account or "" for a pool)."""
    pairs = account.astype(np.int64) * max(len(book.netting_sets), 1) + netting_set
    distinct, inverse = np.unique(pairs, return_inverse=True)
    numbers = np.empty(len(distinct), np.int32)
    for i, pair in enumerate(distinct):
        holder = book.accounts[int(pair) // max(len(book.netting_sets), 1)]
        name = book.netting_sets[int(pair) % max(len(book.netting_sets), 1)]
        pooled = bool(name and holder.member_id)
        key = (holder.member_id if pooled else "", name, "" if pooled else holder.account_id)
        numbers[i] = keys.setdefault(key, len(keys))
    return numbers[inverse]


def build_rows(units: Units, compiled: Compiled) -> tuple[Rows, NDArray[np.int64]]:
    """Rows (U) over columns and, for every line, the row entry it is part of.

    Several lines of a unit in one column are netted with math.fsum in line order, so that splitting a position or folding
    linear instruments changes no bit.
    """
    return grouped_rows(units.lines, units.lines.unit, len(units.names), compiled)


def grouped_rows(lines: Lines, group: NDArray[np.int32], count: int, compiled: Compiled) -> tuple[Rows, NDArray[np.int64]]:
    """Rows (count) of lines by their `group` (L,): `build_rows` for other portfolios than units."""
    column = compiled.instrument_column[lines.instrument]
    amount = lines.quantity * compiled.instrument_coefficient[lines.instrument]
    order = np.lexsort((column, group))
    key = group[order].astype(np.int64) * compiled.columns + column[order]
    starts = np.flatnonzero(np.r_[True, key[1:] != key[:-1]]) if len(key) else np.zeros(0, np.int64)
    ends = np.r_[starts[1:], len(key)]
    quantity = amount[order][starts] if len(key) else np.zeros(0)
    for e in np.flatnonzero(ends - starts > 1):
        quantity[e] = math.fsum(amount[order[starts[e]: ends[e]]])
    entry = np.empty(len(key), np.int64)
    entry[order] = np.repeat(np.arange(len(starts)), ends - starts)
    first = np.zeros(count + 1, np.int64)
    np.cumsum(np.bincount(group[order][starts], minlength=count), out=first[1:])
    return Rows(first, column[order][starts].astype(np.int32), quantity), entry


def sum_by(group: NDArray[np.integer], amount: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """(count,) sums in line order of `amount` (L) by `group` (L); zeros where there is no line."""
    return np.bincount(group, weights=amount, minlength=count).astype(np.float64, copy=False)


def gross_notional(units: Units, instruments: Sequence[Instrument], market: MarketSnapshot) -> NDArray[np.float64]:
    """(U,) sum of |quantity| x level of the underlying, reporting currency (inverse futures: |quantity| itself)."""
    weights = np.abs(units.lines.quantity) * instrument_levels(instruments, market)[units.lines.instrument] if len(instruments) else np.zeros(0)
    return sum_by(units.lines.unit, weights, len(units.names))


def instrument_levels(instruments: Sequence[Instrument], market: MarketSnapshot) -> NDArray[np.float64]:
    """(N,) notional of one unit of each instrument, as in `gross_notional`."""
    return np.array([_level(i, market) for i in instruments])


def _level(instrument: Instrument, market: MarketSnapshot) -> float:
    rate = market.spots.get(getattr(instrument, "quote_currency", ""), 1.0)
    if isinstance(instrument, Future | Perpetual) and instrument.settlement == "inverse":
        return rate
    if isinstance(instrument, Exotic) and instrument.underlying_2:
        return market.spots[instrument.underlying] + market.spots[instrument.underlying_2]
    if isinstance(instrument, Option) and instrument.quanto is not None:
        return market.spots[instrument.underlying] / rate * payment_rate(market, instrument)
    if isinstance(instrument, Option | Spot):
        return market.spots[instrument.underlying]
    price = market.forwards.get((instrument.underlying, expiry_of(instrument)))
    return price * rate if price is not None else market.spots[instrument.underlying]
