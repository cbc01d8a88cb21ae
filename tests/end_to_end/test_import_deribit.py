"""A real chain becomes a market: CSV and the exchange's JSON give the same files, and every fault has a code and a place."""

from __future__ import annotations

import csv
import gzip
import io
import json
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from upm_gpu.errors import MarketDataError
from upm_gpu.market.deribit import chain_snapshot, import_deribit, read_chain
from upm_gpu.market.marks import check_marks

CHAIN = Path(__file__).parent / "data" / "deribit_chain_20260206.csv.gz"
TABLES = ("market/spots.csv", "market/forwards.csv", "market/implied_vols.csv", "market/history.csv", "book/instruments.csv")


def rows() -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(gzip.decompress(CHAIN.read_bytes()).decode())))


def read(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text())))


def write_csv(path: Path, table: list[dict[str, str]]) -> Path:
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(table[0]))
        writer.writeheader()
        writer.writerows(table)
    return path


def milliseconds(text: str) -> int:
    return int(datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() * 1000)


def summaries(table: list[dict[str, str]]) -> list[dict[str, object]]:
    """The answer of public/get_book_summary_by_currency for the same options."""

    def number(text: str) -> float | None:
        return float(text) if text else None

    return [
        {
            "instrument_name": r["instrument_name"], "base_currency": r["currency"], "quote_currency": r["currency"],
            "underlying_index": r["underlying_name"], "underlying_price": float(r["underlying_price"]),
            "estimated_delivery_price": float(r["index_price"]), "mark_price": float(r["mark_price"]),
            "mark_iv": round(float(r["mark_iv"]) * 100.0, 2), "bid_price": number(r["bid_price"]), "ask_price": number(r["ask_price"]),
            "open_interest": float(r["open_interest"]), "volume": float(r["volume_24h"]), "interest_rate": 0.0,
            "creation_timestamp": milliseconds(r["timestamp"]), "mid_price": None,
        }
        for r in table
    ]


def instruments(table: list[dict[str, str]]) -> list[dict[str, object]]:
    """The answer of public/get_instruments for the same options."""
    return [
        {
            "instrument_name": r["instrument_name"], "kind": "option", "option_type": r["option_type"], "strike": float(r["strike"]),
            "expiration_timestamp": milliseconds(r["expiry"]), "contract_size": 1.0, "base_currency": r["currency"],
            "quote_currency": r["currency"], "counter_currency": "USD", "settlement_currency": r["currency"], "instrument_type": "reversed",
            "creation_timestamp": 1_760_000_000_000,
        }
        for r in table
    ]


def write_json(path: Path, content: object) -> Path:
    path.write_text(json.dumps(content))
    return path


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("csv") / "live"
    summary = import_deribit(CHAIN, out)
    assert (summary["options"], summary["rejects"], summary["quarantined"]) == (1720, 0, 0)
    return out


def test_sample_is_made_by_this_import(imported):
    for name in ("spots", "forwards", "implied_vols"):
        bundled = Path(str(files("upm_gpu"))) / "sample" / "crypto" / "next_day" / f"{name}.csv"
        assert (imported / "market" / f"{name}.csv").read_bytes() == bundled.read_bytes()


def test_medians_by_hand(imported):
    table = rows()
    spots = {r["asset"]: float(r["price"]) for r in read(imported / "market" / "spots.csv")}
    assert spots == {u: float(np.median([float(r["index_price"]) for r in table if r["currency"] == u])) for u in ("BTC", "ETH")}
    forwards = {(r["underlying"], r["expiry"]): float(r["forward"]) for r in read(imported / "market" / "forwards.csv")}
    june = [float(r["underlying_price"]) for r in table if r["currency"] == "BTC" and r["expiry"] == "2026-06-26T08:00:00Z"]
    assert forwards["BTC", "2026-06-26T08:00:00Z"] == float(np.median(june))
    assert forwards["ETH", ""] == spots["ETH"]


def test_quotes_are_those_of_the_side_out_of_the_money(imported):
    table = {r["instrument_name"]: r for r in rows()}
    quotes = {(r["underlying"], r["expiry"], float(r["strike"])): r for r in read(imported / "market" / "implied_vols.csv")}
    assert len(quotes) == len({(r["currency"], r["expiry"], r["strike"]) for r in table.values()})
    quote = quotes["BTC", "2026-06-26T08:00:00Z", 70000.0]
    call, put = table["BTC-26JUN26-70000-C"], table["BTC-26JUN26-70000-P"]
    # The June forward is 66,659: the call is out of the money.
    assert (quote["option_type"], float(quote["mark"]), float(quote["bid"])) == ("call", float(call["mark_price"]), float(call["bid_price"]))
    assert float(quote["open_interest"]) == float(call["open_interest"]) + float(put["open_interest"])


