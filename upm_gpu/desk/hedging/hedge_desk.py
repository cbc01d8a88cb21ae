"""An account at the desk as a hedge sees it: what may be traded, how the programme's margin and the true one answer, and the goal as a bound."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from upm_gpu.desk.answers import Answer
from upm_gpu.desk.change import Change, Deposit, Order
from upm_gpu.desk.cube import exact_sum, row_of
from upm_gpu.desk.hedging.hedge_programme import Programme, Solution
from upm_gpu.desk.hedging.hedge_rounding import rounded
from upm_gpu.desk.hedging.trading import Tradable, Trading, held_contracts, tradable
from upm_gpu.desk.resident import Resident
from upm_gpu.desk.whatif import whatif

NEARLY = 0.005
"""of the relief: what whole lots may miss of the least margin that can be had"""
FEW = 6
"""planes added while the trades nearest to a goal out of reach are rounded"""


@dataclass(frozen=True)
class Goal:
    """What the trades must do; one of the three."""

    free: float | None = None
    """initial margin lower by this much, reporting currency"""
    ratio: float | None = None
    """equity, after costs, at least this many times the maintenance margin"""
    passes: bool = False
    """equity, after costs, covers the initial margin"""


@dataclass(frozen=True)
class Trade:
    """One order; money in the reporting currency."""

    instrument_id: str
    contracts: float
    half_spread: float
    fee: float
    limit: float
    """contracts, of an order in this direction"""

    @property
    def cost(self) -> float:
        """Half spread and fee."""
        return self.half_spread + self.fee


@dataclass(frozen=True)
class Hedge:
    """Trades with what an exact what-if says of them."""

    trades: tuple[Trade, ...]
    cost: float
    changes: tuple[Change, ...]
    """the trade set that was asked: orders, and the cost withdrawn from cash"""
    answer: Answer | None
    """None where nothing is traded"""


@dataclass(frozen=True)
class Target:
    """The goal as a bound on initial margin + kappa x cost."""

    bound: float
    kappa: float
    share: float
    """equity over this is what the initial margin may be; 0: the bound is an amount"""

    @classmethod
    def of(cls, goal: Goal, before: dict[str, Any], maintenance: float) -> Target:
        if goal.free is not None:
            return cls(float(before["initial_margin"]) - goal.free, 0.0, 0.0)
        share = 1.0 if goal.ratio is None else goal.ratio * maintenance
        return cls(float(before["equity"]) / share, 1.0 / share, share)

    def room(self, figures: dict[str, Any]) -> float:
        """By how much the margin is inside the goal; negative: outside. `figures` are columns of margin.csv, costs paid."""
        most = float(figures["equity"]) / self.share if self.share > 0.0 else self.bound
        return most - float(figures["initial_margin"])


@dataclass(eq=False)
class Desk:
    """An account at the desk: what it may trade and how its margin answers."""

    resident: Resident
    account: str
    netting_set: str
    unit: int | None
    """that orders join; None where it has no line yet"""
    market: Tradable
    programme: Programme
    before: dict[str, Any]
    held: NDArray[np.float64]
    """(J,) contracts held"""
    alone: bool
    """in the netting set"""
    plain: bool
    """the core is a plain expected shortfall"""
    notes: tuple[str, ...]

    @classmethod
    def of(cls, resident: Resident, account: str, netting_set: str, trading: Trading, only: Sequence[str]) -> Desk:
        plan, currency = resident.plan, resident.plan.market.reporting_currency
        before = next(a for a in whatif(resident, [[Deposit(account, currency, 1.0)]])[0] if a.account_id == account).before
        market = tradable(resident, account, netting_set, trading, only)
        market = _chosen(market, np.flatnonzero((market.buy > 0.0) | (market.sell > 0.0)))
        unit, alone = _unit(resident, account, netting_set)
        horizon, core, compiled = plan.horizon(plan.core.horizon), plan.methodology.core, plan.compiled
        cube = resident.cubes[horizon]
        base = np.zeros(cube.count) if unit is None else exact_sum(cube, row_of(plan.rows, unit))
        size = compiled.instrument_coefficient[market.place] * np.array([i.contract_size for i in market.instruments], np.float64)
        programme = Programme(cube, base, plan.core.level, compiled.instrument_column[market.place].astype(np.int64), size, market.cost, market.buy, market.sell, market.lot, core.multiplier)
        plain = core.measure == "expected_shortfall" and core.estimator == "plain"
        notes = []
        if before["equity"] < 0.0:
            notes.append(f"account {account} is bankrupt: its equity is {before['equity']:,.2f}, and no trade moves equity up.")
        if not alone:
            notes.append("the account shares this netting set with others: its margin is its Euler share of the pool, so no bound on the cost is proved.")
        elif not plain:
            notes.append("the core is not a plain expected shortfall: the programme reduces that, exact what-ifs decide, and no bound on the cost is proved.")
        held = held_contracts(resident, account, netting_set)
        own = np.array([held.get(name, 0.0) for name in market.names], np.float64)
        return cls(resident, account, netting_set, unit, market, programme, before, own, alone, plain, tuple(notes))

    @property
    def proved(self) -> bool:
        """Whether the margin is a constant and one plain expected shortfall."""
        return self.alone and self.plain and not self.resident.charges

    def hedges(self, many: Sequence[NDArray[np.float64]]) -> list[Hedge]:
        """Exact answers of several sets of contracts (J,) each."""
        asked = []
        for contracts in many:
            traded = np.flatnonzero(contracts).tolist()
            trades = tuple(Trade(self.market.names[j], float(contracts[j]), float(abs(contracts[j]) * self.market.half_spread[j]), float(abs(contracts[j]) * self.market.fee[j]),
                                 float(self.market.buy[j] if contracts[j] > 0.0 else self.market.sell[j])) for j in traded)
            cost = float(sum(t.cost for t in trades))
            changes: list[Change] = [Order(self.account, t.instrument_id, t.contracts, self.netting_set) for t in trades]
            if cost > 0.0:
                changes.append(Deposit(self.account, self.resident.plan.market.reporting_currency, -cost))
            asked.append((trades, cost, tuple(changes)))
        sets = [list(c) for _, _, c in asked if c]
        answers = iter(whatif(self.resident, sets) if sets else [])
        return [Hedge(t, cost, c, next(a for a in next(answers) if a.account_id == self.account) if c else None) for t, cost, c in asked]

    def figures(self, hedge: Hedge) -> dict[str, Any]:
        """Columns of margin.csv after a hedge."""
        return after(hedge, self.before)

    def passes(self, hedge: Hedge, target: Target) -> bool:
        """Whether the desk says that the goal is met."""
        return target.room(after(hedge, self.before)) >= 0.0

    def rest(self, contracts: NDArray[np.float64], hedge: Hedge) -> float:
        """What the true initial margin holds beside the programme's core and slopes."""
        return float(after(hedge, self.before)["initial_margin"]) - self.programme.value(contracts, 0.0)

    def nearest(self, solution: Solution, target: Target) -> Hedge:
        """The trades that come nearest to a goal out of reach, in whole lots, as the desk answers them."""
        lot = self.programme.lot
        p = self.programme
        whole = np.round(np.trunc(solution.contracts / lot + np.sign(solution.contracts) * 1e-9) * lot, 10)
        near = np.round(np.clip(np.round(solution.contracts / lot) * lot, -p.sell, p.buy), 10)
        start = p.value(np.zeros(len(lot)), 0.0)
        inside = rounded(p, solution.value + NEARLY * max(start - solution.value, 0.0), target.kappa, np.flatnonzero(np.abs(solution.contracts) > 1e-9 * lot), again=FEW)
        found = self.hedges([*(np.asarray(x, np.float64) for x in (whole, near, np.zeros(len(lot)))), *([] if inside is None else [inside])])
        return max(found, key=lambda h: (target.room(after(h, self.before)), -h.cost))


