"""Where the accounts of a book lose: pilot scenarios valued on a small grid, for importance sampling to be guided by.

Far in the tail a delta-gamma expansion at today's prices misleads (moves of 30 % pass strikes), so the guide keeps its idea, a cheap function of few factors
that says where losses come from, with values instead of derivatives: every column depends on one price state and at most one volatility state, so its unit P&L
at the horizon is valued on one grid over (price, volatility) whose axes move all underlyings at once, summed by (row, underlying) and interpolated
(bilinear). Dates before the horizon move like the horizon. The pilot scenarios are plain draws of the same walk from streams of their own, so
the guide is a function of book, market and specification alone; it decides how fast errors fall, never what is estimated.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from upm_gpu.model.importance import pilot_normals
from upm_gpu.model.registry import reference_states
from upm_gpu.pricing.compiled import GROUP_INTEGERS, Compiled, Program, Rows
from upm_gpu.risk.measures import tail_size
from upm_gpu.rng.streams import PILOT
from upm_gpu.scenario.derived import Derived
from upm_gpu.scenario.sets import Explicit, SampledWalk, ScenarioSet, Walk

PRICE_NODES, VOLATILITY_NODES = 25, 9
GATHER = 4.0
"""nodes lie at max |x| sinh(GATHER u) / sinh(GATHER), u equally spaced: fine near today, where payoffs bend"""
LEAST, MOST = 1 << 13, 1 << 15
"""pilot scenarios: 82 to 328 in a tail of 1 %"""
WORK = 1 << 24
"""(row, underlying) pairs x pilot scenarios that set their number between the two"""
UnitValues = Callable[[Explicit], NDArray[np.float64]]
"""unit P&L (C, S) of given states at the horizon"""


@dataclass(frozen=True)
class Pilot:
    """Pilot scenarios and the tails of rows over them."""

    normals: NDArray[np.float64]
    """(J, K + 1, P) base normals and mixing scores"""
    rows: NDArray[np.int64]
    """(N,) rows with risk"""
    tail: NDArray[np.int64]
    """(N, n) worst scenarios of each at the level"""
    excess: NDArray[np.float64]
    """(N, n) max(L - VaR, 0)"""
    beyond: NDArray[np.int64]
    """(N, m) worst scenarios at the lowest level asked"""


def run_pilot(scenarios: ScenarioSet, compiled: Compiled, rows: Rows, values: UnitValues, horizon: int, level: float, lowest: float) -> Pilot:
    """Draw, value and cut the pilot scenarios of a walk, with or without states derived from it."""
    walk = plain_walk(scenarios)
    states_of_all = len(scenarios.state_names)
    program = compiled.programs[horizon]
    price, volatility = column_states(compiled, program)
    row = np.repeat(np.arange(rows.count), np.diff(rows.first))
    pairs, inverse = np.unique(row * states_of_all + price[rows.column], return_inverse=True)
    count = int(np.clip(1 << int(np.log2(WORK / max(len(pairs), 1))), LEAST, MOST))
    date = int(np.searchsorted(compiled.dates, program.horizon))
    drawn = _pilot_walk(walk, count)
    states = reference_states(replace(scenarios, base=drawn) if isinstance(scenarios, Derived) else drawn, 0, count)[0][date]
    # a grid point moves every state of a kind to the same share of the farthest it went
    reach = np.maximum(np.max(np.abs(states), axis=1), 1e-12)
    across, up = _nodes(PRICE_NODES), _nodes(VOLATILITY_NODES)
    grid = np.zeros((len(reach), PRICE_NODES * VOLATILITY_NODES))
    grid[np.unique(price)] = np.repeat(across, VOLATILITY_NODES)
    grid[np.unique(volatility[volatility >= 0])] = np.tile(up, PRICE_NODES)
    grid *= reach[:, None]
    unit = values(Explicit(scenarios.state_names, compiled.dates, np.tile(grid, (len(compiled.dates), 1, 1))))
    table = np.stack([np.bincount(inverse, rows.quantity * unit[rows.column, g], len(pairs)) for g in range(unit.shape[1])], axis=1)

    cells = {int(k): _cells(states, reach, int(k), int(max(volatility[price == k], default=-1)), across, up) for k in np.unique(pairs % states_of_all)}
    n, m = (int(np.ceil(tail_size(count, at))) for at in (level, lowest))
    kept: list[tuple[int, NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]] = []
    starts = np.searchsorted(pairs // states_of_all, np.arange(rows.count + 1))
    for r in range(rows.count):
        loss = np.zeros(count)
        for p in range(starts[r], starts[r + 1]):
            node, share = cells[int(pairs[p] % states_of_all)]
            for corner, weight in zip(node, share, strict=True):
                loss -= weight * table[p, corner]
        order = np.argsort(-loss, kind="stable")[: max(n, m) + 1]
        excess = loss[order[:n]] - loss[order[n]]
        if excess[0] > 1e-9 * max(float(np.max(np.abs(loss))), 1e-300):
            kept.append((r, order[:n], excess, order[:m]))
    if not kept:
        return Pilot(pilot_normals(walk, 1), np.zeros(0, np.int64), np.zeros((0, n), np.int64), np.zeros((0, n)), np.zeros((0, m), np.int64))
    return Pilot(pilot_normals(walk, count), np.array([k[0] for k in kept]), *(np.stack([k[i] for k in kept]) for i in (1, 2, 3)))  # type: ignore[misc]


def plain_walk(scenarios: ScenarioSet) -> Walk:
    """The walk that a set for importance sampling is drawn from."""
    base = scenarios.base if isinstance(scenarios, Derived) else scenarios
    walk = base.walk if isinstance(base, SampledWalk) else base
    assert isinstance(walk, Walk)
    return walk


def column_states(compiled: Compiled, program: Program) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(C,) price state and volatility state (-1: none) of every column at a horizon."""
    price, volatility = np.zeros(compiled.columns, np.int64), np.full(compiled.columns, -1, np.int64)
    price[: compiled.linear] = program.linear_state
    for group in program.group_integers:
        g = dict(zip(GROUP_INTEGERS, group.tolist(), strict=True))
        span = slice(g["first"], g["first"] + g["count"])
        price[span] = g["level_state"]
        volatility[span] = g["volatility_state"]
    return price, volatility


