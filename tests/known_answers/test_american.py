"""American options against published and high-precision values, a binomial tree and QuantLib, through the twin and through the C++ header.

Every case of the collection runs, within its own tolerance. Where a publication approximates (Barone-Adesi and Whaley, Ju, Bjerksund and
Stensland) or discretises (schemes of low order, finite differences), its number is compared within the bound that the collection gives for the
approximation, and `price_true` within 1e-6. The example of Longstaff and Schwartz on eight paths is of a simulation and is run as such.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from formula_harness import Kernels
from numpy.typing import NDArray
from reference_cases import cases

from upm_gpu.formula.american import AMERICAN, AMERICAN_OUTPUTS, TWO_BOUNDARIES, american_values
from upm_gpu.formula.black import european_values
from upm_gpu.formula.operation import operation_columns

CASES = cases("2_american")
PATHS = [c for c in CASES if c["group"] == "lsm_8path"]
OPTIONS = [c for c in CASES if c["group"] != "lsm_8path"]
Values = Callable[[dict[str, Any]], dict[str, NDArray[np.float64]]]

TOLERANCE_OF = {
    "price": "price_abs", "price_true": "price_true_abs", "price_true_continuous_exercise": "price_true_abs", "early_exercise_premium": "abs",
    "early_exercise_premium_true": "true_abs", "price_benchop": "price_benchop_abs", "price_fd": "price_fd_abs", "price_ju": "price_ju_vs_true_abs"}
"""expected number -> the key of its tolerance"""

APPROXIMATION_ERROR = {"early_exercise_premium_scheme": 1e-5, "price_baw": 0.04, "price_bs1993": 0.04, "price_bs2002": 0.01}
"""Published outputs of approximations, whose tolerances are for the approximation itself: how far they lie from the true price in the collection."""


@pytest.fixture(params=["twin", "kernel"])
def values(request: pytest.FixtureRequest) -> Values:
    """Columns in, columns out."""
    if request.param == "twin":
        return american_values
    kernels: Kernels = request.getfixturevalue("kernels")
    return lambda columns: dict(zip(AMERICAN_OUTPUTS, kernels.american(operation_columns(AMERICAN, columns)), strict=True))


def columns_of(inputs: list[dict[str, Any]]) -> dict[str, Any]:
    """The names of the collection -> the columns of the engine."""
    names = {"spot": "spot", "strike": "strike", "rate_cc": "rate", "carry_yield_cc": "dividend_yield", "maturity_years": "time_to_expiry", "vol_annual": "volatility"}
    known = {*names, "option_type", "exercise", "lsm_exercise_dates_per_year"}
    assert all(known.issuperset(i) for i in inputs)
    columns: dict[str, Any] = {ours: np.array([float(i[theirs]) for i in inputs]) for theirs, ours in names.items()}
    columns["sign"] = np.array([{"call": 1.0, "put": -1.0}[i["option_type"]] for i in inputs])
    return columns


def test_every_case(values: Values) -> None:
    """Each expected number of the 108 cases; the twin takes them together."""
    columns = columns_of([c["inputs"] for c in OPTIONS])
    price = values(columns | {"price_only": 1.0})["price"]
    european = european_values(columns)["price"]
    checked, wrong = 0, []
    for case, ours, plain in zip(OPTIONS, price, european, strict=True):
        for key, expected in case["expected"].items():
            got = ours - plain if key.startswith("early") else ours
            allowed = APPROXIMATION_ERROR[key] if key in APPROXIMATION_ERROR else case["tolerance"][TOLERANCE_OF[key]]
            checked += 1
            if not abs(got - expected) <= allowed:
                wrong.append(f"{case['id']} {key}: {got!r}, expected {expected!r} within {allowed}")
    assert not wrong
    assert checked > 150 and len(OPTIONS) == 108 and len(CASES) == 109


def test_the_example_of_longstaff_and_schwartz() -> None:
    """Eight paths, three dates, regression on 1, x, x^2 where the put is in the money: simulation needs its own arithmetic, not a boundary."""
    (case,) = PATHS
    inputs, expected, tolerance = case["inputs"], case["expected"], case["tolerance"]
    paths, strike, discount = np.array(inputs["paths"]), inputs["strike"], np.exp(-inputs["rate_per_period_cc"])
    cash = np.maximum(strike - paths[:, 3], 0.0)
    for date in (2, 1):
        cash *= discount
        x = paths[:, date]
        payoff = np.maximum(strike - x, 0.0)
        inside = payoff > 0.0
        held = np.polyval(np.polyfit(x[inside], cash[inside], 2), x)
        cash = np.where(inside & (payoff > held), payoff, cash)
    price = discount * cash.mean()
    assert price == pytest.approx(expected["price"], abs=tolerance["price_abs"])
    assert price == pytest.approx(expected["price_full_precision"], abs=tolerance["full_precision_abs"])


def random_options(count: int, seed: int) -> dict[str, NDArray[np.float64]]:
    """The standard range: one week to three years, volatility 5 % to 90 %, rates and yields 0 to 10 %, within two deviations of the money."""
    rng = np.random.default_rng(seed)
    years = rng.integers(5, 1_000, count) / 365.0
    volatility = np.exp(rng.uniform(np.log(0.05), np.log(0.9), count))
    spot = 100.0 * np.exp(rng.normal(0.0, 1.0, count) * volatility * np.sqrt(years))
    return {"spot": spot, "strike": np.full(count, 100.0), "time_to_expiry": years, "rate": rng.uniform(0.0, 0.1, count),
            "dividend_yield": rng.choice([0.0, 1.0, 1.0], count) * rng.uniform(0.0, 0.1, count), "volatility": volatility,
            "sign": rng.choice([-1.0, 1.0], count)}


def quantlib_price(ql: Any, today: Any, c: dict[str, float]) -> float:
    day = ql.Actual365Fixed()
    curve = {name: ql.YieldTermStructureHandle(ql.FlatForward(today, c[name], day)) for name in ("rate", "dividend_yield")}
    volatility = ql.BlackVolTermStructureHandle(ql.BlackConstantVol(today, ql.NullCalendar(), c["volatility"], day))
    process = ql.BlackScholesMertonProcess(ql.QuoteHandle(ql.SimpleQuote(c["spot"])), curve["dividend_yield"], curve["rate"], volatility)
    kind = ql.Option.Call if c["sign"] > 0.0 else ql.Option.Put
    option = ql.VanillaOption(ql.PlainVanillaPayoff(kind, c["strike"]), ql.AmericanExercise(today, today + round(c["time_to_expiry"] * 365.0)))
    option.setPricingEngine(ql.QdFpAmericanEngine(process, ql.QdFpAmericanEngine.highPrecisionScheme()))
    return float(option.NPV())


def test_quantlib(kernels: Kernels) -> None:
    """QuantLib's fixed point in its high-precision scheme, which errs by up to 1e-8 of the strike itself: 1e-8 of the spot for nine in ten options of the
    standard range, 1e-6 of the strike for all."""
    ql = pytest.importorskip("QuantLib")
    today = ql.Date(1, 1, 2024)
    ql.Settings.instance().evaluationDate = today
    columns = random_options(150, 3)
    expected = np.array([quantlib_price(ql, today, {k: float(v[i]) for k, v in columns.items()}) for i in range(150)])
    miss = np.abs(kernels.american(operation_columns(AMERICAN, columns | {"price_only": 1.0}))[0] - expected)
    assert np.quantile(miss / columns["spot"], 0.9) <= 1e-8
    assert miss.max() <= 1e-6 * 100.0


def tree_price(spot: float, strike: float, years: float, rate: float, dividend_yield: float, volatility: float, sign: float, steps: int) -> float:
    """Binomial (Leisen and Reimer 1996, Peizer-Pratt inversion 2, odd steps): no boundary, no integral."""
    total = volatility * np.sqrt(years)
    d1 = np.log(spot / strike) / total + (rate - dividend_yield) * years / total + 0.5 * total

    def inversion(z: float) -> float:
        return float(0.5 + np.sign(z) * np.sqrt(0.25 - 0.25 * np.exp(-((z / (steps + 1.0 / 3.0 + 0.1 / (steps + 1.0))) ** 2) * (steps + 1.0 / 6.0))))

    step = years / steps
    p, other = inversion(d1 - total), inversion(d1)
    growth = np.exp((rate - dividend_yield) * step)
    up, down = growth * other / p, growth * (1.0 - other) / (1.0 - p)
    price = spot * up ** np.arange(steps, -1, -1.0) * down ** np.arange(0.0, steps + 1)
    value = np.maximum(sign * (price - strike), 0.0)
    for _ in range(steps):
        price = price[:-1] / up
        value = np.maximum(np.exp(-rate * step) * (p * value[:-1] + (1.0 - p) * value[1:]), sign * (price - strike))
    return float(value[0])


def test_binomial_tree(values: Values) -> None:
    """Richardson's extrapolation of 501 and 1,001 steps: 1e-4 of the spot, which shows a wrong boundary or premium at once."""
    columns = random_options(24, 11)
    price = values(columns | {"price_only": 1.0})["price"]
    for i, ours in enumerate(price):
        terms = [float(columns[k][i]) for k in ("spot", "strike", "time_to_expiry", "rate", "dividend_yield", "volatility", "sign")]
        coarse, fine = tree_price(*terms, 501), tree_price(*terms, 1_001)
        assert ours == pytest.approx(2.0 * fine - coarse, abs=1e-4 * terms[0])


