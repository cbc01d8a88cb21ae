"""P&L of one account over moves of price and volatility, now or some days ahead, through the engine's own pricing.

Every cell is a scenario whose states are given outright (`scenario/sets.py`, Explicit): one underlying, or all at once, moves by a share of its price and its 30-day volatility by a share of itself, and stays there;
with `days` the time passes too, expiries inside it settle at the moved price. Cells are in float64. At the moves of the report's heat maps the figures are the report's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from upm_gpu.backend.select import Choice
from upm_gpu.desk.change import sub_book
from upm_gpu.domain.tables import nearest
from upm_gpu.errors import InputError
from upm_gpu.exhibits import (
    PRICE_MOVES,
    SHOWN_TOLERANCE,
    VOLATILITY_MOVES,
    compile_today,
    cover,
    row_values,
    state_moves,
)
from upm_gpu.margin.methodology import simulated_assets
from upm_gpu.margin.units import build_units, grouped_rows, priced_instruments
from upm_gpu.plan import Plan
from upm_gpu.pricing.compile import compile_book
from upm_gpu.pricing.path_dates import path_dates
from upm_gpu.pricing.states import funding_dates
from upm_gpu.scenario.sets import Explicit

ALL = "all"
LARGEST = 250_000
"""cells: a grid of 500 x 500 answers any question a picture can"""


@dataclass(frozen=True)
class PnlSurface:
    """P&L in the reporting currency."""

    account_id: str
    underlying: str
    """or `all`: every one moves alike"""
    days: float
    price: tuple[float, ...]
    """(P,) relative moves"""
    volatility: tuple[float, ...]
    """(V,) relative moves of the 30-day volatility"""
    pnl: NDArray[np.float64]
    """(V, P)"""


def pnl_surface(plan: Plan, choice: Choice, account_id: str, underlying: str = "", prices: Sequence[float] = PRICE_MOVES, volatilities: Sequence[float] = VOLATILITY_MOVES,
                days: float = 0.0) -> tuple[PnlSurface, ...]:
    """A surface for `underlying` (`all`: together; blank: each that the account holds). InputError for an unknown account or underlying, a grid that is none, a move of a price by -100 % or beyond."""
    place = {a.account_id: n for n, a in enumerate(plan.book.accounts)}
    if account_id not in place:
        near = nearest(account_id, list(place))
        raise InputError("UPM-IN-141", f"account {account_id!a} is not in the run.{f' Did you mean {ascii(near)[1:-1]}?' if near else ' Accounts are listed in margin.csv.'}")
    _check_grid(prices, volatilities, days)
    book = sub_book(plan.book, [place[account_id]])
    simulated = simulated_assets(plan.methodology, plan.book)
    instruments = priced_instruments(book, plan.market, simulated)
    instruments = tuple(i for i in plan.instruments if i.instrument_id in {k.instrument_id for k in instruments})  # as the plan has them: with correlations and rates of its scenarios
    states = tuple(plan.compiled.drawn_names)
    held = sorted({i.underlying for i in instruments} | {str(u) for i in instruments if (u := getattr(i, "underlying_2", ""))})
    movable = [u for u in held if f"log_level[{u}]" in states]
    if underlying and underlying != ALL and underlying not in movable:
        near = nearest(underlying, movable)
        hint = f"Did you mean {near}?" if near else f"It holds: {', '.join(movable) or 'nothing that moves'}."
        raise InputError("UPM-IN-170", f"account {account_id!a} holds nothing that moves with {underlying!a}. {hint}")
    groups = [(ALL, movable)] if underlying == ALL else [(u, [u]) for u in ([underlying] if underlying else movable)]
    if not instruments or not groups:
        return ()
    units = build_units(book, instruments, simulated)
    if days > 0.0:
        dates = path_dates(instruments, plan.market, (days,), funding_dates(instruments, (days,), plan.dynamics))
        compiled = compile_book(instruments, plan.market, plan.surfaces, states, dates, (days,), plan.dynamics)[0]
    else:
        dates = np.array([0.0])
        compiled = compile_today(instruments, plan.market, plan.surfaces, states, plan.dynamics)
    given = [_grid(states, dates, prices, volatilities, moved) for _, moved in groups]
    compiled = cover(choice.module, compiled, given, choice.threads, SHOWN_TOLERANCE)
    rows, _ = grouped_rows(units.lines, np.zeros(len(units.lines.unit), np.int32), 1, compiled)
    found = []
    for (name, _), cells in zip(groups, given, strict=True):
        pnl = row_values(choice.module, compiled, rows, cells, choice.threads)[0]
        found.append(PnlSurface(account_id, name, days, tuple(map(float, prices)), tuple(map(float, volatilities)), pnl.reshape(len(volatilities), len(prices))))
    return tuple(found)


def _grid(states: tuple[str, ...], dates: NDArray[np.float64], prices: Sequence[float], volatilities: Sequence[float], moved: Sequence[str]) -> Explicit:
    """Every volatility move with every price move, the same at all dates."""
    index = {n: k for k, n in enumerate(states)}
    values = np.zeros((len(dates), len(states), len(volatilities) * len(prices)))
    for v, volatility in enumerate(volatilities):
        for p, price in enumerate(prices):
            for name, size in state_moves(states, {u: {"price": price, "volatility": volatility} for u in moved}).items():
                values[:, index[name], v * len(prices) + p] = size
    return Explicit(states, dates, values)


def _check_grid(prices: Sequence[float], volatilities: Sequence[float], days: float) -> None:
    for name, moves in (("price", prices), ("volatility", volatilities)):
        if not len(moves) or any(not np.isfinite(m) or m <= -1.0 or m > 100.0 for m in moves) or list(moves) != sorted(set(moves)):
            raise InputError("UPM-IN-171", f"moves of the {name} {tuple(moves)[:5]}: give different finite moves in ascending order, above -1 (-100 %) and at most 100.")
    if len(prices) * len(volatilities) > LARGEST:
        raise InputError("UPM-IN-171", f"{len(prices)} moves of the price x {len(volatilities)} of the volatility: a grid has at most {LARGEST:,} cells. Give fewer steps.")
    if not 0.0 <= days <= 3650.0:
        raise InputError("UPM-IN-171", f"moves after {days:g} days: give from 0 to 3650 days.")
