"""Samplers and adaptive runs from configuration to margins: the adaptive run is the fixed run of its final size, byte for byte."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from small_book import GAUSSIAN, methodology, read, write

from upm_gpu.backend.select import choose
from upm_gpu.engine import Outcome, compute_outcome
from upm_gpu.errors import InputError
from upm_gpu.margin.adaptive import batch_ends, precise_enough
from upm_gpu.passes import in_memory
from upm_gpu.plan import make_plan
from upm_gpu.risk.dependence import FORMULAS
from upm_gpu.risk.tail import finish
from upm_gpu.scenario.sets import BLOCK
from upm_gpu.scenario.spec import ScenarioSpec

POSITIONS = "account_id,instrument_id,quantity,entry_price\nL,BTC-LINEAR,1,\nS,BTC-LINEAR,-1,\nC,BTC-C70,-5,\nP,BTC-PERP,7000,70000\n"
SPECS = {"philox": ScenarioSpec(), "antithetic": ScenarioSpec(variance_reduction="antithetic"), "blocks": ScenarioSpec(variance_reduction="moment_matching"),
         "sobol": ScenarioSpec(sampler="sobol"), "shift": ScenarioSpec(sampler="sobol", scrambling="digital_shift", sobol_order="principal_components")}


def outcome(folder, spec, backend="cpu", chunk=0, loop=None) -> Outcome:
    book, market = read(folder)
    plan = make_plan(book, market, spec, methodology(), GAUSSIAN)
    return compute_outcome(plan, choose(backend, "double", 1), chunk, loop or in_memory())


def same(a: Outcome, b: Outcome) -> None:
    for name in a.tail.__dataclass_fields__:
        np.testing.assert_array_equal(getattr(a.tail, name), getattr(b.tail, name))
    assert a.result.table.equals(b.result.table) and a.result.contributions.equals(b.result.contributions)


@pytest.mark.parametrize("name", SPECS)
def test_an_adaptive_run_is_the_fixed_run_of_its_final_size(tmp_path, name):
    folder = write(tmp_path, POSITIONS)
    target = {"sobol": 0.002, "shift": 0.002}.get(name, 0.012)
    found = outcome(folder, replace(SPECS[name], count=400_000, seed=3, horizons=(1.0, 2.0), target_relative_error=target))
    final = found.plan.spec.count
    assert found.cap == 400_000 and 20_480 <= final < 400_000 and final % BLOCK == 0
    assert final == found.tail.count == found.plan.scenarios.count == found.ranges[-1][1]
    fixed = outcome(folder, replace(found.plan.spec, target_relative_error=0.0), chunk=3 * BLOCK)
    same(found, fixed)
    measured = found.result.measured.measures[found.plan.core]
    assert precise_enough(measured.expected_shortfall, measured.expected_shortfall_standard_error, found.result.measured.gross_notional, target)
    ends = batch_ends(400_000, found.plan.core.level, found.plan.spec.sampler == "sobol")
    before = ends[ends.index(final) - 1] if ends.index(final) else None
    if before:  # it did not stop too late
        earlier = outcome(folder, replace(found.plan.spec, count=before, target_relative_error=0.0)).result.measured
        core = earlier.measures[found.plan.core]
        assert not precise_enough(core.expected_shortfall, core.expected_shortfall_standard_error, earlier.gross_notional, target)


def test_the_cap_ends_a_run_that_cannot_be_precise(tmp_path):
    folder = write(tmp_path, POSITIONS)
    found = outcome(folder, ScenarioSpec(count=30_001, seed=3, target_relative_error=1e-9))
    assert found.plan.spec.count == 30_001
    same(found, outcome(folder, ScenarioSpec(count=30_001, seed=3)))


def test_an_interrupted_adaptive_run_ends_where_it_would_have(tmp_path):
    """A loop that already holds scenarios past the first batches, as a ledger does after a crash."""
    folder = write(tmp_path, POSITIONS)
    spec = ScenarioSpec(count=200_000, seed=3, target_relative_error=0.009)
    whole = outcome(folder, spec)
    assert whole.plan.spec.count >= 40_000
    held = {}

    def ledger(ranges, compute, join):
        if not held:
            held["state"], held["end"] = compute(0, 7 * BLOCK, None), 7 * BLOCK
        for first, last in ranges:
            if last > held["end"]:
                held["state"], held["end"] = join(held["state"], compute(max(first, held["end"]), last, held["state"])), last
        return held["state"]

    same(outcome(folder, spec, loop=ledger), whole)


@pytest.mark.parametrize("name", SPECS)
def test_every_sampler_meets_the_closed_form_with_the_error_it_states(tmp_path, name):
    """ES 99 % of one coin over two days, sigma 3 % a day, at most five standard errors (16 scramblings) away; the formula is named."""
    from upm_gpu.risk.closed_form import lognormal_tail

    found = outcome(write(tmp_path, POSITIONS), replace(SPECS[name], count=131_072, seed=5))
    table = found.result.table.set_index("account_id")
    for account in ("L", "S"):
        known = lognormal_tail(70_000.0, 0.0, 0.03 * np.sqrt(365.0), 2.0 / 365.0, 0.99, short=account == "S")[1]
        error = table.loc[account, "expected_shortfall_standard_error"]
        assert abs(table.loc[account, "expected_shortfall"] - known) < 5.0 * error
        assert error < (0.003 if name in ("sobol", "shift") else 0.02) * known
    kind = {"philox": "independent", "antithetic": "pairs", "blocks": "blocks"}.get(name, "scramblings")
    assert finish(found.tail, [0.99], kind)[0.99].error_formula == FORMULAS[kind]


def test_sobol_on_the_reference_backend_agrees(tmp_path):
    folder = write(tmp_path, POSITIONS)
    spec = replace(SPECS["sobol"], count=8192)
    a, b = outcome(folder, spec), outcome(folder, spec, "reference")
    np.testing.assert_allclose(a.tail.pnl, b.tail.pnl, rtol=1e-9, atol=1e-6)


def test_a_model_without_the_sampler_refuses(tmp_path):
    from upm_gpu.model.gbm import walk

    class Plain:
        state_names = GAUSSIAN.state_names

        def scenarios(self, dates, spec):
            return walk(GAUSSIAN, dates, spec.seed, spec.stream, spec.count)

    book, market = read(write(tmp_path, POSITIONS))
    with pytest.raises(InputError, match="UPM-CF-091"):
        make_plan(book, market, SPECS["sobol"], methodology(), Plain())


def test_too_many_dimensions_are_refused(tmp_path):
    book, market = read(write(tmp_path, POSITIONS))
    with pytest.raises(InputError, match="UPM-CF-082"):
        make_plan(book, market, replace(SPECS["sobol"], horizons=(20_000.0,)), methodology(), GAUSSIAN)
