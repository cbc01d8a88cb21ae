"""Laws of the tail: merging is exact and order-free, ES is coherent, and nothing depends on the order of scenarios."""

from __future__ import annotations

from functools import reduce

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from upm_gpu.backend.reference import block_sum
from upm_gpu.errors import CapacityError, InputError
from upm_gpu.risk import expected_shortfall, value_at_risk
from upm_gpu.risk.tail import finish, hill_index, tail_depth, tail_weights
from upm_gpu.risk.tail_state import NO_SCENARIO, TailState, merge
from upm_gpu.rng import normal, student_t_quantile, uniform
from upm_gpu.scenario.sets import BLOCK

HOUSE = settings(max_examples=30, deadline=None, derandomize=True)


def state(pnl: np.ndarray, block: int, depth: int) -> TailState:
    """What a backend returns for one block of pnl (H, R, S)."""
    first = block * BLOCK
    part = pnl[:, :, first : first + BLOCK]
    ids = np.arange(first, first + part.shape[2], dtype=np.uint32)
    order = np.argsort(part, axis=2, kind="stable")[:, :, :depth]
    pad = ((0, 0), (0, 0), (0, depth - order.shape[2]))
    sums = np.stack([block_sum(part), block_sum(part * part)], axis=-1)[None]
    return TailState(np.pad(np.take_along_axis(part, order, 2), pad, constant_values=np.inf), np.pad(ids[order], pad, constant_values=NO_SCENARIO),
                     np.array([block]), sums, np.array([block]), 0, part.shape[2])


