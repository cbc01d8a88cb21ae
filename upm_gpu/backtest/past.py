"""A group's history as arrays that can be cut at any day: what was known then, and what came after.

Times are those all assets of the group have in common, in days of the clock. Everything here is a function of the closes up to the time it stands at, so a
cut at a day is what the day knew; the volatilities before an index exists are missing, never filled in backwards.
Verified by tests/properties/test_rolling_laws.py: closes after a day change nothing of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import reduce
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from upm_gpu.backtest.config import Group, Windows, day
from upm_gpu.calibrate.series import MAX_GAP_DAYS, Series, factor_series, returns
from upm_gpu.domain.clock import CALENDAR, Clock, session_clock
from upm_gpu.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Past:
    """One group under one EWMA decay; K factors, prices first, then the volatilities; N common times."""

    group: Group
    history: pd.DataFrame
    """timestamp, asset, close of the group's series"""
    clock: Clock
    factors: tuple[str, ...]
    series: tuple[Series, ...]
    """(K,) own times"""
    time: NDArray[np.float64]
    """(N,)"""
    value: NDArray[np.float64]
    """(N, K) logarithms; NaN where a volatility is missing"""
    changes: NDArray[np.float64]
    """(M, K) per square-root day between common times, spans over four days left out"""
    change_ends: NDArray[np.float64]
    """(M,) time at which a change is known"""
    own_changes: tuple[NDArray[np.float64], ...]
    """(K,) of arrays: changes of each factor between its own times"""
    own_ends: tuple[NDArray[np.float64], ...]
    proxies: tuple[str, ...]
    """factors whose volatility is realised, not an index"""

    def known(self, factor: int, time: float) -> NDArray[np.float64]:
        """Changes of a factor on common dates that were known at a time, missing ones left out."""
        cut = self.changes[: int(np.searchsorted(self.change_ends, time, side="right")), factor]
        return cut[np.isfinite(cut)]

    def own_known(self, factor: int, time: float) -> NDArray[np.float64]:
        """Changes of a factor between its own times that were known at a time."""
        return self.own_changes[factor][: int(np.searchsorted(self.own_ends[factor], time, side="right"))]

    def instant(self, time: float) -> datetime:
        """Date and hour of a time."""
        return EPOCH + timedelta(seconds=round(float(self.clock.instant(np.array([time]))[0]) * 86_400.0))


def group_past(history: pd.DataFrame, group: Group, ewma_lambda: float, clock_name: str = "calendar") -> Past:
    """The history of a group. Raises `CalibrationError` for assets that are not there or closes that cannot be, InputError UPM-BT-012 where they share no dates."""
    own = history[history["asset"].isin([*group.assets, *(f"{a}.IV30" for a in group.volatility)])]
    last = own["timestamp"].max().to_pydatetime() if len(own) else history["timestamp"].max().to_pydatetime()
    clock = session_clock(last) if clock_name == "sessions" else CALENDAR
    factors = (*(f"log_level[{a}]" for a in group.assets), *(f"volatility_shift[{a}]" for a in group.volatility))
    series, proxies, _ = factor_series(own, factors, last, ewma_lambda, {}, False, clock)
    time = reduce(np.intersect1d, [s.time for s in series[: len(group.assets)]])
    if len(time) < 2:
        raise InputError("UPM-BT-012", f"group {group.name}: its assets share {len(time)} dates. Add closes on common dates, or part the group.")
    value = np.full((len(time), len(factors)), np.nan)
    for k, s in enumerate(series):
        _, at, theirs = np.intersect1d(time, s.time, return_indices=True)
        value[at, k] = s.value[theirs]
    days = np.diff(time)
    keep = days <= MAX_GAP_DAYS
    return Past(group, own, clock, factors, tuple(series), time, value, (np.diff(value, axis=0) / np.sqrt(days)[:, None])[keep], time[1:][keep], tuple(returns(s) for s in series),
                tuple(s.time[1:][np.diff(s.time) <= MAX_GAP_DAYS] for s in series), tuple(proxies))


def windows(past: Past, asked: Windows) -> NDArray[np.int64]:
    """(W, 2) places in `past.time` of valuation and end; every `step_days`-th common date from the first that has the least history, ends within the history.

    A window whose end is not `horizon_days` of the clock away (a date is missing) is left out. Raises InputError UPM-BT-012 where there is none.
    """
    origin = max([past.time[0], *(s.time[0] for s in past.series[len(past.group.assets):])])
    instants = past.clock.instant(past.time)
    good = past.time - origin >= asked.least_history_days
    if asked.start:
        good &= instants > _days(asked.start)  # midnight is the close of the day before
    within = np.ones(len(past.time), np.bool_) if not asked.end else instants <= _days(asked.end) + 1.0  # a close at 24:00 is the next day's midnight
    if not good.any():
        raise InputError("UPM-BT-012", f"group {past.group.name}: no date has {asked.least_history_days} days of history before it{' from ' + asked.start if asked.start else ''}; the history of the group "
                         f"begins {past.instant(origin).date()} and ends {past.instant(float(past.time[-1])).date()}. Lengthen the history, lower windows.least_history_days, or leave out the asset that begins last.")
    start = np.arange(int(np.argmax(good)), len(past.time) - asked.horizon_days, asked.step_days)
    end = start + asked.horizon_days
    keep = within[end] & (np.abs(past.time[end] - past.time[start] - asked.horizon_days) < 1e-6)
    found = np.stack([start[keep], end[keep]], axis=1)
    if not len(found):
        raise InputError("UPM-BT-012", f"group {past.group.name}: no window of {asked.horizon_days} days between {asked.start or 'the least history'} and {asked.end or 'the end of the history'}. Lengthen the period.")
    return found


def _days(text: str) -> float:
    found = day(text)
    assert found is not None
    return float((found - EPOCH.date()).days)
