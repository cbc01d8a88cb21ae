"""Load for sampling error: `multiple` standard errors of the core's expected shortfall.

amount = multiple x SE(ES) x multiplier of the core. With multiple = 2 the margin covers the true expected shortfall in about 97.5 % of
seeds where the standard error is reliable. Source: house choice; the standard error is the one reported beside every figure.
"""

from __future__ import annotations

from typing import Any

from upm_gpu.margin.requests import Charge, Measured, MeasureRequest, floor_at_zero

NAME = "sampling_error"


def requests(core: MeasureRequest, parameters: dict[str, Any]) -> list[MeasureRequest]:
    """Only what the core asks for already."""
    return [core]


def charge(measured: Measured, core: MeasureRequest, multiplier: float, parameters: dict[str, Any]) -> Charge:
    """(U,) amounts in the reporting currency."""
    multiple = float(parameters.get("multiple", 2.0))
    amount = multiple * multiplier * measured.measures[core].expected_shortfall_standard_error
    return floor_at_zero(NAME, amount, f"{multiple:g} standard errors of the expected shortfall")
