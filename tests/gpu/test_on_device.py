"""What only a CUDA device can show: bits against the CPU, memory under a limit, order of threads, compute-sanitizer.

Skipped without a device; a failure under UPM_REQUIRE_GPU=1. The parity tests run on the device too: `pytest -m gpu tests/gpu tests/parity`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from parity import cases

from upm_gpu.backend import cpu, cuda, reference
from upm_gpu.backend.cuda import memory, waves
from upm_gpu.scenario.sets import BLOCK

pytestmark = pytest.mark.gpu
ROOT = Path(__file__).resolve().parents[2]
LAST = 5 * BLOCK + 77
DEPTH = 300


@pytest.fixture(scope="module")
def device() -> Any:
    runs, code, text = cuda.available()
    if not runs:
        (pytest.fail if os.environ.get("UPM_REQUIRE_GPU") == "1" else pytest.skip)(f"{code} {text}")
    return cuda.open_device()


@pytest.fixture(scope="module")
def book() -> tuple:
    compiled = cases.make_compiled(per_group=20)
    return compiled, cases.make_rows(compiled, 200)


def host() -> Any:
    """The CPU backend where it is built, else the reference."""
    return cpu if cpu.available()[0] else reference


def assert_same(a: Any, b: Any) -> None:
    for key in ("pnl", "scenario", "blocks", "block_sums", "clipped"):
        np.testing.assert_array_equal(getattr(a, key), getattr(b, key), err_msg=key)
    assert (a.not_finite, a.count) == (b.not_finite, b.count)


@pytest.mark.parametrize("law", ["gaussian", "t_both"])
def test_double_agrees_with_the_host_within_the_contract(device: Any, book: tuple, law: str) -> None:
    """Tails within 1e-10 of max(|P&L|, 1e-6 x gross notional); states within 4 ulp a leg of their own size."""
    compiled, rows = book
    walk, other = cases.make_walk(law, LAST), host()
    with cuda.prepare(compiled, rows, "double", device=device) as here, other.prepare(compiled, rows, "double") as there:
        found, expected = cuda.row_tail(here, walk, 0, LAST, DEPTH), other.row_tail(there, walk, 0, LAST, DEPTH)
        states, plain = cuda.states(here, walk, 0, 2000), other.states(there, walk, 0, 2000)
    size = np.maximum(np.abs(plain), plain.std(axis=2, keepdims=True))
    assert (np.abs(states - plain) / size).max() <= 4 * np.finfo(float).eps * len(walk.leg_step)
    notional = np.ones(compiled.columns)
    notional[compiled.linear :] = compiled.terms[0]
    gross = np.array([np.abs(rows.quantity[a:b] * notional[rows.column[a:b]]).sum() for a, b in zip(rows.first[:-1], rows.first[1:], strict=True)])
    assert (np.abs(found.pnl - expected.pnl) <= 1e-10 * np.maximum(np.abs(expected.pnl), 1e-6 * gross[:, None])).all()
    np.testing.assert_array_equal(found.clipped, expected.clipped)
    equal = np.mean(found.pnl == expected.pnl)
    print(f"\n{law}: {100 * equal:.3f} % of the tail has the bits of {other.name}, {100 * np.mean(states == plain):.3f} % of the states")


@pytest.mark.parametrize("precision", ["double", "mixed"])
def test_runs_and_waves_change_no_bit(device: Any, book: tuple, precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled, rows = book
    walk = cases.make_walk("t_both", LAST)
    tails = []
    with cuda.prepare(compiled, rows, precision, device=device) as prepared:
        for largest in (4 * BLOCK, 4 * BLOCK, BLOCK, 16 * BLOCK):
            monkeypatch.setattr(memory, "LARGEST_WAVE", largest)
            tails.append(cuda.row_tail(prepared, walk, 0, LAST, DEPTH))
    for tail in tails[1:]:
        assert_same(tails[0], tail)


def test_rows_summed_from_shared_memory_have_the_same_bits(device: Any, book: tuple) -> None:
    compiled, rows = book
    walk = cases.make_walk("gaussian", BLOCK)
    with cuda.prepare(compiled, rows, "mixed", device=device) as prepared:
        wave = memory.open_wave(prepared, walk, BLOCK, unit=True, pnl=True, floor=BLOCK)
        waves.draw(prepared, walk, wave, 0, BLOCK)
        waves.price(prepared, wave, len(walk.state_names), 0, BLOCK)
        waves.sum_rows(prepared, wave, BLOCK)
        plain = device.download(wave.pnl)
        device.upload(np.zeros_like(plain), wave.pnl)
        assert waves.tiles_fit(prepared)
        waves.sum_rows(prepared, wave, BLOCK, tiles=True)
        np.testing.assert_array_equal(device.download(wave.pnl), plain)


def test_a_full_device_halves_the_wave_and_changes_no_bit(book: tuple, device: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled, rows = book
    walk, small = cases.make_walk("gaussian", LAST), cuda.open_device()
    monkeypatch.setattr(memory, "SHARE_OF_FREE_MEMORY", 1e6)  # the first guess is far too large
    with cuda.prepare(compiled, rows, "double", device=device) as prepared:
        expected = cuda.row_tail(prepared, walk, 0, LAST, DEPTH)
    small._pool.set_limit(size=40 << 20)
    with cuda.prepare(compiled, rows, "double", device=small) as prepared:
        found = cuda.row_tail(prepared, walk, 0, LAST, DEPTH)
        assert prepared.refused > 0
    assert_same(found, expected)


@pytest.mark.parametrize("tool", ["memcheck", "racecheck", "synccheck"])
def test_compute_sanitizer_is_clean(device: Any, tool: str) -> None:
    """The small run of `sanitized.py`, every kernel, under NVIDIA's own checker."""
    program = shutil.which("compute-sanitizer") or "/usr/local/cuda/bin/compute-sanitizer"
    if not os.path.exists(program):
        (pytest.fail if os.environ.get("UPM_REQUIRE_SANITIZERS") == "1" else pytest.skip)("compute-sanitizer is not installed")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")])}
    result = subprocess.run([program, "--tool", tool, "--error-exitcode", "9", sys.executable, str(Path(__file__).with_name("sanitized.py"))],
                            capture_output=True, text=True, cwd=ROOT, env=environment, timeout=240, check=False)
    output = result.stdout + result.stderr
    if "Device not supported" in output:
        pytest.skip(f"compute-sanitizer does not run on this machine: {output[-300:]}")
    assert (result.returncode == 0 and "ERROR SUMMARY: 0 errors" in output) or "RACECHECK SUMMARY: 0 hazards" in output, output[-4000:]
    assert "every kernel has run" in output
