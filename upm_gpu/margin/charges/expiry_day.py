"""Expiry day: what ends within hours is settled at one price, delivered, or pinned at its strike, and its hedge stays open.

  amount = rate x sum over contracts with days to expiry <= window of |quantity| x level x contract size x nearness

nearness of a future is 1, of an option exp(-z^2 / 2) with z = ln(K / S) / (volatility x sqrt(max(days, floor_days) / 365)): options far from the money end as they are. `volatility` is one figure for all.

Source: house choice, after the expiry-day treatments of clearing houses (a tenor below a month has its own shock: 90 FR 7722, 2025) and settlement averages of crypto venues (30 minutes before the hour), in which
the delta of an option runs off while its hedge does not. Linear in gross positions. Not a Monte Carlo figure.
"""

from __future__ import annotations

import numpy as np
from pydantic import Field

from upm_gpu.margin.requests import Charge, ExposureRequest, Measured, MeasureRequest, Request, floor_at_zero
from upm_gpu.margin.units import sum_by
from upm_gpu.strict_toml import Strict

NAME = "expiry_day"


class Parameters(Strict):
    """Keys of the charge."""

    window_days: float = Field(default=1.0, ge=0.0, le=31.0, description="what ends within so many days")
    rate: float = Field(default=0.01, ge=0.0, le=1.0, description="share of notional")
    volatility: float = Field(default=0.6, gt=0.0, le=10.0, description="a year, for how near the money is")
    floor_days: float = Field(default=0.25, gt=0.0, le=31.0, description="least time that nearness is measured over")


def requests(core: MeasureRequest, parameters: Parameters) -> list[Request]:
    """What is held."""
    return [ExposureRequest()]


def charge(measured: Measured, core: MeasureRequest, multiplier: float, parameters: Parameters) -> Charge:
    """(U,) amounts in the reporting currency."""
    held, p = measured.exposures, parameters
    assert held is not None
    ends = np.array([k in ("future", "option") for k in held.kind])[held.instrument] if len(held.instrument) else np.zeros(0, bool)
    ends &= held.days <= p.window_days
    option = np.isfinite(held.strike)
    with np.errstate(divide="ignore", invalid="ignore"):
        z = np.where(option, np.log(held.strike / held.level), 0.0) / (p.volatility * np.sqrt(np.maximum(held.days, p.floor_days) / 365.0))
    amount = p.rate * np.abs(held.notional) * np.exp(-0.5 * z * z)
    return floor_at_zero(NAME, sum_by(held.unit, np.where(ends, amount, 0.0), len(measured.units)), f"{100.0 * p.rate:g} % of what ends within {p.window_days:g} days, the nearer to the money the more")
