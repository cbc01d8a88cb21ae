"""Tables from a user: CSV or Parquet as chunks of TEXT columns with their line numbers.

Every cell arrives as text ("" where blank), because a reader that guesses types turns account 007 into 7 and NA into
null. Meaning is given afterwards, a column at a time, by `cells.py`, which knows the line of each value. A row that
cannot be used is set aside as a `Reject`; a file that cannot be used raises InputError (MarketDataError for market
files). In a Parquet file, row r (from 0) counts as line r + 2, as if it had been exported with its header.

Verified: tests/faults/test_book_files.py writes each damaged file and asks for code, line and the rows kept.
"""

from __future__ import annotations

import csv
import difflib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
from numpy.typing import NDArray

from upm_gpu.domain.blocks import (
    Block,
    Limits,
    LineFault,
    Notes,
    drop_lines,
    fail,
    looks_like_delimiter,
    read_blocks,
    read_stream,
)
from upm_gpu.domain.book import Reject

MAX_LISTED = 200_000
"""rejects of one file after which reading stops: the file is not what its name says"""


@dataclass(frozen=True)
class Schema:
    """The columns of one table. `room` is the middle of its error codes; `ids` must be text in a Parquet file."""

    name: str
    required: tuple[str, ...]
    optional: tuple[str, ...] = ()
    ids: frozenset[str] = frozenset()
    room: str = "IN"
    may_be_empty: bool = False
    ignored: frozenset[str] = frozenset()
    """known columns of wider files that are left unread without a warning"""

    @property
    def known(self) -> tuple[str, ...]:
        """Every column that is read."""
        return self.required + self.optional


@dataclass
class Sheet:
    """The running record of one file while it is read: rejects, warnings, rows."""

    file: str
    room: str
    rejects: list[Reject] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    rows: int = 0

    def reject(self, line: int, column: str, number: int, message: str, raw: str) -> None:
        """Record a row that cannot be used; too many end the reading (InputError)."""
        self.rejects.append(Reject(self.file, line, column, f"UPM-{self.room}-{number:03d}", message, raw))
        if len(self.rejects) >= MAX_LISTED:
            first = reject_text(min(self.rejects, key=lambda r: r.line))
            fail(self.room, 40, f"{self.file}: {MAX_LISTED} rows rejected, reading stopped. First: {first}")


@dataclass
class Chunk:
    """Some rows of a table. Columns are Arrow text arrays of equal length n, without nulls."""

    sheet: Sheet
    columns: dict[str, pa.Array]
    lines: NDArray[np.int64]
    block: Block | None
    rejected: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.lines)

    def raw(self, row: int) -> str:
        """The row as it stands in the file, shortened."""
        if self.block is not None:
            return self.block.raw(row)
        return ",".join(column[row].as_py() for column in self.columns.values())[:200]

    def reject(self, row: int, column: str, number: int, message: str) -> None:
        """Set a row aside; the first fault found in a row is the one reported."""
        if not self.rejected[row]:
            self.rejected[row] = True
            self.sheet.reject(int(self.lines[row]), column, number, message, self.raw(row))


def reject_text(reject: Reject, kept: int | None = None) -> str:
    """One line for people: code, file, line, column, what is wrong, remedy, what happened."""
    place = f"{reject.file} line {reject.line}" + (f" column {reject.column}" if reject.column else "")
    tail = "" if kept is None else f" (row rejected, {kept} rows kept)"
    return f"{reject.code} {place}: {reject.message}{tail}"


def nearest(name: str, known: tuple[str, ...] | list[str]) -> str:
    """The known name closest to a misspelt one, or ""."""
    folded = {k.lower().replace("_", ""): k for k in known}
    key = name.strip().lower().replace("_", "").replace(" ", "").replace("-", "")
    close = difflib.get_close_matches(key, folded, n=1, cutoff=0.6)
    return folded[close[0]] if close else ""


def check_header(names: list[str], schema: Schema, sheet: Sheet) -> None:
    """Refuse a header that lacks a column, repeats one or has a column without a name; warn of unknown ones."""
    file = sheet.file
    for index, name in enumerate(names):
        if not name:
            fail(schema.room, 5, f"{file} line 1: column {index + 1} has no name. Name it or remove it.")
        if name in names[:index]:
            fail(schema.room, 5, f"{file} line 1: column {name} appears twice (columns {names.index(name) + 1} and {index + 1}). Remove one.")
    missing = [c for c in schema.required if c not in names]
    extra = [n for n in names if n not in schema.known and n not in schema.ignored]
    if missing:
        pairs = {m: nearest(m, extra) for m in missing}
        named = [f"{m} (the header has {near!r}: rename it)" if near else m for m, near in pairs.items()]
        plural = "column" if len(missing) == 1 else "columns"
        fail(schema.room, 4 if any(pairs.values()) else 6, f"{file} line 1: missing {plural} {', '.join(named)}. Needed: {', '.join(schema.required)}.")
    for name in extra:
        near = nearest(name, [c for c in schema.optional if c not in names])
        hint = f" Did you mean {near}?" if near else ""
        sheet.warnings.append(f"UPM-{schema.room}-007 {file} line 1: column {name!r} is not known and is not used; its rows are kept.{hint}")


