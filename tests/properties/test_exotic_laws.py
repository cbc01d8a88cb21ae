"""Laws of exotics, held by the engine: parities, limits, the equation of Black and Scholes between price and Greeks, other closed forms.

Where a law needs a method of its own (a discrete barrier, the bivariate normal law) it is written here, apart from kernels and twins.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from upm_gpu.backend import cpu
from upm_gpu.formula.geometric_asian import average_times

LAWS = settings(max_examples=50, deadline=None, derandomize=True)
YEARS = st.floats(0.02, 4.0)
VOLATILITY = st.floats(0.08, 0.9)
RATE = st.floats(-0.03, 0.12)
MONEYNESS = st.floats(0.6, 1.6)
DISTANCE = st.floats(0.02, 0.8)
SIGN = st.sampled_from([-1.0, 1.0])
ON = st.sampled_from(["spot", "forward"])
OUTPUTS = ("price", "delta", "gamma", "vega", "theta", "rho")
LEVEL = 50.0

pytestmark = pytest.mark.skipif(not cpu.available()[0], reason=cpu.available()[2])


def value(operation: str, **columns: Any) -> dict[str, Any]:
    """Outputs of one case; the status is asked to be 0."""
    found = cpu.values(operation, {k: np.atleast_1d(np.asarray(v, float)) if np.ndim(v) < 2 else v for k, v in columns.items()}, 1)
    assert not found["status"].any()
    return {k: float(v[0]) if len(v) == 1 else v for k, v in found.items()}


def market(on: str, years: float, volatility: float, rate: float, dividend_yield: float) -> dict[str, float]:
    return {on: LEVEL, "time_to_expiry": years, "volatility": volatility, "rate": rate, "dividend_yield": dividend_yield}


def european(sign: float, strike: float, **given: float) -> dict[str, Any]:
    return value("european", sign=sign, strike=strike, **given)


def vanilla(sign: float, strike: float) -> dict[str, float]:
    """The payoff of an option as columns of the barrier operations."""
    return {"region": sign, "strike": strike, "asset": sign, "cash": -sign * strike}


def near(got: dict[str, Any], *others: dict[str, Any], scale: float = 1e-11, keys: tuple[str, ...] = OUTPUTS) -> None:
    """`got` is the sum of the others, each figure in units of the level."""
    for key in keys:
        assert abs(got[key] - sum(o[key] for o in others)) <= scale * LEVEL * max(1.0, abs(got[key])), key


def residual(v: dict[str, Any], on: str, volatility: float, rate: float, dividend_yield: float) -> float:
    """theta + sigma^2 L^2 gamma / 2 + b L delta - r V: 0 for whatever pays nothing before its expiry."""
    carry = rate - dividend_yield if on == "spot" else 0.0
    terms = (v["theta"], 0.5 * volatility**2 * LEVEL**2 * v["gamma"], carry * LEVEL * v["delta"], -rate * v["price"])
    return sum(terms) / max(1.0, *map(abs, terms))


@LAWS
@given(YEARS, VOLATILITY, RATE, RATE, ON, SIGN, MONEYNESS, SIGN, DISTANCE)
def test_knock_in_and_knock_out_are_the_option(years, volatility, rate, dividend_yield, on, sign, moneyness, up, distance):
    """Prices and Greeks; and each of the two solves the equation of Black and Scholes."""
    given = market(on, years, volatility, rate, dividend_yield)
    barrier = {"barrier": LEVEL * np.exp(up * distance), "up": up, "hit": 0.0}
    parts = [value("single_barrier", knock_in=k, **given, **vanilla(sign, moneyness * LEVEL), **barrier) for k in (0.0, 1.0)]
    whole = european(sign, moneyness * LEVEL, **given)
    near(whole, *parts)
    for part in parts:
        assert -1e-13 * LEVEL <= part["price"] <= whole["price"] * (1.0 + 1e-12) + 1e-13 * LEVEL
        assert abs(residual(part, on, volatility, rate, dividend_yield)) < 1e-9


@LAWS
@given(YEARS, VOLATILITY, RATE, RATE, ON, SIGN, DISTANCE, st.sampled_from([0.0, 1.0]))
def test_one_touch_and_no_touch_are_a_bond_or_the_asset(years, volatility, rate, dividend_yield, on, up, distance, asset):
    given = market(on, years, volatility, rate, dividend_yield)
    barrier = {"barrier": LEVEL * np.exp(up * distance), "up": up, "hit": 0.0, "asset": asset, "cash": 1.0 - asset}
    parts = [value("single_barrier", knock_in=k, **given, **barrier) for k in (0.0, 1.0)]
    carry = rate - dividend_yield if on == "spot" else 0.0
    whole = LEVEL * np.exp((carry - rate) * years) if asset else np.exp(-rate * years)
    assert parts[0]["price"] + parts[1]["price"] == pytest.approx(whole, rel=1e-13)
    for part in parts:
        assert abs(residual(part, on, volatility, rate, dividend_yield)) < 1e-9


@LAWS
@given(YEARS, VOLATILITY, RATE, RATE, ON, SIGN, DISTANCE)
def test_a_payment_at_the_hit(years, volatility, rate, dividend_yield, on, up, distance):
    """It solves the equation too; without a rate it is the payment at expiry; it is worth more, the later it ends."""
    barrier = {"barrier": LEVEL * np.exp(up * distance), "up": up, "hit": 0.0}
    given = market(on, years, volatility, rate, dividend_yield)
    now = value("single_barrier", hit_payment=1.0, **given, **barrier)
    assert abs(residual(now, on, volatility, rate, dividend_yield)) < 1e-8 and -1e-14 <= now["price"] <= np.exp(max(-rate, 0.0) * years) + 1e-12
    assert value("single_barrier", hit_payment=1.0, **given | {"time_to_expiry": 1.1 * years}, **barrier)["price"] >= now["price"] - 1e-12
    free = given | {"rate": 0.0}
    at_expiry = value("single_barrier", cash=1.0, knock_in=1.0, **free, **barrier)
    assert value("single_barrier", hit_payment=1.0, **free, **barrier)["price"] == pytest.approx(at_expiry["price"], rel=1e-10, abs=1e-14)
    # an asset paid at the hit is the barrier's amount of cash
    asset = value("single_barrier", hit_asset=1.0, **given, **barrier)
    assert asset["price"] == pytest.approx(barrier["barrier"] * now["price"], rel=1e-13)


def test_both_ways_to_value_a_payment_at_the_hit_meet() -> None:
    """The closed form holds above a rate, the integral below it: price and Greeks go on without a step there."""
    volatility, dividend_yield = 0.2, 0.01

    def square(rate: float) -> float:
        return (rate - dividend_yield - 0.5 * volatility**2) ** 2 + 2.0 * rate * volatility**2

    edge = max(np.roots([1.0, 2.0 * volatility**2 - 2.0 * (dividend_yield + 0.5 * volatility**2), (dividend_yield + 0.5 * volatility**2) ** 2]).real)
    edge += (1e-8 * volatility**2 - square(edge)) / 0.04
    rates = edge + np.linspace(-1e-6, 1e-6, 9)
    found = cpu.values("single_barrier", {"spot": np.full(9, LEVEL), "time_to_expiry": np.ones(9), "volatility": np.full(9, volatility), "rate": rates,
                                          "dividend_yield": np.full(9, dividend_yield), "barrier": np.full(9, 55.0), "hit": np.zeros(9), "hit_payment": np.ones(9)})
    for key in OUTPUTS:
        bend = np.diff(found[key], 3)
        assert np.abs(bend).max() < 1e-8, key


@LAWS
@given(YEARS, VOLATILITY, st.floats(0.0, 0.12), RATE, ON, SIGN, MONEYNESS, DISTANCE, DISTANCE)
def test_two_barriers(years, volatility, rate, dividend_yield, on, sign, moneyness, below, above):
    """In and out are the option, wider is worth more, each solves the equation, and far away one barrier is left; so with the payment at a hit."""
    given = market(on, years, volatility, rate, dividend_yield)
    payoff = vanilla(sign, moneyness * LEVEL)
    barriers = {"lower_barrier": LEVEL * np.exp(-below), "upper_barrier": LEVEL * np.exp(above), "hit": 0.0}
    parts = [value("double_barrier", knock_in=k, **given, **payoff, **barriers) for k in (0.0, 1.0)]
    near(european(sign, moneyness * LEVEL, **given), *parts)
    paid = value("double_barrier", hit_payment=1.0, **given, **barriers)
    for part in (*parts, paid):
        assert abs(residual(part, on, volatility, rate, dividend_yield)) < 1e-7
    wider = value("double_barrier", knock_in=0.0, **given, **payoff, **barriers | {"upper_barrier": 1.1 * barriers["upper_barrier"]})
    assert wider["price"] >= parts[0]["price"] - 1e-12 * LEVEL
    ones = [value("single_barrier", hit_payment=1.0, hit=0.0, up=up, barrier=b, **given)["price"] for up, b in ((-1.0, barriers["lower_barrier"]), (1.0, barriers["upper_barrier"]))]
    assert max(ones) - 1e-8 <= paid["price"] <= sum(ones) + 1e-8
    far = barriers | {"lower_barrier": LEVEL * np.exp(-30.0 * volatility * np.sqrt(years) - 5.0)}
    one = {"barrier": barriers["upper_barrier"], "up": 1.0, "hit": 0.0}
    near(value("single_barrier", knock_in=0.0, **given, **payoff, **one), value("double_barrier", knock_in=0.0, **given, **payoff, **far), scale=1e-10)
    near(value("single_barrier", hit_payment=1.0, **given, **one), value("double_barrier", hit_payment=1.0, **given, **far), scale=2e-8, keys=("price", "delta"))


@LAWS
@given(YEARS, VOLATILITY, RATE, RATE, ON, SIGN, MONEYNESS)
def test_digitals(years, volatility, rate, dividend_yield, on, sign, moneyness):
    """Asset less strike units of cash are the option; the cash digital is the slope of the call in its strike."""
    given, strike = market(on, years, volatility, rate, dividend_yield), moneyness * LEVEL
    asset = value("single_barrier", region=sign, strike=strike, asset=sign, **given)
    cash = value("single_barrier", region=sign, strike=strike, cash=-sign * strike, **given)
    near(european(sign, strike, **given), asset, cash)
    step = 1e-3 * strike
    prices = [european(1.0, strike + k * step, **given)["price"] for k in (-2, -1, 1, 2)]
    slope = (8.0 * (prices[2] - prices[1]) - prices[3] + prices[0]) / (12.0 * step)
    assert value("single_barrier", region=1.0, strike=strike, cash=1.0, **given)["price"] == pytest.approx(-slope, abs=1e-8)
    assert abs(residual(cash, on, volatility, rate, dividend_yield)) < 1e-9


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_at_expiry_and_where_it_is_hit(sign: float) -> None:
    """No time: the payoff, of a barrier that was not met. Hit: the plain option, or the rebate now."""
    over = {"spot": LEVEL, "time_to_expiry": 0.0, "volatility": 0.3, "rate": 0.05}
    for strike in (40.0, 60.0):
        payoff = max(sign * (LEVEL - strike), 0.0)
        for knock_in in (0.0, 1.0):
            barrier = {"barrier": 55.0, "up": 1.0, "hit": 0.0, "knock_in": knock_in, "hit_payment": 2.0 * (1 - knock_in), "miss_payment": 2.0 * knock_in}
            assert value("single_barrier", **over, **vanilla(sign, strike), **barrier)["price"] == pytest.approx(2.0 if knock_in else payoff, abs=1e-12)
    given = market("spot", 0.7, 0.3, 0.05, 0.01)
    near(european(sign, 45.0, **given), value("single_barrier", knock_in=1.0, hit=1.0, miss_payment=3.0, **given, **vanilla(sign, 45.0)))
    assert value("single_barrier", knock_in=0.0, hit=1.0, hit_payment=3.0, **given, **vanilla(sign, 45.0))["price"] == 3.0


def test_discrete_barrier_against_its_own_lattice() -> None:
    """Broadie, Glasserman and Kou's correction at 50 fixings, beside the exact value: the density is carried from fixing to fixing over the safe side."""
    spot, strike, years, rate, volatility, count = 100.0, 100.0, 0.2, 0.1, 0.3, 50
    node, weight = np.polynomial.legendre.leggauss(300)
    worst = 0.0
    for barrier in (85.0, 89.0, 93.0, 95.0, 97.0):
        low, high = np.log(barrier / spot), 9.0 * volatility * np.sqrt(years)
        x, w = low + 0.5 * (high - low) * (node + 1.0), 0.5 * (high - low) * weight
        dt = years / count
        mean, s = (rate - 0.5 * volatility**2) * dt, volatility * np.sqrt(dt)
        step = np.exp(-0.5 * ((x[:, None] - x[None, :] - mean) / s) ** 2) / (s * np.sqrt(2.0 * np.pi))
        density = np.exp(-0.5 * ((x - mean) / s) ** 2) / (s * np.sqrt(2.0 * np.pi))
        for _ in range(count - 2):
            density = step @ (w * density)
        # the last step by Black's call struck no lower than the barrier
        last = cpu.values("european", {"forward": spot * np.exp(x + rate * dt), "strike": np.full(x.shape, strike), "time_to_expiry": np.full(x.shape, dt),
                                       "volatility": np.full(x.shape, volatility), "sign": np.ones(x.shape)})["price"]
        exact = np.exp(-rate * years) * float(np.sum(w * density * last))
        got = value("single_barrier", spot=spot, time_to_expiry=years, rate=rate, volatility=volatility, barrier=barrier, up=-1.0, hit=0.0, knock_in=0.0,
                    fixings=count, **vanilla(1.0, strike))["price"]
        worst = max(worst, abs(got - exact))
    assert 1e-6 < worst < 1e-4 * spot


