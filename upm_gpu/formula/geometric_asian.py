"""Options on a geometric average: the twin of `kernels/geometric_asian.cuh`, Greeks by differences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from upm_gpu.formula.black import black_undiscounted
from upm_gpu.formula.differences import CASE_FOUND, CASE_OUTPUTS, CASE_UNDEFINED, filled, with_differences
from upm_gpu.formula.operation import Columns, Operation

INPUTS = ("spot", "forward", "time_to_expiry", "rate", "dividend_yield", "volatility", "strike", "sign", "log_past", "share", "ahead", "mean_time",
          "variance_time")
_ABSENT = {"spot": np.nan, "forward": np.nan, "rate": 0.0, "dividend_yield": 0.0, "log_past": 0.0, "share": 1.0, "ahead": 1.0}


def average_times(times: Sequence[float], past: int = 0) -> dict[str, float]:
    """The columns share, ahead, mean_time and variance_time of fixings at `times` to come after `past` ones, all of equal weight.

    >>> average_times([0.5, 1.0])
    {'share': 1.0, 'ahead': 1.0, 'mean_time': 0.75, 'variance_time': 0.625}
    """
    t, total = np.sort(np.asarray(times, float)), len(times) + past
    # the k-th smallest time is the minimum of 2 (n - k) + 1 of the n^2 pairs
    pairs = 2.0 * np.arange(len(t))[::-1] + 1.0
    return {"share": len(t) / total, "ahead": int(np.count_nonzero(t > 0.0)) / total, "mean_time": float(t.sum()) / total,
            "variance_time": float(np.sum(pairs * t)) / total**2}


def _price(c: Columns) -> NDArray[np.float64]:
    on_forward = ~np.isnan(c["forward"])
    level = np.where(on_forward, c["forward"], c["spot"])
    carry = np.where(on_forward, 0.0, c["rate"] - c["dividend_yield"])
    passed = c["time_to_expiry"] - c["clock"]
    mean_time = c["mean_time"] + c["ahead"] * passed
    variance = c["volatility"] ** 2 * (c["variance_time"] + c["ahead"] ** 2 * passed)
    forward = np.exp(c["log_past"] + c["share"] * np.log(level) + (carry - 0.5 * c["volatility"] ** 2) * mean_time + 0.5 * variance)
    value = black_undiscounted(forward, c["strike"], np.log(forward / c["strike"]), np.sqrt(variance), c["sign"])
    return np.exp(-c["rate"] * c["time_to_expiry"]) * value


def geometric_asian_values(columns: dict[str, Any]) -> Columns:
    """Columns of INPUTS, (cases,), to CASE_OUTPUTS, (cases,).

    The average is lognormal, so the price is Black's on it (Kemna and Vorst 1990). `log_past` is (fixings so far / all) x ln(their average); the
    other columns come from `average_times`, or are T / 2 and T / 3 for an average over all of (0, T). Theta lets the clock run towards fixings that stay
    where they are. Verified: tests/known_answers/test_exotics.py.
    """
    c = filled(GEOMETRIC_ASIAN, columns)
    c["clock"] = c["time_to_expiry"].copy()
    level = np.where(np.isnan(c["forward"]), c["spot"], c["forward"])
    with np.errstate(all="ignore"):
        defined = (level > 0.0) & (c["volatility"] >= 0.0) & (c["strike"] > 0.0) & (c["variance_time"] >= 0.0) & (c["time_to_expiry"] >= 0.0)
        status = np.where(defined & np.isfinite(c["rate"] + c["dividend_yield"]), CASE_FOUND, CASE_UNDEFINED).astype(float)
    return with_differences(_price, c, status)


GEOMETRIC_ASIAN = Operation(13, "geometric_asian", INPUTS, CASE_OUTPUTS, _ABSENT, geometric_asian_values)
"""`kernels/geometric_asian.cuh`"""
