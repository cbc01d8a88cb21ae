"""`upm calibrate garch` and what `upm run` makes of its file, through the command line; the file's complaints."""

from __future__ import annotations

import json
import math
import tomllib
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from command_line import here, upm

from upm_gpu.calibrate.garch_given import read_garch, series_name
from upm_gpu.calibrate.model_of_spec import calibrate_model
from upm_gpu.calibrate.panel import filter_panel, history_panel
from upm_gpu.errors import InputError
from upm_gpu.market.reader import load_market
from upm_gpu.scenario.spec import ScenarioSpec
from upm_gpu.shipped import resolve_sample

POUNDS = Path(__file__).parents[1] / "known_answers" / "reference" / "dem_gbp_bg96.json"
RUN = 'schema_version = 1\n[model]\nname = "{name}"\nhorizons = ["0.999d", "2d"]\n{more}[scenarios]\ncount = 4096\n[output]\nreport = false\n'
ONE = """schema_version = 1
kind = "garch"
valuation_time = "2026-02-05T09:36:47Z"
units = "percent"
asset = "BTC"
model = "gjr"
distribution = "student_t"
clock = "calendar"
omega = 0.5
alpha = 0.05
beta = 0.85
gamma = 0.04
nu = 3.5
"""


def pounds_history(folder: Path, business_days: bool) -> Path:
    """The 1,974 published returns as closes, one a day or one a weekday."""
    closes = np.exp(np.cumsum([0.0, *json.loads(POUNDS.read_text())["returns_percent"]]) / 100.0)
    day, rows = date(1984, 1, 2), ["date,asset,close"]
    for close in closes:
        rows.append(f"{day.isoformat()},DEMGBP,{float(close)!r}")
        day += timedelta(days=3 if business_days and day.weekday() == 4 else 1)
    path = folder / "history.csv"
    path.write_text("\n".join(rows) + "\n")
    return path


@pytest.mark.parametrize("business_days", [False, True])
def test_the_benchmark_through_the_command(tmp_path, capsys, monkeypatch, business_days):
    history, out = pounds_history(tmp_path, business_days), tmp_path / "p.toml"
    said = here(capsys, monkeypatch, "calibrate", "garch", history, "--asset", "DEMGBP", "--model", "garch", "--mean", "constant", "--distribution", "normal", "--out", out)
    assert said.code == 0, said.err
    data = tomllib.loads(out.read_text())
    for key, value in {"mu": -0.00619041, "omega": 0.0107613, "alpha": 0.153134, "beta": 0.805974}.items():
        assert data[key] == pytest.approx(value, rel=1e-4)
    assert data["log_likelihood"] == pytest.approx(-1106.60785082174, abs=1e-5)
    assert data["standard_errors_hessian"]["beta"] == pytest.approx(0.0335527, rel=1e-4)
    assert data["standard_errors"] == data["standard_errors_robust"]
    assert (data["gamma"], data["nu"], data["clock"]) == (0.0, math.inf, "sessions" if business_days else "calendar")
    assert "Bollerslev-Wooldridge" in said.out and "1974 returns" in said.out and "0.0724" in said.out


def test_weekends_count_where_the_clock_is_the_calendar(tmp_path):
    history = pounds_history(tmp_path, True)
    found = [json.loads(upm("calibrate", "garch", history, "--asset", "DEMGBP", "--clock", c, "--out", tmp_path / "p.toml", "--json").out) for c in ("sessions", "calendar")]
    ratio = [f["assets"]["DEMGBP"]["parameters"]["omega"]["value"] for f in found]
    assert ratio[0] != pytest.approx(ratio[1], rel=0.01)


def test_the_summary_as_json(tmp_path):
    said = upm("calibrate", "garch", "sample:crypto", "--asset", "BTC,BTC.IV30", "--model", "gjr", "--distribution", "skewed_t", "--errors", "hessian",
               "--out", tmp_path / "p.toml", "--json")
    found = json.loads(said.out)
    assert found["units"] == "percent" and found["standard_errors"] == "inverse Hessian"
    btc = found["assets"]["BTC"]
    assert btc["bounds"] == ["persistence"] and btc["parameters"]["beta"]["standard_error"] is None
    assert set(btc["parameters"]) == {"omega", "alpha", "beta", "gamma", "nu", "skewness"}
    file = read_garch(tmp_path / "p.toml")
    assert list(file.assets) == ["BTC", "BTC.IV30"]
    assert file.assets["BTC.IV30"].model.gamma < 0.0
    assert file.of("volatility_shift[BTC]") is file.assets["BTC.IV30"]


