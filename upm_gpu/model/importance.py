"""Importance sampling of a walk: base normals drawn from a mixture of shifted normals, and the weight each scenario then has.

A scenario is a point x of the base normals (step, factor) and, under a t copula, the mixing score of each step; its plain law is the standard
normal f. It is drawn from

  g(x) = sum_c a_c f(x - m_c),   m_0 = 0,  and weighs  w(x) = f(x) / g(x) = 1 / sum_c a_c exp(m_c x - |m_c|^2 / 2) <= 1 / a_0:

component 0, the plain law, keeps every weight bounded (defensive mixture: Hesterberg, "Weighted average importance sampling and defensive mixture
distributions", Technometrics 37, 1995). The mixing score is one of the coordinates, so a component moves the chi-square of a t copula with the normals, as
Glasserman, Heidelberger and Shahabuddin do for heavy tails ("Portfolio value-at-risk with heavy-tailed risk factors", Mathematical Finance 12, 2002).
Draws inside a step and jumps stay plain. Where the shifts come from: `risk/pilot.py`.

Verified: sum of w f = 1, means and expected shortfalls against closed forms, equal bits on all backends (tests/statistics/test_importance.py, tests/parity).
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from upm_gpu.model.tables import SCORE_LIMIT
from upm_gpu.rng.normal import normal_quantile, uniform_at
from upm_gpu.rng.streams import COMPONENT, FACTOR, PILOT, stream_word
from upm_gpu.scenario.sets import Mixture, SampledWalk, Walk

PLAIN_SHARE = 0.2
"""scenarios drawn from the plain law (house choice): no weight exceeds 5, and an account that no component serves keeps a fifth of its scenarios"""
PIECE = 16_384
"""scenarios weighed at once: what is summed stays in the second-level cache"""


def plain_mixture(walk: Walk, stream: int) -> Mixture:
    """The plain law alone: the scenarios of the walk itself, all of weight 1."""
    return make_mixture(np.zeros((0, int(walk.leg_step.max()) + 1, len(walk.state_names) + 1)), np.zeros(0), stream, 1.0)


def make_mixture(shift: NDArray[np.float64], share: NDArray[np.float64], stream: int, plain: float = PLAIN_SHARE, internal: int = COMPONENT) -> Mixture:
    """Shifts (C, J, K + 1) with relative shares (C,) beside the plain law."""
    chance = np.concatenate([[plain], (1.0 - plain) * share / (share.sum() if len(share) else 1.0)])
    shift = np.concatenate([np.zeros((1, *shift.shape[1:])), shift])
    return Mixture(stream_word(stream, internal), chance, np.cumsum(chance)[:-1], shift)


def shifted_score(q: NDArray[np.float64], shift: NDArray[np.float64]) -> NDArray[np.float64]:
    """A mixing score after its shift, kept on the table of the mixing variable: no plain draw reaches its ends."""
    return np.clip(q + shift, -SCORE_LIMIT, SCORE_LIMIT)


def components(sampled: SampledWalk, scenarios: NDArray[np.uint32]) -> NDArray[np.int64]:
    """Which component each scenario is drawn from."""
    mixture = mixture_of(sampled)
    u = uniform_at(sampled.walk.seed, scenarios, 0, 0, mixture.stream)
    return np.sum(u[:, None] > mixture.threshold, axis=1)


def shift_of(sampled: SampledWalk, scenarios: NDArray[np.uint32], step: int, place: int) -> NDArray[np.float64]:
    """What is added to a base normal (place: its factor) or to the mixing score (place -1) of a step."""
    return mixture_of(sampled).shift[components(sampled, scenarios), step, place]


def mixture_of(sampled: SampledWalk) -> Mixture:
    """The mixture of an importance walk."""
    assert sampled.mixture is not None
    return sampled.mixture


def scenario_weights(sampled: SampledWalk) -> NDArray[np.float64]:
    """(S,) weight of every scenario, mean about 1: a function of its address, on every backend the same bits (NumPy's and SciPy's: another kind of processor may differ in the last).

    Coordinates that no component shifts need not be drawn; x and m x are summed in the order (step, place).
    """
    mixture, walk = mixture_of(sampled), sampled.walk
    assert isinstance(walk, Walk)  # the one kind that has a mixture
    coordinates = np.argwhere(np.any(mixture.shift != 0.0, axis=0))
    weight = np.empty(walk.count)

    def weigh(first: int) -> None:
        ids = np.arange(first, min(first + PIECE, walk.count), dtype=np.uint32)
        component = components(sampled, ids)
        inner = np.zeros((len(mixture.chance), len(ids)))
        for step, place in coordinates:
            x = base_normal(walk, ids, int(step), int(place)) + mixture.shift[component, step, place]
            for c in range(1, len(inner)):
                if mixture.shift[c, step, place] != 0.0:
                    inner[c] += mixture.shift[c, step, place] * x
        weight[first : first + len(ids)] = mixture_weight(mixture, inner)

    # NumPy lets go of the interpreter inside its loops, and no piece reads another's
    with ThreadPoolExecutor(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1) as pool:
        list(pool.map(weigh, range(0, walk.count, PIECE)))
    return weight


def mixture_weight(mixture: Mixture, inner: NDArray[np.float64]) -> NDArray[np.float64]:
    """f / g from the products m_c x (C, ...)."""
    density = np.zeros(inner.shape[1:])
    for chance, shift, product in zip(mixture.chance, mixture.shift, inner, strict=True):
        density += chance * np.exp(np.minimum(product - 0.5 * float(np.sum(shift * shift)), 700.0))
    return 1.0 / density


def base_normal(walk: Walk, scenarios: NDArray[np.uint32], step: int, place: int, internal: int = 0) -> NDArray[np.float64]:
    """The plain normal of a factor, or the mixing score (place K), of a base step; `internal` is added to the stream ids."""
    word = (walk.mixing_stream & ~0xFF) + internal
    mixing = place == len(walk.state_names)
    return normal_quantile(uniform_at(walk.seed, scenarios, 0 if mixing else place, step, word + ((walk.mixing_stream & 0xFF) if mixing else FACTOR)))


def pilot_normals(walk: Walk, count: int) -> NDArray[np.float64]:
    """(J, K + 1, count) base normals and mixing scores of the pilot scenarios, from their own streams; scores are 0 where the walk has no mixing."""
    ids = np.arange(count, dtype=np.uint32)
    steps, places = int(walk.leg_step.max()) + 1, len(walk.state_names) + 1
    x = np.zeros((steps, places, count))
    for step in range(steps):
        for place in range(places - (walk.mixing is None)):
            x[step, place] = base_normal(walk, ids, step, place, PILOT)
    return x
