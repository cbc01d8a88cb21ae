"""Trade sets of one order each, thousands of them at a time: what an order does to an account is arithmetic on columns, an entry an order, so nothing is made for each of them.

A slot is what all orders of one account in one instrument have in common: what is held, where it stands in the account's row, what a contract costs. `order_slot` finds it as `touch` and `moved_rows` do
for any trade set; where an order does more than change a quantity of the account's row and its cash, there is no slot, or the order is handed back (`left_over`), and the trade set takes their way. The
figures are the same to the bit. Verified by tests/properties/test_single_orders.py.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from upm_gpu.backend.contract import TailState
from upm_gpu.backend.kept import GONE, INSERTED, REPLACED
from upm_gpu.desk.change import LARGEST, Order, Premium, paid_at_once
from upm_gpu.desk.cube import bounded
from upm_gpu.desk.margins import State
from upm_gpu.desk.stack import Group, factors_of, stacked, tiled
from upm_gpu.domain.book import Collateral
from upm_gpu.margin.result import PositionValues

WHOLE = 11
"""numbers of a slot that are counts and places"""


class Slot(NamedTuple):
    """One account in one instrument; a row of numbers."""

    account: int
    place: int
    """among the positions of the group"""
    there: int
    unit: int
    column: int
    entry: int
    """of the unit's row; -1: not in it"""
    before: int
    """entry in front of which a new one stands"""
    beside: int
    """amounts of other positions that its column holds"""
    last: int
    """nobody else holds the instrument, or it is all that the unit has"""
    cash: int
    """place of the account's cash among the collateral of the group"""
    posted: int
    """whether there is any"""
    contracts: float
    entry_quantity: float
    entry_cost: float
    size: float
    price: float
    """paid at once for a unit"""
    coefficient: float
    quantity: float
    """of the unit's row"""
    others: float
    """sum of the amounts beside"""
    now: float
    gain: float
    spot: float
    option: float
    """what a position adds to equity, see `equity_factors`"""


def order_slot(group: Group, order: Order) -> Slot | None:
    """Of an order whose names are known; None: every order of it goes another way."""
    r, market = group.resident, group.resident.plan.market
    if not group.simple or group.state.doubts or r.sized or market.reporting_currency in r.coin_of or market.reporting_currency in r.simulable:
        return None
    n, account = r.known.instruments[order.instrument_id], group.ledger.account[order.account_id]
    key = group.ledger.key(account, group.ledger.netting_set[order.netting_set], n)
    unit, place = group.unit_at.get((account, group.ledger.netting_set[order.netting_set])), r.places[n]
    if unit is None or place < 0:
        return None
    column, coefficient = r.folded[place]
    at, there = group.ledger.place(key)
    p, instrument = group.book.positions, r.plan.book.instruments[n]
    amounts = [a for source, a in group.amounts.get((unit, column), {}).items() if source != key]
    entries, columns, quantities = group.places[unit]
    entry = entries.get(column, -1)
    before = 0 if entry >= 0 else int(np.searchsorted(columns if r.rank is None else r.rank[columns], column if r.rank is None else r.rank[column]))
    cash, posted = group.ledger.place_posted((account, market.reporting_currency))
    held = (float(p.contracts[at]), float(p.entry_quantity[at]), float(p.entry_cost[at])) if there else (0.0, 0.0, 0.0)
    return Slot(account, at, there, unit, column, entry, before, len(amounts), bool(r.holders[place] <= there or group.sources[unit] <= there), cash, posted, *held,
                instrument.contract_size, paid_at_once(instrument, market, r.known), coefficient, quantities[entry] if entry >= 0 else 0.0, math.fsum(amounts), *factors_of(group, n))


