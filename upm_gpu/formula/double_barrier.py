"""Two barriers: the twin of `kernels/double_barrier.cuh` by the sine series of the density between them, where the kernel sums images.

The columns are those of the kernel; `region`, `asset`, `cash` and the payments as in `formula/single_barrier.py`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from upm_gpu.formula.differences import (
    CASE_BEYOND_BARRIER,
    CASE_FOUND,
    CASE_NEGATIVE_RATE,
    CASE_OUTPUTS,
    CASE_UNDEFINED,
    filled,
    with_differences,
)
from upm_gpu.formula.normal import normal_cdf
from upm_gpu.formula.operation import Columns, Operation

INPUTS = ("spot", "forward", "time_to_expiry", "rate", "dividend_yield", "volatility", "strike", "region", "asset", "cash", "lower_barrier", "upper_barrier",
          "knock_in", "hit", "hit_payment", "miss_payment")
_ABSENT = {"spot": np.nan, "forward": np.nan, "rate": 0.0, "dividend_yield": 0.0, "strike": 1.0, "region": 0.0, "asset": 0.0, "cash": 0.0,
           "lower_barrier": 1.0, "upper_barrier": 1.0, "knock_in": 1.0, "hit": 1.0, "hit_payment": 0.0, "miss_payment": 0.0}
TERMS = 150
"""of the series, which falls as exp(-(n pi s / W)^2 / 2): enough for s / W above 0.02"""


def _price(c: Columns) -> NDArray[np.float64]:
    on_forward, hit = ~np.isnan(c["forward"]), c["hit"] != 0.0
    level = np.where(on_forward, c["forward"], c["spot"])
    years, volatility, rate = np.maximum(c["time_to_expiry"], 1e-40), c["volatility"], c["rate"]
    slope = np.where(on_forward, 0.0, rate - c["dividend_yield"]) - 0.5 * volatility**2
    s, m = volatility * np.sqrt(years), slope * years
    lower, upper = np.where(hit, -1.0, np.log(c["lower_barrier"] / level)), np.where(hit, 1.0, np.log(c["upper_barrier"] / level))
    width, tilt = upper - lower, slope / volatility**2
    k = np.log(c["strike"] / level)
    low = np.where(c["region"] > 0.0, k, -np.inf)
    high = np.where(c["region"] < 0.0, k, np.inf)
    n = np.arange(1, TERMS + 1)[:, None]
    wave = n * np.pi / width

    def survivors(a: Any, first: Any, last: Any) -> NDArray[np.float64]:
        """E[e^(a X); first < X < last, neither hit]: the n-th wave over an exponential has a closed integral."""
        power = a + tilt

        def part(x: Any) -> Any:
            return np.exp(power * x) * (power * np.sin(wave * (x - lower)) - wave * np.cos(wave * (x - lower))) / (power**2 + wave**2)

        fall = np.exp(-0.5 * (wave**2 * s**2 + (m / s) ** 2))
        return np.where(last > first, np.sum(2.0 / width * fall * np.sin(-wave * lower) * (part(last) - part(first)), axis=0), 0.0)

    def everywhere(a: float) -> NDArray[np.float64]:
        centre = m + a * s * s
        return np.exp(a * m + 0.5 * a * a * s * s) * (normal_cdf((high - centre) / s) - normal_cdf((low - centre) / s))

    def paid(a: float) -> NDArray[np.float64]:
        kept = np.where(hit, 0.0, survivors(a, np.maximum(low, lower), np.minimum(high, upper)))
        return np.where(c["knock_in"] != 0.0, everywhere(a) - kept, kept)

    missed = np.where(hit, 0.0, survivors(0.0, lower, upper))
    # exp(-q x) times a combination of exp(+-g x): one paid at a hit without an expiry
    root = np.sqrt(np.maximum(slope**2 + 2.0 * rate * volatility**2, 1e-12 * volatility**4)) / volatility**2

    def side(far: Any, near: Any) -> Any:
        """exp(q far) sinh(g (x - near)) / sinh(g (far - near)) exp(-q x) at 0 and over the survivors."""
        scale = np.exp(tilt * far) / np.sinh(root * (far - near))
        rising, falling = survivors(root - tilt, lower, upper), survivors(-root - tilt, lower, upper)
        return scale * np.sinh(-root * near), 0.5 * scale * (np.exp(-root * near) * rising - np.exp(root * near) * falling)

    ahead, left = (u + v for u, v in zip(side(upper, lower), side(lower, upper), strict=True))
    discount = np.exp(-rate * years)
    at_hit = np.where(hit, 1.0, ahead - discount * left)
    return discount * (c["asset"] * level * paid(1.0) + c["cash"] * paid(0.0) + c["miss_payment"] * missed) + np.where(c["hit_payment"] != 0.0, c["hit_payment"] * at_hit, 0.0)


def double_barrier_values(columns: dict[str, Any]) -> Columns:
    """Columns of INPUTS, (cases,), to CASE_OUTPUTS, (cases,); Greeks by differences.

    The density between the barriers solves the heat equation: sum of exp(-n^2 pi^2 s^2 / (2 W^2)) sin(n pi (x - l) / W), tilted by the drift (Pelsser 2000,
    "Pricing double barrier options using Laplace transforms"). Verified: tests/known_answers/test_exotics.py.
    """
    c = filled(DOUBLE_BARRIER, columns)
    level = np.where(np.isnan(c["forward"]), c["spot"], c["forward"])
    with np.errstate(all="ignore"):
        hit = c["hit"] != 0.0
        carry = np.where(np.isnan(c["forward"]), c["rate"] - c["dividend_yield"], 0.0)
        defined = (level > 0.0) & (c["time_to_expiry"] >= 0.0) & (c["volatility"] >= 0.0) & np.isfinite(c["rate"] + c["dividend_yield"])
        defined &= (c["region"] == 0.0) | (c["strike"] > 0.0)
        defined &= hit | ((c["lower_barrier"] > 0.0) & (c["volatility"] > 0.0))
        beyond = ~hit & ~((c["lower_barrier"] < level) & (level < c["upper_barrier"]))
        square = ((carry - 0.5 * c["volatility"] ** 2) ** 2 + 2.0 * c["rate"] * c["volatility"] ** 2) / c["volatility"] ** 4
        negative = ~hit & (c["hit_payment"] != 0.0) & (square * np.log(c["upper_barrier"] / c["lower_barrier"]) ** 2 < -1e-8)
        status = np.where(~defined, CASE_UNDEFINED, np.where(beyond, CASE_BEYOND_BARRIER, np.where(negative, CASE_NEGATIVE_RATE, CASE_FOUND))).astype(float)
    return with_differences(_price, c, status)


DOUBLE_BARRIER = Operation(11, "double_barrier", INPUTS, CASE_OUTPUTS, _ABSENT, double_barrier_values)
"""`kernels/double_barrier.cuh`"""
