"""A floor under the volatility of every factor: the larger of the short-term estimate and a long-run level.

long-run = root mean square of the returns of the last `long_run_years` before the valuation time, equal weights; volatility in force = max(short-term, long-run),
factor by factor. What clearing houses do so that margins do not follow calm markets all the way down: the STANS methodology page of the Options
Clearing Corporation names it for every factor; Commission Delegated Regulation (EU) 153/2013, article 28(1)(c), asks for a ten-year look-back.

The floor meets a volatility where it starts: of gbm it is the volatility, of garch and filtered_historical the variance of the first step, which
then follows its recursion, of scaled_historical the level the history is scaled to. Correlations and residuals stay as estimated.
Verified by `tests/known_answers/test_volatility_floor.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from upm_gpu.calibrate.covariance import CovarianceFit, enough
from upm_gpu.calibrate.series import Series, factor_series, returns
from upm_gpu.calibrate.spreads import half_lives

if TYPE_CHECKING:
    from upm_gpu.market.snapshot import MarketSnapshot
    from upm_gpu.scenario.spec import ScenarioSpec


def long_run_volatility(market: MarketSnapshot, factors: Sequence[str], spec: ScenarioSpec, slide: Mapping[str, float] | None) -> NDArray[np.float64]:
    """(K,) a day of the trading clock. Raises `CalibrationError` for a factor without enough history."""
    clock = spec.trading_clock(market.valuation_time)
    series, _, _ = factor_series(market.history, factors, market.valuation_time, spec.ewma_lambda, slide or {}, spec.volatility_shift == "additive", clock, half_lives(tuple(factors), spec))
    found = np.empty(len(factors))
    for k, (name, x) in enumerate(zip(factors, series, strict=True)):
        recent = x.time > x.time[-1] - spec.long_run_years * clock.days_per_year
        r = returns(Series(x.time[recent], x.value[recent]))
        enough(len(r), name, name, [])
        found[k] = np.sqrt(np.mean(r * r))
    return found


def floored_fit(fit: CovarianceFit, market: MarketSnapshot, spec: ScenarioSpec, slide: Mapping[str, float] | None) -> CovarianceFit:
    """The fit of gbm with the floor in force, and what it raised among the warnings."""
    if spec.volatility_floor == "none":
        return fit
    floor = long_run_volatility(market, fit.factors, spec, slide)
    return replace(fit, daily_volatility=np.maximum(fit.daily_volatility, floor), warnings=(*fit.warnings, *_raised(fit.factors, fit.daily_volatility, floor, spec)))


def floored_model(made: Any, fit: CovarianceFit, market: MarketSnapshot, spec: ScenarioSpec, slide: Mapping[str, float] | None) -> tuple[Any, CovarianceFit]:
    """The same for a model made from the history: its first variance, or the level its changes are scaled to."""
    if spec.volatility_floor == "none":
        return made, fit
    today = made.daily_volatility
    floor = long_run_volatility(market, made.state_names, spec, slide)
    if hasattr(made, "dynamics"):
        dynamics = replace(made.dynamics, variance=np.maximum(made.dynamics.variance, floor * floor * made.step_days))
        made = replace(made, dynamics=dynamics)
    else:
        made = replace(made, changes=made.changes * np.maximum(floor / today, 1.0))
    return made, replace(fit, daily_volatility=np.maximum(today, floor), warnings=(*fit.warnings, *_raised(made.state_names, today, floor, spec)))


def _raised(factors: Sequence[str], volatility: NDArray[np.float64], floor: NDArray[np.float64], spec: ScenarioSpec) -> tuple[str, ...]:
    which = [f"{name} {100.0 * v:.3g} to {100.0 * f:.3g} %" for name, v, f in zip(factors, volatility, floor, strict=True) if f > v]
    return (f"UPM-CA-190 volatility floor: the daily volatility of {', '.join(which)} is raised to its level of the last {spec.long_run_years:g} years.",) if which else ()
