"""Dependence: what the margin would be if correlations failed, in the manner of OCC's STANS.

  amount = weight x (max(ES_l^H, ES_l^P, ES_l^Z) - ES_core^H) x multiplier

H the scenarios of the run, P and Z the same random numbers with perfect and zero correlation across underlyings (`model/across.py`), l = `level` (0.995), weight 0.25. With all three
sets in the maximum the amount is never negative where l is at least the level of the core: ES_l^H >= ES_core^H on the same scenarios.

Source: OCC, STANS Margin Methodology (theocc.com, Risk Management, Margin Methodology; formulae of its appendix); SEC release 34-91079 (86 FR 9410, 2021). P and Z may have their own `count` of scenarios (0: the run's; STANS takes
10,000); H is always the run's. Standard error: a bound, weight x (SE of the largest + SE of ES_core), reached only if the two were opposed; they move together, so it is too large.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from pydantic import Field

from upm_gpu.margin.requests import PERFECT, ZERO, Charge, Measured, MeasureRequest, Request, floor_at_zero
from upm_gpu.strict_toml import Strict

NAME = "dependence"


class Parameters(Strict):
    """Keys of the charge."""

    weight: float = Field(default=0.25, ge=0.0, le=1.0, description="share of the difference that is charged")
    level: float = Field(default=0.995, ge=0.5, lt=1.0, description="confidence of the three shortfalls")
    count: int = Field(default=0, ge=0, lt=2**32, description="scenarios of the perfect and the zero set; 0: the run's")


def sets(core: MeasureRequest, parameters: Parameters) -> tuple[MeasureRequest, ...]:
    """H, P and Z."""
    historical = replace(core, level=parameters.level)
    return historical, *(replace(historical, scenario_set=name, count=parameters.count) for name in (PERFECT, ZERO))


def requests(core: MeasureRequest, parameters: Parameters) -> list[Request]:
    """The three sets at `level`, and the core."""
    return [core, *sets(core, parameters)]


def charge(measured: Measured, core: MeasureRequest, multiplier: float, parameters: Parameters) -> Charge:
    """(U,) amounts in the reporting currency."""
    found = [measured.measures[r] for r in sets(core, parameters)]
    shortfall = np.stack([m.expected_shortfall for m in found])
    largest = np.argmax(shortfall, axis=0)
    base, scale = measured.measures[core], parameters.weight * multiplier
    error = np.take_along_axis(np.stack([m.expected_shortfall_standard_error for m in found]), largest[None], 0)[0] + base.expected_shortfall_standard_error
    return floor_at_zero(NAME, scale * (np.max(shortfall, axis=0) - base.expected_shortfall),
                         f"{parameters.weight:g} of what the expected shortfall at {100 * parameters.level:g} % exceeds the core by, under the worst of estimated, perfect and zero correlation", scale * error)
