"""The search for the cheapest hedge where charges move with the trades: successive linear programmes, held to exact what-ifs.

Charges are functions of holdings, further scenario sets and given moves: no plane bounds them. Around the trades so far their slopes are asked of the desk, contract up and contract down, for the positions
held (to be closed), for what the core alone would trade and for what frees most core a cost; those instruments are the programme's. Its solution is a direction: the desk is asked along the line to it, the
nearest point that passes is kept, and slopes are taken again there, until nothing cheaper is found. Exact what-ifs decide at every step, so an answer holds as any other; that there is no cheaper one is not proved.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from upm_gpu.desk.hedging.hedge_desk import Desk, Hedge, Target
from upm_gpu.desk.hedging.hedge_programme import Programme, Rest, Solution, solve
from upm_gpu.desk.hedging.hedge_search import Found, pruned

LOOKED = 64
"""instruments beside those held whose slopes are asked: what frees most core for its cost"""
HELD = 64
"""positions, the largest by core and charges at stake, whose closing is looked at"""
STEPS = 7
"""programmes at most"""
FINE = 24
"""points along a line, asked at once"""
SINGLES = 24
"""instruments whose single trade is tried, in the order of what their slopes say they cost"""
SHARE = 0.02
"""of an order's limit: the step of a slope, at least one lot"""


def search_charged(desk: Desk, target: Target, ticket: float, trades: int) -> Found:
    """As `hedge_search.search`."""
    p = _narrowed(desk, target)
    looked = np.flatnonzero((p.buy > 0.0) | (p.sell > 0.0))
    where = np.zeros(len(p.column))
    here = desk.hedges([where])[0]
    passing: list[Hedge] = []
    nearest, room = here, target.room(desk.before)
    first = None
    for _ in range(STEPS):
        plane = _slopes(desk, p, looked, where, here)
        p = replace(p, rests=[*p.rests, plane])
        first = first or p
        solution = solve(p, max(target.bound, 0.0), target.kappa)
        line = [np.round(np.round((where + t * (solution.contracts - where)) / p.lot) * p.lot, 10) for t in np.arange(1, FINE + 1) / (0.75 * FINE)]
        line = [np.clip(x, -p.sell, p.buy) for x in line]
        hedges = desk.hedges(line)
        good = [n for n, h in enumerate(hedges) if desk.passes(h, target) and (not trades or len(h.trades) <= trades)]
        if good:
            n = min(good, key=lambda i: hedges[i].cost + ticket * len(hedges[i].trades))
            better = not passing or hedges[n].cost < min(h.cost for h in passing) * (1.0 - 1e-3)
            passing.append(pruned(desk, target, line[n], hedges[n]))
            if not better:
                break
        else:
            rooms = [target.room(desk.figures(h)) for h in hedges]
            n = int(np.argmax(rooms))
            if rooms[n] <= room + 1e-6 * float(desk.before["initial_margin"]) or passing:
                break
            nearest, room = hedges[n], rooms[n]
        where, here = line[n], hedges[n]
    single = _single(desk, target, first) if first is not None else None
    if single is not None:
        passing.append(single)
    none = Solution(where, 0.0, 0.0, bool(passing), 0.0, 0)
    return Found(none, 0.0, passing, single, nearest)


def _narrowed(desk: Desk, target: Target) -> Programme:
    """The programme of the instruments that are looked at; what is held is closed and not turned around."""
    p = desk.programme
    nothing = np.zeros(len(p.column))
    core = solve(p, max(p.value(nothing, 0.0) - max(-target.room(desk.before), 0.0), 0.0), target.kappa)
    worth = np.abs(p.planes[0][1]) / np.maximum(p.cost, 1e-12)
    held = np.flatnonzero(desk.held)
    if len(held) > HELD:
        size = np.abs(desk.held[held]) * (np.abs(p.planes[0][1][held]) + p.cost[held])
        held = held[np.argsort(-size, kind="stable")[:HELD]]
    kept = np.zeros(len(p.column), bool)
    kept[np.concatenate([held, np.flatnonzero(np.abs(core.contracts) > 1e-9 * p.lot), np.argsort(-worth, kind="stable")[:LOOKED]])] = True
    buy = np.where(kept, np.where(desk.held < 0.0, np.minimum(p.buy, -desk.held), p.buy), 0.0)
    sell = np.where(kept, np.where(desk.held > 0.0, np.minimum(p.sell, desk.held), p.sell), 0.0)
    return replace(p, buy=np.floor(buy / p.lot + 1e-9) * p.lot, sell=np.floor(sell / p.lot + 1e-9) * p.lot)


