"""Standard errors where scenarios depend on one another: the variance of a mean between groups that do not.

Groups of scenario ids s: pairs (antithetic, s div 2), scramblings (Sobol, s mod 16), blocks (moment matching, s div 4,096). With group sums
Y_g of values e_s over n_g scenarios, mean m and G groups,

  Var(m) = G / (G - 1) sum_g (Y_g - n_g m)^2 / S^2,

which for groups of one scenario is the usual variance over S. The standard error of ES takes the influence values max(L - VaR, 0), zero
outside the kept tail, so no scrambling needs a tail of its own: the common VaR moves the mean of the groups, not their spread, to first
order (Owen, "Monte Carlo variance of scrambled net quadrature", 1997, for replicates; Glasserman 2003, 4.2 and 4.5, for pairs and matching).
Between few groups the error is itself a sample: 16 scramblings know it to 18 %.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from upm_gpu.model.importance import scenario_weights
from upm_gpu.rng.scramble import SCRAMBLINGS
from upm_gpu.scenario.derived import base_of
from upm_gpu.scenario.sets import BLOCK, SampledWalk, ScenarioSet

Dependence = Literal["independent", "pairs", "scramblings", "blocks", "weighted"]
_OF_SAMPLER: dict[str, Dependence] = {"antithetic": "pairs", "moment_matching": "blocks", "sobol": "scramblings", "sobol_shift": "scramblings", "importance": "weighted"}
FORMULAS: dict[Dependence, str] = {
    "independent": "plain: sd(max(L - VaR, 0)) / (sqrt(S) (1 - level)); VaR: binomial order statistics",
    "pairs": "antithetic: sd over pair means of max(L - VaR, 0) / (sqrt(S/2) (1 - level)); VaR: order statistics x the same ratio of the indicator",
    "scramblings": "sobol: sd between 16 scramblings of the mean of max(L - VaR, 0) / (4 (1 - level)); VaR: order statistics x the same ratio of the indicator",
    "weighted": "importance: weighted influence values, self-normalised weights: sqrt(sum w^2 (max(L - VaR, 0) - mean)^2) / (sum w (1 - level)); VaR: weighted order statistics",
    "blocks": "moment matching: sd between blocks of 4096 of the mean of max(L - VaR, 0) / (sqrt(B) (1 - level)); VaR: order statistics x the same ratio of the indicator",
}
PIECE = 1 << 22
"""entries taken at once"""


def dependence_of(scenarios: ScenarioSet) -> Dependence:
    """Which scenarios of a set depend on one another."""
    drawn = base_of(scenarios)
    return _OF_SAMPLER[drawn.sampler] if isinstance(drawn, SampledWalk) else "independent"


def weights_of(scenarios: ScenarioSet) -> NDArray[np.float64] | None:
    """(S,) weights of the scenarios of a set; None: all count alike."""
    drawn = base_of(scenarios)
    return scenario_weights(drawn) if isinstance(drawn, SampledWalk) and drawn.mixture is not None else None


def usable(dependence: Dependence, count: int) -> Dependence:
    """Below two whole blocks there is nothing between them to measure (and a part of a block is plain): independent."""
    return "independent" if dependence == "blocks" and count < 2 * BLOCK else dependence


def variance_of_mean(values: NDArray[np.float64], scenario: NDArray[np.uint32], count: int, dependence: Dependence = "independent") -> NDArray[np.float64]:
    """Variance of the mean over `count` scenarios; values and scenario (..., n), a scenario not listed has the value 0. Shape (...)."""
    shape, length = values.shape[:-1], values.shape[-1]
    table = (int(np.prod(shape)), length)
    flat, ids = values.reshape(table), np.broadcast_to(scenario, values.shape).reshape(table)
    out = np.empty(len(flat))
    rows = max(1, PIECE // max(length, 1))
    for start in range(0, len(flat), rows):
        part = slice(start, start + rows)
        out[part] = _spread(flat[part], ids[part], count, usable(dependence, count))
    return out.reshape(shape)


def _spread(values: NDArray[np.float64], ids: NDArray[np.uint32], count: int, dependence: Dependence) -> NDArray[np.float64]:
    total = np.sum(values, axis=1)
    mean = total / count
    if dependence in ("independent", "pairs"):
        groups, odd = (count, 0) if dependence == "independent" else ((count + 1) // 2, count % 2)
        squares = np.sum(values * values, axis=1)
        if dependence == "pairs":
            order = np.argsort(ids, axis=1, kind="stable")
            e, pair = np.take_along_axis(values, order, 1), np.take_along_axis(ids, order, 1) >> np.uint32(1)
            squares += 2.0 * np.sum(np.where(pair[:, 1:] == pair[:, :-1], e[:, 1:] * e[:, :-1], 0.0), axis=1)
            last = np.sum(np.where((ids == count - 1) & bool(odd), values, 0.0), axis=1)
            # sum n_g Y_g and sum n_g^2: groups of two but for an odd last scenario
            about = squares - 2.0 * mean * (2.0 * total - last) + mean * mean * (4.0 * groups - 3.0 * odd)
        else:
            about = squares - mean * total
    else:
        groups = SCRAMBLINGS if dependence == "scramblings" else -(-count // BLOCK)
        group = ids % np.uint32(SCRAMBLINGS) if dependence == "scramblings" else ids // np.uint32(BLOCK)
        size = np.bincount(np.arange(count) % SCRAMBLINGS, minlength=SCRAMBLINGS) if dependence == "scramblings" else np.diff(np.minimum(np.arange(groups + 1) * BLOCK, count))
        place = np.arange(len(values), dtype=np.int64)[:, None] * groups + np.minimum(group, groups - 1)
        sums = np.bincount(place.ravel(), values.ravel(), minlength=len(values) * groups).reshape(len(values), groups)
        about = np.sum((sums - size * mean[:, None]) ** 2, axis=1)
    if groups < 2:
        return np.full(len(values), np.nan)
    result: NDArray[np.float64] = np.maximum(about, 0.0) * (groups / (groups - 1.0)) / (float(count) * count)
    return result
