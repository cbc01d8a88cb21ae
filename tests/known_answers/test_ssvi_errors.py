"""Derivatives behind the standard errors of SSVI against differences, and a level held by the condition against butterflies."""

from __future__ import annotations

import numpy as np
import pytest

from upm_gpu.calibrate.ssvi_errors import on_the_bound, ssvi_errors, ssvi_slopes, tied_names
from upm_gpu.market.ssvi import Ssvi, fit_ssvi, variance

YEARS = np.array([0.02, 0.1, 0.5])
MADE = (Ssvi("power_law", -0.4, (0.9, 0.45), 0.3 * YEARS), Ssvi("heston", -0.4, (2.5,), 0.3 * YEARS), Ssvi("heston", 0.2, (0.6,), 0.01 * YEARS))


def quotes(made: Ssvi, noise: float, seed: int = 0):
    """Thirty-one volatilities an expiry with errors of `noise`, weighted by how near they are."""
    rng, x = np.random.default_rng(seed), np.linspace(-2.5, 2.0, 31)
    k = [x * np.sqrt(theta) for theta in made.theta]
    return YEARS, k, [np.sqrt(variance(made, y)[e] / YEARS[e]) + noise * rng.standard_normal(len(x)) for e, y in enumerate(k)], [np.exp(-0.3 * x * x)] * len(YEARS)


@pytest.mark.parametrize("made", MADE)
def test_derivatives_are_those_of_differences(made):
    given = quotes(made, 0.004)
    at = np.concatenate([[made.rho], made.shape, made.theta])
    _, j = ssvi_slopes(made, *given)
    for i in range(len(at)):
        h = np.zeros(len(at))
        h[i] = 1e-4 * abs(at[i])
        sides = [ssvi_slopes(Ssvi(made.phi, x[0], tuple(x[1 : 1 + len(made.shape)]), x[1 + len(made.shape) :]), *given)[0] for x in (at + h, at - h)]
        np.testing.assert_allclose(j[:, i], (sides[0] - sides[1]) / (2.0 * h[i]), rtol=1e-5, atol=1e-5 * float(np.max(np.abs(j[:, i]))))


def test_a_level_on_its_bound_has_no_error():
    """Smiles too steep for a surface without butterflies."""
    steep = Ssvi("power_law", -0.5, (6.0, 0.5), 0.3 * YEARS)
    found = fit_ssvi(*quotes(steep, 0.0), "power_law")
    values, errors, bounds = ssvi_errors(found, *quotes(steep, 0.0))
    assert on_the_bound(found) and tied_names("power_law")[1] == "eta" and bounds[1] == "butterfly" and np.isnan(errors[1])
    assert np.all(np.isfinite(np.delete(errors, 1))) and values[1] == found.shape[0]
    assert not on_the_bound(MADE[0])
