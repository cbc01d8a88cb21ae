"""What can be wrong with a market folder: every fault stops at the door with code, file, line and column."""

from __future__ import annotations

import gzip
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from upm_gpu.errors import InputError, MarketDataError, StaleDataError
from upm_gpu.market.reader import check_age, load_market

NOW = datetime(2026, 2, 5, 9, 36, 47, tzinfo=UTC)
MARCH = datetime(2026, 3, 27, 8, tzinfo=UTC)
SPOTS = "asset,price,currency,timestamp\nBTC,70000,USD,2026-02-05T09:36:47Z\nETH,2000,USDC,2026-02-05T09:34:00Z\nUSDC,0.9,USD,2026-02-05T09:36:00Z\n"
FORWARDS = "underlying,expiry,forward\nBTC,,70010\nBTC,2026-03-27T08:00:00Z,70500\n"
VOLS = ("underlying,expiry,strike,implied_volatility,option_type,mark,bid,ask\n"
        "BTC,2026-03-27T08:00:00Z,90000,0.5,call,0.01,0.009,0.011\nBTC,2026-03-27T08:00:00Z,90000,0.51,put,0.3,0.29,0.31\n"
        "BTC,2026-03-27T08:00:00Z,60000,0.6,call,0.2,,\nBTC,2026-03-27T08:00:00Z,60000,0.61,put,0.02,,\n")
RATES = "currency,tenor_days,zero_rate\nUSD,365,0.04\nUSD,30,0.05\nEUR,30,-0.005\n"
HISTORY = "date,asset,close\n2026-02-03,BTC,71000\n2026-02-04,BTC,72000\n2026-02-04,BTC.IV30,0.55\n"
FILES = {"spots": SPOTS, "forwards": FORWARDS, "implied_vols": VOLS, "rates": RATES, "history": HISTORY}


def write(folder: Path, **changed: str | None) -> Path:
    for name, text in {**FILES, **changed}.items():
        if text is not None:
            (folder / f"{name}.csv").write_text(text, encoding="utf-8")
    return folder


def refused(folder: Path, code: str, *words: str) -> None:
    with pytest.raises(MarketDataError) as caught:
        load_market(folder)
    assert caught.value.code == code, str(caught.value)
    assert caught.value.exit_code == 3
    for word in words:
        assert word in str(caught.value)


def test_a_good_market(tmp_path: Path) -> None:
    market = load_market(write(tmp_path))
    assert market.valuation_time == NOW
    assert market.spots == {"BTC": 70000.0, "ETH": 1800.0, "USD": 1.0, "USDC": 0.9}
    assert market.forwards == {("BTC", None): 70010.0, ("BTC", MARCH): 70500.0}
    assert market.rates == {"EUR": ((30.0, -0.005),), "USD": ((30.0, 0.05), (365.0, 0.04))}
    q = market.quotes
    assert (list(q.underlying), q.expiry, list(q.strike), list(q.implied_volatility)) == (["BTC"] * 2, (MARCH,) * 2, [60000.0, 90000.0], [0.61, 0.5])
    assert (list(q.mark), list(q.mark_type), q.bid[1], q.ask[1]) == ([0.02, 0.01], ["put", "call"], 0.009, 0.011)
    assert np.isnan([q.bid[0], q.ask[0], *q.open_interest, *q.volume]).all()
    assert list(market.history.columns) == ["timestamp", "asset", "close"]
    assert [(t.isoformat(), a, c) for t, a, c in market.history.itertuples(index=False)] == [
        ("2026-02-04T00:00:00+00:00", "BTC", 71000.0), ("2026-02-05T00:00:00+00:00", "BTC", 72000.0), ("2026-02-05T00:00:00+00:00", "BTC.IV30", 0.55)]
    assert (market.warnings, set(market.hashes)) == ((), {f"{n}.csv" for n in FILES})


def test_missing_files(tmp_path: Path) -> None:
    refused(tmp_path / "none", "UPM-MD-001", "does not exist")
    refused(write(tmp_path, spots=None), "UPM-MD-001", "spots.csv")
    with pytest.raises(InputError, match=r"UPM-CF-074.*sample:crypto"):
        load_market("sample:none")


def test_rates_and_history_may_be_missing(tmp_path: Path) -> None:
    market = load_market(write(tmp_path, rates=None, history=None, implied_vols=None))
    assert (market.rates, len(market.history), len(market.quotes.strike)) == ({}, 0, 0)
    assert [w for w in market.warnings if "zero rates" in w] == ["UPM-MD-054 no rates are given: zero rates are used in every currency."]


