"""`upm compare` over the crypto venues' portfolio margins: one book, the newest version of each by its bare name, and two versions of one."""

from __future__ import annotations

import json

import pytest
from command_line import here, small_run


def test_venues_side_by_side(tmp_path, capsys, monkeypatch):
    small_run(tmp_path)
    monkeypatch.chdir(tmp_path)
    said = here(capsys, monkeypatch, "compare", "--config", "run.toml", "--methodologies", "deribit_spm,deribit_xpm,okx_pm,bybit_pm,okx_pm_v2024", "--json")
    assert said.code == 0, said
    found = json.loads(said.out)["methodologies"]
    assert [m["title"] for m in found] == ["deribit_spm 2026", "deribit_xpm 2026", "okx_pm 2025", "bybit_pm 2025", "okx_pm 2024"]
    for one in found:
        assert sum(one["charges"].values()) == pytest.approx(one["initial_margin"], rel=1e-12) and one["initial_margin"] > one["maintenance_margin"] > 0.0
    assert any("equity_side_impact" in line for line in found[1]["explanation"])
    assert found[4]["initial_margin"] > found[2]["initial_margin"]  # the notice of 2025 lowered moves, basis and minimum charge
