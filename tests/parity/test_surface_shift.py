"""Surface factors to states of expiries, on every backend against the NumPy twin, with and without projection."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from surfaces import NAMES, moved

from upm_gpu.backend import cpu, reference
from upm_gpu.backend.contract import merge
from upm_gpu.pricing.compiled import empty
from upm_gpu.pricing.dynamics import Dynamics
from upm_gpu.scenario.sets import BLOCK

from .cases import DATES, make_compiled, make_rows
from .conftest import ISAS, cpu_backend, cuda_backend
from .test_operations import assert_same, composed_tail

KINDS = {"plain": Dynamics(), "delta": Dynamics(sticky_delta=True), "project": Dynamics(project=True), "project_delta": Dynamics(sticky_delta=True, project=True)}
COUNT = 3000


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scale", [0.3, 4.0])
def test_states_follow_the_twin(backend: Any, kind: str, scale: float) -> None:
    """The base draws within 4 ulp a leg of the twin's (test_operations), 1 in the tables' slopes; a scenario at the edge of a cell moves to the next without a jump."""
    derived, first, last = moved(KINDS[kind], COUNT, scale), 64, 64 + 500
    book = empty(derived.state_names, DATES)
    with backend.prepare(*book, "double") as prepared:
        states = backend.states(prepared, derived, first, last)
    expected = reference.states(reference.prepare(*book, "double"), derived, first, last)
    assert states.shape == expected.shape == (len(DATES), len(NAMES) + (30 if kind != "plain" else 15), last - first)
    np.testing.assert_allclose(states, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", ["project", "project_delta"])
def test_bits_and_counts_are_the_same_on_instruction_sets_and_the_emulated_device(kind: str) -> None:
    derived, compiled = moved(KINDS[kind], COUNT), make_compiled()
    rows, found = make_rows(compiled), []
    for backend in [cpu_backend(isa) for isa in ISAS if isa in cpu.isas()] + [cuda_backend("emulated")]:
        with backend.prepare(compiled, rows, "double") as prepared:
            found.append((backend.states(prepared, derived, 0, 1000), backend.row_tail(prepared, derived, 0, COUNT, 20)))
    for states, tail in found[1:]:
        np.testing.assert_array_equal(states, found[0][0])
        assert_same(tail, found[0][1])
    events = found[0][1].clipped[len(NAMES) :]
    assert (events[:5] > 0).all() and events.max() < COUNT


def test_events_are_counted_as_the_twin_counts_them(backend: Any) -> None:
    derived, compiled = moved(KINDS["project"], BLOCK + 500), make_compiled()
    rows, last = make_rows(compiled), BLOCK + 500
    with backend.prepare(compiled, rows, "double") as prepared:
        whole = backend.row_tail(prepared, derived, 0, last, 20)
        halves = merge(backend.row_tail(prepared, derived, 0, BLOCK, 20), backend.row_tail(prepared, derived, BLOCK, last, 20))
        worst, ids, _ = composed_tail(backend, prepared, derived, 0, last, 20)
    assert_same(halves, whole)
    np.testing.assert_array_equal(whole.pnl, worst)
    np.testing.assert_array_equal(whole.scenario, ids)
    twin = reference.row_tail(reference.prepare(compiled, rows, "double"), derived, 0, last, 20).clipped
    np.testing.assert_array_equal(whole.clipped, twin)
