"""Exotics against QuantLib's analytic engines on random parameters: a third text of the same formulae, read by nobody here.

Prices agree to rounding, two-asset options to the accuracy of its bivariate normal law, Vecer's grid for a continuous arithmetic average to its step.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from upm_gpu.backend import cpu, reference
from upm_gpu.formula.geometric_asian import average_times

ql = pytest.importorskip("QuantLib")
COUNT = 60
TODAY = ql.Date(2, 1, 2026)
DAYS = ql.Actual365Fixed()


@pytest.fixture(params=["twin", "cpu"])
def values(request: pytest.FixtureRequest) -> Any:
    if request.param == "cpu" and not cpu.available()[0]:
        pytest.skip(cpu.available()[2])
    return cpu.values if request.param == "cpu" else reference.values


def draws(seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {"spot": rng.uniform(80.0, 120.0, COUNT), "time_to_expiry": rng.integers(20, 900, COUNT) / 365.0, "rate": rng.uniform(0.0, 0.1, COUNT),
            "dividend_yield": rng.uniform(0.0, 0.1, COUNT), "volatility": rng.uniform(0.1, 0.6, COUNT), "strike": rng.uniform(70.0, 130.0, COUNT),
            "sign": rng.choice([-1.0, 1.0], COUNT), "distance": rng.uniform(0.03, 0.5, COUNT), "up": rng.choice([-1.0, 1.0], COUNT),
            "knock_in": rng.choice([0.0, 1.0], COUNT)}


def process(spot: float, rate: float, dividend_yield: float, volatility: float) -> Any:
    ql.Settings.instance().evaluationDate = TODAY

    def flat(r: float) -> Any:
        return ql.YieldTermStructureHandle(ql.FlatForward(TODAY, r, DAYS))

    return ql.BlackScholesMertonProcess(ql.QuoteHandle(ql.SimpleQuote(spot)), flat(dividend_yield), flat(rate),
                                        ql.BlackVolTermStructureHandle(ql.BlackConstantVol(TODAY, ql.NullCalendar(), volatility, DAYS)))


def theirs(c: dict[str, np.ndarray], option: Any) -> np.ndarray:
    """`option(row, process, expiry)` valued for each row."""
    out = np.empty(COUNT)
    for i in range(COUNT):
        row = {k: float(v[i]) for k, v in c.items()}
        given = process(row["spot"], row["rate"], row["dividend_yield"], row["volatility"])
        out[i] = option(row, given, TODAY + round(365 * row["time_to_expiry"])).NPV()
    return out


def kind(row: dict[str, float]) -> int:
    return ql.Option.Call if row["sign"] > 0 else ql.Option.Put


def barrier_kind(row: dict[str, float]) -> int:
    return {(1.0, 1.0): ql.Barrier.UpIn, (1.0, 0.0): ql.Barrier.UpOut, (-1.0, 1.0): ql.Barrier.DownIn, (-1.0, 0.0): ql.Barrier.DownOut}[row["up"], row["knock_in"]]


def market(c: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {k: c[k] for k in ("spot", "time_to_expiry", "rate", "dividend_yield", "volatility")}


def one_barrier(c: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {"barrier": c["spot"] * np.exp(c["up"] * c["distance"]), "up": c["up"], "knock_in": c["knock_in"], "hit": np.zeros(COUNT)}


def test_barriers_with_rebate(values: Any) -> None:
    c = draws(1)
    ours = one_barrier(c)

    def option(row: dict[str, float], given: Any, expiry: Any) -> Any:
        made = ql.BarrierOption(barrier_kind(row), row["spot"] * np.exp(row["up"] * row["distance"]), 3.0, ql.PlainVanillaPayoff(kind(row), row["strike"]), ql.EuropeanExercise(expiry))
        made.setPricingEngine(ql.AnalyticBarrierEngine(given))
        return made

    got = values("single_barrier", {**market(c), **ours, "region": c["sign"], "strike": c["strike"], "asset": c["sign"], "cash": -c["sign"] * c["strike"],
                                    "hit_payment": 3.0 * (1.0 - c["knock_in"]), "miss_payment": 3.0 * c["knock_in"]})
    np.testing.assert_allclose(got["price"], theirs(c, option), rtol=0.0, atol=1e-10)


@pytest.mark.parametrize("asset", [0.0, 1.0])
def test_binary_barriers(values: Any, asset: float) -> None:
    c = draws(2)

    def option(row: dict[str, float], given: Any, expiry: Any) -> Any:
        payoff = ql.AssetOrNothingPayoff(kind(row), row["strike"]) if asset else ql.CashOrNothingPayoff(kind(row), row["strike"], 15.0)
        made = ql.BarrierOption(barrier_kind(row), row["spot"] * np.exp(row["up"] * row["distance"]), 0.0, payoff, ql.AmericanExercise(TODAY, expiry, True))
        made.setPricingEngine(ql.AnalyticBinaryBarrierEngine(given))
        return made

    got = values("single_barrier", {**market(c), **one_barrier(c), "region": c["sign"], "strike": c["strike"], "asset": np.full(COUNT, asset), "cash": np.full(COUNT, 15.0 * (1.0 - asset))})
    np.testing.assert_allclose(got["price"], theirs(c, option), rtol=0.0, atol=1e-10)


@pytest.mark.parametrize("late", [False, True])
def test_one_touch(values: Any, late: bool) -> None:
    c = draws(3)

    def option(row: dict[str, float], given: Any, expiry: Any) -> Any:
        up = ql.Option.Call if row["up"] > 0 else ql.Option.Put
        made = ql.VanillaOption(ql.CashOrNothingPayoff(up, row["spot"] * np.exp(row["up"] * row["distance"]), 15.0), ql.AmericanExercise(TODAY, expiry, late))
        made.setPricingEngine(ql.AnalyticDigitalAmericanEngine(given))
        return made

    ours = market(c) | one_barrier(c) | {"knock_in": np.ones(COUNT)} | ({"cash": np.full(COUNT, 15.0)} if late else {"hit_payment": np.full(COUNT, 15.0)})
    np.testing.assert_allclose(values("single_barrier", ours)["price"], theirs(c, option), rtol=0.0, atol=1e-10)


def test_double_barriers(values: Any) -> None:
    c = draws(4)
    c["distance_2"] = np.random.default_rng(5).uniform(0.05, 0.6, COUNT)

    def option(row: dict[str, float], given: Any, expiry: Any) -> Any:
        made = ql.DoubleBarrierOption(ql.DoubleBarrier.KnockIn if row["knock_in"] else ql.DoubleBarrier.KnockOut, row["spot"] * np.exp(-row["distance"]),
                                      row["spot"] * np.exp(row["distance_2"]), 0.0, ql.PlainVanillaPayoff(kind(row), row["strike"]), ql.EuropeanExercise(expiry))
        made.setPricingEngine(ql.AnalyticDoubleBarrierEngine(given, 30))
        return made

    got = values("double_barrier", {**market(c), "region": c["sign"], "strike": c["strike"], "asset": c["sign"], "cash": -c["sign"] * c["strike"], "knock_in": c["knock_in"],
                                    "lower_barrier": c["spot"] * np.exp(-c["distance"]), "upper_barrier": c["spot"] * np.exp(c["distance_2"]), "hit": np.zeros(COUNT)})
    # strikes outside the barriers are left out: its formula holds inside
    inside = (c["strike"] > c["spot"] * np.exp(-c["distance"])) & (c["strike"] < c["spot"] * np.exp(c["distance_2"]))
    assert inside.sum() > 30
    np.testing.assert_allclose(got["price"][inside], theirs(c, option)[inside], rtol=0.0, atol=1e-8)


def test_geometric_averages(values: Any) -> None:
    c = draws(6)
    fixings = [sorted({1 + round(365 * t * f) for f in (0.1, 0.35, 0.6, 0.95)}) for t in c["time_to_expiry"]]
    c["row"] = np.arange(COUNT, dtype=float)

    def option(row: dict[str, float], given: Any, expiry: Any) -> Any:
        dates = [TODAY + d for d in fixings[int(row["row"])]]
        made = ql.DiscreteAveragingAsianOption(ql.Average.Geometric, 95.0**2, 2, dates, ql.PlainVanillaPayoff(kind(row), row["strike"]), ql.EuropeanExercise(expiry))
        made.setPricingEngine(ql.AnalyticDiscreteGeometricAveragePriceAsianEngine(given))
        return made

    times = [average_times([d / 365.0 for d in days], 2) for days in fixings]
    ours = {key: np.array([t[key] for t in times]) for key in times[0]}
    got = values("geometric_asian", {**market(c), **ours, "strike": c["strike"], "sign": c["sign"], "log_past": np.array([2.0 / (2 + len(d)) for d in fixings]) * np.log(95.0)})
    np.testing.assert_allclose(got["price"], theirs(c, option), rtol=0.0, atol=1e-10)


def test_forward_starts(values: Any) -> None:
    c = draws(7)
    start = np.round(365.0 * c["time_to_expiry"] * 0.4)
    c["start"] = start

    def option(row: dict[str, float], given: Any, expiry: Any) -> Any:
        made = ql.ForwardVanillaOption(1.07, TODAY + round(row["start"]), ql.PlainVanillaPayoff(kind(row), 0.0), ql.EuropeanExercise(expiry))
        made.setPricingEngine(ql.ForwardEuropeanEngine(given))
        return made

    got = values("forward_start", {**market(c), "moneyness": np.full(COUNT, 1.07), "start_time": start / 365.0, "sign": c["sign"]})
    np.testing.assert_allclose(got["price"], theirs(c, option), rtol=0.0, atol=1e-10)


@pytest.mark.parametrize("best", [True, False])
def test_better_and_worse_of_two(values: Any, best: bool) -> None:
    c = draws(8)
    rng = np.random.default_rng(9)
    c |= {"correlation": rng.uniform(-0.95, 0.95, COUNT), "spot_2": rng.uniform(80.0, 120.0, COUNT), "volatility_2": rng.uniform(0.1, 0.6, COUNT)}

    def option(row: dict[str, float], given: Any, expiry: Any) -> Any:
        plain = ql.PlainVanillaPayoff(kind(row), row["strike"])
        made = ql.BasketOption(ql.MaxBasketPayoff(plain) if best else ql.MinBasketPayoff(plain), ql.EuropeanExercise(expiry))
        made.setPricingEngine(ql.StulzEngine(given, process(row["spot_2"], row["rate"], 0.02, row["volatility_2"]), row["correlation"]))
        return made

    got = values("two_asset", {**market(c), "dividend_yield_2": np.full(COUNT, 0.02), "strike": c["strike"], "sign": c["sign"], "kind": np.full(COUNT, 1.0 if best else 2.0),
                               **{key: c[key] for key in ("correlation", "spot_2", "volatility_2")}})
    np.testing.assert_allclose(got["price"], theirs(c, option), rtol=0.0, atol=1e-8)
