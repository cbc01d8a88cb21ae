"""What can be wrong with the files `dividends` and `carry` of a market folder; what a good pair becomes."""

from __future__ import annotations

from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from upm_gpu.errors import MarketDataError
from upm_gpu.market.reader import load_market
from upm_gpu.market.snapshot import CarryPoint, Dividend

JUNE = datetime(2026, 6, 19, 20, tzinfo=UTC)
FILES = {"spots": "asset,price,currency,timestamp\nX,100,USD,2026-02-05T09:00:00Z\nY,50,EUR,2026-02-05T09:00:00Z\nEUR,1.25,USD,2026-02-05T09:00:00Z\n",
         "forwards": "underlying,expiry,forward\n", "rates": "currency,tenor_days,zero_rate\nUSD,30,0.05\n",
         "implied_vols": "underlying,expiry,strike,implied_volatility,option_type\nX,2026-06-19T20:00:00Z,99,0.3,call\nX,2026-06-19T20:00:00Z,99,0.31,put\nX,2026-06-19T20:00:00Z,110,0.28,call\n",
         "dividends": "underlying,ex_date,amount,currency\nX,2026-05-11T13:30:00Z,3,USD\nX,2026-02-04T13:30:00Z,0.5,USD\nY,2026-03-01T08:00:00Z,2,EUR\n",
         "carry": "underlying,tenor_days,borrow_rate,dividend_yield\nX,365,0.02,-0.001\nX,30,0.01,0\n"}


def write(folder, **changed):
    for name, text in {**FILES, **changed}.items():
        (folder / f"{name}.csv").write_text(text, encoding="utf-8")
    return folder


def test_a_good_pair(tmp_path):
    market = load_market(write(tmp_path))
    assert market.dividends == {"X": (Dividend(datetime(2026, 5, 11, 13, 30, tzinfo=UTC), 3.0),), "Y": (Dividend(datetime(2026, 3, 1, 8, tzinfo=UTC), 2.0),)}
    assert market.carry == {"X": (CarryPoint(30.0, 0.01, 0.0), CarryPoint(365.0, 0.02, -0.001))}
    assert market.carried_forwards == {("X", JUNE)} and 97.0 < market.forwards["X", JUNE] < 99.0
    # the forward lies below the strike of 99, the spot above: the call is the out-of-the-money side
    assert list(market.quotes.implied_volatility) == [0.3, 0.28]
    assert [w[:41] for w in market.warnings] == ["UPM-MD-029 dividends.csv: 1 dividends had"]
    assert {"dividends.csv", "carry.csv"} <= set(market.hashes)


def test_parquet_is_the_same(tmp_path):
    """All columns text, as an export of the CSV."""
    head, *rows = [line.split(",") for line in FILES["dividends"].splitlines()]
    folder = write(tmp_path)
    same = load_market(folder).dividends
    (folder / "dividends.csv").unlink()
    pq.write_table(pa.table({name: [r[i] for r in rows] for i, name in enumerate(head)}), folder / "dividends.parquet")
    assert load_market(folder).dividends == same


@pytest.mark.parametrize(("file", "row", "code", "words"), [
    ("dividends", "X,2026-05-11T13:30:00Z,1,USD", "UPM-MD-048", "line 5 column ex_date: X has two dividends"),
    ("dividends", "X,2026-06-11T13:30:00Z,0,USD", "UPM-MD-043", "above 0"),
    ("dividends", "X,2026-06-11T13:30:00Z,-1,USD", "UPM-MD-043", "column amount"),
    ("dividends", "X,2026-06-11,1,USD", "UPM-MD-031", "column ex_date"),
    ("dividends", ",2026-06-11T13:30:00Z,1,USD", "UPM-MD-036", "column underlying"),
    ("dividends", "Z,2026-06-11T13:30:00Z,1,USD", "UPM-MD-051", "Z has no spot price"),
    ("dividends", "Y,2026-06-11T13:30:00Z,1,USD", "UPM-MD-146", "Give the amount in EUR"),
    ("dividends", "X,2026-06-11T13:30:00Z,1,usd", "UPM-MD-034", "column currency"),
    ("dividends", "X,2026-06-11T13:30:00Z,1%,USD", "UPM-MD-014", "not a plain number"),
    ("carry", "X,30,0,0", "UPM-MD-048", "line 4 column tenor_days: X has two rows"),
    ("carry", "X,0,0,0", "UPM-MD-043", "tenor in days"),
    ("carry", "X,60,5,0", "UPM-MD-056", "column borrow_rate"),
    ("carry", "X,60,0,-1.5", "UPM-MD-056", "column dividend_yield"),
    ("carry", "Z,60,0,0", "UPM-MD-051", "Z has no spot price"),
    ("carry", "X,60,,0", "UPM-MD-024", "column borrow_rate"),
])
def test_a_bad_row_stops_at_the_door(tmp_path, file, row, code, words):
    with pytest.raises(MarketDataError) as caught:
        load_market(write(tmp_path, **{file: FILES[file] + row + "\n"}))
    assert caught.value.code == code, str(caught.value)
    assert words in str(caught.value) and f"{file}.csv" in str(caught.value)


def test_a_missing_column_is_named(tmp_path):
    with pytest.raises(MarketDataError, match=r"UPM-MD-006 dividends\.csv line 1: missing column amount"):
        load_market(write(tmp_path, dividends="underlying,ex_date,currency\nX,2026-06-11T13:30:00Z,USD\n"))
