"""Options with further terms in a book: what a group reads in a scenario, and which operation of `upm price` makes its table.

Every product is homogeneous in level, strike, barrier and payments, so per unit of strike it is a function of ln(F / K) and the option's own volatility, as an
American option is (`pricing/tables.py`). A knock-out is Black's value and a table of what the barrier takes away; the others are tables of the value itself, which end at the
barrier: beyond it the option is what it has become. Digitals are priced directly. A barrier is looked at all the time: the path between two dates is drawn from a Brownian
bridge whose variance is that of the model over the interval (`running_extreme`, of two barriers `running_exit` of `scenario/derived.py`), one path an underlying, so that a knock-in and a knock-out are together the
plain option in every scenario; a barrier on fixings by the extreme over those of the path. The rate at the horizon is today's, and so is the ratio of forward and
spot: no roll-down.

Verified by `tests/end_to_end/test_exotic_book.py`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from upm_gpu.domain.instrument import Exotic, Instrument
from upm_gpu.errors import InputError
from upm_gpu.market.snapshot import days_between
from upm_gpu.pricing.averages import average_at, average_inputs, fixed_by, fixings_label, running_sum
from upm_gpu.pricing.compiled import Family, TableRequest
from upm_gpu.pricing.states import States
from upm_gpu.scenario.derived import Bridges, running_exit, running_extreme, running_fixings
from upm_gpu.scenario.sets import BLOCK, ScenarioSet
from upm_gpu.scenario.spec import ScenarioSpec

PILOT_BLOCKS = 4
"""blocks of scenarios from which the variance of an interval is taken: its root within half a per cent"""

SHIFT = 0.5825971579390106
"""-zeta(1/2) / sqrt(2 pi): how far a barrier on fixings moves away, in standard deviations of the time between two (`kernels/single_barrier.cuh`)"""
UNEVEN = 4.0
"""a weekend and a holiday between daily fixings"""
FEW_FIXINGS = 5

Inputs = tuple[tuple[str, float | tuple[float, ...]], ...]


@dataclass(frozen=True)
class ExoticGroup:
    """What `compile` adds to a group of one exotic option at a horizon."""

    reals: dict[str, float]
    path_state: str
    request: TableRequest
    family: Family


def bridges_of(scenarios: ScenarioSet, spec: ScenarioSpec, instruments: Iterable[Instrument]) -> Bridges | None:
    """The law of the path between two dates, from the first scenarios by the twins; None where no barrier is held.

    A pure function of the set: every backend, chunk and resumed run gets the same numbers.
    """
    from upm_gpu.model.registry import reference_states

    if not any(isinstance(i, Exotic) and (i.barrier or i.upper_barrier) and not i.fixings for i in instruments):
        return None
    drawn = reference_states(scenarios, 0, min(scenarios.count, PILOT_BLOCKS * BLOCK))[0]
    return Bridges(spec.seed, spec.stream, np.var(np.diff(drawn, axis=0, prepend=0.0), axis=2))


def check_exotic(option: Exotic, spot: float, valuation: datetime) -> None:
    """Refuse what cannot be priced. `spot` in the option's quote currency. Raises InputError."""
    if option.barrier:
        up = option.barrier_type.startswith("up")
        if spot >= option.barrier if up else spot <= option.barrier:
            raise InputError("UPM-PR-083", f"{option.instrument_id}: its barrier {option.barrier:g} ({option.barrier_type}) has been reached: {option.underlying} is at {spot:g}. "
                             "Book what it has become (the plain option, its rebate or payout), or correct the barrier.")
    if option.upper_barrier and not option.lower_barrier < spot < option.upper_barrier:
        raise InputError("UPM-PR-083", f"{option.instrument_id}: one of its barriers {option.lower_barrier:g} and {option.upper_barrier:g} has been reached: {option.underlying} is at {spot:g}. "
                         "Book what it has become (the plain option or its rebate), or correct the barriers.")
    for fixing in option.fixings:
        if fixing <= valuation:
            raise InputError("UPM-PR-084", f"{option.instrument_id}: the fixing at {fixing.isoformat()} is not after the valuation time {valuation.isoformat()} and has no value. "
                             f"Leave it out of fixings{'' if option.barrier else ' and count it in fixings_so_far and average_so_far'}.")
    if option.barrier and option.fixings:
        gaps = np.diff([0.0, *(days_between(valuation, t) for t in option.fixings)])
        if option.fixings[-1] != option.expiry or gaps.max() > UNEVEN * gaps.mean():
            raise InputError("UPM-PR-089", f"{option.instrument_id}: its barrier is looked at on {len(gaps)} fixings, the last at {option.fixings[-1].isoformat()}, up to {gaps.max():.3g} days apart where "
                             f"{gaps.mean():.3g} is the mean; only fixings spread over the whole life and ending with it are priced (no gap above {UNEVEN:g} means). Complete its fixings, or remove the "
                             "instrument and its positions.")


