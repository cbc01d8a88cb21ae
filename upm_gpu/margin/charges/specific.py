"""Specific charge: a named person's decision about one account, for a time, with a reason.

  amount = sum of the entries of the unit that are in force on the valuation date (`from` <= date < `until`), money, or `share` of its core

Source: model overrides of clearing houses, which the BCBS-CPMI-IOSCO proposals of January 2025 (d590) want named and disclosed; high-volatility control settings of OCC (89 FR 81958). Never negative. Not a Monte Carlo figure.
"""

from __future__ import annotations

import datetime

import numpy as np
from pydantic import Field, model_validator

from upm_gpu.margin.requests import Charge, Measured, MeasureRequest, Request, floor_at_zero
from upm_gpu.strict_toml import Strict

NAME = "specific"


class Entry(Strict):
    """One decision."""

    unit: str = Field(min_length=1, description="the account, or member/netting set")
    amount: float = Field(default=0.0, ge=0.0, description="money")
    share: float = Field(default=0.0, ge=0.0, le=10.0, description="of the core")
    reason: str = Field(min_length=1)
    decided_by: str = Field(min_length=1)
    begin: datetime.date
    until: datetime.date

    @model_validator(mode="after")
    def _fits(self) -> Entry:
        if self.until <= self.begin:
            raise ValueError("until must be after begin")
        if not self.amount and not self.share:
            raise ValueError("give an amount or a share")
        return self


class Parameters(Strict):
    """Keys of the charge."""

    entries: list[Entry] = Field(default=[], description="decisions")


def requests(core: MeasureRequest, parameters: Parameters) -> list[Request]:
    """Nothing that is not measured anyway."""
    return []


def charge(measured: Measured, core: MeasureRequest, multiplier: float, parameters: Parameters) -> Charge:
    """(U,) amounts in the reporting currency."""
    place = {name: u for u, name in enumerate(measured.units)}
    fixed, share, said = np.zeros(len(measured.units)), np.zeros(len(measured.units)), []
    for entry in parameters.entries:
        if entry.unit not in place or measured.valuation_date is None or not entry.begin <= measured.valuation_date < entry.until:
            continue
        u = place[entry.unit]
        fixed[u] += entry.amount
        share[u] += entry.share
        said.append(f"{entry.unit}: {entry.reason} ({entry.decided_by}, until {entry.until.isoformat()})")
    return floor_at_zero(NAME, fixed + share * measured.core, "; ".join(said) or "no decision is in force")
