"""The folder a back-test leaves, in pieces that survive a stop.

    plan.json             what was asked: program, configuration, SHA-256 of every input; a folder with another plan is never touched
    config.toml           the configuration as given
    days/ [series/]       what every stretch of days made, file by file
    backtest.parquet summary.csv league.csv goals.json      every day, every test, the ranking, the goals
    auth066/ auth066.csv  the months as ISO 20022 messages (`iso20022.py`), and which month each entry is
    manifest.json backtest.html SHA256SUMS                  the last one last

The same command goes on with a folder whose plan is the same (`run/pieces.py`). `upm verify` checks it as it checks a run.
Verified by tests/end_to_end/test_backtest_command.py, tests/faults/test_backtest_killed.py.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from upm_gpu.backtest.iso20022 import FIELDS, FOLDER, INDEX, Money, messages, monthly_results
from upm_gpu.backtest.ranked_laws import LAW
from upm_gpu.progress import silent, told
from upm_gpu.run import durable
from upm_gpu.run.finish import sums_bytes
from upm_gpu.run.folder import FORMAT, MANIFEST, PLAN, SUMS, json_bytes
from upm_gpu.run.lock import LOCK
from upm_gpu.run.manifest import identity, versions
from upm_gpu.run.pieces import opened, work_through

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

DAYS, SUMMARY, LEAGUE, GOALS, CONFIG, PAGE = "backtest.parquet", "summary.csv", "league.csv", "goals.json", "config.toml", "backtest.html"
DAYS_FOLDER, SERIES_FOLDER = "days", "series"


@dataclass(frozen=True)
class Gathered:
    """What the pieces come to; the table may hold laws of days, which the folder's does not."""

    table: pd.DataFrame
    summary: pd.DataFrame
    league: pd.DataFrame
    goals: list[dict[str, Any]]


@dataclass(frozen=True)
class Work:
    """A back-test before it is walked."""

    target: Path
    text: str
    """of its configuration"""
    manifest: Mapping[str, Any]
    """what is known before; its inputs and device make the plan"""
    pieces: Sequence[tuple[int, str, Callable[[], None]]]
    """days, what they are, how they are made"""
    folders: tuple[str, ...]
    gather: Callable[[], Gathered]
    command: tuple[str, ...]
    report: bool
    money: Money
    workers: int = 1
    """threads that make pieces; above 1 only where pieces need nothing of one another"""


def carry_out(work: Work, quiet: bool) -> dict[str, Any]:
    """Make every piece that is not there, then the folder's tables; returns what `--json` prints. Raises UsageError UPM-BT-016 for a folder of another back-test, RunInterrupted UPM-BT-017."""
    started, target = time.perf_counter(), work.target
    plan = json_bytes({"format": FORMAT, "kind": "backtest", **identity(), "inputs": work.manifest["inputs"], "device": work.manifest["device"], "precision": work.manifest["precision"]})
    with opened(target, plan, {CONFIG: work.text.encode()}, ("UPM-BT-016", "back-test")):
        if not (target / SUMS).is_file():
            for folder in work.folders:
                durable.make_folder(target / folder)
            work_through(work.pieces, "UPM-BT-017", "days", silent if quiet else told("days"), work.workers)
            _seal(work, started)
    return _finished(target)


def _seal(work: Work, started: float) -> None:
    """Tables, manifest, page and last the checksums."""
    from upm_gpu.report.backtest_page import render_backtest

    target, made = work.target, work.gather()
    table = made.table.drop(columns=[c for c in LAW if c in made.table])
    counts = {"days": int(table["date"].nunique()), "rows": len(table), "portfolios": int(table["portfolio"].nunique()), **work.manifest["counts"]}
    manifest = {"format": FORMAT, "kind": "backtest", "upm_gpu": versions()["upm_gpu"], "libraries": versions(), **identity(), "command": list(work.command), **work.manifest,
                "counts": counts, "timings": {"total": round(time.perf_counter() - started, 3)}}
    months = monthly_results(table, work.money)
    durable.make_folder(target / FOLDER)
    contents = {DAYS: _parquet(table), SUMMARY: _csv(made.summary), LEAGUE: _csv(made.league), GOALS: json_bytes({"goals": made.goals}), MANIFEST: json_bytes(manifest),
                INDEX: _csv(months[list(FIELDS)]), **messages(months)}
    hashes = {name: durable.sha256_of(target / name) for name in (PLAN, CONFIG)}
    for folder in work.folders:
        hashes |= {f"{folder}/{p.name}": durable.sha256_of(p) for p in sorted((target / folder).glob("*.parquet"))}
    hashes |= {name: durable.write_file(target / name, content) for name, content in contents.items()}
    if work.report:
        hashes[PAGE] = durable.write_file(target / PAGE, render_backtest(target))
    durable.write_file(target / SUMS, sums_bytes(hashes))


def _finished(target: Path) -> dict[str, Any]:
    """What a finished back-test says of itself."""
    from upm_gpu.report.read import read_rows

    manifest, found = json.loads((target / MANIFEST).read_bytes()), json.loads((target / GOALS).read_bytes())
    ranking = [{k: v if k == "model" else None if v == "" else float(v) for k, v in row.items()} for row in read_rows(target / LEAGUE) or []]
    return {"out": str(target), "files": sorted(str(p.relative_to(target)) for p in target.rglob("*") if p.is_file() and p.name != LOCK), "counts": manifest["counts"],
            "seconds": manifest["timings"]["total"], "league": ranking, "goals": found["goals"]}


def sha(content: bytes) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def pa_table(columns: Mapping[str, Any]) -> pa.Table:
    """Columns as a table."""
    import pyarrow as pa

    return pa.table(dict(columns))


def _parquet(table: pd.DataFrame) -> bytes:
    import pyarrow as pa

    from upm_gpu.run.results import parquet_bytes

    return bytes(parquet_bytes(pa.Table.from_pandas(table, preserve_index=False)))


def _csv(table: pd.DataFrame) -> bytes:
    from upm_gpu.domain.text import csv_text

    return csv_text(list(table), ([None if isinstance(v, float) and not np.isfinite(v) else v for v in row] for row in table.itertuples(index=False))).encode()
