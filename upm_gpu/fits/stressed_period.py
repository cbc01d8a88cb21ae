"""`upm calibrate stressed-period`: the window in which a portfolio would have lost most, written into a methodology that `upm run` reads, with a page.

The output is the methodology given, whole, with its charge anti_procyclicality on that period (`start`, `end`): a period is a published number of a methodology, and a new one is a new version. Where the methodology has no such charge one is added: a quarter of the weight on the stressed
period, Delegated Regulation (EU) 153/2013, article 28(1)(b). The same days serve a regime of correlations (`[[model.correlation_regimes]]`) and are printed. Verified: tests/end_to_end/test_calibrate_stressed_period.py.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from upm_gpu.calibrate.estimates import estimate_lines, estimate_row
from upm_gpu.errors import CalibrationError
from upm_gpu.fits.output import history_provenance, write_output
from upm_gpu.fits.stressed_window import FEW_BEYOND, StressedWindow, Window, equal_values, find_stressed

CHARGE = "anti_procyclicality"
TOOLS = ("stressed_weight", "stress_var")
PERCENT = 100.0


@dataclass(frozen=True)
class Request:
    """What the command was asked for."""

    history: str
    out: Path
    methodology: str = "configs/methodology/house_v1.toml"
    portfolio: str = ""
    window: int = 250
    measure: str = "expected_shortfall"
    level: float = 0.975
    horizon: int = 1
    since: str = ""
    page: Path | None = None
    command: tuple[str, ...] = ()


def calibrate_stressed_period(request: Request) -> dict[str, Any]:
    """Find, write, and return a summary of plain values. Raises `CalibrationError` UPM-CA-235 (an unknown choice), 236 (too short), `InputError` for the methodology."""
    from upm_gpu.calibrate.covariance import price_series
    from upm_gpu.calibrate.parameter_file import read_history
    from upm_gpu.calibrate.series import asset_series
    from upm_gpu.shipped import find_file

    frame, time = read_history(request.history)
    if request.since:
        frame = frame[frame["timestamp"] >= _day(request.since)]
    names = price_series(frame)
    values = _values(request.portfolio) if request.portfolio else equal_values(names or [""])
    found = find_stressed({a: asset_series(frame, a, time) for a in names}, values, request.window, request.measure, request.level, request.horizon)  # type: ignore[arg-type]
    start, end = _days(found.stressed)
    provenance = history_provenance(request.history, request.command) | {"portfolio": ", ".join(f"{a} {v:g}" for a, v in values.items()), "measure": _what(request), "window": request.window}
    base = find_file(request.methodology)
    text, how = with_period(base.read_text(encoding="utf-8"), start, end, [f"Stressed period {start} to {end}: of all windows of {request.window} daily losses the one with the largest {_what(request)},",
                                                                          f"{found.stressed.measure:.6g} of what is held ({provenance['portfolio']}); history {provenance['source']}."])
    write_output(request.out, text)
    _readable(request.out)
    rows = _rows(found)
    summary = {"out": str(request.out), "methodology": how, "start": start, "end": end, "measure": _what(request), "portfolio": values, "windows": int(np.count_nonzero(np.isfinite(found.measure))), "losses": found.losses,
               "parameters": rows, "warnings": _warnings(found, request)}
    if request.page is not None:
        _page(request.page, found, summary, provenance)
    return summary


def render_stressed_period(summary: Mapping[str, Any]) -> str:
    """The summary as a table a person reads."""
    head = f"stressed period {summary['start']} to {summary['end']}: largest {summary['measure']} of {summary['windows']} windows"
    return "\n".join([head, *estimate_lines(summary["parameters"]), *summary["warnings"], f"{summary['out']}: {summary['methodology']}"])


def with_period(text: str, start: str, end: str, why: Sequence[str]) -> tuple[str, str]:
    """A methodology's text with the period in its charge, a new version; and what was done, in words. Comments of everything else stay."""
    lines = text.splitlines()
    blocks = [i for i, line in enumerate(lines) if re.match(r"\s*\[", line)] + [len(lines)]
    place = next((i for i, line in enumerate(lines) if re.match(rf'\s*name\s*=\s*"{CHARGE}"', line)), None)
    told = [f"# {line}" for line in why]
    if place is None:
        kept = [line for line in lines if not re.match(r"\s*charges\s*=\s*\[\s*\]", line)]
        made = [*kept, "", "[[charges]]", *told, "# A quarter of the weight on the stressed period: Delegated Regulation (EU) 153/2013, article 28(1)(b).", f'name = "{CHARGE}"', f'tool = "{TOOLS[0]}"', "weight = 0.25", f'start = "{start}"', f'end = "{end}"']
        how = f"a charge {CHARGE} on the period is added"
    else:
        first, last = max(b for b in blocks if b <= place), min(b for b in blocks if b > place)
        own = [line for line in lines[first + 1 : last] if not re.match(r"\s*(start|end)\s*=", line)]
        tool = next((m.group(1) for line in own if (m := re.match(r'\s*tool\s*=\s*"(\w+)"', line))), "floor")
        if tool not in TOOLS:
            own = [line for line in own if not re.match(r"\s*tool\s*=", line)]
            own.insert(next(i for i, line in enumerate(own) if CHARGE in line) + 1, f'tool = "{TOOLS[0]}"')
        at = next(i for i, line in enumerate(own) if re.match(r"\s*tool\s*=", line)) + 1
        own[at:at] = [f'start = "{start}"', f'end = "{end}"']
        made = [*lines[: first + 1], *told, *own, *lines[last:]]
        how = f"the period of its charge {CHARGE} is new" if tool in TOOLS else f"its charge {CHARGE} has tool {TOOLS[0]} on the period in the place of {tool}"
    version = next((i for i, line in enumerate(made) if re.match(r"version\s*=", line)), None)
    if version is not None:
        made[version] = re.sub(r'"([^"]*)"', rf'"\1, stressed {start}"', made[version], count=1)
    return "\n".join(made) + "\n", how


