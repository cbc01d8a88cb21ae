"""One process a run folder: `run.lock` with the process id, its start time and the boot it belongs to.

The lock itself is `flock`, which the kernel drops when the process dies, so a killed run never blocks its own
resume. The text names the owner, and stands in where the file system has no `flock`: an owner is alive only if a
process with the same id AND the same start time runs in the same boot (process ids are used again).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
from dataclasses import dataclass
from pathlib import Path

from upm_gpu.errors import UsageError
from upm_gpu.run.durable import FILE_MODE, storage_error

LOCK = "run.lock"


def process_start(pid: int) -> str:
    """Start time of a running process in clock ticks since boot, or "" where there is none (a zombie has ended)."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
    fields = text.rpartition(")")[2].split()
    return fields[19] if len(fields) > 19 and fields[0] not in ("Z", "X") else ""


def boot_id() -> str:
    """What tells one start of the machine from another; "" where the system does not say."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


@dataclass(frozen=True)
class Owner:
    """Who holds a lock: a process, told from a later one of the same number by its start."""

    pid: int
    start: str
    boot: str

    @property
    def alive(self) -> bool:
        """Whether it runs now, on this start of this machine."""
        return self.boot == boot_id() and self.start != "" and process_start(self.pid) == self.start


def this_process() -> Owner:
    """The owner that this process would be."""
    return Owner(os.getpid(), process_start(os.getpid()), boot_id())


@dataclass(frozen=True)
class Lock:
    """A held lock; `taken_over` names the dead owner whose lock was found."""

    handle: int
    path: Path
    taken_over: Owner | None

    def release(self) -> None:
        """Remove the file while the lock is still held, then let go."""
        with contextlib.suppress(OSError):
            os.unlink(self.path)
        with contextlib.suppress(OSError):
            os.close(self.handle)


def _read(handle: int) -> Owner | None:
    try:
        found = json.loads(os.pread(handle, 4096, 0))
        return Owner(int(found["pid"]), str(found["start"]), str(found["boot"]))
    except (ValueError, KeyError, TypeError):
        return None


def _refuse(folder: Path, owner: Owner | None) -> UsageError:
    who = f"process {owner.pid}" if owner else "another process"
    return UsageError("UPM-RN-006", f"{folder}: {who} is writing into this run folder ({LOCK}). Wait for it, or give "
                                    f"another folder with --out.")


def acquire(folder: Path) -> Lock:
    """Lock `folder` for this process; raises UsageError naming the owner where it is in use."""
    path = folder / LOCK
    while True:
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, FILE_MODE)
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise UsageError("UPM-RN-004", f"{path} is a symbolic link. Remove it.") from None
            raise storage_error(error, path) from None
        try:
            owner = _read(handle)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise _refuse(folder, owner) from None
            except OSError:
                pass  # no flock on this file system: the text decides
            try:
                same = os.path.samestat(os.fstat(handle), os.stat(path))
            except FileNotFoundError:
                same = False
            if not same:  # its owner ended between our open and our flock
                os.close(handle)
                continue
            owner = _read(handle)
            me = this_process()
            if owner is not None and owner != me and owner.alive:
                raise _refuse(folder, owner)
            text = json.dumps({"pid": me.pid, "start": me.start, "boot": me.boot}, sort_keys=True) + "\n"
            os.ftruncate(handle, 0)
            os.pwrite(handle, text.encode(), 0)
        except OSError as error:
            os.close(handle)
            raise storage_error(error, path) from None
        except BaseException:
            os.close(handle)
            raise
        return Lock(handle, path, owner)
