"""VaR, ES and Euler contributions against closed forms, published examples and exact small samples."""

from __future__ import annotations

import numpy as np
import pytest
from reference_cases import cases, full_and_published, group
from scipy import special

from upm_gpu.errors import InputError
from upm_gpu.risk import closed_form, expected_shortfall, value_at_risk
from upm_gpu.risk.attribution import expected_shortfall_contributions, value_at_risk_contributions
from upm_gpu.risk.delta_gamma import cornish_fisher_quantile, exceedance, quadratic_loss, quantile
from upm_gpu.rng import normal

TOPIC = "6_risk_measures"


def test_every_case_of_the_topic_is_tested():
    assert {case["group"] for case in cases(TOPIC)} == {
        "delta_gamma_exact", "delta_gamma_ore", "discrete_estimators", "discrete_weighted", "euler_elliptical", "euler_scenarios", "ghs_portfolios", "hull_var",
        "inverse_perp_closed_form", "lognormal_spot_closed_form", "mfe_example", "normal_closed_form", "rockafellar_uryasev", "student_t_closed_form", "t_copula_sum"}


@pytest.mark.parametrize(("inputs", "expected", "tolerance"), group(TOPIC, "discrete_estimators"))
def test_twenty_losses(inputs, expected, tolerance):
    losses, level = inputs["losses"], inputs["confidence"]
    assert float(value_at_risk(losses, level)) == expected["var_lower_quantile"]
    shortfall = float(expected_shortfall(losses, level))
    assert shortfall == pytest.approx(expected["es_acerbi_tasche"], rel=0.0, abs=tolerance["abs"])
    # the definition as a minimum (Rockafellar and Uryasev), attained at a loss
    x = np.asarray(losses)
    assert shortfall == pytest.approx(min(c + np.mean(np.maximum(x - c, 0.0)) / (1.0 - level) for c in x), abs=1e-12)


@pytest.mark.parametrize(("inputs", "expected", "tolerance"), group(TOPIC, "discrete_weighted"))
def test_twenty_weighted_losses(inputs, expected, tolerance):
    arguments = inputs["losses"], inputs["confidence"], inputs["weights"]
    assert float(value_at_risk(*arguments)) == expected["var_lower_quantile"]
    assert float(expected_shortfall(*arguments)) == pytest.approx(expected["es"], rel=0.0, abs=tolerance["abs"])
    # a weight is a count of equal scenarios
    repeated = np.repeat(inputs["losses"], inputs["weights"])
    assert float(expected_shortfall(repeated, inputs["confidence"])) == pytest.approx(expected["es"], abs=1e-12)


@pytest.mark.parametrize(("inputs", "expected", "tolerance"), group(TOPIC, "euler_scenarios"))
def test_contributions_of_scenarios(inputs, expected, tolerance):
    losses, level = np.asarray(inputs["losses"]).T, inputs["confidence"]
    parts = expected_shortfall_contributions(losses, level)
    assert parts == pytest.approx(expected["es_contributions"], abs=tolerance["abs"])
    assert parts.sum() == pytest.approx(expected["es"], abs=tolerance["abs"])
    assert float(expected_shortfall(losses.sum(axis=0), level)) == pytest.approx(expected["es"], abs=tolerance["abs"])
    parts = value_at_risk_contributions(losses, level)
    assert parts == pytest.approx(expected["var_scenario_contributions"], abs=tolerance["abs"])
    assert parts.sum() == pytest.approx(expected["var_lower_quantile"], abs=tolerance["abs"])


@pytest.mark.parametrize(("inputs", "expected", "tolerance"), group(TOPIC, "euler_elliptical"))
def test_contributions_of_elliptical_losses(inputs, expected, tolerance):
    parts = closed_form.elliptical_contributions(inputs["exposures"], inputs["covariance"], inputs["confidence"], inputs["nu"])
    for found, name in zip(parts, ("var", "es"), strict=True):
        assert found == pytest.approx(expected[f"{name}_contributions"], rel=tolerance["rel"], abs=0.0)
        assert found.sum() == pytest.approx(expected[name], rel=tolerance["rel"], abs=0.0)


