"""Is the law of the scenarios the one that was asked for?

Fixed seed, S = 100,000 scenarios, the NumPy twin of the walk. Every statistic is standardised by its null deviation and
refused beyond |z| = 5 (alpha 5.7e-7 two-sided; some 400 comparisons, so 2e-4 for the whole file). A bias of 8 null
deviations is found with probability 0.999; each test names that size and proves with a planted bias of it, or a wrong
law, that it can fail.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import special, stats

from upm_gpu.model.gbm import GbmParameters, reference_states, walk
from upm_gpu.model.tables import unit_scale
from upm_gpu.risk.multivariate import bivariate_normal_cdf, bivariate_student_t_cdf
from upm_gpu.rng import normal_quantile, student_t_quantile

COUNT = 100_000
LIMIT = 5.0
DATES = np.array([1.0 / 24.0, 0.25, 1.0, 1.7, 2.0])
NAMES = ("log_level[A]", "volatility_shift[A]", "log_level[B]")
CORRELATION = np.array([[1.0, -0.5, 0.8], [-0.5, 1.0, -0.4], [0.8, -0.4, 1.0]])
VOLATILITY = np.array([0.20, 0.10, 0.15])
LAWS = {
    "gaussian": {},
    "t4": {"copula": "student_t", "copula_degrees_of_freedom": 4.0, "marginal": ("student_t",) * 3, "marginal_degrees_of_freedom": np.full(3, 4.0)},
    "t5_mixed_marginals": {"copula": "student_t", "copula_degrees_of_freedom": 5.0, "marginal": ("student_t", "gaussian", "gaussian"),
                           "marginal_degrees_of_freedom": np.array([3.0, np.nan, np.nan])},
    "gaussian_copula_t": {"marginal": ("student_t", "student_t", "gaussian"), "marginal_degrees_of_freedom": np.array([3.0, 6.0, np.nan])},
}


def parameters(law: str, **changes) -> GbmParameters:
    return replace(GbmParameters(NAMES, VOLATILITY, CORRELATION, **LAWS[law]), **changes)


def draw(given: GbmParameters, dates=DATES, seed: int = 20_260_205) -> np.ndarray:
    return reference_states(walk(given, np.asarray(dates), seed, 0, COUNT), 0, COUNT)[0]


@pytest.fixture(scope="module", params=LAWS)
def sample(request) -> tuple[str, np.ndarray]:
    return request.param, draw(parameters(request.param))


def martingale_scores(states: np.ndarray) -> np.ndarray:
    """(D, 2) standardised deviation of the mean of exp x from 1 for the two price factors."""
    growth = np.exp(states[:, [0, 2]])
    return (growth.mean(axis=2) - 1.0) / (growth.std(axis=2) / np.sqrt(COUNT))


def test_prices_are_martingales_at_every_date(sample):
    """Null: E exp x = 1. Detectable bias: 8 x 0.2 / sqrt(S) = 0.5 % at one day, 0.1 % at one hour."""
    law, states = sample
    assert np.abs(martingale_scores(states)).max() < LIMIT
    planted = states + 8.5 * np.std(np.expm1(states), axis=2, keepdims=True) / np.sqrt(COUNT)
    assert np.abs(martingale_scores(planted)).min() > LIMIT, "a bias of 8.5 deviations was not seen"
    # leaving out the centring is such a bias at one day and beyond
    centre = walk(parameters(law), DATES, 0, 0, 1).centre
    assert np.abs(martingale_scores(states - centre[:, :, None]))[2:].min() > LIMIT


def test_volatility_factors_have_zero_mean(sample):
    """Null: E x = 0 (measure `margin`). Detectable bias: 8 x 0.1 / sqrt(S) = 0.25 % at one day."""
    x = sample[1][:, 1]
    deviation = x.std(axis=1) / np.sqrt(COUNT)
    assert (np.abs(x.mean(axis=1)) / deviation).max() < LIMIT
    assert (np.abs((x + 8.5 * deviation[:, None]).mean(axis=1)) / deviation).min() > LIMIT


def marginal_scores(law: str, states: np.ndarray, volatility: np.ndarray) -> np.ndarray:
    """Standardised counts below seven quantiles, dates inside the first step and at its end."""
    given = parameters(law)
    centre = walk(given, DATES, 0, 0, 1).centre
    p = np.array([0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999])
    scores = []
    for d, f in enumerate(DATES[:3]):
        for k, volatility_k in enumerate(volatility):
            if given.marginal and given.marginal[k] == "student_t":
                nu = given.marginal_degrees_of_freedom[k]
                quantiles = np.clip(student_t_quantile(p, nu) * unit_scale(nu) * volatility_k, -1.5, 1.5)
            else:
                quantiles = normal_quantile(p) * volatility_k
            below = np.count_nonzero(states[d, k] <= np.sqrt(f) * quantiles[:, None] + centre[d, k], axis=1)
            scores.append((below - COUNT * p) / np.sqrt(COUNT * p * (1.0 - p)))
    return np.array(scores)


def test_marginals_keep_their_shape_inside_a_step(sample):
    """Null: x / sqrt(f) has the base step's marginal. Detectable: a volatility wrong by 4 %."""
    law, states = sample
    assert np.abs(marginal_scores(law, states, VOLATILITY)).max() < LIMIT
    assert np.abs(marginal_scores(law, states, VOLATILITY * 1.05)).max(axis=1).min() > LIMIT


