"""Bases, funding and rates from a history: volatilities and reversion against plain loops, on real closes of a perpetual.

`reference/btc_perpetual_2023.csv`: BTC, August to December 2023, a row a day that ends at 24:00Z. BTC: Binance spot BTCUSDT (github.com/djienne/Hurst_Crypto,
commit c83fd01, data/). BTC.PERP: the hourly close at 24:00Z of Binance's perpetual (github.com/Emanuel-Goldman/data-report, commit e43b9ce, data/).
BTC.FUNDING: sum of the day's three 8-hourly fundings of Binance's perpetual (github.com/supervik/historical-funding-rates-fetcher, commit 66a085b, data/, MIT).
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from model_draws import draw

from upm_gpu.calibrate.covariance import calibrate_covariance, price_series
from upm_gpu.calibrate.model_of_spec import calibrate_model
from upm_gpu.calibrate.series import Series
from upm_gpu.calibrate.spreads import half_lives, innovations
from upm_gpu.calibrate.stressed import correlation_regimes
from upm_gpu.errors import CalibrationError
from upm_gpu.market.levels import daily_funding
from upm_gpu.market.snapshot import MarketSnapshot
from upm_gpu.scenario.spec import RegimeSpec, ScenarioSpec

FILE = Path(__file__).parent / "reference" / "btc_perpetual_2023.csv"
FACTORS = ("log_level[BTC]", "volatility_shift[BTC]", "log_basis[BTC]", "funding_rate[BTC]")
SPEC = ScenarioSpec(count=50_000, horizons=(4.0,), basis=True, funding="path", rates="moving", rate_volatility=6e-4, marginal="gaussian", copula="gaussian")


@pytest.fixture(scope="module")
def market() -> MarketSnapshot:
    table = pd.read_csv(FILE)
    history = pd.DataFrame({"timestamp": (pd.to_datetime(table["date"], utc=True) + pd.Timedelta(days=1)).astype("datetime64[ns, UTC]"), "asset": table["asset"],
                            "close": table["close"].astype(float)}).sort_values(["asset", "timestamp"], ignore_index=True)
    return MarketSnapshot(datetime(2023, 12, 31, tzinfo=UTC), "USD", {"USD": 1.0, "BTC": 42_000.0}, {("BTC", None): 42_020.0}, None, {}, history)  # type: ignore[arg-type]


def closes(market: MarketSnapshot, asset: str) -> np.ndarray:
    return market.history.loc[market.history["asset"] == asset, "close"].to_numpy()


def ewma(changes: np.ndarray, decay: float = 0.97) -> float:
    """Standard deviation, newest last, by a loop."""
    total = weight = 0.0
    for age, x in enumerate(changes[::-1]):
        total += decay**age * x * x
        weight += decay**age
    return float(np.sqrt(total / weight))


def test_volatilities_are_those_of_the_innovations(market):
    model, fit = calibrate_model(market, SPEC)
    assert fit.factors == (*FACTORS, "rate_level[USD]") == model.state_names
    basis, funding = np.log(closes(market, "BTC.PERP") / closes(market, "BTC")), closes(market, "BTC.FUNDING")
    for k, value in ((2, basis), (3, funding)):
        about, phi = value - value.mean(), 0.5 ** (1.0 / 3.0)
        moves = np.array([about[i + 1] - phi * about[i] for i in range(len(about) - 1)])
        assert fit.daily_volatility[k] == pytest.approx(ewma(moves), rel=1e-6)
    assert fit.daily_volatility[4] == 6e-4 and np.all(fit.correlation[4, :4] == 0.0) and fit.observations[4, 4] == 0
    assert 2e-4 < fit.daily_volatility[2] < 5e-4 and 5e-5 < fit.daily_volatility[3] < 5e-4
    np.testing.assert_array_equal(model.half_life_days, [0.0, 0.0, 3.0, 3.0, 0.0])


def test_the_factors_of_prices_do_not_know_them(market):
    """With basis and funding off the model is what it was; on, the draws of prices and volatilities keep their bits."""
    off = replace(SPEC, basis=False, funding="zero", rates="fixed")
    plain, full = calibrate_model(market, off)[0], calibrate_model(market, SPEC)[0]
    assert plain.state_names == FACTORS[:2] and plain.half_life_days is None
    few = [draw(m.scenarios(np.array([1.0, 2.0]), replace(SPEC, count=200))) for m in (plain, full)]
    np.testing.assert_array_equal(few[0], few[1][:, :2])
    assert price_series(market.history) == ("BTC",)


def test_the_simulated_basis_spreads_as_the_history_does(market):
    """Over four days: sqrt((1 - phi^8) / (1 - phi^2)) of a day; 50,000 normals know a deviation to 0.3 %."""
    model, _ = calibrate_model(market, SPEC)
    states = draw(model.scenarios(np.array([4.0]), SPEC))[0]
    phi = 0.5 ** (1.0 / 3.0)
    for k in (2, 3):
        assert states[k].std() == pytest.approx(model.daily_volatility[k] * np.sqrt((1.0 - phi**8) / (1.0 - phi**2)), rel=0.013)
        assert abs(states[k].mean()) < 4.0 * states[k].std() / np.sqrt(50_000)
    assert states[4].std() == pytest.approx(6e-4 * 2.0, rel=0.013)


def test_reversion_takes_the_memory_out(market):
    """Lag-one autocorrelation of the changes of daily funding: the raw series remembers, its innovations hardly."""
    funding = closes(market, "BTC.FUNDING")
    left = innovations(Series(np.arange(len(funding), dtype=float), funding), 3.0)
    moves = np.diff(left.value)
    raw = funding - funding.mean()
    assert np.sum(raw[1:] * raw[:-1]) / np.sum(raw * raw) > 0.6
    assert abs(np.sum(moves[1:] * moves[:-1]) / np.sum(moves * moves)) < 0.3
    np.testing.assert_array_equal(innovations(left, 0.0).value, left.value)


def test_today_is_the_last_close(market):
    assert daily_funding(market, "BTC") == closes(market, "BTC.FUNDING")[-1]
    assert daily_funding(market, "ETH") is None


def test_rates_change_by_addition(market):
    days = pd.date_range("2023-10-01", periods=60, tz="UTC")
    rates = 0.04 + 0.001 * np.cumsum(np.random.default_rng(2).normal(size=60))
    rates[5] = -0.001
    frame = pd.DataFrame({"timestamp": days.astype("datetime64[ns, UTC]"), "asset": "USD.RATE", "close": rates})
    fit = calibrate_covariance(pd.concat([market.history, frame], ignore_index=True), ("log_level[BTC]", "rate_level[USD]"), market.valuation_time)
    assert fit.daily_volatility[1] == pytest.approx(ewma(np.diff(rates)), rel=1e-9)
    assert half_lives(fit.factors, SPEC) is None
    with pytest.raises(CalibrationError, match=r"UPM-CA-103.*EUR\.RATE"):
        calibrate_covariance(market.history, ("rate_level[EUR]",), market.valuation_time)


HISTORY = {"garch": 1.0, "filtered_historical": 1.0, "scaled_historical": 0.0, "historical": 0.0}


@pytest.mark.parametrize("name", HISTORY)
def test_models_of_the_history_take_them_from_it(market, name):
    """Basis and funding on the dates of prices; a day spreads as the filter says, and four days as its reversion does. 50,000 draws of fat-tailed rows know a deviation to 1 %."""
    spec = replace(SPEC, model=name, filter="ewma", rates="fixed", marginal="gaussian", horizons=(4.0,))
    model, report = calibrate_model(market, spec)
    assert model.state_names == FACTORS == report.factors
    states = draw(model.scenarios(np.array([1.0, 4.0]), spec))
    phi = 0.5 ** (1.0 / 3.0)
    basis, funding = np.log(closes(market, "BTC.PERP") / closes(market, "BTC")), closes(market, "BTC.FUNDING")
    for k, value in ((2, basis), (3, funding)):
        day = model.daily_volatility[k] if HISTORY[name] else np.std(model.changes[:-3, k])  # windows of four days begin no later
        assert states[0, k].std() == pytest.approx(day, rel=0.03)
        if HISTORY[name]:
            assert states[1, k].std() / states[0, k].std() == pytest.approx(np.sqrt((1.0 - phi**8) / (1.0 - phi**2)), rel=0.05)
        elif name == "historical":  # windows revert by themselves: their deviation is that of the history's own four-day changes
            assert states[1, k].std() == pytest.approx(np.std(value[4:] - value[:-4]), rel=0.02)
        assert abs(states[1, k].mean()) < 5.0 * states[1, k].std() / np.sqrt(50_000)
    if HISTORY[name]:
        about = value - value.mean()
        correlation = np.corrcoef(np.diff(np.log(closes(market, "BTC"))), about[1:] - phi * about[:-1])[0, 1]
        assert np.corrcoef(states[0, 0], states[0, 3])[0, 1] == pytest.approx(correlation, abs=0.2)


def test_a_configured_volatility_stands_alone_under_garch(market):
    """Constant volatility, no correlation, no draw of another factor moved; a model that draws dates has no place for it."""
    spec = replace(SPEC, model="garch", filter="ewma", marginal="student_t", degrees_of_freedom=0.0)
    model, report = calibrate_model(market, spec)
    assert model.state_names == report.factors == (*FACTORS, "rate_level[USD]") and report.residuals.shape[1] == 5
    plain = calibrate_model(market, replace(spec, rates="fixed"))[0]
    few = [draw(m.scenarios(np.array([1.0, 2.0]), replace(spec, count=20_000))) for m in (plain, model)]
    np.testing.assert_array_equal(few[0], few[1][:, :4])
    assert few[1][1, 4].std() == pytest.approx(6e-4 * np.sqrt(2.0), rel=0.05)
    assert np.max(np.abs(np.corrcoef(few[1][1])[4, :4])) < 5.0 / np.sqrt(20_000)
    for name in ("filtered_historical", "historical"):
        with pytest.raises(CalibrationError, match=r"UPM-CA-189.*rate_level\[USD\]"):
            calibrate_model(market, replace(spec, model=name))


@pytest.mark.parametrize("name", ["gbm", "garch"])
def test_a_stressed_period_leaves_it_alone(market, name):
    """The factor without a series keeps its independence in a regime that others take from a period."""
    regime = RegimeSpec("autumn", 0.1, 1.0, "stressed_period", "2023-10-01", "2023-11-30")
    spec = replace(SPEC, model=name, filter="ewma", marginal="student_t", degrees_of_freedom=0.0, correlation_regimes=(regime,))
    model, fit = calibrate_model(market, spec)
    found = correlation_regimes(market, spec, model, fit)[0]
    assert found.factors == (*FACTORS, "rate_level[USD]")
    assert np.array_equal(found.target[4], [0.0, 0.0, 0.0, 0.0, 1.0]) and np.all(found.target[0, 1:4] != 0.0)


def test_a_rate_of_business_days_is_drawn_where_it_lacks(market):
    """Weekends lack the rate: filtered historical simulation takes other dates' moves, and says how many."""
    days = pd.bdate_range("2023-08-01", "2023-12-30", tz="UTC")
    rates = 0.04 + 0.001 * np.cumsum(np.random.default_rng(2).normal(size=len(days)))
    frame = pd.DataFrame({"timestamp": days.astype("datetime64[ns, UTC]"), "asset": "USD.RATE", "close": rates})
    known = replace(market, history=pd.concat([market.history, frame], ignore_index=True))
    model, report = calibrate_model(known, replace(SPEC, model="filtered_historical", filter="ewma", rate_volatility=0.0))
    assert model.state_names[-1] == "rate_level[USD]" and 5e-4 < model.daily_volatility[-1] < 2e-3
    assert any(w.startswith("UPM-CA-131 rate_level[USD]") and "drawn" in w for w in report.warnings)