@pytest.mark.parametrize(("inputs", "expected", "tolerance"), group(TOPIC, "delta_gamma_exact"))
def test_quadratic_loss(inputs, expected, tolerance):
    loss = quadratic_loss(inputs["delta"], inputs["gamma"], inputs["covariance"])
    for name, value in expected.items():
        level = float(name.removeprefix("var_"))
        found = quantile(loss, level)
        assert found == pytest.approx(value, rel=tolerance["rel"], abs=0.0)
        assert exceedance(loss, found) == pytest.approx(1.0 - level, abs=1e-10)


@pytest.mark.parametrize(("inputs", "expected", "tolerance"), group(TOPIC, "delta_gamma_exact"))
def test_quadratic_loss_simulated(inputs, expected, tolerance):
    """The same quantiles from 200,000 draws: within 5 standard errors of a quantile plus the case's tolerance."""
    delta, gamma, covariance = (np.asarray(inputs[key]) for key in ("delta", "gamma", "covariance"))
    count = 200_000
    u = np.linalg.cholesky(covariance) @ normal(20_260_101, 0, count, 3)[:, 0, :]
    loss = -(delta @ u + 0.5 * np.einsum("fs,fg,gs->s", u, gamma, u))
    for name, value in expected.items():
        level = float(name.removeprefix("var_"))
        spread = 5.0 * np.sqrt(level * (1.0 - level) / count)
        low, high = value_at_risk(loss, level - spread), value_at_risk(loss, min(level + spread, 1.0 - 1.0 / count))
        assert low <= value * (1.0 + tolerance["rel"])
        assert high >= value * (1.0 - tolerance["rel"])


@pytest.mark.parametrize(("inputs", "expected", "tolerance"), group(TOPIC, "delta_gamma_ore"))
def test_one_quadratic_factor(inputs, expected, tolerance):
    loss = quadratic_loss(inputs["delta"], inputs["gamma"], inputs["covariance"])
    # the case names the upper quantile of the P&L: the same as minus the lower one of the loss
    level = 1.0 - inputs["quantile"]
    assert -quantile(loss, level) == pytest.approx(expected["pl_quantile_exact"], abs=tolerance["exact_abs"])
    assert -cornish_fisher_quantile(loss, level) == pytest.approx(expected["pl_quantile_cornish_fisher"], abs=tolerance["cornish_fisher_abs"])


def test_one_factor_agrees_with_the_transform():
    """A second, tiny factor sends the same loss through the inversion."""
    one = quadratic_loss([1.0], [[0.8]], [[1.0]])
    two = quadratic_loss([1.0, 1e-7], [[0.8, 0.0], [0.0, 0.0]], np.eye(2))
    for threshold in (-1.0, 0.3, 0.6):
        assert exceedance(two, threshold) == pytest.approx(exceedance(one, threshold), abs=1e-5)


def _price(spot, strike, rate, volatility, years, call):
    d1 = (np.log(spot / strike) + (rate + 0.5 * volatility**2) * years) / (volatility * np.sqrt(years))
    d2 = d1 - volatility * np.sqrt(years)
    sign = 1.0 if call else -1.0
    return sign * (spot * special.ndtr(sign * d1) - strike * np.exp(-rate * years) * special.ndtr(sign * d2))


