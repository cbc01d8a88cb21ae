"""What a back-test over chains refuses, by name, before anything is written."""

from __future__ import annotations

import pytest
from chain_case import TEXT, written
from command_line import here


@pytest.mark.parametrize(("old", "new", "code", "words"), [
    ('path = "sample:chains"', 'path = "none.parquet"', "UPM-BT-014", ["none.parquet", "sample:chains"]),
    ('start = "2026-02-05"', 'start = "2026-02-06"', "UPM-BT-015", ["1 days of chains", "Lengthen"]),
    ('start = "2026-02-05"', 'start = "4.2.2026"', "UPM-CF-056", ["chains.start", "no day"]),
    ('kind = "hedged"', 'kind = "hegded"', "UPM-CF-056", ["portfolios.1.kind", "Did you mean hedged"]),
    ('kind = "hedged"', 'kind = "calendar"', "UPM-CF-056", ["portfolios.1.tenor_days", "at least two"]),
    ('kind = "hedged"', 'kind = "hedged"\ncount = 2', "UPM-CF-056", ["market_maker"]),
    ("deltas = [0.25, 0.5]", "deltas = [0.75]", "UPM-CF-056", ["portfolios.0.deltas"]),
    ("count = 1000", 'count = 1000\nsampler = "importance"', "UPM-CF-056", ["scenarios.sampler", "equally weighted"]),
    ("house_v1.toml", "house_v9.toml", "UPM-CF-058", ["house_v9.toml"]),
    ('name = "gbm"', 'name = "gbm"\nmodel = { name = "gmb" }', "UPM-CF-056", ["gmb", "use one of gbm"]),
    ('kind = "hedged"', 'kind = "hedged"\nsigns = 1', "UPM-CF-059", ["signs"]),
])
def test_refused_by_name(tmp_path, capsys, monkeypatch, old, new, code, words):
    assert old in TEXT
    here(capsys, monkeypatch, "backtest", written(tmp_path, TEXT.replace(old, new, 1)), "--out", tmp_path / "out", "--quiet").refused(3, code, *words)
    assert not (tmp_path / "out").exists()


def test_methodologies_of_two_levels_are_not_ranked(tmp_path, capsys, monkeypatch):
    from upm_gpu.shipped import package_file

    (tmp_path / "other.toml").write_text(package_file("configs/methodology/house_v1.toml").read_text().replace("level = 0.99", "level = 0.975"))
    text = TEXT + '[[models]]\nname = "other"\nmethodology = "other.toml"\n'
    here(capsys, monkeypatch, "backtest", written(tmp_path, text), "--out", tmp_path / "out", "--quiet").refused(3, "UPM-BT-018", "0.975, 0.99")


def test_a_file_without_a_column(tmp_path, capsys, monkeypatch):
    (tmp_path / "few.csv").write_text("timestamp,instrument_name\n2026-02-05T09:00:00Z,BTC-6FEB26-70000-C\n")
    here(capsys, monkeypatch, "backtest", written(tmp_path, TEXT.replace("sample:chains", "few.csv")), "--out", tmp_path / "out", "--quiet").refused(3, "UPM-MD-102", "underlying_price")
