"""Files as blocks of whole lines: decompression with caps, encoding, line ends, line numbers. No meaning of columns here.

A block holds complete lines, each ended by one LF, of at most `Limits.max_line` bytes, without NUL, in UTF-8. Lines
that are not so are handed back as faults with their number, and every other line keeps its own number.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from upm_gpu.errors import InputError, MarketDataError

SUFFIXES = (".csv", ".csv.gz", ".csv.zst", ".parquet", ".parquet.gz", ".parquet.zst")
RAW_CHARACTERS = 200
"""of a rejected line that are kept: enough to find it, small enough to list every one"""


@dataclass(frozen=True)
class Limits:
    """Caps that stop a hostile or broken file before it fills the memory."""

    max_line: int = 65_536
    """bytes of one line; a row of the widest table is below 1 kB"""
    max_bytes: int = 32 << 30
    """decompressed size"""
    max_ratio: float = 300.0
    """decompressed / stored; tables reach 5 to 50, a gzip bomb 1,000"""
    ratio_from: int = 64 << 20
    """decompressed bytes from which the ratio counts: tiny repetitive files may compress any amount"""
    block: int = 8 << 20
    """bytes read at a time"""


@dataclass(frozen=True)
class LineFault:
    """A line that cannot be read."""

    line: int
    number: int
    message: str
    raw: str


@dataclass(frozen=True)
class Block:
    """Complete lines. `ends` are the offsets of the LF bytes, `lines` the line numbers in the file, both (n,)."""

    data: bytes
    ends: NDArray[np.int64]
    lines: NDArray[np.int64]
    faults: tuple[LineFault, ...] = ()

    @property
    def starts(self) -> NDArray[np.int64]:
        """(n,) offset of the first byte of each line."""
        return np.concatenate([np.zeros(1, np.int64), self.ends[:-1] + 1]) if len(self.ends) else self.ends

    def raw_line(self, row: int) -> str:
        """A whole line as text."""
        return self.data[int(self.ends[row - 1]) + 1 if row else 0 : int(self.ends[row])].decode("utf-8", "replace")

    def raw(self, row: int) -> str:
        """The start of a line as text, for the list of rejects."""
        start = int(self.ends[row - 1]) + 1 if row else 0
        return self.data[start : min(int(self.ends[row]), start + RAW_CHARACTERS)].decode("utf-8", "replace")


def fail(room: str, number: int, message: str) -> NoReturn:
    """Raise the whole-file error of a room: IN book files, MD market files."""
    kind = MarketDataError if room == "MD" else InputError
    raise kind(f"UPM-{room}-{number:03d}", message)


def find_table(folder: Path, name: str, room: str, required: bool = True) -> Path | None:
    """The one file `name` + a known suffix in `folder`; None when there is none and it is not required."""
    found = [folder / (name + s) for s in SUFFIXES if (folder / (name + s)).exists()]
    if len(found) > 1:
        fail(room, 1, f"{folder}: both {found[0].name} and {found[1].name} exist. Keep one.")
    if not found:
        if not required:
            return None
        near = sorted(p.name for p in folder.iterdir() if p.name.lower().startswith(name[:4]))
        hint = f" Found instead: {', '.join(near[:3])}." if near else ""
        fail(room, 1, f"{folder}: there is no {name}.csv or {name}.parquet (.gz and .zst are allowed).{hint}")
    path = found[0]
    if path.is_dir():
        fail(room, 1, f"{path} is a folder, not a file.")
    if not path.is_file():
        fail(room, 1, f"{path} is not a regular file.")
    return path


def check_folder(folder: Path, room: str, what: str) -> Path:
    """The folder, or InputError / MarketDataError where it is none."""
    if not folder.exists():
        fail(room, 1, f"{what} folder {folder} does not exist. Give a folder, or sample:crypto.")
    if not folder.is_dir():
        fail(room, 1, f"{what} path {folder} is a file. Give the folder that holds the tables, or sample:crypto.")
    return folder


def file_hash(path: Path, room: str) -> str:
    """SHA-256 of the bytes as stored."""
    try:
        with path.open("rb") as handle:
            return hashlib.file_digest(handle, "sha256").hexdigest()
    except OSError as error:
        fail(room, 1, f"{path.name} cannot be read: {error.strerror}. Check its permissions.")


def read_stream(path: Path, room: str, limits: Limits) -> Iterator[bytes]:
    """Decompressed bytes by pieces, under the caps."""
    kind = {".gz": "gzip", ".zst": "zstd"}.get(path.suffix)
    try:
        source = pa.OSFile(str(path), "rb")
    except OSError as error:
        fail(room, 1, f"{path.name} cannot be read: {error}. Check its permissions.")
    with source:
        stream = source if kind is None else pa.CompressedInputStream(source, kind)
        total = 0
        while True:
            try:
                piece = stream.read(limits.block)
            except (OSError, EOFError, pa.ArrowException) as error:
                fail(room, 20, f"{path.name}: the {kind or 'file'} stream is damaged or cut after {total} bytes ({_one_line(error)}). Copy the file again.")
            if not piece:
                return
            total += len(piece)
            if total > limits.max_bytes:
                fail(room, 20, f"{path.name}: more than {limits.max_bytes} bytes once decompressed; the limit protects the memory. Split the file.")
            if kind and total >= limits.ratio_from and total > limits.max_ratio * max(source.tell(), 1):
                fail(room, 20, f"{path.name}: expands more than {limits.max_ratio:g} times, as a decompression bomb does. Store it uncompressed if it is real.")
            yield piece


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:120]


def _check_start(head: bytes, name: str, room: str) -> bytes:
    """Refuse by name what is not UTF-8 text; take the UTF-8 mark off."""
    if head.startswith(b"\xef\xbb\xbf"):
        return head[3:]
    for mark, what in ((b"\xff\xfe", "UTF-16"), (b"\xfe\xff", "UTF-16")):
        if head.startswith(mark):
            fail(room, 10, f"{name} line 1: the file is {what}. Save it as UTF-8 (Excel: CSV UTF-8).")
    for magic, what in ((b"PAR1", "a Parquet file"), (b"\x1f\x8b", "a gzip file"), (b"\x28\xb5\x2f\xfd", "a zstd file"), (b"PK\x03\x04", "an Excel workbook or zip archive")):
        if head.startswith(magic):
            fail(room, 10, f"{name} is {what}, not CSV text. Give it the extension of what it is, or export CSV.")
    probe = head[:4096]
    if probe.count(0) * 5 > len(probe):
        fail(room, 10, f"{name} line 1: every second byte is NUL, so the file is UTF-16. Save it as UTF-8.")
    return head


def _check_utf8(data: bytes, first_line: int, name: str, room: str) -> None:
    if data.isascii():
        return
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = first_line + data.count(b"\n", 0, error.start)
        fail(room, 10, f"{name} line {line}: byte 0x{data[error.start]:02X} is not UTF-8; the file looks like Latin-1 (Windows-1252). Save it as UTF-8.")


def _text_of(data: bytes) -> str:
    return data[:RAW_CHARACTERS].decode("utf-8", "replace")


def cut_lines(data: bytes, first_line: int, name: str, room: str, limits: Limits) -> Block:
    """Number the lines and set aside those that hold NUL or are too long. `data` ends with LF."""
    _check_utf8(data, first_line, name, room)
    ends = np.flatnonzero(np.frombuffer(data, np.uint8) == 10).astype(np.int64)
    lines = first_line + np.arange(len(ends), dtype=np.int64)
    starts = np.concatenate([np.zeros(1, np.int64), ends[:-1] + 1])
    bad: dict[int, tuple[int, str]] = {}
    for row in np.flatnonzero(ends - starts > limits.max_line):
        bad[int(row)] = (18, f"the line has {ends[row] - starts[row]} bytes; at most {limits.max_line} are read. Was a line end lost?")
    if b"\0" in data:
        where = np.flatnonzero(np.frombuffer(data, np.uint8) == 0)
        for row in np.unique(np.searchsorted(ends, where)):
            bad.setdefault(int(row), (11, "the line holds NUL bytes, as a torn copy does. Copy or export the file again."))
    if not bad:
        return Block(data, ends, lines)
    block = Block(data, ends, lines)
    faults = tuple(LineFault(int(lines[r]), *bad[r], block.raw(r).replace("\0", "\\0")) for r in sorted(bad))
    return drop_lines(block, np.array(sorted(bad)), faults)


def drop_lines(block: Block, rows: NDArray[np.int64], faults: tuple[LineFault, ...]) -> Block:
    """The block without some rows (ascending); the others keep their numbers."""
    keep = np.ones(len(block.ends), bool)
    keep[rows] = False
    starts = block.starts
    froms = [0, *(block.ends[rows] + 1).tolist()]
    data = b"".join(block.data[a:b] for a, b in zip(froms, [*starts[rows].tolist(), len(block.data)], strict=True))
    removed = np.zeros(len(block.ends), np.int64)
    removed[rows] = block.ends[rows] + 1 - starts[rows]
    return Block(data, (block.ends - np.cumsum(removed))[keep], block.lines[keep], block.faults + faults)


@dataclass
class Notes:
    """What a reader of lines has to say when the file is over."""

    warnings: list[str] = field(default_factory=list)


def read_blocks(path: Path, room: str, limits: Limits, notes: Notes,
                stream: Callable[[Path, str, Limits], Iterator[bytes]] = read_stream) -> Iterator[Block]:
    """Blocks of whole lines of a text file; CRLF, lone CR and a mix of them count as line ends.

    A line beyond `max_line` is never held whole: its bytes are dropped while they stream in.
    """
    name, line = path.name, 1
    tail, dropped, dropped_raw, any_bytes = b"", 0, "", False
    for piece in stream(path, room, limits):
        if not any_bytes:
            piece = _check_start(piece, name, room)
            any_bytes = True
        data = tail + piece
        held = b""
        if data.endswith(b"\r"):
            data, held = data[:-1], b"\r"
        if b"\r" in data:
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        cut = data.rfind(b"\n") + 1
        whole, tail = data[:cut], data[cut:]
        faults: tuple[LineFault, ...] = ()
        if whole and dropped:
            first = whole.index(b"\n") + 1
            faults = (_long(line, dropped + first - 1, dropped_raw, limits),)
            whole, dropped, line = whole[first:], 0, line + 1
        if whole or faults:
            block = cut_lines(whole, line, name, room, limits) if whole else Block(b"", np.zeros(0, np.int64), np.zeros(0, np.int64))
            line += whole.count(b"\n")
            yield Block(block.data, block.ends, block.lines, faults + block.faults)
        if dropped or len(tail) > limits.max_line:
            dropped_raw = dropped_raw if dropped else _text_of(tail)
            dropped += len(tail)
            tail = b""
        tail += held
    if tail.endswith(b"\r"):
        yield cut_lines(tail[:-1] + b"\n", line, name, room, limits)
    elif dropped:
        yield Block(b"", np.zeros(0, np.int64), np.zeros(0, np.int64), (_long(line, dropped + len(tail), dropped_raw, limits),))
    elif tail:
        notes.warnings.append(f"{name} line {line}: the last line has no line end; if the file was cut, its last value may be short.")
        yield cut_lines(tail + b"\n", line, name, room, limits)


def _long(line: int, size: int, raw: str, limits: Limits) -> LineFault:
    return LineFault(line, 18, f"the line has {size} bytes; at most {limits.max_line} are read. Was a line end lost?", raw)


def looks_like_delimiter(header: str) -> str:
    """The name of a delimiter other than the comma that the header is written with, else ""."""
    if "," in header:
        return ""
    for mark, what in ((";", "semicolons"), ("\t", "tabs"), ("|", "bars")):
        if mark in header:
            return what
    return ""


