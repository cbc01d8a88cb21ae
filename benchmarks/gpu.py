"""Speed of the CUDA backend: `python -m benchmarks.gpu --shape SMALL --shape TARGET --out FILE.json`.

Reported per shape and precision: the whole `row_tail` (host clock, cold, and the median of the warm repeats), its phases by device
events (median over repeats of the sum over waves), launches and bytes that a phase must move, peak memory, and the
error of the 99 % expected shortfall against `double` on the same scenarios. `--device emulated` rehearses the script
on the emulator of the tests; its times mean nothing.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.shapes import SHAPES, Shape, make
from upm_gpu import __version__
from upm_gpu.backend import cuda
from upm_gpu.backend.cuda import waves
from upm_gpu.backend.cuda.interface import blocks_for
from upm_gpu.backend.cuda.memory import open_wave
from upm_gpu.backend.cuda.tail import SUM_THREADS, Candidates
from upm_gpu.risk.tail import finish, tail_depth
from upm_gpu.run.manifest import kernels_sha256
from upm_gpu.scenario.sets import BLOCK

LEVEL = 0.99
PHASES = ("simulate", "price", "aggregate", "aggregate_tiles", "block_sums", "tail")
"""`aggregate_tiles` does the work of `aggregate` again with the columns in shared memory (0 where they do not fit)"""


def open_device(kind: str) -> Any:
    if kind == "cuda":
        return cuda.open_device()
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
    from emulator.device import EmulatedDevice

    return EmulatedDevice()


def phases(prepared: Any, walk: Any, depth: int) -> tuple[dict[str, float], int]:
    """Device seconds of each phase over one pass, waves in turn; and the number of waves."""
    device, rows = prepared.device, prepared.rows.count
    candidates = Candidates(device, rows, depth, None)
    not_finite = device.upload(np.zeros(1, np.uint64))
    wave = open_wave(prepared, walk, walk.count, unit=True, pnl=True, floor=BLOCK)
    part = device.allocate((blocks_for(wave.length, BLOCK), rows, 2), np.float64)
    total = dict.fromkeys(PHASES, 0.0)
    for start in range(0, walk.count, wave.length):
        count = min(wave.length, walk.count - start)
        marks = [device.event()]
        waves.draw(prepared, walk, wave, start, count)
        marks.append(device.event())
        waves.price(prepared, wave, len(walk.state_names), 0, count)
        marks.append(device.event())
        waves.sum_rows(prepared, wave, count)
        marks.append(device.event())
        if waves.tiles_fit(prepared):
            waves.sum_rows(prepared, wave, count, tiles=True)
        marks.append(device.event())
        device.launch("row_tail", "block_sums", (rows, blocks_for(count, BLOCK), 1), (SUM_THREADS, 1, 1),
                      (wave.pnl, np.int64(wave.stride), np.int32(count), np.int32(rows), part, not_finite), shared=2 * SUM_THREADS * 8)
        marks.append(device.event())
        candidates.take(wave.pnl, wave.stride, count, start)
        marks.append(device.event())
        for name, a, b in zip(PHASES, marks[:-1], marks[1:], strict=True):
            total[name] += device.seconds(a, b)
    first = device.event()
    candidates.worst()
    total["tail"] += device.seconds(first, device.event())
    return total, blocks_for(walk.count, wave.length)


def measure(shape: Shape, precision: str, device: Any, repeats: int) -> tuple[dict[str, Any], Any]:
    """One shape in one precision: a record for the results file, and the tail."""
    compiled, rows, walk = make(shape)
    depth = tail_depth(walk.count, LEVEL)
    began = time.perf_counter()
    with cuda.prepare(compiled, rows, precision, device=device) as prepared:
        prepare_seconds = time.perf_counter() - began
        times = []
        for _ in range(repeats + 1):
            began = time.perf_counter()
            tail = cuda.row_tail(prepared, walk, 0, walk.count, depth)
            times.append(time.perf_counter() - began)
        parts = [phases(prepared, walk, depth) for _ in range(max(1, repeats // 4))]
        stored = prepared.stored.itemsize
    record = {
        "precision": precision, **asdict(shape), "columns": compiled.columns, "entries": len(rows.column), "depth": depth, "repeats": repeats,
        "prepare_seconds": prepare_seconds, "cold_seconds": times[0], "warm_seconds_median": statistics.median(times[1:] or times),
        "warm_seconds_least": min(times[1:] or times), "waves": parts[0][1],
        "phase_seconds_median": {name: statistics.median(p[name] for p, _ in parts) for name in PHASES},
        "prices": walk.count * compiled.terms.shape[1], "multiply_adds": walk.count * len(rows.column),
        "bytes_gathered_by_rows": walk.count * len(rows.column) * stored, "bytes_of_row_pnl": walk.count * rows.count * 8,
    }
    return record, tail


def run(shapes: list[str], device: Any, repeats: int) -> dict[str, Any]:
    results = []
    for name in shapes:
        tails = {}
        for precision in ("double", "mixed"):
            record, tails[precision] = measure(SHAPES[name], precision, device, repeats)
            results.append({"shape": name, **record})
        shortfall = {p: finish(t, [LEVEL])[LEVEL].expected_shortfall[0] for p, t in tails.items()}
        error = np.abs(shortfall["mixed"] / shortfall["double"] - 1.0)
        results[-1]["expected_shortfall_error"] = {"median": float(np.median(error)), "worst": float(error.max())}
        for record in results[-2:]:
            show(record)
    return {"benchmark": "gpu", "version": __version__, "kernels_sha256": kernels_sha256(), "device": device.name, "python": platform.python_version(),
            "numpy": np.__version__, "host": platform.machine(), "results": results}


def show(record: dict[str, Any]) -> None:
    parts = "  ".join(f"{name} {1e3 * seconds:.2f}" for name, seconds in record["phase_seconds_median"].items())
    print(f"{record['shape']:7s} {record['precision']:7s} whole {1e3 * record['warm_seconds_median']:9.2f} ms  cold {1e3 * record['cold_seconds']:9.2f} ms  "
          f"phases (ms) {parts}  waves {record['waves']}", flush=True)


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", action="append", choices=list(SHAPES), required=True)
    parser.add_argument("--device", choices=["cuda", "emulated"], default="cuda")
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args(words)
    result = run(given.shape, open_device(given.device), given.repeats)
    if given.out:
        given.out.parent.mkdir(parents=True, exist_ok=True)
        given.out.write_text(json.dumps(result, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
