"""Faults 66 to 72 and 96 to 99: the run folder survives full disks, kills, power cuts, second writers and edits.

The engine is a toy (`toy_run.py`), the folder, ledger, results and checks are the real ones. Kills and failures strike
at counted file operations, so every test meets the same moments each time.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
import toy_run

from upm_gpu.errors import CapacityError, InputError, IntegrityError, RunInterrupted, UsageError
from upm_gpu.run import durable, lock
from upm_gpu.run.chunks import ChunkPass, arrays_to_tail, remaining, run_chunks, tail_to_arrays
from upm_gpu.run.finish import replace_file, sums_bytes
from upm_gpu.run.folder import check_target, create_run
from upm_gpu.run.ledger import completed, open_ledger, read_chunk, write_chunk
from upm_gpu.run.resume import open_for_resume
from upm_gpu.run.verify import read_sums, verify_run

COUNT = 4096 * 5 + 1000
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run that nothing disturbed; read only."""
    folder = tmp_path_factory.mktemp("clean") / "run"
    toy_run.run_or_resume(folder, COUNT)
    return folder


@pytest.fixture(scope="module")
def expected(clean: Path) -> dict[str, bytes]:
    return toy_run.result_bytes(clean)


def finish_and_compare(folder: Path, expected: dict[str, bytes]) -> None:
    """Whatever happened: the user goes on (or starts again), and every promised byte is there."""
    toy_run.run_or_resume(folder, COUNT)
    assert toy_run.result_bytes(folder) == expected
    assert verify_run(folder)["leftovers"] == []
    assert not (folder / "chunks").exists() and not (folder / "run.lock").exists()


def process(folder: Path, kill: int = 0, pause: float = 0.0, **options: object) -> subprocess.Popen:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    return subprocess.Popen([sys.executable, toy_run.__file__, str(folder), str(COUNT), str(kill), str(pause)], env=environment,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


class Operations:
    """Counts the file operations of `durable` and lets one of them fail or end the world."""

    def __init__(self, patch: pytest.MonkeyPatch, at: int, act: Callable[[str, tuple], object], kinds: tuple[str, ...] = ("write", "fsync", "replace")):
        self.seen = 0
        for name in kinds:
            patch.setattr(durable.os, name, self._wrap(name, getattr(os, name), at, act))

    def _wrap(self, name: str, real: Callable, at: int, act: Callable) -> Callable:
        def call(*arguments: object) -> object:
            self.seen += 1
            if self.seen == at:
                act(name, arguments)
            return real(*arguments)
        return call


def count_operations(folder: Path, kinds: tuple[str, ...] = ("write", "fsync", "replace")) -> int:
    with pytest.MonkeyPatch.context() as patch:
        operations = Operations(patch, -1, lambda *_: None, kinds)
        toy_run.run_or_resume(folder, COUNT)
    return operations.seen


# 66: where a run may be written


def test_a_folder_with_another_run_is_left_untouched(clean: Path) -> None:
    before = {p: p.read_bytes() for p in clean.rglob("*") if p.is_file()}
    with pytest.raises(UsageError, match=r"UPM-RN-002 .* holds another run; .* --out") as caught:
        toy_run.create(clean, COUNT)
    assert caught.value.exit_code == 2
    assert {p: p.read_bytes() for p in clean.rglob("*") if p.is_file()} == before


def test_an_unfinished_run_is_left_untouched_and_resume_is_named(tmp_path: Path) -> None:
    toy_run.create(tmp_path / "run", COUNT).close()
    with pytest.raises(UsageError, match=r"UPM-RN-002 .*unfinished.*upm resume"):
        toy_run.create(tmp_path / "run", COUNT)
    assert (tmp_path / "run" / "plan.json").exists()


def test_a_symbolic_link_a_file_and_a_full_folder_are_refused(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "file").write_text("x")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "inputs").mkdir()
    for name, code in (("link", "UPM-RN-004"), ("file", "UPM-RN-005"), ("full", "UPM-RN-003")):
        with pytest.raises(UsageError, match=code):
            toy_run.create(tmp_path / name, COUNT)
    assert list((tmp_path / "real").iterdir()) == [] and (tmp_path / "full" / "inputs").is_dir()


