"""`upm reduce`, `upm margin-at-risk` and `upm liquidation-probability`: the page, the JSON, and what they refuse."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import Command, here, small_run

from upm_gpu import job


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = small_run(tmp_path_factory.mktemp("reduce"))
    assert job.run(folder / "run.toml", {"output.path": str(folder / "run")}, quiet=True).exit_code == 0
    return folder / "run"


@pytest.fixture
def upm(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    return lambda *arguments: here(capsys, monkeypatch, *arguments)


def test_the_command_says_what_the_desk_says_of_its_trades(upm: Command, finished: Path):
    said = upm("reduce", finished, "--account", "A", "--free", "3000", "--json")
    assert said.code == 0, said
    found = json.loads(said.out)
    assert found["reached"] and found["relief"] >= 3000.0 and found["hedge"]["trades"]
    assert found["cost_bound"] <= found["hedge"]["cost"] <= found["best_single"]["cost"]
    orders = [x for t in found["hedge"]["trades"] for x in ("--order", f"{t['instrument_id']}:{t['contracts']!r}")]
    again = upm("whatif", finished, "--account", "A", *orders, "--deposit", f"USD:{-found['hedge']['cost']!r}", "--json")
    (account,) = json.loads(again.out)["what_ifs"][0]["accounts"]
    assert account["after"] == found["after"]


def test_the_page_and_what_cannot_be_reached(upm: Command, finished: Path):
    said = upm("reduce", finished, "--account", "A", "--free", "1e9")
    assert said.code == 0 and "NOT reached" in said.out and "no trades in these instruments within their limits free 1,000,000,000.00 USD" in said.out
    assert upm("reduce", finished, "--account", "A", "--ratio", "0.5").out.isascii()


def test_refusals(upm: Command, finished: Path):
    upm("reduce", finished, "--account", "A").refused(2, "UPM-CF-165", "--free")
    upm("reduce", finished, "--account", "A", "--free", "1", "--pass").refused(2, "UPM-CF-165")
    upm("reduce", finished, "--account", "A", "--free", "-1").refused(3, "UPM-IN-160", "above 0")
    upm("reduce", finished, "--account", "NO", "--pass").refused(3, "UPM-IN-141", "margin.csv")
    upm("reduce", finished, "--account", "A", "--pass", "--also", "NO").refused(3, "UPM-IN-143")


def test_the_chance_of_liquidation_and_tomorrow_s_margin(upm: Command, finished: Path):
    said = upm("liquidation-probability", finished, "--maintenance", "constant", "--steps", "4", "--json")
    assert said.code == 0, said
    rows = {r["account_id"]: r for r in json.loads(said.out)["accounts"]}
    assert set(rows) == {"A", "B", "C", "D"} and all(0.0 <= p <= 1.0 for r in rows.values() for p in r["probability"])
    broken = [r for r in rows.values() if r["in_liquidation_today"]]
    assert broken and all(r["probability"][-1] == 1.0 and r["equity"] < r["maintenance_margin"] for r in broken)
    page = upm("margin-at-risk", finished, "--account", "A", "--points", "30", "--inner", "1000")
    assert page.code == 0 and page.out.isascii(), page
    for words in ("Margin at risk 1 day ahead, USD, model gbm: 1 account,", "together, called: today", "30 scenarios run in full", "against brute force: 8 further scenarios", "6 further scenarios of the outer 5 %"):
        assert words in page.out, page.out
    upm("liquidation-probability", finished, "--maintenance", "fixed").refused(2, "UPM-CF-166", "regressed")
    upm("margin-at-risk", finished, "--days", "-1").refused(3, "UPM-IN-180")


def test_the_largest_order_and_collateral(upm: Command, finished: Path):
    said = upm("largest-order", finished, "--account", "A", "--instrument", "BTC-PERP", "--side", "sell", "--json")
    assert said.code == 0, said
    found = json.loads(said.out)
    assert found["contracts"] < 0.0 and found["one_lot_more_fails"] and found["after"]["status"] == "ok"
    page = upm("largest-order", finished, "--account", "A", "--instrument", "BTC-PERP", "--side", "sell")
    assert "one lot more does not pass" in page.out and page.out.isascii()
    placed = upm("collateral", finished, "--account", "A")
    assert placed.code == 0 and "Collateral over 1 netting set" in placed.out and placed.out.isascii(), placed
    upm("largest-order", finished, "--account", "A", "--instrument", "BTC-PERP", "--side", "up").refused(3, "UPM-IN-161", "buy or sell")
