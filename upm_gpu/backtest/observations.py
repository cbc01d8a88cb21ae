"""What came, counted: the fields of a clearing house's back-test result.

Names follow the monthly result of ISO 20022 message auth.066 (CCP back-testing result report): number of observations and exceptions, achieved coverage, the largest
and the average exception; `iso20022.py` writes the message. An exception is a loss above the margin (or value-at-risk) of its day.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from upm_gpu.errors import InputError


@dataclass(frozen=True)
class Observations:
    """Of one portfolio; amounts positive, in the currency of the losses."""

    number_of_observations: int
    number_of_exceptions: int
    coverage: float
    """share of days the margin covered"""
    largest_exception: float
    """largest loss above the margin; 0 without one"""
    average_exception: float
    hits: NDArray[np.bool_]
    """(T,)"""

    @property
    def first_exception(self) -> int | None:
        """Day of the first exception, 1 the first day; None without one."""
        return int(np.argmax(self.hits)) + 1 if self.hits.any() else None


def observe(losses: ArrayLike, margin: ArrayLike) -> Observations:
    """Losses (T,) against the margin of each day (T,) or one for all.

    >>> observe([1.0, 5.0, 2.0], 3.0).largest_exception
    2.0
    """
    loss, held = np.broadcast_arrays(np.asarray(losses, np.float64), np.asarray(margin, np.float64))
    if loss.ndim != 1 or not len(loss) or not np.all(np.isfinite(loss)) or not np.all(np.isfinite(held)):
        raise InputError("UPM-BT-009", "losses and margins must be finite, one of each a day, at least one day.")
    beyond = loss - held
    hits = beyond > 0.0
    excess = beyond[hits]
    return Observations(len(loss), len(excess), 1.0 - len(excess) / len(loss), float(excess.max(initial=0.0)), float(excess.mean()) if len(excess) else 0.0, hits)
