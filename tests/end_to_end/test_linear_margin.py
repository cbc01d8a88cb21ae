"""Long histories under a methodology file: the engine's day is the back-test's day, and the initial margin stands beside the margin tested."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from command_line import here
from rolling_case import MODELS, closes, configuration, written

from upm_gpu.backend.select import choose
from upm_gpu.backtest.config import load_backtest
from upm_gpu.backtest.folder import run_backtest
from upm_gpu.backtest.forecast import estimate, scenarios_of, spec_of
from upm_gpu.backtest.linear_margin import outcome_of
from upm_gpu.backtest.rolling import _day, _states, walks
from upm_gpu.risk.dependence import dependence_of
from upm_gpu.risk.tail import finish
from upm_gpu.shipped import find_file

ONE_DAY = 'schema_version = 1\nname = "one day"\nversion = "1"\neffective_date = 2026-01-01\n[core]\nhorizon = "1d"\n'


def text_of(models, methodology: str, **more) -> str:
    """A back-test with a straddle, every model under a methodology."""
    text = configuration(models, **more).replace('assets = ["AAA", "BBB"]\n', 'assets = ["AAA", "BBB"]\nvolatility = ["AAA"]\n')
    text = text.replace("[[models]]", '[[portfolios]]\nkind = "straddle"\ngroups = ["two"]\n[[models]]', 1)
    for name in MODELS.values():
        text = text.replace(f'\nmodel = "{name}"\n', f'\nmodel = "{name}"\nmethodology = "{methodology}"\n')
    return text


def test_the_engine_sees_the_same_day(tmp_path):
    """Expected shortfall of every portfolio, straddles included, of a run over the day's book and market is the back-test's own, three windows after the estimate."""
    (tmp_path / "one_day.toml").write_text(ONE_DAY)
    config, _ = load_backtest(written(tmp_path, text_of(("gbm", "fhs", "hs"), "one_day.toml")))
    choice = choose("auto", "double", 1)
    for w in walks(config, closes())[0]:
        spec = spec_of(w.entry, config.scenarios, 1, "calendar")
        law = estimate(w.past, float(w.past.time[w.places[0, 0]]), spec)
        begin, end = (int(x) for x in w.places[3])
        own = _day(w.past, w.held, _states(choice, scenarios_of(law, w.past, float(w.past.time[begin]), spec)), begin, end, config)
        outcome = outcome_of(w.past, w.held, law, begin, spec, w.methodology, choice, "USD", 1e6)
        measured = finish(outcome.tail, [0.99], dependence_of(outcome.plan.scenarios))[0.99].expected_shortfall[0]
        place = {n: i for i, n in enumerate(outcome.plan.units.names)}
        assert len(place) == 7 and outcome.plan.horizons == (1.0,)
        np.testing.assert_allclose([measured[place[n]] / 1e6 for n in w.held.names], own[:, 3], rtol=1e-10, err_msg=w.entry.name)


def test_the_initial_margin_stands_beside_and_is_counted(tmp_path, capsys, monkeypatch):
    """House 2 with every charge under a model of dates; margins, exceptions and goals are those without it, to the bit."""
    text = text_of(("fhs",), "configs/methodology/house_v2.toml", start="2021-02-18").replace('"filtered_historical"\n', '"filtered_historical"\nacross_dates = "rearranged"\n', 1)
    plain = text.replace('methodology = "configs/methodology/house_v2.toml"\n', "").replace('across_dates = "rearranged"\n', "")
    tables = {}
    for name, config in (("with", text), ("without", plain)):
        (tmp_path / name).mkdir()
        run_backtest(written(tmp_path / name, config), tmp_path / name / "out", True)
        tables[name] = pd.read_parquet(tmp_path / name / "out" / "backtest.parquet")
    asked = tables["with"].pop("initial_margin")
    pd.testing.assert_frame_equal(tables["with"], tables["without"], check_exact=True)
    assert len(asked) > 30 and (asked > tables["with"]["margin"]).all()
    summary = pd.read_csv(tmp_path / "with" / "out" / "summary.csv")
    assert summary["mean_initial_margin"].mean() == pytest.approx(asked.groupby(tables["with"]["portfolio"]).mean().mean())
    assert summary["initial_margin_exceptions"].sum() == int((tables["with"]["loss"] > asked).sum())
    assert "above initial margin" in (tmp_path / "with" / "out" / "backtest.html").read_text() and "above initial margin" not in (tmp_path / "without" / "out" / "backtest.html").read_text()
    assert here(capsys, monkeypatch, "verify", tmp_path / "with" / "out").code == 0


@pytest.mark.parametrize(("models", "methodology", "code", "words"), [
    (("fhs",), "configs/methodology/house_v2.toml", "UPM-CA-139", ["across_dates"]),
    (("gbm",), "configs/methodology/stans_v1.toml", "UPM-CA-195", ["5 February 2018", "2018-02-02"]),
    (("gbm",), "configs/methodology/okx_pm_v2025.toml", "UPM-CF-125", ["rule book"]),
])
def test_what_the_history_does_not_have_is_refused_by_name(tmp_path, capsys, monkeypatch, models, methodology, code, words):
    assert find_file("configs/methodology/house_v2.toml").is_file()
    path = written(tmp_path, text_of(models, methodology, start="2021-02-20"))
    here(capsys, monkeypatch, "backtest", path, "--out", tmp_path / "out", "--quiet").refused(3, code, *words)
