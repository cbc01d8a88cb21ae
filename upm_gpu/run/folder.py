"""The run folder: where a run writes, what it was asked, and copies of everything it read.

    plan.json            what was asked: identity of the program, settings, SHA-256 of every input; written last at
                         creation, so that a folder without it was never started
    inputs/              config.toml, the methodology, book/ and market/ files, byte for byte
    ledger.sqlite chunks/  finished work, until the run is done
    *.parquet *.csv report/ manifest.json report.html SHA256SUMS   the results, the last one last
    run.lock run.log.jsonl  not part of the results

A run never writes into a folder that holds another run, through a symbolic link, or outside its folder.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shlex
import shutil
import signal
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

from upm_gpu.errors import CapacityError, InputError, RunInterrupted, UsageError
from upm_gpu.run import durable
from upm_gpu.run.lock import LOCK, Lock, acquire
from upm_gpu.run.log import LOG, RunLog

FORMAT = 1
PLAN = "plan.json"
MANIFEST = "manifest.json"
SUMS = "SHA256SUMS"
LEDGER = "ledger.sqlite"
INPUTS = "inputs"
CHUNKS = "chunks"
MARKS = frozenset({PLAN, MANIFEST, SUMS, LEDGER, CHUNKS})
"""any of these names says that a folder holds a run"""


@dataclass(frozen=True)
class RunFolder:
    """An open, locked run folder; `with` releases the lock."""

    path: Path
    """absolute, links resolved"""
    shown: str
    """as the user typed it, for messages"""
    plan: Mapping[str, object]
    """what was asked: format, identity, inputs {name: {sha256, bytes}}, settings"""
    lock: Lock
    warnings: list[str] = field(default_factory=list)
    """what had to be said aloud: chunks redone, a lock taken over"""
    _handlers: dict[int, Any] = field(default_factory=dict, repr=False)

    @property
    def inputs(self) -> Path:
        """Folder of the copies the run reads."""
        return self.path / INPUTS

    @property
    def settings(self) -> Mapping[str, object]:
        """What the run was asked, as kept in the plan."""
        return self.plan["settings"]  # type: ignore[return-value]

    @property
    def log(self) -> RunLog:
        """The log of the run."""
        return RunLog(self.path / LOG)

    @property
    def finished(self) -> bool:
        """All results are there and sealed."""
        return (self.path / SUMS).is_file()

    def warn(self, message: str) -> None:
        """Say aloud and keep for the manifest."""
        self.warnings.append(message)
        self.log.warning("warning", message=message)

    def close(self) -> None:
        """Give the lock back."""
        self.lock.release()

    def __enter__(self) -> RunFolder:
        """Until the block ends, SIGINT and SIGTERM raise RunInterrupted (exit 8); the chunk loop waits for its chunk first."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._handlers[number] = signal.signal(number, self._interrupt)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            self.close()
        finally:
            while self._handlers:
                signal.signal(*self._handlers.popitem())

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        raise RunInterrupted("UPM-RN-012", f"stopped on request. Go on with: {resume_command(self)}")


def resume_command(run: RunFolder) -> str:
    """The command that goes on with this run."""
    return f"upm resume {shlex.quote(run.shown)}"


def _cannot_create(path: Path, error: OSError) -> Exception:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return durable.storage_error(error, path)
    return UsageError("UPM-RN-005", f"{path}: the run folder cannot be created or written ({os.strerror(error.errno or 0)}). "
                                    f"Give a writable place with --out.")


