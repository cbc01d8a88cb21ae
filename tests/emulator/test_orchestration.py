"""The CUDA backend's own machinery: waves, refused memory, overflowing candidates. What it computes is held in `parity/`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from parity import cases

from upm_gpu.backend import cuda, reference
from upm_gpu.backend.cuda import memory, waves
from upm_gpu.backend.cuda.tail import Candidates
from upm_gpu.errors import CapacityError
from upm_gpu.risk.tail_state import NO_SCENARIO

from . import build as emulation
from .backend import EmulatedCuda
from .device import EmulatedDevice

pytestmark = pytest.mark.skipif(emulation.unavailable() is not None, reason=str(emulation.unavailable()))


@pytest.fixture(scope="module")
def library() -> Path:
    return emulation.build()


def assert_same_tail(a, b) -> None:
    np.testing.assert_array_equal(a.pnl, b.pnl)
    np.testing.assert_array_equal(a.scenario, b.scenario)
    np.testing.assert_array_equal(a.blocks, b.blocks)
    np.testing.assert_array_equal(a.block_sums, b.block_sums)
    np.testing.assert_array_equal(a.clipped, b.clipped)
    assert (a.not_finite, a.count) == (b.not_finite, b.count)


def test_order_of_threads_changes_no_bit(library: Path) -> None:
    compiled = cases.make_compiled(per_group=2)
    rows, walk = cases.make_rows(compiled, 9), cases.make_walk("t_both", 700)
    tails = []
    for seed in (1, 2):
        backend = EmulatedCuda(library, seed=seed)
        with backend.prepare(compiled, rows, "mixed") as prepared:
            tails.append(backend.row_tail(prepared, walk, 0, 700, 40))
    assert_same_tail(*tails)


def test_refused_memory_halves_the_wave_and_changes_no_bit(library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = cases.make_compiled(per_group=1)
    rows, walk = cases.make_rows(compiled, 5), cases.make_walk(count=9000)
    # The first guess reads the free memory; here it reads a lie, so that the refusals decide.
    monkeypatch.setattr(memory, "SHARE_OF_FREE_MEMORY", 100.0)
    results, refused = [], []
    for size in (1 << 30, 3 << 20):
        backend = EmulatedCuda(library, memory=size)
        with backend.prepare(compiled, rows, "double") as prepared:
            results.append((backend.row_tail(prepared, walk, 0, 9000, 30), backend.states(prepared, walk, 0, 9000)))
            refused.append(prepared.refused)
    assert refused[0] == 0 < refused[1]
    assert_same_tail(results[0][0], results[1][0])
    np.testing.assert_array_equal(results[0][1], results[1][1])


def test_memory_below_the_floor_is_a_capacity_error(library: Path) -> None:
    compiled = cases.make_compiled(per_group=1)
    rows, walk = cases.make_rows(compiled, 5), cases.make_walk(count=9000)
    backend = EmulatedCuda(library, memory=300_000)
    with backend.prepare(compiled, rows, "double") as prepared, pytest.raises(CapacityError, match=r"UPM-CP-061 .*4096 scenarios.*--device cpu"):
        backend.row_tail(prepared, walk, 0, 9000, 30)
    with pytest.raises(CapacityError, match=r"UPM-CP-060 .*does not fit"):
        EmulatedCuda(library, memory=1000).prepare(compiled, rows, "double")
    backend = EmulatedCuda(library, memory=1 << 20)
    with backend.prepare(compiled, rows, "double") as prepared, pytest.raises(CapacityError, match=r"UPM-CP-062 .*worst 40000 scenarios"):
        backend.row_tail(prepared, walk, 0, 9000, 40000)


def test_closing_gives_the_memory_back(library: Path) -> None:
    device = EmulatedDevice(library)
    free = device.free_memory()
    compiled = cases.make_compiled(per_group=1)
    with cuda.prepare(compiled, cases.make_rows(compiled, 5), "mixed", device=device) as prepared:
        cuda.row_tail(prepared, cases.make_walk(count=300), 0, 300, 10)
        assert device.free_memory() < free
    assert device.free_memory() == free


@pytest.mark.parametrize("shared_memory", [227 * 1024, 0])
@pytest.mark.parametrize("ascending", [True, False])
def test_overflowing_candidates_are_redone_exactly(library: Path, ascending: bool, shared_memory: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Losses that grow with the scenario pass any threshold: buffers overflow again and again. Sorting in global memory too."""
    device = EmulatedDevice(library)
    monkeypatch.setattr(device, "shared_memory", lambda: shared_memory)
    rng = np.random.default_rng(2)
    scenarios, depth, first = 3000, 100, 8192
    pnl = np.stack([np.linspace(1.0, -1.0, scenarios), np.round(rng.normal(size=scenarios), 1), np.zeros(scenarios)])
    if ascending:
        pnl = -pnl
    candidates = Candidates(device, 3, depth, None)
    padded = np.full((3, 3008), np.nan)
    padded[:, :scenarios] = pnl
    on_device = device.upload(padded)
    candidates.take(on_device, 3008, scenarios, first)
    worst, ids = candidates.worst()
    order = np.argsort(pnl, axis=1, kind="stable")[:, :depth]
    np.testing.assert_array_equal(worst, np.take_along_axis(pnl, order, 1))
    np.testing.assert_array_equal(ids, order + first)
    assert candidates.capacity == 512 and candidates.overflows > 0


