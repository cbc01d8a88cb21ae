"""`upm responsiveness`: finished runs of several days as one history of margins, its figures by account and in total, and the one-year means of the core that an anti-procyclicality buffer reads."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from upm_gpu.errors import InputError, UsageError
from upm_gpu.margin.responsiveness import RISE_DAYS, largest_rise, one_year_mean, peak_to_trough
from upm_gpu.report.read import Columns, read_table
from upm_gpu.run.verify import read_manifest, verify_run

TOTAL = "(all accounts)"
SECONDS_A_DAY = 86_400.0
LISTED = 10
"""accounts on the terminal"""


@dataclass(frozen=True)
class MarginHistory:
    """Margins of days by accounts, cores of days by units; NaN where there was none. Reporting currency."""

    times: tuple[datetime, ...]
    """(D,) valuation times, ascending"""
    accounts: tuple[str, ...]
    initial: NDArray[np.float64]
    """(D, A)"""
    units: tuple[str, ...]
    core: NDArray[np.float64]
    """(D, U) before charges: what a buffer comes on top of"""
    currency: str
    methodologies: tuple[str, ...]
    """that the runs were margined under, each once"""

    @property
    def days(self) -> NDArray[np.float64]:
        """(D,) since the first."""
        return np.array([(t - self.times[0]).total_seconds() / SECONDS_A_DAY for t in self.times])


def read_history(runs: Sequence[Path]) -> MarginHistory:
    """The history of finished runs, each verified first. Raises `UsageError` for fewer than two, `InputError` for two of one time or of different currencies, `IntegrityError` for a changed folder."""
    if len(runs) < 2:
        raise UsageError("UPM-RN-072", f"{len(runs)} run is no history. Give the folders of at least two finished runs of different days.")
    found: list[tuple[datetime, str, dict[str, Any], dict[str, float], dict[str, float]]] = []
    for run in runs:
        verify_run(run)
        manifest = read_manifest(run)
        margin = _needed(run, "margin.parquet")
        units = read_table(Path(run) / "margin_by_netting_set.parquet")
        names, core = (margin["account_id"], margin["core"]) if units is None else (units["unit"], units["core"])
        time = datetime.fromisoformat(str(manifest["valuation_time"]).replace("Z", "+00:00"))
        found.append((time, str(run), manifest, dict(zip(margin["account_id"], margin["initial_margin"], strict=True)), dict(zip(names, core, strict=True))))
    found.sort(key=lambda f: f[0])
    for a, b in itertools.pairwise(found):
        if a[0] == b[0]:
            raise InputError("UPM-RN-073", f"{a[1]} and {b[1]} are both of {a[0].isoformat()}: a history has one margin a time. Leave one out.")
    currencies = sorted({str(f[2]["reporting_currency"]) for f in found})
    if len(currencies) > 1:
        raise InputError("UPM-RN-074", f"the runs report in {', '.join(currencies)}: their margins cannot be compared. Give runs of one reporting currency.")
    accounts, units_seen = tuple(sorted({name for f in found for name in f[3]})), tuple(sorted({name for f in found for name in f[4]}))
    return MarginHistory(tuple(f[0] for f in found), accounts, _matrix([f[3] for f in found], accounts), units_seen, _matrix([f[4] for f in found], units_seen), currencies[0],
                         tuple(dict.fromkeys(str(f[2]["methodology"]) for f in found)))


def _needed(run: Path, name: str) -> Columns:
    table = read_table(Path(run) / name)
    if table is None:
        raise InputError("UPM-RN-075", f"{run} has no {name}: it is no margin run. Give folders that `upm run` wrote.")
    return table


def _matrix(rows: Sequence[dict[str, float]], names: Sequence[str]) -> NDArray[np.float64]:
    return np.array([[row.get(name, np.nan) for name in names] for row in rows], np.float64)


def figures(history: MarginHistory) -> dict[str, NDArray[Any]]:
    """Columns of the table: the total first, then every account."""
    total = np.nansum(history.initial, axis=1, keepdims=True)
    margin = np.concatenate([total, history.initial], axis=1)
    known = np.where(np.isfinite(margin), margin, np.nan)
    return {"account_id": np.array([TOTAL, *history.accounts], object), "days": np.sum(np.isfinite(known), axis=0), "smallest": np.fmin.reduce(known, axis=0), "largest": np.fmax.reduce(known, axis=0),
            "peak_to_trough": peak_to_trough(margin), **{f"largest_rise_{n}d": largest_rise(history.days, margin, float(n)) for n in RISE_DAYS}}


def means(history: MarginHistory) -> dict[str, NDArray[Any]]:
    """Columns of a book's table `margin_means`: units whose core of the last year is known."""
    mean, count = one_year_mean(history.days, history.core)
    kept = np.isfinite(mean)
    return {"unit": np.array(history.units, object)[kept], "one_year_mean": mean[kept], "days": count[kept]}


