"""Funding and fee provision: what holding perpetuals over the margin period and closing everything will cost.

  funding = sum over underlyings of |net notional of perpetuals| x rate_8h x (24 / 8) x days of the margin period
  fees    = sum over contracts of |notional| x fee, of options at most `option_fee_cap` of their value
  amount  = funding + fees

Source: Paradex's portfolio margin (funding provision of eight hours' expected funding and a fee provision on top of the scan; its fee cap on options), the rates are the user's own. Linear in positions (funding: a norm of
net positions), sub-additive. Not a Monte Carlo figure.
"""

from __future__ import annotations

import numpy as np
from pydantic import Field

from upm_gpu.margin.cells import by_name, cells_by
from upm_gpu.margin.requests import Charge, ExposureRequest, Measured, MeasureRequest, Request, floor_at_zero
from upm_gpu.margin.units import sum_by
from upm_gpu.strict_toml import Strict

NAME = "funding_and_fees"


class Parameters(Strict):
    """Keys of the charge."""

    rate_8h: float = Field(default=0.0001, ge=0.0, le=0.1, description="expected size of eight hours' funding")
    rates_8h: dict[str, float] = Field(default={}, description="by underlying")
    fee: float = Field(default=0.0005, ge=0.0, le=0.1, description="share of notional, to close")
    option_fee_cap: float = Field(default=0.125, ge=0.0, le=1.0, description="share of an option's value that its fee does not exceed")


def requests(core: MeasureRequest, parameters: Parameters) -> list[Request]:
    """What is held."""
    return [ExposureRequest()]


def charge(measured: Measured, core: MeasureRequest, multiplier: float, parameters: Parameters) -> Charge:
    """(U,) amounts in the reporting currency."""
    held, p, units = measured.exposures, parameters, len(measured.units)
    assert held is not None
    kind = np.array([*held.kind, ""], object)[held.instrument]
    names = cells_by(held.unit, held.underlying)
    net = np.abs(names.total(np.where(kind == "perpetual", held.delta, 0.0)))
    funding = names.to_units(net * by_name(measured.underlyings, p.rates_8h, p.rate_8h)[names.column(1)], units) * 3.0 * core.horizon
    fee = p.fee * np.abs(held.notional)
    fee = np.where(kind == "option", np.minimum(fee, p.option_fee_cap * np.abs(held.value)), np.where(kind == "spot", 0.0, fee))
    return floor_at_zero(NAME, funding + sum_by(held.unit, fee, units), "funding over the margin period and fees of closing")
