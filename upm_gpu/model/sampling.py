"""How the base normals of a walk are drawn other than one by one: Sobol points, antithetic pairs, moment matching.

`sample` turns a `Walk` into a `SampledWalk`; the law of every scenario is unchanged (moment matching: but for the matching), only
scenarios depend on one another. Sobol dimensions are given out by variance: an orthogonal change of the normals of
the steps (Brownian bridge, or principal components of the path) and of the factors (principal components E, Lambda of the
covariance of one step: z = D^-1 E sqrt(Lambda) n has the correlation D^-1 E Lambda E' D^-1) makes the first few carry most of what a
portfolio can lose; the mixing uniform of a step counts as its share of the first component. Draws inside a step (`bridge.py`) stay Philox.

Caflisch, Morokoff and Owen, "Valuation of mortgage-backed securities using Brownian bridges", J. Comp. Finance 1 (1997);
Acworth, Broadie and Glasserman, "A comparison of some Monte Carlo and quasi Monte Carlo techniques" (1998); Glasserman (2003), 4.2, 4.5, 5.5.
Verified: orthogonality, the law of the walk, equal bits on all backends, variance ratios (tests/properties, parity, statistics).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from upm_gpu.errors import InputError
from upm_gpu.model.gbm import PlainDraws, reference_states
from upm_gpu.model.importance import plain_mixture, shift_of, shifted_score
from upm_gpu.model.tables import evaluate_table
from upm_gpu.model.turned import TURNED_STEPS, mixing_scores, turned_weights
from upm_gpu.rng.normal import normal_quantile, uniform_at
from upm_gpu.rng.scramble import SCRAMBLINGS, reversed_directions, scramble_keys, scrambled_uniform
from upm_gpu.rng.sobol import MAXIMUM_DIMENSION
from upm_gpu.rng.streams import FACTOR
from upm_gpu.scenario.derived import base_of
from upm_gpu.scenario.sets import BLOCK, Heston, Mixture, SampledWalk, Sampler, ScenarioSet, Walk
from upm_gpu.scenario.spec import ScenarioSpec

MOST_COMPONENTS = 1000
"""steps above which principal components of the path are refused: every step would sum that many draws"""
VARIANCE_SHARE = 0.1
"""rank of a variance's own normal beside the largest price component: over days it moves the tail less than any price that matters"""
DROPPED = 1e-14
"""weights below this are zeros of the construction"""


def sample(walk: Walk | Heston, spec: ScenarioSpec) -> ScenarioSet:
    """The walk drawn as the specification asks: itself for plain Philox, and where the sampler does not serve it (`check_sampled` refuses that)."""
    if isinstance(walk, Heston) and (spec.sampler == "importance" or walk.copula is not None):
        return walk
    if spec.sampler == "sobol":
        return sobol_walk(walk, spec.stream, spec.scrambling == "owen", spec.sobol_order == "principal_components")
    if spec.sampler == "importance" and isinstance(walk, Walk):
        return mixed(walk, plain_mixture(walk, spec.stream))
    if spec.variance_reduction == "none":
        return walk
    steps = base_steps(walk)
    empty = _unsampled(walk, "antithetic", steps)
    return empty if spec.variance_reduction == "antithetic" else replace(empty, sampler="moment_matching", moments=block_moments(walk, steps))


def check_sampled(scenarios: ScenarioSet, spec: ScenarioSpec) -> None:
    """Refuse a sampler that a model did not take up: scenarios would be plain under another name."""
    if (spec.sampler != "philox" or spec.variance_reduction != "none") and not isinstance(base_of(scenarios), SampledWalk):
        raise InputError("UPM-CF-091", f"model {spec.model} draws plain scenarios only, not sampler {spec.sampler} with variance_reduction "
                         f"{spec.variance_reduction}. Use sampler philox and variance_reduction none, or model gbm, merton, heston or bates "
                         "(those two without a copula and without importance sampling).")


