"""The chunk loop: compute, merge, keep; stop when asked; go on where a killed run ended.

What is kept of a chunk is what it contributed: the entries of the merged tail whose scenario ids lie in its range. An
entry that the merge dropped is beyond the `depth` worst of a part of the scenarios, hence of all of them, so merging
the kept parts in any order gives the bytes of an uninterrupted run; and the later chunks of a run are small.
"""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from types import FrameType

import numpy as np
from numpy.typing import NDArray

from upm_gpu.errors import CapacityError, IntegrityError, RunInterrupted
from upm_gpu.risk.tail_state import NO_SCENARIO, TailState
from upm_gpu.risk.tail_state import merge as merge_states
from upm_gpu.run import durable
from upm_gpu.run.folder import RunFolder, resume_command
from upm_gpu.run.ledger import (
    Ledger,
    completed,
    discard_ledger,
    drop_chunk,
    open_ledger,
    read_chunk,
    remove_chunks,
    write_chunk,
)
from upm_gpu.scenario.sets import BLOCK

Compute = Callable[[int, int, TailState | None], TailState]
Merge = Callable[[TailState, TailState], TailState]
Progress = Callable[[int, int], None]

FIRST_SPEED = 2e8
"""bytes a second assumed for the first write of a run; measured from then on"""
MOST_WAITING = 1 << 26
"""bytes that wait for a write at most, whatever it costs: they are copied on their way"""


ROWS_TOGETHER = 64
"""rows whose entries are looked through at once: a mask of all would be as large as a quarter of them"""


def _slabs(shape: tuple[int, ...]) -> Iterator[tuple[int, slice]]:
    """(horizon, rows) that cover (H, R, ...) in order."""
    for h in range(shape[0]):
        for first in range(0, shape[1], ROWS_TOGETHER):
            yield h, slice(first, first + ROWS_TOGETHER)


def counts_inside(scenario: NDArray[np.uint32], first: int, last: int) -> NDArray[np.int32]:
    """(H, R) entries of every row of (H, R, depth) with ids in [first, last)."""
    counts = np.empty(scenario.shape[:2], np.int32)
    for at in _slabs(counts.shape):
        counts[at] = np.count_nonzero((scenario[at] >= first) & (scenario[at] < last), axis=1)
    return counts


def tail_to_arrays(state: TailState, first: int = 0, last: int = int(NO_SCENARIO)) -> dict[str, NDArray]:
    """A tail state as flat arrays, without padding, restricted to scenario ids in [first, last).

    `pnl`, `scenario`: the entries of all (horizon, row), one after another; `counts` (H, R): how many each has. The
    sums, `clipped` and counts are those of the whole state.
    """
    counts = counts_inside(state.scenario, first, last)
    total, end = int(counts.sum(dtype=np.int64)), 0
    pnl, scenario = np.empty(total), np.empty(total, np.uint32)
    for at in _slabs(counts.shape):
        ids = state.scenario[at]
        inside = (ids >= first) & (ids < last)
        span = slice(end, end := end + int(counts[at].sum(dtype=np.int64)))
        pnl[span], scenario[span] = state.pnl[at][inside], ids[inside]
    return {
        "counts": counts,
        "pnl": pnl,
        "scenario": scenario,
        "blocks": state.blocks,
        "block_sums": state.block_sums,
        "clipped": state.clipped,
        "totals": np.array([state.pnl.shape[2], state.not_finite, state.count], np.int64),
    }


def arrays_to_tail(arrays: dict[str, NDArray]) -> TailState:
    """The inverse of `tail_to_arrays`: padded to the depth it came with."""
    counts = arrays["counts"]
    depth, not_finite, count = (int(x) for x in arrays["totals"])
    inside = np.arange(depth, dtype=np.int32) < counts[..., None]
    pnl = np.full(inside.shape, np.inf)
    scenario = np.full(inside.shape, NO_SCENARIO, np.uint32)
    pnl[inside] = arrays["pnl"]
    scenario[inside] = arrays["scenario"]
    return TailState(pnl, scenario, arrays["blocks"], arrays["block_sums"], arrays["clipped"], not_finite, count)


