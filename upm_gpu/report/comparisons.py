"""Margins against named stresses, and against the loss that really came."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from upm_gpu.report.accounts import rounded
from upm_gpu.report.read import Columns, length, select
from upm_gpu.report.words import horizon


def stress(table: Columns | None, margin: Columns, shown: list[str], decimals: int) -> dict | None:
    """One line a stress: the P&L of the house and of each shown account, the worst account, and who loses more than the margin.

    The house is the row "" where there is one, else the sum over accounts, but only where every account is there.
    """
    if table is None or length(table) == 0:
        return None
    label = next(name for name in table if name not in ("account_id", "pnl"))
    complete = set(margin["account_id"]) <= set(table["account_id"])
    initial = dict(zip(margin["account_id"].tolist(), margin["initial_margin"].tolist(), strict=True))
    lines = []
    for name in dict.fromkeys(table[label].tolist()):
        rows = select(table, **{label: name})
        pnl = dict(zip(rows["account_id"].tolist(), rows["pnl"].tolist(), strict=True))
        accounts = {account: value for account, value in pnl.items() if account != ""}
        house = pnl.get("", sum(accounts.values()) if complete else np.nan)
        worst = min(accounts, key=lambda account: (accounts[account], account)) if complete and accounts else None
        beyond = sum(1 for account, value in accounts.items() if -value > initial.get(account, np.inf)) if complete else None
        lines.append({
            "name": str(name),
            "house": rounded(np.array([house]), decimals)[0],
            "worst": worst,
            "worst_pnl": None if worst is None else rounded(np.array([accounts[worst]]), decimals)[0],
            "beyond": beyond,
            "accounts": rounded(np.array([pnl.get(account, np.nan) for account in shown]), decimals),
        })
    return {"lines": lines, "accounts": shown, "complete": complete}


def realised(table: Columns | None, margin: Columns, rows: int, level: float | None, decimals: int) -> dict | None:
    """What really came, per account: VaR and ES at the matching date against the loss, with and without proxy settlement.

    `counts` are over all accounts; `points` are the accounts drawn, those with the largest expected shortfall when
    there are more than `rows`.
    """
    if table is None or length(table) == 0:
        return None
    days = float(np.min(table["horizon_days"]))
    matching = select(table, horizon_days=days)
    accounts = _accounts(matching)
    order = np.argsort(-np.nan_to_num(accounts["expected_shortfall"]), kind="stable")[:rows]
    without = accounts.get("realised_loss_without_proxy")
    return {
        "days": days,
        "when": horizon(days),
        "accounts": length(accounts),
        "expected_beyond_var": None if level is None else round((1.0 - level) * length(accounts), 1),
        "counts": [_beyond(accounts, margin, accounts["realised_loss"])] + ([_beyond(accounts, margin, without)] if without is not None else []),
        "total_loss": float(np.nansum(accounts["realised_loss"])),
        "total_es": float(np.nansum(accounts["expected_shortfall"])),
        "points": {
            "ids": [str(account) for account in accounts["account_id"][order]],
            "var": rounded(accounts["value_at_risk"][order], decimals),
            "es": rounded(accounts["expected_shortfall"][order], decimals),
            "loss": rounded(accounts["realised_loss"][order], decimals),
            "without": None if without is None else rounded(without[order], decimals),
        },
    }


def _accounts(table: Columns) -> Columns:
    keep = table["account_id"] != ""
    return {name: values[keep] for name, values in table.items()}


def _beyond(accounts: Columns, margin: Columns, loss: NDArray[np.float64]) -> dict:
    """How many accounts with a known loss lost more than each thing that stood against it."""
    known = np.isfinite(loss)
    row = {account: index for index, account in enumerate(margin["account_id"].tolist())}
    at = [row.get(account, -1) for account in accounts["account_id"].tolist()]
    posted, equity = (np.append(margin[name], np.inf)[at] for name in ("initial_margin", "equity"))
    return {
        "margin": int(np.sum(loss[known] > posted[known])),
        "equity": int(np.sum(loss[known] > equity[known])),
        "known": int(known.sum()),
        "var": int(np.sum(loss[known] > accounts["value_at_risk"][known])),
        "es": int(np.sum(loss[known] > accounts["expected_shortfall"][known])),
        "losers": int(np.sum(loss[known] > 0.0)),
    }
