"""Many changed copies of accounts that are margined together, as arrays. What a fresh run makes of a book, units, rows, equity, is copied from the accounts as they are, and only what a trade
set touches is put in its place; the functions that measure and add up are those of a run.

Only where a change leaves alone who is margined together and what else is measured: no charges, no pool, no unit that appears or goes. All other questions go the long way (`margins.py`); the
answers are the same to the bit, which way was taken is a matter of speed.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from upm_gpu.backend.contract import TailState
from upm_gpu.backend.kept import GONE, INSERTED, REPLACED
from upm_gpu.desk.cube import Base, Entry, row_changes
from upm_gpu.desk.ledger import Held, Ledger, Touched, ledger_of
from upm_gpu.desk.margins import MAIN, State, coin_place, measures_of
from upm_gpu.desk.resident import Resident
from upm_gpu.domain.book import Book, Collateral
from upm_gpu.engine import charged
from upm_gpu.margin.collateral import posted_of
from upm_gpu.margin.result import Common, PositionValues, equity_factors, equity_of, margin_columns, position_values
from upm_gpu.margin.units import Lines, Units, build_units, ordered_names, unit_keys
from upm_gpu.measuring import Further
from upm_gpu.risk.dependence import dependence_of

Source = int | tuple[int, str]
"""key of a position, or (account, asset)"""
Moved = dict[int, list[Entry]]
"""changes of rows, by unit"""


@dataclass(frozen=True, eq=False)
class Group:
    """Accounts that are margined together, before any change."""

    resident: Resident
    ledger: Ledger
    state: State

    @property
    def book(self) -> Book:
        """Theirs."""
        return self.ledger.book

    @cached_property
    def before(self) -> dict[str, list[Any]]:
        """Columns of the margin table, plain."""
        return {k: plain_column(v) for k, v in self.state.table.items()}

    @cached_property
    def simulated(self) -> set[str]:
        """Collateral assets whose moves are in their rows."""
        return {a for a in set(self.book.collateral.asset) if a in self.resident.coin_of or a in self.resident.simulable}

    @cached_property
    def units(self) -> Units:
        """Who is margined together; without lines."""
        none = np.zeros(0, np.int32)
        return replace(build_units(self.book, self.resident.plan.instruments, self.simulated), lines=Lines(none, none, none, np.zeros(0)))

    @cached_property
    def simple(self) -> bool:
        """Whether changed copies can be stacked."""
        units = self.state.shares[2]
        return not self.resident.charges and not self.resident.plan.further and len(np.unique(units)) == len(units)

    @cached_property
    def unit_at(self) -> dict[tuple[int, int], int]:
        """Unit of (account, netting set)."""
        keys, of_position, of_collateral = unit_keys(self.book, self.simulated)
        rank, p = ordered_names(keys)[2], self.book.positions
        account = self.book.collateral.account[[i for i, asset in enumerate(self.book.collateral.asset) if asset in self.simulated]]
        found = {(a, 0): int(rank[u]) for a, u in zip(account.tolist(), of_collateral.tolist(), strict=True)}
        return found | {(a, n): int(rank[u]) for a, n, u in zip(p.account.tolist(), p.netting_set.tolist(), of_position.tolist(), strict=True)}

    @cached_property
    def amounts(self) -> dict[tuple[int, int], dict[Source, float]]:
        """What is added up to the quantity of a (unit, column), by where it comes from."""
        found: dict[tuple[int, int], dict[Source, float]] = {}
        p, c, r = self.book.positions, self.book.collateral, self.resident
        for key, account, netting_set, n, quantity in zip(self.ledger.keys, p.account.tolist(), p.netting_set.tolist(), p.instrument.tolist(), p.quantity.tolist(), strict=True):
            place = int(r.place_of[n])
            if place >= 0:
                self._add(found, self.unit_at[account, netting_set], place, key, quantity)
        for (account, asset), quantity in zip(self.ledger.posted, c.quantity.tolist(), strict=True):
            if asset in self.simulated:
                self._add(found, self.unit_at[account, 0], coin_place(r, asset), (account, asset), quantity)
        return found

    def _add(self, found: dict[tuple[int, int], dict[Source, float]], unit: int, place: int, source: Source, quantity: float) -> None:
        column, coefficient = self.resident.folded[place]
        found.setdefault((unit, column), {})[source] = quantity * coefficient

    @cached_property
    def sources(self) -> list[int]:
        """How many amounts every unit has."""
        count = [0] * len(self.units.names)
        for (unit, _), amounts in self.amounts.items():
            count[unit] += len(amounts)
        return count

    @cached_property
    def values(self) -> PositionValues:
        """What the positions add to equity."""
        return position_values(self.book, self.resident.plan.market, self.resident.known.unit_value)

    @cached_property
    def places(self) -> list[tuple[dict[int, int], list[int], list[float]]]:
        """Of every unit's row: entry by column, its columns and its quantities."""
        rows = [self.base(name, next(iter(self.resident.cubes))).row for name in self.units.names]
        return [({c: i for i, c in enumerate(row.column.tolist())}, row.column.tolist(), row.quantity.tolist()) for row in rows]

    @cached_property
    def slots(self) -> dict[tuple[str, str, str], Any]:
        """What orders of (account, instrument, netting set) have in common, see `single_orders.py`."""
        return {}

    def base(self, name: str, horizon: int) -> Base:
        """The kept row of a unit."""
        return self.resident.bases[name, MAIN, horizon]


