"""The tail of weighted scenarios: importance sampling with self-normalised weights.

With weights w of S scenarios, W their sum and k = W (1 - level): VaR and ES as in `measures.py`, losses counted by weight. With p = 1 - level,
h = max(L - VaR, 0) and m = sum w h / W,

  SE(ES)^2  = S / (S - 1) sum w^2 (h - m)^2 / (W p)^2,
  SE(VaR)   = half the distance between the weighted quantiles at p +- 1.96 s over 1.96, s^2 = sum w^2 (1{L > VaR} - p)^2 / W^2,
  ratio     = [sum w h^2 / W - m^2] / (S - 1) / (p SE(ES))^2:

what the same number of plain scenarios would have had for a variance of ES, estimated from the same weighted sample, over the variance it has
(influence values of the ratio of two means: Owen, Monte Carlo theory, methods and examples, 2013, section 9.2; Glynn, "Importance sampling for Monte Carlo
estimation of quantiles", 1996). Outside the tail h is 0, so the tail and the weights of all scenarios are enough. With all weights 1 every figure is that of
`tail.py`. The kept tail is the worst scenarios of all, so the weight kept proves whether it reaches a level.

Verified: equal to plain sampling where all weights are 1, to `measures.py` with weights, stated errors against the spread over seeds
(tests/statistics/test_importance.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from upm_gpu.errors import CapacityError, InputError
from upm_gpu.risk.measures import SNAP, check_level, tail_size
from upm_gpu.risk.tail_state import TailState

INTERVAL = 1.96
LEAST_RATIO = 0.8
"""house choice: below this variance ratio a run would have done better without importance sampling, and is refused"""


@dataclass(frozen=True)
class RowTail:
    """Where the tail of one row ends: arrays (n,) worst first, those strictly worse than VaR before `boundary`."""

    weight: NDArray[np.float64]
    seen: NDArray[np.float64]
    """running sum of the weights"""
    k: float
    boundary: int
    reach: float
    """weight that the 95 % interval of VaR needs"""
    nearest: float
    """weight at its other end"""


def row_tail_of(weight: NDArray[np.float64], total: float, squares: float, level: float, scenarios: int) -> RowTail | None:
    """The tail of a row whose worst scenarios have `weight`; `total` and `squares` sum weights and their squares over all. None: not deep enough."""
    seen = np.cumsum(weight)
    p, k = 1.0 - check_level(level), tail_size(total, level)
    boundary = int(np.searchsorted(seen, k * (1.0 + SNAP), side="right"))
    if boundary == len(weight):
        if len(weight) < scenarios:
            return None
        boundary -= 1
    inside = float(np.sum(weight[:boundary] ** 2))
    spread = np.sqrt(inside * (1.0 - p) ** 2 + (squares - inside) * p * p)
    return RowTail(weight, seen, k, boundary, total * p + INTERVAL * spread, total * p - INTERVAL * spread)


def deep_enough(tail: TailState, weights: NDArray[np.float64], level: float) -> bool:
    """Whether every row keeps the weight that `level` and the interval of its quantile need: the proof that nothing of the tail is missing."""
    depth = min(tail.pnl.shape[2], tail.count)
    if depth == tail.count:
        return True
    total, squares = float(np.sum(weights)), float(np.sum(weights * weights))
    for h, r in np.ndindex(tail.scenario.shape[:2]):
        found = row_tail_of(weights[tail.scenario[h, r, :depth]], total, squares, level, tail.count)
        if found is None or found.seen[-1] <= found.reach:
            return False
    return True


@dataclass(frozen=True)
class WeightedMeasures:
    """Arrays (H, R), losses positive."""

    value_at_risk: NDArray[np.float64]
    value_at_risk_standard_error: NDArray[np.float64]
    expected_shortfall: NDArray[np.float64]
    expected_shortfall_standard_error: NDArray[np.float64]
    hill_index: NDArray[np.float64]
    effective: NDArray[np.float64]
    """scenarios of equal weight that would tell as much about the tail, (sum w)^2 / sum w^2 over it (Kish)"""
    held: NDArray[np.bool_]
    variance_ratio: NDArray[np.float64]
    """NaN for a row without risk"""


def weighted_measures(tail: TailState, weights: NDArray[np.float64], level: float, hill_share: float) -> WeightedMeasures:
    """Measures of every row; `hill_share` bounds what the Hill index reads. Raises `CapacityError` when the state is too shallow."""
    horizons, rows, depth = tail.pnl.shape
    depth = min(depth, tail.count)
    total, squares = float(np.sum(weights)), float(np.sum(weights * weights))
    out = np.full((8, horizons * rows), np.nan)
    for i, (h, r) in enumerate(np.ndindex(horizons, rows)):
        # row by row: a copy of all tails would be as large as they are
        found = row_tail_of(weights[tail.scenario[h, r, :depth]], total, squares, level, tail.count)
        if found is None:
            raise too_shallow(depth, tail.count, level)
        out[:, i] = _measures(0.0 - tail.pnl[h, r, :depth], found, total, squares, level, tail.count, hill_share)
    a = out.reshape(8, horizons, rows)
    return WeightedMeasures(a[0], a[1], a[2], a[3], a[4], a[5], a[6] > 0.0, a[7])


def check_gain(names: Sequence[str], ratio: NDArray[np.float64] | None) -> None:
    """Refuse importance sampling that serves an account worse than plain sampling would; ratio (U,) or None where there is none to judge."""
    if ratio is None or not np.any(ratio < LEAST_RATIO):
        return
    worst = int(np.nanargmin(ratio))
    more = int(np.sum(ratio < LEAST_RATIO)) - 1
    others = f" (and {more} more)" if more else ""
    raise InputError("UPM-PR-079", f"importance sampling: account {names[worst]}{others} has a variance ratio of {ratio[worst]:.2f}, below {LEAST_RATIO}: its expected shortfall would "
                     "be known better from as many plain scenarios. Use scenarios.sampler philox, or a run for each group of like accounts; no margin was written.")


def too_shallow(depth: int, count: int, level: float) -> CapacityError:
    """The kept scenarios do not weigh enough for a level."""
    return CapacityError("UPM-CP-081", f"the tail holds the worst {depth} of {count} weighted scenarios, level {level:g} needs more weight. "
                         "Ask for this level when the scenarios are run.")


def _measures(loss: NDArray[np.float64], tail: RowTail, total: float, squares: float, level: float, count: int, hill_share: float) -> tuple[float, ...]:
    p, b = 1.0 - level, tail.boundary
    w, quantile = tail.weight[:b], float(loss[b])
    before = float(tail.seen[b - 1]) if b else 0.0
    shortfall = float(np.sum(w * loss[:b]) + (tail.k - before) * quantile) / tail.k

    h = loss[:b] - quantile
    m = float(np.sum(w * h)) / total
    inside = float(np.sum(w * w))
    square = float(np.sum((w * (h - m)) ** 2)) + m * m * max(squares - inside, 0.0)
    bessel = count / (count - 1.0) if count > 1 else np.nan
    error = float(np.sqrt(bessel * square)) / (total * p)
    plain = max(float(np.sum(w * h * h)) / total - m * m, 0.0) * bessel / count
    ratio = plain / (p * error) ** 2 if error > 0.0 else np.nan

    last = len(tail.seen) - 1
    upper = min(int(np.searchsorted(tail.seen, tail.nearest, side="right")), last)
    lower = min(int(np.searchsorted(tail.seen, tail.reach, side="right")), last)
    held = tail.nearest > 0.0 and bool(tail.seen[-1] > tail.reach)
    quantile_error = 0.5 * float(loss[upper] - loss[lower]) / INTERVAL

    j = min(b, int(np.searchsorted(tail.seen, hill_share * total, side="right")))
    hill = np.nan
    if j and loss[j] > 0.0:
        hill = float(np.sum(tail.weight[:j] * np.log(loss[:j] / loss[j])) / np.sum(tail.weight[:j]))
    effective = before * before / inside if b else 0.0
    return quantile, quantile_error, shortfall, error, hill, effective, float(held), ratio


def euler_weights(tail: TailState, weights: NDArray[np.float64], horizon: int, level: float,
                  rows: range | None = None) -> tuple[NDArray[np.int64], NDArray[np.uint32], NDArray[np.float64]]:
    """As `tail.tail_weights`: -w/k for the scenarios worse than VaR and what is left of k for the next, ids ascending per row; rows outside `rows` have none."""
    depth = min(tail.scenario.shape[2], tail.count)
    total, squares = float(np.sum(weights)), float(np.sum(weights * weights))
    ids, shares = [], []
    asked = range(tail.scenario.shape[1]) if rows is None else rows
    count = np.zeros(tail.scenario.shape[1], np.int64)
    for row in asked:
        scenario = tail.scenario[horizon, row, :depth]
        found = row_tail_of(weights[scenario], total, squares, level, tail.count)
        if found is None:
            raise too_shallow(depth, tail.count, level)
        b = found.boundary
        share = found.weight[: b + 1].copy()
        share[b] = found.k - (found.seen[b - 1] if b else 0.0)
        share = share[: b + 1 if share[b] > 0.0 else b]
        order = np.argsort(scenario[: len(share)], kind="stable")
        ids.append(scenario[: len(share)][order])
        shares.append(-share[order] / found.k)
        count[row] = len(share)
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(count)]), np.concatenate([*ids, np.zeros(0, np.uint32)]), np.concatenate([*shares, np.zeros(0)])


TOGETHER = 1 << 24
"""entries of weighted tails that are given to the attribution at once (200 MB, twice that while they are joined): all at once would be more than the tails themselves"""


def row_parts(tail: TailState) -> list[range]:
    """Rows whose weighted tails are attributed together."""
    rows, depth = tail.scenario.shape[1], tail.scenario.shape[2]
    step = max(1, TOGETHER // max(depth, 1))
    return [range(first, min(first + step, rows)) for first in range(0, rows, step)]


def quantile_ranks(tail: TailState, weights: NDArray[np.float64], horizon: int, level: float) -> NDArray[np.int64]:
    """(R,) rank, worst first, of the scenario that is each row's value-at-risk."""
    depth = min(tail.scenario.shape[2], tail.count)
    total, squares = float(np.sum(weights)), float(np.sum(weights * weights))
    found = [row_tail_of(weights[scenario], total, squares, level, tail.count) for scenario in tail.scenario[horizon, :, :depth]]
    if any(f is None for f in found):
        raise too_shallow(depth, tail.count, level)
    return np.array([f.boundary for f in found if f is not None], np.int64)
