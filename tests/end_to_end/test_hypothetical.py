"""What-ifs in instruments that the book does not list, and open orders by their worst fill: a fresh run of the book that lists or fills them says the same."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from command_line import POSITIONS, Command, small_run
from small_book import INSTRUMENTS

from upm_gpu import desk, job
from upm_gpu.desk.hypothetical import instruments_of, read_instruments
from upm_gpu.desk.words import read_sets
from upm_gpu.errors import InputError

TERMS = {
    "another strike": ("like=BTC-C70,instrument_id=BTC-C72X,strike=72000", "BTC-C72X,option,BTC,inverse,USD,1,2026-02-27T08:00:00Z,72000,call,european\n", 3.0),
    "another expiry": ("like=BTC-P60,instrument_id=A-BTC-P60M,expiry=2026-03-27T08:00:00Z", "A-BTC-P60M,option,BTC,inverse,USD,1,2026-03-27T08:00:00Z,60000,put,european\n", -2.0),
    "inside the margin period": ("like=BTC-C75D,instrument_id=BTC-P69D,strike=69000,option_type=put", "BTC-P69D,option,BTC,inverse,USD,1,2026-02-06T08:00:00Z,69000,put,european\n", -4.0),
    "another product": ("instrument_id=ETH-FUT,kind=future,underlying=ETH,settlement=linear,quote_currency=USD,contract_size=1,expiry=2026-02-27T08:00:00Z",
                        "ETH-FUT,future,ETH,linear,USD,1,2026-02-27T08:00:00Z,,,\n", 30.0),
}


@pytest.mark.parametrize("kind", TERMS)
def test_as_a_fresh_run_of_the_book_that_lists_it(upm: Command, finished: Path, tmp_path: Path, kind: str):
    given, row, contracts = TERMS[kind]
    name = row.split(",")[0]
    said = upm("whatif", finished, "--account", "B", "--instrument", given, "--order", f"{name}:{contracts:g}", "--premium", "none", "--json")
    assert said.code == 0, said
    (account,) = json.loads(said.out)["what_ifs"][0]["accounts"]
    changed = small_run(tmp_path / "changed", POSITIONS + f"B,{name},{contracts:g}\n")
    (changed / "book" / "instruments.csv").write_text(INSTRUMENTS + row)
    assert job.run(changed / "run.toml", {"output.path": str(tmp_path / "fresh")}, quiet=True).exit_code == 0
    import csv

    with (tmp_path / "fresh" / "margin.csv").open() as file:
        fresh = next(r for r in csv.DictReader(file) if r["account_id"] == "B")
    for figure in ("initial_margin", "equity", "option_value", "expected_shortfall_standard_error", "value_at_risk", "excess"):
        assert float(fresh[figure]) == account["after"][figure], figure
    assert account["difference"]["initial_margin"] != 0.0


def test_terms_from_files_are_one_and_the_same(finished: Path, tmp_path: Path):
    book = desk.open_run(finished).plan.book
    (expected,) = read_instruments([TERMS["another strike"][0]], book)
    (tmp_path / "i.json").write_text(json.dumps([{"like": "BTC-C70", "instrument_id": "BTC-C72X", "strike": 72000}]))
    (tmp_path / "i.toml").write_text('[[instrument]]\nlike = "BTC-C70"\ninstrument_id = "BTC-C72X"\nstrike = 72000.0\nexpiry = 2026-02-27T08:00:00Z\n')
    (tmp_path / "i.csv").write_text(INSTRUMENTS.splitlines()[0] + "\n" + TERMS["another strike"][1])
    for name in ("i.json", "i.toml", "i.csv"):
        assert read_instruments([str(tmp_path / name)], book) == (expected,)


@pytest.mark.parametrize(("given", "code", "words"), [
    ("like=BTC-C71,instrument_id=X", "UPM-IN-151", "Did you mean BTC-C7"), ("strik=3,instrument_id=X", "UPM-IN-151", "Did you mean strike"),
    ("like=BTC-C70,instrument_id=X,strike=-1", "UPM-IN-151", "strike"), ("like=BTC-C70,instrument_id=BTC-C70,strike=71000", "UPM-IN-152", "other terms"),
    ("like=BTC-C70,instrument_id=X,expiry=2026-02-05T08:00:00Z", "UPM-IN-152", "later expiry"), ("nothing", "UPM-CF-162", "KEY=VALUE"), ("none.json", "UPM-IN-151", "none.json"),
    ("none.csv", "UPM-IN-151", "no such file"),
])
def test_terms_that_are_none(upm: Command, finished: Path, given: str, code: str, words: str):
    said = upm("whatif", finished, "--account", "B", "--instrument", given, "--order", "X:1")
    assert said.out == ""
    assert said.err.startswith(code), said.err
    assert words in said.err


def test_open_orders_by_their_worst_fill(upm: Command, finished: Path):
    orders = [("BTC-PERP", 4000.0), ("BTC-PERP", -3500.0), ("BTC-P60", -6.0), ("BTC-C75D", 2.0)]
    said = upm("whatif", finished, "--account", "B", *(x for n, q in orders for x in ("--open-order", f"{n}:{q:g}")), "--json")
    assert said.code == 0, said
    (found,) = json.loads(said.out)["what_ifs"]
    resident = desk.open_run(finished)
    sets = [[desk.Order("B", n, q) for (n, q), fill in zip(orders, fills, strict=True) if fill] for fills in itertools.product((False, True), repeat=4)]
    excess = {json.dumps([[o.instrument_id, o.contracts] for o in s]): desk.whatif(resident, [s])[0][0].after["excess"] for s in sets if s}
    assert found["worst_fill"]["exact"]
    assert found["worst_fill"]["fills_asked"] == 16
    worst = min(excess, key=excess.__getitem__)
    assert found["accounts"][0]["after"]["excess"] == excess[worst] < found["accounts"][0]["before"]["excess"]
    assert [[o["instrument_id"], o["contracts"]] for o in found["worst_fill"]["filled"]] == json.loads(worst)


def test_a_climb_finds_what_all_corners_show(finished: Path, monkeypatch: pytest.MonkeyPatch):
    from upm_gpu.desk import fills

    resident = desk.open_run(finished)
    orders = [desk.Order("A", "BTC-PERP", 900.0), desk.Order("A", "BTC-C70", -2.0), desk.Order("A", "BTC-P60", -3.0), desk.Order("A", "BTC-PERP", -500.0)]
    every = desk.worst_fill(resident, orders)
    monkeypatch.setattr(fills, "EXACT", 2)
    climbed = desk.worst_fill(resident, orders)
    assert not climbed.exact
    assert climbed.filled == every.filled
    # a fill that can only help is not taken
    cash = desk.worst_fill(resident, [desk.Order("A", "BTC-PERP", 1e-6)], [desk.Deposit("A", "USD", 5.0)])
    assert cash.answer.after["excess"] <= cash.answer.before["excess"] + 5.0
    with pytest.raises(InputError, match="UPM-IN-153"):
        desk.worst_fill(resident, [desk.Order("A", "BTC-PERP", 1.0), desk.Order("B", "BTC-PERP", 1.0)])


def test_files_of_trade_sets_in_every_format(upm: Command, finished: Path, tmp_path: Path):
    rows = [{"set": "a", "account_id": "A", "kind": "order", "name": "BTC-PERP", "quantity": -100}, {"set": "a", "account_id": "A", "kind": "deposit", "name": "USD", "quantity": 10.5},
            {"set": "b", "account_id": "B", "kind": "open_order", "name": "BTC-PERP", "quantity": 5000}]
    (tmp_path / "f.csv").write_text("set,account_id,kind,name,quantity\n" + "".join(",".join(map(str, r.values())) + "\n" for r in rows))
    (tmp_path / "f.json").write_text(json.dumps(rows))
    pq.write_table(pa.Table.from_pylist([r | {"quantity": float(r["quantity"])} for r in rows]), tmp_path / "f.parquet")
    answers = []
    for name in ("f.csv", "f.json", "f.parquet"):
        assert read_sets(tmp_path / name) == read_sets(tmp_path / "f.csv")
        said = upm("whatif", finished, "--file", tmp_path / name, "--json")
        assert said.code == 0, said
        answers.append(json.loads(said.out)["what_ifs"])
    assert answers[0] == answers[1] == answers[2]
    assert [a["set"] for a in answers[0]] == ["a", "b"]
    for text in ("{}", "[]", "[1]", '[{"account_id": "A"}]', "no json"):
        (tmp_path / "wrong.json").write_text(text)
        with pytest.raises(InputError, match="UPM-IN-150"):
            read_sets(tmp_path / "wrong.json")
    (tmp_path / "wrong.parquet").write_text("no parquet")
    with pytest.raises(InputError, match="UPM-IN-150"):
        read_sets(tmp_path / "wrong.parquet")


def test_what_is_like_another_keeps_all_its_terms(finished: Path):
    book = desk.open_run(finished).plan.book
    for i in book.instruments:
        assert instruments_of([{"like": i.instrument_id}], book, "test") == (i,)


def test_a_market_that_moved(upm: Command, finished: Path, tmp_path: Path):
    """The margins of a run on the new market, from the scenarios of the old one; a later market is refused."""
    import csv
    import shutil

    moved = small_run(tmp_path / "moved", POSITIONS + "B,BTC-PERP,-3000\n")
    spots = moved / "market" / "spots.csv"
    spots.write_text(spots.read_text().replace("ETH,2000.0", "ETH,1950.0"))
    forwards = moved / "market" / "forwards.csv"
    forwards.write_text(forwards.read_text().replace("ETH,,2000", "ETH,,1950").replace(",2005", ",1955"))
    said = upm("whatif", finished, "--account", "B", "--order", "BTC-PERP:-3000", "--market", moved / "market", "--json")
    assert said.code == 0, said
    found = json.loads(said.out)
    assert found["market"]["underlyings"] == ["ETH"]
    assert 0 < found["market"]["revalued_columns"] < found["market"]["columns"]
    assert job.run(moved / "run.toml", {"output.path": str(tmp_path / "fresh")}, quiet=True).exit_code == 0
    with (tmp_path / "fresh" / "margin.csv").open() as file:
        fresh = next(r for r in csv.DictReader(file) if r["account_id"] == "B")
    after = found["what_ifs"][0]["accounts"][0]["after"]
    for figure in ("initial_margin", "equity", "value_at_risk", "option_value"):
        assert float(fresh[figure]) == after[figure], figure
    later = tmp_path / "later"
    shutil.copytree(moved / "market", later)
    (later / "spots.csv").write_text(spots.read_text().replace("09:00:00Z", "09:30:00Z"))
    said = upm("whatif", finished, "--account", "B", "--order", "BTC-PERP:1", "--market", later)
    said.refused(3, "UPM-RN-086", "a full run is due", "valuation time")
