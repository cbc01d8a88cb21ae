"""The margin call ladder: in which stage an account is, what it is called for, and until when.

  stage   the gravest whose line the equity is below:  equity < below x (initial or maintenance margin)
  amount  max(0, restore x initial - equity); nothing below `minimum_transfer`, else the whole amount rounded up to a multiple of `rounding`
  due     hours of business after the call is issued, or an hour of the n-th business day after it

A call that was issued before and is still short keeps its deadline while its stage is no graver; past the deadline it is in the stage that its own names in `then`. An account that is no longer short has met it.
Stages, lines, amounts and deadlines are parameters with their sources (`configs/calls/*.toml`). Verified by tests/end_to_end/test_calls.py.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field

from upm_gpu.shipped import find_file
from upm_gpu.strict_toml import Strict, build, check, read_toml

DEFAULT = "configs/calls/house_v1.toml"
CLOCK = r"^([01]\d|2[0-3]):[0-5]\d$"
LONGEST_DAYS = 3660
"""a deadline further away is a mistake of the calendar: every day a holiday"""


class Calendar(Strict):
    """When business is done."""

    business: Literal["always", "weekdays"] = Field(default="always", description="weekdays: Monday to Friday but holidays, from opening to closing")
    zone: str = Field(default="UTC", description="time zone of the hours, such as America/Chicago")
    opening: str = Field(default="08:00", pattern=CLOCK)
    closing: str = Field(default="18:00", pattern=CLOCK)
    holidays: list[datetime.date] = Field(default=[])


class Stage(Strict):
    """One rung."""

    name: str = Field(min_length=1)
    below: float = Field(ge=0.0, le=10.0, description="times the margin `of`: the line on equity")
    of: Literal["initial", "maintenance"]
    restore: float = Field(default=1.0, ge=0.0, le=10.0, description="times the initial margin: what equity is brought back to; 0: nothing is called")
    due_hours: float | None = Field(default=None, ge=0.0, le=8760.0, description="hours of business after the call")
    due_days: int | None = Field(default=None, ge=0, le=365, description="business days after the call, at")
    due_at: str = Field(default="10:00", pattern=CLOCK)
    then: str = Field(default="", description="stage of a call that is not met by its deadline")
    minimum_applies: bool = True
    action: str = ""


class Ladder(Strict):
    """Stages from the mildest to the gravest."""

    schema_version: Literal[1] = 1
    name: str
    version: str
    effective_date: datetime.date
    minimum_transfer: float = Field(default=0.0, ge=0.0)
    rounding: float = Field(default=0.0, ge=0.0, description="amounts are rounded up to a multiple; 0: not")
    calendar: Calendar = Calendar()
    stages: list[Stage] = Field(min_length=1)


@dataclass(frozen=True)
class Standing:
    """What the ladder reads of an account, reporting currency."""

    account_id: str
    equity: float
    initial_margin: float
    maintenance_margin: float
    standard_error: float
    """of the initial margin's core"""


@dataclass(frozen=True)
class OpenCall:
    """A call issued before."""

    stage: str
    issued_at: datetime.datetime
    due_at: datetime.datetime | None


@dataclass(frozen=True)
class Call:
    """One account on the ladder."""

    account_id: str
    stage: str
    """"met" for a call issued before that is no longer short"""
    equity: float
    initial_margin: float
    maintenance_margin: float
    short: float
    """what is missing to `restore`, unrounded"""
    standard_error: float
    amount: float
    """what is called"""
    issued_at: datetime.datetime | None
    due_at: datetime.datetime | None
    action: str
    reason: str