@LAWS
@given(YEARS, VOLATILITY, RATE, RATE, ON, SIGN, MONEYNESS, st.floats(0.01, 0.99))
def test_forward_start(years, volatility, rate, dividend_yield, on, sign, moneyness, part):
    given = market(on, years, volatility, rate, dividend_yield)
    later = value("forward_start", sign=sign, moneyness=moneyness, start_time=part * years, **given)
    assert later["gamma"] == 0.0 and later["delta"] == pytest.approx(later["price"] / LEVEL, rel=1e-13)
    assert abs(residual(later, on, volatility, rate, dividend_yield)) < 1e-9
    now = value("forward_start", sign=sign, moneyness=moneyness, start_time=0.0, **given)
    near(european(sign, moneyness * LEVEL, **given), now, keys=("price", "vega", "rho"))


@LAWS
@given(YEARS, VOLATILITY, RATE, RATE, ON, MONEYNESS, st.integers(1, 8), st.integers(0, 3))
def test_averages(years, volatility, rate, dividend_yield, on, moneyness, count, past):
    """One fixing at expiry is the option; parity; the arithmetic average is above the geometric one; both solve the equation."""
    given, strike = market(on, years, volatility, rate, dividend_yield), moneyness * LEVEL
    times = years * np.arange(1, count + 1) / count
    so_far = {"past": float(past), "average_so_far": 0.9 * LEVEL, "fixing_time": times[:, None]}
    geometric = average_times(times, past) | {"log_past": past / (past + count) * np.log(0.9 * LEVEL)}
    arithmetic = {sign: value("arithmetic_asian", sign=sign, strike=strike, **given, **so_far) for sign in (-1.0, 1.0)}
    carry = rate - dividend_yield if on == "spot" else 0.0
    mean = (past * 0.9 * LEVEL + LEVEL * float(np.sum(np.exp(carry * times)))) / (past + count)
    assert arithmetic[1.0]["price"] - arithmetic[-1.0]["price"] == pytest.approx(np.exp(-rate * years) * (mean - strike), abs=1e-10 * LEVEL)
    for sign in (-1.0, 1.0):
        other = value("geometric_asian", sign=sign, strike=strike, **given, **geometric)
        assert sign * (arithmetic[sign]["price"] - other["price"]) >= -1e-10 * LEVEL
        for one in (arithmetic[sign], other):
            assert abs(residual(one, on, volatility, rate, dividend_yield)) < 1e-9
        last = value("arithmetic_asian", sign=sign, strike=strike, fixing_time=np.array([[years]]), **given)
        near(european(sign, strike, **given), last, keys=("price", "delta", "gamma", "theta"))
        near(european(sign, strike, **given), last, keys=("vega", "rho"), scale=1e-6)


