"""Options with cash dividends: finite differences against convolution, QuantLib, parity and the formulae without dividends.

A bound of 1e-5 of the strike on the price holds everywhere; the twin's own error is below 2e-6.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from upm_gpu.backend import cpu
from upm_gpu.formula.american import american_values
from upm_gpu.formula.black import european_values
from upm_gpu.formula.cash_dividends import CASH_OUTPUTS, cash_dividends_values

DIVIDENDS = {"dividend_time": np.array([[0.3], [0.8]]), "dividend_amount": np.array([[2.0], [3.0]])}
NONE = {"dividend_time": np.zeros((0, 1)), "dividend_amount": np.zeros((0, 1))}


@pytest.fixture(scope="module", autouse=True)
def built() -> None:
    runs, code, text = cpu.available()
    if not runs:
        pytest.skip(f"{code} {text}")


def options(seed: int, count: int) -> dict[str, NDArray[np.float64]]:
    """One year to fifteen months, so that both dividends count."""
    rng = np.random.default_rng(seed)
    return {"spot": 100.0 * np.exp(rng.normal(0.0, 0.2, count)), "strike": np.full(count, 100.0), "time_to_expiry": rng.uniform(1.0, 1.25, count),
            "rate": rng.uniform(0.0, 0.08, count), "dividend_yield": rng.uniform(0.0, 0.04, count), "volatility": rng.uniform(0.1, 0.6, count),
            "sign": np.where(np.arange(count) % 2, 1.0, -1.0), "american": np.where(np.arange(count) % 4 < 2, 1.0, 0.0)}


def spread(dividends: dict[str, NDArray[np.float64]], count: int) -> dict[str, NDArray[np.float64]]:
    return {name: np.repeat(block, count, axis=1) for name, block in dividends.items()}


def test_two_methods_agree() -> None:
    """Prices within 5e-6 of the strike, Greeks within 1e-3 of their scale: the twin's are wide differences."""
    columns: dict[str, Any] = options(1, 8) | spread(DIVIDENDS, 8)
    ours, twin = cpu.values("cash_dividends", columns), cash_dividends_values(columns)
    spot, root = columns["spot"], np.sqrt(columns["time_to_expiry"])
    scale = {"price": 100.0, "delta": 1.0, "gamma": 1.0 / (spot * columns["volatility"] * root), "vega": spot * root, "theta": spot * columns["volatility"] / root,
             "rho": spot * root**2, "dividend_rho": spot * root**2, "status": 1.0}
    assert tuple(ours) == CASH_OUTPUTS == tuple(twin)
    for name, unit in scale.items():
        assert np.max(np.abs(ours[name] - twin[name]) / unit) <= (5e-6 if name == "price" else 1e-3), name


def test_without_dividends() -> None:
    """The closed form of European options and the boundary of American ones."""
    columns: dict[str, Any] = options(2, 16)
    got = cpu.values("cash_dividends", columns | spread(NONE, 16) | {"price_only": 1.0})
    plain = {k: v for k, v in columns.items() if k != "american"}
    american = columns["american"] == 1.0
    exact = np.where(american, american_values(plain)["price"], european_values(plain)["price"])
    miss = np.abs(got["price"] - exact)
    assert miss[~american].max() <= 1e-4 and miss[american].max() <= 5e-4
    zero = cpu.values("cash_dividends", columns | spread({"dividend_time": np.array([[0.4]]), "dividend_amount": np.array([[0.0]])}, 16) | {"price_only": 1.0})
    np.testing.assert_allclose(zero["price"], got["price"], atol=3e-4)


def test_parity_and_order() -> None:
    """European call - put is the forward; an American call is worth at least exercise just before each dividend, a put at least the European one."""
    columns: dict[str, Any] = options(3, 12) | spread(DIVIDENDS, 12) | {"price_only": 1.0}
    price = {(s, a): cpu.values("cash_dividends", columns | {"sign": s, "american": a})["price"] for s in (1.0, -1.0) for a in (1.0, 0.0)}
    years, rate, carry = columns["time_to_expiry"], columns["rate"], columns["dividend_yield"]
    held = columns["spot"] * np.exp(-carry * years)
    for time, amount in ((0.3, 2.0), (0.8, 3.0)):
        held = held - amount * np.exp(-rate * time - carry * (years - time))
    np.testing.assert_allclose(price[1.0, 0.0] - price[-1.0, 0.0], held - 100.0 * np.exp(-rate * years), atol=1e-3)
    assert np.all(price[1.0, 1.0] >= price[1.0, 0.0] - 1e-6) and np.all(price[-1.0, 1.0] >= price[-1.0, 0.0] - 1e-6)
    plain = {k: v for k, v in columns.items() if k in ("spot", "strike", "rate", "dividend_yield", "volatility")}
    before = european_values(plain | {"time_to_expiry": 0.3, "sign": 1.0})["price"]
    assert np.all(price[1.0, 1.0] >= before - 1e-3)


