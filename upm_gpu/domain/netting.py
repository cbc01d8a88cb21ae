"""Exact sums by group: what makes a book independent of how its positions are split and ordered."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

LOTS = 1e8
"""lots a contract: exchanges quote sizes in at most eight decimals"""


def sum_groups(values: NDArray[np.float64], starts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Sum of each run values[starts[g] : starts[g + 1]], independent of the order inside it; -0.0 becomes 0.0.

    Where every value of a run has at most eight decimals, the sum is taken in integer lots of 1e-8 and is the float64
    nearest to the decimal sum: 0.1 + 0.2 is 0.3, and splitting a position changes no bit. Elsewhere `math.fsum`, the float64
    nearest to the exact sum of the float64 values. `values` (n,), `starts` (g,) ascending from 0; gives (g,).
    Verified: tests/properties/test_book_order.py.
    """
    size = np.diff(starts, append=len(values))
    result = values[starts]
    many = size > 1
    if many.any():
        result[many] = _sum_runs(values[np.repeat(many, size)], np.cumsum(size[many]) - size[many])
    return result + 0.0


def _sum_runs(values: NDArray[np.float64], starts: NDArray[np.int64]) -> NDArray[np.float64]:
    lots = np.rint(values * LOTS)
    decimal = (lots / LOTS == values) & (np.abs(lots) < 2.0**53)
    gross = np.add.reduceat(np.where(decimal, np.abs(lots), 2.0**53), starts)
    result = np.add.reduceat(np.where(decimal, lots, 0.0).astype(np.int64), starts).astype(np.float64) / LOTS
    ends = np.append(starts[1:], len(values))
    for g in np.flatnonzero(gross >= 2.0**53):
        result[g] = math.fsum(values[starts[g] : ends[g]])
    return result


def group_starts(*keys: NDArray[np.generic]) -> NDArray[np.int64]:
    """Where runs of equal keys begin, for keys already sorted together."""
    n = len(keys[0])
    if n == 0:
        return np.zeros(0, np.int64)
    change = np.zeros(n, bool)
    change[0] = True
    for key in keys:
        change[1:] |= key[1:] != key[:-1]
    return np.flatnonzero(change)
