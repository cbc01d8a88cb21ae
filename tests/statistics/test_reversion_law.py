"""Mean reversion of states: AR(1) variance, half-life, centring, and no reversion to the bit.

S = 200,000 drawn scenarios, fixed seed. A score beyond 5 null deviations is refused (alpha 6e-7 a comparison, some 40 of them); a bias of 8
deviations is found with probability 0.999. The planted bias is a persistence off by 3 %.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from model_draws import draw, score

from upm_gpu.errors import CalibrationError
from upm_gpu.model.gbm import GbmParameters, walk
from upm_gpu.model.jumps import JumpParameters
from upm_gpu.model.merton import MertonParameters
from upm_gpu.model.reversion import persistence_of, weights
from upm_gpu.scenario.spec import ScenarioSpec

COUNT, LIMIT = 200_000, 5.0
NAMES = ("log_level[A]", "volatility_skew[A]", "volatility_shift[A]")
SIZE, HALF_LIFE = np.array([0.05, 0.02, 0.08]), np.array([2.0, 3.0, 0.0])
DATES = np.array([0.5, 1.0, 3.0, 3.25, 10.0])


def parameters(law: str = "gaussian") -> GbmParameters:
    t = law == "student_t"
    return GbmParameters(NAMES, SIZE, np.eye(3), copula="student_t" if t else "gaussian", copula_degrees_of_freedom=6.0 if t else np.inf,
                         marginal=("student_t",) * 3 if t else (), marginal_degrees_of_freedom=np.full(3, 6.0) if t else None,
                         max_log_move=np.full(3, 0.5) if t else None, half_life_days=HALF_LIFE)


@pytest.fixture(scope="module")
def states() -> np.ndarray:
    return draw(walk(parameters(), DATES, 5, 0, COUNT))


def expected_variance(phi: float, size: float, days: float) -> float:
    """s^2 (phi^2f (1 - phi^2n) / (1 - phi^2) + f), n whole days and a part f; s^2 days without reversion."""
    n, f = divmod(days, 1.0)
    whole = n if phi == 1.0 else (1.0 - phi ** (2.0 * n)) / (1.0 - phi * phi)
    return size * size * (phi ** (2.0 * f) * whole + f)


def variance_scores(states: np.ndarray, half_life: np.ndarray) -> np.ndarray:
    phi = persistence_of(half_life, NAMES, 1.0)
    expected = np.array([[expected_variance(phi[k], SIZE[k], d) for k in range(3)] for d in DATES])
    return (states.var(axis=2) / expected - 1.0) / np.sqrt(2.0 / COUNT)


def test_variance_is_that_of_an_autoregression(states: np.ndarray) -> None:
    """Null: the closed form above. Detectable: 8 sqrt(2 / S) = 2.5 % of a variance."""
    assert np.abs(variance_scores(states, HALF_LIFE)).max() < LIMIT
    wrong = np.abs(variance_scores(states, HALF_LIFE * np.array([1.3, 1.3, 1.0])))
    assert wrong[-1, :2].min() > LIMIT, "a half-life off by 30 % was not seen"


def test_half_of_a_move_is_left_after_a_half_life() -> None:
    """Regression of the state a half-life later on the state: slope 1/2 (3 whole days; skew), error about sqrt(1 - r^2) / (r sqrt(S))."""
    x = draw(walk(parameters(), np.array([3.0, 6.0, 9.0]), 6, 0, COUNT))[:, 1]
    for before, after in ((0, 1), (1, 2)):
        slope = x[before] @ x[after] / (x[before] @ x[before])
        error = np.sqrt(np.mean((x[after] - slope * x[before]) ** 2) / (x[before] @ x[before]))
        assert abs(slope - 0.5) < LIMIT * error
        assert abs(slope - 0.5 * 1.03) > LIMIT * error


@pytest.mark.parametrize("law", ["gaussian", "student_t"])
def test_a_reverting_price_has_an_expected_return_of_zero(law: str) -> None:
    """Null: E exp X = 1 at every date; a walk's centring planted in its place is seen at the last date."""
    given = walk(parameters(law), DATES, 7, 0, COUNT)
    price = np.exp(draw(given)[:, 0])
    assert max(abs(score(x, 1.0)) for x in price) < LIMIT
    plain = walk(replace(parameters(law), half_life_days=None), DATES, 7, 0, COUNT).centre
    assert abs(score(price[-1] * np.exp(plain[-1, 0] - given.centre[-1, 0]), 1.0)) > LIMIT


def test_jumps_of_a_reverting_volatility_have_zero_mean() -> None:
    """Merton: the jumps' mean move reverts like the rest; the plain compensation, planted, is seen."""
    jumps = JumpParameters(200.0, 0.05, 0.02, np.array([0.0, 1.0, 1.0]), np.zeros(3), np.zeros(3), np.zeros(3))
    given = MertonParameters(NAMES, SIZE, np.eye(3), jumps, half_life_days=np.array([0.0, 3.0, 0.0]))
    x = draw(given.scenarios(DATES, ScenarioSpec(count=COUNT, seed=8)))[:, 1:]
    assert max(abs(score(x[d, k], 0.0)) for d in range(len(DATES)) for k in range(2)) < LIMIT
    days = weights(0.5 ** (1.0 / 3.0), 10, 0.0).sum()
    assert abs(score(x[-1, 0], (days - 10.0) * 200.0 / 365.0 * 0.05)) > LIMIT


def test_no_reversion_is_the_random_walk_to_the_bit() -> None:
    plain = walk(replace(parameters(), half_life_days=None), DATES, 5, 0, 500)
    zero = walk(replace(parameters(), half_life_days=np.zeros(3)), DATES, 5, 0, 500)
    ones = replace(plain, persistence=np.ones(3), date_persistence=np.ones((len(DATES), 3)))
    assert zero.persistence is None
    np.testing.assert_array_equal(plain.centre, zero.centre)
    np.testing.assert_array_equal(draw(plain), draw(ones))


def test_another_date_moves_no_figure() -> None:
    some, more = walk(parameters(), DATES, 5, 0, 400), walk(parameters(), np.array([0.2, 0.5, 1.0, 2.9, 3.0, 3.25, 7.7, 10.0]), 5, 0, 400)
    np.testing.assert_array_equal(draw(some), draw(more)[[1, 2, 4, 5, 7]])


@pytest.mark.parametrize(("half_life", "code"), [([1.0, -1.0, 0.0], "UPM-CA-165"), ([1.0, np.nan, 0.0], "UPM-CA-165"), ([1.0], "UPM-CA-059")])
def test_what_is_no_half_life_is_refused(half_life: list[float], code: str) -> None:
    with pytest.raises(CalibrationError, match=code):
        walk(replace(parameters(), half_life_days=np.array(half_life)), DATES, 5, 0, 10)


def test_a_reverting_price_is_refused_where_steps_are_centred_by_themselves() -> None:
    jumps = JumpParameters(1.0, 0.0, 0.1, np.ones(3), np.zeros(3), np.zeros(3), np.zeros(3))
    with pytest.raises(CalibrationError, match="UPM-CA-166"):
        MertonParameters(NAMES, SIZE, np.eye(3), jumps, half_life_days=HALF_LIFE).scenarios(DATES, ScenarioSpec(count=10))