def sobol_walk(walk: Walk | Heston, stream: int, owen: bool = True, components: bool = False) -> SampledWalk:
    """The walk over scrambled Sobol points; `components` orders steps by the principal components of the path, else by the Brownian bridge."""
    steps, factors = base_steps(walk), factor_words(walk)
    mixed = isinstance(walk, Walk) and walk.mixing is not None
    turned = mixed and 1 < steps <= TURNED_STEPS
    dimensions = steps * (factors + mixed) + turned
    if dimensions > MAXIMUM_DIMENSION:
        raise InputError("UPM-CF-082", f"{dimensions} Sobol dimensions ({steps} base steps x {factors + mixed} draws): direction numbers exist for 1 to "
                         f"{MAXIMUM_DIMENSION}. Use fewer factors or longer base steps, or the philox sampler.")
    if components and steps > MOST_COMPONENTS:
        raise InputError("UPM-CF-092", f"principal components over {steps} base steps: at most {MOST_COMPONENTS}. Use sobol_order brownian_bridge.")
    root, variance = covariance_root(walk) if isinstance(walk, Walk) else (walk.cholesky, heston_variances(walk))
    paths = path_components(steps) if components else bridge_nodes(steps)
    share = np.array([sum(w * w for w in column) for column in _columns(paths, steps)])
    share = share / share.sum()
    if turned:
        weight = _turned_order(steps, variance)
    else:
        weight = np.concatenate([np.outer(share, variance).ravel(), np.full(steps if mixed else 0, variance[0] / steps)])
    rank = np.empty(dimensions, np.int32)
    rank[np.argsort(-weight, kind="stable")] = np.arange(dimensions, dtype=np.int32)
    unsampled = _unsampled(walk if turned else _over_nodes(walk, paths), "sobol" if owen else "sobol_shift", steps)
    return replace(
        unsampled, walk=replace(unsampled.walk, cholesky=root), dense=isinstance(walk, Walk), factor_dimension=rank[: steps * factors].reshape(steps, factors),
        mixing_dimension=rank[steps * factors :][:steps] if mixed else np.zeros(steps, np.int32), path=_increments(paths) if turned else None,
        winner_dimension=int(rank[-1]) if turned else 0, direction=reversed_directions(dimensions),
        key=scramble_keys(walk.seed, stream, dimensions))


def factor_words(walk: Walk | Heston) -> int:
    """Factors that have normals of their own: the states of a walk, the log-prices and variances of Heston."""
    return len(walk.state_names) if isinstance(walk, Walk) else 2 * len(walk.variance0)


def heston_variances(walk: Heston) -> NDArray[np.float64]:
    """(2 U,) weights of Heston's factor words: what a column of the root brings to the prices, and for a variance's own normal VARIANCE_SHARE of the largest of them."""
    price = np.sum(walk.cholesky * walk.cholesky * walk.variance0[:, None], axis=0)
    return np.stack([price, np.full(len(price), VARIANCE_SHARE * float(price.max()))], axis=1).ravel()


def _unsampled(walk: Walk | Heston, sampler: Sampler, steps: int) -> SampledWalk:
    return SampledWalk(walk, sampler, False, np.zeros((steps, factor_words(walk)), np.int32), np.zeros(steps, np.int32), np.zeros((0, 28), np.uint32),
                       np.zeros((0, 4, SCRAMBLINGS), np.uint32), np.zeros((0, steps, factor_words(walk), 2)))


def mixed(walk: Walk, mixture: Mixture) -> SampledWalk:
    """The walk drawn from a mixture, for importance sampling."""
    return replace(_unsampled(walk, "importance", len(mixture.shift[0])), mixture=mixture)


def base_steps(walk: Walk | Heston) -> int:
    """Base steps that any leg reads."""
    return int(walk.leg_step.max()) + 1