def exotic_group(group: int, option: Exotic, values: dict[str, float], rate: float, settled: bool, horizon: float, valuation: datetime, states: States,
                 bridges: Bridges | None) -> ExoticGroup:
    """Reals, path state and table request of an option that is a group of its own. `values` are the group's reals so far, `rate` the exchange rate of its currency."""
    years = values["expiry_years"]
    carry = math.log(values["forward0"] / values["spot0"]) / years
    over = values["spot0"] / values["forward0"]
    coins = option.settlement == "inverse"  # what is paid in coins at the index of the expiry grows as they do: interest is the carry, the coin has none
    interest = carry if coins else -math.log(values["discount0"]) / years
    sign = 1.0 if option.option_type == "call" else -1.0
    left = 1.0 if settled else values["discount"]
    reals = _payments(option, sign, rate, left)
    state, inside = "", (-math.inf, math.inf)
    if option.barrier:
        side = 1.0 if option.barrier_type.startswith("up") else -1.0
        reals |= {"barrier": math.log(option.barrier * rate / values["spot0"]), "barrier_side": side}
        state = _path_state(option, side, states, bridges) if not option.fixings else _looked_state(option, side, valuation, states)
        edge = math.log(option.barrier / option.strike) - math.log(over)
        inside = (-math.inf, edge) if side > 0.0 else (edge, math.inf)
    if option.upper_barrier:
        reals |= {"barrier": 0.5, "barrier_side": 1.0}  # of a state that is 0 or 1
        state = _exit_state(option, rate / values["spot0"], states, bridges)
        inside = (math.log(option.lower_barrier / option.strike) - math.log(over), math.log(option.upper_barrier / option.strike) - math.log(over))
    ratio = values["spot0"] / rate / option.strike
    name, today = _inputs(option, sign, 0.0, valuation)
    later = _inputs(option, sign, horizon, valuation)[1]
    remaining = values["remaining_years"]
    kept = carry * years / remaining if remaining > 0.0 else carry  # F / S stays what it is today: the operation's forward is the scenario's
    alive, family = not settled and option.product != "digital", Family.SETTLED_EXOTIC if settled else Family.EXOTIC
    shift = 0.0
    if option.barrier and option.fixings and alive:
        to_come = len(fixed_by(option, valuation, horizon).to_come)
        reals["fixing_shift"] = SHIFT * math.sqrt(remaining / to_come)
        shift = reals["barrier_side"] * reals["fixing_shift"]
        if to_come < FEW_FIXINGS:
            states.warnings[f"UPM-PR-093 {option.instrument_id}: {to_come} fixings of its barrier are left {horizon:g} days on. Moving the barrier, as upm price does, errs by some hundredths of the "
                            "price with so few."] = None
    base, years_black, growth = reals.get("miss_black", 0.0), remaining, 1.0
    fixed = fixed_by(option, valuation, horizon)
    if option.product == "asian" and fixed.on_path:
        state = running_sum(option, valuation, float(states.dates[-1]), states)
        average = average_at(option, fixed, horizon, ratio, ratio / over, over, kept, left)
        reals, base, years_black, growth = average.reals, 1.0, average.years, average.growth
        alive, family = bool(fixed.to_come) and option.asian_average == "arithmetic", Family.AVERAGE if fixed.to_come else Family.FIXED_AVERAGE
    request = TableRequest(option.instrument_id, group, name, alive, sign, over, (("rate", kept if coins else interest), ("dividend_yield", 0.0 if coins else interest - kept), ("time_to_expiry", remaining), *later), years_black, values["discount"],
                           (("rate", interest), ("dividend_yield", interest - carry), ("time_to_expiry", years), *today), years, values["discount0"], base, growth, inside, shift, 1.0 / over if coins else 1.0)
    return ExoticGroup(reals, state, request, family)


def _payments(option: Exotic, sign: float, rate: float, left: float) -> dict[str, float]:
    """Reals of `Program`: amounts in the reporting currency, `left` the discount factor of what is paid at expiry."""
    cash, units = (option.payout * rate, 0.0) if option.payout_type == "cash" else (0.0, option.payout)
    if option.product == "digital":
        return {"region_cash": cash, "region_index": units}
    if option.product in ("barrier", "double_barrier"):
        if option.barrier_type.endswith("out"):
            return {"miss_black": 1.0, "hit_cash": option.rebate * rate}
        return {"hit_black": 1.0, "miss_cash": option.rebate * rate}
    if option.product == "one_touch":
        paid = 1.0 if option.payout_time == "hit" else left
        return {"hit_cash": cash * paid, "hit_index": units * paid}
    if option.product == "no_touch":
        return {"miss_cash": cash, "miss_index": units}
    if not option.fixings:
        return {"miss_cash": max(sign * (option.average_so_far - option.strike), 0.0) * rate}
    return {}


