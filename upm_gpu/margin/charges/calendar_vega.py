"""Calendar vega: volatilities of different tenors that offset each other in a parallel move do not move in parallel.

  w_b = (30 / max(T_b, 1))^power,  T_b the days of an expiry;   h_u = sum_b |w_b V_b| - |sum_b w_b V_b|;   amount = sum_u move x h_u / 2

V_b is the net vega of one expiry, money a volatility point; w puts it in points of the 30-day volatility, as the scenarios move it (`configs`, volatility decay 0.30 below 30 days, 0.13 above). h / 2 is
the vega that is hedged by another tenor: nothing where all tenors are long or all short. `move` is in points of the 30-day volatility.

Source: the vega spread contingency of Bybit's portfolio margin (days between expiries x hedged vega x rate) and OKX's MR3 (expiries shocked apart); here one move whatever the distance.
Never negative, continuous and homogeneous in quantity; not sub-additive: two books that are hedged apart may be unhedged together and less is charged, never more than the sum of |w V| / 2.
"""

from __future__ import annotations

import numpy as np
from pydantic import Field

from upm_gpu.margin.cells import by_name, cells_by
from upm_gpu.margin.requests import Charge, ExposureRequest, Measured, MeasureRequest, Request, floor_at_zero
from upm_gpu.strict_toml import Strict

NAME = "calendar_vega"


class Parameters(Strict):
    """Keys of the charge."""

    move: float = Field(default=3.0, ge=0.0, le=100.0, description="points of 30-day volatility, one tenor against another")
    moves: dict[str, float] = Field(default={}, description="by underlying")
    decay_short: float = Field(default=0.30, ge=0.0, le=1.0, description="power below 30 days")
    decay_long: float = Field(default=0.13, ge=0.0, le=1.0, description="power from 30 days on")


def requests(core: MeasureRequest, parameters: Parameters) -> list[Request]:
    """What is held."""
    return [ExposureRequest()]


def charge(measured: Measured, core: MeasureRequest, multiplier: float, parameters: Parameters) -> Charge:
    """(U,) amounts in the reporting currency."""
    held, p = measured.exposures, parameters
    assert held is not None
    tenors = cells_by(held.unit, held.underlying, held.days)
    days = np.maximum(tenors.key[:, 2], 1.0)
    vega = tenors.total(held.vega) * (30.0 / days) ** np.where(days < 30.0, p.decay_short, p.decay_long)
    names = cells_by(tenors.key[:, 0], tenors.key[:, 1])
    hedged = 0.5 * (names.total(np.abs(vega)) - np.abs(names.total(vega)))
    move = by_name(measured.underlyings, p.moves, p.move)[names.column(1)]
    return floor_at_zero(NAME, names.to_units(move * hedged, len(measured.units)), "a move of one tenor's volatility against another's")
