"""Turned Sobol paths: the law of the mixing scores, the rotation, and that the first node is the whole move."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import special, stats

from upm_gpu.model.gbm import reference_states
from upm_gpu.model.sampling import SampledDraws, bridge_nodes, sobol_walk
from upm_gpu.model.turned import TURNED_STEPS, mixing_scores, turned_weights
from upm_gpu.rng.normal import uniform

from .cases import make_walk

COUNT = 40_000


def increments(steps: int) -> NDArray[np.float64]:
    path = np.zeros((steps + 1, steps))
    for j, nodes in enumerate(bridge_nodes(steps), 1):
        path[j, list(nodes)] = list(nodes.values())
    return np.diff(path, axis=0)


@pytest.mark.parametrize("steps", [2, 3, TURNED_STEPS])
def test_scores_are_independent_normals_with_the_first_coordinate_the_largest(steps: int) -> None:
    """Kolmogorov-Smirnov of each score and of products of ranks, alpha 1e-4 each: detects a shift of 0.011 standard deviations."""
    u = uniform(5, 0, COUNT, steps + 1)[:, 0]
    scores = mixing_scores(u[:steps], u[steps])
    for j in range(steps):
        assert stats.kstest(scores[j], "norm").pvalue > 1e-4
    p = special.ndtr(scores)
    for j in range(1, steps):
        assert abs(np.mean((p[0] - 0.5) * (p[j] - 0.5))) < 4.0 / 12.0 / np.sqrt(COUNT)
    np.testing.assert_allclose(p.max(axis=0), (1.0 - u[0]) ** (1.0 / steps), rtol=1e-12)


def test_the_extremes_of_a_uniform_give_finite_scores() -> None:
    edge = np.array([2.0**-53, 0.5, 1.0 - 2.0**-53])
    scores = mixing_scores(np.array(np.meshgrid(edge, edge)).reshape(2, -1), np.full(9, 1.0 - 2.0**-53))
    assert np.all(np.isfinite(scores))


@pytest.mark.parametrize("steps", [2, 5, TURNED_STEPS])
def test_the_turn_is_a_rotation_after_which_the_first_node_is_the_whole_move(steps: int) -> None:
    rng = np.random.default_rng(1)
    stretch = np.exp(rng.normal(0.0, 1.0, (steps, 50)))
    stretch[:, 0] = 1.3  # equal stretches: no turn
    path = increments(steps)
    weights = turned_weights(path, stretch)
    np.testing.assert_allclose(np.einsum("jns,kns->jks", weights, weights), np.repeat(np.eye(steps)[:, :, None], 50, 2), atol=1e-13)
    np.testing.assert_allclose(weights[:, :, 0], path, atol=1e-14)
    whole = np.einsum("js,jns->ns", stretch, weights)
    np.testing.assert_allclose(whole[0], np.sqrt(np.sum(stretch * stretch, axis=0)), rtol=1e-13)
    np.testing.assert_allclose(whole[1:], 0.0, atol=1e-12 * stretch.max())


def test_the_law_of_the_walk_is_kept() -> None:
    """Mean, variance and a tail probability of every state beside plain draws; 5 standard errors of the plain side, 2 % of a deviation."""
    walk = make_walk("t_both", 1 << 15)
    sampled = sobol_walk(walk, 0)
    assert sampled.path is not None
    plain, _ = reference_states(walk, 0, walk.count)
    turned, _ = reference_states(sampled.walk, 0, walk.count, SampledDraws(sampled))
    deviation = plain.std(axis=-1)
    assert np.all(np.abs(turned.mean(axis=-1) - plain.mean(axis=-1)) < 5.0 * deviation / np.sqrt(walk.count))
    for level in (0.05, 0.95):
        edge = np.quantile(plain, level, axis=-1, keepdims=True)
        assert np.all(np.abs(np.mean(turned <= edge, axis=-1) - level) < 5.0 * np.sqrt(2 * 0.05 * 0.95 / walk.count))
    for d in range(plain.shape[0]):
        np.testing.assert_allclose(np.corrcoef(turned[d]), np.corrcoef(plain[d]), atol=0.1)
