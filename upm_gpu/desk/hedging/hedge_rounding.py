"""From the cheapest trades to orders: whole steps, few of them, and the best hedge with one instrument to be measured against.

Rounded: among the instruments that the linear programme looked at, the same planes with whole numbers of lots (HiGHS branch and bound), planes added until the true expected shortfall of what
it gives is inside the target. A cost a ticket or a largest number of trades adds a yes-or-no an instrument.

One instrument: the left side is convex in its contracts, so Newton's steps from the side of zero never overshoot; instruments are taken in the order of what the planes say they cost at least,
until that is more than the best found.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from upm_gpu.desk.hedging.hedge_programme import Programme
from upm_gpu.risk.measures import tail_size

NODES = 100
"""of branch and bound at most: a count and not a time, so that the same question has the same answer"""
MIP_GAP = 1e-3
AGAIN = 40
"""planes added to a rounded programme at most"""
SLACK = 1e-7
"""of the margin before: what the linear programme's own tolerance may miss the target by"""


def rounded(p: Programme, target: float, kappa: float, candidates: NDArray[np.int64], ticket: float = 0.0, trades: int = 0, again: int = AGAIN) -> NDArray[np.float64] | None:
    """(J,) contracts in whole lots inside the target at the least cost plus `ticket` a trade, at most `trades` of them (0: any number); None where there are none."""
    if not len(candidates):
        return None
    slack = SLACK * max(p.multiplier * p.shortfall(p.base), 1.0)
    for _ in range(again):
        found = _whole(p, target - slack, kappa, candidates, ticket, trades)
        if found is None:
            return None
        pnl = p.pnl(found)
        if p.multiplier * max(p.plane(found, pnl), 0.0) + p.left(found, kappa) <= target:
            return found
    return None


def _whole(p: Programme, target: float, kappa: float, candidates: NDArray[np.int64], ticket: float, trades: int) -> NDArray[np.float64] | None:
    from scipy.optimize import Bounds, LinearConstraint, milp

    j, n = candidates, len(candidates)
    lot, cost = p.lot[j], p.cost[j]
    yes = n if ticket > 0.0 or trades > 0 else 0
    rows = [np.concatenate([(p.multiplier * g[j] + kappa * cost) * lot, (-p.multiplier * g[j] + kappa * cost) * lot, np.zeros(yes)]) for _, g in p.planes]
    right = [target - p.multiplier * v for v, _ in p.planes]
    if kappa > 0.0:
        rows.append(np.concatenate([kappa * cost * lot, kappa * cost * lot, np.zeros(yes)]))
        right.append(target)
    most = np.concatenate([np.floor(p.buy[j] / lot + 1e-9), np.floor(p.sell[j] / lot + 1e-9)])
    if yes:
        eye = np.eye(n)
        both = np.maximum(most[:n], most[n:])
        rows += list(np.hstack([eye, eye, -np.diag(both)]))
        right += [0.0] * n
        if trades > 0:
            rows.append(np.concatenate([np.zeros(2 * n), np.ones(n)]))
            right.append(float(trades))
    table, limit = np.array(rows), np.array(right)
    weight = np.maximum(np.max(np.abs(table), axis=1), 1e-300)  # rows of one size: a tolerance is then one of the margin
    found = milp(np.concatenate([cost * lot, cost * lot, np.full(yes, ticket)]), integrality=np.ones(2 * n + yes), bounds=Bounds(0.0, np.concatenate([most, np.ones(yes)])),
                 constraints=LinearConstraint(table / weight[:, None], -np.inf, limit / weight), options={"node_limit": NODES, "mip_rel_gap": MIP_GAP})
    if found.x is None:
        return None
    lots = np.round(found.x[:n]) - np.round(found.x[n : 2 * n])
    out = np.zeros(len(p.column))
    out[j] = np.round(lots * lot, 10)  # 12 steps of 0.1 are 1.2
    return out


def best_single(p: Programme, target: float, kappa: float) -> NDArray[np.float64] | None:
    """(J,) contracts, one of them not 0: the cheapest trade in one instrument that reaches the target; None where no single one does."""
    bound = np.concatenate([least_rays(p, target, kappa, 1.0), least_rays(p, target, kappa, -1.0)])
    count, best, cost = len(p.column), None, math.inf
    at_least = bound * np.tile(p.cost, 2)
    for place in np.argsort(at_least, kind="stable").tolist():
        if not at_least[place] < cost:
            break
        j, side = place % count, 1.0 if place < count else -1.0
        contracts = _ray(p, target, kappa, j, side, float(bound[place]))
        if contracts is not None and contracts * p.cost[j] < cost:
            cost, best = contracts * p.cost[j], np.zeros(count)
            best[j] = side * contracts
    return best


def least_rays(p: Programme, target: float, kappa: float, side: float) -> NDArray[np.float64]:
    """(J,) contracts of each instrument alone that the planes ask for at least; infinite where they allow none."""
    limit = p.buy if side > 0.0 else p.sell
    low, high = np.zeros(len(p.column)), limit.copy()
    for value, gradient in p.planes:
        slope = side * p.multiplier * gradient + kappa * p.cost
        room = target - p.multiplier * value
        with np.errstate(divide="ignore", invalid="ignore"):
            reach = room / slope
        low = np.where(slope < 0.0, np.maximum(low, reach), np.where((slope == 0.0) & (room < 0.0), np.inf, low))
        high = np.where(slope > 0.0, np.minimum(high, reach), high)
    return np.where((low <= high * (1.0 + 1e-12)) & (limit > 0.0), low, np.inf)


def _ray(p: Programme, target: float, kappa: float, j: int, side: float, start: float) -> float | None:
    """Whole lots of one instrument, the fewest that reach the target."""
    lot, limit = float(p.lot[j]), float((p.buy if side > 0.0 else p.sell)[j])
    unit = p.cube.unit[p.column[j]].astype(np.float64) * (side * p.size[j])
    k = tail_size(len(unit), p.level)
    whole = min(int(np.floor(k)), len(unit) - 1)
    contracts = start
    for _ in range(60):  # Newton on a convex function of finitely many pieces: some ten steps
        rounded_up = math.ceil(contracts / lot - 1e-9) * lot
        if rounded_up > limit * (1.0 + 1e-12):
            return None
        pnl = p.base + rounded_up * unit
        ids = np.argpartition(pnl, whole)[: whole + 1]
        weight = np.full(len(ids), 1.0 / k)
        weight[np.argmax(pnl[ids])] = (k - whole) / k
        fixed = kappa * float(p.cost[j])
        value = p.multiplier * max(-float(pnl[ids] @ weight), 0.0) + fixed * rounded_up
        if value <= target:
            return rounded_up
        slope = -p.multiplier * float(unit[ids] @ weight) + fixed
        if slope >= 0.0:
            return None
        contracts = max(rounded_up + (target - value) / slope, rounded_up + lot)
    return None
