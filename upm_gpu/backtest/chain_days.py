"""Daily chains as markets: what each day knew, in the order of the days.

A file holds one snapshot a timestamp; the first one of a day counts. The history of a day is the closes given from before the first chain, then of every
chain up to the day its index and the volatility series of its fitted surface (`market/surface_series.py`), as `upm import deribit --history` makes it day by day.
Verified by tests/end_to_end/test_chain_backtest.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from upm_gpu.backtest.chain_config import Chains
from upm_gpu.backtest.config import day
from upm_gpu.errors import InputError, MarketDataError
from upm_gpu.market.deribit import Chain, checked
from upm_gpu.market.snapshot import MarketSnapshot
from upm_gpu.market.surface import Surface
from upm_gpu.market.surface_series import surface_series

if TYPE_CHECKING:
    import pandas as pd

SeriesRow = tuple[datetime, str, float]
"""time, asset, close"""


@dataclass(frozen=True)
class Snapshots:
    """The rows of a file of chains, one snapshot a day."""

    source: str
    times: tuple[datetime, ...]
    """ascending"""
    tables: tuple[pd.DataFrame, ...]
    """of each, as in the file"""

    def chain(self, n: int) -> Chain:
        """The chain of one day; raises MarketDataError for one that cannot be used."""
        from upm_gpu.market.deribit_read import COLUMNS, chain_of_rows

        table = self.tables[n]
        rows = [(line, {k: "" if v is None or v != v else v for k, v in zip(COLUMNS, row, strict=True)})
                for line, row in zip(table.index + 2, table[list(COLUMNS)].itertuples(index=False), strict=True)]
        return checked(chain_of_rows(f"{self.source} {self.times[n].isoformat()}", rows, len(COLUMNS)))


def read_snapshots(file: Path, asked: Chains) -> Snapshots:
    """The snapshots of a file between start and end, the underlyings asked for alone. Raises MarketDataError UPM-MD-101 to 105, InputError UPM-BT-015 where fewer than two days are left."""
    import pandas as pd

    from upm_gpu.market.deribit_read import COLUMNS

    try:
        frame = pd.read_parquet(file) if file.suffix == ".parquet" else pd.read_csv(file, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise MarketDataError("UPM-MD-101", f"{file}: chains cannot be read ({error}). Give a Parquet or CSV file with {', '.join(COLUMNS)}.") from None
    missing = [c for c in COLUMNS if c not in frame.columns]
    if missing:
        raise MarketDataError("UPM-MD-102", f"{file.name} line 1: column {missing[0]} is missing. A chain has {', '.join(COLUMNS)}.")
    frame = frame[frame["instrument_name"].astype(str).str.partition("-")[0].isin(asked.underlyings)]
    first, last = day(asked.start), day(asked.end)
    found: dict[str, tuple[datetime, pd.DataFrame]] = {}
    for stamp, rows in sorted(frame.groupby("timestamp", sort=False), key=lambda x: str(x[0])):
        try:
            at = datetime.fromisoformat(str(stamp).replace("Z", "+00:00"))
        except ValueError:
            at = datetime.min
        if at.tzinfo is None:
            raise MarketDataError("UPM-MD-105", f"{file.name} line {int(rows.index[0]) + 2} column timestamp: {stamp!r} is not a time with a zone such as 2026-02-05T09:36:47Z.")
        at = at.astimezone(UTC)
        if (first is None or at.date() >= first) and (last is None or at.date() <= last):
            found.setdefault(at.date().isoformat(), (at, rows))
    if len(found) < 2:
        raise InputError("UPM-BT-015", f"{file.name}: {len(found)} days of chains between {asked.start or 'the first'} and {asked.end or 'the last'}; a loss needs a day and the next. Lengthen the period, or give a file with more days.")
    return Snapshots(file.name, tuple(at for at, _ in found.values()), tuple(rows for _, rows in found.values()))


def series_of(market: MarketSnapshot, surfaces: Mapping[str, Surface]) -> list[SeriesRow]:
    """What a day's chain adds to the history of the days after it, and to its own."""
    rows = []
    for u, surface in surfaces.items():
        rows.append((market.valuation_time, u, market.spots[u]))
        rows += [(market.valuation_time, asset, close) for asset, close in surface_series(surface).items()]
    return rows


def history_to(before: pd.DataFrame, added: Sequence[SeriesRow], first: datetime) -> pd.DataFrame:
    """Closes from before the first chain, and the rows that chains have added up to a day."""
    import pandas as pd

    own = pd.DataFrame({"timestamp": pd.to_datetime([t for t, _, _ in added], utc=True).astype("datetime64[ns, UTC]"), "asset": [a for _, a, _ in added], "close": [c for _, _, c in added]})
    joined = pd.concat([before[before["timestamp"] < first][["timestamp", "asset", "close"]], own], ignore_index=True)
    return joined.sort_values(["asset", "timestamp"], kind="stable").reset_index(drop=True)