@pytest.mark.parametrize("problem", [errno.EROFS, errno.EACCES])
def test_a_place_that_cannot_be_created_is_a_usage_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, problem: int) -> None:
    def refuse(*_: object) -> None:
        raise OSError(problem, os.strerror(problem))

    monkeypatch.setattr(durable.os, "mkdir", refuse)
    with pytest.raises(UsageError, match=r"UPM-RN-005 .*cannot be created or written"):
        toy_run.create(tmp_path / "run", COUNT)


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs /proc, where nobody can create a folder")
def test_a_place_where_no_folder_can_be_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="UPM-RN-005"):
        toy_run.create("/proc/upm-run", COUNT)


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/../../x", "a//x", "", ".", "..", ".hidden", "a\0b", "a\\b", "a\nb", "=1+1", "a/" + "b" * 200])
def test_no_name_leads_out_of_the_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="UPM-RN-007"):
        create_run(tmp_path / "run", inputs={name: b"x"}, settings={}, identity={})
    assert not (tmp_path / "run").exists()
    assert list(tmp_path.iterdir()) == []


def test_a_link_inside_the_folder_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "book").symlink_to(tmp_path / "outside")
    with pytest.raises(UsageError, match="UPM-RN-004"):
        durable.inside(tmp_path / "folder", "book/positions.csv")


def test_an_input_that_changes_while_it_is_read_is_refused(tmp_path: Path) -> None:
    source = tmp_path / "positions.csv"
    source.write_text("a\n")
    with pytest.raises(InputError, match=r"UPM-RN-008 .*positions.csv: changed while it was read"):
        create_run(tmp_path / "run", inputs={"book/positions.csv": source}, settings={}, identity={}, expected={"book/positions.csv": "0" * 64})
    assert not (tmp_path / "run").exists()


def test_everything_is_private(clean: Path) -> None:
    assert {p.stat().st_mode & 0o777 for p in clean.rglob("*") if p.is_file()} == {0o600}
    assert {p.stat().st_mode & 0o777 for p in [clean, *clean.rglob("*")] if p.is_dir()} == {0o700}


def test_an_interrupted_creation_is_no_obstacle(tmp_path: Path, expected: dict[str, bytes]) -> None:
    folder = tmp_path / "run"
    (folder / "inputs").mkdir(parents=True)
    (folder / "inputs" / "config.toml").write_text("half")
    (folder / "run.lock").write_text(json.dumps({"pid": 2**22 + 1, "start": "1", "boot": lock.boot_id()}))
    finish_and_compare(folder, expected)


# 66: two runs into one folder


def test_two_runs_into_one_folder_are_refused_by_name(tmp_path: Path, expected: dict[str, bytes]) -> None:
    folder = tmp_path / "run"
    child = process(folder, pause=60)
    try:
        assert child.stdout.readline() == "0\n"
        with pytest.raises(UsageError, match=rf"UPM-RN-006 .*process {child.pid} is writing"):
            open_for_resume(folder, toy_run.IDENTITY)
    finally:
        child.kill()
        child.communicate()
    assert (folder / "run.lock").exists()
    with open_for_resume(folder, toy_run.IDENTITY) as run:
        assert any(f"took over the lock of process {child.pid}" in w for w in run.warnings)
        with pytest.raises(UsageError, match="UPM-RN-006"):  # twice in one process too
            open_for_resume(folder, toy_run.IDENTITY)
    finish_and_compare(folder, expected)


def test_without_flock_the_owner_is_known_by_pid_and_start_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unsupported(*_: object) -> None:
        raise OSError(errno.ENOTSUP, "not supported")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        alive = {"pid": child.pid, "start": lock.process_start(child.pid), "boot": lock.boot_id()}
        (tmp_path / "run.lock").write_text(json.dumps(alive))
        with pytest.raises(UsageError, match=f"process {child.pid}"):
            lock.acquire(tmp_path)
        for stale in ({"start": alive["start"] + "0"}, {"boot": "another boot"}):  # the same id, used again
            (tmp_path / "run.lock").write_text(json.dumps(alive | stale))
            held = lock.acquire(tmp_path)
            assert held.taken_over.pid == child.pid
            held.release()
    finally:
        child.kill()
        child.communicate()
    (tmp_path / "run.lock").write_text(json.dumps(alive))  # ended: the lock is stale
    lock.acquire(tmp_path).release()
    for broken in ("", "{", "[]", "null"):
        (tmp_path / "run.lock").write_text(broken)
        lock.acquire(tmp_path).release()


