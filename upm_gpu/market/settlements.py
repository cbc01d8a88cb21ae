"""Delivery prices of expiries that settled between two snapshots: `settlements.csv`, one line a (underlying, expiry)."""

from __future__ import annotations

import csv
import math
from datetime import datetime
from pathlib import Path

from upm_gpu.errors import MarketDataError

COLUMNS = ("underlying", "expiry", "price", "label", "source")


def load_settlements(folder: Path) -> dict[tuple[str, object], tuple[float, bool]]:
    """(underlying, expiry) -> (price, whether it is a proxy); empty where the folder has no file.

    Raises MarketDataError UPM-MD-130 for a price that is not a positive number or a label other than official or proxy.
    """
    path = Path(folder) / "settlements.csv"
    if not path.is_file():
        return {}
    found: dict[tuple[str, object], tuple[float, bool]] = {}
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        if tuple(reader.fieldnames or ()) != COLUMNS:
            raise MarketDataError("UPM-MD-130", f"{path.name} line 1: the header must be {','.join(COLUMNS)}.")
        for row in reader:
            place = f"{path.name} line {reader.line_num}"
            try:
                price, expiry = float(row["price"]), datetime.fromisoformat(row["expiry"])
            except (TypeError, ValueError):
                raise MarketDataError("UPM-MD-130", f"{place}: price {row['price']!r} or expiry {row['expiry']!r} cannot be read. Give a plain number and an ISO time with zone.") from None
            if not (math.isfinite(price) and price > 0.0 and expiry.tzinfo) or row["label"] not in ("official", "proxy"):
                raise MarketDataError("UPM-MD-130", f"{place}: price {price} must be positive, the expiry must carry its zone, the label must be official or proxy.")
            found[(row["underlying"], expiry)] = (price, row["label"] == "proxy")
    return found
