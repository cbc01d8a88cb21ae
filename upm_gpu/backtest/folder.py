"""`upm backtest`: from a configuration to the pieces of its walk and the folder they end in (`work.py`), and what the command prints.

Verified by tests/end_to_end/test_backtest_command.py and tests/faults/test_backtest_killed.py.
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from upm_gpu.backtest.config import load_backtest
from upm_gpu.backtest.iso20022 import Money
from upm_gpu.backtest.rolling import columns_of, gathered, piece, walks
from upm_gpu.backtest.summary import GOAL_DAYS, GOAL_LEVEL, goals, league, summarise
from upm_gpu.backtest.work import DAYS_FOLDER, PAGE, SUMMARY, Gathered, Work, carry_out, pa_table, sha
from upm_gpu.errors import InputError
from upm_gpu.run.pieces import read_piece, write_piece
from upm_gpu.shipped import find_file
from upm_gpu.strict_toml import read_toml

if TYPE_CHECKING:
    import pandas as pd


def run_backtest(path: Path, out: Path | None = None, quiet: bool = False, command: tuple[str, ...] = ("upm", "backtest")) -> dict[str, Any]:
    """`upm backtest`: read, walk, test, write; returns the summary that `--json` prints. Raises UsageError for a folder in use, InputError and CalibrationError for what cannot be
    back-tested, RunInterrupted (exit 8) on request. A configuration with a [chains] table walks over option chains."""
    from upm_gpu.backend.select import choose
    from upm_gpu.backtest.chain_folder import chain_work

    if "chains" in read_toml(find_file(path), "back-test")[0]:
        return carry_out(chain_work(path, out, quiet, command), quiet)
    config, text = load_backtest(path, out)
    file = history_file(config.history.path)
    history = read_closes(file)
    choice = choose(config.compute.device, "double", config.compute.threads)
    if choice.warning and not quiet:
        print(choice.warning, file=sys.stderr)
    found, proxies, warnings = walks(config, history)
    for warning in warnings if not quiet else ():
        print(warning, file=sys.stderr)
    workers = config.compute.threads or os.cpu_count() or 1
    alone = replace(choice, threads=1) if workers > 1 else choice  # a thread a piece, and none within
    target, level = Path(config.output.path), GOAL_LEVEL if GOAL_LEVEL in config.margin.levels else config.margin.levels[0]
    width = columns_of(config)

    def place(n: int, first: int) -> Path:
        return target / DAYS_FOLDER / f"{n:03d}-{first:05d}.parquet"

    def make(n: int, first: int, last: int) -> None:
        rows = (last - first) * len(found[n].held.names)
        if read_piece(place(n, first), rows) is None:
            values = piece(found[n], first, last, config, alone).reshape(rows, width)
            write_piece(place(n, first), pa_table({f"{k:02d}": values[:, k] for k in range(width)}))

    def values_of(n: int, first: int, last: int) -> NDArray[np.float64]:
        table = read_piece(place(n, first))
        assert table is not None, "every piece was made before"
        return np.stack([c.to_numpy() for c in table.columns], axis=1).reshape(last - first, len(found[n].held.names), width)

    def gather() -> Gathered:
        walked = gathered(config, found, [[values_of(n, *p) for p in w.pieces] for n, w in enumerate(found)], proxies, warnings)
        summary = summarise(walked.table, config.scenarios.seed, walked.proxies)
        return Gathered(walked.table, summary, league(walked.table, summary, level), goals(summary))

    manifest = {"seed": config.scenarios.seed, "scenarios": config.scenarios.count, "horizon_days": config.windows.horizon_days, "levels": list(config.margin.levels), "league_level": level,
                "losses": f"{config.windows.horizon_days}-day losses", "goal_note": f"Asked of portfolios with at least {GOAL_DAYS:,} test days.",
                "device": choice.name, "device_reason": choice.reason, "precision": "double", "inputs": {"config.toml": sha(text.encode()), f"history/{file.name}": sha(file.read_bytes()),
                           **{f"methodology/{i}": sha(find_file(m.methodology).read_bytes()) for i, m in enumerate(config.models) if m.methodology}},
                "counts": {"models": len(config.models), "estimates": sum(len(w.estimates) for w in found)}, "proxies": list(proxies), "warnings": list(warnings)}
    pieces = [(last - first, f"{w.past.group.name}, {w.entry.name}", partial(make, n, first, last)) for n, w in enumerate(found) for first, last in w.pieces]
    return carry_out(Work(target, text, manifest, pieces, (DAYS_FOLDER,), gather, command, config.output.report, Money(config.money.currency, config.money.notional), workers), quiet)


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
        raise InputError("UPM-BT-014", f"history {path!a}: there is no such file, folder with a history, or sample. Give one, such as sample:coins.")
    return found


def read_closes(file: Path) -> pd.DataFrame:
    """timestamp, asset, close of a history file."""
    from upm_gpu.calibrate.parameter_file import read_history

    frame, _ = read_history(str(file))
    closes: pd.DataFrame = frame
    return closes


def lines(summary: dict[str, Any]) -> str:
    """What the command prints: the league and the goals in words."""
    said = [f"{summary['counts']['portfolios']} portfolios, {summary['counts']['days']} days, {summary['counts']['models']} models in {summary['seconds']:.1f} s"]
    for i, m in enumerate(summary["league"], 1):
        p = "" if m["diebold_mariano_p"] is None else f", Diebold-Mariano p {m['diebold_mariano_p']:.2g}"
        said.append(f"{i}. {m['model']}: score {m['joint_score']:.4f}, margin covers {100 * m['coverage']:.2f} % of days{p}")
    said += [f"{'met   ' if g['met'] else 'MISSED'} {g['model']}: {g['goal']} on {100 * g['share']:.0f} % of {g['portfolios']} portfolios, asked {100 * g['asked']:.0f} %" for g in summary["goals"]]
    return "\n".join([*said, f"{summary['out']}/{PAGE if PAGE in summary['files'] else SUMMARY}"])


__all__ = ["history_file", "lines", "read_closes", "run_backtest"]