def _slopes(desk: Desk, p: Programme, looked: NDArray[np.intp], where: NDArray[np.float64], here: Hedge) -> Rest:
    """A plane of the rest of the margin at some trades, from a step up and a step down in each instrument: what charges are most like there."""
    points, moves = [], []
    for j in looked.tolist():
        for side, limit in ((1.0, p.buy[j]), (-1.0, p.sell[j])):
            step = max(p.lot[j], np.floor(SHARE * limit / p.lot[j]) * p.lot[j])
            if step <= (limit - side * where[j]) * (1.0 + 1e-12):
                moved = where.copy()
                moved[j] = round(float(moved[j] + side * step), 10)
                points.append(moved)
                moves.append((j, side, step))
    bare = replace(p, rests=[])
    rest = float(desk.figures(here)["initial_margin"]) - bare.value(where, 0.0)
    slope = {1.0: np.full(len(p.column), np.nan), -1.0: np.full(len(p.column), np.nan)}
    for (j, side, step), moved, hedge in zip(moves, points, desk.hedges(points), strict=True):
        slope[side][j] = (float(desk.figures(hedge)["initial_margin"]) - bare.value(moved, 0.0) - rest) / step
    up, down = slope[1.0], slope[-1.0]
    one = np.where(np.isnan(up), -down, np.where(np.isnan(down), up, 0.5 * (up - down)))
    bend = (where == 0.0) & ~np.isnan(up) & ~np.isnan(down)  # with no trade yet, buying and selling may both cost
    rise, fall = np.nan_to_num(np.where(bend, up, one)), np.nan_to_num(np.where(bend, down, -one))
    return Rest(rest - Rest(0.0, rise, fall).at(where), rise, fall)


def _single(desk: Desk, target: Target, p: Programme) -> Hedge | None:
    """The cheapest trade in one instrument that an exact what-if passes, of those whose slopes promise most: sizes between what the slopes ask for and the limit, twice refined."""
    from upm_gpu.desk.hedging.hedge_rounding import least_rays

    at_least = np.concatenate([least_rays(p, max(target.bound - p.others.start, 0.0), target.kappa, side) for side in (1.0, -1.0)])
    count, best = len(p.column), None
    promised = at_least * np.tile(p.cost, 2)
    for place in np.argsort(promised, kind="stable")[:SINGLES].tolist():
        if not np.isfinite(promised[place]) or (best is not None and promised[place] >= best.cost):
            break
        j, side = place % count, 1.0 if place < count else -1.0
        lot, limit = p.lot[j], (p.buy if side > 0.0 else p.sell)[j]
        low, high = min(0.9 * at_least[place], limit), limit
        for _ in range(3):
            sizes = np.unique(np.clip(np.ceil(np.linspace(low, high, 9) / lot - 1e-9) * lot, lot, limit))
            many = [np.where(np.arange(count) == j, side * np.round(s, 10), 0.0) for s in sizes.tolist()]
            hedges = desk.hedges(many)
            good = [n for n, h in enumerate(hedges) if desk.passes(h, target)]
            if not good:
                break
            if best is None or hedges[good[0]].cost < best.cost:
                best = hedges[good[0]]
            if good[0] == 0:
                break
            low, high = float(sizes[good[0] - 1]), float(sizes[good[0]])
    return best
