"""Liquidity horizons: what takes longer than the margin period to close out is at risk for longer, in the cascade of the market-risk standard (FRTB).

  days_u   = |net delta of the unit in u| / (participation x volume_u)
  horizon  = the first step of the ladder T = LH_1 < LH_2 < ... that is not below days_u, the last where all are
  cascade  = sqrt( M(P)^2 + sum over j >= 2 of M(P, j)^2 (LH_j - LH_(j-1)) / T )
  amount   = (cascade - M(P)) x multiplier, so that core + amount is the cascade where all have the run's scenarios

M is the core's measure over its margin period T, at least 0; P all that a unit holds, P(j) its part in underlyings whose horizon is LH_j or longer. A unit that closes everything within T pays nothing. Delta is
P&L for +100 % of the underlying, hedges netted; volume the delta traded a day, money. Steps of the ladder that are not above T fall away: the core holds them.

Source: Basel Committee on Banking Supervision, Minimum capital requirements for market risk (d457, 2019), MAR33.4 and 33.5: the cascade, there with T of ten days and horizons by class of risk factor; here horizons are those
of size against volume. Not sub-additive: two units merged may take longer than each alone, which is what the charge is for. What is delta-neutral has no horizon of its own (the cost of closing vega is
`liquidation_cost`). Standard error: a bound, the errors of the terms times their slopes, added up.
Verified by tests/end_to_end/test_liquidity_horizon.py.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from upm_gpu.margin.requests import Charge, Measure, Measured, MeasureRequest, Request, Slower, floor_at_zero
from upm_gpu.margin.units import sum_by
from upm_gpu.strict_toml import Strict

NAME = "liquidity_horizon"


class Parameters(Strict):
    """Keys of the charge."""

    ladder_days: list[float] = Field(default=[5.0, 10.0, 20.0, 40.0], min_length=1, max_length=12, description="horizons beyond the margin period, ascending")
    participation: float = Field(default=0.25, gt=0.0, le=1.0, description="share of a day's volume that can be closed")
    volume: dict[str, float] = Field(default={}, description="delta traded a day by underlying, money")
    default_volume: float = Field(default=1e12, gt=0.0, description="of underlyings not listed")
    count: int = Field(default=0, ge=0, lt=2**32, description="scenarios of the parts, the first of the run's; 0: all")

    @model_validator(mode="after")
    def _fits(self) -> Parameters:
        if any(b <= a for a, b in zip([0.0, *self.ladder_days], self.ladder_days, strict=False)):
            raise ValueError("ladder_days must be above 0 and ascend")
        if any(not v > 0.0 for v in self.volume.values()):
            raise ValueError("volumes must be above 0")
        return self


def parts(core: MeasureRequest, parameters: Parameters) -> tuple[MeasureRequest, MeasureRequest]:
    """The whole unit and its slower parts, over the same scenarios."""
    p = parameters
    steps = (core.horizon, *(d for d in p.ladder_days if d > core.horizon))
    daily = tuple(sorted((name, p.participation * v) for name, v in p.volume.items()))
    whole = replace(core, count=p.count)
    return whole, replace(whole, rows=Slower(steps, daily, p.participation * p.default_volume))


def requests(core: MeasureRequest, parameters: Parameters) -> list[Request]:
    """The core, and the parts."""
    return [core, *parts(core, parameters)]


def charge(measured: Measured, core: MeasureRequest, multiplier: float, parameters: Parameters) -> Charge:
    """(U,) amounts in the reporting currency."""
    whole, slow = parts(core, parameters)
    rows = slow.rows
    assert isinstance(rows, Slower)
    place, units = measured.slower[rows], len(measured.units)
    steps = np.array(rows.ladder)
    all_of, all_error = _of(measured.measures[whole], measured.quantile_core)
    part, part_error = _of(measured.measures[slow], measured.quantile_core)
    longer = np.diff(steps)[place.step] / steps[0]
    square = sum_by(place.unit, part * part * longer, units)
    cascade = np.sqrt(all_of * all_of + square)
    # the term of the whole cancels against the core but for its slope; where nothing is slow the amount is 0 and has no error
    safe = np.where(cascade > 0.0, cascade, 1.0)
    error = sum_by(place.unit, part * longer * part_error / safe[place.unit], units) + (1.0 - all_of / safe) * all_error * (square > 0.0)
    amount = np.where(square > 0.0, multiplier * (cascade - all_of), 0.0)
    return floor_at_zero(NAME, amount, f"parts that take longer than {steps[0]:g} days to close at {100 * parameters.participation:g} % of the volume are at risk for up to {steps[-1]:g} days", multiplier * error)


def _of(measure: Measure, quantile: bool) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    value, error = (measure.value_at_risk, measure.value_at_risk_standard_error) if quantile else (measure.expected_shortfall, measure.expected_shortfall_standard_error)
    return np.maximum(value, 0.0), error
