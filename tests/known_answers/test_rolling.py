"""The rolling back-test against series whose exceptions are known, and its parts by hand."""

from __future__ import annotations

from datetime import date, timedelta
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from rolling_case import configuration, written
from scipy import stats

from upm_gpu.backend.select import choose
from upm_gpu.backtest.config import Group, Portfolios, load_backtest
from upm_gpu.backtest.folder import read_closes
from upm_gpu.backtest.portfolios import Holdings, Straddle, make_holdings, profit
from upm_gpu.backtest.rolling import tail, walk
from upm_gpu.backtest.summary import goals, league, procyclicality, summarise
from upm_gpu.risk.measures import expected_shortfall, value_at_risk

CRASHES = {350: -0.10, 360: -0.12, 370: -0.02}
"""place of a return in the made-up series and its log-change; all other days move by 1 % up and down in turn"""


def made_up(days: int = 400) -> pd.DataFrame:
    moves = np.where(np.arange(days) % 2, 0.01, -0.01)
    for at, move in CRASHES.items():
        moves[at] = move
    stamps = pd.date_range("2020-01-02", periods=days + 1, tz="UTC").astype("datetime64[ns, UTC]")
    level = 100.0 * np.exp(np.concatenate([[0.0], np.cumsum(moves)]))
    return pd.concat([pd.DataFrame({"timestamp": stamps, "asset": a, "close": level * f}) for a, f in (("AAA", 1.0), ("BBB", 3.0))], ignore_index=True)


def test_the_exceptions_of_a_made_up_series_are_the_days_it_crashed(tmp_path):
    path = written(tmp_path, configuration(("hs",), start="").replace("count = 500", "count = 20000"), made_up())
    config, _ = load_backtest(path)
    table = walk(config, read_closes(tmp_path / "history.csv"), choose("reference")).table
    long = table[table["portfolio"] == "AAA long"]
    # the return of place n ends n + 1 days after the first close, 2020-01-01 at 24:00; its window begins on the day n after it
    crashed = [(date(2020, 1, 1) + timedelta(days=n)).isoformat() for n in CRASHES]
    assert long.loc[long["hit_margin"], "date"].tolist() == crashed[:2]
    # 2 % is above value-at-risk (1 % but for two days in 370) and below the margin, which knows both crashes; after a crash the centring, which takes the mean of
    # the history out, brings value-at-risk a hair below the 1 % of every other day
    beyond = long[long["hit_value_at_risk"]]
    assert set(crashed) <= set(beyond["date"])
    assert beyond.loc[~beyond["date"].isin(crashed), "loss"].max() == pytest.approx(1.0 - np.exp(-0.01))
    losses = dict(zip(long["date"], long["loss"], strict=True))
    assert [losses[d] for d in crashed] == pytest.approx([1.0 - np.exp(m) for m in CRASHES.values()], rel=1e-12)
    # before the first crash a day loses 1 % or gains it: margin 1 - exp(-0.01) less a centring of order 1e-4
    first = long[long["date"] == crashed[0]].iloc[0]
    assert first["margin"] == pytest.approx(0.00995, abs=2e-4)
    # after one crash among 358 returns: ES 99 % = (share of the crash x 10 % + rest x 1 %) / 1 %, within sampling of 20,000
    second = long[long["date"] == crashed[1]].iloc[0]
    p = 1.0 / 355.0
    assert second["margin"] == pytest.approx((p * (1 - np.exp(-0.10)) + (0.01 - p) * 0.00995) / 0.01, rel=0.12)
    row = summarise(table, 1).set_index("portfolio").loc["AAA long"]
    excess = [losses[crashed[0]] - first["margin"], losses[crashed[1]] - second["margin"]]
    assert (row["number_of_exceptions"], row["largest_exception"], row["average_exception"]) == (2, pytest.approx(max(excess)), pytest.approx(np.mean(excess)))
    assert row["achieved_coverage"] == pytest.approx(1 - 2 / row["number_of_observations"])
    short = table[table["portfolio"] == "AAA short"]  # every other day loses the 1 % that the centring took a hair from
    assert (short["loss"] - short["margin"]).max() < 5e-4
    # AAA and BBB move alike: their spread neither loses nor needs anything but rounding
    assert np.abs(table.loc[table["portfolio"] == "AAA against BBB", "loss"]).max() < 1e-12


