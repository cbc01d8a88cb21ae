"""A campaign that is killed, stopped or damaged goes on to the same bytes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest
from campaigns import CAMPAIGN, campaign_folder
from command_line import environment, here

from upm_gpu.campaign import chunks
from upm_gpu.campaign.folder import run_campaign
from upm_gpu.errors import RunInterrupted

TEXT = CAMPAIGN.replace('name = "small"\n', 'name = "small"\nremargin = true\n')
SAME = ("by_shock.parquet", "by_account.csv", "worst_cells.parquet", "losses/book-0000000.parquet", "margins/book-0000000.parquet", "margins/book-0000016.parquet", "margins/book-0000032.parquet")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    file = campaign_folder(tmp_path_factory.mktemp("whole"), TEXT)
    run_campaign(file, file.parent / "out", True, ())
    return {name: (file.parent / "out" / name).read_bytes() for name in SAME}


def same(folder, whole):
    return {name: (folder / name).read_bytes() for name in SAME} == whole


def test_killed_at_any_moment_it_resumes_to_the_same_bytes(tmp_path, whole):
    file = campaign_folder(tmp_path, TEXT)
    words = [sys.executable, "-P", "-m", "upm_gpu", "stress", str(file), "--out", str(tmp_path / "out"), "--quiet"]
    for seen in ("plan.json", "losses/book-0000000.parquet", "margins/book-0000016.parquet"):
        process = subprocess.Popen(words, env=environment(), cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        end = time.monotonic() + 120.0
        while not (tmp_path / "out" / seen).exists() and process.poll() is None and time.monotonic() < end:
            time.sleep(0.005)
        process.kill()
        _, said = process.communicate()
        assert (tmp_path / "out" / seen).exists(), said.decode()
    assert not (tmp_path / "out" / "SHA256SUMS").exists(), "the kills came too late to say anything"
    run_campaign(file, tmp_path / "out", True, ())
    assert same(tmp_path / "out", whole)


def test_a_stop_on_request_says_how_to_go_on(tmp_path, whole, monkeypatch):
    file, made = campaign_folder(tmp_path, TEXT), chunks.make

    def stopping(*arguments):
        made(*arguments)
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(chunks, "make", stopping)
    with pytest.raises(RunInterrupted, match=r"UPM-ST-012 stopped on request after 34 of 68 shocks; .* Give the same command to go on"):
        run_campaign(file, tmp_path / "out", True, ())
    monkeypatch.setattr(chunks, "make", made)
    run_campaign(file, tmp_path / "out", True, ())
    assert same(tmp_path / "out", whole)


def test_a_damaged_piece_is_made_again(tmp_path, whole, monkeypatch):
    file = campaign_folder(tmp_path, TEXT)
    run_campaign(file, tmp_path / "out", True, ())
    (tmp_path / "out" / "SHA256SUMS").unlink()
    for name, at in (("losses/book-0000000.parquet", 200), ("margins/book-0000016.parquet", 300)):
        content = bytearray((tmp_path / "out" / name).read_bytes())
        content[at] ^= 0xFF
        (tmp_path / "out" / name).write_bytes(content)
    run_campaign(file, tmp_path / "out", True, ())
    assert same(tmp_path / "out", whole)


def test_a_folder_of_something_else_is_left_alone(tmp_path, capsys, monkeypatch):
    file = campaign_folder(tmp_path, TEXT)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    said = here(capsys, monkeypatch, "stress", file, "--out", tmp_path / "out")
    assert said.code == 2 and said.out == "" and [p.name for p in (tmp_path / "out").iterdir()] == ["mine.txt"]
