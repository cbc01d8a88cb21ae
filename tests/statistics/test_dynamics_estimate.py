"""Surface dynamics of series whose law is known: recovery, the cover of nominal 95 % intervals, when reversion is taken up."""

from __future__ import annotations

import numpy as np
import pytest

from upm_gpu.calibrate.dynamics_estimate import fit_dynamics, fit_reversion
from upm_gpu.calibrate.series import Series
from upm_gpu.errors import CalibrationError

FACTORS = ("log_level[A]", "volatility_shift[A]", "volatility_skew[A]")
VOLATILITY = np.array([0.03, 0.05, 0.02])
CORRELATION = np.array([[1.0, -0.6, -0.3], [-0.6, 1.0, 0.2], [-0.3, 0.2, 1.0]])


def draw(days: int, seed: int, half_life: float, noise: float = 0.0) -> list[Series]:
    """A price, a volatility that wanders and a skew that reverts; `noise` is what errors of quotes leave in the volatility series."""
    rng = np.random.default_rng(seed)
    e = rng.standard_normal((days, 3)) @ np.linalg.cholesky(CORRELATION).T * VOLATILITY
    phi = 0.5 ** (1.0 / half_life)
    skew = np.zeros(days)
    for i in range(1, days):
        skew[i] = phi * skew[i - 1] + e[i, 2]
    values = np.cumsum(e[:, 0]), np.cumsum(e[:, 1]) + noise * rng.standard_normal(days), skew + noise * rng.standard_normal(days)
    return [Series(np.arange(float(days)), v) for v in values]


def covers(seed: int, days: int = 250, half_life: float = 6.0, noise: float = 0.0, stretch: float = 1.0, decay: float = 1.0) -> np.ndarray:
    """Which intervals hold the truth: rate of reversion, volatilities, correlations, slope of volatility."""
    fit, wide = fit_dynamics(draw(days, seed, half_life, noise), FACTORS, decay), 1.96 * stretch
    r = fit.reversion[2]
    assert r is not None
    pairs = ((1, 0), (2, 0), (2, 1))
    return np.array([abs(r.rate - np.log(2.0) / half_life) <= wide * r.error, *(abs(fit.volatility - VOLATILITY) <= wide * fit.volatility_error),
                     *(abs(fit.correlation[i, j] - CORRELATION[i, j]) <= wide * fit.correlation_error[i, j] for i, j in pairs), abs(fit.slope["A"][0] + 0.6 * 5.0 / 3.0) <= wide * fit.slope["A"][1]])


def test_the_motion_is_found():
    fit = fit_dynamics(draw(3000, 2, 6.0), FACTORS)
    assert fit.half_life[0] == 0.0 and fit.half_life[2] == pytest.approx(6.0, rel=0.15) and fit.reversion[0] is None
    np.testing.assert_allclose(fit.volatility, VOLATILITY, rtol=0.05)
    np.testing.assert_allclose(fit.correlation, CORRELATION, atol=0.06)
    assert fit.slope["A"][0] == pytest.approx(-1.0, abs=0.08) and np.all(fit.correlation_error[np.tril_indices(3, -1)] > 0.0)


def test_reversion_is_taken_up_where_a_random_walk_is_rejected():
    walks = [fit_dynamics(draw(150, s, 3.0), FACTORS) for s in range(60)]
    assert np.mean([f.half_life[1] > 0.0 for f in walks]) <= 0.13  # 5 %, and three deviations of sixty
    assert np.mean([f.half_life[2] > 0.0 for f in walks]) >= 0.9
    series = draw(150, 1, 3.0)[1]
    assert fit_reversion(series, "s", "none").in_force == 0.0 and fit_reversion(series, "s", "estimated").rate >= 0.0
    noise = Series(series.time, np.random.default_rng(1).standard_normal(150) * np.where(np.arange(150) % 2, 1.0, -1.0) + 3.0 * (-1.0) ** np.arange(150))
    assert fit_reversion(noise, "s").bound == "upper" and np.isnan(fit_reversion(noise, "s").error)


def test_a_gap_is_no_change():
    days = np.concatenate([np.arange(100.0), np.arange(110.0, 210.0)])
    series = draw(210, 4, 6.0)
    cut = [Series(days, s.value[days.astype(int)]) for s in series]
    fit = fit_dynamics(cut, FACTORS)
    assert len(fit.days.days) == 198


def test_refusals():
    with pytest.raises(CalibrationError, match=r"UPM-CA-232 dynamics of volatility_shift\[A\]: 19 changes"):
        fit_dynamics(draw(20, 1, 6.0), FACTORS)
    still = draw(100, 1, 6.0)
    with pytest.raises(CalibrationError, match=r"UPM-CA-232 .* stands still"):
        fit_dynamics([still[0], Series(still[1].time, np.zeros(100)), still[2]], FACTORS)


def test_cover_of_a_few_seeds():
    """60 seeds x 8 intervals; errors half as large fail."""
    assert 0.88 <= float(np.mean([covers(s) for s in range(60)])) <= 0.99
    assert float(np.mean([covers(s, stretch=0.5) for s in range(60)])) < 0.8


@pytest.mark.slow
@pytest.mark.parametrize(("days", "half_life", "noise"), [(122, 4.0, 0.0), (250, 6.0, 0.0), (500, 10.0, 0.0), (250, 6.0, 0.002)])
def test_intervals_of_five_hundred_seeds(days, half_life, noise):
    """`noise`: a tenth of a day's motion of the skew, a twenty-fifth of the level's."""
    share = np.mean([covers(10_000 + s, days, half_life, noise) for s in range(500)], axis=0)
    assert np.all((share >= 0.90) & (share <= 0.98)) and np.mean(share) >= 0.91, share
