"""`upm liquidate`: table, JSON, folder and page of a small run; what it cannot do it refuses by name."""

from __future__ import annotations

import csv
import hashlib
import html
import json
from pathlib import Path

import pytest
from command_line import Command, here, small_run

from upm_gpu import job
from upm_gpu.errors import UsageError
from upm_gpu.report.liquidation_page import render_liquidation
from upm_gpu.report.liquidation_tail_page import render_tail_page


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = small_run(tmp_path_factory.mktemp("liquidation"))
    assert job.run(folder / "run.toml", {"output.path": str(folder / "run")}, quiet=True).exit_code == 0
    return folder / "run"


@pytest.fixture
def upm(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    return lambda *arguments: here(capsys, monkeypatch, *arguments)


def test_a_scenario_in_words_its_folder_and_its_page(upm: Command, finished: Path, tmp_path: Path):
    out = tmp_path / "made"
    said = upm("liquidate", finished, "--scenario", "BTC -30 %, volatility +50 %", "--compare", "sequenced,pro-rata,by-size,auction", "--out", out)
    assert said.code == 0, said
    for words in ("BTC -30 %, volatility +50 %, USD; rules venue 1", "accounts in liquidation", "risk still open", "cash and positions conserved: to the cent and the lot", "largest losses, sequenced"):
        assert words in said.out, said.out
    assert said.out.isascii()
    assert said.err.index("opening ") < said.err.index("sequenced, round 0: ") < said.err.index("auction, then sequenced, round 0: ")
    sums = dict(reversed(line.split("  ")) for line in (out / "SHA256SUMS").read_text().splitlines() if line and not line.startswith("#"))
    assert set(sums) == {p.name for p in out.iterdir()} - {"SHA256SUMS"}
    assert all(hashlib.sha256((out / name).read_bytes()).hexdigest() == digest for name, digest in sums.items())
    table = json.loads((out / "systemic.json").read_text())
    with (out / "defaults.csv").open() as file:
        defaults = list(csv.DictReader(file))
    for name, line in table.items():
        own = [d for d in defaults if d["variant"] == name]
        assert line["conserved"] and line["accounts_in_liquidation"] == len({d["party"] for d in own})
        assert line["loss_beyond_margin"] == pytest.approx(sum(float(d["loss"]) for d in own), abs=0.005)
        assert sum(line["borne"].values()) == pytest.approx(line["loss_beyond_margin"], abs=0.005)
    page = (out / "liquidation.html").read_text()
    assert page == render_liquidation(out).decode()
    assert "<script" not in page and "default-src 'none'" in html.unescape(page)
    for words in ("With and without sequencing", "Who bears what margins do not cover", "BTC: moved by liquidations", "Step by step"):
        assert words in page


def test_json_and_the_number_of_a_scenario(upm: Command, finished: Path):
    said = upm("liquidate", finished, "--scenario", "17", "--rules", "clearing", "--compare", "sequenced", "--json", "--quiet")
    assert said.code == 0, said
    found = json.loads(said.out)
    assert found["scenario"] == "scenario 17"
    assert found["rules"] == "clearing 1"
    assert found["systemic"]["sequenced"]["conserved"] is True
    assert [r["round"] for r in found["rounds"]["sequenced"]] == list(range(len(found["rounds"]["sequenced"])))
    assert not said.err


def test_along_the_tail(upm: Command, finished: Path, tmp_path: Path):
    said = upm("liquidate", finished, "--tail", "3", "--json")
    assert said.code == 0, said
    found = json.loads(said.out)
    assert found["paths"] == 3
    assert len(found["lines"]) == 6
    own = [line["loss_beyond_margin"] for line in found["lines"] if line["variant"] == "sequenced"]
    figure = found["means"]["sequenced"]["loss_beyond_margin"]
    assert figure["mean"] == pytest.approx(sum(own) / 3)
    assert figure["worst"] == max(own)
    assert figure["standard_error"] == pytest.approx((sum((x - sum(own) / 3) ** 2 for x in own) / 2 / 3) ** 0.5)
    assert [x["house_pnl"] for x in found["lines"][::2]] == sorted(x["house_pnl"] for x in found["lines"][::2])
    out = tmp_path / "tail"
    again = upm("liquidate", finished, "--tail", "3", "--out", out)
    assert "the 3 worst scenarios of the house" in again.out and "cash and positions conserved: to the cent and the lot" in again.out
    assert "of 6 cascades" in again.err
    page = (out / "liquidation.html").read_text()
    assert page == render_tail_page(out).decode()
    for words in ("With and without sequencing", "The 3 worst scenarios of the house", "Path by path", "Accounts lost"):
        assert words in page
    with (out / "paths.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert [float(x["loss_beyond_margin"]) for x in lines if x["variant"] == "sequenced"] == own
    for x in lines:
        assert sum(float(v) for k, v in x.items() if k.startswith("borne_by_")) == pytest.approx(float(x["loss_beyond_margin"]), abs=0.005)
    assert json.loads((out / "tail.json").read_text())["means"] == found["means"]
    # a command that was killed leaves its unfinished folder, and nothing else; the next one gives the same bytes
    (tmp_path / ".twice.1.part").mkdir()
    assert upm("liquidate", finished, "--tail", "3", "--out", tmp_path / "twice", "--quiet").code == 0
    assert {p.name: p.read_bytes() for p in (tmp_path / "twice").iterdir()} == {p.name: p.read_bytes() for p in out.iterdir()}


@pytest.mark.parametrize(("arguments", "code", "exit_code"), [
    ((), "UPM-CF-193", 2), (("--scenario", "BTC -10 %", "--tail", "3"), "UPM-CF-193", 2), (("--tail", "some"), "UPM-CF-192", 2), (("--scenario", "BTC -10 %", "--compare", "slowly"), "UPM-CF-194", 2),
    (("--scenario", "BTC down"), "UPM-CF-190", 2), (("--scenario", "XRP -10 %"), "UPM-CF-191", 2), (("--tail", "0"), "UPM-CF-192", 2), (("--scenario", "BTC -10 %", "--rules", "nowhere.toml"), "UPM-CF-058", 3)])
def test_refusals(upm: Command, finished: Path, arguments: tuple[str, ...], code: str, exit_code: int):
    said = upm("liquidate", finished, *arguments)
    assert (said.code, code in said.err) == (exit_code, True), said
    assert "Traceback" not in said.err


def test_a_folder_in_use_and_a_page_of_nothing(upm: Command, finished: Path, tmp_path: Path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    assert upm("liquidate", finished, "--scenario", "BTC -10 %", "--out", tmp_path / "full").code == 2
    assert (tmp_path / "full" / "mine.txt").read_text() == "mine"
    for page in (render_liquidation, render_tail_page):
        with pytest.raises(UsageError, match="UPM-RN-045"):
            page(tmp_path)
