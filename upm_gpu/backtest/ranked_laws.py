"""Acerbi and Szekely's Z3 from a few quantiles of every day's law in the place of the law.

Z3 = 1 - (1 / T) sum_t ES_T(P_t^-1(U)) / E[ES_T(P_t^-1(V))]: the ranks of the T losses that came are put through the law of each day, uniform ranks V through the same
(C. Acerbi, B. Szekely, "Backtesting expected shortfall", Risk, December 2014, test 3). ES_T reads the floor(T alpha) lowest of T ranks alone, at least one, and the law of a day enters
linearly: with Q_t between the ranks kept (`RANKS`) linear in the rank, ES_T(P_t^-1(u)) = -B(u) . q_t, where B(u) are the mean hat weights of the lowest ranks. So a T x 12 table stands in
for T x 10,000 scenarios, and the null law is one matrix product. 0 in the mean where the law holds, negative where the tail is too thin; p-value: the share of simulated statistics at or below.
Verified by tests/known_answers/test_ranked_laws.py against the full laws.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from upm_gpu.backtest.draws import null_uniform

RANKS = (0.0, 0.0005, 0.001, 0.002, 0.004, 0.007, 0.01, 0.015, 0.02, 0.03, 0.05, 0.1)
"""ranks of a day's law that are kept, dense where 99 % and 97.5 % are read; 0 is the worst scenario"""
LAW = tuple(f"law_{k:02d}" for k in range(len(RANKS)))
"""columns that hold them"""
Array = NDArray[np.float64]


def kept_of(count: int, levels: Iterable[float] = ()) -> int:
    """Worst scenarios of `count` that the ranks and the tails at some levels need."""
    from upm_gpu.risk.measures import tail_size

    return min(count, max(int(RANKS[-1] * count + 1e-9), *(int(tail_size(count, x)) for x in (*levels, 0.999))) + 1)


def lowest(pnl: Array, kept: int) -> Array:
    """(R, kept) smallest of each law (R, S), ascending."""
    found: Array = np.stack([np.sort(np.partition(row, kept - 1)[:kept]) for row in pnl])  # a row at a time stays in the cache
    return found


def quantiles(worst: Array, count: int) -> Array:
    """(R, ranks) P&L at `RANKS`, the scenario at floor(rank S) from the worst, of the lowest (R, kept) of laws of `count` scenarios.

    >>> float(quantiles(np.arange(101.0)[None], 1000)[0, 6])
    10.0
    """
    return worst[:, [min(int(r * count + 1e-9), worst.shape[1] - 1) for r in RANKS]]


def hat_weights(ranks: Array) -> Array:
    """(..., ranks kept): mean weights of ranks (..., n) between their neighbours among `RANKS`; beyond the last, the last.

    >>> hat_weights(np.array([0.0075]))[5:7].round(3).tolist()
    [0.833, 0.167]
    """
    grid = np.array(RANKS)
    at = np.clip(np.searchsorted(grid, ranks, side="right") - 1, 0, len(grid) - 2)
    above = np.clip((ranks - grid[at]) / (grid[at + 1] - grid[at]), 0.0, 1.0)
    found = np.zeros((*np.shape(ranks)[:-1], len(grid)))
    for k in range(len(grid)):
        found[..., k] = np.mean(np.where(at == k, 1.0 - above, 0.0) + np.where(at + 1 == k, above, 0.0), axis=-1)
    return found


def z3(ranks: Array, laws: Array, level: float, samples: int, seed: int) -> tuple[float, float]:
    """(statistic, p-value) of observed ranks (T,) under laws (T, ranks kept); NaN where a day's expected shortfall of ranks is not above 0."""
    days = len(ranks)
    kept = max(1, int(np.floor(days * (1.0 - level))))
    mine = hat_weights(np.sort(ranks)[:kept])
    null = hat_weights(lowest_uniforms(days, kept, samples, seed))
    expected = -laws @ null.mean(axis=0)
    if not np.all(expected > 0.0):
        return float("nan"), float("nan")
    over = -laws / expected[:, None]
    statistic = float(1.0 - np.mean(over @ mine))
    return statistic, float(np.mean(1.0 - null @ over.mean(axis=0) <= statistic))


def lowest_uniforms(days: int, kept: int, samples: int, seed: int) -> Array:
    """(samples, kept) lowest of `days` uniforms, ascending, drawn outright: V_(1) = 1 - (1 - w)^(1 / T), and each next one so above the last among those left."""
    found = np.empty((samples, kept))
    last = np.zeros(samples)
    for i in range(kept):
        w = null_uniform(seed, np.arange(samples), i, 1)
        last = last + (1.0 - last) * -np.expm1(np.log1p(-w) / (days - i))
        found[:, i] = last
    return found
