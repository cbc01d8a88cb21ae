"""The folder a back-test leaves: days, summary, league, goals, manifest, page and checksums; all of it or nothing.

Everything is written into a folder of another name beside the one asked for, which takes its name when all is there: a back-test that is stopped leaves no half result.
`upm verify` checks it as it checks a run. Verified by tests/end_to_end/test_backtest_command.py.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from upm_gpu.backtest.config import BacktestConfig, load_backtest
from upm_gpu.backtest.rolling import walk
from upm_gpu.backtest.summary import GOAL_LEVEL, goals, league, summarise
from upm_gpu.errors import InputError
from upm_gpu.progress import told
from upm_gpu.run import durable
from upm_gpu.run.finish import sums_bytes
from upm_gpu.run.folder import FORMAT, MANIFEST, SUMS, check_target, json_bytes
from upm_gpu.run.manifest import kernels_sha256, versions

if TYPE_CHECKING:
    import pandas as pd

DAYS, SUMMARY, LEAGUE, GOALS, CONFIG, PAGE = "backtest.parquet", "summary.csv", "league.csv", "goals.json", "config.toml", "backtest.html"


def run_backtest(path: Path, out: Path | None = None, quiet: bool = False, command: tuple[str, ...] = ("upm", "backtest")) -> dict[str, Any]:
    """`upm backtest`: read, walk, test, write; returns the summary that `--json` prints. Raises UsageError for a folder in use, InputError and CalibrationError for what cannot be back-tested."""
    from upm_gpu.backend.select import choose

    started = time.perf_counter()
    config, text = load_backtest(path, out)
    target = Path(config.output.path)
    check_target(target)
    file = history_file(config.history.path)
    history = read_closes(file)
    choice = choose(config.compute.device, "double", config.compute.threads)
    if choice.warning and not quiet:
        print(choice.warning, file=sys.stderr)
    walked = walk(config, history, choice, None if quiet else told("days"))
    for warning in walked.warnings if not quiet else ():
        print(warning, file=sys.stderr)
    summary = summarise(walked.table, config.scenarios.seed, walked.proxies)
    level = GOAL_LEVEL if GOAL_LEVEL in config.margin.levels else config.margin.levels[0]
    ranking, reached = league(walked.table, summary, level), goals(summary)
    seconds = time.perf_counter() - started
    manifest = {"format": FORMAT, "kind": "backtest", "upm_gpu": versions()["upm_gpu"], "libraries": versions(), "kernels_sha256": kernels_sha256(), "command": list(command),
                "seed": config.scenarios.seed, "scenarios": config.scenarios.count, "horizon_days": config.windows.horizon_days, "levels": list(config.margin.levels), "league_level": level,
                "device": choice.name, "device_reason": choice.reason, "precision": "double", "inputs": {"config.toml": _sha(text.encode()), f"history/{file.name}": _sha(file.read_bytes())},
                "counts": {"days": int(walked.table["date"].nunique()), "rows": len(walked.table), "portfolios": int(walked.table["portfolio"].nunique()), "models": len(config.models),
                           "estimates": walked.estimates}, "timings": {"total": round(seconds, 3)}, "proxies": list(walked.proxies), "warnings": list(walked.warnings)}
    contents = {DAYS: _parquet(walked.table), SUMMARY: _csv(summary), LEAGUE: _csv(ranking), GOALS: json_bytes({"goals": reached}), CONFIG: text.encode(), MANIFEST: json_bytes(manifest)}
    written = write_folder(target, contents, config.output.report)
    return {"out": str(target), "files": written, "counts": manifest["counts"], "seconds": round(seconds, 2), "league": _plain(ranking), "goals": reached}


def history_file(path: str) -> Path:
    """The file of closes behind a path: itself, `history.*` in a folder, or that of sample:NAME. Raises InputError UPM-BT-014."""
    from upm_gpu.shipped import package_file

    found = package_file("sample") / path.removeprefix("sample:") if path.startswith("sample:") else Path(path).expanduser()
    for folder in (found, found / "history", found / "market"):
        if folder.is_dir():
            files = sorted(p for p in folder.glob("history.*") if p.is_file())
            if files:
                return files[0]
    if not found.is_file():
        raise InputError("UPM-BT-014", f"history.path {path!a}: there is no such file, folder with a history, or sample. Give one, such as sample:coins.")
    return found


def read_closes(file: Path) -> pd.DataFrame:
    """timestamp, asset, close of a history file."""
    from upm_gpu.calibrate.parameter_file import read_history

    frame, _ = read_history(str(file))
    closes: pd.DataFrame = frame
    return closes


def write_folder(target: Path, contents: dict[str, bytes], report: bool) -> list[str]:
    """Write the files, the page from them, and the checksums; returns the names. The folder appears when it is whole."""
    from upm_gpu.report.backtest_page import render_backtest

    target.parent.mkdir(parents=True, exist_ok=True)
    made = target.parent / f".{target.name}.{os.getpid()}{durable.PART_SUFFIX}"
    durable.make_folder(made)
    try:
        hashes = {name: durable.write_file(made / name, content) for name, content in contents.items()}
        if report:
            hashes[PAGE] = durable.write_file(made / PAGE, render_backtest(made))
        durable.write_file(made / SUMS, sums_bytes(hashes))
        with contextlib.suppress(FileNotFoundError):
            target.rmdir()  # an empty folder asked for by name
        os.replace(made, target)
        durable.sync_folder(target.parent)
    except OSError as error:
        raise durable.storage_error(error, target) from None
    finally:
        if made.exists():
            shutil.rmtree(made, ignore_errors=True)
    return [*sorted(hashes), SUMS]


def _sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _parquet(table: pd.DataFrame) -> bytes:
    import pyarrow as pa

    from upm_gpu.run.results import parquet_bytes

    return bytes(parquet_bytes(pa.Table.from_pandas(table, preserve_index=False)))


def _csv(table: pd.DataFrame) -> bytes:
    from upm_gpu.domain.text import csv_text

    return csv_text(list(table), ([None if isinstance(v, float) and not np.isfinite(v) else v for v in row] for row in table.itertuples(index=False))).encode()


def _plain(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [{k: None if isinstance(v, float) and not np.isfinite(v) else v for k, v in row.items()} for row in table.to_dict("records")]


def lines(summary: dict[str, Any]) -> str:
    """What the command prints: the league and the goals in words."""
    said = [f"{summary['counts']['portfolios']} portfolios, {summary['counts']['days']} days, {summary['counts']['models']} models in {summary['seconds']:.1f} s"]
    for i, m in enumerate(summary["league"], 1):
        p = "" if m["diebold_mariano_p"] is None else f", Diebold-Mariano p {m['diebold_mariano_p']:.2g}"
        said.append(f"{i}. {m['model']}: score {m['joint_score']:.4f}, margin covers {100 * m['coverage']:.2f} % of days{p}")
    said += [f"{'met   ' if g['met'] else 'MISSED'} {g['model']}: {g['goal']} on {100 * g['share']:.0f} % of {g['portfolios']} portfolios, asked {100 * g['asked']:.0f} %" for g in summary["goals"]]
    return "\n".join([*said, f"{summary['out']}/{PAGE if PAGE in summary['files'] else SUMMARY}"])


__all__ = ["BacktestConfig", "history_file", "lines", "read_closes", "run_backtest", "write_folder"]