def kendall_scores(states: np.ndarray, correlation: np.ndarray) -> np.ndarray:
    """tau = 2/pi arcsin rho for elliptical copulas whatever the marginals; deviation at most 2 / (3 sqrt S) x sqrt(1 - tau^2) x 1.6."""
    scores = []
    for i, j in ((0, 1), (0, 2), (1, 2)):
        tau = 2.0 / np.pi * np.arcsin(correlation[i, j])
        for d in range(3):
            found = stats.kendalltau(states[d, i], states[d, j]).statistic
            scores.append((found - tau) / (1.6 * 2.0 / 3.0 / np.sqrt(COUNT)))
    return np.array(scores)


def test_copula_has_the_given_correlation(sample):
    """Null: Kendall's tau of the copula matrix at one hour, six hours, one day. Detectable: a correlation wrong by 0.04."""
    assert np.abs(kendall_scores(sample[1], CORRELATION)).max() < LIMIT
    wrong = CORRELATION - 0.05 * (1.0 - np.eye(3))
    assert np.abs(kendall_scores(sample[1], wrong)).min() > LIMIT


@pytest.mark.parametrize("law", ["gaussian", "t4"])
def test_joint_tail_is_that_of_the_copula(law):
    """Null: P(both prices below their 1 % quantile). Detectable: 8 sqrt(P / S); the other copula is farther."""
    states = draw(parameters(law))
    centre = walk(parameters(law), DATES, 0, 0, 1).centre
    q4 = float(student_t_quantile(0.01, 4.0))
    quantile = (q4 * unit_scale(4.0) if law == "t4" else float(normal_quantile(0.01))) * VOLATILITY
    chance = {"gaussian": float(bivariate_normal_cdf(normal_quantile(0.01), normal_quantile(0.01), 0.8)), "t4": bivariate_student_t_cdf(q4, q4, 0.8, 4.0)}
    for d, f in enumerate(DATES[:3]):
        both = np.count_nonzero((states[d, 0] - centre[d, 0] < np.sqrt(f) * quantile[0]) & (states[d, 2] - centre[d, 2] < np.sqrt(f) * quantile[2]))
        scores = {name: (both - COUNT * p) / np.sqrt(COUNT * p) for name, p in chance.items()}
        assert abs(scores.pop(law)) < LIMIT
        assert abs(scores.popitem()[1]) > LIMIT


