"""European options under Heston and Bates: the twin of `kernels/heston_price.cuh`, another contour, rule and form of the moment function."""

from __future__ import annotations

from typing import Any

import numpy as np

from upm_gpu.formula.differences import filled
from upm_gpu.formula.merton_price import explosive, log_jump_moment
from upm_gpu.formula.model_option import (
    MODEL_EXPLOSIVE,
    MODEL_FOUND,
    MODEL_OPTION_ABSENT,
    MODEL_OPTION_INPUTS,
    MODEL_OPTION_OUTPUTS,
    MODEL_UNDEFINED,
    LogMoment,
    checked,
    model_option_values,
)
from upm_gpu.formula.operation import Columns, Operation

INPUTS = (*MODEL_OPTION_INPUTS, "initial_variance", "mean_reversion", "long_run_variance", "vol_of_vol", "correlation", "jump_intensity", "jump_mean",
          "jump_volatility", "second_jump_intensity", "second_jump_mean", "second_jump_volatility")
CLOCKS = ("jump", "second_jump")
"""prefixes of the columns of either clock of jumps"""
_ABSENT = {**MODEL_OPTION_ABSENT, **{f"{clock}_{name}": 0.0 for clock in CLOCKS for name in ("intensity", "mean", "volatility")}}


def log_heston_moment(s: Any, years: float, v0: float, kappa: float, theta: float, xi: float, rho: float) -> Any:
    """ln E[(S_T / F)^s] as in Albrecher et al. (2007), with g = (beta - d) / (beta + d)."""
    if xi == 0.0:
        average = theta * years + (v0 - theta) * (-np.expm1(-kappa * years) / kappa if kappa else years)
        return 0.5 * (s * s - s) * average
    beta = kappa - rho * xi * s
    d = np.sqrt(beta * beta - xi**2 * (s * s - s))
    g, left = (beta - d) / (beta + d), np.exp(-d * years)
    changed = kappa * theta / xi**2 * ((beta - d) * years - 2.0 * np.log((1.0 - g * left) / (1.0 - g)))
    return changed + v0 * (beta - d) / xi**2 * (1.0 - left) / (1.0 - g * left)


def heston_price_values(columns: dict[str, Any]) -> Columns:
    """Columns of INPUTS, (cases,), to MODEL_OPTION_OUTPUTS, (cases,).

    dS / S = (r - q - lambda m) dt + sqrt(v) dW + (e^J - 1) dN, dv = kappa (theta - v) dt + xi sqrt(v) dZ, corr(W, Z) = rho; jumps as in
    `formula/merton_price.py`, of one clock or of two that do not know of each other; none where the intensity is 0 or absent. Vega is the derivative in the initial volatility, the root of `initial_variance`.
    Heston (1993); Bates (1996). Verified: tests/known_answers/test_model_options.py.
    """
    c = filled(HESTON_PRICE, columns)
    with np.errstate(all="ignore"):
        good = checked(c, "jump_mean", "second_jump_mean", "correlation") & (np.abs(c["correlation"]) <= 1.0)
        status = np.where(~good, MODEL_UNDEFINED, np.where(explosive(c) | explosive(c, "second_jump"), MODEL_EXPLOSIVE, MODEL_FOUND)).astype(float)
        silent = [(c[f"{clock}_intensity"] == 0.0) | ((c[f"{clock}_mean"] == 0.0) & (c[f"{clock}_volatility"] == 0.0)) for clock in CLOCKS]
        no_jumps = silent[0] & silent[1]
        at_once = (c["time_to_expiry"] == 0.0) | (no_jumps & (c["initial_variance"] == 0.0) & (c["mean_reversion"] * c["long_run_variance"] == 0.0))
        c["volatility"] = np.sqrt(c["initial_variance"])

    def log_moment(one: dict[str, float]) -> LogMoment:
        years = one["time_to_expiry"]
        return lambda s: (log_heston_moment(s, years, one["volatility"] ** 2, one["mean_reversion"], one["long_run_variance"], one["vol_of_vol"], one["correlation"])
                          + sum(log_jump_moment(s, years, one[f"{clock}_intensity"], one[f"{clock}_mean"], one[f"{clock}_volatility"]) for clock in CLOCKS))

    return model_option_values(c, status, at_once, log_moment)


HESTON_PRICE = Operation(31, "heston_price", INPUTS, MODEL_OPTION_OUTPUTS, _ABSENT, heston_price_values)
"""`kernels/heston_price.cuh`"""
