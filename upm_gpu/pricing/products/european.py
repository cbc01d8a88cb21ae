"""European options under Black-Scholes and Black-76, linear and inverse; the implied volatility where a market price is given instead."""

from __future__ import annotations

import math

from upm_gpu.pricing.products import cash_dividends
from upm_gpu.pricing.products.cells import NAN, Cells, Quanto, Reading, Refused


def read(cells: Cells, product: str, model: str) -> Reading:
    """Columns of `formula/black.py` EUROPEAN."""
    if cells.text("dividends"):
        return cash_dividends.read(cells, product, model)
    sign = cells.sign()
    inverse = cells.one_of("settlement", ("linear", "inverse"), "linear", code="UPM-PR-014") == "inverse"
    level = cells.level()
    row: dict[str, float | tuple[float, ...]] = {
        **level, "sign": sign, "inverse": float(inverse), "strike": cells.positive("strike"), "rate": cells.number("rate", 0.0),
        "dividend_yield": cells.number("dividend_yield", 0.0)}
    years, volatility, price = cells.not_negative("time_to_expiry"), cells.not_negative("volatility", NAN), cells.not_negative("market_price", NAN)
    asked = math.isnan(volatility)
    if asked and math.isnan(price):
        raise Refused("UPM-PR-019", "volatility and market_price are both blank. Give the volatility, or the price to imply it from.")
    if asked and years == 0.0:
        raise Refused("UPM-PR-018", "an implied volatility needs a time_to_expiry above 0.")
    row |= {"time_to_expiry": years, "volatility": volatility, "market_price": price}
    if cells.text("quanto_rate"):
        if asked or inverse or not math.isnan(level["forward"]):
            raise Refused("UPM-PR-028", "quanto_rate is given: an option that pays in another currency at a fixed rate is valued from spot and volatility, linear. Give both, or leave it blank.")
        return _quanto(cells, row, volatility)
    formula = "black_scholes_generalised" if math.isnan(level["forward"]) else "black_76"
    return Reading("european", row, formula + ("_inverse" if inverse else "") + ("_implied_volatility" if asked else ""))


def _quanto(cells: Cells, row: dict[str, float | tuple[float, ...]], volatility: float) -> Reading:
    """Paid in another currency at `quanto_rate`: `rate` is that currency's, `quote_rate` the asset's own, and the drift is quote_rate - dividend_yield - correlation volatility quanto_volatility.

    `correlation` is that of the asset with the value of its own currency in the other, `quanto_volatility` that value's (Reiner 1992, "Quanto mechanics"; Haug 2007, section 5.16).
    Verified: tests/known_answers/test_quanto.py.
    """
    correlation, other = cells.number("correlation"), cells.not_negative("quanto_volatility")
    if abs(correlation) > 1.0:
        raise Refused("UPM-PR-035", f"column correlation: {correlation!r} is not between -1 and 1.")
    rate, own, carried = cells.number("rate", 0.0), cells.number("quote_rate", 0.0), cells.number("dividend_yield", 0.0)
    drift = correlation * other
    return Reading("european", {**row, "dividend_yield": carried + rate - own + drift * volatility}, "black_scholes_quanto", quanto=Quanto(cells.positive("quanto_rate"), drift))
