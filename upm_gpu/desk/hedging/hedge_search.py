"""The search for the cheapest hedge where the margin is a core, or nearly: programme, whole lots, exact what-if, and again with what the what-if said.

Verified by tests/properties/test_hedge.py.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from upm_gpu.desk.hedging.hedge_desk import Desk, Hedge, Target
from upm_gpu.desk.hedging.hedge_programme import Programme, Solution, solve
from upm_gpu.desk.hedging.hedge_rounding import best_single, rounded

ATTEMPTS = 6
"""programmes solved at most while the rest of the margin moves with the trades"""
NEAR = 1e-6
"""of the margin before: a rest that moved less is settled"""


@dataclass(frozen=True)
class Found:
    """What a search has to say."""

    passing: list[Hedge]
    """that an exact what-if passes"""
    single: Hedge | None
    nearest: Hedge | None
    """where none passes"""
    bound: float | None = None
    """no trades that reach the goal cost less; None where that is not proved"""
    least: float | None = None
    """where none passes: no trades bring the initial margin below this; None where that is not proved"""
    notes: tuple[str, ...] = ()


def search(desk: Desk, target: Target, ticket: float, trades: int) -> Found:
    """Programme, rounding, exact what-if, again with what the what-if said."""
    p = desk.programme
    nothing = np.zeros(len(p.column))
    rest = float(desk.before["initial_margin"]) - p.value(nothing, 0.0)
    passing: list[Hedge] = []
    for attempt in range(ATTEMPTS):
        solution = solved(p, target.bound - rest, target.kappa)
        if not solution.reached and (desk.proved or attempt == ATTEMPTS - 1):
            break
        contracts = _rounded(p, solution, target.bound - rest, target.kappa, ticket, trades) if solution.reached else solution.contracts
        if contracts is None:
            break
        (hedge,) = desk.hedges([contracts])
        if hedge.answer is not None and target.room(hedge.answer.after) >= 0.0 and (not trades or len(hedge.trades) <= trades):
            passing.append(pruned(desk, target, contracts, hedge))
        found = desk.rest(contracts, hedge)
        if abs(found - rest) <= NEAR * max(float(desk.before["initial_margin"]), 1.0) and passing:
            break
        rest = found if passing or found > rest else rest + NEAR * max(float(desk.before["initial_margin"]), 1.0)
    single = _single(desk, target, rest)
    if single is not None:
        passing.append(single)
    if passing:
        return Found(passing, single, None, solution.bound if desk.proved and solution.reached else None)
    return Found(passing, single, desk.nearest(solution, target), None, solution.bound + rest if desk.proved else None)


def solved(p: Programme, target: float, kappa: float) -> Solution:
    """A core is never below 0: a target that is goes unreached, at the best that can be had."""
    if target >= 0.0:
        return solve(p, target, kappa)
    found = solve(p, 0.0, kappa)
    return replace(found, reached=False, bound=0.0 if found.reached else found.bound)


def _rounded(p: Programme, solution: Solution, target: float, kappa: float, ticket: float, trades: int) -> NDArray[np.float64] | None:
    """Whole lots among the instruments that the solution trades and the best single ones."""
    candidates = np.flatnonzero(np.abs(solution.contracts) > 1e-9 * p.lot)
    single = best_single(p, target, kappa)
    if single is not None:
        candidates = np.union1d(candidates, np.flatnonzero(single))
    if trades and len(candidates) > trades:  # with few trades the best are not those of many
        size = np.argsort(-np.abs(p.planes[0][1]) / np.maximum(p.cost, 1e-12), kind="stable")[: 4 * trades]
        candidates = np.union1d(candidates, size)
    return rounded(p, target, kappa, candidates, ticket, trades)


def pruned(desk: Desk, target: Target, contracts: NDArray[np.float64], hedge: Hedge) -> Hedge:
    """Without the trades that the goal does not need: one by one, the dearest first, each by an exact what-if."""
    while len(hedge.trades) > 1:
        traded = np.flatnonzero(contracts)
        fewer = [np.where(np.arange(len(contracts)) == j, 0.0, contracts) for j in traded.tolist()]
        answers = desk.hedges(fewer)
        good = [n for n, h in enumerate(answers) if h.answer is not None and target.room(h.answer.after) >= 0.0]
        if not good:
            return hedge
        n = min(good, key=lambda i: answers[i].cost)
        contracts, hedge = fewer[n], answers[n]
    return hedge


def _single(desk: Desk, target: Target, rest: float) -> Hedge | None:
    """The cheapest single trade that an exact what-if passes, the rest of the margin brought up to date as it moves."""
    p = desk.programme
    for _ in range(ATTEMPTS):
        if target.bound - rest < 0.0 or (contracts := best_single(p, target.bound - rest, target.kappa)) is None:
            return None
        (hedge,) = desk.hedges([contracts])
        if hedge.answer is not None and target.room(hedge.answer.after) >= 0.0:
            return hedge
        found = desk.rest(contracts, hedge)
        rest = found if found > rest else rest + NEAR * max(float(desk.before["initial_margin"]), 1.0)
    return None


