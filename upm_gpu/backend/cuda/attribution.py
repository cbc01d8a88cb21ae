"""Contributions of the entries of rows over the rows' tail scenarios."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from upm_gpu.backend.cuda.interface import blocks_for
from upm_gpu.backend.cuda.memory import ALIGNMENT, Prepared, open_wave
from upm_gpu.backend.cuda.waves import device_source, draw, price
from upm_gpu.scenario.sets import ScenarioSet

THREADS = 128


def attribution(prepared: Prepared, scenarios: ScenarioSet, horizon: int, tail_first: NDArray[np.int64], tail_scenario: NDArray[np.uint32],
                tail_weight: NDArray[np.float64]) -> NDArray[np.float64]:
    """(P,) per entry of the rows; see `backend/contract.py`. Only the scenarios of some tail are drawn and priced, each once."""
    rows, device = prepared.rows, prepared.device
    entries = len(rows.column)
    if not entries or not len(tail_scenario):
        return np.zeros(entries)
    listed, place = np.unique(tail_scenario, return_inverse=True)
    sizes = np.diff(tail_first)
    # Tail entries ordered by (row, place): one search finds where a wave begins in every row.
    key = np.repeat(np.arange(rows.count, dtype=np.int64), sizes) * len(listed) + place
    row = device.upload(np.repeat(np.arange(rows.count, dtype=np.int32), np.diff(rows.first)))
    weight, total = device.upload(tail_weight.astype(np.float64)), device.upload(np.zeros(entries))
    begin, end, places = device.allocate(rows.count, np.int64), device.allocate(rows.count, np.int64), device.allocate(len(place), np.int32)
    device_source(prepared, scenarios)
    wave = open_wave(prepared, scenarios, len(listed), unit=True, pnl=False, floor=ALIGNMENT)
    for start in range(0, len(listed), wave.length):
        stop = min(start + wave.length, len(listed))
        draw(prepared, scenarios, wave, 0, stop - start, listed[start:stop])
        price(prepared, wave, len(scenarios.state_names), horizon, stop - start)
        for at, into in ((start, begin), (stop, end)):
            device.upload(np.searchsorted(key, np.arange(rows.count, dtype=np.int64) * len(listed) + at).astype(np.int64), into)
        device.upload((place - start).astype(np.int32), places)
        device.launch("attribution", f"attribute_{prepared.suffix}", (blocks_for(entries, THREADS), 1, 1), (THREADS, 1, 1),
                      (wave.unit, np.int64(wave.stride), np.int64(entries), row, prepared.row_column, begin, end, places, weight, total))
    return rows.quantity * device.download(total)
