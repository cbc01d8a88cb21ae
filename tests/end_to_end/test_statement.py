"""Statements: figures add up to the run's, one account alone is shown, ids cannot lead a file elsewhere, and `upm statement`."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import pytest
from command_line import COLLATERAL, Command, here, history
from small_book import write

from upm_gpu import job
from upm_gpu.desk.calls.statement import file_stem

NAMES = {"A": "ALPHA-77", "B": "<b>BETA-88</b>", "C": "../GAMMA-99", "D": "DELTA-66"}
POSITIONS = ("account_id,instrument_id,quantity,netting_set,entry_price\nA,BTC-C70,3,,\nA,BTC-P60,-5,,\nA,BTC-C70,1,HEDGE,\nB,ETH-C20L,40,,\nC,BTC-FUT,-50,,71000\nC,BTC-PERP,100,,69000\nD,ETH-PERP,4000,,\n"
             "D,BTC-C75D,-2,POOL,\nC,BTC-C70,-1,POOL,\n")
ACCOUNTS = "account_id,member_id\nA,\nB,\nC,M\nD,M\n"
CONFIG = """schema_version = 1
[book]
path = "book"
[market]
path = "market"
[model]
horizons = ["2d"]
[scenarios]
count = 4096
seed = 7
[methodology]
file = "METHOD"
[output]
report = false
"""


def renamed(text: str) -> str:
    """Accounts by names that are found again in a page."""
    lines = text.splitlines()
    return "\n".join([lines[0], *(NAMES.get(line.partition(",")[0], line.partition(",")[0]) + "," + line.partition(",")[2] for line in lines[1:])]) + "\n"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("statement")
    write(folder, renamed(POSITIONS), renamed(COLLATERAL), renamed(ACCOUNTS), market={"history.csv": history()})
    method = Path(__file__).parents[2].joinpath("configs/methodology/house_v1.toml").read_text().replace("charges = []", "")
    (folder / "method.toml").write_text(method + '\n[[charges]]\nname = "minimum_gross"\nrate = 0.02\n')
    (folder / "run.toml").write_text(CONFIG.replace("METHOD", str(folder / "method.toml")))
    assert job.run(folder / "run.toml", {"output.path": str(folder / "run")}, quiet=True).exit_code == 0
    return folder / "run"


@pytest.fixture
def upm(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    return lambda *arguments: here(capsys, monkeypatch, *arguments)


def test_every_account_its_own_statement_that_adds_up(upm: Command, finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    said = upm("statement", finished, "--all", "--out", out, "--json")
    assert said.code == 0, said
    made = json.loads(said.out)["statements"]
    assert sorted(m["account_id"] for m in made) == sorted(NAMES.values())
    assert sorted(p.name for p in out.iterdir()) == sorted(x for m in made for x in (m["page"], m["csv"]))
    with (finished / "margin.csv").open() as file:
        margins = {row["account_id"]: row for row in csv.DictReader(file)}
    for m in made:
        with (out / m["csv"]).open() as file:
            rows = list(csv.DictReader(file))
        row = margins[m["account_id"]]
        got = {r["item"]: r["amount"] for r in rows if r["section"] == "margin"}
        for name in ("initial_margin", "equity", "core", "charge_minimum_gross", "collateral_value", "unrealised_pnl", "option_value"):
            assert float(got[name]) == float(row[name]), name

        def total(section: str, detail: str, rows: list[dict[str, str]] = rows) -> float:
            return math.fsum(float(r["amount"]) for r in rows if r["section"] == section and r["detail"] == detail)

        equity = total("position", "value") + total("position", "gain") + total("collateral", "counted")
        assert equity == pytest.approx(float(row["equity"]), rel=1e-9, abs=1e-6)
        assert total("position", "gain") == pytest.approx(float(row["unrealised_pnl"]), rel=1e-12, abs=1e-9)
        assert total("position", "contribution") + total("collateral", "contribution") == pytest.approx(float(row["expected_shortfall"]), rel=1e-9)


def test_a_statement_shows_one_account_only(upm: Command, finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert upm("statement", finished, "--all", "--out", out).code == 0
    marks = {name: name.strip("./<>b").replace("</", "") for name in NAMES.values()}
    for name, mark in marks.items():
        for kind in ("html", "csv"):
            text = (out / f"{file_stem(name)}.{kind}").read_text()
            assert mark in text
            assert not [other for other in marks.values() if other != mark and other in text]
    page = (out / f"{file_stem(NAMES['B'])}.html").read_text()
    assert "<b>BETA" not in page and "&lt;b&gt;BETA" in page and "<script" not in page and "default-src 'none'" in page


def test_ids_stay_inside_the_folder() -> None:
    names = [file_stem(n) for n in ("../x", "a/b", "..", ".", "", "a\\b", "\x00", "e\u0301", "x" * 5000, "x" * 5001)]
    assert len(set(names)) == len(names)
    assert all("/" not in n and "\\" not in n and "\x00" not in n and len(n) < 200 and n.startswith("statement-") for n in names)


def test_what_a_person_reads(upm: Command, finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    said = upm("statement", finished, "--account", NAMES["C"], "--out", out)
    assert said.code == 0 and "1 statement" in said.out
    text = (out / f"{file_stem(NAMES['C'])}.html").read_text()
    for words in ("Margin statement", "Initial margin", "Equity", "Gain since entry", "BTC-FUT", "BTC-C70 (POOL)", "What would hurt", "Called, USD"):
        assert words in text, words


def test_what_cannot_be_stated(upm: Command, finished: Path, tmp_path: Path) -> None:
    assert upm("statement", finished, "--out", tmp_path / "a").err[:10] == "UPM-CF-174"
    assert upm("statement", finished, "--all", "--account", "x", "--out", tmp_path / "a").err[:10] == "UPM-CF-174"
    assert upm("statement", finished, "--all", "--out", tmp_path).err[:10] == "UPM-CF-174"
    wrong = upm("statement", finished, "--account", "nobody", "--out", tmp_path / "b")
    assert wrong.code == 3 and not (tmp_path / "b").exists()
