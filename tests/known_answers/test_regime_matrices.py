"""Matrices of the correlation regimes worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from upm_gpu.errors import CalibrationError
from upm_gpu.model.garch import Dynamics, GarchParameters
from upm_gpu.model.gbm import GbmParameters
from upm_gpu.model.heston import HestonParameters
from upm_gpu.model.innovations import Innovation
from upm_gpu.model.recursion import ewma
from upm_gpu.model.regimes import Regime, stressed, toward_one, under_regimes
from upm_gpu.scenario.spec import ScenarioSpec

FACTORS = ("log_level[A]", "log_level[SHORT]", "volatility_shift[A]")
BASE = np.array([[1.0, 0.5, -0.4], [0.5, 1.0, 0.1], [-0.4, 0.1, 1.0]])
HALF = np.array([[1.0, 0.75, -0.7], [0.75, 1.0, -0.45], [-0.7, -0.45, 1.0]])
"""half of the way to one: price-price (0.5 + 1) / 2, spot-volatility (-0.4 - 1) / 2 and (0.1 - 1) / 2"""
HALF_INVERSE = np.array([[1.0, -0.25, -0.7], [-0.25, 1.0, 0.55], [-0.7, 0.55, 1.0]])
"""the same with SHORT against the market: (0.5 - 1) / 2, (0.1 + 1) / 2"""
SPEC = ScenarioSpec(count=100, seed=1)


def test_signs_of_one() -> None:
    assert toward_one(FACTORS).tolist() == [1.0, 1.0, -1.0]
    assert toward_one(FACTORS, ["SHORT"]).tolist() == [1.0, -1.0, -1.0]
    assert toward_one(["volatility_shift[A]", "log_fx[EUR]"], ["A", "EUR"]).tolist() == [-1.0, -1.0]  # volatilities rise together, whatever they belong to
    with pytest.raises(CalibrationError, match="UPM-CA-152"):
        toward_one(FACTORS, ["LONG"])


def test_half_of_the_way() -> None:
    half = Regime("half", 1.0, 0.5, "one")
    np.testing.assert_allclose(stressed(BASE, FACTORS, half), HALF, atol=1e-15)
    np.testing.assert_allclose(stressed(BASE, FACTORS, half, ["SHORT"]), HALF_INVERSE, atol=1e-15)


def test_stressed_period_in_the_order_of_the_model() -> None:
    target = np.array([[1.0, 0.2, 0.6], [0.2, 1.0, 0.4], [0.6, 0.4, 1.0]])  # over SHORT, volatility, A
    regime = Regime("crash", 0.1, 0.25, "stressed_period", target, ("log_level[SHORT]", "volatility_shift[A]", "log_level[A]"))
    expected = np.array([[1.0, 0.75 * 0.5 + 0.25 * 0.6, -0.75 * 0.4 + 0.25 * 0.4], [0.525, 1.0, 0.75 * 0.1 + 0.25 * 0.2], [-0.2, 0.125, 1.0]])
    np.testing.assert_allclose(stressed(BASE, FACTORS, regime), expected, atol=1e-15)
    with pytest.raises(CalibrationError, match="UPM-CA-153"):
        stressed(BASE, FACTORS, Regime("crash", 0.1, 0.25, "stressed_period", np.eye(2), FACTORS[:2]))


def test_roots_and_thresholds_of_a_mixture() -> None:
    walk = GbmParameters(FACTORS, np.full(3, 0.1), BASE).scenarios(np.array([1.0]), SPEC)
    made, used = under_regimes(walk, [Regime("half", 0.25, 0.5, "one"), Regime("one", 0.125, 1.0, "one")], ["SHORT"])
    np.testing.assert_allclose(made.regimes.threshold, [0.625, 0.875])
    assert [(u.name, u.probability) for u in used] == [("as estimated", 0.625), ("half", 0.25), ("one", 0.125)]
    np.testing.assert_array_equal(made.regimes.root[0], walk.cholesky)
    np.testing.assert_allclose(made.regimes.root[1] @ made.regimes.root[1].T, HALF_INVERSE, atol=1e-15)
    np.testing.assert_allclose(made.regimes.root[2], [[1.0, 0.0, 0.0], [-1.0, 0.0, 0.0], [-1.0, 0.0, 0.0]], atol=1e-15)
    forced, only = under_regimes(walk, [Regime("half", 1.0, 0.5, "one")])
    assert forced.regimes is None and len(only) == 1
    np.testing.assert_allclose(forced.cholesky @ forced.cholesky.T, HALF, atol=1e-15)
    unmoved, _ = under_regimes(walk, [Regime("nowhere", 1.0, 0.0, "one")])
    np.testing.assert_array_equal(unmoved.cholesky, walk.cholesky)
    mixed, _ = under_regimes(walk, [Regime("a", 0.5, 0.5, "one"), Regime("b", 0.5, 1.0, "one")])  # nothing is left for the estimate
    np.testing.assert_allclose(mixed.regimes.threshold, [0.5])
    np.testing.assert_array_equal(mixed.cholesky, mixed.regimes.root[0])


def test_sobol_keeps_a_full_root_of_the_regime() -> None:
    from dataclasses import replace

    walk = GbmParameters(FACTORS, np.array([0.1, 0.2, 0.3]), BASE).scenarios(np.array([1.0]), replace(SPEC, sampler="sobol"))
    made, _ = under_regimes(walk, [Regime("half", 0.25, 0.5, "one")])
    for root, expected in zip(made.walk.regimes.root, (BASE, HALF), strict=True):
        np.testing.assert_allclose(root @ root.T, expected, atol=1e-14)
        assert np.any(np.triu(root, 1) != 0.0)


def test_prices_alone_under_stochastic_variance() -> None:
    model = HestonParameters(("A", "SHORT"), np.full(2, 0.3), np.full(2, 2.0), np.full(2, 0.3), np.full(2, 0.5), np.array([-0.5, 0.4]), BASE[:2, :2])
    made, used = under_regimes(model.scenarios(np.array([1.0]), SPEC), [Regime("half", 1.0, 0.5, "one")], ["SHORT"])
    assert used[0].factors == FACTORS[:2]
    np.testing.assert_allclose(made.cholesky @ made.cholesky.T, HALF_INVERSE[:2, :2], atol=1e-15)
    np.testing.assert_array_equal(made.rho, model.rho)


def test_one_is_another_common_factor() -> None:
    loading = np.array([[0.8], [0.5], [-0.6]])
    dynamics = Dynamics(("ewma",) * 3, (ewma(0.94),) * 3, np.full(3, 1e-3), np.full(3, 1.5))
    walk = GarchParameters(FACTORS, dynamics, (Innovation(),) * 3, loading=loading).scenarios(np.array([1.0]), SPEC)
    base = loading @ loading.T
    np.fill_diagonal(base, 1.0)
    made, used = under_regimes(walk, [Regime("third", 0.5, 1.0 / 3.0, "one"), Regime("crash", 0.1, 0.5, "stressed_period", BASE, FACTORS)], ["SHORT"])
    assert made.regimes.root.shape == (3, 3, 3)  # one common factor, that of one, the specific part
    covariance = []
    for root in made.regimes.root:
        common = root[:, :-1] @ root[:, :-1].T
        covariance.append(common + np.diag(root[:, -1] ** 2))
    s = np.array([1.0, -1.0, -1.0])
    np.testing.assert_allclose(covariance[0], base, atol=1e-15)
    np.testing.assert_allclose(covariance[1], base * 2.0 / 3.0 + np.outer(s, s) / 3.0, atol=1e-15)
    np.testing.assert_allclose(np.diag(covariance[2]), 1.0, atol=1e-12)
    np.testing.assert_allclose(used[2].correlation, covariance[2], atol=1e-12)  # the factor model of it, which is what is drawn
    assert np.abs(covariance[2] - 0.5 * base - 0.5 * BASE).max() < 0.1


def test_probabilities_that_are_none() -> None:
    walk = GbmParameters(FACTORS, np.full(3, 0.1), BASE).scenarios(np.array([1.0]), SPEC)
    for bad in ([Regime("a", 0.7, 0.5, "one"), Regime("b", 0.4, 0.5, "one")], [Regime("a", 0.1, 0.5, "one")] * 2, [Regime("a", 0.0, 0.5, "one")], [Regime("a", 0.5, 1.5, "one")]):
        with pytest.raises(CalibrationError, match="UPM-CA-150"):
            under_regimes(walk, bad)
