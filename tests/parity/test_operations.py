"""Every backend against the reference and against the composition of its own plain operations.

Tolerances. States: each leg's normal is within 4 ulp and is scaled, mixed and summed a few times, so 4 ulp a leg of the larger of the
state and its own standard deviation. Unit P&L: a difference of two prices, each within 1e-14 of the larger of strike, index and
1; `mixed` adds one float32 rounding. Sums are compared bit for bit with the same order of operations in NumPy, so they have no tolerance.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from upm_gpu.backend import reference
from upm_gpu.backend.contract import NO_SCENARIO, TailState, merge
from upm_gpu.backend.reference import block_sum
from upm_gpu.pricing.compiled import GROUP_INTEGERS, GROUP_REALS, TERM_REALS, Compiled, Program, Rows
from upm_gpu.pricing.tables import european_only
from upm_gpu.scenario.sets import BLOCK, Explicit, ScenarioSet

from .cases import DATES, HORIZONS, STATE_NAMES, make_compiled, make_explicit, make_rows, make_walk

EPS = np.finfo(float).eps
LAWS = ("gaussian", "t_copula", "tables", "t_both", "jumps", "reverting")
LAST = BLOCK + 333
"""a second block that ends inside a tile"""
DEPTH = 40


@pytest.fixture(scope="module")
def compiled() -> Compiled:
    return make_compiled()


@pytest.fixture(scope="module")
def rows(compiled: Compiled) -> Rows:
    return make_rows(compiled)


@pytest.fixture(params=["double", "mixed"])
def precision(request: pytest.FixtureRequest) -> str:
    return request.param


def assert_same(a: TailState, b: TailState) -> None:
    """Bit for bit."""
    for key in ("pnl", "scenario", "blocks", "block_sums", "clipped"):
        x, y = getattr(a, key), getattr(b, key)
        assert x.dtype == y.dtype and x.shape == y.shape, key
        np.testing.assert_array_equal(x, y, err_msg=key)
    assert (a.not_finite, a.count) == (b.not_finite, b.count)


@pytest.mark.parametrize("law", LAWS)
def test_states_follow_the_walk(backend: Any, compiled: Compiled, rows: Rows, law: str) -> None:
    walk, first, last = make_walk(law), 100, 429
    with backend.prepare(compiled, rows, "double") as prepared:
        states = backend.states(prepared, walk, first, last)
    expected = reference.states(reference.prepare(compiled, rows, "double"), walk, first, last)
    assert states.dtype == np.float64 and states.shape == (len(DATES), len(STATE_NAMES), last - first)
    size = np.maximum(np.abs(expected), expected.std(axis=2, keepdims=True))
    assert (np.abs(states - expected) / size).max() <= 4 * EPS * len(walk.leg_step)


def test_explicit_states_are_returned_as_given(backend: Any, compiled: Compiled, rows: Rows) -> None:
    given = make_explicit()
    with backend.prepare(compiled, rows, "double") as prepared:
        np.testing.assert_array_equal(backend.states(prepared, given, 3, 201), given.values[:, :, 3:201])


@pytest.mark.parametrize("horizon", range(len(HORIZONS)))
def test_unit_pnl_of_every_family(backend: Any, compiled: Compiled, rows: Rows, precision: str, horizon: int) -> None:
    given = make_explicit(200)
    with backend.prepare(compiled, rows, precision) as prepared:
        unit = backend.unit_pnl(prepared, given, 0, 200, horizon)
        value0 = prepared.value0
    other = reference.prepare(compiled, rows, precision)
    expected = reference.unit_pnl(other, given, 0, 200, horizon)
    assert unit.dtype == expected.dtype and unit.shape == expected.shape
    scale = np.ones(compiled.columns)
    scale[compiled.linear :] = np.maximum(compiled.terms[TERM_REALS.index("strike")], max(compiled.programs[0].group_reals[:, GROUP_REALS.index("spot0")]))
    scale *= np.exp(3.0)  # the largest given move
    np.testing.assert_array_less(np.abs(value0 - other.value0), 1e-14 * scale[compiled.linear :])
    rounding = 2.0**-23 * np.abs(expected) if precision == "mixed" else 0.0
    assert (np.abs(unit.astype(float) - expected) <= 1e-14 * scale[:, None] + rounding).all()


def with_smiles(compiled: Compiled) -> Compiled:
    """The book whose options also read a skew and a stretch: other underlyings' volatility states stand for them."""
    def moved(program: Program) -> Program:
        integers = program.group_integers.copy()
        volatility = integers[:, GROUP_INTEGERS.index("volatility_state")]
        integers[:, GROUP_INTEGERS.index("skew_state")] = (volatility + 2) % len(STATE_NAMES)
        integers[:, GROUP_INTEGERS.index("stretch_state")] = (volatility + 4) % len(STATE_NAMES)
        return replace(program, group_integers=integers)

    return replace(compiled, programs=tuple(moved(p) for p in compiled.programs))


