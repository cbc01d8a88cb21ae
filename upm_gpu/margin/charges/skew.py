"""Skew: the wings of a smile move against the money, in either direction, expiry by expiry.

  m_i = clip(ln(K_i / S) / (width x sqrt(T_i)), -1, 1);   amount = sum over (underlying, expiry) of |sum_i V_i m_i| x move

V_i is the vega of a position in money a point, S the level of the underlying, T_i years. A smile that tilts adds m x move points to each strike; the sign of the tilt is free in every expiry, so expiries do not net.

Source: the linear skew scenario of Derive's PMRM v2 (each expiry contributes minus its absolute P&L; the strike scaled by a width growing with the root of time), which uses multiplicative moves; additive
points here. A norm of expiries: sub-additive. Not a Monte Carlo figure.
"""

from __future__ import annotations

import numpy as np
from pydantic import Field

from upm_gpu.margin.cells import by_name, cells_by
from upm_gpu.margin.requests import Charge, ExposureRequest, Measured, MeasureRequest, Request, floor_at_zero
from upm_gpu.strict_toml import Strict

NAME = "skew"


class Parameters(Strict):
    """Keys of the charge."""

    move: float = Field(default=3.0, ge=0.0, le=100.0, description="volatility points at the width")
    moves: dict[str, float] = Field(default={}, description="by underlying")
    width: float = Field(default=0.6, gt=0.0, le=10.0, description="log-moneyness over the root of years at which the move is whole")


def requests(core: MeasureRequest, parameters: Parameters) -> list[Request]:
    """What is held."""
    return [ExposureRequest()]


def charge(measured: Measured, core: MeasureRequest, multiplier: float, parameters: Parameters) -> Charge:
    """(U,) amounts in the reporting currency."""
    held, p = measured.exposures, parameters
    assert held is not None
    option = np.isfinite(held.strike) & (held.days > 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        place = np.where(option, np.clip(np.log(held.strike / held.level) / (p.width * np.sqrt(held.days / 365.0)), -1.0, 1.0), 0.0)
    smiles = cells_by(held.unit, held.underlying, held.days)
    tilt = np.abs(smiles.total(held.vega * place))
    move = by_name(measured.underlyings, p.moves, p.move)[smiles.column(1)]
    return floor_at_zero(NAME, smiles.to_units(tilt * move, len(measured.units)), "a tilt of every expiry's smile")