def _pilot_walk(walk: Walk, count: int) -> Walk:
    """The walk with every draw in the pilot's streams."""
    jumps = walk.jumps
    if jumps is not None:
        jumps = replace(jumps, stream=jumps.stream + PILOT, split_stream=jumps.split_stream + np.uint32(PILOT))
    regimes = None if walk.regimes is None else replace(walk.regimes, stream=walk.regimes.stream + PILOT)
    return replace(walk, count=count, term_stream=walk.term_stream + np.uint32(PILOT), mixing_stream=walk.mixing_stream + PILOT, jumps=jumps, regimes=regimes)


def _nodes(count: int) -> NDArray[np.float64]:
    return np.sinh(GATHER * np.linspace(-1.0, 1.0, count)) / np.sinh(GATHER)


def _cells(states: NDArray[np.float64], reach: NDArray[np.float64], price: int, volatility: int, across: NDArray[np.float64],
           up: NDArray[np.float64]) -> tuple[list[NDArray[np.int64]], list[NDArray[np.float64]]]:
    """The four corners of the grid cell of every pilot scenario and their shares."""
    def axis(state: int, nodes: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        at = states[state] / reach[state] if state >= 0 else np.zeros(states.shape[1])
        low = np.clip(np.searchsorted(nodes, at, side="right") - 1, 0, len(nodes) - 2)
        return low, (at - nodes[low]) / (nodes[low + 1] - nodes[low])

    i, t = axis(price, across)
    j, s = axis(volatility, up)
    corner = i * VOLATILITY_NODES + j
    return ([corner, corner + 1, corner + VOLATILITY_NODES, corner + VOLATILITY_NODES + 1],
            [(1.0 - t) * (1.0 - s), (1.0 - t) * s, t * (1.0 - s), t * s])
