"""Which model forecasts better? Scores that are smallest in the mean for the right forecast, and a test of their difference.

  value-at-risk:  S = (1{L > v} - (1 - level)) (L - v)                                         the quantile score
  VaR and ES:     S = max(L - v, 0) / (alpha e) + v / e + ln e - 1,  alpha = 1 - level         the zero-homogeneous Fissler-Ziegel score

v and e are positive losses (T. Fissler, J. Ziegel, "Higher order elicitability and Osband's principle", Annals of Statistics 44, 2016; the form with differences that do not
depend on the unit: A. Patton, J. Ziegel, R. Chen, Journal of Econometrics 211, 2019). Two models are compared by Diebold and Mariano's t-statistic of the mean difference of scores
with Newey and West's variance (Journal of Business and Economic Statistics 13, 1995). Verified by `tests/known_answers/test_backtests.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from upm_gpu.backtest.shortfall import forecasts
from upm_gpu.errors import InputError
from upm_gpu.risk.measures import check_level


@dataclass(frozen=True)
class Comparison:
    """Mean difference of scores (below 0: the first model is better), t-statistic, two-sided p-value."""

    difference: float
    statistic: float
    p_value: float


def quantile_score(losses: ArrayLike, value_at_risk: ArrayLike, level: float) -> NDArray[np.float64]:
    """(T,) of VaR forecasts; not negative.

    >>> quantile_score([3.0, 0.0], [2.0, 2.0], 0.9).tolist()
    [0.9, 0.19999999999999996]
    """
    loss, v = np.broadcast_arrays(np.asarray(losses, np.float64), np.asarray(value_at_risk, np.float64))
    result: NDArray[np.float64] = ((loss > v) - (1.0 - check_level(level))) * (loss - v)
    return result


def joint_score(losses: ArrayLike, value_at_risk: ArrayLike, expected_shortfall: ArrayLike, level: float) -> NDArray[np.float64]:
    """(T,) of pairs of forecasts."""
    loss, v, e = forecasts(losses, value_at_risk, expected_shortfall)
    result: NDArray[np.float64] = np.maximum(loss - v, 0.0) / ((1.0 - check_level(level)) * e) + v / e + np.log(e) - 1.0
    return result


def diebold_mariano(first: ArrayLike, second: ArrayLike, lags: int | None = None) -> Comparison:
    """Whether two series of scores (T,) differ in the mean; `lags` of the variance, None: floor(T^(1/3))."""
    from scipy.special import ndtr

    a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if a.shape != b.shape or a.ndim != 1 or len(a) < 10:
        raise InputError("UPM-BT-008", f"scores of shapes {a.shape} and {b.shape}: give two series of the same days, at least ten.")
    d = a - b
    mean, about, count = float(np.mean(d)), d - np.mean(d), len(d)
    reach = int(np.floor(np.cbrt(count))) if lags is None else int(lags)
    variance = float(np.mean(about * about)) + 2.0 * sum((1.0 - j / (reach + 1.0)) * float(np.sum(about[j:] * about[:-j])) / count for j in range(1, reach + 1))
    error = np.sqrt(max(variance, 0.0) / count)
    if not error > 0.0:
        return Comparison(mean, 0.0 if mean == 0.0 else float(np.copysign(np.inf, mean)), 1.0 if mean == 0.0 else 0.0)
    statistic = mean / float(error)
    return Comparison(mean, statistic, float(2.0 * ndtr(-abs(statistic))))