# 67: formats of other versions


@pytest.mark.parametrize("found", [2, "1", None, True, 1.0])
def test_an_unknown_format_is_refused_by_name(tmp_path: Path, clean: Path, found: object) -> None:
    folder = tmp_path / "run"
    shutil.copytree(clean, folder)
    for name in ("manifest.json", "plan.json"):
        content = json.loads((folder / name).read_text()) | {"format": found}
        (folder / name).write_text(json.dumps(content))
    (folder / "SHA256SUMS").write_bytes(sums_bytes({n: durable.sha256_of(folder / n) for n in read_sums(folder)}))
    with pytest.raises(InputError, match=r"UPM-RN-016 manifest.json: format .* unknown"):
        verify_run(folder)
    with pytest.raises(InputError, match=r"UPM-RN-016 plan.json: format .* unknown"):
        open_for_resume(folder, toy_run.IDENTITY)


# 68: the disk is full


@pytest.mark.parametrize("kind", ["write", "fsync", "replace"])
@pytest.mark.parametrize("share", [0.0, 0.2, 0.4, 0.6, 0.8, 0.96])
def test_a_full_disk_stops_the_run_and_keeps_what_was_finished(tmp_path: Path, expected: dict[str, bytes], kind: str, share: float) -> None:
    operations = count_operations(tmp_path / "count", (kind,))
    folder = tmp_path / "run"

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.MonkeyPatch.context() as patch:
        Operations(patch, max(1, round(share * operations)), full, (kind,))
        with pytest.raises(CapacityError, match=r"UPM-RN-010 .*no room to write \(No space left on device\)") as caught:
            toy_run.run_or_resume(folder, COUNT)
    assert caught.value.exit_code == 7
    assert not list(tmp_path.rglob(".*.part"))
    finish_and_compare(folder, expected)


