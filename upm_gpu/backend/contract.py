"""The contract of a backend: the operations, their shapes, and what is shared by all.

A backend is a module that offers the functions of `Backend` below. Scenario is always the last axis, profit is
positive, unit P&L and row P&L are in the reporting currency.

Precision: `double` stores unit P&L in float64; `mixed` prices in float64 and stores the unit P&L in float32. In both,
a row is summed over its columns in ascending order, multiply then add, in one float64 accumulator, so a row P&L is a function
of the stored unit P&L alone, on every backend.

Sums across scenarios (P&L and its square) have one fixed shape: inside an aligned tile of 64 scenarios, lane l of eight takes the
scenarios congruent to l mod 8 in ascending order, starting from 0.0; the eight lanes are added in ascending order; tiles are added in
ascending order inside an aligned block of 4,096; blocks are added in block order by `finish`. A range that ends inside a tile leaves
the missing scenarios out (they add 0.0). Any thread may take any tile.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from upm_gpu.pricing.compiled import Compiled, Rows
from upm_gpu.scenario.sets import ScenarioSet

Precision = Literal["double", "mixed"]
NO_SCENARIO = np.uint32(0xFFFFFFFF)


@dataclass(frozen=True)
class TailState:
    """The worst scenarios of every row and the block sums, for a set of scenario ranges.

    Mergeable, exact, order-free: merging the states of disjoint ranges gives the state of their union.
    """

    pnl: NDArray[np.float64]
    """(H, R, depth) ascending by (pnl, scenario); padded with +inf"""
    scenario: NDArray[np.uint32]
    """(H, R, depth); padded with NO_SCENARIO"""
    blocks: NDArray[np.int64]
    """(B,) ids of the aligned blocks seen, ascending"""
    block_sums: NDArray[np.float64]
    """(B, H, R, 2): sum and sum of squares of the P&L in the block"""
    clipped: NDArray[np.int64]
    """(K,) draws that met max_log_move"""
    not_finite: int
    """row P&L values that were NaN or infinite; above 0 the run fails"""
    count: int
    """scenarios seen"""


class Prepared(Protocol):
    """A book on a backend; opaque, holds memory, closed by `with`."""

    compiled: Compiled
    rows: Rows
    precision: Precision
    value0: NDArray[np.float64]
    """(C - linear,) value today of one unit, by the backend's own arithmetic"""

    def __enter__(self) -> Prepared: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None: ...


class Backend(Protocol):
    """What a backend module offers. Ranges are half-open scenario ids."""

    name: str

    def prepare(self, compiled: Compiled, rows: Rows, precision: Precision, threads: int = 0) -> Prepared: ...

    def states(self, prepared: Prepared, scenarios: ScenarioSet, first: int, last: int) -> NDArray[np.float64]:
        """(D, K, S) of the range."""
        ...

    def unit_pnl(self, prepared: Prepared, scenarios: ScenarioSet, first: int, last: int, horizon: int) -> NDArray:
        """(C, S) in the stored type of the precision."""
        ...

    def row_pnl(self, prepared: Prepared, scenarios: ScenarioSet, first: int, last: int, horizon: int) -> NDArray[np.float64]:
        """(R, S)."""
        ...

    def row_tail(self, prepared: Prepared, scenarios: ScenarioSet, first: int, last: int, depth: int,
                 threshold: NDArray[np.float64] | None = None) -> TailState:
        """Fused: the worst `depth` of the range per (H, R) and the block sums. `first` is a multiple of 4,096.

        With `threshold` (H, R), only scenarios at or below it need be kept: it is the `depth`-th worst P&L of ranges already
        merged, so what is left out could not survive the merge.
        """
        ...

    def attribution(self, prepared: Prepared, scenarios: ScenarioSet, horizon: int, tail_first: NDArray[np.int64],
                    tail_scenario: NDArray[np.uint32], tail_weight: NDArray[np.float64]) -> NDArray[np.float64]:
        """(P,) per entry of the rows: quantity x sum over the row's tail scenarios of weight x unit P&L.

        Row r's scenarios are tail_scenario[tail_first[r]:tail_first[r + 1]], ascending ids; each sum runs in that order in one accumulator.
        """
        ...

    def values(self, columns: dict[str, NDArray[np.float64]]) -> dict[str, NDArray[np.float64]]:
        """European prices and Greeks for `upm price` and reports; see `formula/black.py` for names and units."""
        ...


def merge(a: TailState, b: TailState) -> TailState:
    """The state of two disjoint sets of scenarios."""
    depth = max(a.pnl.shape[2], b.pnl.shape[2])
    pnl = np.concatenate([a.pnl, b.pnl], axis=2)
    scenario = np.concatenate([a.scenario, b.scenario], axis=2)
    order = np.argsort(scenario, axis=2, kind="stable")
    pnl = np.take_along_axis(pnl, order, 2)
    scenario = np.take_along_axis(scenario, order, 2)
    order = np.argsort(pnl, axis=2, kind="stable")[:, :, :depth]
    blocks = np.concatenate([a.blocks, b.blocks])
    rank = np.argsort(blocks, kind="stable")
    return TailState(
        pnl=np.take_along_axis(pnl, order, 2),
        scenario=np.take_along_axis(scenario, order, 2),
        blocks=blocks[rank],
        block_sums=np.concatenate([a.block_sums, b.block_sums])[rank],
        clipped=a.clipped + b.clipped,
        not_finite=a.not_finite + b.not_finite,
        count=a.count + b.count,
    )
