"""Models beyond the plain walk, on every backend against their NumPy twins, and through the fused tail.

Tolerance of states: 256 ulp a leg. A variance that leaves zero is ln(ratio) / beta with a ratio near 1, so some ulp of 1 / beta, which is many times the standard
deviation of a variance that is mostly zero. A wrong constant or order of draws is off by a factor 1e9 more. Branches of the scheme meet at psi = 1.5
only; a draw within rounding of it would show here as an outlier.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from upm_gpu.backend import cpu, reference
from upm_gpu.backend.contract import merge
from upm_gpu.pricing.compiled import empty
from upm_gpu.scenario.sets import BLOCK

from .cases import DATES, make_compiled, make_heston, make_rows
from .conftest import ISAS, cpu_backend
from .test_operations import EPS, assert_same, composed_tail

LAWS = ("heston", "bates", "t_copula")


@pytest.mark.parametrize("law", LAWS)
def test_states_follow_the_twin(backend: Any, law: str) -> None:
    model, first, last = make_heston(law), 100, 829
    book = empty(model.state_names, DATES)
    with backend.prepare(*book, "double") as prepared:
        states = backend.states(prepared, model, first, last)
    expected = reference.states(reference.prepare(*book, "double"), model, first, last)
    assert states.shape == (len(DATES), len(model.state_names), last - first)
    assert len(model.state_names) == 8 and np.all(states[:, 1:6:2] >= 0.0)
    assert np.any(states[:, 5] == 0.0)  # the atom of the exponential branch is met
    size = np.maximum(np.abs(expected), expected.std(axis=2, keepdims=True))
    assert (np.abs(states - expected) / size).max() <= 256 * EPS * len(model.leg_step)


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("isa", ISAS)
def test_instruction_sets_give_the_same_bits(law: str, isa: str) -> None:
    cpu_backend(isa)
    model = make_heston(law)
    book = empty(model.state_names, DATES)
    with cpu.prepare(*book, "double", isa=isa) as a, cpu.prepare(*book, "double", isa="plain") as b:
        np.testing.assert_array_equal(cpu.states(a, model, 5, 400), cpu.states(b, model, 5, 400))


def test_tail_is_the_composition_of_plain_operations(backend: Any) -> None:
    compiled = make_compiled()
    rows, model, last = make_rows(compiled), make_heston("bates"), BLOCK + 333
    with backend.prepare(compiled, rows, "mixed") as prepared:
        tail = backend.row_tail(prepared, model, 0, last, 40)
        worst, ids, sums = composed_tail(backend, prepared, model, 0, last, 40)
        halves = merge(backend.row_tail(prepared, model, 0, BLOCK, 40), backend.row_tail(prepared, model, BLOCK, last, 40))
    np.testing.assert_array_equal(tail.pnl, worst)
    np.testing.assert_array_equal(tail.scenario, ids)
    np.testing.assert_array_equal(tail.block_sums, sums)
    assert_same(halves, tail)
    assert tail.not_finite == 0 and not tail.clipped.any()


def test_attribution_draws_listed_scenarios(backend: Any) -> None:
    compiled = make_compiled()
    rows, model = make_rows(compiled), make_heston("bates")
    first = np.arange(rows.count + 1, dtype=np.int64)
    scenario = np.random.default_rng(2).integers(0, 900, rows.count).astype(np.uint32)
    with backend.prepare(compiled, rows, "double") as prepared:
        total = backend.attribution(prepared, model, 1, first, scenario, np.ones(rows.count))
        unit = backend.unit_pnl(prepared, model, 0, 900, 1)
    expected = np.concatenate([unit[rows.column[rows.first[r] : rows.first[r + 1]], scenario[r]] for r in range(rows.count)])
    np.testing.assert_array_equal(total, rows.quantity * expected)
