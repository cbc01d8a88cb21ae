"""Scrambled Sobol points keep what makes Sobol points good, and every one of them is uniform."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special

from upm_gpu.model.sampling import bridge_nodes, covariance_root, path_components, sample
from upm_gpu.rng.scramble import (
    SCRAMBLINGS,
    coordinate,
    reverse_bits,
    reversed_directions,
    scramble_keys,
    scrambled_uniform,
)
from upm_gpu.rng.sobol import sobol
from upm_gpu.scenario.sets import BLOCK, SampledWalk
from upm_gpu.scenario.spec import ScenarioSpec

DIMENSIONS = 12


def points(count: int, owen: bool = True, seed: int = 7, stream: int = 0, dimensions: int = DIMENSIONS) -> np.ndarray:
    """(points, SCRAMBLINGS, dimensions)"""
    directions, keys = reversed_directions(dimensions), scramble_keys(seed, stream, dimensions)
    scenarios = np.arange(SCRAMBLINGS * count, dtype=np.uint32)
    columns = [scrambled_uniform(scenarios, directions[d], keys[d], owen) for d in range(dimensions)]
    return np.stack(columns, axis=1).reshape(count, SCRAMBLINGS, dimensions)


def test_unscrambled_coordinates_are_the_sobol_sequence() -> None:
    for skip in (0, 1000, (1 << 28) - 50):
        index = np.arange(skip, skip + 50, dtype=np.uint32)
        found = np.stack([reverse_bits(coordinate(index, d)) for d in reversed_directions(40)], axis=1)
        np.testing.assert_array_equal(found * 2.0**-32, sobol(50, 40, skip))


@pytest.mark.parametrize("owen", [True, False])
def test_elementary_intervals_of_single_coordinates_hold_one_point_each(owen: bool) -> None:
    for m in (1, 4, 9):
        cell = np.floor(points(1 << m, owen) * 2**m)
        assert (np.sort(cell, axis=0) == np.arange(1 << m)[:, None, None]).all()


@pytest.mark.parametrize("owen", [True, False])
def test_pairs_of_coordinates_keep_the_net_property_of_the_plain_points(owen: bool) -> None:
    """A (0, m, 2)-net in the first two dimensions; elsewhere the cells of every shape hold as many points as unscrambled ones do."""
    m = 8
    plain, scrambled = sobol(1 << m, DIMENSIONS), points(1 << m, owen)
    for a, b in ((0, 1), (2, 5), (7, 11)):
        for k in range(m + 1):
            def counts(u: np.ndarray, k: int = k, a: int = a, b: int = b) -> np.ndarray:
                cell = np.floor(u[..., a] * 2**k) * 2 ** (m - k) + np.floor(u[..., b] * 2 ** (m - k))
                return np.sort(np.bincount(cell.astype(int), minlength=1 << m))

            expected = counts(plain)
            assert (a, b) != (0, 1) or (expected == 1).all()
            for r in range(SCRAMBLINGS):
                np.testing.assert_array_equal(counts(scrambled[:, r]), expected)


def test_every_point_is_uniform_over_the_keys() -> None:
    """The same point under 16 x 500 keys: chi-square over 64 cells, and the low bits."""
    u = np.concatenate([points(3, seed=seed, dimensions=2) for seed in range(500)], axis=1)
    for point in range(3):
        for d in range(2):
            for value in (u[point, :, d], np.modf(u[point, :, d] * 2.0**30)[0]):
                cells = np.bincount((value * 64).astype(int), minlength=64)
                assert special.chdtrc(63, np.sum((cells - 125.0) ** 2) / 125.0) > 1e-4
    assert abs(np.corrcoef(u[0, :, 0], u[1, :, 0])[0, 1] + 0.75) < 0.03  # independent in opposite halves
    assert abs(np.corrcoef(u[0, :, 0], u[0, :, 1])[0, 1]) < 0.05


def test_owen_scrambling_gains_what_it_should_and_has_no_bias() -> None:
    """exp(u_1 + .. + u_6) with 256 points: the mean of 960 scramblings is unbiased and the variance below a hundredth of plain sampling's."""
    means = np.concatenate([np.exp(points(256, seed=seed, dimensions=6).sum(axis=-1)).mean(axis=0) for seed in range(60)])
    plain = np.sqrt(((np.e**2 - 1.0) / 2.0) ** 6 - (np.e - 1.0) ** 12) / 16.0
    assert abs(means.mean() - (np.e - 1.0) ** 6) < 4.0 * means.std() / np.sqrt(means.size)
    assert 0.0001 < (means.std() / plain) ** 2 < 0.01


