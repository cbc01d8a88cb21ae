"""`device.py` against a stand-in for CuPy: availability and its reason codes, the device interface, a whole tail."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from parity import cases

from upm_gpu.backend import cuda
from upm_gpu.backend.cuda import compiler
from upm_gpu.backend.cuda import device as device_file
from upm_gpu.errors import CapacityError, DeviceError

from . import build as emulation
from .backend import EmulatedCuda
from .fake_cupy import fake_cupy

pytestmark = pytest.mark.skipif(emulation.unavailable() is not None, reason=str(emulation.unavailable()))


@pytest.fixture(autouse=True)
def nvrtc_is_here() -> None:
    pytest.importorskip("cuda.bindings.nvrtc", reason="cuda-bindings is not installed")


@pytest.fixture(scope="module")
def library() -> Path:
    return emulation.build()


@pytest.fixture(scope="module")
def cubins(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A cache folder that the tests of this file share: all kernels are compiled once."""
    return str(tmp_path_factory.mktemp("cubins"))


@pytest.mark.parametrize(("machine", "code", "words"), [
    ({"driver": 0}, "UPM-DV-003", "no NVIDIA driver"),
    ({"driver": 12080}, "UPM-DV-005", "serves CUDA 12.8, CuPy needs 13.0"),
    ({"count_error": 35}, "UPM-DV-005", "cudaError 35"),
    ({"count_error": 100}, "UPM-DV-004", "0 CUDA devices"),
    ({"count_error": 999}, "UPM-DV-008", "cudaError 999"),
    ({"devices": 0}, "UPM-DV-004", "0 CUDA devices"),
    ({}, "", "Fake H200, 128 GiB"),
])
def test_availability_has_a_reason_code(machine: dict, code: str, words: str, library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", fake_cupy(library, **machine))
    runs, found, text = cuda.available()
    assert (runs, found) == (code == "", code)
    assert words in text


def test_no_cupy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_file.importlib.util, "find_spec", lambda name: None)
    assert cuda.available() == (False, "UPM-DV-001", "CuPy is not installed. Install the extra cuda12 or cuda13.")
    with pytest.raises(DeviceError, match="UPM-DV-001 device cuda cannot run here"):
        cuda.open_device()


def test_no_nvrtc(library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", fake_cupy(library))
    monkeypatch.setitem(sys.modules, "cuda.bindings", None)
    runs, code, text = cuda.available()
    assert not runs and code == "UPM-DV-002" and "NVRTC" in text


def test_a_device_newer_than_the_compiler_takes_the_newest_of_its_generation() -> None:
    assert compiler.architecture_for(90) == "sm_90"
    assert compiler.architecture_for(91) == "sm_90"
    with pytest.raises(DeviceError, match=r"UPM-DV-007 .*99\.0"):
        compiler.architecture_for(990)


def test_the_cupy_device_gives_the_bits_of_the_emulated_one(library: Path, cubins: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Depth 3000 sorts in 96 KB of shared memory, more than a block gets without asking."""
    monkeypatch.setenv("XDG_CACHE_HOME", cubins)
    monkeypatch.setitem(sys.modules, "cupy", fake_cupy(library))
    compiled = cases.make_compiled(per_group=1)
    rows, walk = cases.make_rows(compiled, 3), cases.make_walk(count=500)
    device = cuda.open_device()
    with cuda.prepare(compiled, rows, "mixed", device=device) as prepared:
        found = cuda.row_tail(prepared, walk, 0, 500, 3000)
    emulated = EmulatedCuda(library)
    with emulated.prepare(compiled, rows, "mixed") as prepared:
        expected = emulated.row_tail(prepared, walk, 0, 500, 3000)
    np.testing.assert_array_equal(found.pnl, expected.pnl)
    np.testing.assert_array_equal(found.scenario, expected.scenario)
    np.testing.assert_array_equal(found.block_sums, expected.block_sums)
    assert device.seconds(device.event(), device.event()) == 2e-3
    assert device.name == "Fake H200" and device.architecture == "sm_90"


def test_a_full_device_is_a_capacity_error(library: Path, cubins: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", cubins)
    monkeypatch.setitem(sys.modules, "cupy", fake_cupy(library, memory=1000))
    compiled = cases.make_compiled(per_group=1)
    with pytest.raises(CapacityError, match="UPM-CP-060"):
        cuda.prepare(compiled, cases.make_rows(compiled, 3), "mixed")
