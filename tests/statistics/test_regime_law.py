"""Do scenarios under correlation regimes have the law asked for?

Fixed seed, 200,000 scenarios, the widest backend. Every statistic is held to 4 of its own standard errors (alpha 6e-5 two-sided; some 60 comparisons, so 0.4 % for
the file); a planted bias of twice that or a wrong law is shown to fail.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from model_draws import draw, score
from scipy import special

from upm_gpu.model.garch import Dynamics, GarchParameters
from upm_gpu.model.gbm import GbmParameters
from upm_gpu.model.heston import HestonParameters
from upm_gpu.model.innovations import Innovation
from upm_gpu.model.recursion import ewma
from upm_gpu.model.regime_twin import regime_of
from upm_gpu.model.regimes import Regime, RegimeInForce, under_regimes
from upm_gpu.risk.multivariate import bivariate_normal_cdf
from upm_gpu.scenario.spec import ScenarioSpec

COUNT = 200_000
LIMIT = 4.0
NAMES = ("log_level[A]", "log_level[B]", "volatility_shift[A]")
CORRELATION = np.array([[1.0, 0.3, -0.2], [0.3, 1.0, -0.1], [-0.2, -0.1, 1.0]])
VOLATILITY = np.array([0.02, 0.02, 0.05])
LOADING = np.array([[0.6], [0.5], [-0.4]])
REGIMES = (Regime("rare", 0.05, 1.0, "one"), Regime("often", 0.30, 0.6, "one"))
SPEC = ScenarioSpec(count=COUNT, seed=20_260_205)
DAY = np.array([1.0])


def plain_set(kind: str, spec: ScenarioSpec = SPEC) -> Any:
    """One base step whose moves are the driving normals times a volatility, so that sample correlations are those of the matrix."""
    if kind == "gbm":
        return GbmParameters(NAMES, VOLATILITY, CORRELATION).scenarios(DAY, spec)
    if kind == "heston":  # variances that hardly move
        still = np.full(3, 1e-4)
        return HestonParameters(("A", "B", "C"), np.full(3, 0.15), np.full(3, 1.0), np.full(3, 0.15), still, np.array([-0.5, 0.5, 0.0]), np.abs(CORRELATION), substeps=1).scenarios(DAY, spec)
    dynamics = Dynamics(("ewma",) * 3, (ewma(0.94),) * 3, VOLATILITY**2, np.full(3, 1.5))
    given = {"loading": LOADING} if kind == "factor_model" else {"correlation": CORRELATION}
    return GarchParameters(NAMES, dynamics, (Innovation(),) * 3, **given).scenarios(DAY, spec)


def drawn(kind: str, spec: ScenarioSpec = SPEC) -> tuple[np.ndarray, np.ndarray, tuple[RegimeInForce, ...]]:
    """Moves (3, S) of one day, regimes (S,), correlations in force."""
    scenarios, used = under_regimes(plain_set(kind, spec), REGIMES)
    inner = getattr(scenarios, "walk", scenarios)
    moves = draw(scenarios)[0]
    return moves[: 6 : 2] if kind == "heston" else moves, regime_of(inner.regimes, inner.seed, np.arange(COUNT, dtype=np.uint32)), used


def correlation_scores(moves: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Standard errors between the sample correlations of normals and the matrix; 0 where both are 1 or -1 to rounding."""
    found = np.corrcoef(moves)
    deviation = (1.0 - expected**2) / np.sqrt(moves.shape[1])
    return np.where(np.abs(found - expected) < 1e-6, 0.0, (found - expected) / np.maximum(deviation, 1e-9))


@pytest.mark.parametrize("kind", ["gbm", "heston", "garch", "factor_model"])
def test_correlations_of_every_regime(kind: str) -> None:
    moves, regime, used = drawn(kind)
    assert len(used) == 3
    for q, u in enumerate(used):
        assert np.abs(correlation_scores(moves[:, regime == q], u.correlation)).max() < LIMIT
    wrong = used[2].correlation * 0.97  # 0.03 x entries of 0.6: five standard errors of 60,000 scenarios
    np.fill_diagonal(wrong, 1.0)
    assert np.abs(correlation_scores(moves[:, regime == 2], wrong)).max() > LIMIT
    assert np.abs(correlation_scores(moves[:, regime == 0], used[2].correlation)).max() > LIMIT


def share_scores(regime: np.ndarray, used: tuple[RegimeInForce, ...]) -> np.ndarray:
    p = np.array([u.probability for u in used])
    return (np.bincount(regime, minlength=len(p)) / regime.size - p) / np.sqrt(p * (1.0 - p) / regime.size)


