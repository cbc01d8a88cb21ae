"""The worst scenarios of every row: what a pass over scenarios leaves behind, and how two such states meet.

Chunks, threads, devices, processes and machines all meet in `merge`: exact and order-free.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

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


def deepened(state: TailState, depth: int) -> TailState:
    """The state padded to a depth; the state itself where it is as deep."""
    more = depth - state.pnl.shape[2]
    if more <= 0:
        return state
    wide = ((0, 0), (0, 0), (0, more))
    return replace(state, pnl=np.pad(state.pnl, wide, constant_values=np.inf), scenario=np.pad(state.scenario, wide, constant_values=NO_SCENARIO))


def with_empty_rows(tail: TailState, held: NDArray[np.int64], count: int) -> TailState:
    """The state of `count` rows of which `held`, ascending, are those of `tail`; the others have P&L 0 in every scenario, so their worst are the first."""
    horizons, depth = tail.pnl.shape[0], tail.pnl.shape[2]
    first = np.arange(depth) < tail.count
    pnl = np.broadcast_to(np.where(first, 0.0, np.inf).astype(tail.pnl.dtype), (horizons, count, depth)).copy()
    scenario = np.broadcast_to(np.where(first, np.arange(depth), NO_SCENARIO).astype(np.uint32), (horizons, count, depth)).copy()
    sums = np.zeros((len(tail.block_sums), horizons, count, tail.block_sums.shape[3]))
    pnl[:, held], scenario[:, held], sums[:, :, held] = tail.pnl, tail.scenario, tail.block_sums
    return replace(tail, pnl=pnl, scenario=scenario, block_sums=sums)