def responsiveness(runs: Sequence[Path], out: Path | None, means_file: Path | None) -> tuple[dict[str, Any], str]:
    """What the command prints, as JSON and as text; writes the files asked for."""
    for file in (out, means_file):
        if file is not None and (file.is_dir() or not file.resolve().parent.is_dir()):
            raise UsageError("UPM-CF-072", f"{file}: not a file that can be written. Give a file name in a folder that exists.")
    history = read_history(runs)
    table, mean = figures(history), means(history)
    for file, columns in ((out, table), (means_file, mean)):
        if file is not None:
            _write(file, columns)
    rows = [{name: _plain(column[i]) for name, column in table.items()} for i in range(len(table["account_id"]))]
    summary = {"runs": len(history.times), "first": history.times[0].isoformat(), "last": history.times[-1].isoformat(), "currency": history.currency,
               "methodologies": list(history.methodologies), "total": rows[0], "accounts": rows[1:],
               "one_year_means": {str(u): float(m) for u, m in zip(mean["unit"], mean["one_year_mean"], strict=True)}}
    return summary, "\n".join(_lines(summary, history))


def _write(file: Path, columns: dict[str, NDArray[Any]]) -> None:
    from upm_gpu.run.durable import write_file
    from upm_gpu.run.results import csv_bytes

    shown = {name: [None if isinstance(v, float) and not np.isfinite(v) else v for v in column.tolist()] for name, column in columns.items()}
    write_file(file.resolve(), csv_bytes(shown))


def _plain(value: Any) -> Any:
    made = value.item() if isinstance(value, np.generic) else value
    return None if isinstance(made, float) and not np.isfinite(made) else made



def _lines(summary: dict[str, Any], history: MarginHistory) -> list[str]:
    """The total and the accounts whose margin moved most."""
    ranked = sorted(summary["accounts"], key=lambda r: (-(r["peak_to_trough"] or 0.0), r["account_id"]))
    said = [f"{summary['runs']} runs from {summary['first']} to {summary['last']}, methodology {', '.join(history.methodologies)}, {history.currency}"]
    if len(history.methodologies) > 1:
        said.append("The methodology changed on the way: part of what moves is its own.")
    width = max(len(str(r["account_id"])) for r in (summary["total"], *ranked[:LISTED]))
    said.append(f"{'account':<{width}} {'smallest':>16} {'largest':>16} {'peak/trough':>12}" + "".join(f" {f'{n}-day rise':>12}" for n in RISE_DAYS))
    for r in (summary["total"], *ranked[:LISTED]):
        rises = "".join(f" {_share(r[f'largest_rise_{n}d']):>12}" for n in RISE_DAYS)
        ratio = "" if r["peak_to_trough"] is None else f"{r['peak_to_trough']:.3f}"
        said.append(f"{r['account_id']:<{width}} {_money(r['smallest']):>16} {_money(r['largest']):>16} {ratio:>12}{rises}")
    if len(ranked) > LISTED:
        said.append(f"{len(ranked) - LISTED} more accounts; --out FILE.csv holds them all.")
    return said


def _share(value: float | None) -> str:
    return "" if value is None else f"{100.0 * value:.1f} %"


def _money(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}"