def test_quantlib() -> None:
    """Its finite differences under the same dividend model, 800 x 800: 2e-5 of the strike."""
    ql = pytest.importorskip("QuantLib")
    today = ql.Date(1, 1, 2024)
    ql.Settings.instance().evaluationDate = today
    day = ql.Actual365Fixed()
    columns: dict[str, Any] = options(4, 4)
    columns["time_to_expiry"] = np.full(4, 400 / 365.0)
    dates, amounts = (100, 300), (2.0, 3.0)
    dividends = {"dividend_time": np.array(dates)[:, None] / 365.0, "dividend_amount": np.array(amounts)[:, None]}
    ours = cpu.values("cash_dividends", columns | spread(dividends, 4) | {"price_only": 1.0})["price"]
    for i, price in enumerate(ours):
        c = {name: float(v[i]) for name, v in columns.items()}
        curve = [ql.YieldTermStructureHandle(ql.FlatForward(today, c[n], day)) for n in ("dividend_yield", "rate")]
        volatility = ql.BlackVolTermStructureHandle(ql.BlackConstantVol(today, ql.NullCalendar(), c["volatility"], day))
        process = ql.BlackScholesMertonProcess(ql.QuoteHandle(ql.SimpleQuote(c["spot"])), *curve, volatility)
        exercise = ql.AmericanExercise(today, today + 400) if c["american"] else ql.EuropeanExercise(today + 400)
        option = ql.VanillaOption(ql.PlainVanillaPayoff(ql.Option.Call if c["sign"] > 0.0 else ql.Option.Put, 100.0), exercise)
        schedule = ql.DividendVector([today + d for d in dates], list(amounts))
        option.setPricingEngine(ql.FdBlackScholesVanillaEngine(process, schedule, 800, 800, 2))
        assert price == pytest.approx(option.NPV(), abs=2e-3)


def test_meaningless_arguments() -> None:
    """A negative rate with early exercise, times that do not ascend, a time of 0, no volatility: a status, never a number."""
    good: dict[str, Any] = {"spot": 100.0, "strike": 100.0, "time_to_expiry": 1.0, "rate": 0.03, "volatility": 0.2, "sign": 1.0, "price_only": 1.0}
    wrong = [{"rate": -0.01}, {"volatility": 0.0}, {"spot": -1.0}, {"dividend_time": np.array([[0.8], [0.3]])}, {"dividend_time": np.array([[0.0], [0.3]])}]
    for change in wrong:
        for values in (lambda c: cpu.values("cash_dividends", c), cash_dividends_values):
            got = values(good | DIVIDENDS | change)
            assert got["status"][0] == 4.0 and np.isnan(got["price"][0])


def test_cases_side_by_side_have_the_bits_of_cases_alone() -> None:
    """Whatever the neighbours: other times, signs and exercise, Greeks and prices, a half grid, a case that is none."""
    count = 21
    rng = np.random.default_rng(11)
    columns: dict[str, Any] = options(4, count) | spread(DIVIDENDS, count) | {"price_only": rng.choice([0.0, 1.0, 2.0], count)}
    columns["time_to_expiry"] = np.where(np.arange(count) % 5 == 4, 0.5, 1.1)
    columns["sign"], columns["american"] = np.where(np.arange(count) < 9, 1.0, columns["sign"]), np.where(np.arange(count) < 15, 1.0, columns["american"])
    columns["volatility"][3] = np.nan
    together = cpu.values("cash_dividends", columns, 1)
    for i in range(count):
        alone = cpu.values("cash_dividends", {k: v[..., i : i + 1] for k, v in columns.items()})
        for name, value in alone.items():
            np.testing.assert_array_equal(together[name][i], value[0], err_msg=f"{name} of case {i}")
    assert together["status"][3] != 0.0 and np.isfinite(np.delete(together["price"], 3)).all()