def test_two_day_windows_do_not_overlap(tmp_path):
    path = written(tmp_path, configuration(("hs",), start="", horizon_days=2, step_days=2), made_up())
    table = walk(load_backtest(path)[0], read_closes(tmp_path / "history.csv"), choose("reference")).table
    long = table[table["portfolio"] == "AAA long"]
    days = np.array(long["date"], "datetime64[D]")
    assert set(np.diff(days).astype(int)) == {2}
    # a crash lies in one window alone; two days of 1 % up and down cancel
    assert np.count_nonzero(long["loss"] > 0.05) == 2
    assert long["loss"].abs().median() < 1e-12


def test_the_tail_is_that_of_the_risk_measures():
    loss = np.random.default_rng(1).standard_t(3, (6, 1001))
    for level in (0.99, 0.975, 0.9):
        var, es, error = tail(loss, level)
        np.testing.assert_allclose(var, value_at_risk(loss, level), rtol=0)
        np.testing.assert_allclose(es, expected_shortfall(loss, level), rtol=1e-13)
        beyond = np.maximum(loss - var[:, None], 0.0)
        np.testing.assert_allclose(error, np.std(beyond, axis=1) / np.sqrt(1001) / (1 - level), rtol=1e-10)


def test_linear_portfolios_by_hand():
    group = Group(name="g", assets=["A", "B"])
    held = make_holdings(group, [Portfolios(kind="single", groups=["g"]), Portfolios(kind="pair", groups=["g"]), Portfolios(kind="basket", groups=["g"], sides=["short"]),
                                 Portfolios(kind="random", groups=["g"], count=3, seed=4)])
    assert held.names == ("A long", "B long", "A short", "B short", "A against B", "B against A", "g basket short", "g book 4.001", "g book 4.002", "g book 4.003")
    np.testing.assert_allclose(np.abs(held.weights).sum(axis=1), 1.0)
    pnl = profit(held, np.log([[1.1], [0.8]]), np.zeros((0, 1)), np.zeros(0), 1.0)[:, 0]
    np.testing.assert_allclose(pnl[:7], [0.1, -0.2, -0.1, 0.2, 0.15, -0.15, 0.05], atol=1e-15)
    more = make_holdings(group, [Portfolios(kind="random", groups=["g"], count=5, seed=4)])
    np.testing.assert_array_equal(more.weights[:3], held.weights[7:])


def test_a_hedged_straddle_against_black_by_scipy():
    held = Holdings(("s",), ("straddle",), np.zeros((0, 1)), (Straddle(0, 0, 1.0),))

    def black(price, sigma, days):
        root = sigma * np.sqrt(days / 365.0)
        d1, d2 = np.log(price) / root + root / 2, np.log(price) / root - root / 2
        call = price * stats.norm.cdf(d1) - stats.norm.cdf(d2)
        return 2 * call - price + 1

    for x, v in ((0.0, 0.0), (0.07, -0.1), (-0.3, 0.6)):
        root = 0.6 * np.sqrt(30 / 365)
        expected = black(np.exp(x), 0.6 * np.exp(v), 29) - black(1.0, 0.6, 30) - (2 * stats.norm.cdf(root / 2) - 1) * np.expm1(x)
        found = profit(held, np.array([[x]]), np.array([[v]]), np.array([0.6]), 1.0)[0, 0]
        assert found == pytest.approx(expected, abs=1e-12)


def test_procyclicality_by_hand():
    found = procyclicality(np.array([1.0, 2.0, 4.0, 1.0, 1.0, 1.0]))
    assert (found["peak_to_trough"], found["rise_1d"], found["rise_5d"]) == (4.0, 1.0, 0.0)
    # 0.75 m + 0.25 highest so far: 1, 2, 4, 1.75, 1.75, 1.75
    assert (found["stressed_peak_to_trough"], found["stressed_rise_1d"], found["stressed_rise_5d"]) == (4.0, 1.0, 0.75)
    assert np.isnan(found["rise_30d"])