@dataclass(frozen=True, eq=False)
class Orders:
    """Orders of accounts that are margined together, arrays (n,)."""

    group: Group
    slots: list[Slot]
    of: NDArray[np.int64]
    """slot of each"""
    ordered: NDArray[np.float64]
    """contracts"""

    @cached_property
    def numbers(self) -> NDArray[np.float64]:
        """(fields, slots); counts and places are exact in it."""
        return np.ascontiguousarray(np.array(self.slots, np.float64).T)

    def pick(self, name: str, some: NDArray[np.int64] | slice = slice(None)) -> NDArray:
        """A number of the slots of some orders."""
        k = Slot._fields.index(name)
        found = self.numbers[k][self.of[some]]
        return found.astype(np.int64) if k < WHOLE else found

    def left_over(self) -> NDArray[np.bool_]:
        """Orders that must go another way: quantities that are none, what changes who holds an instrument at all or leaves a unit nothing, more than two amounts in a column."""
        there, held = self.pick("there") != 0, self.pick("contracts")
        plain = np.isfinite(self.ordered) & (self.ordered != 0.0) & (np.abs(self.ordered) <= LARGEST)
        gone = (held + np.where(plain, self.ordered, 0.0) == 0.0) & (self.pick("entry_cost") == 0.0)
        return ~plain | ((gone == there) & (self.pick("last") != 0)) | (self.pick("beside") > 1)

    def parts(self, size: int, left: NDArray[np.bool_]) -> list[NDArray[np.int64]]:
        """Orders that stay, some at a time: those of one column together."""
        chosen = np.flatnonzero(~left)
        chosen = chosen[np.lexsort((self.pick("column", chosen), self.pick("unit", chosen)))]
        return [chosen[first : first + size] for first in range(0, len(chosen), size)]


@dataclass(frozen=True, eq=False)
class After:
    """Some orders done, arrays (n,), and the tails of the units of their group after each."""

    some: NDArray[np.int64]
    s: dict[str, NDArray]
    """numbers of their slots"""
    there: NDArray[np.bool_]
    gone: NDArray[np.bool_]
    quantity: NDArray[np.float64]
    entry_quantity: NDArray[np.float64]
    entry_cost: NDArray[np.float64]
    tails: dict[int, TailState]
    """by index of the horizon; (1, n x units, depth)"""


def done(orders: Orders, some: NDArray[np.int64], threads: int | None = None) -> After:
    """Some orders done; `threads` of the backend, None: as many as it was given."""
    group, count = orders.group, len(some)
    s = {name: orders.pick(name, some) for name in Slot._fields}
    contracts = s["contracts"] + orders.ordered[some]
    entry_quantity, entry_cost = s["entry_quantity"] + 0.0, s["entry_cost"] + 0.0
    gone, there = (contracts == 0.0) & (entry_cost == 0.0), s["there"] != 0
    quantity = contracts * s["size"] + 0.0
    amount = quantity * s["coefficient"]
    amount = np.where(gone, s["others"], np.where(s["beside"] > 0, s["others"] + amount + 0.0, amount))  # of two amounts the plain sum is the exact one, rounded
    leaves, inside = gone & (s["beside"] == 0), s["entry"] >= 0
    kind = np.where(leaves, GONE, np.where(inside, REPLACED, INSERTED)).astype(np.int32)
    new = np.where(leaves, 0.0, amount)
    difference = np.where(inside, new - s["quantity"], new)
    changed = np.where(inside, leaves | (new != s["quantity"]), ~leaves)
    place = np.where(inside, s["entry"], s["before"]).astype(np.int32)
    tails = {}
    for horizon, cube in group.resident.cubes.items():
        before = group.state.tails[horizon]
        pnl, scenario = np.empty((count, *before.pnl.shape[1:])), np.empty((count, *before.scenario.shape[1:]), np.uint32)
        for u, name in enumerate(group.units.names):
            own = np.flatnonzero(changed & (s["unit"] == u))
            if len(own) < count:
                pnl[:, u], scenario[:, u] = before.pnl[0, u], before.scenario[0, u]
            if len(own):
                base = group.base(name, horizon)
                row = base.kept if threads is None else replace(base.kept, unit=replace(base.kept.unit, threads=threads))
                changes = bounded(cube, base, np.arange(len(own) + 1), place[own], kind[own], s["column"][own].astype(np.int32), new[own], difference[own])
                pnl[own, u], scenario[own, u] = cube.backend.changed_tails(row, changes, pnl.shape[2])
        shape = (1, count * len(group.units.names), pnl.shape[2])
        tails[horizon] = replace(before, pnl=pnl.reshape(shape), scenario=scenario.reshape(shape), block_sums=np.zeros((0, *shape[:2], 2)))
    return After(some, s, there, gone, quantity, entry_quantity, entry_cost, tails)