def test_an_average_of_many_fixings_nears_that_of_all_times() -> None:
    """Arithmetic and geometric; and 51 fixings are what their law simulated says, within four standard errors."""
    given = market("spot", 1.0, 0.4, 0.05, 0.02)
    whole = value("arithmetic_asian", sign=1.0, strike=52.0, continuous=1.0, fixing_time=np.zeros((0, 1)), **given)
    parts = [value("arithmetic_asian", sign=1.0, strike=52.0, fixing_time=np.linspace(0.0, 1.0, n + 1)[:, None], **given)["price"] for n in (200, 400)]
    # the fixing of today weighs as much as any other: the error is 1 / n, and twice the finer less the coarser takes it away
    assert 2.0 * parts[1] - parts[0] == pytest.approx(whole["price"], abs=2e-5)
    assert abs(residual(whole, "spot", 0.4, 0.05, 0.02)) < 1e-9
    rng = np.random.default_rng(3)
    paths = np.cumsum(0.4 * np.sqrt(1 / 50) * rng.standard_normal((40_000, 50)) + (0.03 - 0.08) / 50, axis=1)
    average = (LEVEL + np.sum(LEVEL * np.exp(paths), axis=1)) / 51
    payoff = np.exp(-0.05) * np.maximum(average - 52.0, 0.0)
    got = value("arithmetic_asian", sign=1.0, strike=52.0, fixing_time=np.linspace(0.0, 1.0, 51)[:, None], **given)["price"]
    assert abs(payoff.mean() - got) < 4.0 * payoff.std() / np.sqrt(len(payoff))


