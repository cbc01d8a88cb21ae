"""Accounts over one contract of everything of the small book, for laws of the rule books of venues."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from small_book import read, write

from upm_gpu.rulebook.frame.held import Held, hold
from upm_gpu.rulebook.frame.terms import SPOT, Terms

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


def book(asset: str, index: float, rows: list[dict[str, Any]], inverse: bool = True, spots: dict[str, float] | None = None) -> Held:
    """One account in contracts of one asset; rows have kind, forward, quantity and what an option or a date adds."""
    def column(name: str, default: float) -> np.ndarray:
        return np.array([r.get(name, default) for r in rows], float)

    count = len(rows)
    years = column("years", np.nan)
    dates = sorted({y for y in years if not np.isnan(y)})
    bucket = np.array([0 if np.isnan(y) else 1 + dates.index(y) for y in years], np.int32)
    expiries = ((asset, None), *((asset, datetime(2030, 1, 1 + n, tzinfo=UTC)) for n in range(len(dates))))
    terms = Terms(tuple(f"I{n}" for n in range(count)), (asset,), expiries, np.array([r["kind"] for r in rows], np.int8), np.zeros(count, np.int32), bucket, np.array([r["kind"] == SPOT for r in rows]),
                  np.array([r.get("inverse", inverse) for r in rows], bool), np.zeros(count, bool), column("sign", 0.0), column("strike", np.nan), years, column("forward", index), np.full(count, index),
                  column("volatility", np.nan), np.zeros(count), np.ones(count), np.ones(count), tuple(r.get("quote", "USD") for r in rows))
    return Held(terms, ("A",), np.zeros(count, np.int32), np.arange(count, dtype=np.int32), column("quantity", 0.0), spots or {})
