"""The shortfalls that the charges of one unit read, as functions of trades: one block a (scenario set, horizon, level, part of the unit), each convex in the trades, with its gradient over the cube that its set has."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from upm_gpu.desk.cube import PIECE, Cube
from upm_gpu.risk.measures import tail_size

Key = tuple[int, int, float, bytes]
"""a block: number of the set (-1: the run's own), index of the horizon there, level, which lines are in it"""


@dataclass(frozen=True, eq=False)
class Tail:
    """A block at a point."""

    shortfall: float
    quantile: float
    scenario: NDArray[np.int64]
    weight: NDArray[np.float64]


@dataclass(eq=False)
class Blocks:
    """The lines (L,) of one unit, what may be traded against it (J,), and the cubes of every scenario set."""

    held: NDArray[np.float64]
    """(L,) quantity before"""
    place: NDArray[np.int64]
    """(J,) line of each instrument that may be traded"""
    size: NDArray[np.float64]
    """(J,) quantity a contract"""
    column: NDArray[np.int32]
    """(L,) of each line in every cube"""
    coefficient: NDArray[np.float64]
    """(L,) its P&L a unit of the column's"""
    cubes: dict[tuple[int, int], Cube]
    base: dict[tuple[int, int, bytes], NDArray[np.float64]] = field(default_factory=dict)
    """P&L (S,) before any trade, kept"""

    def tail(self, key: Key, contracts: NDArray[np.float64]) -> Tail:
        """A block after trades of `contracts` (J,)."""
        pnl = self._pnl(key, contracts)
        ids, weight = tail_weights(pnl, key[2])
        return Tail(0.0 - float(pnl[ids] @ weight), 0.0 - float(np.max(pnl[ids])), ids, weight)

    def _pnl(self, key: Key, contracts: NDArray[np.float64]) -> NDArray[np.float64]:
        """(S,) of a block after trades."""
        cube, mask = self.cubes[key[:2]], np.frombuffer(key[3], bool)
        column, coefficient = self.column, self.coefficient
        at = (*key[:2], key[3])
        if at not in self.base:
            self.base[at] = _add(np.zeros(cube.count), cube, column, coefficient * self.held, np.flatnonzero(mask & (self.held != 0.0)))
        traded = np.flatnonzero((contracts != 0.0) & mask[self.place])
        return _add(self.base[at].copy(), cube, column[self.place], coefficient[self.place] * self.size * contracts, traded)

    def gradient(self, key: Key, tail: Tail) -> NDArray[np.float64]:
        """(J,) of a block's shortfall, a contract."""
        cube, mask = self.cubes[key[:2]], np.frombuffer(key[3], bool)[self.place]
        own = self.place[mask]
        distinct, back = np.unique(self.column[own], return_inverse=True)
        mean = np.array([cube.unit[c].take(tail.scenario).astype(np.float64) @ tail.weight for c in distinct.tolist()])
        found = np.zeros(len(self.place))
        if len(own):
            found[mask] = -mean[back] * self.coefficient[own] * self.size[mask]
        return found


def tail_weights(pnl: NDArray[np.float64], level: float) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """(scenarios of the tail of P&L (S,), ascending; their weights in its ES, the last one's a fraction)."""
    k = tail_size(len(pnl), level)
    whole = min(int(np.floor(k)), len(pnl) - 1)
    ids = np.argpartition(pnl, whole)[: whole + 1]
    weight = np.full(len(ids), 1.0 / k)
    weight[np.argmax(pnl[ids])] = (k - whole) / k
    order = np.argsort(ids)
    return ids[order], weight[order]


def _add(pnl: NDArray[np.float64], cube: Cube, column: NDArray[np.integer], amount: NDArray[np.float64], some: NDArray[np.intp]) -> NDArray[np.float64]:
    """(S,) with some columns added, in place."""
    for first in range(0, len(pnl), PIECE):
        part = slice(first, first + PIECE)
        for j in some.tolist():
            pnl[part] += cube.unit[column[j], part] * amount[j]
    return pnl
