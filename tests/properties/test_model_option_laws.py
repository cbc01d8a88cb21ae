"""Laws of European options under Merton, Heston and Bates, held by the engine: parity, order and curvature in the strike, limits, the equation of each model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from upm_gpu.backend import cpu

LAWS = settings(max_examples=60, deadline=None, derandomize=True)
YEARS = st.floats(1.0 / 365.0, 30.0)
VARIANCE = st.floats(0.003, 1.0)
REVERSION = st.floats(0.05, 8.0)
VOL_OF_VOL = st.floats(0.02, 2.0)
CORRELATION = st.floats(-0.98, 0.98)
INTENSITY = st.floats(0.01, 8.0)
MEAN = st.floats(-0.25, 0.2)
DEVIATION = st.floats(0.02, 0.3)
RATE = st.floats(-0.03, 0.1)
WIDTHS = st.floats(-3.0, 3.0)
ON = st.sampled_from(["spot", "forward"])
INVERSE = st.sampled_from([0.0, 1.0])
LEVEL = 50.0
GREEKS = ("price", "delta", "gamma", "vega", "theta", "rho")

pytestmark = pytest.mark.skipif(not cpu.available()[0], reason=cpu.available()[2])


def value(operation: str, **columns: Any) -> dict[str, Any]:
    """Outputs of the cases; the status is asked to be 0."""
    cases = np.broadcast_arrays(*map(np.atleast_1d, columns.values()))
    found = cpu.values(operation, {name: np.asarray(column, float) for name, column in zip(columns, cases, strict=True)}, 1)
    assert not found["status"].any(), columns
    return found


def variance(v0: float, kappa: float, theta: float, xi: float, rho: float) -> dict[str, float]:
    return {"initial_variance": v0, "mean_reversion": kappa, "long_run_variance": theta, "vol_of_vol": xi, "correlation": rho}


def jumps(intensity: float, mean: float, deviation: float) -> dict[str, float]:
    return {"jump_intensity": intensity, "jump_mean": mean, "jump_volatility": deviation}


def near(got: dict[str, Any], other: dict[str, Any], keys: tuple[str, ...] = GREEKS, scale: float = 1e-11) -> None:
    for key in keys:
        np.testing.assert_allclose(got[key], other[key], rtol=scale, atol=scale * LEVEL, err_msg=key)


@LAWS
@given(YEARS, VARIANCE, REVERSION, VARIANCE, VOL_OF_VOL, CORRELATION, RATE, RATE, ON, INVERSE, st.booleans())
def test_strikes(years, v0, kappa, theta, xi, rho, rate, dividend_yield, on, inverse, with_jumps):
    """Parity; calls fall and are convex in the strike, between their bounds, and each Black volatility gives its price back."""
    model = variance(v0, kappa, theta, xi, rho) | (jumps(0.7, -0.1, 0.15) if with_jumps else {})
    market = {on: LEVEL, "time_to_expiry": years, "rate": rate, "dividend_yield": dividend_yield, "inverse": inverse}
    carry = rate - dividend_yield if on == "spot" else 0.0
    forward, discount = LEVEL * np.exp(carry * years), np.exp(-(carry if inverse else rate) * years)
    strike = forward * np.exp(np.linspace(-3.0, 3.0, 9) * np.sqrt(max(v0, theta) * years))
    call, put = (value("heston_price", **market, **model, strike=strike, sign=sign) for sign in (1.0, -1.0))
    unit = 1e-12 * np.maximum(discount * np.maximum(forward, strike), LEVEL)
    assert (np.abs(call["price"] - put["price"] - discount * (forward - strike)) <= unit).all()
    assert (np.abs(call["delta"] - put["delta"] - discount * forward / LEVEL) <= unit / LEVEL).all()
    slope = np.diff(call["price"]) / np.diff(strike)
    assert (slope <= 1e-11).all() and (slope >= -discount - 1e-11).all() and (np.diff(slope) >= -1e-10).all()
    assert (call["price"] >= discount * np.maximum(forward - strike, 0.0) - unit).all() and (call["price"] <= discount * forward + unit).all()
    quoted = np.isfinite(call["implied_volatility"])
    black = value("european", **market, strike=strike[quoted], sign=1.0, volatility=call["implied_volatility"][quoted])
    assert (np.abs(black["price"] - call["price"][quoted]) <= unit[quoted]).all()


@LAWS
@given(YEARS, VARIANCE, REVERSION, VARIANCE, WIDTHS, RATE, RATE, ON, INVERSE, CORRELATION)
def test_without_vol_of_vol(years, v0, kappa, theta, widths, rate, dividend_yield, on, inverse, rho):
    """Black's formula at the average variance, and close to it for a vol of vol near 0."""
    average = theta + (v0 - theta) * -np.expm1(-kappa * years) / (kappa * years)
    strike = LEVEL * np.exp(widths * np.sqrt(average * years))
    market = {on: LEVEL, "time_to_expiry": years, "rate": rate, "dividend_yield": dividend_yield, "inverse": inverse, "sign": 1.0, "strike": strike}
    black = value("european", **market, volatility=np.sqrt(average))
    near(value("heston_price", **market, **variance(v0, kappa, theta, 0.0, rho)), black, ("price", "delta", "gamma", "rho"), 1e-12)
    near(value("heston_price", **market, **variance(v0, kappa, theta, 1e-9, rho)), black, ("price", "delta"), 1e-7)


