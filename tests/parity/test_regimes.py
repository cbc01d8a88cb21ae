"""Correlation regimes on every backend against the NumPy twins: each kind of set, ranges, tails, listed scenarios; one regime is today's set to the bit.

Tolerance of states: that of the kind of set without regimes (test_operations, test_models, test_volatility_sets). A scenario in the wrong regime is off by
the order of its standard deviation.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from upm_gpu.backend import cpu, reference
from upm_gpu.backend.contract import merge
from upm_gpu.model.regime_twin import regime_of
from upm_gpu.model.regimes import Regime, under_regimes
from upm_gpu.model.sampling import sample
from upm_gpu.pricing.compiled import empty
from upm_gpu.scenario.sets import BLOCK, SampledWalk, ScenarioSet
from upm_gpu.scenario.spec import ScenarioSpec

from .cases import DATES, make_compiled, make_garch, make_heston, make_resample, make_rows, make_walk
from .conftest import ISAS, cpu_backend
from .test_operations import EPS, assert_same, composed_tail

REGIMES = (Regime("rare", 0.02, 1.0, "one"), Regime("often", 0.4, 0.6, "one"))
KINDS = ("gaussian", "t_both", "jumps", "sobol", "antithetic", "moment_matching", "heston", "bates", "t_copula", "grouped_t", "factor_model")


def plain_set(kind: str, count: int = 5000) -> ScenarioSet:
    if kind in ("sobol", "antithetic", "moment_matching"):
        spec = ScenarioSpec(count=count, seed=7, sampler="sobol" if kind == "sobol" else "philox", variance_reduction="none" if kind == "sobol" else kind)
        return sample(make_walk("t_both", count), spec)
    return make_heston(kind, count) if kind in ("heston", "bates", "t_copula") else make_garch(kind, count) if kind in ("grouped_t", "factor_model") else make_walk(kind, count)


def mixture(kind: str, count: int = 5000) -> Any:
    """The base, a rare and a frequent regime."""
    return under_regimes(plain_set(kind, count), REGIMES, ("U1",))[0]


def inner(scenarios: Any) -> Any:
    return scenarios.walk if isinstance(scenarios, SampledWalk) else scenarios


@pytest.mark.parametrize("kind", KINDS)
def test_states_follow_the_twin(backend: Any, kind: str) -> None:
    scenarios, first, last = mixture(kind), 100, 429
    book = empty(scenarios.state_names, DATES)
    with backend.prepare(*book, "double") as prepared:
        states = backend.states(prepared, scenarios, first, last)
    expected = reference.states(reference.prepare(*book, "double"), scenarios, first, last)
    size = np.maximum(np.abs(expected), expected.std(axis=2, keepdims=True))
    limit = (256 if kind in ("heston", "bates", "t_copula") else 16) * EPS * len(inner(scenarios).leg_step)
    assert (np.abs(states - expected) / size).max() <= limit
    assert len(set(regime_of(inner(scenarios).regimes, inner(scenarios).seed, np.arange(first, last, dtype=np.uint32)))) == 3


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("isa", ISAS)
def test_instruction_sets_give_the_same_bits(kind: str, isa: str) -> None:
    cpu_backend(isa)
    scenarios = mixture(kind)
    book = empty(scenarios.state_names, DATES)
    with cpu.prepare(*book, "double", isa=isa) as a, cpu.prepare(*book, "double", 1, isa="plain") as b:
        np.testing.assert_array_equal(cpu.states(a, scenarios, 5, 200), cpu.states(b, scenarios, 5, 200))


@pytest.mark.parametrize("kind", ["t_both", "sobol", "bates", "factor_model"])
def test_tail_is_the_composition_of_plain_operations(backend: Any, kind: str) -> None:
    compiled = make_compiled()
    rows, scenarios, last = make_rows(compiled), mixture(kind, 2 * BLOCK), BLOCK + 333
    with backend.prepare(compiled, rows, "double") as prepared:
        tail = backend.row_tail(prepared, scenarios, 0, last, 20)
        worst, ids, sums = composed_tail(backend, prepared, scenarios, 0, last, 20)
        halves = merge(backend.row_tail(prepared, scenarios, BLOCK, last, 20), backend.row_tail(prepared, scenarios, 0, BLOCK, 20))
    np.testing.assert_array_equal(tail.pnl, worst)
    np.testing.assert_array_equal(tail.scenario, ids)
    np.testing.assert_array_equal(tail.block_sums, sums)
    assert_same(halves, tail)


def test_attribution_of_listed_scenarios(backend: Any) -> None:
    compiled = make_compiled()
    rows = make_rows(compiled)
    first = np.arange(rows.count + 1, dtype=np.int64)
    ids = np.sort(np.random.default_rng(2).choice(900, rows.count, replace=False)).astype(np.uint32)
    for kind in ("t_both", "heston", "grouped_t"):
        scenarios = mixture(kind)
        with backend.prepare(compiled, rows, "double") as prepared:
            total = backend.attribution(prepared, scenarios, 1, first, ids, np.ones(rows.count))
            unit = backend.unit_pnl(prepared, scenarios, 0, 900, 1)
        expected = np.concatenate([unit[rows.column[rows.first[r] : rows.first[r + 1]], ids[r]] for r in range(rows.count)])
        np.testing.assert_array_equal(total, rows.quantity * expected)


@pytest.mark.parametrize("kind", KINDS)
def test_a_scenario_moves_as_the_forced_set_of_its_regime(backend: Any, kind: str) -> None:
    """The mixture has no scenario of its own: each is that of one forced set, to the bit, and the calm ones are those without regimes."""
    scenarios, last = mixture(kind), 256
    book = empty(scenarios.state_names, DATES)
    which = regime_of(inner(scenarios).regimes, inner(scenarios).seed, np.arange(last, dtype=np.uint32))
    forced = [plain_set(kind), *(under_regimes(plain_set(kind), [replace(r, probability=1.0)], ("U1",))[0] for r in REGIMES)]
    assert all(inner(f).regimes is None for f in forced)
    with backend.prepare(*book, "double") as prepared:
        mixed = backend.states(prepared, scenarios, 0, last)
        single = [backend.states(prepared, f, 0, last) for f in forced]
    for q in range(3):
        np.testing.assert_array_equal(mixed[:, :, which == q], single[q][:, :, which == q])
        assert np.any(which == q)


def test_no_regime_changes_nothing_and_resampled_sets_refuse() -> None:
    from upm_gpu.errors import CalibrationError

    plain = make_walk("t_both")
    same, used = under_regimes(plain, ())
    assert same is plain and [u.probability for u in used] == [1.0]
    for refused in (make_resample(), make_garch("resampled")):
        assert under_regimes(refused, ()) == (refused, ())
        with pytest.raises(CalibrationError, match="UPM-CA-139"):
            under_regimes(refused, REGIMES)
