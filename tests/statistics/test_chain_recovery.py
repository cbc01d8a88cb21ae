"""Do intervals of fits to noisy chains cover the truth? Independent errors of a third of a volatility point, equal weights, on 50 quotes of Heston and Merton and 410 of Bates, a chain as exchanges list it.

Eight parameters on 50 quotes are no longer linear over their standard errors (+- t quantile x standard error covers as little as 67 %): there profile intervals do better, and still not as well as asked (docs/design/0115).

With 500 seeds a true 95 % lies within 92.8 to 97.0 % with probability 0.97; 91 to 98 % is asked of every parameter.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from chain_cases import TRUTH, chain_of

from upm_gpu.calibrate.chain.fit import FitOptions, fit_chains
from upm_gpu.calibrate.chain.intervals import profile_intervals
from upm_gpu.calibrate.ssvi_errors import ssvi_errors
from upm_gpu.market.ssvi import Ssvi, fit_ssvi, variance

NOISE = 0.0033
LISTED = {"deviations": np.linspace(-3.0, 2.5, 41), "years": tuple(np.geomspace(0.02, 1.5, 10).tolist())}
"""410 quotes of ten expiries"""


def chains(name: str, seeds: int, shape: dict):
    clean = chain_of(name, TRUTH[name], **shape)
    return [replace(clean, volatility=clean.volatility + NOISE * np.random.default_rng(s).standard_normal(len(clean.strike))) for s in range(seeds)]


def covered(name: str, seeds: int, *stretches: float) -> list[np.ndarray]:
    """Share of seeds whose interval, stretched, holds the truth, by parameter."""
    from scipy.special import stdtrit

    fits = fit_chains(chains(name, seeds, LISTED if name == "bates" else {}), FitOptions(model=name, weights="equal"))
    assert all(f.converged for f in fits)
    wide = float(stdtrit(len(fits[0].chain.strike) - len(TRUTH[name]), 0.975))
    return [np.mean([np.abs(f.parameters - TRUTH[name]) <= s * wide * np.nan_to_num(f.standard_errors, nan=np.inf) for f in fits], axis=0) for s in stretches]


def test_a_hundred_seeds_of_heston():
    """Within 4 binomial deviations of 95 %, and an interval half as wide is told from it."""
    share, half = covered("heston", 100, 1.0, 0.5)
    assert np.all(share >= 0.86), share
    assert np.all(half < 0.82)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["heston", "merton", "bates"])
def test_five_hundred_seeds(name):
    share, = covered(name, 500, 1.0)
    assert np.all((share >= 0.91) & (share <= 0.98)), share


@pytest.mark.slow
def test_profile_intervals_where_standard_errors_cover_too_little():
    """Bates on 50 quotes: the sum of squares has a second basin, jumps of one size; its slopes vanish there."""
    fits = fit_chains(chains("bates", 100, {}), FitOptions(model="bates", weights="equal"))
    ends = np.array([profile_intervals(f).ends for f in fits])
    share = np.mean((ends[:, :, 0] <= TRUTH["bates"]) & (TRUTH["bates"] <= ends[:, :, 1]), axis=0)
    wald = np.mean([np.abs(f.parameters - TRUTH["bates"]) <= 2.02 * np.nan_to_num(f.standard_errors, nan=0.0) for f in fits], axis=0)
    assert np.min(share) >= 0.82 and np.min(wald) < 0.75, (share, wald)


def ssvi_covered(seeds: int, *stretches: float) -> list[np.ndarray]:
    """Share of seeds whose interval, stretched, holds rho, eta and gamma of a surface, then theta of its five expiries, 155 quotes."""
    years, x = np.array([0.02, 0.08, 0.25, 0.6, 1.2]), np.linspace(-2.5, 2.0, 31)
    made = Ssvi("power_law", -0.4, (0.9, 0.45), 0.3 * years**0.95)
    k = [x * np.sqrt(theta) for theta in made.theta]
    clean = [np.sqrt(variance(made, y)[e] / years[e]) for e, y in enumerate(k)]
    away = []
    for s in range(seeds):
        rng = np.random.default_rng(s)
        quotes = years, k, [v + NOISE * rng.standard_normal(len(v)) for v in clean], [np.exp(-0.2 * x * x)] * len(years)
        values, errors, bounds = ssvi_errors(fit_ssvi(*quotes, "power_law"), *quotes)
        assert not any(bounds)
        away.append(np.abs(values - [made.rho, *made.shape, *made.theta]) / (1.976 * errors))
    return [np.mean(np.array(away) <= s, axis=0) for s in stretches]


def test_forty_seeds_of_ssvi():
    """Within 4 binomial deviations of 95 %, and an interval a third as wide is told from it."""
    share, third = ssvi_covered(40, 1.0, 1.0 / 3.0)
    assert np.all(share >= 0.81) and np.all(third < 0.75), (share, third)


@pytest.mark.slow
def test_five_hundred_seeds_of_ssvi():
    share, = ssvi_covered(500, 1.0)
    assert np.all((share >= 0.91) & (share <= 0.98)), share
