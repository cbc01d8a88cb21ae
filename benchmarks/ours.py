"""The engine as a pipeline beside the peers: prepare, worst scenarios of every row, measures. Contributions and margins: `benchmarks.books`."""

from __future__ import annotations

import time

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.problem import LEVEL, Estimate
from upm_gpu.backend import cpu
from upm_gpu.pricing.compiled import Compiled, Rows
from upm_gpu.risk.tail import finish, tail_depth
from upm_gpu.risk.tail_state import TailState
from upm_gpu.scenario.sets import Explicit, ScenarioSet, Walk


def tail_of(compiled: Compiled, rows: Rows, scenarios: ScenarioSet, precision: str, threads: int, depth: int, isa: str | None = None) -> TailState:
    """As the engine does it: calls of bounded length, each knowing the threshold of those before."""
    with cpu.prepare(compiled, rows, precision, threads, isa=isa) as prepared:
        size = cpu.call_scenarios(prepared, scenarios)
        state = None
        for first in range(0, scenarios.count, size):
            threshold = None if state is None or state.count < depth else state.pnl[:, :, -1]
            part = cpu.row_tail(prepared, scenarios, first, min(first + size, scenarios.count), depth, threshold)
            state = part if state is None else cpu.merge_tails(state, part, threads)
    assert state is not None
    return state


def estimate(compiled: Compiled, rows: Rows, scenarios: ScenarioSet, precision: str, threads: int) -> Estimate:
    found = finish(tail_of(compiled, rows, scenarios, precision, threads, tail_depth(scenarios.count, LEVEL)), [LEVEL])[LEVEL]
    return Estimate(found.expected_shortfall[0], found.value_at_risk[0], {})


def standard_error(compiled: Compiled, rows: Rows, walk: Walk, threads: int) -> NDArray[np.float64]:
    """(R,) of the ES."""
    return finish(tail_of(compiled, rows, walk, "mixed", threads, tail_depth(walk.count, LEVEL)), [LEVEL])[LEVEL].expected_shortfall_standard_error[0]


def first_states(compiled: Compiled, rows: Rows, walk: Walk, count: int, threads: int) -> Explicit:
    """The states of the first scenarios as a set of their own."""
    with cpu.prepare(compiled, rows, "double", threads) as prepared:
        return Explicit(walk.state_names, walk.dates, cpu.states(prepared, walk, 0, min(count, walk.count)))


def phases(compiled: Compiled, rows: Rows, walk: Walk, precision: str, threads: int) -> dict[str, float]:
    """Seconds by phase, as differences of runs that do more and more (the phases are fused: none exists alone).

    simulate: states alone; price: one row that holds every column, less simulate; aggregate: all rows keeping one scenario each, less
    both; tail: the rest of the whole.
    """
    everything = Rows(np.array([0, compiled.columns], np.int64), np.arange(compiled.columns, dtype=np.int32), np.ones(compiled.columns))

    def clock(work: object, *arguments: object) -> float:
        best = float("inf")
        for _ in range(3):
            start = time.perf_counter()
            work(*arguments)  # type: ignore[operator]
            best = min(best, time.perf_counter() - start)
        return best

    with cpu.prepare(compiled, everything, precision, threads) as prepared:
        size = cpu.call_scenarios(prepared, walk)

        def draw() -> None:
            for first in range(0, walk.count, size):
                cpu.states(prepared, walk, first, min(first + size, walk.count))

        simulate = clock(draw)
    priced = clock(tail_of, compiled, everything, walk, precision, threads, 1)
    summed = clock(tail_of, compiled, rows, walk, precision, threads, 1)
    whole = clock(tail_of, compiled, rows, walk, precision, threads, tail_depth(walk.count, LEVEL))
    return {"simulate": simulate, "price": priced - simulate, "aggregate": summed - priced, "tail": whole - summed}
