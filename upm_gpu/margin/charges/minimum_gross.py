"""Minimum gross charge: margin is at least a share of what is held, long and short counted alike.

  amount = max(0, rate x gross notional - core)

A perfectly hedged book has no loss in any scenario of the model and still has to be closed. Source: minimum charges of portfolio margins on gross positions (futures contingency of Dederi, 0.6 % of gross; the
hedged-delta part of Paradex's minimum, 1 %). Linear in gross positions, so margin is sub-additive where the core is. Not a Monte Carlo figure.
"""

from __future__ import annotations

import numpy as np
from pydantic import Field

from upm_gpu.margin.requests import Charge, Measured, MeasureRequest, Request, floor_at_zero
from upm_gpu.strict_toml import Strict

NAME = "minimum_gross"


class Parameters(Strict):
    """Keys of the charge."""

    rate: float = Field(default=0.005, ge=0.0, le=1.0, description="share of the gross notional")


def requests(core: MeasureRequest, parameters: Parameters) -> list[Request]:
    """Nothing that is not measured anyway."""
    return []


def charge(measured: Measured, core: MeasureRequest, multiplier: float, parameters: Parameters) -> Charge:
    """(U,) amounts in the reporting currency."""
    amount = np.maximum(parameters.rate * measured.gross_notional - measured.core, 0.0)
    return floor_at_zero(NAME, amount, f"{100.0 * parameters.rate:g} % of the gross notional, where the core is less")
