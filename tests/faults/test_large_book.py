"""Fault 82 and memory that is not there: a million position rows, and address space cut short. Slow: real processes on a real-sized book."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from upm_gpu.shipped import package_file

pytestmark = pytest.mark.slow

ACCOUNTS, LINES = 10_000, 100
MEMORY = 1.6e9
"""bytes a run of a million rows may hold, results and report included (measured: 1.15e9, half of it the result tables)"""


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("large")
    text = (package_file("sample/crypto") / "book" / "instruments.csv").read_text()
    ids = [line.split(",")[0] for line in text.splitlines()[1:]]
    rng = np.random.default_rng(1)
    (folder / "instruments.csv").write_text(text)
    with (folder / "positions.csv").open("w") as file:
        file.write("account_id,instrument_id,quantity\n")
        for a in range(ACCOUNTS):
            held, size = rng.choice(len(ids), LINES, replace=False), np.round(rng.normal(size=LINES) * 3.0, 1) + 0.05
            file.write("".join(f"ACC-{a:05d},{ids[i]},{q:.2f}\n" for i, q in zip(held, size, strict=True)))
    (folder / "collateral.csv").write_text("account_id,asset,quantity\n" + "".join(f"ACC-{a:05d},USD,100000\n" for a in range(ACCOUNTS)))
    return folder


def upm(*arguments: str, address_space: int = 0) -> tuple[subprocess.CompletedProcess[str], int]:
    """The command in a process of its own, and the most memory it held (bytes)."""
    code = ("import os, resource, sys\n"
            f"limit = {address_space}\n"
            "if limit: resource.setrlimit(resource.RLIMIT_AS, (limit, limit))\n"
            "from upm_gpu.cli import main\n"
            "try: main()\n"
            "finally: print('peak', resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.__stderr__)\n")
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=300, check=False)
    peak = [line for line in done.stderr.splitlines() if line.startswith("peak ")]
    return done, int(peak[-1].split()[1]) * 1024 if peak else 0


def run(book: Path, out: Path, paths: int, address_space: int = 0) -> tuple[subprocess.CompletedProcess[str], int]:
    return upm("run", "--book", str(book), "--market", "sample:crypto", "--paths", str(paths), "--device", "cpu", "--out", str(out), address_space=address_space)


def test_82_a_million_rows_of_ten_thousand_accounts(book: Path, tmp_path: Path) -> None:
    done, peak = run(book, tmp_path / "r", 10_000)
    assert done.returncode == 0, done.stderr
    assert 0 < peak < MEMORY
    counts = json.loads((tmp_path / "r" / "manifest.json").read_text())["counts"]
    assert (counts["accounts"], counts["positions"], counts["rejects"]) == (ACCOUNTS, ACCOUNTS * LINES, 0)


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_AS"), reason="no limit of address space here")
def test_72_memory_that_is_refused_is_said_and_the_run_goes_on_later(book: Path, tmp_path: Path) -> None:
    """Whatever is refused first, reading, pricing or writing: exit 7 and a code; with memory back, the bytes of a run that never met the limit."""
    refused = 0
    for gigabytes in (1.2, 1.8, 2.4):
        done, _ = run(book, tmp_path / f"r{gigabytes}", 20_000, int(gigabytes * 2**30))
        assert done.returncode in (0, 7), done.stderr
        assert "Traceback" not in done.stderr and "UPM-XX" not in done.stderr
        refused += done.returncode == 7
        assert done.returncode == 0 or "UPM-CP-" in done.stderr or "UPM-RN-013" in done.stderr
    assert refused
    assert run(book, tmp_path / "whole", 20_000)[0].returncode == 0
    for cut in (p for p in tmp_path.glob("r*") if (p / "plan.json").is_file()):
        assert upm("resume", str(cut))[0].returncode == 0
        for name in ("margin.parquet", "contributions.parquet", "worst_scenarios.parquet", "calls.csv"):
            assert (cut / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