@LAWS
@given(YEARS, VARIANCE, WIDTHS, INTENSITY, MEAN, DEVIATION, RATE, RATE, ON, INVERSE)
def test_merton_is_bates_with_a_still_variance(years, v0, widths, intensity, mean, deviation, rate, dividend_yield, on, inverse):
    """The series and the contour: two methods, one law, prices and Greeks."""
    strike = LEVEL * np.exp(widths * np.sqrt((v0 + intensity * (mean**2 + deviation**2)) * years))
    market = {on: LEVEL, "time_to_expiry": years, "rate": rate, "dividend_yield": dividend_yield, "inverse": inverse, "sign": -1.0, "strike": strike}
    bates = value("heston_price", **market, **variance(v0, 0.0, 0.0, 0.0, 0.0), **jumps(intensity, mean, deviation))
    merton = value("merton_price", **market, volatility=np.sqrt(v0), **jumps(intensity, mean, deviation))
    near(merton, bates, ("price", "delta", "gamma", "theta", "rho"), 1e-10)
    np.testing.assert_allclose(merton["vega"], bates["vega"], rtol=1e-10, atol=1e-9 * LEVEL)


@LAWS
@given(YEARS, VARIANCE, WIDTHS, RATE, ON, INVERSE, st.sampled_from([(0.0, -0.1, 0.2), (3.0, 0.0, 0.0)]))
def test_merton_without_jumps(years, v0, widths, rate, on, inverse, jump):
    """No jumps, or jumps of no size: Black's formula with all its Greeks."""
    market = {on: LEVEL, "time_to_expiry": years, "rate": rate, "inverse": inverse, "sign": 1.0, "strike": LEVEL * np.exp(widths * np.sqrt(v0 * years))}
    black = value("european", **market, volatility=np.sqrt(v0))
    near(value("merton_price", **market, volatility=np.sqrt(v0), **jumps(*jump)), black, scale=1e-12)


@LAWS
@given(YEARS, VARIANCE, REVERSION, VARIANCE, VOL_OF_VOL, CORRELATION, WIDTHS)
def test_bates_without_jumps(years, v0, kappa, theta, xi, rho, widths):
    """Heston's figures to the bit for an intensity of 0; to rounding for jumps of no size."""
    market = {"spot": LEVEL, "time_to_expiry": years, "rate": 0.02, "sign": 1.0, "strike": LEVEL * np.exp(widths * np.sqrt(max(v0, theta) * years))}
    model = variance(v0, kappa, theta, xi, rho)
    heston = value("heston_price", **market, **model)
    none, still = value("heston_price", **market, **model, **jumps(0.0, 0.1, 0.2)), value("heston_price", **market, **model, **jumps(4.0, 0.0, 0.0))
    for key in GREEKS:
        np.testing.assert_array_equal(none[key], heston[key])
    near(still, heston, scale=1e-11)


