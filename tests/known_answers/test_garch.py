"""GARCH: published recursion, likelihood, estimates and forecasts; coefficients that are refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
from reference_cases import FOLDER, group

from upm_gpu.calibrate.garch_fit import fit, log_likelihood
from upm_gpu.errors import CalibrationError
from upm_gpu.model.recursion import Garch, check, ewma, forecast, variances

TOPIC = "8_garch"


@pytest.fixture(scope="module")
def pounds() -> np.ndarray:
    with open(FOLDER / "dem_gbp_bg96.json", encoding="ascii") as file:
        return np.array(json.load(file)["returns_percent"])


@pytest.mark.parametrize(("inputs", "expected", "tolerance"), group(TOPIC, "dataset_check"))
def test_the_data_set_is_the_published_one(pounds, inputs, expected, tolerance):
    assert len(pounds) == expected["n"]
    assert np.sum(pounds) == pytest.approx(expected["sum"], abs=tolerance["abs"])
    assert np.sum(pounds**2) == pytest.approx(expected["sum_of_squares"], abs=tolerance["abs"])


@pytest.mark.parametrize(("inputs", "expected", "tolerance"), group(TOPIC, "fcp_benchmark"))
def test_estimates_are_those_of_the_benchmark(pounds, inputs, expected, tolerance):
    found = fit(pounds, "garch", mean="constant")
    for key in ("omega", "alpha", "beta"):
        assert getattr(found, key) == pytest.approx(expected[key], rel=tolerance["parameters_rel"])
    assert found.mu == pytest.approx(expected["mu"], rel=tolerance["mu_rel"])
    assert found.log_likelihood == pytest.approx(expected["log_likelihood"], abs=tolerance["log_likelihood_abs"])


@pytest.mark.parametrize(("inputs", "expected", "tolerance"), group(TOPIC, "garch_loglik_computed"))
def test_log_likelihood_and_last_variances(pounds, inputs, expected, tolerance):
    model = Garch(inputs["omega"], inputs["alpha"], inputs["beta"], mu=inputs["mu"])
    assert log_likelihood(pounds, model) == pytest.approx(expected["log_likelihood"], abs=tolerance["log_likelihood_abs"])
    assert variances(pounds, model)[-2:] == pytest.approx([expected["last_variance"], expected["next_variance"]], rel=tolerance["variance_rel"])


@pytest.mark.parametrize(("inputs", "expected", "tolerance"), group(TOPIC, "garch_recursion_ql"))
def test_recursion(inputs, expected, tolerance):
    returns = np.array(inputs["returns"])
    path = variances(returns, Garch(inputs["omega"], inputs["alpha"], inputs["beta"]), first=returns[0] ** 2)[1:]
    assert np.sqrt(path) == pytest.approx(expected["volatility_path"], abs=tolerance["abs"])


@pytest.mark.parametrize(("inputs", "expected", "tolerance"), group(TOPIC, "garch_forecast_computed"))
def test_forecast(inputs, expected, tolerance):
    model = Garch(inputs["omega"], inputs["alpha"], inputs["beta"])
    first = variances(np.array([inputs["last_residual"]]), model, first=inputs["last_variance"])[-1]
    path = forecast(model, first, inputs["horizons"])
    assert path == pytest.approx(expected["variance_forecast"], rel=tolerance["rel"])
    assert path.sum() == pytest.approx(expected["aggregate_variance"], rel=tolerance["rel"])
    assert model.long_run_variance == pytest.approx(expected["unconditional_variance"], rel=tolerance["rel"])


@pytest.mark.parametrize(("inputs", "expected", "tolerance"), group(TOPIC, "hull_vol"))
def test_textbook_volatilities(inputs, expected, tolerance):
    model = Garch(inputs["omega"], inputs["alpha"], inputs["beta"])
    if "ret" in inputs:
        key, found = "vol_new", float(np.sqrt(variances(np.array([inputs["ret"]]), model, first=inputs["vol_prev"] ** 2)[-1]))
    elif "days" in inputs:
        key, found = "expected_variance", float(forecast(model, inputs["current_variance"], inputs["days"] + 1)[-1])
    else:
        key, found = "long_run_vol", float(np.sqrt(model.long_run_variance))
    assert found == pytest.approx(expected[key], abs=tolerance["published_abs"])
    assert found == pytest.approx(expected[f"{key}_full_precision"], rel=tolerance["full_precision_rel"])


def test_gjr_recursion_as_a_loop():
    returns = np.random.default_rng(1).normal(0.0, 0.02, 300)
    model = Garch(2e-6, 0.03, 0.9, 0.08)
    h = [1e-4]
    for r in returns:
        h.append(model.omega + (model.alpha + (model.gamma if r < 0.0 else 0.0)) * r * r + model.beta * h[-1])
    assert variances(returns, model, first=1e-4) == pytest.approx(h, rel=1e-13)


def test_gjr_coefficients_are_found_again():
    """Two deviations of the estimators at 20,000 returns are about 0.015; a plain GARCH fit must be less likely."""
    rng, model, h, returns = np.random.default_rng(7), Garch(2e-6, 0.02, 0.9, 0.1), 6.7e-5, []
    for n in rng.normal(size=20_000):
        returns.append(np.sqrt(h) * n)
        h = model.omega + (model.alpha + (model.gamma if n < 0.0 else 0.0)) * returns[-1] ** 2 + model.beta * h
    series = np.array(returns)
    found = fit(series, "gjr")
    for key, tolerance in (("alpha", 0.015), ("gamma", 0.02), ("beta", 0.015)):
        assert getattr(found, key) == pytest.approx(getattr(model, key), abs=tolerance)
    assert found.log_likelihood > fit(series, "garch").log_likelihood + 50.0


def test_ewma_is_the_weighted_mean():
    returns = np.random.default_rng(2).normal(0.0, 1.0, 50)
    weights = 0.06 * 0.94 ** np.arange(49, -1, -1)
    assert variances(returns, ewma(0.94), first=2.0)[-1] == pytest.approx(np.sum(weights * returns**2) + 0.94**50 * 2.0, rel=1e-13)
    assert forecast(ewma(0.94), 0.3, 4).tolist() == [0.3] * 4


@pytest.mark.parametrize(("model", "kind", "code"), [
    (Garch(1e-6, 0.2, 0.8), "garch", 121), (Garch(1e-6, 0.05, 0.9, 0.1), "gjr", 121), (Garch(-1e-6, 0.1, 0.8), "garch", 120),
    (Garch(1e-6, 0.1, 0.8, -0.2), "gjr", 120), (Garch(1e-6, float("nan"), 0.8), "garch", 120), (Garch(0.0, 0.1, 0.8), "ewma", 121)])
def test_coefficients_that_are_refused(model, kind, code):
    with pytest.raises(CalibrationError, match=f"UPM-CA-{code}"):
        check(model, "BTC", kind)


def test_series_that_cannot_be_fitted():
    with pytest.raises(CalibrationError, match=r"UPM-CA-122.*at least 250"):
        fit(np.ones(100), "garch")
    with pytest.raises(CalibrationError, match="UPM-CA-123"):
        fit(np.zeros(300), "garch")
    with pytest.raises(CalibrationError, match="UPM-CA-125"):
        fit(np.ones(300), "ewma")
