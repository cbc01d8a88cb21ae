"""American options under Black-Scholes on a spot with a continuous yield and on futures; the implied volatility where a market price is given instead."""

from __future__ import annotations

import math

from upm_gpu.pricing.products import cash_dividends
from upm_gpu.pricing.products.cells import NAN, Cells, Reading, Refused


def read(cells: Cells, product: str, model: str) -> Reading:
    """Columns of `formula/american.py` AMERICAN."""
    if cells.text("dividends"):
        return cash_dividends.read(cells, product, model)
    if cells.one_of("settlement", ("linear", "inverse"), "linear", code="UPM-PR-014") == "inverse":
        raise Refused("UPM-PR-066", "american options that settle in coins are not offered. Use settlement linear.")
    level = cells.level()
    row: dict[str, float | tuple[float, ...]] = {
        **level, "sign": cells.sign(), "strike": cells.positive("strike"), "rate": cells.number("rate", 0.0),
        "dividend_yield": cells.number("dividend_yield", 0.0), "price_only": 0.0}
    years, volatility, price = cells.not_negative("time_to_expiry"), cells.not_negative("volatility", NAN), cells.not_negative("market_price", NAN)
    asked = math.isnan(volatility)
    if asked and math.isnan(price):
        raise Refused("UPM-PR-019", "volatility and market_price are both blank. Give the volatility, or the price to imply it from.")
    if asked and years == 0.0:
        raise Refused("UPM-PR-018", "an implied volatility needs a time_to_expiry above 0.")
    row |= {"time_to_expiry": years, "volatility": volatility, "market_price": price}
    return Reading("american", row, "american_boundary" + ("_implied_volatility" if asked else ""))