@dataclass(frozen=True)
class ChunkPass:
    """What `run_chunks` returns: the merged state, scenarios computed now and taken from the ledger, seconds."""

    state: TailState
    computed: int
    reused: int
    timings: dict[str, float]
    """compute, merge, ledger"""


def remaining(ranges: Iterable[tuple[int, int]], done: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """The parts of `ranges` that `done` does not cover, in the order of `ranges`."""
    covered = sorted(done)
    left = []
    for first, last in ranges:
        for a, b in covered:
            if b <= first or a >= last:
                continue
            if a > first:
                left.append((first, a))
            first = b
        if first < last:
            left.append((first, last))
    return left


@contextlib.contextmanager
def stop_signals() -> Iterator[Callable[[], bool]]:
    """SIGINT and SIGTERM set a flag that is asked between two chunks; a second one raises KeyboardInterrupt at once."""
    seen: list[int] = []

    def handler(number: int, frame: FrameType | None) -> None:
        seen.append(number)
        if len(seen) > 1:
            raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    before = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(seen)
    finally:
        for number, old in before.items():
            signal.signal(number, old)


@dataclass
class _Group:
    """Neighbouring chunks computed since the last write."""

    first: int = 0
    last: int = 0
    parts: list[TailState] = field(default_factory=list)
    seconds: float = 0.0

    def add(self, first: int, last: int, part: TailState, seconds: float) -> None:
        """Keep the sums of the chunk only; its entries are in the merged state."""
        if not self.parts:
            self.first = first
        self.last = last
        rows = part.pnl.shape[:2]
        # not a slice of the entries, which would keep them all
        self.parts.append(TailState(np.zeros((*rows, 0)), np.zeros((*rows, 0), np.uint32), part.blocks, part.block_sums, part.clipped, part.not_finite, part.count))
        self.seconds += seconds

    def arrays(self, merged: TailState) -> dict[str, NDArray]:
        """What is written of the group: the part of `carry` that lies in its range."""
        return tail_to_arrays(TailState(
            merged.pnl, merged.scenario,
            np.concatenate([p.blocks for p in self.parts]), np.concatenate([p.block_sums for p in self.parts]),
            np.sum([p.clipped for p in self.parts], axis=0, dtype=np.int64),
            sum(p.not_finite for p in self.parts), sum(p.count for p in self.parts)), self.first, self.last)


def _open(run: RunFolder) -> Ledger:
    try:
        return open_ledger(run.path)
    except IntegrityError as error:
        run.warn(str(error))
        discard_ledger(run.path)
        return open_ledger(run.path)


def _take_kept(run: RunFolder, ledger: Ledger, scenario_set: int, merge: Merge) -> tuple[TailState | None, list[tuple[int, int]]]:
    """Merge the chunks of the ledger; a damaged one is struck, said aloud and left to be computed again."""
    carry, done = None, []
    for chunk in completed(ledger, scenario_set):
        try:
            state = arrays_to_tail(read_chunk(ledger, chunk))
        except (IntegrityError, ValueError, KeyError, TypeError) as error:
            run.warn(str(error) if isinstance(error, IntegrityError) else f"UPM-RN-021 {chunk.file}: is damaged. It is computed again.")
            drop_chunk(ledger, chunk)
            continue
        carry = state if carry is None else merge(carry, state)
        done.append((chunk.first, chunk.last))
    remove_chunks(run.path, frozenset(c.file for c in completed(ledger)))
    durable.make_folder(run.path / "chunks")
    return carry, done


def run_chunks(run: RunFolder | None, ranges: Iterable[tuple[int, int]], compute: Compute, merge: Merge = merge_states,
               progress: Progress | None = None, should_stop: Callable[[], bool] | None = None, *,
               scenario_set: int = 0, write_share: float | None = 0.05,
               clock: Callable[[], float] = time.perf_counter) -> ChunkPass:
    """Merge `compute(first, last, carry)` over the half-open `ranges` that the ledger does not hold yet.

    `carry` is the state merged so far (None at first): its `depth`-th worst P&L is the threshold of `row_tail`.
    `run` None computes in memory alone. A chunk is written as soon as writing it costs less than `write_share` of the
    time computed since the last write, neighbours together; None writes every chunk. A computation that raises
    MemoryError or a CapacityError of the memory (UPM-CP) is repeated on half the range, down to one block of 4,096 scenarios. `progress(done, total)` counts
    scenarios. SIGINT, SIGTERM or `should_stop` end the loop after the chunk at work, which is written.

    Raises RunInterrupted (exit 8) with the command to go on, CapacityError where the disk or the memory is full: the
    folder can be resumed after either.
    """
    ranges = list(ranges)
    total = sum(last - first for first, last in ranges)
    timings = {"compute": 0.0, "merge": 0.0, "ledger": 0.0}
    computed = 0
    with contextlib.ExitStack() as stack:
        signalled = stack.enter_context(stop_signals())
        start = clock()
        ledger = stack.enter_context(_open(run)) if run else None
        carry, done = _take_kept(run, ledger, scenario_set, merge) if run and ledger else (None, [])
        timings["ledger"] += clock() - start
        reused = sum(last - first for first, last in done)
        if run and reused:
            run.log.info("resumed", scenarios=reused, chunks=len(done))
        work = deque(remaining(ranges, done))
        limit = max((last - first for first, last in work), default=0)
        group, speed = _Group(), FIRST_SPEED

        def flush() -> None:
            nonlocal group, speed
            if ledger is None or carry is None or not group.parts:
                return
            begin = clock()
            chunk = write_chunk(ledger, group.first, group.last, group.arrays(carry), seconds=group.seconds, scenario_set=scenario_set)
            spent = clock() - begin
            speed = chunk.bytes / max(spent, 1e-6)
            timings["ledger"] += spent
            group = _Group()

        def stopped() -> bool:
            return signalled() or (should_stop is not None and should_stop())

        if progress and reused:
            progress(reused, total)
        try:
            while work and not stopped():
                first, last = work.popleft()
                if last - first > limit:
                    work.appendleft((first + limit, last))
                    last = first + limit
                if group.parts and group.last != first:
                    flush()
                begin = clock()
                try:
                    part = compute(first, last, carry)
                except (MemoryError, CapacityError) as error:
                    if isinstance(error, CapacityError) and not error.code.startswith("UPM-CP-"):
                        raise  # a full disk is not mended by a smaller chunk
                    limit = (last - first) // (2 * BLOCK) * BLOCK
                    if limit < BLOCK:
                        raise CapacityError("UPM-RN-013", f"scenarios {first} to {last - 1}: out of memory with the smallest chunk. Use "
                                                          f"fewer accounts or instruments a run, or a machine with more memory.") from None
                    work.appendleft((first, last))
                    continue
                middle = clock()
                carry = part if carry is None else merge(carry, part)
                end = clock()
                timings["compute"] += middle - begin
                timings["merge"] += end - middle
                computed += last - first
                group.add(first, last, part, end - begin)
                del part  # or it would stand beside the next one
                kept = int(counts_inside(carry.scenario, group.first, group.last).sum(dtype=np.int64)) if ledger and write_share else 0
                if write_share is None or 12 * kept / speed <= write_share * group.seconds or 12 * kept > MOST_WAITING:
                    flush()
                if progress:
                    progress(reused + computed, total)
            if stopped():
                flush()
                raise RunInterrupted("UPM-RN-012", _interrupted(run, reused + computed, total))
        except KeyboardInterrupt:
            raise RunInterrupted("UPM-RN-012", _interrupted(run, reused + computed, total)) from None
        if carry is None:
            raise ValueError("no scenarios to run")
    return ChunkPass(carry, computed, reused, timings)


def _interrupted(run: RunFolder | None, done: int, total: int) -> str:
    if run is None:
        return f"stopped on request after {done} of {total} scenarios; nothing was kept."
    run.log.info("interrupted", scenarios=done)
    return f"stopped on request after {done} of {total} scenarios. Go on with: {resume_command(run)}"
