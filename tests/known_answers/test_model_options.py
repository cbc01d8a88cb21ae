"""Merton, Heston and Bates against published and recomputed prices, every case as a row of `upm price`, on the twin, the engine and the emulated device."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from reference_cases import cases

from upm_gpu.backend import cpu, reference
from upm_gpu.formula.heston_price import log_heston_moment
from upm_gpu.pricing.cases import CaseTable, value_cases

ALL = cases("3_jump_and_stochastic_vol")
OPTIONS = [case for case in ALL if "maturity_years" in case["inputs"]]
MOMENTS = [case for case in ALL if case["group"] == "heston_moments_computed"]
MODELS = {"heston": "heston", "bates": "bates", "merton_jump_diffusion": "merton"}
NAMES = {"option_type": "option_type", "spot": "spot", "strike": "strike", "rate_cc": "rate", "carry_yield_cc": "dividend_yield", "maturity_years": "time_to_expiry",
         "diffusion_vol": "volatility", "v0": "initial_variance", "kappa": "mean_reversion", "theta": "long_run_variance", "vol_of_variance": "vol_of_vol",
         "rho": "correlation", "jump_intensity": "jump_intensity", "log_jump_mean": "jump_mean", "log_jump_std": "jump_volatility"}
WINGS = {case["id"] for case in OPTIONS if case["expected"].get("price_full_precision", 1.0) < 1e-10}
"""far wings, where the twin's rounding is the whole price"""


def priced(values: Callable[..., Any]) -> dict[str, dict[str, Any]]:
    """Results of every case by id, through the table of cases."""
    rows = []
    for case in OPTIONS:
        given = case["inputs"] | case["inputs"].get("derived", {})
        rows.append({"product": "european", "model": MODELS[case["model"]]} | {NAMES[k]: v for k, v in given.items() if k in NAMES})
    header = tuple(dict.fromkeys(column for row in rows for column in row))
    text = tuple(tuple("" if c not in row else row[c] if isinstance(row[c], str) else repr(row[c]) for c in header) for row in rows)
    results, faults = value_cases(CaseTable("models", header, text, tuple(range(2, len(text) + 2))), values)
    assert not faults, faults[:3]
    return {case["id"]: result for case, result in zip(OPTIONS, results, strict=True)}


@pytest.fixture(scope="module", params=["twin", "cpu", "cuda-emulated"])
def found(request: pytest.FixtureRequest) -> Iterator[tuple[str, dict[str, dict[str, Any]]]]:
    if request.param == "twin":
        yield request.param, priced(reference.values)
    elif request.param == "cpu":
        if not cpu.available()[0]:
            pytest.skip(cpu.available()[2])
        yield request.param, priced(cpu.values)
    else:
        from emulator import build
        from emulator.backend import EmulatedCuda

        if reason := build.unavailable():
            pytest.skip(reason)
        yield request.param, priced(EmulatedCuda(build.build()).values)


@pytest.mark.parametrize("case", OPTIONS, ids=lambda case: f"{case['id']}-{case['group']}")
def test_price(case: dict[str, Any], found: tuple[str, dict[str, dict[str, Any]]]) -> None:
    """Published numbers to their printed accuracy, recomputed ones to their precision, and the volatility that Black's formula needs for the price."""
    backend, results = found
    if backend == "twin" and case["id"] in WINGS:
        pytest.skip("the twin has no relative accuracy in the wings")
    got, expected, tolerance = results[case["id"]], case["expected"], case["tolerance"]
    keys = {"price": "price_abs", "price_full_precision": "full_precision_abs" if "full_precision_abs" in tolerance else "price_abs", "implied_vol": "implied_vol_abs",
            "implied_vol_published": "published_abs"}
    for key, value in expected.items():
        mine = got["implied_volatility" if key.startswith("implied") else "price"]
        assert abs(mine - value) <= tolerance[keys[key]], f"{key}: {mine!r}, expected {value!r}"


@pytest.mark.parametrize("case", MOMENTS, ids=lambda case: case["id"])
def test_moments(case: dict[str, Any]) -> None:
    """Mean and integrated variance of the model, cumulants of the log-price from the derivatives of its moment function at 0."""
    i, expected, rel = case["inputs"], case["expected"], case["tolerance"]["rel"]
    v0, kappa, theta, xi, years = i["v0"], i["kappa"], i["theta"], i["vol_of_variance"], i["horizon_years"]
    left = np.exp(-kappa * years)
    assert theta + (v0 - theta) * left == pytest.approx(expected["mean_variance"], rel=rel)
    spread = v0 * xi**2 / kappa * (left - left**2) + theta * xi**2 / (2.0 * kappa) * (1.0 - left) ** 2
    assert spread == pytest.approx(expected["var_variance"], rel=rel)
    # Cauchy's formula on a circle inside the strip of finite moments
    turn = np.exp(2j * np.pi * np.arange(256) / 256)
    radius = 0.25
    series = np.fft.fft(log_heston_moment(radius * turn, years, v0, kappa, theta, xi, i["rho"])) / 256
    cumulants = [float(series[n].real) * factorial / radius**n for n, factorial in ((1, 1), (2, 2), (3, 6), (4, 24))]
    assert cumulants == pytest.approx(expected["log_forward_return_cumulants_1_to_4"], rel=rel)
    assert -2.0 * cumulants[0] == pytest.approx(expected["mean_integrated_variance"], rel=rel)


def test_every_case_is_here() -> None:
    assert len(OPTIONS) == 151 and len(MOMENTS) == 2
