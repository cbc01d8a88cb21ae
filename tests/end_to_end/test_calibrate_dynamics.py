"""`upm calibrate dynamics` through the command line: from daily chains, from a history; `upm run` moves surfaces as its file says."""

from __future__ import annotations

import json
import tomllib
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from command_line import here, small_run

from upm_gpu.calibrate.model_of_spec import gbm_parameters
from upm_gpu.calibrate.parameter_file import read_parameters
from upm_gpu.formula.black import black_undiscounted
from upm_gpu.scenario.spec import ScenarioSpec

DAYS = 34


@pytest.fixture(scope="module")
def chains(tmp_path_factory):
    """A table of daily chains: two expiries of seven strikes whose volatility and skew follow a known path, quoted with a noise of a tenth of a point; and that path."""
    rng = np.random.default_rng(6)
    z = rng.standard_normal((DAYS, 3)) @ np.linalg.cholesky(np.array([[1.0, -0.8, 0.0], [-0.8, 1.0, 0.0], [0.0, 0.0, 1.0]])).T * [0.03, 0.05, 0.03]
    spot, level, skew = 70_000.0 * np.exp(np.cumsum(z[:, 0])), 0.5 * np.exp(np.cumsum(z[:, 1])), -0.15 + np.cumsum(z[:, 2]) * 0.6
    rows = ["timestamp,instrument_name,index_price,underlying_price,mark_iv,mark_price,bid_price,ask_price"]
    for i in range(DAYS):
        now = datetime(2026, 1, 1, 9, tzinfo=UTC) + timedelta(days=i)
        for day in ("27FEB26", "26JUN26"):
            years = (datetime.strptime(day, "%d%b%y").replace(hour=8, tzinfo=UTC) - now) / timedelta(days=365)
            deviation = level[i] * np.sqrt(years)
            for x in (-1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5):
                strike = round(float(spot[i] * np.exp(x * deviation)), -1)
                k = np.log(strike / spot[i])
                sigma = level[i] * (1.0 + skew[i] * k / deviation + 0.05 * (k / deviation) ** 2) + 0.001 * rng.standard_normal()
                side = 1.0 if strike >= spot[i] else -1.0
                mark = float(black_undiscounted(spot[i], strike, -k, sigma * np.sqrt(years), side)) / spot[i]
                rows.append(f"{now:%Y-%m-%dT%H:%M:%SZ},BTC-{day}-{strike:.0f}-{'C' if side > 0 else 'P'},{spot[i]:.12g},{spot[i]:.12g},{sigma:.12g},{mark:.12g},{0.98 * mark:.6g},{1.02 * mark:.6g}")
    path = tmp_path_factory.mktemp("chains") / "chains.csv"
    path.write_text("\n".join(rows) + "\n")
    return path, spot, level, skew


