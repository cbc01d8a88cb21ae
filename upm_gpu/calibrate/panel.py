"""A history as one table of dates by factors: changes per base step, filtered residuals, dates that lack a factor filled in.

Dates are those all price factors have in common; a change is over the square root of the elapsed days, a gap over four days begins a new
segment. A volatility factor missing on a date takes its value from the regression on the same date's own price value plus a
remainder drawn once, by address, from the dates that have both. Verified by `tests/statistics/test_garch_law.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import reduce
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from upm_gpu.calibrate.garch_fit import fit
from upm_gpu.calibrate.series import FEW_RETURNS, MAX_GAP_DAYS, MIN_RETURNS, factor_series
from upm_gpu.calibrate.spreads import kind_of
from upm_gpu.domain.clock import CALENDAR, Clock
from upm_gpu.errors import CalibrationError
from upm_gpu.model.gbm import is_price
from upm_gpu.model.recursion import Garch, Recursion, ewma, variances
from upm_gpu.rng.normal import uniform_at
from upm_gpu.rng.streams import FILL, stream_word

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Panel:
    """N changes of K factors in order of time."""

    factors: tuple[str, ...]
    changes: NDArray[np.float64]
    """(N, K) per square-root day; NaN where a date lacks the factor"""
    segment: NDArray[np.int64]
    """(N,) number of the run without a gap"""
    labels: tuple[str, ...]
    """(N,) time at which a change begins"""
    first: tuple[str, ...]
    """(K,) time of the first close used"""
    proxies: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def history_panel(history: pd.DataFrame, factors: Sequence[str], valuation_time: datetime, ewma_lambda: float, slide: Mapping[str, float] | None = None,
                  additive: bool = False, clock: Clock = CALENDAR, half_life_days: NDArray[np.float64] | None = None) -> Panel:
    """The table of a history (columns timestamp, asset, close) up to the valuation time; `half_life_days` (K,): changes of what reverts are its innovations,
    see `spreads.py`. Raises `CalibrationError` UPM-CA-101 to 107."""
    series, proxies, warnings = factor_series(history, factors, valuation_time, ewma_lambda, slide or {}, additive, clock, half_life_days)
    prices = [s.time for f, s in zip(factors, series, strict=True) if is_price(f)] or [s.time for s in series]
    time = reduce(np.intersect1d, prices)
    if len(time) <= MIN_RETURNS:
        raise CalibrationError("UPM-CA-107", f"history of all price factors together: {max(len(time) - 1, 0)} returns on common dates, at least {MIN_RETURNS} are needed. "
                               "Add earlier closes, or leave out the factor that begins last.")
    value = np.full((len(time), len(factors)), np.nan)
    for k, s in enumerate(series):
        _, at, own = np.intersect1d(time, s.time, return_indices=True)
        value[at, k] = s.value[own]
    days = np.diff(time)
    keep = days <= MAX_GAP_DAYS
    changes = (np.diff(value, axis=0) / np.sqrt(days)[:, None])[keep]
    for k, f in enumerate(factors):
        seen = changes[np.isfinite(changes[:, k]), k]
        if len(seen) < MIN_RETURNS:
            raise CalibrationError("UPM-CA-107", f"history of {f}: {len(seen)} returns without a gap over {MAX_GAP_DAYS:g} days, at least {MIN_RETURNS} are needed. Add earlier closes.")
        if not np.any(seen != 0.0):
            raise CalibrationError("UPM-CA-104", f"history of {f}: {len(seen)} returns without any change. A constant series says nothing about risk; correct it or leave the factor out.")
    return Panel(tuple(factors), changes, np.cumsum(~keep, dtype=np.int64)[keep], tuple(_text(t) for t in clock.instant(time[:-1][keep])), tuple(_text(clock.instant(s.time[:1])[0]) for s in series),
                 tuple(proxies), tuple(warnings))


def _text(days: float) -> str:
    return str(np.datetime64(round(days * 86400.0), "s")) + "Z"


@dataclass(frozen=True)
class Filtered:
    """Residuals of every factor under its own filter."""

    kind: tuple[Recursion, ...]
    model: tuple[Garch, ...]
    next_variance: NDArray[np.float64]
    """(K,) of the day after the last one a factor has"""
    residuals: NDArray[np.float64]
    """(N, K) change over the volatility known before it; NaN where the date lacks the factor"""


def filter_panel(panel: Panel, kind: Recursion, ewma_lambda: float, given: Sequence[tuple[Recursion, Garch] | None] = ()) -> Filtered:
    """Take as `given`, fit (GARCH, GJR) or apply (EWMA) a filter to each factor's own changes. Raises `CalibrationError` UPM-CA-122 to 124."""
    residuals = np.full_like(panel.changes, np.nan)
    kinds, models, following = [], [], []
    for k, name in enumerate(panel.factors):
        seen = np.isfinite(panel.changes[:, k])
        r = panel.changes[seen, k]
        own = given[k] if given else None
        used, model = own or (kind, ewma(ewma_lambda) if kind == "ewma" else fit(r, kind, name))
        h = variances(r, model)
        residuals[seen, k] = (r - model.mu) / np.sqrt(h[:-1])
        kinds.append(used)
        models.append(model)
        following.append(h[-1])
    return Filtered(tuple(kinds), tuple(models), np.array(following), residuals)


