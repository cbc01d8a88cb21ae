"""Basis and roll: legs of different expiry on one underlying do not move by exactly the same factor.

  amount = sum over (underlying, expiry) of |D_e| x max(minimum_move, exp(annual_move x T_e) - 1)

D_e is the net delta in money of one expiry (spot and perpetuals: one leg with T = 0), T_e its years. Legs do not net: what the scenarios let offset across expiries is charged here for the
part they leave out. `spot_free`: spot holdings, simulated collateral among them, are no leg.

Source: the roll shock of Deribit's portfolio margin (its published answers: 0.00315725898 = 0.01 x (0.314538364 + 0.001187534), minimum 1 % of each leg, 7.5 % a year for BTC in 2024). A norm of
legs: sub-additive, and merged books never need more. Not a Monte Carlo figure.
"""

from __future__ import annotations

import numpy as np
from pydantic import Field

from upm_gpu.margin.cells import by_name, cells_by
from upm_gpu.margin.requests import Charge, ExposureRequest, Measured, MeasureRequest, Request, floor_at_zero
from upm_gpu.strict_toml import Strict

NAME = "basis"


class Parameters(Strict):
    """Keys of the charge."""

    minimum_move: float = Field(default=0.005, ge=0.0, le=1.0, description="of a leg, share of its delta")
    annual_move: float = Field(default=0.05, ge=0.0, le=5.0, description="of the forward over the spot, a year")
    minimum_moves: dict[str, float] = Field(default={}, description="by underlying")
    annual_moves: dict[str, float] = Field(default={}, description="by underlying")
    spot_free: bool = Field(default=True, description="spot is no leg")


def requests(core: MeasureRequest, parameters: Parameters) -> list[Request]:
    """What is held."""
    return [ExposureRequest()]


def charge(measured: Measured, core: MeasureRequest, multiplier: float, parameters: Parameters) -> Charge:
    """(U,) amounts in the reporting currency."""
    held, p = measured.exposures, parameters
    assert held is not None
    legs = cells_by(held.unit, held.underlying, held.days)
    spot = np.array([k == "spot" for k in held.kind])[held.instrument] if len(held.instrument) else np.zeros(0, bool)
    delta = np.abs(legs.total(np.where(spot & p.spot_free, 0.0, held.delta)))
    name = legs.column(1)
    least = by_name(measured.underlyings, p.minimum_moves, p.minimum_move)[name]
    move = np.maximum(least, np.expm1(by_name(measured.underlyings, p.annual_moves, p.annual_move)[name] * legs.key[:, 2] / 365.0))
    return floor_at_zero(NAME, legs.to_units(delta * move, len(measured.units)), "a move of every expiry's forward against the others")