def covariance_root(walk: Walk) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(A (K, K) with A A' the walk's correlation, variances (K,) descending): principal components of the covariance of one step.

    A factor that does not move counts with the smallest scale that does. The largest entry of every column is positive.
    """
    moving = walk.scale[walk.scale > 0.0]
    scale = np.maximum(walk.scale, moving.min() if moving.size else 1.0)
    correlation = walk.cholesky @ walk.cholesky.T
    values, vectors = np.linalg.eigh(correlation * np.outer(scale, scale))
    order = np.argsort(-values, kind="stable")
    values, vectors = np.maximum(values[order], 0.0), vectors[:, order]
    vectors = vectors * np.sign(vectors[np.argmax(np.abs(vectors), axis=0), np.arange(len(values))])
    return vectors * np.sqrt(values) / scale[:, None], values


Path = list[dict[int, float]]
"""W at steps 1..J as weighted sums of J independent normals (nodes)"""


def bridge_nodes(steps: int) -> Path:
    """Brownian motion at 1..J by the bridge: node 0 is the end, then the middles of the widest intervals.

    >>> [sorted(w) for w in bridge_nodes(3)]
    [[0, 1], [0, 1, 2], [0]]
    """
    at: list[dict[int, float]] = [{} for _ in range(steps + 1)]
    at[steps] = {0: float(np.sqrt(steps))}
    node, intervals = 1, [(0, steps)]
    while intervals:
        low, high = intervals.pop(0)
        middle = (low + high) // 2
        if middle == low:
            continue
        after = (middle - low) / (high - low)
        value = {n: after * w for n, w in at[high].items()}
        for n, w in at[low].items():
            value[n] = value.get(n, 0.0) + (1.0 - after) * w
        value[node] = float(np.sqrt((middle - low) * (high - middle) / (high - low)))
        at[middle] = value
        node += 1
        intervals += [(low, middle), (middle, high)]
    return at[1:]


def path_components(steps: int) -> Path:
    """Brownian motion at 1..J by the eigenvectors of min(s, t), largest variance first (closed form, Glasserman 2003, 3.1)."""
    j = np.arange(1, steps + 1)
    angle = (2.0 * j - 1.0) / (2.0 * steps + 1.0) * np.pi
    vectors = np.sin(np.outer(j, angle)) * (2.0 / np.sqrt(2.0 * steps + 1.0))
    weights = vectors * (0.5 / np.sin(0.5 * angle))
    return [dict(enumerate(row)) for row in weights.tolist()]


def _columns(path: Path, steps: int) -> list[list[float]]:
    columns: list[list[float]] = [[] for _ in range(steps)]
    for w in path:
        for node, weight in w.items():
            columns[node].append(weight)
    return columns


def _turned_order(steps: int, variance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weights of the dimensions of a turned path: (nodes x factors, scores, where the largest falls).

    Node 0 is the whole move and takes turns with the scores: first component, largest score, second component, next score ... Measured on the sample: the first component
    before the largest score gains a quarter over the other way round. The other nodes say only when a move happens.
    """
    nodes = np.outer(np.concatenate([[1.0], np.full(steps - 1, 1e-9)]), variance).ravel()
    scores = variance[np.minimum(np.arange(steps), len(variance) - 1)] * (1.0 - 1e-9)
    return np.concatenate([nodes, scores, np.zeros(1)])


def _increments(path: Path) -> NDArray[np.float64]:
    """(J, J) weights of the nodes in the increment of each step: an orthogonal matrix."""
    weights = np.zeros((len(path), len(path)))
    for step, now in enumerate(path):
        for node, w in now.items():
            weights[step, node] += w
        for node, w in (path[step - 1] if step else {}).items():
            weights[step, node] -= w
    return weights


def _over_nodes(walk: Walk | Heston, path: Path) -> Walk | Heston:
    """The walk with every base step replaced by its increment over the nodes."""
    terms: list[tuple[int, int, float]] = []
    first = [0]
    before: Path = [{}, *path]
    for leg in range(len(walk.leg_step)):
        for m in range(int(walk.leg_first_term[leg]), int(walk.leg_first_term[leg + 1])):
            word, step, weight = int(walk.term_stream[m]), int(walk.term_step[m]), float(walk.term_weight[m])
            if word & 0xFF != FACTOR:
                terms.append((word, step, weight))
                continue
            increment = dict(path[step])
            for node, w in before[step].items():
                increment[node] = increment.get(node, 0.0) - w
            terms += [(word, node, weight * w) for node, w in sorted(increment.items()) if abs(w) > DROPPED]
        first.append(len(terms))
    return replace(walk, leg_first_term=np.array(first, np.int32), term_stream=np.array([t for t, _, _ in terms], np.uint32),
                   term_step=np.array([t for _, t, _ in terms], np.uint32), term_weight=np.array([w for _, _, w in terms], np.float64))


