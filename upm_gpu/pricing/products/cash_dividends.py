"""European and American options on a stock with cash dividends, `dividends` = `time:amount;...` with times in years."""

from __future__ import annotations

from upm_gpu.domain.cells import CellFault, parse_number, shown
from upm_gpu.formula.cash_dividends import SMALLEST_STDEV
from upm_gpu.pricing.products.cells import Cells, Reading, Refused


def read(cells: Cells, product: str, model: str) -> Reading:
    """Columns of `formula/cash_dividends.py` CASH_DIVIDENDS; dividends at or after the expiry are left out."""
    if cells.text("forward") or cells.one_of("settlement", ("linear", "inverse"), "linear", code="UPM-PR-014") == "inverse" or not cells.text("volatility"):
        raise Refused("UPM-PR-012", "cash dividends need a spot, linear settlement and a volatility. Give them, or leave `dividends` blank.")
    market, strike, sign = cells.market(), cells.positive("strike"), cells.sign()
    american = product == "american"
    if american and (market["rate"] < 0.0 or market["dividend_yield"] < 0.0):
        raise Refused("UPM-PR-064", "an american option with cash dividends and a negative rate or yield may have two exercise boundaries: not offered.")
    if market["volatility"] * market["time_to_expiry"] ** 0.5 < SMALLEST_STDEV:
        raise Refused("UPM-PR-067", f"cash dividends need volatility x root of time_to_expiry of at least {SMALLEST_STDEV}: below it the option is a forward.")
    paid = [pair for pair in dividends(cells.text("dividends")) if pair[0] < market["time_to_expiry"]]
    columns = {name: market[name] for name in ("spot", "time_to_expiry", "rate", "dividend_yield", "volatility")}
    times: dict[str, float | tuple[float, ...]] = {"dividend_time": tuple(t for t, _ in paid), "dividend_amount": tuple(d for _, d in paid)}
    return Reading("cash_dividends", {**columns, "strike": strike, "sign": sign, "american": float(american), "price_only": 0.0, **times},
                   "piecewise_lognormal_finite_differences")


def dividends(text: str) -> list[tuple[float, float]]:
    """(time, amount) in ascending order of time. Refused UPM-PR-067."""
    found = []
    for part in filter(None, (p.strip() for p in text.split(";"))):
        words = part.split(":")
        try:
            time, amount = (parse_number(word) for word in words)
        except (CellFault, ValueError):
            raise Refused("UPM-PR-067", f"column dividends: {shown(part)} is not time:amount. Write 0.25:1.5;0.75:1.5, times in years.") from None
        if not (time > 0.0 and amount >= 0.0):
            raise Refused("UPM-PR-067", f"column dividends: {shown(part)} has a time that is not above 0 or an amount below 0.")
        found.append((time, amount))
    found.sort()
    if len({t for t, _ in found}) < len(found):
        raise Refused("UPM-PR-067", "column dividends: two dividends at one time. Add their amounts.")
    return found
