"""Makes the bundled sample `upm_gpu/sample/crypto` from a folder of raw public data; run by hand, never imported.

    python tools/make_sample.py RAW_DATA_FOLDER [OUT]

RAW_DATA_FOLDER holds the files named in the sample's README. The same input gives the same bytes.
"""

from __future__ import annotations

import csv
import gzip
import shutil
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd

from upm_gpu.domain.text import instant_text, write_csv
from upm_gpu.generate.book import generate_book
from upm_gpu.market.deribit import chain_snapshot, import_deribit, read_chain
from upm_gpu.market.surface import fit_surface
from upm_gpu.market.surface_series import surface_series

TODAY, TOMORROW = "2026-02-05", "2026-02-06"
EXPIRY = "2026-02-06T08:00:00Z"
CHAINS = "deribit_options_daily_20251230_20260430.parquet"
ACCOUNTS, SEED = 2_000, 20_260_205


def main(raw: Path, out: Path) -> None:
    chains = pd.read_parquet(raw / CHAINS)
    chains["day"] = chains["timestamp"].astype(str).str.slice(0, 10)
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        files = {}
        for day in sorted(d for d in chains["day"].unique() if d <= TOMORROW):
            files[day] = work / f"chain_{day}.csv"
            chains[chains["day"] == day].drop(columns="day").to_csv(files[day], index=False)
        history = write_csv(work / "history.csv", ("timestamp", "asset", "close"), history_rows(raw, files))
        import_deribit(files[TODAY], work / "today", history=history)
        import_deribit(files[TOMORROW], work / "tomorrow", history=history)
        generate_book(work / "today" / "market", ACCOUNTS, SEED, work / "today" / "book")
        for folder in ("market", "book", "next_day"):
            shutil.rmtree(out / folder, ignore_errors=True)
            (out / folder).mkdir(parents=True)
        for path in sorted((work / "today" / "market").iterdir()):
            store(path, out / "market")
        for path in sorted((work / "today" / "book").iterdir()):
            store(path, out / "book")
        for path in sorted((work / "tomorrow" / "market").iterdir()):
            # Its history would be the first day's with one line more.
            if path.stem != "history":
                store(path, out / "next_day")
        write_csv(out / "next_day" / "settlements.csv", ("underlying", "expiry", "price", "label", "source"), settlements(work / "tomorrow" / "market"))
    size = sum(p.stat().st_size for p in out.rglob("*") if p.is_file())
    print(f"{out}: {size / 1e6:.2f} MB")


def history_rows(raw: Path, files: dict[str, Path]) -> list[tuple[str, str, float]]:
    """Daily closes to 2026-01-02, then the index of each chain; volatility indices, then the volatility series of each chain."""
    rows: list[tuple[str, str, float]] = []
    bars = pd.read_csv(raw / "crypto_daily_btc_eth_to_20260102.csv.gz")
    for day, symbol, close in zip(bars["date"], bars["symbol"], bars["close"], strict=True):
        rows.append((midnight_after(day), symbol, float(close)))
    hourly = pd.read_csv(raw / "dvol_btc_hourly.csv.gz")
    # The bar that opens at 23:00 closes the day.
    hourly = hourly[hourly["timestamp"].str.slice(11, 13) == "23"]
    rows += [(midnight_after(t[:10]), "BTC.IV30", round(c / 100.0, 6)) for t, c in zip(hourly["timestamp"], hourly["close"], strict=True)]
    daily = pd.read_csv(raw / "dvol_eth_daily.csv.gz")
    rows += [(midnight_after(d), "ETH.IV30", round(c / 100.0, 6)) for d, c in zip(daily["date"], daily["close"], strict=True)]
    last_bar = max(r[0] for r in rows)
    for path in files.values():
        market = chain_snapshot(read_chain(path))
        at = instant_text(market.valuation_time)
        for u in ("BTC", "ETH"):
            if at > last_bar:
                rows.append((at, u, market.spots[u]))
            rows += [(at, asset, close) for asset, close in surface_series(fit_surface(market, u)).items()]
    return sorted(rows, key=lambda r: (r[1], r[0]))


def midnight_after(day: str) -> str:
    """A daily bar closes at 24:00Z of its date."""
    return instant_text((pd.Timestamp(day, tz=UTC) + pd.Timedelta(days=1)).to_pydatetime())


def settlements(market: Path) -> list[tuple[object, ...]]:
    """No public source of the official delivery price was found: the index of the next chain stands in, labelled so."""
    with (market / "spots.csv").open(encoding="utf-8") as stream:
        spots = list(csv.DictReader(stream))
    assert datetime.fromisoformat(spots[0]["timestamp"]) > datetime.fromisoformat(EXPIRY)
    return [(s["asset"], EXPIRY, float(s["price"]), "proxy", f"median index of the chain of {s['timestamp']}") for s in spots]


def store(path: Path, folder: Path) -> None:
    """Small tables as they are, large ones compressed; no time and no name in the gzip header."""
    if path.stat().st_size < 200_000:
        shutil.copyfile(path, folder / path.name)
        return
    with (folder / f"{path.name}.gz").open("wb") as stream, gzip.GzipFile("", "wb", 9, stream, mtime=0) as packed:
        packed.write(path.read_bytes())


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) == 3 else Path(__file__).parents[1] / "upm_gpu" / "sample" / "crypto")
