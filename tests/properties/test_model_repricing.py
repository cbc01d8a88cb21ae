"""Options repriced under the scenarios' own model: martingales, the table's error, quotes kept, what is left at quotes, what is refused."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_book import VALUATION, methodology, read, write

from upm_gpu.backend import cpu, reference
from upm_gpu.backend.select import choose
from upm_gpu.config import load_config
from upm_gpu.engine import compute_outcome
from upm_gpu.errors import InputError
from upm_gpu.formula.black import black_undiscounted
from upm_gpu.formula.value_table import table_values
from upm_gpu.model.heston import HestonParameters
from upm_gpu.model.jumps import JumpParameters
from upm_gpu.model.merton import MertonParameters
from upm_gpu.model.pricing_law import pricing_laws
from upm_gpu.model.registry import reference_states
from upm_gpu.passes import in_memory
from upm_gpu.plan import make_plan
from upm_gpu.pricing import model_tables
from upm_gpu.pricing.compiled import GROUP_REALS, TERM_REALS, ModelRequest
from upm_gpu.pricing.tables import with_tables
from upm_gpu.scenario.sets import Explicit
from upm_gpu.scenario.spec import ScenarioSpec

NAMES = ("BTC", "ETH")
ONE = np.ones(2)
CORRELATION = np.array([[1.0, 0.6], [0.6, 1.0]])
HESTON = HestonParameters(NAMES, 0.4 * ONE, 3.0 * ONE, 0.35 * ONE, 2.2 * ONE, -0.5 * ONE, CORRELATION, measure="pricing")
"""Feller's condition fails: 2 kappa theta = 2.1, the vol of vol squared 4.8"""
JUMPS = JumpParameters(12.0, -0.08, 0.06, ONE, 10.0 * ONE, 0.02 * ONE, 0.05 * ONE)
BATES = replace(HESTON, jumps=JUMPS)
STATES = ("log_level[BTC]", "log_level[ETH]", "volatility_shift[BTC]", "volatility_shift[ETH]")
FOUR = np.eye(4)
STILL = replace(JUMPS, systemic_loading=np.array([1.0, 1.0, 0.0, 0.0]), own_intensity=np.array([10.0, 10.0, 0.0, 0.0]), own_mean=np.array([0.02, 0.02, 0.0, 0.0]),
                own_deviation=np.array([0.05, 0.05, 0.0, 0.0]))
MERTON = MertonParameters(STATES, np.array([0.03, 0.03, 0.0, 0.0]), FOUR, STILL, measure="pricing")
"""the volatility stands still, as the option formula has it"""
OWN_ONLY = replace(MERTON, jumps=replace(STILL, systemic_intensity=0.0))
MODELS = {"heston": HESTON, "bates": BATES, "merton": MERTON, "merton_series": OWN_ONLY}
DAYS = (2.1, 3.0, 22.0, 730.0)
"""two hours to two years beyond the horizon of two days"""
MONEYNESS = (0.75, 0.9, 1.0, 1.1, 1.35)
FORWARD = {"BTC": 70_000.0, "ETH": 2_000.0}


def expiry_of(days):
    return (VALUATION + timedelta(days=days)).strftime("%Y-%m-%dT%H:%M:%SZ")


def model_quotes(model, underlying, days):
    """The model's own implied volatility at every strike."""
    law = pricing_laws(model)[underlying]
    base, slope = law.line(days / 365.0)
    inputs = dict(law.inputs) | {law.moving: (1.0 - base) / slope, "forward": 1.0, "strike": np.array(MONEYNESS), "time_to_expiry": days / 365.0, "sign": np.where(np.array(MONEYNESS) >= 1.0, 1.0, -1.0)}
    return cpu.values(law.operation, {k: np.broadcast_to(np.asarray(v, float), len(MONEYNESS)).copy() for k, v in inputs.items()})["implied_volatility"]


