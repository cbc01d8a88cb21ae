"""Options on averages that are fixed partly on the path: what a group reads in a scenario, and its value table.

N fixings of equal weight: the past ones have the average A_0, some lie on the path (path dates, on which the index is S_0 exp(y)), n come after the horizon.

Arithmetic: an option struck at K on all of them is n / N options on the average of those to come, struck at K' = (N K - m_0 A_0 - S_0 sum exp(y)) / n. Per unit of K' that is a function of
ln(F / K') and the option's own volatility. It is Black's value on a lognormal average with the forward of the true one and the variance of the geometric one, and what a table adds: one
table serves every scenario whatever K' is, and what it holds is small and smooth even in the last minutes of an average. Where K' <= 0 a call is sure to be exercised: its forward is left.

Geometric: the average is lognormal, so its option is Black's value with the forward moved by the fixings so far; no table.

The sums are states, `running_sum[U, fixings]` and `running_log_sum[U, fixings]` (`running_fixings` of `scenario/derived.py`). Volatility is read at the option's own strike. Verified by
`tests/end_to_end/test_averages_on_the_path.py`.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from upm_gpu.domain.instrument import Exotic
from upm_gpu.formula.geometric_asian import average_times
from upm_gpu.market.snapshot import days_between
from upm_gpu.pricing.states import States, expiry_label
from upm_gpu.scenario.derived import running_fixings

YEAR = 365.0
SURE = 8.0
"""standard deviations from the money beyond which a table holds nothing"""

Inputs = tuple[tuple[str, float | tuple[float, ...]], ...]
Range = tuple[float, float]


@dataclass(frozen=True)
class Fixed:
    """How far an average has come at a horizon."""

    days: tuple[float, ...]
    """of the fixings after the valuation time"""
    past: int
    """before it"""
    on_path: int
    """up to the horizon"""

    @property
    def total(self) -> int:
        return self.past + len(self.days)

    @property
    def to_come(self) -> tuple[float, ...]:
        return self.days[self.on_path:]


def fixed_by(option: Exotic, valuation: datetime, horizon: float) -> Fixed:
    """The fixings of an option on an average, `horizon` days on."""
    days = tuple(days_between(valuation, t) for t in option.fixings)
    return Fixed(days, option.fixings_so_far, sum(d <= horizon for d in days))


def average_inputs(option: Exotic, sign: float, fixed: Fixed, horizon: float) -> tuple[str, Inputs]:
    """The operation at the horizon and its inputs per unit of strike; with fixings on the path of an option on those to come."""
    times = tuple(max(d - horizon, 0.0) / YEAR for d in fixed.to_come)
    so_far = option.average_so_far / option.strike
    if option.asian_average == "geometric" or not fixed.days:  # once all is fixed both averages are the same payment
        given = average_times(times, fixed.past + fixed.on_path)
        return "geometric_asian", (("sign", sign), *given.items(), ("log_past", (1.0 - given["share"]) * math.log(so_far) if fixed.past else 0.0))
    if fixed.on_path:
        return "arithmetic_asian", (("sign", sign), ("past", 0.0), ("average_so_far", 1.0), ("fixing_time", times))
    return "arithmetic_asian", (("sign", sign), ("past", float(fixed.past)), ("average_so_far", so_far if fixed.past else 1.0), ("fixing_time", times))


@dataclass(frozen=True)
class Average:
    """An option on an average at a horizon with fixings on the path, per unit of strike."""

    reals: dict[str, float]
    """of `Program`"""
    years: float = 0.0
    """in which the lognormal average has its variance"""
    growth: float = 1.0
    """its forward over the forward of the expiry"""


def average_at(option: Exotic, fixed: Fixed, horizon: float, spot_over_strike: float, forward_over_strike: float, spot_over_forward: float, kept: float, paid: float) -> Average:
    """What the group reads. `kept` is the carry a year that the operation has, `paid` the discount factor of what is paid at expiry."""
    n, total = len(fixed.to_come), fixed.total
    so_far = option.average_so_far / option.strike
    times = [(d - horizon) / YEAR for d in fixed.to_come]
    if option.asian_average == "geometric":
        past = ((fixed.past * math.log(so_far) if fixed.past else 0.0) + fixed.on_path * math.log(spot_over_strike)) / total
        if not n:
            return Average({"average_log": past, "average_share": 1.0, "average_shift": 1.0 / total, "average_cash": paid})
        given = average_times(times, fixed.past + fixed.on_path)
        log = past + given["share"] * math.log(forward_over_strike * spot_over_forward) + kept * given["mean_time"]
        return Average({"average_log": log, "average_share": given["share"], "average_shift": 1.0 / total, "average_bend": 0.5 * (given["variance_time"] - given["mean_time"]),
                        "average_scale": 1.0, "average_years": given["variance_time"], "average_cash": paid})
    known = {"average_past": fixed.past * so_far / total, "average_weight": spot_over_strike / total, "average_cash": paid}
    if not n:
        return Average(known)
    growth = spot_over_forward * sum(math.exp(kept * t) for t in times) / n
    years = average_times(times)["variance_time"]
    return Average(known | {"average_log": math.log(n / total * growth * forward_over_strike), "average_share": 1.0, "average_scale": total / n, "average_years": years}, years, growth)


def running_sum(option: Exotic, valuation: datetime, longest: float, states: States) -> str:
    """The state that adds up the fixings on the path; options on the same average share it."""
    fixings = [t for t in option.fixings if days_between(valuation, t) <= longest]
    kind = "log_sum" if option.asian_average == "geometric" else "sum"
    level = states.level_in(option.underlying, option.quote_currency)
    name = f"running_{kind}[{level.split('[')[1].rstrip(']')},{fixings_label(fixings)}]"
    days = {days_between(valuation, t) for t in fixings}
    return states.made(name, lambda made: running_fixings(made, states.dates, level, kind, days))


def fixings_label(fixings: Sequence[datetime]) -> str:
    """Fixings as names of states write them: the first, the last, how many, and a word that tells them from others."""
    word = hashlib.sha256(";".join(t.isoformat() for t in fixings).encode("ascii")).hexdigest()[:8]
    return f"{expiry_label(fixings[0])},{expiry_label(fixings[-1])},{len(fixings)},{word}"


def places(group: Mapping[str, Any], m: Range, path: Range, widest: float) -> Range:
    """Range of the places at which a table is read, from those of ln(F / K) and of what the fixings add up to. `widest` standard deviation of the average to come."""
    left = tuple(max(1.0 - (group["average_past"] + group["average_weight"] * p), 1e-12) * group["average_scale"] for p in path)
    most = SURE * widest + 0.5 * widest * widest + 0.125
    return min(m[0] - math.log(left[0]), most), min(m[1] - math.log(left[1]), most)


__all__ = ["Average", "Fixed", "average_at", "average_inputs", "fixed_by", "fixings_label", "places", "running_sum"]
