"""Short-option minimum: an amount for every option sold short, however far from the money.

  minimum = sum over options of max(-quantity, 0) x rate x level of the underlying x contract size;   amount = max(0, minimum - core) (`floor`) or minimum (`add`)

The size of a contract is in `notional`. Options net only against the same instrument.

Source: SPAN's short option minimum, which the scanning risk may not fall below (CME Group, SPAN methodology), and the short-option charges of Deribit (0.01 of the index, net by strike) and OCC's TIMS (0.375 a contract).
`add` is linear in short positions and sub-additive; `floor` is the larger of two, so total margin is sub-additive where the core is. Not a Monte Carlo figure.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from upm_gpu.margin.cells import by_name
from upm_gpu.margin.requests import Charge, ExposureRequest, Measured, MeasureRequest, Request, floor_at_zero
from upm_gpu.margin.units import sum_by
from upm_gpu.strict_toml import Strict

NAME = "short_option_minimum"


class Parameters(Strict):
    """Keys of the charge."""

    rate: float = Field(default=0.01, ge=0.0, le=1.0, description="share of the notional of options sold short")
    rates: dict[str, float] = Field(default={}, description="by underlying")
    mode: Literal["floor", "add"] = Field(default="floor", description="floor under the core, or on top of it")


def requests(core: MeasureRequest, parameters: Parameters) -> list[Request]:
    """What is held."""
    return [ExposureRequest()]


def charge(measured: Measured, core: MeasureRequest, multiplier: float, parameters: Parameters) -> Charge:
    """(U,) amounts in the reporting currency."""
    held, p = measured.exposures, parameters
    assert held is not None
    short = np.isfinite(held.strike) & (held.quantity < 0.0)
    rate = by_name(measured.underlyings, p.rates, p.rate)[held.underlying]
    least = sum_by(held.unit, np.where(short, np.abs(held.notional) * rate, 0.0), len(measured.units))
    if p.mode == "floor":
        least = np.maximum(least - measured.core, 0.0)
    return floor_at_zero(NAME, least, f"{100.0 * p.rate:g} % of the notional of options sold short" + (", where the core is less" if p.mode == "floor" else ""))
