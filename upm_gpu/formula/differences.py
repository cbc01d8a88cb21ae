"""Greeks of a twin by central differences of its price: plain and slow, the oracle of the kernels' jets (`kernels/jet.cuh`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from upm_gpu.formula.operation import GREEKS, Columns, Operation

CASE_FOUND, CASE_UNDEFINED, CASE_BEYOND_BARRIER, CASE_NEGATIVE_RATE = 0, 4, 10, 11
"""Statuses of an operation beside those of an implied volatility; `CaseStatus` in `kernels/case.cuh`."""

CASE_OUTPUTS = (*GREEKS, "status")
STEP = {"level": 3e-3, "volatility": 3e-3, "time_to_expiry": 3e-3, "rate": 1e-3, "dividend_yield": 1e-3}
"""Steps of the stencils: shares of the level, the volatility and the time, absolute for rates. With five points the truncation is (step / scale)^4 / 30,
some 1e-8 where a price varies on a scale of a tenth; rounding 1e-15 / step^2 for gamma."""


def filled(operation: Operation, columns: dict[str, Any]) -> Columns:
    """All inputs of an operation, (cases,) float64, absent ones filled; repeated ones (times, cases)."""
    fixed = [np.asarray(columns.get(name, operation.absent.get(name, np.nan)), float) for name in operation.inputs]
    repeats = {name: np.asarray(columns[name], float) for name in operation.repeated}
    cases = np.broadcast_shapes((1,), *(c.shape for c in fixed), *(block.shape[1:] for block in repeats.values()))
    return {name: np.array(np.broadcast_to(c, cases)) for name, c in zip(operation.inputs, fixed, strict=True)} | repeats


def with_differences(price: Callable[[Columns], NDArray[np.float64]], c: Columns, status: NDArray[np.float64], moved: tuple[str, ...] = ()) -> Columns:
    """CASE_OUTPUTS of the cases `c`: `price` and its derivatives; NaN where `status` is not 0.

    The level is `forward` where given, else `spot`. Time that passes shortens `time_to_expiry` and the columns `moved` alike.
    """
    on_forward = ~np.isnan(c["forward"])
    level = np.where(on_forward, c["forward"], c["spot"])

    def at(direction: str, steps: float) -> NDArray[np.float64]:
        if direction == "level":
            factor = 1.0 + steps * STEP["level"]
            return price(c | {"spot": c["spot"] * factor, "forward": c["forward"] * factor})
        if direction == "time_to_expiry":
            added = steps * STEP[direction] * c[direction]
            return price(c | {name: c[name] + added for name in (direction, *moved)})
        return price(c | {direction: c[direction] + steps * width(direction)})

    def width(direction: str) -> Any:
        return STEP[direction] * {"level": level, "volatility": c["volatility"], "time_to_expiry": c["time_to_expiry"]}.get(direction, 1.0)

    with np.errstate(all="ignore"):
        middle = price(c)
        out = {"price": middle}
        for name, direction in (("delta", "level"), ("vega", "volatility"), ("theta", "time_to_expiry"), ("rho", "rate"), ("dividend_rho", "dividend_yield")):
            far_up, up, down, far_down = (at(direction, s) for s in (2.0, 1.0, -1.0, -2.0))
            out[name] = (8.0 * (up - down) - (far_up - far_down)) / (12.0 * width(direction))
            if direction == "level":
                out["gamma"] = (16.0 * (up + down) - (far_up + far_down) - 30.0 * middle) / (12.0 * width(direction) ** 2)
    out["theta"] = -out["theta"]
    out["dividend_rho"] = np.where(on_forward, np.nan, out["dividend_rho"])
    return {name: np.where(status == CASE_FOUND, out[name], np.nan) for name in GREEKS} | {"status": status}


def gauss(low: Any, high: Any, panels: int = 4, points: int = 32) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Nodes and weights (panels x points, cases) of a composite Gauss-Legendre rule on [low, high]; no weight where high <= low."""
    node, weight = np.polynomial.legendre.leggauss(points)
    low, width = np.asarray(low, float), np.maximum(np.asarray(high, float) - low, 0.0) / panels
    starts = np.arange(panels)[:, None]
    at = (starts + 0.5 + 0.5 * node[None, :]).reshape(-1, 1)
    return low + at * width, np.tile(0.5 * weight, panels)[:, None] * width
