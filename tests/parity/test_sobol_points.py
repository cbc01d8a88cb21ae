"""Compiled Sobol points are those of the NumPy twin, to the bit, on every instruction set and wherever they begin."""

from __future__ import annotations

import importlib

import numpy as np
import pytest

from upm_gpu.backend import cpu
from upm_gpu.compiled_library import library_path
from upm_gpu.errors import DeviceError

sobol = importlib.import_module("upm_gpu.rng.sobol")  # the package has the function under this name

ISAS = ("avx512", "avx2", "plain")
"""in the order of the library"""
CASES = [(1000, 1, 0), (777, 3, 5), (300, 7, 250), (513, 8, 1), (600, 50, 123_456_789), (97, 501, 8), (21, 9, (1 << 52) - 21), (16, 40, (1 << 52) - 16), (0, 4, 9)]
"""points, dimensions, skip"""


@pytest.fixture
def library():
    found = sobol._compiled() if library_path().is_file() else None
    if found is None:
        pytest.skip("needs the compiled engine")
    return found


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize(("points", "dimensions", "skip"), CASES)
def test_bits_of_the_twin(library, isa, points, dimensions, skip):
    if isa not in cpu.isas():
        pytest.skip(f"this processor lacks {isa}")
    found = sobol._compiled_points(library, points, dimensions, skip, ISAS.index(isa))
    assert np.array_equal(found.view(np.uint64), sobol.plain_points(points, dimensions, skip).view(np.uint64))


@pytest.mark.parametrize("isa", ISAS)
def test_points_written_past_the_caches(library, isa):
    if isa not in cpu.isas():
        pytest.skip(f"this processor lacks {isa}")
    points, dimensions, skip = 12_345, 53, 6
    assert points * dimensions > 1 << 19
    assert np.array_equal(sobol._compiled_points(library, points, dimensions, skip, ISAS.index(isa)), sobol.plain_points(points, dimensions, skip))


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize(("points", "dimensions", "first"), [(41, 3, 6), (80, 13, 16), (50_000, 11, 8)])
def test_wherever_the_memory_begins(library, isa, points, dimensions, first):
    """Whole vectors are written to aligned places: the bits do not depend on where those are, and nothing beside the points is written."""
    if isa not in cpu.isas():
        pytest.skip(f"this processor lacks {isa}")
    expected, size = sobol.plain_points(points, dimensions, first).ravel(), points * dimensions
    for place in range(1, 9):
        memory = np.full(size + 16, -1.0)
        begin = place + (-memory.ctypes.data // 8) % 8
        out = memory[begin : begin + size].reshape(points, dimensions)
        assert library.upm_sobol_points(ISAS.index(isa), sobol._by_bit(dimensions), sobol.BITS, dimensions, first, points, out, size) == 0
        assert np.array_equal(out.ravel(), expected)
        assert (np.delete(memory, slice(begin, begin + size)) == -1.0).all()


def test_calls_meet_without_a_seam(library, monkeypatch):
    monkeypatch.setattr(sobol, "CALL_COORDINATES", 100)
    assert np.array_equal(sobol.sobol(333, 6, skip=77), sobol.plain_points(333, 6, 77))


def test_without_the_library_the_twin_draws(monkeypatch, tmp_path):
    expected = sobol.sobol(40, 5, skip=3)
    sobol._compiled.cache_clear()
    monkeypatch.setattr(sobol, "library_path", lambda: tmp_path / "libupm_host.so")
    try:
        assert sobol._compiled() is None
        assert np.array_equal(sobol.sobol(40, 5, skip=3), expected)
    finally:
        sobol._compiled.cache_clear()


def test_lengths_that_do_not_agree_are_refused(library):
    directions, out = sobol._by_bit(4), np.empty((8, 4))
    for bits, first, count, length in ((53, 0, 8, 32), (52, 0, 8, 31), (52, -1, 8, 32), (52, (1 << 52) - 7, 8, 32), (0, 0, 8, 32)):
        assert library.upm_sobol_points(-1, directions, bits, 4, first, count, out, length) == 1
    with pytest.raises(DeviceError, match="UPM-DV-015"):
        sobol._compiled_points(library, 8, 4, 0, isa=99)