def test_unit_pnl_of_tilted_and_stretched_smiles(backend: Any, compiled: Compiled, rows: Rows, precision: str) -> None:
    given, tilted = make_explicit(200), with_smiles(compiled)
    with backend.prepare(tilted, rows, precision) as prepared:
        unit = backend.unit_pnl(prepared, given, 0, 200, 1)
        value0 = prepared.value0
    with backend.prepare(compiled, rows, precision) as plain:
        np.testing.assert_array_equal(value0, plain.value0)
        other = backend.unit_pnl(plain, given, 0, 200, 1)
    expected = reference.unit_pnl(reference.prepare(tilted, rows, precision), given, 0, 200, 1)
    scale = np.ones(compiled.columns)
    scale[compiled.linear :] = np.maximum(compiled.terms[TERM_REALS.index("strike")], max(compiled.programs[0].group_reals[:, GROUP_REALS.index("spot0")])) * np.exp(3.0)
    rounding = 2.0**-23 * np.abs(expected) if precision == "mixed" else 0.0
    assert (np.abs(unit.astype(float) - expected) <= 4e-14 * scale[:, None] + rounding).all()
    still = compiled.linear + 4 * 5
    assert (unit[compiled.linear : still] != other[compiled.linear : still]).any(axis=1).mean() > 0.6  # European columns that a volatility reaches at all
    np.testing.assert_array_equal(unit[:, 0], other[:, 0])  # unmoved states


def test_a_scenario_without_time_or_moves_gains_exactly_nothing(backend: Any, compiled: Compiled, rows: Rows) -> None:
    plain = european_only(compiled)  # a table is exact at its nodes, and today is none
    compiled = replace(plain, terms=np.vstack([plain.terms[:-1], np.zeros(plain.terms.shape[1])]))
    program = compiled.programs[0]
    reals = program.group_reals.copy()
    reals[:, GROUP_REALS.index("remaining_years")] = reals[:, GROUP_REALS.index("expiry_years")]
    reals[:, GROUP_REALS.index("discount")] = reals[:, GROUP_REALS.index("discount0")]
    still = replace(compiled, programs=(replace(program, group_reals=reals), *compiled.programs[1:]))
    with backend.prepare(still, rows, "double") as prepared:
        unit = backend.unit_pnl(prepared, make_explicit(3), 0, 1, 0)
    future = still.linear + 6 * 5
    np.testing.assert_array_equal(unit[:future], 0.0)  # the last group's future has strikes that are not its forward


def test_rows_are_summed_in_column_order(backend: Any, compiled: Compiled, rows: Rows, precision: str) -> None:
    walk, first, last = make_walk("t_both"), 64, 64 + 203
    with backend.prepare(compiled, rows, precision) as prepared:
        for horizon in range(len(HORIZONS)):
            unit = backend.unit_pnl(prepared, walk, first, last, horizon)
            pnl = backend.row_pnl(prepared, walk, first, last, horizon)
            np.testing.assert_array_equal(pnl, reference._row_pnl(rows, unit))


def composed_tail(backend: Any, prepared: Any, scenarios: ScenarioSet, first: int, last: int, depth: int) -> tuple:
    """Tail and block sums from the backend's own row P&L, with NumPy's stable sort."""
    pnl = np.stack([backend.row_pnl(prepared, scenarios, first, last, h) for h in range(len(HORIZONS))])
    keep = min(depth, last - first)
    order = np.argsort(pnl, axis=2, kind="stable")[:, :, :keep]
    worst = np.full((*pnl.shape[:2], depth), np.inf)
    ids = np.full((*pnl.shape[:2], depth), NO_SCENARIO)
    worst[:, :, :keep] = np.take_along_axis(pnl, order, 2)
    ids[:, :, :keep] = order + first
    blocks = [pnl[:, :, b : b + BLOCK] for b in range(0, last - first, BLOCK)]
    sums = np.stack([np.stack([block_sum(b), block_sum(b * b)], axis=-1) for b in blocks])
    return worst, ids, sums


def test_tail_is_the_composition_of_plain_operations(backend: Any, compiled: Compiled, rows: Rows, precision: str) -> None:
    walk = make_walk("tables")
    with backend.prepare(compiled, rows, precision) as prepared:
        tail = backend.row_tail(prepared, walk, 0, LAST, DEPTH)
        worst, ids, sums = composed_tail(backend, prepared, walk, 0, LAST, DEPTH)
    np.testing.assert_array_equal(tail.pnl, worst)
    np.testing.assert_array_equal(tail.scenario, ids)
    np.testing.assert_array_equal(tail.block_sums, sums)
    assert tail.scenario.dtype == np.uint32 and tail.blocks.tolist() == [0, 1] and tail.count == LAST and tail.not_finite == 0
    clipped = reference.row_tail(reference.prepare(compiled, rows, precision), walk, 0, LAST, DEPTH).clipped
    np.testing.assert_array_equal(tail.clipped, clipped)
    assert clipped.min() > 0


