"""Spread options and options on the better or the worse of two assets. Delta, gamma, vega and dividend_rho are those of the first asset, with `_2` those of the second."""

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
    row: dict[str, float | tuple[float, ...]] = {
        **market, "spot_2": cells.positive("spot_2"), "dividend_yield_2": cells.number("dividend_yield_2", 0.0), "volatility_2": cells.positive("volatility_2"),
        "correlation": correlation, "strike": cells.number("strike") if product == "spread" else cells.positive("strike"), "sign": sign, "kind": KINDS[product]}
    return Reading("two_asset", row, "conditional_black_quadrature", beside=exchanged(row))


def exchanged(row: dict[str, float | tuple[float, ...]]) -> dict[str, float | tuple[float, ...]]:
    """The same option with its assets in the other order: S1 - S2 - K is -(S2 - S1 + K), the better and the worse of two are what they were."""
    pairs = {name: row[f"{name}_2"] for name in ("spot", "dividend_yield", "volatility")}
    back = {f"{name}_2": row[name] for name in ("spot", "dividend_yield", "volatility")}
    turned = {name: 0.0 - row[name] for name in ("strike", "sign")} if row["kind"] == SPREAD else {}  # type: ignore[operator]
    return {**row, **pairs, **back, **turned}