def read_chunks(path: Path, schema: Schema, sheet: Sheet, limits: Limits | None = None) -> Iterator[Chunk]:
    """The rows of a table by chunks, structure checked; counts rows and structural rejects in `sheet`."""
    limits = limits or Limits()
    reader = _parquet_chunks if ".parquet" in path.suffixes else _csv_chunks
    any_rows = False
    for chunk in reader(path, schema, sheet, limits):
        any_rows = any_rows or sheet.rows > 0
        yield chunk
    if not any_rows and sheet.rows == 0 and not schema.may_be_empty:
        fail(schema.room, 3, f"{sheet.file}: there is a header and no row. Was the export cut?")


def _csv_chunks(path: Path, schema: Schema, sheet: Sheet, limits: Limits) -> Iterator[Chunk]:
    notes = Notes()
    names: list[str] | None = None
    for block in read_blocks(path, schema.room, limits, notes):
        if names is None:
            names, block = _take_header(block, schema, sheet)
        blank = np.flatnonzero(np.diff(block.ends, prepend=-1) == 1)
        sheet.rows += len(block.faults) + len(block.ends) - len(blank)
        for fault in block.faults:
            sheet.reject(fault.line, "", fault.number, fault.message, fault.raw)
        if len(blank):
            block = drop_lines(Block(block.data, block.ends, block.lines), blank, ())
        if len(block.ends):
            yield _parse_block(block, names, schema, sheet)
    if names is None:
        fail(schema.room, 2, f"{sheet.file}: the file is empty. It needs the header {','.join(schema.required)} and rows.")
    sheet.warnings += [f"UPM-{schema.room}-019 {text}" for text in notes.warnings]


def _take_header(block: Block, schema: Schema, sheet: Sheet) -> tuple[list[str], Block]:
    if block.faults and block.faults[0].line == 1:
        fault = block.faults[0]
        fail(schema.room, fault.number, f"{sheet.file} line 1: the header cannot be read: {fault.message}")
    header = block.data[: block.ends[0]].decode("utf-8")
    if not header.strip():
        fail(schema.room, 2, f"{sheet.file} line 1: the line is blank where the header {','.join(schema.required)} should be.")
    mark = looks_like_delimiter(header)
    if mark and len(schema.required) > 1:
        fail(schema.room, 13, f"{sheet.file} line 1: columns are separated by {mark}. Export with commas (and decimal points).")
    try:
        names = [cell.strip() for cell in next(csv.reader([header], strict=True))]
    except csv.Error as error:
        fail(schema.room, 16, f"{sheet.file} line 1: the header has an unclosed quote ({error}).")
    check_header(names, schema, sheet)
    size = int(block.ends[0]) + 1
    return names, Block(block.data[size:], block.ends[1:] - size, block.lines[1:], block.faults)


def _parse_block(block: Block, names: list[str], schema: Schema, sheet: Sheet, attempt: int = 0) -> Chunk:
    wrong: list[tuple[int, int]] = []

    def note(row: pyarrow.csv.InvalidRow) -> str:
        wrong.append((row.number - 1, row.actual_columns))
        return "skip"

    used = [n for n in names if n in schema.known]
    if not len(block.ends):
        return Chunk(sheet, {n: pa.array([], pa.string()) for n in used}, block.lines, block, np.zeros(0, bool))
    try:
        table = pyarrow.csv.read_csv(
            pa.BufferReader(block.data),
            read_options=pyarrow.csv.ReadOptions(column_names=names, use_threads=False, block_size=len(block.data) + 1),
            parse_options=pyarrow.csv.ParseOptions(ignore_empty_lines=False, invalid_row_handler=note),
            convert_options=pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()), include_columns=used,
                                                       strings_can_be_null=False, check_utf8=False),
        )
        whole = table.num_rows + len(wrong) == len(block.ends) and (attempt == 2 or _closed(block.raw_line(len(block.ends) - 1)))
    except pa.ArrowInvalid:
        whole = False
    if not whole:
        if attempt == 2:
            fail(schema.room, 16, f"{sheet.file} lines {block.lines[0]} to {block.lines[-1]}: the quotes cannot be followed. Export without quotes.")
        return _parse_block(_without_open_quotes(block, sheet, every_line=attempt == 1), names, schema, sheet, attempt + 1)
    faults = [(row, _field_count(count, len(names))) for row, count in wrong]
    block = _set_aside(block, faults, sheet)
    columns = {n: table[n].combine_chunks() if table[n].num_chunks != 1 else table[n].chunk(0) for n in used}
    return Chunk(sheet, columns, block.lines, block, np.zeros(len(block.ends), bool))


def _closed(line: str) -> bool:
    """Whether every quote of a line is closed on it. Elsewhere an open quote swallows a line and shows in the row count; not on the last one."""
    try:
        list(csv.reader([line], strict=True))
    except csv.Error:
        return False
    return True


