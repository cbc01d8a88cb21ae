"""Makes a history of exchange-traded funds for `upm backtest configs/backtest/us_etf.toml` from two public tables; run by hand, never imported.

    python tools/make_etf_history.py us_etf_daily.csv.gz vix_daily.csv.gz OUT.csv

The first has date, symbol, adj_close (adjusted for splits and dividends: what a holder earned), the second date, close (points). OUT has date, asset, close: the funds asked for by the configuration,
and SPY.IV30, VIX over 100. No other fund has an index here; the back-test takes its realised volatility and marks it proxy.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd

FUNDS = ("SPY", "QQQ", "IWM", "EFA", "TLT", "IEF", "LQD", "GLD", "XLE", "XLF", "XLK", "XLU")


def main(funds: Path, vix: Path, out: Path) -> None:
    prices = pd.read_csv(funds)
    prices = prices[prices["symbol"].isin(FUNDS)][["date", "symbol", "adj_close"]].set_axis(["date", "asset", "close"], axis=1)
    index = pd.read_csv(vix)
    index = index[index["date"].between(prices["date"].min(), prices["date"].max())]
    index = pd.DataFrame({"date": index["date"], "asset": "SPY.IV30", "close": (index["close"] / 100.0).round(6)})
    both = pd.concat([prices, index[index["date"].isin(set(prices["date"]))]]).sort_values(["asset", "date"], kind="stable")
    both.to_csv(out, index=False)
    print(f"{out}: {len(both)} closes of {both['asset'].nunique()} series, {both['date'].min()} to {both['date'].max()}")


if __name__ == "__main__":
    main(*(Path(a) for a in sys.argv[1:4]))
