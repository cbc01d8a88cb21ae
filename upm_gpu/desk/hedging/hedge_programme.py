"""The cheapest trades that bring expected shortfall down to a target, over resident scenarios: a linear programme made exact by cutting planes.

  minimise  c'(b + s)  subject to  m ES(x) + kappa c'(b + s) <= T,  x = b - s,  0 <= b <= buy,  0 <= s <= sell,

x contracts (J,), c cost a contract, ES the shortfall of base + sum_j x_j u_j. Rockafellar and Uryasev ("Optimization of conditional value-at-risk", Journal of Risk 2, 2000) write it as a linear programme with a variable a
scenario. ES is the largest of the means over tails of k scenarios, each linear in x, so the same programme is one constraint a tail, and only the tails that matter are
ever written (Kuenzi-Bay and Mayer, "Computational aspects of minimizing conditional value-at-risk", Computational Management Science 3, 2006): solve, find the true tail of the solution, add its plane

  ES(x) >= ES(x_n) + g_n'(x - x_n),   g_n = -(1/k) sum over the tail of x_n of u,

again where the line from the solution to a point inside the target meets the target (a supporting plane there cuts deeper). Each solution costs no more than the best trades do: a lower bound; the point
on the line is allowed: an upper bound. Their difference is the gap. Where the target cannot be reached, a shortfall priced at `PRICE` takes up the slack and the least margin is found instead.

Verified by tests/properties/test_hedge.py against the full programme with a variable a scenario.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from upm_gpu.desk.cube import PIECE, Cube
from upm_gpu.desk.hedging.hedge_blocks import tail_weights
from upm_gpu.risk.measures import tail_size

PRICE = 100.0
"""of a unit of margin above the target: relief that costs more than a hundred times itself counts as none"""
ROUNDS = 120
"""planes come in pairs, so some 240; HiGHS solves such a programme of 3,000 variables in tens of milliseconds"""
TOLERANCE = 1e-3
"""relative gap at which the search ends; contracts are rounded by more"""
INSIDE = 0.05
"""share of the relief by which the first target is tightened: it is met from inside after few planes"""
HALVINGS = 24


@dataclass(eq=False)
class Programme:
    """One row of the book and what may be traded against it."""

    cube: Cube
    base: NDArray[np.float64]
    """(S,) P&L before"""
    level: float
    column: NDArray[np.int64]
    """(J,) column of each instrument"""
    size: NDArray[np.float64]
    """(J,) units of its column a contract"""
    cost: NDArray[np.float64]
    buy: NDArray[np.float64]
    sell: NDArray[np.float64]
    """(J,) contracts, at least 0"""
    lot: NDArray[np.float64]
    multiplier: float = 1.0
    """m"""
    planes: list[tuple[float, NDArray[np.float64]]] = field(default_factory=list)
    """of ES: value at x = 0 and gradient (J,)"""

    def pnl(self, contracts: NDArray[np.float64]) -> NDArray[np.float64]:
        """(S,) of the row after trades."""
        out = self.base.copy()
        traded = np.flatnonzero(contracts)
        for first in range(0, len(out), PIECE):
            part = slice(first, first + PIECE)
            for j in traded.tolist():
                out[part] += self.cube.unit[self.column[j], part] * (contracts[j] * self.size[j])
        return out

    def shortfall(self, pnl: NDArray[np.float64]) -> float:
        """ES of a row's P&L."""
        k = tail_size(len(pnl), self.level)
        whole = int(np.floor(k))
        worst = np.partition(pnl, whole)[: whole + 1] if whole < len(pnl) else pnl
        return -float((np.sum(worst[:whole]) + (k - whole) * worst[whole]) / k) if whole < len(pnl) else -float(np.mean(pnl))

    def plane(self, contracts: NDArray[np.float64], pnl: NDArray[np.float64]) -> float:
        """Add the plane of ES at a point; its ES."""
        ids, weight = tail_weights(pnl, self.level)
        distinct, where = np.unique(self.column, return_inverse=True)
        mean = np.array([self.cube.unit[c].take(ids).astype(np.float64) @ weight for c in distinct.tolist()])
        gradient = -mean[where] * self.size
        value = -float(pnl[ids] @ weight)
        self.planes.append((value - float(gradient @ contracts), gradient))
        return value

    def left(self, contracts: NDArray[np.float64], kappa: float) -> float:
        """kappa c'(b + s)."""
        return kappa * float(self.cost @ np.abs(contracts))

    def value(self, contracts: NDArray[np.float64], kappa: float) -> float:
        """The left side of the constraint, m ES floored at 0 as a core is."""
        return self.multiplier * max(self.shortfall(self.pnl(contracts)), 0.0) + self.left(contracts, kappa)


@dataclass(frozen=True)
class Solution:
    """The best trades found, whole contracts or not."""

    contracts: NDArray[np.float64]
    """(J,)"""
    cost: float
    bound: float
    """no trades that reach the target cost less; where none do: the least left side is at least this"""
    reached: bool
    value: float
    """left side of the constraint"""
    rounds: int