def write_start_fits(market, path: Path) -> ScenarioSpec:
    """A file of exactly what a run fits at its start."""
    spec = ScenarioSpec(model="garch", horizons=(1.0,), count=4096)
    made, _ = calibrate_model(market, spec)
    rows = ['schema_version = 1\nkind = "garch"\nvaluation_time = "2026-02-05T09:36:47Z"\nunits = "percent"']
    for name, model in zip(made.state_names, made.dynamics.model, strict=True):
        rows.append(f'[assets."{series_name(name)}"]\nmodel = "gjr"\ndistribution = "normal"\nclock = "calendar"\nomega = {model.omega * 1e4!r}\nalpha = {model.alpha!r}\n'
                    f"beta = {model.beta!r}\ngamma = {model.gamma!r}")
    path.write_text("\n".join(rows) + "\n")
    return spec


@pytest.mark.parametrize("name", ["garch", "filtered_historical"])
def test_parameters_equal_to_those_fitted_at_the_start_give_the_same_scenarios(tmp_path, name):
    """Percent and back is one rounding: 1e-12 of a factor's deviation is far above it and far below any margin."""
    from dataclasses import replace

    from upm_gpu.model.registry import reference_states

    market = load_market(resolve_sample("sample:crypto", "market"))
    spec = replace(write_start_fits(market, tmp_path / "p.toml"), model=name)
    made = [calibrate_model(market, replace(spec, parameters=p)) for p in ("", str(tmp_path / "p.toml"))]
    assert made[1][1].warnings == made[0][1].warnings
    a, b = (reference_states(m.scenarios(np.array([1.0, 2.0]), spec), 0, 2000)[0] for m, _ in made)
    assert np.abs(a - b).max() < 1e-11
    assert np.abs(a).max() > 0.2


def test_the_file_moves_what_it_names_and_says_what_it_does_not(tmp_path):
    (tmp_path / "p.toml").write_text(ONE)
    market = load_market(resolve_sample("sample:crypto", "market"))
    from dataclasses import replace

    spec = ScenarioSpec(model="garch", parameters=str(tmp_path / "p.toml"), degrees_of_freedom=0.0, filter="garch")
    made, report = calibrate_model(market, spec)
    plain, _ = calibrate_model(market, replace(spec, parameters=""))
    k = made.state_names.index("log_level[BTC]")
    assert (made.dynamics.kind[k], made.dynamics.model[k].omega, made.innovation[k].degrees_of_freedom) == ("gjr", pytest.approx(5e-5, rel=1e-15), 3.5)
    for j, name in enumerate(made.state_names):
        if j != k:
            assert made.dynamics.model[j] == plain.dynamics.model[j], name
    panel = history_panel(market.history, made.state_names, market.valuation_time, 0.97)
    filtered = filter_panel(panel, "garch", 0.97, [("gjr", made.dynamics.model[k]) if i == k else None for i in range(len(made.state_names))])
    assert filtered.next_variance[k] == made.dynamics.variance[k]
    silent = [w for w in report.warnings if w.startswith("UPM-CA-187")]
    assert len(silent) == 1 and "log_level[ETH]" in silent[0] and "log_level[BTC]" not in silent[0]


def test_a_run_from_calibrated_files(tmp_path):
    """The whole way: fit every series of the sample, run the margin with the file, the margins are of the size of a fit at the start."""
    done = upm("calibrate", "garch", "sample:crypto", "--asset", "BTC,ETH,BTC.IV30,ETH.IV30", "--model", "gjr", "--distribution", "student_t", "--out", tmp_path / "p.toml")
    assert done.code == 0, done.err
    total = []
    for number, more in enumerate(("", 'parameters = "p.toml"\n')):
        config = tmp_path / f"{number}.toml"
        config.write_text(RUN.format(name="garch", more=more))
        done = upm("run", config, "--out", tmp_path / str(number))
        assert done.code in (0, 4), done.err
        total.append(float(pd.read_csv(tmp_path / str(number) / "margin.csv")["initial_margin"].sum()))
    assert "UPM-CA-186 p.toml: BTC: UPM-CA-182" in done.err
    assert (tmp_path / "1" / "inputs" / "parameters.toml").read_bytes() == (tmp_path / "p.toml").read_bytes()
    assert total[1] == pytest.approx(total[0], rel=0.3) and total[1] != total[0]


