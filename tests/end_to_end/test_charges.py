"""Charges that ask for more than the core: dependence and concentration against arithmetic by hand on the same scenarios, laws, resumption, refusals."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from small_book import GAUSSIAN, STUDENT, methodology, read, write

from upm_gpu.backend import reference
from upm_gpu.backend.select import choose
from upm_gpu.engine import compute_outcome, margin_run
from upm_gpu.margin.composition import counted
from upm_gpu.margin.requests import NAME, Charge, MeasureRequest, Names, Rest
from upm_gpu.margin.rows import largest_names
from upm_gpu.passes import in_memory
from upm_gpu.plan import make_plan
from upm_gpu.pricing.compiled import Rows
from upm_gpu.risk.measures import expected_shortfall
from upm_gpu.scenario.spec import ScenarioSpec

SPEC = ScenarioSpec(count=20_000, seed=7, horizons=(1.0, 2.0))
HEAD = "account_id,instrument_id,quantity\n"
BOOK = HEAD + ("PAIR,BTC-LINEAR,1\nPAIR,ETH-PERP,-60000\nONE,BTC-LINEAR,-2\nONE,BTC-C70,3\nMANY,BTC-P60,-5\nMANY,BTC-FUT,1000\nMANY,ETH-C20L,-40\nMANY,ETH-PERP,3000\n")
BOTH = [{"name": "dependence", "largest_of": "model"}, {"name": "concentration", "largest_of": "model"}]
NAMES = ("BTC", "ETH")


def unit_pnl(plan, scenarios):
    """{(unit, underlying): (S,) P&L over the margin period}, summed line by line by NumPy."""
    nobody = Rows(np.zeros(1, np.int64), np.zeros(0, np.int32), np.zeros(0))
    with reference.prepare(plan.compiled, nobody, "double") as prepared:
        pnl = reference.unit_pnl(prepared, scenarios, 0, scenarios.count, plan.horizon(2.0))
    found = {(u, a): np.zeros(scenarios.count) for u in plan.units.names for a in NAMES}
    lines, compiled = plan.units.lines, plan.compiled
    for unit, n, quantity in zip(lines.unit, lines.instrument, lines.quantity, strict=True):
        found[plan.units.names[unit], plan.instruments[n].underlying] += quantity * compiled.instrument_coefficient[n] * pnl[compiled.instrument_column[n]]
    return found


def es(pnl, level):
    return float(expected_shortfall(-pnl, level))


@pytest.mark.parametrize("law", [GAUSSIAN, STUDENT], ids=["gaussian", "student_t"])
def test_dependence_and_concentration_by_hand(tmp_path, law):
    book, market = read(write(tmp_path, BOOK))
    plan = make_plan(book, market, SPEC, methodology(charges=[{"name": "dependence"}, {"name": "concentration"}]), law)
    table = compute_outcome(plan, choose("cpu", "double"), 0, in_memory()).result.table.set_index("account_id")
    historical, perfect, zero = (unit_pnl(plan, s) for s in (plan.scenarios, plan.sets["perfect"], plan.sets["zero"]))
    seen = set()
    for unit in plan.units.names:
        whole = sum(historical[unit, a] for a in NAMES)
        core = es(whole, 0.99)
        three = [es(sum(s[unit, a] for a in NAMES), 0.995) for s in (historical, perfect, zero)]
        assert table.loc[unit, "charge_dependence"] == pytest.approx(0.25 * (max(three) - core), rel=1e-9)
        single = sum(es(historical[unit, a], 0.995) for a in NAMES)  # two names in all: nothing is left
        assert table.loc[unit, "charge_concentration"] == pytest.approx(0.25 * (single - core), rel=1e-9)
        assert table.loc[unit, "initial_margin"] == pytest.approx(core + table.loc[unit, "charge_dependence"] + table.loc[unit, "charge_concentration"], rel=1e-12)
        seen.add(int(np.argmax(three)))
    assert len(seen) > 1  # more than one of the three structures is somebody's worst


def test_one_name_shrinks_the_formula(tmp_path):
    """ETH is an index here: ES_99.5 of BTC alone, plus ES_99 of the ETH part; an account in one eligible name needs 0.25 (ES_99.5 - ES_99) more."""
    book, market = read(write(tmp_path, BOOK))
    plan = make_plan(book, market, SPEC, methodology(charges=[{"name": "concentration", "not_eligible": ["ETH"]}]), GAUSSIAN)
    table = compute_outcome(plan, choose("cpu", "double"), 0, in_memory()).result.table.set_index("account_id")
    historical = unit_pnl(plan, plan.scenarios)
    for unit in plan.units.names:
        known = es(historical[unit, "BTC"], 0.995) + es(historical[unit, "ETH"], 0.99) - es(historical[unit, "BTC"] + historical[unit, "ETH"], 0.99)
        assert table.loc[unit, "charge_concentration"] == pytest.approx(0.25 * known, rel=1e-9)


def test_no_eligible_name_is_no_charge(tmp_path):
    book, market = read(write(tmp_path, BOOK))
    table = margin_run(book, market, SPEC, methodology(charges=[{"name": "concentration", "not_eligible": ["ETH", "BTC"]}]), "cpu", model=GAUSSIAN).table
    assert np.all(table["charge_concentration"] == 0.0)


def test_the_core_does_not_move_by_a_bit_and_the_larger_charge_counts(tmp_path):
    book, market = read(write(tmp_path, BOOK))
    plain = margin_run(book, market, SPEC, methodology(), "cpu", model=STUDENT).table
    each = margin_run(book, market, SPEC, methodology(charges=[{"name": "dependence"}, {"name": "concentration"}]), "cpu", model=STUDENT)
    result = margin_run(book, market, SPEC, methodology(charges=BOTH), "cpu", model=STUDENT)
    assert (result.table["core"] == plain["core"]).all() and (result.table["value_at_risk"] == plain["value_at_risk"]).all()
    dependence, concentration = (each.table[f"charge_{n}"].to_numpy() for n in ("dependence", "concentration"))
    np.testing.assert_array_equal(result.table["charge_dependence"] + result.table["charge_concentration"], np.maximum(dependence, concentration))
    np.testing.assert_array_equal(result.charges[0].amount + result.charges[0].not_counted, dependence)
    assert np.all(dependence >= 0.0) and np.all(concentration >= 0.0)
    for charge in each.charges:
        assert np.all(charge.standard_error > 0.0) and np.all(charge.floored == 0.0)


def test_own_counts_are_the_first_scenarios(tmp_path):
    """P and Z with 6,000 scenarios are those of a run of 6,000; concentration with 6,000 is that of a run of 6,000, whatever the run has."""
    book, market = read(write(tmp_path, BOOK))
    charges = [{"name": "dependence", "count": 6000}, {"name": "concentration", "count": 6000}]
    long = margin_run(book, market, SPEC, methodology(charges=charges), "cpu", model=STUDENT)
    short = margin_run(book, market, replace(SPEC, count=6000), methodology(charges=charges), "cpu", model=STUDENT)
    np.testing.assert_array_equal(long.table["charge_concentration"], short.table["charge_concentration"])
    request = MeasureRequest("zero", 2.0, 0.995, count=6000)
    np.testing.assert_array_equal(long.measured.measures[request].expected_shortfall, short.measured.measures[request].expected_shortfall)


@pytest.mark.parametrize("spec", [replace(SPEC, sampler="sobol"), replace(SPEC, variance_reduction="moment_matching"), replace(SPEC, target_relative_error=0.05, count=60_000)],
                         ids=["sobol", "moment matching", "adaptive"])
def test_backends_agree_under_every_sampler(tmp_path, spec):
    book, market = read(write(tmp_path, BOOK))
    a, b = (margin_run(book, market, spec, methodology(charges=[{**c, "count": 8192} for c in BOTH]), backend, precision="double", model=GAUSSIAN).table for backend in ("cpu", "reference"))
    for name in ("charge_dependence", "charge_concentration", "initial_margin"):
        np.testing.assert_allclose(a[name], b[name], rtol=1e-9, atol=1e-4)
    assert a["charge_dependence"].sum() + a["charge_concentration"].sum() > 0.0


def test_importance_draws_the_further_sets_plain(tmp_path):
    """Perfect correlation of a run with weights is the plain one; the charge is near that of a plain run."""
    book, market = read(write(tmp_path, HEAD + "PAIR,BTC-LINEAR,1\nPAIR,ETH-PERP,-60000\n"))
    weighted, plain = (margin_run(book, market, replace(SPEC, sampler=s), methodology(charges=[{"name": "dependence"}, {"name": "concentration"}]), "cpu", model=GAUSSIAN)
                       for s in ("importance", "philox"))
    request = MeasureRequest("zero", 2.0, 0.995)
    np.testing.assert_array_equal(weighted.measured.measures[request].expected_shortfall, plain.measured.measures[request].expected_shortfall)
    for name in ("charge_dependence", "charge_concentration"):
        assert weighted.table[name][0] == pytest.approx(plain.table[name][0], rel=0.05)


def test_a_model_without_a_correlation_is_refused_before_the_first_draw(tmp_path):
    from upm_gpu.errors import CalibrationError
    from upm_gpu.scenario.sets import Explicit

    class Given:
        state_names = GAUSSIAN.state_names

        def scenarios(self, dates, spec):
            return Explicit(GAUSSIAN.state_names, np.asarray(dates), np.zeros((len(dates), 4, spec.count)))

    book, market = read(write(tmp_path, BOOK))
    with pytest.raises(CalibrationError, match=r"UPM-CA-139.*perfect correlation"):
        make_plan(book, market, SPEC, methodology(charges=[{"name": "dependence"}]), Given())
    make_plan(book, market, SPEC, methodology(charges=[{"name": "concentration"}]), Given())


def test_largest_names_by_hand():
    """Unit 0 holds names 0, 1, 2 with 5, 7, 7: the second and third, the earlier first; unit 1 one name; unit 2 none that is eligible."""
    names = Names(np.array([0, 0, 0, 1, 2], np.int32), np.array([0, 1, 2, 1, 3], np.int32))
    found = largest_names(names, np.array([5.0, 7.0, 7.0, 1.0, 9.0]), ("A", "B", "C", "INDEX"), 3, Rest(2, 0.995, ("INDEX",)))
    np.testing.assert_array_equal(found, [[1, 2], [3, -1], [-1, -1]])


def test_counted_by_hand():
    charges = [Charge("a", np.array([3.0, 1.0, 2.0]), np.zeros(3), ""), Charge("b", np.array([1.0, 4.0, 2.0]), np.zeros(3), ""), Charge("c", np.array([9.0, 9.0, 9.0]), np.zeros(3), "")]
    a, b, c = counted(charges, ["g", "g", ""])
    np.testing.assert_array_equal(a.amount, [3.0, 0.0, 2.0])
    np.testing.assert_array_equal(b.amount, [0.0, 4.0, 0.0])
    np.testing.assert_array_equal(b.not_counted, [1.0, 0.0, 2.0])
    np.testing.assert_array_equal(c.amount, charges[2].amount)


def test_every_row_of_names_is_one_underlying_of_one_unit(tmp_path):
    book, market = read(write(tmp_path, BOOK))
    measured = margin_run(book, market, SPEC, methodology(charges=[{"name": "concentration"}]), "cpu", model=GAUSSIAN).measured
    assert measured.underlyings == NAMES and measured.names is not None
    held = {(measured.units[u], measured.underlyings[a]) for u, a in zip(measured.names.unit, measured.names.underlying, strict=True)}
    assert held == {("PAIR", "BTC"), ("PAIR", "ETH"), ("ONE", "BTC"), ("MANY", "BTC"), ("MANY", "ETH")}
    assert any(r.rows == NAME for r in measured.measures)


def test_exposures_are_what_the_units_hold(tmp_path, monkeypatch):
    """A charge that asks for exposures reads positions netted over the accounts of a unit; Greeks are those of the table of the run folder."""
    import sys
    from types import ModuleType

    from upm_gpu import exhibits
    from upm_gpu.margin import charges
    from upm_gpu.margin.requests import ExposureRequest, floor_at_zero
    from upm_gpu.strict_toml import Strict

    module = ModuleType("upm_gpu.margin.charges.vega")
    module.NAME, module.Parameters = "vega", type("Parameters", (Strict,), {"__doc__": "No keys."})
    module.requests = lambda core, parameters: [ExposureRequest()]

    def charge(measured, core, multiplier, parameters):
        e = measured.exposures
        bucket = e.buckets((10.0, 40.0))
        return floor_at_zero("vega", np.bincount(e.unit, np.abs(e.vega) * (bucket == 1), minlength=len(measured.units)), "vega of the second bucket")

    module.charge = charge
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(charges, "names", lambda: ("vega",))
    positions = BOOK.replace("quantity\n", "quantity,netting_set\n").replace("\n", ",\n").replace("quantity,netting_set,\n", "quantity,netting_set\n")
    positions += "X,BTC-P60,-5,N\nY,BTC-P60,2,N\nY,BTC-C75D,7,N\n"
    book, market = read(write(tmp_path, positions, accounts="account_id,member_id\nX,M\nY,M\n"))
    plan = make_plan(book, market, SPEC, methodology(charges=[{"name": "vega"}]), GAUSSIAN)
    choice = choose("cpu", "double")
    outcome = compute_outcome(plan, choice, 0, in_memory())
    measured, e = outcome.result.measured, outcome.result.measured.exposures
    pool = measured.units.index("M/N")
    held = {e.instrument_ids[i]: q for u, i, q in zip(e.unit, e.instrument, e.quantity, strict=True) if u == pool}
    assert held == {"BTC-P60": -3.0, "BTC-C75D": 7.0}
    greeks = exhibits.greeks(choice.module, plan.instruments, plan.compiled, plan.units, [a.account_id for a in book.accounts], market)
    for name in ("delta", "gamma", "vega", "theta"):
        assert getattr(e, name).sum() == pytest.approx(greeks[name].sum(), rel=1e-12)
    kinds = {e.instrument_ids[i]: (e.kind[i], d, k) for i, d, k in zip(e.instrument, e.days, e.strike, strict=True)}
    assert kinds["BTC-LINEAR"][:2] == ("perpetual", 0.0) and np.isnan(kinds["BTC-LINEAR"][2]) and kinds["BTC-P60"][0::2] == ("option", 60_000.0)
    assert kinds["BTC-P60"][1] == pytest.approx(22.0 - 1.0 / 24.0) and kinds["BTC-FUT"][0] == "future"
    long = greeks[(greeks["account_id"] == "ONE") & (greeks["instrument_id"] == "BTC-C70")]["vega"].sum()
    assert outcome.result.table.set_index("account_id").loc["ONE", "charge_vega"] == pytest.approx(long)
    one = (e.unit == measured.units.index("ONE")) & (e.instrument == e.instrument_ids.index("BTC-LINEAR"))
    assert (e.notional[one], e.delta[one], e.value[one]) == (-140_000.0, pytest.approx(-140_000.0), 0.0)
