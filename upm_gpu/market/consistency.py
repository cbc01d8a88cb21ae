"""Do forwards agree with spots and rates? What is left over is the dividend yield, borrow cost or basis that they imply.

    y = -ln(F P(T) / S) / T,

P the discount factor of the currency the spot is quoted in, S the spot in that currency. A forward is flagged where |y| T is beyond `MAX_CARRY` T + `STAMP`. Where borrow, dividend yield or cash
dividends are given (`carry.py`), the forward is held to what they give instead, within `GIVEN_CARRY` T + `STAMP`.
Verified: tests/known_answers/test_consistency.py.
"""

from __future__ import annotations

import math
from typing import Any

from upm_gpu.domain.text import instant_text
from upm_gpu.market.carry import carried, carried_forward
from upm_gpu.market.levels import discount_factor
from upm_gpu.market.snapshot import DAYS_PER_YEAR, MarketSnapshot, years_between

MAX_CARRY = 0.30
"""a year: dear borrow and crypto bases in a squeeze stay below"""
GIVEN_CARRY = 0.02
"""a year: what dividends forecast and borrow rates quoted are wrong by"""
STAMP = 0.01
"""of the spot: what a spot and a forward stamped minutes apart may differ by"""


def implied_carry(market: MarketSnapshot) -> list[dict[str, Any]]:
    """One object a quoted forward to come, ascending: forward, spot, zero rate, what spot and rates alone would give, the carry that explains the rest, and whether it is flagged.

    Underlyings whose spot is quoted in another currency are compared in that currency.
    """
    rows: list[dict[str, Any]] = []
    for (underlying, expiry), forward in sorted(((k, f) for k, f in market.forwards.items() if k[1] is not None and k not in market.carried_forwards), key=lambda item: (item[0][0], item[0][1])):
        assert expiry is not None
        years = years_between(market.valuation_time, expiry)
        if years <= 0.0 or underlying not in market.spots:
            continue
        currency = market.spot_currency.get(underlying, market.reporting_currency)
        spot = market.spots[underlying] / market.spots.get(currency, 1.0)
        discount = discount_factor(market, currency, years * DAYS_PER_YEAR)
        expected = spot / discount
        gap = math.log(forward / expected)
        row = {"underlying": underlying, "expiry": instant_text(expiry), "forward": forward, "spot": spot, "zero_rate": -math.log(discount) / years, "forward_without_carry": expected,
               "implied_carry": -gap / years, "flagged": abs(gap) > MAX_CARRY * years + STAMP}
        if carried(market, underlying):
            given = carried_forward(market, underlying, expiry)
            row |= {"forward_of_given_carry": given, "flagged": abs(math.log(forward / given)) > GIVEN_CARRY * years + STAMP}
        rows.append(row)
    return rows


def carry_warnings(rows: list[dict[str, Any]]) -> list[str]:
    """One sentence an underlying with flagged forwards: how many, and the worst."""
    found = []
    for underlying in sorted({r["underlying"] for r in rows if r["flagged"]}):
        flagged = [r for r in rows if r["underlying"] == underlying and r["flagged"]]
        if "forward_of_given_carry" in flagged[0]:
            worst = max(flagged, key=lambda r: abs(math.log(r["forward"] / r["forward_of_given_carry"])))
            found.append(f"UPM-MD-145 forwards: {len(flagged)} of {underlying} disagree with its borrow rates and dividends; {worst['expiry']} is {worst['forward']:g} where they give "
                         f"{worst['forward_of_given_carry']:g}. The quoted forward is used. Check the files carry and dividends, and the forward.")
            continue
        worst = max(flagged, key=lambda r: abs(math.log(r["forward"] / r["forward_without_carry"])))
        found.append(f"UPM-MD-144 forwards: {len(flagged)} of {underlying} are far from spot and rates; {worst['expiry']} is {worst['forward']:g} where they give {worst['forward_without_carry']:g}: an "
                     f"implied carry of {100.0 * worst['implied_carry']:.1f} % a year. Check spot, forward and currency.")
    return found
