"""A back-test that is killed, stopped or damaged goes on to the same bytes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest
from command_line import environment
from rolling_case import configuration, written

from upm_gpu.backtest import folder
from upm_gpu.backtest.folder import run_backtest
from upm_gpu.errors import RunInterrupted

TEXT = configuration(("hs", "scaled")).replace("count = 500", "count = 200")
SAME = ("backtest.parquet", "summary.csv", "league.csv", "goals.json", "config.toml", "plan.json", "days/000-00000.parquet", "days/001-00000.parquet")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    file = written(tmp_path_factory.mktemp("whole"), TEXT)
    run_backtest(file, file.parent / "out", True)
    return {name: (file.parent / "out" / name).read_bytes() for name in SAME}


def same(out, whole):
    return {name: (out / name).read_bytes() for name in SAME} == whole


def test_killed_it_resumes_to_the_same_bytes(tmp_path, whole):
    file, out = written(tmp_path, TEXT), tmp_path / "out"
    process = subprocess.Popen([sys.executable, "-P", "-m", "upm_gpu", "backtest", str(file), "--out", str(out), "--quiet"], env=environment(), cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    end = time.monotonic() + 120.0
    while not (out / SAME[-2]).exists() and process.poll() is None and time.monotonic() < end:
        time.sleep(0.005)
    process.kill()
    _, said = process.communicate()
    assert (out / SAME[-2]).exists() and not (out / "SHA256SUMS").exists(), said.decode()
    run_backtest(file, out, True)
    assert same(out, whole)


def test_stopped_on_request_and_damaged_it_goes_on(tmp_path, whole, monkeypatch):
    file, out, made = written(tmp_path, TEXT), tmp_path / "out", folder.piece

    def stopping(*arguments):
        os.kill(os.getpid(), signal.SIGTERM)
        return made(*arguments)

    monkeypatch.setattr(folder, "piece", stopping)
    with pytest.raises(RunInterrupted, match=r"UPM-BT-017 stopped on request after 34 of 68 days; .* Give the same command to go on"):
        run_backtest(file, out, True)
    monkeypatch.setattr(folder, "piece", made)
    content = bytearray((out / SAME[-2]).read_bytes())
    content[300] ^= 0xFF
    (out / SAME[-2]).write_bytes(content)
    run_backtest(file, out, True)
    assert same(out, whole)
