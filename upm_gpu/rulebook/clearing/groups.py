"""TIMS groups: gains and losses of class groups over the valuation points, offset inside a product group.

    loss of a product group at a point = sum of its classes' losses - offset x sum of its classes' gains
    requirement of a product group     = max(0, largest such loss, minimum)

The points are five equal steps down and five up of the range of the class, point k of one class beside point k of the others; a class group nets
everything on one underlying in full. Source: OCC's portfolio margin pages and user guide (ranges, ten equidistant points, offsets by group).
Verified: tests/known_answers/test_tims.py.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

STEPS = 5
"""on either side"""


def valuation_points(down: float, up: float) -> NDArray[np.float64]:
    """(10,) price moves from -down to +up, today's price left out.

    >>> valuation_points(0.08, 0.06).round(3).tolist()
    [-0.08, -0.064, -0.048, -0.032, -0.016, 0.012, 0.024, 0.036, 0.048, 0.06]
    """
    steps = np.arange(1, STEPS + 1) / STEPS
    return np.concatenate([-down * steps[::-1], up * steps])


def group_loss(pnl: NDArray[np.float64], offset: NDArray[np.float64] | float) -> NDArray[np.float64]:
    """(..., 10) loss of a product group at every point; pnl (..., C, 10) of its classes, offset 0 to 1 (no gains count, or all)."""
    gains, losses = np.maximum(pnl, 0.0).sum(axis=-2), np.maximum(-pnl, 0.0).sum(axis=-2)
    return np.asarray(losses - offset * gains)


def requirement(loss: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """(...) largest loss, floored at 0, and its point."""
    return np.maximum(loss.max(axis=-1), 0.0), np.argmax(loss, axis=-1)
