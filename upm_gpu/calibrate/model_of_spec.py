"""The model a run drives its scenarios with: read from the file its specification names, or fitted to the history of the market."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from upm_gpu.calibrate.covariance import (
    CovarianceFit,
    calibrate_covariance,
    enough,
    factor_names,
    price_series,
    still,
)
from upm_gpu.calibrate.series import (
    MIN_RETURNS,
    Series,
    factor_series,
    pair_returns,
    returns,
)
from upm_gpu.calibrate.spreads import configured, from_history, half_lives, with_independent
from upm_gpu.calibrate.surface_factors import reverting, slides_of, surface_factors
from upm_gpu.calibrate.volatility_floor import floored_fit, floored_model
from upm_gpu.domain.clock import Clock
from upm_gpu.errors import CalibrationError
from upm_gpu.model.gbm import is_price

if TYPE_CHECKING:
    from upm_gpu.market.snapshot import MarketSnapshot
    from upm_gpu.market.surface import Surface
    from upm_gpu.model.gbm import GbmParameters
    from upm_gpu.model.registry import Model
    from upm_gpu.scenario.spec import ScenarioSpec

MEANS_FLAG = "UPM-CA-111 measure historical: means fitted to the history drive the scenarios; a margin should not rest on them."


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
        if fit.volatility_dynamics and (fit.volatility_dynamics == "sticky_strike") != (spec.volatility_dynamics == "sticky_strike"):
            raise CalibrationError("UPM-CA-238", f"{name} has volatility series for {fit.volatility_dynamics}, and model.volatility_dynamics is {spec.volatility_dynamics}: the slide along the smile would count twice or not at all. "
                                   "Set model.volatility_dynamics to the file's, or calibrate again with --volatility-dynamics.")
        own = tuple(f.partition("[")[2].removesuffix("]") for f in fit.factors if f.startswith("log_level["))
        fit = floored_fit(fit, market, spec, slides_of(spec, surfaces))
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
        made, report = floored_model(*model_from_history(market.history, factors, market.valuation_time, spec, slide), market, spec, slide)
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
    fit = floored_fit(fit, market, spec, slide)
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
        enough(len(r), factor, factor, [])
        if not np.any(r):
            raise still(factor, len(r))
    return series


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


def _half_lives(fit: CovarianceFit, spec: ScenarioSpec) -> NDArray[np.float64] | None:
    """(K,) of the configuration, and where it has none those of the file."""
    asked = half_lives(fit.factors, spec)
    if not np.any(fit.half_life_days):
        return asked
    return fit.half_life_days if asked is None else np.where(asked > 0.0, asked, fit.half_life_days)


def gbm_parameters(fit: CovarianceFit, spec: ScenarioSpec) -> GbmParameters:
    """The model of a fit under the laws of a specification, without drift; degrees of freedom of 0 there mean the fitted ones."""
    from upm_gpu.model.gbm import GbmParameters

    size = len(fit.factors)
    marginal = np.full(size, spec.degrees_of_freedom) if spec.degrees_of_freedom > 0.0 else fit.degrees_of_freedom
    copula = spec.copula_degrees_of_freedom if spec.copula_degrees_of_freedom > 0.0 else fit.copula_degrees_of_freedom
    if (spec.marginal == "student_t" and not np.all(marginal > 2.0)) or (spec.copula == "student_t" and not copula > 2.0):
        raise CalibrationError("UPM-CA-219", f"model.degrees_of_freedom or model.copula_degrees_of_freedom is 0, and the fit has none above 2: marginals {', '.join(f'{v:g}' for v in marginal)}, copula {copula:g}. "
                               "Lengthen the history, make the file with `upm calibrate copula`, or give the numbers.")
    limit = [spec.max_log_move_price if is_price(f) else spec.max_log_move_volatility for f in fit.factors]
    return GbmParameters(
        state_names=fit.factors, daily_volatility=fit.daily_volatility, correlation=fit.correlation, copula=spec.copula,
        copula_degrees_of_freedom=float(copula), marginal=(spec.marginal,) * size, marginal_degrees_of_freedom=marginal,
        max_log_move=np.array(limit), step_days=spec.base_step_days, measure=spec.measure, half_life_days=_half_lives(fit, spec),
        stressed_correlation=fit.stressed_correlation)
