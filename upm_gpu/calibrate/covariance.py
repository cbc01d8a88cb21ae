"""Daily volatilities and correlations of price and volatility factors from their history.

A factor `log_level[BTC]` reads the series `BTC`, `volatility_shift[BTC]` the series `BTC.IV30`. Returns are log-changes
divided by the square root of the elapsed days; a gap over four days is missing, never a return. Means are taken as zero
(the margin measure never uses historical ones). Correlations are pairwise: both series on the times they have in common, returns
between those, so that a pair never compares different spans. Nothing after the valuation time enters.

Estimators: `ewma` (weight lambda^age, age in observations of the factor or pair; RiskMetrics Technical Document, 1996), `equal`,
and `ledoit_wolf` (equal weights, shrunk; see `shrinkage.py`). Then the nearest correlation matrix, its distance reported.

Verified by `tests/known_answers/test_covariance.py`: small cases by hand, gaps, common dates, shrinkage against the sums of the paper.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from upm_gpu.calibrate.series import (
    FEW_RETURNS,
    MAX_GAP_DAYS,
    MIN_RETURNS,
    Series,
    common_returns,
    factor_series,
    kendall,
    mean_change,
    pair_returns,
    returns,
)
from upm_gpu.calibrate.spreads import SUFFIX
from upm_gpu.domain.clock import CALENDAR, Clock
from upm_gpu.errors import CalibrationError
from upm_gpu.market.surface_series import SUFFIXES

if TYPE_CHECKING:
    import pandas as pd


ESTIMATORS = ("ewma", "equal", "ledoit_wolf")
SHRINKAGE = ("none", "constant_correlation", "identity")


@dataclass(frozen=True)
class CovarianceFit:
    """Volatilities and correlations of K factors, in the order asked for."""

    factors: tuple[str, ...]
    """(K,) `log_level[BTC]`, ..."""
    valuation_time: datetime
    daily_volatility: NDArray[np.float64]
    """(K,) per square-root day"""
    correlation: NDArray[np.float64]
    """(K, K) positive semidefinite"""
    estimator: str
    ewma_lambda: float
    shrinkage: str = "none"
    shrinkage_intensity: float = 0.0
    dependence: str = "sample"
    """`sample` (linear) or `kendall` (sin(pi tau / 2))"""
    repair_distance: float = 0.0
    """Frobenius distance moved to make the correlations positive semidefinite"""
    observations: NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, 0), np.int64))
    """(K, K) returns used: of the factor on the diagonal, common to the pair beside it"""
    first: tuple[str, ...] = ()
    """(K,) time of the first close used"""
    degrees_of_freedom: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    """(K,) estimate of the Student-t marginals, see `tail_fit.py`; NaN where the history is short"""
    copula_degrees_of_freedom: float = float("nan")
    proxies: tuple[str, ...] = ()
    """volatility factors whose series is missing: EWMA realised volatility of the price stands in"""
    warnings: tuple[str, ...] = ()
    daily_mean: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    """(K,) mean log-change a day over the whole history, equal weights; read under the `historical` measure only; empty: not known"""
    stressed_correlation: NDArray[np.float64] | None = None
    """(K, K) of a correlation regime, where the parameter file gives one"""
    half_life_days: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    """(K,) of the reversion of a factor, 0: none; empty: the file does not say"""
    volatility_dynamics: str = ""
    """what the volatility series are net of; blank: the file does not say"""
    residuals: NDArray[np.float64] | None = None
    """(N, K) standardised residuals that the model garch took its correlation from; NaN where a date lacks the factor"""
    residual_times: tuple[str, ...] = ()
    """(N,) time at which each begins"""


def factor_names(underlyings: Sequence[str]) -> tuple[str, ...]:
    """Price factors in the given order, then volatility factors in the same order.

    >>> factor_names(["BTC"])
    ('log_level[BTC]', 'volatility_shift[BTC]')
    """
    return tuple(f"log_level[{u}]" for u in underlyings) + tuple(f"volatility_shift[{u}]" for u in underlyings)


def calibrate_covariance(
    history: pd.DataFrame,
    factors: Sequence[str],
    valuation_time: datetime,
    estimator: str = "ewma",
    ewma_lambda: float = 0.97,
    shrinkage: str | None = None,
    dependence: str = "sample",
    slide: Mapping[str, float] | None = None,
    additive_volatility: bool = False,
    clock: Clock = CALENDAR,
    half_life_days: NDArray[np.float64] | None = None,
) -> CovarianceFit:
    """Fit all factors to a history (columns timestamp, asset, close).

    `shrinkage` None is `constant_correlation` for `ledoit_wolf` and none otherwise; asking for it with `ewma` is refused.
    `slide` (underlying -> skew, the slope of volatility in log-moneyness at the money) takes the slide along a sticky-strike
    smile out of the volatility factor: d sigma - skew d ln S, relative changes over today's volatility.
    `additive_volatility` measures volatility factors in points instead of logarithms. `half_life_days` (K,): of factors that revert, see `spreads.py`.
    Raises `CalibrationError` UPM-CA-101 to 107.
    """
    from upm_gpu.calibrate.tail_fit import fit_tails
    from upm_gpu.model.psd import nearest_correlation

    shrinkage = _check(estimator, ewma_lambda, shrinkage, dependence)
    series, proxies, warnings = factor_series(history, factors, valuation_time, ewma_lambda, slide or {}, additive_volatility, clock, half_life_days)
    size = len(factors)
    decay = ewma_lambda if estimator == "ewma" else 1.0
    volatility = np.zeros(size)
    for i in range(size):
        r = returns(series[i])
        enough(len(r), factors[i], factors[i], warnings)
        volatility[i] = np.sqrt(_weighted(r * r, decay))
        if not volatility[i] > 0.0:
            raise still(factors[i], len(r))
    correlation, observations, intensity = correlations(series, factors, decay, shrinkage, dependence, warnings)
    repair = nearest_correlation(correlation, factors)
    marginal, copula = fit_tails([returns(x) for x in series], common_returns(series), repair.correlation)
    return CovarianceFit(
        factors=tuple(factors), valuation_time=valuation_time, daily_volatility=volatility, correlation=repair.correlation,
        estimator=estimator, ewma_lambda=ewma_lambda if estimator == "ewma" else float("nan"), shrinkage=shrinkage,
        shrinkage_intensity=intensity, dependence=dependence, repair_distance=repair.distance, observations=observations,
        first=tuple(str(np.datetime64(int(clock.instant(x.time[:1])[0] * 86400.0), "s")) + "Z" for x in series), degrees_of_freedom=marginal,
        copula_degrees_of_freedom=copula, proxies=tuple(proxies), warnings=tuple(warnings),
        daily_mean=np.array([mean_change(x) for x in series]))


def correlations(series: Sequence[Series], factors: Sequence[str], decay: float, shrinkage: str, dependence: str,
                 warnings: list[str]) -> tuple[NDArray[np.float64], NDArray[np.int64], float]:
    """(K, K) pairwise correlations as estimated, shrunk where asked, returns used, shrinkage intensity; not repaired. `decay` 1: equal weights."""
    from upm_gpu.calibrate.shrinkage import (
        constant_correlation_intensity,
        constant_correlation_target,
        identity_intensity,
    )

    size = len(factors)
    correlation, observations = np.eye(size), np.zeros((size, size), np.int64)
    for i in range(size):
        observations[i, i] = len(returns(series[i]))
        for j in range(i):
            r, s = pair_returns(series[i], series[j])
            observations[i, j] = observations[j, i] = len(r)
            enough(len(r), factors[i], factors[j], warnings)
            rho = kendall(r, s) if dependence == "kendall" else _correlation(r, s, decay, factors[i], factors[j])
            correlation[i, j] = correlation[j, i] = rho
    intensity = 0.0
    if shrinkage != "none":
        common = common_returns(series)
        enough(len(common), "all factors", "one another", warnings)
        if shrinkage == "constant_correlation":
            intensity, target = constant_correlation_intensity(common), constant_correlation_target(correlation)
        else:
            intensity, target = identity_intensity(common), np.eye(size)
        correlation = (1.0 - intensity) * correlation + intensity * target
    return correlation, observations, intensity


def price_series(history: pd.DataFrame) -> tuple[str, ...]:
    """Assets of a history that are no series of volatilities, perpetuals, funding or rates, in name order."""
    return tuple(sorted(str(a) for a in history["asset"].unique() if not str(a).endswith((*SUFFIXES, *SUFFIX.values()))))


def _check(estimator: str, ewma_lambda: float, shrinkage: str | None, dependence: str) -> str:
    if estimator not in ESTIMATORS:
        raise CalibrationError("UPM-CA-101", f"estimator {estimator!r}: known are {', '.join(ESTIMATORS)}.")
    if shrinkage is None:
        shrinkage = "constant_correlation" if estimator == "ledoit_wolf" else "none"
    if shrinkage not in SHRINKAGE:
        raise CalibrationError("UPM-CA-101", f"shrinkage {shrinkage!r}: known are {', '.join(SHRINKAGE)}.")
    if estimator == "ewma" and shrinkage != "none":
        raise CalibrationError("UPM-CA-102", f"shrinkage {shrinkage} with the ewma estimator: its intensity is derived for equal weights. "
                               "Use estimator ledoit_wolf, or ewma without shrinkage.")
    if estimator == "ewma" and not 0.0 < ewma_lambda < 1.0:
        raise CalibrationError("UPM-CA-101", f"ewma_lambda {ewma_lambda:g} is not between 0 and 1. The default is 0.97.")
    if dependence not in ("sample", "kendall"):
        raise CalibrationError("UPM-CA-101", f"correlation {dependence!r}: known are sample and kendall.")
    return shrinkage


def still(factor: str, count: int) -> CalibrationError:
    """The refusal of a series that never changes."""
    return CalibrationError("UPM-CA-104", f"history of {factor}: {count} returns without any change. A constant series says nothing about risk; "
                            "correct it or leave the factor out.")


def enough(count: int, a: str, b: str, warnings: list[str]) -> None:
    """Refuse too few returns by name, warn of few."""
    what = a if a == b else f"{a} and {b} together"
    if count < MIN_RETURNS:
        raise CalibrationError("UPM-CA-107", f"history of {what}: {count} returns without a gap over {MAX_GAP_DAYS:g} days, at least {MIN_RETURNS} are needed. "
                               "Add earlier closes to the history, or name a calibrated file in model.parameters.")
    if count < FEW_RETURNS:
        warnings.append(f"UPM-CA-107 history of {what}: only {count} returns")


def _weights(count: int, decay: float) -> NDArray[np.float64]:
    """Weights that sum to 1, the newest last."""
    weight = decay ** np.arange(count - 1, -1, -1.0)
    return weight / np.sum(weight)


def _weighted(x: NDArray[np.float64], decay: float) -> float:
    return float(np.sum(_weights(len(x), decay) * x))


def _correlation(r: NDArray[np.float64], s: NDArray[np.float64], decay: float, a: str, b: str) -> float:
    own = _weighted(r * r, decay) * _weighted(s * s, decay)
    if not own > 0.0:
        raise CalibrationError("UPM-CA-104", f"history of {a} and {b}: one of them does not change on their {len(r)} common returns. Correct the series or lengthen it.")
    return float(np.clip(_weighted(r * s, decay) / np.sqrt(own), -1.0, 1.0))
