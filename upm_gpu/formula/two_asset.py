"""Options on two assets: the twin of `kernels/two_asset.cuh`. It conditions on the first asset where the kernel conditions on the second."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from upm_gpu.formula.differences import CASE_FOUND, CASE_OUTPUTS, CASE_UNDEFINED, filled, gauss, with_differences
from upm_gpu.formula.normal import normal_cdf, normal_density
from upm_gpu.formula.operation import Columns, Operation

SPREAD, MAXIMUM, MINIMUM = 0.0, 1.0, 2.0
INPUTS = ("spot", "time_to_expiry", "rate", "dividend_yield", "volatility", "spot_2", "dividend_yield_2", "volatility_2", "correlation", "strike", "sign", "kind")
_ABSENT = {"rate": 0.0, "dividend_yield": 0.0, "dividend_yield_2": 0.0}


def _call(forward: Any, strike: Any, stdev: Any) -> Any:
    d = np.log(forward / np.where(strike > 0.0, strike, 1.0)) / stdev + 0.5 * stdev
    return np.where(strike > 0.0, forward * normal_cdf(d) - strike * normal_cdf(d - stdev), forward - strike)


def _price(c: Columns) -> NDArray[np.float64]:
    years = np.maximum(c["time_to_expiry"], 1e-40)
    rho, k, kind, call = c["correlation"], c["strike"], c["kind"], c["sign"] > 0.0
    root = np.sqrt(years)
    s, s2 = c["volatility"] * root, c["volatility_2"] * root
    drift, drift2 = ((c["rate"] - q) * years - 0.5 * v * v for q, v in ((c["dividend_yield"], s), (c["dividend_yield_2"], s2)))
    free = s2 * np.sqrt(np.maximum(1.0 - rho * rho, 1e-20))
    least, most = np.minimum(rho * s2, 0.0) - 9.0, np.maximum(np.maximum(rho * s2, s), 0.0) + 9.0  # the means of both assets' own measures are in it
    kink = np.where(k > 0.0, np.clip((np.log(np.where(k > 0.0, k, 1.0) / c["spot"]) - drift) / s, least, most), least)
    total = np.zeros(k.shape)
    for low, high in ((least, kink), (kink, most)):
        z, weight = gauss(low, high, 64, 16)
        x = c["spot"] * np.exp(drift + s * z)  # the first asset
        forward = c["spot_2"] * np.exp(drift2 + s2 * rho * z + 0.5 * free * free)
        over_x, over_k, gap = _call(forward, x, free), _call(forward, k, free), _call(forward, x - k, free)
        above = x > k
        # spread: (x - k - S2)+ by parity from the call on S2 struck at x - k
        spread = np.where(call, gap - forward + x - k, gap)
        best = np.where(above, x - k + over_x, over_k)
        worst = np.where(above, over_k - over_x, 0.0)
        highest, lowest = x + over_x, forward - over_x  # maximum and minimum of the two
        best_put, worst_put = best - highest + k, worst - lowest + k
        value = np.where(kind == SPREAD, spread, np.where(kind == MAXIMUM, np.where(call, best, best_put), np.where(call, worst, worst_put)))
        total += np.sum(weight * normal_density(z) * value, axis=0)
    return np.exp(-c["rate"] * years) * total


def two_asset_values(columns: dict[str, Any]) -> Columns:
    """Columns of INPUTS, (cases,), to CASE_OUTPUTS, (cases,): delta, gamma, vega and dividend_rho are those of the first asset.

    `kind` is SPREAD (S1 - S2 - K), MAXIMUM or MINIMUM of two. Given the first asset the second is lognormal, so one integral over the first is left.
    Verified: tests/known_answers/test_exotics.py, against Stulz's formula in tests/properties/test_exotic_laws.py.
    """
    c = filled(TWO_ASSET, columns)
    with np.errstate(all="ignore"):
        defined = (c["spot"] > 0.0) & (c["spot_2"] > 0.0) & (c["time_to_expiry"] >= 0.0) & (c["volatility"] >= 0.0) & (c["volatility_2"] >= 0.0)
        defined &= (np.abs(c["correlation"]) <= 1.0) & np.isfinite(c["rate"] + c["dividend_yield"] + c["dividend_yield_2"] + c["strike"])
        defined &= (c["kind"] == SPREAD) | (c["strike"] > 0.0)
    c["forward"] = np.full(c["spot"].shape, np.nan)
    return with_differences(_price, c, np.where(defined, CASE_FOUND, CASE_UNDEFINED).astype(float))


TWO_ASSET = Operation(14, "two_asset", INPUTS, CASE_OUTPUTS, _ABSENT, two_asset_values, cases_a_call=1 << 10)
"""`kernels/two_asset.cuh`"""