@pytest.mark.parametrize(("old", "new", "code", "words"), [
    ('units = "percent"', 'units = "decimal"', "UPM-CA-184", "percent"), ("schema_version = 1", "schema_version = 2", "UPM-CA-184", "schema_version"),
    ('kind = "garch"', 'kind = "covariance"', "UPM-CA-184", "kind"), ("alpha = 0.05", "alhpa = 0.05", "UPM-CA-184", "Did you mean alpha"),
    ("alpha = 0.05", 'alpha = "0.05"', "UPM-CA-184", "finite"), ("omega = 0.5\n", "", "UPM-CA-184", "missing"), ("omega = 0.5", "omega = nan", "UPM-CA-184", "nan"),
    ("beta = 0.85", "beta = 0.95", "UPM-CA-121", "long-run"), ("omega = 0.5", "omega = -0.5", "UPM-CA-120", "negative"), ("nu = 3.5", "nu = 2", "UPM-CA-184", "above 2"),
    ('model = "gjr"', 'model = "garch"', "UPM-CA-184", "gamma"), ('clock = "calendar"', 'clock = "sessions"', "UPM-CA-185", "--clock calendar"),
    ('asset = "BTC"', 'asset = "BTX"', "UPM-CA-185", "did you mean BTC"), ('asset = "BTC"', "asset = 3", "UPM-CA-184", "asset"),
    ("2026-02-05T09:36:47Z", "soon", "UPM-CA-184", "valuation_time"), ('asset = "BTC"', "assets = 1", "UPM-CA-184", "unknown key"), ("alpha =", "alpha", "UPM-CA-184", "not a parameter file")])
def test_files_that_are_refused(tmp_path, old, new, code, words):
    (tmp_path / "p.toml").write_text(ONE.replace(old, new, 1))
    market = load_market(resolve_sample("sample:crypto", "market"))
    with pytest.raises(InputError, match=f"{code}.*{words}"):
        calibrate_model(market, ScenarioSpec(model="garch", parameters=str(tmp_path / "p.toml")), ["BTC"])


def test_parameters_from_the_future_are_told(tmp_path):
    (tmp_path / "p.toml").write_text(ONE.replace("2026-02-05", "2026-02-06"))
    _, report = calibrate_model(load_market(resolve_sample("sample:crypto", "market")), ScenarioSpec(model="garch", parameters=str(tmp_path / "p.toml")), ["BTC"])
    assert any(w.startswith("UPM-CA-110") for w in report.warnings)


@pytest.mark.parametrize(("arguments", "code", "words"), [
    (["--asset", "BTX"], "UPM-CA-103", "BTC"), (["--asset", ","], "UPM-CA-181", "--asset"), (["--asset", "BTC", "--model", "egarch"], "UPM-CA-181", "garch, gjr"),
    (["--asset", "BTC", "--distribution", "t"], "UPM-CA-181", "student_t"), (["--asset", "BTC", "--mean", "ar"], "UPM-CA-181", "constant"), (["--asset", "BTC,BTC"], "UPM-CA-181", "--asset")])
def test_commands_that_are_refused(tmp_path, capsys, monkeypatch, arguments, code, words):
    here(capsys, monkeypatch, "calibrate", "garch", "sample:crypto", *arguments, "--out", tmp_path / "p.toml").refused(3, code, words)
    assert list(tmp_path.iterdir()) == []


def test_short_and_still_histories_are_refused(tmp_path, capsys, monkeypatch):
    for closes, code in (([100.0 + i % 3 for i in range(90)], "UPM-CA-122"), ([100.0] * 400, "UPM-CA-123")):
        rows = [f"{date(2024, 1, 1) + timedelta(days=i)},X,{c}" for i, c in enumerate(closes)]
        (tmp_path / "h.csv").write_text("date,asset,close\n" + "\n".join(rows) + "\n")
        here(capsys, monkeypatch, "calibrate", "garch", tmp_path / "h.csv", "--asset", "X", "--out", tmp_path / "p.toml").refused(3, code, "X")
    here(capsys, monkeypatch, "calibrate", "garch", "sample:crypto", "--asset", "BTC", "--out", tmp_path / "none" / "p.toml").refused(3, "UPM-CA-109", "--out")
