"""The engine as a pipeline beside the peers: prepare, worst scenarios of every row, measures. Contributions and margins: `benchmarks.books`.

Phases are those that the engine itself reports: the threads' seconds in each part of a tile, over the number of threads.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.problem import LEVEL, Estimate
from upm_gpu.backend import cpu
from upm_gpu.pricing.compiled import Compiled, Rows
from upm_gpu.risk.tail import finish, tail_depth
from upm_gpu.risk.tail_state import TailState
from upm_gpu.scenario.sets import Explicit, ScenarioSet, Walk


def tail_of(compiled: Compiled, rows: Rows, scenarios: ScenarioSet, precision: str, threads: int, depth: int) -> tuple[TailState, dict[str, float]]:
    """As the engine does it: calls of bounded length, each knowing the threshold of those before."""
    with cpu.prepare(compiled, rows, precision, threads) as prepared:
        size = cpu.call_scenarios(prepared, scenarios)
        state = None
        for first in range(0, scenarios.count, size):
            threshold = None if state is None or state.count < depth else state.pnl[:, :, -1]
            part = cpu.row_tail(prepared, scenarios, first, min(first + size, scenarios.count), depth, threshold)
            state = part if state is None else cpu.merge_tails(state, part, threads)
        phases = dict(prepared.timings)
    assert state is not None
    return state, phases


def estimate(compiled: Compiled, rows: Rows, scenarios: ScenarioSet, precision: str, threads: int) -> Estimate:
    tail, phases = tail_of(compiled, rows, scenarios, precision, threads, tail_depth(scenarios.count, LEVEL))
    found = finish(tail, [LEVEL])[LEVEL]
    return Estimate(found.expected_shortfall[0], found.value_at_risk[0], phases)


def standard_error(compiled: Compiled, rows: Rows, walk: Walk, threads: int) -> NDArray[np.float64]:
    """(R,) of the ES."""
    return finish(tail_of(compiled, rows, walk, "mixed", threads, tail_depth(walk.count, LEVEL))[0], [LEVEL])[LEVEL].expected_shortfall_standard_error[0]


def first_states(compiled: Compiled, rows: Rows, walk: Walk, count: int, threads: int) -> Explicit:
    """The states of the first scenarios as a set of their own."""
    with cpu.prepare(compiled, rows, "double", threads) as prepared:
        return Explicit(walk.state_names, walk.dates, cpu.states(prepared, walk, 0, min(count, walk.count)))
