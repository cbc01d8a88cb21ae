"""Laws of innovations: quantiles against integrated densities, moments, tables against the map, centring against quadrature."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from scipy import integrate, special

from upm_gpu.calibrate.from_history import innovation, skewed_t
from upm_gpu.calibrate.tail_body import fit_body
from upm_gpu.errors import CalibrationError
from upm_gpu.model.innovations import (
    Innovation,
    centring_table,
    check_innovation,
    discrete_centring_table,
    hansen,
    law_table,
    quantile,
    score_map,
)
from upm_gpu.model.tables import evaluate_table
from upm_gpu.rng.normal import normal_quantile, student_t_quantile

SKEWED = Innovation("skewed_t", 5.0, -0.4)
LAWS = (Innovation(), Innovation("student_t", 4.0), SKEWED, Innovation("skewed_t", 2.6, 0.7))


@pytest.fixture(scope="module")
def empirical() -> Innovation:
    sample = student_t_quantile((np.arange(1500) + 0.5) / 1500, 4.0)
    sample = np.where(sample < 0.0, 1.3 * sample, sample)
    law, warnings = fit_body((sample - sample.mean()) / sample.std(), "X")
    assert not warnings
    return law


def density(law: Innovation, y: float) -> float:
    a, b, c = hansen(law.degrees_of_freedom, law.skewness)
    s = (b * y + a) / (1.0 - law.skewness if y < -a / b else 1.0 + law.skewness)
    return b * c * (1.0 + s * s / (law.degrees_of_freedom - 2.0)) ** (-0.5 * (law.degrees_of_freedom + 1.0))


@pytest.mark.parametrize("law", [SKEWED, Innovation("skewed_t", 3.0, 0.3)])
def test_skewed_quantiles_invert_the_integrated_density(law):
    a, b, _ = hansen(law.degrees_of_freedom, law.skewness)
    for tail, upper in ((1e-6, False), (0.01, False), (0.3, False), (0.5, False), (0.4, True), (0.02, True), (1e-7, True)):
        y = float(quantile(law, np.array([tail]), np.array([upper]))[0])
        far = np.inf if upper else -np.inf
        points = sorted([y, far]) if (y > -a / b) == upper else [*sorted([y, -a / b]), far] if upper else [far, -a / b, y]
        edges = sorted(set(points))
        found = sum(integrate.quad(lambda v: density(law, v), lo, hi, epsabs=0.0, epsrel=1e-11, limit=200)[0] for lo, hi in pairwise(edges))
        assert found == pytest.approx(tail, rel=1e-8)


@pytest.mark.parametrize("law", LAWS[1:3])
def test_mean_and_variance(law):
    q = np.linspace(-8.2, 8.2, 400_001)
    w = np.exp(-0.5 * q * q) / np.sqrt(2.0 * np.pi) * (q[1] - q[0])
    g = score_map(law, q)
    assert np.sum(w * g) == pytest.approx(0.0, abs=1e-6)
    assert np.sum(w * g * g) == pytest.approx(1.0, abs=1e-5)
    assert np.all(np.diff(g) > 0.0)


@pytest.mark.parametrize("nu", [float("inf"), 3.0])
@pytest.mark.parametrize("law", LAWS)
def test_tables_are_the_map(law, nu):
    made = law_table(law, nu)
    if made is None:
        assert law.law == "gaussian" and not np.isfinite(nu)
        return
    table, odd = made
    y = np.concatenate([np.linspace(-7.9, 7.9, 201), [-1e-3, 1e-3]])
    tail = special.ndtr(-np.abs(y)) if not np.isfinite(nu) else special.stdtr(nu, -np.abs(y))
    expected = quantile(law, tail, y > 0.0)
    w = np.arcsinh(np.abs(y))
    found = np.copysign(evaluate_table(table, w), y) if odd else evaluate_table(table, np.copysign(w, y))
    assert odd == law.symmetric
    assert np.abs(found - expected)[y != 0.0] == pytest.approx(0.0, abs=1e-9 * np.abs(expected).max())


@pytest.mark.parametrize("price", [True, False])
@pytest.mark.parametrize("law", LAWS)
def test_centring_in_brute_force(law, price):
    cap, root = 0.9 if law.law != "gaussian" else 60.0, np.sqrt(0.4)
    table = centring_table(law, root, cap, price)
    if table is None:
        assert not price and law.symmetric
        return
    q = np.linspace(-8.2, 8.2, 400_001)
    w = np.exp(-0.5 * q * q) / np.sqrt(2.0 * np.pi) * (q[1] - q[0])
    g = score_map(law, q)
    for sigma in (0.003, 0.04, 0.3, 0.85):
        x = root * np.clip(sigma * g, -cap, cap)
        expected = -np.log1p(np.sum(w * np.expm1(x))) if price else -np.sum(w * x)
        assert evaluate_table(table, np.float64(sigma)) == pytest.approx(expected, abs=3e-9)


@pytest.mark.parametrize("price", [True, False])
def test_discrete_centring_is_the_exact_mean(price):
    """1e-11 while no residual meets the cap, 2e-5 at its kinks; leaving the centring out would be 5e-3 at 10 % volatility."""
    e = student_t_quantile((np.arange(900) + 0.5) / 900, 3.0)
    e = (e - e.mean()) / e.std() + np.where(e > 0, 0.05, -0.05)
    weights = np.array([0.7, 0.5])
    table = discrete_centring_table(e, weights, 1.5, price)
    for sigma, tolerance in ((0.01, 1e-11), (0.05, 1e-11), (0.15, 2e-5), (0.6, 2e-4)):
        moves = np.clip(sigma * e, -1.5, 1.5)
        parts = [-np.log(np.mean(np.exp(w * moves))) if price else -w * np.mean(moves) for w in weights]
        assert evaluate_table(table, np.float64(sigma)) == pytest.approx(sum(parts), abs=tolerance)


def test_the_empirical_law_keeps_body_and_tails(empirical):
    """Quantiles of the body within the bandwidth of the sample's; a tail beyond the sample; mean 0, variance 1; a longer lower tail."""
    assert empirical.body is not None
    q = np.linspace(-8.2, 8.2, 200_001)
    w = np.exp(-0.5 * q * q) / np.sqrt(2.0 * np.pi) * (q[1] - q[0])
    g = score_map(empirical, q)
    assert np.all(np.diff(g) > 0.0)
    assert np.sum(w * g) == pytest.approx(0.0, abs=1e-4)
    assert np.sum(w * g * g) == pytest.approx(1.0, abs=2e-3)
    for p in (0.02, 0.2, 0.5, 0.8, 0.98):
        found = float(score_map(empirical, np.array([normal_quantile(p)]))[0])
        assert found == pytest.approx(float(np.quantile(empirical.body.sample, p)), abs=0.12)
    assert g[0] < empirical.body.sample[0] - 1.0
    assert -score_map(empirical, np.array([-3.0]))[0] > score_map(empirical, np.array([3.0]))[0] * 1.1
    table, odd = law_table(empirical, 4.0)
    assert not odd
    y = np.linspace(-20.0, 20.0, 301)
    expected = quantile(empirical, special.stdtr(4.0, -np.abs(y)), y > 0.0)
    assert np.abs(evaluate_table(table, np.copysign(np.arcsinh(np.abs(y)), y)) - expected).max() < 1e-4


def test_skewness_is_found_again():
    u = (np.arange(4000) + 0.5) / 4000
    sample = quantile(SKEWED, np.minimum(u, 1.0 - u), u > 0.5)
    found = skewed_t(sample)
    assert (found.degrees_of_freedom, found.skewness) == pytest.approx((5.0, -0.4), rel=0.05)
    assert skewed_t(sample, 5.0).skewness == pytest.approx(-0.4, abs=0.02)
    assert innovation(sample, "X", "student_t", 0.0)[0].degrees_of_freedom == pytest.approx(5.0, rel=0.3)


@pytest.mark.parametrize(("law", "code"), [(Innovation("cauchy"), 126), (Innovation("skewed_t", 5.0, 1.0), 127), (Innovation("empirical"), 128),
                                           (Innovation("skewed_t", 2.0, 0.1), "050"), (Innovation("student_t", 1.5), "050")])
def test_laws_that_are_refused(law, code):
    with pytest.raises(CalibrationError, match=f"UPM-CA-{code}"):
        check_innovation(law, "BTC")


def test_too_few_residuals_for_tails():
    with pytest.raises(CalibrationError, match="UPM-CA-129"):
        fit_body(np.linspace(-1.0, 1.0, 150), "X")
