"""Passes over the scenarios of a plan: chunk by chunk to the merged tail, until it is deep or precise enough, and from the tail to the measures asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial, reduce
from types import ModuleType

import numpy as np

from upm_gpu.backend.contract import Prepared, TailState, merge
from upm_gpu.margin.adaptive import batch_ends, precise_enough
from upm_gpu.margin.methodology import core_measure
from upm_gpu.margin.requests import FittedTail, Measure, MeasureRequest
from upm_gpu.margin.units import gross_notional
from upm_gpu.plan import Plan, with_count
from upm_gpu.risk.dependence import Dependence
from upm_gpu.risk.tail import TailEstimate
from upm_gpu.risk.tail_state import deepened
from upm_gpu.scenario.sets import BLOCK


def chunk_ranges(plan: Plan, chunk: int, backend: ModuleType, prepared: Prepared, start: int = 0, end: int | None = None) -> list[tuple[int, int]]:
    """Half-open ranges of whole blocks that cover the scenarios (from `start` to `end`); `chunk` 0 lets the backend size them so that a call stays short."""
    if chunk <= 0:
        size = getattr(backend, "call_scenarios", lambda *_: BLOCK)
        chunk = size(prepared, plan.scenarios)
        if plan.depth > BLOCK:
            chunk = min(chunk, max(BLOCK, DEEP_CHUNK // (len(plan.horizons) * plan.rows.count) // BLOCK * BLOCK))
    size = -(-chunk // BLOCK) * BLOCK
    end = plan.scenarios.count if end is None else end
    return [(first, min(first + size, end)) for first in range(start, end, size)]


DEEP_CHUNK = 1 << 23
"""(row, horizon) pairs x scenarios of a chunk that is kept whole, as under importance sampling: some 200 MB while it is computed"""


def deepening(join: Callable[[TailState, TailState], TailState], depth: int) -> Callable[[TailState, TailState], TailState]:
    """A merge to `depth` of states that are only as deep as they have scenarios."""
    return lambda a, b: join(deepened(a, depth), b)


Loop = Callable[..., TailState]
"""Who walks the chunks, in memory or through a ledger that survives a crash: (ranges, compute(first, last, carry), join[, pass]) -> the merged state. A pass above 0
is the same ranges again, kept deeper."""


def in_memory(progress: Callable[[int, int], None] | None = None) -> Loop:
    """The loop without a run folder; `progress(done, total)` in scenarios."""
    from upm_gpu.run.chunks import run_chunks

    return lambda ranges, compute, join, again=0: run_chunks(None, ranges, compute, join, progress).state


def tails(plan: Plan, backend: ModuleType, prepared: Prepared, ranges: Sequence[tuple[int, int]], loop: Loop,
          executor: Callable | None = None, known: TailState | None = None, again: int = 0) -> TailState:
    """The merged tail of all ranges; `known` is that of ranges before them, for its threshold. `executor` is a `map` over ranges (processes, machines); None walks them in order,
    each knowing the threshold of those before it."""
    native = getattr(backend, "merge_tails", None)
    join = deepening(partial(native, reuse=True) if native else merge, plan.depth)  # the state merged so far is never looked at again

    def compute(first: int, last: int, carry: TailState | None) -> TailState:
        carry = known if carry is None else carry
        threshold = None if carry is None or carry.count < plan.depth else carry.pnl[:, :, -1]
        return backend.row_tail(prepared, plan.scenarios, first, last, min(plan.depth, last - first), threshold)

    if executor is not None:
        return reduce(join, executor(lambda r: compute(r[0], r[1], None), ranges))
    return loop(ranges, compute, join, again) if again else loop(ranges, compute, join)


def weighted_tails(plan: Plan, backend: ModuleType, prepared: Prepared, ranges: Sequence[tuple[int, int]], loop: Loop,
                   executor: Callable | None, weights: np.ndarray, again: int = 0) -> tuple[Plan, TailState]:
    """The tail of weighted scenarios, kept deep enough: where the weight kept does not prove it, everything is run again twice as deep, the passes numbered from `again`."""
    from upm_gpu.risk.weighted_tail import deep_enough

    while True:
        tail = tails(plan, backend, prepared, ranges, loop, executor, again=again)
        if tail.not_finite or deep_enough(tail, weights, min(r.level for r in plan.requests)):
            return plan, tail
        plan, again = replace(plan, depth=min(2 * plan.depth, plan.spec.count)), again + 1


def adaptive_tails(plan: Plan, backend: ModuleType, prepared: Prepared, chunk: int, loop: Loop,
                   executor: Callable | None = None) -> tuple[Plan, TailState, list[tuple[int, int]]]:
    """Batch after batch until every unit is precise enough or the cap is reached: the plan of the final size and its tail, cut to its depth."""
    join = deepening(getattr(backend, "merge_tails", merge), plan.depth)
    gross = gross_notional(plan.units, plan.instruments, plan.market)
    state: TailState | None = None
    ranges: list[tuple[int, int]] = []
    for end in batch_ends(plan.spec.count, plan.core.level, plan.spec.sampler == "sobol"):
        more = chunk_ranges(plan, chunk, backend, prepared, ranges[-1][1] if ranges else 0, end)
        ranges += more
        part = tails(plan, backend, prepared, more, loop, executor, state)
        # a loop with a ledger hands back all that was ever computed, one in memory what was asked for now
        state = part if state is None or part.count >= end else join(state, part)
        if state.count > end:
            continue  # an interrupted run went past this batch already
        final = with_count(plan, end)
        cut = replace(state, pnl=np.ascontiguousarray(state.pnl[:, :, : final.depth]), scenario=np.ascontiguousarray(state.scenario[:, :, : final.depth]))
        if precise_enough(*core_measure(plan.methodology.core, measure(final, cut)[plan.core]), gross, plan.spec.target_relative_error):
            break
    return final, cut, ranges


def measure(plan: Plan, tail: TailState, weights: np.ndarray | None = None) -> dict[MeasureRequest, Measure]:
    """Measures asked for, per unit; `weights` (S,) are those of importance sampling."""
    from upm_gpu.risk.dependence import dependence_of
    from upm_gpu.risk.tail import finish

    dependence = dependence_of(plan.scenarios)
    estimates = finish(tail, sorted({r.level for r in plan.requests}), dependence, weights)
    found = {}
    for request in plan.requests:
        h = plan.horizon(request.horizon)
        found[request] = measure_of(estimates[request.level], tail, h, request.tail_share, dependence)
    return found


def measure_of(plain: TailEstimate, tail: TailState, horizon: int, tail_share: float, dependence: Dependence) -> Measure:
    """The measure of every row at one horizon of an estimate (H, R), `tail_share` above 0: with the law fitted to that share."""
    from upm_gpu.risk.extreme_value import with_extreme_values

    e, h, fitted = plain, horizon, None
    if tail_share > 0.0:
        e, law = with_extreme_values(plain, tail, tail_share, dependence)
        fitted = FittedTail(law.index[h], law.threshold[h], law.fitted[h], plain.expected_shortfall[h], plain.value_at_risk[h])
    return Measure(e.expected_shortfall[h], e.expected_shortfall_standard_error[h], e.value_at_risk[h], e.value_at_risk_standard_error[h], e.reliable[h],
                   None if e.variance_ratio is None else e.variance_ratio[h], fitted)
