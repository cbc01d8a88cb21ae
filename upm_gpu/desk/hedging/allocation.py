"""Collateral over netting sets: where each asset is pledged so that the sets ask for least and none is short.

An account's sets n hold positions with cores m ES(base_n + sum_a y_an u_a): coins placed with a set hedge or add to its risk, other assets only count after their haircut. With own_n the value of the set's
options and futures gains, c_n its charges (as they stand) and h_a what of an asset counts,

  minimise  sum_n core_n + PRICE sum_n short_n   subject to  sum_n y_an = held_a,  core_n + c_n <= own_n + sum_a h_a y_an + short_n,  y, short >= 0,

a linear programme with the planes of each core (`hedge_programme.py`): solved, the true tails of its solution added, until the planes and the truth meet. The house itself margins all simulated collateral with the
blank netting set: that allocation is `before`. Cores are exact sums over the run's scenarios.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from upm_gpu.desk.change import Deposit, sub_book
from upm_gpu.desk.cube import Cube, exact_sum, row_of
from upm_gpu.desk.hedging.hedge_programme import Programme
from upm_gpu.desk.resident import Resident
from upm_gpu.desk.whatif import whatif
from upm_gpu.domain.book import Book, Collateral, Positions
from upm_gpu.errors import InputError
from upm_gpu.margin.collateral import posted_of
from upm_gpu.margin.result import account_equity
from upm_gpu.margin.units import build_rows, build_units

PRICE = 100.0
"""of a unit of shortfall against a unit of margin: no set is left short to save margin"""
ROUNDS = 60
TOLERANCE = 1e-6
"""of the cores: where planes and truth are taken to have met"""


@dataclass(frozen=True, eq=False)
class Allocation:
    """Of assets (M) over netting sets (N); money in the reporting currency."""

    account_id: str
    sets: tuple[str, ...]
    assets: tuple[str, ...]
    quantity: NDArray[np.float64]
    """(M, N)"""
    core: NDArray[np.float64]
    """(N,) with this allocation"""
    core_before: NDArray[np.float64]
    """(N,) with everything in the blank set, as the house margins it"""
    shortfall: NDArray[np.float64]
    """(N,) of each set's requirement, collateral and own value counted"""
    shortfall_before: NDArray[np.float64]
    bound: float
    """sum of cores that no allocation without more shortfall is below"""
    notes: tuple[str, ...]


def allocate(resident: Resident, account: str) -> Allocation:
    """The best allocation of what an account has posted over its netting sets.

    Raises InputError for an account that shares a set with others (a pool is not its own to arrange), or that has posted nothing, and what `whatif` raises.
    """
    plan, market = resident.plan, resident.plan.market
    before = next(a for a in whatif(resident, [[Deposit(account, market.reporting_currency, 1.0)]])[0] if a.account_id == account).before
    book = sub_book(plan.book, [resident.known.accounts[account]])
    if book.accounts[0].member_id and any(book.netting_sets[n] for n in book.positions.netting_set):
        raise InputError("UPM-IN-162", f"account {account!a} shares netting sets with the others of member {book.accounts[0].member_id!a}: how collateral stands there is not its own to arrange.")
    held = [n for n in range(len(book.collateral.asset)) if book.collateral.quantity[n] > 0.0]
    if not held:
        raise InputError("UPM-IN-162", f"account {account!a} has posted nothing, so there is nothing to allocate.")
    numbers = sorted({0, *(int(n) for n in book.positions.netting_set)})
    sets = [_Set.of(resident, book, n) for n in numbers]
    simulated = set(resident.coin_of)
    posted = posted_of(book, market, plan.methodology.collateral, simulated)
    assets = tuple(book.collateral.asset[n] for n in held)
    amount = book.collateral.quantity[held]
    counts = np.array([posted.counted[n] / posted.value[n] for n in held]) * np.array([posted.value[n] / book.collateral.quantity[n] for n in held])
    coin = [resident.coin_of.get(a) for a in assets]
    cube = resident.cubes[plan.horizon(plan.core.horizon)]
    programmes = [_programme(resident, s.base, cube, coin, amount) for s in sets]
    charges = np.zeros(len(sets))
    rest = float(before["initial_margin"]) - float(before["core"])
    own, debts = np.array([s.own for s in sets]), float(sum(min(posted.counted[n], 0.0) for n in range(len(posted.counted))))
    own[0] += debts
    blank = np.zeros((len(assets), len(sets)))
    blank[:, 0] = amount
    core_before = _cores(programmes, blank)
    charges[0] = rest
    best, bound = _solve(programmes, amount, counts, own - charges)
    core = _cores(programmes, best)
    short, short_before = (_short(c + charges, own + counts @ y) for c, y in ((core, best), (core_before, blank)))
    notes = []
    if before["equity"] < 0.0:
        notes.append(f"account {account} is bankrupt: its equity is {before['equity']:,.2f}, and where collateral stands moves no equity up.")
    if abs(rest) > 0.0:
        notes.append(f"charges of {rest:,.2f} are taken as they stand, with the blank set.")
    if len(sets) == 1:
        notes.append("the account has one netting set: all collateral stands with it.")
    return Allocation(account, tuple(book.netting_sets[n] for n in numbers), assets, best, core, core_before, short, short_before, bound, tuple(notes))