def test_greeks(kernels: Kernels) -> None:
    """Against differences of the prices of the same formula: 1e-4 of the scale of each."""
    def values(columns: dict[str, Any]) -> dict[str, NDArray[np.float64]]:
        return dict(zip(AMERICAN_OUTPUTS, kernels.american(operation_columns(AMERICAN, columns)), strict=True))

    columns = random_options(40, 5)
    found = values(columns)
    price, held = found["price"], found["price"] > columns["sign"] * (columns["spot"] - 100.0)
    stdev = columns["volatility"] * np.sqrt(columns["time_to_expiry"])

    def change(name: str, step: NDArray[np.float64]) -> NDArray[np.float64]:
        up, down = (values(columns | {name: columns[name] + k * step, "price_only": np.ones(40)})["price"] for k in (1.0, -1.0))
        difference: NDArray[np.float64] = (up - down) / (2.0 * step)
        return difference

    years, spot = columns["time_to_expiry"], columns["spot"]
    scale = {"delta": np.ones(40), "vega": spot * np.sqrt(years), "rho": spot * years, "dividend_rho": spot * years}
    step = {"delta": 1e-3 * stdev * spot, "vega": 1e-3 * columns["volatility"], "rho": np.minimum(1e-4, 0.4 * columns["rate"]),
            "dividend_rho": np.where(columns["dividend_yield"] > 0.0, np.minimum(1e-4, 0.4 * columns["dividend_yield"]), 1e-4)}
    of = {"delta": "spot", "vega": "volatility", "rho": "rate", "dividend_rho": "dividend_yield"}
    for name, column in of.items():
        np.testing.assert_allclose((found[name] / scale[name])[held], (change(column, step[name]) / scale[name])[held], rtol=0.0, atol=1e-4, err_msg=name)
    # Black-Scholes above the boundary; in the exercise region the payoff's
    rate, carry = columns["rate"], columns["rate"] - columns["dividend_yield"]
    balance = rate * price - carry * spot * found["delta"] - 0.5 * (columns["volatility"] * spot) ** 2 * found["gamma"] - found["theta"]
    assert np.all(np.abs(balance)[held] <= 1e-3 * (columns["volatility"] * spot)[held])
    assert np.all(found["delta"][~held] == columns["sign"][~held]) and not np.any(found["gamma"][~held])


