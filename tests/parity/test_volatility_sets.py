"""Walks with a memory and resampled windows: every backend against the NumPy twins, ranges and tails against plain operations.

Tolerance of states: 4 ulp a leg of the larger of the state and its standard deviation, as for the walk, times 2 because the variance of
a step carries the rounding of the moves before it. Rows of dates need no normal: they are equal to the bit but for exponentials nobody takes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from upm_gpu.backend import reference
from upm_gpu.backend.contract import merge
from upm_gpu.scenario.sets import BLOCK

from .cases import DATES, STATE_NAMES, make_compiled, make_garch, make_resample, make_rows
from .test_operations import EPS, assert_same, composed_tail

KINDS = ("resampled", "grouped_t", "factor_model", "reverting")


@pytest.fixture(scope="module")
def book() -> tuple:
    compiled = make_compiled()
    return compiled, make_rows(compiled)


@pytest.mark.parametrize("kind", KINDS)
def test_states_follow_the_twin(backend: Any, book: tuple, kind: str) -> None:
    walk, first, last = make_garch(kind), 100, 429
    with backend.prepare(*book, "double") as prepared:
        states = backend.states(prepared, walk, first, last)
        tail = backend.row_tail(prepared, walk, 0, 500, 5)
    plain = reference.prepare(*book, "double")
    expected = reference.states(plain, walk, first, last)
    assert states.shape == (len(DATES), len(STATE_NAMES), last - first)
    if kind == "resampled":
        np.testing.assert_array_equal(states, expected)
    size = np.maximum(np.abs(expected), expected.std(axis=2, keepdims=True))
    assert (np.abs(states - expected) / size).max() <= 8 * EPS * len(walk.leg_step)
    np.testing.assert_array_equal(tail.clipped, reference.row_tail(plain, walk, 0, 500, 5).clipped)
    assert tail.clipped.sum() > 0


def test_windows_are_the_twins_to_the_bit(backend: Any, book: tuple) -> None:
    windows = make_resample()
    plain = reference.prepare(*book, "double")
    with backend.prepare(*book, "double") as prepared:
        np.testing.assert_array_equal(backend.states(prepared, windows, 70, 333), reference.states(plain, windows, 70, 333))
        clipped = backend.row_tail(prepared, windows, 0, 500, 5).clipped
    np.testing.assert_array_equal(clipped, reference.row_tail(plain, windows, 0, 500, 5).clipped)
    assert clipped.min() > 0


@pytest.mark.parametrize("kind", ["resampled", "factor_model", "windows"])
def test_tails_are_the_composition_of_plain_operations(backend: Any, book: tuple, kind: str) -> None:
    scenarios = make_resample() if kind == "windows" else make_garch(kind)
    last, depth = BLOCK + 70, 20
    with backend.prepare(*book, "double") as prepared:
        whole = backend.row_tail(prepared, scenarios, 0, last, depth)
        worst, ids, sums = composed_tail(backend, prepared, scenarios, 0, last, depth)
        parts = backend.row_tail(prepared, scenarios, 0, BLOCK, depth), backend.row_tail(prepared, scenarios, BLOCK, last, depth)
    np.testing.assert_array_equal(whole.pnl, worst)
    np.testing.assert_array_equal(whole.scenario, ids)
    np.testing.assert_array_equal(whole.block_sums, sums)
    assert_same(merge(parts[1], parts[0]), whole)


def test_attribution_of_listed_scenarios(backend: Any, book: tuple) -> None:
    compiled, rows = book
    ids = np.sort(np.random.default_rng(3).choice(BLOCK, rows.count, replace=False)).astype(np.uint32)
    first = np.arange(rows.count + 1, dtype=np.int64)
    for walk in (make_garch("resampled"), make_garch("factor_model"), make_resample()):
        with backend.prepare(compiled, rows, "double") as prepared:
            total = backend.attribution(prepared, walk, 1, first, ids, np.ones(rows.count))
            unit = backend.unit_pnl(prepared, walk, 0, BLOCK, 1)
        expected = np.zeros(len(rows.column))
        for r in range(rows.count):
            entries = slice(rows.first[r], rows.first[r + 1])
            expected[entries] += unit[rows.column[entries], ids[r]]
        np.testing.assert_array_equal(total, rows.quantity * expected)


@pytest.mark.parametrize("kind", ["resampled", "windows"])
@pytest.mark.parametrize("which", ["perfect", "zero"])
def test_rearranged_dates_are_drawn_as_the_twin_draws_them(backend: Any, book: tuple, kind: str, which: Any) -> None:
    from upm_gpu.model.across import across

    made = across(make_resample() if kind == "windows" else make_garch(kind), which, ("U2",), "rearranged")
    plain = reference.prepare(*book, "double")
    with backend.prepare(*book, "double") as prepared:
        np.testing.assert_array_equal(backend.states(prepared, made, 70, 333), reference.states(plain, made, 70, 333))
        whole, expected = backend.row_tail(prepared, made, 0, 500, 5), reference.row_tail(plain, made, 0, 500, 5)
    np.testing.assert_array_equal(whole.scenario, expected.scenario)
    np.testing.assert_array_equal(whole.clipped, expected.clipped)
