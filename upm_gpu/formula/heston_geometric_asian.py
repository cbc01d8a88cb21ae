"""Options on a geometric average under Heston's model: the twin of `kernels/heston_geometric_asian.cuh`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from upm_gpu.formula.differences import CASE_FOUND, CASE_OUTPUTS, CASE_UNDEFINED, filled
from upm_gpu.formula.operation import Columns, Operation

INPUTS = ("spot", "forward", "time_to_expiry", "rate", "dividend_yield", "strike", "sign", "initial_variance", "mean_reversion", "long_run_variance", "vol_of_vol",
          "correlation")
_ABSENT = {"spot": np.nan, "forward": np.nan, "rate": 0.0, "dividend_yield": 0.0}
STEPS, DAMPING = 600, 1.5


def _moment(c: dict[str, float], s: NDArray[np.complex128], level: float, carry: float) -> NDArray[np.complex128]:
    """E[G^s]: the Riccati equation in the time left, by Heun's third-order rule."""
    years, kappa, xi = c["time_to_expiry"], c["mean_reversion"], c["vol_of_vol"]
    dt = years / STEPS

    def slope(t: float, value: Any) -> Any:
        b = s * t / years
        return (c["correlation"] * xi * b - kappa) * value + 0.5 * xi**2 * value**2 + 0.5 * (b * b - b)

    value, total = np.zeros_like(s), np.zeros_like(s)
    for i in range(STEPS):
        t = i * dt
        k1 = slope(t, value)
        k2 = slope(t + dt / 3.0, value + dt / 3.0 * k1)
        k3 = slope(t + 2.0 * dt / 3.0, value + 2.0 * dt / 3.0 * k2)
        total += 0.25 * dt * (value + 3.0 * (value + 2.0 * dt / 3.0 * k2))
        value += 0.25 * dt * (k1 + 3.0 * k3)
    return np.exp(s * (np.log(level) + 0.5 * carry * years) + kappa * c["long_run_variance"] * total + c["initial_variance"] * value)


def _price(c: dict[str, float]) -> float:
    level = c["spot"] if np.isnan(c["forward"]) else c["forward"]
    carry = c["rate"] - c["dividend_yield"] if np.isnan(c["forward"]) else 0.0
    years, strike = c["time_to_expiry"], c["strike"]
    decay = c["mean_reversion"] * years
    variance = c["long_run_variance"] + (c["initial_variance"] - c["long_run_variance"]) * -np.expm1(-decay) / decay
    node, weight = np.polynomial.legendre.leggauss(400)
    end = 16.0 / np.sqrt(variance * years / 3.0)
    s = DAMPING + 0.5j * end * (node + 1.0)
    call = float(np.sum(0.5 * end * weight * (strike ** (1.0 - s) * _moment(c, s, level, carry) / (s * (s - 1.0))).real) / np.pi)
    if c["sign"] < 0.0:
        call += strike - float(_moment(c, np.ones(1, complex), level, carry).real[0])
    return float(np.exp(-c["rate"] * years) * call)


def heston_geometric_asian_values(columns: dict[str, Any]) -> Columns:
    """Columns of INPUTS, (cases,), to CASE_OUTPUTS, (cases,); vega and theta are not offered (NaN), the other Greeks are differences.

    The logarithm of the average over [0, T] is affine in the model's states, so its moments solve a Riccati equation; the call is their transform on the
    line Re s = 1.5 (Kim and Wee 2014 solve the equation by a series). Verified: tests/known_answers/test_exotics.py.
    """
    c = filled(HESTON_GEOMETRIC_ASIAN, columns)
    level = np.where(np.isnan(c["forward"]), c["spot"], c["forward"])
    with np.errstate(invalid="ignore"):
        defined = (level > 0.0) & (c["time_to_expiry"] > 0.0) & (c["strike"] > 0.0) & (c["initial_variance"] >= 0.0) & (c["long_run_variance"] >= 0.0)
        defined &= (c["initial_variance"] + c["long_run_variance"] > 0.0) & (c["mean_reversion"] > 0.0) & (c["vol_of_vol"] >= 0.0) & (np.abs(c["correlation"]) <= 1.0)
    out = {name: np.full(level.shape, np.nan) for name in CASE_OUTPUTS}
    out["status"] = np.where(defined, CASE_FOUND, CASE_UNDEFINED).astype(float)
    for i in np.flatnonzero(defined):
        case = {name: float(column[i]) for name, column in c.items()}
        name = "spot" if np.isnan(case["forward"]) else "forward"
        by = 1e-2 * level[i]
        far_down, down, middle, up, far_up = (_price(case | {name: case[name] + k * by}) for k in (-2, -1, 0, 1, 2))
        out["price"][i], out["delta"][i] = middle, (8.0 * (up - down) - far_up + far_down) / (12.0 * by)
        out["gamma"][i] = (16.0 * (up + down) - far_up - far_down - 30.0 * middle) / (12.0 * by * by)
        for rho, column in (("rho", "rate"), ("dividend_rho", "dividend_yield")):
            if rho == "rho" or name == "spot":
                out[rho][i] = (_price(case | {column: case[column] + 1e-3}) - _price(case | {column: case[column] - 1e-3})) / 2e-3
    return out


HESTON_GEOMETRIC_ASIAN = Operation(16, "heston_geometric_asian", INPUTS, CASE_OUTPUTS, _ABSENT, heston_geometric_asian_values, cases_a_call=64)
"""`kernels/heston_geometric_asian.cuh`"""