def plan_at(tmp_path, model, count=40_960, factor=1.0, repricing="model", days=DAYS, extra="", **changes):
    """One linear ETH and one inverse BTC option at every expiry and strike, quoted at `factor` times the model's volatility."""
    rows, quotes, forwards = [], [], []
    for underlying, settlement in (("BTC", "inverse"), ("ETH", "linear")):
        for d in days:
            forwards.append(f"{underlying},{expiry_of(d)},{FORWARD[underlying]:g}")
            for moneyness, volatility in zip(MONEYNESS, model_quotes(model, underlying, d), strict=True):
                strike = FORWARD[underlying] * moneyness
                rows.append(f"{underlying}-{d:g}-{moneyness:g},option,{underlying},{settlement},USD,1,{expiry_of(d)},{strike:.6f},{'call' if moneyness >= 1.0 else 'put'},european")
                quotes.append(f"{underlying},{expiry_of(d)},{strike:.6f},{volatility * factor:.12f}")
    ids = [r.split(",")[0] for r in rows]
    folder = write(tmp_path, "account_id,instrument_id,quantity\n" + "".join(f"A,{i},-1\n" for i in ids) + "".join(f"A,{r.split(',')[0]},-1\n" for r in extra.split()),
                   market={"forwards.csv": "\n".join(["underlying,expiry,forward", "BTC,,70000", "ETH,,2000", *forwards]) + "\n",
                           "implied_vols.csv": "\n".join(["underlying,expiry,strike,implied_volatility", *quotes]) + "\n"})
    (folder / "book" / "instruments.csv").write_text("\n".join(["instrument_id,kind,underlying,settlement,quote_currency,contract_size,expiry,strike,option_type,exercise", *rows, *extra.split()]) + "\n")
    book, market = read(folder)
    spec = ScenarioSpec(count=count, horizons=(2.0,), measure="pricing", repricing=repricing, **changes)
    return make_plan(book, market, spec, methodology(), model)


def unit_gains(plan):
    """(N, S) P&L of one unit and (N,) value today, in units of the strike, by instrument; and the compiled book."""
    compiled = with_tables(plan.compiled, (plan.scenarios,), cpu)[0]
    with cpu.prepare(compiled, plan.rows, "double") as prepared:
        gains = np.concatenate([cpu.unit_pnl(prepared, plan.scenarios, a, min(a + 16_384, plan.scenarios.count), 0) for a in range(0, plan.scenarios.count, 16_384)], axis=1)
    strike = np.array([i.strike for i in plan.instruments])
    return gains[compiled.instrument_column] / strike[:, None], compiled


def excess(gains):
    """Mean over its standard error, option by option, with the table's error of 1e-5 of strike granted; 0 where nothing moves."""
    error = gains.std(axis=1) / np.sqrt(gains.shape[1])
    return np.sign(gains.mean(axis=1)) * np.maximum(np.abs(gains.mean(axis=1)) - model_tables.TOLERANCE, 0.0) / np.maximum(error, 1e-12)


@pytest.mark.parametrize("name", MODELS)
def test_repriced_values_are_martingales(tmp_path, name):
    """Null: E[V(2 d)] = V(0) for 40 options of 2 hours to 2 years beyond the horizon; |z| <= 4, false alarm 0.3 %. Detectable: 4 standard errors, some 1 to 5 % of an option."""
    gains, _ = unit_gains(plan_at(tmp_path, MODELS[name]))
    assert np.abs(excess(gains)).max() <= 4.0


@pytest.mark.parametrize("repricing", ["model", "quoted"])
def test_the_test_of_martingales_sees_a_smile_that_stays_behind(tmp_path, repricing):
    """Planted: the path's own variance is not read; and quoted volatilities, which are no prices of the model."""
    plan = plan_at(tmp_path, HESTON, repricing=repricing)
    if repricing == "model":
        program = plan.compiled.programs[0]
        reals = program.group_reals.copy()
        reals[:, GROUP_REALS.index("volatility_loading")] = 0.0
        plan = replace(plan, compiled=replace(plan.compiled, programs=(replace(program, group_reals=reals),)))
    gains, _ = unit_gains(plan)
    assert np.abs(excess(gains)).max() > 5.0


