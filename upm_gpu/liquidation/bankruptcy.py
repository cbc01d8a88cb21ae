"""The bankruptcy price: the move of all prices at which an account has no equity left.

  equity + P&L(every price x (1 + m)) = 0,   m nearest to 0, volatilities still

solved on the engine's own prices: a grid of moves for all accounts at once, then halving between the two moves where the sign changes. For one linear perpetual long at entry p with collateral c
for each unit it is the textbook's p - c, for any book the same thing without a formula. An account that has none today is bankrupt at a move of 0. None where no move between
LOWEST and HIGHEST takes all.
Verified by tests/end_to_end/test_liquidation.py against closed forms.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from upm_gpu.liquidation.case import Case
from upm_gpu.liquidation.coverage import Coverage
from upm_gpu.liquidation.holdings import hold
from upm_gpu.liquidation.world import Ground, gains, given_states
from upm_gpu.margin.units import sum_by

LOWEST, HIGHEST = -0.95, 3.0
GRID = 64
"""moves, evenly in their logarithm: some 4 % apart"""
HALVINGS = 24
"""of a grid step: moves to 4e-9"""


def bankruptcy_moves(case: Case, ground: Ground, chosen: list[int]) -> list[float | None]:
    """Relative moves of all prices from the valuation time, for parties by number."""
    if not chosen:
        return []
    wide = replace(ground, coverage=Coverage(ground.choice, ground.coverage.shelf))  # value tables over the whole grid, once
    ends = np.stack([wide.today.shift(np.full(len(ground.underlyings), np.log1p(m)), np.zeros(len(ground.underlyings))) for m in (LOWEST, HIGHEST)], axis=1)
    wide.coverage.anchor(case.now, [given_states(case.now, ends[None])])
    still = wide.today
    holdings, units, count = hold(case.plan.units, case.plan.instruments), len(case.plan.units.names), len(case.parties.names)
    none = np.zeros(len(ground.underlyings))

    def values(moves: NDArray[np.float64]) -> NDArray[np.float64]:
        """(N, S) at log moves (S,)."""
        return still.values([still.shift(none + m, none) for m in moves.tolist()])

    grid = np.sort(np.append(np.linspace(np.log1p(LOWEST), np.log1p(HIGHEST), GRID), 0.0))
    left = np.stack([case.equity + sum_by(case.parties.of_unit, gains(holdings, v, units), count) for v in values(grid).T], axis=1)[chosen]
    brackets = [_bracket(grid, row) for row in left]
    low, high = (np.array([0.0 if b is None else b[k] for b in brackets]) for k in (0, 1))
    place = np.full(count, -1, np.int64)
    place[chosen] = np.arange(len(chosen))
    of_line = place[case.parties.of_unit[holdings.unit]]
    own = np.flatnonzero(of_line >= 0)
    of_line, instrument, quantity = of_line[own], holdings.instrument[own], holdings.quantity(own)
    for _ in range(HALVINGS):
        middle = 0.5 * (low + high)
        # every account at its own move: only its own column is summed
        solvent = case.equity[chosen] + sum_by(of_line, quantity * values(middle)[instrument, of_line], len(chosen)) > 0.0
        low, high = np.where(solvent, middle, low), np.where(solvent, high, middle)
    return [None if b is None else float(np.expm1(m)) for b, m in zip(brackets, high.tolist(), strict=True)]


def _bracket(grid: NDArray[np.float64], equity: NDArray[np.float64]) -> tuple[float, float] | None:
    """(solvent, bankrupt) neighbours nearest to no move; None where there are none."""
    at = int(np.flatnonzero(grid == 0.0)[0])
    if equity[at] <= 0.0:
        return 0.0, 0.0
    found = []
    for direction in (-1, 1):
        k = at
        while 0 <= k + direction < len(grid):
            if equity[k + direction] <= 0.0:
                found.append((float(grid[k]), float(grid[k + direction])))
                break
            k += direction
    return min(found, key=lambda b: abs(b[1])) if found else None