def _field_count(count: int, expected: int) -> tuple[int, str]:
    what = "too few" if count < expected else "too many"
    hint = " Is a value with a comma missing its quotes?" if count > expected else " Was the line cut?"
    return 17, f"the row has {count} values where the header has {expected}: {what}.{hint}"


def _set_aside(block: Block, faults: list[tuple[int, tuple[int, str]]], sheet: Sheet) -> Block:
    if not faults:
        return block
    for row, (number, message) in faults:
        sheet.reject(int(block.lines[row]), "", number, message, block.raw(row))
    return drop_lines(block, np.array([row for row, _ in faults]), ())


def _without_open_quotes(block: Block, sheet: Sheet, every_line: bool) -> Block:
    """Set aside the lines whose quotes do not close, so that none swallows the next: those with an odd count first, which are nearly all."""
    quotes = np.flatnonzero(np.frombuffer(block.data, np.uint8) == ord('"'))
    count = np.diff(np.searchsorted(quotes, block.ends), prepend=0)
    suspects = np.flatnonzero(count > 0 if every_line else count % 2 == 1)
    message = "a quote is opened and not closed on this line. Close it, or double a quote inside a value."
    return _set_aside(block, [(row, (16, message)) for row in suspects.tolist() if not _closed(block.raw_line(row))], sheet)


def _parquet_chunks(path: Path, schema: Schema, sheet: Sheet, limits: Limits) -> Iterator[Chunk]:
    import pyarrow.parquet as pq

    room, name = schema.room, sheet.file
    if path.suffix == ".parquet":
        with path.open("rb") as handle:
            head = handle.read(8)
            size = handle.seek(0, 2)
            handle.seek(max(size - 4, 0))
            foot = handle.read(4)
        source: object = str(path)
    else:
        data = b"".join(read_stream(path, room, limits))
        head, foot, size, source = data[:8], data[-4:], len(data), pa.BufferReader(data)
    if size == 0:
        fail(room, 2, f"{name}: the file is empty.")
    if not head.startswith(b"PAR1"):
        fail(room, 21, f"{name} does not begin as a Parquet file does (it begins {head!r}). If it is CSV, call it {path.name.split('.')[0]}.csv.")
    if foot != b"PAR1":
        fail(room, 21, f"{name} is a Parquet file without its end: it was cut. Copy it again.")
    try:
        # ParquetFile raises many kinds on damaged bytes; none of them is a fault of ours.
        file = pq.ParquetFile(source, page_checksum_verification=True)
        arrow = file.schema_arrow
    except (OSError, ValueError, pa.ArrowException, MemoryError) as error:
        fail(room, 22, f"{name}: the Parquet file is damaged ({' '.join(str(error).split())[:120]}). Copy it again.")
    check_header(arrow.names, schema, sheet)
    used = [n for n in arrow.names if n in schema.known]
    for column in used:
        _check_parquet_type(arrow.field(column).type, column, schema, name)
    line = 2
    batches = file.iter_batches(batch_size=131_072, columns=used)
    while True:
        try:
            batch = next(batches, None)
            if batch is None:
                return
            columns = {n: _as_text(batch.column(n)) for n in used}
        except (OSError, ValueError, pa.ArrowException, MemoryError) as error:
            fail(room, 22, f"{name} near row {line - 2}: the Parquet data are damaged ({' '.join(str(error).split())[:120]}). Copy it again.")
        n = batch.num_rows
        sheet.rows += n
        if n:
            yield Chunk(sheet, columns, line + np.arange(n, dtype=np.int64), None, np.zeros(n, bool))
        line += n


def _check_parquet_type(kind: pa.DataType, column: str, schema: Schema, name: str) -> None:
    value = kind.value_type if pa.types.is_dictionary(kind) else kind
    text = pa.types.is_string(value) or pa.types.is_large_string(value) or pa.types.is_string_view(value)
    if column in schema.ids and not text and not pa.types.is_null(value):
        fail(schema.room, 23, f"{name} column {column}: stored as {kind}; ids are text, or 007 is already 7. Write the column as strings.")
    if pa.types.is_timestamp(value) and value.tz is None:
        fail(schema.room, 31, f"{name} column {column}: timestamps without time zone. Write them with zone UTC.")
    if pa.types.is_nested(value) or pa.types.is_binary(value) or pa.types.is_large_binary(value):
        fail(schema.room, 23, f"{name} column {column}: stored as {kind}; a plain text, number or timestamp column is needed.")


def _as_text(array: pa.Array) -> pa.Array:
    """Text that reads back to the same value (shortest form for floats); null becomes ""."""
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if pa.types.is_timestamp(array.type):
        array = pc.cast(array, pa.timestamp("us", array.type.tz), safe=False)
        array = pc.strftime(pc.cast(array, pa.timestamp("us", "UTC")), format="%Y-%m-%dT%H:%M:%SZ")
    text = pc.cast(array, pa.string())
    text.validate(full=True)
    return pc.fill_null(text, "")


__all__ = ["Chunk", "LineFault", "Reject", "Schema", "Sheet", "check_header", "nearest", "read_chunks", "reject_text"]