def test_threshold_keeps_what_can_survive_a_merge_and_no_more(library: Path) -> None:
    device = EmulatedDevice(library)
    pnl = np.random.default_rng(3).normal(size=(2, 320))
    candidates = Candidates(device, 2, 50, np.array([-1.0, -np.inf]))
    candidates.take(device.upload(pnl), 320, 320, 0)
    worst, ids = candidates.worst()
    below = np.sort(pnl[0][pnl[0] <= -1.0])[:50]
    np.testing.assert_array_equal(worst[0, : len(below)], below)
    assert np.isinf(worst[1]).all() and (ids[1] == NO_SCENARIO).all()


def test_undefined_pnl_is_counted_not_kept(library: Path) -> None:
    compiled = cases.make_compiled(per_group=1)
    explicit = cases.make_explicit(200)
    values = explicit.values.copy()
    values[:, :, 7] = np.nan
    explicit = replace(explicit, values=values)
    rows = cases.make_rows(compiled, 4)
    backend = EmulatedCuda(library)
    with backend.prepare(compiled, rows, "double") as prepared, reference.prepare(compiled, rows, "double") as plain:
        found = backend.row_tail(prepared, explicit, 0, 200, 20)
        assert found.not_finite == reference.row_tail(plain, explicit, 0, 200, 20).not_finite > 0
    assert not np.isnan(found.pnl).any()


@pytest.mark.parametrize("seed", [1, 2])
def test_rows_summed_from_shared_memory_have_the_same_bits(library: Path, seed: int) -> None:
    compiled = cases.make_compiled()
    device, rows = EmulatedDevice(library, seed), cases.make_rows(compiled)
    with cuda.prepare(compiled, rows, "mixed", device=device) as prepared:
        wave = memory.open_wave(prepared, cases.make_walk(count=300), 300, unit=True, pnl=True, floor=64)
        waves.draw(prepared, cases.make_walk(count=300), wave, 0, 300)
        waves.price(prepared, wave, len(cases.STATE_NAMES), 2, 300)
        waves.sum_rows(prepared, wave, 300)
        expected = device.download(wave.pnl)[:, :300]
        wave.pnl[...] = np.nan
        assert waves.tiles_fit(prepared)
        waves.sum_rows(prepared, wave, 300, tiles=True)
        np.testing.assert_array_equal(device.download(wave.pnl)[:, :300], expected)


def test_a_range_begins_at_a_block(library: Path) -> None:
    compiled = cases.make_compiled(per_group=1)
    backend = EmulatedCuda(library)
    with backend.prepare(compiled, cases.make_rows(compiled, 3), "double") as prepared, pytest.raises(ValueError, match="multiple of 4096"):
        backend.row_tail(prepared, cases.make_walk(count=300), 64, 300, 5)