@pytest.mark.parametrize(("name", "factor"), [("heston", 1.0), ("bates", 1.0), ("merton", 1.0), ("heston", 1.3)])
def test_values_are_the_models_own_prices_with_the_quotes_ratio(tmp_path, name, factor):
    """300 scenarios, option by option, against `upm price`'s formula at the path's variance; today's value is Black's at the quote, whatever the model says."""
    model = MODELS[name]
    plan = plan_at(tmp_path, model, count=4_096, factor=factor)
    gains, compiled = unit_gains(plan)
    states = reference_states(plan.scenarios, 0, 300)[0][0]
    place = {n: k for k, n in enumerate(plan.scenarios.state_names)}
    for n, instrument in enumerate(plan.instruments):
        u, days = instrument.underlying, (instrument.expiry - VALUATION) / timedelta(days=1)
        law, sign, strike = pricing_laws(model)[u], 1.0 if instrument.option_type == "call" else -1.0, instrument.strike
        level = states[place[f"log_level[{u}]"]]
        moving = states[place[f"variance[{u}]"]] if f"variance[{u}]" in place else np.full(300, 1.0 / law.line(days / 365.0)[1])
        forward = FORWARD[u] * np.exp(level)
        inputs = dict(law.inputs) | {law.moving: moving, "forward": forward, "strike": strike, "time_to_expiry": (days - 2.0) / 365.0, "sign": sign}
        at_horizon = cpu.values(law.operation, {k: np.broadcast_to(np.asarray(v, float), 300).copy() for k, v in inputs.items()})
        price, black = at_horizon["price"], lambda f, sigma, years, sign=sign, strike=strike: black_undiscounted(f, strike, np.log(f / strike), sigma * np.sqrt(years), sign)
        quote = float(model_quotes(model, u, days)[MONEYNESS.index(float(instrument.instrument_id.split("-")[2]))]) * factor
        today = float(black(FORWARD[u], quote, days / 365.0))
        if factor != 1.0:
            known = np.isfinite(at_horizon["implied_volatility"])
            known &= at_horizon["price"] > 1e-6 * strike  # below, the lift of 1e-12 is in the volatility
            price = np.where(known, black(forward, factor * np.nan_to_num(at_horizon["implied_volatility"], nan=1.0), (days - 2.0) / 365.0), np.nan)
        error = np.abs(gains[n, :300] * strike - (price - today)) / strike
        assert error[np.isfinite(error)].max(initial=0.0) <= 4.0 * factor * model_tables.TOLERANCE, instrument.instrument_id
    assert compiled.programs[0].tables


def test_an_unshocked_scenario_at_zero_time_gains_nothing(tmp_path):
    """At the horizon's time set back to the valuation: exactly nothing by the direct formula, at most the table's error by the table."""
    plan = plan_at(tmp_path, BATES, count=4_096, factor=0.8)
    program = plan.compiled.programs[0]
    reals = program.group_reals.copy()
    reals[:, GROUP_REALS.index("remaining_years")] = reals[:, GROUP_REALS.index("expiry_years")]
    requests = tuple(replace(r, years=r.years_today) for r in program.table_requests)
    compiled = replace(plan.compiled, programs=(replace(program, group_reals=reals, table_requests=requests),))
    still = Explicit(plan.compiled.drawn_names, plan.compiled.dates, np.zeros((1, len(plan.compiled.drawn_names), 1)))
    compiled = with_tables(compiled, (plan.scenarios, still), cpu)[0]
    with cpu.prepare(compiled, plan.rows, "double") as prepared:
        gain = cpu.unit_pnl(prepared, still, 0, 1, 0)[:, 0]
    terms = dict(zip(TERM_REALS, compiled.terms, strict=True))
    assert np.abs(gain[compiled.linear :] / terms["strike"]).max() <= model_tables.TOLERANCE
    for request in requests:
        first, count = program.group_integers[request.group, 1:3] - [compiled.linear, 0]
        own = slice(first, first + count)
        again = terms["residual"][own] * model_tables.model_volatility(request, -terms["log_moneyness"][own], np.zeros(count), cpu)
        np.testing.assert_allclose(again, terms["volatility"][own], rtol=4e-16)


