"""European options under a law of the forward given by its moment function: the twin of `kernels/model_option.cuh`, by plain quadrature."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from upm_gpu.formula.differences import with_differences
from upm_gpu.formula.implied_volatility import implied_volatility
from upm_gpu.formula.operation import GREEKS, Columns

MODEL_OPTION_INPUTS = ("spot", "forward", "strike", "time_to_expiry", "rate", "dividend_yield", "sign", "inverse")
MODEL_OPTION_OUTPUTS = (*GREEKS, "implied_volatility", "price_coin", "delta_coin", "status")
MODEL_OPTION_ABSENT = {"spot": np.nan, "forward": np.nan, "rate": 0.0, "dividend_yield": 0.0, "inverse": 0.0}
"""Columns shared with `kernels/model_option.cuh`; a model's own inputs follow."""

MODEL_FOUND, MODEL_UNDEFINED, MODEL_UNSETTLED, MODEL_EXPLOSIVE = 0, 4, 40, 41

LogMoment = Callable[[Any], Any]
"""complex s, any shape, to ln M(s)"""


def fourier_call(log_moneyness: float, log_moment: LogMoment) -> float:
    """Undiscounted call over the strike, from ln M(s) = ln E[(S_T / F)^s], by the formula of Lewis (2000) on Re s = 1/2.

    C / K = e^k - e^(k/2) / pi x integral_0^inf Re[M(1/2 + iu) e^(iuk)] / (u^2 + 1/4) du, in Gauss-Legendre panels of 64 points that grow with u until the
    integrand is below 1e-19. Absolute error some 1e-15 of the forward; far wings keep no relative accuracy.
    """
    node, weight = np.polynomial.legendre.leggauss(64)
    total, start, width = 0.0, 0.0, min(1.0, 10.0 / max(abs(log_moneyness), 0.1))
    for _ in range(20_000):
        u = start + 0.5 * width * (node + 1.0)
        term = np.exp(log_moment(0.5 + 1j * u) + 1j * u * log_moneyness) / (u * u + 0.25)
        total += 0.5 * width * float(weight @ term.real)
        start += width
        if np.abs(term).max() * start < 1e-19:
            break
        width = min(0.5 * start, 40.0 / max(abs(log_moneyness), 1e-3))
    return float(np.exp(log_moneyness) - np.exp(0.5 * log_moneyness) / np.pi * total)


def model_option_values(c: Columns, status: NDArray[np.float64], at_once: NDArray[np.bool_], log_moment: Callable[[dict[str, float]], LogMoment]) -> Columns:
    """MODEL_OPTION_OUTPUTS of the cases `c`, (cases,), whose column `volatility` is that of vega; NaN where `status` is not 0.

    `log_moment` gives the function of a case at its clock; `at_once` marks cases without variance. Greeks are differences of prices.
    """
    on_forward = ~np.isnan(c["forward"])

    def price(at: Columns) -> NDArray[np.float64]:
        out = np.full(status.shape, np.nan)
        for i in np.flatnonzero(status == MODEL_FOUND):
            one = {name: float(column[i]) for name, column in at.items()}
            level = one["forward"] if on_forward[i] else one["spot"]
            carry = 0.0 if on_forward[i] else one["rate"] - one["dividend_yield"]
            years, strike = one["time_to_expiry"], one["strike"]
            k = float(np.log(level / strike)) + carry * years
            call = max(float(np.expm1(k)), 0.0) if at_once[i] else fourier_call(k, log_moment(one))
            if one["sign"] < 0.0:
                call -= float(np.expm1(k))
            out[i] = np.exp(-(carry if one["inverse"] else one["rate"]) * years) * strike * call
        return out

    out = with_differences(price, c, status)
    level = np.where(on_forward, c["forward"], c["spot"])
    with np.errstate(all="ignore"):
        carry = np.where(on_forward, 0.0, c["rate"] - c["dividend_yield"])
        years, inverse = c["time_to_expiry"], c["inverse"] != 0.0
        forward = level * np.exp(carry * years)
        undiscounted = out["price"] * np.exp(np.where(inverse, carry, c["rate"]) * years)
        out["implied_volatility"] = implied_volatility(forward, c["strike"], np.log(level / c["strike"]) + carry * years, years, undiscounted, c["sign"])[0]
        out["price_coin"] = np.where(inverse, out["price"] / level, np.nan)
        # a coin is worth the level: the undiscounted delta of a forward is that of Black
        out["delta_coin"] = out["delta"] - out["price_coin"]
    return {name: out[name] for name in MODEL_OPTION_OUTPUTS}


def checked(c: Columns, *signed: str) -> NDArray[Any]:
    """Where the terms of an option and the model's columns of 0 or more (all but `signed`) are defined."""
    level = np.where(np.isnan(c["forward"]), c["spot"], c["forward"])
    good = (level > 0.0) & (c["strike"] > 0.0) & np.isfinite(c["rate"]) & (np.isfinite(c["dividend_yield"]) | ~np.isnan(c["forward"]))
    for name in ("time_to_expiry", *(n for n in c if n not in MODEL_OPTION_INPUTS)):
        good &= np.isfinite(c[name]) if name in signed else c[name] >= 0.0
    return good
