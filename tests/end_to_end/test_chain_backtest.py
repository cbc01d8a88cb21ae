"""`upm backtest` over real chains: the folder, what was lost by the next chain, and that no day knows it."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest
from chain_case import TEXT, written
from command_line import here
from scipy.stats import norm

from upm_gpu.backtest.chain_days import history_to
from upm_gpu.backtest.chain_folder import chains_file
from upm_gpu.backtest.folder import run_backtest


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("chains")
    run_backtest(written(folder), folder / "out", True)
    return folder / "out"


def quotes() -> pd.DataFrame:
    rows = pd.read_parquet(chains_file("sample:chains"))
    rows = rows[rows["instrument_name"].str.startswith("BTC") & (rows["timestamp"] >= "2026-02-05")]
    parts = rows["instrument_name"].str.split("-", expand=True)
    expiry = pd.to_datetime(parts[1], format="%d%b%y", utc=True) + pd.Timedelta(hours=8)
    return rows.assign(expiry=expiry, strike=parts[2].astype(float), years=(expiry - pd.to_datetime(rows["timestamp"], utc=True)).dt.total_seconds() / 86_400.0 / 365.0)


def call(row) -> float:
    """Black's call in US dollars of a coin's option: coins at the index."""
    d = row.mark_iv * math.sqrt(row.years)
    d1 = math.log(row.underlying_price / row.strike) / d + 0.5 * d
    return (row.underlying_price * norm.cdf(d1) - row.strike * norm.cdf(d1 - d)) / row.underlying_price * row.index_price


def test_a_loss_is_the_fall_of_the_value_from_chain_to_chain(made):
    rows = quotes()
    today, later = (g for _, g in rows.groupby("timestamp"))
    days = pd.read_parquet(made / "backtest.parquet")
    mine = days[days["date"] == "2026-02-05"].set_index("portfolio")
    # 30 days: the listed expiry nearest in ln(days), then the strike nearest to a delta of 0.25
    expiry = min(today["expiry"].unique(), key=lambda e: abs(math.log((e - pd.Timestamp(today["timestamp"].iloc[0])).total_seconds() / 86_400.0 / 30.0)) if e > pd.Timestamp("2026-02-15", tz="UTC") else 9.0)
    smile = today[today["expiry"] == expiry]
    d = smile["mark_iv"] * np.sqrt(smile["years"])
    chosen = smile.iloc[int(np.argmin(np.abs(norm.cdf(np.log(smile["underlying_price"] / smile["strike"]) / d + 0.5 * d) - 0.25)))]
    after = later[(later["expiry"] == expiry) & (later["strike"] == chosen["strike"])].iloc[0]
    expected = (call(chosen) - call(after)) / chosen["index_price"]
    assert mine.loc["BTC call 25 delta 30d long", "loss"] == pytest.approx(expected, rel=2e-3)  # one index of the day, the median; the forward the median of its expiry
    # what expires in between pays at the later index
    listed = today[today["expiry"] == pd.Timestamp("2026-02-06T08:00Z")]
    atm = listed.iloc[int(np.argmin(np.abs(np.log(listed["strike"] / listed["underlying_price"]))))]
    lapsed = mine.loc["BTC put 50 delta 1d short"]
    index = float(later["index_price"].median())
    paid = (atm["strike"] - index - (call(atm) + (atm["strike"] - atm["underlying_price"]) * atm["index_price"] / atm["underlying_price"])) / atm["index_price"]
    assert lapsed["proxy"] == lapsed["loss"] and lapsed["loss"] == pytest.approx(paid, rel=2e-3) and paid > 0.05
    assert mine["loss"].notna().all() and (mine["expected_shortfall"] >= mine["value_at_risk"]).all() and (mine["until"] == "2026-02-06").all()


def test_the_folder_verifies_and_its_goal_names_the_largest_uncovered_loss(made, capsys, monkeypatch):
    assert here(capsys, monkeypatch, "verify", made).code == 0
    goal, = json.loads((made / "goals.json").read_text())["goals"]
    days = pd.read_parquet(made / "backtest.parquet")
    hits = days[days["hit_margin"]]
    assert not goal["met"] and set(goal["missed"]) == set(hits["portfolio"]) and 0 < len(hits) < len(days) / 2
    worst = hits.loc[(hits["loss"] - hits["margin"]).idxmax()]
    assert f"{100.0 * (worst['loss'] - worst['margin']):.2f} % of notional" in goal["why"] and worst["portfolio"] in goal["why"]
    month = pd.read_csv(made / "auth066.csv").query("month == '2026-02'").iloc[0]  # ISO 20022: in US dollars of the day's own notional
    assert month["number_of_exceptions"] == len(hits) and month["largest_exception"] == pytest.approx(((hits["loss"] - hits["margin"]) * hits["notional"]).max())
    assert f"<LrgstXcptn Ccy=\"USD\">{month['largest_exception']:.5f}</LrgstXcptn>" in (made / month["message"]).read_text()
    page = (made / "backtest.html").read_text()
    assert "losses to the next chain (1.00 to 1.00 days on)" in page and "Largest uncovered loss" in page and "<script" not in page
    summary = pd.read_csv(made / "summary.csv")
    assert set(summary["settlement"].dropna()) == {"proxy"} and set(summary.loc[summary["settlement"] == "proxy", "portfolio"].str.contains(" 1d ")) == {True}


def test_history_is_what_was_before_the_first_chain_and_the_chains_so_far():
    t = [datetime(2026, 2, day, tzinfo=UTC) for day in range(1, 5)]
    before = pd.DataFrame({"timestamp": pd.to_datetime(t, utc=True).astype("datetime64[ns, UTC]"), "asset": "BTC", "close": [1.0, 2.0, 3.0, 4.0]})
    found = history_to(before, [(t[1], "BTC", 20.0), (t[1], "BTC.IV30", 0.5), (t[2], "BTC", 30.0)], t[1])
    assert found["asset"].tolist() == ["BTC", "BTC", "BTC", "BTC.IV30"] and found["close"].tolist() == [1.0, 20.0, 30.0, 0.5]


def test_a_forecast_knows_no_later_chain(made, tmp_path):
    rows = pd.read_parquet(chains_file("sample:chains"))
    rows = rows[(rows["timestamp"] >= "2026-02-05") & rows["instrument_name"].str.startswith("BTC")]
    last = rows["timestamp"] >= "2026-02-06"
    rows.loc[last, ["underlying_price", "index_price"]] *= 1.02
    rows.to_csv(tmp_path / "chains.csv", index=False)
    run_backtest(written(tmp_path, TEXT.replace("sample:chains", "chains.csv")), tmp_path / "out", True)
    moved, as_was = (pd.read_parquet(f / "backtest.parquet").query("date == '2026-02-05'").reset_index(drop=True) for f in (tmp_path / "out", made))
    for name in ("value_at_risk", "expected_shortfall", "initial_margin", "notional"):
        assert np.array_equal(moved[name], as_was[name]), name
    assert not np.allclose(moved["loss"], as_was["loss"])


def test_a_model_of_dates_takes_a_methodology_with_perfect_correlation_when_told_how(tmp_path, capsys, monkeypatch):
    """House 2 under filtered historical, whose dates are rearranged where its dependence charge asks for it."""
    held = TEXT[TEXT.index("[[portfolios]]"):TEXT.index("[[portfolios]]\nkind = \"market_maker\"")]
    text = TEXT.replace(held, "").replace("house_v1.toml", "house_v2.toml") + 'model = { name = "filtered_historical", filter = "ewma", across_dates = "rearranged" }\n'
    run_backtest(written(tmp_path, text), tmp_path / "out", True)
    days = pd.read_parquet(tmp_path / "out" / "backtest.parquet")
    assert len(days) == 2 and (days["initial_margin"] > days["margin"]).all()
