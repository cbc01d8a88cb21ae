"""Wrong-way collateral: what is posted loses its value in the very move that makes the account lose.

  amount = sum over listed assets of rate x value counted of the asset posted, where the unit also loses from a fall of it or of what it is tied to

An asset is `own` of underlyings (`tied`: {"FTT": ["SOL"]}; every asset is tied to itself): where the unit's net delta in any of them, collateral included, is positive, its collateral is wrong-way.
Simulated collateral already moves with its own price in the scenarios; the charge is for the part they do not hold, the fall of an issuer's own token with the issuer.

Source: wrong-way rules of CPMI-IOSCO's Principles (5, collateral) and the own-token exclusions that venues made after November 2022; rates are house choices. Jumps where net delta changes its sign: stated, because what
is posted either hedges or does not. Not sub-additive. Not a Monte Carlo figure.
"""

from __future__ import annotations

import numpy as np
from pydantic import Field, model_validator

from upm_gpu.margin.requests import (
    Charge,
    ExposureRequest,
    Measured,
    MeasureRequest,
    PledgedRequest,
    Request,
    floor_at_zero,
)
from upm_gpu.margin.units import sum_by
from upm_gpu.strict_toml import Strict

NAME = "wrong_way"


class Parameters(Strict):
    """Keys of the charge."""

    rates: dict[str, float] = Field(description="by asset posted, share of its counted value")
    tied: dict[str, list[str]] = Field(default={}, description="underlyings whose fall takes the asset along, beside itself")

    @model_validator(mode="after")
    def _fits(self) -> Parameters:
        wrong = [a for a, r in self.rates.items() if not 0.0 <= r <= 1.0]
        if wrong:
            raise ValueError(f"rate of {', '.join(wrong)} must be from 0 to 1")
        return self


def requests(core: MeasureRequest, parameters: Parameters) -> list[Request]:
    """What is held and what is posted."""
    return [ExposureRequest(), PledgedRequest()]


def charge(measured: Measured, core: MeasureRequest, multiplier: float, parameters: Parameters) -> Charge:
    """(U,) amounts in the reporting currency."""
    held, pledged, units = measured.exposures, measured.pledged, len(measured.units)
    assert held is not None
    assert pledged is not None
    amount = np.zeros(units)
    for asset, rate in sorted(parameters.rates.items()):
        if asset not in pledged.assets:
            continue
        loses = np.zeros(units, bool)
        for underlying in (asset, *parameters.tied.get(asset, ())):
            if underlying in measured.underlyings:
                of_it = held.underlying == measured.underlyings.index(underlying)
                loses |= sum_by(held.unit, np.where(of_it, held.delta, 0.0), units) > 0.0
        posted = sum_by(pledged.unit, np.where(pledged.asset == pledged.assets.index(asset), pledged.counted, 0.0), units)
        amount = amount + rate * np.maximum(posted, 0.0) * loses
    return floor_at_zero(NAME, amount, "collateral that falls with what the account holds")