@pytest.mark.parametrize(("change", "code", "words"), [
    ({"spots": ""}, "UPM-MD-002", ("spots.csv", "empty")),
    ({"spots": SPOTS.splitlines()[0] + "\n"}, "UPM-MD-003", ("spots.csv",)),
    ({"spots": SPOTS.replace("price", "prize")}, "UPM-MD-004", ("price", "'prize'")),
    ({"forwards": FORWARDS.replace(",forward\n", "\n")}, "UPM-MD-006", ("forwards.csv line 1", "forward")),
    ({"history": HISTORY.replace("date", "day")}, "UPM-MD-006", ("history.csv line 1", "timestamp")),
    ({"rates": RATES.replace(",", ";")}, "UPM-MD-013", ("rates.csv", "semicolons")),
])
def test_broken_tables(tmp_path: Path, change: dict[str, str], code: str, words: tuple[str, ...]) -> None:
    refused(write(tmp_path, **change), code, *words)


@pytest.mark.parametrize(("cell", "code"), [("0", "UPM-MD-043"), ("-5", "UPM-MD-043"), ("nan", "UPM-MD-024"), ("inf", "UPM-MD-024"), ("", "UPM-MD-024"), ('"70,000"', "UPM-MD-014")])
def test_43_undefined_prices(tmp_path: Path, cell: str, code: str) -> None:
    refused(write(tmp_path, spots=SPOTS.replace("70000", cell)), code, "spots.csv line 2 column price")
    refused(write(tmp_path, spots=SPOTS, forwards=FORWARDS.replace("70500", cell)), code, "forwards.csv line 3 column forward")
    refused(write(tmp_path, forwards=FORWARDS, history=HISTORY.replace("72000", cell)), code, "history.csv line 3 column close")
    refused(write(tmp_path, history=HISTORY, implied_vols=VOLS.replace("90000,0.5,", f"{cell},0.5,")), code, "implied_vols.csv line 2 column strike")


def test_all_bad_rows_are_counted(tmp_path: Path) -> None:
    refused(write(tmp_path, history=HISTORY.replace("71000", "x").replace("0.55", "y")), "UPM-MD-014", "history.csv line 2", "2 bad rows", "lines 4")


@pytest.mark.parametrize(("old", "new", "code", "words"), [
    ("09:34:00Z", "09:30:00Z", "UPM-MD-044", "ETH is of 2026-02-05T09:30:00Z"), ("2026-02-05T09:34:00Z", "2026-02-05T09:34:00", "UPM-MD-031", "line 3 column timestamp"),
    ("2026-02-05T09:34:00Z", "1770284040", "UPM-MD-031", "2026-02-05T09:34:00Z"), ("ETH", "BTC", "UPM-MD-048", "line 3 column asset: BTC is already on line 2"),
    ("2000,USDC", "2000,GBP", "UPM-MD-034", "no spot of GBP in USD"), ("2000,USDC", "2000,usdc", "UPM-MD-034", "Write USDC"),
    ("USDC,0.9,USD", "USD,0.9,USD", "UPM-MD-043", "reporting currency"),
])
def test_inconsistent_spots(tmp_path: Path, old: str, new: str, code: str, words: str) -> None:
    refused(write(tmp_path, spots=SPOTS.replace(old, new)), code, "spots.csv", words)


def test_underlyings_need_a_spot(tmp_path: Path) -> None:
    refused(write(tmp_path, forwards=FORWARDS + "SOL,,100\n"), "UPM-MD-051", "forwards.csv line 4", "SOL has no spot price")
    refused(write(tmp_path, forwards=FORWARDS, implied_vols=VOLS + "SOL,2026-03-27T08:00:00Z,100,0.8,call,,,\n"), "UPM-MD-051", "implied_vols.csv line 6")


