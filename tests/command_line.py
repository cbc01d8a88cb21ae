"""The command line for tests: in this process (quick) or in one of its own (real), and a small run to give it."""

from __future__ import annotations

import math
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import pytest
from small_book import write

POSITIONS = "account_id,instrument_id,quantity\nA,BTC-C70,3\nA,BTC-P60,-5\nB,ETH-C20L,40\nC,BTC-FUT,-50\nC,BTC-PERP,100\nD,ETH-PERP,4000\nD,BTC-C75D,-2\n"
COLLATERAL = "account_id,asset,quantity\nA,BTC,1\nB,USD,9\nC,USD,20\nD,ETH,0.1\n"
CONFIG = """schema_version = 1
[book]
path = "book"
[market]
path = "market"
[model]
horizons = ["1d", "2d"]
[scenarios]
count = 4096
seed = 7
"""
PROMISED = ("margin.parquet", "margin.csv", "contributions.parquet", "worst_scenarios.parquet", "calls.csv", "rejects.csv", "greeks.parquet", "portfolio_haircuts.parquet")
"""files of a run folder that are equal to the byte for equal inputs"""
CODED = re.compile(r"UPM-[A-Z]{2}-\d{3} \S")


def history() -> str:
    """Ninety days of four series without a random number: sines of incommensurate frequencies on the log."""
    rows = ["date,asset,close"]
    for i in range(90):
        day = (date(2025, 11, 7) + timedelta(days=i)).isoformat()
        for n, (asset, level, size) in enumerate((("BTC", 70_000.0, 0.03), ("ETH", 2_000.0, 0.04), ("BTC.IV30", 0.55, 0.05), ("ETH.IV30", 0.7, 0.05))):
            rows.append(f"{day},{asset},{level * math.exp(size * math.sin(12.9898 * (i + 1) * (n + 1) + n)):.6f}")
    return "\n".join(rows) + "\n"


def small_run(folder: Path, positions: str = POSITIONS, config: str = CONFIG, market: dict[str, str] | None = None) -> Path:
    """A folder with book/, market/ and run.toml: four accounts, nine instruments, one block of scenarios, all three statuses."""
    write(folder, positions, COLLATERAL, market={"history.csv": history(), **(market or {})})
    (folder / "run.toml").write_text(config)
    return folder


@dataclass(frozen=True)
class Said:
    """How a command ended and what it said."""

    code: int
    out: str
    err: str

    def refused(self, code: int, error: str, *words: str) -> None:
        """It ended with `code`, nothing on stdout, one message that begins with the error's code and holds the words."""
        assert (self.code, self.out) == (code, ""), self
        assert self.err.startswith(f"{error} "), self.err
        assert "Traceback" not in self.err
        for word in words:
            assert word in self.err, self.err


Command = Callable[..., Said]
"""the fixture `upm`: its arguments are those of the command line"""


def environment(**changes: str | None) -> dict[str, str]:
    """This process' environment with the import path of the tests; None removes a variable."""
    found = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    for name in ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "TERM", "UPM_DEBUG", "PYTHONIOENCODING"):
        found.pop(name, None)
    for name, value in changes.items():
        found.pop(name, None)
        if value is not None:
            found[name] = value
    return found


def upm(*arguments: object, cwd: Path | None = None, env: dict[str, str] | None = None, timeout: float = 300.0) -> Said:
    """`upm ARGUMENTS` in a process of its own, without a terminal."""
    done = subprocess.run([sys.executable, "-P", "-m", "upm_gpu", *map(str, arguments)], cwd=cwd, env=env or environment(), stdin=subprocess.DEVNULL,
                          capture_output=True, timeout=timeout)
    said = Said(done.returncode, done.stdout.decode(), done.stderr.decode())
    assert "Traceback" not in said.err, said.err
    return said


def here(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: object) -> Said:
    """`upm ARGUMENTS` through the same entry point in this process."""
    from upm_gpu.cli import main

    monkeypatch.setattr(sys, "argv", ["upm", *map(str, arguments)])
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main()
    shown = capsys.readouterr()
    return Said(int(ended.value.code or 0), shown.out, shown.err)