def test_regimes(values: Values) -> None:
    """Never exercised: European. Immediately exercised: the payoff to the bit. Two boundaries: a status. Futures: the yield is the rate."""
    never = [{"sign": 1.0, "rate": 0.05}, {"sign": -1.0, "rate": -0.01, "dividend_yield": 0.0}, {"sign": -1.0, "rate": 0.0, "dividend_yield": 0.03},
             {"sign": 1.0, "rate": 0.03, "dividend_yield": -0.01}]
    for case in never:
        terms = {"spot": 95.0, "strike": 100.0, "time_to_expiry": 0.7, "volatility": 0.3, **case}
        got, plain = values(terms), european_values(terms)
        np.testing.assert_allclose(got["price"], plain["price"], rtol=1e-13)
        assert got["exercise_boundary"][0] == (np.inf if case["sign"] > 0.0 else 0.0)
    deep = values({"spot": np.array([60.0, 160.0]), "strike": 100.0, "time_to_expiry": 1.0, "rate": 0.06, "dividend_yield": 0.06, "volatility": 0.2,
                   "sign": np.array([-1.0, 1.0])})
    assert deep["price"].tolist() == [40.0, 60.0] and deep["delta"].tolist() == [-1.0, 1.0] and deep["theta"].tolist() == [0.0, 0.0]
    between = values({"spot": 95.0, "strike": 100.0, "time_to_expiry": 1.0, "rate": np.array([-0.02, -0.05]), "dividend_yield": np.array([-0.05, -0.02]),
                      "volatility": 0.2, "sign": np.array([-1.0, 1.0])})
    assert between["status"].tolist() == [TWO_BOUNDARIES] * 2 and np.all(np.isnan(between["price"]))
    on_spot = values({"spot": 95.0, "strike": 100.0, "time_to_expiry": 1.0, "rate": 0.05, "dividend_yield": 0.05, "volatility": 0.2, "sign": -1.0})
    on_future = values({"forward": 95.0, "strike": 100.0, "time_to_expiry": 1.0, "rate": 0.05, "volatility": 0.2, "sign": -1.0})
    for name in ("price", "delta", "gamma", "vega", "theta", "exercise_boundary"):
        assert on_spot[name][0] == on_future[name][0]
    assert on_future["rho"][0] == pytest.approx(on_spot["rho"][0] + on_spot["dividend_rho"][0], abs=1e-5 * 95.0)


