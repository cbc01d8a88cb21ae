"""Concentration: the two largest single names fail to hedge and are not hedged, in the manner of OCC's STANS.

  amount = weight x (ES_l(A) + ES_l(B) + ES_core(rest) - ES_core(H)) x multiplier

A and B are the parts of a unit in the two underlyings with the largest own expected shortfall at l = `level` (0.995), `not_eligible` ones (index factors) never among them; rest is what is left; weight
0.25. With one eligible name B is nothing, with none A too, and the rest is all: the formula shrinks by itself. By sub-additivity on common scenarios the amount is never negative where l is at
least the level of the core, so all four shortfalls are taken over the same scenarios, the first `count` of the run (0: all; STANS takes 10,000).

Source: OCC, STANS Margin Methodology (theocc.com, Risk Management, Margin Methodology; formulae of its appendix); SEC release 34-91079 (86 FR 9410, 2021). Standard error: a bound, weight x the sum of the four errors.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from upm_gpu.margin.requests import NAME as ONE_NAME
from upm_gpu.margin.requests import Charge, Measured, MeasureRequest, Request, Rest, floor_at_zero
from upm_gpu.strict_toml import Strict

NAME = "concentration"


class Parameters(Strict):
    """Keys of the charge."""

    weight: float = Field(default=0.25, ge=0.0, le=1.0, description="share of the difference that is charged")
    level: float = Field(default=0.995, ge=0.5, lt=1.0, description="confidence of the single names")
    names: int = Field(default=2, ge=1, le=20, description="how many single names")
    not_eligible: list[str] = Field(default=[], description="underlyings that are no single names, such as indices")
    count: int = Field(default=0, ge=0, lt=2**32, description="scenarios, the first of the run's; 0: all")


def parts(core: MeasureRequest, parameters: Parameters) -> tuple[MeasureRequest, MeasureRequest, MeasureRequest]:
    """Whole unit, single names, rest: over the same scenarios."""
    whole = replace(core, count=parameters.count)
    return whole, replace(whole, rows=ONE_NAME, level=parameters.level), replace(whole, rows=Rest(parameters.names, parameters.level, tuple(parameters.not_eligible)))


def requests(core: MeasureRequest, parameters: Parameters) -> list[Request]:
    """The three parts."""
    return list(parts(core, parameters))


def charge(measured: Measured, core: MeasureRequest, multiplier: float, parameters: Parameters) -> Charge:
    """(U,) amounts in the reporting currency."""
    whole, single, rest = parts(core, parameters)
    taken, measures = measured.largest[rest], measured.measures

    def over_names(per_name: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.sum(np.where(taken >= 0, per_name[taken], 0.0), axis=1) if len(per_name) else np.zeros(len(taken))

    amount = over_names(measures[single].expected_shortfall) + measures[rest].expected_shortfall - measures[whole].expected_shortfall
    error = over_names(measures[single].expected_shortfall_standard_error) + measures[rest].expected_shortfall_standard_error + measures[whole].expected_shortfall_standard_error
    scale = parameters.weight * multiplier
    return floor_at_zero(NAME, scale * amount, f"{parameters.weight:g} of what the unit would need more if its {parameters.names} largest single names stood alone", scale * error)
