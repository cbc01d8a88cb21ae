"""Is the expected shortfall large enough? Acerbi and Szekely's statistics by simulation, and the ridge test.

X_t is the P&L of day t (the losses given are -X), alpha = 1 - level, I_t = 1 where the loss is beyond VaR_t; VaR and ES are positive losses.

  Z1 = sum(X_t I_t / ES_t) / sum(I_t) + 1            the mean loss beyond VaR against ES; undefined without an exception
  Z2 = sum(X_t I_t / (T alpha ES_t)) + 1             number and size of exceptions together
  Z3 = 1 - (1 / T) sum_t ES_T(P_t^-1(U)) / E[ES_T(P_t^-1(V))]   ranks: the ES of the T observed probabilities put through every day's forecast law, against
                                                     its expectation under uniform ranks V; it needs the forecast laws themselves

All are 0 or above in the mean where the forecast holds and negative where ES is too small. p-values are the share of simulated statistics at or below the observed one
under a null law: Student t with the given degrees of freedom, VaR and ES its own (the law of Z2 depends little on it: 5 % at -0.70 for a normal law, -0.74 for five degrees).
Z3 simulates its own null, uniform ranks. C. Acerbi, B. Szekely, "Backtesting expected shortfall", Risk, December 2014.

The ridge statistic of ES at a given VaR, d_t = ES_t - VaR_t - max(L_t - VaR_t, 0) / alpha, has mean 0 where ES is right and above 0 where it is prudent, and a wrong VaR
can only make it look more prudent to second order (Acerbi and Szekely, "General properties of backtestable statistics", 2017); here each d_t is over ES_t and the
t-statistic of the mean is read against the normal law, one-sided. Verified by `tests/known_answers/test_backtests.py` and `tests/statistics/test_backtest_power.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from upm_gpu.backtest.draws import null_uniform
from upm_gpu.errors import InputError
from upm_gpu.risk.measures import check_level

Array = NDArray[np.float64]


@dataclass(frozen=True)
class AcerbiSzekely:
    """`statistic` and `p_value` are those of Z2, the one that needs nothing else and sees number and size of exceptions."""

    statistic: float
    p_value: float
    z1: float
    """NaN without an exception"""
    z1_p_value: float
    z3: float
    """NaN without the forecast laws"""
    z3_p_value: float
    exceptions: int
    observations: int


@dataclass(frozen=True)
class Ridge:
    """Mean of the ridge values (0 is right, negative too small), its t-statistic and one-sided p-value."""

    mean: float
    statistic: float
    p_value: float


def forecasts(losses: ArrayLike, value_at_risk: ArrayLike, expected_shortfall: ArrayLike) -> tuple[Array, Array, Array]:
    """Three arrays (T,), the forecasts broadcast to the losses; InputError UPM-BT-004 where they are not finite, ES is not positive, or below VaR."""
    loss = np.asarray(losses, np.float64)
    try:
        var, es = (np.broadcast_to(np.asarray(x, np.float64), loss.shape) for x in (value_at_risk, expected_shortfall))
    except ValueError:
        raise InputError("UPM-BT-004", f"losses of shape {loss.shape}, VaR of shape {np.shape(value_at_risk)}, ES of shape {np.shape(expected_shortfall)}. Give one of each a day.") from None
    if loss.ndim != 1 or not len(loss) or not all(np.all(np.isfinite(x)) for x in (loss, var, es)) or np.any(es <= 0.0) or np.any(es < var):
        raise InputError("UPM-BT-004", "losses, VaR and ES must be finite sequences of days with ES above 0 and not below VaR, losses positive.")
    return loss, var, es


def statistics(loss: Array, var: Array, es: Array, alpha: float) -> tuple[float, float]:
    """(Z1, Z2); Z1 NaN without an exception."""
    hit = loss > var
    size = float(np.sum(loss[hit] / es[hit]))
    count = int(np.count_nonzero(hit))
    return (1.0 - size / count if count else float("nan")), 1.0 - size / (len(loss) * alpha)


def null_statistics(observations: int, level: float, degrees_of_freedom: float, samples: int, seed: int) -> tuple[Array, Array]:
    """(samples,) of Z1 and Z2 under Student-t P&L and its own VaR and ES. Only exceptions are drawn: their number is binomial, their size the law beyond VaR."""
    from scipy.special import bdtr

    from upm_gpu.rng import student_t_quantile

    alpha = 1.0 - level
    shortfall = _student_t_shortfall(level, degrees_of_freedom)
    cdf = bdtr(np.arange(observations + 1, dtype=np.float64), observations, alpha)
    count = np.searchsorted(cdf, null_uniform(seed, np.arange(samples), 0))
    most = int(count.max(initial=0))
    total = np.zeros(samples)
    for i in range(most):  # the i-th exception of every sample that has one
        which = np.flatnonzero(count > i)
        rank = null_uniform(seed, which, i + 1)
        total[which] += -student_t_quantile(alpha * rank, degrees_of_freedom) / shortfall
    with np.errstate(divide="ignore", invalid="ignore"):
        return 1.0 - total / count, 1.0 - total / (observations * alpha)


def _student_t_shortfall(level: float, nu: float) -> float:
    """ES of a Student t: g(q) (nu + q^2) / ((nu - 1) (1 - level)), g its density, q its quantile (McNeil, Frey and Embrechts 2005, 2.2.4)."""
    from scipy.special import gammaln

    from upm_gpu.rng import student_t_quantile

    q = float(student_t_quantile(level, nu))
    density = np.exp(gammaln((nu + 1.0) / 2.0) - gammaln(nu / 2.0) - 0.5 * np.log(nu * np.pi) - (nu + 1.0) / 2.0 * np.log1p(q * q / nu))
    return float(density * (nu + q * q) / ((nu - 1.0) * (1.0 - level)))


def acerbi_szekely(losses: ArrayLike, value_at_risk: ArrayLike, expected_shortfall: ArrayLike, level: float, *, probabilities: ArrayLike | None = None,
                   scenarios: ArrayLike | None = None, degrees_of_freedom: float = 5.0, samples: int = 20_000, seed: int = 1) -> AcerbiSzekely:
    """Z1 and Z2 of T days, and Z3 where the forecast laws are given: `scenarios` (T, S) P&L of each day, `probabilities` (T,) the rank of the P&L that came in them
    (None: counted). Verified against the published critical values of Z2."""
    loss, var, es = forecasts(losses, value_at_risk, expected_shortfall)
    level = check_level(level)
    if not degrees_of_freedom > 1.0:
        raise InputError("UPM-BT-005", f"{degrees_of_freedom:g} degrees of freedom: the null law has no expected shortfall at 1 or below.")
    z1, z2 = statistics(loss, var, es, 1.0 - level)
    null1, null2 = null_statistics(len(loss), level, degrees_of_freedom, samples, seed)
    known = null1[np.isfinite(null1)]
    z3, p3 = (float("nan"), float("nan")) if scenarios is None else _ranked(loss, np.asarray(scenarios, np.float64), probabilities, level, min(samples, 2_000), seed)
    return AcerbiSzekely(z2, float(np.mean(null2 <= z2)), z1, float(np.mean(known <= z1)) if np.isfinite(z1) and len(known) else float("nan"), z3, p3,
                         int(np.count_nonzero(loss > var)), len(loss))


def _ranked(loss: Array, scenarios: Array, probabilities: ArrayLike | None, level: float, samples: int, seed: int) -> tuple[float, float]:
    days = len(loss)
    if scenarios.ndim != 2 or scenarios.shape[0] != days or scenarios.shape[1] < 2:
        raise InputError("UPM-BT-006", f"forecast laws of shape {scenarios.shape} for {days} days: give the scenario P&L of each day, (days, scenarios).")
    law = np.sort(scenarios, axis=1)
    rank = np.mean(law < -loss[:, None], axis=1) if probabilities is None else np.asarray(probabilities, np.float64)
    kept = max(1, int(np.floor(days * (1.0 - level))))

    def shortfall(u: Array) -> Array:
        """(T,) the ES of the sample u put through every day's law: its `kept` smallest values, for a law is monotone."""
        lowest = np.sort(u)[:kept]
        place = np.clip((lowest * law.shape[1]).astype(np.int64), 0, law.shape[1] - 1)
        result: Array = -np.mean(law[:, place], axis=1)
        return result

    drawn = np.stack([null_uniform(seed, np.arange(samples), 0, 1 + day) for day in range(days)])
    simulated = np.stack([shortfall(drawn[:, s]) for s in range(samples)])
    expected = simulated.mean(axis=0)
    null = 1.0 - np.mean(simulated / expected, axis=1)
    z3 = float(1.0 - np.mean(shortfall(rank) / expected))
    return z3, float(np.mean(null <= z3))


def ridge(losses: ArrayLike, value_at_risk: ArrayLike, expected_shortfall: ArrayLike, level: float) -> Ridge:
    """The ridge test of ES: a small p-value says that it is too small.

    >>> ridge([1.0, 2.0, 0.0, 5.0], 2.0, 3.0, 0.75).mean
    -0.6666666666666667
    """
    from scipy.special import ndtr

    loss, var, es = forecasts(losses, value_at_risk, expected_shortfall)
    value = 1.0 - (var + np.maximum(loss - var, 0.0) / (1.0 - check_level(level))) / es
    mean = float(np.mean(value))
    error = float(np.std(value, ddof=1) / np.sqrt(len(value))) if len(value) > 1 else float("nan")
    statistic = mean / error if error > 0.0 else float("nan")
    return Ridge(mean, statistic, float(ndtr(statistic)))
