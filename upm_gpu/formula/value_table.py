"""Values read from a table on a lattice by the cubic through four nodes a side; twin of `table_value` in `kernels/value_table.cuh`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def cubic(u: Any, v: Any) -> Any:
    """The cubic through the values v[0] to v[3] of the nodes 0 to 3, at u (Lagrange).

    >>> cubic(1.5, (0.0, 1.0, 8.0, 27.0))
    3.375
    """
    a, b, c = u - 1.0, u - 2.0, u - 3.0
    w0, w1, w2, w3 = -(a * (b * c)) / 6.0, 0.5 * (u * (b * c)), -0.5 * ((u * a) * c), ((u * a) * b) / 6.0
    return ((w0 * v[0] + w1 * v[1]) + w2 * v[2]) + w3 * v[3]


def table_values(low: tuple[float, float], inverse_step: tuple[float, float], values: NDArray[np.float64], first: Any, second: Any) -> NDArray[np.float64]:
    """Values at points of two coordinates that broadcast; node (i, j) of `values` lies at low + (i, j) / inverse_step. Beyond the ends the end's value is used."""
    places = []
    for axis, x in enumerate((first, second)):
        nodes = values.shape[axis]
        p = np.minimum(np.maximum((x - low[axis]) * inverse_step[axis], 0.0), nodes - 1.0)
        start = np.minimum(np.maximum(p.astype(np.int64) - 1, 0), nodes - 4)
        places.append((start, p - start))
    (i, u), (j, w) = places
    i, j = np.broadcast_arrays(i, j)
    return np.asarray(cubic(w, [cubic(u, [values[i + a, j + b] for a in range(4)]) for b in range(4)]))