def block_moments(walk: Walk | Heston, steps: int) -> NDArray[np.float64]:
    """(B, J, K, 2): mean and inverse deviation of every base normal over each full block of 4,096 scenarios; (0, 1) for the rest.

    Sums run over 64 lanes in ascending scenario order, then over the lanes, so that they do not depend on the machine.
    """
    factors = factor_words(walk)
    blocks, full = -(-walk.count // BLOCK), walk.count // BLOCK
    moments = np.tile([0.0, 1.0], (blocks, steps, factors, 1))
    word = next(int(t) for t in walk.term_stream if int(t) & 0xFF == FACTOR)
    for block in range(full):
        ids = np.arange(block * BLOCK, (block + 1) * BLOCK, dtype=np.uint32)
        for step in range(steps):
            for factor in range(factors):
                n = normal_quantile(uniform_at(walk.seed, ids, factor, step, word))
                mean = _ordered_sum(n) / BLOCK
                moments[block, step, factor] = mean, 1.0 / np.sqrt(_ordered_sum((n - mean) * (n - mean)) / BLOCK)
    return moments


def _ordered_sum(values: NDArray[np.float64]) -> float:
    lanes = np.add.accumulate(values.reshape(64, 64), axis=0)[-1]
    return float(np.add.accumulate(lanes)[-1])


class SampledDraws(PlainDraws):
    """The base draws of a sampled walk; the rest is plain."""

    def __init__(self, sampled: SampledWalk) -> None:
        super().__init__(sampled.walk)
        self.sampled = sampled
        self.dense = sampled.dense

    def normal(self, scenarios: NDArray[np.uint32], factor: int, term: int) -> NDArray[np.float64]:
        s = self.sampled
        if s.sampler == "antithetic":
            n = super().normal(scenarios >> np.uint32(1), factor, term)
            return np.where(scenarios & np.uint32(1), -n, n)
        if int(self.walk.term_stream[term]) & 0xFF != FACTOR:
            return super().normal(scenarios, factor, term)
        node = int(self.walk.term_step[term])
        if s.sampler == "moment_matching":
            mean, inverse = np.moveaxis(s.moments[scenarios // BLOCK, node, factor], -1, 0)
            return (super().normal(scenarios, factor, term) - mean) * inverse
        if s.sampler == "importance":
            return super().normal(scenarios, factor, term) + shift_of(s, scenarios, node, factor)
        if s.path is None:
            return self._sobol(scenarios, int(s.factor_dimension[node, factor]))
        weights = self._turned(scenarios)[1][node]
        return np.asarray(sum(weights[i] * self._sobol(scenarios, int(s.factor_dimension[i, factor])) for i in range(len(weights))))

    def mixing(self, scenarios: NDArray[np.uint32], leg: int) -> NDArray[np.float64]:
        s = self.sampled
        if s.path is not None:
            return np.asarray(self._turned(scenarios)[0][int(self.walk.leg_step[leg])])
        if s.sampler in ("sobol", "sobol_shift"):
            return self._sobol(scenarios, int(s.mixing_dimension[self.walk.leg_step[leg]]))
        if s.sampler == "importance":
            return shifted_score(super().mixing(scenarios, leg), shift_of(s, scenarios, int(self.walk.leg_step[leg]), -1))
        return super().mixing(scenarios >> np.uint32(s.sampler == "antithetic"), leg)

    def _sobol(self, scenarios: NDArray[np.uint32], dimension: int) -> NDArray[np.float64]:
        return normal_quantile(self._uniform(scenarios, dimension))

    def _uniform(self, scenarios: NDArray[np.uint32], dimension: int) -> NDArray[np.float64]:
        s = self.sampled
        return scrambled_uniform(scenarios, s.direction[dimension], s.key[dimension], s.sampler == "sobol")

    def _turned(self, scenarios: NDArray[np.uint32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Scores (J, S) and weights (J, J, S) of a turned path."""
        s, mixing = self.sampled, self.walk.mixing
        assert s.path is not None and mixing is not None
        scores = mixing_scores(np.stack([self._uniform(scenarios, int(d)) for d in s.mixing_dimension]), self._uniform(scenarios, s.winner_dimension))
        return scores, turned_weights(s.path, np.exp(evaluate_table(mixing, scores)))


def sampled_states(sampled: SampledWalk, first: int, last: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """States (D, K, S) of scenarios [first, last) and clip counts (K,): the twin of the kind sampled_walk."""
    if isinstance(sampled.walk, Heston):
        from upm_gpu.model.heston import reference_states as heston_states

        return heston_states(sampled.walk, first, last, SampledDraws(sampled))
    return reference_states(sampled.walk, first, last, SampledDraws(sampled))