@pytest.mark.parametrize("limit", [100, 900, 2_500, 5_000])
def test_a_real_limit_of_the_file_size(tmp_path: Path, expected: dict[str, bytes], limit: int) -> None:
    folder = tmp_path / "run"
    child = process(folder, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
    _, said = child.communicate(timeout=60)
    assert child.returncode == 7, said
    assert "UPM-RN-010" in said and "Traceback" not in said
    finish_and_compare(folder, expected)


# 69: kill -9


@pytest.mark.parametrize("moment", [1, 5, 11, 17, 20, 24, 27, 30, 33, 36, 40, 45, 52, 60, 66])
def test_a_killed_run_goes_on_to_the_same_bytes(tmp_path: Path, expected: dict[str, bytes], moment: int) -> None:
    folder = tmp_path / "run"
    child = process(folder, kill=moment)
    _, said = child.communicate(timeout=60)
    assert child.returncode == -signal.SIGKILL, said
    finish_and_compare(folder, expected)


@pytest.mark.slow
def test_a_hundred_kills_at_random_times(tmp_path: Path, expected: dict[str, bytes]) -> None:
    chance = random.Random(69)
    for trial in range(100):
        folder = tmp_path / f"run{trial}"
        for _ in range(chance.randint(1, 3)):
            child = process(folder, pause=0.01)
            time.sleep(chance.uniform(0.05, 0.9))
            child.kill()
            child.communicate()
        finish_and_compare(folder, expected)
        shutil.rmtree(folder)


# 70: SIGTERM and SIGINT


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_finishes_the_chunk_and_leaves_with_8(tmp_path: Path, expected: dict[str, bytes], number: int) -> None:
    folder = tmp_path / "run"
    child = process(folder, pause=0.3)
    assert [child.stdout.readline() for _ in range(2)] == ["0\n", "4096\n"]
    child.send_signal(number)
    _, said = child.communicate(timeout=60)
    assert child.returncode == 8, said
    assert f"stopped on request after 8192 of {COUNT} scenarios. Go on with: upm resume {folder}" in said
    with open_ledger(folder) as ledger:
        assert [(c.first, c.last) for c in completed(ledger)] == [(0, 4096), (4096, 8192)]
    finish_and_compare(folder, expected)


def test_a_request_to_stop_writes_what_was_not_written_yet(tmp_path: Path, expected: dict[str, bytes]) -> None:
    asked = iter([False, False, True, True, True])
    with toy_run.create(tmp_path / "run", COUNT) as run:
        ranges = [(a, a + 4096) for a in range(0, 20480, 4096)]
        with pytest.raises(RunInterrupted, match="UPM-RN-012"):
            run_chunks(run, ranges, toy_run.compute, should_stop=lambda: next(asked), write_share=1e-12)
    with open_ledger(tmp_path / "run") as ledger:
        assert [(c.first, c.last) for c in completed(ledger)] == [(0, 8192)]
    finish_and_compare(tmp_path / "run", expected)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_results_are_written_leaves_with_8(tmp_path: Path, expected: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    folder = tmp_path / "run"
    monkeypatch.setattr(toy_run, "provenance", lambda count: os.kill(os.getpid(), number))
    with pytest.raises(RunInterrupted, match=rf"UPM-RN-012 stopped on request. Go on with: upm resume {folder}"):
        toy_run.run_or_resume(folder, COUNT)
    monkeypatch.undo()
    finish_and_compare(folder, expected)


def test_handlers_are_given_back(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    run_chunks(None, [(0, 4096)], toy_run.compute)
    with toy_run.create(tmp_path / "run", COUNT) as run:
        run_chunks(run, [(0, 4096)], toy_run.compute)
        assert signal.getsignal(signal.SIGINT) != before[0]
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


# 71: power loss


class PowerLoss(BaseException):
    """The machine is off: nothing may catch this and go on."""


class Disk:
    """What a disk holds if nothing is written but what was synced: contents by fsync of the file, names by fsync of the
    folder. SQLite syncs its own files; their names count as any other."""

    def __init__(self, root: Path, patch: pytest.MonkeyPatch, at: int) -> None:
        self.root, self.at, self.seen = root, at, 0
        self.contents: dict[int, bytes] = {}
        self.names: dict[int, dict[str, int]] = {}
        self.image: dict[str, bytes] | None = None
        real = {name: getattr(os, name) for name in ("open", "write", "fsync", "replace", "unlink", "mkdir")}

        def opened(path: object, flags: int, *rest: int, **more: object) -> int:
            handle = real["open"](path, flags, *rest, **more)
            if flags & os.O_TRUNC:
                self.contents[os.fstat(handle).st_ino] = b""
            return handle

        def synced(handle: int) -> None:
            self.step()
            real["fsync"](handle)
            path = Path(os.readlink(f"/proc/self/fd/{handle}"))
            entry = os.fstat(handle)
            if path.is_dir():
                self.names[entry.st_ino] = {p.name: p.lstat().st_ino for p in path.iterdir()}
            else:
                self.contents[entry.st_ino] = path.read_bytes()

        def stepped(name: str) -> Callable:
            def call(*arguments: object, **more: object) -> object:
                self.step()
                return real[name](*arguments, **more)
            return call

        patch.setattr(os, "open", opened)
        patch.setattr(os, "fsync", synced)
        for name in ("write", "replace", "mkdir"):
            patch.setattr(os, name, stepped(name))

    def step(self) -> None:
        self.seen += 1
        if self.seen == self.at:
            self.image = {}
            self.keep(self.root.stat().st_ino, "")
            raise PowerLoss

    def keep(self, folder: int, prefix: str) -> None:
        for name, inode in self.names.get(folder, {}).items():
            path = prefix + name
            if inode in self.names:
                self.image[path + "/"] = b""
                self.keep(inode, path + "/")
            elif name.startswith("ledger.sqlite"):
                if (self.root / path).exists():
                    self.image[path] = (self.root / path).read_bytes()
            elif (self.root / path).is_dir():
                self.image[path + "/"] = b""
            else:
                self.image[path] = self.contents.get(inode, b"")

    def restore(self, root: Path) -> None:
        root.mkdir()
        for path, content in sorted(self.image.items()):
            if path.endswith("/"):
                (root / path).mkdir(exist_ok=True)
            elif not path.endswith("-shm"):
                (root / path).write_bytes(content)


def power_loss(place: Path, at: int) -> Disk:
    """Lose the power at the n-th operation of a run in `place`/before; what is left stands in `place`/after."""
    (place / "before").mkdir(parents=True)
    with pytest.MonkeyPatch.context() as patch:
        disk = Disk(place / "before", patch, at)
        with contextlib.suppress(PowerLoss):
            toy_run.run_or_resume(place / "before" / "run", COUNT)
    if disk.image is not None:
        disk.restore(place / "after")
    return disk


def test_after_a_power_loss_the_run_verifies_or_resumes(tmp_path: Path, expected: dict[str, bytes]) -> None:
    last = power_loss(tmp_path / "whole", -1).seen
    assert last > 100
    done_before, resumed = 0, 0
    for at in range(1, last + 1, 5):
        place = tmp_path / str(at)
        power_loss(place, at)
        folder = place / "after" / "run"
        if (folder / "SHA256SUMS").exists():
            assert verify_run(folder)["files"] > 10
            done_before += 1
        if (folder / "plan.json").exists():
            resumed += 1
        finish_and_compare(folder, expected)
        shutil.rmtree(place)
    assert done_before >= 1 and resumed > last // 10


def test_the_power_loss_model_sees_a_missing_sync(tmp_path: Path, expected: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """The model can fail: without syncing folders, a run that says it is finished is not there."""
    monkeypatch.setattr(durable, "sync_folder", lambda folder: None)
    last = power_loss(tmp_path / "whole", -1).seen
    power_loss(tmp_path / "late", last)
    assert not (tmp_path / "late" / "after" / "run" / "SHA256SUMS").exists()


# the ledger and the chunk loop


@pytest.mark.parametrize("chunk", [4096, 8192, 12288, 65536])
@pytest.mark.parametrize("share", [None, 1e9, 0.05, 0.0])
def test_chunks_and_ledger_change_no_byte(tmp_path: Path, expected: dict[str, bytes], chunk: int, share: float | None) -> None:
    toy_run.run_or_resume(tmp_path / "run", COUNT, chunk=chunk, write_share=share)
    assert toy_run.result_bytes(tmp_path / "run") == expected


def test_a_resumed_run_may_use_another_chunk_size(tmp_path: Path, expected: dict[str, bytes]) -> None:
    with toy_run.create(tmp_path / "run", COUNT) as run:
        run_chunks(run, [(4096, 12288)], toy_run.compute, write_share=None)
    seen = []

    def watched(first: int, last: int, carry: object) -> object:
        seen.append((first, last))
        return toy_run.compute(first, last, carry)

    toy_run.run_or_resume(tmp_path / "run", COUNT, chunk=16384, compute=watched)
    assert seen == [(0, 4096), (12288, 16384), (16384, COUNT)]
    assert toy_run.result_bytes(tmp_path / "run") == expected


def test_out_of_memory_halves_the_chunk_and_goes_on(tmp_path: Path, expected: dict[str, bytes]) -> None:
    sizes = []

    def small(first: int, last: int, carry: object) -> object:
        sizes.append(last - first)
        if last - first > 8192:
            raise MemoryError
        return toy_run.compute(first, last, carry)

    toy_run.run_or_resume(tmp_path / "run", COUNT, chunk=32768, compute=small)
    assert sizes[0] == COUNT and max(sizes[-3:]) <= 8192
    assert toy_run.result_bytes(tmp_path / "run") == expected

    def never(first: int, last: int, carry: object) -> object:
        raise MemoryError

    with pytest.raises(CapacityError, match=r"UPM-RN-013 .*out of memory with the smallest chunk"):
        run_chunks(None, [(0, 16384)], never)


@pytest.mark.parametrize("damage", ["flip", "cut", "gone", "name"])
def test_a_damaged_chunk_is_said_and_redone(tmp_path: Path, expected: dict[str, bytes], damage: str) -> None:
    folder = tmp_path / "run"
    with toy_run.create(folder, COUNT) as run:
        run_chunks(run, [(a, a + 4096) for a in range(0, 16384, 4096)], toy_run.compute, write_share=None)
    victim = folder / "chunks" / "0-4096-8192.upm"
    content = bytearray(victim.read_bytes())
    if damage == "flip":
        content[len(content) // 2] ^= 1
        victim.write_bytes(content)
    elif damage == "cut":
        victim.write_bytes(content[:-1])
    elif damage == "gone":
        victim.unlink()
    else:
        shutil.copy(folder / "chunks" / "0-0-4096.upm", victim)
    (folder / "chunks" / "0-999424-1003520.upm").write_bytes(b"not in the ledger")
    with open_for_resume(folder, toy_run.IDENTITY) as run:
        toy_run.work(run)
        assert [w for w in run.warnings if "UPM-RN-021 chunks/0-4096-8192.upm" in w and "computed again" in w]
    assert toy_run.result_bytes(folder) == expected


def test_a_damaged_ledger_is_said_and_redone(tmp_path: Path, expected: dict[str, bytes]) -> None:
    folder = tmp_path / "run"
    with toy_run.create(folder, COUNT) as run:
        run_chunks(run, [(0, 4096)], toy_run.compute, write_share=None)
    (folder / "ledger.sqlite").write_bytes(b"not a database at all, " * 400)
    with open_for_resume(folder, toy_run.IDENTITY) as run:
        toy_run.work(run)
        assert [w for w in run.warnings if "UPM-RN-021" in w and "ledger.sqlite is damaged" in w]
    assert toy_run.result_bytes(folder) == expected


def test_a_tail_survives_the_way_through_arrays_and_file(tmp_path: Path) -> None:
    state = toy_run.compute(0, 8192, None)
    later = toy_run.compute(8192, 12288, state)
    assert np.isinf(later.pnl).any()
    with toy_run.create(tmp_path / "run", COUNT) as run, open_ledger(run.path) as ledger:
        for first, last, tail in ((0, 8192, state), (8192, 12288, later)):
            arrays = tail_to_arrays(tail, first, last)
            chunk = write_chunk(ledger, first, last, arrays, seconds=1.5)
            back = arrays_to_tail(read_chunk(ledger, chunk))
            for name in ("pnl", "scenario", "blocks", "block_sums", "clipped"):
                kept, found = getattr(tail, name), getattr(back, name)
                assert kept.dtype == found.dtype and kept.tobytes() == found.tobytes(), name
            assert (back.not_finite, back.count) == (tail.not_finite, tail.count)
        # padding is never written: 12 bytes an entry kept, and what does not grow with the depth
        entries = int((later.scenario != 0xFFFFFFFF).sum())
        assert chunk.bytes < 12 * entries + 2048 < later.pnl.nbytes + later.scenario.nbytes + 2048
        assert completed(ledger)[1] == chunk and chunk.attempt == 1
        assert write_chunk(ledger, 8192, 12288, arrays).attempt == 2


@pytest.mark.parametrize(("share", "written"), [(0.05, [(0, 4096)]), (1.0, [(0, 4096), (4096, 8192)])])
def test_writing_waits_until_it_is_worth_it(tmp_path: Path, share: float, written: list[tuple[int, int]]) -> None:
    """A clock that ticks once a look: the first write takes as long as half a chunk, so the next waits under a share of 5 %."""
    ticks = iter(float(n) for n in range(1000))
    ranges = [(0, 4096), (4096, 8192)]
    with toy_run.create(tmp_path / "run", COUNT) as run:
        done = run_chunks(run, ranges, toy_run.compute, clock=lambda: next(ticks), write_share=share)
        assert isinstance(done, ChunkPass) and done.computed == 8192 and done.reused == 0
        with open_ledger(run.path) as ledger:
            assert [(c.first, c.last) for c in completed(ledger)] == written
        again = run_chunks(run, ranges, toy_run.compute, write_share=None)
        assert again.reused == 4096 * len(written) and again.computed == 8192 - again.reused
        assert again.state.pnl.tobytes() == done.state.pnl.tobytes() and again.state.scenario.tobytes() == done.state.scenario.tobytes()
        assert run_chunks(run, [(8192, 12288)], toy_run.compute, scenario_set=1, write_share=None).reused == 0
        with open_ledger(run.path) as ledger:
            assert [(c.first, c.last) for c in completed(ledger, 1)] == [(8192, 12288)]


def test_remaining_ranges() -> None:
    assert remaining([(0, 10), (10, 20), (20, 30)], [(5, 12), (25, 26)]) == [(0, 5), (12, 20), (20, 25), (26, 30)]
    assert remaining([(0, 10)], []) == [(0, 10)] and remaining([(0, 10)], [(0, 10)]) == []
    assert remaining([(4, 8)], [(0, 6), (6, 7)]) == [(7, 8)]


# 96 to 98: audit


def test_an_edited_result_is_named(tmp_path: Path, clean: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(clean, folder)
    (folder / "margin.csv").write_bytes((folder / "margin.csv").read_bytes().replace(b",ok", b",no", 1))
    (folder / "calls.csv").unlink()
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(IntegrityError, match=r"UPM-RN-020 .*changed: margin.csv; missing: calls.csv; extra: notes.txt") as caught:
        verify_run(folder)
    assert caught.value.exit_code == 9


def test_a_missing_manifest_is_named(tmp_path: Path, clean: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(clean, folder)
    (folder / "manifest.json").unlink()
    with pytest.raises(IntegrityError, match=r"missing: manifest.json"):
        verify_run(folder)
    lines = (folder / "SHA256SUMS").read_text().splitlines(keepends=True)
    (folder / "SHA256SUMS").write_text("".join(x for x in lines if "manifest.json" not in x))
    with pytest.raises(IntegrityError, match=r"missing: manifest.json"):
        verify_run(folder)


def test_a_link_in_place_of_a_result_is_named(tmp_path: Path, clean: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(clean, folder)
    shutil.move(folder / "margin.csv", tmp_path / "margin.csv")
    (folder / "margin.csv").symlink_to(tmp_path / "margin.csv")
    with pytest.raises(IntegrityError, match=r"extra: margin.csv"):
        verify_run(folder)


def test_no_run_and_an_unfinished_run_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="UPM-RN-001"):
        verify_run(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="UPM-RN-001"):
        verify_run(tmp_path)
    toy_run.create(tmp_path / "run", COUNT).close()
    with pytest.raises(IntegrityError, match=r"UPM-RN-018 .*not finished.*upm resume"):
        verify_run(tmp_path / "run")


def test_every_single_bit_flip_is_found_and_named(tmp_path: Path, clean: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(clean, folder)
    chance = random.Random(96)
    for name in [*read_sums(clean), "SHA256SUMS"]:
        path = folder / name
        content = path.read_bytes()
        for _ in range(60 if name != "SHA256SUMS" else 400):
            bit = chance.randrange(8 * len(content))
            flipped = bytearray(content)
            flipped[bit // 8] ^= 1 << bit % 8
            path.write_bytes(flipped)
            with pytest.raises(IntegrityError) as caught:
                verify_run(folder)
            assert caught.value.exit_code == 9
            assert name in str(caught.value) or name == "SHA256SUMS", (name, bit)
        path.write_bytes(content)
    verify_run(folder)


@pytest.mark.parametrize("text", ["", "x\n", "\n", "0" * 63 + "  a\n", "0" * 64 + " a\n", "0" * 64 + "  ../a\n", "0" * 64 + "  /a\n", "0" * 64 + "  a",
                                  "A" * 64 + "  a\n", "0" * 64 + "  a\r\n", "0" * 64 + " *a\n", "0" * 64 + "  b\n" + "0" * 64 + "  a\n",
                                  "0" * 64 + "  a\n" + "0" * 64 + "  a\n", "0" * 64 + "  a/../b\n", "0" * 64 + "  a\n\n"])
def test_checksums_are_read_strictly(tmp_path: Path, text: str) -> None:
    (tmp_path / "SHA256SUMS").write_bytes(text.encode())
    with pytest.raises(IntegrityError, match="UPM-RN-019"):
        read_sums(tmp_path)


def test_checksums_are_those_of_coreutils(clean: Path) -> None:
    if shutil.which("sha256sum") is None:
        pytest.skip("sha256sum is not installed")
    subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"], cwd=clean, check=True)


def test_a_moved_folder_verifies_and_resumes(tmp_path: Path, clean: Path, expected: dict[str, bytes]) -> None:
    here, there = tmp_path / "here" / "run", tmp_path / "there" / "moved"
    child = process(here, kill=40)
    child.communicate(timeout=60)
    text = json.loads((here / "run.lock").read_text())
    (here / "run.lock").write_text(json.dumps(text | {"boot": "another machine", "pid": os.getpid()}))
    there.parent.mkdir()
    shutil.move(here, there)
    finish_and_compare(there, expected)
    shutil.move(there, tmp_path / "again")
    assert verify_run(tmp_path / "again")["files"] == verify_run(clean)["files"]


def test_a_finished_run_has_nothing_to_resume(tmp_path: Path, clean: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(clean, folder)
    (folder / "chunks").mkdir()
    (folder / "chunks" / "0-0-4096.upm").write_bytes(b"left over")
    assert verify_run(folder)["leftovers"] == ["chunks/0-0-4096.upm"]
    with open_for_resume(folder, {"upm_gpu": "a later one"}) as run:
        assert run.finished
    assert verify_run(folder)["leftovers"] == []


def test_resume_names_what_differs(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    toy_run.create(folder, COUNT).close()
    with pytest.raises(UsageError, match=r"UPM-RN-015 .*kernels_sha256 was 0+, is 1; upm_gpu was toy, is 2"):
        open_for_resume(folder, {"upm_gpu": "2", "kernels_sha256": "1"})
    (folder / "inputs" / "config.toml").write_text("seed = 2\n")
    (folder / "inputs" / "market" / "spots.csv").unlink()
    (folder / "inputs" / "book" / "accounts.csv").write_text("account_id\n")
    with pytest.raises(IntegrityError, match=r"UPM-RN-014 .*inputs/config.toml changed; inputs/market/spots.csv missing; inputs/book/accounts.csv added"):
        open_for_resume(folder, toy_run.IDENTITY)
    assert not (folder / "run.lock").exists()
    (folder / "plan.json").write_text("{")
    with pytest.raises(IntegrityError, match="UPM-RN-014"):
        open_for_resume(folder, toy_run.IDENTITY)
    (folder / "plan.json").unlink()
    (folder / "chunks").mkdir()
    with pytest.raises(UsageError, match="UPM-RN-009"):
        open_for_resume(folder, toy_run.IDENTITY)


def test_a_report_built_again_keeps_the_other_checksums(tmp_path: Path, clean: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(clean, folder)
    with open_for_resume(folder) as run:
        replace_file(run, "report.html", "<!doctype html>new")
    verify_run(folder)
    (folder / "margin.csv").write_text("forged")
    with open_for_resume(folder) as run:
        replace_file(run, "report.html", "<!doctype html>newer")
    with pytest.raises(IntegrityError, match=r"changed: margin\.csv"):
        verify_run(folder)


def test_a_new_folder_may_be_checked_early_without_a_trace(tmp_path: Path) -> None:
    check_target(tmp_path / "deep" / "run")
    check_target(tmp_path)
    assert list(tmp_path.iterdir()) == []


# 99: the log


def test_the_log_holds_no_secret_no_position_and_no_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/srv/people/alice")
    positions = [("A-1", "BTC-PERPETUAL", 12.5)] * 50
    with toy_run.create(tmp_path / "run", COUNT) as run:
        run.log.info("read", path="/srv/people/alice/book/positions.csv", other="/home/bob/x", positions=positions, accounts=2000,
                     raw="A-1,BTC-PERPETUAL,777123", quantity=777123, api_key="k-555", note="token=abc999 Bearer xyz888", rows=list(range(5000)),
                     feed="https://me:pw444@feed.example/x", deep={"a": {"positions": positions}}, count=50, text="y" * 5000)
        toy_run.work(run)
    text = (tmp_path / "run" / "run.log.jsonl").read_text()
    for hidden in ("alice", "bob", "777123", "k-555", "abc999", "xyz888", "pw444", "12.5", "4999", "y" * 500):
        assert hidden not in text, hidden
    lines = [json.loads(line) for line in text.splitlines()]
    assert {line["level"] for line in lines} == {"INFO"}
    assert lines[1]["accounts"] == 2000 and lines[1]["path"] == "~/book/positions.csv" and lines[1]["count"] == 50
    assert [line["event"] for line in lines] == ["run created", "read", "run finished"]