def test_futures_are_the_listed_ones(imported):
    listed = {r["instrument_id"]: r for r in read(imported / "book" / "instruments.csv")}
    futures = {i: r for i, r in listed.items() if r["kind"] in ("future", "perpetual")}
    assert futures["BTC-PERPETUAL"]["contract_size"] == "10" and futures["ETH-PERPETUAL"]["contract_size"] == "1"
    names = {r["underlying_name"] for r in rows()}
    assert {i for i in futures if not i.endswith("PERPETUAL")} == {n for n in names if not n.startswith(("SYN.", "index"))}
    assert listed["BTC-26JUN26-70000-C"]["settlement"] == "inverse" and listed["BTC-26JUN26-70000-C"]["contract_size"] == "1"


@pytest.mark.parametrize("form", ["bundle", "envelope and instruments", "folder", "names only"])
def test_json_gives_the_same_market(imported, tmp_path, form):
    table = rows()
    summary = {"jsonrpc": "2.0", "id": 1, "result": summaries(table), "usIn": 1, "usOut": 2}
    listed = {"jsonrpc": "2.0", "id": 2, "result": instruments(table)}
    extra = None
    if form == "bundle":
        source = write_json(tmp_path / "all.json", {"get_book_summary_by_currency": summary, "get_instruments": listed})
    elif form == "envelope and instruments":
        source, extra = write_json(tmp_path / "book.json", summary), write_json(tmp_path / "listed.json", listed)
    elif form == "folder":
        source = tmp_path / "answers"
        source.mkdir()
        for coin in ("BTC", "ETH"):
            write_json(source / f"{coin}.json", {"result": [r for r in summary["result"] if r["base_currency"] == coin]})
        write_json(source / "instruments.json", listed)
    else:
        source = write_json(tmp_path / "book.json", summaries(table))
    told = import_deribit(source, tmp_path / "out", extra)
    for name in TABLES:
        assert (tmp_path / "out" / name).read_bytes() == (imported / name).read_bytes(), name
    assert ("instrument names" in told["notes"]) == (form == "names only")


def test_futures_rows_bring_their_own_marks(tmp_path):
    table = rows()
    extra = [{"instrument_name": "BTC-PERPETUAL", "mark_price": 65900.5, "creation_timestamp": milliseconds(table[0]["timestamp"])},
             {"instrument_name": "BTC_USDC-PERPETUAL", "mark_price": 65910.0, "creation_timestamp": milliseconds(table[0]["timestamp"])}]
    told = import_deribit(write_json(tmp_path / "book.json", summaries(table) + extra), tmp_path / "out")
    lines = (tmp_path / "out" / "market" / "forwards.csv").read_text().splitlines()
    assert "BTC,,65900.5" in lines
    assert "1 rows are no inverse" in told["notes"]


def test_import_reads_back(imported):
    from upm_gpu.market.reader import load_market

    market = load_market(imported / "market")
    assert market.valuation_time == datetime(2026, 2, 6, 9, 35, 16, tzinfo=UTC)
    again = chain_snapshot(read_chain(CHAIN))
    assert market.spots == again.spots and market.forwards == again.forwards
    assert market.quotes.implied_volatility.tolist() == again.quotes.implied_volatility.tolist()
    assert set(market.history["asset"]) == {u + s for u in ("BTC", "ETH") for s in ("", ".IV30", ".SKEW30", ".SLOPE30")}


def test_history_is_carried_on_and_nothing_later_enters(tmp_path):
    earlier = tmp_path / "history.csv"
    earlier.write_text("date,asset,close\n2026-02-04,BTC,70000\n2026-02-09,BTC,1\n")
    import_deribit(CHAIN, tmp_path / "out", history=earlier)
    lines = (tmp_path / "out" / "market" / "history.csv").read_text().splitlines()
    assert lines[1] == "2026-02-05T00:00:00Z,BTC,70000"
    assert lines[2].startswith("2026-02-06T09:35:16Z,BTC,658") and len(lines) == 10


def test_quoted_volatilities_give_the_quoted_prices():
    market = chain_snapshot(read_chain(CHAIN))
    assert np.nanmax(np.abs(check_marks(market).gap)) < 1e-3


