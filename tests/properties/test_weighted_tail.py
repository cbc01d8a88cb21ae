"""Measures of weighted scenarios: those of `measures.py` with weights, those of plain sampling where all weights are 1, and never from a tail too shallow."""

from __future__ import annotations

import numpy as np
import pytest

from upm_gpu.errors import CapacityError, InputError
from upm_gpu.risk.measures import expected_shortfall, value_at_risk
from upm_gpu.risk.tail import finish, tail_weights
from upm_gpu.risk.tail_state import TailState
from upm_gpu.risk.weighted_tail import check_gain, deep_enough, row_parts

COUNT = 5000
RNG = np.random.default_rng(11)
PNL = RNG.standard_t(5.0, (2, 3, COUNT))
WEIGHTS = np.exp(RNG.normal(-0.5, 1.0, COUNT))


def state(depth: int) -> TailState:
    order = np.argsort(PNL, axis=2, kind="stable")[:, :, :depth]
    return TailState(np.take_along_axis(PNL, order, 2), order.astype(np.uint32), np.zeros(1, np.int64), np.zeros((1, 2, 3, 2)), np.zeros(0, np.int64), 0, COUNT)


@pytest.mark.parametrize("level", [0.95, 0.99, 0.995])
def test_measures_are_those_of_the_definition(level):
    found = finish(state(COUNT), [level], "weighted", WEIGHTS)[level]
    np.testing.assert_array_equal(found.value_at_risk, value_at_risk(-PNL, level, WEIGHTS))
    np.testing.assert_allclose(found.expected_shortfall, expected_shortfall(-PNL, level, WEIGHTS), rtol=1e-13)
    assert np.all(np.isnan(found.mean)) and np.all(np.isnan(found.standard_deviation))  # block sums have no weights
    assert found.error_formula.startswith("importance")


def test_the_error_is_that_of_the_influence_values_of_all_scenarios():
    level = 0.97
    found = finish(state(2000), [level], "weighted", WEIGHTS)[level]
    total = WEIGHTS.sum()
    h = np.maximum(-PNL - found.value_at_risk[..., None], 0.0)
    m = np.sum(WEIGHTS * h, axis=-1) / total
    square = np.sum((WEIGHTS * (h - m[..., None])) ** 2, axis=-1) * COUNT / (COUNT - 1.0)
    np.testing.assert_allclose(found.expected_shortfall_standard_error, np.sqrt(square) / (total * (1.0 - level)), rtol=1e-12)
    plain = (np.sum(WEIGHTS * h * h, axis=-1) / total - m * m) / (COUNT - 1.0)
    np.testing.assert_allclose(found.variance_ratio, plain / (square / total**2), rtol=1e-12)


def test_weights_of_one_are_plain_sampling():
    plain, weighted = (finish(state(300), [0.99], *given)[0.99] for given in ((), ("weighted", np.ones(COUNT))))
    for name in ("value_at_risk", "expected_shortfall", "expected_shortfall_standard_error", "hill_index"):
        np.testing.assert_allclose(getattr(weighted, name), getattr(plain, name), rtol=1e-12)
    np.testing.assert_allclose(weighted.variance_ratio, 1.0, rtol=1e-12)
    np.testing.assert_allclose(weighted.value_at_risk_standard_error, plain.value_at_risk_standard_error, rtol=0.25)  # normal against binomial interval
    for a, b in zip(tail_weights(state(300), 1, 0.99), tail_weights(state(300), 1, 0.99, np.ones(COUNT)), strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-12)


def test_euler_weights_add_up_to_the_shortfall():
    first, scenario, weight = tail_weights(state(900), 0, 0.985, WEIGHTS)
    found = finish(state(900), [0.985], "weighted", WEIGHTS)[0.985]
    for row in range(3):
        part = slice(first[row], first[row + 1])
        assert np.all(np.diff(scenario[part].astype(np.int64)) > 0)
        assert np.sum(PNL[0, row, scenario[part]] * weight[part]) == pytest.approx(found.expected_shortfall[0, row], rel=1e-12)


def test_parts_of_the_rows_are_the_whole(monkeypatch):
    whole = tail_weights(state(900), 0, 0.985, WEIGHTS)
    monkeypatch.setattr("upm_gpu.risk.weighted_tail.TOGETHER", 2 * 900)
    assert row_parts(state(900)) == [range(0, 2), range(2, 3)]
    for part in row_parts(state(900)):
        first, scenario, weight = tail_weights(state(900), 0, 0.985, WEIGHTS, part)
        span = slice(whole[0][part.start], whole[0][part.stop])
        np.testing.assert_array_equal(np.diff(first), [n if row in part else 0 for row, n in enumerate(np.diff(whole[0]))])
        np.testing.assert_array_equal(scenario, whole[1][span])
        np.testing.assert_array_equal(weight, whole[2][span])


def test_a_tail_too_shallow_is_seen_and_refused():
    assert deep_enough(state(COUNT), WEIGHTS, 0.99)
    enough = [deep_enough(state(depth), WEIGHTS, 0.99) for depth in (5, 20, 60, 400)]
    assert enough == sorted(enough) and not enough[0] and enough[-1]
    with pytest.raises(CapacityError, match="UPM-CP-081"):
        finish(state(5), [0.99], "weighted", WEIGHTS)
    with pytest.raises(CapacityError, match="UPM-CP-081"):
        tail_weights(state(5), 0, 0.99, WEIGHTS)


def test_the_gain_is_judged_by_the_worst_account():
    check_gain(("a", "b"), None)
    check_gain(("a", "b"), np.array([np.nan, 0.8]))
    with pytest.raises(InputError, match=r"UPM-PR-079 .*account b \(and 1 more\) .*0\.31.*philox"):
        check_gain(("a", "b", "c"), np.array([0.79, 0.31, 5.0]))
