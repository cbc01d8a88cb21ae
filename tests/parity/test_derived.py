"""Derived states on every backend: base states untouched, operations as their twins, ranges, tails, lists and counts as of any set."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from upm_gpu.backend import reference
from upm_gpu.backend.contract import merge
from upm_gpu.backend.cuda.derived import independent_runs
from upm_gpu.scenario.derived import Derived, base_of, derive, linear_combination, shortened
from upm_gpu.scenario.sets import BLOCK, ScenarioSet

from .cases import (
    DATES,
    STATE_NAMES,
    make_compiled,
    make_explicit,
    make_garch,
    make_heston,
    make_resample,
    make_rows,
    make_walk,
)
from .test_operations import EPS, assert_same, composed_tail


def base(kind: str, count: int = 5000) -> Any:
    """A set of each kind that makes states."""
    if kind in ("t_both", "jumps"):
        return make_walk(kind, count)
    return {"explicit": make_explicit, "heston": lambda c: make_heston("heston", c), "garch": lambda c: make_garch("resampled", c), "resample": make_resample}[kind](count)


def operations(names: tuple[str, ...]) -> list:
    """Sums of sums, weights by date, a weight of 0."""
    return [linear_combination("sum", {names[0]: 1.0, names[2]: np.linspace(0.5, 2.0, len(DATES))}, len(DATES)),
            linear_combination("other", {names[4]: -1.0}, len(DATES)),
            linear_combination("twice", {"sum": 2.0, names[1]: 0.0, "other": 1.0}, len(DATES))]


KINDS = ("t_both", "jumps", "heston", "garch", "resample", "explicit")


@pytest.mark.parametrize("kind", KINDS)
def test_the_base_keeps_its_bits_and_operations_follow_their_twins(backend: Any, kind: str) -> None:
    drawn = base(kind, 900)
    derived = derive(drawn, operations(drawn.state_names))
    compiled = make_compiled()
    first, last = 100, 429 if kind != "explicit" else 300
    if kind == "explicit":
        first, last = 20, 190
    with backend.prepare(compiled, make_rows(compiled), "double") as prepared:
        plain = backend.states(prepared, drawn, first, last)
        states = backend.states(prepared, derived, first, last)
    size = len(drawn.state_names)
    assert states.shape == (len(DATES), size + 3, last - first) and derived.state_names[size:] == ("sum", "other", "twice")
    np.testing.assert_array_equal(states[:, :size], plain)
    total = plain[:, 0] + np.linspace(0.5, 2.0, len(DATES))[:, None] * plain[:, 2]
    np.testing.assert_array_equal(states[:, size], total)
    np.testing.assert_array_equal(states[:, size + 1], -plain[:, 4])
    np.testing.assert_allclose(states[:, size + 2], 2.0 * total - plain[:, 4], rtol=4 * EPS, atol=EPS)


@pytest.mark.parametrize("kind", ["t_both", "resample", "explicit"])
def test_tails_are_the_composition_of_plain_operations(backend: Any, kind: str) -> None:
    compiled = make_compiled()
    rows, drawn = make_rows(compiled), base(kind)
    derived = derive(drawn, operations(drawn.state_names))
    last, depth = (BLOCK + 70, 20) if kind != "explicit" else (drawn.count, 20)
    with backend.prepare(compiled, rows, "double") as prepared:
        whole = backend.row_tail(prepared, derived, 0, last, depth)
        before = backend.row_tail(prepared, drawn, 0, last, depth)
        worst, ids, sums = composed_tail(backend, prepared, derived, 0, last, depth)
        if last > BLOCK:
            halves = merge(backend.row_tail(prepared, derived, BLOCK, last, depth), backend.row_tail(prepared, derived, 0, BLOCK, depth))
            assert_same(halves, whole)
    for found in (worst, before.pnl):
        np.testing.assert_array_equal(whole.pnl, found)
    np.testing.assert_array_equal(whole.scenario, ids)
    np.testing.assert_array_equal(whole.block_sums, sums)
    np.testing.assert_array_equal(whole.clipped, np.concatenate([before.clipped, [0, 0, 0]]))
    assert kind == "explicit" or before.clipped.sum() > 0


def test_attribution_draws_listed_scenarios(backend: Any) -> None:
    compiled = make_compiled()
    rows, drawn = make_rows(compiled), make_walk("t_both")
    derived = derive(drawn, operations(STATE_NAMES))
    first = np.arange(rows.count + 1, dtype=np.int64)
    ids = np.random.default_rng(2).integers(0, 900, rows.count).astype(np.uint32)
    with backend.prepare(compiled, rows, "double") as prepared:
        np.testing.assert_array_equal(backend.attribution(prepared, derived, 1, first, ids, np.ones(rows.count)),
                                      backend.attribution(prepared, drawn, 1, first, ids, np.ones(rows.count)))


def test_a_shorter_set_and_none_at_all() -> None:
    drawn = make_walk()
    derived = derive(drawn, operations(STATE_NAMES))
    assert isinstance(derived, Derived) and derive(drawn, []) is drawn
    shorter = shortened(derived, 400)
    assert shorter.count == 400 and base_of(shorter).count == 400 and shorter.names == derived.names
    with pytest.raises(KeyError):
        derive(drawn, [linear_combination("sum", {"later": 1.0}, len(DATES))])
    with pytest.raises(KeyError):
        derive(drawn, [linear_combination(STATE_NAMES[0], {STATE_NAMES[1]: 1.0}, len(DATES))])


def test_runs_never_hold_an_operation_and_its_reader() -> None:
    derived: ScenarioSet = derive(make_walk(), operations(STATE_NAMES))
    assert independent_runs(derived) == (("derive_linear_combination", 0, 2), ("derive_linear_combination", 2, 1))  # type: ignore[arg-type]


def test_reference_is_the_oracle_of_itself() -> None:
    drawn = make_explicit()
    derived = derive(drawn, operations(STATE_NAMES))
    book = make_compiled()
    states = reference.states(reference.prepare(book, make_rows(book), "double"), derived, 0, 3)
    assert states[0, len(STATE_NAMES), 0] == 0.0  # the unshocked scenario