def solve(p: Programme, target: float, kappa: float = 0.0, rounds: int = ROUNDS, tolerance: float = TOLERANCE) -> Solution:
    """The cheapest trades, not rounded; `target` is T, at least 0. Deterministic: no clock ends it."""
    nothing = np.zeros(len(p.column))
    start = p.multiplier * max(p.plane(nothing, p.base), 0.0) + p.left(nothing, kappa)
    if start <= target or not len(p.column):
        return Solution(nothing, 0.0, 0.0 if start <= target else start, start <= target, start, 0)
    inside, least, n = _reach(p, target, kappa, start, rounds, tolerance)
    if inside.value > target:
        return Solution(inside.contracts, inside.cost, max(least, 0.0), False, inside.value, n)
    bound, best = 0.0, inside
    while n < rounds and best.cost - bound > tolerance * best.cost:
        n += 1
        found, _ = _linear(p, target, kappa, target)
        point, pnl = _at(p, found, kappa)
        bound = max(bound, point.cost)
        if point.value <= target:
            best = point
            break
        edge, edge_pnl = _edge(p, found, pnl, inside.contracts, target, kappa)
        p.plane(edge, edge_pnl)
        cost = float(p.cost @ np.abs(edge))
        if cost < best.cost:
            best = _Point(edge, cost, target)
    return Solution(best.contracts, best.cost, min(bound, best.cost), True, p.value(best.contracts, kappa), n)


@dataclass(frozen=True)
class _Point:
    contracts: NDArray[np.float64]
    cost: float
    value: float


def _at(p: Programme, contracts: NDArray[np.float64], kappa: float) -> tuple[_Point, NDArray[np.float64]]:
    """The left side at some trades, whose plane is added, and the P&L there."""
    pnl = p.pnl(contracts)
    value = p.multiplier * max(p.plane(contracts, pnl), 0.0) + p.left(contracts, kappa)
    return _Point(contracts, float(p.cost @ np.abs(contracts)), value), pnl


def _reach(p: Programme, target: float, kappa: float, start: float, rounds: int, tolerance: float) -> tuple[_Point, float, int]:
    """(trades that meet the target from inside, or the least left side found; what it is at least; solutions)."""
    tight = target - INSIDE * (start - target)
    best, least = _Point(np.zeros(len(p.column)), 0.0, start), -np.inf
    for n in range(1, rounds + 1):
        found, short = _linear(p, tight, kappa, target)
        least = max(least, tight + short)
        point, _ = _at(p, found, kappa)
        if point.value < best.value:
            best = point
        if best.value <= target or (least > target and best.value - least <= tolerance * max(start - least, 0.0)):
            return best, least, n
    return best, least, rounds


def _linear(p: Programme, target: float, kappa: float, floor: float) -> tuple[NDArray[np.float64], float]:
    """(contracts, margin above the target) of the programme of the planes so far; with ES at 0 the left side must not be above `floor`."""
    from scipy.optimize import linprog

    count, money = len(p.column), np.concatenate([p.cost, p.cost])
    scale = np.tile(np.where(p.cost > 0.0, 1.0 / np.maximum(p.cost, 1e-300), 1.0), 2)  # variables in money, so that contracts of 1 USD and of a coin meet at one size
    # bought, sold, margin above the target
    rows = [np.concatenate([(p.multiplier * np.concatenate([g, -g]) + kappa * money) * scale, [-1.0]]) for _, g in p.planes]
    right = [target - p.multiplier * v for v, _ in p.planes]
    if kappa > 0.0:
        rows.append(np.concatenate([kappa * money * scale, [-1.0]]))
        right.append(floor)
    most = np.concatenate([np.concatenate([p.buy, p.sell]) / scale, [np.inf]])
    prices = np.concatenate([money * scale, [PRICE]])
    bounds = np.stack([np.zeros(2 * count + 1), most], 1)
    found = linprog(prices, A_ub=np.array(rows), b_ub=np.array(right), bounds=bounds, method="highs")
    if found.x is None:  # never for want of a solution: the slack takes any target
        raise ArithmeticError(f"the linear programme of a hedge ended without a solution: {found.message}")
    return (found.x[:count] - found.x[count : 2 * count]) * scale[:count], float(found.x[2 * count])


def _edge(p: Programme, outside: NDArray[np.float64], outside_pnl: NDArray[np.float64], inside: NDArray[np.float64], target: float,
          kappa: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The allowed point nearest to `outside` on the line to `inside`, and its P&L."""
    inside_pnl = p.pnl(inside)
    low, high = 0.0, 1.0  # share of `inside`
    for _ in range(HALVINGS):
        share = 0.5 * (low + high)
        pnl = (1.0 - share) * outside_pnl + share * inside_pnl
        contracts = (1.0 - share) * outside + share * inside
        if p.multiplier * max(p.shortfall(pnl), 0.0) + p.left(contracts, kappa) <= target:
            high = share
        else:
            low = share
        if high - low < 1e-4:
            break
    return (1.0 - high) * outside + high * inside, (1.0 - high) * outside_pnl + high * inside_pnl
