"""The search for the cheapest hedge where charges move with the trades: convex programmes of blocks and cuts, one around the best trades so far, each trade set that is given held to an exact what-if.

Planes and cuts (`hedge_model.py`) are added where the programme (`hedge_cuts.py`) trades, and where the line from there to trades inside the target meets it, until programme and margin agree; then the centre moves to the best
trades, until they get no cheaper. It ends at trades that no small change betters. The free programme proves how much cheaper others may be: its planes are added at its own trades, and the least cost it gives is the bound.

What the model does not hold (other units, a share of a pool, charges on what is posted, a core that is no plain expected shortfall) is its difference to an exact what-if: it moves the target, and everything is done again.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from upm_gpu.desk.hedging.hedge_cuts import Cuts
from upm_gpu.desk.hedging.hedge_desk import Desk, Hedge, Target
from upm_gpu.desk.hedging.hedge_model import Point, UnitModel
from upm_gpu.desk.hedging.hedge_programme import INSIDE, Solution
from upm_gpu.desk.hedging.hedge_search import NEAR, Found, pruned

LOOKED = 192
"""instruments whose kinks are looked at before any trade: what promises most relief for its cost; of others where they are traded"""
ROUNDS = 60
"""programmes around one centre or another at most"""
PROOFS = 40
"""free programmes at most"""
TOLERANCE = 2e-3
"""relative gap of the cost at which a search ends; contracts are rounded by more"""
LEAST = 1e-4
"""of the margin before: relief below which nothing is gained any more"""
HALVINGS = 12
ATTEMPTS = 4
"""targets, where the model misses the margin"""
AGAIN = 12
"""cuts added to whole lots at most"""
SINGLES = 24
"""instruments whose single trade is tried, in the order of what their slopes say they cost"""


@dataclass(eq=False)
class _Search:
    desk: Desk
    model: UnitModel
    known: Cuts
    target: Target

    def at(self, contracts: NDArray[np.float64]) -> tuple[Point, float]:
        """What is at some trades, kept, and its margin with the costs."""
        point = self.model.point(contracts, np.flatnonzero(contracts))
        self.known.add(point)
        return point, self.known.value(point)

    def value(self, contracts: NDArray[np.float64]) -> float:
        """Margin and costs alone."""
        return self.model.margin(contracts) + self.known.kappa * float(self.known.cost @ np.abs(contracts))

    def reach(self, best: Point, goal: float) -> Point:
        """Trades inside the goal, or those of the least margin that is found from where the search begins."""
        value, least = self.known.value(best), LEAST * float(self.desk.before["initial_margin"])
        tight = goal - INSIDE * max(value - goal, 0.0)
        for _ in range(ROUNDS):
            if value <= goal:
                break
            contracts, _, above = self.known.solve(tight, best.planes)
            if above > 0.0 and tight + above >= value - least:
                break
            point, margin = self.at(contracts)
            if margin < value:
                best, value = point, margin
        return best

    def cheapest(self, inside: Point, goal: float) -> Point:
        """From trades inside the goal to cheaper ones, as long as there are any near them."""
        cost, best = self.known.cost, inside
        for _ in range(ROUNDS):
            contracts, least, above = self.known.solve(goal, best.planes)
            spent = float(cost @ np.abs(best.contracts))
            if above > 0.0 or spent - least <= TOLERANCE * spent:
                break
            point, margin = self.at(contracts)
            if margin > goal:
                point, _ = self.at(self.edge(contracts, inside.contracts, goal))
            if float(cost @ np.abs(point.contracts)) < spent:
                best = point
        return best

    def edge(self, outside: NDArray[np.float64], inside: NDArray[np.float64], goal: float) -> NDArray[np.float64]:
        """Trades inside the goal nearest to `outside` on the line to `inside`."""
        low, high = 0.0, 1.0  # share of `inside`
        for _ in range(HALVINGS):
            share = 0.5 * (low + high)
            if self.value((1.0 - share) * outside + share * inside) <= goal:
                high = share
            else:
                low = share
        return (1.0 - high) * outside + high * inside

    def proof(self, goal: float, spent: float) -> tuple[float, float | None]:
        """(no trades that reach the goal cost less; where none do: the least margin is at least this)."""
        bound, least, still = 0.0, None, 0
        for _ in range(PROOFS):
            contracts, cost, above = self.known.solve(goal, None)
            if above > LEAST * goal:
                new, old = goal + above, -np.inf if least is None else least
                least, gained = max(new, old), new > old + LEAST * goal
            else:
                gained, bound = cost > bound + TOLERANCE * max(spent, cost), max(bound, cost)
            still = 0 if gained else still + 1
            if still > 3:
                break
            self.at(contracts)
        return bound, least

    def whole(self, best: Point, goal: float, ticket: float, trades: int) -> NDArray[np.float64] | None:
        """In whole lots, inside the goal."""
        p = self.desk.programme
        candidates = np.flatnonzero(np.abs(best.contracts) > 1e-9 * p.lot)
        slack = 0.0
        for _ in range(AGAIN):
            contracts = self.known.whole(goal - slack, best.planes, candidates, p.lot, ticket, trades)
            if contracts is None:
                return None
            _, margin = self.at(contracts)
            if margin <= goal:
                return contracts
            slack += NEAR * goal
        return None


def search_charged(desk: Desk, target: Target, ticket: float, trades: int) -> Found:
    """As `hedge_search.search`."""
    p = desk.programme
    model = UnitModel.of(desk)
    search = _Search(desk, model, Cuts(model, p.cost, p.buy, p.sell, target.kappa), target)
    here = _beginning(search)
    margin = float(desk.before["initial_margin"])
    rest, passing, nearest = margin - here.margin, [], None
    for _ in range(ATTEMPTS):
        goal = target.bound - rest
        inside = search.reach(here, goal)
        reached = search.known.value(inside) <= goal
        best = search.cheapest(inside, goal) if reached else inside
        contracts = _lots(search, best, goal, ticket, trades) if reached else np.round(np.trunc(best.contracts / p.lot + np.sign(best.contracts) * 1e-9) * p.lot, 10)
        if contracts is None:
            break
        (hedge,) = desk.hedges([contracts])
        if desk.passes(hedge, target) and (not trades or len(hedge.trades) <= trades):
            passing.append(pruned(desk, target, contracts, hedge))
        elif nearest is None or target.room(desk.figures(hedge)) > target.room(desk.figures(nearest)):
            nearest = hedge
        found = float(desk.figures(hedge)["initial_margin"]) - model.margin(contracts)
        if abs(found - rest) <= NEAR * max(margin, 1.0):
            break
        rest, here = found, best
    return _found(search, here, rest, passing, nearest, target, ticket)


def _beginning(search: _Search) -> Point:
    """No trades, both sides of what promises most looked at."""
    nothing = np.zeros(len(search.known.cost))
    first = search.model.point(nothing, np.zeros(0, np.intp))
    fall, rise = _relief(search.model, first)
    cost = np.maximum(search.known.cost, 1e-12)
    promise = np.maximum(np.where(search.known.buy > 0.0, -rise, -np.inf), np.where(search.known.sell > 0.0, -fall, -np.inf)) / cost
    here = search.model.point(nothing, np.sort(np.argsort(-promise, kind="stable")[:LOOKED]))
    search.known.add(here)
    return here


def _relief(model: UnitModel, point: Point) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(J,) change of the margin at a point for a contract sold and one bought, of the charges that count there."""
    core = point.planes[model.core][1] * model.multiplier
    rise, fall = core.copy(), -core
    for cut in point.cuts:
        if cut.lower or point.charges[cut.charge].amount[0] <= 0.0:
            continue
        own = sum((v * point.planes[k][1] for k, v in cut.slope.items()), np.zeros(len(rise)))
        rise, fall = rise + cut.rise + own, fall + cut.fall - own
    return fall, rise


