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
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
from upm_gpu.calibrate.spreads import SUFFIX, configured, from_history, half_lives, with_independent
from upm_gpu.calibrate.surface_factors import reverting, slides_of, surface_factors
from upm_gpu.domain.clock import CALENDAR, Clock
from upm_gpu.domain.text import instant_text
from upm_gpu.errors import CalibrationError
from upm_gpu.market.surface_series import SUFFIXES
from upm_gpu.model.gbm import is_price

if TYPE_CHECKING:
    import pandas as pd

    from upm_gpu.market.snapshot import MarketSnapshot
    from upm_gpu.market.surface import Surface
    from upm_gpu.model.gbm import GbmParameters
    from upm_gpu.model.registry import Model
    from upm_gpu.scenario.spec import ScenarioSpec

MEANS_FLAG = "UPM-CA-111 measure historical: means fitted to the history drive the scenarios; a margin should not rest on them."
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
        _enough(len(r), factors[i], factors[i], warnings)
        volatility[i] = np.sqrt(_weighted(r * r, decay))
        if not volatility[i] > 0.0:
            raise _still(factors[i], len(r))
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
            _enough(len(r), factors[i], factors[j], warnings)
            rho = kendall(r, s) if dependence == "kendall" else _correlation(r, s, decay, factors[i], factors[j])
            correlation[i, j] = correlation[j, i] = rho
    intensity = 0.0
    if shrinkage != "none":
        common = common_returns(series)
        _enough(len(common), "all factors", "one another", warnings)
        if shrinkage == "constant_correlation":
            intensity, target = constant_correlation_intensity(common), constant_correlation_target(correlation)
        else:
            intensity, target = identity_intensity(common), np.eye(size)
        correlation = (1.0 - intensity) * correlation + intensity * target
    return correlation, observations, intensity


def price_series(history: pd.DataFrame) -> tuple[str, ...]:
    """Assets of a history that are no series of volatilities, perpetuals, funding or rates, in name order."""
    return tuple(sorted(str(a) for a in history["asset"].unique() if not str(a).endswith((*SUFFIXES, *SUFFIX.values()))))


def calibrate_model(
    market: MarketSnapshot, spec: ScenarioSpec, underlyings: Sequence[str] = (), surfaces: Mapping[str, Surface] | None = None
) -> tuple[Model, CovarianceFit | None]:
    """The model of a specification: its parameter file where it names one, else a fit to the market's own history.
    gbm and the models of `registry.FROM_HISTORY` are fitted here; the others are read from their file and have no fit.

    Without `underlyings`, every one of the history that is no volatility series, in name order: the factors, and so the
    draws, never depend on a book. Under sticky strike the volatility factors are net of the slide along today's 30-day
    smile (`surfaces`).
    """
    from upm_gpu.calibrate.parameter_file import read_parameters
    from upm_gpu.model.registry import CALIBRATED, FROM_HISTORY, read_model

    if spec.model != CALIBRATED and spec.model not in FROM_HISTORY:
        return read_model(spec), None

    if spec.parameters and spec.model == CALIBRATED:
        fit, name = read_parameters(spec.parameters), Path(spec.parameters).name
        fit = _repaired(fit, name)
        if fit.valuation_time > market.valuation_time:
            late = f"UPM-CA-110 {name} was calibrated at {fit.valuation_time.isoformat()}, after the market's {market.valuation_time.isoformat()}: it knows the future"
            fit = replace(fit, warnings=(*fit.warnings, late))
        own = tuple(f.partition("[")[2].removesuffix("]") for f in fit.factors if f.startswith("log_level["))
        return _under_measure(with_independent(fit, configured(fit.factors, own, market, spec)), spec, market)
    left_out: list[str] = []
    clock = spec.trading_clock(market.valuation_time)
    underlyings = tuple(underlyings) or _usable(market, spec.ewma_lambda, clock, left_out)
    if not underlyings:
        raise CalibrationError("UPM-CA-103", "the market has no history of prices, and the configuration names no parameter file. Add history, or set model.parameters.")
    slide = slides_of(spec, {u: surfaces[u] for u in underlyings if u in surfaces} if surfaces else None)
    more, unmoved = surface_factors(market.history, underlyings, spec.surface_factors, market.valuation_time)
    left_out += unmoved
    factors = (*factor_names(underlyings), *more)
    if spec.model in FROM_HISTORY:
        from upm_gpu.calibrate.from_history import model_from_history, with_independent_factors

        factors = (*factors, *from_history(market.history, underlyings, spec))
        alone = configured(factors, underlyings, market, spec)
        if alone and spec.model != "garch":
            raise CalibrationError("UPM-CA-189", f"model {spec.model} draws dates, and the history has no series of {', '.join(alone)}, whose volatility the configuration gives. Add the series, "
                                   "set that volatility to 0, or use model garch or gbm.")
        made, report = model_from_history(market.history, factors, market.valuation_time, spec, slide)
        if alone:
            made, report = with_independent_factors(made, alone, spec), with_independent(report, alone)
        made = reverting(made, spec)
        flags = (MEANS_FLAG,) if spec.measure == "historical" else ()
        report = replace(report, warnings=(*flags, *left_out, *report.warnings))
        return (replace(made, drift=_pricing_drift(made.state_names, spec, market)) if spec.measure == "pricing" else made), report
    factors = (*factors, *from_history(market.history, underlyings, spec))
    fit = calibrate_covariance(market.history, factors, market.valuation_time, spec.estimator, spec.ewma_lambda,
                               dependence=spec.correlation, slide=slide, additive_volatility=spec.volatility_shift == "additive",
                               clock=clock, half_life_days=half_lives(factors, spec))
    fit = with_independent(fit, configured(fit.factors, underlyings, market, spec))
    return _under_measure(replace(fit, warnings=(*left_out, *fit.warnings)), spec, market)


