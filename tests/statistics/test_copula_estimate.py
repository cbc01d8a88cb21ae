"""Tails and copula of returns whose law is known: recovery within errors and the cover of nominal 95 % intervals."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import stdtr, stdtrit

from upm_gpu.calibrate.copula_estimate import fit_copula, fit_marginal
from upm_gpu.calibrate.series import kendall
from upm_gpu.errors import CalibrationError

NU, MARGINAL, CORRELATION = 5.0, 4.0, 0.6


def returns(days: int, seed: int, size: int = 2) -> np.ndarray:
    """(days, size): t marginals of MARGINAL degrees of freedom and scale 0.02 under a t copula."""
    rng = np.random.default_rng(seed)
    r = np.full((size, size), CORRELATION) + (1.0 - CORRELATION) * np.eye(size)
    z = rng.standard_normal((days, size)) @ np.linalg.cholesky(r).T * np.sqrt(NU / rng.chisquare(NU, days))[:, None]
    return 0.02 * stdtrit(MARGINAL, stdtr(NU, z))


def test_tails_and_copula_are_found():
    x = returns(1200, 5, 3)
    copula = fit_copula(x, ("A", "B", "C"), "none")
    assert abs(copula.degrees_of_freedom - NU) < 3.0 * copula.error and 0.3 < copula.error < 2.0
    np.testing.assert_allclose(copula.correlation, np.full((3, 3), CORRELATION) + (1.0 - CORRELATION) * np.eye(3), atol=0.08)
    assert copula.correlation[1, 0] == pytest.approx(kendall(x[:, 0], x[:, 1]), abs=1e-12)
    for column in x.T:
        fit = fit_marginal(column, "A", "none")
        assert abs(fit.degrees_of_freedom - MARGINAL) < 3.0 * fit.degrees_error and abs(fit.scale - 0.02) < 3.0 * fit.scale_error


def test_a_filter_sees_through_changing_volatility():
    """Volatility that doubles and halves makes plain returns look fatter than they are on their day."""
    x = returns(2500, 8)[:, 0] * np.repeat([0.5, 2.0, 0.7, 3.0, 1.0], 500)
    plain, seen = fit_marginal(x, "A", "none"), fit_marginal(x, "A", "ewma")
    assert plain.degrees_of_freedom < 2.95 < seen.degrees_of_freedom < 5.5


def test_bounds_are_said():
    normal = np.random.default_rng(3).standard_normal((600, 2))
    assert fit_marginal(normal[:, 0], "A", "none").bound == "upper"
    copula = fit_copula(normal, ("A", "B"), "none")
    assert copula.degrees_of_freedom > 15.0


def cover(seeds: int, stretch: float = 1.0) -> np.ndarray:
    """Shares of marginal nu, scale and copula nu, the two nu on their logarithm."""
    found = []
    for s in range(seeds):
        x = returns(800, 1000 + s)
        m, c = fit_marginal(x[:, 0], "A", "none"), fit_copula(x, ("A", "B"), "none")
        wide = 1.96 * stretch
        found.append([abs(np.log(m.degrees_of_freedom / MARGINAL)) <= wide * m.degrees_error / m.degrees_of_freedom, abs(m.scale - 0.02) <= wide * m.scale_error,
                      not abs(np.log(c.degrees_of_freedom / NU)) > wide * c.error / c.degrees_of_freedom])
    return np.mean(found, axis=0)


@pytest.mark.slow
def test_intervals_of_five_hundred_seeds():
    share = cover(500)
    assert np.all((share >= 0.91) & (share <= 0.98)), share


def test_refusals():
    x = returns(120, 1)
    with pytest.raises(CalibrationError, match="UPM-CA-222 A: 120 returns"):
        fit_marginal(x[:, 0], "A", "none")
    with pytest.raises(CalibrationError, match="UPM-CA-222 A, B: 120 common returns"):
        fit_copula(x, ("A", "B"), "none")
    with pytest.raises(CalibrationError, match="UPM-CA-222 A: the series stands still"):
        fit_marginal(np.zeros(300), "A", "none")
