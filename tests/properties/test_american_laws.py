"""Laws of American options, held by the kernel; the twin is held to the kernel in tests/known_answers/test_american.py."""

from __future__ import annotations

import numpy as np
import pytest
from formula_harness import Kernels
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from upm_gpu.formula.american import AMERICAN, AMERICAN_OUTPUTS, certain_price
from upm_gpu.formula.black import european_values
from upm_gpu.formula.operation import operation_columns

LAWS = settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
STDEVS = st.floats(-3.0, 3.0)
YEARS = st.floats(0.002, 5.0)
VOLATILITY = st.floats(0.02, 1.2)
RATE = st.floats(0.0, 0.15)
SIGN = st.sampled_from([-1.0, 1.0])
ERROR = 1e-6
"""of the strike: the bound stated for the price"""


@pytest.fixture
def values(kernels: Kernels):
    """columns -> dictionary of arrays, prices only unless asked otherwise."""
    return lambda columns: dict(zip(AMERICAN_OUTPUTS, kernels.american(operation_columns(AMERICAN, {"price_only": 1.0} | columns)), strict=True))


@LAWS
@given(STDEVS, YEARS, VOLATILITY, RATE, RATE, SIGN)
def test_bounds(values, stdevs, years, volatility, rate, dividend_yield, sign):
    """At least the European price, the payoff to the bit and the price of the best fixed date; at most the spot (call) or the strike (put)."""
    spot = 100.0 * np.exp(stdevs * volatility * np.sqrt(years))
    terms = {"spot": spot, "strike": 100.0, "time_to_expiry": years, "rate": rate, "dividend_yield": dividend_yield, "volatility": volatility, "sign": sign}
    got = values(terms)
    assert got["status"][0] == 0.0
    price = got["price"][0]
    fixed = certain_price(*(np.array([v]) for v in (spot, 100.0, years, rate, dividend_yield, sign)))[0]
    assert price >= european_values(terms)["price"][0] - 1e-12 * 100.0
    assert price >= max(sign * (spot - 100.0), 0.0) and price >= fixed - 100.0 * ERROR
    assert price <= (spot if sign > 0.0 else 100.0)
    edge = got["exercise_boundary"][0]
    assert (price == sign * (spot - 100.0)) == (sign * spot >= sign * edge) or abs(spot / edge - 1.0) < 1e-3


@LAWS
@given(STDEVS, YEARS, VOLATILITY, RATE, RATE, SIGN, st.sampled_from(["time_to_expiry", "volatility"]))
def test_price_rises_with_time_and_volatility(values, stdevs, years, volatility, rate, dividend_yield, sign, name):
    spot = 100.0 * np.exp(stdevs * volatility * np.sqrt(years))
    terms = {"spot": spot, "strike": 100.0, "time_to_expiry": years, "rate": rate, "dividend_yield": dividend_yield, "volatility": volatility, "sign": sign}
    price = values(terms | {name: terms[name] * np.linspace(0.5, 1.5, 9)})["price"]
    assert np.all(np.diff(price) >= -100.0 * ERROR)


@LAWS
@given(YEARS, VOLATILITY, RATE, RATE, SIGN)
def test_price_is_convex_and_no_steeper_than_the_payoff(values, years, volatility, rate, dividend_yield, sign):
    spot = 100.0 * np.exp(np.linspace(-3.0, 3.0, 31) * volatility * np.sqrt(years))
    got = values({"spot": spot, "strike": 100.0, "time_to_expiry": years, "rate": rate, "dividend_yield": dividend_yield, "volatility": volatility, "sign": sign})
    slope = np.diff(got["price"]) / np.diff(spot)
    assert np.all(slope * sign >= -1e-9) and np.all(slope * sign <= 1.0 + 2e-6)
    assert np.all(np.diff(slope) >= -2.0 * 100.0 * ERROR / np.diff(spot)[1:])
    assert np.all(got["delta"] * sign >= -1e-9) and np.all(got["delta"] * sign <= 1.0 + 1e-6)


@LAWS
@given(STDEVS, YEARS, VOLATILITY, RATE, RATE, SIGN, st.floats(1e-3, 1e3))
def test_scale_and_exchange(values, stdevs, years, volatility, rate, dividend_yield, sign, scale):
    """Homogeneous of degree one in spot and strike; a call on S is a put with spot and strike, rate and yield exchanged."""
    spot = 100.0 * np.exp(stdevs * volatility * np.sqrt(years))
    terms = {"time_to_expiry": years, "volatility": volatility}
    a = values(terms | {"spot": spot, "strike": 100.0, "rate": rate, "dividend_yield": dividend_yield, "sign": sign})["price"][0]
    b = values(terms | {"spot": spot * scale, "strike": 100.0 * scale, "rate": rate, "dividend_yield": dividend_yield, "sign": sign})["price"][0]
    c = values(terms | {"spot": 100.0, "strike": spot, "rate": dividend_yield, "dividend_yield": rate, "sign": -sign})["price"][0]
    assert b == pytest.approx(scale * a, rel=1e-9, abs=1e-10 * scale * max(spot, 100.0))
    assert c == pytest.approx(a, rel=1e-9, abs=1e-10 * max(spot, 100.0))


@LAWS
@given(STDEVS, st.floats(0.01, 3.0), st.floats(0.05, 1.0), RATE, RATE, SIGN)
def test_greeks_of_scaled_time(values, stdevs, years, volatility, rate, dividend_yield, sign):
    """Only rate T, yield T and volatility sqrt(T) matter: -T theta = r rho + q dividend_rho + volatility vega / 2, of which theta is from the
    differential equation and the others are differences."""
    spot = 100.0 * np.exp(stdevs * volatility * np.sqrt(years))
    got = values({"spot": spot, "strike": 100.0, "time_to_expiry": years, "rate": rate, "dividend_yield": dividend_yield, "volatility": volatility, "sign": sign,
                  "price_only": 0.0})
    greek = {name: float(got[name][0]) for name in ("theta", "rho", "dividend_rho", "vega")}
    right = rate * greek["rho"] + dividend_yield * greek["dividend_rho"] + 0.5 * volatility * greek["vega"]
    scale = max(spot, 100.0) * max(volatility * np.sqrt(years), rate * years, dividend_yield * years)
    assert -years * greek["theta"] == pytest.approx(right, abs=3e-4 * scale)
