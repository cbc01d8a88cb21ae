"""Forward-start options: the twin of `kernels/forward_start.cuh`, Greeks by differences."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from upm_gpu.formula.black import black_undiscounted
from upm_gpu.formula.differences import CASE_FOUND, CASE_OUTPUTS, CASE_UNDEFINED, filled, with_differences
from upm_gpu.formula.operation import Columns, Operation

INPUTS = ("spot", "forward", "time_to_expiry", "rate", "dividend_yield", "volatility", "moneyness", "start_time", "sign")
_ABSENT = {"spot": np.nan, "forward": np.nan, "rate": 0.0, "dividend_yield": 0.0}


def _price(c: Columns) -> NDArray[np.float64]:
    on_forward = ~np.isnan(c["forward"])
    level = np.where(on_forward, c["forward"], c["spot"])
    carry = np.where(on_forward, 0.0, c["rate"] - c["dividend_yield"])
    left = np.maximum(c["time_to_expiry"] - c["start_time"], 0.0)
    forward = np.exp(carry * left)
    unit = black_undiscounted(forward, c["moneyness"], carry * left - np.log(c["moneyness"]), c["volatility"] * np.sqrt(left), c["sign"])
    return level * np.exp(carry * c["start_time"] - c["rate"] * c["time_to_expiry"]) * unit


def forward_start_values(columns: dict[str, Any]) -> Columns:
    """Columns of INPUTS, (cases,), to CASE_OUTPUTS, (cases,).

    At `start_time` the strike is set to `moneyness` times the level; the option expires at `time_to_expiry`. Homogeneity in the level gives
    price = L e^(b start - r T) Black(e^(b t), moneyness), t = T - start (Rubinstein 1990, "Pay now, choose later"). The gamma is 0 until the start.
    Verified: tests/known_answers/test_exotics.py.
    """
    c = filled(FORWARD_START, columns)
    level = np.where(np.isnan(c["forward"]), c["spot"], c["forward"])
    with np.errstate(all="ignore"):
        defined = (level > 0.0) & (c["volatility"] >= 0.0) & (c["moneyness"] > 0.0) & (c["start_time"] >= 0.0) & (c["start_time"] <= c["time_to_expiry"])
        status = np.where(defined & np.isfinite(c["rate"] + c["dividend_yield"]), CASE_FOUND, CASE_UNDEFINED).astype(float)
    return with_differences(_price, c, status, moved=("start_time",))


FORWARD_START = Operation(12, "forward_start", INPUTS, CASE_OUTPUTS, _ABSENT, forward_start_values)
"""`kernels/forward_start.cuh`"""
