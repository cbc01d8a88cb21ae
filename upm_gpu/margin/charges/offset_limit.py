"""Offset limit: losses in one product class are offset by gains in another only so far.

  amount = (1 - offset) (sum over classes of max(0, ES_core(class)) - max(0, ES_core(unit))) x multiplier

An instrument is in the first of `classes` that fits; what fits none is a class of its own. With `offset` = 0 core and charge are the sum of the classes' own shortfalls (no offset between classes);
1 is full offset. Never negative, by sub-additivity: all shortfalls are over the same scenarios, each instrument read at its own margin period, the first `count` of the run (0: all).

Source: EMIR RTS 153/2013 article 27, at most 80 % of the difference between the sum and the joint margin: the default of `offset`. With value-at-risk as the core measure the charge still compares
expected shortfalls. Standard error: a bound, the errors added up.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
from pydantic import Field

from upm_gpu.margin.requests import Charge, Classes, Measured, MeasureRequest, ProductClass, Request, floor_at_zero
from upm_gpu.strict_toml import Strict

NAME = "offset_limit"


class OffsetClass(Strict):
    """Instruments that offset one another in full."""

    name: str
    kinds: list[Literal["spot", "future", "perpetual", "option"]] = Field(default=[], description="blank: all")
    underlyings: list[str] = Field(default=[], description="blank: all")


class Parameters(Strict):
    """Keys of the charge."""

    classes: list[OffsetClass] = Field(min_length=1, description="an instrument is in the first that fits")
    offset: float = Field(default=0.8, ge=0.0, le=1.0, description="share of the difference that counts as offset")
    count: int = Field(default=0, ge=0, lt=2**32, description="scenarios, the first of the run's; 0: all")


def parts(core: MeasureRequest, parameters: Parameters) -> tuple[MeasureRequest, MeasureRequest]:
    """The whole unit and its classes."""
    whole = replace(core, count=parameters.count)
    return whole, replace(whole, rows=Classes(tuple(ProductClass(c.name, tuple(c.kinds), tuple(c.underlyings)) for c in parameters.classes)))


def requests(core: MeasureRequest, parameters: Parameters) -> list[Request]:
    """Both."""
    return list(parts(core, parameters))


def charge(measured: Measured, core: MeasureRequest, multiplier: float, parameters: Parameters) -> Charge:
    """(U,) amounts in the reporting currency."""
    whole, classes = (measured.measures[r] for r in parts(core, parameters))
    size = len(parameters.classes) + 1
    apart = np.maximum(classes.expected_shortfall, 0.0).reshape(-1, size).sum(axis=1)
    error = classes.expected_shortfall_standard_error.reshape(-1, size).sum(axis=1) + whole.expected_shortfall_standard_error
    scale = (1.0 - parameters.offset) * multiplier
    return floor_at_zero(NAME, scale * (apart - np.maximum(whole.expected_shortfall, 0.0)), f"{1.0 - parameters.offset:g} of what {size} product classes would need more if each stood alone", scale * error)
