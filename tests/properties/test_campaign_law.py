"""The law that campaigns condition on: moments of the model, conditional laws against their closed forms, correlations on the way to one."""

from __future__ import annotations

import numpy as np
import pytest
from campaigns import small_campaign

from upm_gpu.campaign.law import Law, conditional

NAMES = ("log_level[BTC]", "log_level[ETH]", "volatility_shift[BTC]")
COVARIANCE = np.array([[4.0, 3.0, -1.0], [3.0, 9.0, -0.5], [-1.0, -0.5, 1.0]]) * 1e-4
LAW = Law(NAMES, np.array([0.001, -0.002, 0.0]), COVARIANCE)
COUNT = 200_000


@pytest.mark.parametrize("nu", [0.0, 5.0], ids=["gaussian", "student_t"])
def test_a_conditional_draw_has_the_conditional_moments(nu):
    """Gaussian: mean and covariance of the regression. Student-t: the same mean, covariance times (nu - 2 + d^2) / (nu + 1 - 2)."""
    given = -0.06
    drawn = conditional(LAW, {NAMES[0]: given}, COUNT, 11, nu)
    away = given - LAW.mean[0]
    slope = COVARIANCE[1:, 0] / COVARIANCE[0, 0]
    rest = COVARIANCE[1:, 1:] - np.outer(slope, slope) * COVARIANCE[0, 0]
    inflated = 1.0 if not nu else (nu - 2.0 + away**2 / COVARIANCE[0, 0]) / (nu + 1.0 - 2.0)
    assert (drawn[0] == given).all()
    assert drawn[1:].mean(axis=1) == pytest.approx(LAW.mean[1:] + slope * away, abs=5.0 * np.sqrt(np.diag(rest).max() * inflated / COUNT))
    assert np.cov(drawn[1:]) == pytest.approx(rest * inflated, rel=0.05 if nu else 0.02, abs=2e-6 * inflated)
    assert inflated > 2.0 or not nu
    again = conditional(LAW, {NAMES[0]: given}, COUNT, 12, nu)
    assert not np.array_equal(drawn[1], again[1]) and np.array_equal(drawn, conditional(LAW, {NAMES[0]: given}, COUNT, 11, nu))


def test_what_is_given_outright_is_not_drawn():
    assert conditional(LAW, dict.fromkeys(NAMES, 0.5), 3, 1, 4.0).tolist() == [[0.5] * 3] * 3


def test_toward_one_moves_prices_alone():
    half, whole = LAW.toward_one(0.5), LAW.toward_one(1.0, inverse=("ETH",))
    sigma = np.sqrt(np.diag(COVARIANCE))
    rho = COVARIANCE[0, 1] / sigma[0] / sigma[1]
    assert half.covariance[0, 1] / sigma[0] / sigma[1] == pytest.approx(0.5 * rho + 0.5)
    assert whole.covariance[0, 1] / sigma[0] / sigma[1] == pytest.approx(-1.0)
    assert (half.covariance[2] == COVARIANCE[2]).all() and np.diag(half.covariance) == pytest.approx(np.diag(COVARIANCE))


def test_distance_is_mahalanobis():
    moves = np.array([[0.02, 0.001], [0.03, -0.002], [0.0, 0.0]])
    away = moves - LAW.mean[:, None]
    assert LAW.distance(moves) == pytest.approx(np.sqrt(np.einsum("ks,kl,ls->s", away, np.linalg.inv(COVARIANCE), away)))


@pytest.mark.parametrize("clock", ["calendar", "sessions"])
def test_the_law_of_a_plan_has_the_moments_of_its_scenarios(tmp_path, clock):
    """Two days of the clock, which from a Thursday are four of the calendar."""
    _, book = small_campaign(tmp_path, clock=clock)
    plan = book.outcome.plan
    sigma = np.sqrt(np.diag(book.law.covariance))
    assert book.law.names == plan.compiled.drawn_names
    assert sigma == pytest.approx(np.asarray(plan.model.daily_volatility) * np.sqrt(2.0), rel=0.1), "the core looks two days ahead"
    assert book.law.covariance / np.outer(sigma, sigma) == pytest.approx(np.asarray(plan.model.correlation), abs=0.1)
