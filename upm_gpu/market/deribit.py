"""An exchange's option chain as a market folder and an instruments file.

Two inputs, one result: a tidy CSV (one row an option) or the exchange's own JSON, the answers of
`public/get_book_summary_by_currency` (mark_iv in percent, prices in coins, creation_timestamp in ms) and, where
given, `public/get_instruments` (expiration_timestamp in ms, strike, option_type, contract_size, settlement_currency).
One S_0 an underlying: the median index of the chain. One forward an expiry: the median underlying price of its rows.

Verified by `tests/end_to_end/test_import_deribit.py`: both inputs give the same files.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from upm_gpu.domain.book import Reject
from upm_gpu.domain.text import instant_text
from upm_gpu.errors import MarketDataError
from upm_gpu.market.marks import check_marks
from upm_gpu.market.snapshot import MarketSnapshot, Quotes

# Contract sizes of inverse futures in US dollars (the exchange's contract specifications), where no instrument list says it.
FUTURE_CONTRACT_SIZE = {"BTC": 10.0, "ETH": 1.0}
MAX_REJECTED_SHARE = 0.01


@dataclass(frozen=True)
class ChainRow:
    """One listed inverse option as the exchange shows it; prices in coins, NaN where blank."""

    line: int
    instrument_id: str
    underlying: str
    expiry: datetime
    strike: float
    option_type: str
    contract_size: float
    index: float
    forward: float
    forward_name: str
    mark: float
    implied_volatility: float
    bid: float
    ask: float
    open_interest: float
    volume: float


@dataclass(frozen=True)
class FutureRow:
    """A listed inverse future, or the perpetual (`expiry` None). `mark` NaN: taken from the options of its expiry."""

    instrument_id: str
    underlying: str
    expiry: datetime | None
    contract_size: float
    mark: float


@dataclass(frozen=True)
class Chain:
    """A snapshot as read: rows in file order, what was set aside, and the files it came from."""

    source: str
    valuation_time: datetime
    options: tuple[ChainRow, ...]
    futures: tuple[FutureRow, ...]
    rejects: tuple[Reject, ...] = ()
    notes: tuple[str, ...] = ()


def import_deribit(
    path: Path | str, out: Path | str, instruments: Path | str | None = None, history: Path | str | None = None
) -> dict[str, Any]:
    """Write OUT/market (spots, forwards, implied_vols, history) and OUT/book/instruments from a snapshot.

    `path` is a CSV, a JSON file, or a folder of JSON answers; `instruments` a JSON of `public/get_instruments`. `history` is a
    table of earlier closes (timestamp, asset, close), to which the chain's index and its 30-day at-the-money volatility
    (`BTC.IV30`) are added. What was set aside is listed in OUT/rejects.csv; quotes whose model value misses the mark in
    OUT/quarantined.csv (they stay in the market, the pricing uses the surface instead).
    Returns a summary of plain values. Raises `MarketDataError` UPM-MD-101 to 109.
    """
    from upm_gpu.market import deribit_files

    chain = read_chain(Path(path), None if instruments is None else Path(instruments))
    market = chain_snapshot(chain)
    quarantined = check_marks(market).listed(market)
    deribit_files.write_folder(chain, market, Path(out), None if history is None else Path(history), quarantined)
    return {
        "valuation_time": instant_text(chain.valuation_time),
        "market": str(Path(out) / "market"),
        "instruments": str(Path(out) / "book" / "instruments.csv"),
        "options": len(chain.options),
        "futures": len(chain.futures),
        "rejects": len(chain.rejects),
        "quarantined": len(quarantined),
        "notes": "; ".join(chain.notes) or "none",
    }


def read_chain(path: Path, instruments: Path | None = None) -> Chain:
    """The snapshot of a file or folder; rows that cannot be read are set aside, too many of them stop the import."""
    from upm_gpu.market import deribit_read

    return checked(deribit_read.read(path, instruments))


def checked(chain: Chain) -> Chain:
    """A chain as read; raises MarketDataError where it has no option, or too many of its rows cannot be used."""
    seen = len(chain.options) + len(chain.rejects)
    if not chain.options:
        raise MarketDataError(
            "UPM-MD-107", f"{chain.source}: no usable inverse option among {seen} rows. Give a snapshot of a whole chain."
        )
    if len(chain.rejects) > MAX_REJECTED_SHARE * seen:
        first = chain.rejects[0]
        raise MarketDataError(
            "UPM-MD-109",
            f"{chain.source}: {len(chain.rejects)} of {seen} rows cannot be used (at most {MAX_REJECTED_SHARE:.0%} may). "
            f"The first: line {first.line} column {first.column}: {first.message}. Correct the file or take a new snapshot.",
        )
    return chain


def chain_snapshot(chain: Chain) -> MarketSnapshot:
    """The chain as a market: medians, and one quote a strike, that of the out-of-the-money side where it has one."""
    import pandas as pd

    spots: dict[str, float] = {"USD": 1.0}
    forwards: dict[tuple[str, datetime | None], float] = {}
    underlyings = sorted({r.underlying for r in chain.options})
    for u in underlyings:
        spots[u] = median(r.index for r in chain.options if r.underlying == u)
        forwards[(u, None)] = spots[u]
    for f in chain.futures:
        if math.isfinite(f.mark):
            forwards[(f.underlying, f.expiry)] = f.mark
    by_expiry: dict[tuple[str, datetime], list[ChainRow]] = {}
    for r in chain.options:
        by_expiry.setdefault((r.underlying, r.expiry), []).append(r)
    lines: list[tuple[ChainRow, float, float]] = []
    for key in sorted(by_expiry):
        rows = by_expiry[key]
        forwards[key] = median(r.forward for r in rows)
        strikes: dict[float, list[ChainRow]] = {}
        for r in rows:
            strikes.setdefault(r.strike, []).append(r)
        for strike in sorted(strikes):
            both = strikes[strike]
            side = "call" if strike >= forwards[key] else "put"
            best = min(both, key=lambda r: (r.option_type != side, r.option_type))
            lines.append((best, sum(r.open_interest for r in both), sum(r.volume for r in both)))
    chosen = [x[0] for x in lines]

    def column(name: str) -> NDArray[np.float64]:
        return np.array([getattr(r, name) for r in chosen], np.float64)

    quotes = Quotes(
        underlying=np.array([r.underlying for r in chosen], object),
        expiry=tuple(r.expiry for r in chosen),
        strike=column("strike"),
        implied_volatility=column("implied_volatility"),
        bid=column("bid"),
        ask=column("ask"),
        mark=column("mark"),
        mark_type=np.array([r.option_type for r in chosen], object),
        open_interest=np.array([x[1] for x in lines]),
        volume=np.array([x[2] for x in lines]),
    )
    empty = pd.DataFrame({"timestamp": pd.Series([], dtype="datetime64[ns, UTC]"), "asset": [], "close": []})
    return MarketSnapshot(chain.valuation_time, "USD", spots, forwards, quotes, {}, empty)
