"""What was seen of prices between two snapshots: `observations.csv` beside the later one, for products whose payment depends on the path.

`underlying,kind,timestamp,price,source`: `fixing` the price at its time; `high` and `low` the highest and lowest price from the earlier snapshot until the time given, blank: until the later
snapshot. Prices in the currency the options are quoted in. Verified: tests/end_to_end/test_exotics_at_the_next_market.py.
"""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from upm_gpu.errors import MarketDataError

COLUMNS = ("underlying", "kind", "timestamp", "price", "source")
KINDS = ("fixing", "high", "low")


@dataclass(frozen=True)
class Observations:
    """Prices by (underlying, time)."""

    fixing: dict[tuple[str, datetime], float] = field(default_factory=dict)
    high: dict[tuple[str, datetime], float] = field(default_factory=dict)
    """from the earlier snapshot until the time"""
    low: dict[tuple[str, datetime], float] = field(default_factory=dict)


def load_observations(folder: Path, later: datetime) -> Observations:
    """What the folder of the snapshot at `later` has; nothing without a file.

    Raises MarketDataError UPM-MD-132 for a header, kind, time or price that cannot be read, a line that says what another does not, and a low above its high.
    """
    path = Path(folder) / "observations.csv"
    seen = Observations()
    if not path.is_file():
        return seen
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        if tuple(reader.fieldnames or ()) != COLUMNS:
            raise MarketDataError("UPM-MD-132", f"{path.name} line 1: the header must be {','.join(COLUMNS)}.")
        for row in reader:
            place = f"{path.name} line {reader.line_num}"
            if row["kind"] not in KINDS:
                raise MarketDataError("UPM-MD-132", f"{place}: kind {row['kind']!r} is none of {', '.join(KINDS)}. Write one of them.")
            try:
                price = float(row["price"])
                time = later if not row["timestamp"] and row["kind"] != "fixing" else datetime.fromisoformat(row["timestamp"])
            except (TypeError, ValueError):
                raise MarketDataError("UPM-MD-132", f"{place}: price {row['price']!r} or timestamp {row['timestamp']!r} cannot be read. Give a plain number and an ISO time with zone.") from None
            if not (math.isfinite(price) and price > 0.0 and time.tzinfo):
                raise MarketDataError("UPM-MD-132", f"{place}: the price {price} must be positive and the timestamp must carry its zone. Correct the line.")
            known: dict[tuple[str, datetime], float] = getattr(seen, row["kind"])
            key = (row["underlying"], time)
            if known.setdefault(key, price) != price:
                raise MarketDataError("UPM-MD-132", f"{place}: the price {price:g} contradicts another line: the {row['kind']} of {row['underlying']} at {time.isoformat()} is {known[key]:g} there. Keep the right line.")
            if seen.low.get(key, 0.0) > seen.high.get(key, math.inf):
                raise MarketDataError("UPM-MD-132", f"{place}: the price contradicts another line: the low of {row['underlying']} until {time.isoformat()} is above its high. Correct one of them.")
    return seen
