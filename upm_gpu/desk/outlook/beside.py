"""What an account's equity moves by beside the P&L of its scenarios.

Margin scenarios leave out what no charge is taken on: collateral that counts after a haircut, and the coins or foreign cash that futures gained between their entry and today. Neither stands still on the way to
tomorrow. With x the log-change of an asset's value on a path,

  equity(t) = equity + P&L(t) + counted(V e^x) - counted(V) + sum of gains since entry (e^x - 1),

`counted` the methodology's haircuts, limits and debts on the market values V of all that an account posts (`margin/collateral.py`). Nothing where no such asset has a factor.

Verified: tests/statistics/test_tomorrow.py, against the equity of fresh runs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from upm_gpu.desk.outlook.moved_market import Moves
from upm_gpu.domain.book import Book
from upm_gpu.domain.instrument import Future, Perpetual, paid_in
from upm_gpu.margin.collateral import Posted, counted, posted_of
from upm_gpu.margin.methodology import simulated_assets
from upm_gpu.margin.result import gain_factors
from upm_gpu.market.snapshot import MarketSnapshot
from upm_gpu.plan import Plan

LINES = 1 << 21
"""lines of collateral times scenarios that are counted at once"""


@dataclass(frozen=True, eq=False)
class Beside:
    """Of a plan's accounts."""

    plan: Plan
    posted: Posted
    """lines of the accounts that post something which moves, by row of the plan; those of simulated assets among them: limits are shares of all"""
    still: NDArray[np.bool_]
    """(L,) lines whose move is in the scenarios"""
    gain: NDArray[np.float64]
    """(P,) since entry, today, in the reporting currency"""
    owner: NDArray[np.int64]
    asset: tuple[str, ...]
    """(P,) what it is paid in"""

    def add(self, pnl: NDArray[np.float64], states: NDArray[np.float64], date: int) -> None:
        """To what accounts (A, n) have made at a date of paths (D, K, n), in place."""
        names, count, p = self.plan.compiled.state_names, states.shape[2], self.posted
        move = Moves(self.plan.market, {n: states[date, k] for k, n in enumerate(names)})
        paid = tuple(dict.fromkeys(self.asset))
        if paid:
            gain = np.zeros((len(pnl), len(paid)))
            np.add.at(gain, (self.owner, np.array([paid.index(a) for a in self.asset])), self.gain)
            some = np.flatnonzero(np.any(gain != 0.0, axis=1))
            pnl[some] += (gain[some] @ np.stack([np.expm1(move.value(a) * np.ones(count)) for a in paid])).astype(pnl.dtype)
        if len(p.account):
            growth = np.stack([np.exp(move.value(a) * np.ones(count)) for a in p.assets])
            size = max(LINES // len(p.account), 1)
            for first in range(0, count, size):
                pnl[:, first : first + size] += _counted_moves(p, self.still, growth[:, first : first + size], len(pnl)).astype(pnl.dtype)


def _counted_moves(p: Posted, still: NDArray[np.bool_], growth: NDArray[np.float64], accounts: int) -> NDArray[np.float64]:
    """(A, n) for growth (M, n) of each asset: every scenario is a set of accounts of its own."""
    n, lines = growth.shape[1], len(p.account)
    value = p.value[:, None] * growth[p.asset]
    which = (p.account[:, None] + accounts * np.arange(n)).T.ravel()
    there = counted(p.schedule, which, np.tile(p.asset, n), value.T.ravel(), accounts * n).value.reshape(n, lines).T
    change = np.where(still[:, None], there - p.counted[:, None] - (value - p.value[:, None]), there - p.counted[:, None])
    found = np.zeros((accounts, n))
    np.add.at(found, p.account, change)
    return found


def beside_of(plan: Plan, book: Book) -> Beside | None:
    """None where the scenarios have it all. `book` has the accounts of the plan's own, in the netting sets that they are margined in."""
    market, names = plan.market, plan.compiled.state_names
    at = Moves(market, dict.fromkeys(names, 1.0))
    simulated = simulated_assets(plan.methodology, book)
    posted = posted_of(book, market, plan.methodology.collateral, simulated)
    live = np.array([a not in simulated and at.value(a) != 0.0 for a in posted.assets], bool)
    mine = np.isin(posted.account, np.unique(posted.account[live[posted.asset]])) if len(posted.asset) else np.zeros(0, bool)
    few = replace(posted, account=posted.account[mine], asset=posted.asset[mine], quantity=posted.quantity[mine], value=posted.value[mine], counted=posted.counted[mine])
    still = np.array([posted.assets[a] in simulated for a in few.asset.tolist()], bool)
    gain = gains(book, market)
    asset = tuple(_settled_in(book.instruments[n]) for n in book.positions.instrument.tolist())
    moving = np.array([g != 0.0 and a != "" and at.value(a) != 0.0 for g, a in zip(gain.tolist(), asset, strict=True)], bool)
    if not len(few.account) and not moving.any():
        return None
    kept = np.flatnonzero(moving)
    place = {name: n for n, name in enumerate(plan.units.names)}
    row = np.array([place.get(a.account_id, -1) for a in book.accounts], np.int64)
    owner = row[book.positions.account[kept]]
    return Beside(plan, replace(few, account=row[few.account]), still, gain[kept], owner, tuple(asset[n] for n in kept.tolist()))


def gains(book: Book, market: MarketSnapshot) -> NDArray[np.float64]:
    """(P,) of futures and perpetuals since their entry, today, in the reporting currency."""
    p, found = book.positions, np.zeros(len(book.positions.instrument))
    for n in np.unique(p.instrument).tolist():
        instrument = book.instruments[n]
        if isinstance(instrument, Future | Perpetual):
            now, entry = gain_factors(instrument, market)
            mine = p.instrument == n
            found[mine] = p.entry_quantity[mine] * now + p.entry_cost[mine] * entry
    return found


def _settled_in(instrument: object) -> str:
    if not isinstance(instrument, Future | Perpetual):
        return ""
    return instrument.underlying if instrument.settlement == "inverse" else paid_in(instrument)


__all__ = ["Beside", "beside_of", "gains"]
