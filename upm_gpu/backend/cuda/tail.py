"""The fused pass: waves of scenarios in, the worst of every row and the block sums out."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from upm_gpu.backend.contract import TailState
from upm_gpu.backend.cuda.interface import Device, OutOfDeviceMemory, blocks_for
from upm_gpu.backend.cuda.memory import LARGEST_WAVE, Prepared, open_wave
from upm_gpu.backend.cuda.waves import device_source, draw, price, sum_rows, take_clipped
from upm_gpu.errors import CapacityError
from upm_gpu.scenario.sets import BLOCK, ScenarioSet

SUM_THREADS = 512
FILTER_THREADS = 256
SORT_THREADS = 256
SMALLEST_BUFFER = 512
PAIR_BYTES = 12


class Candidates:
    """The worst scenarios of every row so far, and what else lies at or below the row's threshold.

    A row has a buffer of `capacity` pairs (pnl, scenario). Kernels append to it in any order; when a buffer runs over, the
    counts are put back, all buffers are sorted and cut to `depth`, which lowers the thresholds, and the range is done again;
    if it still runs over, in halves. A range of capacity - depth scenarios always fits, so this ends, and the result is
    the exact `depth` worst by (pnl, scenario).
    """

    def __init__(self, device: Device, rows: int, depth: int, threshold: NDArray[np.float64] | None) -> None:
        self.device, self.rows, self.depth = device, rows, depth
        self.capacity = max(SMALLEST_BUFFER, 1 << (2 * depth - 1).bit_length())
        start = np.full(rows, np.inf) if threshold is None else threshold.astype(np.float64)
        self.bounded = bool(np.isfinite(start).all())
        self.threshold = device.upload(start)
        self.held = np.zeros(rows, np.int32)
        self.count = device.upload(self.held)
        self.pnl = device.allocate((rows, self.capacity), np.float64)
        self.scenario = device.allocate((rows, self.capacity), np.uint32)
        self.overflows = 0

    def take(self, pnl: Any, stride: int, scenarios: int, first: int) -> None:
        """Look at the scenarios of a wave: columns [0, scenarios) of `pnl`, ids from `first`."""
        at = 0
        while at < scenarios:
            at += self._take_from(at, pnl, stride, scenarios, first)

    def _take_from(self, at: int, pnl: Any, stride: int, scenarios: int, first: int) -> int:
        length = scenarios - at
        if not self.bounded:
            if self.held.max() > self.capacity - min(length, self.capacity - self.depth):
                self.sort()
            length = min(length, self.capacity - int(self.held.max()))
        sorted_here = False
        while True:
            self.device.launch("row_tail", "keep_candidates", (self.rows, blocks_for(length, FILTER_THREADS), 1), (FILTER_THREADS, 1, 1),
                               (pnl, np.int64(stride), np.int32(at), np.int32(at + length), np.uint32(first), self.threshold, np.int32(self.capacity),
                                self.count, self.pnl, self.scenario))
            count = self.device.download(self.count)
            if count.max() <= self.capacity:
                self.held = count
                return length
            self.overflows += 1
            self.device.upload(self.held, self.count)
            if sorted_here:
                length = -(-length // 2)
            else:
                self.sort()
                sorted_here = True

    def sort(self) -> None:
        """Sort all buffers, cut them to `depth`, lower the thresholds."""
        shared = self.capacity * PAIR_BYTES
        in_shared = shared <= self.device.shared_memory()
        self.device.launch("row_tail", "sort_candidates", (self.rows, 1, 1), (SORT_THREADS, 1, 1),
                           (np.int32(self.capacity), np.int32(self.depth), np.int32(in_shared), self.count, self.threshold, self.pnl, self.scenario),
                           shared=shared if in_shared else 0)
        self.held = self.device.download(self.count)
        self.bounded = self.bounded or bool((self.held >= self.depth).all())

    def worst(self) -> tuple[NDArray[np.float64], NDArray[np.uint32]]:
        """(R, depth) ascending by (pnl, scenario), padded."""
        self.sort()
        pnl, scenario = self.device.allocate((self.rows, self.depth), np.float64), self.device.allocate((self.rows, self.depth), np.uint32)
        self.device.launch("row_tail", "collect_tail", (self.rows, blocks_for(self.depth, SORT_THREADS), 1), (SORT_THREADS, 1, 1),
                           (np.int32(self.capacity), np.int32(self.depth), self.pnl, self.scenario, pnl, scenario))
        return self.device.download(pnl), self.device.download(scenario)


def row_tail(prepared: Prepared, scenarios: ScenarioSet, first: int, last: int, depth: int, threshold: NDArray[np.float64] | None = None) -> TailState:
    """The worst `depth` of the range per (H, R) and the block sums; see `backend/contract.py`."""
    if first % BLOCK:
        raise ValueError(f"a range begins at a multiple of {BLOCK}, not {first}")
    device, horizons, rows = prepared.device, len(prepared.programs), prepared.rows.count
    blocks = np.arange(first // BLOCK, blocks_for(last, BLOCK), dtype=np.int64)
    sums = np.zeros((len(blocks), horizons, rows, 2))
    if not rows:
        empty = (horizons, 0, depth)
        return TailState(np.zeros(empty), np.zeros(empty, np.uint32), blocks, sums, np.zeros(len(scenarios.state_names), np.int64), 0, last - first)
    take_clipped(prepared, scenarios)
    not_finite = device.upload(np.zeros(1, np.uint64))
    try:
        candidates = [Candidates(device, rows, depth, None if threshold is None else threshold[h]) for h in range(horizons)]
    except OutOfDeviceMemory as refusal:
        raise CapacityError("UPM-CP-062", f"{device.name} has no memory for the worst {depth} scenarios of {rows} rows at {horizons} horizons ({refusal}). "
                            "Ask for fewer horizons, higher levels or fewer scenarios, or use --device cpu.") from None
    device_source(prepared, scenarios)
    part = device.allocate((blocks_for(min(LARGEST_WAVE, last - first), BLOCK), rows, 2), np.float64)
    wave = open_wave(prepared, scenarios, last - first, unit=True, pnl=True, floor=BLOCK)
    for start in range(first, last, wave.length):
        count = min(wave.length, last - start)
        draw(prepared, scenarios, wave, start, count)
        at, wave_blocks = (start - first) // BLOCK, blocks_for(count, BLOCK)
        for h in range(horizons):
            price(prepared, wave, len(scenarios.state_names), h, count)
            sum_rows(prepared, wave, count)
            device.launch("row_tail", "block_sums", (rows, wave_blocks, 1), (SUM_THREADS, 1, 1),
                          (wave.pnl, np.int64(wave.stride), np.int32(count), np.int32(rows), part, not_finite), shared=2 * SUM_THREADS * 8)
            candidates[h].take(wave.pnl, wave.stride, count, start)
            sums[at : at + wave_blocks, h] = device.download(part)[:wave_blocks]
    found = [c.worst() for c in candidates]
    return TailState(np.stack([pnl for pnl, _ in found]), np.stack([ids for _, ids in found]), blocks, sums, take_clipped(prepared, scenarios),
                     int(device.download(not_finite)[0]), last - first)
