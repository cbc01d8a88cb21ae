"""The law of the jump clocks: counts, their spread inside a step, sizes, loadings, and the compensator. Each statement is shown to see a planted bias."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from model_draws import draw, score, simulate
from scipy import special

from upm_gpu.model.jumps import JumpParameters, no_jumps
from upm_gpu.model.merton import MertonParameters
from upm_gpu.scenario.spec import ScenarioSpec

NAMES = ("log_level[A]", "log_level[B]", "volatility_shift[A]")
DATES = [0.3, 1.0, 1.25, 2.6]
COUNT = 200_000
RATE = 1.7
"""expected jumps a day of the counting clock"""


def counting(intensity: float = RATE) -> MertonParameters:
    """No diffusion and jumps of exactly one unit on A: the state is the count."""
    jumps = replace(no_jumps(3), systemic_intensity=365.0 * intensity, systemic_mean=1.0, systemic_loading=np.array([1.0, 0.0, 0.0]))
    return MertonParameters(NAMES, np.zeros(3), np.eye(3), jumps, measure="historical")


def counts(model: MertonParameters) -> np.ndarray:
    """(D, S) jumps up to each date."""
    states = simulate(model, DATES, COUNT)[:, 0]
    n = states + np.array(DATES)[:, None] * model.jumps.systemic_intensity / 365.0
    np.testing.assert_allclose(n, np.round(n), atol=1e-9)
    return np.round(n)


def distance(sample: np.ndarray, probability: np.ndarray) -> float:
    """Pearson's statistic in standard deviations of its law, classes of fewer than 10 expected together."""
    expected = probability * sample.size
    large = expected >= 10.0
    seen = np.array([np.count_nonzero(sample == n) for n in range(len(probability))])[large]
    rest = sample.size - seen.sum(), sample.size - expected[large].sum()
    statistic = float(np.sum((seen - expected[large]) ** 2 / expected[large]) + (rest[0] - rest[1]) ** 2 / max(rest[1], 1.0))
    degrees = int(large.sum())
    return (statistic - degrees) / np.sqrt(2.0 * degrees)


def poisson(mean: float) -> np.ndarray:
    n = np.arange(60)
    return np.exp(n * np.log(mean) - mean - special.gammaln(n + 1.0))


def binomial(total: int, part: float) -> np.ndarray:
    n = np.arange(total + 1)
    return special.binom(total, n) * part**n * (1.0 - part) ** (total - n)


def test_counts_are_poisson_at_every_date() -> None:
    n = counts(counting())
    for d, days in enumerate(DATES):
        assert distance(n[d], poisson(RATE * days)) < 4.0, days
        assert distance(n[d], poisson(1.03 * RATE * days)) > 8.0, days  # an intensity 3 % off is seen


def test_jumps_inside_a_step_are_spread_uniformly() -> None:
    """Given the step's number the count at 0.3 is binomial, and later steps know nothing of it."""
    n = counts(counting())
    for total in (1, 2, 4):
        given = n[0][n[1] == total]
        assert distance(given, binomial(total, 0.3)) < 4.0
        assert distance(given, binomial(total, 0.33)) > 4.0
    first, second = n[0], n[3] - n[1]
    assert abs(np.corrcoef(first, second)[0, 1]) < 4.0 / np.sqrt(COUNT)
    assert np.corrcoef(n[0], n[1])[0, 1] == pytest.approx(np.sqrt(0.3), abs=0.01)


def merton(measure: str = "margin") -> MertonParameters:
    jumps = JumpParameters(180.0, -0.04, 0.05, np.array([1.0, 1.4, -0.8]), np.array([90.0, 0.0, 0.0]), np.array([0.03, 0.0, 0.0]), np.array([0.04, 0.0, 0.0]))
    correlation = np.array([[1.0, 0.6, -0.3], [0.6, 1.0, -0.2], [-0.3, -0.2, 1.0]])
    return MertonParameters(NAMES, np.array([0.03, 0.04, 0.05]), correlation, jumps, measure=measure)


def test_prices_are_martingales_and_volatilities_centred_at_every_date() -> None:
    scenarios = merton().scenarios(np.array(DATES), ScenarioSpec(count=400_000, seed=3))
    states = draw(scenarios)
    wrong = draw(replace(scenarios, centre=scenarios.centre + 0.01 * np.array(DATES)[:, None] * np.array([0.3, 0.3, 0.3])))
    for d in range(len(DATES)):
        for k in (0, 1):
            assert abs(score(np.exp(states[d, k]), 1.0)) < 4.0
        assert abs(score(states[d, 2], 0.0)) < 4.0
    for k in range(3):
        assert abs(score(np.exp(wrong[3, k]) if k < 2 else wrong[3, k], 1.0 if k < 2 else 0.0)) > 4.0


@pytest.mark.parametrize("days", [0.3, 2.6])
def test_variance_covariance_and_skewness_are_those_of_the_law(days: float) -> None:
    """Cumulants of a compound Poisson sum: intensity t E[J^n]; a shared jump adds loading x loading."""
    model = merton()
    j, t = model.jumps, days / 365.0
    states = simulate(model, [days], 400_000, seed=5)[0]
    shared, own = j.systemic_mean**2 + j.systemic_deviation**2, j.own_mean**2 + j.own_deviation**2
    loading = j.systemic_loading
    jump_covariance = j.systemic_intensity * shared * np.outer(loading, loading) + np.diag(j.own_intensity * own)
    expected = days * model.correlation * np.outer(model.daily_volatility, model.daily_volatility) + t * jump_covariance
    assert np.abs(np.cov(states) / expected - 1.0).max() < 0.03
    third = j.systemic_intensity * (j.systemic_mean**3 + 3.0 * j.systemic_mean * j.systemic_deviation**2) * t
    centred = states[1] - states[1].mean()
    assert score(centred**3, 1.4**3 * third) == pytest.approx(0.0, abs=4.0)
    assert abs(score(centred**3, 0.8 * 1.4**3 * third)) > 4.0


@pytest.mark.parametrize("sampler", [{"sampler": "sobol"}, {"variance_reduction": "antithetic"}])
def test_a_sampler_drives_the_diffusion_and_leaves_the_jumps(sampler: dict[str, str]) -> None:
    plain, other = simulate(merton(), DATES, 65_536, seed=3), simulate(merton(), DATES, 65_536, seed=3, **sampler)
    assert not np.array_equal(plain, other)
    for d in range(len(DATES)):
        assert abs(score(np.exp(other[d, 0]), 1.0)) < 4.0
    still = replace(merton(), daily_volatility=np.full(3, 1e-9))
    np.testing.assert_allclose(simulate(still, DATES, 1000, **sampler), simulate(still, DATES, 1000), atol=1e-7)


def test_a_silent_clock_is_the_plain_walk() -> None:
    model = merton()
    still = replace(model, jumps=no_jumps(3))
    assert still.scenarios(np.array([1.0]), ScenarioSpec(count=10)).jumps is None


def test_historical_measure_has_the_given_mean() -> None:
    drift = np.array([0.01, -0.02, 0.0])
    states = simulate(replace(merton("historical"), drift=drift), [1.3], 300_000)[0]
    for k in range(3):
        assert abs(score(states[k], 1.3 * drift[k])) < 4.0