@settings(max_examples=10, deadline=None)
@given(st.floats(0.002, 2.0), st.floats(0.02, 1.5), st.floats(0.2, 8.0), st.floats(0.05, 1.0), st.floats(0.1, 3.0), st.floats(-0.9, 0.9), st.floats(0.0, 20.0))
def test_the_promised_error_holds_at_points_that_were_not_looked_at(years, v0, kappa, theta, xi, rho, intensity):
    jumps = JumpParameters(intensity, -0.05, 0.05, np.ones(1), np.zeros(1), np.zeros(1), np.zeros(1))
    law = pricing_laws(HestonParameters(("X",), np.array([v0]), np.array([kappa]), np.array([theta]), np.array([xi]), np.array([rho]), np.eye(1), jumps))["X"]
    base, slope = law.line(years + 2.0 / 365.0)
    request = ModelRequest("X", 0, law.operation, law.inputs, law.moving, law.power, base, slope, years, years + 2.0 / 365.0)
    box = ((-0.5, 0.5), (max(-0.5, float(np.log(base) / 2.0)), 0.5))
    table, error = model_tables.build(request, box, cpu)
    assert error <= model_tables.TOLERANCE
    rng = np.random.default_rng(7)
    m, y = rng.uniform(*box[0], 400), rng.uniform(*box[1], 400)
    read, direct = table_values(table.low, table.inverse_step, table.values, m, y), model_tables.model_volatility(request, m, y, cpu)
    prices = [black_undiscounted(np.exp(m), 1.0, m, s * np.sqrt(years), np.sign(-m)) for s in (read, direct)]
    assert np.abs(prices[0] - prices[1]).max() <= 4.0 * model_tables.TOLERANCE


@given(st.floats(0.01, 3.0), st.floats(0.0, 30.0), st.floats(-0.2, 0.1), st.floats(0.0, 0.2), st.floats(-0.6, 0.6))
def test_two_clocks_of_one_law_are_one_clock(years, intensity, mean, deviation, m):
    shape = {"forward": np.exp([m]), "strike": np.ones(1), "time_to_expiry": [years], "sign": [1.0], "initial_variance": [0.3], "mean_reversion": [2.0], "long_run_variance": [0.2], "vol_of_vol": [0.9],
             "correlation": [-0.4], "jump_mean": [mean], "jump_volatility": [deviation]}
    one = cpu.values("heston_price", shape | {"jump_intensity": [intensity]})
    two = cpu.values("heston_price", shape | {"jump_intensity": [0.3 * intensity], "second_jump_intensity": [0.7 * intensity], "second_jump_mean": [mean], "second_jump_volatility": [deviation]})
    for key in ("price", "delta", "vega", "theta"):
        assert two[key] == pytest.approx(one[key], rel=1e-9, abs=1e-11)


def test_a_second_clock_is_priced_as_its_twin_prices_it():
    shape = {"forward": np.exp(np.linspace(-0.4, 0.4, 5)), "strike": np.ones(5), "time_to_expiry": np.full(5, 0.2), "sign": np.array([1.0, -1.0, 1.0, -1.0, 1.0]), "initial_variance": np.full(5, 0.3),
             "mean_reversion": np.full(5, 2.0), "long_run_variance": np.full(5, 0.2), "vol_of_vol": np.full(5, 0.9), "correlation": np.full(5, -0.4), "jump_intensity": np.full(5, 4.0),
             "jump_mean": np.full(5, -0.1), "jump_volatility": np.full(5, 0.1), "second_jump_intensity": np.full(5, 9.0), "second_jump_mean": np.full(5, 0.04), "second_jump_volatility": np.full(5, 0.06)}
    np.testing.assert_allclose(cpu.values("heston_price", shape)["price"], reference.values("heston_price", shape)["price"], rtol=0.0, atol=1e-12)


