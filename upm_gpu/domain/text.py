"""How values are written: instants, cells and tables of CSV, in the shortest form that reads back to the same bits."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def instant_text(time: datetime) -> str:
    """ISO 8601 in UTC with a Z, to the second; such texts sort as times.

    >>> instant_text(datetime(2026, 2, 6, 8, tzinfo=UTC))
    '2026-02-06T08:00:00Z'
    """
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def escape_cell(text: str) -> str:
    """A text cell that no spreadsheet runs as a formula: a leading = + - @ tab or CR gets an apostrophe before it.

    >>> escape_cell("=1+1"), escape_cell("A-1")
    ("'=1+1", 'A-1')
    """
    return "'" + text if text.startswith(FORMULA_STARTS) else text


def cell_text(value: Any, whole: bool = False) -> str:
    """One value as a CSV cell: None and NaN blank, -0.0 as 0.0, texts escaped; `whole` writes 5.0 as 5, for tables people edit.

    >>> cell_text(0.1), cell_text(float("nan")), cell_text(5.0, whole=True)
    ('0.1', '', '5')
    """
    if value is None:
        return ""
    if isinstance(value, bool | np.bool_):
        return "true" if value else "false"
    if isinstance(value, np.float32):
        return str(value)
    if isinstance(value, float | np.floating):
        number = float(value) + 0.0
        if math.isnan(number):
            return ""
        return str(int(number)) if whole and abs(number) < 1e15 and number == int(number) else repr(number)
    if isinstance(value, int | np.integer):
        return str(int(value))
    return instant_text(value) if isinstance(value, datetime) else escape_cell(str(value))


def csv_text(header: Iterable[str], rows: Iterable[Iterable[Any]], whole: bool = False) -> str:
    """A table as CSV: LF line ends, minimal quotes, cells as `cell_text` writes them."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([escape_cell(name) for name in header])
    writer.writerows([cell_text(value, whole) for value in row] for row in rows)
    return buffer.getvalue()


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> Path:
    """A table that people may edit, as UTF-8 CSV; raises OSError."""
    path.write_bytes(csv_text(header, rows, whole=True).encode("utf-8"))
    return path
