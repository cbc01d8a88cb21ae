"""A book with cash dividends, American and European, on every backend: its tables, its P&L, its tails."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from dividend_book import SPOT, planned

from upm_gpu.backend import cpu, reference
from upm_gpu.plan import Plan
from upm_gpu.pricing import tables
from upm_gpu.pricing.compiled import Compiled
from upm_gpu.scenario.sets import BLOCK

from .conftest import cuda_backend
from .test_operations import assert_same

DEPTH = 60
STRIKE = 2_400.0
"""the largest"""


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    return planned(tmp_path_factory.mktemp("dividends"))


@pytest.fixture(scope="module")
def tabled(plan: Plan) -> Compiled:
    """With the tables that the cpu backend makes."""
    return tables.with_tables(plan.compiled, (plan.scenarios,), cpu)[0]


def test_pnl_is_that_of_the_twin(backend: Any, plan: Plan, tabled: Compiled) -> None:
    """Same tables: values within the rounding of a price and of the states it is read at, four ulp a move."""
    with backend.prepare(tabled, plan.rows, "double") as prepared:
        unit, value0 = backend.unit_pnl(prepared, plan.scenarios, 0, 500, 0), prepared.value0
    twin = reference.prepare(tabled, plan.rows, "double")
    expected = reference.unit_pnl(twin, plan.scenarios, 0, 500, 0)
    np.testing.assert_allclose(value0, twin.value0, rtol=0.0, atol=1e-14 * STRIKE)
    np.testing.assert_allclose(unit[tabled.linear :], expected[tabled.linear :], rtol=0.0, atol=1e-13 * STRIKE)
    assert np.abs(unit[tabled.linear :]).max() > 0.01 * SPOT


def test_tails_are_those_of_the_twin(backend: Any, plan: Plan, tabled: Compiled) -> None:
    with backend.prepare(tabled, plan.rows, "double") as prepared:
        tail = backend.row_tail(prepared, plan.scenarios, 0, BLOCK, DEPTH)
    expected = reference.row_tail(reference.prepare(tabled, plan.rows, "double"), plan.scenarios, 0, BLOCK, DEPTH)
    np.testing.assert_allclose(tail.pnl, expected.pnl, rtol=0.0, atol=1e-12 * STRIKE)
    assert np.mean(tail.scenario == expected.scenario) > 0.999


def test_engine_and_emulated_device_agree_to_the_bit(plan: Plan, tabled: Compiled) -> None:
    """Ranges of states, tables, today's values, P&L and tails, each made by the backend itself."""
    device = cuda_backend("emulated")
    own = tables.with_tables(plan.compiled, (plan.scenarios,), device)[0]
    np.testing.assert_array_equal(own.terms, tabled.terms)
    for mine, theirs in zip(own.programs, tabled.programs, strict=True):
        assert len(mine.tables) == len(theirs.tables) == 2
        for a, b in zip(mine.tables, theirs.tables, strict=True):
            assert (a.low, a.inverse_step) == (b.low, b.inverse_step)
            np.testing.assert_array_equal(a.values, b.values)
    for precision in ("double", "mixed"):
        with device.prepare(own, plan.rows, precision) as one, cpu.prepare(tabled, plan.rows, precision) as other:
            np.testing.assert_array_equal(one.value0, other.value0)
            np.testing.assert_array_equal(device.unit_pnl(one, plan.scenarios, 0, 300, 0), cpu.unit_pnl(other, plan.scenarios, 0, 300, 0))
            assert_same(device.row_tail(one, plan.scenarios, 0, BLOCK, DEPTH), cpu.row_tail(other, plan.scenarios, 0, BLOCK, DEPTH))


def test_a_twin_that_forgets_the_tables_is_noticed(plan: Plan, tabled: Compiled) -> None:
    bare = replace(tabled, programs=tuple(replace(p, tables=tuple(replace(t, values=0.0 * t.values) for t in p.tables)) for p in tabled.programs))
    units = [reference.unit_pnl(reference.prepare(c, plan.rows, "double"), plan.scenarios, 0, 100, 0) for c in (bare, tabled)]
    assert np.abs(units[0] - units[1]).max() > 1e-4 * STRIKE
