"""One party whose book is being closed: what it holds on the margin scenarios, what it must have, and what a set of trades would change.

  required(E) = C + (R - C) x E / E_0,   R the initial margin, C its charges and E_0 the core measure of its units as the round begins, E that after trades: charges stand inside a round, `margins.py` has them again at both ends
  safe        = equity - cost >= restore x required(E) and equity - cost >= 0
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from upm_gpu.liquidation.depth import Depth
from upm_gpu.liquidation.impact import slice_cost
from upm_gpu.liquidation.world import Ground, Slopes
from upm_gpu.margin.units import sum_by

Trades = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]
"""(unit, instrument, lots) that change hands: lots are what the unit gains"""


@dataclass(frozen=True)
class Flat:
    """A scene as plain numbers, by instrument or underlying."""

    size: list[float]
    of_instrument: list[int]
    delta: list[float]
    vega: list[float]
    spread: list[float]
    own_scale: list[float]
    own_traded: list[float]
    price_scale: list[float]
    price_traded: list[float]
    price_mark: list[float]
    volatility_scale: list[float]
    volatility_traded: list[float]
    volatility_mark: list[float]


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

    @cached_property
    def flat(self) -> Flat:
        """The numbers that costs are made of."""
        price, volatility, own = self.depth.price, self.depth.volatility, self.depth.own
        return Flat(*(x.tolist() for x in (self.size, self.ground.of_instrument, self.slopes.delta, self.slopes.vega, self.depth.spread, own.scale, own.traded, price.scale, price.traded, price.mark(),
                                           volatility.scale, volatility.traded, volatility.mark())))


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
    """What trades would cost against the mark, after what was taken already: one number after the other, since most plans trade a few legs of one underlying."""
    f, total = scene.flat, 0.0
    flow: dict[int, tuple[float, float]] = {}
    for n, lots in zip(trades[1].tolist(), trades[2].tolist(), strict=True):
        units, u = lots * f.size[n], f.of_instrument[n]
        delta, vega = flow.get(u, (0.0, 0.0))
        flow[u] = delta + units * f.delta[n], vega + units * f.vega[n]
        total += f.spread[n] * abs(units)
        if f.own_scale[n]:
            total += slice_cost(f.own_scale[n], f.own_traded[n] + taken.own.get(n, 0.0), 0.0, units)
    for u, (delta, vega) in flow.items():
        total += slice_cost(f.price_scale[u], f.price_traded[u] + float(taken.price[u]), f.price_mark[u], delta)
        total += slice_cost(f.volatility_scale[u], f.volatility_traded[u] + float(taken.volatility[u]), f.volatility_mark[u], vega)
    return total


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
    charges: float = 0.0
    """C; 0 where charges move with the core"""

    def required(self, core: float) -> float:
        """Initial margin at a core measure."""
        return self.charges + (self.initial - self.charges) * core / self.core if self.core > 0.0 else self.initial + self.core_multiplier * core

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
