"""Stresses of several days: every day a move, then margins, calls and liquidations, and the book that is left goes on.

Day by day, over moves that add up since the start: the market after them (`shocked.py`), every account margined in it, then

* an account in liquidation, or whose call of the day before was not met, is closed: its positions and collateral become cash, equity less the cost of closing out; what is
  below zero is an uncovered loss, borne by the default fund;
* an account below its initial margin is called for the difference; where calls are paid the money is there the next day, in the reporting currency.

Positions are closed at the day's prices and move no price; the clock stands still, so nothing expires on the way. Money is conserved: equity at the end of a day equals equity at
its start plus deposits less costs, plus what the fund paid in. Verified by tests/properties/test_campaign_paths.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from upm_gpu.calibrate.dated import past_move
from upm_gpu.campaign.config import PathEntry
from upm_gpu.campaign.shocked import shocked_market
from upm_gpu.campaign.shocks import column, market_then
from upm_gpu.campaign.stressed_book import StressedBook, closing_cost
from upm_gpu.domain.book import Book, Collateral
from upm_gpu.margin.result import CALL, LIQUIDATION

if TYPE_CHECKING:
    import pandas as pd


def daily_moves(entry: PathEntry, book: StressedBook) -> list[tuple[str, NDArray[np.float64]]]:
    """(name, (K,) moves of that day alone) of every day of a path."""
    plan, states = book.outcome.plan, book.shocks.states
    if entry.days:
        return [(f"day {n}", column(states, moves, entry.name)[:, 0]) for n, moves in enumerate(entry.days, 1)]
    first, last, market = date.fromisoformat(entry.start), date.fromisoformat(entry.end), market_then(entry.history, plan.market)
    found = []
    for n in range((last - first).days):
        one, next_one = first + timedelta(days=n), first + timedelta(days=n + 1)
        moves = past_move(entry.name, one.isoformat(), next_one.isoformat(), entry.stand_in, states, market, plan.spec, plan.surfaces)
        found.append((next_one.isoformat(), np.array(list(moves.values()))))
    return found


def with_cash(book: Book, currency: str, cash: Mapping[int, float]) -> Book:
    """The book with cash deposited by account."""
    held: dict[tuple[int, str], float] = {(int(a), asset): float(q) for a, asset, q in zip(book.collateral.account, book.collateral.asset, book.collateral.quantity, strict=True)}
    for account, amount in cash.items():
        held[account, currency] = held.get((account, currency), 0.0) + amount
    keys = sorted(held)
    return replace(book, collateral=Collateral(np.array([a for a, _ in keys], np.int32), tuple(asset for _, asset in keys), np.array([held[k] for k in keys])))


def closed(book: Book, accounts: NDArray[np.int64]) -> Book:
    """The book without anything that `accounts` hold."""
    p, c = book.positions, book.collateral
    stay, kept = ~np.isin(p.account, accounts), ~np.isin(c.account, accounts)
    positions = type(p)(**{name: getattr(p, name)[stay] for name in ("account", "netting_set", "instrument", "contracts", "quantity", "entry_quantity", "entry_cost")})
    return replace(book, positions=positions, collateral=Collateral(c.account[kept], tuple(a for a, k in zip(c.asset, kept, strict=True) if k), c.quantity[kept]))


def walk_path(entry: PathEntry, book: StressedBook, delta_cost: float, vega_cost: float, default_fund: float) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(by day, by day and account) of a path. Ends where the days do."""
    import pandas as pd

    from upm_gpu.engine import compute_outcome
    from upm_gpu.passes import in_memory
    from upm_gpu.plan import make_plan

    plan, choice = book.outcome.plan, book.choice
    currency, held = plan.market.reporting_currency, plan.book
    moved, total = np.zeros(len(book.shocks.states)), len(book.accounts)
    owed: dict[int, float] = {}
    gone = np.zeros(total, bool)
    uncovered, lines, parts = 0.0, list[dict[str, Any]](), []
    for day, (name, moves) in enumerate(daily_moves(entry, book), 1):
        moved = moved + moves
        paid = owed if entry.calls_paid else {}
        held = with_cash(held, currency, paid)
        unmet = np.array([] if entry.calls_paid else sorted(owed), np.int64)
        if not len(held.positions.instrument):
            break
        market, surfaces = shocked_market(plan, dict(zip(book.shocks.states, moved.tolist(), strict=True)), choice.module)
        outcome = compute_outcome(make_plan(held, market, plan.spec, plan.methodology, plan.model, surfaces), choice, 0, in_memory(None))
        table = outcome.result.table.set_index("account_id").loc[list(book.accounts)]
        equity, excess, status = table["equity"].to_numpy(np.float64), table["excess"].to_numpy(np.float64), table["status"].to_numpy(object)
        ends = ~gone & ((status == LIQUIDATION) | np.isin(np.arange(total), unmet))
        cost = np.where(ends, closing_cost(outcome, delta_cost, vega_cost) * entry.liquidity, 0.0)
        left = equity - cost
        short = np.where(ends, np.maximum(-left, 0.0), 0.0)
        owed = {int(a): float(-excess[a]) for a in np.flatnonzero(~gone & ~ends & (status == CALL))}
        closing = np.flatnonzero(ends)
        held = with_cash(closed(held, closing), currency, {int(a): float(left[a]) for a in closing if left[a] > 0.0})
        gone |= ends
        uncovered += float(short.sum())
        lines.append({"book": book.name, "path": entry.name, "day": day, "name": name, "equity": float(equity.sum()), "initial_margin": float(table["initial_margin"].sum()), "deposits": float(sum(paid.values())),
                      "called": len(owed), "calls": float(sum(owed.values())), "liquidated": len(closing), "closing_cost": float(cost.sum()), "uncovered_loss": float(short.sum()),
                      "uncovered_so_far": uncovered, "default_fund_left": max(default_fund - uncovered, 0.0) if default_fund else None})
        calls = np.array([owed.get(a, 0.0) for a in range(total)])
        parts.append(pd.DataFrame({"book": book.name, "path": entry.name, "day": np.int32(day), "account_id": list(book.accounts), "equity": equity, "initial_margin": table["initial_margin"].to_numpy(np.float64),
                                   "standard_error": table["expected_shortfall_standard_error"].to_numpy(np.float64), "deposit": np.array([paid.get(a, 0.0) for a in range(total)]), "call": calls,
                                   "closing_cost": cost, "uncovered_loss": short, "state": np.where(ends, "liquidated", np.where(gone, "closed", np.where(calls > 0.0, "called", "fine")))}))
    return pd.DataFrame(lines), pd.concat(parts, ignore_index=True)
