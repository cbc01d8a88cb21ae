"""Targets of the correlation regimes: the correlation of a stressed period, estimated as the base one is.

A period holds the changes between two closes, from 00:00Z of its first day to 24:00Z of its last. gbm, merton, heston and bates take the estimator of the
specification (EWMA, whose newest day is then the last of the period; or Ledoit-Wolf) on the series of their factors; garch takes the correlation of its filtered residuals
of the dates inside. A volatility series that the period lacks is the realised volatility of its price, named as a proxy. Then the nearest correlation matrix, its distance kept. Without dates the target is the matrix of the model's parameter file.

Verified: tests/known_answers/test_stressed_period.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from upm_gpu.calibrate.covariance import CovarianceFit, correlations
from upm_gpu.calibrate.from_history import residual_correlation
from upm_gpu.calibrate.series import MIN_RETURNS, Series, factor_series, realised_volatility, returns
from upm_gpu.calibrate.spreads import half_lives
from upm_gpu.calibrate.surface_factors import slides_of
from upm_gpu.domain.text import instant_text
from upm_gpu.errors import CalibrationError
from upm_gpu.model.psd import nearest_correlation
from upm_gpu.model.regimes import Regime, asset_of

if TYPE_CHECKING:
    from upm_gpu.market.snapshot import MarketSnapshot
    from upm_gpu.market.surface import Surface
    from upm_gpu.scenario.spec import RegimeSpec, ScenarioSpec


def correlation_regimes(market: MarketSnapshot, spec: ScenarioSpec, model: Any, fit: CovarianceFit | None,
                        surfaces: Mapping[str, Surface] | None = None) -> tuple[Regime, ...]:
    """The regimes of a specification with their targets. Raises `CalibrationError` UPM-CA-151 for a period the history does not hold or a file without a matrix."""
    return tuple(_regime(r, market, spec, model, fit, surfaces) for r in spec.correlation_regimes)


def _regime(asked: RegimeSpec, market: MarketSnapshot, spec: ScenarioSpec, model: Any, fit: CovarianceFit | None, surfaces: Mapping[str, Surface] | None) -> Regime:
    if asked.toward == "one":
        return Regime(asked.name, asked.probability, asked.share, "one")
    factors: tuple[str, ...] = tuple(getattr(model, "state_names", ()))
    # factors without a series, whose volatility is configured, stand last and move on their own in every regime
    alone = 0 if fit is None or not fit.observations.size else int(np.count_nonzero(np.diag(fit.observations) == 0))
    if not asked.start and not asked.end:
        given = getattr(model, "stressed_correlation", None)
        if given is None:
            raise CalibrationError("UPM-CA-151", f"correlation regime {asked.name!r} has no start and end, and the parameters of model {spec.model} hold no stressed_correlation. Give the period, "
                                   "or write the matrix into the parameter file.")
        estimate, source = np.asarray(given, np.float64), "parameter file"
    else:
        start, end = period(asked.start, asked.end, market, f"correlation regime {asked.name!r}")
        estimate, what = period_correlation(market, factors[: len(factors) - alone], start, end, spec, fit, surfaces)
        estimate = independent(estimate, len(factors))
        source = f"{what}, {instant_text(start)} to {instant_text(end)}"
    repair = nearest_correlation(estimate, factors)
    return Regime(asked.name, asked.probability, asked.share, "stressed_period", repair.correlation, factors, repair.distance, source)


def independent(correlation: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """(size, size) with factors after those of `correlation` that move on their own."""
    from scipy.linalg import block_diag

    more = size - len(correlation)
    return np.asarray(block_diag(correlation, np.eye(more))) if more else correlation


def period_correlation(market: MarketSnapshot, factors: tuple[str, ...], start: datetime, end: datetime, spec: ScenarioSpec, fit: CovarianceFit | None,
                       surfaces: Mapping[str, Surface] | None) -> tuple[NDArray[np.float64], str]:
    """The correlation of the period, not repaired, and of what: filtered residuals where the fit has them, else returns."""
    if fit is not None and fit.residuals is not None:
        inside = np.array([start <= _instant(t) < end for t in fit.residual_times])
        estimate, counts = residual_correlation(fit.residuals[inside][:, : len(factors)], factors, spec.correlation, MIN_RETURNS)
        return estimate, f"{int(counts.max())} residuals"
    estimate, counts, proxies = _of_returns(market, factors, start, end, spec, surfaces)
    return estimate, f"{int(counts.max())} returns" + (f" (realised volatility for {', '.join(proxies)})" if proxies else "")


def period(first_day: str, last_day: str, market: MarketSnapshot, what: str) -> tuple[datetime, datetime]:
    """First and last instant of a stressed period; refuses one that is not inside the history and before the valuation. `what` asks, for messages."""
    import pandas as pd

    start, end = _instant(first_day), _instant(last_day)
    if "T" not in last_day and " " not in last_day:
        end += timedelta(days=1)  # a day ends at 24:00Z
    past = market.history[market.history["timestamp"] <= pd.Timestamp(market.valuation_time)]
    if past.empty:
        raise CalibrationError("UPM-CA-151", f"{what}: the market has no history before the valuation to take the stressed period {first_day} to {last_day} from. "
                               "Add closes, or give stressed_correlation in the parameter file.")
    first, last = (past["timestamp"].min().to_pydatetime(), past["timestamp"].max().to_pydatetime())
    if not first <= start < end <= last:
        raise CalibrationError("UPM-CA-151", f"{what}: the stressed period {instant_text(start)} to {instant_text(end)} is not inside the history, which runs from "
                               f"{instant_text(first)} to {instant_text(last)} before the valuation at {instant_text(market.valuation_time)}. Give a period inside it.")
    return start, end


def _of_returns(market: MarketSnapshot, factors: tuple[str, ...], start: datetime, end: datetime, spec: ScenarioSpec,
                surfaces: Mapping[str, Surface] | None) -> tuple[NDArray[np.float64], NDArray[np.int64], list[str]]:
    """Correlations of the returns inside, their numbers, the volatility factors that took a proxy."""
    inside, proxies = inside_period(market, factors, start, end, spec, surfaces)
    shrinkage = "constant_correlation" if spec.estimator == "ledoit_wolf" else "none"
    warnings: list[str] = []
    estimate, counts, _ = correlations(inside, factors, spec.ewma_lambda if spec.estimator == "ewma" else 1.0, shrinkage, spec.correlation, warnings)
    return estimate, counts, proxies


def inside_period(market: MarketSnapshot, factors: tuple[str, ...], start: datetime, end: datetime, spec: ScenarioSpec,
                  surfaces: Mapping[str, Surface] | None) -> tuple[list[Series], list[str]]:
    """The series of the factors inside, and the volatility factors that took a proxy."""
    slide, clock = slides_of(spec, surfaces), spec.trading_clock(market.valuation_time)
    series, _, _ = factor_series(market.history, factors, market.valuation_time, spec.ewma_lambda, slide, spec.volatility_shift == "additive", clock, half_lives(factors, spec))
    low, high = clock.at(np.array([t.timestamp() / 86_400.0 for t in (start, end)]))

    def within(s: Series) -> Series:
        keep = (s.time >= low - 1e-9) & (s.time <= high + 1e-9)
        return Series(s.time[keep], s.value[keep])

    inside, proxies = [within(s) for s in series], list[str]()
    for k, factor in enumerate(factors):
        own = f"log_level[{asset_of(factor)}]"
        if len(returns(inside[k])) < MIN_RETURNS and factor != own and own in factors:
            inside[k] = within(realised_volatility(series[factors.index(own)], spec.ewma_lambda, clock.days_per_year))
            proxies.append(factor)
    return inside, proxies


def _instant(text: str) -> datetime:
    found = datetime.fromisoformat(text.replace("Z", "+00:00"))
    return found if found.tzinfo else found.replace(tzinfo=UTC)
