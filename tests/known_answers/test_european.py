"""European options against published and high-precision values, through the NumPy twins and through the C++ headers.

Every case of the collection runs, within its own tolerance.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from upm_gpu.formula.black import EUROPEAN_OUTPUTS, european_columns, european_values
from upm_gpu.formula.families import inverse_future
from upm_gpu.formula.perpetual import perpetual_price

CASES = json.loads((Path(__file__).parent / "reference" / "1_european_bs.json").read_text())["cases"]
PERPETUAL = [c for c in CASES if c["group"] == "perpetual_future_theory"]
REALISED = [c for c in CASES if c["group"] == "inverse_future_pnl"]
OPTIONS = [c for c in CASES if c not in PERPETUAL and c not in REALISED]
Values = Callable[[dict[str, Any]], dict[str, float]]


def ids(case: dict) -> str:
    return f"{case['id']}-{case['group']}"


@pytest.fixture(params=["twin", "kernel"])
def values(request: pytest.FixtureRequest) -> Values:
    """One case in, one dictionary of numbers out."""
    if request.param == "twin":
        return lambda columns: {k: float(v[0]) for k, v in european_values(columns).items()}
    kernels = request.getfixturevalue("kernels")
    return lambda columns: dict(zip(EUROPEAN_OUTPUTS, kernels.european(european_columns(columns))[:, 0].tolist(), strict=True))


def columns_of(inputs: dict[str, Any]) -> dict[str, float]:
    """The names of the collection -> the columns of the engine."""
    names = {"spot": "spot", "forward": "forward", "forward_usd": "forward", "settlement_index_usd": "forward", "strike": "strike",
             "strike_usd": "strike", "rate_cc": "rate", "carry_yield_cc": "dividend_yield", "foreign_rate_cc": "dividend_yield",
             "maturity_years": "time_to_expiry", "vol_annual": "volatility", "price": "market_price"}
    columns = {names[k]: float(v) for k, v in inputs.items() if k in names}
    columns["sign"] = {"call": 1.0, "put": -1.0}[inputs["option_type"]]
    columns["inverse"] = float("strike_usd" in inputs)
    if "discount_factor" in inputs:
        columns["rate"] = -np.log(inputs["discount_factor"]) / inputs["maturity_years"]
    if "settlement_index_usd" in inputs:
        columns |= {"time_to_expiry": 0.0, "volatility": 1.0}
    known = {*names, "option_type", "discount_factor", "premium_coin"}
    assert known.issuperset(inputs), inputs
    return columns


def named(values: dict[str, float], inputs: dict[str, Any]) -> dict[str, float]:
    """The engine's outputs under the names of the collection."""
    level = inputs.get("spot", inputs.get("forward", np.nan))
    premium = inputs.get("premium_coin", np.nan)
    return values | {
        "implied_vol": values["implied_volatility"], "elasticity": values["delta"] * level / values["price"] if values["price"] else np.nan,
        "price_usd": values["price"], "delta_black_usd": values["delta"], "delta_coin_net_of_premium": values["delta_coin"],
        "payoff_coin": values["price_coin"], "pnl_coin": values["price_coin"] - premium,
    }


def allowed(key: str, expected: float, tolerance: dict[str, float], level: float) -> float:
    """Absolute tolerance of one expected number."""
    if key.endswith("_full_precision"):
        return tolerance["full_precision_abs"] if "full_precision_abs" in tolerance else tolerance["full_precision_rel"] * abs(expected)
    if key == "price" and "price_rel" in tolerance:
        return max(tolerance["price_rel"] * abs(expected), tolerance["price_abs_floor_per_spot"] * level)
    if key == "implied_vol":
        return tolerance["vol_abs"] if "vol_abs" in tolerance else tolerance["vol_rel"] * expected
    if key == "price" and "price_abs" in tolerance:
        return tolerance["price_abs"]
    if "abs" in tolerance:
        return tolerance["abs"]
    return tolerance["greeks_rel" if "greeks_rel" in tolerance else "rel"] * abs(expected)


@pytest.mark.parametrize("case", OPTIONS, ids=ids)
def test_option(case: dict, values: Values) -> None:
    inputs = case["inputs"]
    found = named(values(columns_of(inputs)), inputs)
    level = float(inputs.get("spot", inputs.get("forward", 0.0)))
    assert case["expected"]
    for key, expected in case["expected"].items():
        got = found[key.removesuffix("_full_precision")]
        assert abs(got - expected) <= allowed(key, expected, case["tolerance"], level), f"{key}: {got!r}, expected {expected!r}"


@pytest.mark.parametrize("case", [c for c in CASES if c["group"] == "edge_computed"], ids=ids)
def test_far_wings_keep_relative_accuracy(case: dict, values: Values) -> None:
    """The floor per spot is not needed for the out-of-the-money side: 1e-10 relative even at 1e-40, from the exponent's 2e-16 (m/s)^2."""
    found = values(columns_of(case["inputs"]))
    assert found["price"] == pytest.approx(case["expected"]["price"], rel=1e-10, abs=0.0)


@pytest.mark.parametrize("case", PERPETUAL, ids=ids)
def test_perpetual(case: dict) -> None:
    i = case["inputs"]
    price = perpetual_price(i["spot"], i["domestic_rate_cc"], i["asset_yield_cc"], i["funding_intensity_per_period"], i["interest_differential"],
                            inverse=i["payoff"] == "inverse", funding=i["funding"], funding_period=i["funding_period_years"])
    assert price == pytest.approx(case["expected"]["price"], rel=case["tolerance"]["rel"], abs=0.0)


@pytest.mark.parametrize("case", REALISED, ids=ids)
def test_inverse_future(case: dict) -> None:
    """N (1/entry - 1/exit) coins: the family's value at a level of one unit of quote currency a coin."""
    i = case["inputs"]
    group = {"spot0": 1.0, "forward0": i["exit_price"]}
    coins = i["contracts_usd"] * float(inverse_future(0.0, 0.0, i["entry_price"], group))
    assert i["side"] == "long"
    assert abs(coins - case["expected"]["pnl_coin"]) <= case["tolerance"]["abs"]
    assert coins == pytest.approx(case["expected"]["pnl_coin_full_precision"], rel=case["tolerance"]["full_precision_rel"], abs=0.0)


def test_every_case_runs() -> None:
    assert len(OPTIONS) + len(PERPETUAL) + len(REALISED) == len(CASES) == 96
