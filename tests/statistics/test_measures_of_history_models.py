"""Drifts of the models made from a history: the rate under `pricing`, the fitted means under `historical` with their warning, none under `margin`."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from model_draws import draw, score

from upm_gpu.calibrate.covariance import calibrate_covariance, factor_names
from upm_gpu.calibrate.model_of_spec import calibrate_model
from upm_gpu.calibrate.parameter_file import read_parameters, write_parameters
from upm_gpu.errors import CalibrationError
from upm_gpu.rng.normal import normal
from upm_gpu.scenario.spec import Measure, ScenarioSpec

START = datetime(2025, 1, 1, tzinfo=UTC)
COUNT = 150_000
HORIZONS = np.array([1.0, 4.0])
MEANS = np.array([0.004, -0.006, 0.003, 0.0])
"""a day; large, so that a forgotten drift is seen"""
RATES = ((1.0, 0.30), (10.0, 0.90))
DAILY_RATE = (0.30 + 0.60 * 3.0 / 9.0) / 365.0
"""zero rate at the longest horizon of 4 days, between the tenors of 1 and 10"""
MODELS = ("gbm", "garch", "filtered_historical")
LIMIT = 4.0


def market() -> SimpleNamespace:
    moves = 0.03 * normal(5, 0, 500, 4)[:, 0, :].T
    moves += MEANS - moves.mean(axis=0)
    level = np.vstack([np.zeros(4), np.cumsum(moves, axis=0)])
    rows = [(START + timedelta(days=i), a, 100.0 * np.exp(level[i, k])) for k, a in enumerate(("A", "B", "A.IV30", "B.IV30")) for i in range(501)]
    frame = pd.DataFrame(rows, columns=["timestamp", "asset", "close"])
    frame["timestamp"] = pd.to_datetime(frame["timestamp"], utc=True).astype("datetime64[ns, UTC]")
    return SimpleNamespace(history=frame, valuation_time=START + timedelta(days=500), rates={"USD": RATES}, reporting_currency="USD")


def asked(model: str, measure: Measure, **more: object) -> ScenarioSpec:
    return ScenarioSpec(model=model, measure=measure, horizons=(1.0, 4.0), count=COUNT, seed=5, filter="ewma", **more)  # type: ignore[arg-type]


def states(model: str, measure: Measure) -> np.ndarray:
    spec = asked(model, measure)
    return draw(calibrate_model(market(), spec)[0].scenarios(HORIZONS, spec))


@pytest.mark.parametrize("model", MODELS)
def test_prices_earn_the_rate_under_pricing_and_nothing_under_margin(model: str) -> None:
    for measure, daily in (("pricing", DAILY_RATE), ("margin", 0.0)):
        x = states(model, measure)  # type: ignore[arg-type]
        for d, days in enumerate(HORIZONS):
            for k in (0, 1):
                assert abs(score(np.exp(x[d, k]), float(np.exp(daily * days)))) < LIMIT
                assert abs(score(x[d, 2 + k], 0.0)) < LIMIT  # volatilities do not earn it
    assert abs(score(np.exp(states(model, "pricing")[1, 0]), 1.0)) > LIMIT  # a drift that is forgotten shows: 0.55 % over 4 days
    assert calibrate_model(market(), asked(model, "pricing"))[0].drift[:2] == pytest.approx(DAILY_RATE, rel=1e-12)


@pytest.mark.parametrize("model", MODELS)
def test_fitted_means_drive_the_historical_measure_and_are_flagged(model: str) -> None:
    made, report = calibrate_model(market(), asked(model, "historical"))
    assert report.warnings[0].startswith("UPM-CA-111 ") and "means" in report.warnings[0]
    np.testing.assert_allclose(made.drift, MEANS, atol=1e-12)
    x = states(model, "historical")
    for d, days in enumerate(HORIZONS):
        for k in range(4):
            assert abs(score(x[d, k], MEANS[k] * days)) < LIMIT
    assert abs(score(x[1, 0], 0.0)) > LIMIT
    for other in ("margin", "pricing"):
        assert not any("UPM-CA-111" in w for w in calibrate_model(market(), asked(model, other))[1].warnings)  # type: ignore[arg-type]


def test_windows_of_the_history_are_flagged_too() -> None:
    for model in ("historical", "scaled_historical"):
        assert calibrate_model(market(), asked(model, "historical"))[1].warnings[0].startswith("UPM-CA-111 ")


def test_a_file_without_means_is_refused_under_historical(tmp_path: Path) -> None:
    where, path = market(), tmp_path / "covariance.toml"
    fit = calibrate_covariance(where.history, factor_names(["A", "B"]), where.valuation_time)
    write_parameters(replace(fit, daily_mean=np.zeros(0)), path)
    assert not len(read_parameters(path).daily_mean)
    with pytest.raises(CalibrationError, match="UPM-CA-111"):
        calibrate_model(where, asked("gbm", "historical", parameters=str(path)))
    write_parameters(fit, path)
    made, report = calibrate_model(where, asked("gbm", "historical", parameters=str(path)))
    np.testing.assert_allclose(made.drift, MEANS, atol=1e-12)
    assert "UPM-CA-111" in report.warnings[0]
