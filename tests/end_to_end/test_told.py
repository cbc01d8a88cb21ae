"""Worst scenarios in words and numbers, and `upm why` on a run folder: what the command says is what Python says and what the run wrote."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from command_line import Command

from upm_gpu import desk
from upm_gpu.report import explain
from upm_gpu.report.told import told

MANIFEST = {"scenarios": 100_000, "reporting_currency": "USD", "volatility_30d": {"BTC": 0.55}, "valuation_time": "2026-02-05T09:00:00Z"}


def columns(**states: list[float]) -> dict[str, np.ndarray]:
    count = len(next(iter(states.values())))
    names = {name: np.array(values) for name, values in states.items()}
    return {"account_id": np.array(["A"] * count, object), "rank": np.arange(1, count + 1), "scenario": np.arange(count), "pnl": np.array([-12_345.4, *[-10_000.0] * (count - 1)])} | names


def moves(*factors: float) -> list[float]:
    return [math.log(f) for f in factors]


def test_the_sentence_of_the_desk() -> None:
    worst = columns(**{"log_level[ETH]": moves(0.81, 0.9), "volatility_shift[ETH]": moves(1.2, 1.1), "log_level[BTC]": moves(0.86, 0.88), "volatility_shift[BTC]": moves(0.93 / 0.55, 0.5 / 0.55)})
    found = told(worst, MANIFEST, minus="-")
    assert found["scenarios"][0] == "ETH -19 %, volatility +20 %, BTC -14 %, volatility +38 points"
    assert found["sentences"] == [
        "The worst of 100,000 scenarios: ETH -19 %, volatility +20 %, BTC -14 %, volatility +38 points: a loss of 12,345 USD.",
        "In its 2 worst ETH falls in all 2 (-14 % on average), its volatility rises in all 2 (+15 % on average), BTC falls in all 2 (-13 % on average), "
        "its volatility rises in 1 (+38 points) and falls in 1 (-5 points)."]
    assert told(worst, MANIFEST, {"BTC"}, "-")["scenarios"] == ["BTC -14 %, volatility +38 points", "BTC -12 %, volatility -5 points"]


def test_other_laws() -> None:
    additive = columns(**{"log_level[BTC]": moves(1.0), "volatility_shift[BTC]": [0.124]})
    assert told(additive, MANIFEST | {"volatility_shift": "additive"}, minus="-")["scenarios"] == ["BTC 0.0 %, volatility +12 points"]
    dated = columns(**{"volatility_shift[BTC,2026-02-06T08:00:00+00:00]": moves(3.0), "volatility_shift[BTC,2026-03-27T08:00:00+00:00]": moves(1.1), "variance[BTC]": [0.4]})
    assert told(dated, MANIFEST, minus="-")["scenarios"] == ["BTC volatility +6 points"]
    assert told(columns(**{"rate[USD]": [0.01]}), MANIFEST) == {"scenarios": [], "sentences": []}
    assert told(None, MANIFEST) == {"scenarios": [], "sentences": []}
    small = columns(**{"log_level[BTC]": moves(0.996, 1.0)})
    assert told(small, {}, minus="-")["sentences"][0] == "The worst: BTC -0.4 %: a loss of 12,345 USD."


def test_why_says_what_the_run_wrote(upm: Command, finished: Path) -> None:
    said = upm("why", finished, "--account", "A", "--json")
    assert said.code == 0, said
    found = json.loads(said.out)
    explained = explain(finished, "A")
    assert found["margin"]["initial_margin"] == explained["initial_margin"]
    assert {h["name"]: h["core"] for h in found["holdings"]} == {c["instrument_id"]: c["contribution"] for c in explained["contributions"]}
    assert sum(f["core"] for f in found["factors"]) == pytest.approx(explained["core"], rel=1e-9)
    assert found["told"] == explained["told"]
    assert found["told"]["sentences"][0].startswith("The worst of 4,096 scenarios: BTC ")
    assert "ETH" not in found["told"]["sentences"][1]  # A holds nothing of it
    same = desk.why(desk.open_run(finished), "A")
    assert [h.margin_without for h in same.holdings] == [h["margin_without"] for h in found["holdings"]]


def test_why_for_a_person(upm: Command, finished: Path) -> None:
    said = upm("why", finished, "--account", "A", "--no-incremental", "--no-factors")
    assert said.code == 0, said
    assert said.out.isascii()
    for words in ("Account A: initial margin", "BTC-P60", "collateral:BTC", "Underlying", "Sum", "standard error", "The worst of 4,096 scenarios"):
        assert words in said.out, said.out
    assert "Factor" not in said.out
    wrong = upm("why", finished, "--account", "Z")
    assert (wrong.code, wrong.err[:10]) == (3, "UPM-IN-141")


def test_the_report_tells_it(finished: Path) -> None:
    page = (finished / "report.html").read_text()
    sentence = explain(finished, "A")["told"]["sentences"][0]
    assert sentence.replace("-", "\\u2212") in page or sentence.replace("-", "\u2212") in page
