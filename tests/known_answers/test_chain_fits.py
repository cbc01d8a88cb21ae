"""Fits to published and exact chains (topic 9): the DAX surface of 2002, synthetic Heston prices, a flat surface, and every model from its own prices."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from chain_cases import TRUTH, chain_of, model_volatility

from upm_gpu.calibrate.chain.fit import FitOptions, fit_chains
from upm_gpu.calibrate.chain.moments import chain_model
from upm_gpu.calibrate.chain.quotes import Chain, make_chain
from upm_gpu.calibrate.chain.unknowns import box, coordinates, parameters_of
from upm_gpu.errors import CalibrationError
from upm_gpu.formula.implied_volatility import implied_volatility

CASES = {c["id"]: c for c in json.loads((Path(__file__).parent / "reference" / "9_calibration.json").read_text())["cases"]}


def dax() -> Chain:
    x = CASES["D09-001"]["inputs"]
    years, strikes = np.array(x["maturities_years_used"]), np.array(x["strikes"], float)
    forward = x["spot"] * np.exp(np.array(x["zero_rates_cc"]) * years)
    size = len(strikes)
    return make_chain("DAX", None, np.repeat([f"{t:.4f}" for t in years], size), np.repeat(years, size), np.repeat(forward, size), np.tile(strikes, len(years)),
                      np.array(x["implied_vols_rows_by_strike"]).T.ravel(), np.full(size * len(years), np.nan), reach=20.0)


def test_dax_2002():
    """Sum of squares 177.2 of the published fit (QuantLib's own optimum 177.233 under its rounded maturities and interpolated curve); ours is the least of this objective: no start ends lower."""
    fit = fit_chains([dax()], FitOptions(weights="equal"))[0]
    squares = float(np.sum((100.0 * fit.residual) ** 2))
    assert fit.converged and squares == pytest.approx(177.248, abs=0.01)
    case = CASES["D09-001"]["expected"]
    assert abs(squares - case["sse_vol_points"]) < CASES["D09-001"]["tolerance"]["sse_abs"]
    theirs = case["quantlib_parameters"]
    chain = fit.chain
    there = model_volatility("heston", [theirs[n] for n in ("v0", "kappa", "theta", "vol_of_variance", "rho")], chain.log_moneyness, chain.years[chain.expiry])
    assert squares <= float(np.sum((100.0 * (there - chain.volatility)) ** 2)) + 1e-9
    assert fit.condition < 10.0 and not any(fit.bounds)


@pytest.mark.parametrize("objective", ["volatility", "price"])
@pytest.mark.parametrize("case", ["D09-008", "D09-009"])
def test_exact_heston_prices(case, objective):
    x, expected, tolerance = (CASES[case][k] for k in ("inputs", "expected", "tolerance"))
    q = x["quotes"]
    years, strike, price = (np.array([r[n] for r in q]) for n in ("maturity_years", "strike", "price"))
    forward = x["spot"] * np.exp((x["rate_cc"] - x["carry_yield_cc"]) * years)
    sigma, _ = implied_volatility(forward, strike, np.log(forward / strike), years, price * np.exp(x["rate_cc"] * years), np.array([1.0 if r["option_type"] == "call" else -1.0 for r in q]))
    chain = make_chain("X", None, [str(t) for t in years], years, forward, strike, sigma, np.full(len(q), np.nan), reach=20.0)
    start = np.array([x["initial_guess"][n] for n in ("v0", "kappa", "theta", "vol_of_variance", "rho")]) if "initial_guess" in x else None
    for given in (None, start):
        fit = fit_chains([chain], FitOptions(objective=objective), given)[0]
        assert fit.converged
        for mine, theirs, key in (("initial_variance", "v0", "v0_rel"), ("mean_reversion", "kappa", "kappa_rel"), ("long_run_variance", "theta", "theta_rel"), ("vol_of_vol", "vol_of_variance", "vol_of_variance_rel")):
            assert fit.value(mine) == pytest.approx(expected[theirs], rel=tolerance[key])
        assert fit.value("correlation") == pytest.approx(expected["rho"], abs=tolerance["rho_abs"])
        assert float(np.sqrt(np.mean(((fit.price - chain.price) * chain.forward) ** 2))) < tolerance["rmse_price"]


def test_a_flat_surface_has_no_vol_of_vol():
    x, expected = CASES["D09-002"]["inputs"], CASES["D09-002"]["expected"]
    years = np.repeat(np.array(x["maturities_months"]) / 12.0, 3)
    moneyness = np.tile(np.array(x["standardised_moneyness"], float), len(x["maturities_months"]))
    strike = np.exp(moneyness * x["implied_vol"] * np.sqrt(years))
    chain = make_chain("flat", None, [f"{t:.4f}" for t in years], years, np.ones(len(years)), strike, np.full(len(years), x["implied_vol"]), np.full(len(years), np.nan))
    fit = fit_chains([chain], FitOptions(weights="equal"))[0]
    tolerance = CASES["D09-002"]["tolerance"]["abs"]
    assert fit.value("vol_of_vol") == pytest.approx(expected["vol_of_variance"], abs=tolerance)
    assert fit.value("initial_variance") == pytest.approx(expected["v0"], abs=tolerance)
    assert fit.value("mean_reversion") * (fit.value("long_run_variance") - fit.value("initial_variance")) == pytest.approx(0.0, abs=tolerance)


@pytest.mark.parametrize("objective", ["volatility", "price"])
@pytest.mark.parametrize("name", ["heston", "merton", "bates"])
def test_every_model_is_found_again_from_its_own_prices(name, objective):
    fit = fit_chains([chain_of(name, TRUTH[name])], FitOptions(model=name, objective=objective))[0]
    assert fit.converged
    np.testing.assert_allclose(fit.parameters, TRUTH[name], rtol=1e-5)
    assert not any(fit.bounds)


def test_chains_of_one_call_are_those_of_their_own():
    """Different sizes share a padded batch."""
    chains = [chain_of("heston", TRUTH["heston"], noise=0.004, seed=i, years=years) for i, years in enumerate([(0.1, 0.6, 1.5), (0.03, 0.08, 0.2, 0.5, 1.1), (0.3, 0.9)])]
    for together, chain in zip(fit_chains(chains, FitOptions()), chains, strict=True):
        alone = fit_chains([chain], FitOptions())[0]
        np.testing.assert_allclose(together.parameters, alone.parameters, rtol=1e-4)
        np.testing.assert_allclose(together.volatility, alone.volatility, rtol=1e-6)
        assert len(together.volatility) == len(chain.strike)


def test_feller_is_held_and_said():
    chain = chain_of("heston", TRUTH["heston"])  # 2 kappa theta = 3.2 < 3.24
    fit = fit_chains([chain], FitOptions(feller=True))[0]
    _, kappa, theta, xi, _ = fit.parameters
    assert 2.0 * kappa * theta >= xi * xi * (1.0 - 1e-12)
    assert fit.bounds[3] == "feller" and fit.converged
    assert np.isfinite(fit.standard_errors[3])  # it still follows the other two
    assert fit.cost >= fit_chains([chain], FitOptions())[0].cost


def test_coordinates_and_their_derivatives():
    for name, feller in (("heston", False), ("heston", True), ("bates", True), ("merton", False)):
        model = chain_model(name)
        p = np.array(TRUTH[name])
        z = coordinates(model, p, feller)
        back, by = parameters_of(model, z, feller)
        np.testing.assert_allclose(back, p, rtol=1e-14)
        for i in range(len(z)):
            h = np.zeros(len(z))
            h[i] = 1e-6
            np.testing.assert_allclose(by[:, i], (parameters_of(model, z + h, feller)[0] - parameters_of(model, z - h, feller)[0]) / 2e-6, rtol=1e-7, atol=1e-8)
        low, high = box(model, feller)
        assert np.all(low < high)


def test_what_one_expiry_cannot_tell_is_named():
    """One maturity says what its variance is on average, not how it gets there."""
    chain = chain_of("heston", (0.3, 2.0, 0.3, 0.5, -0.4), noise=0.002, seed=3, years=(0.25,), deviations=np.linspace(-2.0, 2.0, 25))
    fit = fit_chains([chain], FitOptions())[0]
    assert fit.condition > 1e3 or any(fit.bounds)
    if not any(fit.bounds):
        assert {"mean_reversion", "long_run_variance", "initial_variance"} & set(fit.weakest)


def test_weights_follow_spreads():
    """A wrong quote with a wide spread moves the fit less than one with a narrow spread."""
    clean = chain_of("heston", TRUTH["heston"])
    found = []
    for wide in (True, False):
        spread = np.full(len(clean.strike), 0.002)
        spread[3] = 0.05 if wide else 0.0005
        sigma = clean.volatility.copy()
        sigma[3] += 0.05
        chain = Chain(clean.underlying, None, clean.years, clean.labels, clean.expiry, clean.forward, clean.strike, sigma, spread)
        found.append(fit_chains([chain], FitOptions(weights="spread"))[0])
    away = [float(np.max(np.abs(f.parameters / np.array(TRUTH["heston"]) - 1.0))) for f in found]
    assert away[0] < 0.25 * away[1]


def test_too_few_quotes_are_refused_by_name():
    with pytest.raises(CalibrationError, match="UPM-CA-210 X: too few quotes, 4 usable ones for 5 parameters"):
        make_chain("X", None, ["a"] * 4, np.full(4, 0.5), np.ones(4), np.array([0.9, 0.95, 1.0, 1.1]), np.full(4, 0.5), np.full(4, np.nan))
    with pytest.raises(CalibrationError, match="beyond 5 standard deviations"):
        make_chain("X", None, ["a"] * 6, np.full(6, 0.01), np.ones(6), np.array([0.1, 0.2, 0.3, 1.0, 3.0, 4.0]), np.full(6, 0.5), np.full(6, np.nan))
