"""Intraday risk charge as OCC defines it: the average of last month's daily peaks of what an account's risk rose by inside the day.

  increase(t)  = max(0, risk(t) - risk of the last snapshot before the day), t inside the day
  peak(day)    = largest increase of the snapshots from `charge_from` to `charge_to`
  charge       = mean of the peaks of the days of the look-back month before the day
  call         = allowed where the increase at or around `call_at` is greater than `call_deviations` sample standard deviations of the look-back month's daily peaks from `call_from` to `call_to`

Risk is the initial margin of a run, or any figure a file of snapshots gives. What stands before a day is that account's requirement overnight: positions traded and prices moved since then are the increase (house reading:
the order does not print its formula). An account that was not there before the day has all of its risk as an increase; a day without a snapshot in the window, or without any before it, has no peak and is counted.
Source: SR-OCC-2024-010, 90 FR 7731 (Amendment 3, table 1) and 90 FR 15274. Parameters: `configs/calls/occ_intraday_v2025.toml`. Verified by tests/end_to_end/test_intraday.py.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from upm_gpu.desk.calls.ladder import CLOCK, zone_of
from upm_gpu.shipped import find_file
from upm_gpu.strict_toml import Strict, build, check, read_toml

DEFAULT = "configs/calls/occ_intraday_v2025.toml"


class IntradayRules(Strict):
    """Windows, look-back and the call."""

    schema_version: Literal[1] = 1
    name: str
    version: str
    effective_date: datetime.date
    zone: str = "UTC"
    charge_from: str = Field(pattern=CLOCK)
    charge_to: str = Field(pattern=CLOCK)
    interval_minutes: int = Field(default=20, ge=1, le=1440, description="between snapshots; a longer gap inside the charge's window is said")
    look_back_months: int = Field(default=1, ge=1, le=24)
    least_days: int = Field(default=10, ge=1, le=500)
    call_at: str = Field(pattern=CLOCK)
    call_within_minutes: int = Field(default=20, ge=0, le=720)
    call_deviations: float = Field(default=3.0, ge=0.0, le=100.0)
    call_from: str = Field(pattern=CLOCK)
    call_to: str = Field(pattern=CLOCK)


@dataclass(frozen=True)
class Snapshots:
    """Risk of accounts at times; NaN where an account was not."""

    times: tuple[datetime.datetime, ...]
    """(T,) aware, ascending"""
    accounts: tuple[str, ...]
    risk: NDArray[np.float64]
    """(T, A) reporting currency"""


@dataclass(frozen=True)
class IntradayCharge:
    """One account on one day."""

    account_id: str
    charge: float | None
    """None: fewer than `least_days` peaks"""
    standard_error: float | None
    """of the mean over days, as if they were independent"""
    days: int
    """peaks behind the charge"""
    largest_peak: float | None
    increase: float | None
    """now: at or around the time of the call; None where there is no snapshot near it"""
    threshold: float | None
    """increase beyond which a call is allowed; None: fewer than `least_days` peaks of the whole day"""
    call: bool
    amount: float
    """the increase where a call is allowed, else 0"""


def load_rules(path: str | Path | None = None) -> IntradayRules:
    """A file of rules, checked; None: OCC's. Raises InputError with every complaint."""
    file = find_file(DEFAULT if path is None else path)
    tables, text = read_toml(file, "intraday rules")
    made = build(IntradayRules, tables, file.name, text, {"schema_version": 67})
    check([("zone", 175, zone_of(made.zone) is not None, f"intraday rules: zone {made.zone!r} is no time zone. Write UTC or a name such as America/Chicago."),
           ("charge_to", 175, made.charge_from < made.charge_to, f"intraday rules: the charge's window {made.charge_from} to {made.charge_to} is none. Give an earlier start."),
           ("call_to", 175, made.call_from <= made.call_at <= made.call_to, f"intraday rules: the call at {made.call_at} is outside the window {made.call_from} to {made.call_to} of its peaks. Give a time inside.")], file.name, text)
    return made