def test_ties_are_broken_by_scenario_and_short_ranges_padded(backend: Any, compiled: Compiled, rows: Rows) -> None:
    given = make_explicit(100)
    with backend.prepare(compiled, rows, "double") as prepared:
        for depth in (7, 100, 130):
            tail = backend.row_tail(prepared, given, 0, 100, depth)
            worst, ids, sums = composed_tail(backend, prepared, given, 0, 100, depth)
            np.testing.assert_array_equal(tail.pnl, worst)
            np.testing.assert_array_equal(tail.scenario, ids)
            np.testing.assert_array_equal(tail.block_sums, sums)
    np.testing.assert_array_equal(tail.scenario[0, 0, :100], np.arange(100))  # the empty row: all P&L equal


def test_ranges_merge_to_the_whole_with_and_without_a_threshold(backend: Any, compiled: Compiled, rows: Rows, precision: str) -> None:
    walk = make_walk("t_copula")
    with backend.prepare(compiled, rows, precision) as prepared:
        whole = backend.row_tail(prepared, walk, 0, LAST, DEPTH)
        first = backend.row_tail(prepared, walk, 0, BLOCK, DEPTH)
        second = backend.row_tail(prepared, walk, BLOCK, LAST, DEPTH)
        hinted = backend.row_tail(prepared, walk, BLOCK, LAST, DEPTH, first.pnl[:, :, -1])
    assert_same(merge(first, second), whole)
    assert_same(merge(second, first), whole)
    assert_same(merge(first, hinted), whole)


def test_tails_agree_with_the_reference(backend: Any, compiled: Compiled, rows: Rows) -> None:
    """Within 1e-12 of the row's gross size: the promise for margins is 1e-10."""
    walk = make_walk("gaussian")
    with backend.prepare(compiled, rows, "double") as prepared:
        tail = backend.row_tail(prepared, walk, 0, BLOCK, DEPTH)
    other = reference.prepare(compiled, rows, "double")
    expected = reference.row_tail(other, walk, 0, BLOCK, DEPTH)
    size = np.ones(compiled.columns)
    size[compiled.linear :] = compiled.terms[TERM_REALS.index("strike")]
    gross = np.array([np.abs(rows.quantity[a:b] * size[rows.column[a:b]]).sum() for a, b in zip(rows.first[:-1], rows.first[1:], strict=True)])
    assert (np.abs(tail.pnl - expected.pnl) <= 1e-12 * gross[:, None]).all()
    assert np.mean(tail.scenario == expected.scenario) > 0.999


def test_attribution_sums_in_scenario_order(backend: Any, compiled: Compiled, rows: Rows, precision: str) -> None:
    walk, horizon = make_walk("gaussian"), 2
    rng = np.random.default_rng(5)
    sizes = [0 if r == 3 else int(rng.integers(1, 30)) for r in range(rows.count)]
    ids = [np.sort(rng.choice(LAST, n, replace=False)) for n in sizes]
    first = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    scenario, weight = np.concatenate(ids).astype(np.uint32), rng.uniform(0.1, 1.0, first[-1])
    with backend.prepare(compiled, rows, precision) as prepared:
        total = backend.attribution(prepared, walk, horizon, first, scenario, weight)
        unit = backend.unit_pnl(prepared, walk, 0, LAST, horizon).astype(float)
    expected = np.zeros(len(rows.column))
    for r in range(rows.count):
        entries = slice(rows.first[r], rows.first[r + 1])
        for s, w in zip(scenario[first[r] : first[r + 1]], weight[first[r] : first[r + 1]], strict=True):
            expected[entries] += w * unit[rows.column[entries], s]
    np.testing.assert_array_equal(total, rows.quantity * expected)


@pytest.mark.filterwarnings("ignore:overflow encountered")
def test_numbers_that_are_not_finite_are_counted(backend: Any, compiled: Compiled, rows: Rows) -> None:
    values = np.zeros((len(DATES), len(STATE_NAMES), 70))
    values[:, 0, 5] = 800.0  # exp overflows
    values[:, 2, 69] = np.nan
    given = Explicit(STATE_NAMES, DATES, values)
    with backend.prepare(compiled, rows, "double") as prepared:
        tail = backend.row_tail(prepared, given, 0, 70, 3)
        pnl = [backend.row_pnl(prepared, given, 0, 70, h) for h in range(len(HORIZONS))]
    expected = sum(int(np.count_nonzero(~np.isfinite(p))) for p in pnl)
    assert tail.not_finite == expected > 0


def test_values_and_greeks(backend: Any) -> None:
    rng = np.random.default_rng(8)
    n = 300
    columns = {"forward": rng.uniform(50.0, 150.0, n), "strike": rng.uniform(50.0, 150.0, n), "time_to_expiry": rng.uniform(0.0, 2.0, n),
               "rate": rng.uniform(-0.01, 0.05, n), "volatility": rng.uniform(0.05, 1.5, n), "sign": rng.choice([-1.0, 1.0], n),
               "inverse": rng.choice([0.0, 1.0], n)}
    got, expected = backend.values("european", columns), reference.values("european", columns)
    assert list(got) == list(expected)
    for key in expected:
        assert got[key].shape == (n,) and got[key].dtype == np.float64
        np.testing.assert_allclose(got[key], expected[key], rtol=1e-11, atol=1e-11, err_msg=key)
