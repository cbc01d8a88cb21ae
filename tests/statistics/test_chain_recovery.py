"""Do intervals of fits to noisy chains cover the truth? Independent errors of a third of a volatility point, equal weights, on 50 quotes of Heston and Merton and 410 of Bates, a chain as exchanges list it.

Eight parameters on 50 quotes are no longer linear over their standard errors (+- t quantile x standard error covers as little as 67 %): there the profile intervals are held to the same range.

With 500 seeds a true 95 % lies within 92.8 to 97.0 % with probability 0.97; 91 to 98 % is asked of every parameter.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from chain_cases import TRUTH, chain_of

from upm_gpu.calibrate.chain.fit import FitOptions, fit_chains
from upm_gpu.calibrate.chain.intervals import profile_intervals

NOISE = 0.0033
LISTED = {"deviations": np.linspace(-3.0, 2.5, 41), "years": tuple(np.geomspace(0.02, 1.5, 10).tolist())}
"""410 quotes of ten expiries"""


def chains(name: str, seeds: int, shape: dict):
    clean = chain_of(name, TRUTH[name], **shape)
    return [replace(clean, volatility=clean.volatility + NOISE * np.random.default_rng(s).standard_normal(len(clean.strike))) for s in range(seeds)]


def covered(name: str, seeds: int, stretch: float = 1.0) -> np.ndarray:
    """Share of seeds whose interval holds the truth, by parameter."""
    from scipy.special import stdtrit

    fits = fit_chains(chains(name, seeds, LISTED if name == "bates" else {}), FitOptions(model=name, weights="equal"))
    assert all(f.converged for f in fits)
    wide = stretch * float(stdtrit(len(fits[0].chain.strike) - len(TRUTH[name]), 0.975))
    return np.mean([np.abs(f.parameters - TRUTH[name]) <= wide * np.nan_to_num(f.standard_errors, nan=np.inf) for f in fits], axis=0)


def test_a_hundred_seeds_of_heston():
    """Within 4 binomial deviations of 95 %, and an interval half as wide is told from it."""
    share = covered("heston", 100)
    assert np.all(share >= 0.86), share
    assert np.all(covered("heston", 100, 0.5) < 0.82)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["heston", "merton", "bates"])
def test_five_hundred_seeds(name):
    share = covered(name, 500)
    assert np.all((share >= 0.91) & (share <= 0.98)), share


@pytest.mark.slow
def test_profile_intervals_where_standard_errors_cover_too_little():
    """Bates on 50 quotes: the sum of squares has a second basin, jumps of one size; its slopes vanish there."""
    fits = fit_chains(chains("bates", 300, {}), FitOptions(model="bates", weights="equal"))
    ends = np.array([profile_intervals(f).ends for f in fits])
    share = np.mean((ends[:, :, 0] <= TRUTH["bates"]) & (TRUTH["bates"] <= ends[:, :, 1]), axis=0)
    wald = np.mean([np.abs(f.parameters - TRUTH["bates"]) <= 2.02 * np.nan_to_num(f.standard_errors, nan=0.0) for f in fits], axis=0)
    assert np.all((share >= 0.88) & (share <= 0.99)) and np.min(wald) < 0.8, (share, wald)
