"""The kernels under ThreadSanitizer, AddressSanitizer and UndefinedBehaviorSanitizer; and that these see planted faults."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from parity import cases, test_kept

from upm_gpu.backend import cuda
from upm_gpu.backend.cuda import memory, waves
from upm_gpu.desk.cube import Base, cube_of, row_changes

from . import build as emulation
from .device import EmulatedDevice
from .sanitize import run

pytestmark = [pytest.mark.sanitizer, pytest.mark.skipif(emulation.unavailable() is not None, reason=str(emulation.unavailable()))]
SANITIZERS = ["thread", "address,undefined"]
ROWS = ("row_tail",)
KEPT = ("kept", "row_tail")


def record_rows(case: Path, texts: dict[str, str] | None = None, shared: int = 2 * 512 * 8) -> list[str]:
    """Row sums, block sums, candidates and their sort on a few rows of noise; the kernels launched."""
    device = EmulatedDevice(emulation.build(ROWS, texts), record=case)
    rng = np.random.default_rng(11)
    rows, scenarios, depth, capacity = 3, 300, 5, 64
    pnl = device.upload(rng.normal(size=(rows, scenarios)))
    unit, first = device.upload(rng.normal(size=(4, 64)).astype(np.float32)), device.upload(np.arange(rows + 1, dtype=np.int64))
    device.launch("row_tail", "row_sums_tile", (2, 1, 1), (512, 1, 1), (unit, np.int64(64), np.int32(4), first, device.upload(np.array([2, 0, 3], np.int32)),
                  device.upload(rng.normal(size=rows)), np.int32(rows), device.allocate((rows, 64), np.float64)), shared=4 * 8 * 4)
    sums, bad = device.allocate((1, rows, 2), np.float64), device.upload(np.zeros(1, np.uint64))
    device.launch("row_tail", "block_sums", (rows, 1, 1), (512, 1, 1), (pnl, np.int64(scenarios), np.int32(scenarios), np.int32(rows), sums, bad), shared=shared)
    count, threshold = device.upload(np.zeros(rows, np.int32)), device.upload(np.full(rows, -1.2))
    kept, ids = device.allocate((rows, capacity), np.float64), device.allocate((rows, capacity), np.uint32)
    device.launch("row_tail", "keep_candidates", (rows, 2, 1), (256, 1, 1),
                  (pnl, np.int64(scenarios), np.int32(0), np.int32(scenarios), np.uint32(0), threshold, np.int32(capacity), count, kept, ids))
    device.launch("row_tail", "sort_candidates", (rows, 1, 1), (256, 1, 1),
                  (np.int32(capacity), np.int32(depth), np.int32(1), count, threshold, kept, ids), shared=capacity * 12)
    return device.launches


@pytest.mark.parametrize("sanitizer", SANITIZERS)
def test_row_kernels_are_clean(tmp_path: Path, sanitizer: str) -> None:
    record_rows(tmp_path / "case")
    verdict = run(tmp_path / "case", ROWS, sanitizer)
    assert verdict.clean, verdict.report


def record_run(case: Path) -> list[str]:
    """Every operation of the backend on a small book, launched as the orchestration launches it; the kernels launched. Other sets: test_draw_sanitizers.py."""
    device = EmulatedDevice(emulation.build(), record=case)
    compiled = cases.make_compiled(per_group=1)
    rows, scenarios = cases.make_rows(compiled, 3), 100
    walk = cases.make_walk("t_both", scenarios)
    for precision, given in (("mixed", walk), ("mixed", cases.make_heston("bates", scenarios)), ("double", cases.make_explicit(scenarios))):
        with cuda.prepare(compiled, rows, precision, device=device) as prepared:
            tail = cuda.row_tail(prepared, given, 0, scenarios, 6)
            listed = np.sort(tail.scenario[2], axis=1).ravel()
            cuda.attribution(prepared, given, 2, np.arange(4, dtype=np.int64) * 6, listed, np.ones(len(listed)))
    with cuda.prepare(compiled, rows, "mixed", device=device) as prepared:
        given = cases.make_explicit(64)
        wave = memory.open_wave(prepared, given, 64, unit=True, pnl=True, floor=64)
        waves.draw(prepared, given, wave, 0, 64)
        waves.price(prepared, wave, len(given.state_names), 0, 64)
        waves.sum_rows(prepared, wave, 64, tiles=True)
    cuda.values("european", {"spot": np.array([100.0, 90.0]), "strike": np.array([100.0, 120.0]), "time_to_expiry": np.array([0.5, 0.0]), "sign": np.array([1.0, -1.0]),
                 "volatility": np.array([0.4, np.nan]), "market_price": np.array([np.nan, 30.0])}, device)
    return device.launches


def record_kept(case: Path, texts: dict[str, str] | None = None) -> list[str]:
    """Rows kept on all scenarios and tails of changed ones, of both stored types, as the orchestration launches them; the kernels launched."""
    device = EmulatedDevice(emulation.build(KEPT, texts), record=case)
    for stored in (np.float32, np.float64):
        unit, row, items = test_kept.case((9, 300, 5, 3, 20, 1.0), stored)
        home = cuda.keep_unit(unit, device=device)
        kept = cuda.keep_row(home, row.column, row.quantity)
        cuda.kept_sums(home, row.column, row.quantity, np.array([1, 299], np.uint32))
        cuda.changed_tails(kept, row_changes(cube_of(unit), Base(row, np.zeros(0), kept), items), 20)
    return device.launches


@pytest.mark.parametrize("sanitizer", SANITIZERS)
def test_kept_rows_are_clean(tmp_path: Path, sanitizer: str) -> None:
    record_kept(tmp_path / "case")
    verdict = run(tmp_path / "case", KEPT, sanitizer)
    assert verdict.clean, verdict.report


@pytest.mark.parametrize("sanitizer", SANITIZERS)
def test_every_operation_is_clean(tmp_path: Path, sanitizer: str) -> None:
    record_run(tmp_path / "case")
    verdict = run(tmp_path / "case", emulation.MODULES, sanitizer)
    assert verdict.clean, verdict.report


def planted(old: str, new: str, occurrence: int = 0) -> dict[str, str]:
    """Kernel texts with one piece of row_tail.cu replaced."""
    texts = emulation.kernel_texts()
    parts = texts["row_tail.cu"].split(old)
    assert len(parts) > occurrence + 1, old
    texts["row_tail.cu"] = old.join(parts[: occurrence + 1]) + new + old.join(parts[occurrence + 1 :])
    return texts


@pytest.mark.parametrize("occurrence", [0, 1, 2])
def test_a_removed_barrier_is_a_reported_race(tmp_path: Path, occurrence: int) -> None:
    texts = planted("  __syncthreads();\n", "", occurrence)
    record_rows(tmp_path / "case", texts)
    verdict = run(tmp_path / "case", ROWS, "thread", texts)
    assert not verdict.clean
    assert "data race" in verdict.report and "row_tail.cu" in verdict.report


def test_a_plain_count_in_place_of_an_atomic_is_a_reported_race(tmp_path: Path) -> None:
    texts = planted("atomicAdd(&count[row], 1)", "count[row]++")
    record_rows(tmp_path / "case", texts)
    verdict = run(tmp_path / "case", ROWS, "thread", texts)
    assert not verdict.clean and "data race" in verdict.report


def test_a_race_between_blocks_is_reported(tmp_path: Path) -> None:
    texts = planted("sums[((i64)blockIdx.y * rows + row) * 2 + thread]", "sums[thread]")
    record_rows(tmp_path / "case", texts)
    verdict = run(tmp_path / "case", ROWS, "thread", texts)
    assert not verdict.clean and "data race" in verdict.report


def test_a_short_request_for_shared_memory_is_reported(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="past the 8184 bytes of shared memory"):
        record_rows(tmp_path / "case", shared=2 * 512 * 8 - 8)
    verdict = run(tmp_path / "case", ROWS, "address,undefined")
    assert not verdict.clean
    assert "heap-buffer-overflow" in verdict.report and "row_tail.cu" in verdict.report


def test_a_store_past_a_global_array_is_reported(tmp_path: Path) -> None:
    texts = planted("kept_pnl[row * capacity + slot]", "kept_pnl[(row + 1) * capacity + slot]")
    record_rows(tmp_path / "case")
    verdict = run(tmp_path / "case", ROWS, "address,undefined", texts)
    assert not verdict.clean and "heap-buffer-overflow" in verdict.report
