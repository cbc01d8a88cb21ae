"""Stress: the worst loss over given moves, deterministic ones and past ones by their dates, as a floor or a weighted blend.

  worst  = max(0, max over moves of share x loss)
  floor:   amount = max(0, worst - core), so that core + amount >= worst
  blend:   amount = max(0, weight (worst - core)): (1 - weight) core + weight worst, never below the core

The moves happen today, the time not passing; core is that of the methodology with its multiplier. Deterministic moves are written in the methodology (`[[charges.scenarios]]`) or in a scenario file that ships
with the package (`file`); dates (`[[charges.dates]]`) take what every factor of the model did between two closes of the history (`calibrate/dated.py`). `share` counts a part of an
extreme move's loss, as SPAN counts 35 % of its two outer scenarios.

Source: weight 0.25 is EMIR RTS 153/2013 article 28(1)(b), at least 25 % on stressed observations; the floor is that of Eurex Prisma's stress-period risk measure. Moves: the methodology says. No standard
error: nothing is drawn, but the core it is held against is, so the charge falls by what the core is too high.
"""

from __future__ import annotations

import tomllib
from typing import Literal

import numpy as np
from pydantic import Field

from upm_gpu.margin.requests import (
    Charge,
    Measured,
    MeasureRequest,
    PastMove,
    Request,
    Stress,
    StressRequest,
    floor_at_zero,
)
from upm_gpu.shipped import package_file
from upm_gpu.strict_toml import Strict

NAME = "stress"


class Move(Strict):
    """Relative changes of one asset."""

    price: float = Field(default=0.0, gt=-1.0, le=100.0, description="-0.2: a fall by a fifth")
    volatility: float = Field(default=0.0, gt=-1.0, le=100.0, description="of the 30-day at-the-money volatility; 0.5: half of itself more")


class Scenario(Strict):
    """A deterministic move."""

    name: str
    moves: dict[str, Move] = Field(description='by asset; "*" is every one not named')
    share: float = Field(default=1.0, gt=0.0, le=1.0, description="of its loss that counts")


class PastDate(Strict):
    """A move of the past."""

    name: str
    start: str = Field(pattern=r"^\d{4}-\d{2}-\d{2}$", description="the move is from this day's close")
    end: str = Field(pattern=r"^\d{4}-\d{2}-\d{2}$", description="to this day's")
    stand_in: str = Field(default="", description="asset whose moves are taken for one without closes on both days")
    share: float = Field(default=1.0, gt=0.0, le=1.0, description="of its loss that counts")


class Parameters(Strict):
    """Keys of the charge."""

    mode: Literal["floor", "blend"] = "floor"
    weight: float = Field(default=0.25, ge=0.0, le=1.0, description="of the worst loss in a blend")
    file: str = Field(default="", pattern=r"^(configs/scenario/[\w\-]+\.toml)?$", description="deterministic moves that ship with the package; blank: none")
    scenarios: list[Scenario] = Field(default=[])
    dates: list[PastDate] = Field(default=[])


def moves(parameters: Parameters) -> tuple[StressRequest, tuple[float, ...]]:
    """What is asked, and the share of each move."""
    scenarios = list(parameters.scenarios)
    if parameters.file:
        text = package_file(parameters.file).read_text(encoding="utf-8")
        scenarios = [Scenario.model_validate(s) for s in tomllib.loads(text)["stress"]] + scenarios
    given = tuple(Stress(s.name, tuple((a, m.price, m.volatility) for a, m in s.moves.items())) for s in scenarios)
    past = tuple(PastMove(d.name, d.start, d.end, d.stand_in) for d in parameters.dates)
    return StressRequest((*given, *past)), (*(s.share for s in scenarios), *(d.share for d in parameters.dates))


def requests(core: MeasureRequest, parameters: Parameters) -> list[Request]:
    """The moves, and the core."""
    return [core, moves(parameters)[0]]


def charge(measured: Measured, core: MeasureRequest, multiplier: float, parameters: Parameters) -> Charge:
    """(U,) amounts in the reporting currency."""
    request, shares = moves(parameters)
    found = measured.stressed[request]
    worst = np.max(-found.pnl * np.array(shares), axis=1, initial=0.0) if len(shares) else np.zeros(len(measured.units))
    over = worst - measured.core
    if parameters.mode == "blend":
        return floor_at_zero(NAME, parameters.weight * over, f"{parameters.weight:g} of what the worst of {len(shares)} given moves exceeds the core by")
    return floor_at_zero(NAME, over, f"what the worst of {len(shares)} given moves exceeds the core by")
