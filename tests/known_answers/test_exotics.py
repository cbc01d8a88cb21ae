"""Exotics against published and recomputed values, every case as a row of `upm price`, on the twin, the engine and the emulated device.

A published number is held to its printed accuracy, a recomputed one to its full precision.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import Any

import pytest
from reference_cases import cases

from upm_gpu.backend import cpu, reference
from upm_gpu.pricing.cases import CaseTable, value_cases

CASES = cases("4_exotics")
NAMES = {"option_type": "option_type", "spot": "spot", "strike": "strike", "rate_cc": "rate", "carry_yield_cc": "dividend_yield", "maturity_years": "time_to_expiry",
         "vol_annual": "volatility", "barrier": "barrier", "rebate": "rebate", "monitoring": "monitoring", "lower": "lower_barrier", "upper": "upper_barrier",
         "moneyness_alpha": "moneyness", "start_years": "start_time", "correlation": "correlation", "v0": "initial_variance", "kappa": "mean_reversion",
         "theta": "long_run_variance", "vol_of_variance": "vol_of_vol", "rho": "correlation"}
BARRIER_TYPES = {"up_and_out": "up_out", "up_and_in": "up_in", "down_and_out": "down_out", "down_and_in": "down_in", "knock_in": "knock_in", "knock_out": "knock_out"}


def rows_of(case: dict[str, Any]) -> list[tuple[float, dict[str, Any]]]:
    """The rows of `upm price` whose sum, each times its number, is the case."""
    given, group = case["inputs"], case["group"]
    row = {NAMES[k]: v for k, v in given.items() if k in NAMES}
    if "barrier_type" in given:
        row["barrier_type"] = BARRIER_TYPES[given["barrier_type"]]
    if "cash" in given:
        row |= {"payout_type": "asset", "payout": 1.0} if given["cash"] is None else {"payout_type": "cash", "payout": given["cash"]}
    if group.startswith("asian"):
        row |= {"product": "asian", "asian_average": "geometric" if group == "asian_geometric" else "arithmetic"}
        row["monitoring"] = "continuous" if "continuous" in group else "discrete"
        if "first_fixing_years" in given:
            count, first, span = given["number_of_fixings"], given["first_fixing_years"], given["fixing_span_years"]
            row["fixings"] = ";".join(repr(min(first + span * i / (count - 1), given["maturity_years"])) for i in range(count))
        elif "fixing_times_years" in given:
            row["fixings"] = ";".join(map(repr, given["fixing_times_years"]))
    elif group == "heston_geometric_asian":
        row |= {"product": "asian", "model": "heston", "asian_average": "geometric", "monitoring": "continuous"}
    elif group == "haug_binary_barrier":
        row["product"] = "digital_barrier"
    elif group == "haug_one_touch":
        words = case["method"].split()  # such as: one-touch cash at hit
        row |= {"product": words[0].replace("-", "_"), "payout_time": words[3], "barrier": given["strike"], "barrier_type": "up" if given["option_type"] == "call" else "down"}
    elif group == "haug_double_barrier":
        row["product"] = "double_barrier"
    elif group == "haug_digital":
        row["product"] = "digital"
        if "payoff_strike" in given:  # a gap option: asset at the strike less cash of the payoff's strike
            return [(1.0, row | {"payout_type": "asset"}), (-1.0, row | {"payout_type": "cash", "payout": given["payoff_strike"]})]
        row["payout_type"] = "asset"
    elif group == "forward_start":
        row["product"] = "forward_start"
    elif group == "stulz_two_asset":
        row |= {"product": f"{given['on']}_of_two", "spot": given["spots"][0], "spot_2": given["spots"][1], "volatility": given["vols_annual"][0],
                "volatility_2": given["vols_annual"][1], "dividend_yield": given["carry_yields_cc"][0], "dividend_yield_2": given["carry_yields_cc"][1]}
    else:
        row["product"] = "barrier"
    return [(1.0, row)]


MANY = {case["id"] for case in CASES if case["inputs"].get("number_of_fixings", len(case["inputs"].get("fixing_times_years", ()))) > 12}
MANY |= {case["id"] for case in CASES if case["group"] == "asian_continuous_arithmetic"} - {"D04-017"}
"""fixings: the twin takes a second a case there, and agrees with the engine to 1e-6"""


def priced(values: Callable[..., Any], without: Collection[str] = ()) -> dict[str, float]:
    """Price of every case by id, through the table of cases."""
    parts = [(case["id"], weight, row) for case in CASES if case["id"] not in without for weight, row in rows_of(case)]
    header = tuple(dict.fromkeys(column for _, _, row in parts for column in row))
    text = tuple(tuple("" if row.get(c) is None else row[c] if isinstance(row[c], str) else repr(row[c]) for c in header) for _, _, row in parts)
    results, faults = value_cases(CaseTable("exotics", header, text, tuple(range(2, len(text) + 2))), values)
    assert not faults, faults[:3]
    found: dict[str, float] = {}
    for (name, weight, _), result in zip(parts, results, strict=True):
        found[name] = found.get(name, 0.0) + weight * result["price"]
    return found


@pytest.fixture(scope="module", params=["twin", "cpu", "cuda-emulated"])
def prices(request: pytest.FixtureRequest) -> Iterator[dict[str, float]]:
    if request.param == "twin":
        yield priced(reference.values, MANY)
    elif request.param == "cpu":
        if not cpu.available()[0]:
            pytest.skip(cpu.available()[2])
        yield priced(cpu.values)
    else:
        from emulator import build
        from emulator.backend import EmulatedCuda

        if reason := build.unavailable():
            pytest.skip(reason)
        yield priced(EmulatedCuda(build.build()).values)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['id']}-{case['group']}")
def test_price(case: dict[str, Any], prices: dict[str, float]) -> None:
    if case["id"] not in prices:
        pytest.skip("the twin is slow on many fixings")
    got, expected, tolerance = prices[case["id"]], case["expected"], case["tolerance"]
    # The approximation of two moments is another number: what stands beside it is the simulated price.
    for key in ["price_mc"] if "price_tw" in expected else expected:
        allowed = tolerance["full_precision_abs" if key == "price_full_precision" else f"{key}_abs"]
        assert abs(got - expected[key]) <= allowed, f"{key}: {got!r}, expected {expected[key]!r}"


def test_every_case_is_here() -> None:
    assert len(CASES) == 211