def test_48_duplicates(tmp_path: Path) -> None:
    refused(write(tmp_path, forwards=FORWARDS + "BTC,,70011\n"), "UPM-MD-048", "forwards.csv line 4", "two forwards")
    refused(write(tmp_path, forwards=FORWARDS, implied_vols=VOLS + VOLS.splitlines()[1] + "\n"), "UPM-MD-048", "implied_vols.csv line 6", "strike 90000 is given twice")
    refused(write(tmp_path, implied_vols=VOLS + "BTC,2026-03-27T08:00:00Z,90000,0.5,,,,\n"), "UPM-MD-048", "implied_vols.csv line 6")
    refused(write(tmp_path, implied_vols=VOLS, rates=RATES + "USD,30,0.01\n"), "UPM-MD-048", "rates.csv line 5")
    refused(write(tmp_path, rates=RATES, history=HISTORY + "2026-02-04,BTC,72001\n"), "UPM-MD-048", "BTC has two closes at 2026-02-05T00:00:00+00:00")
    market = load_market(write(tmp_path, history=HISTORY + "2026-02-04,BTC,72000\n"))
    assert len(market.history) == 3
    assert any("UPM-MD-048" in w and "1 rows repeat" in w for w in market.warnings)


@pytest.mark.parametrize(("cell", "code"), [("0", "UPM-MD-043"), ("-0.5", "UPM-MD-043"), ("10.5", "UPM-MD-050"), ("55", "UPM-MD-050"), ("nan", "UPM-MD-024")])
def test_50_volatilities(tmp_path: Path, cell: str, code: str) -> None:
    refused(write(tmp_path, implied_vols=VOLS.replace("90000,0.5,", f"90000,{cell},")), code, "implied_vols.csv line 2 column implied_volatility")


def test_quotes_without_volatility_or_expired_are_left_out_and_counted(tmp_path: Path) -> None:
    market = load_market(write(tmp_path, implied_vols=VOLS.replace("90000,0.5,", "90000,,") + "BTC,2026-02-05T08:00:00Z,70000,0.9,call,,,\n",
                               forwards=FORWARDS + "BTC,2026-02-05T08:00:00Z,70000\n"))
    assert list(market.quotes.implied_volatility) == [0.61, 0.51]
    assert list(market.quotes.mark_type) == ["put", "put"]
    assert [w.split(": ", 1)[1] for w in market.warnings if "UPM-MD-029" in w] == [
        "1 forwards had expired at the valuation time and are left out.", "1 quotes had expired at the valuation time and are left out.", "1 quotes have no volatility and are left out."]
    assert len(market.forwards) == 2


def test_a_blank_option_type_is_one_volatility_a_strike(tmp_path: Path) -> None:
    market = load_market(write(tmp_path, implied_vols="underlying,expiry,strike,implied_volatility\nBTC,2026-03-27T08:00:00Z,90000,0.5\n"))
    assert (list(market.quotes.implied_volatility), list(market.quotes.mark_type)) == ([0.5], [""])


def test_the_side_is_judged_by_the_forward_of_the_expiry(tmp_path: Path) -> None:
    rows = "".join(f"BTC,2026-03-27T08:00:00Z,{k},{v},{t}\n" for k in (70499, 70500) for t, v in (("call", 0.5), ("put", 0.6)))
    market = load_market(write(tmp_path, implied_vols="underlying,expiry,strike,implied_volatility,option_type\n" + rows))
    assert list(market.quotes.mark_type) == ["put", "call"]
    market = load_market(write(tmp_path, forwards="underlying,expiry,forward\n"))
    assert list(market.quotes.mark_type) == ["put", "call"]


def test_quote_columns(tmp_path: Path) -> None:
    refused(write(tmp_path, implied_vols=VOLS.replace("0.009", "-0.009")), "UPM-MD-043", "implied_vols.csv line 2 column bid", "negative")
    refused(write(tmp_path, implied_vols=VOLS.replace(",call,0.01", ",cal,0.01")), "UPM-MD-033", "implied_vols.csv line 2 column option_type", "Did you mean call?")
    market = load_market(write(tmp_path, implied_vols=VOLS.replace("0.009", "0.02")))
    assert any("UPM-MD-043" in w and "1 quotes have a bid above the ask" in w for w in market.warnings)


def test_56_rates_in_percent(tmp_path: Path) -> None:
    refused(write(tmp_path, rates=RATES.replace("0.05", "5")), "UPM-MD-056", "rates.csv line 3 column zero_rate", "0.05 is 5 %")
    refused(write(tmp_path, rates=RATES.replace("USD,30", "USD,0")), "UPM-MD-043", "rates.csv line 3 column tenor_days")


