"""Quantiles of fitted laws against samples of them: on the diagonal where the law is right, off it where it is not."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import t

from upm_gpu.calibrate.garch_estimate import estimate
from upm_gpu.calibrate.jump_estimate import JumpFit
from upm_gpu.calibrate.residuals import garch_residuals, jump_law, residuals, student_t_law


def jumps(size: int) -> JumpFit:
    """Two assets with rare large jumps, market-wide and own."""
    return JumpFit(("A", "B"), np.array([1e-3, 0.0]), np.array([0.02, 0.03]), np.eye(2), np.array([20.0, -0.05, 0.04]), np.array([1.0, 1.5]), np.array([[10.0, 5.0], [0.02, -0.1], [0.05, 0.02]]), (), np.zeros(0), np.zeros(0), (), 0.0, 0.0, size)


def test_a_mixture_has_the_quantiles_of_its_draws():
    rng, fit, days = np.random.default_rng(2), jumps(1), 400_000
    common = rng.poisson(20.0 / 365.0, days)
    for k in range(2):
        own = rng.poisson(fit.own[0, k] / 365.0, days)
        x = fit.mean[k] + fit.volatility[k] * rng.standard_normal(days) + fit.loading[k] * (common * -0.05 + np.sqrt(common) * 0.04 * rng.standard_normal(days)) + own * fit.own[1, k] + np.sqrt(own) * fit.own[2, k] * rng.standard_normal(days)
        levels = np.array([1e-3, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999])
        found, expected = jump_law(fit, k)(levels), np.quantile(x, levels)
        density = np.array([np.mean(np.abs(x - q) < 0.1 * fit.volatility[k]) / (0.2 * fit.volatility[k]) for q in expected])
        assert np.all(np.abs(found - expected) < 4.5 * np.sqrt(levels * (1.0 - levels) / days) / density)


def test_points_lie_on_the_diagonal_where_the_law_is_right():
    x = 0.02 * t.rvs(4, size=3000, random_state=np.random.default_rng(1))
    right, wrong = residuals("A", x, student_t_law(0.02, 4.0)), residuals("A", x, student_t_law(0.028, 100.0))
    body = slice(30, -30)
    assert np.max(np.abs(right.observed[body] / right.model[body] - 1.0)[np.abs(right.model[body]) > 0.02]) < 0.12
    assert wrong.observed[0] < 1.5 * wrong.model[0] and [row[0] for row in right.table] == ["1 %", "5 %", "50 %", "95 %", "99 %"]
    assert right.table[0][2] == pytest.approx(0.02 * t.ppf(0.01, 4))


def test_innovations_of_a_recursion():
    rng = np.random.default_rng(3)
    h, r = 1.0, np.empty(1500)
    for i in range(1500):
        r[i] = np.sqrt(h) * rng.standard_t(6) / np.sqrt(1.5)
        h = 0.05 + 0.08 * r[i] ** 2 + 0.87 * h
    found = garch_residuals("A", estimate(r, "garch", "zero", "student_t"), r, np.arange(1500.0))
    assert found.volatility is not None and len(found.volatility) == 1500
    (_, observed, model), *_ = found.table
    assert observed == pytest.approx(model, rel=0.12)
