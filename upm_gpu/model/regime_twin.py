"""Which square root a scenario moves by: the plain twin of every backend's regimes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from upm_gpu.rng.normal import uniform_at
from upm_gpu.scenario.regimes import Regimes

Root: TypeAlias = "Callable[[int, int], float | NDArray[np.float64]]"
"""entry (row, column) of the square root: one number, or (S,) where scenarios differ"""


def regime_of(regimes: Regimes, seed: int, scenarios: NDArray[np.uint32]) -> NDArray[np.int64]:
    """(S,) number of the regime that each scenario draws."""
    u = uniform_at(seed, scenarios >> np.uint32(regimes.shift), 0, 0, regimes.stream)
    return np.searchsorted(regimes.threshold, u, side="left")


def square_root(own: NDArray[np.float64], regimes: Regimes | None, seed: int, scenarios: NDArray[np.uint32]) -> Root:
    """The entries of the set's own root, or of the root of each scenario's regime."""
    if regimes is None:
        return lambda row, column: float(own[row, column])
    drawn, roots = regime_of(regimes, seed, scenarios), regimes.root
    return lambda row, column: roots[drawn, row, column]
