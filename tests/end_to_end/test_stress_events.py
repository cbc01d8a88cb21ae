"""Events out of another history than the market's, and books crossed with dates and methodologies."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from campaigns import CAMPAIGN, campaign_folder
from command_line import here

from upm_gpu.campaign.config import load_campaign
from upm_gpu.campaign.folder import run_campaign
from upm_gpu.campaign.shocks import market_then
from upm_gpu.errors import InputError
from upm_gpu.market.reader import load_market
from upm_gpu.shipped import package_file

EVENT = CAMPAIGN[:CAMPAIGN.index("[[moves]]")] + "[losses]\ndefault_fund = 1000\n"


def test_an_event_out_of_another_history(tmp_path):
    """2008 for coins that did not exist: closes of a file beside the campaign, volatility the realised one of that file; the law, margins and every other event stay."""
    days = pd.date_range("2008-01-01", "2008-12-31")
    price = np.exp(np.cumsum(np.where(np.arange(len(days)) % 2, 0.01, -0.01)))
    price[days >= "2008-10-15"] *= 0.9
    pd.DataFrame({"date": [str(d)[:10] for d in days] * 2, "asset": ["BTC"] * len(days) + ["ETH"] * len(days), "close": np.r_[price, price**2]}).to_csv(tmp_path / "then.csv", index=False)
    more = '[[events]]\nname = "then"\nstart = "2008-10-14"\nend = "2008-10-15"\nhistory = "then.csv"\n[[paths]]\nname = "days of then"\nstart = "2008-10-13"\nend = "2008-10-15"\nhistory = "then.csv"\n'
    found = {}
    for name, text in (("plain", EVENT), ("more", EVENT.replace("[losses]", more + "[losses]"))):
        (tmp_path / name).mkdir()
        file = campaign_folder(tmp_path / name, text)
        (tmp_path / name / "then.csv").write_bytes((tmp_path / "then.csv").read_bytes())
        run_campaign(file, tmp_path / name / "out", True, ())
        found[name] = pd.read_parquet(tmp_path / name / "out" / "by_shock.parquet")
    i = int(np.flatnonzero(days == "2008-10-15")[0])
    then = found["more"].iloc[1]
    assert then["log_level[BTC]"] == pytest.approx(np.log(price[i] / price[i - 1])) and then["log_level[ETH]"] == pytest.approx(2.0 * np.log(price[i] / price[i - 1]))
    assert then["volatility_shift[BTC]"] == pytest.approx(0.5 * np.log(0.97 + 0.03 * (np.log(price[i] / price[i - 1]) / 0.01) ** 2), rel=1e-3)  # one step of the EWMA of moves of 1 %
    pd.testing.assert_series_equal(found["plain"].iloc[0], found["more"].iloc[0])
    walked = pd.read_parquet(tmp_path / "more" / "out" / "paths.parquet")
    assert walked["name"].tolist() == ["2008-10-14", "2008-10-15"]
    manifest = json.loads((tmp_path / "more" / "out" / "manifest.json").read_text())
    assert any("then.csv" in k for k in manifest["books"]["book"])


def test_a_history_that_is_not_there_and_one_without_the_days(tmp_path, capsys, monkeypatch):
    for text, code, word in (('history = "nowhere.csv"\n', "UPM-BT-014", "nowhere.csv"), ('history = "sample:crash_2008"\n', "UPM-CA-195", "BTC")):
        file = campaign_folder(tmp_path / code, EVENT.replace('end = "2025-12-02"\n', 'end = "2025-12-02"\n' + text))
        here(capsys, monkeypatch, "stress", file, "--out", tmp_path / code / "out", "--quiet").refused(3, code, word)


def test_the_shipped_crash_is_that_of_the_books():
    """S&P 500, closes as published: 1251.70 and 1192.70 around Lehman's end, 1099.23 and 899.22 over the week to 10 October, 998.01 and 907.84 on 15 October 2008."""
    market = load_market(package_file("sample") / "listed" / "market")
    closes = market_then("sample:crash_2008", market).history
    index = closes[closes["asset"] == "SPX"].set_index(closes.loc[closes["asset"] == "SPX", "timestamp"].dt.strftime("%Y-%m-%d"))["close"]
    for day, close in (("2008-09-13", 1251.70), ("2008-09-16", 1192.70), ("2008-10-04", 1099.23), ("2008-10-11", 899.22), ("2008-10-15", 998.01), ("2008-10-16", 907.84)):
        assert index[day] == pytest.approx(close)  # a date means its end, the next day's midnight
    assert set(closes["asset"]) >= {a for a in market.spots if a != "USD"} and len(market_then("", market).history) == len(market.history)


def test_books_dates_and_methodologies_are_crossed(tmp_path):
    cross = '[cross]\nbooks = { small = "b" }\nmarkets = { today = "", then = "m" }\nmethodologies = { h1 = "configs/methodology/house_v1.toml", h2 = "configs/methodology/house_v2.toml" }\n'
    campaign, _ = load_campaign(campaign_folder(tmp_path, CAMPAIGN.replace("[[events]]", cross + "[[events]]", 1)))
    assert [b.name for b in campaign.books] == ["small_today_h1", "small_today_h2", "small_then_h1", "small_then_h2"]
    assert [(b.market, b.methodology[-13:]) for b in campaign.books] == [(m, f"house_v{n}.toml") for m in ("", "m") for n in (1, 2)]
    for n, bad in enumerate((cross + '[[books]]\nname = "one"\n', '[cross]\nbooks = { "a b" = "x" }\n')):
        with pytest.raises(InputError, match="UPM-CF-056"):
            load_campaign(campaign_folder(tmp_path / str(n), CAMPAIGN.replace("[[events]]", bad + "[[events]]", 1)))


def test_lines_of_several_books_name_them(tmp_path, capsys, monkeypatch):
    text = EVENT.replace("[[events]]", '[cross]\nmethodologies = { one = "configs/methodology/house_v1.toml", two = "configs/methodology/house_v1.toml" }\n[[events]]', 1)
    said = here(capsys, monkeypatch, "stress", campaign_folder(tmp_path, text), "--out", tmp_path / "out", "--quiet")
    assert said.code == 0 and "  one, a day: P&L" in said.out and "  two, a day: P&L" in said.out
