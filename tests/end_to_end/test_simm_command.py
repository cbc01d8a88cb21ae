"""`upm simm`: the tree as text and as JSON, whose parts add up."""

from __future__ import annotations

import json
import math

import pytest
from command_line import here
from simm_rows import COLUMNS, write_crif

ROWS = [("desk 1", "RatesFX", "Risk_IRCurve", "USD", "1", "10y", "OIS", 5.0e8), ("desk 1", "RatesFX", "Risk_IRVol", "USD", "", "1y", "", 2000.0),
        ("desk 1", "Equity", "Risk_Equity", "ALPHA", "5", "", "", 300.0), ("desk 1", "", "Param_AddOnFixedAmount", "", "", "", "", 10.0), ("desk 2", "RatesFX", "Risk_FX", "EUR", "", "", "", 100.0)]


def test_the_tree_adds_up(tmp_path, capsys, monkeypatch):
    path = write_crif(tmp_path, ROWS, ("PortfolioID", "ProductClass", *COLUMNS))
    said = here(capsys, monkeypatch, "simm", path, "--version", "2.6", "--json")
    assert said.code == 0
    made = json.loads(said.out)
    assert (made["version"], made["margin_period_days"], made["calculation_currency"], made["side"]) == ("2.6", 10, "USD", "call")
    first, second = made["portfolios"]
    assert (first["portfolio"], second["portfolio"], second["margin"]) == ("desk 1", "desk 2", pytest.approx(740.0, rel=1e-12))
    assert first["margin"] == pytest.approx(math.fsum(p["margin"] for p in first["product_classes"]) + 10.0, rel=1e-14)
    rates = first["product_classes"][0]["risk_classes"][0]
    assert rates["margin"] == pytest.approx(sum(rates[m]["margin"] for m in ("delta", "vega", "curvature")), rel=1e-14)
    assert rates["delta"]["buckets"][0]["concentration"] == pytest.approx(math.sqrt(5.0e8 / 330e6))
    text = here(capsys, monkeypatch, "simm", path)
    assert text.code == 0 and "bucket USD, concentration 1.231" in text.out and f"{first['margin']:,.2f}" in text.out
    assert here(capsys, monkeypatch, "simm", path, "--days", "1").out != text.out != here(capsys, monkeypatch, "simm", path, "--side", "post").out
