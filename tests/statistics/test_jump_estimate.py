"""Jumps of a history whose law is known: the exact gradient, recovery within errors, and the cover of nominal 95 % intervals."""

from __future__ import annotations

import numpy as np
import pytest

from upm_gpu.calibrate.jump_estimate import _layout, _starts, fit_jumps, gradient
from upm_gpu.errors import CalibrationError

VOLATILITY, MARKET, LOADING, OWN = np.array([0.02, 0.026]), (14.0, -0.02, 0.06), np.array([1.0, 1.3]), (12.0, 0.01, 0.08)


def history(assets: int, days: int, seed: int) -> np.ndarray:
    """(days, assets) returns of a Merton walk."""
    rng = np.random.default_rng(seed)
    r = np.full((assets, assets), 0.7) + 0.3 * np.eye(assets)
    x = rng.standard_normal((days, assets)) @ np.linalg.cholesky(np.outer(VOLATILITY[:assets], VOLATILITY[:assets]) * r).T
    if assets > 1:
        n = rng.poisson(MARKET[0] / 365.0, days)
        x += (n * MARKET[1] + np.sqrt(n) * MARKET[2] * rng.standard_normal(days))[:, None] * LOADING[:assets]
    n = rng.poisson(OWN[0] / 365.0, (days, assets))
    return x + n * OWN[1] + np.sqrt(n) * OWN[2] * rng.standard_normal((days, assets))


@pytest.mark.parametrize("assets", [1, 2])
def test_gradient_is_that_of_differences(assets):
    x = history(assets, 300, 4)
    x = x / x.std(axis=0)
    layout = _layout(assets)
    at = _starts(layout, x)[0] + 0.05 * np.random.default_rng(1).standard_normal(len(_starts(layout, x)[0]))
    _, by = gradient(layout, x, at)
    for i in range(len(at)):
        h = np.zeros(len(at))
        h[i] = 1e-5
        assert by[i] == pytest.approx((gradient(layout, x, at + h)[0] - gradient(layout, x, at - h)[0]) / 2e-5, rel=1e-5, abs=1e-4)


def test_density_is_one_normal_without_jumps():
    """Intensities at their floor: the mixture is the normal law to the probability of a jump."""
    layout, x = _layout(2), np.random.default_rng(2).standard_normal((300, 2))
    at = _starts(layout, x)[0]
    at[[5, 9, 10]] = np.log(1e-6)
    m, factor, *_ = layout.parts(at)
    away = np.linalg.solve(factor, (x - m).T)
    plain = -0.5 * np.sum(away**2) - len(x) * (np.log(2.0 * np.pi) + np.sum(np.log(np.diag(factor))))
    assert gradient(layout, x, at)[0] == pytest.approx(plain, rel=1e-4)


def test_two_assets_share_a_clock():
    fit = fit_jumps(history(2, 3000, 7), ("A", "B"))
    truth = dict(zip(fit.names, [*VOLATILITY, 0.7, *MARKET, LOADING[1], OWN[0], OWN[0], OWN[1], OWN[1], OWN[2], OWN[2]], strict=True))
    for name, value, error in zip(fit.names, fit.values, fit.errors, strict=True):
        assert abs(value - truth[name]) < 3.5 * error, name
    assert fit.log_likelihood > fit.normal_log_likelihood + 300.0
    assert np.diag(fit.correlation).tolist() == [1.0, 1.0]
    assert fit.correlation[0, 1] == pytest.approx(0.7, abs=0.06)
    assert fit.errors[fit.names.index("systemic loading B")] < 0.2


def cover(seeds: int, stretches: tuple[float, ...] = (1.0,)) -> list[np.ndarray]:
    """Shares of seeds whose interval of the stretch holds the truth, by parameter."""
    truth = np.array([VOLATILITY[0], *OWN])
    fits = [fit_jumps(history(1, 3000, 500 + s), ("A",)) for s in range(seeds)]
    return [np.mean([np.abs(f.values - truth) <= 1.96 * s * np.nan_to_num(f.errors, nan=np.inf) for f in fits], axis=0) for s in stretches]


def test_intervals_of_a_few_seeds():
    """Ten seeds, 40 intervals of 95 %: five misses and more have probability 0.05; intervals of a third of the width hold half of the truths."""
    whole, narrow = cover(10, (1.0, 1.0 / 3.0))
    assert np.mean(whole) >= 0.87
    assert np.mean(narrow) < 0.75


@pytest.mark.slow
def test_intervals_of_five_hundred_seeds():
    (share,) = cover(500)
    assert np.all((share >= 0.91) & (share <= 0.98)), share


def test_refusals():
    with pytest.raises(CalibrationError, match="UPM-CA-220 A: 100 common returns"):
        fit_jumps(history(1, 100, 1), ("A",))
    with pytest.raises(CalibrationError, match="UPM-CA-220 7 assets"):
        fit_jumps(np.zeros((300, 7)), tuple("ABCDEFG"))
    with pytest.raises(CalibrationError, match="UPM-CA-220 B: the series stands still"):
        fit_jumps(history(2, 300, 1) * [1.0, 0.0], ("A", "B"))
