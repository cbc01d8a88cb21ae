"""Who breaks first: every shock and every account of a book in a line each.

An account breaks where its equity after the shock, less what closing it out costs, is below zero; it is called where equity is below its maintenance
margin of before. A member's uncovered loss is the sum of its accounts' broken equities: accounts do not pay for one another. Cover 1 and cover 2 are the
largest and the two largest uncovered losses of members (CPMI-IOSCO 2012, Principles for financial market infrastructures, principle 4), their share of the default
fund what they would use of it. Distance to default of an account: the least Mahalanobis distance among the campaign's shocks that break it. Verified by
tests/properties/test_campaign_losses.py against sums by hand.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from upm_gpu.campaign.stressed_book import StressedBook


def rank(book: StressedBook, blocks: Iterable[tuple[int, int, NDArray[np.float64], NDArray[np.float64]]], default_fund: float) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(by shock, by account) from blocks of (first, last, pnl, equity), (A, S) each."""
    shocks, maintenance = book.shocks, book.margin["maintenance_margin"].to_numpy(np.float64)
    lines: list[dict[str, Any]] = []
    count = len(book.accounts)
    worst, worst_equity, worst_shock = np.full(count, np.inf), np.zeros(count), np.zeros(count, np.int32)
    broken, called, distance, nearest = np.zeros(count, np.int64), np.zeros(count, np.int64), np.full(count, np.inf), np.full(count, -1, np.int32)
    members = np.array(book.members, object)
    order = np.argsort(book.member, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(book.member[order]) > 0])
    for first, last, pnl, equity in blocks:
        left = equity - book.closing_cost[:, None] * shocks.liquidity[first:last]
        short = np.maximum(-left, 0.0)
        by_member = np.add.reduceat(short[order], starts, axis=0)
        top = np.argsort(-by_member, axis=0, kind="stable")[:2]
        breaks, calls = left < 0.0, equity < maintenance[:, None]
        for s in range(last - first):
            largest = by_member[top[:, s], s]
            used = float(largest.sum())
            lines.append({"shock": first + s, "pnl": float(pnl[:, s].sum()), "accounts_losing": int((pnl[:, s] < 0.0).sum()), "accounts_called": int(calls[:, s].sum()),
                          "accounts_broken": int(breaks[:, s].sum()), "uncovered_loss": float(short[:, s].sum()), "cover_1": float(largest[0]), "cover_1_member": members[top[0, s]] if largest[0] > 0.0 else "",
                          "cover_2": used, "cover_2_member": members[top[1, s]] if len(largest) > 1 and largest[1] > 0.0 else "",
                          "cover_1_of_default_fund": float(largest[0]) / default_fund if default_fund else None, "cover_2_of_default_fund": used / default_fund if default_fund else None})
        at = np.argmin(pnl, axis=1)
        each = np.arange(count)
        better = pnl[each, at] < worst
        worst, worst_equity, worst_shock = np.where(better, pnl[each, at], worst), np.where(better, equity[each, at], worst_equity), np.where(better, at + first, worst_shock).astype(np.int32)
        broken += breaks.sum(axis=1)
        called += calls.sum(axis=1)
        far = np.where(breaks, shocks.distance[first:last], np.inf)
        place = np.argmin(far, axis=1)
        near = far[each, place] < distance
        distance, nearest = np.where(near, far[each, place], distance), np.where(near, place + first, nearest).astype(np.int32)
    by_shock = pd.DataFrame(lines)
    names = np.array(shocks.names, object)
    facts = pd.DataFrame({"book": book.name, "shock": np.arange(shocks.count, dtype=np.int32), "name": names, "entry": list(shocks.entry), "kind": list(shocks.kind), "correlation": shocks.correlation,
                          "liquidity": shocks.liquidity, "price": shocks.place[0], "volatility": shocks.place[1], "basis": shocks.place[2], "distance": shocks.distance, **{state: shocks.moves[k] for k, state in enumerate(shocks.states)}})
    by_account = pd.DataFrame({
        "book": book.name, "account_id": list(book.accounts), "member_id": members[book.member], "equity": book.equity, "initial_margin": book.margin["initial_margin"].to_numpy(np.float64),
        "initial_margin_standard_error": book.margin["expected_shortfall_standard_error"].to_numpy(np.float64), "maintenance_margin": maintenance, "closing_cost": book.closing_cost,
        "worst_shock": worst_shock, "worst_shock_name": names[worst_shock], "worst_pnl": worst, "equity_after_worst": worst_equity, "times_broken": broken, "times_called": called,
        "distance_to_default": np.where(np.isfinite(distance), distance, np.nan), "nearest_break": [names[i] if i >= 0 else "" for i in nearest]})
    return facts.merge(by_shock, on="shock"), by_account.sort_values(["times_broken", "distance_to_default", "equity_after_worst"], ascending=[False, True, True], kind="stable").reset_index(drop=True)