def _repaired(fit: CovarianceFit, name: str) -> CovarianceFit:
    """A file's correlations, made positive semidefinite where somebody edited them; the distance is reported."""
    from upm_gpu.model.psd import nearest_correlation

    repair = nearest_correlation(fit.correlation, fit.factors)
    if not repair.distance:
        return fit
    note = (f"UPM-CA-112 {name}: the correlations were not positive semidefinite (lowest eigenvalue {repair.lowest_eigenvalue:.3g}); "
            f"repaired, Frobenius distance {repair.distance:.3g}, largest move {repair.largest_move:.3g}.")
    return replace(fit, correlation=repair.correlation, repair_distance=repair.distance, warnings=(*fit.warnings, note))


def _usable(market: MarketSnapshot, ewma_lambda: float, clock: Clock, left_out: list[str]) -> tuple[str, ...]:
    """The underlyings of a history that can be estimated together, in name order; the others are named in `left_out`.

    One that is short, still, or shares too few returns with those before it (the longest first) is left out instead of
    stopping every book: a book that needs it is refused by name. When none is usable the first says why.
    """
    names = price_series(market.history)
    series: dict[str, list[Series]] = {}
    why: dict[str, CalibrationError] = {}
    for name in names:
        try:
            series[name] = _sound(market, name, ewma_lambda, clock)
        except CalibrationError as error:
            why[name] = error
    accepted: list[str] = []
    for name in sorted(series, key=lambda n: (-len(series[n][0].time), n)):
        shared = min((len(pair_returns(a, b)[0]) for other in accepted for a in series[name] for b in series[other]), default=MIN_RETURNS)
        if shared >= MIN_RETURNS:
            accepted.append(name)
        else:
            why[name] = CalibrationError("UPM-CA-107", f"history of {name}: {shared} returns in common with the other assets, at least {MIN_RETURNS} are needed. Add closes on common days.")
    if not accepted and why:
        raise why[min(why)]
    left_out += [f"{why[n]} {n} is left out of the model." for n in sorted(why)]
    return tuple(sorted(accepted))


def _sound(market: MarketSnapshot, name: str, ewma_lambda: float, clock: Clock) -> list[Series]:
    """The price and volatility series of one underlying; CalibrationError where one is too short or never changes."""
    factors = factor_names([name])
    series, _, _ = factor_series(market.history, factors, market.valuation_time, ewma_lambda, {}, False, clock)
    for factor, x in zip(factors, series, strict=True):
        r = returns(x)
        _enough(len(r), factor, factor, [])
        if not np.any(r):
            raise _still(factor, len(r))
    return series


def _still(factor: str, count: int) -> CalibrationError:
    return CalibrationError("UPM-CA-104", f"history of {factor}: {count} returns without any change. A constant series says nothing about risk; "
                            "correct it or leave the factor out.")


