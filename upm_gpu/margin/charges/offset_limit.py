"""Offset limit: losses in one product class are offset by gains in another only so far.

  amount = ((1 - offset) (sum over classes of ES(class) - ES(unit)) + sum over classes c of (1 - offset_c) (sum over underlyings n of c of ES(c, n) - ES(c))) x multiplier,  ES = max(0, ES_core)

A class with an `offset` of its own also limits what its underlyings offset in one another. So core and charge lie between the unit together and the sum of what is not allowed to offset. An instrument is in the first of `classes` that fits; what fits none is a class of its own. With `offset` = 0 core and charge are the sum of the classes' own shortfalls (no offset between classes);
1 is full offset. Neither bracket is negative, by sub-additivity: all shortfalls are over the same scenarios, each instrument read at its own margin period, the first `count` of the run (0: all).

Source: EMIR RTS 153/2013 article 27, at most 80 % of the difference between the sum and the joint margin: the default of `offset`. With value-at-risk as the core measure the charge still compares
expected shortfalls. Standard error: a bound, the errors added up.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from upm_gpu.margin.requests import Charge, Classes, Measured, MeasureRequest, ProductClass, Request, floor_at_zero
from upm_gpu.strict_toml import Strict

NAME = "offset_limit"


class OffsetClass(Strict):
    """Instruments that offset one another, in full or by the class's own share between underlyings."""

    name: str
    kinds: list[Literal["spot", "future", "perpetual", "option"]] = Field(default=[], description="blank: all")
    underlyings: list[str] = Field(default=[], description="blank: all")
    offset: float = Field(default=1.0, ge=0.0, le=1.0, description="share of the difference between its underlyings alone and together that counts; below 1 they must be named")

    @model_validator(mode="after")
    def _named(self) -> OffsetClass:
        if self.offset < 1.0 and not self.underlyings:
            raise ValueError(f"class {self.name} has an offset of {self.offset:g} between underlyings and names none; list them")
        return self


class Parameters(Strict):
    """Keys of the charge."""

    classes: list[OffsetClass] = Field(min_length=1, description="an instrument is in the first that fits")
    offset: float = Field(default=0.8, ge=0.0, le=1.0, description="share of the difference that counts as offset")
    count: int = Field(default=0, ge=0, lt=2**32, description="scenarios, the first of the run's; 0: all")


def parts(core: MeasureRequest, parameters: Parameters) -> tuple[MeasureRequest, MeasureRequest, MeasureRequest]:
    """The whole unit, its classes, and those with limits inside taken apart by underlying (the same request where there is none)."""
    whole = replace(core, count=parameters.count)
    classes = tuple(ProductClass(c.name, tuple(c.kinds), tuple(c.underlyings)) for c in parameters.classes)
    apart = tuple(p for c, k in zip(parameters.classes, classes, strict=True) for p in ([replace(k, underlyings=(n,)) for n in k.underlyings] if c.offset < 1.0 else [k]))
    return whole, replace(whole, rows=Classes(classes)), replace(whole, rows=Classes(apart))


def requests(core: MeasureRequest, parameters: Parameters) -> list[Request]:
    """All three, what is the same once."""
    return list(dict.fromkeys(parts(core, parameters)))


def charge(measured: Measured, core: MeasureRequest, multiplier: float, parameters: Parameters) -> Charge:
    """(U,) amounts in the reporting currency."""
    whole, classes, underlyings = (measured.measures[r] for r in parts(core, parameters))
    size = len(parameters.classes) + 1
    of_class = np.maximum(classes.expected_shortfall, 0.0).reshape(-1, size)
    error_of_class = classes.expected_shortfall_standard_error.reshape(-1, size)
    scale = (1.0 - parameters.offset) * multiplier
    amount = scale * (of_class.sum(axis=1) - np.maximum(whole.expected_shortfall, 0.0))
    error = scale * (error_of_class.sum(axis=1) + whole.expected_shortfall_standard_error)
    own = [len(c.underlyings) if c.offset < 1.0 else 1 for c in parameters.classes]
    alone = np.maximum(underlyings.expected_shortfall, 0.0).reshape(-1, sum(own) + 1)
    error_alone = underlyings.expected_shortfall_standard_error.reshape(-1, sum(own) + 1)
    for c, (each, first) in enumerate(zip(parameters.classes, np.cumsum([0, *own])[:-1], strict=True)):
        inside, share = slice(first, first + own[c]), (1.0 - each.offset) * multiplier
        amount = amount + share * (alone[:, inside].sum(axis=1) - of_class[:, c])
        error = error + share * (error_alone[:, inside].sum(axis=1) + error_of_class[:, c])
    limited = "".join(f", {1.0 - c.offset:g} inside {c.name}" for c in parameters.classes if c.offset < 1.0)
    return floor_at_zero(NAME, amount, f"{1.0 - parameters.offset:g} of what {size} product classes would need more if each stood alone{limited}", error)
