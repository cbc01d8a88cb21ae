"""Gap risk: one name jumps at once, and only one.

  loss(name, side) = loss of the unit where this name moves by its jump and its volatility by `volatility`, all others standing still
  amount = max(0, weight x largest loss over names and sides - core)

A floor under the core for books that live on one name's calm: Prisma's event risk for single stocks (Eurex circulars 043/20 and 014/21: -42.0 % and +28.9 %, then -53.3 % and +35.5 %) and ICE's idiosyncratic
add-on are of this kind. Names are those of `jumps`; the loss is repriced in full. As the larger of two sub-additive figures it keeps margin sub-additive where the core is. Not a Monte Carlo figure.
"""

from __future__ import annotations

import numpy as np
from pydantic import Field, model_validator

from upm_gpu.margin.requests import Charge, Measured, MeasureRequest, Request, Stress, StressRequest, floor_at_zero
from upm_gpu.strict_toml import Strict

NAME = "gap_risk"


class Parameters(Strict):
    """Keys of the charge."""

    jumps: dict[str, list[float]] = Field(description="by underlying [down, up], relative: [-0.4, 0.3]")
    volatility: float = Field(default=0.3, ge=0.0, le=5.0, description="relative move of the name's 30-day volatility")
    weight: float = Field(default=1.0, gt=0.0, le=1.0, description="share of the loss that is covered")

    @model_validator(mode="after")
    def _fits(self) -> Parameters:
        for name, sides in self.jumps.items():
            if len(sides) != 2 or not -1.0 < sides[0] <= 0.0 <= sides[1] <= 10.0:
                raise ValueError(f"jumps of {name} must be [down, up] with down from above -1 to 0 and up from 0 to 10")
        return self


def stresses(parameters: Parameters) -> StressRequest:
    """The jumps, name by name."""
    return StressRequest(tuple(Stress(f"{name} {100.0 * jump:+g} %", ((name, jump, parameters.volatility),)) for name, sides in sorted(parameters.jumps.items()) for jump in sides if jump))


def requests(core: MeasureRequest, parameters: Parameters) -> list[Request]:
    """P&L under every jump."""
    return [stresses(parameters)]


def charge(measured: Measured, core: MeasureRequest, multiplier: float, parameters: Parameters) -> Charge:
    """(U,) amounts in the reporting currency."""
    pnl = measured.stressed[stresses(parameters)].pnl
    worst = np.max(-pnl, axis=1, initial=0.0)
    return floor_at_zero(NAME, np.maximum(parameters.weight * worst - measured.core, 0.0), "the worst jump of a single name, where the core is less")
