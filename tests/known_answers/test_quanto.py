"""Options paid in another currency at a fixed rate, and Greeks of the second of two assets, through the table of `upm price`."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.polynomial.hermite_e import hermegauss

from upm_gpu.backend import cpu, reference
from upm_gpu.pricing.cases import MORE, CaseTable, case_text, value_cases

QUANTO = {"product": "european", "option_type": "call", "spot": 100.0, "strike": 105.0, "time_to_expiry": 0.5, "rate": 0.08, "quote_rate": 0.05, "dividend_yield": 0.04, "volatility": 0.2,
          "quanto_rate": 1.5, "quanto_volatility": 0.1, "correlation": 0.3}
SPREAD = {"product": "spread", "option_type": "call", "spot": 105.0, "strike": 4.0, "time_to_expiry": 0.7, "rate": 0.03, "dividend_yield": 0.01, "volatility": 0.3, "spot_2": 98.0,
          "dividend_yield_2": 0.02, "volatility_2": 0.25, "correlation": 0.4}


def table(row):
    return CaseTable("cases.csv", tuple(row), (tuple(map(str, row.values())),), (2,))


def priced(row, backend=cpu):
    results, faults = value_cases(table(row), backend.values)
    assert not faults, faults
    return results[0]


@pytest.mark.parametrize("backend", [cpu, reference], ids=lambda b: b.name)
def test_the_example_of_the_literature(backend):
    """Haug 2007, section 5.16: 5.3280."""
    assert priced(QUANTO, backend)["price"] == pytest.approx(5.3280, abs=5e-5)


@pytest.mark.parametrize("option_type", ["call", "put"])
def test_the_price_is_an_expectation_under_the_other_currency(option_type):
    """Two Brownian motions, no formula for the drift: under the measure of the asset's own currency E = E_own[payoff X_T / X_0] X at own rates, X_T lognormal."""
    z, w = hermegauss(20)
    fine = np.linspace(-9.0, 9.0, 20_001)
    x, y = np.meshgrid(fine, z)
    weight = np.multiply.outer(w / math.sqrt(2.0 * math.pi), 9e-4 * np.exp(-0.5 * fine * fine) / math.sqrt(2.0 * math.pi))
    t, s, q, rho = 0.5, 0.2, 0.1, 0.3
    asset = 100.0 * np.exp((0.05 - 0.04 - 0.5 * s * s) * t + s * math.sqrt(t) * x)
    other = rho * x + math.sqrt(1.0 - rho * rho) * y
    # 1 / X, the other currency in the asset's own, grows at own less other rates under the own measure: its exponent is minus the driver of X
    worth = np.exp((0.05 - 0.08 - 0.5 * q * q) * t - q * math.sqrt(t) * other)
    sign = 1.0 if option_type == "call" else -1.0
    expected = 1.5 * math.exp(-0.05 * t) * float(np.sum(weight * worth * np.maximum(sign * (asset - 105.0), 0.0)))
    assert priced({**QUANTO, "option_type": option_type})["price"] == pytest.approx(expected, abs=1e-5)
    assert abs(priced({**QUANTO, "option_type": option_type, "correlation": -0.3})["price"] - expected) > 0.1  # the sign of the adjustment would be seen


@pytest.mark.parametrize(("name", "column"), [("delta", "spot"), ("vega", "volatility"), ("rho", "rate"), ("dividend_rho", "dividend_yield")])
def test_greeks_are_slopes(name, column):
    h = 1e-4 * max(QUANTO[column], 1.0)
    up, down = (priced({**QUANTO, column: QUANTO[column] + s * h})["price"] for s in (1.0, -1.0))
    assert priced(QUANTO)[name] == pytest.approx((up - down) / (2.0 * h), rel=1e-5)


def test_the_clock_s_slope():
    up, down = (priced({**QUANTO, "time_to_expiry": 0.5 + s * 1e-4})["price"] for s in (1.0, -1.0))
    assert priced(QUANTO)["theta"] == pytest.approx(-(up - down) / 2e-4, rel=1e-5)


@pytest.mark.parametrize(("change", "code"), [({"correlation": 1.2}, "UPM-PR-035"), ({"quanto_rate": 0.0}, "UPM-PR-018"), ({"quanto_volatility": ""}, "UPM-PR-016"),
                                              ({"settlement": "inverse"}, "UPM-PR-028"), ({"volatility": "", "market_price": 5.0}, "UPM-PR-028")])
def test_bad_terms_have_their_code(change, code):
    _, faults = value_cases(table({**QUANTO, **change}), cpu.values)
    assert [f.code for f in faults] == [code]


@pytest.mark.parametrize("product", ["spread", "maximum_of_two", "minimum_of_two"])
@pytest.mark.parametrize("option_type", ["call", "put"])
def test_greeks_of_the_second_asset_are_slopes(product, option_type):
    row = {**SPREAD, "product": product, "option_type": option_type, "strike": 4.0 if product == "spread" else 100.0}
    found = priced(row)
    for name, column in (("delta_2", "spot_2"), ("vega_2", "volatility_2"), ("dividend_rho_2", "dividend_yield_2")):
        h = 1e-4 * max(float(row[column]), 1.0)
        up, down = (priced({**row, column: float(row[column]) + s * h}) for s in (1.0, -1.0))
        assert found[name] == pytest.approx((up["price"] - down["price"]) / (2.0 * h), rel=1e-5, abs=1e-7), name
    h = 1e-2
    up, down = (priced({**row, "spot_2": 98.0 + s * h}) for s in (1.0, -1.0))
    assert found["gamma_2"] == pytest.approx((up["delta_2"] - down["delta_2"]) / (2.0 * h), rel=1e-5)


def test_the_columns_are_there_for_files_that_have_two_assets():
    for row, there in ((SPREAD, True), (QUANTO, False)):
        results, _ = value_cases(table(row), cpu.values)
        head = case_text(table(row), results).splitlines()[0].split(",")
        assert (head[-len(MORE):] == list(MORE)) is there and "price" in head
