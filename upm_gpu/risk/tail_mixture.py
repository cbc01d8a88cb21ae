"""The mixture that importance sampling draws from: one shift for every cluster of scenarios in which like accounts lose.

For ES the best density of one account is proportional to max(L - VaR, 0) f (it has no variance); among mixtures of shifted normals the nearest to it in cross-entropy has
its clusters' means as shifts (Rubinstein and Kroese, The cross-entropy method, 2004; Botev, Kroese, Rubinstein and L'Ecuyer 2013). So the tails of all accounts
over the pilot scenarios are pooled, every account with the same mass spread over its excess losses, and grouped by weighted k-means in the space of base
normals and mixing scores: accounts that lose in the same scenarios share components, a straddle takes one for each side, a heavy tail one for each day the
large move may come on. For a linear book and Gaussian factors this is the shift of Glasserman, Heidelberger and Shahabuddin (Management Science 46, 2000) to the
tail's mean; with a t copula the score of the chi-square moves too, as in their paper of 2002; their scaling of variances is taken over by further components.

Half of an account's mass is spread by the excess, half by its square: the variance of a heavy tail comes from farther out than its mean.

How many components: clusters are made on one half of the pilot scenarios and judged on the other, both ways; the number with the least variance of ES is taken
and fitted to all.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from upm_gpu.model.importance import make_mixture, mixture_weight
from upm_gpu.risk.pilot import Pilot
from upm_gpu.scenario.sets import Mixture

COMPONENTS = (1, 2, 4, 8, 16)
"""numbers tried"""
ROUNDS = 2
"""times that accounts served worse than others are given more mass"""
COORDINATES = 48
"""base normals and scores that may be shifted: those whose second moment in the tail is farthest from 1"""
WORST = 0.99
"""of the accounts: how many are looked at beside the mean when a number of components is judged"""
CLEAR = 3.0
"""standard errors of a cluster's mean below which a coordinate is not shifted: with hundreds of factors noise would be most of the shift"""
LARGEST_SHIFT = 4.0
"""of one coordinate: keeps draws on the tables of the walk"""
LEAST_SHARE = 0.02
"""of a component among the shifted ones"""
SWEEPS = 40
DIGITS = 6
"""shifts and shares are rounded: a last bit of a pilot sum decides nothing"""
MARGIN = 1.25
"""scenarios kept over what the pilot expects in a tail"""


@dataclass(frozen=True)
class Guide:
    """The mixture and what the pilot expects of it."""

    mixture: Mixture
    tail_share: float
    """largest share of the scenarios that lies in the tail of a row at the lowest level"""
    relative_variance: float
    """mean over rows of the variance of ES over that of plain sampling"""


def guide(pilot: Pilot, stream: int) -> Guide | None:
    """The mixture for the tails of a pilot; None where no row has risk."""
    if not len(pilot.rows):
        return None
    steps, places, count = pilot.normals.shape
    x = pilot.normals.reshape(steps * places, count)
    mass = np.ones(len(pilot.rows))
    each = _spread(pilot, pilot.weight[pilot.tail] * pilot.excess) + _spread(pilot, pilot.weight[pilot.tail] * pilot.excess**2)
    halves = (pilot.tail % 2 == 0, pilot.tail % 2 == 1)
    best, score = (1, mass, mass), np.inf
    for _ in range(ROUNDS + 1):
        before = score
        for wanted in COMPONENTS:
            relative = np.mean([_relative(pilot, _weights(_fit(x, pilot.tail, each * fitted * mass[pilot.owner], wanted, (steps, places), stream), x), judged)
                                for fitted, judged in (halves, halves[::-1])], axis=0)
            reached = float(np.mean(relative) + np.quantile(relative, WORST))
            if reached < score:
                best, score = (wanted, mass, relative), reached
        if score == before:
            break
        mass = mass * np.sqrt(best[2] / np.mean(best[2]))
    mixture = _fit(x, pilot.tail, each * best[1][pilot.owner], best[0], (steps, places), stream)
    weight = _weights(mixture, x)
    return Guide(mixture, float(np.max(np.bincount(pilot.beyond_owner, pilot.weight[pilot.beyond] / weight[pilot.beyond])) / count), float(np.mean(best[2])))