def two(kind: float, sign: float, strike: float, correlation: float, **given: float) -> dict[str, Any]:
    return value("two_asset", kind=kind, sign=sign, strike=strike, correlation=correlation, spot_2=55.0, dividend_yield_2=0.01, volatility_2=0.35, **given)


@LAWS
@given(YEARS, VOLATILITY, RATE, RATE, SIGN, MONEYNESS, st.floats(-1.0, 1.0))
def test_better_and_worse_of_two_are_both(years, volatility, rate, dividend_yield, sign, moneyness, correlation):
    """Maximum + minimum = the two options; Stulz's formula by the bivariate normal law; the spread at 0 by Margrabe's; parity of spreads."""
    from scipy.stats import multivariate_normal, norm

    given, strike = market("spot", years, volatility, rate, dividend_yield), moneyness * LEVEL
    best, worst = two(1.0, sign, strike, correlation, **given), two(2.0, sign, strike, correlation, **given)
    other = value("european", spot=55.0, time_to_expiry=years, volatility=0.35, rate=rate, dividend_yield=0.01, sign=sign, strike=strike)
    assert best["price"] + worst["price"] == pytest.approx(european(sign, strike, **given)["price"] + other["price"], abs=1e-11 * LEVEL)
    root = np.sqrt(years)
    forwards = LEVEL * np.exp(-dividend_yield * years), 55.0 * np.exp(-0.01 * years)
    v = np.sqrt(max(volatility**2 + 0.35**2 - 2.0 * correlation * volatility * 0.35, 1e-18))
    d = np.log(forwards[0] / forwards[1]) / (v * root) + 0.5 * v * root
    exchange = forwards[0] * norm.cdf(d) - forwards[1] * norm.cdf(d - v * root)
    spread = two(0.0, 1.0, 0.0, correlation, **given)
    assert spread["price"] == pytest.approx(exchange, abs=1e-9 * LEVEL)
    call, put = (two(0.0, s, 7.0, correlation, **given)["price"] for s in (1.0, -1.0))
    assert call - put == pytest.approx(forwards[0] - forwards[1] - 7.0 * np.exp(-rate * years), abs=1e-11 * LEVEL)
    if abs(correlation) < 0.999 and v > 0.02:
        def both(a: float, b: float, rho: float) -> float:
            return float(multivariate_normal.cdf([a, b], cov=[[1.0, rho], [rho, 1.0]], abseps=1e-10, releps=1e-10))

        y = [np.log(f / strike * np.exp(rate * years)) / (s * root) + 0.5 * s * root for f, s in zip(forwards, (volatility, 0.35), strict=True)]
        rho = [(correlation * 0.35 - volatility) / v, (correlation * volatility - 0.35) / v]
        stulz = forwards[0] * both(y[0], -d, rho[0]) + forwards[1] * both(y[1], d - v * root, rho[1])
        stulz -= strike * np.exp(-rate * years) * both(y[0] - volatility * root, y[1] - 0.35 * root, correlation)
        assert two(2.0, 1.0, strike, correlation, **given)["price"] == pytest.approx(stulz, abs=1e-7 * LEVEL)