def one_model(model: str, loss: np.ndarray, var: np.ndarray) -> pd.DataFrame:
    days = np.datetime_as_string(np.datetime64("2015-01-01") + np.arange(len(loss))).astype(object)
    return pd.DataFrame({"date": days, "portfolio": "p", "kind": "single", "group": "g", "model": model, "level": 0.99, "loss": loss, "value_at_risk": var, "expected_shortfall": 1.146 * var,
                         "expected_shortfall_standard_error": 0.0, "margin": 1.146 * var, "hit_value_at_risk": loss > var, "hit_margin": loss > 1.146 * var,
                         "pit": stats.norm.cdf(-loss / (var / 2.3263))})


def test_the_league_puts_the_right_forecast_first_and_the_goals_say_what_fails():
    generator = np.random.default_rng(2)
    sigma = np.exp(np.cumsum(generator.normal(0, 0.05, 2500)) * 0.3)
    loss = sigma * generator.normal(size=2500)
    right, half = 2.3263 * sigma, 1.2 * sigma
    table = pd.concat([one_model("half", loss, half), one_model("right", loss, right), one_model("flat", loss, np.full(2500, 2.3263 * sigma.mean()))], ignore_index=True)
    summary = summarise(table, 1)
    ranking = league(table, summary, 0.99)
    assert ranking["model"].iloc[0] == "right"
    assert ranking.set_index("model")["diebold_mariano_p"]["half"] < 0.01
    by_model = summary.set_index("model")
    assert by_model["kupiec_p"]["right"] > 0.05 > by_model["kupiec_p"]["half"]
    assert by_model["z2"]["half"] < -0.7 < by_model["z2"]["right"]
    assert by_model["ridge_p"]["half"] < 0.05 < by_model["ridge_p"]["right"]
    reached = {(g["model"], g["goal"]): g for g in goals(summary)}
    assert reached["right", "margin covers 99 % of days"]["met"]
    missed = reached["half", "value-at-risk is not rejected by Kupiec at 5 %"]
    assert (missed["met"], missed["share"], missed["missed"]) == (False, 0.0, ["p"])
    assert "1 with too many exceptions" in missed["why"]
    assert not goals(summarise(table[table["date"] < "2016-01-01"], 1))  # 365 days: not asked


def test_a_holding_never_reads_another_row():
    held = Holdings(("a", "b"), ("single", "straddle"), np.array([[1.0]]), (Straddle(0, 0, -1.0),))
    alone = Holdings(("b",), ("straddle",), np.zeros((0, 1)), (Straddle(0, 0, -1.0),))
    x = np.array([[0.1, -0.2]])
    case = SimpleNamespace(prices=x, volatilities=0.5 * x, today=np.array([0.7]))
    both = profit(held, case.prices, case.volatilities, case.today, 1.0)
    np.testing.assert_array_equal(both[1:], profit(alone, case.prices, case.volatilities, case.today, 1.0))
    np.testing.assert_allclose(both[0], np.expm1(x[0]))


def test_a_symmetric_law_of_what_falls_more_than_it_rises_is_told_by_its_sides():
    from upm_gpu.backtest.summary import _sides

    mine = pd.DataFrame({"portfolio": ["A long", "A short", "B long", "B short", "A straddle long"], "kind": ["single"] * 4 + ["straddle"], "number_of_observations": [1000] * 5,
                         "value_at_risk_exceptions": [16, 6, 18, 4, 99]})
    assert "Long portfolios have 1.70 times the number promised, short ones 0.50: falls are larger" in _sides(mine)
    turned = mine.assign(portfolio=["A short", "A long", "B short", "B long", "A straddle long"])
    assert "Long portfolios have 0.50 times the number promised, short ones 1.70: rises are larger" in _sides(turned)
    assert _sides(mine.assign(value_at_risk_exceptions=10)) == _sides(mine[mine["portfolio"].str.endswith("long")]) == ""
