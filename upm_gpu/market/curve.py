"""Zero rates from par yields: the bootstrap of a government curve.

A par yield y of maturity T pays y / 2 every half-year and is worth 1 today: 1 = (y / 2) sum_i D(t_i) + D(T). Maturities up to half a year pay once, D = 1 / (1 + y / 2)^(2T)
(bond-equivalent yield). Between quoted maturities the zero rate is linear in time, flat outside; each maturity's zero rate is solved in turn, so every
quoted bond reprices to par. The source's note on method: U.S. Treasury, "Treasury Yield Curve Methodology".

Verified by `tests/known_answers/test_parity.py` (bonds reprice to par, flat curve in closed form).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from upm_gpu.errors import MarketDataError

SHORT = 0.5
"""years; a bill pays once"""


def zero_rates(years: Sequence[float], par_yields: Sequence[float]) -> tuple[tuple[float, float], ...]:
    """(tenor in days, zero rate continuously compounded), ascending, from par yields in decimals. Raises MarketDataError UPM-MD-142.

    >>> [round(z, 6) for _, z in zero_rates([0.25, 1.0, 2.0], [0.02, 0.02, 0.02])]
    [0.019901, 0.019901, 0.019901]
    """
    from scipy.optimize import brentq

    if not years or any(not b > a for a, b in zip((0.0, *years), years, strict=False)) or not np.all(np.isfinite(par_yields)):
        raise MarketDataError("UPM-MD-142", f"maturities {list(years)} with par yields {list(par_yields)}: maturities ascend from above 0 and every yield is a number. Correct the curve.")
    known: list[tuple[float, float]] = []
    for maturity, par in zip(years, par_yields, strict=True):
        if maturity <= SHORT + 1e-9:
            known.append((maturity, 2.0 * float(np.log1p(0.5 * par))))
            continue

        def miss(zero: float, maturity: float = maturity, par: float = par) -> float:
            return bond_price((*known, (maturity, zero)), maturity, par) - 1.0

        known.append((maturity, float(brentq(miss, -0.5, 1.0, xtol=1e-15))))
    return tuple((365.0 * t, z) for t, z in known)


def bond_price(curve: Sequence[tuple[float, float]], maturity: float, coupon: float) -> float:
    """A bond of one unit with half-yearly coupons, `curve` of (years, zero rate) linear in time."""
    payments = maturity - 0.5 * np.arange(int(np.ceil(2.0 * maturity - 1e-9)))[::-1]
    tenors, zeros = zip(*curve, strict=True)
    discounts = np.exp(-np.interp(payments, tenors, zeros) * payments)
    return float(0.5 * coupon * np.sum(discounts) + discounts[-1])