def plain_column(values: Any) -> list[Any]:
    """A column of a margin table as plain data: None for NaN."""
    if not isinstance(values, np.ndarray):
        return list(values)
    found: list[Any] = values.tolist()
    if values.dtype.kind == "f" and np.isnan(values).any():
        return [None if x != x else x for x in found]
    return found


def group_of(resident: Resident, book: Book, state: State) -> Group:
    """Of a sub-book and its margins."""
    return Group(resident, ledger_of(book), state)


def moved_rows(group: Group, touched: Touched, rank: NDArray[np.int64] | None) -> Moved | None:
    """Changes of the rows of a trade set; None where the long way must be taken. `rank` (C,) is the order of sums afterwards."""
    if not group.simple:
        return None
    r = group.resident
    after: dict[tuple[int, int], dict[Source, float | None]] = {}
    left: dict[int, int] = {}
    for key, held in touched.positions.items():
        account, netting_set, n = group.ledger.parts(key)
        unit, place = group.unit_at.get((account, netting_set)), r.places[n]
        if unit is None or place < 0:
            return None
        column, coefficient = r.folded[place]
        after.setdefault((unit, column), {})[key] = None if held is None else (held[0] * r.plan.book.instruments[n].contract_size + 0.0) * coefficient
    for (account, asset), quantity in touched.collateral.items():
        if asset in r.coin_of or asset in r.simulable:
            unit = group.unit_at.get((account, 0))
            if unit is None:
                return None
            column, coefficient = r.folded[coin_place(r, asset)]
            after.setdefault((unit, column), {})[(account, asset)] = quantity * coefficient
    found: Moved = {}
    for (unit, column), sources in after.items():
        before = group.amounts.get((unit, column), {})
        amounts = [a for a in (before | sources).values() if a is not None]
        left[unit] = left.get(unit, group.sources[unit]) + len(amounts) - len(before)
        entry = _entry(group, unit, column, None if not amounts else amounts[0] if len(amounts) == 1 else math.fsum(amounts), rank)
        if entry is not None:
            found.setdefault(unit, []).append(entry)
    if any(n == 0 for n in left.values()):
        return None
    for entries in found.values():
        if len(entries) > 1:
            entries.sort(key=lambda e: (e[0], e[1] != INSERTED, e[2] if rank is None else rank[e[2]]))
    return found


def _entry(group: Group, unit: int, column: int, quantity: float | None, rank: NDArray[np.int64] | None) -> Entry | None:
    places, columns, quantities = group.places[unit]
    at = places.get(column)
    if at is None:
        if quantity is None:
            return None
        before = bisect_left(columns, column) if rank is None else bisect_left(columns, rank[column], key=rank.__getitem__)
        return (before, INSERTED, column, quantity, quantity)
    old = quantities[at]
    if quantity is None:
        return (at, GONE, column, 0.0, -old)
    return None if quantity == old else (at, REPLACED, column, quantity, quantity - old)


def stacked_margins(group: Group, items: Sequence[Touched], moved: Sequence[Moved]) -> State:
    """Margins of the accounts of every item, item after item."""
    tails = {h: _tails(group, h, moved) for h in group.resident.cubes}
    return stacked(group, len(items), tails, _collateral(group, items), _values(group, items))


def stacked(group: Group, count: int, tails: dict[int, TailState], collateral: Collateral, values: tuple[PositionValues, NDArray[np.int64]]) -> State:
    """Margins of `count` copies of the accounts, copy after copy, from the tails of their units, their collateral and what their positions add to equity."""
    r, plan = group.resident, group.resident.plan
    units, accounts = len(group.units.names), len(group.book.accounts)
    names = group.units
    copies = Units(names.member * count, names.netting_set * count, names.names * count, names.lines)
    book = replace(group.book, accounts=group.book.accounts * count, collateral=collateral)
    lean = replace(plan, instruments=(), book=book, units=copies)  # no charge reads what is held
    measures = measures_of(lean, tails)
    posted = posted_of(book, plan.market, plan.methodology.collateral, {a for a in set(book.collateral.asset) if a in r.coin_of or a in r.simulable})
    measured, charges = charged(lean, measures, Further(), posted, r.charges, np.zeros(units * count))
    equity = equity_of(*values, posted, accounts * count)
    share, account, unit = group.state.shares
    offset = np.repeat(np.arange(count), len(share))
    shares = (np.tile(share, count), (np.tile(account, count) + offset * accounts).astype(np.int32), (np.tile(unit, count) + offset * units).astype(np.int32))
    table, _ = margin_columns(book, copies, measured, plan.core, charges, equity, *shares, plan.methodology.maintenance_ratio, Common(tails[group.state.core], 0, dependence_of(plan.scenarios)))
    found = measures[plan.core]
    return State(table, tails, group.state.core, found.value_at_risk, found.expected_shortfall, shares)


