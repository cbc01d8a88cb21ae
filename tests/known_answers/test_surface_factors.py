"""Skew and slope of a surface: series from smiles by hand, the shifted smile in price, the sticky rules, factors from a history, refusals."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pandas as pd
import pytest
from surfaces import NOW, made_surface

from upm_gpu.calibrate.covariance import calibrate_covariance
from upm_gpu.calibrate.series import LEVEL_SLOPE, Series
from upm_gpu.calibrate.spreads import half_lives
from upm_gpu.calibrate.surface_factors import half_life, level_slope, slides, surface_factors
from upm_gpu.errors import InputError
from upm_gpu.formula.families import svi_total_variance
from upm_gpu.formula.surface_shift import surface_shift
from upm_gpu.market.surface import Surface, SviSlice, implied_volatility
from upm_gpu.market.surface_series import SUFFIXES, skew_per_deviation, surface_series, term_slope
from upm_gpu.pricing.dynamics import Dynamics
from upm_gpu.pricing.surface_factors import slope_loading, surface_operations
from upm_gpu.scenario.spec import ScenarioSpec

NAMES = ("log_level[U]", "volatility_shift[U]", "volatility_skew[U]", "volatility_slope[U]")


def flat(days: float, volatility: float, tilt: float = 0.0) -> SviSlice:
    """A slice that is nearly a line: volatility at the money, and slope of total variance `tilt`."""
    t = days / 365.0
    return SviSlice(NOW + timedelta(days=days), t, volatility**2 * t - 0.05 * 2.0, 0.05, tilt / 0.05, 0.0, 2.0)


def test_series_of_a_surface_by_hand() -> None:
    """w = sigma^2 T + c k + O(k^2): kappa = c / (2 sigma sqrt T); slope = ln(0.5 / 0.8) / ln(90 / 7)."""
    c = 2.0 * 0.6 * np.sqrt(30.0 / 365.0) * -0.12
    surface = Surface("U", NOW, (flat(7.0, 0.8), flat(30.0, 0.6, c), flat(90.0, 0.5)), ())
    assert skew_per_deviation(surface.slices[1]) == pytest.approx(-0.12, abs=1e-12)
    assert term_slope(surface) == pytest.approx(np.log(0.5 / 0.8) / np.log(90.0 / 7.0), abs=1e-12)
    assert surface_series(surface) == {"U.IV30": 0.6, "U.SKEW30": round(np.exp(-0.12), 6), "U.SLOPE30": round((0.5 / 0.8) ** (1.0 / np.log(90.0 / 7.0)), 6)}
    assert tuple(s.removeprefix("U") for s in surface_series(surface)) == SUFFIXES


def shifts(dynamics: Dynamics, level: float, skew: float, slope: float, surface: Surface) -> np.ndarray:
    """(3, E) shift, skew, stretch."""
    (operation,), _ = surface_operations(NAMES, {"U": surface}, dynamics)
    made, _ = surface_shift([np.full((1, 1), x) for x in (level, skew, slope)], operation.reals, np.ones(1))
    return made[:, 0, 0].reshape(3, -1)


def test_shifts_of_expiries_by_hand() -> None:
    surface = Surface("U", NOW, (flat(7.0, 0.8), flat(30.0, 0.6), flat(120.0, 0.5)), ())
    found = shifts(Dynamics(), 0.2, -0.05, 0.03, surface)
    expected = [0.2 * (30.0 / 7.0) ** 0.3 + 0.03 * np.log(7.0 / 30.0), 0.2, 0.2 * 0.25**0.13 + 0.03 * np.log(4.0)]
    np.testing.assert_allclose(found[0], expected, rtol=1e-12)
    np.testing.assert_array_equal(found[1], -0.05)
    np.testing.assert_array_equal(found[2], 0.0)
    delta = shifts(Dynamics(sticky_delta=True), 0.2, -0.05, 0.03, surface)
    np.testing.assert_array_equal(delta[2], delta[0])
    assert slope_loading(30.0) == 0.0 and slope_loading(0.2) == slope_loading(1.0)


def smile(svi: SviSlice, k: np.ndarray, skew: float) -> np.ndarray:
    """Volatility of a tilted slice by the pricing formula."""
    tilt = 2.0 * np.sqrt(svi_total_variance(0.0, svi.a, svi.b, svi.rho, svi.m, svi.s)) * skew
    return np.sqrt(svi_total_variance(k, svi.a, svi.b, svi.rho, svi.m, svi.s, tilt=tilt) / svi.expiry_years)


def test_a_skew_tilts_the_smile_about_the_money() -> None:
    """At the money nothing, its slope in standard deviations by the state; and it is the raw SVI of rho + c / b, a + c m."""
    svi, k = made_surface("U").slices[3], np.linspace(-0.5, 0.5, 11)
    width = np.sqrt(svi_total_variance(0.0, svi.a, svi.b, svi.rho, svi.m, svi.s))
    moved, h = smile(svi, k, -0.03), 1e-5
    assert moved[5] == pytest.approx(smile(svi, k, 0.0)[5], rel=1e-15)
    slope = [(smile(svi, np.array([h]), x) - smile(svi, np.array([-h]), x))[0] / (2.0 * h) / moved[5] * width for x in (-0.03, 0.0)]
    assert slope[0] - slope[1] == pytest.approx(-0.03, abs=1e-8)
    c = 2.0 * width * -0.03
    same = replace(svi, rho=svi.rho + c / svi.b, a=svi.a + c * svi.m)
    np.testing.assert_allclose(moved, implied_volatility(same, k), rtol=1e-14)


def test_a_drawn_out_smile_is_a_function_of_deviations() -> None:
    """Sticky delta: with volatility doubled, twice as far from the money lies the same multiple of the volatility there."""
    svi = made_surface("U").slices[2]
    move = np.log(2.0)
    for z in (-0.2, 0.1, 0.3):
        stretched = smile(svi, np.array([2.0 * z]) * np.exp(-move), 0.0)
        np.testing.assert_allclose(2.0 * stretched, 2.0 * smile(svi, np.array([z]), 0.0), rtol=1e-14)


def test_slides_of_a_sticky_strike_smile() -> None:
    """Series of the surface seen from a forward 1 % higher, strikes keeping their volatilities: the derivatives that calibration takes out."""
    surface = Surface("U", NOW, tuple(replace(s, expiry=NOW + timedelta(days=d), expiry_years=d / 365.0) for s, d in zip(made_surface("U").slices, (3, 7, 30, 90, 300), strict=True)), ())
    found, h = slides({"U": surface}), 1e-4
    up = replace(surface, slices=tuple(replace(s, m=s.m - h) for s in surface.slices))
    down = replace(surface, slices=tuple(replace(s, m=s.m + h) for s in surface.slices))
    assert found["volatility_skew[U]"] == pytest.approx((skew_per_deviation(up.slices[2]) - skew_per_deviation(down.slices[2])) / (2.0 * h), rel=1e-5)
    assert found["volatility_slope[U]"] == pytest.approx((term_slope(up) - term_slope(down)) / (2.0 * h), rel=1e-5)


def history(count: int = 400) -> tuple[pd.DataFrame, np.ndarray]:
    """Closes of a price and its three series, whose factors move by known amounts."""
    moves = np.random.default_rng(4).normal(0.0, 1.0, (count, 4)) * np.array([0.03, 0.05, 0.02, 0.01])
    spec = ScenarioSpec()
    paths = np.concatenate([np.zeros((1, 4)), np.cumsum(moves, axis=0)])
    term = paths[:, 3] + level_slope(spec) * paths[:, 1]
    times = pd.date_range(end=pd.Timestamp(NOW), periods=count + 1, freq="D")
    closes = {"A": 100.0 * np.exp(paths[:, 0]), "A.IV30": 0.5 * np.exp(paths[:, 1]), "A.SKEW30": 0.9 * np.exp(paths[:, 2]), "A.SLOPE30": np.exp(term)}
    return pd.concat([pd.DataFrame({"timestamp": times, "asset": a, "close": c}) for a, c in closes.items()]), moves


def test_factors_of_a_history_are_the_moves_it_was_made_of() -> None:
    frame, moves = history()
    names = ("log_level[A]", "volatility_shift[A]", "volatility_skew[A]", "volatility_slope[A]")
    fit = calibrate_covariance(frame, names, NOW, estimator="equal", slide={LEVEL_SLOPE: level_slope(ScenarioSpec())})
    np.testing.assert_allclose(fit.daily_volatility, np.sqrt(np.mean(moves**2, axis=0)), rtol=1e-9)
    plain = calibrate_covariance(frame, names, NOW, estimator="equal")
    assert abs(plain.correlation[1, 3]) > 0.3 and abs(fit.correlation[1, 3]) < 0.15  # the level's own term structure would count twice
    assert surface_factors(frame, ("A", "B"), ("level", "skew", "slope"), NOW)[0] == names[2:]
    assert [w[:10] for w in surface_factors(frame, ("B",), ("level", "slope"), NOW)[1]] == ["UPM-CA-167"]


def test_level_slope_by_hand() -> None:
    """(30/90)^0.13 - (30/7)^0.30 over ln(90/7)."""
    assert level_slope(ScenarioSpec()) == pytest.approx(((1.0 / 3.0) ** 0.13 - (30.0 / 7.0) ** 0.30) / np.log(90.0 / 7.0))


def test_half_life_of_an_autoregression() -> None:
    """phi = 0.9 a day: 6.58 days; 20,000 closes leave an error of some 3 %."""
    noise, x = np.random.default_rng(2).normal(size=20_000), [0.0]
    for e in noise:
        x.append(0.9 * x[-1] + e)
    assert half_life(Series(np.arange(20_001.0), np.array(x))) == pytest.approx(6.58, rel=0.1)
    assert half_life(Series(np.arange(50.0), np.cumsum(np.ones(50)))) > 20.0
    assert half_life(Series(np.arange(5.0), np.ones(5))) == np.inf
    spec = ScenarioSpec(skew_half_life=5.0)
    assert half_lives(NAMES, ScenarioSpec()) is None
    np.testing.assert_array_equal(half_lives(NAMES, spec), [0.0, 0.0, 5.0, 0.0])


@pytest.mark.parametrize(("names", "dynamics", "code"), [
    (NAMES, Dynamics(additive=True), "UPM-PR-090"),
    (NAMES, Dynamics(sticky_moneyness=False, project=True), "UPM-PR-090"),
    (("log_level[U]", "volatility_shift[U,2026]"), Dynamics(project=True), "UPM-PR-090"),
    (("log_level[U]",), Dynamics(sticky_delta=True), "UPM-PR-090"),
])
def test_what_cannot_move_so_is_refused(names: tuple[str, ...], dynamics: Dynamics, code: str) -> None:
    with pytest.raises(InputError, match=code):
        surface_operations(names, {"U": made_surface("U")}, dynamics)


def test_too_many_expiries_are_refused_and_a_bad_slice_is_named() -> None:
    slices = tuple(replace(flat(float(d), 0.5), a=0.3) for d in range(1, 67))
    with pytest.raises(InputError, match="UPM-PR-091"):
        surface_operations(NAMES, {"U": Surface("U", NOW, slices, ())}, Dynamics())
    good = made_surface("U")
    steep = replace(good.slices[-1], b=3.0, a=0.2)
    _, warnings = surface_operations(NAMES, {"U": replace(good, slices=(*good.slices[:-1], steep))}, Dynamics(project=True))
    assert len(warnings) == 1 and warnings[0].startswith("UPM-PR-092 surface U,2026")


def test_a_level_alone_needs_no_operation() -> None:
    assert surface_operations(NAMES[:2], {"U": made_surface("U")}, Dynamics()) == ([], ())
