"""What `upm backtest` refuses, by name, before anything is written."""

from __future__ import annotations

import pytest
from command_line import here
from rolling_case import closes, configuration, written

GOOD = configuration()


@pytest.mark.parametrize(("old", "new", "code", "words"), [
    ("least_history_days = 300", "horizon_days = 2", "UPM-BT-010", ["windows.step_days", "overlap", "step_days 2"]),
    ('model = "gbm"', 'model = "gmb"', "UPM-CF-056", ["models.0.model", "Did you mean gbm"]),
    ('groups = ["two"]\n[[portfolios]]', 'groups = ["three"]\n[[portfolios]]', "UPM-BT-011", ["no group 'three'", "two"]),
    ('kind = "pair"', 'kind = "straddle"', "UPM-BT-011", ["straddles need a volatility"]),
    ('kind = "pair"', 'kind = "random"', "UPM-BT-011", ["0 random books"]),
    ('assets = ["AAA", "BBB"]', 'assets = ["AAA", "AAA"]', "UPM-BT-011", ["each once"]),
    ('assets = ["AAA", "BBB"]', 'assets = ["AAA"]', "UPM-BT-011", ["needs two assets"]),
    ('assets = ["AAA", "BBB"]', 'assets = ["AAA", "BBC"]', "UPM-CA-103", ["BBC"]),
    ('assets = ["AAA", "BBB"]', 'assets = ["AAA", "BBB"]\nvolatility = ["CCC"]', "UPM-BT-011", ["CCC is not among them"]),
    ("least_history_days = 300", "least_history_days = 3000", "UPM-BT-012", ["no date has 3000 days", "2020-01-02"]),
    ('start = "2021-01-20"', 'start = "2021-01-20"\nend = "2020-02-01"', "UPM-BT-012", ["no window of 1 days"]),
    ('start = "2021-01-20"', 'start = "20.1.2021"', "UPM-CF-056", ["windows.start", "no day"]),
    ("count = 500", "cuont = 500", "UPM-CF-059", ["Did you mean count"]),
    ("count = 500", "count = 5", "UPM-CF-056", ["outside 200"]),
    ('name = "hs"', 'name = "gbm"', "UPM-CF-056", ["a name of its own"]),
    ('path = "history.csv"', 'path = "histery.csv"', "UPM-BT-014", ["histery.csv"]),
    ("[scenarios]", '[money]\ncurrency = "dollars"\n[scenarios]', "UPM-CF-056", ["money.currency", "three capital letters"]),
    ("[scenarios]", "[money]\nnotional = 0.0\n[scenarios]", "UPM-CF-056", ["money.notional", "outside 0"]),
    ("[scenarios]", "[margin]\nlevels = [99.0]\n[scenarios]", "UPM-CF-056", ["margin.levels"]),
])
def test_refused_by_name(tmp_path, capsys, monkeypatch, old, new, code, words):
    assert old in GOOD
    path = written(tmp_path, GOOD.replace(old, new, 1))
    here(capsys, monkeypatch, "backtest", path, "--out", tmp_path / "out", "--quiet").refused(3, code, *words)
    assert not (tmp_path / "out").exists() and not list(tmp_path.glob(".*"))


def test_a_bad_close_stops_it_and_nothing_is_written(tmp_path, capsys, monkeypatch):
    frame = closes()
    frame.loc[7, "close"] = -1.0
    said = here(capsys, monkeypatch, "backtest", written(tmp_path, GOOD, frame), "--out", tmp_path / "out", "--quiet")
    assert said.code == 3 and "not above 0" in said.err and not (tmp_path / "out").exists()


def test_another_run_is_left_untouched(tmp_path, capsys, monkeypatch):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "SHA256SUMS").write_text("")
    here(capsys, monkeypatch, "backtest", written(tmp_path, GOOD), "--out", tmp_path / "out").refused(2, "UPM-RN-002")
