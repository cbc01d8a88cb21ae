"""Makes the bundled sample `upm_gpu/sample/crash_2008` from a folder of raw public data; run by hand, never imported.

    python tools/make_crash_sample.py RAW_DATA_FOLDER [OUT]

RAW_DATA_FOLDER holds the files named in the sample's README. The same input gives the same bytes.
"""

from __future__ import annotations

import gzip
import sys
from pathlib import Path

import pandas as pd

FIRST, LAST = "2008-01-02", "2008-12-31"
"""from January: an EWMA volatility of September has half a year behind it"""


def main(raw: Path, out: Path) -> None:
    stocks = pd.read_csv(raw / "us_stock_adjclose_1990_2022.csv.gz").set_axis(["date", "asset", "close"], axis=1)
    index = pd.read_csv(raw / "spx_index_close_1990_2022.csv.gz").assign(asset="SPX")
    vix = pd.read_csv(raw / "vix_daily.csv.gz")
    vix = pd.DataFrame({"date": vix["date"], "asset": "SPX.IV30", "close": (vix["close"] / 100.0).round(6)})
    closes = pd.concat([frame[["date", "asset", "close"]] for frame in (stocks, index, vix)])
    closes = closes[closes["date"].between(FIRST, LAST)].sort_values(["asset", "date"], kind="stable")
    folder = out / "history"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "history.csv.gz").open("wb") as stream, gzip.GzipFile("", "wb", 9, stream, mtime=0) as packed:
        packed.write(closes.to_csv(index=False).encode())
    print(f"{out}: {len(closes)} closes of {closes['asset'].nunique()} series")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else Path(__file__).parents[1] / "upm_gpu" / "sample" / "crash_2008")