@pytest.mark.parametrize(("inputs", "expected", "tolerance"), group(TOPIC, "ghs_portfolios"))
def test_short_straddles(inputs, expected, tolerance):
    """Ten independent underlyings: exact delta-gamma law, and full revaluation over own draws within 4 standard errors."""
    spot, strike, volatility, rate = inputs["spot"], inputs["strike"], inputs["vol_annual"], inputs["rate_cc"]
    years, horizon, names = inputs["option_maturity_years"], inputs["horizon_years"], inputs["underlyings"]
    calls, puts = (-inputs["position_per_asset"][key] for key in ("short_atm_calls", "short_atm_puts"))
    d1 = (np.log(spot / strike) + (rate + 0.5 * volatility**2) * years) / (volatility * np.sqrt(years))
    d2, density = d1 - volatility * np.sqrt(years), np.exp(-0.5 * d1 * d1) / np.sqrt(2.0 * np.pi)
    delta = calls * special.ndtr(d1) + puts * (special.ndtr(d1) - 1.0)
    gamma = (calls + puts) * density / (spot * volatility * np.sqrt(years))
    decay = -spot * density * volatility / (2.0 * np.sqrt(years))
    carry = rate * strike * np.exp(-rate * years)
    theta = calls * (decay - carry * special.ndtr(d2)) + puts * (decay + carry * special.ndtr(-d2))
    variance = (spot * volatility) ** 2 * horizon
    loss = quadratic_loss(np.full(names, delta), gamma * np.eye(names), variance * np.eye(names), names * theta * horizon)
    threshold = loss.mean + inputs["x_std"] * loss.standard_deviation
    assert threshold == pytest.approx(inputs["loss_threshold"], rel=1e-12)
    assert exceedance(loss, threshold) == pytest.approx(expected["prob_exceed_delta_gamma_exact"], rel=tolerance["delta_gamma_rel"])

    count = 100_000
    moved = spot + np.sqrt(variance) * normal(3, 0, count, names)[:, 0, :]
    value = calls * _price(moved, strike, rate, volatility, years - horizon, True) + puts * _price(moved, strike, rate, volatility, years - horizon, False)
    today = calls * _price(spot, strike, rate, volatility, years, True) + puts * _price(spot, strike, rate, volatility, years, False)
    share = float(np.mean(np.sum(today - value, axis=0) > threshold))
    error = np.sqrt(expected["prob_exceed_full_revaluation_mc"] / count)
    assert share == pytest.approx(expected["prob_exceed_full_revaluation_mc"], abs=tolerance["mc_abs"] + 4.0 * error, rel=0.0)
    if "published_abs" in tolerance:
        assert share == pytest.approx(expected["prob_exceed_published_rounded"], abs=tolerance["published_abs"] + 4.0 * error, rel=0.0)


@pytest.mark.parametrize(("inputs", "expected", "tolerance"), group(TOPIC, "hull_var"))
def test_parametric_value_at_risk(inputs, expected, tolerance):
    rho = inputs["correlation"]
    matrix = None if rho is None else [[1.0, rho], [rho, 1.0]]
    found = closed_form.parametric_value_at_risk(inputs["position_values"], inputs["daily_vols"], matrix, inputs["days"], inputs["confidence"])
    for value, within in full_and_published(expected, tolerance, "var"):
        assert found == pytest.approx(value, **within)


@pytest.mark.parametrize(("inputs", "expected", "tolerance"), group(TOPIC, "inverse_perp_closed_form"))
def test_inverse_perpetual(inputs, expected, tolerance):
    found = closed_form.inverse_perpetual_tail(inputs["spot"], inputs["drift_annual"], inputs["vol_annual"], inputs["horizon_years"], inputs["confidence"])
    assert found == pytest.approx((expected["var_long_coin"], expected["es_long_coin"]), rel=tolerance["rel"], abs=0.0)


@pytest.mark.parametrize(("inputs", "expected", "tolerance"), group(TOPIC, "lognormal_spot_closed_form"))
@pytest.mark.parametrize("side", ["long", "short"])
def test_lognormal_spot(inputs, expected, tolerance, side):
    found = closed_form.lognormal_tail(inputs["spot"], inputs["drift_annual"], inputs["vol_annual"], inputs["horizon_years"], inputs["confidence"], short=side == "short")
    assert found == pytest.approx((expected[f"var_{side}"], expected[f"es_{side}"]), rel=tolerance["rel"], abs=0.0)


@pytest.mark.parametrize(("inputs", "expected", "tolerance"), group(TOPIC, "lognormal_spot_closed_form"))
def test_lognormal_spot_simulated(inputs, expected, tolerance):
    """The estimators on 200,000 draws of the same law: VaR and ES within 5 standard errors, so each leg of the chain is used."""
    count, level = 200_000, inputs["confidence"]
    s = inputs["vol_annual"] * np.sqrt(inputs["horizon_years"])
    price = inputs["spot"] * np.exp((inputs["drift_annual"] - 0.5 * inputs["vol_annual"] ** 2) * inputs["horizon_years"] + s * normal(11, 0, count, 1)[0, 0])
    for side, loss in (("long", inputs["spot"] - price), ("short", price - inputs["spot"])):
        excess = np.maximum(loss - expected[f"var_{side}"], 0.0)
        error = excess.std() / np.sqrt(count) / (1.0 - level)
        assert float(expected_shortfall(loss, level)) == pytest.approx(expected[f"es_{side}"], abs=5.0 * error, rel=0.0)


