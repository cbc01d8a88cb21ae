"""Correlation regimes of a drawn set: several square roots, of which every scenario draws one for the whole of its path."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Regimes:
    """Scenario s moves by root[q], q the number of thresholds below the uniform at (s >> shift, 0, 0, stream).

    The roots stand where the set's own square root stands: (K, K), lower triangular or full as that one is, or the loadings of a
    factor model with the specific part as its last column. A set without regimes has one root and draws nothing.
    """

    threshold: NDArray[np.float64]
    """(Q - 1,) cumulative probabilities, ascending"""
    root: NDArray[np.float64]
    """(Q, K, M)"""
    stream: int
    """stream word of the uniform"""
    shift: int = 0
    """1 where the scenarios of an antithetic pair share their regime"""
