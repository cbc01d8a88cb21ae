"""Back-test statistics: published and recomputed values (reference/7_backtests.json), other libraries, limits, what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from reference_cases import group
from scipy import stats

import upm_gpu as upm
from upm_gpu.backtest.shortfall import null_statistics
from upm_gpu.errors import InputError

TOPIC = "7_backtests"


def hits(n00: int, n01: int, n10: int, n11: int) -> np.ndarray:
    """A sequence with these transitions: runs of hits and calm days, n01 starts and n10 ends of hits."""
    assert abs(n01 - n10) <= 1
    first = 1 if n10 > n01 else 0
    runs = n01 + n10 + 1
    out: list[int] = []
    spare = {0: n00, 1: n11}
    for i in range(runs):
        state = (first + i) % 2
        extra, spare[state] = (spare[state], 0)
        out += [state] * (1 + extra)
    return np.array(out)


@pytest.mark.parametrize(("inputs", "expected", "tolerance"), group(TOPIC, "kupiec_pof_computed"))
def test_proportion_of_failures(inputs, expected, tolerance):
    found = upm.backtest.kupiec(inputs["failures"], inputs["observations"], 1.0 - inputs["var_tail_probability"])
    assert found.statistic == pytest.approx(expected["lr_pof"], rel=tolerance["rel"], abs=1e-12)
    assert found.p_value == pytest.approx(expected["p_value"], rel=tolerance["rel"])
    assert found.cumulative_probability == pytest.approx(expected["binomial_cdf"], rel=tolerance["rel"])


@pytest.mark.parametrize(("inputs", "expected", "tolerance"), group(TOPIC, "kupiec_pof_matlab"))
def test_proportion_of_failures_published(inputs, expected, tolerance):
    found = upm.backtest.kupiec(inputs["failures"], inputs["observations"], 1.0 - inputs["var_tail_probability"])
    for key, value in (("lr", found.statistic), ("p_value", found.p_value)):
        assert value == pytest.approx(expected["lr_pof" if key == "lr" else key], rel=tolerance["published_rel"])
        assert value == pytest.approx(expected[f"{key}_full_precision"], rel=tolerance["full_precision_rel"])


@pytest.mark.parametrize(("inputs", "expected", "tolerance"), group(TOPIC, "kupiec_region"))
def test_region_that_is_not_rejected(inputs, expected, tolerance):
    found = upm.backtest.kupiec_region(inputs["observations"], 1.0 - inputs["var_tail_probability"], inputs["test_level"])
    assert tolerance == {"exact": True}
    assert found == (expected["min_failures_not_rejected"], expected["max_failures_not_rejected"])


@pytest.mark.parametrize(("inputs", "expected", "tolerance"), [*group(TOPIC, "christoffersen_computed"), *group(TOPIC, "christoffersen_matlab")])
def test_independence(inputs, expected, tolerance):
    found = upm.backtest.christoffersen(hits(**inputs), 0.99)
    assert found.transitions == tuple(inputs[k] for k in ("n00", "n01", "n10", "n11"))
    exact = expected.get("lr_full_precision", expected["lr_ind"])
    assert found.statistic == pytest.approx(exact, rel=tolerance.get("full_precision_rel", tolerance.get("rel")), abs=1e-12)
    assert found.statistic == pytest.approx(expected["lr_ind"], rel=tolerance.get("published_rel", tolerance.get("rel")), abs=1e-12)
    assert found.p_value == pytest.approx(expected["p_value"], rel=tolerance.get("published_rel", tolerance.get("rel")))
    joint = upm.backtest.kupiec(int(hits(**inputs).sum()), len(hits(**inputs)), 0.99).statistic + found.statistic
    assert found.conditional_coverage.statistic == pytest.approx(joint, rel=1e-12)
    assert found.conditional_coverage.p_value == pytest.approx(stats.chi2(2).sf(joint), rel=1e-10)


def test_time_until_first_failure():
    """The likelihood written out; as promised is 0, and coming early is worse than coming late."""
    p = 0.01
    for day in (1, 7, 100, 700):
        q = 1.0 / day
        want = 2.0 * (np.log(q) + (day - 1) * (np.log1p(-q) if day > 1 else 0.0) - np.log(p) - (day - 1) * np.log1p(-p))
        assert upm.backtest.time_until_first_failure(day, 0.99).statistic == pytest.approx(want, rel=1e-12, abs=1e-12)
    assert upm.backtest.time_until_first_failure(2, 0.99).p_value < 0.05 < upm.backtest.time_until_first_failure(300, 0.99).p_value


@pytest.mark.parametrize(("inputs", "expected", "tolerance"), group(TOPIC, "basel_traffic_light"))
def test_traffic_light(inputs, expected, tolerance):
    found = upm.backtest.traffic_light(inputs["exceptions"], inputs["observations"], 1.0 - inputs["var_tail_probability"])
    assert (found.zone, found.plus_factor, found.multiplier) == (expected["zone"], expected["plus_factor_1996"], expected["multiplier_2019_mar"])
    assert 3.0 + found.plus_factor == expected["multiplier_1996"]
    assert found.statistic == pytest.approx(expected["cumulative_probability"], abs=tolerance["cumulative_abs"])
    assert found.statistic == pytest.approx(expected["cumulative_probability_full_precision"], rel=1e-12)


@pytest.mark.parametrize(("inputs", "expected", "tolerance"), [*group(TOPIC, "traffic_light_bounds"), *group(TOPIC, "traffic_light_bounds_computed")])
def test_zone_bounds(inputs, expected, tolerance):
    assert tolerance == {"exact": True}
    yellow, red = upm.backtest.zone_bounds(inputs["observations"], 1.0 - inputs["var_tail_probability"])
    assert (yellow, red) == (expected["first_yellow"], expected["first_red"])
    zones = [upm.backtest.traffic_light(x, inputs["observations"], 1.0 - inputs["var_tail_probability"]).zone for x in (yellow - 1, yellow, red - 1, red)]
    assert zones == ["green", "yellow", "yellow", "red"]


@pytest.mark.slow
@pytest.mark.parametrize(("inputs", "expected", "tolerance"), group(TOPIC, "overlapping_traffic_light"))
def test_overlapping_windows(inputs, expected, tolerance):
    green, yellow = upm.backtest.overlapping_zones(inputs["observations"], inputs["horizon_days"], 1.0 - inputs["var_tail_probability"], inputs["portfolios"],
                                                   inputs["correlation"] or 0.0, samples=250_000)
    assert green == pytest.approx(expected["max_green"], abs=tolerance["max_green_abs"])
    assert yellow == pytest.approx(expected["max_amber"], abs=tolerance["max_amber_abs"])


def test_windows_that_do_not_overlap_have_the_binomial_zones():
    assert upm.backtest.overlapping_zones(250, 1, 0.99, samples=8_000)[0] == upm.backtest.zone_bounds(250, 0.99)[0] - 1


@pytest.mark.parametrize(("inputs", "expected", "tolerance"), group(TOPIC, "acerbi_szekely_z2"))
def test_critical_values_of_z2(inputs, expected, tolerance):
    nu = float(inputs["null_distribution"].partition("=")[2])
    _, z2 = null_statistics(inputs["observations"], inputs["es_level"], nu, 200_000, 3)
    assert np.quantile(z2, 0.05) == pytest.approx(expected["critical_5pct_mc"], abs=tolerance["critical_5pct_abs"])


@pytest.mark.slow
@pytest.mark.parametrize(("inputs", "expected", "tolerance"), group(TOPIC, "acerbi_szekely_z2"))
def test_far_critical_values_of_z2(inputs, expected, tolerance):
    nu = float(inputs["null_distribution"].partition("=")[2])
    _, z2 = null_statistics(inputs["observations"], inputs["es_level"], nu, 2_000_000, 3)
    assert np.quantile(z2, 1e-4) == pytest.approx(expected["critical_0.01pct_mc"], rel=tolerance["critical_0.01pct_rel"])


def test_statistics_of_shortfall_by_hand():
    """Ten days at 80 %: losses 4 and 6 beyond VaR 3 with ES 5, expected two exceptions of five each."""
    loss = np.array([0.0, 4.0, 1.0, 2.0, 6.0, 0.0, 1.0, -3.0, 2.0, 2.0])
    found = upm.backtest.acerbi_szekely(loss, 3.0, 5.0, 0.8, samples=500)
    assert found.z1 == pytest.approx(1.0 - (4.0 + 6.0) / 5.0 / 2.0)
    assert found.statistic == pytest.approx(1.0 - (4.0 + 6.0) / (10 * 0.2 * 5.0))
    assert (found.exceptions, found.observations) == (2, 10)
    ridge = upm.backtest.ridge(loss, 3.0, 5.0, 0.8)
    assert ridge.mean == pytest.approx(1.0 - (3.0 + (1.0 + 3.0) / 10 / 0.2) / 5.0)


def law(days: int, scale: float, seed: int = 2) -> tuple[np.ndarray, np.ndarray, float, float]:
    """Normal P&L of `days` days times `scale`, scenarios of a unit normal law a day, its VaR and ES at 97.5 %."""
    rng = np.random.default_rng(seed)
    q = stats.norm.ppf(0.975)
    return -scale * rng.standard_normal(days), rng.standard_normal((days, 4_000)), float(q), float(stats.norm.pdf(q) / 0.025)


@pytest.mark.parametrize(("scale", "rejected"), [(1.0, False), (1.6, True)])
def test_a_right_forecast_passes_and_a_small_one_fails(scale, rejected):
    loss, scenarios, var, es = law(750, scale)
    found = upm.backtest.acerbi_szekely(loss, var, es, 0.975, scenarios=scenarios, samples=4_000)
    ridge = upm.backtest.ridge(loss, var, es, 0.975)
    for p in (found.p_value, found.z3_p_value, ridge.p_value):
        assert (p < 0.01) == rejected
    if not rejected:
        assert found.z1_p_value > 0.01


def test_probability_transforms_against_scipy():
    u = stats.norm.cdf(np.random.default_rng(4).standard_normal(500))
    found = upm.backtest.pit_uniformity(u)
    assert (found.statistic, found.p_value) == pytest.approx((stats.kstest(u, "uniform").statistic, stats.kstest(u, "uniform").pvalue), rel=1e-12)
    assert upm.backtest.pit_uniformity(u**1.4).p_value < 1e-4 < 0.05 < found.p_value


def test_berkowitz_is_the_likelihood_ratio():
    """The maximum by an optimiser; a right law passes, one too narrow and one with memory do not."""
    from scipy.optimize import minimize

    z = np.random.default_rng(6).standard_normal(400)
    slow = z.copy()
    for t in range(1, len(z)):
        slow[t] = 0.4 * slow[t - 1] + np.sqrt(1.0 - 0.16) * z[t]
    for scores, passes in ((z, True), (1.3 * z, False), (slow, False)):
        def loss(v, x=scores):
            e = x[1:] - v[0] - v[1] * (x[:-1] - v[0])
            return float(0.5 * len(e) * v[2] + 0.5 * np.sum(e * e) / np.exp(v[2]))
        best = min(minimize(loss, start, method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-12, "maxiter": 4000}).fun for start in ([0.0, 0.0, 0.0], [0.1, 0.3, 0.2]))
        found = upm.backtest.berkowitz(stats.norm.cdf(scores))
        assert found.statistic == pytest.approx(2.0 * (loss([0.0, 0.0, 0.0]) - best), abs=1e-5)
        assert (found.p_value > 0.05) == passes


def test_scores_are_smallest_for_the_right_forecast():
    """Over a grid of wrong forecasts of 200,000 normal losses; the difference is seen by Diebold and Mariano."""
    loss = np.random.default_rng(8).standard_normal(200_000)
    q = float(stats.norm.ppf(0.975))
    es = float(stats.norm.pdf(q) / 0.025)
    right = np.mean(upm.backtest.joint_score(loss, q, es, 0.975))
    for v, e in ((0.9, 0.9), (0.9, 1.0), (1.0, 1.15), (1.1, 1.1), (1.0, 0.9)):
        assert np.mean(upm.backtest.joint_score(loss, v * q, e * es, 0.975)) > right
    best = upm.backtest.quantile_score(loss, q, 0.975)
    for v in (0.8, 0.95, 1.05, 1.3):
        assert np.mean(upm.backtest.quantile_score(loss, v * q, 0.975)) > np.mean(best)
    found = upm.backtest.diebold_mariano(upm.backtest.quantile_score(loss, 0.8 * q, 0.975), best)
    assert found.difference > 0.0
    assert found.p_value < 1e-6
    assert upm.backtest.diebold_mariano(best, best).p_value == 1.0


def test_newey_west_by_hand():
    """Without lags it is the plain t-statistic with the population variance."""
    rng = np.random.default_rng(9)
    a, b = rng.standard_normal(50), rng.standard_normal(50) + 0.1
    d = a - b
    assert upm.backtest.diebold_mariano(a, b, lags=0).statistic == pytest.approx(d.mean() / (d.std() / np.sqrt(50)), rel=1e-12)
    around = d - d.mean()
    variance = np.mean(around**2) + 2.0 * 0.5 * np.sum(around[1:] * around[:-1]) / 50
    assert upm.backtest.diebold_mariano(a, b, lags=1).statistic == pytest.approx(d.mean() / np.sqrt(variance / 50), rel=1e-12)


def test_what_came_is_counted():
    found = upm.backtest.observe([1.0, 5.0, 2.0, 9.0], [3.0, 3.0, 3.0, 4.0])
    assert (found.number_of_observations, found.number_of_exceptions, found.coverage) == (4, 2, 0.5)
    assert (found.largest_exception, found.average_exception, found.first_exception) == (5.0, 3.5, 2)
    assert upm.backtest.observe([1.0], 2.0).first_exception is None


@pytest.mark.parametrize(("code", "call"), [
    ("UPM-BT-001", lambda: upm.backtest.kupiec(3, 2, 0.99)), ("UPM-BT-001", lambda: upm.backtest.kupiec(1.5, 250, 0.99)),
    ("UPM-BT-001", lambda: upm.backtest.traffic_light(0, 0, 0.99)), ("UPM-CF-088", lambda: upm.backtest.kupiec(1, 250, 99.0)),
    ("UPM-BT-002", lambda: upm.backtest.christoffersen([0, 2], 0.99)), ("UPM-BT-002", lambda: upm.backtest.christoffersen([1], 0.99)),
    ("UPM-BT-003", lambda: upm.backtest.overlapping_zones(250, 10, 0.99, 3, -0.5)), ("UPM-BT-004", lambda: upm.backtest.ridge([1.0, 2.0], 3.0, 2.0, 0.99)),
    ("UPM-BT-004", lambda: upm.backtest.acerbi_szekely([1.0, 2.0], [1.0, 1.0, 1.0], 2.0, 0.99)), ("UPM-BT-005", lambda: upm.backtest.acerbi_szekely([1.0], 1.0, 2.0, 0.99, degrees_of_freedom=1.0)),
    ("UPM-BT-006", lambda: upm.backtest.acerbi_szekely([1.0], 1.0, 2.0, 0.99, scenarios=[[1.0], [2.0]], samples=10)),
    ("UPM-BT-007", lambda: upm.backtest.berkowitz([0.5] * 9 + [1.2])), ("UPM-BT-008", lambda: upm.backtest.diebold_mariano([1.0], [1.0, 2.0])),
    ("UPM-BT-009", lambda: upm.backtest.observe([np.nan], 1.0)),
])
def test_what_is_refused(code, call):
    with pytest.raises(InputError, match=code):
        call()
