"""Numbers and factor moves in words.

States are log-changes since the valuation time (`upm_gpu/scenario/sets.py`): a move of x reads as exp(x) - 1. A
state whose unit is not known here is shown by its name and its plain value, never guessed at.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime

MINUS = "\u2212"
"""the typographic minus, as wide as a plus: used on pages, not on terminals"""

_MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December")
_STATE = re.compile(r"^(\w+)\[([^\],]+)(?:,([^\]]+))?\]$")


def percent(fraction: float, minus: str = MINUS) -> str:
    """A signed percentage with one decimal: 0.38 is "+38.0 %"."""
    tenths = round(100.0 * fraction, 1)
    sign = "+" if tenths > 0 else minus if tenths < 0 else ""
    space = "\u00a0" if minus == MINUS else " "
    return f"{sign}{abs(tenths):,.1f}{space}%"


def factor_moves(states: dict[str, float], minus: str = MINUS, additive_volatility: bool = False) -> str:
    """The moves of one scenario in words, grouped by underlying: "BTC -14.0 %, volatility +38.0 %; ETH ...".

    `states` maps state names to values; with `additive_volatility` a volatility shift is in volatility, not a log-change.
    """
    groups: dict[str, list[str]] = {}
    for name, value in states.items():
        if not math.isfinite(value):
            continue
        match = _STATE.match(name)
        kind, subject, date = match.groups() if match else (name, name, None)
        groups.setdefault(subject, []).append(_move(kind, subject, date, value, minus, additive_volatility, name))
    return "; ".join(", ".join(moves) for moves in groups.values())


def is_state(name: str) -> bool:
    """True for a column of `worst_scenarios.parquet` that is a state."""
    return _STATE.match(name) is not None


def parts_of_state(name: str) -> tuple[str, str, str | None] | None:
    """(kind, asset, date or None) of a state's name; None for any other column."""
    match = _STATE.match(name)
    return None if match is None else (match.group(1), match.group(2), match.group(3))


def duration(minutes: float) -> str:
    """An age a person can weigh: "42 min", "9 h 12 min", "3.0 days"."""
    if minutes < 1.0:
        return "under a minute"
    whole = round(minutes)
    if whole < 120:
        return f"{whole} min"
    if whole < 2880:
        return f"{whole // 60} h {whole % 60} min" if whole % 60 else f"{whole // 60} h"
    return f"{whole / 1440:.1f} days"


def moment(text: str) -> str:
    """An ISO 8601 time as people write it, "5 February 2026, 09:36 UTC"; anything else as it is."""
    try:
        found = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        return text
    if found.tzinfo is None:
        return text
    found = found.astimezone(UTC)
    return f"{found.day} {_MONTHS[found.month - 1]} {found.year}, {found:%H:%M} UTC"


def horizon(days: float) -> str:
    """A horizon in the largest unit that fits: "1 hour", "0.999 days", "2 days"."""
    hours = days * 24.0
    if days < 0.9 and abs(hours - round(hours)) < 1e-6:
        return f"{round(hours)} hour{'' if round(hours) == 1 else 's'}"
    return f"{days:.3g} day{'' if days == 1 else 's'}"


def margin_period(manifest: dict, days: float) -> str:
    """The margin period of a run: "2 days", or "2 sessions (4 days)" on the clock of an exchange."""
    sessions = manifest.get("margin_horizon_sessions")
    if not isinstance(sessions, int | float):
        return horizon(days)
    return f"{sessions:.3g} session{'' if sessions == 1 else 's'} ({horizon(days)})"


def short(amount: float, minus: str = MINUS) -> str:
    """Three significant figures with a scale: 12.4 m, 1.02 bn."""
    if not math.isfinite(amount):
        return "n/a"
    size, sign = abs(amount), minus if amount < 0 else ""
    for scale, name in ((1e12, " tn"), (1e9, " bn"), (1e6, " m"), (1e3, " k")):
        if size >= 0.9995 * scale:
            return f"{sign}{_three(size / scale)}{name}"
    return f"{sign}{_three(size)}" if size >= 0.0005 else "0"


def full(amount: float, decimals: int = 0, minus: str = MINUS) -> str:
    """Every digit, with thousands separators."""
    if not math.isfinite(amount):
        return "n/a"
    text = f"{abs(amount):,.{decimals}f}"
    return f"{minus}{text}" if amount < 0 and any(digit in "123456789" for digit in text) else text


def _three(size: float) -> str:
    return f"{size:.2f}" if size < 9.995 else f"{size:.1f}" if size < 99.95 else f"{size:.0f}"


def _move(kind: str, subject: str, date: str | None, value: float, minus: str, additive: bool, name: str) -> str:
    of_date = f" {date}" if date else ""
    if kind == "log_level":
        return f"{subject} {percent(math.expm1(value), minus)}"
    if kind == "log_forward":
        return f"{subject} forward{of_date} {percent(math.expm1(value), minus)}"
    if kind == "log_fx":
        return f"{subject} exchange rate {percent(math.expm1(value), minus)}"
    if kind == "volatility_shift" and additive:
        return f"volatility{of_date} {percent(value, minus)[:-2]} points"
    if kind == "volatility_shift":
        return f"volatility{of_date} {percent(math.expm1(value), minus)}"
    if kind == "volatility_skew":
        return f"skew {percent(math.expm1(value), minus)} a deviation"
    if kind == "volatility_slope":
        return f"term slope {percent(math.expm1(value), minus)}"
    return f"{name} {value:.4g}"
