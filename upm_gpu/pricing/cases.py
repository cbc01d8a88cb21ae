"""The table of `upm price`: one row a case, read as text, checked cell by cell, valued by a backend, written back with the results.

A bad row costs itself only: it comes back with a code in `error` and blank results. The codes are UPM-PR-010 to 069; codes below
are errors of the file (nothing is computed). Columns of the file that are not known are kept as they are.
"""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from upm_gpu.domain.cells import CellFault, parse_number, shown
from upm_gpu.domain.text import cell_text, escape_cell
from upm_gpu.errors import InputError
from upm_gpu.formula.operations import operation_named
from upm_gpu.pricing.products import STATUSES, read_row
from upm_gpu.pricing.products.cells import Reading, Refused

RESULTS = ("price", "delta", "gamma", "vega", "theta", "rho", "dividend_rho", "implied_volatility", "price_coin", "delta_coin", "method", "error")
SECOND = ("delta", "gamma", "vega", "dividend_rho")
MORE = tuple(f"{name}_2" for name in SECOND)
"""columns after those of RESULTS, where the file has an option on two assets: Greeks of the second"""
REQUIRED = ("product",)
MOST_CASES = 10_000_000

Values = Callable[[str, dict[str, NDArray[np.float64]]], dict[str, NDArray[np.float64]]]


@dataclass(frozen=True)
class CaseTable:
    """A file of cases as text."""

    name: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    lines: tuple[int, ...]
    """(rows,) line of the file each row ends on"""


@dataclass(frozen=True)
class CaseFault:
    """Why one row has no values; `str()` is the message for people, `code` the cell of the table."""

    line: int
    code: str
    message: str

    def __str__(self) -> str:
        return f"{self.code} line {self.line}: {self.message}"


def read_cases(path: Path) -> CaseTable:
    """Read a CSV (also `.gz`), UTF-8, with a header. Raises InputError where the file as a whole cannot be used."""
    name = path.name
    try:
        if path.suffix == ".gz":
            with gzip.open(path, "rb") as file:
                raw = file.read()
        else:
            raw = path.read_bytes()
        text = raw.decode("utf-8-sig")
    except OSError as error:
        raise InputError("UPM-PR-003", f"{path}: cannot be read ({error.strerror or error}). Give a CSV file of cases.") from None
    except EOFError:
        raise InputError("UPM-PR-003", f"{name}: the compressed file ends early. Write it again.") from None
    except UnicodeDecodeError as error:
        raise InputError("UPM-PR-003", f"{name}: byte {error.start} is not UTF-8. Save the file as UTF-8.") from None
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows, lines = [], []
    try:
        for row in reader:
            if any(cell.strip() for cell in row):
                rows.append(tuple(row))
                lines.append(reader.line_num)
    except csv.Error as error:
        raise InputError("UPM-PR-003", f"{name} line {reader.line_num}: not a CSV ({error}). Close every quote and write one case a line.") from None
    if not rows:
        raise InputError("UPM-PR-004", f"{name} is empty. The first line names the columns: case_id, product, option_type, strike and so on.")
    header = tuple(cell.strip() for cell in rows[0])
    missing = [c for c in REQUIRED if c not in header]
    if missing:
        raise InputError("UPM-PR-005", f"{name} line {lines[0]}: no column {', '.join(missing)}. The header has {', '.join(map(shown, header[:20]))}.")
    twice = sorted({c for c in header if c and header.count(c) > 1})
    if twice:
        raise InputError("UPM-PR-005", f"{name} line {lines[0]}: column {', '.join(twice)} appears twice. Keep one.")
    if len(rows) - 1 > MOST_CASES:
        raise InputError("UPM-PR-006", f"{name}: {len(rows) - 1} cases, more than {MOST_CASES}. Split the file.")
    return CaseTable(name, header, tuple(rows[1:]), tuple(lines[1:]))


