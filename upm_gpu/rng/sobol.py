"""Sobol points: a low-discrepancy sequence, unscrambled.

Direction numbers new-joe-kuo-6.21201 of Joe and Kuo, "Constructing Sobol sequences with better two-dimensional
projections", SIAM J. Sci. Comput. 30 (2008), read from the data file that SciPy ships (its generator itself cannot skip
in a sequence of more than 32 bits). Gray-code order: point 0 is the zero vector, and point i + 1 differs from point i
by one direction number. 52 bits a coordinate, so every coordinate is exact in a double.
"""

from __future__ import annotations

import ctypes
import importlib.util
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from upm_gpu.compiled_library import library_path, open_library
from upm_gpu.errors import CapacityError, DeviceError, InputError

BITS = 52
MAXIMUM_DIMENSION = 21201
LOW_BITS = 8
LOW_POINTS = 1 << LOW_BITS
"""points between two aligned multiples share all but their low bits: they are the first points xor one word a dimension"""
CALL_COORDINATES = 1 << 26
"""of one compiled call: a tenth of a second where memory is slow"""
ONE = 0x3FF0000000000000
"""the double 1: with 52 bits below it a fraction, so that a coordinate costs one xor and one subtraction, both exact"""


def sobol(points: int, dimensions: int, skip: int = 0) -> NDArray[np.float64]:
    """Points skip to skip + points - 1 of the sequence, float64 (points, dimensions) in [0, 1).

    >>> sobol(2, 3, skip=1).tolist()
    [[0.5, 0.5, 0.5], [0.75, 0.25, 0.25]]
    """
    if not 1 <= dimensions <= MAXIMUM_DIMENSION:
        raise InputError("UPM-CF-082", f"{dimensions} Sobol dimensions: direction numbers exist for 1 to {MAXIMUM_DIMENSION}. "
                         "Use fewer factors x steps, or the philox sampler.")
    if points < 0 or skip < 0 or points + skip > 1 << BITS:
        raise InputError("UPM-CF-083", f"Sobol points {skip} to {skip + points - 1}: indices run from 0 to 2^{BITS} - 1. "
                         "Use fewer points or a smaller skip.")
    if points == 0:
        return np.empty((0, dimensions))
    library = _compiled()
    return plain_points(points, dimensions, skip) if library is None else _compiled_points(library, points, dimensions, skip)


@lru_cache(maxsize=1)
def _compiled() -> ctypes.CDLL | None:
    """The library, or None in a pure-Python install: the bits are the same."""
    try:
        library = open_library(library_path())
    except DeviceError:
        return None
    i32, i64 = ctypes.c_int32, ctypes.c_int64
    directions, out = np.ctypeslib.ndpointer(np.uint64, ndim=2, flags="C_CONTIGUOUS"), np.ctypeslib.ndpointer(np.float64, ndim=2, flags=("C_CONTIGUOUS", "WRITEABLE"))
    library.upm_sobol_points.restype, library.upm_sobol_points.argtypes = i32, (i32, directions, i64, i64, i64, i64, out, i64)
    return library


def _compiled_points(library: ctypes.CDLL, points: int, dimensions: int, skip: int, isa: int = -1) -> NDArray[np.float64]:
    """By kernels/host/sobol_points.inc, in calls that an interrupt need not wait for. isa: its number, -1 the widest that runs."""
    directions = _by_bit(dimensions)
    out = np.empty((points, dimensions))
    some = max(1, CALL_COORDINATES // dimensions)
    for first in range(0, points, some):
        rows = out[first : first + some]
        status = library.upm_sobol_points(isa, directions, BITS, dimensions, skip + first, len(rows), rows, rows.size)
        if status:
            raise DeviceError("UPM-DV-015", f"Sobol points: the compiled engine failed (status {status}).")
    return out


@lru_cache(maxsize=4)
def _by_bit(dimensions: int) -> NDArray[np.uint64]:
    """Direction numbers (BITS, dimensions), contiguous."""
    return np.ascontiguousarray(direction_numbers(dimensions).T)


def plain_points(points: int, dimensions: int, skip: int) -> NDArray[np.float64]:
    """`sobol` in NumPy, the twin of kernels/host/sobol_points.inc: aligned blocks of LOW_POINTS by a table."""
    directions = direction_numbers(dimensions)
    table = _low_bits(directions)
    out = np.empty((points, dimensions))
    done = 0
    while done < points:
        high, low = divmod(skip + done, LOW_POINTS)
        some = min(points - done, LOW_POINTS - low)
        rows = out[done : done + some]
        np.bitwise_xor(table[low : low + some], _high_bits(directions, high), out=rows.view(np.uint64))
        rows -= 1.0
        done += some
    return out


def _low_bits(directions: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """(LOW_POINTS, dimensions): the first points as fractions of the doubles in [1, 2), whose exponent they carry."""
    table = np.full((1, len(directions)), ONE, np.uint64)
    for j in range(LOW_BITS):  # the Gray code of 2^j + i is 2^j xor that of 2^j - 1 - i
        table = np.concatenate([table, table[::-1] ^ directions[:, j]])
    return table


def _high_bits(directions: NDArray[np.uint64], high: int) -> NDArray[np.uint64]:
    """What points LOW_POINTS x high and on have beside the table: the bits of the Gray code above the low ones, and the borrow of the last low one."""
    gray = (high << LOW_BITS) ^ (high << LOW_BITS >> 1)
    return np.asarray(np.bitwise_xor.reduce(directions[:, [j for j in range(BITS) if gray >> j & 1]], axis=1))


@lru_cache(maxsize=4)
def direction_numbers(dimensions: int) -> NDArray[np.uint64]:
    """V (dimensions, BITS), read-only: direction number j of a coordinate has its leading bit at BITS - 1 - j.

    With the primitive polynomial x^m + a_1 x^(m-1) + ... + 1 of a coordinate, its odd integers follow
    M_j = 2 a_1 M_(j-1) xor ... xor 2^m M_(j-m) xor M_(j-m).
    """
    polynomials, initial = _joe_kuo(dimensions)
    integers = np.ones((dimensions, BITS), np.uint64)
    degrees = np.array([int(p).bit_length() - 1 for p in polynomials])
    for degree in np.unique(degrees[1:]):
        rows = np.flatnonzero(degrees == degree)
        rows = rows[rows > 0]
        m = np.empty((rows.size, BITS), np.uint64)
        m[:, :degree] = initial[rows, :degree]
        for j in range(degree, BITS):
            m[:, j] = m[:, j - degree]
            for i in range(1, degree + 1):
                used = polynomials[rows] >> np.uint64(degree - i) & np.uint64(1)
                m[:, j] ^= used * (m[:, j - i] << np.uint64(i))
        integers[rows] = m
    numbers = integers << np.arange(BITS - 1, -1, -1, dtype=np.uint64)
    numbers.flags.writeable = False
    return numbers


def _joe_kuo(dimensions: int) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Polynomials (dimensions,) and initial integers (dimensions, 18); found without importing `scipy.stats`."""
    package = importlib.util.find_spec("scipy")
    path = Path(package.origin).parent / "stats" / "_sobol_direction_numbers.npz" if package and package.origin else None
    if path is None or not path.is_file():
        raise CapacityError("UPM-CP-080", f"the Joe-Kuo direction numbers are not where SciPy keeps them ({path}). "
                            "Install SciPy 1.7 or later, or use the philox sampler.")
    with np.load(path) as table:
        return table["poly"][:dimensions].astype(np.uint64), table["vinit"][:dimensions].astype(np.uint64)