AMERICAN = f"ETH-AM,option,ETH,linear,USD,1,{expiry_of(22.0)},2000,put,american"


def test_early_exercise_keeps_its_quoted_volatility_and_is_named(tmp_path):
    plan = plan_at(tmp_path, replace(HESTON, volatility_of_variance=np.array([1.0, 2.2])), count=4_096, extra=AMERICAN)
    assert [w for w in plan.warnings if w.startswith("UPM-PR-096")] == [w for w in plan.warnings if w.startswith("UPM-PR-096 ETH-AM: has early exercise and is repriced at quoted volatilities")] != []
    assert [w[:15] for w in plan.warnings if w.startswith("UPM-PR-095")] == ["UPM-PR-095 ETH:"]


def test_explosive_jumps_are_refused_by_name(tmp_path):
    wild = replace(BATES, jumps=replace(JUMPS, systemic_intensity=3_000.0, systemic_mean=0.8))
    plan = plan_at(tmp_path, HESTON, count=4_096)
    request = next(r for r in plan.compiled.programs[0].table_requests if r.name.startswith("BTC-730"))
    with pytest.raises(InputError, match=r"UPM-PR-081 BTC-730-0.75: no heston_price price .*status 41.*explosive"):
        model_tables.model_volatility(replace(request, inputs=pricing_laws(wild)["BTC"].inputs), np.zeros(1), np.zeros(1), cpu)


class Shelf(dict):
    """Tables in memory."""

    def take(self, key):
        return self.get(key)

    def keep(self, key, table, error):
        self[key] = table, error


def outcome_of(plan, chunk=0, shelf=None, threads=1):
    return compute_outcome(plan, choose("cpu", "double", threads), chunk, in_memory(), shelf=shelf)


def test_a_run_is_checked_in_its_tail_and_the_same_in_other_chunks_and_from_kept_tables(tmp_path):
    plan, shelf = plan_at(tmp_path, HESTON, count=12_288, days=(3.0, 22.0)), Shelf()
    first = outcome_of(plan, 4_096, shelf)
    assert first.table_check is not None and 0.0 < first.table_check.largest_share < 0.1 and first.table_check.prices > 100
    kept = dict(shelf)
    second = outcome_of(plan, 8_192, shelf, threads=2)
    assert set(shelf) == set(kept) and 2 <= len(kept) <= 4  # the two underlyings have one law: boxes on the same lattice points are one table
    np.testing.assert_array_equal(first.tail.pnl, second.tail.pnl)
    assert first.result.table["initial_margin"][0] == second.result.table["initial_margin"][0] > 0.0


def test_a_table_that_is_felt_stops_the_run_by_name(tmp_path, monkeypatch):
    plain = model_tables._fill

    def bent(*arguments):
        table, worthless = plain(*arguments)
        return replace(table, values=1.1 * table.values), worthless

    monkeypatch.setattr(model_tables, "_fill", bent)
    monkeypatch.setattr(model_tables, "TOLERANCE", 1.0)
    with pytest.raises(InputError, match=r"UPM-PR-082 (BTC|ETH)-.*: its value table changes the expected shortfall of A "):
        outcome_of(plan_at(tmp_path, HESTON, count=8_192, days=(22.0,)))


@pytest.mark.parametrize(("keys", "said"), [
    ({"model.name": "gbm"}, "has no option prices of its own"),
    ({"model.name": "heston", "model.parameters": "configs/model/heston.toml", "model.volatility_shift": "additive"}, "takes no surface"),
])
def test_what_model_repricing_excludes_is_refused(keys, said):
    with pytest.raises(InputError, match=f"UPM-CF-063.*{said}"):
        load_config(None, {"model.repricing": "model", **keys})
