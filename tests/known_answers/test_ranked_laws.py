"""Z3 from twelve quantiles of each day against the full laws."""

from __future__ import annotations

import numpy as np

from upm_gpu.backtest.ranked_laws import RANKS, hat_weights, kept_of, lowest, lowest_uniforms, quantiles, z3
from upm_gpu.backtest.shortfall import acerbi_szekely


def case(scale: float = 1.0, days: int = 300, scenarios: int = 4_000) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(3)
    volatility = np.exp(0.5 * draw.standard_normal(days))
    return volatility[:, None] * draw.standard_t(5, (days, scenarios)), volatility * draw.standard_t(5, days) * scale


def test_it_is_the_statistic_of_the_full_laws():
    for scale in (1.0, 1.6):
        laws, came = case(scale)
        ranks = np.mean(laws < came[:, None], axis=1)
        full = acerbi_szekely(-came, 4.0, 5.0, 0.99, scenarios=laws, probabilities=ranks, samples=2_000)
        z, p = z3(ranks, quantiles(lowest(laws, kept_of(4_000)), 4_000), 0.99, 2_000, 1)
        assert abs(z - full.z3) < 0.05 and abs(p - full.z3_p_value) < 0.05, (scale, z, full)
    assert z < -0.3 and p < 0.05, "losses 1.6 times as wide as their law are seen"


def test_lowest_uniforms_have_the_law_of_order_statistics():
    found = lowest_uniforms(100, 3, 20_000, 7)
    # E V_(k) = k / (n + 1), standard deviation of the mean at most 2e-4
    assert np.allclose(found.mean(axis=0), np.arange(1, 4) / 101.0, atol=6e-4) and (np.diff(found, axis=1) > 0.0).all()


def test_hat_weights_are_linear_between_ranks():
    ranks = np.array([0.0, 0.0003, 0.0123, 0.08, 0.5])
    each = np.stack([hat_weights(r[None]) for r in ranks])
    assert np.allclose(each.sum(axis=1), 1.0) and np.allclose(each @ np.array(RANKS), np.minimum(ranks, RANKS[-1]))
    assert np.allclose(hat_weights(ranks), each.mean(axis=0))
