"""Anti-procyclicality tools through a run: each by hand from the measures it compares, on common random numbers, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from small_book import STUDENT, VALUATION, methodology, read, write

from upm_gpu.backend import reference
from upm_gpu.calibrate.other_volatility import long_run_model, stressed_model
from upm_gpu.engine import margin_run
from upm_gpu.errors import CalibrationError, InputError
from upm_gpu.margin.methodology import charges_in_force
from upm_gpu.margin.requests import LONG_RUN, StressedPeriod
from upm_gpu.plan import make_plan
from upm_gpu.risk.measures import expected_shortfall, value_at_risk
from upm_gpu.scenario.spec import ScenarioSpec

SPEC = ScenarioSpec(count=8192, seed=7, horizons=(2.0,))
BOOK = "account_id,instrument_id,quantity\nLONG,BTC-LINEAR,1\nMIXED,BTC-P60,-5\nMIXED,ETH-PERP,20000\nNEW,ETH-PERP,-9000\n"
DAYS = 400
FIRST = np.datetime64(VALUATION.date()) - DAYS
STRESS = {"start": str(FIRST + 100), "end": str(FIRST + 199)}


def closes() -> str:
    """Four series of 400 days: 8 % a day in the stressed hundred, else 1 %; prices rise and fall together under stress."""
    rng = np.random.default_rng(5)
    moves = 0.01 * rng.standard_normal((DAYS, 4))
    moves[100:200] = 0.08 * (rng.standard_normal((100, 1)) * [1.0, -1.0, 1.0, -1.0] + 0.5 * rng.standard_normal((100, 4)))
    level = 100.0 * np.exp(np.cumsum(moves - moves.mean(axis=0), axis=0))
    return "date,asset,close\n" + "".join(f"{FIRST + i},{a},{level[i, k]:.10f}\n" for i in range(DAYS) for k, a in enumerate(("BTC", "BTC.IV30", "ETH", "ETH.IV30")))


def inputs(tmp_path, means=""):
    folder = write(tmp_path, BOOK, market={"history.csv": closes()})
    if means:
        (folder / "book" / "margin_means.csv").write_text("unit,one_year_mean\n" + means)
    return read(folder)


def run(tmp_path, parameters, means="", spec=SPEC, **options):
    rules = methodology(charges=[{"name": "anti_procyclicality", **parameters}])
    return margin_run(*inputs(tmp_path, means), spec, rules, "cpu", precision="double", model=STUDENT, **options)


def losses(plan, scenarios):
    with reference.prepare(plan.compiled, plan.rows, "double") as prepared:
        return -reference.row_pnl(prepared, scenarios, 0, scenarios.count, 0)


def test_every_tool_by_hand(tmp_path):
    """stressed weight, floor and stress value-at-risk from the P&L of the same random numbers under the other volatilities."""
    tools = {"tool": "floor", "also": ["stressed_weight", "stress_var"], "stacking": True, "factor": 0.6, "level": 0.95, **STRESS}
    result = run(tmp_path / "a", tools)
    book, market = inputs(tmp_path / "b")
    plan = make_plan(book, market, SPEC, methodology(charges=[{"name": "anti_procyclicality", **tools}]), STUDENT)
    period = StressedPeriod(STRESS["start"], STRESS["end"])
    assert set(plan.sets) == {"base", LONG_RUN, period}
    core = result.measured.core
    stressed, calm = losses(plan, plan.sets[period]), losses(plan, plan.sets[LONG_RUN])
    known = (np.maximum(expected_shortfall(calm, 0.99) - core, 0.0) + 0.25 * np.maximum(expected_shortfall(stressed, 0.99) - core, 0.0)
             + np.maximum(0.6 * value_at_risk(stressed, 0.95) - core, 0.0))
    (charge,) = result.charges
    np.testing.assert_allclose(charge.amount, known, rtol=1e-9, atol=1e-6)
    assert np.all(charge.amount > 0.0) and np.all(charge.standard_error > 0.0)
    law = stressed_model(STUDENT, None, market, SPEC, STRESS["start"], STRESS["end"])
    assert law.daily_volatility.min() > 0.07 and long_run_model(STUDENT, None, market, SPEC).daily_volatility.max() < 0.06
    assert str(period) == f"stressed {STRESS['start']} to {STRESS['end']}"


def test_a_buffer_is_used_up_as_the_core_rises(tmp_path):
    """Cores of 1, 1.25 and 2 times their mean keep all, half and nothing of 25 %; a unit without a mean has the whole buffer."""
    core = dict(zip(*(lambda r: (r.measured.units, r.measured.core))(run(tmp_path / "a", {"tool": "buffer"})), strict=True))
    for ratio, left in ((1.0, 1.0), (1.25, 0.5), (2.0, 0.0), (0.5, 1.0)):
        means = f"LONG,{float(core['LONG'] / ratio)!r}\nMIXED,{float(core['MIXED'] / 1.5)!r}\n"
        table = run(tmp_path / str(ratio), {"tool": "buffer"}, means).table.set_index("account_id")
        assert table.loc["LONG", "charge_anti_procyclicality"] == pytest.approx(0.25 * left * core["LONG"], rel=1e-9)
        assert table.loc["MIXED", "charge_anti_procyclicality"] == pytest.approx(0.0, abs=1e-6 * core["MIXED"])
        assert table.loc["NEW", "charge_anti_procyclicality"] == pytest.approx(0.25 * core["NEW"], rel=1e-12)


def test_a_buffer_goes_with_the_unbuffered_core_and_its_error(tmp_path):
    """Half depleted at m = 1.25: d(b core) / d core = 0.25 (1.5 - 2 x 1.25) / 0.5 = -0.5, found again by a difference of two means."""
    plain = run(tmp_path / "a", {"tool": "buffer"})
    unit = plain.measured.units.index("LONG")
    core, error = plain.measured.core[unit], plain.measured.core_standard_error[unit]
    half = run(tmp_path / "b", {"tool": "buffer"}, f"LONG,{float(core / 1.25)!r}\n")
    assert half.charges[0].standard_error[unit] == pytest.approx(0.5 * error, rel=1e-9)
    assert plain.charges[0].standard_error[unit] == pytest.approx(0.25 * error, rel=1e-9)


def test_any_chunk_and_a_filtered_model_and_importance(tmp_path):
    tools = {"tool": "stressed_weight", **STRESS, "count": 4096}
    whole = run(tmp_path / "a", tools)
    assert whole.table.equals(run(tmp_path / "b", tools, chunk=4096).table)
    book, market = inputs(tmp_path / "c")
    rules = methodology(charges=[{"name": "anti_procyclicality", **tools}])
    walked = margin_run(book, market, replace(SPEC, model="filtered_historical", filter="ewma"), rules, "cpu")
    assert np.all(walked.table["charge_anti_procyclicality"] > 0.0)
    weighted = run(tmp_path / "d", tools, spec=replace(SPEC, sampler="importance"))
    for request, measure in whole.measured.measures.items():
        if request.scenario_set != "base":
            np.testing.assert_allclose(weighted.measured.measures[request].expected_shortfall, measure.expected_shortfall, rtol=1e-12)


@pytest.mark.parametrize(("parameters", "said"), [
    ({"tool": "buffer", "also": ["floor"]}, "stacking"), ({"tool": "stressed_weight"}, "start and end"), ({"tool": "buffer", "m_lo": 1.5}, "m_hi must be above"),
    ({"tool": "buffer", "buffer": 0.1}, "buffer"), ({"tool": "stressed_weight", "weight": 0.2, **STRESS}, "weight"), ({"tool": "ten_years"}, "tool"),
    ({"tool": "floor", "also": ["floor"], "stacking": True}, "twice")])
def test_bad_parameters(parameters, said):
    with pytest.raises(InputError, match=f"UPM-CF-0.*{said}"):
        charges_in_force(methodology(charges=[{"name": "anti_procyclicality", **parameters}]))


@pytest.mark.parametrize("rows", ["LONG,5\nLONG,6\n", "LONG,-5\n", "LONG,much\n"])
def test_means_that_cannot_be_are_refused(tmp_path, rows):
    with pytest.raises(InputError, match=r"UPM-IN-040 margin_means\.csv.*unit|UPM-IN-040 margin_means\.csv.*one_year_mean"):
        inputs(tmp_path, rows)


def test_a_model_without_volatilities_is_refused_before_the_first_draw(tmp_path):
    book, market = inputs(tmp_path)
    for tools in ({"tool": "floor"}, {"tool": "stressed_weight", **STRESS}):
        with pytest.raises(CalibrationError, match=r"UPM-CA-196.*model historical"):
            make_plan(book, market, replace(SPEC, model="historical"), methodology(charges=[{"name": "anti_procyclicality", **tools}]))
