"""Options on a stock that pays cash dividends, by convolution; the oracle of `kernels/cash_dividends.cuh`, which uses finite differences.

The stock is lognormal between the dates and falls by min(dividend, stock) at each (Haug, Haug and Lewis 2003, "Back to basics: a new approach to the
discrete dividend problem", Wilmott). Between dates a price is carried back by the Gaussian density on a grid in ln S, from the last
date to expiry by Black's formula; an American option may be exercised at DATES and at 2 DATES times a life, extrapolated.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from upm_gpu.formula.black import european_values
from upm_gpu.formula.implied_volatility import FOUND, UNDEFINED
from upm_gpu.formula.operation import GREEKS, Columns, Operation, operation_columns

CASH_INPUTS = ("spot", "strike", "time_to_expiry", "rate", "dividend_yield", "volatility", "sign", "american", "price_only", "dividends")
CASH_OUTPUTS = (*GREEKS, "status")
"""Column order shared with `kernels/cash_dividends.cuh`"""

POINTS, WIDTH, DATES = 2401, 8.0, 96
"""Grid points, standard deviations to either side, dates of exercise of the coarser of two runs."""

SMALLEST_STDEV = 1e-3
"""Total standard deviation below which no grid is offered."""

Array = NDArray[np.float64]


def _black(spot: Array, strike: float, years: float, rate: float, dividend_yield: float, volatility: float, sign: float) -> Array:
    return european_values({"spot": spot, "strike": strike, "time_to_expiry": years, "rate": rate, "dividend_yield": dividend_yield, "volatility": volatility,
                            "sign": sign})["price"]


def cash_price(spot: float, strike: float, years: float, rate: float, dividend_yield: float, volatility: float, sign: float, american: bool,
               dividends: list[tuple[float, float]], dates: int) -> float:
    """Price with exercise at expiry, or at some `dates` equal steps of the life as well; `dividends` (time, amount) ascending, those at or after expiry
    do not count.

    >>> dividends = [(0.5, 3.0)]
    >>> call = cash_price(100.0, 90.0, 1.0, 0.05, 0.0, 0.2, 1.0, False, dividends, 1)
    >>> put = cash_price(100.0, 90.0, 1.0, 0.05, 0.0, 0.2, -1.0, False, dividends, 1)
    >>> parity = 100.0 - 3.0 * np.exp(-0.025) - 90.0 * np.exp(-0.05)
    >>> bool(abs(call - put - parity) < 1e-6)
    True
    """
    from scipy.interpolate import CubicSpline

    dividends = [(t, d) for t, d in dividends if t < years]
    drift = rate - dividend_yield - 0.5 * volatility**2
    low = WIDTH * volatility * np.sqrt(years) + abs(drift) * years - np.log(np.clip(1.0 - sum(d for _, d in dividends) / spot, 0.05, 1.0))
    high = WIDTH * volatility * np.sqrt(years) + abs(drift) * years
    step = (low + high) / (POINTS - 1)
    centre = round(low / step)
    levels = spot * np.exp((np.arange(POINTS) - centre) * step)
    payoff = np.maximum(sign * (levels - strike), 0.0)
    time, value, fresh = years, payoff, True
    for until, amount in [*reversed(dividends), (0.0, 0.0)]:
        pieces = max(1, round(dates * (time - until) / years)) if american else 1
        dt = (time - until) / pieces
        reach = int(np.ceil((9.0 * volatility * np.sqrt(dt) + abs(drift) * dt) / step))
        offset = np.arange(-reach, reach + 1) * step
        weight = step * np.exp(-0.5 * ((offset - drift * dt) / (volatility * np.sqrt(dt))) ** 2 - rate * dt) / (volatility * np.sqrt(2.0 * np.pi * dt))
        for _ in range(pieces):
            if fresh:
                value = _black(levels, strike, dt, rate, dividend_yield, volatility, sign)
            else:
                # linear in the stock beyond the grid
                ends = np.arange(1, reach + 1)
                above = value[-1] + (value[-1] - value[-2]) / (levels[-1] - levels[-2]) * levels[-1] * np.expm1(ends * step)
                under = value[0] + (value[1] - value[0]) / (levels[1] - levels[0]) * levels[0] * np.expm1(-ends[::-1] * step)
                value = np.convolve(np.concatenate([under, value, above]), weight[::-1], mode="valid")
            value, fresh = (np.maximum(value, payoff) if american else value), False
        time = until
        if amount:
            left = np.maximum(levels - amount, 0.0)
            bond = strike if american and rate > 0.0 else strike * np.exp(-rate * (years - time))
            at_zero = bond if sign < 0.0 else 0.0
            inside = CubicSpline(np.log(levels), value)(np.log(np.maximum(left, levels[0])))
            value = np.where(left < levels[0], at_zero + (value[0] - at_zero) * left / levels[0], inside)
            value = np.maximum(value, payoff) if american else value
    return float(value[centre])


def cash_dividends_values(columns: dict[str, Any]) -> Columns:
    """Prices and Greeks: columns of CASH_INPUTS and `dividend_time`, `dividend_amount`, (times, cases), to columns of CASH_OUTPUTS, (cases,).

    `american` is 1 or 0; `price_only` 1 leaves out vega and the rhos, 2 is that on half the kernel's grid. Greeks as in `european_values`, by differences; theta lets the dividends come nearer too. UNDEFINED where an argument means
    nothing, times do not ascend, the total standard deviation is below SMALLEST_STDEV, or an American option has a negative rate or yield (it may
    have two exercise boundaries). Verified: tests/known_answers/test_cash_dividends.py.
    """
    packed = operation_columns(CASH_DIVIDENDS, columns)
    out = {name: np.full(packed.shape[1], np.nan) for name in CASH_OUTPUTS}
    for i, case in enumerate(packed.T):
        spot, strike, years, rate, dividend_yield, volatility, sign, american, price_only, count = case[: len(CASH_INPUTS)]
        pairs = case[len(CASH_INPUTS) :].reshape(-1, 2)[: int(count)]
        good = spot > 0.0 and strike > 0.0 and years > 0.0 and volatility * np.sqrt(years) >= SMALLEST_STDEV and not np.isnan(rate + dividend_yield)
        good = good and not (american and (rate < 0.0 or dividend_yield < 0.0))
        good = good and bool(np.all(np.diff(pairs[:, 0], prepend=0.0) > 0.0) and np.all(pairs[:, 1] >= 0.0))
        out["status"][i] = FOUND if good else UNDEFINED
        if good:
            for name, value in _case(spot, strike, years, rate, dividend_yield, volatility, sign, bool(american), bool(price_only), pairs).items():
                out[name][i] = value
    return out


def _case(spot: float, strike: float, years: float, rate: float, dividend_yield: float, volatility: float, sign: float, american: bool, price_only: bool,
          pairs: Array) -> dict[str, float]:
    def priced(spot: float = spot, shift: float = 0.0, rate: float = rate, dividend_yield: float = dividend_yield, volatility: float = volatility) -> float:
        dividends = [(t + shift, d) for t, d in pairs]
        fine, coarse = (cash_price(spot, strike, years + shift, rate, dividend_yield, volatility, sign, american, dividends, n) for n in (2 * DATES, DATES))
        return max(2.0 * fine - coarse, sign * (spot - strike)) if american else fine

    price = priced()
    if american and price <= sign * (spot - strike):
        zero = dict.fromkeys(("gamma", "theta", *(() if price_only else ("vega", "rho", "dividend_rho"))), 0.0)
        return {"price": price, "delta": sign, **zero}
    h = 0.05 * volatility * np.sqrt(years) * spot
    up, down = priced(spot=spot + h), priced(spot=spot - h)
    day = min(1e-3 * years, 0.5 * float(pairs[0, 0]) if len(pairs) else years)
    found = {"price": price, "delta": (up - down) / (2.0 * h), "gamma": (up + down - 2.0 * price) / h**2,
             "theta": (priced(shift=-day) - priced(shift=day)) / (2.0 * day)}
    if price_only:
        return found
    b, c = 1e-2 * volatility, 1e-3
    return found | {"vega": (priced(volatility=volatility + b) - priced(volatility=volatility - b)) / (2.0 * b),
                    "rho": (priced(rate=rate + c) - priced(rate=rate - c)) / (2.0 * c),
                    "dividend_rho": (priced(dividend_yield=dividend_yield + c) - priced(dividend_yield=dividend_yield - c)) / (2.0 * c)}


_ABSENT = {"rate": 0.0, "dividend_yield": 0.0, "american": 1.0, "price_only": 0.0}

CASH_DIVIDENDS = Operation(21, "cash_dividends", CASH_INPUTS, CASH_OUTPUTS, _ABSENT, cash_dividends_values, repeated=("dividend_time", "dividend_amount"),
                           count="dividends", cases_a_call=128, on_device=False)
"""`kernels/cash_dividends.cuh`"""
