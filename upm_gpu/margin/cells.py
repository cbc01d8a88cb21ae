"""Exposures summed into cells: (unit, underlying), with expiry or tenor where a charge looks at them. NumPy only, in the order of the entries."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from upm_gpu.margin.units import sum_by


@dataclass(frozen=True)
class Cells:
    """Distinct keys of entries, ascending; `key` (C, k), `place` (P,) the cell of each entry. The first key is the unit."""

    key: NDArray[np.float64]
    place: NDArray[np.int64]

    @property
    def unit(self) -> NDArray[np.int64]:
        """(C,) whose cell it is."""
        return self.key[:, 0].astype(np.int64)

    def column(self, number: int) -> NDArray[np.int64]:
        """(C,) a whole-number key."""
        return self.key[:, number].astype(np.int64)

    def total(self, amount: NDArray[np.float64]) -> NDArray[np.float64]:
        """(C,) sums of entries (P,)."""
        return sum_by(self.place, amount, len(self.key))

    def to_units(self, amount: NDArray[np.float64], units: int) -> NDArray[np.float64]:
        """(U,) sums of cells (C,)."""
        return sum_by(self.unit, amount, units)


def cells_by(*keys: NDArray) -> Cells:
    """Cells of entries by their keys (P,) each, the unit first.

    >>> cells_by(np.array([0, 0, 1]), np.array([2, 2, 2])).total(np.array([1.0, -3.0, 5.0])).tolist()
    [-2.0, 5.0]
    """
    stacked = np.stack([np.asarray(k, np.float64) for k in keys], axis=1)
    if not len(stacked):
        return Cells(stacked, np.zeros(0, np.int64))
    order = np.lexsort(stacked.T[::-1])  # a fifth of the time of np.unique over rows
    ordered = stacked[order]
    first = np.ones(len(order), bool)
    first[1:] = np.any(ordered[1:] != ordered[:-1], axis=1)
    place = np.empty(len(order), np.int64)
    place[order] = np.cumsum(first) - 1
    return Cells(ordered[first], place)


def by_name(names: tuple[str, ...], listed: dict[str, float], default: float) -> NDArray[np.float64]:
    """(N,) a parameter given by name, `default` for names that are not listed.

    >>> by_name(("A", "B"), {"B": 2.0}, 1.0).tolist()
    [1.0, 2.0]
    """
    return np.array([listed.get(name, default) for name in names], np.float64)
