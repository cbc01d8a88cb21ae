"""`upm calibrate copula` and `jumps` through the command line; `upm run` takes their files."""

from __future__ import annotations

import json
import tomllib
from datetime import date, timedelta

import numpy as np
import pytest
from command_line import here

from upm_gpu.calibrate.model_of_spec import gbm_parameters
from upm_gpu.calibrate.parameter_file import read_parameters
from upm_gpu.errors import CalibrationError
from upm_gpu.model import merton
from upm_gpu.scenario.spec import ScenarioSpec


@pytest.fixture(scope="module")
def history(tmp_path_factory):
    """500 days of two coins with common jumps, and a volatility."""
    rng = np.random.default_rng(11)
    days = 500
    n = rng.poisson(20.0 / 365.0, days)
    common = n * -0.02 + np.sqrt(n) * 0.06 * rng.standard_normal(days)
    z = rng.standard_normal((days, 2)) @ np.linalg.cholesky(np.array([[1.0, 0.7], [0.7, 1.0]])).T * [0.02, 0.025]
    x = z + common[:, None] * [1.0, 1.2]
    sigma = np.cumsum(0.03 * rng.standard_t(5, days) - 1.5 * x[:, 0]) * 0.3
    path = tmp_path_factory.mktemp("history") / "history.csv"
    rows = ["date,asset,close"]
    for i in range(days):
        day = (date(2024, 1, 1) + timedelta(days=i)).isoformat()
        for asset, value in (("AAA", 100.0 * np.exp(x[: i + 1, 0].sum())), ("BBB", 50.0 * np.exp(x[: i + 1, 1].sum())), ("AAA.IV30", 0.6 * np.exp(sigma[i]))):
            rows.append(f"{day},{asset},{float(value)!r}")
    path.write_text("\n".join(rows) + "\n")
    return path


def test_jumps_to_a_file_of_merton(history, tmp_path, capsys, monkeypatch):
    out = tmp_path / "jumps.toml"
    done = here(capsys, monkeypatch, "calibrate", "jumps", history, "--out", out, "--page", tmp_path / "jumps.html", "--json")
    assert done.code == 0, done.err
    page = (tmp_path / "jumps.html").read_text()
    assert page.count("<svg") == 2 and "own intensity BBB" in page and "<script" not in page
    found = json.loads(done.out)
    assert found["log_likelihood"] > found["log_likelihood_without_jumps"] + 20.0
    row = found["parameters"]["systemic loading BBB"]
    assert row["value"] == pytest.approx(1.2, abs=3.5 * row["standard_error"]) and row["t"] == pytest.approx(row["value"] / row["standard_error"], rel=1e-6)
    model = merton.read(str(out), ScenarioSpec(model="merton", parameters=str(out)))
    assert model.state_names == ("log_level[AAA]", "log_level[BBB]", "volatility_shift[AAA]")
    assert model.jumps.systemic_loading.tolist()[0] == 1.0 and model.jumps.systemic_loading[2] == 0.0
    whole = model.daily_volatility[0] ** 2 + (model.jumps.systemic_intensity * (model.jumps.systemic_mean**2 + model.jumps.systemic_deviation**2)
                                              + model.jumps.own_intensity[0] * (model.jumps.own_mean[0] ** 2 + model.jumps.own_deviation[0] ** 2)) / 365.0
    closes = np.array([float(line.split(",")[2]) for line in history.read_text().splitlines() if ",AAA," in line])
    assert np.sqrt(whole) == pytest.approx(float(np.std(np.diff(np.log(closes)))), rel=0.05)
    text = here(capsys, monkeypatch, "calibrate", "jumps", history, "--out", out, "--assets", "AAA").out
    assert "own intensity AAA" in text and "systemic" not in text and "without jumps" in text


def test_copula_to_a_file_of_gbm(history, tmp_path, capsys, monkeypatch):
    out = tmp_path / "copula.toml"
    done = here(capsys, monkeypatch, "calibrate", "copula", history, "--out", out, "--filter", "none", "--page", tmp_path / "copula.html", "--json")
    assert done.code == 0, done.err
    assert (tmp_path / "copula.html").read_text().count("<svg") == 3
    found = json.loads(done.out)["parameters"]
    assert found["spot-volatility correlation AAA"]["value"] < -0.5 and found["correlation log_level[AAA] log_level[BBB]"]["value"] > 0.5
    fit = read_parameters(out)
    assert fit.copula_degrees_of_freedom == pytest.approx(found["copula_degrees_of_freedom"]["value"], rel=1e-6) and fit.dependence == "kendall"
    taken = gbm_parameters(fit, ScenarioSpec(degrees_of_freedom=0.0, copula_degrees_of_freedom=0.0))
    assert taken.marginal_degrees_of_freedom is not None and taken.marginal_degrees_of_freedom.tolist() == fit.degrees_of_freedom.tolist()
    assert taken.copula_degrees_of_freedom == fit.copula_degrees_of_freedom
    assert tomllib.loads(out.read_text())["kind"] == "covariance"


def test_refusals(history, tmp_path, capsys, monkeypatch):
    done = here(capsys, monkeypatch, "calibrate", "copula", history, "--out", tmp_path / "x.toml", "--filter", "garch")
    assert done.code == 3 and "UPM-CA-223" in done.err
    short = tmp_path / "short.csv"
    short.write_text("\n".join(history.read_text().splitlines()[:301]) + "\n")
    done = here(capsys, monkeypatch, "calibrate", "jumps", short, "--out", tmp_path / "x.toml")
    assert done.code == 3 and "UPM-CA-220" in done.err
    done = here(capsys, monkeypatch, "calibrate", "copula", short, "--out", tmp_path / "x.toml")
    assert done.code == 3 and "UPM-CA-222" in done.err


def test_fitted_degrees_of_freedom_must_exist(history, tmp_path, capsys, monkeypatch):
    done = here(capsys, monkeypatch, "calibrate", "covariance", history, "--out", tmp_path / "c.toml")
    assert done.code == 0
    text = (tmp_path / "c.toml").read_text()
    bad = "\n".join("copula_degrees_of_freedom = nan" if line.startswith("copula_degrees") else line for line in text.splitlines())
    (tmp_path / "n.toml").write_text(bad + "\n")
    with pytest.raises(CalibrationError, match="UPM-CA-219"):
        gbm_parameters(read_parameters(tmp_path / "n.toml"), ScenarioSpec(copula_degrees_of_freedom=0.0))