def test_dates_inside_a_step_lie_on_one_brownian_path():
    """Null: corr(x(s), x(t)) = sqrt(s / t) of Gaussian moves. Detectable: 8 (1 - r^2) / sqrt(S) = 0.02."""
    states = draw(parameters("gaussian"), [0.1, 0.25, 0.6, 1.0])[:, 0]
    times = np.array([0.1, 0.25, 0.6, 1.0])
    found, expected = np.corrcoef(states), np.sqrt(np.minimum.outer(times, times) / np.maximum.outer(times, times))
    upper = np.triu_indices(4, 1)
    error = (1.0 - expected[upper] ** 2) / np.sqrt(COUNT)
    assert np.abs((found - expected)[upper] / error).max() < LIMIT
    assert np.abs((found[upper] - expected[upper] ** 1.1) / error).max() > LIMIT


def test_whole_steps_are_independent_but_a_step_shares_its_mixing():
    """Null: |x| of day one and day two uncorrelated under the t copula (8 / sqrt(S) = 0.025 is seen). Within a day the
    first and the second half, uncorrelated in sign, share the chi-square variable and so their size."""
    states = draw(parameters("t5_mixed_marginals"), [0.5, 1.0, 2.0])[:, 0]
    ranks = [stats.rankdata(np.abs(x)) for x in (states[1], states[2] - states[1], states[0], states[1] - states[0])]
    assert abs(np.corrcoef(ranks[0], ranks[1])[0, 1]) * np.sqrt(COUNT) < LIMIT
    assert np.corrcoef(ranks[2], ranks[3])[0, 1] * np.sqrt(COUNT) > 2 * LIMIT


def test_clipped_draws_are_counted():
    """Null: the count of moves beyond max_log_move is binomial. Detectable: 8 / sqrt(n p) = 11 %."""
    given = parameters("t4", max_log_move=np.array([0.6, 0.3, 0.4]))
    built = walk(given, np.array([1.0]), 1, 0, COUNT)
    states, clipped = reference_states(built, 0, COUNT)
    p = 2.0 * special.stdtr(4.0, -given.max_log_move / (VOLATILITY * unit_scale(4.0)))
    assert (np.abs(clipped - COUNT * p) / np.sqrt(COUNT * p)).max() < LIMIT
    assert np.abs(states[0] - built.centre[0][:, None]).max(axis=1) == pytest.approx(given.max_log_move, rel=1e-15)
    assert clipped.tolist() == [int(np.count_nonzero(np.abs(states[0, k] - built.centre[0, k]) >= given.max_log_move[k] * (1 - 1e-12))) for k in range(3)]


def test_pricing_and_historical_measures():
    """Null: E exp x = exp(drift h) under `pricing`, E x = drift h under `historical`; a drift wrong by 0.006 a day is seen."""
    drift = np.array([0.01, 0.0, -0.02])
    states = draw(parameters("t4", measure="pricing", drift=drift))
    assert np.abs(martingale_scores(states - DATES[:, None, None] * drift[:, None])).max() < LIMIT
    assert np.abs(martingale_scores(states))[2:].min() > LIMIT
    states = draw(parameters("t4", measure="historical", drift=drift))
    scores = (states.mean(axis=2) - DATES[:, None] * drift) / (states.std(axis=2) / np.sqrt(COUNT))
    assert np.abs(scores).max() < LIMIT


@pytest.mark.parametrize("law", LAWS)
def test_another_date_or_step_moves_no_figure(law):
    """Bitwise: states at a date are a function of the date; ranges are slices; factors keep their draws."""
    given, count = parameters(law), 500
    everything = reference_states(walk(given, DATES, 5, 1, count), 0, count)[0]
    few = reference_states(walk(given, DATES[[1, 4]], 5, 1, count), 0, count)[0]
    assert np.array_equal(few, everything[[1, 4]])
    fine = np.unique(np.r_[np.linspace(0.05, 2.0, 40), DATES])
    states = reference_states(walk(given, fine, 5, 1, count), 0, count)[0]
    assert np.array_equal(states[np.searchsorted(fine, DATES)], everything)
    part = reference_states(walk(given, DATES, 5, 1, count), 123, 200)[0]
    assert np.array_equal(part, everything[:, :, 123:200])
    other = reference_states(walk(given, DATES, 5, 2, count), 0, count)[0]
    assert not np.any(other == everything)
