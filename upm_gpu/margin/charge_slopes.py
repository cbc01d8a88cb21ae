"""What all charges together owe to each thing that was measured: derivatives by unit, row and line, from one backward pass through the charges' own arithmetic (`adjoint.py`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from upm_gpu.margin.adjoint import Traced, gradient, traced
from upm_gpu.margin.composition import kept
from upm_gpu.margin.requests import Measured, MeasureRequest, StressRequest

if TYPE_CHECKING:
    from upm_gpu.margin.methodology import ChargeInForce

FIELDS = ("quantity", "notional", "value", "delta", "gamma", "vega", "theta")
"""of exposures: what is linear in quantity"""


@dataclass(frozen=True)
class ChargeSlopes:
    """Derivatives of the sum of a unit's charges, in the shapes of what they are taken in."""

    shortfall: dict[MeasureRequest, NDArray[np.float64]]
    quantile: dict[MeasureRequest, NDArray[np.float64]]
    core: NDArray[np.float64]
    core_standard_error: NDArray[np.float64]
    gross_notional: NDArray[np.float64]
    stressed: dict[StressRequest, NDArray[np.float64]]
    exposures: dict[str, NDArray[np.float64]]
    """by field of FIELDS; empty where no charge asks"""
    value: NDArray[np.float64]
    """(L,) of what is posted, at market"""
    counted: NDArray[np.float64]
    """(L,) of what of it counts"""


def charge_slopes(measured: Measured, core: MeasureRequest, multiplier: float, in_force: Sequence[ChargeInForce]) -> ChargeSlopes:
    """Of the charges that count; of a `largest_of` group that of the largest."""
    leaves: dict[Any, Traced] = {}

    def leaf(key: Any, values: NDArray) -> Any:
        return leaves.setdefault(key, traced(values))

    noted: Any = replace(
        measured, core=leaf("core", measured.core), core_standard_error=leaf("error", measured.core_standard_error), gross_notional=leaf("gross", measured.gross_notional),
        measures={r: replace(m, expected_shortfall=leaf(("shortfall", r), m.expected_shortfall), value_at_risk=leaf(("quantile", r), m.value_at_risk)) for r, m in measured.measures.items()},
        stressed={r: replace(s, pnl=leaf(("stressed", r), s.pnl)) for r, s in measured.stressed.items()},
        exposures=None if measured.exposures is None else replace(measured.exposures, **{f: leaf(f, getattr(measured.exposures, f)) for f in FIELDS}),
        pledged=None if measured.pledged is None else replace(measured.pledged, value=leaf("posted", measured.pledged.value), counted=leaf("counted", measured.pledged.counted)))
    plain = [c.module.charge(measured, core, multiplier, c.parameters) for c in in_force]
    total: Any = 0.0
    for own, stays in zip(in_force, kept(plain, [c.largest_of for c in in_force]), strict=True):
        total = total + np.sum(own.module.charge(noted, core, multiplier, own.parameters).amount * stays)
    found = dict(zip(leaves, gradient(total, np.array(1.0), list(leaves.values())), strict=True))
    nothing = np.zeros(0)
    return ChargeSlopes({r: found["shortfall", r] for r in measured.measures}, {r: found["quantile", r] for r in measured.measures}, found["core"], found["error"], found["gross"],
                        {r: found["stressed", r] for r in measured.stressed}, {} if measured.exposures is None else {f: found[f] for f in FIELDS},
                        found.get("posted", nothing), found.get("counted", nothing))
