"""Trading clocks: how much variance time lies between two instants.

Variance runs on a clock of its own, decay and discounting on ACT/365 (French and Roll, "Stock return variances", Journal of Financial Economics 17, 1986:
prices move little while an exchange is shut). `calendar` counts elapsed days, the clock of markets that never close. `sessions` counts
exchange sessions: a session ends at the close hour of a business day and holds all the time since the end of the one before, so
Friday's close to Monday's is one day of variance and three of decay. Inside that span time runs evenly.

The close hour is that of the valuation time, so that a horizon of n sessions ends at the same hour of its target day.
Verified by `tests/properties/test_clock.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)


@dataclass(frozen=True)
class Clock:
    """Where the zero of the clock lies does not matter; only differences are read."""

    sessions: bool = False
    holidays: tuple[date, ...] = ()
    """weekdays without a session; Saturdays and Sundays never have one"""
    close: timedelta = field(default=timedelta(0))
    """hour of the close, since 00:00Z"""

    @property
    def days_per_year(self) -> float:
        """Clock days in a year: 365, or 252 sessions."""
        return 252.0 if self.sessions else 365.0

    def at(self, days: NDArray[np.float64]) -> NDArray[np.float64]:
        """Clock time of instants given in days since 1970, any shape."""
        if not self.sessions:
            return days
        since_close = np.asarray(days, np.float64) - self.close / DAY
        whole = np.ceil(since_close).astype(np.int64)  # the close at or after the instant
        end = self._first_session(whole)
        begin = self._last_session(end - 1)
        ended = np.busday_count(np.datetime64(0, "D"), end.astype("datetime64[D]"), holidays=self._closed()).astype(np.float64)
        return ended - (end - since_close) / (end - begin)

    def between(self, start: datetime, end: datetime) -> float:
        """Clock days from `start` to `end`."""
        if not self.sessions:
            return (end - start) / DAY
        a, b = self.at(np.array([(start - EPOCH) / DAY, (end - EPOCH) / DAY]))
        return float(b - a)

    def elapsed(self, start: datetime, days: NDArray[np.float64]) -> NDArray[np.float64]:
        """Clock days from `start` to each of `days` elapsed days later."""
        if not self.sessions:
            return days
        origin = (start - EPOCH) / DAY
        return self.at(origin + np.asarray(days, np.float64)) - self.at(np.array([origin]))[0]

    def target(self, start: datetime, horizon: float) -> float:
        """Elapsed days from `start` to the instant `horizon` clock days later.

        >>> friday = datetime(2022, 4, 1, 20, tzinfo=UTC)
        >>> Clock(True, (), timedelta(hours=20)).target(friday, 2.0)
        4.0
        """
        if not self.sessions:
            return horizon
        origin = (start - EPOCH) / DAY
        # the clock is piecewise linear with its corners at closes: enough whole days to pass the target, then between the two around it
        corners = np.floor(origin - self.close / DAY) + self.close / DAY + np.arange(0.0, 3.0 * horizon + 20.0 + len(self.holidays))
        corners = np.concatenate([[origin], corners[corners > origin]])
        passed = self.at(corners) - self.at(np.array([origin]))[0]
        last = int(np.searchsorted(passed, horizon - 1e-9))
        if last == 0:
            return 0.0
        share = (horizon - passed[last - 1]) / (passed[last] - passed[last - 1])
        elapsed = corners[last - 1] + share * (corners[last] - corners[last - 1]) - origin
        return float(round(elapsed, 9))

    def instant(self, time: NDArray[np.float64]) -> NDArray[np.float64]:
        """Days since 1970 of clock times: the inverse of `at`."""
        if not self.sessions:
            return time
        # never more sessions than weekdays, never fewer than 60 % of them: bounds between which the corners are laid out
        low, high = 1.3 * float(np.min(time)) - 10.0, 1.7 * float(np.max(time)) + 10.0
        corners = np.arange(np.floor(low), np.ceil(high) + 1.0) + self.close / DAY
        return np.interp(time, self.at(corners), corners)

    def _closed(self) -> NDArray[np.datetime64]:
        return np.array(self.holidays, "datetime64[D]")

    def _first_session(self, day: NDArray[np.int64]) -> NDArray[np.int64]:
        """The first session day at or after each day number."""
        return np.busday_offset(day.astype("datetime64[D]"), 0, roll="forward", holidays=self._closed()).astype(np.int64)

    def _last_session(self, day: NDArray[np.int64]) -> NDArray[np.int64]:
        """The last session day at or before each day number."""
        return np.busday_offset(day.astype("datetime64[D]"), 0, roll="backward", holidays=self._closed()).astype(np.int64)


CALENDAR = Clock()


def session_clock(valuation_time: datetime, holidays: tuple[date, ...] = ()) -> Clock:
    """The session clock whose closes are at the hour of the valuation time; midnight closes the day before it."""
    at = valuation_time.astimezone(UTC)
    if not (at.hour or at.minute or at.second):
        return Clock(True, holidays, DAY)
    return Clock(True, holidays, timedelta(hours=at.hour, minutes=at.minute, seconds=at.second))
