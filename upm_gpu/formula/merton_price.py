"""European options under Merton's jump diffusion: the twin of `kernels/merton_price.cuh`, by a Fourier integral where the kernel sums a series."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from upm_gpu.formula.differences import filled
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

INPUTS = (*MODEL_OPTION_INPUTS, "volatility", "jump_intensity", "jump_mean", "jump_volatility")
MOST_JUMPS = 1e4
"""expected up to expiry, under the measures of money and of the asset: the kernel's series has as many terms"""


def log_jump_moment(s: NDArray[np.complex128], years: float, intensity: float, mean: float, deviation: float) -> NDArray[np.complex128]:
    """ln E[e^(s J)] of the compensated jumps up to `years`: lambda T (e^(mu s + delta^2 s^2 / 2) - 1 - s (e^(mu + delta^2 / 2) - 1))."""
    return intensity * years * (np.expm1(mean * s + 0.5 * deviation**2 * s * s) - s * np.expm1(mean + 0.5 * deviation**2))


def explosive(c: Columns, clock: str = "jump") -> NDArray[np.bool_]:
    """Jumps of a clock too many or, on average, too large."""
    intensity = c[f"{clock}_intensity"]
    with np.errstate(all="ignore"):
        growth = c[f"{clock}_mean"] + 0.5 * c[f"{clock}_volatility"] ** 2
        jumps = intensity * c["time_to_expiry"]
        return (intensity > 0.0) & ~((growth < 50.0) & (jumps <= MOST_JUMPS) & (jumps * np.exp(growth) <= MOST_JUMPS))


def merton_price_values(columns: dict[str, Any]) -> Columns:
    """Columns of INPUTS, (cases,), to MODEL_OPTION_OUTPUTS, (cases,).

    dS / S = (r - q - lambda m) dt + sigma dW + (e^J - 1) dN, J ~ N(jump_mean, jump_volatility^2), m = E[e^J] - 1; `volatility` is sigma, that of the
    diffusion alone, and so is vega. Merton (1976). Verified: tests/known_answers/test_model_options.py.
    """
    c = filled(MERTON_PRICE, columns)
    good = checked(c, "jump_mean")
    status = np.where(~good, MODEL_UNDEFINED, np.where(explosive(c), MODEL_EXPLOSIVE, MODEL_FOUND)).astype(float)
    at_once = (c["time_to_expiry"] == 0.0) | ((c["volatility"] == 0.0) & (c["jump_intensity"] == 0.0))

    def log_moment(one: dict[str, float]) -> LogMoment:
        years, variance = one["time_to_expiry"], one["volatility"] ** 2
        return lambda s: 0.5 * variance * years * (s * s - s) + log_jump_moment(s, years, one["jump_intensity"], one["jump_mean"], one["jump_volatility"])

    return model_option_values(c, status, at_once, log_moment)


MERTON_PRICE = Operation(30, "merton_price", INPUTS, MODEL_OPTION_OUTPUTS, MODEL_OPTION_ABSENT, merton_price_values)
"""`kernels/merton_price.cuh`"""
