"""The extreme-value estimator through a methodology: the core and the charges derived from it by hand from the same scenarios, what is reported, what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from small_book import STUDENT, methodology, read, write

from upm_gpu.backend import reference
from upm_gpu.engine import margin_run
from upm_gpu.errors import InputError
from upm_gpu.margin.methodology import load_methodology
from upm_gpu.plan import make_plan
from upm_gpu.risk.extreme_value import with_extreme_values
from upm_gpu.risk.tail import finish
from upm_gpu.scenario.spec import ScenarioSpec
from upm_gpu.shipped import find_file

SPEC = ScenarioSpec(count=8192, seed=7, horizons=(1.0, 2.0))
BOOK = "account_id,instrument_id,quantity\nLONG,BTC-LINEAR,2\nMIXED,BTC-P60,-5\nMIXED,BTC-LINEAR,-1\nMIXED,ETH-PERP,20000\nNOTHING,BTC-LINEAR,0\n"
FITTED = {"estimator": "extreme_value", "tail_share": 0.04}
MODEL_RISK = [{"name": "dependence", "count": 6000}, {"name": "concentration"}]


def state(plan, scenarios, count):
    """The tail of every unit, all scenarios kept."""
    with reference.prepare(plan.compiled, plan.rows, "double") as prepared:
        return reference.row_tail(prepared, replace(scenarios, count=count), 0, count, count, None)


def test_core_and_charges_by_hand(tmp_path):
    """ES and its error of every unit are those of the law fitted to all its losses; so are the perfect and zero sets of the dependence charge."""
    book, market = read(write(tmp_path, BOOK))
    rules = methodology(core=FITTED, charges=MODEL_RISK)
    plan = make_plan(book, market, SPEC, rules, STUDENT)
    result = margin_run(book, market, SPEC, rules, "cpu", precision="double", model=STUDENT)
    for request, measure in result.measured.measures.items():
        assert request.tail_share == 0.04
        if request.rows != "unit":
            continue
        drawn = plan.scenarios if request.scenario_set == "base" else plan.sets[request.scenario_set]
        full = state(plan, drawn, request.count or SPEC.count)
        known, law = with_extreme_values(finish(full, [request.level])[request.level], full, 0.04)
        h = plan.horizon(request.horizon)
        np.testing.assert_allclose(measure.expected_shortfall, known.expected_shortfall[h], rtol=1e-10, atol=1e-9)
        np.testing.assert_allclose(measure.expected_shortfall_standard_error, known.expected_shortfall_standard_error[h], rtol=1e-8, atol=1e-9)
        np.testing.assert_allclose(measure.tail.index, law.index[h], rtol=1e-9)
    table = result.table.set_index("account_id")
    assert table["tail_fitted"].to_dict() == {"LONG": True, "MIXED": True, "NOTHING": False}
    assert np.isnan(table.loc["NOTHING", "tail_index"]) and table.loc["NOTHING", "initial_margin"] == 0.0
    assert 0.0 < table.loc["LONG", "tail_index"] < 0.6 and 0.0 < table.loc["LONG", "tail_threshold"] < table.loc["LONG", "value_at_risk"]
    assert (result.table["charge_dependence"] + result.table["charge_concentration"] > 0.0)[:2].any()
    sums = result.contributions.groupby("account_id", observed=True)["contribution"].sum()
    assert result.contributions["contribution"].min() < 0.0
    np.testing.assert_allclose(sums[["LONG", "MIXED"]], table.loc[["LONG", "MIXED"], "expected_shortfall"], rtol=1e-10)


def test_it_is_not_the_plain_estimator_and_agrees_with_it_within_errors(tmp_path):
    book, market = read(write(tmp_path, BOOK))
    plain, fitted = (margin_run(book, market, SPEC, methodology(core=core), "cpu", precision="double", model=STUDENT).table.set_index("account_id") for core in ({}, FITTED))
    gap = fitted["expected_shortfall"] - plain["expected_shortfall"]
    assert np.all(gap[["LONG", "MIXED"]] != 0.0) and "tail_index" not in plain
    assert np.all(np.abs(gap) <= 2.0 * plain["expected_shortfall_standard_error"])


def test_any_chunk_and_an_adaptive_run_give_the_same_bits(tmp_path):
    book, market = read(write(tmp_path, BOOK))
    rules = methodology(core=FITTED)
    whole = margin_run(book, market, replace(SPEC, count=24_576), rules, "cpu", model=STUDENT)
    parts = margin_run(book, market, replace(SPEC, count=24_576), rules, "cpu", model=STUDENT, chunk=4096)
    until = margin_run(book, market, replace(SPEC, count=40_000, target_relative_error=0.5), rules, "cpu", model=STUDENT)
    assert whole.table.equals(parts.table)
    stopped = until.provenance["scenarios"]
    assert stopped < 40_000
    assert until.table.equals(margin_run(book, market, replace(SPEC, count=stopped), rules, "cpu", model=STUDENT).table)


def test_refusals(tmp_path):
    book, market = read(write(tmp_path, BOOK))
    with pytest.raises(InputError, match=r"UPM-CF-110.*importance"):
        make_plan(book, market, replace(SPEC, sampler="importance"), methodology(core=FITTED), STUDENT)
    text = find_file("configs/methodology/stans_v2.toml").read_text()
    for line, code in (("tail_share = 0.5", "UPM-CF-056"), ("tail_share = 0.01", "UPM-CF-056"), ('estimator = "hill"', "UPM-CF-0")):
        file = tmp_path / "m.toml"
        file.write_text(text.replace("tail_share = 0.05" if "share" in line else 'estimator = "extreme_value"', line))
        with pytest.raises(InputError, match=code):
            load_methodology(file)


def test_the_second_version_of_stans_asks_for_fitted_tails_everywhere(tmp_path):
    book, market = read(write(tmp_path, BOOK, market={"history.csv": "date,asset,close\n" + "".join(
        f"{np.datetime64('2018-01-01') + d},{a},{p * (1.0 + 0.03 * ((d * 7) % 5))}\n" for d in range(0, 900) for a, p in (("BTC", 8000.0), ("ETH", 200.0)))}))
    plan = make_plan(book, market, SPEC, load_methodology(find_file("configs/methodology/stans_v2.toml")), STUDENT)
    asked = [r for r in (plan.core, *plan.requests, *plan.further) if hasattr(r, "tail_share")]
    assert {r.scenario_set for r in asked} == {"base", "perfect", "zero"} and {r.tail_share for r in asked} == {0.05}
    assert plan.depth == 410