def _under_measure(fit: CovarianceFit, spec: ScenarioSpec, market: MarketSnapshot) -> tuple[GbmParameters, CovarianceFit]:
    """The model with the drift of its measure.

    margin: none. pricing: log-prices at r - q, r the zero rate of the reporting currency at the longest horizon, q zero (no
    dividend curve is read). historical: the fitted means, flagged. Raises UPM-CA-111 where a parameter file holds no means.
    """
    model = gbm_parameters(fit, spec)
    if spec.measure == "pricing":
        return replace(model, drift=_pricing_drift(fit.factors, spec, market)), fit
    if spec.measure == "historical":
        if len(fit.daily_mean) != len(fit.factors):
            raise CalibrationError("UPM-CA-111", f"{spec.parameters}: measure historical needs the means of the factors, which the file does not hold. Calibrate again.")
        return replace(model, drift=fit.daily_mean), replace(fit, warnings=(MEANS_FLAG, *fit.warnings))
    return model, fit


def _pricing_drift(factors: Sequence[str], spec: ScenarioSpec, market: MarketSnapshot) -> NDArray[np.float64]:
    """(K,) a day: r - q for log-prices, 0 for volatilities."""
    tenors, rates = zip(*market.rates.get(market.reporting_currency, ((1.0, 0.0),)), strict=True)
    daily = float(np.interp(max(spec.horizons), tenors, rates)) / spec.trading_clock(market.valuation_time).days_per_year
    return np.array([daily if is_price(f) else 0.0 for f in factors])


def gbm_parameters(fit: CovarianceFit, spec: ScenarioSpec) -> GbmParameters:
    """The model of a fit under the laws of a specification, without drift; degrees of freedom of 0 there mean the fitted ones."""
    from upm_gpu.model.gbm import GbmParameters

    size = len(fit.factors)
    marginal = np.full(size, spec.degrees_of_freedom) if spec.degrees_of_freedom > 0.0 else fit.degrees_of_freedom
    copula = spec.copula_degrees_of_freedom if spec.copula_degrees_of_freedom > 0.0 else fit.copula_degrees_of_freedom
    limit = [spec.max_log_move_price if is_price(f) else spec.max_log_move_volatility for f in fit.factors]
    return GbmParameters(
        state_names=fit.factors, daily_volatility=fit.daily_volatility, correlation=fit.correlation, copula=spec.copula,
        copula_degrees_of_freedom=float(copula), marginal=(spec.marginal,) * size, marginal_degrees_of_freedom=marginal,
        max_log_move=np.array(limit), step_days=spec.base_step_days, measure=spec.measure, half_life_days=half_lives(fit.factors, spec),
        stressed_correlation=fit.stressed_correlation)


def calibrate_file(
    history: Path | str, out: Path | str, assets: Sequence[str] = (), estimator: str = "ewma", ewma_lambda: float = 0.97, correlation: str = "sample"
) -> dict[str, Any]:
    """`upm calibrate covariance`: a history file or market folder to a parameter file, and a summary of plain values.

    Without `assets`, every underlying of the history that is no volatility series, in name order. A history file is taken
    as known up to its last time.
    """
    from upm_gpu.calibrate.parameter_file import read_history, write_parameters

    frame, valuation_time = read_history(str(history))
    names = list(assets) or price_series(frame)
    if not names:
        raise CalibrationError("UPM-CA-103", f"{history}: the history holds no price series. Add closes.")
    fit = calibrate_covariance(frame, factor_names(names), valuation_time, estimator, ewma_lambda, dependence=correlation)
    write_parameters(fit, Path(out))
    return {
        "out": str(out),
        "valuation_time": instant_text(valuation_time),
        "factors": list(fit.factors),
        "daily_volatility": [round(float(v), 6) for v in fit.daily_volatility],
        "degrees_of_freedom": [float(v) for v in fit.degrees_of_freedom],
        "copula_degrees_of_freedom": fit.copula_degrees_of_freedom,
        "repair_distance": fit.repair_distance,
        "shrinkage_intensity": fit.shrinkage_intensity,
        "notes": [f"daily volatility {f} {v:.4f}" for f, v in zip(fit.factors, fit.daily_volatility, strict=True)] + list(fit.warnings),
    }


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


def _enough(count: int, a: str, b: str, warnings: list[str]) -> None:
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
