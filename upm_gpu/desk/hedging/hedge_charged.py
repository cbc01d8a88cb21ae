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
from upm_gpu.desk.hedging.hedge_programme import INSIDE
from upm_gpu.desk.hedging.hedge_search import NEAR, Found, pruned

LOOKED = 192
"""instruments whose kinks are looked at before any trade: what promises most relief for its cost; of others the kink is met once they are traded"""
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
FEW = 24
"""instruments that whole lots may take beside those of the programme"""
SINGLES = 24
"""instruments whose single trade is tried, in the order of what their slopes say they cost"""


@dataclass(eq=False)
class _Search:
    desk: Desk
    model: UnitModel
    known: Cuts

    def at(self, contracts: NDArray[np.float64]) -> tuple[Point, float]:
        """What is at some trades, kept, and its margin with the costs."""
        point = self.model.point(contracts, np.zeros(0, np.intp))
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
        """In whole lots, inside the goal: of what the programme trades, and where that will not do of what promises most beside it."""
        p = self.desk.programme
        traded = np.flatnonzero(np.abs(best.contracts) > 1e-9 * p.lot)
        worth = np.argsort(-_promise(self, best), kind="stable")
        for more in (4 * trades, FEW + 4 * trades):
            slack, candidates = NEAR * goal, np.union1d(traded, worth[:more])
            for _ in range(AGAIN):
                contracts = self.known.whole(goal - slack, best.planes, candidates, p.lot, ticket, trades)
                if contracts is None:
                    break
                _, margin = self.at(contracts)
                if margin <= goal:
                    return contracts
                slack = max(2.0 * slack, 0.5 * (margin - goal))
        return None


def search_charged(desk: Desk, target: Target, ticket: float, trades: int) -> Found:
    """As `hedge_search.search`."""
    p, margin = desk.programme, float(desk.before["initial_margin"])
    model = UnitModel.of(desk)
    start = model.margin(np.zeros(len(p.column)))
    share = 1.0 if desk.alone or start <= 0.0 else margin / start  # of a pool, as long as it stays what it is
    search = _Search(desk, model, Cuts(model, p.cost, p.buy, p.sell, target.kappa / share))
    here = first = _beginning(search)
    rest, steady = margin - share * start, True
    passing: list[Hedge] = []
    nearest: Hedge | None = None
    for _ in range(ATTEMPTS):
        goal = (target.bound - rest) / share
        inside = search.reach(here, goal)
        reached = search.known.value(inside) <= goal
        best = search.cheapest(inside, goal) if reached else inside
        contracts = search.whole(best, goal, ticket, trades) if reached else None
        asked = np.round(np.trunc(best.contracts / p.lot + np.sign(best.contracts) * 1e-9) * p.lot, 10) if contracts is None else contracts
        (hedge,) = desk.hedges([asked])
        if desk.passes(hedge, target) and (not trades or len(hedge.trades) <= trades):
            passing.append(pruned(desk, target, asked, hedge))
        elif nearest is None or target.room(desk.figures(hedge)) > target.room(desk.figures(nearest)):
            nearest = hedge
        found = float(desk.figures(hedge)["initial_margin"]) - share * model.margin(asked)
        if abs(found - rest) <= NEAR * max(margin, 1.0):
            break
        rest, here, steady = found, best, False
    single = _single(search, first, target)
    passing += [] if single is None else [single]
    bound, least = None, None
    if desk.alone and desk.plain and steady:
        bound, least = search.proof(target.bound - rest, min((h.cost for h in passing), default=0.0))
    if passing:
        return Found(passing, single, None, bound, None, _said(search))
    nothing = Hedge((), 0.0, (), None)
    return Found(passing, single, max((nearest or nothing, nothing), key=lambda h: target.room(desk.figures(h))), None, None if least is None else least + rest, _said(search))


def _said(search: _Search) -> tuple[str, ...]:
    """What a proof leaves out."""
    loose = [c.module.NAME for n, c in enumerate(search.model.charges) if not search.known.convex[n] and n not in search.model.below]
    out = f", in which {', '.join(loose)} count{'s' * (len(loose) == 1)} nothing" if loose else ""
    if not (search.desk.alone and search.desk.plain):
        return ("charges move with the trades: exact what-ifs decide, and it is not proved that no cheaper hedge exists.",)
    return (f"charges move with the trades: among trades near these none are cheaper by more than {TOLERANCE:.1%}, whole lots aside; what others may cost at least is proved, by a bound that leaves room{out}.",)


def _beginning(search: _Search) -> Point:
    """No trades, both sides of what promises most looked at."""
    nothing = np.zeros(len(search.known.cost))
    promise = _promise(search, search.model.point(nothing, np.zeros(0, np.intp)))
    promise[search.model.held[search.model.place] != 0.0] = -np.inf  # no kink where something is held
    here = search.model.point(nothing, np.sort(np.argsort(-promise, kind="stable")[:LOOKED]))
    search.known.add(here)
    return here


def relief(model: UnitModel, point: Point) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(J,) change of the margin at a point for a contract bought and one sold, of the charges that count there."""
    core = point.planes[model.core][1] * model.multiplier
    rise, fall = core.copy(), -core
    for cut in point.cuts:
        if cut.lower or point.charges[cut.charge].amount[0] <= 0.0:
            continue
        own = sum((v * point.planes[k][1] for k, v in cut.slope.items()), np.zeros(len(rise)))
        rise, fall = rise + cut.rise + own, fall + cut.fall - own
    return rise, fall


def _promise(search: _Search, point: Point) -> NDArray[np.float64]:
    """(J,) relief for its cost."""
    rise, fall = relief(search.model, point)
    best = np.maximum(np.where(search.known.buy > 0.0, -rise, -np.inf), np.where(search.known.sell > 0.0, -fall, -np.inf))
    return best / np.maximum(search.known.cost, 1e-12)


def _single(search: _Search, here: Point, target: Target) -> Hedge | None:
    """The cheapest trade in one instrument that an exact what-if passes, of those whose slopes promise most: sizes between what the slopes ask for and the limit, twice refined."""
    desk, p, known = search.desk, search.desk.programme, search.known
    count, limits = len(p.column), np.concatenate([p.buy, p.sell])
    needed = max(-target.room(desk.before), 0.0)
    slope = -np.concatenate(relief(search.model, here)) - known.kappa * np.tile(p.cost, 2)
    at_least = np.where((slope > 0.0) & (limits > 0.0), needed / np.maximum(slope, 1e-300), np.inf)
    promised = np.where(np.isfinite(at_least), np.minimum(at_least, 1e300), np.inf) * np.tile(p.cost, 2)
    best: Hedge | None = None
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