def test_streams_and_seeds_draw_other_scramblings() -> None:
    assert not np.intersect1d(points(8), points(8, seed=8)).size
    assert not np.intersect1d(points(8), points(8, stream=1)).size


@pytest.mark.parametrize("steps", [1, 2, 3, 7, 33])
def test_paths_over_nodes_are_brownian(steps: int) -> None:
    for path in (bridge_nodes(steps), path_components(steps)):
        weights = np.zeros((steps, steps))
        for row, w in zip(weights, path, strict=True):
            row[list(w)] = list(w.values())
        np.testing.assert_allclose(weights @ weights.T, np.minimum.outer(np.arange(1, steps + 1), np.arange(1, steps + 1)), rtol=0, atol=1e-11 * steps)


def test_bridge_reads_few_nodes_a_step() -> None:
    assert max(len(w) for w in bridge_nodes(1024)) <= 2 + 10


class TestWalk:
    """What `sample` makes of a walk."""

    @staticmethod
    def made(count: int = 2 * BLOCK + 100, **spec: object) -> SampledWalk:
        from parity.cases import make_walk

        result = sample(make_walk("t_both", count), ScenarioSpec(**spec))  # type: ignore[arg-type]
        assert isinstance(result, SampledWalk)
        return result

    def test_principal_components_have_the_correlation(self) -> None:
        from parity.cases import make_walk

        walk = make_walk("t_both")
        root, variance = covariance_root(walk)
        np.testing.assert_allclose(root @ root.T, walk.cholesky @ walk.cholesky.T, rtol=0, atol=1e-13)
        assert (np.diff(variance) <= 0.0).all()

    @pytest.mark.parametrize("order", ["brownian_bridge", "principal_components"])
    def test_dimensions_are_a_permutation_with_the_largest_first(self, order: str) -> None:
        s = self.made(sampler="sobol", sobol_order=order)
        assert sorted([*s.factor_dimension.ravel(), *s.mixing_dimension]) == list(range(s.factor_dimension.size + s.mixing_dimension.size))
        assert s.factor_dimension[0, 0] == 0 and max(s.mixing_dimension) < 4
        assert (np.diff(s.factor_dimension, axis=1) > 0).all()

    def test_pairs_are_exact_mirrors(self) -> None:
        from upm_gpu.model.registry import reference_states

        s = self.made(variance_reduction="antithetic")
        x = reference_states(s, 0, 200)[0] - s.walk.centre[:, :, None]
        np.testing.assert_allclose(x[:, :, 0::2], -x[:, :, 1::2], rtol=0, atol=1e-15)

    def test_full_blocks_are_matched_and_the_rest_is_plain(self) -> None:
        from upm_gpu.model.sampling import SampledDraws

        s = self.made(variance_reduction="moment_matching")
        draws, plain = SampledDraws(s), SampledDraws.__bases__[0](s.walk)
        for block in range(3):
            ids = np.arange(block * BLOCK, min((block + 1) * BLOCK, s.count), dtype=np.uint32)
            for factor in (0, 5):
                for term in (0, 1):
                    n = draws.normal(ids, factor, term)
                    if block < 2:
                        assert abs(n.mean()) < 1e-15 and abs(np.mean(n * n) - 1.0) < 1e-13
                    else:
                        np.testing.assert_array_equal(n, plain.normal(ids, factor, term))
