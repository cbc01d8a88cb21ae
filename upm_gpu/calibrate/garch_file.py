"""`upm calibrate garch`: a history to a TOML of recursions, one asset or several; `garch_given.py` reads it back.

Numbers are those of percent returns: mu in percent a day, omega in squared percent; alpha, beta, gamma, nu and skewness have no unit. One asset stands at
the top of the file, several in tables [assets.NAME]. Verified: tests/end_to_end/test_garch_file.py.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from upm_gpu.calibrate.garch_estimate import Estimate, estimate
from upm_gpu.calibrate.garch_likelihood import DISTRIBUTIONS, ERRORS, KEYS, KINDS, MEANS
from upm_gpu.calibrate.residuals import Residuals, garch_residuals
from upm_gpu.calibrate.series import MAX_GAP_DAYS, Series, asset_series, returns
from upm_gpu.domain.clock import session_clock
from upm_gpu.domain.text import instant_text
from upm_gpu.errors import CalibrationError
from upm_gpu.scenario.spec import ClockName
from upm_gpu.strict_toml import toml_value

SCHEMA_VERSION = 1
PERCENT = 100.0
CLOCKS = ("auto", "calendar", "sessions")
METHODS = {"robust": "Bollerslev-Wooldridge (sandwich)", "hessian": "inverse Hessian"}


def calibrate_garch(history: Path | str, out: Path | str, assets: Sequence[str], kind: str = "garch", mean: str = "zero", distribution: str = "normal",
                    errors: str = "robust", clock: str = "auto") -> dict[str, Any]:
    """Fit assets of a history file, market folder or sample, write the file, and return a summary of plain values, and under `residuals` what a page draws.

    Raises `CalibrationError` UPM-CA-103 (no closes), 105 (bad closes), 109 (cannot be written), 122 to 124 and 180 (the fit), 181 (an unknown choice).
    """
    from upm_gpu.calibrate.parameter_file import read_history

    for what, value, known in (("--model", kind, KINDS), ("--mean", mean, MEANS), ("--distribution", distribution, DISTRIBUTIONS), ("--errors", errors, ERRORS),
                               ("--clock", clock, CLOCKS)):
        if value not in known:
            raise CalibrationError("UPM-CA-181", f"{what} {value!r} is not known. Use one of {', '.join(known)}.")
    names = [a.strip() for a in assets if a.strip()]
    if not names or len(set(names)) != len(names):
        raise CalibrationError("UPM-CA-181", f"--asset {','.join(assets)!r}: name one series of the history or several different ones, such as BTC,ETH,BTC.IV30.")
    frame, valuation_time = read_history(str(history))
    fits: dict[str, tuple[Estimate, Series, str]] = {}
    seen: list[Residuals] = []
    for name in names:
        series = asset_series(frame, name, valuation_time)
        used = _clock_of(series) if clock == "auto" else clock
        counted = series if used == "calendar" else Series(session_clock(valuation_time).at(series.time), series.value)
        fits[name] = estimate(PERCENT * returns(counted), kind, mean, distribution, name), series, used  # type: ignore[arg-type]
        seen.append(garch_residuals(name, fits[name][0], PERCENT * returns(counted), series.time[1:][np.diff(counted.time) <= MAX_GAP_DAYS]))
    write_garch(fits, valuation_time, Path(out), errors, Path(str(history)).name)
    return {"out": str(out), "valuation_time": instant_text(valuation_time), "standard_errors": METHODS[errors], "units": "percent",
            "assets": {name: _summary(fit, errors) | {"clock": used} for name, (fit, _, used) in fits.items()}, "residuals": seen}


def _clock_of(series: Series) -> ClockName:
    """`sessions` where less than 2 % of the closes are of a Saturday or Sunday, else `calendar`."""
    # a close at midnight belongs to the day before: half a second back; 1970-01-01 was a Thursday
    weekday = np.floor(series.time - 0.5 / 86_400.0 + 3.0).astype(np.int64) % 7
    return "sessions" if np.mean(weekday >= 5) < 0.02 else "calendar"


def _summary(fit: Estimate, errors: str) -> dict[str, Any]:
    """Value, standard error and t of every parameter estimated; null where there is none."""
    found = fit.robust if errors == "robust" else fit.hessian

    def number(value: float) -> float | None:
        return float(f"{value:.8g}") if math.isfinite(value) else None

    table = {k: {"value": number(fit.value(k)), "standard_error": number(e), "t": number(fit.value(k) / e) if e > 0.0 else None} for k, e in found.items()}
    return {"model": fit.kind, "mean": fit.mean, "distribution": fit.distribution, "parameters": table, "log_likelihood": fit.model.log_likelihood,
            "observations": fit.observations, "persistence": fit.model.persistence, "bounds": list(fit.bounds), "warnings": list(fit.warnings)}


def render_summary(summary: Mapping[str, Any]) -> str:
    """The summary as a table a person reads."""
    lines = []
    for name, fit in summary["assets"].items():
        lines.append(f"{name}: {fit['model']}, mean {fit['mean']}, {fit['distribution']}; {fit['observations']} returns in percent ({fit['clock']}); "
                     f"log-likelihood {fit['log_likelihood']:.4f}; persistence {fit['persistence']:.6f}")
        lines.append(f"  {'':9}{'value':>14}{'std. error':>14}{'t':>10}")
        for key, row in fit["parameters"].items():
            cells = [f"{'-' if row[c] is None else format(row[c], '.6g'):>{w}}" for c, w in (("value", 14), ("standard_error", 14))]
            lines.append(f"  {key:9}{cells[0]}{cells[1]}{'-' if row['t'] is None else format(row['t'], '.2f'):>10}")
        lines += [f"  {w}" for w in fit["warnings"]]
    return "\n".join([*lines, f"standard errors: {summary['standard_errors']}", summary["out"]])


def write_garch(fits: Mapping[str, tuple[Estimate, Series, str]], valuation_time: datetime, path: Path, errors: str, source: str) -> None:
    """The TOML file; numbers in the shortest form that reads back to the same bits."""
    rows = [f"schema_version = {SCHEMA_VERSION}", 'kind = "garch"', f'valuation_time = "{instant_text(valuation_time)}"',
            "# of the returns: mu in percent a day, omega in squared percent", 'units = "percent"']
    for name, (fit, series, clock) in fits.items():
        here = "" if len(fits) == 1 else f"assets.{toml_value(name)}."
        rows += ["", f"[{here[:-1]}]"] if here else [f"asset = {toml_value(name)}"]
        rows += [f'model = "{fit.kind}"', f'mean = "{fit.mean}"', f'distribution = "{fit.distribution}"',
                 "# what a day of variance is: returns are changes over the root of its elapsed days", f'clock = "{clock}"']
        rows += [f"{k} = {toml_value(fit.value(k))}" for k in KEYS]
        rows += [f"log_likelihood = {toml_value(fit.model.log_likelihood)}", "# parameters that ran to the edge of what is allowed; nan: no standard error there",
                 f"bounds = {toml_value(fit.bounds)}"]
        for table, method, values in (("standard_errors", errors, fit.robust if errors == "robust" else fit.hessian), ("standard_errors_robust", "robust", fit.robust),
                                      ("standard_errors_hessian", "hessian", fit.hessian)):
            rows += ["", f"[{here}{table}]", f'method = "{METHODS[method]}"', *(f"{k} = {toml_value(v)}" for k, v in values.items())]
        rows += ["", f"[{here}fit]", f"observations = {fit.observations}", f"persistence = {toml_value(fit.model.persistence)}",
                 "# of the step after the last return, squared percent", f"next_variance = {toml_value(fit.next_variance)}",
                 f'first_close = "{_instant(series.time[0])}"', f'last_close = "{_instant(series.time[-1])}"', f"warnings = {toml_value(fit.warnings)}"]
    rows += ["", "[provenance]", f"history = {toml_value(source)}", 'start = "first variance and presample square: mean of the squared residuals"']
    try:
        path.write_text("\n".join(rows) + "\n", encoding="utf-8", newline="\n")
    except OSError as error:
        raise CalibrationError("UPM-CA-109", f"{path}: cannot be written ({error.strerror}). Give another --out file.") from None


def _instant(days: float) -> str:
    return str(np.datetime64(round(days * 86_400.0), "s")) + "Z"
