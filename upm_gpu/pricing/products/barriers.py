"""Digitals, barrier options, binary barriers and touches: all are payments on where the path ends and on whether it met a barrier.

A barrier that the level has reached counts as hit: a knock-in is the plain option, a knock-out its rebate paid now, a one-touch its payout; the
method then ends in `_already_hit`. Under discrete monitoring the level now is no fixing, so nothing is hit yet.
"""

from __future__ import annotations

import math

from upm_gpu.pricing.products.cells import Cells, Reading, Refused

Columns = dict[str, float | tuple[float, ...]]


def read(cells: Cells, product: str, model: str) -> Reading:
    """Columns of `formula/single_barrier.py` and `formula/double_barrier.py`."""
    return {"digital": _digital, "barrier": _barrier, "double_barrier": _double_barrier, "digital_barrier": _digital_barrier, "one_touch": _touch,
            "no_touch": _touch}[product](cells, product)


def _level(market: dict[str, float]) -> float:
    return market["forward"] if math.isnan(market["spot"]) else market["spot"]


def _digital(cells: Cells, product: str) -> Reading:
    sign, market = cells.sign(), cells.market()
    asset, cash = cells.payout()
    row: Columns = {**market, "strike": cells.positive("strike"), "region": sign, "asset": asset, "cash": cash}
    return Reading("single_barrier", row, "asset_or_nothing" if asset else "cash_or_nothing")


def _monitored(cells: Cells, years: float) -> float:
    """Number of fixings, 0 for a barrier looked at all the time. Refused UPM-PR-032 where they are not equally spaced up to the expiry."""
    if cells.one_of("monitoring", ("continuous", "discrete"), "continuous", code="UPM-PR-032") == "continuous":
        return 0.0
    times = cells.fixings(years)
    if any(abs(t - years * (i + 1) / len(times)) > 1e-6 * years for i, t in enumerate(times)):
        raise Refused("UPM-PR-032", "column fixings: a discrete barrier needs equally spaced fixings up to the expiry. Give their count.")
    return float(len(times))


def _one_barrier(cells: Cells, market: dict[str, float], kind: str, fixings: float) -> tuple[Columns, str]:
    """The columns of the barrier and the end of the method's name."""
    barrier, up = cells.positive("barrier"), 1.0 if kind.startswith("up") else -1.0
    hit = fixings == 0.0 and up * (_level(market) - barrier) >= 0.0
    row: Columns = {"barrier": barrier, "up": up, "hit": float(hit), "fixings": fixings}
    return row, "_already_hit" if hit else "_broadie_glasserman_kou" if fixings else ""


def _barrier(cells: Cells, product: str) -> Reading:
    sign, kind = cells.sign(), cells.one_of("barrier_type", ("up_out", "up_in", "down_out", "down_in"), code="UPM-PR-030")
    market = cells.market()
    row, ending = _one_barrier(cells, market, kind, _monitored(cells, market["time_to_expiry"]))
    knock_in, rebate, strike = kind.endswith("in"), cells.not_negative("rebate", 0.0), cells.positive("strike")
    row |= {**market, "strike": strike, "region": sign, "asset": sign, "cash": -sign * strike, "knock_in": float(knock_in),
            "hit_payment": 0.0 if knock_in else rebate, "miss_payment": rebate if knock_in else 0.0}
    return Reading("single_barrier", row, "reiner_rubinstein" + ending)


def _double_barrier(cells: Cells, product: str) -> Reading:
    sign, kind = cells.sign(), cells.one_of("barrier_type", ("knock_out", "knock_in"), code="UPM-PR-030")
    if cells.one_of("monitoring", ("continuous", "discrete"), "continuous", code="UPM-PR-032") != "continuous":
        raise Refused("UPM-PR-032", "column monitoring: discrete is not offered for double_barrier.")
    market, lower, upper = cells.market(), cells.positive("lower_barrier"), cells.positive("upper_barrier")
    if lower >= upper:
        raise Refused("UPM-PR-036", f"lower_barrier {lower!r} is not below upper_barrier {upper!r}.")
    hit = not lower < _level(market) < upper
    knock_in, rebate, strike = kind == "knock_in", cells.not_negative("rebate", 0.0), cells.positive("strike")
    row: Columns = {**market, "strike": strike, "region": sign, "asset": sign, "cash": -sign * strike, "lower_barrier": lower, "upper_barrier": upper,
                    "knock_in": float(knock_in), "hit": float(hit), "hit_payment": 0.0 if knock_in else rebate, "miss_payment": rebate if knock_in else 0.0}
    return Reading("double_barrier", row, "ikeda_kunitomo" + "_already_hit" * hit)


def _digital_barrier(cells: Cells, product: str) -> Reading:
    kind = cells.one_of("barrier_type", ("up_out", "up_in", "down_out", "down_in"), code="UPM-PR-030")
    market = cells.market()
    row, ending = _one_barrier(cells, market, kind, _monitored(cells, market["time_to_expiry"]))
    asset, cash = cells.payout()
    # Without an option type the payout depends on the barrier alone.
    region = cells.sign() if cells.text("option_type") else 0.0
    row |= {**market, "strike": cells.positive("strike") if region else 1.0, "region": region, "asset": asset, "cash": cash,
            "knock_in": float(kind.endswith("in"))}
    return Reading("single_barrier", row, "binary_barrier" + ending)


def _touch(cells: Cells, product: str) -> Reading:
    kind = cells.one_of("barrier_type", ("up", "down"), code="UPM-PR-030")
    market = cells.market()
    row, ending = _one_barrier(cells, market, kind, _monitored(cells, market["time_to_expiry"]))
    asset, cash = cells.payout()
    touched = product == "one_touch"
    when = cells.one_of("payout_time", ("hit", "expiry") if touched else ("expiry",), "" if touched else "expiry", code="UPM-PR-031")
    row |= {**market, "knock_in": float(touched)}
    if when == "hit":
        row |= {"asset": 0.0, "cash": 0.0, "hit_asset": asset, "hit_payment": cash}
    else:
        row |= {"asset": asset, "cash": cash, "hit_asset": 0.0, "hit_payment": 0.0}
    return Reading("single_barrier", row, f"{product}_at_{when}" + ending)
