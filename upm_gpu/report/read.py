"""Reading a run folder: columns of Parquet files, rows of CSV files, objects of JSON files.

A file that is not there is None, so that its section can say so; a file that is there and cannot be read is an
`IntegrityError`, because a report that silently leaves a figure out is worse than none.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from upm_gpu.errors import IntegrityError

if TYPE_CHECKING:
    import pyarrow as pa

Columns = dict[str, NDArray]
"""equally long columns by name: float64, int64 or object (text)"""


def read_json(path: Path) -> dict | None:
    """The object in a JSON file, None where there is no file."""
    if not path.is_file():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise _unreadable(path, error) from None


def read_table(path: Path) -> Columns | None:
    """The columns of a Parquet file, None where there is no file. Text columns have no nulls: they read as ""."""
    if not path.is_file():
        return None
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(path).read()
    except (OSError, pa.ArrowException) as error:
        raise _unreadable(path, error) from None
    return {name: _column(table.column(name)) for name in table.column_names}


def read_rows(path: Path) -> list[dict[str, str]] | None:
    """The rows of a CSV file as text, None where there is no file."""
    if not path.is_file():
        return None
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            return list(csv.DictReader(stream))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise _unreadable(path, error) from None


def where(columns: Columns | None, **equal: object) -> Columns | None:
    """`select`, with None where there are no columns or no such row."""
    found = {} if columns is None else select(columns, **equal)
    return found if length(found) else None


def select(columns: Columns, **equal: object) -> Columns:
    """The rows, maybe none, in which every named column has the given value."""
    keep = np.ones(length(columns), dtype=bool)
    for name, value in equal.items():
        keep &= columns[name] == value
    return {name: values[keep] for name, values in columns.items()}


def length(columns: Columns) -> int:
    """Rows."""
    return len(next(iter(columns.values()))) if columns else 0


def _column(chunks: pa.ChunkedArray) -> NDArray:
    import pyarrow as pa

    kind = chunks.type
    if pa.types.is_dictionary(kind):
        chunks = chunks.cast(kind.value_type)
        kind = kind.value_type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        # one object a distinct text: a million rows repeat a few thousand ids
        coded = chunks.fill_null("").combine_chunks().dictionary_encode()
        return np.array(coded.dictionary.to_pylist(), dtype=object)[coded.indices.to_numpy()]
    if pa.types.is_boolean(kind):
        return np.array([bool(value) for value in chunks.to_pylist()], dtype=bool)
    if pa.types.is_integer(kind) and chunks.null_count == 0:
        return chunks.to_numpy().astype(np.int64)
    if pa.types.is_floating(kind) or pa.types.is_integer(kind):
        return np.asarray(chunks.cast(pa.float64()).to_numpy(), dtype=np.float64)
    return np.array(["" if value is None else str(value) for value in chunks.to_pylist()], dtype=object)


def _unreadable(path: Path, error: Exception) -> IntegrityError:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return IntegrityError("UPM-RN-043", f"{path} cannot be read: {reason}. Check the folder with `upm verify {path.parent}`.")
