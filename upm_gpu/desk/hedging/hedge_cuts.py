"""The linear programme of a margin with charges: planes of its blocks, cuts of its charges, and the trades that they allow.

  minimise c'(b + s) + PRICE u  subject to  m t_core + sum of groups z + kappa c'(b + s) <= T + u,
  t_k >= planes of block k,  z_c >= cuts of charge c in b, s and t,  z_group >= each of its charges,  0 <= b <= buy, 0 <= s <= sell.

A charge that takes off a shortfall (what a stress exceeds the core by) has a slope below 0 in that block. *Free*, t may be above its block: every allowed trade set is allowed still, so the least cost is a lower bound of
the cost wherever all cuts hold everywhere (charges that are not convex count nothing then). *Centred*, such slopes meet the block's own plane at a centre, which is below the block: what the programme allows is allowed, once its planes
and cuts are enough (the convex-concave procedure; Yuille and Rangarajan, "The concave-convex procedure", Neural Computation 15, 2003).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from upm_gpu.desk.hedging.hedge_blocks import Key
from upm_gpu.desk.hedging.hedge_model import Cut, Point, UnitModel
from upm_gpu.desk.hedging.hedge_programme import PRICE
from upm_gpu.desk.hedging.hedge_rounding import MIP_GAP, NODES

KNOWN = 1e-9
"""of the margin: a plane that is no higher than others at its own point says nothing new"""
MORE = 64
"""instruments that a programme is given more of at a time"""
NEWEST = 6
"""cuts of a charge that is not convex: enough to go back and forth over a kink, and forgotten when the search has moved on"""

Planes = dict[Key, tuple[float, NDArray[np.float64]]]


@dataclass(eq=False)
class Cuts:
    """What is known of a margin: from every point that was looked at."""

    model: UnitModel
    cost: NDArray[np.float64]
    buy: NDArray[np.float64]
    sell: NDArray[np.float64]
    kappa: float
    planes: dict[Key, list[tuple[float, NDArray[np.float64]]]] = field(default_factory=dict)
    cuts: list[Cut] = field(default_factory=list)
    convex: list[bool] = field(default_factory=list)
    """by charge"""
    worth: NDArray[np.intp] = field(default_factory=lambda: np.zeros(0, np.intp))
    """instruments that a programme found worth trading"""

    def __post_init__(self) -> None:
        self.convex = [self.model.is_convex(n) for n in range(len(self.model.charges))]

    def add(self, point: Point) -> None:
        """Keep what a point says and is not known yet; of a charge that is not convex what the newest points say."""
        x = point.contracts
        bought, sold = np.maximum(x, 0.0), np.maximum(-x, 0.0)
        small = KNOWN * max(abs(point.margin), 1.0)
        for key, (value, gradient) in point.planes.items():
            own = self.planes.setdefault(key, [])
            if all(v + float(g @ x) < value + float(gradient @ x) - small for v, g in own):
                own.append((value, gradient))

        def at(cut: Cut) -> float:
            return cut.start + float(cut.rise @ bought + cut.fall @ sold) + sum(v * (point.planes[k][0] + float(point.planes[k][1] @ x)) if k in point.planes else np.inf for k, v in cut.slope.items())

        for cut in point.cuts:
            mine = [c for c in self.cuts if c.charge == cut.charge and c.lower == cut.lower]
            if not self.convex[cut.charge] and not cut.lower:
                self.cuts = [c for c in self.cuts if c not in mine[: len(mine) - NEWEST + 1]] + [cut]
            elif all(at(c) < at(cut) - small for c in mine):
                self.cuts.append(cut)

    def value(self, point: Point) -> float:
        """Of the margin, costs beside it."""
        return point.margin + self.kappa * float(self.cost @ np.abs(point.contracts))

    def solve(self, target: float, centre: Planes | None) -> tuple[NDArray[np.float64], float, float]:
        """(contracts, cost, margin above the target); free where there is no centre."""
        from scipy.optimize import linprog

        scale = np.where(self.cost > 0.0, 1.0 / np.maximum(self.cost, 1e-300), 1.0)  # variables in money
        table, right, low, high, prices = self._rows(np.arange(len(self.cost)), scale, target, centre)
        n = len(self.cost)
        others = np.arange(2 * n, len(low))
        while True:  # few instruments are ever traded: the others are looked at through the prices of the rows
            columns = np.concatenate([self.worth, n + self.worth, others])
            found = linprog(prices[columns], A_ub=table[:, columns], b_ub=right, bounds=np.stack([low, high], 1)[columns], method="highs")
            if found.x is None:  # never for want of a solution: the slack takes any target
                raise ArithmeticError(f"the linear programme of a hedge ended without a solution: {found.message}")
            reduced = (prices - found.ineqlin.marginals @ table)[: 2 * n]
            best = np.where(high[: 2 * n] > 0.0, reduced, 0.0)
            best = np.minimum(best[:n], best[n:])
            best[self.worth] = 0.0
            new = np.argsort(best, kind="stable")[:MORE]
            new = new[best[new] < -1e-7]
            if not len(new):
                break
            self.worth = np.sort(np.concatenate([self.worth, new]))
        x = np.zeros(len(low))
        x[columns] = found.x
        contracts = (x[:n] - x[n : 2 * n]) * scale
        return contracts, float(self.cost @ np.abs(contracts)), float(x[-1])

    def whole(self, target: float, centre: Planes, candidates: NDArray[np.intp], lot: NDArray[np.float64], ticket: float, trades: int) -> NDArray[np.float64] | None:
        """(J,) contracts in whole lots of some instruments, `ticket` a trade and at most `trades` of them (0: any number); None where none are found."""
        from scipy.optimize import Bounds, LinearConstraint, milp

        if not len(candidates):
            return None
        n, yes = len(candidates), len(candidates) if ticket > 0.0 or trades > 0 else 0
        table, right, low, high, prices = self._rows(candidates, lot[candidates], target, centre)
        high[-1] = 0.0  # no margin above the target
        high[: 2 * n] = np.floor(high[: 2 * n] + 1e-9)
        table = np.hstack([table, np.zeros((len(table), yes))])
        if yes:
            rest = np.zeros((n, table.shape[1] - 2 * n - yes))
            table = np.vstack([table, np.hstack([np.eye(n), np.eye(n), rest, -np.diag(np.maximum(high[:n], high[n : 2 * n]))])])
            right = np.concatenate([right, np.zeros(n)])
        if trades > 0:
            table, right = np.vstack([table, np.r_[np.zeros(table.shape[1] - yes), np.ones(yes)]]), np.r_[right, float(trades)]
        weight = np.maximum(np.max(np.abs(table), axis=1), 1e-300)
        kinds = np.concatenate([np.ones(2 * n), np.zeros(len(low) - 2 * n), np.ones(yes)])
        found = milp(np.concatenate([prices, np.full(yes, ticket)]), integrality=kinds, bounds=Bounds(np.concatenate([low, np.zeros(yes)]), np.concatenate([high, np.ones(yes)])),
                     constraints=LinearConstraint(table / weight[:, None], -np.inf, right / weight), options={"node_limit": NODES, "mip_rel_gap": MIP_GAP})
        if found.x is None:
            return None
        contracts = np.zeros(len(self.cost))
        contracts[candidates] = np.round((np.round(found.x[:n]) - np.round(found.x[n : 2 * n])) * lot[candidates], 10)
        return contracts

    def _rows(self, some: NDArray[np.intp], scale: NDArray[np.float64], target: float, centre: Planes | None) -> tuple[Any, ...]:
        """(table, right sides, lower and upper bounds, prices) of: bought and sold (n each), blocks, charges, groups, margin above the target."""
        n, keys, groups = len(some), list(self.planes), sorted({c.largest_of for c in self.model.charges} - {""})
        block, count = {k: 2 * n + i for i, k in enumerate(keys)}, len(self.model.charges)
        charge, group = 2 * n + len(keys), {g: 2 * n + len(keys) + count + i for i, g in enumerate(groups)}
        width = 2 * n + len(keys) + count + len(groups) + 1
        rows, right = [], []

        def row(rise: NDArray[np.float64], fall: NDArray[np.float64], others: dict[int, float], limit: float) -> None:
            made = np.zeros(width)
            made[:n], made[n : 2 * n] = rise[some] * scale, fall[some] * scale
            for place, value in others.items():
                made[place] = value
            rows.append(made)
            right.append(limit)

        for key, planes in self.planes.items():
            for value, gradient in planes:
                row(gradient, -gradient, {block[key]: -1.0}, -value)
        for cut in self.cuts:
            if centre is None and not (self.convex[cut.charge] or cut.lower):
                continue
            rise, fall, start, others = cut.rise, cut.fall, cut.start, {charge + cut.charge: -1.0}
            for key, slope in cut.slope.items():
                if slope < 0.0 and centre is not None:
                    value, gradient = centre.get(key) or self.planes[key][-1]
                    rise, fall, start = rise + slope * gradient, fall - slope * gradient, start + slope * value
                else:
                    others[block[key]] = slope
            row(rise, fall, others, -start)
        alone = {charge + i: 1.0 for i, c in enumerate(self.model.charges) if not c.largest_of}
        for i, c in enumerate(self.model.charges):
            if c.largest_of:
                row(np.zeros(len(self.cost)), np.zeros(len(self.cost)), {charge + i: 1.0, group[c.largest_of]: -1.0}, 0.0)
        row(self.kappa * self.cost, self.kappa * self.cost, {block[self.model.core]: self.model.multiplier, **alone, **dict.fromkeys(group.values(), 1.0), width - 1: -1.0}, target)
        low, high = np.zeros(width), np.full(width, np.inf)
        low[[p for k, p in block.items() if k != self.model.core]] = -np.inf  # the core is not below 0
        high[: 2 * n] = np.concatenate([self.buy[some] / scale, self.sell[some] / scale])
        prices = np.zeros(width)
        prices[: 2 * n], prices[-1] = np.tile(self.cost[some] * scale, 2), PRICE
        return np.array(rows), np.array(right), low, high, prices
