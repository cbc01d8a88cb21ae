"""European options under Merton, Heston and Bates, linear and inverse."""

from __future__ import annotations

from upm_gpu.formula.moment_explosion import SECOND, SECOND_IN_COINS, explosion_time
from upm_gpu.pricing.products.cells import Cells, Reading, Refused

METHODS = {"merton": "merton_series", "heston": "heston_contour", "bates": "bates_contour"}


def read(cells: Cells, product: str, model: str) -> Reading:
    """Columns of `formula/merton_price.py` or `formula/heston_price.py`.

    Parameters for which the variance can reach zero (2 kappa theta < xi^2, Feller's condition) are valued like others; the method then ends in
    `_feller_violated`. So are those under which the variance of the price at expiry is infinite (of 1 / S in coins for inverse options), see `formula/moment_explosion.py`: price and Greeks rest on
    moments between 0 and 1, which are always finite, but a hedge held to expiry has no variance. The method then ends in `_infinite_variance`.
    """
    cells.blank("dividends", "UPM-PR-012", f"cash dividends are not offered under {model}. Use a dividend_yield.")
    if cells.text("market_price") and not cells.text("volatility"):
        raise Refused("UPM-PR-025", f"an implied parameter is not offered under {model}: its price has no one volatility. Leave market_price blank.")
    sign = cells.sign()
    inverse = cells.one_of("settlement", ("linear", "inverse"), "linear", code="UPM-PR-014") == "inverse"
    row: dict[str, float | tuple[float, ...]] = {
        **cells.level(), "sign": sign, "inverse": float(inverse), "strike": cells.positive("strike"), "time_to_expiry": cells.not_negative("time_to_expiry"),
        "rate": cells.number("rate", 0.0), "dividend_yield": cells.number("dividend_yield", 0.0)}
    if model != "heston":
        row |= {"jump_intensity": cells.not_negative("jump_intensity"), "jump_mean": cells.number("jump_mean"),
                "jump_volatility": cells.not_negative("jump_volatility")}
    method = METHODS[model] + ("_inverse" if inverse else "")
    if model == "merton":
        return Reading("merton_price", row | {"volatility": cells.not_negative("volatility")}, method)
    given = {name: cells.not_negative(name) for name in ("initial_variance", "mean_reversion", "long_run_variance", "vol_of_vol")}
    correlation = cells.number("correlation")
    if abs(correlation) > 1.0:
        raise Refused("UPM-PR-035", f"column correlation: {correlation!r} is not between -1 and 1.")
    if 2.0 * given["mean_reversion"] * given["long_run_variance"] < given["vol_of_vol"] ** 2:
        method += "_feller_violated"
    moves = given["initial_variance"] > 0.0 or given["mean_reversion"] * given["long_run_variance"] > 0.0
    if moves and row["time_to_expiry"] >= explosion_time(SECOND_IN_COINS if inverse else SECOND, given["mean_reversion"], given["vol_of_vol"], correlation):  # type: ignore[operator]
        method += "_infinite_variance"
    return Reading("heston_price", row | given | {"correlation": correlation}, method)
