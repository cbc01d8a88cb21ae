"""Laws of European options: parity, bounds, monotonicity, homogeneity, Greeks as derivatives, implied volatility as an inverse.

Each law is held by the NumPy twin and by the kernel, on the same examples.
"""

from __future__ import annotations

import numpy as np
import pytest
from formula_harness import Kernels
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from upm_gpu.formula.black import EUROPEAN_OUTPUTS, european_columns, european_values

LAWS = settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
LEVEL = st.floats(1e-3, 1e6)
MONEYNESS = st.floats(-2.0, 2.0)
YEARS = st.floats(1e-4, 10.0)
VOLATILITY = st.floats(0.02, 3.0)
RATE = st.floats(-0.1, 0.2)
SIGN = st.sampled_from([-1.0, 1.0])
INVERSE = st.sampled_from([0.0, 1.0])
GIVEN = st.sampled_from(["spot", "forward"])


@pytest.fixture(params=["twin", "kernel"])
def values(request: pytest.FixtureRequest, kernels: Kernels):
    """columns -> dictionary of arrays."""
    if request.param == "twin":
        return european_values
    return lambda columns: dict(zip(EUROPEAN_OUTPUTS, kernels.european(european_columns(columns)), strict=True))


@LAWS
@given(LEVEL, MONEYNESS, YEARS, VOLATILITY, RATE, RATE, INVERSE, GIVEN)
def test_put_call_parity(values, level, moneyness, years, volatility, rate, dividend_yield, inverse, given_):
    """call - put = the forward contract, also for delta; gamma and vega are equal."""
    strike = level * np.exp(moneyness)
    v = values({given_: level, "strike": strike, "time_to_expiry": years, "volatility": volatility, "rate": rate,
                "dividend_yield": dividend_yield, "inverse": inverse, "sign": np.array([1.0, -1.0])})
    carry = 0.0 if given_ == "forward" else rate - dividend_yield
    discount = np.exp(-(carry if inverse else rate) * years)
    growth = np.exp(carry * years) * discount
    scale = level * growth + strike * discount
    assert abs(v["price"][0] - v["price"][1] - (level * growth - strike * discount)) <= 4e-15 * scale
    assert v["delta"][0] - v["delta"][1] == pytest.approx(growth, rel=1e-14)
    assert v["gamma"][0] == v["gamma"][1] and v["vega"][0] == v["vega"][1]


@LAWS
@given(LEVEL, MONEYNESS, YEARS, SIGN, st.lists(st.floats(0.0, 5.0), min_size=2, max_size=8, unique=True))
def test_price_rises_with_volatility_within_its_bounds(values, level, moneyness, years, sign, volatilities):
    strike = level * np.exp(moneyness)
    price = values({"forward": level, "strike": strike, "time_to_expiry": years, "volatility": np.sort(volatilities), "sign": sign})["price"]
    scale = max(level, strike)
    payoff = max(sign * (level - strike), 0.0)
    assert np.all(np.diff(price) >= -1e-15 * scale)
    assert np.all(price >= payoff) and np.all(price <= (level if sign > 0 else strike) * (1 + 4e-16))


@LAWS
@given(LEVEL, YEARS, VOLATILITY, SIGN, st.lists(st.floats(-2.0, 2.0), min_size=3, max_size=8, unique=True))
def test_price_is_monotone_and_convex_in_strike(values, level, years, volatility, sign, moneyness):
    strike = level * np.exp(np.sort(moneyness))
    assume(np.min(np.diff(strike)) > 1e-6 * level)
    price = values({"forward": level, "strike": strike, "time_to_expiry": years, "volatility": volatility, "sign": sign})["price"]
    slope = np.diff(price) / np.diff(strike)
    noise = 1e-14 * np.max(strike) / np.min(np.diff(strike))
    assert np.all(-sign * slope >= -noise) and np.all(np.abs(slope) <= 1 + noise)
    assert np.all(np.diff(slope) >= -2 * noise)


@LAWS
@given(LEVEL, MONEYNESS, YEARS, VOLATILITY, RATE, SIGN, st.integers(-20, 20))
def test_doubling_the_unit_of_money_doubles_the_price(values, level, moneyness, years, volatility, rate, sign, power):
    """Homogeneous of degree one, to the bit for powers of two."""
    strike = level * np.exp(moneyness)
    scale = np.array([1.0, 2.0**power])
    v = values({"spot": level * scale, "strike": strike * scale, "time_to_expiry": years, "volatility": volatility, "rate": rate, "sign": sign})
    assert v["price"][1] == v["price"][0] * scale[1] and v["delta"][1] == v["delta"][0]


STEPS = {"delta": ("level", 1), "vega": ("volatility", 1), "rho": ("rate", 1), "dividend_rho": ("dividend_yield", 1), "theta": ("time_to_expiry", -1)}


