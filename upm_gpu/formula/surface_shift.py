"""Level, skew and slope of a volatility surface to shifts of its expiries: twin of `kernels/surface_shift.cuh`.

An operation of `formula/derived.py`: inputs level, skew, slope (D, S) or None, outputs (3 E, D, S): shift of log-volatility, change of skew and logarithm of the
stretch of each expiry, and the scenarios in which each was corrected at any date (3 E,). reals: see the kernel. Shifts are loading x level + loading x slope.

Under `project` the shifts become the nearest (least squares in log-volatility) that leave no calendar arbitrage: isotonic regression of shift less the sum of
the gaps, here by its min-max formula (R. Barlow, D. Bartholomew, J. Bremner, H. Brunk, "Statistical inference under order restrictions", 1972); the kernel pools
neighbours, which is the same sequence. Changes of skew are held to what each smile bears, and the smile is drawn out as far as the
neediest expiry asks. Verified: tests/parity/test_surface_shift.py, tests/properties/test_surface_arbitrage.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

HEAD = ("expiries", "project", "delta", "skew_first", "skew_inverse", "skew_cells", "variance_first", "variance_inverse", "variance_cells")
MOST_EXPIRIES = 64
OUT_OF_ORDER, MOVED = 1e-12, 1e-9


def surface_shift(inputs: Sequence[Any], reals: NDArray[np.float64], dates: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """See the module."""
    head = dict(zip(HEAD, reals, strict=False))
    n, delta = int(head["expiries"]), bool(head["delta"])
    expiry = reals[len(HEAD) : len(HEAD) + 4 * n].reshape(n, 4)
    level = inputs[0]
    skew, slope = (np.zeros_like(level) if x is None else x for x in inputs[1:])
    shift = np.stack([a * level + b * slope for a, b in expiry[:, :2]])
    if not head["project"]:
        still = np.zeros_like(shift)
        return np.concatenate([shift, still + skew, shift if delta else still]), np.zeros(3 * n, np.int64)
    cells, heights = int(head["skew_cells"]), int(head["variance_cells"])
    first = len(HEAD) + 4 * n
    gap = reals[first : first + 3 * (n - 1) * cells].reshape(n - 1, cells, 3)
    table = reals[first + gap.size :].reshape(n, cells, heights, 5)
    cell, t = place(skew, head["skew_first"], head["skew_inverse"], cells)
    steps = [0.5 * (g[cell, 0] + t * (g[cell, 1] - g[cell, 0]) + 4.0 * t * (1.0 - t) * g[cell, 2]) for g in gap]
    offset = np.concatenate([np.zeros((1, *level.shape)), np.cumsum(steps, axis=0)]) if n > 1 else np.zeros((1, *level.shape))
    z = shift - offset
    falls = np.any(np.diff(z, axis=0) < -OUT_OF_ORDER, axis=0)
    moved = np.where(falls, ascending(z) + offset, shift)
    counts = [np.abs(moved - shift) > MOVED]
    held = np.stack([np.clip(skew, low, high) for low, high in expiry[:, 2:]])
    counts.append(held != skew)
    need = np.stack([_stretch(table[e], cell, t, 2.0 * moved[e], head["variance_first"], head["variance_inverse"], heights) for e in range(n)])
    least = level if delta else np.zeros_like(level)
    counts.append(need > least + MOVED)
    longest = np.maximum(least, need.max(axis=0))
    return np.concatenate([moved, held, np.broadcast_to(longest, moved.shape)]), np.concatenate([c.any(axis=1).sum(axis=1) for c in counts]).astype(np.int64)


def place(x: NDArray[np.float64], first: float, inverse: float, cells: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Cell of a table and place in it, held to the table."""
    p = np.clip((x - first) * inverse, 0.0, cells)
    cell = np.minimum(p.astype(np.int64), cells - 1)
    return cell, p - cell


def _stretch(table: NDArray[np.float64], cell: NDArray[np.int64], t: NDArray[np.float64], y: NDArray[np.float64], first: float, inverse: float,
             cells: int) -> NDArray[np.float64]:
    row, s = place(y, first, inverse, cells)
    c = np.moveaxis(table[cell, row], -1, 0)
    flat = (1.0 - t) * ((1.0 - s) * c[0] + s * c[1]) + t * ((1.0 - s) * c[2] + s * c[3])
    return flat + 4.0 * (t * (1.0 - t) + s * (1.0 - s)) * c[4] + np.maximum(y - (first + cells / inverse), 0.0)


def ascending(z: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n, ...) least-squares ascending sequence: max over i <= e of min over j >= e of the mean of z_i .. z_j."""
    n = len(z)
    best = np.full_like(z, -np.inf)
    for i in range(n):
        means = np.cumsum(z[i:], axis=0) / np.arange(1, n - i + 1).reshape(-1, *([1] * (z.ndim - 1)))
        lowest = np.minimum.accumulate(means[::-1], axis=0)[::-1]
        best[i:] = np.maximum(best[i:], lowest)
    return best