@pytest.mark.parametrize(("inputs", "expected", "tolerance"), group(TOPIC, "mfe_example"))
def test_normal_and_t_position(inputs, expected, tolerance):
    deviation = inputs["position_value"] * inputs["vol_annual"] / np.sqrt(inputs["days_per_year"])
    nu, level = inputs["nu"], inputs["confidence"]
    tails = {"normal": closed_form.normal_tail(0.0, deviation, level),
             "t4": closed_form.student_t_tail(nu, level, scale=deviation * np.sqrt((nu - 2.0) / nu))}
    checked = 0
    for law, (var, es) in tails.items():
        for name, found in ((f"var_{law}", var), (f"es_{law}", es)):
            for value, within in full_and_published(expected, tolerance, name):
                assert found == pytest.approx(value, **within)
                checked += 1
    assert checked == len(expected)


@pytest.mark.parametrize(("inputs", "expected", "tolerance"), group(TOPIC, "normal_closed_form"))
def test_normal(inputs, expected, tolerance):
    var, es = closed_form.normal_tail(inputs["mu"], inputs["sigma"], inputs["confidence"])
    assert (var, es, es / var) == pytest.approx((expected["var"], expected["es"], expected["es_over_var"]), rel=tolerance["rel"], abs=0.0)


@pytest.mark.parametrize(("inputs", "expected", "tolerance"), group(TOPIC, "rockafellar_uryasev"))
def test_three_normal_instruments(inputs, expected, tolerance):
    w, mean, covariance = (np.asarray(inputs[key]) for key in ("weights", "mean_monthly", "covariance"))
    var, es = closed_form.normal_tail(-float(w @ mean), float(np.sqrt(w @ covariance @ w)), inputs["confidence"])
    for name, found in (("var", var), ("cvar", es)):
        for value, within in full_and_published(expected, tolerance, name):
            assert found == pytest.approx(value, **within)


@pytest.mark.parametrize(("inputs", "expected", "tolerance"), group(TOPIC, "student_t_closed_form"))
def test_student_t(inputs, expected, tolerance):
    nu = inputs["nu"]
    tail = closed_form.student_t_tail(nu, inputs["confidence"], inputs["location"], inputs["scale"])
    assert tail == pytest.approx((expected["var"], expected["es"]), rel=tolerance["rel"], abs=0.0)
    tail = closed_form.student_t_tail(nu, inputs["confidence"], inputs["location"], inputs["scale"] * np.sqrt((nu - 2.0) / nu))
    assert tail == pytest.approx((expected["var_unit_variance"], expected["es_unit_variance"]), rel=tolerance["rel"], abs=0.0)


@pytest.mark.parametrize(("inputs", "expected", "tolerance"), group(TOPIC, "t_copula_sum"))
def test_sum_under_a_t_copula(inputs, expected, tolerance):
    tail = closed_form.t_copula_sum_tail(inputs["nu"], inputs["rho"], inputs["confidence"])
    assert tail == pytest.approx((expected["var"], expected["es"]), rel=tolerance["rel"], abs=0.0)


@pytest.mark.parametrize(("level", "hint"), [(99, r"Use 0\.99\."), (97.5, r"Use 0\.975\."), (0.0, "Use a number"), (1.0, "Use a number"), (-1.0, "Use a number"), (float("nan"), "Use a number")])
def test_a_level_that_is_none_is_refused(level, hint):
    with pytest.raises(InputError, match=f"UPM-CF-088.*{hint}"):
        expected_shortfall([1.0, 2.0], level)


def test_undefined_losses_and_weights_are_refused():
    with pytest.raises(InputError, match="UPM-PR-080"):
        value_at_risk([1.0, np.nan], 0.5)
    for weights in ([1.0, -1.0], [0.0, 0.0], [1.0, np.inf]):
        with pytest.raises(InputError, match="UPM-CF-089"):
            value_at_risk([1.0, 2.0], 0.5, weights)
    with pytest.raises(InputError, match="UPM-CF-089"):
        expected_shortfall([], 0.5)
