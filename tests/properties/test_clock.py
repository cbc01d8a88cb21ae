"""The session clock: one day of variance from close to close, evenly inside, nothing lost over weekends and holidays."""

from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from upm_gpu.domain.clock import CALENDAR, EPOCH, session_clock

FRIDAY = datetime(2022, 4, 1, 20, tzinfo=UTC)
GOOD_FRIDAY = date(2022, 4, 15)
CLOCK = session_clock(FRIDAY, (GOOD_FRIDAY,))


def test_two_sessions_from_a_friday_are_four_calendar_days():
    assert CLOCK.target(FRIDAY, 2.0) == 4.0
    assert CALENDAR.target(FRIDAY, 2.0) == 2.0


def test_a_holiday_belongs_to_the_session_after_it():
    thursday = datetime(2022, 4, 14, 20, tzinfo=UTC)
    assert CLOCK.between(thursday, datetime(2022, 4, 18, 20, tzinfo=UTC)) == 1.0
    assert session_clock(FRIDAY).between(thursday, datetime(2022, 4, 18, 20, tzinfo=UTC)) == 2.0


def test_a_morning_expiry_after_a_weekend():
    # 65.5 of the 72 hours between the closes
    assert CLOCK.between(FRIDAY, datetime(2022, 4, 4, 13, 30, tzinfo=UTC)) == pytest.approx(65.5 / 72.0, abs=1e-10)


def test_a_year_of_sessions():
    closed = ("01-17", "02-21", "04-15", "05-30", "06-20", "07-04", "09-05", "11-24", "12-26")
    clock = session_clock(FRIDAY, tuple(date.fromisoformat(f"2022-{d}") for d in closed))
    year = clock.between(datetime(2021, 12, 31, 20, tzinfo=UTC), datetime(2022, 12, 30, 20, tzinfo=UTC))
    assert year == 251.0  # the exchange's count of 2022


@given(st.floats(0.01, 900.0), st.integers(0, 2_000), st.floats(0.0, 1.0))
def test_target_and_instant_invert_the_clock(horizon, day, hour):
    start = datetime(2017, 1, 1, tzinfo=UTC) + timedelta(days=day, hours=round(24.0 * hour, 2))
    clock = session_clock(FRIDAY, (GOOD_FRIDAY,))
    elapsed = clock.target(start, horizon)
    assert clock.elapsed(start, np.array([elapsed]))[0] == pytest.approx(horizon, abs=1e-8)
    instants = (start - EPOCH) / timedelta(days=1) + np.array([0.0, elapsed])
    assert clock.instant(clock.at(instants)) == pytest.approx(instants, abs=1e-6)


@given(st.lists(st.floats(0.0, 4_000.0), min_size=2, max_size=50))
def test_the_clock_never_runs_back_and_never_faster_than_a_session_a_day(days):
    at = np.sort(np.array(days)) + 17_000.0
    passed = np.diff(CLOCK.at(at))
    assert np.all(passed >= 0.0)
    assert np.all(passed <= np.diff(at) + 1e-9)


def test_daily_closes_at_midnight_end_the_session_of_the_day_before():
    """A close dated Friday is stamped Saturday 00:00Z: Thursday to Friday and Friday to Monday are one session each."""
    clock = session_clock(datetime(2022, 4, 2, tzinfo=UTC))
    stamps = np.array([(datetime(2022, 4, day, tzinfo=UTC) - EPOCH) / timedelta(days=1) for day in (1, 2, 5, 6)])
    assert np.diff(clock.at(stamps)).tolist() == [1.0, 1.0, 1.0]
    assert clock.target(datetime(2022, 4, 2, tzinfo=UTC), 1.0) == 3.0
