"""Load for sampling error: `multiple` standard errors of the core.

amount = multiple x SE(core), that of its expected shortfall or value-at-risk times the multiplier. With multiple = 2 the margin covers the true expected shortfall in about 97.5 % of
seeds where the standard error is reliable. Source: house choice; the standard error is the one reported beside every figure.
"""

from __future__ import annotations

from pydantic import Field

from upm_gpu.margin.requests import Charge, Measured, MeasureRequest, Request, floor_at_zero
from upm_gpu.strict_toml import Strict

NAME = "sampling_error"


class Parameters(Strict):
    """Keys of the charge."""

    multiple: float = Field(default=2.0, ge=0.0, le=10.0, description="standard errors")


def requests(core: MeasureRequest, parameters: Parameters) -> list[Request]:
    """Only what the core asks for already."""
    return [core]


def charge(measured: Measured, core: MeasureRequest, multiplier: float, parameters: Parameters) -> Charge:
    """(U,) amounts in the reporting currency."""
    return floor_at_zero(NAME, parameters.multiple * measured.core_standard_error, f"the standard error of the core, times {parameters.multiple:g}")