@LAWS
@given(st.floats(20.0, 200.0), st.floats(-0.5, 0.5), st.floats(0.5, 3.0), st.floats(0.2, 1.0), RATE, RATE, SIGN, INVERSE, GIVEN)
def test_greeks_are_the_derivatives_of_the_price(values, level, moneyness, years, volatility, rate, dividend_yield, sign, inverse, given_):
    """Central differences; h = 1e-4 of the argument's scale and a total deviation of at least 0.14 leave an error below (h / 0.14)^2."""
    base = {given_: level, "strike": level * np.exp(moneyness), "time_to_expiry": years, "volatility": volatility, "rate": rate,
            "dividend_yield": dividend_yield, "sign": sign, "inverse": inverse}
    v = values(base)
    for greek, (name, direction) in STEPS.items():
        if greek == "dividend_rho" and given_ == "forward":
            assert np.isnan(v[greek][0])
            continue
        key = given_ if name == "level" else name
        h = 1e-4 * (level if name == "level" else 1.0)
        moved = {g: values(base | {key: np.array([base[key] + h, base[key] - h])})[g] for g in ("price", "delta", "vega")}
        difference = {g: direction * (m[0] - m[1]) / (2 * h) for g, m in moved.items()}
        scale = max(level, base["strike"]) * max(1.0, abs(v[greek][0]) / level) / (level if name == "level" else 1.0)
        assert abs(v[greek][0] - difference["price"]) <= 2e-6 * scale, greek
        if name == "level":
            assert abs(v["gamma"][0] - difference["delta"]) <= 2e-6 * max(1.0, v["gamma"][0] * level) / level
        if name == "volatility":
            assert abs(v["vanna"][0] - difference["delta"]) <= 2e-5 * max(1.0, abs(v["vanna"][0]))
            assert abs(v["volga"][0] - difference["vega"]) <= 2e-5 * max(level, abs(v["volga"][0]))


@LAWS
@given(LEVEL, MONEYNESS, YEARS, VOLATILITY, RATE, SIGN, INVERSE, GIVEN)
def test_implied_volatility_inverts_the_price(values, level, moneyness, years, volatility, rate, sign, inverse, given_):
    """Back to the volatility within what the rounding of the price leaves: 1e-15 of price and payoff over vega."""
    base = {given_: level, "strike": level * np.exp(moneyness), "time_to_expiry": years, "rate": rate, "sign": sign, "inverse": inverse}
    v = values(base | {"volatility": volatility})
    lost = 3e-15 * (v["price"][0] + max(level, base["strike"]) * np.exp(0.3 * years)) / max(v["vega"][0], 1e-300)
    assume(lost < 1e-6 * volatility)
    back = values(base | {"market_price": v["price"]})
    assert back["status"][0] == 0
    assert abs(back["implied_volatility"][0] - volatility) <= lost + 1e-13 * volatility
    assert back["price"][0] == pytest.approx(v["price"][0], rel=1e-12, abs=1e-14 * level)


@LAWS
@given(LEVEL, MONEYNESS, YEARS, SIGN, st.floats(1e-6, 0.5))
def test_an_arbitrage_has_no_implied_volatility(values, level, moneyness, years, sign, excess):
    strike = level * np.exp(moneyness)
    payoff, bound = max(sign * (level - strike), 0.0), level if sign > 0 else strike
    prices = np.array([bound * (1 + excess), payoff - excess * bound, payoff])
    v = values({"forward": level, "strike": strike, "time_to_expiry": years, "sign": sign, "market_price": prices, "volatility": np.nan})
    assert v["status"].tolist() == [2, 1, 3]
    assert np.all(np.isnan(v["implied_volatility"])) and np.all(np.isnan(v["price"]))


@pytest.mark.parametrize(("level", "sign", "price", "delta"), [(1.2, 1.0, 0.2, 1.0), (1.2, -1.0, 0.0, 0.0), (1.0, 1.0, 0.0, 0.5), (0.8, -1.0, 0.2, -1.0)])
@pytest.mark.parametrize("dead", [{"volatility": 0.0, "time_to_expiry": 2.0}, {"volatility": 0.3, "time_to_expiry": 0.0}])
def test_no_deviation_left(values, level, sign, price, delta, dead):
    """Zero time or zero volatility: the payoff at the forward, and the limits of the Greeks from above."""
    v = values({"forward": level, "strike": 1.0, "sign": sign, **dead})
    assert v["price"][0] == pytest.approx(price, abs=2e-16) and v["delta"][0] == delta
    if level != 1.0:
        assert v["gamma"][0] == v["vega"][0] == v["theta"][0] == 0.0


@pytest.mark.parametrize("broken", [{"forward": np.nan}, {"forward": 0.0}, {"strike": -1.0}, {"time_to_expiry": -1.0}, {"volatility": -0.1}, {"strike": np.nan},
                                    {"time_to_expiry": np.nan}, {"volatility": np.nan}])
def test_an_undefined_argument_gives_no_number(values, broken):
    v = values({"forward": 1.0, "strike": 1.0, "time_to_expiry": 1.0, "volatility": 0.2, "sign": 1.0} | broken)
    assert v["status"][0] == 4
    assert all(np.isnan(v[name][0]) for name in EUROPEAN_OUTPUTS if name != "status")


def test_twin_and_kernel_agree(kernels: Kernels):
    """Prices to 1e-14 of the level or 1e-12 relative, Greeks to 1e-11, over a grid with wings; the same cells are NaN."""
    moneyness, years, volatility, sign, inverse, on_forward = (g.ravel() for g in np.meshgrid(
        np.linspace(-3, 3, 13), [0.0, 1e-4, 0.1, 1.0, 30.0], [0.0, 1e-3, 0.2, 1.0, 4.0], [-1.0, 1.0], [0.0, 1.0], [0.0, 1.0]))
    level = 50_000.0
    columns = {"spot": np.where(on_forward == 1, np.nan, level), "forward": np.where(on_forward == 1, level, np.nan), "strike": level * np.exp(moneyness),
               "time_to_expiry": years, "volatility": volatility, "sign": sign, "inverse": inverse, "rate": 0.03, "dividend_yield": 0.01}
    twin = european_values(columns)
    kernel = dict(zip(EUROPEAN_OUTPUTS, kernels.european(european_columns(columns)), strict=True))
    for name in EUROPEAN_OUTPUTS:
        scale = level if name not in ("delta", "gamma", "delta_coin", "price_coin", "status") else 1.0
        with np.errstate(invalid="ignore"):
            np.testing.assert_allclose(kernel[name], twin[name], rtol=1e-11, atol=1e-14 * scale, err_msg=name)