def done_ahead(orders: Orders, parts: Sequence[NDArray[np.int64]]) -> Iterator[After]:
    """Parts of the orders done, on the CPU the next while the caller is busy with the last: compiled code and array arithmetic take one thread each."""
    cube = next(iter(orders.group.resident.cubes.values()))
    if len(parts) < 2 or cube.threads < 2 or cube.backend.name != "cpu":
        yield from (done(orders, some) for some in parts)
        return
    with ThreadPoolExecutor(1) as beside:
        following = beside.submit(done, orders, parts[0], cube.threads - 1)
        for n in range(len(parts)):
            now = following.result()
            if n + 1 < len(parts):
                following = beside.submit(done, orders, parts[n + 1], cube.threads - 1)
            yield now


def ordered_margins(orders: Orders, after: After, premium: Premium) -> State:
    """Margins of the accounts of the group after each of some orders, order after order."""
    s, count = after.s, len(after.some)
    values = np.stack([after.entry_quantity * s["now"] + after.entry_cost * s["gain"], after.quantity * s["spot"], after.quantity * s["option"]])
    return stacked(orders.group, count, after.tails, _cash(orders, after.some, s, premium), _values(orders.group, count, s, after.there, after.gone, values))


def _cash(orders: Orders, some: NDArray[np.int64], s: dict[str, NDArray], premium: Premium) -> Collateral:
    """Collateral of the accounts, order after order, what is paid at once taken from their cash."""
    own, count, accounts = orders.group.book.collateral, len(some), len(orders.group.book.accounts)
    paid = orders.ordered[some] * s["size"] * s["price"]
    pays, posted, lines = (paid != 0.0) & (premium == "cash"), s["posted"] != 0, len(own.quantity)
    quantity, assets = np.tile(own.quantity.astype(np.float64), count), list(own.asset) * count
    account = np.tile(own.account, count) + np.repeat(np.arange(count) * accounts, lines)
    at, new = np.flatnonzero(pays & posted), np.flatnonzero(pays & ~posted)
    quantity[at * lines + s["cash"][at]] += -paid[at]
    if len(new):
        where = new * lines + s["cash"][new]
        account, quantity = np.insert(account, where, s["account"][new] + new * accounts), np.insert(quantity, where, -paid[new])
        for place in reversed(where.tolist()):
            assets.insert(place, orders.group.resident.plan.market.reporting_currency)
    return Collateral(account.astype(np.int32), tuple(assets), quantity)


def _values(group: Group, count: int, s: dict[str, NDArray], there: NDArray[np.bool_], gone: NDArray[np.bool_], values: NDArray[np.float64]) -> tuple[PositionValues, NDArray[np.int64]]:
    """What the positions of all orders add to equity, and whose they are; nothing where one is gone."""
    arrays, account = tiled(group, count)
    where = s["place"] + np.arange(count) * len(group.values.assets)
    patched, new = np.flatnonzero(there), np.flatnonzero(~there & ~gone)
    for x, v in zip(arrays, values, strict=True):
        x[where[patched]] = np.where(gone[patched], 0.0, v[patched])
    if len(new):
        arrays = [np.insert(x, where[new], v[new]) for x, v in zip(arrays, values, strict=True)]
        account = np.insert(account, where[new], s["account"][new] + new * len(group.book.accounts))
    return PositionValues(*arrays), account
