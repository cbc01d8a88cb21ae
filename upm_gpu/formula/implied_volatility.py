"""Implied volatility by bisection: plain, slow and safe; the oracle of `kernels/implied.cuh`, which iterates by Halley's method.

The out-of-the-money price over min(F, K) rises in the total standard deviation s = sigma sqrt(tau) from 0 to 1, so the root
exists and is unique for every time value inside (0, min(F, K)). The kernel follows Jaeckel (2015), "Let's be rational", in its
choice of objectives.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from upm_gpu.formula.out_of_the_money import black_out_of_the_money

FOUND, BELOW_PAYOFF, ABOVE_BOUND, NO_TIME_VALUE, UNDEFINED = range(5)
"""Status of an inversion; the numbers of `ImpliedStatus` in `kernels/implied.cuh`."""

ROUNDING = 4.0 * 2.220446049250313e-16
"""A time value below this share of the payoff is rounding: no volatility can be read from it."""

SMALLEST_STDEV, LARGEST_STDEV = 1e-300, 60.0
"""Bracket: the price of a stdev of 60 is 1 to rounding for every |ln(F/K)| up to 700."""


def implied_total_stdev(moneyness: Any, value: Any, special: Any = None) -> NDArray[np.float64]:
    """s with black_out_of_the_money(moneyness, s) = value, for moneyness = |ln(F/K)| and 0 < value < 1.

    Bisection on ln s: 80 halvings of a bracket of ln 10^302 leave less than one unit in the last place. Accuracy is that of the
    price formula, 1e-16 / value relative near the money.

    >>> s = implied_total_stdev(0.1, black_out_of_the_money(0.1, 0.3))
    >>> bool(abs(s / 0.3 - 1.0) < 1e-12)
    True
    """
    moneyness, value = np.broadcast_arrays(np.asarray(moneyness, float), np.asarray(value, float))
    low = np.full(value.shape, np.log(SMALLEST_STDEV))
    high = np.full(value.shape, np.log(LARGEST_STDEV))
    for _ in range(80):
        middle = 0.5 * (low + high)
        under = black_out_of_the_money(moneyness, np.exp(middle), special=special) < value
        low, high = np.where(under, middle, low), np.where(under, high, middle)
    return np.exp(0.5 * (low + high))


def implied_volatility(forward: Any, strike: Any, log_moneyness: Any, years: Any, price: Any, sign: Any,
                       special: Any = None) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """(volatility, status) from the undiscounted price; the volatility is NaN where the status is not FOUND.

    BELOW_PAYOFF and ABOVE_BOUND are arbitrages: under the payoff at the forward, or at or over F (call), K (put).
    NO_TIME_VALUE: equal to the payoff to rounding, so that every small volatility would do. UNDEFINED: an argument is NaN, or
    forward, strike or time is not positive.
    """
    args = (forward, strike, log_moneyness, years, price, sign)
    forward, strike, log_moneyness, years, price, sign = np.broadcast_arrays(*(np.asarray(a, float) for a in args))
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        defined = (forward > 0.0) & (strike > 0.0) & (years > 0.0) & ~np.isnan(price) & ~np.isnan(log_moneyness)
        lead = np.minimum(forward, strike)
        payoff = np.maximum(sign * (forward - strike), 0.0)
        time_value = price - payoff
        rounding = ROUNDING * payoff
        status = np.select(
            [~defined, (time_value < -rounding) | (price < 0.0), (time_value <= rounding) | (time_value < 1e-300 * lead),
             ~(time_value < lead)],
            [UNDEFINED, BELOW_PAYOFF, NO_TIME_VALUE, ABOVE_BOUND], FOUND)
        found = status == FOUND
        stdev = implied_total_stdev(np.where(found, np.abs(log_moneyness), 0.0), np.where(found, time_value / lead, 0.5), special)
        return np.where(found, stdev / np.sqrt(years), np.nan), status
