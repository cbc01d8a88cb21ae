"""A methodology asks, the engine measures, a charge only does arithmetic.

The three types between them: what is asked (`MeasureRequest`), what was measured (`Measured`), what it costs (`Charge`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class MeasureRequest:
    """One measurement: expected shortfall and value-at-risk of every margined unit at one horizon and level."""

    scenario_set: str
    """"base": the scenarios of the run"""
    horizon: float
    """days"""
    level: float
    """confidence, 0.99"""


@dataclass(frozen=True)
class Measure:
    """Arrays (U,) over margined units, losses positive, reporting currency."""

    expected_shortfall: NDArray[np.float64]
    expected_shortfall_standard_error: NDArray[np.float64]
    value_at_risk: NDArray[np.float64]
    value_at_risk_standard_error: NDArray[np.float64]
    reliable: NDArray[np.bool_]
    variance_ratio: NDArray[np.float64] | None = None
    """of importance sampling: variance of ES under plain sampling over its own; NaN for a unit without risk"""


@dataclass(frozen=True)
class Measured:
    """Everything a charge may read."""

    units: tuple[str, ...]
    measures: dict[MeasureRequest, Measure]
    core: NDArray[np.float64]
    """(U,) max(0, ES) x multiplier"""
    gross_notional: NDArray[np.float64]
    """(U,) sum of |quantity| x level"""


@dataclass(frozen=True)
class Charge:
    """One add-on: `amount` (U,) is at least 0; what was floored away is in `floored` (U,)."""

    name: str
    amount: NDArray[np.float64]
    floored: NDArray[np.float64]
    reason: str


def floor_at_zero(name: str, amount: NDArray[np.float64], reason: str) -> Charge:
    """A charge never lowers the margin: negative amounts become 0 and are reported."""
    return Charge(name, np.maximum(amount, 0.0), np.maximum(-amount, 0.0), reason)