def test_shares_of_the_regimes_and_their_independence_of_the_normals() -> None:
    moves, regime, used = drawn("gbm")
    assert np.abs(share_scores(regime, used)).max() < LIMIT
    assert np.abs(share_scores(regime, (replace(used[0], probability=0.64), used[1], replace(used[2], probability=0.31)))).max() > LIMIT
    for q in range(3):  # marginal laws are those of the model in every regime: mean, variance
        part = moves[:, regime == q] / VOLATILITY[:, None]
        for x in part[:2]:
            x = x + 0.5 * VOLATILITY[0]
            assert abs(score(x, 0.0)) < LIMIT and abs(score(x * x, 1.0)) < LIMIT
    assert abs(score(1.025 * (moves[0] / VOLATILITY[0]) ** 2, 1.0)) > LIMIT
    assert abs(score(np.exp(moves[0]), 1.0)) < LIMIT  # a martingale whatever the regime


def test_kurtosis_of_a_spread() -> None:
    """A - B has variance 2 s^2 (1 - rho): the mixture's fourth moment is 3 sum p v^2, far above the normal's."""
    moves, _, used = drawn("gbm")
    spread = (moves[0] - moves[1]) / VOLATILITY[0]
    p = np.array([u.probability for u in used])
    v = np.array([2.0 * (1.0 - u.correlation[0, 1]) for u in used])
    assert abs(score(spread**4, 3.0 * float(p @ (v * v)))) < LIMIT
    assert 3.0 * float(p @ (v * v)) / float(p @ v) ** 2 > 3.4
    assert abs(score(spread**4, 3.0 * float(p @ v) ** 2)) > LIMIT  # what one matrix of the same spread variance has


def test_joint_exceedances() -> None:
    moves, _, used = drawn("gbm")
    level = -2.0
    both = np.all((moves[:2] / VOLATILITY[0] + 0.5 * VOLATILITY[0]) < level, axis=0).astype(np.float64)
    joint = [special.ndtr(level) if u.share == 1.0 else bivariate_normal_cdf(level, level, u.correlation[0, 1]) for u in used]
    assert abs(score(both, float(np.dot(joint, [u.probability for u in used])))) < LIMIT
    assert abs(score(both, float(bivariate_normal_cdf(level, level, 0.3)))) > LIMIT


@pytest.mark.parametrize("sampler", ["sobol", "antithetic", "moment_matching"])
def test_samplers_keep_the_mixture(sampler: str) -> None:
    """Plain standard errors are too wide here, so the test is the weaker one; correlations of a regime still tell its matrix."""
    spec = replace(SPEC, sampler="sobol" if sampler == "sobol" else "philox", variance_reduction="none" if sampler == "sobol" else sampler)
    moves, regime, used = drawn("gbm", spec)
    for q, u in enumerate(used):
        assert np.abs(correlation_scores(moves[:, regime == q], u.correlation)).max() < LIMIT
    if sampler == "antithetic":
        np.testing.assert_array_equal(regime[::2], regime[1::2])
        centred = moves[:2] + 0.5 * VOLATILITY[0] ** 2
        np.testing.assert_allclose(centred[:, ::2], -centred[:, 1::2], atol=1e-15)


def expected_shortfall(pnl: np.ndarray, level: float = 0.99) -> tuple[float, float]:
    losses = np.sort(-pnl)[::-1]
    k = round(pnl.size * (1.0 - level))
    excess = np.maximum(-pnl - losses[k], 0.0)
    return float(losses[:k].mean()), float(excess.std() / np.sqrt(pnl.size) / (1.0 - level))


@pytest.mark.parametrize(("weights", "rises"), [((1.0, 1.0, 0.0), True), ((1.0, 0.0, -0.5), True), ((1.0, -1.0, 0.0), False)],
                         ids=["two prices", "long price and short volatility", "a spread of two prices"])
def test_shortfall_moves_with_the_share_as_the_closed_form_says(weights: tuple[float, ...], rises: bool) -> None:
    """Linear books under a forced regime are normal: ES = deviation x density(quantile) / 1 %. What falls together in a crisis grows, a spread shrinks."""
    w = np.array(weights)
    found, factor = [], 2.665214220345806
    for share in (0.0, 0.5, 0.9):
        forced, used = under_regimes(plain_set("gbm"), [Regime("forced", 1.0, share, "one")])
        moves = draw(forced)[0] + np.array([0.5, 0.5, 0.0])[:, None] * VOLATILITY[:, None] ** 2
        estimate, error = expected_shortfall(w @ moves)
        covariance = used[0].correlation * np.outer(VOLATILITY, VOLATILITY)
        closed = factor * np.sqrt(w @ covariance @ w)
        assert abs(estimate - closed) < LIMIT * error
        assert abs(1.03 * estimate - closed) > LIMIT * error
        found.append(estimate)
    assert np.all(np.diff(found) > 0.0) if rises else np.all(np.diff(found) < 0.0)
