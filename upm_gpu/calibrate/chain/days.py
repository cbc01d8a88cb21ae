"""Many chains from one table: one row a quote, as an exchange shows it, one chain a timestamp and underlying.

Columns are those of a tidy chain snapshot (`market/deribit_read.py`): timestamp, instrument_name (BTC-27MAR26-80000-C), underlying_price, mark_iv (decimal), bid_price, ask_price (coins), mark_price, index_price and what else it
holds. The forward of an expiry is the median underlying price of its rows; a strike takes the side that is out of the money, as an import does. Quotes whose volatility misses their mark by more than half a percent of the forward
are left out. Verified: tests/end_to_end/test_calibrate_chains.py (equal to an import of the same day).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from upm_gpu.calibrate.chain.quotes import Chain, make_chain
from upm_gpu.errors import CalibrationError, MarketDataError
from upm_gpu.formula.black import black_undiscounted
from upm_gpu.market.marks import MARK_TOLERANCE

COLUMNS = ("timestamp", "instrument_name", "underlying_price", "mark_iv", "mark_price", "bid_price", "ask_price")


def read_days(path: Path, underlyings: tuple[str, ...] = (), **limits: Any) -> tuple[dict[str, list[Chain]], list[str]]:
    """Chains by underlying, ascending in time, and what was wrong with chains that cannot be fitted. Raises `MarketDataError` UPM-MD-101 (file), 102 (column), 103 (a cell), 107 (no option)."""
    import pandas as pd

    try:
        frame = pd.read_parquet(path, columns=list(COLUMNS)) if path.name.endswith(".parquet") else pd.read_csv(path, usecols=lambda c: c in COLUMNS)
    except FileNotFoundError:
        raise MarketDataError("UPM-MD-101", f"{path}: no such file. Give the path of a chain snapshot.") from None
    except (OSError, ValueError) as error:
        raise MarketDataError("UPM-MD-101", f"{path}: cannot be read ({error}). Give a table with the columns {', '.join(COLUMNS)}.") from None
    missing = [c for c in COLUMNS if c not in frame]
    if missing:
        raise MarketDataError("UPM-MD-102", f"{path.name}: column {missing[0]} is missing. A chain has {', '.join(COLUMNS)}.")
    for name in COLUMNS[2:]:
        read = pd.to_numeric(frame[name], errors="coerce")
        wrong = np.flatnonzero(read.isna() & frame[name].notna())
        if len(wrong):
            raise MarketDataError("UPM-MD-103", f"{path.name} line {wrong[0] + 2} column {name}: {frame[name].iloc[wrong[0]]!r} is not a plain number. Write digits with a point, or leave the cell blank.")
        frame[name] = read
    parts = frame["instrument_name"].astype(str).str.extract(r"^([A-Z0-9]+)-(\d{1,2}[A-Z]{3}\d{2})-(\d+(?:d\d+)?)-([CP])$")
    frame = frame.assign(underlying=parts[0], day=parts[1], strike=pd.to_numeric(parts[2].str.replace("d", ".")), call=parts[3] == "C", time=pd.to_datetime(frame["timestamp"], utc=True, errors="coerce"))
    frame = frame[parts[0].notna() & frame["time"].notna()]
    if frame.empty:
        raise MarketDataError("UPM-MD-107", f"{path.name}: no usable inverse option. Give snapshots of whole chains.")
    frame["expiry"] = pd.to_datetime(frame["day"], format="%d%b%y", utc=True) + pd.Timedelta(hours=8)
    found: dict[str, list[Chain]] = {}
    refused = []
    for (u, time), rows in frame.groupby(["underlying", "time"], sort=True):
        if underlyings and u not in underlyings:
            continue
        try:
            found.setdefault(u, []).append(_chain(u, rows, limits))
        except CalibrationError as error:
            refused.append(f"{time.isoformat()}: {error}")
    return {u: chains for u, chains in found.items() if chains}, refused


def _chain(underlying: str, rows: Any, limits: dict[str, Any]) -> Chain:
    time = rows["time"].iloc[0]
    rows = rows[rows["expiry"] > time]
    forward = rows.groupby("expiry")["underlying_price"].transform("median").to_numpy(np.float64)
    strike, call = rows["strike"].to_numpy(np.float64), rows["call"].to_numpy(bool)
    expiry = rows["expiry"].to_numpy("datetime64[s]")
    # the out-of-the-money side first, then the other one
    order = np.lexsort(((call != (strike >= forward)), strike, expiry))
    _, first = np.unique(np.stack([expiry[order].astype(np.int64).astype(np.float64), strike[order]]), axis=1, return_index=True)
    at = order[np.sort(first)]
    forward, strike, expiry = forward[at], strike[at], expiry[at]
    volatility, mark, bid, ask = (rows[c].to_numpy(np.float64)[at] for c in ("mark_iv", "mark_price", "bid_price", "ask_price"))
    years = (expiry - np.datetime64(time.tz_convert(None), "s")).astype(np.float64) / (365.0 * 86_400.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        value = black_undiscounted(forward, strike, np.log(forward / strike), volatility * np.sqrt(years), np.where(call[at], 1.0, -1.0)) / forward
        volatility = np.where(np.abs(value - mark) > MARK_TOLERANCE, np.nan, volatility)
        spread = np.where((bid > 0.0) & (ask > bid), ask - bid, np.nan)
    return make_chain(underlying, time.to_pydatetime(), [str(e) + "Z" for e in expiry], years, forward, strike, volatility, spread, **limits)