def test_nothing_after_the_valuation_time_enters(tmp_path: Path) -> None:
    history = HISTORY + "2026-02-05,BTC,65000\n2026-02-06,BTC,60000\n"
    market = load_market(write(tmp_path, history=history))
    assert market.history["close"].tolist() == [71000.0, 72000.0, 0.55]
    assert [w for w in market.warnings if "UPM-MD-042" in w] == [
        "UPM-MD-042 history.csv: 2 rows lie after the valuation time 2026-02-05T09:36:47Z and are left out."]


def test_timestamp_wins_over_date(tmp_path: Path) -> None:
    history = "timestamp,date,asset,close\n2026-02-05T09:00:00Z,2026-01-01,BTC,1\n,2026-02-04,BTC,2\n2026-02-05T09:36:47Z,,BTC,3\n"
    market = load_market(write(tmp_path, history=history))
    assert [(t.isoformat(), c) for t, c in zip(market.history["timestamp"], market.history["close"], strict=True)] == [
        ("2026-02-05T00:00:00+00:00", 2.0), ("2026-02-05T09:00:00+00:00", 1.0), ("2026-02-05T09:36:47+00:00", 3.0)]
    refused(write(tmp_path, history=history + ",,BTC,4\n"), "UPM-MD-030", "history.csv line 5 column timestamp")


@pytest.mark.parametrize("cell", ["2026-02-30", "04/02/2026", "2026-02-04T00:00:00Z", "20260204"])
def test_30_dates(tmp_path: Path, cell: str) -> None:
    refused(write(tmp_path, history=HISTORY.replace("2026-02-03", cell)), "UPM-MD-030", "history.csv line 2 column date")


def test_history_order_does_not_matter(tmp_path: Path) -> None:
    lines = HISTORY.splitlines()
    a = load_market(write(tmp_path)).history
    b = load_market(write(tmp_path, history="\n".join([lines[0], *reversed(lines[1:])]) + "\n")).history
    assert a.equals(b)


def test_parquet_and_compressed_files_read_the_same(tmp_path: Path) -> None:
    plain = load_market(write(tmp_path))
    (tmp_path / "history.csv").unlink()
    (tmp_path / "history.csv.gz").write_bytes(gzip.compress(HISTORY.encode()))
    (tmp_path / "spots.csv").unlink()
    stamps = pa.array([NOW, NOW - timedelta(minutes=2, seconds=47), NOW - timedelta(seconds=47)], pa.timestamp("ns", "UTC"))
    pq.write_table(pa.table({"asset": ["BTC", "ETH", "USDC"], "price": [70000.0, 2000.0, 0.9], "currency": ["USD", "USDC", "USD"], "timestamp": stamps}),
                   tmp_path / "spots.parquet")
    packed = load_market(tmp_path)
    assert packed.spots == plain.spots
    assert packed.valuation_time == plain.valuation_time
    assert packed.history.equals(plain.history)


def test_parquet_dates(tmp_path: Path) -> None:
    plain = load_market(write(tmp_path)).history
    (tmp_path / "history.csv").unlink()
    dates = pa.array([datetime(2026, 2, d).date() for d in (3, 4, 4)], pa.date32())
    pq.write_table(pa.table({"date": dates, "asset": ["BTC", "BTC", "BTC.IV30"], "close": [71000.0, 72000.0, 0.55]}), tmp_path / "history.parquet")
    assert load_market(tmp_path).history.equals(plain)


def test_41_42_age(tmp_path: Path) -> None:
    market = load_market(write(tmp_path))
    check_age(market, NOW + timedelta(days=300), None)
    check_age(market, NOW + timedelta(days=300), 0.0)
    check_age(market, NOW + timedelta(minutes=60), 60.0)
    with pytest.raises(StaleDataError, match=r"UPM-MD-041 .*61 minutes old; max_age_minutes is 60") as caught:
        check_age(market, NOW + timedelta(minutes=61), 60.0)
    assert caught.value.exit_code == 6
    with pytest.raises(StaleDataError, match=r"UPM-MD-042 .*10 minutes in the future"):
        check_age(market, NOW - timedelta(minutes=10), 60.0)


def test_the_sample_market_and_its_next_day_are_read() -> None:
    market = load_market("sample:crypto")
    assert market.valuation_time == NOW
    assert {"BTC", "ETH", "USD"} <= set(market.spots)
    assert {"BTC", "ETH", "BTC.IV30", "ETH.IV30"} <= set(market.history["asset"])
    assert market.history["timestamp"].max() <= market.valuation_time
