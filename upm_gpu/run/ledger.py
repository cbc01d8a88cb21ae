"""The ledger of finished chunks: SQLite rows that point to immutable files, each with its SHA-256.

A chunk is first made durable as `chunks/<set>-<first>-<last>.upm`, then entered in `ledger.sqlite` (WAL,
synchronous=FULL, one statement a transaction). So a row is never ahead of its file, and what a killed process left
without a row is removed when the run is opened again.

A chunk file is `UPMCHUNK`, version and header length (uint32 each, little endian), a JSON header (name, type and
shape of each array, padded with spaces to 64 bytes), then the raw little-endian arrays, each padded to 64 bytes.
Nothing in it is executed when it is read.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sqlite3
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from upm_gpu.errors import CapacityError, IntegrityError
from upm_gpu.run import durable
from upm_gpu.run.folder import CHUNKS, LEDGER

MAGIC = b"UPMCHUNK"
VERSION = 1
ALIGN = 64
TYPES = frozenset({"<f8", "<f4", "<u8", "<u4", "<u2", "<i8", "<i4", "|u1"})

_TABLE = """CREATE TABLE IF NOT EXISTS chunk (
    scenario_set INTEGER NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL, state TEXT NOT NULL,
    file TEXT NOT NULL, sha256 TEXT NOT NULL, bytes INTEGER NOT NULL, seconds REAL NOT NULL, attempt INTEGER NOT NULL,
    PRIMARY KEY (scenario_set, first, last)) WITHOUT ROWID"""


@dataclass(frozen=True)
class Chunk:
    """A finished range [first, last) of scenarios of one scenario set."""

    scenario_set: int
    first: int
    last: int
    file: str
    sha256: str
    bytes: int
    seconds: float
    attempt: int


def chunk_name(scenario_set: int, first: int, last: int) -> str:
    """File name of a chunk."""
    return f"{CHUNKS}/{scenario_set}-{first}-{last}.upm"


class Ledger:
    """An open ledger. Made by `open_ledger`; `with` closes it."""

    def __init__(self, folder: Path, connection: sqlite3.Connection) -> None:
        self.folder = folder
        self.connection = connection

    def close(self) -> None:
        """Close the database."""
        self.connection.close()

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def _full(error: sqlite3.Error, folder: Path) -> CapacityError:
    return CapacityError("UPM-RN-010", f"{folder / LEDGER}: no room to write or disk failure ({error}). What was finished is "
                                       f"kept: free some space, then go on with `upm resume`.")


def open_ledger(folder: Path) -> Ledger:
    """Open or create the ledger of a locked run folder.

    Raises IntegrityError where the file is no ledger (`discard_ledger` starts it anew), CapacityError on a full disk.
    """
    path = folder / LEDGER
    durable.make_folder(folder / CHUNKS)
    connection = None
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, durable.FILE_MODE))
        connection = sqlite3.connect(path, isolation_level=None, timeout=10)
        connection.execute("PRAGMA journal_mode=WAL")  # where the file system cannot, SQLite keeps a rollback journal: as durable
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute(_TABLE)
        connection.execute("SELECT count(*) FROM chunk").fetchone()
        durable.sync_folder(folder)
    except sqlite3.OperationalError as error:
        if connection is not None:
            connection.close()
        raise _full(error, folder) from None
    except sqlite3.DatabaseError as error:
        if connection is not None:
            connection.close()
        raise IntegrityError("UPM-RN-021", f"{path} is damaged ({error}). Its chunks are computed again.") from None
    except OSError as error:
        raise durable.storage_error(error, path) from None
    return Ledger(folder, connection)


def discard_ledger(folder: Path) -> None:
    """Remove a ledger and its chunks, so that the run starts from its first scenario."""
    for name in (LEDGER, LEDGER + "-wal", LEDGER + "-shm", LEDGER + "-journal"):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(folder / name)
    remove_chunks(folder)


def remove_chunks(folder: Path, keep: frozenset[str] = frozenset()) -> None:
    """Remove every file of `chunks/` but those named; the folder too when none is kept."""
    chunks = folder / CHUNKS
    if not chunks.is_dir():
        return
    for name in os.listdir(chunks):
        if f"{CHUNKS}/{name}" not in keep:
            with contextlib.suppress(OSError):
                os.unlink(chunks / name)
    if not keep:
        with contextlib.suppress(OSError):
            os.rmdir(chunks)


def _padding(length: int) -> int:
    return -length % ALIGN


def write_chunk(ledger: Ledger, first: int, last: int, arrays: Mapping[str, NDArray], *, seconds: float = 0.0,
                scenario_set: int = 0) -> Chunk:
    """Make a chunk durable and enter it; no array is copied. Raises CapacityError on a full disk."""
    ordered = {name: np.ascontiguousarray(a, dtype=a.dtype.newbyteorder("<")) for name, a in arrays.items()}
    entries = [{"name": name, "type": a.dtype.str, "shape": list(a.shape)} for name, a in ordered.items()]
    bad = [e["name"] for e in entries if e["type"] not in TYPES]
    if bad:
        raise TypeError(f"arrays {bad} have no type of a chunk file")
    header = json.dumps({"first": first, "last": last, "scenario_set": scenario_set, "arrays": entries}, sort_keys=True).encode()
    header += b" " * _padding(16 + len(header))
    parts: list[durable.Part] = [MAGIC + struct.pack("<II", VERSION, len(header)) + header]
    for a in ordered.values():
        parts += [a, bytes(_padding(a.nbytes))]
    name = chunk_name(scenario_set, first, last)
    digest = durable.write_file(ledger.folder / name, *parts)
    size = sum(p.nbytes if isinstance(p, np.ndarray) else len(p) for p in parts)
    try:
        before = ledger.connection.execute("SELECT attempt FROM chunk WHERE scenario_set = ? AND first = ? AND last = ?",
                                           (scenario_set, first, last)).fetchone()
        chunk = Chunk(scenario_set, first, last, name, digest, size, seconds, 1 + (before[0] if before else 0))
        ledger.connection.execute("INSERT OR REPLACE INTO chunk VALUES (?, ?, ?, 'done', ?, ?, ?, ?, ?)",
                                  (scenario_set, first, last, name, digest, size, seconds, chunk.attempt))
    except sqlite3.Error as error:
        raise _full(error, ledger.folder) from None
    return chunk


def completed(ledger: Ledger, scenario_set: int | None = None) -> list[Chunk]:
    """The finished chunks, ascending."""
    rows = ledger.connection.execute("SELECT scenario_set, first, last, file, sha256, bytes, seconds, attempt FROM chunk "
                                     "WHERE state = 'done' ORDER BY scenario_set, first, last")
    return [c for c in (Chunk(*row) for row in rows) if scenario_set in (None, c.scenario_set)]


def drop_chunk(ledger: Ledger, chunk: Chunk) -> None:
    """Strike a damaged chunk: its range counts as never done, its attempts are kept."""
    try:
        ledger.connection.execute("UPDATE chunk SET state = 'damaged' WHERE scenario_set = ? AND first = ? AND last = ?",
                                  (chunk.scenario_set, chunk.first, chunk.last))
    except sqlite3.Error as error:
        raise _full(error, ledger.folder) from None
    with contextlib.suppress(OSError):
        os.unlink(ledger.folder / chunk.file)


def read_chunk(ledger: Ledger, chunk: Chunk) -> dict[str, NDArray]:
    """The arrays of a chunk, after its size and SHA-256 were found right; raises IntegrityError naming the file."""
    if chunk.file != chunk_name(chunk.scenario_set, chunk.first, chunk.last):
        raise IntegrityError("UPM-RN-021", f"{LEDGER}: the entry of {chunk.file!a} does not match its range. It is computed again.")
    path = ledger.folder / chunk.file
    try:
        content = np.fromfile(path, dtype=np.uint8) if not path.is_symlink() else np.empty(0, np.uint8)
    except OSError as error:
        raise IntegrityError("UPM-RN-021", f"{chunk.file}: cannot be read ({os.strerror(error.errno or 0)}). It is computed again.") from None
    if len(content) != chunk.bytes or hashlib.sha256(content.data).hexdigest() != chunk.sha256:
        raise IntegrityError("UPM-RN-021", f"{chunk.file}: does not match its SHA-256 in {LEDGER}. It is computed again.")
    raw = content.data
    version, length = struct.unpack_from("<II", raw, 8)
    if bytes(raw[:8]) != MAGIC or version != VERSION:
        raise IntegrityError("UPM-RN-021", f"{chunk.file}: unknown chunk format {version}. It is computed again.")
    header = json.loads(bytes(raw[16:16 + length]))
    arrays, at = {}, 16 + length
    for entry in header["arrays"]:
        kind = np.dtype(entry["type"])
        size = int(np.prod(entry["shape"], dtype=np.int64)) * kind.itemsize
        arrays[entry["name"]] = np.frombuffer(content, np.uint8, size, at).view(kind).reshape(entry["shape"])
        at += size + _padding(size)
    return arrays


def settle(ledger: Ledger) -> None:
    """Fold the write-ahead log into the one file and close, so that the ledger can be sealed with a checksum."""
    try:
        ledger.connection.execute("PRAGMA journal_mode=DELETE")
    except sqlite3.Error as error:
        raise _full(error, ledger.folder) from None
    finally:
        ledger.close()
