"""European options: Black (1976) and generalised Black-Scholes, prices and Greeks; twins of `kernels/black.cuh`.

Everything broadcasts, is out of place and free of branches. `xp` is the array module and `special` a module with
SciPy's names. Signs: +1 call, -1 put. Time in years (ACT/365), rates continuously compounded, volatility in decimals
per square-root year.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from upm_gpu.formula.implied_volatility import FOUND, UNDEFINED, implied_volatility
from upm_gpu.formula.normal import normal_cdf, normal_density
from upm_gpu.formula.operation import GREEKS, Operation, operation_columns
from upm_gpu.formula.out_of_the_money import black_out_of_the_money


def black_undiscounted(forward: Any, strike: Any, log_moneyness: Any, total_stdev: Any, sign: Any, xp: Any = np, special: Any = None) -> Any:
    """Black-76 without discounting, price of one unit of underlying in the currency of `forward`.

    `log_moneyness` is ln(forward / strike), `total_stdev` sigma sqrt(tau) >= 0; zero gives the payoff at the forward.
    The out-of-the-money side is priced and parity added, so far wings keep their relative accuracy and parity is exact.

    Black (1976), "The pricing of commodity contracts", Journal of Financial Economics 3.

    >>> round(float(black_undiscounted(4.0, 3.0, np.log(4 / 3), 0.1, 1.0)), 10)
    1.0002029716
    """
    intrinsic = xp.maximum(sign * (forward - strike), 0.0)
    return xp.minimum(forward, strike) * black_out_of_the_money(xp.abs(log_moneyness), total_stdev, xp, special) + intrinsic


EUROPEAN_INPUTS = ("spot", "forward", "strike", "time_to_expiry", "rate", "dividend_yield", "volatility", "market_price", "sign", "inverse")
EUROPEAN_OUTPUTS = (*GREEKS, "vanna", "volga", "implied_volatility", "price_coin", "delta_coin", "status")
"""Column order shared with `kernels/european.cuh`; `status` is one of `formula/implied_volatility.py`."""

_ABSENT = {"spot": np.nan, "forward": np.nan, "rate": 0.0, "dividend_yield": 0.0, "volatility": np.nan, "market_price": np.nan, "inverse": 0.0}


def european_columns(columns: dict[str, Any]) -> NDArray[np.float64]:
    """(len(EUROPEAN_INPUTS), cases) float64, C-contiguous: the columns in order, absent ones filled.

    Absent: no spot, forward, volatility or market price (NaN), zero rate and dividend yield, linear settlement.
    """
    return operation_columns(EUROPEAN, columns)


def log_ratio(level: Any, strike: Any) -> Any:
    """ln(level / strike); near 1 from the exact difference, where the rounding of the quotient would count."""
    difference = level - strike
    close = np.abs(difference) < 0.5 * strike
    return np.where(close, np.log1p(np.where(close, difference / strike, 0.0)), np.log(level / strike))


def european_values(columns: dict[str, Any]) -> dict[str, NDArray[np.float64]]:
    """Prices and Greeks of European options: columns of EUROPEAN_INPUTS, (cases,) -> columns of EUROPEAN_OUTPUTS, (cases,).

    Either `spot` or `forward` is given, the other NaN. With L the level given, b the carry (rate - dividend_yield on a spot, 0 on a
    forward) and D = exp(-d tau): linear options have d = rate; an inverse option pays Black76(F) / F coins worth L each, d = b.

      price = sign (L G N(sign d1) - K D N(sign d2)),  G = exp((b - d) tau),  d1 = ln(F/K) / s + s / 2,  s = volatility sqrt(tau)

    The Greeks are its derivatives: delta and gamma in L, vega a unit of volatility, theta a year (minus the derivative in tau), rho a
    unit of rate, dividend_rho a unit of dividend yield (NaN on a forward); vanna and volga are the derivatives of delta and vega in the
    volatility. price_coin = price / L and delta_coin =
    sign N(sign d1) - price_coin for inverse options, else NaN. Where `volatility` is NaN and `market_price` (in the unit of the price) is
    not, the implied volatility is found first and everything valued at it; `status` says why where there is none.
    At zero total standard deviation values are the limits from above. NaN where an argument is undefined.

    Black and Scholes (1973); Merton (1973); Black (1976). Verified: tests/known_answers/test_european.py.
    """
    c = dict(zip(EUROPEAN_INPUTS, european_columns(columns), strict=True))
    strike, years, rate, sign = c["strike"], c["time_to_expiry"], c["rate"], c["sign"]
    on_forward, inverse = ~np.isnan(c["forward"]), c["inverse"] != 0.0
    level = np.where(on_forward, c["forward"], c["spot"])
    with np.errstate(all="ignore"):
        carry = np.where(on_forward, 0.0, rate - c["dividend_yield"])
        discount_rate = np.where(inverse, carry, rate)
        discount, growth = np.exp(-discount_rate * years), np.exp((carry - discount_rate) * years)
        forward = level * np.exp(carry * years)
        k = log_ratio(level, strike) + carry * years

        asked = np.isnan(c["volatility"]) & ~np.isnan(c["market_price"])
        implied, status = np.full(level.shape, np.nan), np.zeros(level.shape)
        if asked.any():
            implied, status = implied_volatility(forward, strike, k, years, np.where(asked, c["market_price"] / discount, np.nan), sign)
        status = np.where(asked, status, FOUND)
        volatility = np.where(asked, implied, c["volatility"])
        defined = (level > 0.0) & (strike > 0.0) & (years >= 0.0) & ((volatility >= 0.0) | (status != FOUND))
        status = np.where(defined, status, UNDEFINED)
        level = np.where(defined, level, np.nan)

        root = np.sqrt(years)
        s = volatility * root
        d1 = np.where(k == 0.0, 0.5 * s, k / s + 0.5 * s)
        n1 = normal_cdf(sign * d1)
        n2 = np.where(s == 0.0, n1, normal_cdf(sign * (d1 - s)))
        density = normal_density(d1)
        price = discount * black_undiscounted(forward, strike, k, s, sign)
        price = np.where(np.isnan(level), np.nan, price)
        asset, bond = level * growth, strike * discount
        decay = np.where(density == 0.0, 0.0, asset * density * volatility / (2.0 * root))
        spot_rho = sign * bond * years * n2
        price_coin = np.where(inverse, price / level, np.nan)
        nothing = 0.0 * price
        out = {
            "price": price,
            "delta": sign * growth * n1 + nothing,
            "gamma": np.where(density == 0.0, 0.0, growth * density / (level * s)) + nothing,
            "vega": asset * density * root,
            "theta": -(decay + sign * ((carry - discount_rate) * asset * n1 + discount_rate * bond * n2)) + nothing,
            "rho": np.where(on_forward, np.where(inverse, 0.0, -years * price), spot_rho) + nothing,
            "dividend_rho": np.where(on_forward, np.nan, np.where(inverse, -spot_rho, -sign * years * asset * n1)) + nothing,
            "vanna": np.where(density == 0.0, 0.0, -growth * density * (d1 - s) / volatility) + nothing,
            "volga": np.where(density == 0.0, 0.0, asset * density * root * d1 * (d1 - s) / volatility) + nothing,
            "implied_volatility": np.where(asked, implied, np.nan),
            "price_coin": price_coin,
            "delta_coin": sign * n1 - price_coin,
            "status": status.astype(float),
        }
    return out


EUROPEAN = Operation(0, "european", EUROPEAN_INPUTS, EUROPEAN_OUTPUTS, _ABSENT, european_values)
"""`kernels/european.cuh`"""