def _readable(path: Path) -> None:
    """The file that was written, read as a run reads it; taken away again where that refuses."""
    from upm_gpu.errors import InputError
    from upm_gpu.margin.methodology import load_methodology

    try:
        load_methodology(path)
    except InputError:
        path.unlink()
        raise


def _values(text: str) -> dict[str, float]:
    """`BTC:1,ETH:-0.5` as values whose sizes add up to 1."""
    found = dict[str, float]()
    for part in text.split(","):
        asset, _, value = part.strip().partition(":")
        try:
            found[asset.strip()] = float(value) if value else 1.0
        except ValueError:
            raise CalibrationError("UPM-CA-235", f"--portfolio {part.strip()!r}: {value!r} is not a number. Give a choice such as BTC:1,ETH:-0.5.") from None
    gross = sum(abs(v) for v in found.values())
    if not 0.0 < gross < float("inf"):
        raise CalibrationError("UPM-CA-235", f"--portfolio {text!r} holds nothing, or a value that is not finite. Give a choice such as BTC:1,ETH:-0.5.")
    return {a: v / gross for a, v in found.items()}


def _day(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise CalibrationError("UPM-CA-235", f"--since {text!r} is not a day. Give a choice such as 2007-01-01.") from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _days(window: Window) -> tuple[str, str]:
    """First and last day as a period names them: from 00:00Z of the first to 24:00Z of the last."""
    start, end = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=round(d * 86_400.0)) for d in (window.first, window.last))
    midnight = end.hour == end.minute == end.second == 0
    return start.date().isoformat(), (end - timedelta(days=1) if midnight else end).date().isoformat()


def _what(request: Request) -> str:
    days = "" if request.horizon == 1 else f" over {request.horizon} closes"
    return f"{request.measure.replace('_', ' ')}{'' if request.measure == 'volatility' else f' at {100.0 * request.level:g} %'}{days}"


def _rows(found: StressedWindow) -> dict[str, dict[str, Any]]:
    rows = {"stressed": estimate_row(found.stressed.measure, found.stressed.error, found.bound), "today": estimate_row(found.today.measure, found.today.error)}
    if found.runner_up is not None:
        rows["worst window apart from it"] = estimate_row(found.runner_up.measure, found.runner_up.error)
    rows["median of all windows"] = estimate_row(float(np.nanmedian(found.measure)), float("nan"))
    rows["largest loss inside"] = estimate_row(found.stressed.worst, float("nan"))
    return rows


def _warnings(found: StressedWindow, request: Request) -> list[str]:
    lines = []
    if found.bound:
        lines.append(f"UPM-CA-237 the stressed window is the {'first' if found.bound == 'lower' else 'last'} of the history: worse may lie {'before it' if found.bound == 'lower' else 'ahead'}")
    beyond = request.window * (1.0 - request.level)
    if request.measure != "volatility" and beyond < FEW_BEYOND:
        lines.append(f"UPM-CA-237 {beyond:.2g} losses of the window lie beyond the level: its measure is the size of a day or two, and its standard error unreliable")
    r = found.runner_up
    if r is not None and found.stressed.measure - r.measure < 2.0 * np.hypot(found.stressed.error, r.error):
        lines.append(f"UPM-CA-237 the window {' to '.join(_days(r))} is as bad within two standard errors ({r.measure:.4g} against {found.stressed.measure:.4g}): the choice between them is chance")
    return lines


def _page(path: Path, found: StressedWindow, summary: Mapping[str, Any], provenance: Mapping[str, Any]) -> None:
    from upm_gpu.report.study_charts import window_svg
    from upm_gpu.report.study_page import Part, Study, Table, render_study

    s, t = found.stressed, found.today
    named = [("stressed", s), ("today", t), *([("worst apart from it", found.runner_up)] if found.runner_up is not None else [])]
    table = Table("Windows, in percent of what is held, long and short", ("Window", "first day", "last day", "measure", "std. error", "largest loss"), [(n, *_days(w), PERCENT * w.measure, PERCENT * w.error, PERCENT * w.worst) for n, w in named])
    chart = (summary["measure"].capitalize(), "of the window that ends on the day; shaded: the stressed window", window_svg(found.day, found.measure, s.first, s.last, "measure of every window"))
    write_output(path, render_study(Study("Stressed period of a history", (f"{summary['windows']} windows of {provenance['window']} losses", f"portfolio {provenance['portfolio']}"),
                            f"{summary['start']} to {summary['end']}: {summary['measure']} {PERCENT * s.measure:.1f} %, {s.measure / t.measure:.1f} times today's.",
                            f"The median of all windows is {PERCENT * float(np.nanmedian(found.measure)):.1f} %. In the methodology written, {summary['methodology']}.",
                            (Part("The measure over time", "", (chart,), (table,)),), summary["parameters"], "Losses are taken as independent; the largest of many windows is too large by chance as well.", summary["warnings"], provenance)))


__all__ = ["Request", "calibrate_stressed_period", "render_stressed_period", "with_period"]
