"""How to reduce: the cheapest listed trades that free some margin, reach a margin ratio or end a call, and how far from the cheapest they may be.

A linear programme holds the core (`hedge_programme.py`), and the charges where there are any (`hedge_charged.py`). What it gives is rounded to whole lots, asked of the desk as a what-if, costs paid from cash, and the difference
between the true margin and the programme's goes into the next target: only trades that an exact what-if has passed are ever an answer, and that is a fresh run's to the bit. Trades that can be left out are left out, one by one.
The best hedge with a single instrument is found too, and the cheaper of the two is kept. The optimality gap is (cost - bound) / cost, bound the programme's: no trades in these instruments within these limits cost less. It is
proved where the account is alone in its netting set and the core is a plain expected shortfall.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from upm_gpu.desk.change import unknown_instrument
from upm_gpu.desk.hedging.hedge_charged import search_charged
from upm_gpu.desk.hedging.hedge_desk import Desk, Goal, Hedge, Target, after
from upm_gpu.desk.hedging.hedge_search import Found, search
from upm_gpu.desk.hedging.trading import Trading, load_trading
from upm_gpu.desk.resident import Resident
from upm_gpu.errors import InputError


@dataclass(frozen=True)
class Reduction:
    """The answer to "how to reduce"."""

    account_id: str
    goal: Goal
    reached: bool
    hedge: Hedge
    """where the goal is not reached: what comes nearest"""
    single: Hedge | None
    """the cheapest trade in one instrument that reaches the goal; None where none does"""
    before: dict[str, Any]
    """columns of margin.csv"""
    after: dict[str, Any]
    bound: float | None
    """no trades cost less; None where it is not proved"""
    gap: float | None
    """(cost - bound) / cost"""
    least_margin: float | None
    """where the goal is not reached: the initial margin cannot be brought below this; None where it is not proved"""
    instruments: int
    """that may be traded"""
    notes: tuple[str, ...]


def reduce(resident: Resident, account: str, goal: Goal, *, netting_set: str = "", trading: Trading | None = None, only: Sequence[str] = (), trades: int = 0, ticket: float = 0.0) -> Reduction:
    """The cheapest trades of an account that reach a goal; see the head of this file. `only` names the instruments that may be traded (empty: all that are resident), `trades` how many at most
    (0: any number), `ticket` a cost of each trade beside its size.

    Raises InputError for a goal that is none, and what `whatif` raises.
    """
    _check(resident, goal, trades, ticket, only)
    desk = Desk.of(resident, account, netting_set, trading or load_trading(), only)
    goal_of = Target.of(goal, desk.before, resident.plan.methodology.maintenance_ratio)
    notes = list(desk.notes)
    if goal_of.room(desk.before) >= 0.0:
        nothing = Hedge((), 0.0, (), None)
        return Reduction(account, goal, True, nothing, None, desk.before, desk.before, 0.0, 0.0, None, len(desk.market.names), (*notes, "nothing to do: the goal is met already."))
    found = (search_charged if resident.charges else search)(desk, goal_of, ticket, trades)
    notes += found.notes
    if not found.passing:
        assert found.nearest is not None
        notes.append(_cannot(desk, goal, goal_of, found))
        return Reduction(account, goal, False, found.nearest, None, desk.before, after(found.nearest, desk.before), None, None, found.least if goal.free is not None else None, len(desk.market.names), tuple(notes))
    best = min(found.passing, key=lambda h: (h.cost + ticket * len(h.trades), len(h.trades)))
    single = min((h for h in found.passing if len(h.trades) == 1), key=lambda h: h.cost, default=None)
    gap = None if found.bound is None else max(best.cost - found.bound, 0.0) / best.cost if best.cost > 0.0 else 0.0
    if best is single:
        notes.append("the cheapest hedge found is one trade in one instrument.")
    return Reduction(account, goal, True, best, single, desk.before, after(best, desk.before), found.bound, gap, None, len(desk.market.names), tuple(notes))


def _check(resident: Resident, goal: Goal, trades: int, ticket: float, only: Sequence[str]) -> None:
    given = [goal.free is not None, goal.ratio is not None, goal.passes]
    if sum(given) != 1:
        raise InputError("UPM-IN-160", f"{sum(given)} goals are given. Give one: margin to free, a margin ratio, or that equity covers the initial margin.")
    for value, what in ((goal.free, "margin to free"), (goal.ratio, "margin ratio")):
        if value is not None and not 0.0 < value < np.inf:
            raise InputError("UPM-IN-160", f"the {what} is {value:g}. Give an amount above 0.")
    if trades < 0 or not 0.0 <= ticket < np.inf:
        raise InputError("UPM-IN-160", f"{trades} trades at most, {ticket:g} a ticket: neither can be negative or infinite. Give 0 for no bound and no cost.")
    for name in only:
        if name not in resident.known.instruments:
            raise unknown_instrument(name, list(resident.known.instruments))


def _cannot(desk: Desk, goal: Goal, target: Target, found: Found) -> str:
    """The clear answer where no trades reach the goal."""
    hedge, before, currency = found.nearest, desk.before, desk.resident.plan.market.reporting_currency
    assert hedge is not None
    figures = after(hedge, before)
    relief = float(before["initial_margin"]) - float(figures["initial_margin"])
    what = f"free {goal.free:,.2f} {currency}" if goal.free is not None else f"reach a margin ratio of {goal.ratio:g}" if goal.ratio is not None else "bring the initial margin below equity"
    impossible = found.least is not None and found.least > target.bound
    lines = f"no trades in these instruments within their limits {what}: " if impossible else f"no trades were found that {what} within the limits of these instruments: "
    if not hedge.trades:
        lines += "none lowers the margin at all."
    else:
        lines += f"the nearest frees {relief:,.2f} {currency} at a cost of {hedge.cost:,.2f}, to an initial margin of {figures['initial_margin']:,.2f}."
    short = -target.room(figures)
    if goal.free is None and short > 0.0:
        lines += f" A deposit of {short * target.share:,.2f} {currency} beside them would do it."
    return lines
