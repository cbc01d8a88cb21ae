"""Profile intervals: where they must equal standard errors, what an end means, and a second basin that standard errors do not see."""

from __future__ import annotations

import numpy as np
import pytest
from chain_cases import TRUTH, chain_of
from scipy.optimize import least_squares
from scipy.stats import t as student

from upm_gpu.calibrate.chain import compiled_engine
from upm_gpu.calibrate.chain.engines import Task
from upm_gpu.calibrate.chain.fit import FitOptions, fit_chains
from upm_gpu.calibrate.chain.intervals import profile_intervals
from upm_gpu.calibrate.chain.moments import chain_model
from upm_gpu.calibrate.chain.objective import make_batch, weights_of
from upm_gpu.calibrate.chain.unknowns import coordinates


def fitted(name, **keys):
    return fit_chains([chain_of(name, TRUTH[name], **keys)], FitOptions(model=name, weights="equal"))[0]


def test_small_errors_give_standard_errors():
    fit = fitted("heston", noise=0.0002, seed=4)
    found = profile_intervals(fit)
    wide = student.ppf(0.975, 45) * fit.standard_errors
    assert np.all(np.abs(found.ends - fit.parameters[:, None] - wide[:, None] * np.array([-1.0, 1.0])) < 0.05 * wide[:, None])
    np.testing.assert_allclose(found.ends[:, 1] - found.ends[:, 0], 2.0 * wide, rtol=0.02)
    assert not found.open.any() and found.better is None


def test_an_end_is_where_the_sum_of_squares_says():
    """SciPy's least squares over the other four, mean reversion held at its upper end: S (1 + t^2 / (n - p))."""
    fit = fitted("heston", noise=0.01, seed=2)
    end = profile_intervals(fit).ends[1, 1]
    model, batch = chain_model("heston"), make_batch([fit.chain])
    task, weight, rule = Task(model, "volatility", False, 100), weights_of(batch, "volatility", "equal"), batch.rule(160)
    z = coordinates(model, fit.parameters, False)
    free = [0, 2, 3, 4]

    def residual(x):
        at = z.copy()
        at[1], at[free] = np.log(end), x
        return compiled_engine.at(batch, rule, weight, task, at[None]).residual[0]

    held = 2.0 * least_squares(residual, z[free], x_scale=np.abs(z[free])).cost
    assert held / (2.0 * fit.cost) - 1.0 == pytest.approx(student.ppf(0.975, 45) ** 2 / 45.0, rel=0.04)


def test_a_second_basin_counts():
    """Fifty quotes whose best fit has jumps of one size: their deviation sits on its bound, has no standard error, and its interval still holds the truth; no end below."""
    fit = fitted("bates", noise=0.0033, seed=1)
    found = profile_intervals(fit)
    at = fit.model.parameters.index("jump_volatility")
    assert fit.bounds[at] == "lower" and np.isnan(fit.standard_errors[at])
    assert found.open[at].tolist() == [True, False] and found.ends[at, 1] > TRUTH["bates"][at]
    inside = (found.ends[:, 0] <= TRUTH["bates"]) & (TRUTH["bates"] <= found.ends[:, 1])
    assert np.count_nonzero(inside) >= 7, found.ends


def test_an_exact_chain_has_none():
    """The sum of squares is rounding: nothing is left to be estimated."""
    fit = fitted("merton")
    found = profile_intervals(fit)
    assert np.all(np.isnan(found.ends)) or np.all(np.abs(found.ends / fit.parameters[:, None] - 1.0) < 1e-4)