def _tails(group: Group, horizon: int, moved: Sequence[Moved]) -> TailState:
    """(1, items x units, depth)."""
    cube, before, units = group.resident.cubes[horizon], group.state.tails[horizon], len(group.units.names)
    pnl, scenario = np.empty((len(moved), *before.pnl.shape[1:])), np.empty((len(moved), *before.scenario.shape[1:]), np.uint32)
    for u, name in enumerate(group.units.names):
        some = [m for m, entries in enumerate(moved) if u in entries]
        if len(some) < len(moved):
            pnl[:, u], scenario[:, u] = before.pnl[0, u], before.scenario[0, u]
        if some:
            base = group.base(name, horizon)
            pnl[some, u], scenario[some, u] = cube.backend.changed_tails(base.kept, row_changes(cube, base, [moved[m][u] for m in some]), pnl.shape[2])
    shape = (1, len(moved) * units, pnl.shape[2])
    return replace(before, pnl=pnl.reshape(shape), scenario=scenario.reshape(shape), block_sums=np.zeros((0, *shape[:2], 2)))


def _collateral(group: Group, items: Sequence[Touched]) -> Collateral:
    own, posted = group.book.collateral, group.ledger.posted
    account, asset, quantity = [], [], []
    plain = own.quantity.tolist()
    for i, item in enumerate(items):
        amounts = dict(zip(posted, plain, strict=True)) | item.collateral if item.collateral else dict(zip(posted, plain, strict=True))
        ordered = sorted(amounts) if len(amounts) > len(posted) else posted
        offset = i * len(group.book.accounts)
        account += [a + offset for a, _ in ordered]
        asset += [name for _, name in ordered]
        quantity += [amounts[key] for key in ordered]
    return Collateral(np.array(account, np.int32), tuple(asset), np.array(quantity, np.float64))


def tiled(group: Group, count: int) -> tuple[list[NDArray[np.float64]], NDArray[np.int64]]:
    """`count` copies of what the positions add to equity, and whose they are."""
    own = group.values
    account = np.tile(group.book.positions.account.astype(np.int64), count) + np.repeat(np.arange(count) * len(group.book.accounts), len(own.assets))
    return [np.tile(x, count) for x in (own.unrealised, own.assets, own.options)], account


def _values(group: Group, items: Sequence[Touched]) -> tuple[PositionValues, NDArray[np.int64]]:
    """What the positions of all items add to equity, and whose they are."""
    own, accounts = group.values, len(group.book.accounts)
    arrays, account = tiled(group, len(items))
    at: list[int] = []
    patched: list[tuple[float, float, float]] = []
    new: list[tuple[int, int, tuple[float, float, float]]] = []
    gone: list[int] = []
    for i, item in enumerate(items):
        for key, held in sorted(item.positions.items()) if len(item.positions) > 1 else item.positions.items():
            place, there = group.ledger.place(key)
            place += i * len(own.assets)
            if held is None:
                gone += [place] if there else []
            elif there:
                at.append(place)
                patched.append(_value(group, key, held))
            else:
                new.append((place, group.ledger.parts(key)[0] + i * accounts, _value(group, key, held)))
    for k, x in enumerate(arrays):
        x[at] = [v[k] for v in patched]
    if gone or new:
        stays = np.ones(len(account), bool)
        stays[gone] = False
        where = [n[0] for n in new]
        stays = np.insert(stays, where, True)
        arrays = [np.insert(x, where, [n[2][k] for n in new])[stays] for k, x in enumerate(arrays)]
        account = np.insert(account, where, [n[1] for n in new])[stays]
    return PositionValues(*arrays), account


def _value(group: Group, key: int, held: Held) -> tuple[float, float, float]:
    """What a position adds to unrealised P&L, spot at market, and option value."""
    n = group.ledger.parts(key)[2]
    now, entry, spot, option = factors_of(group, n)
    quantity = held[0] * group.resident.plan.book.instruments[n].contract_size + 0.0
    return held[1] * now + held[2] * entry, quantity * spot, quantity * option


def factors_of(group: Group, n: int) -> tuple[float, ...]:
    """What a unit of an instrument of the book adds to equity: `equity_factors`."""
    r = group.resident
    if n not in r.factors:
        r.factors[n] = tuple(float(x) for x in equity_factors(r.plan.book.instruments[n], r.plan.market, r.known.unit_value))
    return r.factors[n]
