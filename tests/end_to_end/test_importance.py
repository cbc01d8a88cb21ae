"""Importance sampling from configuration to margins: unbiased, with the error it states, ten times better where an account is directional, refused where it is not."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from small_book import GAUSSIAN, STUDENT, methodology, read, write

from upm_gpu.backend import cpu
from upm_gpu.backend.select import choose
from upm_gpu.engine import Outcome, Plan, compute_outcome, in_memory, make_plan
from upm_gpu.errors import InputError
from upm_gpu.model.gbm import GbmParameters
from upm_gpu.model.importance import make_mixture, scenario_weights
from upm_gpu.risk.closed_form import lognormal_tail
from upm_gpu.risk.tail import finish
from upm_gpu.rng.normal import student_t_quantile
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


def test_the_guide_is_a_function_of_book_market_and_spec_and_not_of_their_order(folders, planned):
    a, b = planned("straddle", "student"), make_plan(*read(folders["straddle"]), ScenarioSpec(count=8192, seed=3, sampler="importance"), methodology(), STUDENT)
    np.testing.assert_array_equal(a.scenarios.mixture.shift, b.scenarios.mixture.shift)
    assert a.scenarios.mixture.chance[0] == 0.2 and a.scenarios.mixture.chance.sum() == pytest.approx(1.0, abs=1e-15)
    assert np.abs(a.scenarios.mixture.shift).max() <= 4.0 and not a.scenarios.mixture.shift[0].any()
