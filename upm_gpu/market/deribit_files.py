"""Writes a chain as the files of a market and a book folder: plain CSV, numbers in the shortest form that reads back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from upm_gpu.domain.text import instant_text, write_csv
from upm_gpu.errors import MarketDataError
from upm_gpu.market.deribit import Chain
from upm_gpu.market.snapshot import MarketSnapshot
from upm_gpu.market.surface import fit_surface
from upm_gpu.market.surface_series import surface_series

INSTRUMENT_COLUMNS = ("instrument_id", "kind", "underlying", "settlement", "quote_currency", "contract_size", "expiry", "strike",
                      "option_type", "exercise")


def write_folder(chain: Chain, market: MarketSnapshot, out: Path, history: Path | None, quarantined: Sequence[Mapping[str, Any]]) -> list[Path]:
    """OUT/market/{spots,forwards,implied_vols,history}.csv, OUT/book/instruments.csv and what was set aside; refuses to overwrite a market."""
    folder, book = out / "market", out / "book"
    if folder.exists() and any(folder.iterdir()):
        raise MarketDataError("UPM-MD-108", f"{folder}: holds files already. Give a new --out folder.")
    tables = market_tables(market)
    tables["history"] = (("timestamp", "asset", "close"), history_rows(market, read_history(history) if history is not None else []))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        book.mkdir(parents=True, exist_ok=True)
        written = [write_csv(folder / f"{name}.csv", *tables[name]) for name in ("spots", "forwards", "implied_vols", "history")]
        written.append(write_csv(book / "instruments.csv", INSTRUMENT_COLUMNS, instrument_rows(chain)))
        if chain.rejects:
            aside = [(r.file, r.line, r.column, r.code, r.message, r.raw) for r in chain.rejects]
            written.append(write_csv(out / "rejects.csv", ("file", "line", "column", "code", "message", "raw"), aside))
        if quarantined:
            written.append(write_csv(out / "quarantined.csv", list(quarantined[0]), [list(q.values()) for q in quarantined]))
    except OSError as error:
        raise MarketDataError("UPM-MD-108", f"{out}: cannot be written ({error.strerror}). Give another --out folder.") from None
    return written


def market_tables(market: MarketSnapshot) -> dict[str, tuple[Sequence[str], Sequence[Sequence[object]]]]:
    """Header and rows of spots, forwards and implied_vols."""
    at = instant_text(market.valuation_time)
    spots = [(a, market.spots[a], market.reporting_currency, at) for a in sorted(market.spots) if a != market.reporting_currency]
    far = datetime.max.replace(tzinfo=UTC)
    forwards = [(u, "" if e is None else instant_text(e), f) for (u, e), f in sorted(market.forwards.items(), key=lambda x: (x[0][0], x[0][1] or far))]
    q = market.quotes
    vols = [(q.underlying[i], instant_text(q.expiry[i]), q.strike[i], q.implied_volatility[i], q.mark_type[i], q.mark[i], q.bid[i], q.ask[i],
             q.open_interest[i], q.volume[i]) for i in range(len(q.strike))]
    return {
        "spots": (("asset", "price", "currency", "timestamp"), spots),
        "forwards": (("underlying", "expiry", "forward"), forwards),
        "implied_vols": (("underlying", "expiry", "strike", "implied_volatility", "option_type", "mark", "bid", "ask", "open_interest", "volume"), vols),
    }


def instrument_rows(chain: Chain) -> list[Sequence[object]]:
    """Futures and options in instrument-id order; what is not listed by the exchange is not invented."""
    rows: list[Sequence[object]] = []
    for f in chain.futures:
        kind, expiry = ("perpetual", "") if f.expiry is None else ("future", instant_text(f.expiry))
        rows.append((f.instrument_id, kind, f.underlying, "inverse", "USD", f.contract_size, expiry, "", "", ""))
    for o in chain.options:
        rows.append((o.instrument_id, "option", o.underlying, "inverse", "USD", o.contract_size, instant_text(o.expiry), o.strike, o.option_type, "european"))
    return sorted(rows, key=lambda r: str(r[0]))


def history_rows(market: MarketSnapshot, earlier: Iterable[tuple[str, str, float]]) -> list[Sequence[object]]:
    """Earlier closes up to the valuation time, then this chain's index and volatility series (`surface_series.py`) of each underlying."""
    at = instant_text(market.valuation_time)
    rows = [r for r in earlier if r[0] < at]
    for u in sorted({str(u) for u in market.quotes.underlying}):
        rows.append((at, u, market.spots[u]))
        rows += [(at, asset, close) for asset, close in surface_series(fit_surface(market, u)).items()]
    return sorted(rows, key=lambda r: (r[1], r[0]))


def read_history(path: Path) -> list[tuple[str, str, float]]:
    """(time, asset, close) of a history table; a `date` means 24:00Z of that day."""
    import pandas as pd

    try:
        frame = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise MarketDataError("UPM-MD-101", f"{path}: history cannot be read ({error}). Give a market folder, or a file with timestamp, asset, close.") from None
    column = next((c for c in ("timestamp", "date") if c in frame.columns), None)
    if column is None or not {"asset", "close"} <= set(frame.columns):
        raise MarketDataError("UPM-MD-102", f"{path} line 1: history has timestamp (or date), asset, close; found {', '.join(map(str, frame.columns))}.")
    try:
        times = pd.to_datetime(frame[column], utc=True) + pd.Timedelta(days=1 if column == "date" else 0)
        closes = frame["close"].astype(float)
    except (ValueError, TypeError) as error:
        raise MarketDataError("UPM-MD-103", f"{path}: history holds a time or close that cannot be read ({error}).") from None
    return [(instant_text(t.to_pydatetime()), str(a), float(c)) for t, a, c in zip(times, frame["asset"], closes, strict=True)]
