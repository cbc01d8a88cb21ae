"""Makes the bundled sample `upm_gpu/sample/chains` from a file of full daily chains; run by hand, never imported.

    python tools/make_chains_sample.py RAW_DATA_FOLDER [OUT]

One row a strike, that of the out-of-the-money side (the quote a market is made of), where its Black delta leaves 0.01 to 0.99; to 6 February 2026. The same input gives the same bytes.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from scipy.special import ndtr

from upm_gpu.market.deribit_read import COLUMNS

CHAINS = "deribit_options_daily_20251230_20260430.parquet"
END = "2026-02-07"
LEAST_DELTA = 0.01


def main(raw: Path, out: Path) -> None:
    rows = pd.read_parquet(raw / CHAINS)
    rows = rows[rows["timestamp"] < END]
    years = (pd.to_datetime(rows["expiry"], utc=True) - pd.to_datetime(rows["timestamp"], utc=True)).dt.total_seconds() / 86_400.0 / 365.0
    deviation = rows["mark_iv"] * np.sqrt(years.clip(lower=1e-9))
    delta = ndtr(np.log(rows["underlying_price"] / rows["strike"]) / deviation + deviation / 2.0)
    outside = np.where(rows["option_type"] == "call", rows["strike"] >= rows["underlying_price"], rows["strike"] < rows["underlying_price"])
    kept = rows[(years > 0.0) & outside & (delta > LEAST_DELTA) & (delta < 1.0 - LEAST_DELTA)][list(COLUMNS)]
    kept = kept.sort_values(["timestamp", "instrument_name"], kind="stable").reset_index(drop=True)
    out.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pandas(kept, preserve_index=False).replace_schema_metadata(None), out / "chains.parquet", compression="zstd", compression_level=19, store_schema=False)
    print(f"{out / 'chains.parquet'}: {len(kept)} rows, {kept['timestamp'].nunique()} days, {(out / 'chains.parquet').stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else Path(__file__).parents[1] / "upm_gpu" / "sample" / "chains")