def check_target(path: str | Path) -> None:
    """Refuse early what `create_run` would refuse; changes nothing.

    Raises UsageError for a symbolic link, a file, a folder that holds another run or anything else, a place that
    cannot be written. What an interrupted creation left (a lock and copies of inputs, no plan) is not in the way.
    """
    path = Path(path)
    if path.is_symlink():
        raise UsageError("UPM-RN-004", f"{path} is a symbolic link; a run is written into a folder of its own. Give the "
                                       f"folder itself with --out.")
    if path.is_dir():
        try:
            names = set(os.listdir(path))
        except OSError as error:
            raise _cannot_create(path, error) from None
        if names & MARKS:
            state = "another run" if SUMS in names else "another, unfinished run"
            raise UsageError("UPM-RN-002", f"{path} holds {state}; it is left untouched. Give another folder with --out"
                                           + ("." if SUMS in names else f", or go on with `upm resume {shlex.quote(str(path))}`."))
        ours = {LOCK, LOG, INPUTS, f".{PLAN}{durable.PART_SUFFIX}"} if LOCK in names else set()
        if names - ours:
            some = ", ".join(sorted(ascii(n) for n in names - ours)[:3])
            raise UsageError("UPM-RN-003", f"{path} is not empty (it holds {some}). Give a new folder with --out.")
        writable = os.access(path, os.W_OK | os.X_OK)
    elif os.path.lexists(path):
        raise UsageError("UPM-RN-005", f"{path} is a file, not a folder. Give another place with --out.")
    else:
        try:
            parent = path.absolute().parent
        except OSError as error:  # the working folder is gone
            raise _cannot_create(path, error) from None
        while not parent.exists() and parent != parent.parent:
            parent = parent.parent
        writable = parent.is_dir() and os.access(parent, os.W_OK | os.X_OK)
    if not writable:
        raise _cannot_create(path, PermissionError(errno.EACCES, "not writable"))


def _copy(run: Path, name: str, source: bytes | Path, expected: str | None) -> dict[str, object]:
    target = durable.inside(run / INPUTS, name)
    content = source
    if isinstance(source, Path):
        try:
            content = source.read_bytes()
        except OSError as error:
            raise InputError("UPM-RN-008", f"{source}: cannot be read again to keep a copy ({os.strerror(error.errno or 0)}). "
                                           f"Leave the inputs in place while a run starts.") from None
    for parent in reversed(target.relative_to(run).parents[:-1]):
        durable.make_folder(run / parent)
    digest = durable.write_file(target, content)  # type: ignore[arg-type]
    if expected is not None and digest != expected:
        raise InputError("UPM-RN-008", f"{source if isinstance(source, Path) else name}: changed while it was read. "
                                       f"Start the run again when the file is complete.")
    return {"sha256": digest, "bytes": len(content)}  # type: ignore[arg-type]


def create_run(path: str | Path, *, inputs: Mapping[str, bytes | Path], settings: Mapping[str, object],
               identity: Mapping[str, str], expected: Mapping[str, str] | None = None) -> RunFolder:
    """Create a run folder, lock it and copy the inputs into it.

    `inputs` maps a name under `inputs/` (`config.toml`, `book/positions.csv`) to its bytes or to the file to copy;
    `expected` maps names to the SHA-256 seen when the file was parsed. `settings` is what a resumed run must repeat
    (device, precision, count, seed ...), `identity` what must be the same program (`manifest.identity()`).
    Raises UsageError (folder in use, exit 2), InputError (an input changed meanwhile), CapacityError (disk full).
    A creation that fails leaves nothing behind.
    """
    shown, path = str(path), Path(path)
    check_target(path)
    existed = path.is_dir()
    try:
        path.absolute().parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            os.mkdir(path, durable.FOLDER_MODE)
            durable.sync_folder(path.absolute().parent)
        path = path.resolve()
        lock = acquire(path)
    except OSError as error:
        raise _cannot_create(path, error) from None
    except CapacityError as error:
        if error.code == "UPM-RN-010":
            raise
        raise UsageError("UPM-RN-005", f"{path}: the run folder cannot be written. Give a writable place with --out.") from None
    try:
        check_target(path)  # again, now that nobody else can change it
        shutil.rmtree(path / INPUTS, ignore_errors=True)
        durable.make_folder(path / INPUTS)
        kept = {name: _copy(path, name, source, (expected or {}).get(name)) for name, source in sorted(inputs.items())}
        plan = {"format": FORMAT, "identity": dict(identity), "settings": dict(settings), "inputs": kept}
        durable.write_file(path / PLAN, json_bytes(plan))
        run = RunFolder(path, shown, plan, lock)
    except BaseException:
        if not (path / PLAN).exists():
            shutil.rmtree(path / INPUTS, ignore_errors=True)
        lock.release()
        if not existed:
            with contextlib.suppress(OSError):
                os.rmdir(path)
        raise
    run.log.info("run created", inputs=len(kept))
    return run


def json_bytes(value: object) -> bytes:
    """JSON as it is written everywhere in a run folder: sorted keys, ASCII, no NaN, one final newline."""
    return (json.dumps(value, sort_keys=True, indent=2, ensure_ascii=True, allow_nan=False) + "\n").encode("ascii")
