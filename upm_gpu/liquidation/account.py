"""One party whose book is being closed: what it holds on the margin scenarios, what it must have, and what a set of trades would change.

  required(E) = R x E / E_0,   R the initial margin and E_0 the core measure of its units as the round begins, E that after trades: charges move with the core inside a round (`margins.py` has them again at both ends)
  safe        = equity - cost >= restore x required(E) and equity - cost >= 0
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from upm_gpu.liquidation.depth import Depth
from upm_gpu.liquidation.world import Ground, Slopes
from upm_gpu.margin.units import sum_by

Trades = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]
"""(unit, instrument, lots) that change hands: lots are what the unit gains"""


@dataclass(frozen=True)
class Scene:
    """What all liquidations of a round look at."""

    ground: Ground
    slopes: Slopes
    depth: Depth
    unit_pnl: NDArray[np.float64]
    """(N, M) over the margin period"""
    size: NDArray[np.float64]
    """(N,) units in a lot"""
    hedges: NDArray[np.int64]
    """(U,) instrument, -1 for none"""


@dataclass
class Taken:
    """What a party has traded in the round so far."""

    price: NDArray[np.float64]
    volatility: NDArray[np.float64]
    own: dict[int, float] = field(default_factory=dict)


def nothing_taken(scene: Scene) -> Taken:
    """At the beginning of a round."""
    count = len(scene.ground.underlyings)
    return Taken(np.zeros(count), np.zeros(count))


def flows(scene: Scene, instrument: NDArray[np.int64], lots: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """(delta (U,), vega (U,), units (n,)) that trades buy."""
    units = lots * scene.size[instrument]
    of, count = scene.ground.of_instrument[instrument], len(scene.ground.underlyings)
    return (sum_by(of, units * scene.slopes.delta[instrument], count), sum_by(of, units * scene.slopes.vega[instrument], count), units)


def cost_of(scene: Scene, taken: Taken, trades: Trades) -> float:
    """What trades would cost against the mark, after what was taken already."""
    _, instrument, lots = trades
    delta, vega, units = flows(scene, instrument, lots)
    depth = scene.depth
    total = float(depth.price.after(taken.price).cost(delta, depth.price.mark()).sum() + depth.volatility.after(taken.volatility).cost(vega, depth.volatility.mark()).sum())
    before = depth.own.traded[instrument] + np.array([taken.own.get(n, 0.0) for n in instrument.tolist()])
    own = depth.own.scale[instrument] * (2.0 / 3.0) * (np.abs(before + units) ** 1.5 - np.abs(before) ** 1.5)
    return total + float(np.sum(scene.depth.spread[instrument] * np.abs(units) + own))


def take(scene: Scene, taken: Taken, trades: Trades) -> None:
    """Note trades as done."""
    _, instrument, lots = trades
    delta, vega, units = flows(scene, instrument, lots)
    taken.price, taken.volatility = taken.price + delta, taken.volatility + vega
    for n, q in zip(instrument.tolist(), units.tolist(), strict=True):
        taken.own[n] = taken.own.get(n, 0.0) + q


@dataclass
class Account:
    """A party in liquidation, as it stands in a round; positions and P&L follow the trades planned."""

    party: int
    equity: float
    initial: float
    """R: what it must have where the market stands, as it was measured last"""
    core: float
    """E_0: its core measure then"""
    restore: float
    close_all: bool
    lots: dict[int, dict[int, int]]
    """unit -> instrument -> lots"""
    pnl: dict[int, NDArray[np.float64]]
    """unit -> (M,)"""
    core_multiplier: float = 1.0

    def required(self, core: float) -> float:
        """Initial margin at a core measure."""
        return self.initial * core / self.core if self.core > 0.0 else self.initial + self.core_multiplier * core

    def measure(self, scene: Scene) -> dict[int, float]:
        """Core measure of each unit."""
        return {u: float(scene.ground.measure(pnl)) for u, pnl in self.pnl.items()}

    def safe(self, core: float, cost: float) -> bool:
        """Whether it may be let go."""
        left = self.equity - cost
        return not self.close_all and left >= 0.0 and left >= self.restore * self.required(core)

    def changed(self, scene: Scene, trades: Trades) -> dict[int, NDArray[np.float64]]:
        """P&L (M,) of the units that trades touch, after them."""
        found: dict[int, NDArray[np.float64]] = {}
        for unit, n, lots in zip(*(x.tolist() for x in trades), strict=True):
            found[unit] = found.get(unit, self.pnl[unit]) + lots * scene.size[n] * scene.unit_pnl[n]
        return found

    def apply(self, scene: Scene, trades: Trades) -> None:
        """Do trades."""
        self.pnl |= self.changed(scene, trades)
        for unit, n, lots in zip(*(x.tolist() for x in trades), strict=True):
            own = self.lots[unit]
            own[n] = own.get(n, 0) + lots
            if own[n] == 0:
                del own[n]

    @property
    def empty(self) -> bool:
        """Whether nothing is held."""
        return not any(self.lots.values())


def trades_of(unit: int, changes: list[tuple[int, int]]) -> Trades:
    """Trades of one unit from (instrument, lots)."""
    return (np.full(len(changes), unit, np.int64), np.array([n for n, _ in changes], np.int64), np.array([q for _, q in changes], np.int64))


def joined(parts: list[Trades]) -> Trades:
    """Trades together."""
    none = np.zeros(0, np.int64)
    return (np.concatenate([none, *(p[0] for p in parts)]), np.concatenate([none, *(p[1] for p in parts)]), np.concatenate([none, *(p[2] for p in parts)]))


def shrunk(trades: Trades, share: float) -> Trades:
    """A share of trades, in whole lots, rounded away from zero so that a share above 0 moves something."""
    lots = trades[2]
    return (trades[0], trades[1], np.sign(lots) * np.minimum(np.abs(lots), np.ceil(np.abs(lots) * share).astype(np.int64)))