def test_chains_become_series_and_dynamics(chains, tmp_path, capsys, monkeypatch):
    path, spot, level, skew = chains
    done = here(capsys, monkeypatch, "calibrate", "dynamics", path, "--out", tmp_path / "d.toml", "--estimator", "equal", "--series", tmp_path / "series.csv", "--page", tmp_path / "d.html", "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)["parameters"]
    row = found["spot-volatility correlation BTC"]
    assert abs(row["value"] + 0.8) < 3.0 * row["standard_error"] and row["standard_error"] < 0.15
    row = found["daily volatility volatility BTC"]
    assert row["value"] == pytest.approx(float(np.std(np.diff(np.log(level)))), rel=0.1)
    closes = {a: np.array([float(line.split(",")[2]) for line in (tmp_path / "series.csv").read_text().splitlines() if f",{a}," in line]) for a in ("BTC", "BTC.IV30", "BTC.SKEW30", "BTC.SLOPE30")}
    np.testing.assert_allclose(closes["BTC"], spot, rtol=1e-10)
    np.testing.assert_allclose(closes["BTC.IV30"], level, atol=0.004)
    assert np.corrcoef(np.log(closes["BTC.SKEW30"]), skew)[0, 1] > 0.9
    page = (tmp_path / "d.html").read_text()
    assert page.count("<svg") == 5 and "Negative is wrong way" in page and "<script" not in page
    again = here(capsys, monkeypatch, "calibrate", "dynamics", tmp_path / "series.csv", "--out", tmp_path / "e.toml", "--estimator", "equal", "--json")
    assert json.loads(again.out)["parameters"] == json.loads(done.out)["parameters"]
    here(capsys, monkeypatch, "calibrate", "dynamics", tmp_path / "series.csv", "--out", tmp_path / "g.toml", "--volatility-dynamics", "sticky_strike").refused(3, "UPM-CA-233")


@pytest.fixture(scope="module")
def history(tmp_path_factory):
    """150 days of two coins, their volatilities and skews; skews revert with a half-life of two days."""
    rng = np.random.default_rng(8)
    z = rng.standard_normal((150, 6))
    z[:, 2:4] = -0.7 * z[:, :2] + 0.7 * z[:, 2:4]
    value = np.cumsum(z[:, :4] * 0.03, axis=0)
    skew = np.zeros((150, 2))
    for i in range(1, 150):
        skew[i] = 2.0**-0.5 * skew[i - 1] + 0.02 * z[i, 4:]
    value = np.column_stack([value, skew]) + np.log([70_000.0, 2_000.0, 0.55, 0.7, 0.9, 0.9])
    names = ("BTC", "ETH", "BTC.IV30", "ETH.IV30", "BTC.SKEW30", "ETH.SKEW30")
    rows = ["timestamp,asset,close", *(f"{datetime(2025, 9, 8, 9, tzinfo=UTC) + timedelta(days=i):%Y-%m-%dT%H:%M:%SZ},{a},{float(np.exp(v))!r}" for i in range(150) for a, v in zip(names, value[i], strict=True))]
    path = tmp_path_factory.mktemp("history") / "history.csv"
    path.write_text("\n".join(rows) + "\n")
    return path


def test_a_run_moves_surfaces_as_the_file_says(history, tmp_path, capsys, monkeypatch):
    out = tmp_path / "dynamics.toml"
    done = here(capsys, monkeypatch, "calibrate", "dynamics", history, "--out", out)
    assert done.code == 0 and "spot-volatility correlation BTC" in done.out and "volatility BTC" in done.out and "no half-life" in done.out
    fit = read_parameters(out)
    assert fit.factors[-1] == "volatility_skew[ETH]" and fit.volatility_dynamics == "sticky_moneyness"
    assert np.all(fit.half_life_days[:4] == 0.0) and np.all((fit.half_life_days[4:] > 1.0) & (fit.half_life_days[4:] < 5.0))
    made = gbm_parameters(fit, ScenarioSpec())
    assert made.half_life_days is not None and made.half_life_days.tolist() == fit.half_life_days.tolist()
    asked = gbm_parameters(fit, ScenarioSpec(level_half_life=9.0)).half_life_days
    assert asked is not None and asked[2:4].tolist() == [9.0, 9.0] and asked[4:].tolist() == fit.half_life_days[4:].tolist()
    asked = gbm_parameters(fit, ScenarioSpec(skew_half_life=30.0)).half_life_days
    assert asked is not None and asked[4:].tolist() == [30.0, 30.0]
    config = """schema_version = 1
[book]
path = "book"
[market]
path = "market"
[model]
horizons = ["2d"]
surface_factors = ["level", "skew"]
parameters = "../dynamics.toml"
[scenarios]
count = 4096
seed = 7
"""
    folder = small_run(tmp_path / "run", config=config)
    done = here(capsys, monkeypatch, "run", folder / "run.toml", "--out", tmp_path / "done")
    assert done.code == 0, done.err
    derived = json.loads((tmp_path / "done" / "manifest.json").read_text())["derived_states"]
    assert any(name.startswith("volatility_skew[BTC,") for name in derived)
    (folder / "strike.toml").write_text(config.replace("[model]", '[model]\nvolatility_dynamics = "sticky_strike"'))
    here(capsys, monkeypatch, "run", folder / "strike.toml", "--out", tmp_path / "never").refused(3, "UPM-CA-238", "sticky_moneyness")
    bad = out.read_text().replace("half_life_days = [", "half_life_days = [1.0, ", 1)
    (tmp_path / "dynamics.toml").write_text(bad)
    here(capsys, monkeypatch, "run", folder / "run.toml", "--out", tmp_path / "never").refused(3, "UPM-CA-108", "half_life_days")
    assert tomllib.loads(bad)["provenance"]["dynamics"]["reversion"] == "tested"


def test_refusals(history, tmp_path, capsys, monkeypatch):
    for arguments in (("--reversion", "maybe"), ("--estimator", "ledoit_wolf"), ("--volatility-dynamics", "sticky"), ("--underlying", "SOL")):
        here(capsys, monkeypatch, "calibrate", "dynamics", history, "--out", tmp_path / "x.toml", *arguments).refused(3, "UPM-CA-233")
    short = tmp_path / "short.csv"
    short.write_text("\n".join(history.read_text().splitlines()[:150]) + "\n")
    here(capsys, monkeypatch, "calibrate", "dynamics", short, "--out", tmp_path / "x.toml").refused(3, "UPM-CA-232")
