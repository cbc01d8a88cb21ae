"""Histories as factor series: changes over elapsed time, common times, proxies, the slide of a sticky-strike smile.

Returns are log-changes divided by the square root of the elapsed days of the trading clock; a gap over four days is missing, never a return.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from upm_gpu.domain.clock import CALENDAR, Clock
from upm_gpu.errors import CalibrationError

if TYPE_CHECKING:
    import pandas as pd

MAX_GAP_DAYS = 4.0
MIN_RETURNS = 10
"""below it a volatility or correlation is refused"""
FEW_RETURNS = 30
"""below it a warning is given"""
NANOSECONDS_PER_DAY = 86_400e9
LEVEL_SLOPE = "level"
"""key of a slide that is not a price's: the term slope a unit move of the level makes by itself"""


@dataclass(frozen=True)
class Series:
    """One factor's history: times in days of the trading clock (`calendar`: since 1970), ascending, and the value whose changes are returns (a logarithm)."""

    time: NDArray[np.float64]
    value: NDArray[np.float64]


def returns(series: Series) -> NDArray[np.float64]:
    """Changes over the square root of the elapsed days; spans over four days are left out."""
    days = np.diff(series.time)
    keep = days <= MAX_GAP_DAYS
    return np.diff(series.value)[keep] / np.sqrt(days[keep])


def mean_change(series: Series) -> float:
    """Mean change a day: the changes over their elapsed days, spans over four days left out."""
    days = np.diff(series.time)
    keep = days <= MAX_GAP_DAYS
    return float(np.sum(np.diff(series.value)[keep]) / np.sum(days[keep]))


