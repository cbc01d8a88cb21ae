"""Options on an arithmetic average: the twin of `kernels/arithmetic_asian.cuh`, by backward induction where the kernel moves densities forward."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from upm_gpu.formula.differences import CASE_FOUND, CASE_OUTPUTS, CASE_UNDEFINED, filled
from upm_gpu.formula.operation import Columns, Operation

INPUTS = ("spot", "forward", "time_to_expiry", "rate", "dividend_yield", "volatility", "strike", "sign", "continuous", "past", "average_so_far", "price_only", "fixings")
_ABSENT = {"spot": np.nan, "forward": np.nan, "rate": 0.0, "dividend_yield": 0.0, "continuous": 0.0, "past": 0.0, "average_so_far": 1.0, "price_only": 0.0, "fixings": 0.0}
NODES = 500
"""of the spline in the strike left: prices to some 1e-6 of the level at 50 fixings"""


def _call(level: float, volatility: float, carry: float, times: NDArray[np.float64], weights: NDArray[np.float64], strike: float) -> tuple[float, float]:
    """Undiscounted E[(sum of weight x level at its time - strike)+], and the same without the option, E[sum] - strike.

    u_i(x) is the value over the level at fixing i where x is the strike less the part fixed so far, over that level: u_i(x) = E[R u_(i+1)(x / R - c_(i+1))],
    u = -x + E[rest] where x <= 0, and by Black's formula one fixing before the last.
    """
    from scipy.interpolate import CubicSpline

    from upm_gpu.formula.two_asset import _call as black

    gaps = np.diff(times, prepend=0.0)
    rest = 0.0  # E[what is still to be fixed] over the level
    grid = np.linspace(0.0, 6.0, NODES) ** 2 / 6.0 * weights.sum()

    def ahead(x: Any, i: int, later: Any, after: float) -> Any:
        """u before fixing i from u after it."""
        s, drift = volatility * np.sqrt(gaps[i]), (carry - 0.5 * volatility**2) * gaps[i]
        if later is None:
            return black(weights[i] * np.exp(carry * gaps[i]), x, s) if s > 0.0 else np.maximum(weights[i] - x, 0.0)
        # equal steps, fine enough for the smoothing that the later fixing left
        half = int(8.5 * max(2.0, 2.0 * np.sqrt(gaps[i] / gaps[i + 1])))
        z = np.arange(-half, half + 1) * (8.5 / half) * (s > 0.0)
        mass = np.exp(-0.5 * z * z)
        mass /= mass.sum()
        growth = np.exp(drift + s * z)[:, None]
        left = x / growth - weights[i]
        inside = np.where(left <= 0.0, after - left, np.where(left < grid[-1], later(np.clip(left, 0.0, grid[-1])), 0.0))
        return np.sum(mass[:, None] * growth * inside, axis=0)

    spline = None
    for i in range(len(times) - 1, 0, -1):
        values, after = ahead(grid, i, spline, rest), rest
        rest = (weights[i] + after) * np.exp(carry * gaps[i])
        spline = CubicSpline(grid, values, bc_type=((1, -1.0), (1, 0.0)))
    total = (weights[0] + rest) * np.exp(carry * gaps[0])
    plain = level * total - strike
    if strike <= 0.0:
        return plain, plain
    return level * float(ahead(np.array([strike / level]), 0, spline, rest)[0]), plain


def _price(c: dict[str, float], times: NDArray[np.float64]) -> float:
    level = c["spot"] if np.isnan(c["forward"]) else c["forward"]
    carry = c["rate"] - c["dividend_yield"] if np.isnan(c["forward"]) else 0.0
    moved = c["time_to_expiry"] - c["clock"]
    value = 0.0
    if c["continuous"]:
        grids = [(1.0 / 45.0, 16), (-20.0 / 45.0, 32), (64.0 / 45.0, 64)]
        for share, cells in grids:
            weights = np.full(cells + 1, 1.0 / cells)
            weights[[0, -1]] /= 2.0
            call, plain = _call(level, c["volatility"], carry, moved + np.linspace(0.0, c["clock"], cells + 1), weights, c["strike"])
            value += share * (call if c["sign"] > 0.0 else call - plain)
    else:
        total = len(times) + c["past"]
        strike = c["strike"] - c["average_so_far"] * c["past"] / total
        if not len(times):
            value = max(-c["sign"] * strike, 0.0)
        else:
            call, plain = _call(level, c["volatility"], carry, times + moved * (times > 0.0), np.full(len(times), 1.0 / total), strike)
            value = call if c["sign"] > 0.0 else call - plain
    return float(np.exp(-c["rate"] * c["time_to_expiry"]) * value)


def arithmetic_asian_values(columns: dict[str, Any]) -> Columns:
    """Columns of INPUTS, (cases,), and `fixing_time`, (fixings, cases), to CASE_OUTPUTS, (cases,); one case after the other.

    The average has equal weights, `past` of its fixings have the mean `average_so_far`, the others come at the ascending times before the first NaN;
    with `continuous` 1 all of [0, T] is averaged. Greeks by two-sided differences. Verified: tests/known_answers/test_exotics.py.
    """
    c = filled(ARITHMETIC_ASIAN, columns)
    fixings = c.pop("fixing_time")
    out = {name: np.full(c["spot"].shape, np.nan) for name in CASE_OUTPUTS}
    for i in range(len(out["price"])):
        case = {name: float(column[i]) for name, column in c.items()}
        case["clock"] = case["time_to_expiry"]
        column = fixings[:, i] if len(fixings) else np.zeros(0)
        times = column[np.cumprod(~np.isnan(column), dtype=bool)]
        level = case["spot"] if np.isnan(case["forward"]) else case["forward"]
        defined = level > 0.0 and case["time_to_expiry"] >= 0.0 and case["volatility"] > 0.0 and bool(case["continuous"] or len(times) + case["past"])
        defined &= bool(np.all(times >= 0.0) and np.all(times <= case["time_to_expiry"]) and np.all(np.diff(times) >= 0.0))
        out["status"][i] = CASE_FOUND if defined else CASE_UNDEFINED
        if not defined:
            continue

        def at(name: str, by: float, case: dict[str, float] = case, times: NDArray[np.float64] = times) -> float:
            return _price(case | {name: case[name] + by}, times)

        def slope(name: str, by: float, price: Any = at) -> float:
            return (price(name, by) - price(name, -by)) / (2.0 * by)

        name, by = ("spot" if np.isnan(case["forward"]) else "forward"), 3e-3 * level
        up, middle, down = (at(name, shift) for shift in (by, 0.0, -by))
        soonest = float(np.min(times[times > 0.0], initial=case["time_to_expiry"]))
        out["price"][i], out["delta"][i], out["gamma"][i] = middle, (up - down) / (2.0 * by), (up - 2.0 * middle + down) / by**2
        if case["price_only"]:  # vega and the rhos are not asked for
            continue
        out["vega"][i] = slope("volatility", 3e-3 * case["volatility"])
        if case["continuous"]:  # the average begins now: only later beginnings have the same form
            late = 0.01 * soonest
            out["theta"][i] = (3.0 * middle - 4.0 * at("time_to_expiry", late) + at("time_to_expiry", 2.0 * late)) / (2.0 * late)
        else:
            out["theta"][i] = -slope("time_to_expiry", 0.03 * soonest)
        out["rho"][i] = slope("rate", 1e-3)
        out["dividend_rho"][i] = slope("dividend_yield", 1e-3) if np.isnan(case["forward"]) else np.nan
    return out


ARITHMETIC_ASIAN = Operation(15, "arithmetic_asian", INPUTS, CASE_OUTPUTS, _ABSENT, arithmetic_asian_values, repeated=("fixing_time",), count="fixings",
                             cases_a_call=16, on_device=False)
"""`kernels/arithmetic_asian.cuh`; a thousand fixings take a good part of a second"""