def value_cases(table: CaseTable, values: Values) -> tuple[list[dict[str, Any]], list[CaseFault]]:
    """Results of every row under the names of RESULTS (None where not offered), and the rows that have none with the reason.

    `values` is a backend's operation of that name; it is called once for each operation with all its good rows.
    """
    results: list[dict[str, Any]] = [{} for _ in table.rows]
    faults: list[CaseFault] = []

    def refuse(i: int, code: str, message: str) -> None:
        results[i] = {"method": results[i].get("method"), "error": code}
        faults.append(CaseFault(table.lines[i], code, message))

    batches: dict[str, list[tuple[int, Reading]]] = {}
    for i, row in enumerate(table.rows):
        try:
            if len(row) != len(table.header):
                raise Refused("UPM-PR-023", f"{len(row)} cells, the header has {len(table.header)}.")
            reading = read_row(dict(zip(table.header, row, strict=True)))
        except Refused as refused:
            refuse(i, refused.code, refused.message)
            continue
        results[i]["method"] = reading.method
        batches.setdefault(reading.operation, []).append((i, reading))
    for operation, batch in batches.items():
        for part in _of_like_width(batch):
            found = values(operation, _stacked(operation, [reading.columns for _, reading in part]))
            for at, (i, _) in enumerate(part):
                status = int(found["status"][at])
                if status:
                    refuse(i, *STATUSES[status])
                elif not np.isfinite(found["price"][at]):
                    refuse(i, "UPM-PR-024", "the value leaves the range of double precision.")
                else:
                    own = {name: float(found[name][at]) for name in RESULTS if name in found and np.isfinite(found[name][at])}
                    quanto = part[at][1].quanto
                    results[i] |= own if quanto is None else quanto.turned(own)
            _second_asset(operation, part, values, results)
    return results, sorted(faults, key=lambda fault: fault.line)


def _second_asset(operation: str, part: list[tuple[int, Reading]], values: Values, results: list[dict[str, Any]]) -> None:
    """Greeks of the second asset of the rows that have one and a price."""
    good = [(i, reading.beside) for i, reading in part if reading.beside is not None and not results[i].get("error")]
    if not good:
        return
    found = values(operation, _stacked(operation, [columns for _, columns in good]))
    for at, (i, _) in enumerate(good):
        results[i] |= {f"{name}_2": float(found[name][at]) for name in SECOND if np.isfinite(found[name][at])}


def _width(reading: Reading) -> int:
    return max((len(column) for column in reading.columns.values() if isinstance(column, tuple)), default=0)


def _of_like_width(batch: list[tuple[int, Reading]]) -> list[list[tuple[int, Reading]]]:
    """The rows in parts whose repeated columns are of like length, so that one long row does not widen a million short ones."""
    parts: dict[int, list[tuple[int, Reading]]] = {}
    for i, reading in batch:
        parts.setdefault(_width(reading).bit_length(), []).append((i, reading))
    return list(parts.values())


def _stacked(operation: str, rows: list[dict[str, float | tuple[float, ...]]]) -> dict[str, NDArray[np.float64]]:
    """Columns of rows: (cases,), or (times, cases) filled with NaN for repeated ones; what a row lacks is absent."""
    wanted = operation_named(operation)
    columns: dict[str, NDArray[np.float64]] = {}
    for name in dict.fromkeys(name for row in rows for name in row):
        cells: list[Any] = [row[name] if name in row else wanted.absent[name] for row in rows]
        if name in wanted.repeated:
            columns[name] = np.full((max(map(len, cells)), len(rows)), np.nan)
            for at, cell in enumerate(cells):
                columns[name][: len(cell), at] = cell
        else:
            columns[name] = np.array(cells, float)
    return columns


def _safe(text: str) -> str:
    """A cell of the input as it was; text that a spreadsheet would run is escaped, numbers are not."""
    try:
        parse_number(text)
    except CellFault:
        return escape_cell(text)
    return text


def case_text(table: CaseTable, results: list[dict[str, Any]]) -> str:
    """The rows as they came, without columns that the results replace, and the results; numbers in the shortest exact form."""
    names = (*RESULTS, *(MORE if any(MORE[0] in result for result in results) else ()))
    kept = [i for i, name in enumerate(table.header) if name not in names]
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([*(escape_cell(table.header[i]) for i in kept), *names])
    for row, result in zip(table.rows, results, strict=True):
        padded = (*row, *[""] * (len(table.header) - len(row)))
        writer.writerow([*(_safe(padded[i]) for i in kept), *(cell_text(result.get(name)) for name in names)])
    return buffer.getvalue()
