"""The target of a correlation regime: estimated by hand from the closes of its period, or read from the parameter file, and repaired."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from upm_gpu.calibrate.covariance import calibrate_covariance, factor_names
from upm_gpu.calibrate.model_of_spec import calibrate_model
from upm_gpu.calibrate.parameter_file import read_parameters, write_parameters
from upm_gpu.calibrate.stressed import correlation_regimes
from upm_gpu.errors import CalibrationError, InputError
from upm_gpu.model.registry import read_model
from upm_gpu.rng.normal import normal
from upm_gpu.scenario.spec import RegimeSpec, ScenarioSpec

START = datetime(2025, 1, 1, tzinfo=UTC)
DAYS = 400
FACTORS = factor_names(["A", "B"])
SERIES = ("A", "B", "A.IV30", "B.IV30")
MATRIX = [[1.0, 0.9], [0.9, 1.0]]


def changes() -> np.ndarray:
    """(DAYS - 1, 4) log-changes, closer together from day 100 to 160."""
    own, common = normal(5, 0, DAYS - 1, 4)[:, 0, :].T, normal(6, 0, DAYS - 1, 1)[0, 0]
    own[99:159] = 0.4 * own[99:159] + common[99:159, None] * np.array([1.0, 1.0, -1.0, -1.0])
    return 0.03 * own


def market(without: slice = slice(0, 0)) -> SimpleNamespace:
    """Daily closes at 24:00Z of 400 days from 1 January 2025; B.IV30 lacks the days of `without`."""
    level = np.vstack([np.zeros(4), np.cumsum(changes(), axis=0)])
    rows = [(START + timedelta(days=i + 1), a, 100.0 * np.exp(level[i, k])) for k, a in enumerate(SERIES) for i in range(DAYS) if not (a == "B.IV30" and i in range(DAYS)[without])]
    frame = pd.DataFrame(rows, columns=["timestamp", "asset", "close"])
    frame["timestamp"] = pd.to_datetime(frame["timestamp"], utc=True).astype("datetime64[ns, UTC]")
    return SimpleNamespace(history=frame, valuation_time=START + timedelta(days=DAYS), rates={}, reporting_currency="USD")


def regime(start: str = "2025-04-11", end: str = "2025-06-09", **more: object) -> ScenarioSpec:
    return ScenarioSpec(correlation_regimes=(RegimeSpec("crash", 0.1, 1.0, "stressed_period", start, end),), **more)  # type: ignore[arg-type]


def test_a_period_by_hand() -> None:
    """From the close before 11 April (day 99) to the close of 9 June (day 159): 60 changes, EWMA, newest last."""
    where, spec = market(), regime()
    model, fit = calibrate_model(where, spec)
    (found,) = correlation_regimes(where, spec, model, fit)
    r = changes()[99:159]
    weight = 0.97 ** np.arange(59, -1, -1.0)
    moment = (r * weight[:, None]).T @ r
    expected = moment / np.sqrt(np.outer(np.diag(moment), np.diag(moment)))
    order = [FACTORS.index(f) for f in found.factors]
    np.testing.assert_allclose(found.target, expected[np.ix_(order, order)], atol=1e-12)
    assert found.target[0, 1] > 0.75 > 0.6 > fit.correlation[0, 1]
    assert found.distance == 0.0 and found.source == "60 returns, 2025-04-11T00:00:00Z to 2025-06-10T00:00:00Z"


def test_the_estimator_is_that_of_the_base() -> None:
    """A period that is the whole history gives the base matrix, for every estimator."""
    for more in ({}, {"estimator": "ledoit_wolf"}, {"correlation": "kendall"}, {"ewma_lambda": 0.9}):
        where, spec = market(), regime("2025-01-02", "2026-02-04", **more)
        model, fit = calibrate_model(where, spec)
        (found,) = correlation_regimes(where, spec, model, fit)
        np.testing.assert_allclose(found.target, fit.correlation, atol=1e-12)


def test_prices_alone_for_a_model_of_prices(tmp_path: Path) -> None:
    path = tmp_path / "heston.toml"
    path.write_text('schema_version = 1\nkind = "heston"\nunderlyings = ["B", "A"]\ninitial_variance = 0.3\nmean_reversion = 2.0\nlong_variance = 0.3\n'
                    "volatility_of_variance = 1.0\nrho = -0.4\ncorrelation = [[1.0, 0.5], [0.5, 1.0]]\nstressed_correlation = [[1.0, 0.9], [0.9, 1.0]]\n")
    where, spec = market(), regime(model="heston", parameters=str(path))
    found = correlation_regimes(where, spec, read_model(spec), None)[0]
    full = correlation_regimes(where, regime(), *calibrate_model(where, regime()))[0]
    assert found.factors == ("log_level[B]", "log_level[A]")
    assert found.target[0, 1] == pytest.approx(full.target[full.factors.index("log_level[A]"), full.factors.index("log_level[B]")], abs=1e-12)
    given = correlation_regimes(where, replace(spec, correlation_regimes=regime("", "").correlation_regimes), read_model(spec), None)[0]
    assert given.source == "parameter file" and given.target.tolist() == MATRIX


def test_residuals_of_a_garch_filter() -> None:
    where, spec = market(), regime(model="garch", filter="ewma", marginal="gaussian", copula="gaussian")
    model, fit = calibrate_model(where, spec)
    (found,) = correlation_regimes(where, spec, model, fit)
    e = fit.residuals[99:159]
    moment = e.T @ e
    np.testing.assert_allclose(found.target, moment / np.sqrt(np.outer(np.diag(moment), np.diag(moment))), atol=1e-12)
    assert found.source.startswith("60 residuals, ")


def test_a_volatility_index_that_the_period_lacks_is_named() -> None:
    where, spec = market(slice(95, 170)), regime()
    found = correlation_regimes(where, spec, *calibrate_model(where, spec))[0]
    assert "(realised volatility for volatility_shift[B])" in found.source
    whole = correlation_regimes(market(), spec, *calibrate_model(market(), spec))[0]
    price = [found.factors.index(f) for f in ("log_level[A]", "log_level[B]", "volatility_shift[A]")]
    np.testing.assert_array_equal(found.target[np.ix_(price, price)], whole.target[np.ix_(price, price)])


@pytest.mark.parametrize(("start", "end"), [("2024-12-31", "2025-03-01"), ("2025-12-01", "2026-02-05"), ("2026-03-01", "2026-04-01"), ("2025-05-01T00:00:00Z", "2026-02-05T12:00:00Z")])
def test_a_period_outside_the_history_is_refused(start: str, end: str) -> None:
    where, spec = market(), regime(start, end)
    with pytest.raises(CalibrationError, match="UPM-CA-151") as caught:
        correlation_regimes(where, spec, *calibrate_model(where, spec))
    assert "2025-01-02T00:00:00Z" in str(caught.value)


def test_a_period_that_is_too_short_is_refused() -> None:
    where, spec = market(), regime("2025-05-01", "2025-05-05")
    for model in ("gbm", "garch"):
        with pytest.raises(CalibrationError, match="UPM-CA-107"):
            correlation_regimes(where, spec, *calibrate_model(where, replace(spec, model=model, filter="ewma")))


def test_neither_period_nor_matrix_is_refused() -> None:
    where, spec = market(), regime("", "")
    with pytest.raises(CalibrationError, match="UPM-CA-151"):
        correlation_regimes(where, spec, *calibrate_model(where, spec))


def test_the_matrix_of_a_covariance_file_is_repaired_and_comes_back(tmp_path: Path) -> None:
    where = market()
    fit = calibrate_covariance(where.history, FACTORS, where.valuation_time)
    bent = np.array(fit.correlation)
    bent[:2, :2] = 1.0
    bent[0, 2] = bent[2, 0] = 0.25
    bent[1, 2] = bent[2, 1] = 0.1
    path = tmp_path / "covariance.toml"
    write_parameters(replace(fit, stressed_correlation=bent), path)
    np.testing.assert_array_equal(read_parameters(path).stressed_correlation, bent)
    spec = regime("", "", parameters=str(path))
    (found,) = correlation_regimes(where, spec, *calibrate_model(where, spec))
    assert found.distance > 1e-3 and np.linalg.eigvalsh(found.target)[0] > -1e-9
    path.write_text(path.read_text().replace("stressed_correlation = [", "stressed_correlation = [[1.0],"))
    with pytest.raises(InputError, match="UPM-CA-108"):
        read_parameters(path)
