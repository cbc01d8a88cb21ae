"""Standard errors between groups of scenarios: equal to the plain definition over all scenarios, and honest about the sampler."""

from __future__ import annotations

import numpy as np
import pytest
from parity.cases import make_walk

from upm_gpu.model.registry import reference_states
from upm_gpu.model.sampling import sample
from upm_gpu.risk.dependence import FORMULAS, dependence_of, variance_of_mean
from upm_gpu.risk.tail import finish, tail_depth
from upm_gpu.risk.tail_state import TailState
from upm_gpu.rng import normal
from upm_gpu.scenario.sets import BLOCK, Walk
from upm_gpu.scenario.spec import ScenarioSpec

SPECS = {"independent": ScenarioSpec(), "pairs": ScenarioSpec(variance_reduction="antithetic"), "scramblings": ScenarioSpec(sampler="sobol"),
         "blocks": ScenarioSpec(variance_reduction="moment_matching")}


def groups(kind: str, count: int) -> np.ndarray:
    ids = np.arange(count)
    return {"independent": ids, "pairs": ids // 2, "scramblings": ids % 16, "blocks": ids // BLOCK}[kind]


@pytest.mark.parametrize("count", [3 * BLOCK, 2 * BLOCK + 1001, 8191])
@pytest.mark.parametrize("kind", SPECS)
def test_variance_is_that_of_group_sums(kind: str, count: int) -> None:
    """Written out over all scenarios, for values that are zero outside a tail given in any order."""
    values = np.maximum(normal(3, 0, count, 4)[:, 0, :] - 1.3, 0.0)
    group = groups("independent" if kind == "blocks" and count < 2 * BLOCK else kind, count)
    sums = np.stack([np.bincount(group, v) for v in values])
    size = np.bincount(group)
    expected = len(size) / (len(size) - 1) * np.sum((sums - size * values.mean(axis=1, keepdims=True)) ** 2, axis=1) / count**2
    order = np.argsort(-values, axis=1)[:, : count // 4]
    found = variance_of_mean(np.take_along_axis(values, order, 1), order.astype(np.uint32), count, kind)  # type: ignore[arg-type]
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def tail_of(pnl: np.ndarray, level: float) -> TailState:
    """(R, S) as a state of one horizon."""
    depth = tail_depth(pnl.shape[1], level)
    order = np.argsort(pnl, axis=1, kind="stable")[:, :depth]
    sums = np.stack([pnl.sum(axis=1), (pnl * pnl).sum(axis=1)], axis=-1)[None, None]
    return TailState(np.take_along_axis(pnl, order, 1)[None], order.astype(np.uint32)[None], np.array([0]), sums, np.array([0]), 0, pnl.shape[1])


def portfolios(walk: object, count: int) -> np.ndarray:
    """(4, S) P&L of portfolios of the last date's states: one factor, all, a spread, a convex one."""
    x = reference_states(walk, 0, count)[0][-1]  # type: ignore[arg-type]
    return np.stack([x[0], x.sum(axis=0), x[0] - x[2], np.exp(x[0]) - 1.0 - 8.0 * x[2] ** 2])


def test_finish_names_the_formula_and_plain_is_as_before() -> None:
    pnl = normal(5, 0, 20_000, 3)[:, 0, :]
    excess = np.maximum(-pnl - finish(tail_of(pnl, 0.99), [0.99])[0.99].value_at_risk[0][:, None], 0.0)
    plain = finish(tail_of(pnl, 0.99), [0.99])[0.99]
    np.testing.assert_allclose(plain.expected_shortfall_standard_error[0], np.sqrt(excess.var(axis=1, ddof=1) / 20_000) / 0.01, rtol=1e-9)
    for kind in SPECS:
        estimate = finish(tail_of(pnl, 0.99), [0.99], kind)[0.99]  # type: ignore[arg-type]
        assert estimate.error_formula == FORMULAS[kind]  # type: ignore[index]
        # of independent draws every grouping measures the same error
        assert estimate.expected_shortfall_standard_error[0] == pytest.approx(plain.expected_shortfall_standard_error[0], rel=1.2 if kind == "blocks" else 0.7)
        assert estimate.value_at_risk_standard_error[0] == pytest.approx(plain.value_at_risk_standard_error[0], rel=1.2 if kind == "blocks" else 0.7)


@pytest.mark.parametrize("kind", SPECS)
def test_sets_know_their_dependence(kind: str) -> None:
    assert dependence_of(sample(make_walk("gaussian"), SPECS[kind])) == kind


def estimates(kind: str, seeds: int, count: int, level: float, law: str = "gaussian") -> tuple[np.ndarray, np.ndarray]:
    """(seeds, 4) expected shortfalls and their standard errors."""
    found = []
    for seed in range(seeds):
        walk = sample(make_walk(law, count, seed=100 + seed, dates=np.array([1.0, 2.0])), SPECS[kind])
        estimate = finish(tail_of(portfolios(walk, count), level), [level], dependence_of(walk))[level]
        found.append((estimate.expected_shortfall[0], estimate.expected_shortfall_standard_error[0]))
    values = np.array(found)
    return values[:, 0], values[:, 1]


@pytest.mark.parametrize("kind", ["pairs", "scramblings", "blocks"])
def test_stated_errors_are_those_observed_over_seeds(kind: str) -> None:
    """The mean square of the stated error against the variance over 24 seeds: a chi-square ratio, wide but far from what plain errors would say."""
    values, errors = estimates(kind, 24, 2 * BLOCK, 0.95)
    ratio = values.var(axis=0, ddof=1) / np.mean(errors**2, axis=0)
    assert (ratio > 0.3).all() and (ratio < 2.6).all(), ratio


def test_sobol_divides_the_variance() -> None:
    """Expected shortfall of four portfolios over 20 seeds, plain against Sobol, same size: at least ten for three of four."""
    plain, _ = estimates("independent", 20, 8 * BLOCK, 0.95)
    sobol, _ = estimates("scramblings", 20, 8 * BLOCK, 0.95)
    ratio = plain.var(axis=0, ddof=1) / sobol.var(axis=0, ddof=1)
    assert np.count_nonzero(ratio >= 10.0) >= 3, ratio
    error = np.sqrt(plain.var(axis=0, ddof=1) / 20 + sobol.var(axis=0, ddof=1) / 20)
    assert (np.abs(plain.mean(axis=0) - sobol.mean(axis=0)) < 4.0 * error).all()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["pairs", "scramblings", "blocks"])
def test_the_95_percent_interval_covers(kind: str) -> None:
    """300 seeds; the truth is a plain Sobol run of a million. Student's t of 15 degrees for scramblings; halved errors must fall out."""
    truth = finish(tail_of(portfolios(sample(make_walk("gaussian", 1 << 20, dates=np.array([1.0, 2.0])), SPECS["scramblings"]), 1 << 20), 0.95), [0.95])[0.95].expected_shortfall[0]
    count = 4 * BLOCK if kind == "blocks" else 2 * BLOCK
    values, errors = estimates(kind, 300, count, 0.95)
    reach = {"scramblings": 2.131, "blocks": 3.182}.get(kind, 1.96)
    cover = np.mean(np.abs(values - truth) <= reach * errors, axis=0)
    assert (cover > 0.89).all() and (cover < 0.99).all(), cover
    assert (np.mean(np.abs(values - truth) <= 0.5 * reach * errors, axis=0) < 0.85).all()


def test_a_plain_walk_stays_the_object_it_was() -> None:
    walk = make_walk("gaussian")
    assert isinstance(walk, Walk) and sample(walk, ScenarioSpec()) is walk