def fill(values: NDArray[np.float64], panel: Panel) -> tuple[NDArray[np.float64], Panel]:
    """(N, K) without NaN, and the panel with a warning for each factor filled in and its share."""
    out, warnings = values.copy(), list(panel.warnings)
    for k, name in enumerate(panel.factors):
        missing = ~np.isfinite(values[:, k])
        if not np.any(missing):
            continue
        own = f"log_level[{name.partition('[')[2]}"
        if own not in panel.factors and kind_of(name) and np.count_nonzero(~missing) >= FEW_RETURNS:
            out[missing, k] = _drawn(values[~missing, k], missing, k)  # a rate has no price of its own
            warnings.append(f"UPM-CA-131 {name}: {np.mean(missing):.1%} of the dates lack it and take the value of another date, drawn")
            continue
        if own not in panel.factors or own == name:
            raise CalibrationError("UPM-CA-131", f"{name} is missing on {np.count_nonzero(missing)} dates and has no price factor {own} to be taken from. Add the price, or leave the factor out.")
        price = values[:, panel.factors.index(own)]
        if np.count_nonzero(~missing) < FEW_RETURNS:
            raise CalibrationError("UPM-CA-107", f"history of {name} beside {own}: {np.count_nonzero(~missing)} returns, at least {FEW_RETURNS} are needed to fill in the dates that lack it.")
        x, y = price[~missing], values[~missing, k]
        slope = float(np.sum((x - x.mean()) * (y - y.mean())) / np.sum((x - x.mean()) ** 2))
        rest = y - y.mean() - slope * (x - x.mean())
        out[missing, k] = y.mean() + slope * (price[missing] - x.mean()) + _drawn(rest, missing, k)
        warnings.append(f"UPM-CA-131 {name}: {np.mean(missing):.1%} of the dates lack it and take a value from the regression on {own} and a drawn remainder")
    return out, replace(panel, warnings=tuple(warnings))


def _drawn(values: NDArray[np.float64], missing: NDArray[np.bool_], factor: int) -> NDArray[np.float64]:
    """One of the values (n,) for every missing date, by address."""
    u = uniform_at(0, np.flatnonzero(missing).astype(np.uint32), factor, 0, stream_word(0, FILL))
    result: NDArray[np.float64] = values[np.minimum((u * len(values)).astype(np.int64), len(values) - 1)]
    return result


def in_unit_residuals(filtered: Filtered, as_given: Sequence[bool] = ()) -> Filtered:
    """The same filter with residuals of mean 0 and variance 1 by column: what their variance c was goes into the variance of the filter, so that
    sigma e is the move it was and tomorrow's variance is c h and not h.

    The EWMA of a series with fat tails that come in clusters has c above 1 (1.1 to 1.2 for coins at lambda 0.94): scaling the residuals alone would understate
    tomorrow by that much. A maximum-likelihood GARCH has c near 1. Columns `as_given` keep their variances: a fitted level is taken as it stands.
    """
    spread = np.nanvar(filtered.residuals, axis=0)
    scale = np.where(as_given, 1.0, spread) if len(as_given) else spread
    models = tuple(replace(m, omega=m.omega * float(c)) for m, c in zip(filtered.model, scale, strict=True))
    return replace(filtered, model=models, next_variance=filtered.next_variance * scale, residuals=(filtered.residuals - np.nanmean(filtered.residuals, axis=0)) / np.sqrt(spread))
