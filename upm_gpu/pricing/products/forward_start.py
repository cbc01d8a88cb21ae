"""Forward-start options."""

from __future__ import annotations

from upm_gpu.pricing.products.cells import Cells, Reading, Refused


def read(cells: Cells, product: str, model: str) -> Reading:
    """Columns of `formula/forward_start.py`."""
    market, start = cells.market(), cells.not_negative("start_time")
    if start > market["time_to_expiry"]:
        raise Refused("UPM-PR-039", f"start_time {start!r} is after the expiry at {market['time_to_expiry']!r}.")
    return Reading("forward_start", {**market, "sign": cells.sign(), "moneyness": cells.positive("moneyness"), "start_time": start}, "rubinstein_forward_start")
