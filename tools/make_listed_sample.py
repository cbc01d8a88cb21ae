"""Makes the bundled sample `upm_gpu/sample/listed` from a folder of raw public data; run by hand, never imported.

    python tools/make_listed_sample.py RAW_DATA_FOLDER [OUT]

RAW_DATA_FOLDER holds the files named in the sample's README. The same input gives the same bytes.
"""

from __future__ import annotations

import math
import shutil
import sys
from datetime import UTC, date, datetime, time
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
from make_sample import store

from upm_gpu.domain.text import instant_text, write_csv
from upm_gpu.formula.implied_volatility import FOUND, implied_volatility
from upm_gpu.generate.listed import generate_listed
from upm_gpu.market.curve import zero_rates
from upm_gpu.market.parity import parity_forward

NEW_YORK = ZoneInfo("America/New_York")
DAY = date(2022, 4, 1)
VALUATION = datetime.combine(DAY, time(16), NEW_YORK).astimezone(UTC)
INDEX, INDEX_CLOSE = "SPX", 4545.86
FIRST_HISTORY = "2015-01-01"
MATURITIES = {"m1": 1 / 12, "m2": 2 / 12, "m3": 0.25, "m6": 0.5, "y1": 1.0, "y2": 2.0, "y3": 3.0, "y5": 5.0}
STOCK_EXPIRIES = (date(2022, 4, 14), date(2022, 5, 20), date(2022, 6, 17), date(2022, 9, 16), date(2023, 1, 20))
"""the exchange's third Fridays; 14 April is the Thursday before Good Friday"""
STOCK_STRIKES = (0.80, 0.85, 0.90, 0.95, 1.00, 1.05, 1.10, 1.15, 1.20)
SMALLEST_BID, WIDEST = 0.10, 3.0
"""a quote below a dime, or whose ask is over three times its bid, says little about a volatility"""
STOCK_EXERCISE = "american"
ACCOUNTS, SEED = 1_000, 20_220_401


def main(raw: Path, out: Path) -> None:
    shutil.rmtree(out / "market", ignore_errors=True)
    shutil.rmtree(out / "book", ignore_errors=True)
    work = out / "work"
    (work / "book").mkdir(parents=True)
    market = work / "market"
    market.mkdir()
    stocks = pd.read_csv(raw / "us_stock_adjclose_1990_2022.csv.gz")
    volatility = pd.read_csv(raw / "us_stock_implied_vol_2010_2022.csv.gz")
    today = stocks[stocks["date"] == DAY.isoformat()].set_index("symbol")["adj_close"].to_dict()
    level = volatility[volatility["date"] == DAY.isoformat()].set_index("symbol")["implied_vol"].to_dict()
    rates = treasury(raw)
    spots = {"USD": 1.0, INDEX: INDEX_CLOSE, **{s: float(today[s]) for s in sorted(today)}}
    forwards, quotes, instruments = index_chain(raw, rates)
    for symbol in sorted(today):
        chain = stock_options(symbol, float(today[symbol]), float(level[symbol]), rates)
        forwards += chain[0]
        quotes += chain[1]
        instruments += chain[2]
    stamp = instant_text(VALUATION)
    write_csv(market / "spots.csv", ("asset", "price", "currency", "timestamp"), [(a, p, "USD", stamp) for a, p in spots.items()])
    write_csv(market / "forwards.csv", ("underlying", "expiry", "forward"), sorted(forwards))
    write_csv(market / "implied_vols.csv", ("underlying", "expiry", "strike", "implied_volatility", "bid", "ask", "open_interest", "volume"), sorted(quotes))
    write_csv(market / "rates.csv", ("currency", "tenor_days", "zero_rate"), [("USD", round(t, 6), round(z, 8)) for t, z in rates])
    write_csv(market / "history.csv", ("timestamp", "asset", "close"), history(raw, stocks, volatility))
    write_csv(work / "book" / "instruments.csv", ("instrument_id", "kind", "underlying", "settlement", "quote_currency", "contract_size", "expiry", "strike", "option_type", "exercise"), instruments)
    generate_listed(market, ACCOUNTS, SEED, work / "book")
    for part in ("market", "book"):
        (out / part).mkdir(parents=True)
        for path in sorted((work / part).iterdir()):
            store(path, out / part)
    shutil.rmtree(work)
    size = sum(p.stat().st_size for p in out.rglob("*") if p.is_file())
    print(f"{out}: {len(instruments)} instruments, {len(quotes)} quotes, {size / 1e6:.2f} MB")


def treasury(raw: Path) -> tuple[tuple[float, float], ...]:
    """Zero rates of the day from par yields in percent."""
    curve = pd.read_csv(raw / "treasury_curve.csv")
    row = curve[curve["date"] == DAY.isoformat()].iloc[0]
    return zero_rates(list(MATURITIES.values()), [float(row[m]) / 100.0 for m in MATURITIES])


def discount(rates: tuple[tuple[float, float], ...], years: float) -> float:
    tenors, zeros = zip(*rates, strict=True)
    return math.exp(-float(np.interp(365.0 * years, tenors, zeros)) * years)


