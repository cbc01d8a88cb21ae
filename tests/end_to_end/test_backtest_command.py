"""`upm backtest` from a configuration to a folder that verifies, and its page."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from pathlib import Path

import pandas as pd
import pytest
from command_line import here
from rolling_case import configuration, written

from upm_gpu.backtest.config import load_backtest
from upm_gpu.backtest.folder import history_file, read_closes
from upm_gpu.backtest.past import group_past, windows
from upm_gpu.report.exceedance import exceedance_svg

CONFIG = Path(__file__).parents[2] / "configs" / "backtest" / "crypto_linear.toml"
SAME = ("backtest.parquet", "summary.csv", "league.csv", "goals.json", "config.toml")


def test_a_folder_is_written_that_verifies_and_repeats(tmp_path, capsys, monkeypatch):
    path = written(tmp_path, configuration().replace('"two"', '"<b>two</b>"').replace('kind = "pair"', 'kind = "basket"'))
    said = here(capsys, monkeypatch, "backtest", path, "--out", tmp_path / "one", "--json")
    found = json.loads(said.out)
    assert said.code == 0 and "days (" in said.err and found["counts"]["portfolios"] == 5 and [m["model"] for m in found["league"]]
    again = here(capsys, monkeypatch, "backtest", path, "--out", tmp_path / "two", "--quiet")
    assert again.code == 0 and again.err == "" and "margin covers" in again.out
    for name in SAME:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name
    assert here(capsys, monkeypatch, "verify", tmp_path / "one").code == 0
    table, summary = pd.read_parquet(tmp_path / "one" / "backtest.parquet"), pd.read_csv(tmp_path / "one" / "summary.csv")
    assert len(summary) == 5 * 2 and summary["number_of_observations"].sum() == len(table)
    for row in summary.itertuples():
        own = table[(table["portfolio"] == row.portfolio) & (table["model"] == row.model)]
        assert row.number_of_exceptions == own["hit_margin"].sum() and row.value_at_risk_exceptions == own["hit_value_at_risk"].sum()
    assert table["date"].min() == "2021-01-20"
    manifest = json.loads((tmp_path / "one" / "manifest.json").read_text())
    assert manifest["seed"] == 3 and manifest["inputs"]["config.toml"] == hashlib.sha256(path.read_bytes()).hexdigest()
    page = (tmp_path / "one" / "backtest.html").read_text()
    style = re.search(r"<style>(.*?)</style>", page, re.DOTALL)[1]
    assert f"sha256-{base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()}" in page
    assert "<script" not in page and "<b>two</b>" not in page and "&lt;b&gt;two&lt;/b&gt; basket long" in page
    assert not re.search(r"<[^>]* style=|<[^>]* on\w+=|https?://(?!www.w3.org)", page)
    assert page.count("<svg") == 5
    assert "auth.066.001.01" in page and len(list((tmp_path / "one" / "auth066").iterdir())) == 2


def test_the_same_command_finds_a_finished_back_test_and_another_leaves_it_alone(tmp_path, capsys, monkeypatch):
    path = written(tmp_path, configuration(("hs",)))
    first = here(capsys, monkeypatch, "backtest", path, "--out", tmp_path / "one", "--quiet")
    stamp = (tmp_path / "one" / "SHA256SUMS").stat().st_mtime_ns
    assert here(capsys, monkeypatch, "backtest", path, "--out", tmp_path / "one", "--quiet").out == first.out
    other = written(tmp_path, configuration(("hs",)).replace("seed = 3", "seed = 4"))
    here(capsys, monkeypatch, "backtest", other, "--out", tmp_path / "one", "--quiet").refused(2, "UPM-BT-016", "another back-test", "nothing was touched")
    assert (tmp_path / "one" / "SHA256SUMS").stat().st_mtime_ns == stamp


def test_the_shipped_configuration_has_the_days_it_promises():
    config, _ = load_backtest(CONFIG)
    history = read_closes(history_file(config.history.path))
    assert history.groupby("asset").size().loc[["BTC", "AAVE"]].tolist() == [2373, 1355]
    for group in config.groups:
        days = len(windows(group_past(history, group, 0.97), config.windows))
        assert days >= (850 if group.volatility else 1_000), group.name


def test_an_exceedance_plot_draws_each_exception_once():
    import numpy as np

    days, loss = np.arange(18_000, 18_400), np.full(400, 0.01)
    loss[[10, 200]] = 0.3, 0.2
    drawn = exceedance_svg(days, loss, np.full(400, 0.1), {"a<b": days[[10, 200]], "c": days[:0]})
    assert drawn.count("<circle") == 2 and "loss 30.00 %, margin 10.00 %" in drawn and "a&lt;b: 2" in drawn and "c: 0" in drawn
    assert "nan" not in drawn and "inf" not in drawn


@pytest.mark.parametrize("given", ["sample:coins", "sample:crypto"])
def test_samples_hold_a_history(given):
    assert history_file(given).name == "history.csv.gz"
