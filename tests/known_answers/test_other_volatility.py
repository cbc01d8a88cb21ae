"""Models under the volatilities of the long run or of a stressed period: plain sums over the closes, for every model that has volatilities, and who refuses."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from upm_gpu.calibrate.model_of_spec import calibrate_model
from upm_gpu.calibrate.other_volatility import long_run_model, stressed_model
from upm_gpu.errors import CalibrationError
from upm_gpu.market.snapshot import MarketSnapshot
from upm_gpu.model.gbm import GbmParameters
from upm_gpu.model.merton import MertonParameters
from upm_gpu.scenario.spec import ScenarioSpec

START, DAYS = datetime(2023, 1, 1, tzinfo=UTC), 800
STRESS = slice(300, 380)
"""changes from the close of day 300 to that of day 380"""
SPEC = ScenarioSpec(count=10, filter="ewma", copula="gaussian", marginal="gaussian")
SERIES = ("A", "A.IV30", "B", "B.IV30")


def moves() -> np.ndarray:
    """(DAYS, 4): calm but for the stress, where prices fall together."""
    rng = np.random.default_rng(11)
    found = np.array([0.01, 0.02, 0.015, 0.02]) * rng.standard_normal((DAYS, 4))
    common = rng.standard_normal(80)
    found[STRESS] = 2.0 * found[STRESS] + 0.05 * common[:, None] * np.array([1.0, -1.0, 1.0, -1.0])
    return found


def market(without_volatility: bool = False) -> MarketSnapshot:
    level = np.concatenate([np.zeros((1, 4)), np.cumsum(moves(), axis=0)])
    rows = [(START + timedelta(days=i), a, 100.0 * float(np.exp(level[i, k]))) for k, a in enumerate(SERIES) for i in range(DAYS + 1)
            if not (without_volatility and a == "B.IV30" and i < 400)]
    frame = pd.DataFrame(rows, columns=["timestamp", "asset", "close"])
    frame["timestamp"] = pd.to_datetime(frame["timestamp"], utc=True).astype("datetime64[ns, UTC]")
    return MarketSnapshot(START + timedelta(days=DAYS), "USD", {"USD": 1.0, "A": 100.0, "B": 100.0}, {}, None, {}, frame)  # type: ignore[arg-type]


def day(i: int) -> str:
    return (START + timedelta(days=i)).date().isoformat()


def sums(part: slice) -> dict[str, float]:
    name = {"A": "log_level[A]", "A.IV30": "volatility_shift[A]", "B": "log_level[B]", "B.IV30": "volatility_shift[B]"}
    return {name[a]: float(np.sqrt(np.mean(moves()[part, k] ** 2))) for k, a in enumerate(SERIES)}


@pytest.mark.parametrize("model", ["gbm", "garch", "filtered_historical", "scaled_historical"])
def test_volatilities_are_plain_sums(model):
    spec = replace(SPEC, model=model)
    today, fit = calibrate_model(market(), spec)
    long_run = long_run_model(today, fit, market(), spec)
    stressed = stressed_model(today, fit, market(), spec, day(300), day(379))
    for made, part in ((long_run, slice(0, DAYS)), (stressed, STRESS)):
        known = sums(part)
        assert made.daily_volatility == pytest.approx([known[n] for n in made.state_names], rel=1e-9)
    assert np.all(stressed.daily_volatility > 2.0 * today.daily_volatility)
    if model in ("gbm", "garch"):
        a, b = (list(stressed.state_names).index(f"log_level[{u}]") for u in "AB")
        assert today.correlation[a, b] < 0.4 < 0.6 < stressed.correlation[a, b]
        assert np.array_equal(long_run.correlation, today.correlation)
    else:
        assert np.array_equal(getattr(stressed, "residuals", 0), getattr(today, "residuals", 0))


def test_the_stressed_correlation_by_hand():
    """The estimator of the specification, EWMA at 0.97, over the period's own returns."""
    today, fit = calibrate_model(market(), SPEC)
    made = stressed_model(today, fit, market(), SPEC, day(300), day(379))
    weight = 0.97 ** np.arange(79, -1, -1)
    r = moves()[STRESS]
    covariance = (r * weight[:, None]).T @ r
    known = covariance / np.sqrt(np.outer(np.diag(covariance), np.diag(covariance)))
    order = [("log_level[A]", "volatility_shift[A]", "log_level[B]", "volatility_shift[B]").index(n) for n in made.state_names]
    np.testing.assert_allclose(made.correlation, known[np.ix_(order, order)], atol=1e-9)


def test_a_volatility_series_that_begins_later_takes_the_realised_one():
    today, fit = calibrate_model(market(True), SPEC)
    made = stressed_model(today, fit, market(True), SPEC, day(300), day(379))
    b = list(made.state_names).index("volatility_shift[B]")
    assert np.isfinite(made.daily_volatility[b]) and made.daily_volatility[b] != pytest.approx(sums(STRESS)["volatility_shift[B]"])


def test_factors_with_a_configured_volatility_keep_it():
    spec = replace(SPEC, basis=True, basis_volatility=0.002)
    today, fit = calibrate_model(market(), spec)
    made = stressed_model(today, fit, market(), spec, day(300), day(379))
    at = [k for k, n in enumerate(made.state_names) if n.startswith("log_basis")]
    assert at and np.array_equal(made.daily_volatility[at], today.daily_volatility[at])
    assert np.array_equal(made.correlation[at], np.eye(len(made.state_names))[at])


@pytest.mark.parametrize(("start", "end", "code"), [(day(300), day(303), "UPM-CA-107"), ("2020-01-01", "2020-06-01", "UPM-CA-151"), (day(700), day(900), "UPM-CA-151")])
def test_a_period_that_cannot_be_measured(start, end, code):
    today, fit = calibrate_model(market(), SPEC)
    with pytest.raises(CalibrationError, match=code):
        stressed_model(today, fit, market(), SPEC, start, end)


def test_models_without_a_volatility_refuse_by_name():
    today, fit = calibrate_model(market(), replace(SPEC, model="historical"))
    with pytest.raises(CalibrationError, match=r"UPM-CA-196.*model historical"):
        long_run_model(today, fit, market(), replace(SPEC, model="historical"))
    jumps = MertonParameters.__new__(MertonParameters)
    with pytest.raises(CalibrationError, match=r"UPM-CA-196.*model merton"):
        stressed_model(jumps, None, market(), replace(SPEC, model="merton"), day(300), day(379))
    assert isinstance(calibrate_model(market(), SPEC)[0], GbmParameters)