def whole(pnl: np.ndarray, depth: int) -> TailState:
    return reduce(merge, [state(pnl, b, depth) for b in range(-(-pnl.shape[2] // BLOCK))])


def draws(rows: int, count: int, seed: int = 1) -> np.ndarray:
    return normal(seed, 0, count, rows)[:, 0, :][None]


def same(a: TailState, b: TailState) -> bool:
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in a.__dataclass_fields__)


@HOUSE
@given(st.permutations(range(5)), st.integers(1, 9000), st.sampled_from([1, 50, 1e9]), st.integers(0, 3))
def test_merge_is_order_free(order, depth, grain, split):
    """Any order and any grouping of blocks, with and without ties, gives the same bytes as sorting everything once."""
    count = 4 * BLOCK + 777
    pnl = np.round(draws(2, count) * grain) / grain
    parts = [state(pnl, b, depth) for b in order]
    joined = merge(reduce(merge, parts[: split + 1]), reduce(merge, parts[split + 1 :]))
    assert same(joined, whole(pnl, depth))
    ids = np.lexsort((np.arange(count), pnl[0, 1]))[:depth]
    assert np.array_equal(joined.scenario[0, 1, : len(ids)], ids.astype(np.uint32))
    assert np.array_equal(joined.pnl[0, 1, : len(ids)], pnl[0, 1, ids])


@pytest.mark.parametrize("level", [0.9, 0.975, 0.99, 0.9912345, 0.999])
@pytest.mark.parametrize("count", [300, BLOCK, 2 * BLOCK + 1001])
def test_finish_is_the_measure_of_the_whole_sample(level, count):
    """VaR is a loss that occurred, so equal to the bit; ES, mean and errors differ by the order of sums only."""
    pnl = draws(3, count) * 100.0 + 0.5
    estimate = finish(whole(pnl, tail_depth(count, 0.9)), [0.99, level])[level]
    assert np.array_equal(estimate.value_at_risk, value_at_risk(-pnl, level))
    assert estimate.expected_shortfall == pytest.approx(expected_shortfall(-pnl, level), rel=1e-13)
    assert estimate.mean == pytest.approx(pnl.mean(axis=2), rel=1e-10)
    assert estimate.standard_deviation == pytest.approx(pnl.std(axis=2, ddof=1), rel=1e-12)
    excess = np.maximum(-pnl - estimate.value_at_risk[..., None], 0.0)
    assert estimate.expected_shortfall_standard_error == pytest.approx(np.sqrt(excess.var(axis=2, ddof=1) / count) / (1.0 - level), rel=1e-10)
    assert np.all(estimate.value_at_risk_standard_error >= 0.0)
    assert np.all(estimate.expected_shortfall >= estimate.value_at_risk)
    assert estimate.reliable.all() == (count * (1.0 - level) >= 200.0)


@HOUSE
@given(st.integers(0, 2**32), st.floats(0.5, 0.999))
def test_order_of_scenarios_does_not_matter(seed, level):
    pnl = draws(2, 2000)
    shuffled = pnl[:, :, np.random.default_rng(seed).permutation(2000)]
    depth = tail_depth(2000, level)
    one, other = finish(whole(pnl, depth), [level])[level], finish(whole(shuffled, depth), [level])[level]
    for name in ("value_at_risk", "expected_shortfall", "expected_shortfall_standard_error", "value_at_risk_standard_error", "hill_index"):
        assert np.array_equal(getattr(one, name), getattr(other, name), equal_nan=True)


@HOUSE
@given(st.integers(0, 10_000), st.floats(0.01, 0.999), st.integers(1, 200), st.booleans())
def test_expected_shortfall_is_sub_additive(seed, level, count, weighted):
    generator = np.random.default_rng(seed)
    a, b = np.round(generator.standard_t(2.0, (2, count)), 1)
    weights = generator.integers(0, 5, count) + 1.0 if weighted else None
    joint = expected_shortfall(a + b, level, weights)
    bound = expected_shortfall(a, level, weights) + expected_shortfall(b, level, weights)
    assert joint <= bound + 1e-12 * (np.abs(a).max() + np.abs(b).max())


def test_value_at_risk_is_not_sub_additive():
    """The counter-example shows that the test above can fail: two independent rare losses."""
    a, b = np.zeros(100), np.zeros(100)
    a[:1], b[1:2] = 1.0, 1.0
    assert value_at_risk(a + b, 0.985) > value_at_risk(a, 0.985) + value_at_risk(b, 0.985)


@HOUSE
@given(st.integers(0, 10_000), st.floats(0.01, 0.999), st.floats(1e-3, 1e3))
def test_homogeneity_translation_monotonicity(seed, level, factor):
    loss = np.random.default_rng(seed).standard_normal(150)
    for measure in (value_at_risk, expected_shortfall):
        value = float(measure(loss, level))
        assert float(measure(loss * 4.0, level)) == 4.0 * value  # powers of two are exact
        assert float(measure(loss * factor, level)) == pytest.approx(factor * value, rel=1e-12, abs=1e-12 * factor)
        assert float(measure(loss + 7.0, level)) == pytest.approx(value + 7.0, rel=1e-12)
        assert float(measure(loss + np.abs(loss[::-1]), level)) >= value
        assert float(measure(loss, min(0.9995, level + 0.05))) >= value - 1e-12


@HOUSE
@given(st.integers(0, 10_000), st.floats(0.01, 0.99))
def test_a_weight_is_a_count(seed, level):
    generator = np.random.default_rng(seed)
    loss, weights = np.round(generator.standard_normal(40), 1), generator.integers(0, 4, 40)
    weights[0] = 1
    repeated = np.repeat(loss, weights)
    assert value_at_risk(loss, level, weights) == value_at_risk(repeated, level)
    assert float(expected_shortfall(loss, level, weights)) == pytest.approx(float(expected_shortfall(repeated, level)), rel=1e-12, abs=1e-13)


@pytest.mark.parametrize(("count", "level"), [(1000, 0.99), (1000, 0.9876), (300, 0.999), (6000, 0.975)])
def test_tail_weights_make_the_expected_shortfall(count, level):
    pnl = draws(4, count)
    tail = whole(pnl, tail_depth(count, level))
    first, scenario, weight = tail_weights(tail, 0, level)
    estimate = finish(tail, [level])[level].expected_shortfall[0]
    assert first.dtype == np.int64
    assert scenario.dtype == np.uint32
    for row in range(4):
        ids, w = scenario[first[row] : first[row + 1]].astype(int), weight[first[row] : first[row + 1]]
        assert np.all(np.diff(ids) > 0)
        assert w.sum() == pytest.approx(-1.0, rel=1e-12)
        assert np.sum(w * pnl[0, row, ids]) == pytest.approx(estimate[row], rel=1e-12)


def test_a_row_without_profit_or_loss():
    tail = whole(np.zeros((1, 1, 3000)), tail_depth(3000, 0.9))
    estimate = finish(tail, [0.9])[0.9]
    for value in (estimate.value_at_risk, estimate.expected_shortfall, estimate.expected_shortfall_standard_error, estimate.mean, estimate.standard_deviation):
        assert value.tolist() == [[0.0]]
        assert not np.signbit(value).any()
    assert np.isnan(estimate.hill_index).all()
    assert estimate.reliable.all()


def test_levels_beyond_the_state_are_refused():
    tail = whole(draws(1, 1000), tail_depth(1000, 0.99))
    with pytest.raises(CapacityError, match="UPM-CP-081"):
        finish(tail, [0.9])
    with pytest.raises(CapacityError, match="UPM-CP-081"):
        tail_weights(tail, 0, 0.9)
    with pytest.raises(InputError, match=r"UPM-CF-088.*Use 0\.99"):
        finish(tail, [99.0])


def test_depth_is_enough_for_the_order_statistics():
    """The ranks of the 95 % interval lie inside the depth, from 200 in the tail on."""
    for count, level in ((20_000, 0.99), (100_000, 0.99), (100_000, 0.975), (10_000, 0.9)):
        assert finish(whole(draws(1, count), tail_depth(count, level)), [level])[level].reliable.all()
    assert tail_depth(5, 0.5) == 5
    assert tail_depth(100_000, 0.99) == 1000 + 127


def test_heavy_tails_are_marked():
    """Hill's index of t losses is about 1/nu: 2 is marked, 5 is not, and at 10,000 normal losses neither."""
    u = uniform(3, 0, 50_000, 1)[0, 0]
    marks = {}
    for nu in (2.0, 5.0, 1e12):
        pnl = student_t_quantile(u, nu)[None, None]
        estimate = finish(whole(pnl, tail_depth(50_000, 0.99)), [0.99])[0.99]
        marks[nu] = bool(estimate.reliable[0, 0])
    assert marks == {2.0: False, 5.0: True, 1e12: True}
    pareto = np.sort(u**-0.5)[::-1]
    assert float(hill_index(pareto[None], 1000)[0]) == pytest.approx(0.5, abs=5 * 0.5 / np.sqrt(1000))


@pytest.mark.slow
@pytest.mark.parametrize(("law", "low", "high"), [("normal", 0.93, 0.97), ("half_error", 0.0, 0.75)])
def test_the_95_percent_interval_covers(law, low, high):
    """1,000 seeds, S = 10,000, level 0.9, k = 1,000: share of intervals that hold the true value, standard deviation 0.7 %.

    The second case halves the error and must fall out, so that the first one can fail.
    """
    count, level, runs = 10_000, 0.9, 1000
    z = 1.2815515655446004
    truth = {"expected_shortfall": np.exp(-0.5 * z * z) / np.sqrt(2.0 * np.pi) / 0.1, "value_at_risk": z}
    pnl = np.concatenate([draws(1, count, seed) for seed in range(runs)], axis=1)
    estimate = finish(whole(pnl, tail_depth(count, level)), [level])[level]
    for name, value in truth.items():
        error = getattr(estimate, f"{name}_standard_error") * (0.5 if law == "half_error" else 1.0)
        cover = float(np.mean(np.abs(getattr(estimate, name) - value) <= 1.96 * error))
        assert low <= cover <= high, f"{name}: {cover}"
