"""Levenberg-Marquardt in a box against SciPy's bounded least squares, many problems at once."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import least_squares

from upm_gpu.calibrate.chain.solver import solve

T = np.linspace(0.0, 3.0, 25)
LOW, HIGH = np.array([0.1, 0.05, -1.0]), np.array([5.0, 4.0, 0.25])


def curve(z):
    """a e^(-b t) + c of problems (B, 3)."""
    return z[:, :1] * np.exp(-z[:, 1:2] * T) + z[:, 2:]


def slopes(z):
    e = np.exp(-z[:, 1:2] * T)
    return np.stack([e, -z[:, :1] * T * e, np.ones_like(e)], axis=-1)


@pytest.fixture(scope="module")
def problems():
    rng = np.random.default_rng(5)
    truth = np.column_stack([rng.uniform(0.5, 4.5, 24), rng.uniform(0.1, 3.0, 24), rng.uniform(-0.8, 0.6, 24)])  # a third of the floors lie beyond the box
    return curve(truth) + 0.03 * rng.standard_normal((24, len(T)))


def test_optimum_is_scipys(problems):
    found = solve(lambda at, z: (curve(z) - problems[at], slopes(z)), np.tile([1.0, 1.0, 0.0], (24, 1)), LOW, HIGH, tolerance=1e-14)
    assert np.all(found.converged)
    on_bound = 0
    for i, data in enumerate(problems):
        best = least_squares(lambda z, data=data: curve(z[None])[0] - data, [1.0, 1.0, 0.0], lambda z: slopes(z[None])[0], bounds=(LOW, HIGH), xtol=1e-14, ftol=1e-14, gtol=1e-14)
        assert found.cost[i] <= best.cost * (1.0 + 1e-9)
        if found.z[i, 2] == HIGH[2]:
            on_bound += 1
            assert best.x[2] == pytest.approx(HIGH[2], abs=1e-5)
        else:
            np.testing.assert_allclose(found.z[i], best.x, rtol=1e-5, atol=1e-6)
    assert on_bound >= 4


def test_problems_do_not_touch_each_other(problems):
    def run(part):
        return solve(lambda at, z: (curve(z) - problems[part][at], slopes(z)), np.tile([1.0, 1.0, 0.0], (len(part), 1)), LOW, HIGH)

    whole, alone = run(np.arange(24)), [run(np.array([i])) for i in (0, 7, 23)]
    for i, one in zip((0, 7, 23), alone, strict=True):
        np.testing.assert_allclose(whole.z[i], one.z[0], rtol=1e-12)
        assert whole.iterations[i] == one.iterations[0]


def test_a_problem_without_numbers_is_not_converged(problems):
    broken = problems[:2].copy()
    broken[1] = np.nan
    found = solve(lambda at, z: (curve(z) - broken[at], slopes(z)), np.tile([1.0, 1.0, 0.0], (2, 1)), LOW, HIGH)
    assert found.converged.tolist() == [True, False]


def test_too_few_steps_are_told(problems):
    found = solve(lambda at, z: (curve(z) - problems[at], slopes(z)), np.tile([5.0, 4.0, -1.0], (24, 1)), LOW, HIGH, most=1)
    assert not np.any(found.converged)
