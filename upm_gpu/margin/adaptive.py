"""Run until the errors are small: batches of whole blocks, and when to stop.

An adaptive run stops after the first batch at which every margined unit's standard error of the core expected shortfall is at most
max(target x ES, 1e-5 x gross notional), or at the cap. Batch ends are fixed by the cap, the level and the sampler, so a run that was
interrupted stops where it would have stopped; up to its last scenario it is the fixed run of that size.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from upm_gpu.risk.tail import RELIABLE_TAIL
from upm_gpu.scenario.sets import BLOCK

GROWTH = 1.25
"""philox: scenarios more a batch, so that at most a quarter is drawn in vain; Sobol doubles, for points are good in powers of two"""
SHARE_OF_NOTIONAL = 1e-5
"""an error below this share of what an account holds is nobody's concern (house choice)"""


def batch_ends(cap: int, level: float, doubling: bool = False) -> list[int]:
    """Scenario counts after each batch, the last is `cap`. The first holds a tail of 200, below which errors are not reliable.

    >>> batch_ends(60_000, 0.99)
    [20480, 28672, 36864, 49152, 60000]
    """
    blocks = int(np.ceil(np.ceil(RELIABLE_TAIL / (1.0 - level)) / BLOCK))
    if doubling:
        blocks = 1 << (blocks - 1).bit_length()
    ends = []
    while blocks * BLOCK < cap:
        ends.append(blocks * BLOCK)
        blocks = 2 * blocks if doubling else int(np.ceil(blocks * GROWTH))
    return [*ends, cap]


def precise_enough(shortfall: NDArray[np.float64], error: NDArray[np.float64], gross_notional: NDArray[np.float64], target: float) -> bool:
    """Whether every unit's error is within its bound; shapes (U,)."""
    return bool(np.all(error <= np.maximum(target * shortfall, SHARE_OF_NOTIONAL * gross_notional)))
