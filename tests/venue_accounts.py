"""Accounts over one contract of everything of the small book, for laws of the rule books of venues."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from small_book import read, write

from upm_gpu.rulebook.frame.held import Held, hold

NAMES = ("BTC-PERP", "BTC-LINEAR", "ETH-PERP", "BTC-FUT", "BTC-C70", "BTC-P70", "BTC-P60", "BTC-C75D", "ETH-C20L")
SIZE = {"BTC-PERP": 70_000.0, "BTC-FUT": 70_700.0, "ETH-PERP": 2000.0}
"""quantity of each that is worth about one coin; of the others 1"""


def everything(folder: Path) -> Held:
    """An account with one contract of everything, and a coin posted."""
    text = "account_id,instrument_id,quantity\n" + "".join(f"A,{n},1\n" for n in NAMES)
    return hold(*read(write(folder / "small", text, "account_id,asset,quantity\nA,BTC,1\n")))[0]


def accounts(one: Held, *amounts: list[float]) -> Held:
    """Units that hold these amounts, in coins: of every instrument of NAMES, then of the posted coin."""
    order = [one.terms.instrument_id.index(n) for n in (*NAMES, "collateral:BTC")]
    scale = np.array([*(SIZE.get(n, 1.0) for n in NAMES), 1.0])
    unit, instrument, quantity = [], [], []
    for u, row in enumerate(amounts):
        for n, q in sorted(zip(order, np.array(row) * scale, strict=True)):
            if q != 0.0:
                unit.append(u), instrument.append(n), quantity.append(q)
    return Held(one.terms, tuple(f"A{u}" for u in range(len(amounts))), np.array(unit, np.int32), np.array(instrument, np.int32), np.array(quantity, float), one.spots)


def amounts(**held: float) -> list[float]:
    """Such as `amounts(BTC_PERP=1.0, coin=2.0)`."""
    return [held.get(n.replace("-", "_"), 0.0) for n in (*NAMES, "coin")]