def _inputs(option: Exotic, sign: float, after: float, valuation: datetime) -> tuple[str, Inputs]:
    """The operation and its inputs per unit of strike, `after` days."""
    k = option.strike
    if option.product == "asian":
        return average_inputs(option, sign, fixed_by(option, valuation, after), after)
    asset, cash = (0.0, option.payout / k) if option.payout_type == "cash" else (option.payout, 0.0)
    if option.product == "digital":
        return "single_barrier", (("region", sign), ("asset", asset), ("cash", cash))
    if option.product == "double_barrier":
        knock_in, rebate = option.barrier_type == "knock_in", option.rebate / k
        return "double_barrier", (("lower_barrier", option.lower_barrier / k), ("upper_barrier", option.upper_barrier / k), ("hit", 0.0), ("region", sign), ("asset", sign), ("cash", -sign),
                                  ("knock_in", float(knock_in)), ("hit_payment", 0.0 if knock_in else rebate), ("miss_payment", rebate if knock_in else 0.0))
    barrier: Inputs = (("barrier", option.barrier / k), ("up", 1.0 if option.barrier_type.startswith("up") else -1.0), ("hit", 0.0))
    if option.fixings:
        barrier = (*barrier, ("fixings", float(len(fixed_by(option, valuation, after).to_come))))
    if option.product == "barrier":
        knock_in, rebate = option.barrier_type.endswith("in"), option.rebate / k
        return "single_barrier", (*barrier, ("region", sign), ("asset", sign), ("cash", -sign), ("knock_in", float(knock_in)), ("hit_payment", 0.0 if knock_in else rebate),
                                  ("miss_payment", rebate if knock_in else 0.0))
    touched = float(option.product == "one_touch")
    if option.payout_time == "hit":
        return "single_barrier", (*barrier, ("knock_in", touched), ("asset", 0.0), ("cash", 0.0), ("hit_asset", 0.0), ("hit_payment", cash))
    return "single_barrier", (*barrier, ("knock_in", touched), ("asset", asset), ("cash", cash))


def _looked_state(option: Exotic, side: float, valuation: datetime, states: States) -> str:
    """The extreme over the fixings on the path; none where all come later."""
    longest = float(states.dates[-1])
    fixings = [t for t in option.fixings if days_between(valuation, t) <= longest]
    if not fixings:
        return ""
    _payable(option, states)
    level, kind = states.level_in(option.underlying, option.quote_currency), "highest" if side > 0.0 else "lowest"
    days = {days_between(valuation, t) for t in fixings}
    return states.made(f"running_{kind}[{level.split('[')[1].rstrip(']')},{fixings_label(fixings)}]", lambda name: running_fixings(name, states.dates, level, kind, days))


def _payable(option: Exotic, states: States) -> None:
    if states.dynamics.rates and (option.rebate or option.payout_time == "hit"):
        raise InputError("UPM-PR-086", f"{option.instrument_id}: a payment at the hit is not priced under model.rates moving. Set model.rates to fixed, or remove the instrument and its positions.")


def _path_state(option: Exotic, side: float, states: States, bridges: Bridges | None) -> str:
    """The highest (side +1) or lowest (-1) point so far; one state for all barriers of an underlying on that side."""
    level = states.level_in(option.underlying, option.quote_currency)
    if level not in states.drawn:
        raise InputError("UPM-PR-086", f"{option.instrument_id}: its barrier is in {option.quote_currency} and {option.underlying} moves in another currency; the path between two dates is drawn for "
                         "levels of the model only. Remove the instrument and its positions.")
    _payable(option, states)
    place, dates = states.place[level], states.dates
    bridges = bridges or Bridges(0, 0, np.zeros((len(dates), len(states.drawn))))
    return states.made(f"running_{'maximum' if side > 0.0 else 'minimum'}[{option.underlying}]", lambda name: running_extreme(name, dates, level, place, side, bridges))


def _exit_state(option: Exotic, per_unit: float, states: States, bridges: Bridges | None) -> str:
    """Whether the path has left the levels between the two barriers, each `per_unit` x its level over the spot of today."""
    extremes = _path_state(option, 1.0, states, bridges), _path_state(option, -1.0, states, bridges)
    level, dates = states.level_in(option.underlying, option.quote_currency), states.dates
    place, lower, upper = states.place[level], math.log(option.lower_barrier * per_unit), math.log(option.upper_barrier * per_unit)
    bridges = bridges or Bridges(0, 0, np.zeros((len(dates), len(states.drawn))))
    name = f"running_exit[{option.underlying},{option.lower_barrier:.17g},{option.upper_barrier:.17g}]"
    return states.made(name, lambda made: running_exit(made, dates, level, extremes, place, lower, upper, bridges))


def inside_range(request: TableRequest, log_moneyness: NDArray[np.float64]) -> NDArray[np.float64]:
    """ln(F / K) moved to the live side of the barrier, a hair off it."""
    low, high = request.inside
    return np.clip(log_moneyness, low + EDGE, high - EDGE)


EDGE = 1e-9
"""in ln(F / K): on the barrier itself an operation counts it as hit"""


__all__: Sequence[str] = ["ExoticGroup", "bridges_of", "check_exotic", "exotic_group", "inside_range"]