def pair_returns(a: Series, b: Series) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Returns of two series between the times they have in common."""
    _, i, j = np.intersect1d(a.time, b.time, return_indices=True)
    return returns(Series(a.time[i], a.value[i])), returns(Series(b.time[j], b.value[j]))


def common_returns(series: Sequence[Series]) -> NDArray[np.float64]:
    """(T, K) returns between the times all series have in common."""
    time = series[0].time
    for s in series[1:]:
        time = np.intersect1d(time, s.time)
    columns = [returns(Series(time, s.value[np.searchsorted(s.time, time)])) for s in series]
    return np.stack(columns, axis=1)


def kendall(r: NDArray[np.float64], s: NDArray[np.float64]) -> float:
    """sin(pi tau / 2), tau the rank correlation of Kendall (concordant minus discordant pairs over all pairs)."""
    concordance = 0.0
    for i in range(1, len(r)):
        concordance += float(np.sum(np.sign(r[i] - r[:i]) * np.sign(s[i] - s[:i])))
    return float(np.sin(np.pi * concordance / (len(r) * (len(r) - 1.0))))


def realised_volatility(price: Series, ewma_lambda: float, days_per_year: float = 365.0) -> Series:
    """Logarithm of the EWMA volatility of a price series, annualised: the stand-in for a missing volatility index."""
    days = np.diff(price.time)
    change = np.diff(price.value)
    variance, out, times = np.nan, [], []
    start = min(FEW_RETURNS, len(change))
    seed = change[:start][days[:start] <= MAX_GAP_DAYS] ** 2 / days[:start][days[:start] <= MAX_GAP_DAYS]
    variance = float(np.mean(seed)) if len(seed) else np.nan
    for i in range(start, len(change)):
        if days[i] <= MAX_GAP_DAYS:
            variance = ewma_lambda * variance + (1.0 - ewma_lambda) * change[i] ** 2 / days[i]
        if variance > 0.0:
            times.append(price.time[i + 1])
            out.append(0.5 * np.log(variance * days_per_year))
    return Series(np.array(times), np.array(out))


def factor_series(
    history: pd.DataFrame, factors: Sequence[str], valuation_time: datetime, ewma_lambda: float, slide: Mapping[str, float], additive: bool,
    clock: Clock = CALENDAR, half_life_days: NDArray[np.float64] | None = None,
) -> tuple[list[Series], list[str], list[str]]:
    """The history of every factor, the factors that had to take a proxy, and warnings. `half_life_days` (K,): of what reverts, see `spreads.py`."""
    import pandas as pd

    from upm_gpu.calibrate.spreads import SIGNED, SUFFIX, innovations

    past = history[history["timestamp"] <= pd.Timestamp(valuation_time)]
    by_asset = {str(a): g for a, g in past.groupby("asset", sort=True)}
    proxies: list[str] = []
    warnings: list[str] = []
    found: dict[str, Series] = {}
    level: dict[str, Series] = {}
    for k, factor in enumerate(factors):
        kind, _, rest = factor.partition("[")
        underlying = rest.removesuffix("]")
        if kind in SUFFIX and underlying:
            spread = _series(by_asset, underlying + SUFFIX[kind], factor, clock, kind in SIGNED)
            if kind == "log_basis":
                spread = _over(spread, _series(by_asset, underlying, factor, clock))
            found[factor] = innovations(spread, 0.0 if half_life_days is None else float(half_life_days[k]))
            continue
        if kind not in ("log_level", "volatility_shift", "volatility_skew", "volatility_slope") or not underlying:
            raise CalibrationError("UPM-CA-101", f"factor {factor!r}: known are log_level[ASSET], volatility_shift[ASSET], volatility_skew[ASSET], volatility_slope[ASSET], {', '.join(f'{k}[...]' for k in SUFFIX)}.")
        price = _series(by_asset, underlying, factor, clock)
        if kind == "log_level":
            found[factor] = price
            continue
        if kind != "volatility_shift":
            shape = _shape_series(by_asset, kind, underlying, factor, price, slide, level.get(underlying), clock)
            found[factor] = innovations(shape, 0.0 if half_life_days is None else float(half_life_days[k]))
            continue
        name = f"{underlying}.IV30"
        if name not in by_asset or len(returns(_series(by_asset, name, factor, clock))) < MIN_RETURNS:
            proxies.append(factor)
            warnings.append(f"UPM-CA-106 history has too little of {name}: EWMA realised volatility of {underlying} stands in (proxy)")
            found[factor] = realised_volatility(price, ewma_lambda, clock.days_per_year)
        else:
            found[factor] = _series(by_asset, name, factor, clock)
        if additive:
            found[factor] = Series(found[factor].time, np.exp(found[factor].value))
        if underlying in slide:
            found[factor] = _net_of_slide(found[factor], price, slide[underlying], additive)
        level[underlying] = found[factor]
        found[factor] = innovations(found[factor], 0.0 if half_life_days is None else float(half_life_days[k]))
    return [found[f] for f in factors], proxies, warnings


def asset_series(history: pd.DataFrame, asset: str, valuation_time: datetime, clock: Clock = CALENDAR) -> Series:
    """The logarithm of one series of a history (columns timestamp, asset, close). Raises `CalibrationError` UPM-CA-103 or 105."""
    import pandas as pd

    past = history[(history["timestamp"] <= pd.Timestamp(valuation_time)) & (history["asset"] == asset)]
    if past.empty:
        from difflib import get_close_matches

        names = sorted({str(a) for a in history["asset"].unique()})
        near = get_close_matches(asset, names, 3) or names[:12]
        raise CalibrationError("UPM-CA-103", f"history has no closes of {asset}. It holds {', '.join(near)}{', ...' if len(names) > len(near) else ''}.")
    return _series({asset: past}, asset, asset, clock)


def _series(by_asset: Mapping[str, pd.DataFrame], asset: str, factor: str, clock: Clock, signed: bool = False) -> Series:
    """Logarithms of a series, or the values of one that is `signed`."""
    group = by_asset.get(asset)
    if group is None:
        raise CalibrationError("UPM-CA-103", f"history has no closes of {asset}, which {factor} needs. Add the series to the history of the market folder.")
    close = group["close"].to_numpy(np.float64)
    bad = np.flatnonzero(~(np.isfinite(close) & ((close > 0.0) | signed)))
    if len(bad):
        raise CalibrationError("UPM-CA-105", f"history of {asset}: close {close[bad[0]]} at {group['timestamp'].iloc[int(bad[0])]} is not above 0. Correct the row.")
    time = group["timestamp"].dt.tz_convert(None).to_numpy().astype("datetime64[ns]").astype(np.int64) / NANOSECONDS_PER_DAY
    order = np.argsort(time, kind="stable")
    time, close = time[order], close[order]
    if len(time) > 1 and np.min(np.diff(time)) <= 0.0:
        raise CalibrationError("UPM-CA-105", f"history of {asset}: two closes at {group['timestamp'].iloc[int(order[int(np.argmin(np.diff(time)))])]}. Keep one.")
    return Series(clock.at(time), close if signed else np.log(close))


def _over(a: Series, b: Series) -> Series:
    """a less b on the times they have in common."""
    _, i, j = np.intersect1d(a.time, b.time, return_indices=True)
    return Series(a.time[i], a.value[i] - b.value[j])


def _shape_series(by_asset: Mapping[str, pd.DataFrame], kind: str, underlying: str, factor: str, price: Series, slide: Mapping[str, float],
                  level: Series | None, clock: Clock) -> Series:
    """A skew or slope series, net of what a sticky-strike smile does for the price's move; the slope also of what the level's own term structure does."""
    suffix = "SKEW30" if kind == "volatility_skew" else "SLOPE30"
    found = net_of(_series(by_asset, f"{underlying}.{suffix}", factor, clock), price, slide.get(factor, 0.0))
    return net_of(found, level, slide.get(LEVEL_SLOPE, 0.0)) if kind == "volatility_slope" and level is not None else found


def net_of(series: Series, other: Series, amount: float) -> Series:
    """Values whose changes are the series' less `amount` times the other's, on the common times."""
    if amount == 0.0:
        return series
    _, i, j = np.intersect1d(series.time, other.time, return_indices=True)
    return Series(series.time[i], series.value[i] - amount * other.value[j])


def _net_of_slide(volatility: Series, price: Series, skew: float, additive: bool) -> Series:
    """Values whose changes are d sigma - skew d ln S (relative: over the latest volatility), on the common times."""
    _, i, j = np.intersect1d(volatility.time, price.time, return_indices=True)
    level = 1.0 if additive or not len(i) else float(np.exp(volatility.value[i[-1]]))
    return Series(volatility.time[i], volatility.value[i] - skew / level * price.value[j])
