"""Where the accounts of a book lose: pilot scenarios valued on a small grid, for importance sampling to be guided by.

Far in the tail a delta-gamma expansion at today's prices misleads (moves of 30 % pass strikes), so the guide keeps its idea, a cheap function of few factors
that says where losses come from, with values instead of derivatives: every column depends on one price state and at most one volatility state, so its unit P&L
at the horizon is valued on one grid over (price, volatility) whose axes move all underlyings at once, summed by (row, underlying) and interpolated
(bilinear). Dates before the horizon move like the horizon. The pilot scenarios are draws of the same walk from streams of their own (half of them with one wild day, and weights that undo it), so
the guide is a function of book, market and specification alone; it decides how fast errors fall, never what is estimated.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from upm_gpu.model.importance import make_mixture, pilot_normals, scenario_weights, shift_of
from upm_gpu.model.registry import reference_states
from upm_gpu.model.sampling import mixed
from upm_gpu.pricing.compiled import GROUP_INTEGERS, Compiled, Program, Rows
from upm_gpu.risk.measures import tail_size
from upm_gpu.rng.streams import COMPONENT, PILOT
from upm_gpu.scenario.derived import Derived
from upm_gpu.scenario.sets import Explicit, Mixture, SampledWalk, ScenarioSet, Walk

PRICE_NODES, VOLATILITY_NODES = 25, 9
GATHER = 4.0
"""nodes lie at max |x| sinh(GATHER u) / sinh(GATHER), u equally spaced: fine near today, where payoffs bend"""
LEAST, MOST = 1 << 13, 1 << 15
"""pilot scenarios: 82 to 328 in a tail of 1 %"""
WORK = 1 << 24
"""(row, underlying) pairs x pilot scenarios that set their number between the two"""
DRAWS = 1 << 21
"""base normals x pilot scenarios that do the same"""
DEEPER = 12.0
"""a weighted pilot tail holds at most this many times the scenarios of a plain one"""
HEAVY = 2.5
"""shift of the mixing score on a heavy day"""
MOST_HEAVY_DAYS = 16
"""with more steps no single day makes the tail"""
UnitValues = Callable[[Explicit], NDArray[np.float64]]
"""unit P&L (C, S) of given states at the horizon"""


@dataclass(frozen=True)
class Pilot:
    """Pilot scenarios and the tails of N rows with risk over them, one after another."""

    normals: NDArray[np.float64]
    """(J, K + 1, P) base normals and mixing scores"""
    weight: NDArray[np.float64]
    """(P,) of the pilot scenarios, mean about 1"""
    rows: NDArray[np.int64]
    """(N,) ascending"""
    owner: NDArray[np.int64]
    """(E,) which of the N"""
    tail: NDArray[np.int64]
    """(E,) scenarios worse than VaR at the level"""
    excess: NDArray[np.float64]
    """(E,) L - VaR"""
    beyond_owner: NDArray[np.int64]
    beyond: NDArray[np.int64]
    """(B,) scenarios worse than VaR at the lowest level asked, and whose"""


def run_pilot(scenarios: ScenarioSet, compiled: Compiled, rows: Rows, values: UnitValues, horizon: int, level: float, lowest: float) -> Pilot:
    """Draw, value and cut the pilot scenarios of a walk, with or without states derived from it."""
    walk = plain_walk(scenarios)
    states_of_all = len(scenarios.state_names)
    program = compiled.programs[horizon]
    price, volatility = column_states(compiled, program)
    row = np.repeat(np.arange(rows.count), np.diff(rows.first))
    pairs, inverse = np.unique(row * states_of_all + price[rows.column], return_inverse=True)
    draws = (int(walk.leg_step.max()) + 1) * (len(walk.state_names) + 1)
    count = int(np.clip(1 << int(np.log2(min(WORK / max(len(pairs), 1), DRAWS / draws))), LEAST, MOST))
    date = int(np.searchsorted(compiled.dates, program.horizon))
    drawn = mixed(_pilot_walk(walk, count), _heavy_days(walk))
    weight = scenario_weights(drawn)
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
    total = float(np.sum(weight))
    most = min(count - 1, int(np.ceil(tail_size(count, lowest) * DEEPER)))
    found: list[int] = []
    tails, excesses, beyonds = [], [], []
    starts = np.searchsorted(pairs // states_of_all, np.arange(rows.count + 1))
    for r in range(rows.count):
        loss = np.zeros(count)
        for p in range(starts[r], starts[r + 1]):
            node, share = cells[int(pairs[p] % states_of_all)]
            for corner, part in zip(node, share, strict=True):
                loss -= part * table[p, corner]
        order = np.argpartition(-loss, most)[: most + 1]
        order = order[np.lexsort((order, -loss[order]))]
        seen = np.cumsum(weight[order])
        n, m = (min(int(np.searchsorted(seen, total * (1.0 - at), side="right")), most) for at in (level, lowest))
        excess = loss[order[:n]] - loss[order[n]]
        if n and excess[0] > 1e-9 * max(float(np.max(np.abs(loss))), 1e-300):
            found.append(r)
            tails.append(order[:n])
            excesses.append(excess)
            beyonds.append(order[:m])

    def joined(parts: list[NDArray], dtype: type) -> NDArray:
        return np.concatenate([*parts, np.zeros(0, dtype)])

    normals = pilot_normals(walk, count)
    for step in range(len(normals)):
        normals[step, -1] += shift_of(drawn, np.arange(count, dtype=np.uint32), step, -1)
    return Pilot(normals, weight, np.array(found, np.int64), np.repeat(np.arange(len(found)), [len(t) for t in tails]), joined(tails, np.int64), joined(excesses, np.float64),
                 np.repeat(np.arange(len(found)), [len(b) for b in beyonds]), joined(beyonds, np.int64))


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


def _heavy_days(walk: Walk) -> Mixture:
    """Half of the pilot scenarios as they come, half with a wild mixing score on one day: where the variance of a heavy tail is, plain pilots hardly go."""
    steps, places = int(walk.leg_step.max()) + 1, len(walk.state_names) + 1
    days = steps if walk.mixing is not None and steps <= MOST_HEAVY_DAYS else 0
    shift = np.zeros((days, steps, places))
    shift[np.arange(days), np.arange(days), -1] = HEAVY
    return make_mixture(shift, np.ones(days), walk.mixing_stream >> 8, 0.5 if days else 1.0, COMPONENT + PILOT)


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
