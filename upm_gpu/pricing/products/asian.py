"""Options on an average price, geometric or arithmetic, of fixings to come or already partly known."""

from __future__ import annotations

import math

from upm_gpu.formula.geometric_asian import average_times
from upm_gpu.pricing.products.cells import Cells, Reading, Refused

Columns = dict[str, float | tuple[float, ...]]


def read(cells: Cells, product: str, model: str) -> Reading:
    """Columns of `formula/geometric_asian.py`, `formula/arithmetic_asian.py`, or under Heston `formula/heston_geometric_asian.py`."""
    if model == "heston":
        return _heston(cells)
    average = cells.one_of("asian_average", ("geometric", "arithmetic"), code="UPM-PR-040")
    sign, market, strike = cells.sign(), cells.market(), cells.positive("strike")
    years = market["time_to_expiry"]
    past = cells.not_negative("fixings_so_far", 0.0)
    if past != int(past):
        raise Refused("UPM-PR-032", f"column fixings_so_far: {past!r} is not a whole number.")
    if past and not cells.text("average_so_far"):
        raise Refused("UPM-PR-034", "fixings in the past have no value: average_so_far is blank.")
    so_far = cells.positive("average_so_far") if past else 1.0
    continuous = cells.one_of("monitoring", ("continuous", "discrete"), "discrete", code="UPM-PR-032") == "continuous"
    if continuous and past:
        raise Refused("UPM-PR-032", "column fixings_so_far: an average over all times has no fixings. Use monitoring discrete for one that has begun.")
    row: Columns = {**market, "strike": strike, "sign": sign}
    if average == "geometric":
        times = {"share": 1.0, "ahead": 1.0, "mean_time": years / 2.0, "variance_time": years / 3.0}
        if not continuous:
            times = average_times(cells.fixings(years), int(past))
        return Reading("geometric_asian", {**row, **times, "log_past": (1.0 - times["share"]) * math.log(so_far)}, "kemna_vorst_geometric")
    fixings = () if continuous else cells.fixings(years)
    return Reading("arithmetic_asian", {**row, "continuous": float(continuous), "past": past, "average_so_far": so_far, "fixing_time": fixings},
                   "density_recursion_arithmetic")


def _heston(cells: Cells) -> Reading:
    """A geometric average over all times; vega and theta are not offered."""
    if cells.one_of("asian_average", ("geometric", "arithmetic"), code="UPM-PR-040") != "geometric":
        raise Refused("UPM-PR-011", "model heston is offered for geometric averages only, not arithmetic.")
    if cells.one_of("monitoring", ("continuous", "discrete"), "discrete", code="UPM-PR-032") != "continuous" or cells.text("fixings_so_far"):
        raise Refused("UPM-PR-032", "column monitoring: under heston an average over all times is offered, not fixings. Use monitoring continuous.")
    correlation = cells.number("correlation")
    if abs(correlation) > 1.0:
        raise Refused("UPM-PR-035", f"column correlation: {correlation!r} is not between -1 and 1.")
    return Reading("heston_geometric_asian", {
        **cells.level(), "sign": cells.sign(), "strike": cells.positive("strike"), "time_to_expiry": cells.positive("time_to_expiry"), "rate": cells.number("rate", 0.0),
        "dividend_yield": cells.number("dividend_yield", 0.0), "initial_variance": cells.positive("initial_variance"), "mean_reversion": cells.positive("mean_reversion"),
        "long_run_variance": cells.not_negative("long_run_variance"), "vol_of_vol": cells.not_negative("vol_of_vol"), "correlation": correlation}, "kim_wee_geometric")