def load_ladder(path: str | Path | None = None) -> Ladder:
    """A ladder file, checked; None: the house's. Raises InputError with every complaint."""
    file = find_file(DEFAULT if path is None else path)
    tables, text = read_toml(file, "call ladder")
    made = build(Ladder, tables, file.name, text, {"schema_version": 67})
    names = [s.name for s in made.stages]
    lines = [(s.below, s.of) for s in made.stages]
    check([("stages", 172, len(set(names)) == len(names) and "met" not in names, f"stages {', '.join(names)}: a stage stands twice, or is called met, which is what an answered call is. Rename one."),
           *((f"stages.{i}.then", 172, not s.then or (s.then in names and names.index(s.then) > i), f"then {s.then!r} of stage {s.name}: name a graver stage, one that stands below it.") for i, s in enumerate(made.stages)),
           *((f"stages.{i}.due_hours", 172, s.due_hours is None or s.due_days is None, f"stage {s.name}: due_hours and due_days are both given. Give one.") for i, s in enumerate(made.stages)),
           *((f"stages.{i}.below", 172, _descends(lines[i - 1], lines[i]), f"stage {made.stages[i].name}: its line is above that of the stage before. Put stages from the mildest to the gravest.") for i in range(1, len(lines))),
           ("calendar.closing", 172, made.calendar.opening < made.calendar.closing, f"calendar: opening {made.calendar.opening} is not before closing {made.calendar.closing}. Correct the hours of the call ladder."),
           ("calendar.zone", 172, zone_of(made.calendar.zone) is not None, f"calendar: zone {made.calendar.zone!r} is no time zone. Write UTC or a name such as America/Chicago.")], file.name, text)
    return made


def _descends(above: tuple[float, str], below: tuple[float, str]) -> bool:
    """Of the same margin, no higher; against another margin the order of the file stands: maintenance is at most initial."""
    return below[0] <= above[0] or (above[1] == "maintenance" and below[1] == "initial" and below[0] <= above[0]) if above[1] == below[1] else not (above[1] == "maintenance" and below[1] == "initial")


