"""The law of the QE scheme against closed forms and against an almost exact scheme; each statement is shown to see a planted bias."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from model_draws import draw, score, simulate

from upm_gpu.errors import CalibrationError
from upm_gpu.model.heston import HestonParameters, mean_variance
from upm_gpu.model.jumps import JumpParameters
from upm_gpu.scenario.spec import ScenarioSpec

ONE = np.ones(1)
DATES = [0.05, 0.3, 1.0, 2.2]
LEWIS_LIKE = HestonParameters(("X",), 0.1 * ONE, 4.0 * ONE, 0.25 * ONE, 0.4 * ONE, -0.75 * ONE, np.eye(1), None, 32, 365.0, "pricing")
"""the law of the published moments in the table heston_moments_computed, one base step of a year"""
MEAN_VARIANCE, VARIANCE_OF_VARIANCE = 0.24725265416668987, 0.004890441629295497
CUMULANTS = (-0.10659341822916377, 0.22509659529541415, -0.038570650809358745)


def market(jumps: bool) -> HestonParameters:
    clocks = JumpParameters(120.0, -0.05, 0.06, np.array([1.0, 1.3]), np.array([0.0, 90.0]), np.array([0.0, 0.02]), np.array([0.0, 0.05]))
    return HestonParameters(("A", "B"), np.array([0.4, 0.7]), np.array([3.0, 2.0]), np.array([0.5, 0.6]), np.array([1.5, 3.0]), np.array([-0.6, 0.3]),
                            np.array([[1.0, 0.7], [0.7, 1.0]]), clocks if jumps else None, substeps=4)


@pytest.mark.parametrize("jumps", [False, True], ids=["heston", "bates"])
def test_prices_are_martingales_at_every_date(jumps: bool) -> None:
    scenarios = market(jumps).scenarios(np.array(DATES), ScenarioSpec(count=300_000, seed=21))
    states = draw(scenarios)
    for d in range(len(DATES)):
        for k in (0, 2):
            assert abs(score(np.exp(states[d, k]), 1.0)) < 4.0
    wide = draw(replace(scenarios, count=100_000, constants=scenarios.constants * np.array([1, 1, 1, 1, 1, 1, 1.01])))  # a correction 1 % off
    assert abs(score(np.exp(wide[3, 0]), 1.0)) > 4.0 or abs(score(np.exp(wide[3, 2]), 1.0)) > 4.0
    shifted = states[2, 0] + 0.001  # a compensator forgotten for one date
    assert abs(score(np.exp(shifted), 1.0)) > 4.0


def test_drift_is_that_of_the_pricing_measure() -> None:
    model = replace(market(True), measure="pricing", drift=np.array([0.01, -0.02]))
    states = simulate(model, [1.7], 400_000)[0]
    for u in (0, 1):
        assert abs(score(np.exp(states[2 * u] - 1.7 * model.drift[u]), 1.0)) < 4.0


def test_historical_measure_has_the_given_mean() -> None:
    states = simulate(replace(market(True), measure="historical", drift=np.array([0.01, 0.0])), [1.7], 400_000)[0]
    assert abs(score(states[0], 0.017)) < 4.0 and abs(score(states[2], 0.0)) < 4.0


@pytest.mark.parametrize("days", [0.3, 2.0, 2.6])
def test_mean_and_variance_of_the_variance_are_exact(days: float) -> None:
    """The first two moments of a square-root process, whatever the number of substeps and inside them."""
    model = market(False)
    states, years = simulate(model, [days], 400_000, seed=9)[0], days / 365.0
    for u in (0, 1):
        v0, kappa, theta, epsilon = (float(a[u]) for a in (model.initial_variance, model.mean_reversion, model.long_variance, model.volatility_of_variance))
        gone = -np.expm1(-kappa * years)
        mean = theta * gone + v0 * (1.0 - gone)
        variance = epsilon**2 / kappa * (v0 * (1.0 - gone) * gone + 0.5 * theta * gone**2)
        v = states[2 * u + 1]
        assert v.min() >= 0.0
        assert abs(score(v, mean)) < 4.0 and abs(score((v - mean) ** 2, variance)) < 4.0
        assert abs(score((v - mean) ** 2, 1.03 * variance)) > 4.0


def test_cumulants_of_the_log_return_are_the_published_ones() -> None:
    x, v = simulate(LEWIS_LIKE, [365.0], 1_000_000, seed=4)[0]
    centred = x - CUMULANTS[0]
    assert abs(score(v, MEAN_VARIANCE)) < 4.0 and abs(score((v - MEAN_VARIANCE) ** 2, VARIANCE_OF_VARIANCE)) < 4.0
    assert abs(score(x, CUMULANTS[0])) < 4.0 and abs(score(centred**2, CUMULANTS[1])) < 4.0 and abs(score(centred**3, CUMULANTS[2])) < 4.0
    assert abs(score(centred**3, 0.9 * CUMULANTS[2])) > 4.0


def test_correlations_are_those_asked_for() -> None:
    """Over a short step: prices across underlyings, price and variance inside one, and a variance hears others through its own price only."""
    model = replace(market(False), initial_variance=np.array([0.5, 0.6]), volatility_of_variance=np.array([0.3, 0.3]), substeps=1)
    found = np.corrcoef(simulate(model, [0.5, 1.0], 300_000, seed=2)[1])
    expected = np.array([[1.0, -0.6, 0.7, 0.21], [-0.6, 1.0, -0.42, -0.126], [0.7, -0.42, 1.0, 0.3], [0.21, -0.126, 0.3, 1.0]])
    assert np.abs(found - expected).max() < 0.01


def test_quoted_volatility_moves_by_the_expected_average_variance() -> None:
    model = market(True)
    spec = ScenarioSpec(count=1000, expiries=(("B", "E", 45.0), ("C", "E", 45.0)))
    scenarios = model.scenarios(np.array([1.0]), spec)
    assert scenarios.state_names == ("log_level[A]", "variance[A]", "log_level[B]", "variance[B]", "volatility_shift[B,E]")
    states = draw(scenarios)[0]
    jumps = 120.0 * 1.3**2 * (0.05**2 + 0.06**2) + 90.0 * (0.02**2 + 0.05**2)
    years = 45.0 / 365.0
    later = np.array([float(mean_variance(replace(model, initial_variance=np.array([0.4, v])), years)[1]) for v in states[3]])
    today = float(mean_variance(model, years)[1])
    np.testing.assert_allclose(states[4], 0.5 * np.log((later + jumps) / (today + jumps)), atol=1e-13)


def almost_exact(model: HestonParameters, years: float, steps: int, count: int, seed: int) -> np.ndarray:
    """(2, S) log-price and variance with exact transitions of the variance (noncentral chi-square) and a trapezoid for its integral on a fine grid."""
    rng = np.random.default_rng(seed)
    v0, kappa, theta, epsilon, rho = (float(a[0]) for a in (model.initial_variance, model.mean_reversion, model.long_variance, model.volatility_of_variance, model.rho))
    dt = years / steps
    c = epsilon**2 * -np.expm1(-kappa * dt) / (4.0 * kappa)
    v, integral = np.full(count, v0), np.zeros(count)
    for _ in range(steps):
        after = c * rng.noncentral_chisquare(4.0 * kappa * theta / epsilon**2, v * np.exp(-kappa * dt) / c)
        integral += 0.5 * dt * (v + after)
        v = after
    x = -0.5 * integral + rho / epsilon * (v - v0 - kappa * theta * years + kappa * integral) + np.sqrt((1.0 - rho**2) * integral) * rng.standard_normal(count)
    return np.stack([x, v])


@pytest.mark.parametrize(("v0", "theta", "epsilon", "rho"), [(0.6, 0.5, 1.0, -0.6), (0.04, 0.04, 0.9, -0.5)], ids=["smooth", "feller_broken"])
def test_quantiles_are_those_of_an_almost_exact_scheme(v0: float, theta: float, epsilon: float, rho: float) -> None:
    """Deviations of the two empirical distribution functions at fixed levels, in standard errors."""
    model = HestonParameters(("X",), v0 * ONE, 2.0 * ONE, theta * ONE, epsilon * ONE, rho * ONE, np.eye(1), None, 64, 365.0, "pricing")
    count = 100_000
    exact, ours = almost_exact(model, 1.0, 128, count, 8), simulate(model, [365.0], count, seed=8)[0]
    wrong = simulate(replace(model, rho=np.zeros(1)), [365.0], count, seed=8)[0]
    smooth = 4.0 * 2.0 * theta > 2.0 * epsilon**2  # else the last step's exponential branch puts what is nearly zero on zero
    for row in (0, 1):
        levels = np.quantile(exact[row], [0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99] if row == 0 or smooth else [0.75, 0.95, 0.99])
        p = np.mean(exact[row][:, None] <= levels, axis=0)
        q = np.mean(ours[row][:, None] <= levels, axis=0)
        assert np.all(np.abs(q - p) < 4.0 * np.sqrt(2.0 * p * (1.0 - p) / count)), (row, q - p)
    levels = np.quantile(exact[0], [0.05, 0.5, 0.95])
    assert np.abs(np.mean(wrong[0][:, None] <= levels, axis=0) - np.array([0.05, 0.5, 0.95])).max() > 0.01


def errors(steps: tuple[int, ...], left_point: bool = False) -> np.ndarray:
    """Error of the mean log-price with a control variate (the price, whose mean is known), by number of steps; two years, variance far from its mean."""
    found = []
    for n in steps:
        model = HestonParameters(("X",), 0.5 * ONE, 2.0 * ONE, 0.04 * ONE, 0.3 * ONE, -0.9 * ONE, np.eye(1), None, n, 730.0, "pricing")
        exact = -float(mean_variance(model, 2.0)[0])
        if left_point:  # what a first-order scheme makes: the variance at the start of each step
            v = 0.04 + 0.46 * np.exp(-2.0 * np.arange(n) * 2.0 / n)
            found.append(-0.5 * float(v.sum()) * 2.0 / n - exact)
            continue
        x = simulate(model, [730.0], 400_000, seed=n)[0, 0]
        price = np.exp(x)
        slope = np.cov(x, price)[0, 1] / price.var()
        found.append(float((x - slope * (price - 1.0)).mean()) - exact)
    return np.abs(np.array(found))


def test_weak_order_is_two() -> None:
    """Central discretisation: the integral of the variance by a trapezoid and two exact moments, so errors fall by four with each halving."""
    e = errors((4, 8, 16))
    order = np.log2(e[0] / e[2]) / 2.0
    assert 1.5 < order < 2.3
    first = errors((4, 8, 16), left_point=True)
    assert np.log2(first[0] / first[2]) / 2.0 < 1.4


def test_a_price_without_expectation_is_refused() -> None:
    model = HestonParameters(("X",), 0.04 * ONE, 0.5 * ONE, 0.04 * ONE, 2.0 * ONE, 0.9 * ONE, np.eye(1), None, 1, 730.0)
    with pytest.raises(CalibrationError, match="UPM-CA-078"):
        model.scenarios(np.array([730.0]), ScenarioSpec(count=10))
    assert replace(model, substeps=16).scenarios(np.array([730.0]), ScenarioSpec(count=10)).count == 10
