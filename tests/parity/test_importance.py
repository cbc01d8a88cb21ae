"""Walks drawn from a mixture: the same bits on instruction sets and the emulated device, and plain Philox where nothing is shifted."""

from __future__ import annotations

import numpy as np
import pytest

from upm_gpu.backend import cpu, reference
from upm_gpu.backend.contract import merge
from upm_gpu.model.importance import components, make_mixture, plain_mixture, scenario_weights
from upm_gpu.model.regimes import under_regimes
from upm_gpu.model.sampling import mixed
from upm_gpu.risk.tail import finish, tail_weights
from upm_gpu.scenario.sets import BLOCK, SampledWalk

from .cases import make_compiled, make_rows, make_walk
from .conftest import ISAS, cpu_backend, cuda_backend
from .test_operations import assert_same
from .test_regimes import REGIMES
from .test_sampling import COUNT, RANGES, states


def tilted(law: str = "t_both", count: int = COUNT) -> SampledWalk:
    walk = make_walk("t_both" if law == "regimes" else law, count)
    if law == "regimes":
        walk = under_regimes(walk, REGIMES, ("U1",))[0]
    shift = np.random.default_rng(5).normal(0.0, 1.0, (3, 2, len(walk.state_names) + 1))
    shift[1, 0, -1] = 8.0  # scores pushed to the end of their table
    shift[0, 1, :2] = 0.0
    return mixed(walk, make_mixture(shift, np.array([1.0, 2.0, 1.0]), 0))


@pytest.mark.parametrize("law", ["gaussian", "t_both", "tables", "jumps", "regimes"])
def test_states_are_those_of_the_reference(backend, law):
    walk = tilted(law)
    for first, last in RANGES:
        np.testing.assert_allclose(states(backend, walk, first, last), states(reference, walk, first, last), rtol=0.0, atol=2e-12)


@pytest.mark.parametrize("law", ["t_both", "regimes"])
def test_states_are_the_same_bits_on_instruction_sets_and_the_emulated_device(law):
    walk = tilted(law)
    backends = [cpu_backend(isa) for isa in ISAS if isa in cpu.isas()] + [cuda_backend("emulated")]
    for first, last in RANGES:
        expected = states(backends[0], walk, first, last)
        for other in backends[1:]:
            np.testing.assert_array_equal(states(other, walk, first, last), expected)


@pytest.mark.parametrize("law", ["t_both", "jumps"])
def test_without_components_it_is_the_plain_walk(law):
    walk = make_walk(law, COUNT)
    plain = mixed(walk, plain_mixture(walk, 0))
    for backend in (reference, cpu_backend(cpu.isas()[0]), cuda_backend("emulated")):
        np.testing.assert_array_equal(states(backend, plain, 0, 300), states(backend, walk, 0, 300))
    np.testing.assert_array_equal(scenario_weights(plain), np.ones(COUNT))


def test_component_zero_is_the_plain_walk():
    walk = tilted()
    ids = np.flatnonzero(components(walk, np.arange(COUNT, dtype=np.uint32)) == 0)
    assert 0.17 < len(ids) / COUNT < 0.23  # a fifth, +-3.6 standard errors
    drawn = states(cpu_backend(cpu.isas()[0]), walk, 0, COUNT)
    np.testing.assert_array_equal(drawn[:, :, ids], states(cpu_backend(cpu.isas()[0]), walk.walk, 0, COUNT)[:, :, ids])


def test_tails_of_chunks_and_of_the_emulated_device():
    walk, compiled = tilted(count=BLOCK + 200), make_compiled()
    rows = make_rows(compiled, 9)
    with cpu_backend(cpu.isas()[0]).prepare(compiled, rows, "mixed", 2) as prepared:
        whole = cpu.row_tail(prepared, walk, 0, BLOCK + 200, 40)
        parts = [cpu.row_tail(prepared, walk, first, last, 40) for first, last in ((BLOCK, BLOCK + 200), (0, BLOCK))]
    assert_same(merge(parts[0], parts[1]), whole)
    emulated = cuda_backend("emulated")
    with emulated.prepare(compiled, rows, "mixed", 1) as prepared:
        assert_same(emulated.row_tail(prepared, walk, 0, BLOCK + 200, 40), whole)


def test_contributions_of_rows_with_tails_of_different_length():
    """Weighted tails are not all of one length; every backend takes them as they are."""
    walk, compiled = tilted(count=BLOCK + 200), make_compiled()
    rows, weights = make_rows(compiled, 9), scenario_weights(walk)
    found = []
    for backend in (cpu_backend(cpu.isas()[0]), cuda_backend("emulated")):
        with backend.prepare(compiled, rows, "mixed", 1) as prepared:
            tail = backend.row_tail(prepared, walk, 0, BLOCK + 200, BLOCK + 200)
            first, ids, share = tail_weights(tail, 1, 0.98, weights)
            assert len(set(np.diff(first))) > 1
            per_entry = backend.attribution(prepared, walk, 1, first, ids, share)
            found.append(per_entry)
            total = np.add.reduceat(np.append(per_entry, 0.0), rows.first[:-1]) * (np.diff(rows.first) > 0)
            np.testing.assert_allclose(total, finish(tail, [0.98], "weighted", weights)[0.98].expected_shortfall[1], rtol=1e-9, atol=1e-9)
    np.testing.assert_array_equal(found[0], found[1])
