"""Values read from a table on a lattice by the cubic through four nodes a side; twin of `table_value` in `kernels/families.cuh`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def cubic_weights(u: Any) -> tuple[Any, Any, Any, Any]:
    """Lagrange weights of the nodes 0, 1, 2, 3 at u.

    >>> cubic_weights(1.0)
    (-0.0, 1.0, -0.0, 0.0)
    """
    a, b, c = u - 1.0, u - 2.0, u - 3.0
    return -(a * b) * c / 6.0, (u * b) * c * 0.5, -(u * a) * c * 0.5, (u * a) * b / 6.0


def table_values(low: tuple[float, float], inverse_step: tuple[float, float], values: NDArray[np.float64], first: Any, second: Any) -> NDArray[np.float64]:
    """Values at points of two coordinates that broadcast; node (i, j) of `values` lies at low + (i, j) / inverse_step. Beyond the ends the end's value is used."""
    starts, weights = [], []
    for axis, x in enumerate((first, second)):
        nodes = values.shape[axis]
        p = np.minimum(np.maximum((x - low[axis]) * inverse_step[axis], 0.0), nodes - 1.0)
        start = np.minimum(np.maximum(p.astype(np.int64) - 1, 0), nodes - 4)
        starts.append(start)
        weights.append(cubic_weights(p - start))
    starts = list(np.broadcast_arrays(*starts))
    total: Any = 0.0
    for i in range(4):
        v = [weights[1][j] * values[starts[0] + i, starts[1] + j] for j in range(4)]
        total = total + weights[0][i] * (((v[0] + v[1]) + v[2]) + v[3])
    return np.asarray(total)