def _lots(search: _Search, best: Point, goal: float, ticket: float, trades: int) -> NDArray[np.float64] | None:
    """Whole lots of what the programme trades; of few trades, the largest of it."""
    return search.whole(best, goal, ticket, trades)


def _single(search: _Search, here: Point, rest: float) -> Hedge | None:
    """The cheapest trade in one instrument that an exact what-if passes, of those whose slopes promise most: sizes between what the slopes ask for and the limit, twice refined."""
    desk, target, p = search.desk, search.target, search.desk.programme
    fall, rise = _relief(search.model, here)
    count, best, needed = len(p.column), None, max(here.margin + rest - target.bound, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        at_least = np.concatenate([needed / -(rise + target.kappa * p.cost), needed / -(fall + target.kappa * p.cost)])
    limits = np.concatenate([p.buy, p.sell])
    at_least[~((at_least > 0.0) & (limits > 0.0))] = np.inf
    promised = np.where(np.isfinite(at_least), at_least, 0.0) * np.tile(p.cost, 2)
    promised[~np.isfinite(at_least)] = np.inf
    for place in np.argsort(promised, kind="stable")[:SINGLES].tolist():
        if not np.isfinite(promised[place]) or (best is not None and promised[place] >= best.cost):
            break
        j, side = place % count, 1.0 if place < count else -1.0
        lot, limit = p.lot[j], limits[place]
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


def _found(search: _Search, here: Point, rest: float, passing: list[Hedge], nearest: Hedge | None, target: Target, ticket: float) -> Found:
    single = _single(search, here, rest)
    if single is not None:
        passing.append(single)
    goal, spent = target.bound - rest, min((h.cost for h in passing), default=0.0)
    bound, least = search.proof(goal, spent)
    print("PROOF", bound, least, spent)
    none = Solution(here.contracts, 0.0, bound, bool(passing), 0.0, 0)
    return Found(none, rest, passing, single, nearest)