def zone_of(name: str) -> ZoneInfo | None:
    """The time zone of a name; None where there is none."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None


def calls(ladder: Ladder, standings: Sequence[Standing], issued_at: datetime.datetime, before: Mapping[str, OpenCall] | None = None) -> list[Call]:
    """A line for every account that is in a stage or was called before; the gravest stage first, then the largest amount."""
    before = before or {}
    rank = {s.name: n for n, s in enumerate(ladder.stages)}
    found = [c for s in standings if (c := _call(ladder, s, issued_at, before.get(s.account_id))) is not None]
    return sorted(found, key=lambda c: (-rank.get(c.stage, -1), -c.amount, -c.short, c.account_id))


def natural_stage(ladder: Ladder, standing: Standing) -> int:
    """Number of the gravest stage whose line the equity is below; -1: none."""
    margin = {"initial": standing.initial_margin, "maintenance": standing.maintenance_margin}
    return max((n for n, s in enumerate(ladder.stages) if standing.equity < s.below * margin[s.of]), default=-1)


def _call(ladder: Ladder, standing: Standing, now: datetime.datetime, before: OpenCall | None) -> Call | None:
    names = [s.name for s in ladder.stages]
    stage, reason, issued, due = natural_stage(ladder, standing), "", now, None
    kept = False
    if before is not None and before.stage in names:
        was = names.index(before.stage)
        if stage < 0 or not _missing(ladder.stages[was], standing):
            if stage < 0:
                return _line(standing, "met", 0.0, 0.0, before.issued_at, before.due_at, "", "equity is restored")
        elif before.due_at is not None and now >= before.due_at and ladder.stages[was].then:
            graver = max(stage, names.index(ladder.stages[was].then))
            reason = f"the {before.stage} of {_stamp(before.issued_at)} was not met by {_stamp(before.due_at)}" if graver > stage else ""
            stage = graver
        elif stage <= was and before.due_at is not None:
            stage, issued, due, kept = was, before.issued_at, before.due_at, True
            reason = f"issued before, due {_stamp(before.due_at)}"
    if stage < 0:
        return None
    rung = ladder.stages[stage]
    short = _missing(rung, standing)
    amount = called(ladder, rung, short)
    if short > 0.0 and amount == 0.0:
        reason = (reason + "; " if reason else "") + f"below the minimum transfer of {ladder.minimum_transfer:,.2f}"
    if not kept:
        due = deadline(ladder.calendar, rung, now) if short > 0.0 else None
    return _line(standing, rung.name, short, amount, issued, due, rung.action, reason or f"equity is below {rung.below:g} x {rung.of} margin")


def _line(s: Standing, stage: str, short: float, amount: float, issued: datetime.datetime, due: datetime.datetime | None, action: str, reason: str) -> Call:
    return Call(s.account_id, stage, s.equity, s.initial_margin, s.maintenance_margin, short, s.standard_error, amount, issued, due, action, reason)


def _missing(stage: Stage, standing: Standing) -> float:
    return max(0.0, stage.restore * standing.initial_margin - standing.equity) if stage.restore > 0.0 else 0.0


def called(ladder: Ladder, stage: Stage, short: float) -> float:
    """The amount called for a shortfall: none below the minimum, else all of it, rounded up.

    >>> ladder = Ladder(name="x", version="1", effective_date=datetime.date(2026, 1, 1), minimum_transfer=100.0, rounding=10.0, stages=[Stage(name="call", below=1.0, of="initial")])
    >>> called(ladder, ladder.stages[0], 99.99), called(ladder, ladder.stages[0], 100.0), called(ladder, ladder.stages[0], 100.01)
    (0.0, 100.0, 110.0)
    """
    if short <= 0.0 or (stage.minimum_applies and short < ladder.minimum_transfer):
        return 0.0
    if ladder.rounding <= 0.0:
        return short
    steps = math.ceil(short / ladder.rounding)
    while steps * ladder.rounding < short:  # a quotient that was rounded down
        steps += 1
    return steps * ladder.rounding


def deadline(calendar: Calendar, stage: Stage, issued: datetime.datetime) -> datetime.datetime | None:
    """When a call issued at an aware time is due, in UTC; None where the stage has no deadline."""
    if stage.due_hours is None and stage.due_days is None:
        return None
    zone = zone_of(calendar.zone) or ZoneInfo("UTC")
    local = issued.astimezone(zone)
    if stage.due_days is not None:
        day, left = _business_day(calendar, local.date()), stage.due_days
        while left:
            day, left = _business_day(calendar, day + datetime.timedelta(days=1)), left - 1
        due = datetime.datetime.combine(day, _clock(stage.due_at), zone)
        if due <= local:  # today's hour has passed
            due = datetime.datetime.combine(_business_day(calendar, day + datetime.timedelta(days=1)), _clock(stage.due_at), zone)
        return due.astimezone(datetime.UTC)
    left_over = datetime.timedelta(hours=stage.due_hours or 0.0)
    if calendar.business == "always":
        return issued.astimezone(datetime.UTC) + left_over
    at = local
    while True:
        day = _business_day(calendar, at.date())
        opens, closes = (datetime.datetime.combine(day, _clock(c), zone).astimezone(datetime.UTC) for c in (calendar.opening, calendar.closing))
        start = max(opens, at.astimezone(datetime.UTC))
        if closes > start and closes - start >= left_over:
            return start + left_over
        left_over -= max(closes - start, datetime.timedelta(0))
        at = datetime.datetime.combine(day + datetime.timedelta(days=1), datetime.time(0), zone)


def _business_day(calendar: Calendar, day: datetime.date) -> datetime.date:
    """The day itself, or the first after it on which business is done."""
    for _ in range(LONGEST_DAYS):
        if calendar.business == "always" or (day.weekday() < 5 and day not in calendar.holidays):
            return day
        day += datetime.timedelta(days=1)
    return day


def _clock(text: str) -> datetime.time:
    return datetime.time.fromisoformat(text)


def _stamp(time: datetime.datetime) -> str:
    return f"{time.astimezone(datetime.UTC):%Y-%m-%dT%H:%MZ}"