def first_depth(guide: Guide, scenarios: int) -> int:
    """Scenarios a row keeps at first; the weight kept proves whether they are enough."""
    expected = MARGIN * guide.tail_share * scenarios
    return int(min(scenarios, max(2.0, np.ceil(expected + 4.0 * np.sqrt(expected)))))


def _fit(x: NDArray[np.float64], tail: NDArray[np.int64], mass: NDArray[np.float64], wanted: int, shape: tuple[int, int], stream: int) -> Mixture:
    """Weighted k-means of the pooled tail points; x (coordinates, P), tail and mass (E,)."""
    pooled = np.bincount(tail, mass, x.shape[1])
    points = np.flatnonzero(pooled > 0.0)
    weight = pooled[points] / pooled[points].sum()
    moment = np.abs(np.sum(x[:, points] ** 2 * weight, axis=1) - 1.0)
    used = np.sort(np.argsort(-np.where(np.any(x != 0.0, axis=1), moment, -1.0), kind="stable")[:COORDINATES])
    at = x[np.ix_(used, points)]
    centre = [np.sum(at * weight, axis=1)] if wanted == 1 else [at[:, int(np.argmax(weight))]]
    nearest = _distance(at, centre[0])
    while len(centre) < min(wanted, len(points)):
        centre.append(at[:, int(np.argmax(weight * nearest))])
        nearest = np.minimum(nearest, _distance(at, centre[-1]))
    centres = np.stack(centre)
    for _ in range(SWEEPS):
        group = np.argmin(np.stack([_distance(at, c) for c in centres]), axis=0)
        share = np.bincount(group, weight, len(centres))
        moved = np.stack([np.bincount(group, weight * row, len(centres)) for row in at], axis=1) / np.maximum(share, 1e-300)[:, None]
        if np.array_equal(moved, centres):
            break
        centres = moved
    held = share > 0.0
    error = np.sqrt(np.bincount(group, weight**2, len(centres))) / np.maximum(share, 1e-300)
    centres = np.where(np.abs(centres) < CLEAR * error[:, None], 0.0, centres)
    shift = np.zeros((int(held.sum()), x.shape[0]))
    shift[:, used] = np.clip(np.round(centres[held], DIGITS), -LARGEST_SHIFT, LARGEST_SHIFT)
    rounded = np.asarray(np.round(np.maximum(share[held], LEAST_SHARE), DIGITS), np.float64)
    return make_mixture(shift.reshape(-1, *shape), rounded, stream)


def _spread(pilot: Pilot, amount: NDArray[np.float64]) -> NDArray[np.float64]:
    """Amounts (E,) over their sum by row."""
    result: NDArray[np.float64] = amount / np.bincount(pilot.owner, amount)[pilot.owner]
    return result


def _distance(at: NDArray[np.float64], centre: NDArray[np.float64]) -> NDArray[np.float64]:
    result: NDArray[np.float64] = np.sum((at - centre[:, None]) ** 2, axis=0)
    return result


def _weights(mixture: Mixture, x: NDArray[np.float64]) -> NDArray[np.float64]:
    """f / g at the pilot points (coordinates, P)."""
    inner = np.zeros((len(mixture.chance), x.shape[1]))
    for c, shift in enumerate(mixture.shift.reshape(len(mixture.chance), -1)):
        for d in np.flatnonzero(shift):
            inner[c] += shift[d] * x[d]
    return mixture_weight(mixture, inner)


def _relative(pilot: Pilot, weight: NDArray[np.float64], judged: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(N,) variance of ES over that of plain sampling, from the pilot points that were not fitted to: E[w (h - m)^2] / (E[h^2] - m^2), m = E[h]."""
    half = 0.5 * pilot.normals.shape[2]
    v, h, w = pilot.weight[pilot.tail] * judged / half, pilot.excess, weight[pilot.tail]
    m = np.bincount(pilot.owner, v * h)
    plain = np.bincount(pilot.owner, v * h * h) - m * m
    tilted = np.bincount(pilot.owner, v * w * h * (h - 2.0 * m[pilot.owner])) + m * m * float(np.mean(pilot.weight * weight))
    safe = plain > 0.0
    return np.where(safe, tilted / np.where(safe, plain, 1.0), 1.0)
