"""Are there as many exceptions as promised, and do they come alone? Likelihood ratios of hit sequences.

x exceptions in n days, p = 1 - level:

  unconditional (proportion of failures)   2 [ln L(x / n) - ln L(p)],  L(q) = q^x (1 - q)^(n - x)          chi-square, 1 degree
  time until first failure v               2 [ln L(1 / v) - ln L(p)],  L(q) = q (1 - q)^(v - 1)             chi-square, 1 degree
  independence, n_ij days in state j after a day in state i, q_i = n_i1 / (n_i0 + n_i1), q = (n_01 + n_11) / sum
                                           2 [ln L(q_0, q_1) - ln L(q)]                                      chi-square, 1 degree
  conditional coverage                     unconditional + independence                                      chi-square, 2 degrees

with 0 ln 0 = 0. P. Kupiec, "Techniques for verifying the accuracy of risk measurement models", Journal of Derivatives 3 (1995); P. Christoffersen,
"Evaluating interval forecasts", International Economic Review 39 (1998). Verified by `tests/known_answers/test_backtests.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from upm_gpu.errors import InputError
from upm_gpu.risk.measures import check_level


@dataclass(frozen=True)
class LikelihoodRatio:
    """A test statistic and how likely one as large is if the forecast holds."""

    statistic: float
    p_value: float


@dataclass(frozen=True)
class Kupiec(LikelihoodRatio):
    """Proportion of failures."""

    exceptions: int
    observations: int
    cumulative_probability: float
    """of at most this many exceptions"""


@dataclass(frozen=True)
class Christoffersen(LikelihoodRatio):
    """Independence of exceptions (statistic, p_value), and what joins it to their number."""

    transitions: tuple[int, int, int, int]
    """n00, n01, n10, n11"""
    unconditional: LikelihoodRatio
    conditional_coverage: LikelihoodRatio


def _term(count: float, probability: float) -> float:
    """count x ln probability, 0 where the count is 0."""
    return 0.0 if count == 0 else count * float(np.log(probability))


def _ratio(statistic: float, degrees: int) -> LikelihoodRatio:
    from scipy.special import chdtrc

    statistic = max(0.0, statistic)  # rounding may leave a hair below 0
    return LikelihoodRatio(statistic, float(chdtrc(degrees, statistic)))


def check_counts(exceptions: int, observations: int) -> tuple[int, int]:
    """Whole numbers, 0 <= exceptions <= observations, at least one day; InputError UPM-BT-001."""
    x, n = int(exceptions), int(observations)
    if x != exceptions or n != observations or not 0 <= x <= n or n < 1:
        raise InputError("UPM-BT-001", f"{exceptions} exceptions in {observations} observations: give whole numbers, at least one observation, and no more exceptions than those.")
    return x, n


def kupiec(exceptions: int, observations: int, level: float) -> Kupiec:
    """The proportion-of-failures test of a value-at-risk at a confidence level.

    >>> round(kupiec(17, 1043, 0.99).statistic, 4)
    3.5118
    """
    from scipy.special import bdtr

    x, n = check_counts(exceptions, observations)
    p = 1.0 - check_level(level)
    found = _ratio(2.0 * (_term(x, x / n) + _term(n - x, 1.0 - x / n) - _term(x, p) - _term(n - x, 1.0 - p)), 1)
    return Kupiec(found.statistic, found.p_value, x, n, float(bdtr(float(x), n, p)))


def kupiec_region(observations: int, level: float, confidence: float = 0.95) -> tuple[int, int]:
    """The least and the largest number of exceptions that the test does not reject.

    >>> kupiec_region(255, 0.99)
    (1, 6)
    """
    accepted = [x for x in range(check_counts(0, observations)[1] + 1) if kupiec(x, observations, level).p_value >= 1.0 - check_level(confidence)]
    return accepted[0], accepted[-1]


def time_until_first_failure(day: int, level: float) -> LikelihoodRatio:
    """Whether the first exception came on a day (1 is the first) as early or late as the level promises.

    >>> round(time_until_first_failure(100, 0.99).statistic, 12)
    0.0
    """
    v, _ = check_counts(day, day)
    p = 1.0 - check_level(level)
    return _ratio(2.0 * (_term(1, 1.0 / v) + _term(v - 1, 1.0 - 1.0 / v) - _term(1, p) - _term(v - 1, 1.0 - p)), 1)


def christoffersen(hits: ArrayLike, level: float) -> Christoffersen:
    """Independence of a sequence of hits (T,), true on a day with an exception, and conditional coverage.

    The likelihoods of independence are those of the T - 1 transitions; the unconditional part counts all T days.

    >>> christoffersen([0, 0, 1, 1, 0, 0, 0, 0], 0.9).transitions
    (4, 1, 1, 1)
    """
    h = hit_sequence(hits)
    n00, n01, n10, n11 = (int(np.count_nonzero((h[:-1] == i) & (h[1:] == j))) for i, j in ((0, 0), (0, 1), (1, 0), (1, 1)))
    after_calm, after_hit, total = n00 + n01, n10 + n11, n00 + n01 + n10 + n11
    free = sum(_term(count, count / among) for count, among in ((n00, after_calm), (n01, after_calm), (n10, after_hit), (n11, after_hit)) if count)
    bound = sum(_term(count, count / total) for count in (n00 + n10, n01 + n11) if count)
    independence = _ratio(2.0 * (free - bound), 1)
    coverage = kupiec(int(np.count_nonzero(h)), len(h), level)
    return Christoffersen(independence.statistic, independence.p_value, (n00, n01, n10, n11), LikelihoodRatio(coverage.statistic, coverage.p_value),
                          _ratio(coverage.statistic + independence.statistic, 2))


def hit_sequence(hits: ArrayLike) -> np.ndarray:
    """(T,) 0 and 1; InputError UPM-BT-002 for anything else, or fewer than two days."""
    h = np.asarray(hits)
    if h.ndim != 1 or len(h) < 2 or not np.all((h == 0) | (h == 1)):
        raise InputError("UPM-BT-002", "hits must be one sequence of at least two days, each true (or 1) where the loss was beyond the forecast, else false (or 0).")
    return h.astype(np.int8)
