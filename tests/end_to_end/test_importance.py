"""Importance sampling from configuration to margins: unbiased, with the error it states, ten times better where an account is directional, refused where it is not."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from small_book import GAUSSIAN, STUDENT, methodology, read, write

from upm_gpu.backend import cpu
from upm_gpu.backend.select import choose
from upm_gpu.config import load_config
from upm_gpu.engine import Outcome, compute_outcome
from upm_gpu.errors import InputError
from upm_gpu.model.gbm import GbmParameters
from upm_gpu.model.importance import make_mixture, scenario_weights
from upm_gpu.model.jumps import JumpParameters
from upm_gpu.model.merton import MertonParameters
from upm_gpu.passes import in_memory
from upm_gpu.plan import Plan, make_plan
from upm_gpu.risk.closed_form import lognormal_tail, normal_tail, student_t_tail
from upm_gpu.risk.tail import finish
from upm_gpu.rng.normal import student_t_quantile
from upm_gpu.run.verify import verify_run
from upm_gpu.scenario.derived import derive, linear_combination
from upm_gpu.scenario.sets import BLOCK
from upm_gpu.scenario.spec import ScenarioSpec

HEADER = "account_id,instrument_id,quantity,entry_price\n"
BOOKS = {"long": "L,BTC-LINEAR,1,\n", "short": "S,BTC-LINEAR,-1,\n", "short calls and spot": "C,BTC-C70,-5,\nC,BTC-LINEAR,-1,\n", "straddle": "G,BTC-C70,-1,\nG,BTC-P70,-1,\n",
         "long and short": "L,BTC-LINEAR,1,\nS,BTC-LINEAR,-1,\nE,ETH-PERP,2000,\n"}
T = GbmParameters(GAUSSIAN.state_names, GAUSSIAN.daily_volatility, GAUSSIAN.correlation, copula="student_t", copula_degrees_of_freedom=4.0, marginal=("student_t",) * 4,
                  marginal_degrees_of_freedom=np.full(4, 4.0), max_log_move=np.full(4, 40.0), measure="historical")
"""one t copula with t marginals of the same degrees: every step of a factor is a t variable, not truncated and not centred"""


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return {name: write(tmp_path_factory.mktemp("book") / "x", HEADER + lines) for name, lines in BOOKS.items()}


@pytest.fixture(scope="module")
def planned(folders):
    @cache
    def make(name: str, model: str = "gaussian", count: int = 8192, sampler: str = "importance", **spec: object) -> Plan:
        given = ScenarioSpec(count=count, seed=3, sampler=sampler, **spec)  # type: ignore[arg-type]
        return make_plan(*read(folders[name]), given, methodology(), {"gaussian": GAUSSIAN, "student": STUDENT, "t": T}[model])

    return make


def outcome(plan: Plan, backend: str = "cpu", chunk: int = 0, threads: int = 1, loop=None) -> Outcome:
    return compute_outcome(plan, choose(backend, "double", threads), chunk, loop or in_memory())


def shortfalls(plan: Plan, seeds: range) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """ES, stated error and variance ratio of the first row for each seed, the mixture left as it is."""
    found = []
    with cpu.prepare(plan.compiled, plan.rows, "double", 1) as prepared:
        for seed in seeds:
            drawn = replace(plan.scenarios, walk=replace(plan.scenarios.walk, seed=seed))
            estimate = finish(cpu.row_tail(prepared, drawn, 0, plan.spec.count, plan.spec.count), [0.99], "weighted", scenario_weights(drawn))[0.99]
            found.append((estimate.expected_shortfall[-1, 0], estimate.expected_shortfall_standard_error[-1, 0], estimate.variance_ratio[-1, 0]))
    return tuple(np.array(found).T)  # type: ignore[return-value]


SMALL = {name: replace(given, daily_volatility=np.full(4, 1e-4)) for name, given in (("gaussian", GAUSSIAN), ("t", T))}
"""moves so small that exp(x) - 1 is x: the loss of a portfolio of both coins is normal, or t"""


@pytest.mark.parametrize("model", SMALL)
def test_an_elliptical_portfolio_of_two_coins_meets_its_closed_form(tmp_path, model):
    """Long 70,000 of one and 50,000 of the other at correlation 0.8: ES = deviation x that of the unit law; mean of 20 seeds within 4 standard errors."""
    lines = "P,BTC-LINEAR,1,\nP,ETH-PERP,50000,\n"
    plan = make_plan(*read(write(tmp_path / "x", HEADER + lines)), ScenarioSpec(count=8192, sampler="importance", horizons=(1.0,)), methodology(core={"horizon": "1d"}), SMALL[model])
    deviation = 1e-4 * np.sqrt(70_000.0**2 + 50_000.0**2 + 2.0 * 0.8 * 70_000.0 * 50_000.0)
    unit = normal_tail(0.0, 1.0, 0.99) if model == "gaussian" else student_t_tail(4.0, 0.99, scale=np.sqrt(0.5))
    estimate, error, ratio = shortfalls(plan, range(200, 220))
    assert abs(np.mean(estimate) - deviation * unit[1]) < 4.0 * np.sqrt(np.mean(error**2) / 20.0)
    assert np.median(ratio) > 20.0


def known(name: str, model: str) -> float:
    if model == "gaussian":
        return lognormal_tail(70_000.0, 0.0, 0.03 * np.sqrt(365.0), 2.0 / 365.0, 0.99, short=name == "short")[1]
    nodes, weights = np.polynomial.legendre.leggauss(200)
    u = 0.01 * (0.5 * (nodes + 1.0)) ** 6  # the tail of a long position, dense towards its end
    move = 0.03 * np.sqrt(0.5) * student_t_quantile(u, 4.0)
    return float(-70_000.0 * np.sum(weights * 0.5 * 6.0 * (0.5 * (nodes + 1.0)) ** 5 * np.expm1(move)))


@pytest.mark.parametrize(("name", "model", "horizon"), [("long", "gaussian", 2.0), ("short", "gaussian", 2.0), ("long", "t", 1.0)])
def test_the_closed_form_is_met_with_the_error_stated(folders, name, model, horizon):
    """Mean over 60 seeds within 4 of its standard errors; spread over seeds against the stated error, chi-square with 59 degrees at 1e-4 (0.44 to 1.86)."""
    rules = methodology(core={"horizon": f"{horizon:g}d"}) if horizon != 2.0 else methodology()
    plan = make_plan(*read(folders[name]), ScenarioSpec(count=4096, sampler="importance", horizons=(horizon,)), rules, {"gaussian": GAUSSIAN, "t": T}[model])
    assert plan.horizons == (horizon,)
    estimate, error, ratio = shortfalls(plan, range(100, 160))
    spread = np.std(estimate, ddof=1)
    assert abs(np.mean(estimate) - known(name, model)) < 4.0 * spread / np.sqrt(60.0)
    assert 0.44 < spread**2 / np.mean(error**2) < 1.86
    assert np.median(ratio) > 20.0


@pytest.mark.parametrize("model", ["gaussian", "student"])
@pytest.mark.parametrize("name", ["long", "short calls and spot", "straddle"])
def test_a_directional_account_gains_ten_times(planned, name, model):
    """By its own estimate, and of the squared error of the plain run at the same number of scenarios."""
    weighted, plain = outcome(planned(name, model)), outcome(planned(name, model, sampler="philox"))
    a, b = (o.result.measured.measures[o.plan.core] for o in (weighted, plain))
    assert a.variance_ratio[0] >= 10.0 and weighted.result.table["variance_ratio"][0] == a.variance_ratio[0]
    assert b.expected_shortfall_standard_error[0] ** 2 >= 10.0 * a.expected_shortfall_standard_error[0] ** 2
    assert abs(a.expected_shortfall[0] - b.expected_shortfall[0]) < 4.0 * np.hypot(a.expected_shortfall_standard_error[0], b.expected_shortfall_standard_error[0])
    assert "variance_ratio" not in plain.result.table


def test_several_accounts_share_a_mixture(planned):
    found = outcome(planned("long and short", "student"))
    assert np.all(found.result.table["variance_ratio"] > 3.0)
    sums = found.result.contributions.groupby("account_id", observed=True)["contribution"].sum()
    table = found.result.table.set_index("account_id")["expected_shortfall"]
    np.testing.assert_allclose(sums[table.index], table, rtol=1e-12)


def test_the_same_bytes_for_any_chunk_and_threads_and_nearly_the_same_on_the_reference(planned):
    plan = planned("long and short", "student", 3 * BLOCK + 100)
    one = outcome(plan)
    for other in (outcome(plan, chunk=BLOCK), outcome(plan, chunk=2 * BLOCK, threads=2)):
        for name in ("pnl", "scenario"):
            np.testing.assert_array_equal(getattr(one.tail, name), getattr(other.tail, name))
        assert one.result.table.equals(other.result.table) and one.result.contributions.equals(other.result.contributions)
    twin = outcome(plan, "reference").result.table
    np.testing.assert_allclose(twin["expected_shortfall"], one.result.table["expected_shortfall"], rtol=1e-10)


def test_a_depth_too_small_is_run_again_deeper(planned):
    plan = planned("long and short", "student")
    passes = []

    def loop(ranges, compute, join, again=0):
        passes.append(again)
        return in_memory()(ranges, compute, join, again)

    found, whole = outcome(replace(plan, depth=600), loop=loop), outcome(plan)
    assert passes == list(range(len(passes))) and 2 <= len(passes) <= 5
    assert found.plan.depth == min(600 * 2 ** (len(passes) - 1), plan.spec.count)
    assert found.result.table.equals(whole.result.table) and found.result.contributions.equals(whole.result.contributions)


def test_a_mixture_that_serves_no_account_is_refused(planned):
    """Shifts to the side where nothing is lost."""
    plan = planned("long")
    drawn = plan.scenarios
    wrong = replace(drawn, mixture=make_mixture(-drawn.mixture.shift[1:], drawn.mixture.chance[1:], 0))
    with pytest.raises(InputError, match=r"UPM-PR-079 .*account L has a variance ratio of 0\.[0-7]\d.*philox"):
        outcome(replace(plan, scenarios=wrong))


def test_jumps_and_derived_states_are_guided_too(folders, planned):
    """Merton: jumps are plain draws, so the gain is smaller; a derived set: the walk inside is drawn from the mixture."""
    jumps = JumpParameters(20.0, -0.03, 0.04, np.array([1.0, 1.2, -0.5, -0.5]), np.zeros(4), np.zeros(4), np.zeros(4))
    merton = MertonParameters(GAUSSIAN.state_names, GAUSSIAN.daily_volatility, GAUSSIAN.correlation, jumps)
    spec = ScenarioSpec(count=8192, seed=3, sampler="importance")
    found = {sampler: outcome(make_plan(*read(folders["short"]), replace(spec, sampler=sampler), methodology(), merton)).result.table.iloc[0] for sampler in ("importance", "philox")}
    a, b = found["importance"], found["philox"]
    error = np.hypot(a["expected_shortfall_standard_error"], b["expected_shortfall_standard_error"])
    assert a["variance_ratio"] > 3.0 and abs(a["expected_shortfall"] - b["expected_shortfall"]) < 4.0 * error

    class Derived:
        state_names = STUDENT.state_names

        def scenarios(self, dates, spec):
            return derive(STUDENT.scenarios(dates, spec), [linear_combination("volatility_shift[SUM]", {"volatility_shift[BTC]": 1.0}, len(dates))])

    plan = make_plan(*read(folders["straddle"]), spec, methodology(), Derived())
    assert outcome(plan).result.table["expected_shortfall"].equals(outcome(planned("straddle", "student")).result.table["expected_shortfall"])


def test_a_run_that_must_go_deeper_keeps_both_passes_in_its_ledger(tmp_path, monkeypatch):
    """The same files as a run that was deep enough at once."""
    from upm_gpu import guided, job

    folder = write(tmp_path / "x", HEADER + "L,BTC-LINEAR,1,\n")
    (folder / "market" / "history.csv").write_text(history())
    text = f'schema_version = 1\n[book]\npath = "{folder / "book"}"\n[market]\npath = "{folder / "market"}"\n[scenarios]\ncount = 12288\nsampler = "importance"\n[compute]\nchunk = 4096\n'
    (tmp_path / "run.toml").write_text(text)
    job.run(tmp_path / "run.toml", {"output.path": str(tmp_path / "whole")}, quiet=True)
    monkeypatch.setattr(guided, "first_depth", lambda *_: 2)
    job.run(tmp_path / "run.toml", {"output.path": str(tmp_path / "deeper")}, quiet=True)
    for name in ("margin.csv", "contributions.parquet", "worst_scenarios.parquet", "report/tails.parquet", "report/histograms.parquet"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "deeper" / name).read_bytes(), name
    manifest = json.loads((tmp_path / "deeper" / "manifest.json").read_text())
    assert manifest["error_formula"].startswith("importance") and manifest["importance"]["variance_ratio_smallest"] >= 10.0
    assert 0.2 < manifest["importance"]["effective_scenarios"] / 12288 < 1.0 and manifest["importance"]["weight_largest"] <= 5.0
    assert verify_run(tmp_path / "deeper")["leftovers"] == []


def history() -> str:
    """A year of daily closes of both coins and their volatilities."""
    rng = np.random.default_rng(8)
    moves = rng.standard_normal((400, 4)) @ np.linalg.cholesky(GAUSSIAN.correlation).T * GAUSSIAN.daily_volatility
    closes = np.array([70_000.0, 2_000.0, 0.55, 0.75]) * np.exp(np.cumsum(moves, axis=0) - np.sum(moves, axis=0))
    days = np.datetime64("2026-02-04") - np.arange(400)[::-1]
    names = ("BTC", "ETH", "BTC.IV30", "ETH.IV30")
    return "date,asset,close\n" + "".join(f"{d},{n},{c:.6f}\n" for d, row in zip(days, closes, strict=True) for n, c in zip(names, row, strict=True))


@pytest.mark.parametrize(("lines", "code"), [
    ('variance_reduction = "antithetic"', "UPM-CF-063"), ("target_relative_error = 0.01", "UPM-CF-063"), ("[model]\nname = \"heston\"\nparameters = \"x.toml\"", "UPM-CF-091"),
    ('[model]\nname = "garch"', "UPM-CF-091"), ('[model]\nname = "historical"', "UPM-CF-091")])
def test_what_importance_does_not_go_with_is_refused(tmp_path, lines, code):
    (tmp_path / "run.toml").write_text(f'schema_version = 1\n[scenarios]\nsampler = "importance"\n{lines}\n')
    with pytest.raises(InputError, match=code):
        load_config(tmp_path / "run.toml")


def test_simulate_has_no_book_to_be_guided_by(tmp_path):
    from upm_gpu import job

    (tmp_path / "spec.toml").write_text('schema_version = 1\n[scenarios]\nsampler = "importance"\n')
    with pytest.raises(InputError, match="UPM-CF-096"):
        job.simulate(tmp_path / "spec.toml", tmp_path / "out.parquet", "cpu", True)


def test_the_guide_is_a_function_of_book_market_and_spec_and_not_of_their_order(folders, planned):
    a, b = planned("straddle", "student"), make_plan(*read(folders["straddle"]), ScenarioSpec(count=8192, seed=3, sampler="importance"), methodology(), STUDENT)
    np.testing.assert_array_equal(a.scenarios.mixture.shift, b.scenarios.mixture.shift)
    assert a.scenarios.mixture.chance[0] == 0.2 and a.scenarios.mixture.chance.sum() == pytest.approx(1.0, abs=1e-15)
    assert np.abs(a.scenarios.mixture.shift).max() <= 4.0 and not a.scenarios.mixture.shift[0].any()