@LAWS
@given(st.floats(0.02, 10.0), VARIANCE, st.floats(0.5, 4.0), VARIANCE, st.floats(0.05, 0.6), CORRELATION, st.floats(-1.5, 1.5), ON, INVERSE, st.booleans())
def test_greeks_are_derivatives(years, v0, kappa, theta, xi, rho, widths, on, inverse, with_jumps):
    """Central differences of the price, of fourth order, in level, initial volatility, time, rate and yield."""
    strike = LEVEL * np.exp(widths * np.sqrt(max(v0, theta) * years))
    base = {on: LEVEL, "time_to_expiry": years, "rate": 0.03, "dividend_yield": 0.01, "inverse": inverse, "sign": -1.0, "strike": strike,
            **variance(v0, kappa, theta, xi, rho), **(jumps(0.7, -0.1, 0.15) if with_jumps else {})}
    exact = value("heston_price", **base)
    sides = np.array([-2.0, -1.0, 1.0, 2.0])
    share = np.array([1.0, -8.0, 8.0, -1.0]) / 12.0
    scale = min(1e-3, 4e-3 * float(np.sqrt(min(v0, theta) * years)))

    def slope(key: str, name: str, step: float, change: Any = None) -> float:
        moved = base[name] + step * sides if change is None else change(step * sides)
        return float(share @ value("heston_price", **(base | {name: moved}))[key]) / step

    root = float(np.sqrt(v0))
    assert exact["delta"][0] == pytest.approx(slope("price", on, scale * LEVEL), abs=1e-7)
    assert exact["gamma"][0] == pytest.approx(slope("delta", on, scale * LEVEL), abs=1e-6, rel=1e-6)
    assert exact["vega"][0] == pytest.approx(slope("price", "initial_variance", 0.01 * root, lambda d: (root + d) ** 2), abs=1e-6 * LEVEL)
    assert exact["theta"][0] == pytest.approx(-slope("price", "time_to_expiry", 0.003 * years), abs=1e-6 * LEVEL, rel=1e-6)
    assert exact["rho"][0] == pytest.approx(slope("price", "rate", scale / years), abs=1e-6 * LEVEL, rel=1e-6)
    if on == "spot":
        assert exact["dividend_rho"][0] == pytest.approx(slope("price", "dividend_yield", scale / years), abs=1e-6 * LEVEL, rel=1e-6)


def test_at_expiry_and_without_variance():
    """The payoff, its slope, and half of it at the money."""
    for operation, model in (("heston_price", variance(0.04, 1.0, 0.04, 0.5, -0.7)), ("merton_price", {"volatility": 0.2, **jumps(1.0, -0.1, 0.1)})):
        now = value(operation, spot=LEVEL, strike=[40.0, LEVEL, 60.0], time_to_expiry=0.0, sign=1.0, **model)
        np.testing.assert_array_equal(now["price"], [10.0, 0.0, 0.0])
        np.testing.assert_array_equal(now["delta"], [1.0, 0.5, 0.0])
    still = value("heston_price", forward=LEVEL, strike=[40.0, 60.0], time_to_expiry=2.0, sign=-1.0, **variance(0.0, 1.0, 0.0, 0.5, -0.7))
    np.testing.assert_array_equal(still["price"], [0.0, 10.0])


def test_far_wings_keep_their_relative_accuracy():
    """A price of 1e-60 from the contour is that of Black's formula to ten digits."""
    market = {"forward": 1.0, "strike": [0.2, 0.5, 2.0, 5.0], "time_to_expiry": 0.25, "sign": [-1.0, -1.0, 1.0, 1.0]}
    black = value("european", **market, volatility=0.2)
    near_black = value("heston_price", **market, **variance(0.04, 1.0, 0.04, 0.0, 0.0))
    assert black["price"].min() < 1e-50
    np.testing.assert_allclose(near_black["price"], black["price"], rtol=1e-10)
    np.testing.assert_allclose(near_black["implied_volatility"], 0.2, rtol=1e-12)