def test_limits(values: Values) -> None:
    """Expiry, no volatility, no time value; strike or spot of zero; arguments that mean nothing."""
    got = values({"spot": np.array([90.0, 110.0, 90.0, 90.0, 0.0, 90.0, np.nan, 90.0]), "strike": np.array([100.0, 100, 100, 100, 100, 0.0, 100, 100]),
                  "time_to_expiry": np.array([0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0, -1.0]), "rate": 0.05,
                  "volatility": np.array([0.2, 0.2, 0.0, 1e-9, 0.2, 0.2, 0.2, 0.2]), "sign": -1.0})
    np.testing.assert_allclose(got["price"], [10.0, 0.0, 10.0, 10.0, 100.0, 0.0, np.nan, np.nan], rtol=1e-15)
    assert got["status"].tolist() == [0.0] * 6 + [4.0] * 2


def test_implied_volatility(values: Values) -> None:
    """The volatility that was put in comes out; prices that no volatility gives are refused by number."""
    volatility = np.array([0.08, 0.2, 0.65])
    terms: dict[str, Any] = {"spot": 95.0, "strike": 100.0, "time_to_expiry": 0.8, "rate": 0.04, "dividend_yield": 0.02, "sign": np.array([1.0, -1.0, -1.0])}
    price = values(terms | {"volatility": volatility, "price_only": 1.0})["price"]
    got = values(terms | {"market_price": price})
    np.testing.assert_allclose(got["implied_volatility"], volatility, rtol=1e-9)
    np.testing.assert_allclose(got["price"], price, rtol=1e-12)
    refused = values({**terms, "sign": -1.0, "market_price": np.array([4.0, 100.1, 5.0])})
    assert refused["status"].tolist() == [1.0, 2.0, 3.0] and np.all(np.isnan(refused["price"]))


def test_shared_boundaries_change_no_bit(kernels: Kernels) -> None:
    """Neighbours that differ only in the spot share a boundary, with the values they have alone."""
    columns = {k: v[:8] for k, v in random_options(8, 2).items()}
    grid = {k: np.repeat(v, 6) for k, v in columns.items()}
    grid["spot"] = grid["spot"] * np.tile(np.linspace(0.7, 1.4, 6), 8)
    packed = operation_columns(AMERICAN, grid)
    np.testing.assert_array_equal(kernels.american(packed, share=True), kernels.american(packed, share=False))


def test_kernel_and_twin_agree(kernels: Kernels) -> None:
    """Two discretisations: prices within 5e-7 of the strike, nine in ten within 1e-9; Greeks within 5e-4 of their scale, nine in ten within 2e-5. The
    rhos of a put whose yield is just above its rate are the worst."""
    columns = random_options(60, 8)
    ours = dict(zip(AMERICAN_OUTPUTS, kernels.american(operation_columns(AMERICAN, columns)), strict=True))
    twin = american_values(columns)
    spot, root = columns["spot"], np.sqrt(columns["time_to_expiry"])
    scale = {"price": 100.0, "delta": 1.0, "gamma": 1.0 / (spot * columns["volatility"] * root), "vega": spot * root, "theta": spot * columns["volatility"] / root,
             "rho": spot * root**2, "dividend_rho": spot * root**2}
    for name, unit in scale.items():
        miss = np.abs(ours[name] - twin[name]) / unit
        assert miss.max() <= (5e-7 if name == "price" else 5e-4), name
        assert np.quantile(miss, 0.9) <= (1e-9 if name == "price" else 2e-5), name
        assert np.median(miss) <= (1e-10 if name == "price" else 1e-6), name


def test_low_volatility(kernels: Kernels) -> None:
    """Where the drift ends the scaled time early: the twin within 5e-7 of the strike."""
    rng = np.random.default_rng(6)
    volatility = np.exp(rng.uniform(np.log(0.003), np.log(0.04), 16))
    columns = {"spot": 100.0 * np.exp(rng.uniform(-0.3, 1.5, 16) * volatility), "strike": np.full(16, 100.0), "time_to_expiry": rng.uniform(0.3, 2.0, 16),
               "rate": rng.uniform(0.03, 0.09, 16), "dividend_yield": rng.uniform(0.0, 0.01, 16), "volatility": volatility, "sign": np.full(16, -1.0),
               "price_only": np.ones(16)}
    price = kernels.american(operation_columns(AMERICAN, columns))[0]
    np.testing.assert_allclose(price, american_values(columns)["price"], rtol=0.0, atol=5e-5)
    assert np.sum(price > np.maximum(100.0 - columns["spot"], 0.0)) >= 8
