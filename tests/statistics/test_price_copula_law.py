"""The t copula of the price motions of Heston and Bates: each asset keeps its own law and martingale, and falls together with the others as a t copula says.

Fixed seed, 150,000 scenarios, the widest backend; every statistic within 4 of its standard errors, and a planted bias or the other law beyond them.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from model_draws import score, simulate

from upm_gpu.errors import CalibrationError, InputError
from upm_gpu.model.bates import read as read_bates
from upm_gpu.model.heston import HestonParameters, read
from upm_gpu.model.jumps import JumpParameters
from upm_gpu.model.merton import read as read_merton
from upm_gpu.risk.multivariate import bivariate_normal_cdf, bivariate_student_t_cdf
from upm_gpu.rng.normal import normal_quantile, student_t_quantile
from upm_gpu.scenario.spec import ScenarioSpec

COUNT = 150_000
LIMIT = 4.0
DATES = [0.3, 1.0, 1.45, 2.0]
NU = 3.0
RHO = 0.5
MODEL = HestonParameters(("A", "B"), np.array([0.3, 0.5]), np.array([4.0, 2.0]), np.array([0.3, 0.6]), np.array([1.5, 2.0]), np.array([-0.7, 0.4]), np.array([[1.0, RHO], [RHO, 1.0]]),
                         substeps=5)
JOINED = replace(MODEL, copula="student_t", copula_degrees_of_freedom=NU)
STILL = replace(JOINED, volatility_of_variance=np.full(2, 1e-4), initial_variance=np.full(2, 0.3), long_variance=np.full(2, 0.3))
"""variances that hardly move: the log-price is the Brownian motion itself"""


def motion(states: np.ndarray) -> np.ndarray:
    """(D, 2, S) Brownian motions of the prices of STILL, variance the days."""
    days = np.array(DATES)[:, None, None]
    daily = 0.3 / 365.0
    return (states[:, [0, 2]] + 0.5 * daily * days) / np.sqrt(daily)


def test_prices_are_martingales_and_keep_their_own_law() -> None:
    """Against independent draws of the model without the copula: two-sample scores of moments of the price and its variance, at every date."""
    joined, plain = simulate(JOINED, DATES, COUNT), simulate(MODEL, DATES, COUNT, seed=12)
    for d in range(len(DATES)):
        for u in (0, 1):
            assert abs(score(np.exp(joined[d, 2 * u]), 1.0)) < LIMIT
            for statistic in (lambda x, v: x, lambda x, v: x * x, lambda x, v: v, lambda x, v: x * (v - v.mean()), lambda x, v: np.exp(-3.0 * x), lambda x, v: x**4):
                a, b = (statistic(s[d, 2 * u], s[d, 2 * u + 1]) for s in (joined, plain))
                assert abs(a.mean() - b.mean()) < LIMIT * np.hypot(a.std(), b.std()) / np.sqrt(COUNT)
    assert abs(score(np.exp(joined[3, 0] + 8.0 * joined[3, 0].std() / np.sqrt(COUNT)), 1.0)) > LIMIT
    stretched = joined[3, 0] * 1.02
    assert abs((stretched**2).mean() - (plain[3, 0] ** 2).mean()) > LIMIT * np.hypot((stretched**2).std(), (plain[3, 0] ** 2).std()) / np.sqrt(COUNT)


def test_jumps_and_the_pricing_measure_keep_the_martingale() -> None:
    jumps = JumpParameters(60.0, -0.03, 0.05, np.array([1.0, 1.4]), np.array([0.0, 100.0]), np.full(2, 0.01), np.full(2, 0.03))
    drift = np.array([0.002, -0.001])
    states = simulate(replace(JOINED, jumps=jumps, measure="pricing", drift=drift), DATES, COUNT)
    for d, days in enumerate(DATES):
        for u in (0, 1):
            assert abs(score(np.exp(states[d, 2 * u]), float(np.exp(drift[u] * days)))) < LIMIT


def joint_score(both: np.ndarray, expected: float) -> float:
    return score(both.astype(np.float64), expected)


def test_a_base_step_has_the_t_copula() -> None:
    """One day of still variances: standard normal each, P(both below the p-quantile) that of the t copula, of both the first day and the second, and not the Gaussian one."""
    w = motion(simulate(STILL, DATES, COUNT))
    for day in (w[1], w[3] - w[1]):
        assert all(abs(score(x**k, m)) < LIMIT for x in day for k, m in ((1, 0.0), (2, 1.0), (4, 3.0)))
        for p in (0.02, 0.1):
            both = np.all(day < normal_quantile(np.array(p)), axis=0)
            t = float(student_t_quantile(np.array(p), NU))
            assert abs(joint_score(both, float(bivariate_student_t_cdf(t, t, RHO, NU)))) < LIMIT
            q = float(normal_quantile(np.array(p)))
            assert abs(joint_score(both, float(bivariate_normal_cdf(q, q, RHO)))) > LIMIT
    squares = [(w[1, u] ** 2 - 1.0) * ((w[3, v] - w[1, v]) ** 2 - 1.0) for u in (0, 1) for v in (0, 1)]
    assert all(abs(score(x, 0.0)) < LIMIT for x in squares)  # steps are independent


def test_dates_inside_a_step_lie_on_a_brownian_path() -> None:
    """Var W(0.3) = 0.3, Cov(W(0.3), W(1)) = 0.3, increments independent; a step that only stretched its substeps would not be normal."""
    w = motion(simulate(STILL, DATES, COUNT))
    for u in (0, 1):
        a, b = w[0, u], w[1, u] - w[0, u]
        assert abs(score(a * a, 0.3)) < LIMIT and abs(score(b * b, 0.7)) < LIMIT and abs(score(a * b, 0.0)) < LIMIT
        assert abs(score(a * a * b * b, 0.21)) < LIMIT and abs(score(a**4, 3.0 * 0.09)) < LIMIT
    assert abs(score((1.02 * w[0, 0]) ** 2, 0.3)) > LIMIT


def test_a_date_more_changes_no_figure_and_many_degrees_are_gaussian() -> None:
    few, many = simulate(JOINED, [1.0, 2.0], 2000), simulate(JOINED, DATES, 2000)
    np.testing.assert_array_equal(few, many[[1, 3]])
    plain = simulate(MODEL, DATES, 2000)
    away = [np.std((simulate(replace(MODEL, copula="student_t", copula_degrees_of_freedom=nu), DATES, 2000) - plain)[3, 0]) / plain[3, 0].std() for nu in (NU, 20.0, 200.0)]
    assert away[0] > 0.3 and away[2] < 0.1 < away[0] and away[2] < 0.5 * away[1]  # ln chi has deviation near 1 / sqrt(2 nu)


FILE = 'schema_version = 1\nkind = "{}"\nunderlyings = ["A", "B"]\ninitial_variance = 0.3\nmean_reversion = 2.0\nlong_variance = 0.3\nvolatility_of_variance = 1.0\nrho = -0.4\n' \
       "correlation = [[1.0, 0.5], [0.5, 1.0]]\n"


@pytest.mark.parametrize("reader", [read, read_bates], ids=["heston", "bates"])
def test_the_parameter_file_names_it(reader, tmp_path: Path) -> None:
    path, kind = tmp_path / "model.toml", "bates" if reader is read_bates else "heston"
    path.write_text(FILE.format(kind) + 'copula = "student_t"\ncopula_degrees_of_freedom = 3.0\n')
    model = reader(str(path), ScenarioSpec())
    made = model.scenarios(np.array([1.0]), ScenarioSpec(count=10, seed=1))
    assert made.copula.substeps == 8 and model.copula_degrees_of_freedom == 3.0
    path.write_text(FILE.format(kind))
    assert reader(str(path), ScenarioSpec()).scenarios(np.array([1.0]), ScenarioSpec(count=10, seed=1)).copula is None


@pytest.mark.parametrize(("more", "code"), [
    ('copula = "grouped_t"\n', "UPM-CA-154"), ('copula = "student_t"\n', "UPM-CA-154"), ("copula_degrees_of_freedom = 4.0\n", "UPM-CA-154"), ("copula = 3\n", "UPM-CA-074"),
    ('copula = "student_t"\ncopula_degrees_of_freedom = 2.0\n', "UPM-CA-05")])
def test_another_copula_is_refused_by_name(more: str, code: str, tmp_path: Path) -> None:
    path = tmp_path / "model.toml"
    path.write_text(FILE.format("heston") + more)
    with pytest.raises((CalibrationError, InputError), match=code):
        read(str(path), ScenarioSpec()).scenarios(np.array([1.0]), ScenarioSpec(count=10, seed=1))
    if code == "UPM-CA-154":  # and a copula with jump diffusion, whose diffusion is Gaussian
        path.write_text(f'schema_version = 1\nkind = "merton"\nstates = ["log_level[A]"]\ndaily_volatility = 0.03\ncorrelation = [[1.0]]\n{more}')
        with pytest.raises(InputError, match="UPM-CA-073"):
            read_merton(str(path), ScenarioSpec())