@LAWS
@given(YEARS, VOLATILITY, RATE, RATE, SIGN, MONEYNESS, DISTANCE, st.floats(1e-3, 1e4))
def test_homogeneity(years, volatility, rate, dividend_yield, sign, moneyness, distance, factor):
    """All amounts and levels scaled: the price scales, the delta stays."""
    given = {"time_to_expiry": years, "volatility": volatility, "rate": rate, "dividend_yield": dividend_yield}
    strike = moneyness * LEVEL
    for operation, amounts, rest in (
        ("single_barrier", {"strike": strike, "cash": -sign * strike, "barrier": LEVEL * np.exp(distance), "hit_payment": 2.0}, {"region": sign, "asset": sign, "knock_in": 0.0, "hit": 0.0}),
        ("arithmetic_asian", {"strike": strike, "average_so_far": 48.0}, {"sign": sign, "past": 1.0, "fixing_time": np.array([[0.5 * years], [years]])}),
        ("two_asset", {"strike": strike, "spot_2": 45.0}, {"kind": 1.0, "sign": sign, "volatility_2": 0.3, "correlation": 0.4}),
    ):
        one = value(operation, spot=LEVEL, **amounts, **rest, **given)
        scaled = value(operation, spot=factor * LEVEL, **{k: factor * v for k, v in amounts.items()}, **rest, **given)
        assert scaled["price"] == pytest.approx(factor * one["price"], rel=1e-9, abs=1e-11 * factor * LEVEL)
        assert scaled["delta"] == pytest.approx(one["delta"], rel=1e-9, abs=1e-11)
