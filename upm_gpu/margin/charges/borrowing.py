"""Borrowing: interest on what is owed accrues until the account is closed out.

  amount = sum over assets owed of value owed at market x rate of the asset x days / 365

Owed is a negative balance of collateral, simulated or not. Simple interest on ACT/365 over `days`, or the margin period of risk where that is 0. Source: venues charge negative balances by the hour or day at a rate of the asset (Deribit's negative
balance interest, Drift's borrow rates); rates are the venue's own and change, so they are parameters. Linear in quantity, sub-additive: balances of one asset net inside a unit only where they are one account's. Not a Monte Carlo figure.
"""

from __future__ import annotations

import numpy as np
from pydantic import Field, model_validator

from upm_gpu.margin.requests import Charge, Measured, MeasureRequest, PledgedRequest, Request, floor_at_zero
from upm_gpu.margin.units import sum_by
from upm_gpu.strict_toml import Strict

NAME = "borrowing"
YEAR = 365.0


class Parameters(Strict):
    """Keys of the charge."""

    rates: dict[str, float] = Field(default={}, description="by asset owed, a year")
    default_rate: float = Field(ge=0.0, le=10.0, description="of assets not listed, a year")
    days: float = Field(default=0.0, ge=0.0, le=365.0, description="days of interest; 0: the margin period of risk")

    @model_validator(mode="after")
    def _fits(self) -> Parameters:
        wrong = [a for a, r in self.rates.items() if not 0.0 <= r <= 10.0]
        if wrong:
            raise ValueError(f"rate of {', '.join(wrong)} must be from 0 to 10, a year")
        return self


def requests(core: MeasureRequest, parameters: Parameters) -> list[Request]:
    """What is posted and owed."""
    return [PledgedRequest()]


def charge(measured: Measured, core: MeasureRequest, multiplier: float, parameters: Parameters) -> Charge:
    """(U,) amounts in the reporting currency."""
    pledged, p = measured.pledged, parameters
    assert pledged is not None
    days = p.days or core.horizon
    rate = np.array([p.rates.get(a, p.default_rate) for a in pledged.assets] or [0.0])
    owed = np.maximum(-pledged.value, 0.0)
    amount = sum_by(pledged.unit, owed * rate[pledged.asset] * (days / YEAR), len(measured.units))
    return floor_at_zero(NAME, amount, f"interest of {days:g} days on what is owed")
