"""`upm intraday`: snapshots of risk from finished runs or a file, the charge and the calls of a day."""

from __future__ import annotations

import csv
import datetime
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from upm_gpu.desk.calls.intraday import IntradayCharge, Snapshots, intraday, load_rules
from upm_gpu.desk.calls.ladder_command import aware_time
from upm_gpu.errors import InputError, UsageError
from upm_gpu.report.explain import printable

LISTED = 50


def intraday_command(sources: Sequence[Path], rules_file: Path | None, day: str) -> tuple[dict[str, Any], str]:
    """(plain data, text). Sources are run folders, and CSVs with columns timestamp, account_id, risk. Raises UsageError, InputError, IntegrityError."""
    try:
        wanted = datetime.date.fromisoformat(day) if day else None
    except ValueError:
        raise UsageError("UPM-CF-176", f"--day {day!a}: is no date of an intraday charge. Write for example 2026-02-05.") from None
    rules = load_rules(rules_file)
    snapshots, currency = read_snapshots(sources)
    today, found, notes = intraday(rules, snapshots, wanted)
    data = {"rules": f"{rules.name} {rules.version}", "day": today.isoformat(), "currency": currency, "snapshots": len(snapshots.times), "notes": notes,
            "total_charge": math.fsum(c.charge or 0.0 for c in found), "accounts": [asdict(c) for c in found]}
    return data, render(found, notes, today, f"{rules.name} {rules.version}", currency)


def read_snapshots(sources: Sequence[Path]) -> tuple[Snapshots, str | None]:
    """Snapshots of all sources, and their currency (None: files alone, which name none). Raises InputError for two values of one account at one time, and for two currencies."""
    cells: dict[datetime.datetime, dict[str, float]] = {}
    currencies = set()
    for source in sources:
        if source.is_dir():
            time, risk, currency = _run(source)
            currencies.add(currency)
            rows = [(time, name, value) for name, value in risk.items()]
        else:
            rows = _file(source)
        for time, name, value in rows:
            at = cells.setdefault(time.astimezone(datetime.UTC), {})
            if name in at:
                raise InputError("UPM-IN-173", f"{source}: account {name!a} has two snapshots of {time.isoformat()}. Give each once.")
            at[name] = value
    if len(currencies) > 1:
        raise InputError("UPM-IN-173", f"the snapshots report in {', '.join(sorted(currencies))}: a charge has one currency.")
    if not cells:
        raise InputError("UPM-IN-173", "no snapshots: give finished runs, or a CSV with columns timestamp, account_id, risk.")
    times, accounts = sorted(cells), sorted({a for at in cells.values() for a in at})
    return Snapshots(tuple(times), tuple(accounts), np.array([[cells[t].get(a, np.nan) for a in accounts] for t in times])), next(iter(currencies), None)


def _run(folder: Path) -> tuple[datetime.datetime, dict[str, float], str]:
    from upm_gpu.desk.calls.ladder_command import standings

    found, manifest = standings(folder)
    return aware_time(str(manifest["valuation_time"])), {s.account_id: s.initial_margin for s in found}, str(manifest.get("reporting_currency", "USD"))


def _file(path: Path) -> list[tuple[datetime.datetime, str, float]]:
    number = 1
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            found = []
            for row in reader:
                number += 1
                value = float(row["risk"])
                if not math.isfinite(value):
                    raise ValueError(row["risk"])
                found.append((aware_time(row["timestamp"]), row["account_id"], value))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError("UPM-IN-173", f"{path}: snapshots cannot be read ({error}). Give finished runs, or a CSV.") from None
    except (KeyError, ValueError, TypeError):
        raise InputError("UPM-IN-173", f"{path.name} line {number}: holds no snapshot. Columns are timestamp (ISO with zone), account_id, risk (a finite number).") from None
    return found


def render(found: Sequence[IntradayCharge], notes: Sequence[str], day: datetime.date, rules: str, currency: str | None) -> str:
    """Text for a person; ASCII."""
    unit = f", {currency}" if currency else ""
    known = [c for c in found if c.charge is not None]
    lines = [f"Intraday risk charge of {day} by {printable(rules)}{unit}: {math.fsum(c.charge or 0.0 for c in known):,.2f} over {len(known)} accounts; {sum(c.call for c in found)} calls allowed", "",
             f"{'Account':<20}{'charge':>16}{'+- s.e.':>14}{'days':>6}{'largest peak':>16}{'increase now':>16}{'call beyond':>16}  call"]
    for c in found[:LISTED]:
        figures = "".join(f"{'' if v is None else format(v, ',.2f'):>{w}}" for v, w in ((c.charge, 16), (c.standard_error, 14)))
        after = "".join(f"{'' if v is None else format(v, ',.2f'):>16}" for v in (c.largest_peak, c.increase, c.threshold))
        lines.append(f"{printable(c.account_id)[:19]:<20}{figures}{c.days:>6}{after}  {'yes' if c.call else ''}")
    if len(found) > LISTED:
        lines.append(f"{len(found) - LISTED} more in --json")
    if len(known) < len(found):
        lines.append(f"{len(found) - len(known)} accounts have too few days for a charge.")
    return "\n".join([*lines, *notes])
