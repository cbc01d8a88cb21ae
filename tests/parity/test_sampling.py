"""Sampled walks on every backend: Sobol points, antithetic pairs and matched moments are the same numbers everywhere."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from upm_gpu.backend import cpu, reference
from upm_gpu.backend.contract import merge
from upm_gpu.model.sampling import sample
from upm_gpu.pricing.compiled import empty
from upm_gpu.scenario.sets import BLOCK, SampledWalk
from upm_gpu.scenario.spec import ScenarioSpec

from .cases import make_compiled, make_heston, make_rows, make_walk
from .conftest import ISAS, cpu_backend, cuda_backend
from .test_operations import assert_same

SPECS = {
    "owen": ScenarioSpec(sampler="sobol"), "shift": ScenarioSpec(sampler="sobol", scrambling="digital_shift", sobol_order="principal_components"),
    "antithetic": ScenarioSpec(variance_reduction="antithetic"), "matched": ScenarioSpec(variance_reduction="moment_matching"),
}
COUNT = 2 * BLOCK + 300
RANGES = ((0, 150), (5, 140), (BLOCK - 70, BLOCK + 50), (2 * BLOCK - 10, COUNT))


def sampled(kind: str, law: str = "t_both", count: int = COUNT) -> SampledWalk:
    made = sample(make_heston(law, count) if law in ("heston", "bates") else make_walk(law, count), SPECS[kind])
    assert isinstance(made, SampledWalk)
    return made


def states(backend: Any, walk: Any, first: int, last: int) -> np.ndarray:
    with backend.prepare(*empty(walk.state_names, walk.dates), "double", 1) as prepared:
        return np.array(backend.states(prepared, walk, first, last))


@pytest.mark.parametrize("law", ["gaussian", "t_both", "jumps"])
@pytest.mark.parametrize("kind", SPECS)
def test_states_are_those_of_the_reference(backend: Any, kind: str, law: str) -> None:
    walk = sampled(kind, law)
    for first, last in RANGES:
        np.testing.assert_allclose(states(backend, walk, first, last), states(reference, walk, first, last), rtol=0.0, atol=2e-12)


@pytest.mark.parametrize("kind", SPECS)
@pytest.mark.parametrize("law", ["heston", "bates"])
def test_states_of_heston_are_those_of_the_reference(backend: Any, kind: str, law: str) -> None:
    """Within 256 ulp a leg of the larger of the value and its deviation, as in test_models.py."""
    model = sampled(kind, law)
    for first, last in RANGES:
        expected = states(reference, model, first, last)
        size = np.maximum(np.abs(expected), expected.std(axis=2, keepdims=True))
        assert (np.abs(states(backend, model, first, last) - expected) / size).max() <= 256 * np.finfo(float).eps * len(model.walk.leg_step)


@pytest.mark.parametrize("law", ["t_both", "bates"])
@pytest.mark.parametrize("kind", SPECS)
def test_states_are_the_same_bits_on_instruction_sets_and_the_emulated_device(kind: str, law: str) -> None:
    walk = sampled(kind, law)
    backends = [cpu_backend(isa) for isa in ISAS if isa in cpu.isas()] + [cuda_backend("emulated")]
    for first, last in RANGES:
        expected = states(backends[0], walk, first, last)
        for other in backends[1:]:
            np.testing.assert_array_equal(states(other, walk, first, last), expected)


@pytest.mark.parametrize("law", ["t_both", "bates"])
@pytest.mark.parametrize("kind", SPECS)
def test_a_range_draws_what_the_whole_draws(kind: str, law: str) -> None:
    walk = sampled(kind, law)
    whole = states(cpu_backend(cpu.isas()[0]), walk, 0, COUNT)
    for first, last in RANGES:
        np.testing.assert_array_equal(states(cpu_backend(cpu.isas()[0]), walk, first, last), whole[:, :, first:last])


@pytest.mark.parametrize("kind", SPECS)
def test_tails_of_chunks_merge_to_the_tail_of_the_whole(kind: str) -> None:
    walk, compiled = sampled(kind), make_compiled()
    with cpu_backend(cpu.isas()[0]).prepare(compiled, make_rows(compiled), "mixed", 2) as prepared:
        whole = cpu.row_tail(prepared, walk, 0, COUNT, 40)
        parts = [cpu.row_tail(prepared, walk, first, min(first + BLOCK, COUNT), 40) for first in (BLOCK, 0, 2 * BLOCK)]
    assert_same(merge(merge(parts[0], parts[1]), parts[2]), whole)


@pytest.mark.parametrize("kind", SPECS)
def test_tails_and_attribution_agree_on_the_emulated_device(kind: str) -> None:
    walk, compiled = sampled(kind, count=BLOCK + 200), make_compiled()
    rows = make_rows(compiled, 9)
    first = np.arange(0, 3 * rows.count + 1, 3)
    ids = np.tile(np.array([7, BLOCK - 1, BLOCK + 3], np.uint32), rows.count)
    found = []
    for backend in (cpu_backend(cpu.isas()[0]), cuda_backend("emulated")):
        with backend.prepare(compiled, rows, "mixed", 1) as prepared:
            found.append((backend.row_tail(prepared, walk, BLOCK, BLOCK + 200, 20), backend.attribution(prepared, walk, 1, first, ids, np.ones(len(ids)))))
    assert_same(found[0][0], found[1][0])
    np.testing.assert_array_equal(found[0][1], found[1][1])