def _chosen(market: Tradable, kept: NDArray[np.intp]) -> Tradable:
    return Tradable(tuple(market.instruments[j] for j in kept.tolist()), market.place[kept], market.half_spread[kept], market.fee[kept], market.buy[kept], market.sell[kept], market.lot[kept])


def _unit(resident: Resident, account: str, netting_set: str) -> tuple[int | None, bool]:
    """(the unit that an order in a netting set joins, None where it has no line yet; whether the account is alone in it)."""
    book, units = resident.plan.book, resident.plan.units
    holder = book.accounts[resident.known.accounts[account]]
    pooled = bool(netting_set and holder.member_id)
    lines = units.lines
    for u, (member, name) in enumerate(zip(units.member, units.netting_set, strict=True)):
        if name != netting_set or member != (holder.member_id if pooled else ""):
            continue
        accounts = np.unique(lines.account[lines.unit == u])
        if pooled or (len(accounts) == 1 and accounts[0] == resident.known.accounts[account]):
            return u, not pooled or set(accounts.tolist()) <= {resident.known.accounts[account]}
    return None, not pooled


def after(hedge: Hedge, before: dict[str, Any]) -> dict[str, Any]:
    """Columns of margin.csv once it is done."""
    return before if hedge.answer is None else hedge.answer.after
