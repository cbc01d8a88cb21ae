"""SSVI of several chains in one call under JAX beside the fit of one."""

from __future__ import annotations

import numpy as np
import pytest

from upm_gpu.calibrate.automatic.ssvi import fit_ssvi_surfaces
from upm_gpu.errors import CalibrationError
from upm_gpu.fits.surfaces import calibrate_surfaces
from upm_gpu.market.ssvi import Ssvi, conditions, fit_ssvi, variance

YEARS = (np.array([0.05, 0.3]), np.array([0.02, 0.1, 0.5]))


def quotes(made: Ssvi, years, seed):
    """Thirteen volatilities an expiry with errors of half a percent of themselves; the last expiry has fewer."""
    rng = np.random.default_rng(seed)
    k = [np.linspace(-2.5, 2.0, 13 - 4 * (e == len(years) - 1)) * np.sqrt(theta) for e, theta in enumerate(made.theta)]
    return years, k, [np.sqrt(variance(made, x)[e] / years[e]) * (1.0 + 0.005 * rng.standard_normal(len(x))) for e, x in enumerate(k)], [np.exp(-0.2 * np.linspace(-1.0, 1.0, len(x)) ** 2) for x in k]


@pytest.fixture(scope="module", autouse=True)
def quick_to_compile():
    """Programs here run for milliseconds."""
    import jax

    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


def test_days_of_one_call_are_those_of_their_own():
    """Two and three expiries share a padded call; the prior holds what is padded."""
    chains = [quotes(Ssvi("power_law", rho, (0.9, 0.45), 0.3 * years), years, i) for i, (rho, years) in enumerate(zip((-0.5, 0.1), YEARS, strict=True))]
    for found, chain in zip(fit_ssvi_surfaces(chains, "power_law"), chains, strict=True):
        alone = fit_ssvi(*chain, "power_law")
        assert found.rho == pytest.approx(alone.rho, abs=1e-5)
        np.testing.assert_allclose(found.shape, alone.shape, rtol=1e-4)
        np.testing.assert_allclose(found.theta, alone.theta, rtol=1e-6)
        assert conditions(found) == []


@pytest.mark.slow
def test_the_heston_curve():
    chain = quotes(Ssvi("heston", -0.4, (2.5,), 0.2 * YEARS[1]), YEARS[1], 7)
    found, alone = fit_ssvi_surfaces([chain], "heston")[0], fit_ssvi(*chain, "heston")
    assert found.rho == pytest.approx(alone.rho, abs=1e-5) and found.shape == pytest.approx(alone.shape, rel=1e-4)
    np.testing.assert_allclose(found.theta, alone.theta, rtol=1e-6)


def test_what_the_engine_does_not_fit_is_refused(tmp_path):
    for engine, family in (("torch", "ssvi_heston"), ("jax", "svi")):
        with pytest.raises(CalibrationError, match=f"UPM-CA-225 .*--engine.*{engine}"):
            calibrate_surfaces("sample:crypto", tmp_path / "s.toml", ("BTC",), family, "joint", None, (), engine)
