"""The normal and Student-t law: quantiles, distribution functions, densities, in one and two dimensions."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
from reference_cases import group
from scipy import integrate, special

from upm_gpu.formula.normal import normal_cdf, normal_density, normal_log_cdf
from upm_gpu.risk.multivariate import bivariate_normal_cdf, bivariate_student_t_cdf, multivariate_student_t_pdf
from upm_gpu.rng import normal_quantile, student_t_quantile

TOPIC = "5_rng_and_numerics"


@pytest.mark.parametrize(("inputs", "expected", "tolerance"), group(TOPIC, "normal_quantile_as241") + group(TOPIC, "normal_quantile_computed"))
def test_normal_quantile(inputs, expected, tolerance):
    assert float(normal_quantile(inputs["p"])) == pytest.approx(expected["z"], rel=tolerance["rel"], abs=0.0)


@pytest.mark.parametrize(("inputs", "expected", "tolerance"), group(TOPIC, "normal_cdf_computed"))
def test_normal_cdf(inputs, expected, tolerance):
    x = float(inputs["x"])
    assert float(normal_cdf(x)) == pytest.approx(expected["cdf"], rel=tolerance["rel"], abs=0.0)
    assert float(normal_log_cdf(x)) == pytest.approx(expected["log_cdf"], rel=tolerance["rel"], abs=0.0)
    assert float(normal_density(x)) == pytest.approx(expected["pdf"], rel=tolerance["rel"], abs=0.0)


@pytest.mark.parametrize(("inputs", "expected", "tolerance"), group(TOPIC, "log_ndtr_scipy"))
def test_log_normal_cdf(inputs, expected, tolerance):
    assert float(normal_log_cdf(inputs["x"])) == pytest.approx(expected["log_cdf"], rel=tolerance["rel"], abs=0.0)


@pytest.mark.parametrize(("inputs", "expected", "tolerance"), group(TOPIC, "student_t_quantile_computed"))
def test_student_t_quantile(inputs, expected, tolerance):
    nu = inputs["nu"]
    t = float(student_t_quantile(inputs["p"], nu))
    assert t == pytest.approx(expected["t"], rel=tolerance["rel"], abs=0.0)
    assert t * np.sqrt((nu - 2.0) / nu) == pytest.approx(expected["t_unit_variance"], rel=tolerance["rel"], abs=0.0)


def _precise_t_quantile(p: float, nu: float, start: float) -> float:
    """Newton on log T from a start near the root, 40 digits; p < 1/2."""
    with mpmath.workdps(40):
        n, t, target = mpmath.mpf(nu), mpmath.mpf(start), mpmath.log(mpmath.mpf(p))
        for _ in range(4):
            cdf = mpmath.betainc(n / 2, mpmath.mpf(1) / 2, 0, n / (n + t * t), regularized=True) / 2
            pdf = mpmath.gamma((n + 1) / 2) / mpmath.sqrt(n * mpmath.pi) / mpmath.gamma(n / 2) * (1 + t * t / n) ** (-(n + 1) / 2)
            t -= (mpmath.log(cdf) - target) * cdf / pdf
        return float(t)


@pytest.mark.parametrize("nu", [0.5, 1.0, 2.05, 3.0, 4.0, 7.3, 30.0, 1e4, 1e6])
@pytest.mark.parametrize("p", [1e-40, 1e-17, 1e-6, 0.01, 0.2, 0.3, 0.49, 0.5 - 1e-7])
def test_student_t_quantile_in_multiple_precision(p, nu):
    """1e-12: what the inverse incomplete beta function gives at nu = 1e6, far below the 1e-10 that is promised."""
    t = float(student_t_quantile(p, nu))
    assert t == pytest.approx(_precise_t_quantile(p, nu, t), rel=1e-12, abs=0.0)
    assert float(student_t_quantile(1.0 - p, nu)) == pytest.approx(-t, rel=1e-7) or p < 1e-9


def test_student_t_quantile_at_its_limits():
    assert student_t_quantile([0.0, 0.5, 1.0], 4).tolist() == [-np.inf, 0.0, np.inf]
    assert np.isnan(student_t_quantile([-0.1, 1.1, np.nan], 4)).all()
    assert np.isnan(student_t_quantile(0.1, [0.0, -1.0, np.nan])).all()
    assert float(student_t_quantile(0.01, 1e12)) == pytest.approx(float(normal_quantile(0.01)), rel=1e-11)
    assert float(student_t_quantile(1e-300, 1.0)) == pytest.approx(-1e300 / np.pi, rel=1e-12)  # Cauchy
    below, above = student_t_quantile(0.3, [0.999e7, 1.001e7])  # where the expansion takes over
    assert below == pytest.approx(above, rel=1e-9)


@pytest.mark.parametrize(("inputs", "expected", "tolerance"), group(TOPIC, "bivariate_normal_haug"))
def test_bivariate_normal(inputs, expected, tolerance):
    value = float(bivariate_normal_cdf(inputs["x"], inputs["y"], inputs["rho"]))
    assert value == pytest.approx(expected["cdf"], rel=0.0, abs=tolerance["cdf_abs"])
    assert value == pytest.approx(expected["cdf_full_precision"], rel=0.0, abs=tolerance["full_precision_abs"])


@pytest.mark.parametrize(("x", "y", "rho"), [(0.0, 1.3, 0.4), (-0.7, 0.0, -0.9), (0.0, -2.0, 0.6), (-1.0, -2.0, 0.999), (2.5, -0.5, -0.99), (3.0, 3.0, 0.0)])
def test_bivariate_normal_by_quadrature(x, y, rho):
    """Signs and zeros of the Owen form, against the conditional integral."""
    def density(u: float) -> float:
        return float(normal_density(u) * special.ndtr((y - rho * u) / np.sqrt(1.0 - rho * rho)))

    expected, _ = integrate.quad(density, -12.0, x, epsabs=1e-13, epsrel=1e-13, limit=500, points=[np.clip(y / rho if rho else 0.0, -11.9, x - 1e-3)])
    assert float(bivariate_normal_cdf(x, y, rho)) == pytest.approx(expected, rel=0.0, abs=1e-12)


@pytest.mark.parametrize(("inputs", "expected", "tolerance"), group(TOPIC, "bivariate_t_dunnett_sobel"))
def test_bivariate_student_t(inputs, expected, tolerance):
    value = bivariate_student_t_cdf(inputs["x"], inputs["y"], inputs["rho"], inputs["nu"])
    assert value == pytest.approx(expected["cdf"], rel=0.0, abs=tolerance["cdf_abs"])


@pytest.mark.parametrize("nu", [0.7, 2.5, 4.0, 60.0])
def test_bivariate_student_t_has_its_margin(nu):
    beyond = float(special.stdtr(nu, -1e9))  # of the other variable, 2e-7 at nu = 0.7
    assert bivariate_student_t_cdf(-1.2, 1e9, 0.3, nu) == pytest.approx(float(special.stdtr(nu, -1.2)), rel=0.0, abs=beyond + 1e-13)
    assert bivariate_student_t_cdf(-1.2, 0.4, 0.0, nu) - bivariate_student_t_cdf(0.4, -1.2, 0.0, nu) == pytest.approx(0.0, abs=1e-15)
    assert bivariate_student_t_cdf(0.0, 0.0, 0.5, nu) == pytest.approx(0.25 + np.arcsin(0.5) / (2.0 * np.pi), abs=1e-14)


@pytest.mark.parametrize(("inputs", "expected", "tolerance"), group(TOPIC, "multivariate_t_pdf"))
def test_multivariate_student_t_density(inputs, expected, tolerance):
    value = multivariate_student_t_pdf(inputs["x"], inputs["location"], inputs["shape"], inputs["nu"])
    assert value == pytest.approx(expected["pdf"], rel=tolerance["rel"], abs=0.0)
