"""`upm compare` under SPAN, TIMS and the margin of single options; a venue without options says so."""

from __future__ import annotations

import json

import pytest
from command_line import here, small_run


def test_three_rule_books_of_one_book(tmp_path, capsys, monkeypatch):
    small_run(tmp_path)
    monkeypatch.chdir(tmp_path)
    said = here(capsys, monkeypatch, "compare", "--config", "run.toml", "--methodologies", "span_v1,tims_v1,bybit_standard_2022", "--json")
    assert said.code == 0, said
    found = json.loads(said.out)
    assert [m["title"] for m in found["methodologies"]] == ["SPAN 1", "TIMS customer portfolio margin 1", "Bybit options, standard 2022"] and found["units"] == 4
    said = here(capsys, monkeypatch, "compare", "--config", "run.toml", "--methodologies", "span_v1,drift_v2")
    said.refused(3, "UPM-CF-131", "margins no options", "another rule book")


@pytest.mark.parametrize("name", ["drift_v2", "binance_unimmr_2025"])
def test_venues_of_futures(tmp_path, capsys, monkeypatch, name):
    small_run(tmp_path, positions="account_id,instrument_id,quantity\nA,BTC-FUT,-50\nB,ETH-PERP,4000\n", market={"spots.csv": "asset,price,currency,timestamp\nBTC,70000,USD,2026-02-05T09:00:00Z\nETH,2000,USD,2026-02-05T09:00:00Z\n"})
    monkeypatch.chdir(tmp_path)
    said = here(capsys, monkeypatch, "compare", "--config", "run.toml", "--methodologies", f"span_v1,{name}", "--json")
    assert said.code == 0 and len(json.loads(said.out)["methodologies"]) == 2, said