def _short(needed: NDArray[np.float64], there: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N,) what is lacking; rounding is none."""
    lacking = np.maximum(needed - there, 0.0)
    return np.where(lacking > TOLERANCE * np.maximum(np.abs(needed), 1.0), lacking, 0.0)


@dataclass(frozen=True, eq=False)
class _Set:
    base: NDArray[np.float64]
    """(S,) P&L of its positions, without collateral"""
    own: float
    """value of its options, spot and futures gains"""

    @classmethod
    def of(cls, resident: Resident, book: Book, number: int) -> _Set:
        p = book.positions
        mine = np.flatnonzero(p.netting_set == number)
        positions = Positions(*(getattr(p, f)[mine] for f in ("account", "netting_set", "instrument", "contracts", "quantity", "entry_quantity", "entry_cost")))
        part = replace(book, positions=positions, collateral=Collateral(np.zeros(0, np.int32), (), np.zeros(0)))
        plan = resident.plan
        units = build_units(part, plan.instruments, set())
        rows, _ = build_rows(units, plan.compiled)
        cube = resident.cubes[plan.horizon(plan.core.horizon)]
        base = np.zeros(cube.count)
        for r in range(rows.count):
            base = base + exact_sum(cube, row_of(rows, r))
        equity = account_equity(part, plan.market, posted_of(part, plan.market, plan.methodology.collateral, set()), resident.known.unit_value)
        return cls(base, float(equity.total[0]))


def _programme(resident: Resident, base: NDArray[np.float64], cube: Cube, coin: list[int | None], amount: NDArray[np.float64]) -> Programme:
    """The planes of one set's core as a function of the coins placed with it; an asset that does not move has size 0."""
    compiled = resident.plan.compiled
    column = np.array([0 if c is None else compiled.instrument_column[c] for c in coin], np.int64)
    size = np.array([0.0 if c is None else compiled.instrument_coefficient[c] for c in coin])
    none = np.zeros(len(amount))
    return Programme(cube, base, resident.plan.core.level, column, size, none, amount, none, np.ones(len(amount)), resident.plan.methodology.core.multiplier)


def _cores(programmes: list[Programme], quantity: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N,) exact cores of an allocation (M, N); its planes are added."""
    return np.array([p.multiplier * max(p.plane(quantity[:, n], p.pnl(quantity[:, n])), 0.0) for n, p in enumerate(programmes)])


def _solve(programmes: list[Programme], amount: NDArray[np.float64], counts: NDArray[np.float64], room: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    """((M, N), least sum of cores by the planes)."""
    from scipy.optimize import linprog

    m, n = len(amount), len(programmes)
    size = m * n  # then cores, then shortfalls
    best, least, found_best = np.zeros((m, n)), 0.0, np.inf
    for _ in range(ROUNDS):
        rows, right = [], []
        for s, p in enumerate(programmes):
            for value, gradient in p.planes:
                row = np.zeros(size + 2 * n)
                row[s * m : (s + 1) * m] = p.multiplier * gradient * amount
                row[size + s] = -1.0
                rows.append(row)
                right.append(-p.multiplier * value)
            row = np.zeros(size + 2 * n)
            row[s * m : (s + 1) * m] = -counts * amount
            row[size + s], row[size + n + s] = 1.0, -1.0
            rows.append(row)
            right.append(float(room[s]))
        whole = np.hstack([np.tile(np.eye(m), n), np.zeros((m, 2 * n))])
        cost = np.concatenate([np.zeros(size), np.ones(n), np.full(n, PRICE)])
        found = linprog(cost, A_ub=np.array(rows), b_ub=np.array(right), A_eq=whole, b_eq=np.ones(m), bounds=[(0.0, None)] * (size + 2 * n), method="highs")
        if found.x is None:
            raise ArithmeticError(f"the linear programme of an allocation ended without a solution: {found.message}")
        quantity = (found.x[:size].reshape(n, m) * amount).T
        cores = _cores(programmes, quantity)
        true = float(np.sum(cores) + PRICE * np.sum(np.maximum(cores - room - counts @ quantity, 0.0)))
        if true < found_best:
            found_best, best = true, quantity
        least = float(np.sum(found.x[size : size + n]))
        if found_best - float(found.fun) <= TOLERANCE * max(found_best, 1.0):
            break
    return best, least

