"""The worst cells of a campaign opened up: what each position of an account made of a shock. Verified by tests/properties/test_campaign_losses.py (they sum to the cell)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from upm_gpu import exhibits
from upm_gpu.campaign.stressed_book import StressedBook, at_once
from upm_gpu.margin.units import Lines, grouped_rows

if TYPE_CHECKING:
    import pandas as pd

SHOCKS, ACCOUNTS = 5, 5
"""of the worst shocks, the accounts left with the least"""


def worst_cells(book: StressedBook, by_shock: pd.DataFrame) -> pd.DataFrame:
    """book, shock, name, account_id, equity, instrument_id, quantity, pnl: the positions of the accounts left with the least in the worst shocks, the worst position first."""
    import pandas as pd

    own = by_shock[by_shock["book"] == book.name].sort_values(["uncovered_loss", "pnl"], ascending=[False, True], kind="stable").head(SHOCKS)
    lines, plan = book.outcome.plan.units.lines, book.outcome.plan
    frames = []
    for shock in own["shock"]:
        moves = book.shocks.moves[:, [shock]]
        equity = book.under(moves)[1][:, 0]
        left = equity - book.closing_cost * book.shocks.liquidity[shock]
        for account in np.argsort(left, kind="stable")[:ACCOUNTS]:
            held = np.flatnonzero(lines.account == account)
            part = Lines(*(getattr(lines, f)[held] for f in ("unit", "account", "instrument", "quantity")))
            rows, _ = grouped_rows(part, np.arange(len(held), dtype=np.int32), len(held), book.today)
            pnl = exhibits.row_values(book.choice.module, book.today, rows, at_once(book.today, moves), book.choice.threads)[:, 0]
            frames.append(pd.DataFrame({"book": book.name, "shock": np.int32(shock), "name": book.shocks.names[shock], "account_id": book.accounts[account], "equity": equity[account],
                                        "instrument_id": [plan.instruments[i].instrument_id for i in part.instrument], "quantity": part.quantity, "pnl": pnl}).sort_values("pnl", kind="stable"))
    return pd.concat(frames, ignore_index=True)
