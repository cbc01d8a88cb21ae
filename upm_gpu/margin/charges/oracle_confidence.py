"""Oracle confidence: where the price feed of an underlying is unsure, its positions need more.

  amount = rate x sum over underlyings with confidence c < threshold of (1 - c) x gross notional

`confidence` is the operator's figure of the feed, by underlying, 1 where it is not listed.

Source: the oracle contingency of Derive's PMRM v2: (1 - confidence) x margin x notional below a threshold (0.55 and 1 in its published vectors). Linear in gross positions; it jumps where the confidence crosses the threshold,
not where quantities change. Not a Monte Carlo figure.
"""

from __future__ import annotations

import numpy as np
from pydantic import Field, model_validator

from upm_gpu.margin.cells import by_name
from upm_gpu.margin.requests import Charge, ExposureRequest, Measured, MeasureRequest, Request, floor_at_zero
from upm_gpu.margin.units import sum_by
from upm_gpu.strict_toml import Strict

NAME = "oracle_confidence"


class Parameters(Strict):
    """Keys of the charge."""

    threshold: float = Field(default=0.55, ge=0.0, le=1.0, description="confidence below which the charge begins")
    rate: float = Field(default=1.0, ge=0.0, le=1.0, description="of notional for each unit of confidence missing")
    confidence: dict[str, float] = Field(default={}, description="by underlying, 0 to 1")

    @model_validator(mode="after")
    def _fits(self) -> Parameters:
        wrong = [name for name, c in self.confidence.items() if not 0.0 <= c <= 1.0]
        if wrong:
            raise ValueError(f"confidence of {', '.join(wrong)} must be from 0 to 1")
        return self


def requests(core: MeasureRequest, parameters: Parameters) -> list[Request]:
    """What is held."""
    return [ExposureRequest()]


def charge(measured: Measured, core: MeasureRequest, multiplier: float, parameters: Parameters) -> Charge:
    """(U,) amounts in the reporting currency."""
    held, p = measured.exposures, parameters
    assert held is not None
    confidence = by_name(measured.underlyings, p.confidence, 1.0)
    missing = np.where(confidence < p.threshold, 1.0 - confidence, 0.0)[held.underlying]
    return floor_at_zero(NAME, p.rate * sum_by(held.unit, missing * np.abs(held.notional), len(measured.units)), f"feeds less sure than {p.threshold:g}")
