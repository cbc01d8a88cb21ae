"""European options: Black (1976) and generalised Black-Scholes, prices and Greeks; twins of `kernels/black.cuh`.

Everything broadcasts, is out of place and free of branches. `xp` is the array module and `special` a module with
SciPy's names. Signs: +1 call, -1 put. Time in years (ACT/365), rates continuously compounded, volatility in decimals
per square-root year.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from upm_gpu.formula.out_of_the_money import black_out_of_the_money

GREEKS = ("price", "delta", "gamma", "vega", "theta", "rho", "dividend_rho")


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
