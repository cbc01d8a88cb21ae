"""Shapes of prices under drawn parameters: monotone, convex, homogeneous, between their bounds, for the products whose laws of their own are in test_exotic_laws.py."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from upm_gpu.backend import cpu

FEW = settings(max_examples=40, deadline=None)
VOLATILITY, YEARS, RATE = some.floats(0.08, 0.9), some.floats(0.02, 2.0), some.floats(-0.02, 0.1)
SIGN, CORRELATION = some.sampled_from((1.0, -1.0)), some.floats(-0.9, 0.9)
KINDS = {"spread": 0.0, "maximum": 1.0, "minimum": 2.0}
SLACK = 1e-9


def price(operation, **columns):
    width = max(np.size(v) for v in columns.values())
    found = cpu.values(operation, {k: np.ascontiguousarray(np.broadcast_to(np.asarray(v, float), (width,))) for k, v in columns.items()})
    assert not found["status"].any()
    return found["price"]


def assert_convex(x, y, slack=SLACK):
    slope = np.diff(y) / np.diff(x)
    assert np.all(np.diff(slope) >= -slack), slope


@pytest.mark.parametrize("kind", sorted(KINDS))
@FEW
@given(sign=SIGN, v=VOLATILITY, v2=VOLATILITY, rho=CORRELATION, years=YEARS, rate=RATE, level=some.floats(0.5, 2.0))
def test_two_assets_by_strike(kind, sign, v, v2, rho, years, rate, level):
    """A call falls and a put rises with the strike, no faster than its discounted amount, and both are convex; calls less puts are a forward."""
    strike = np.linspace(-0.5, 0.6, 12) if kind == "spread" else np.linspace(0.4, 2.0, 12)
    given_ = {"spot": 1.0, "volatility": v, "spot_2": level, "volatility_2": v2, "correlation": rho, "time_to_expiry": years, "rate": rate, "strike": strike, "kind": KINDS[kind]}
    y = price("two_asset", sign=sign, **given_)
    step = -sign * np.diff(y) / np.diff(strike)
    assert np.all(step >= -SLACK) and np.all(step <= np.exp(-rate * years) + SLACK)
    assert_convex(strike, y, 1e-7)
    assert np.ptp((price("two_asset", sign=1.0, **given_) - price("two_asset", sign=-1.0, **given_)) + np.exp(-rate * years) * strike) < 1e-9


@pytest.mark.parametrize("kind", sorted(KINDS))
@FEW
@given(sign=SIGN, v=VOLATILITY, v2=VOLATILITY, rho=CORRELATION, years=YEARS, factor=some.floats(0.01, 100.0), level=some.floats(0.5, 2.0))
def test_two_assets_are_homogeneous(kind, sign, v, v2, rho, years, factor, level):
    given_ = {"volatility": v, "volatility_2": v2, "correlation": rho, "time_to_expiry": years, "rate": 0.03, "kind": KINDS[kind], "sign": sign}
    size = np.array([1.0, factor])
    one, many = price("two_asset", spot=size, spot_2=level * size, strike=(0.1 if kind == "spread" else 0.9) * size, **given_)
    assert many == pytest.approx(factor * one, rel=1e-9, abs=1e-12 * factor)


@FEW
@given(sign=SIGN, v=VOLATILITY, v2=VOLATILITY, years=YEARS, level=some.floats(0.5, 2.0))
def test_correlation_takes_from_a_spread_and_parts_the_better_from_the_worse(sign, v, v2, years, level):
    rho = np.linspace(-0.95, 0.95, 9)
    given_ = {"spot": 1.0, "volatility": v, "spot_2": level, "volatility_2": v2, "correlation": rho, "time_to_expiry": years, "sign": sign}
    assert np.all(np.diff(price("two_asset", kind=0.0, strike=0.1, **given_)) <= SLACK)
    better, worse = (np.diff(price("two_asset", kind=k, strike=1.0, **given_)) * sign for k in (1.0, 2.0))
    assert np.all(better <= SLACK) and np.all(worse >= -SLACK)


@FEW
@given(sign=SIGN, v=VOLATILITY, years=YEARS, rate=RATE, part=some.floats(0.0, 0.95))
def test_forward_starts_by_moneyness_and_volatility(sign, v, years, rate, part):
    given_ = {"spot": 1.0, "time_to_expiry": years, "rate": rate, "start_time": part * years, "sign": sign}
    moneyness = np.linspace(0.5, 1.6, 12)
    y = price("forward_start", moneyness=moneyness, volatility=v, **given_)
    assert np.all(-sign * np.diff(y) >= -SLACK)
    assert_convex(moneyness, y, 1e-7)
    assert np.all(np.diff(price("forward_start", moneyness=1.05, volatility=np.linspace(0.05, 1.0, 9), **given_)) >= -SLACK)
    assert np.ptp(price("forward_start", spot=np.array([1.0, 250.0]), moneyness=1.1, volatility=v, **{k: w for k, w in given_.items() if k != "spot"}) / np.array([1.0, 250.0])) < 1e-12


@FEW
@given(sign=SIGN, v=VOLATILITY, years=YEARS, rate=RATE, count=some.integers(1, 12))
def test_averages_by_strike_level_and_volatility(sign, v, years, rate, count):
    times = np.linspace(years / count, years, count)
    strike = np.linspace(0.5, 1.6, 8)

    def average(**columns):
        width = max(np.size(w) for w in columns.values())
        return price_of_fixings(times, width, sign, years, rate, columns)

    y = average(spot=1.0, strike=strike, volatility=v)
    assert np.all(-sign * np.diff(y) >= -1e-8)
    assert_convex(strike, y, 1e-5)
    assert np.all(sign * np.diff(average(spot=np.linspace(0.6, 1.5, 8), strike=1.0, volatility=v)) >= -1e-8)
    assert np.all(np.diff(average(spot=1.0, strike=1.0, volatility=np.linspace(0.1, 0.8, 6))) >= -1e-8)
    one, many = average(spot=np.array([1.0, 30.0]), strike=np.array([1.1, 33.0]), volatility=v)
    assert many == pytest.approx(30.0 * one, rel=1e-7, abs=1e-10)


def price_of_fixings(times, width, sign, years, rate, columns):
    """Arithmetic averages over `times` of several cases."""
    full = {k: np.ascontiguousarray(np.broadcast_to(np.asarray(w, float), (width,))) for k, w in {**columns, "sign": sign, "time_to_expiry": years, "rate": rate, "past": 0.0, "average_so_far": 1.0}.items()}
    found = cpu.values("arithmetic_asian", {**full, "fixing_time": np.repeat(times[:, None], width, axis=1)})
    assert not found["status"].any()
    return found["price"]


@FEW
@given(sign=SIGN, v=VOLATILITY, years=YEARS, rate=RATE, up=SIGN)
def test_a_farther_barrier_takes_less(sign, v, years, rate, up):
    """A knock-out rises from nothing to the plain option as its barrier goes away, a touch falls from its payment to nothing."""
    barrier = np.exp(up * np.linspace(1e-6, 6.0, 14))
    given_ = {"spot": 1.0, "strike": 1.0, "time_to_expiry": years, "rate": rate, "volatility": v, "barrier": barrier, "up": up, "hit": 0.0, "knock_in": 0.0}
    out = price("single_barrier", region=sign, asset=sign, cash=-sign, **given_)
    plain = price("european", spot=1.0, strike=1.0, time_to_expiry=years, rate=rate, volatility=v, sign=sign)[0]
    assert np.all(np.diff(out) >= -SLACK) and np.all(out >= -SLACK) and np.all(out <= plain + SLACK)
    assert out[0] == pytest.approx(0.0, abs=1e-4)
    touch = price("single_barrier", **{**given_, "region": 0.0, "knock_in": 1.0, "asset": 0.0, "cash": 1.0})
    assert np.all(np.diff(touch) <= SLACK) and np.all(touch <= np.exp(-rate * years) + SLACK)


@FEW
@given(sign=SIGN, v=VOLATILITY, years=YEARS, rate=RATE)
def test_digitals_by_strike(sign, v, years, rate):
    strike = np.linspace(0.4, 2.0, 16)
    y = price("single_barrier", spot=1.0, strike=strike, time_to_expiry=years, rate=rate, volatility=v, region=sign, asset=0.0, cash=1.0)
    assert np.all(-sign * np.diff(y) >= -SLACK) and np.all((y >= -SLACK) & (y <= np.exp(-rate * years) + SLACK))
