"""One barrier, or none: the twin of `kernels/single_barrier.cuh` by quadrature over the end of the path, the hit by the Brownian bridge.

The columns are those of the kernel: what is paid at expiry in a region of the end (`region` +1 above the strike, -1 below, 0 everywhere) if the
barrier was hit (`knock_in` 1) or was not (0), what is paid at the hit, and what is paid at expiry where it was never hit.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from upm_gpu.formula.differences import (
    CASE_BEYOND_BARRIER,
    CASE_FOUND,
    CASE_OUTPUTS,
    CASE_UNDEFINED,
    filled,
    gauss,
    with_differences,
)
from upm_gpu.formula.normal import normal_density
from upm_gpu.formula.operation import Columns, Operation

BARRIER_SHIFT = 0.5825971579390106
"""-zeta(1/2) / sqrt(2 pi): Broadie, Glasserman and Kou (1997), "A continuity correction for discrete barrier options"."""

INPUTS = ("spot", "forward", "time_to_expiry", "rate", "dividend_yield", "volatility", "strike", "region", "asset", "cash", "barrier", "up", "knock_in", "hit",
          "hit_payment", "hit_asset", "miss_payment", "fixings")
_ABSENT = {"spot": np.nan, "forward": np.nan, "rate": 0.0, "dividend_yield": 0.0, "strike": 1.0, "region": 0.0, "asset": 0.0, "cash": 0.0, "barrier": 1.0,
           "up": 1.0, "knock_in": 1.0, "hit": 1.0, "hit_payment": 0.0, "hit_asset": 0.0, "miss_payment": 0.0, "fixings": 0.0}
REACH = 9.0
"""standard deviations integrated over: the normal law has 1e-19 beyond"""


def _distance(c: Columns) -> NDArray[np.float64]:
    """ln(H / S) to the barrier, moved away from the spot where it is looked at on fixings only."""
    level = np.where(np.isnan(c["forward"]), c["spot"], c["forward"])
    n = c["fixings"]
    shift = np.where(n > 0.0, c["up"] * BARRIER_SHIFT * c["volatility"] * np.sqrt(c["time_to_expiry"] / np.where(n > 0.0, n, 1.0)), 0.0)
    return np.log(c["barrier"] / level) + shift


def _price(c: Columns) -> NDArray[np.float64]:
    on_forward, hit = ~np.isnan(c["forward"]), c["hit"] != 0.0
    level = np.where(on_forward, c["forward"], c["spot"])
    years = np.maximum(c["time_to_expiry"], 1e-40)
    volatility = np.maximum(c["volatility"], 1e-20)
    s = volatility * np.sqrt(years)
    slope = np.where(on_forward, 0.0, c["rate"] - c["dividend_yield"]) - 0.5 * volatility**2
    m, h = slope * years, _distance(c)
    place = np.where(hit, -REACH, np.clip((h - m) / s, -REACH, REACH))
    strike = np.where(c["region"] == 0.0, -REACH, np.clip((np.log(c["strike"] / level) - m) / s, -REACH, REACH))

    paid, touched = np.zeros(level.shape), np.zeros(level.shape)
    ends = np.sort(np.stack([np.full(level.shape, -REACH), place, strike, np.full(level.shape, REACH)]), axis=0)
    for low, high in pairwise(ends):
        z, weight = gauss(low, high)
        weight = weight * normal_density(z)
        x = m + s * z
        behind = c["up"] * (x - h) >= 0.0
        probability = np.where(hit | behind, 1.0, np.exp(np.minimum(-2.0 * h * (h - x) / s**2, 0.0)))
        inside = (c["region"] == 0.0) | (c["region"] * (z - strike) > 0.0)
        share = np.where(c["knock_in"] != 0.0, probability, 1.0 - probability)
        paid += np.sum(weight * share * inside * (c["asset"] * level * np.exp(x) + c["cash"]), axis=0)
        touched += np.sum(weight * probability, axis=0)
    discount = np.exp(-c["rate"] * years)

    # the hitting time t = T exp(-y) has the density |h| / (sigma sqrt(2 pi t^3)) exp(-(h - slope t)^2 / (2 sigma^2 t))
    y, weight = gauss(0.0, np.log(np.maximum(100.0 * s * s / (h * h), 1.0)), 12)
    t = years * np.exp(-y)
    density = np.abs(h) / (volatility * np.sqrt(2.0 * np.pi * t)) * np.exp(-((h - slope * t) ** 2) / (2.0 * volatility**2 * t))
    at_hit = np.where(hit, 1.0, np.sum(weight * density * np.exp(-c["rate"] * t), axis=0))
    asset = np.where(hit, level, c["barrier"] * at_hit)
    return discount * (paid + c["miss_payment"] * np.where(hit, 0.0, 1.0 - touched)) + c["hit_payment"] * at_hit + c["hit_asset"] * asset


def single_barrier_values(columns: dict[str, Any]) -> Columns:
    """Columns of INPUTS, (cases,), to CASE_OUTPUTS, (cases,); Greeks by differences.

    Reiner and Rubinstein (1991) have the closed forms; here the end of the path is integrated with the probability exp(-2 h (h - x) / s^2) that a bridge
    to x on the side of the spot has been at h. Verified: tests/known_answers/test_exotics.py.
    """
    c = filled(SINGLE_BARRIER, columns)
    level = np.where(np.isnan(c["forward"]), c["spot"], c["forward"])
    with np.errstate(all="ignore"):
        defined = (level > 0.0) & (c["time_to_expiry"] >= 0.0) & (c["volatility"] >= 0.0) & np.isfinite(c["rate"] + c["dividend_yield"])
        defined &= (c["region"] == 0.0) | (c["strike"] > 0.0)
        defined &= (c["hit"] != 0.0) | ((c["barrier"] > 0.0) & (c["volatility"] > 0.0))
        beyond = (c["hit"] == 0.0) & ~(c["up"] * _distance(c) > 0.0)
        status = np.where(~defined, CASE_UNDEFINED, np.where(beyond, CASE_BEYOND_BARRIER, CASE_FOUND)).astype(float)
    return with_differences(_price, c, status)


SINGLE_BARRIER = Operation(10, "single_barrier", INPUTS, CASE_OUTPUTS, _ABSENT, single_barrier_values)
"""`kernels/single_barrier.cuh`"""