def instant(day: date, morning: bool) -> datetime:
    """Morning-settled series take the opening prices of the day, the others its close."""
    return datetime.combine(day, time(9, 30) if morning else time(16), NEW_YORK).astimezone(UTC)


def index_chain(raw: Path, rates: tuple[tuple[float, float], ...]) -> tuple[list[tuple], list[tuple], list[tuple]]:
    """Forwards by parity, volatilities of the out-of-the-money mids, and the options of every strike quoted."""
    chain = pd.read_csv(raw / "option_chain_spx_20220401.csv.gz")
    forwards, quotes, instruments = [], [], []
    for (day, root), group in chain.groupby(["expiry", "root"], sort=True):
        expiry = instant(date.fromisoformat(day), root == "SPX")
        years = (expiry - VALUATION).total_seconds() / (365.0 * 86_400.0)
        if years <= 0.0:
            continue
        wide = group.pivot(index="strike", columns="option_type", values=["bid", "ask", "open_interest", "volume", "contract"]).dropna()
        strike = wide.index.to_numpy(float)
        side = {(f, t): wide[f, t].to_numpy(float) for f in ("bid", "ask", "open_interest", "volume") for t in ("call", "put")}
        d = discount(rates, years)
        found = parity_forward(strike, side["bid", "call"], side["ask", "call"], side["bid", "put"], side["ask", "put"], d, day)
        forward = round(found.forward, 4)
        out = np.where(strike >= forward, "call", "put")
        bid, ask = (np.where(out == "call", side[f, "call"], side[f, "put"]) for f in ("bid", "ask"))
        implied, status = implied_volatility(forward, strike, np.log(forward / strike), years, 0.5 * (bid + ask) / d, np.where(out == "call", 1.0, -1.0))
        good = (status == FOUND) & (bid >= SMALLEST_BID) & (ask <= WIDEST * bid)
        if np.count_nonzero(good) < 5:
            continue
        stamp = instant_text(expiry)
        forwards.append((INDEX, stamp, forward))
        for i in np.flatnonzero(good):
            interest, volume = (side[f, "call"][i] + side[f, "put"][i] for f in ("open_interest", "volume"))
            quotes.append((INDEX, stamp, strike[i], round(float(implied[i]), 6), round(float(bid[i]), 2), round(float(ask[i]), 2), interest, volume))
            for kind in ("call", "put"):
                instruments.append((wide["contract", kind].iloc[int(i)], "option", INDEX, "linear", "USD", 100, stamp, strike[i], kind, "european"))
    return forwards, quotes, instruments


def stock_options(symbol: str, price: float, implied: float, rates: tuple[tuple[float, float], ...]) -> tuple[list[tuple], list[tuple], list[tuple]]:
    """American options on a grid of strikes at the stock's own volatility, no dividend: the share itself, and forwards at the Treasury curve."""
    step = 10.0 ** math.floor(math.log10(price) - 1.0) * 0.5
    forwards, quotes = [], []
    instruments: list[tuple] = [(symbol, "spot", symbol, "linear", "USD", 1, "", "", "", "")]
    for day in STOCK_EXPIRIES:
        expiry = instant(day, False)
        years = (expiry - VALUATION).total_seconds() / (365.0 * 86_400.0)
        stamp = instant_text(expiry)
        forwards.append((symbol, stamp, round(price / discount(rates, years), 6)))
        for strike in sorted({round(round(price * m / step) * step, 6) for m in STOCK_STRIKES}):
            quotes.append((symbol, stamp, strike, round(implied, 6), "", "", "", ""))
            for kind in ("call", "put"):
                instruments.append((f"{symbol}{day:%y%m%d}{kind[0].upper()}{round(strike * 1000):08d}", "option", symbol, "linear", "USD", 100, stamp, strike, kind, STOCK_EXERCISE))
    return forwards, quotes, instruments


def history(raw: Path, stocks: pd.DataFrame, volatility: pd.DataFrame) -> list[tuple]:
    """Closes at 16:00 in New York: the index, VIX as its volatility, 20 stocks and their three-month implied volatilities."""
    index = pd.read_csv(raw / "spx_index_close_1990_2022.csv.gz").assign(asset=INDEX)
    vix = pd.read_csv(raw / "vix_daily.csv.gz")[["date", "close"]].assign(asset=f"{INDEX}.IV30")
    vix["close"] /= 100.0
    shares = stocks.rename(columns={"symbol": "asset", "adj_close": "close"})
    implied = volatility.rename(columns={"symbol": "asset", "implied_vol": "close"})
    implied = implied.assign(asset=implied["asset"] + ".IV30")
    rows = pd.concat([index, vix, shares, implied], ignore_index=True)
    rows = rows[(rows["date"] >= FIRST_HISTORY) & (rows["date"] <= DAY.isoformat())].dropna().sort_values(["asset", "date"])
    at = {d: instant_text(instant(date.fromisoformat(d), False)) for d in rows["date"].unique()}
    return [(at[d], a, round(float(c), 6)) for d, a, c in zip(rows["date"], rows["asset"], rows["close"], strict=True)]


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) == 3 else Path(__file__).parents[1] / "upm_gpu" / "sample" / "listed")