def intraday(rules: IntradayRules, snapshots: Snapshots, day: datetime.date | None = None) -> tuple[datetime.date, list[IntradayCharge], list[str]]:
    """(day, a line for every account, notes). `day` is the local date the charge is for; None: that of the last snapshot. The largest charge first."""
    zone = zone_of(rules.zone) or ZoneInfo("UTC")
    local = [t.astimezone(zone) for t in snapshots.times]
    dates = np.array([t.date().toordinal() for t in local], np.int64)
    clock = np.array([60 * t.hour + t.minute + t.second / 60.0 for t in local])
    today = day or local[-1].date()
    rise = increases(snapshots.risk, dates)
    past = [int(d) for d in np.unique(dates) if _months_before(today, rules.look_back_months).toordinal() <= d < today.toordinal()]
    of_charge = _peaks(rise, dates, (clock >= minutes(rules.charge_from)) & (clock <= minutes(rules.charge_to)), past)
    of_call = _peaks(rise, dates, (clock >= minutes(rules.call_from)) & (clock <= minutes(rules.call_to)), past)
    notes = _gaps(rules, dates, clock, past)
    now = np.full(len(snapshots.accounts), np.nan)
    near = np.flatnonzero((dates == today.toordinal()) & (np.abs(clock - minutes(rules.call_at)) <= rules.call_within_minutes))
    if len(near):
        now = rise[near[int(np.argmin(np.abs(clock[near] - minutes(rules.call_at))))]]
    else:
        notes.append(f"no snapshot of {today} is within {rules.call_within_minutes} minutes of {rules.call_at}: no call can be judged.")
    found = [_line(rules, name, of_charge[:, a], of_call[:, a], float(now[a])) for a, name in enumerate(snapshots.accounts)]
    return today, sorted(found, key=lambda c: (-(c.charge or 0.0), c.account_id)), notes


def increases(risk: NDArray[np.float64], dates: NDArray[np.int64]) -> NDArray[np.float64]:
    """(T, A) increase over the last snapshot of an earlier day; NaN before there is one, and where the account is not. `dates` (T,) ascend."""
    out = np.full(risk.shape, np.nan)
    for d in np.unique(dates)[1:]:
        inside = dates == d
        base = np.nan_to_num(risk[int(np.flatnonzero(dates < d)[-1])])
        out[inside] = np.maximum(risk[inside] - base, 0.0)
    return out


def _peaks(rise: NDArray[np.float64], dates: NDArray[np.int64], window: NDArray[np.bool_], days: Sequence[int]) -> NDArray[np.float64]:
    """(days, A) largest increase of each day inside a window; NaN where there is none."""
    out = np.full((len(days), rise.shape[1]), np.nan)
    for n, d in enumerate(days):
        part = rise[(dates == d) & window]
        if len(part):
            out[n] = np.fmax.reduce(part, axis=0)
    return out


def _line(rules: IntradayRules, name: str, peaks: NDArray[np.float64], whole: NDArray[np.float64], now: float) -> IntradayCharge:
    known, every = peaks[np.isfinite(peaks)], whole[np.isfinite(whole)]
    enough = len(known) >= rules.least_days
    charge = float(np.mean(known)) if enough else None
    error = float(np.std(known, ddof=1) / np.sqrt(len(known))) if enough and len(known) > 1 else None
    threshold = float(rules.call_deviations * np.std(every, ddof=1)) if len(every) >= max(2, rules.least_days) else None
    call = bool(threshold is not None and now > threshold)
    return IntradayCharge(name, charge, error, len(known), float(np.max(known)) if len(known) else None, now if np.isfinite(now) else None, threshold, call, now if call else 0.0)


def _gaps(rules: IntradayRules, dates: NDArray[np.int64], clock: NDArray[np.float64], days: Sequence[int]) -> list[str]:
    """What the snapshots lack of the windows they should fill."""
    low, high = minutes(rules.charge_from), minutes(rules.charge_to)
    absent, thin = [], []
    for d in days:
        inside = clock[(dates == d) & (clock >= low) & (clock <= high)]
        if not len(inside):
            absent.append(d)
        elif float(np.max(np.diff(np.concatenate([[low], inside, [high]])))) > rules.interval_minutes + 1e-9:
            thin.append(d)
    shown = [datetime.date.fromordinal(d).isoformat() for d in (absent + thin)[:3]]
    return [f"{len(days)} days with snapshots in the look-back; {len(absent)} without one in the charge's window, {len(thin)} with gaps longer than {rules.interval_minutes} minutes ({', '.join(shown)}): "
            "a peak between two snapshots is not seen."] if absent or thin else []


def minutes(clock: str) -> int:
    """Minutes since midnight of "11:00"."""
    return 60 * int(clock[:2]) + int(clock[3:])


def _months_before(day: datetime.date, months: int) -> datetime.date:
    """The same day of an earlier month, or its last day."""
    month = day.month - 1 - months
    year, month = day.year + month // 12, month % 12 + 1
    last = (datetime.date(year + month // 12, month % 12 + 1, 1) - datetime.timedelta(days=1)).day
    return datetime.date(year, month, min(day.day, last))
