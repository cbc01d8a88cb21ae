"""Laws of the rolling back-test: no day knows its future, volatility goes on as a new estimate would have it, equal inputs give equal bits."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from rolling_case import MODELS, closes, configuration, written

from upm_gpu.backend.select import choose
from upm_gpu.backtest.config import Group, ModelEntry, Scenarios, load_backtest
from upm_gpu.backtest.forecast import day_seed, estimate, spec_of, variance_of
from upm_gpu.backtest.past import group_past
from upm_gpu.backtest.rolling import walk

CUT = pd.Timestamp("2021-02-05", tz="UTC")
FORECAST = ["value_at_risk", "expected_shortfall", "expected_shortfall_standard_error", "margin"]


def walked(folder, frame, models=("gbm", "fhs", "hs", "scaled", "garch"), extra="", **windows):
    path = written(folder, configuration(models, extra=extra, **windows), frame)
    return walk(load_backtest(path)[0], frame, choose("reference")).table


def test_changing_the_future_changes_nothing(tmp_path):
    frame = closes()
    changed = frame.copy()
    later = changed["timestamp"] > CUT
    changed.loc[later, "close"] *= np.exp(np.random.default_rng(1).normal(0, 0.5, int(later.sum())))
    volatile = 'volatility = ["AAA"]\n'
    texts = {}
    for name, data in (("as it was", frame), ("changed", changed)):
        path = written(tmp_path, configuration(tuple(MODELS), start="2021-01-28").replace('assets = ["AAA", "BBB"]\n', 'assets = ["AAA", "BBB"]\n' + volatile)
                       .replace("[[models]]", '[[portfolios]]\nkind = "straddle"\ngroups = ["two"]\n[[models]]', 1), data)
        texts[name] = walk(load_backtest(path)[0], data, choose("reference")).table
    cut = CUT.date().isoformat()  # a close at 24:00 of the fourth is stamped the fifth: windows that end by the fourth are whole, those that begin on it know nothing more
    before = {k: t[t["date"] < "2021-02-04"].reset_index(drop=True) for k, t in texts.items()}
    assert before["as it was"]["model"].nunique() == 5 and len(before["as it was"]) > 200
    pd.testing.assert_frame_equal(before["as it was"], before["changed"], check_exact=True)
    on_it = {k: t[t["date"] == "2021-02-04"].reset_index(drop=True) for k, t in texts.items()}
    pd.testing.assert_frame_equal(on_it["as it was"][FORECAST], on_it["changed"][FORECAST], check_exact=True)
    assert not np.array_equal(on_it["as it was"]["loss"], on_it["changed"]["loss"])
    assert not np.array_equal(*(t.loc[t["date"] > cut, "margin"] for t in texts.values()))  # the change is seen where it may be


@pytest.mark.parametrize("name", ["gbm", "filtered_historical", "scaled_historical", "garch"])
def test_variance_goes_on_as_an_estimate_of_the_day_has_it(name):
    group = Group(name="two", assets=["AAA", "BBB"])
    past = group_past(closes(), group, 0.97)
    spec = spec_of(ModelEntry(name=name, model=name, filter="gjr" if name == "garch" else "ewma"), Scenarios(count=500), 1, "calendar")
    early, late = float(past.time[330]), float(past.time[400])
    law = estimate(past, early, spec)
    np.testing.assert_allclose(variance_of(law, past, early, spec), law.variance, rtol=1e-9)
    later = variance_of(law, past, late, spec)
    assert np.all(np.abs(later / law.variance - 1.0) > 1e-3)
    again = estimate(past, late, spec).variance
    # exact where nothing but the recursion is estimated; else the coefficients and the residuals' variance have moved a little in 70 days
    np.testing.assert_allclose(later, again, rtol=1e-10 if name in ("gbm", "scaled_historical") else 0.35)


def test_a_gjr_filter_keeps_its_unit_factor():
    past = group_past(closes(), Group(name="two", assets=["AAA", "BBB"]), 0.97)
    spec = spec_of(ModelEntry(name="x", model="filtered_historical", filter="gjr"), Scenarios(count=500), 1, "calendar")
    law = estimate(past, float(past.time[400]), spec)
    assert np.all(np.abs(law.unit - 1.0) < 0.2)
    np.testing.assert_allclose(variance_of(law, past, law.time, spec), law.variance, rtol=1e-9)


def test_equal_inputs_give_equal_bits_whatever_the_other_models(tmp_path):
    frame = closes()
    alone, beside = walked(tmp_path, frame, ("hs",)), walked(tmp_path, frame, ("gbm", "hs"))
    pd.testing.assert_frame_equal(alone, beside[beside["model"] == "hs"].reset_index(drop=True), check_exact=True)
    other = walk(load_backtest(tmp_path / "backtest.toml")[0], frame, choose("cpu")).table
    np.testing.assert_allclose(other[FORECAST], beside[FORECAST], rtol=1e-12)


def test_days_have_seeds_of_their_own():
    seeds = {day_seed(7, float(t)) for t in range(15_000, 25_000)}
    assert len(seeds) == 10_000 and day_seed(2**64 - 1, 20_000.0) < 2**64