def test_a_mark_that_its_volatility_misses_is_quarantined(tmp_path):
    table = rows()
    victim = next(r for r in table if r["instrument_name"] == "BTC-26JUN26-70000-C")
    victim["mark_price"] = str(float(victim["mark_price"]) + 0.0055)
    told = import_deribit(write_csv(tmp_path / "chain.csv", table), tmp_path / "out")
    assert told["quarantined"] == 1
    listed = read(tmp_path / "out" / "quarantined.csv")
    assert listed[0]["strike"] == "70000" and float(listed[0]["model_minus_mark"]) == pytest.approx(-0.0055, abs=4e-4)
    victim["mark_price"] = str(float(victim["mark_price"]) - 0.0015)
    market = chain_snapshot(read_chain(write_csv(tmp_path / "chain.csv", table)))
    assert check_marks(market).listed(market) == []


@pytest.mark.parametrize(("column", "value", "code"), [
    ("mark_iv", "0", "UPM-MD-103"), ("mark_iv", "51.96", "UPM-MD-110"), ("mark_iv", "", "UPM-MD-103"), ("underlying_price", "1,000", "UPM-MD-103"),
    ("index_price", "nan", "UPM-MD-103"), ("mark_price", "-0.1", "UPM-MD-103"), ("bid_price", "9", "UPM-MD-113"),
    ("instrument_name", "BTC-26JUNE26-70000-C", "UPM-MD-104"), ("instrument_name", "BTC-30FEB26-70000-C", "UPM-MD-104"),
    ("instrument_name", "BTC-5FEB26-70000-C", "UPM-MD-112"), ("open_interest", "many", "UPM-MD-103"),
])
def test_bad_rows_are_set_aside_and_named(tmp_path, column, value, code):
    table = rows()[:300]
    table[7][column] = value
    told = import_deribit(write_csv(tmp_path / "chain.csv", table), tmp_path / "out")
    assert (told["options"], told["rejects"]) == (299, 1)
    listed = read(tmp_path / "out" / "rejects.csv")[0]
    assert (listed["line"], listed["column"], listed["code"]) == ("9", column, code)


def test_duplicate_option_is_set_aside(tmp_path):
    table = rows()
    chain = read_chain(write_csv(tmp_path / "chain.csv", [*table, table[3]]))
    assert len(chain.options) == 1720 and chain.rejects[0].line == 1722 and "line 5" in chain.rejects[0].message


def text_of(table: list[dict[str, str]]) -> str:
    return "\n".join([",".join(table[0]), *(",".join(r.values()) for r in table)]) + "\n"


@pytest.mark.parametrize(("content", "code"), [
    (b"", "UPM-MD-101"),
    (b"\xff\xfe\x00", "UPM-MD-101"),
    (gzip.compress(b"timestamp", mtime=0)[:-6], "UPM-MD-101"),
    (b"a,b\n1,2\n", "UPM-MD-102"),
    (b"{\"result\": []}", "UPM-MD-102"),
    (b"{\"result\": [", "UPM-MD-106"),
    (b"[NaN]", "UPM-MD-106"),
    (b"[" * 5000, "UPM-MD-106"),
    (json.dumps([{"instrument_name": "BTC-26JUN26-70000-C", "mark_price": 0.1, "creation_timestamp": 1770370516}]).encode(), "UPM-MD-105"),
    (text_of([r | {"mark_iv": "x"} for r in rows()[:40]]).encode(), "UPM-MD-107"),
    (text_of([r | ({"mark_iv": "x"} if i == 2 else {}) for i, r in enumerate(rows()[:40])]).encode(), "UPM-MD-109"),
    (text_of([r | ({"timestamp": "2026-02-06T09:40:00Z"} if i == 2 else {}) for i, r in enumerate(rows()[:40])]).encode(), "UPM-MD-105"),
    (text_of([r | {"timestamp": "2026-02-06 09:35:16"} for r in rows()[:40]]).encode(), "UPM-MD-105"),
    (text_of(rows()[:1]).splitlines()[0].encode(), "UPM-MD-107"),
])
def test_files_that_are_no_chain_are_refused(tmp_path, content, code):
    path = tmp_path / "chain.csv"
    path.write_bytes(content)
    with pytest.raises(MarketDataError, match=code) as caught:
        import_deribit(path, tmp_path / "out")
    assert "chain.csv" in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_missing_files_and_full_folders_are_refused(tmp_path, imported):
    with pytest.raises(MarketDataError, match="UPM-MD-101"):
        import_deribit(tmp_path / "none.csv", tmp_path / "out")
    with pytest.raises(MarketDataError, match="UPM-MD-101"):
        import_deribit(tmp_path, tmp_path / "out")
    with pytest.raises(MarketDataError, match="UPM-MD-108"):
        import_deribit(CHAIN, imported)
