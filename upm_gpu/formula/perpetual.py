"""No-arbitrage price of a perpetual future with constant parameters: a check on quoted perpetuals, not used by the engine.

Ackerer, Hugonnier and Jermann (2024), "Perpetual futures pricing". The holder of a linear contract pays, a period,
kappa (f - x) + iota x, with f the future, x the spot, kappa the funding intensity and iota the interest differential; that of an
inverse contract the same in coins, on 1/x and 1/f. Asking that holding it is worth nothing gives f as a multiple of x.
"""

from __future__ import annotations

import math
from typing import Literal

Funding = Literal["continuous", "previous_spot", "current_spot"]


def perpetual_price(spot: float, rate: float, asset_yield: float, funding_intensity: float, interest_differential: float, *,
                    inverse: bool, funding: Funding, funding_period: float) -> float:
    """Price in the quote currency.

    `rate` and `asset_yield` are continuously compounded, a year; `funding_intensity` and `interest_differential` are per funding
    period of `funding_period` years, or a year where the funding is continuous. `previous_spot` fixes the payment at the start of its
    period, `current_spot` at its end. With g = exp((rate - asset_yield) period), linear contracts cost
    x (kappa - iota) / (1 + kappa - g) and x (kappa - iota) / (1/g + kappa - 1); inverse ones x over the same with 1/g for g.

    >>> round(perpetual_price(10000.0, 0.04, 0.02, 0.2, 0.005, inverse=False, funding="continuous", funding_period=0.0), 4)
    10833.3333
    """
    growth = (rate - asset_yield) * (1.0 if funding == "continuous" else funding_period)
    growth = -growth if inverse else growth
    if funding == "continuous":
        excess = -growth
    elif funding == "previous_spot":
        excess = -math.expm1(growth)
    else:
        excess = math.expm1(-growth)
    multiple = (funding_intensity - interest_differential) / (funding_intensity + excess)
    return spot / multiple if inverse else spot * multiple
