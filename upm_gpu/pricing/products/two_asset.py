"""Spread options and options on the better or the worse of two assets. Delta, gamma, vega and dividend_rho are those of the first asset."""

from __future__ import annotations

from upm_gpu.formula.two_asset import MAXIMUM, MINIMUM, SPREAD
from upm_gpu.pricing.products.cells import Cells, Reading, Refused

KINDS = {"spread": SPREAD, "maximum_of_two": MAXIMUM, "minimum_of_two": MINIMUM}


def read(cells: Cells, product: str, model: str) -> Reading:
    """Columns of `formula/two_asset.py`."""
    cells.blank("forward", "UPM-PR-017", "forward is given. Options on two assets are valued on spot and spot_2.")
    sign, market = cells.sign(), cells.market()
    del market["forward"]
    correlation = cells.number("correlation")
    if abs(correlation) > 1.0:
        raise Refused("UPM-PR-035", f"column correlation: {correlation!r} is not between -1 and 1.")
    return Reading("two_asset", {
        **market, "spot_2": cells.positive("spot_2"), "dividend_yield_2": cells.number("dividend_yield_2", 0.0), "volatility_2": cells.positive("volatility_2"),
        "correlation": correlation, "strike": cells.number("strike") if product == "spread" else cells.positive("strike"), "sign": sign,
        "kind": KINDS[product]}, "conditional_black_quadrature")
