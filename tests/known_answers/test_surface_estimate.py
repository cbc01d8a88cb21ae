"""SVI slices from exact quotes, jump wings and the butterfly function: topic 9 of the reference values."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from upm_gpu.calibrate.surface_estimate import fit_slice, jump_wings, slice_errors, without_butterflies
from upm_gpu.market.surface import SviSlice, density_sign, implied_volatility

CASES = {c["id"]: c for c in json.loads((Path(__file__).parent / "reference" / "9_calibration.json").read_text())["cases"]}
EXPIRY = datetime(2027, 1, 1, tzinfo=UTC)
NAMES = ("a", "b", "rho", "m", "sigma")


def slice_of(years, values) -> SviSlice:
    return SviSlice(EXPIRY, years, *(float(x) for x in values))


@pytest.mark.parametrize("case", ["D09-003", "D09-004", "D09-005"])
def test_raw_parameters_are_found_again(case):
    x, expected, tolerance = (CASES[case][k] for k in ("inputs", "expected", "tolerance"))
    k, sigma, years = np.array(x["log_moneyness"]), np.array(x["implied_vols"]), x["maturity_years"]
    level = float(np.interp(0.0, k, sigma)) ** 2 * years
    raw, converged = fit_slice(years, k, sigma, np.ones(len(k)), np.array([0.5 * level, 0.5 * np.sqrt(level), 0.0, 0.0, 0.1]))
    assert converged
    np.testing.assert_allclose(raw, [expected[n] for n in NAMES], atol=tolerance["parameters_abs"])
    found = slice_of(years, raw)
    assert float(np.sqrt(np.mean((implied_volatility(found, k) - sigma) ** 2))) < tolerance["vol_rmse"]
    g = density_sign(slice_of(years, [expected[n] for n in NAMES]), k)
    np.testing.assert_allclose(g, expected["g_function"], atol=tolerance["g_abs"])


def test_jump_wings_of_vogts_slice():
    x, expected, tolerance = (CASES["D09-006"][k] for k in ("inputs", "expected", "tolerance"))
    svi = slice_of(x["maturity_years"], [x[n] for n in NAMES])
    wings = jump_wings(svi)
    for name, value in expected["jump_wings"].items():
        assert wings[name] == pytest.approx(value, rel=tolerance["jump_wings_rel"])
    for name in ("v", "psi", "p", "c", "vtilde"):
        assert wings[name] == pytest.approx(expected[f"{name}_published"], abs=tolerance["published_abs"])
    assert float(np.min(density_sign(svi, np.linspace(-3.0, 3.0, 60_001)))) == pytest.approx(expected["min_g_on_grid"], abs=tolerance["min_g_abs"])


def test_wings_without_butterflies():
    x, expected, tolerance = (CASES["D09-007"][k] for k in ("inputs", "expected", "tolerance"))
    found = without_butterflies(x)
    assert found["c"] == pytest.approx(expected["c_new"], rel=tolerance["rel"]) and found["vtilde"] == pytest.approx(expected["vtilde_new"], rel=tolerance["rel"])
    assert found["c"] == pytest.approx(expected["c_new_published"], abs=tolerance["published_abs"])


def test_standard_errors_cover_the_truth():
    """200 seeds, errors of a third of a point on 21 quotes: 95 % intervals of five parameters; 0.89 has probability 1e-4, half the width holds two thirds."""
    truth, years, k = np.array([0.04, 0.4, -0.4, 0.05, 0.1]), 1.0, np.linspace(-0.6, 0.6, 21)
    clean = implied_volatility(slice_of(years, truth), k)
    whole, half = [], []
    for seed in range(200):
        sigma = clean + 0.0033 * np.random.default_rng(seed).standard_normal(len(k))
        raw, converged = fit_slice(years, k, sigma, np.ones(len(k)), truth * 1.1)
        assert converged
        away = np.abs(raw - truth) / slice_errors(slice_of(years, raw), k, sigma, np.ones(len(k)))
        whole.append(away <= 2.12)
        half.append(away <= 1.06)
    assert np.all(np.mean(whole, axis=0) > 0.89), np.mean(whole, axis=0)
    assert np.all(np.mean(half, axis=0) < 0.82)
