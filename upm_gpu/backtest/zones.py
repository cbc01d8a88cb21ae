"""The traffic light: in which zone of the Basel Committee a number of exceptions lies.

Green below 95 % of the binomial distribution of exceptions under a right forecast, yellow below 99.99 %, red from there on (Basel Committee on Banking
Supervision, "Supervisory framework for the use of backtesting", 1996; the plus factors are its table 2, the multipliers since 2019 those of MAR32.9).
Windows that overlap have no binomial law: their bounds come from simulation. Verified by `tests/known_answers/test_backtests.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from upm_gpu.backtest.coverage import check_counts
from upm_gpu.backtest.draws import null_uniform
from upm_gpu.errors import InputError
from upm_gpu.risk.measures import check_level

YELLOW, RED = 0.95, 0.9999
PLUS_FACTOR = (0.0, 0.0, 0.0, 0.0, 0.0, 0.40, 0.50, 0.65, 0.75, 0.85, 1.0)
MULTIPLIER_2019 = (1.50, 1.50, 1.50, 1.50, 1.50, 1.70, 1.76, 1.83, 1.88, 1.92, 2.0)
"""by exceptions in 250 days at 99 %, ten and more alike"""
Zone = Literal["green", "yellow", "red"]


@dataclass(frozen=True)
class TrafficLight:
    """A zone, and what supervisors add in it."""

    zone: Zone
    statistic: float
    """probability of at most this many exceptions"""
    p_value: float
    """probability of at least this many"""
    plus_factor: float | None
    """of 1996, on a multiplier of 3; None unless 250 observations at 99 %"""
    multiplier: float | None
    """since 2019; None likewise"""


def traffic_light(exceptions: int, observations: int, level: float) -> TrafficLight:
    """The zone of a number of exceptions.

    >>> traffic_light(6, 250, 0.99).zone
    'yellow'
    """
    from scipy.special import bdtr, bdtrc

    x, n = check_counts(exceptions, observations)
    p = 1.0 - check_level(level)
    below = float(bdtr(float(x), n, p))
    standard = n == 250 and abs(p - 0.01) < 1e-12
    return TrafficLight("green" if below < YELLOW else "yellow" if below < RED else "red", below, float(bdtrc(x - 1.0, n, p)) if x else 1.0,
                        PLUS_FACTOR[min(x, 10)] if standard else None, MULTIPLIER_2019[min(x, 10)] if standard else None)


def zone_bounds(observations: int, level: float) -> tuple[int, int]:
    """The first yellow and the first red number of exceptions.

    >>> zone_bounds(250, 0.99)
    (5, 10)
    """
    from scipy.special import bdtr

    _, n = check_counts(0, observations)
    below = bdtr(np.arange(n + 1, dtype=np.float64), n, 1.0 - check_level(level))
    return int(np.searchsorted(below, YELLOW)), int(np.searchsorted(below, RED))


def overlapping_zones(observations: int, horizon_days: int, level: float, portfolios: int = 1, correlation: float = 0.0, samples: int = 100_000,
                      seed: int = 1) -> tuple[int, int]:
    """The largest green and the largest yellow number of exceptions where the windows of `horizon_days` overlap day by day.

    Normal daily changes, `portfolios` of them with one correlation, exceptions counted over all; by simulation: at 60,000 samples the red bound still moves by two counts, at 400,000 by one.
    Raises InputError UPM-BT-003 for a correlation no normal law has.
    """
    from upm_gpu.rng import normal_quantile

    _, n = check_counts(0, observations)
    if not 0.0 <= correlation <= 1.0 or portfolios < 1 or horizon_days < 1 or samples < 1:
        raise InputError("UPM-BT-003", f"{portfolios} portfolios, correlation {correlation:g}, windows of {horizon_days} days, {samples} samples: give a correlation of 0 to 1 and at least one of each.")
    threshold = float(normal_quantile(check_level(level))) * np.sqrt(horizon_days)
    days, counts, at_once = n + horizon_days - 1, [], 4096
    for first in range(0, samples, at_once):
        ids = np.arange(first, min(first + at_once, samples))
        drawn = np.stack([[normal_quantile(null_uniform(seed, ids, k, day)) for day in range(days)] for k in range(portfolios + 1)])
        change = np.sqrt(correlation) * drawn[:1] + np.sqrt(1.0 - correlation) * drawn[1:]
        level_sum = np.concatenate([np.zeros((portfolios, 1, change.shape[2])), np.cumsum(change, axis=1)], axis=1)
        counts.append(np.count_nonzero(level_sum[:, horizon_days:] - level_sum[:, :-horizon_days] < -threshold, axis=(0, 1)))
    share = np.cumsum(np.bincount(np.concatenate(counts), minlength=portfolios * n + 1)) / samples
    return max(0, int(np.searchsorted(share, YELLOW)) - 1), max(0, int(np.searchsorted(share, RED)) - 1)
