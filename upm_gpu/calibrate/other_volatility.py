"""The model of a run under volatilities that are not today's: those of a stressed period with its correlation, or those of the long run.

Scenarios of such a model take the same random numbers; charges against procyclicality look at them. The volatility of a factor is the root mean square of its
daily returns inside the period, or of the last `long_run_years`, equal weights. It stands where `volatility_floor.py` puts its floor: of gbm it is the volatility, of garch and
filtered_historical the variance of the first step, which then follows its recursion, of scaled_historical the level the history is scaled to. The correlation of a stressed
period is that of `stressed.py`, its nearest correlation matrix; it enters gbm and garch. Models that draw dates keep theirs, which are joint moves already. A volatility series that
the period lacks is the realised volatility of its price. Factors whose volatility is configured, not estimated, keep it.

Refused by name (UPM-CA-196): historical, whose changes are as they were, and merton, heston and bates, whose parameters are a file's and say nothing of another time.

Source: Commission Delegated Regulation (EU) 153/2013, article 28(1)(b) and (c). Verified by tests/known_answers/test_other_volatility.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from upm_gpu.calibrate.covariance import CovarianceFit, enough
from upm_gpu.calibrate.series import returns
from upm_gpu.calibrate.stressed import independent, inside_period, period, period_correlation
from upm_gpu.calibrate.surface_factors import slides_of
from upm_gpu.calibrate.volatility_floor import long_run_volatility
from upm_gpu.errors import CalibrationError
from upm_gpu.model.filtered_historical import FilteredHistoricalParameters
from upm_gpu.model.garch import GarchParameters, factor_model
from upm_gpu.model.gbm import GbmParameters
from upm_gpu.model.historical import HistoricalParameters
from upm_gpu.model.psd import nearest_correlation

if TYPE_CHECKING:
    from upm_gpu.market.snapshot import MarketSnapshot
    from upm_gpu.market.surface import Surface
    from upm_gpu.scenario.spec import ScenarioSpec


def long_run_model(model: Any, fit: CovarianceFit | None, market: MarketSnapshot, spec: ScenarioSpec, surfaces: Mapping[str, Surface] | None = None) -> Any:
    """The model under the volatilities of the last `long_run_years`. Raises `CalibrationError`."""
    _check(model, spec, "long-run volatilities")
    factors = _moved(model, fit)
    return _under(model, long_run_volatility(market, factors, spec, slides_of(spec, surfaces)), None, spec)


def stressed_model(model: Any, fit: CovarianceFit | None, market: MarketSnapshot, spec: ScenarioSpec, start: str, end: str, surfaces: Mapping[str, Surface] | None = None) -> Any:
    """The model under the volatilities and the correlation of the days from `start` to `end` (ISO dates). Raises `CalibrationError`."""
    _check(model, spec, "the volatilities of a stressed period")
    factors, what = _moved(model, fit), "stressed scenarios"
    first, last = period(start, end, market, what)
    inside, _ = inside_period(market, factors, first, last, spec, surfaces)
    volatility = np.empty(len(factors))
    for k, (name, series) in enumerate(zip(factors, inside, strict=True)):
        r = returns(series)
        enough(len(r), name, f"{name} in the stressed period {start} to {end}", [])
        volatility[k] = np.sqrt(np.mean(r * r))
    correlation = None
    if isinstance(model, GbmParameters | GarchParameters):
        estimate, _ = period_correlation(market, factors, first, last, spec, fit, surfaces)
        correlation = nearest_correlation(independent(estimate, len(model.state_names)), model.state_names).correlation
    return _under(model, volatility, correlation, spec)


def _check(model: Any, spec: ScenarioSpec, what: str) -> None:
    windows = isinstance(model, HistoricalParameters)
    if isinstance(model, GbmParameters | GarchParameters | FilteredHistoricalParameters) or (windows and spec.model != "historical"):
        return
    name = "historical" if windows else spec.model
    why = "its changes are those of their dates" if windows else "its parameters are given by a file"
    raise CalibrationError("UPM-CA-196", f"a charge asks for scenarios under {what}, and model {name} has no volatility to put them in the place of: {why}. "
                           "Use gbm, garch, filtered_historical or scaled_historical, or a methodology without the charge.")


def _moved(model: Any, fit: CovarianceFit | None) -> tuple[str, ...]:
    """The factors with a history: those whose volatility is configured stand last."""
    alone = 0 if fit is None or not fit.observations.size else int(np.count_nonzero(np.diag(fit.observations) == 0))
    names: tuple[str, ...] = tuple(model.state_names)
    return names[: len(names) - alone]


def _under(model: Any, volatility: NDArray[np.float64], correlation: NDArray[np.float64] | None, spec: ScenarioSpec) -> Any:
    """`volatility` (K or fewer,) of a day, the first of the model's factors; `correlation` (K, K) or None for its own."""
    today = np.asarray(model.daily_volatility, np.float64)
    asked = np.concatenate([volatility, today[len(volatility):]])
    if isinstance(model, GbmParameters):
        return replace(model, daily_volatility=asked, correlation=model.correlation if correlation is None else correlation)
    if isinstance(model, HistoricalParameters):
        return replace(model, changes=model.changes * np.divide(asked, today, out=np.ones_like(today), where=today > 0.0))
    made = replace(model, dynamics=replace(model.dynamics, variance=asked * asked * model.step_days))
    if correlation is None:
        return made
    if model.loading is None:
        return replace(made, correlation=correlation)
    return replace(made, loading=factor_model(correlation, model.loading.shape[1]))
