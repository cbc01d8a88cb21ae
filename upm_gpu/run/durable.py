"""Bytes that survive a power cut: write to a temporary name, fsync, rename, fsync the folder.

Every file of a run folder except the SQLite ledger and the log goes through `write_file`, so that a reader sees
either the whole file or none, and the tests can replace `os.write`, `os.fsync` and `os.replace` by a model that
loses what was not synced. Modes are given outright (0600, 0700): the umask of the process is not ours to change.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
from pathlib import Path

import numpy as np

from upm_gpu.errors import CapacityError, UpmError, UsageError

FILE_MODE = 0o600
FOLDER_MODE = 0o700
PART_SUFFIX = ".part"

_PIECE = 1 << 23
"""bytes hashed and written at a time: a piece is still in the cache when it is written"""
_COMPONENT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]{0,127}")
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}

Part = bytes | bytearray | memoryview | np.ndarray


def storage_error(error: OSError, path: Path) -> UpmError:
    """The error of the tree that an `OSError` met while writing `path` stands for."""
    reason = os.strerror(error.errno) if error.errno else str(error)
    if error.errno in _FULL:
        return CapacityError("UPM-RN-010", f"{path}: no room to write ({reason}). What was finished is kept: free "
                                           f"some space, then go on with `upm resume`.")
    return CapacityError("UPM-RN-011", f"{path}: cannot be written ({reason}). What was finished is kept: make the "
                                       f"folder writable again, then go on with `upm resume`.")


def inside(folder: Path, name: str) -> Path:
    """The path of `name` (relative, `/` between parts) under `folder`.

    Raises UsageError for anything that could leave the folder: absolute names, `..`, odd characters, a symbolic
    link on the way. Names of accounts and instruments are data, never passed here.
    """
    parts = name.split("/")
    if not all(_COMPONENT.fullmatch(part) for part in parts):
        raise UsageError("UPM-RN-007", f"file name {name!a}: only letters, digits, `._+-` and `/` between plain "
                                       f"names are allowed inside a run folder. Rename the file.")
    path = folder
    for part in parts:
        path = path / part
        if path.is_symlink():
            raise UsageError("UPM-RN-004", f"{path} is a symbolic link; a run folder holds plain files only. "
                                           f"Replace the link by the file it points to.")
    return path


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def make_folder(folder: Path) -> None:
    """Create `folder` (0700) in an existing parent, durably; an existing one is left as it is."""
    try:
        os.mkdir(folder, FOLDER_MODE)
    except FileExistsError:
        return
    except OSError as error:
        raise storage_error(error, folder) from None
    sync_folder(folder.parent)


def _views(parts: tuple[Part, ...]) -> list[memoryview]:
    views = []
    for part in parts:
        if isinstance(part, np.ndarray):
            if part.size:
                views.append(np.ascontiguousarray(part).data.cast("B"))
        elif len(part):
            views.append(memoryview(part).cast("B"))
    return views


def write_file(path: Path, *parts: Part) -> str:
    """Write the parts one after another as `path`, atomically and durably; returns the SHA-256 (hex).

    No part is copied. An existing file of that name is replaced. Raises CapacityError where the disk is full or the
    folder cannot be written; the temporary file is removed then, and an older `path` is as it was.
    """
    temporary = path.with_name("." + path.name + PART_SUFFIX)
    digest = hashlib.sha256()
    try:
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, FILE_MODE)
        try:
            for view in _views(parts):
                for start in range(0, len(view), _PIECE):
                    piece = view[start:start + _PIECE]
                    digest.update(piece)
                    while piece:
                        piece = piece[os.write(handle, piece):]
            os.fsync(handle)
        finally:
            os.close(handle)
        os.replace(temporary, path)
        sync_folder(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise storage_error(error, path) from None
    return digest.hexdigest()


def sha256_of(path: Path) -> str:
    """SHA-256 (hex) of a file, read in pieces."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def remove_parts(folder: Path) -> None:
    """Remove temporary files that a killed process left anywhere under `folder`."""
    for root, _, names in os.walk(folder):
        for name in names:
            if name.startswith(".") and name.endswith(PART_SUFFIX):
                with contextlib.suppress(OSError):
                    os.unlink(os.path.join(root, name))
