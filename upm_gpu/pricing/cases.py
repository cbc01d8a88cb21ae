"""The table of `upm price`: one row a case, read as text, checked cell by cell, valued by a backend, written back with the results.

A bad row costs itself only: it comes back with a code in `error` and blank results. The codes are UPM-PR-010 to 029; codes below
are errors of the file (nothing is computed). Columns of the file that are not known are kept as they are.
"""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from upm_gpu.domain.cells import CellFault, parse_number, shown
from upm_gpu.domain.text import cell_text, escape_cell
from upm_gpu.errors import InputError
from upm_gpu.formula.black import EUROPEAN_INPUTS
from upm_gpu.formula.implied_volatility import ABOVE_BOUND, BELOW_PAYOFF, FOUND, NO_TIME_VALUE

RESULTS = ("price", "delta", "gamma", "vega", "theta", "rho", "dividend_rho", "implied_volatility", "price_coin", "delta_coin", "method", "error")
PRODUCTS = ("european", "american", "digital", "barrier", "double_barrier", "digital_barrier", "one_touch", "no_touch", "asian", "forward_start",
            "spread", "maximum_of_two", "minimum_of_two")
MODELS = ("black_scholes", "merton", "heston", "bates")
REQUIRED = ("product",)
MOST_CASES = 10_000_000

Values = Callable[[dict[str, NDArray[np.float64]]], dict[str, NDArray[np.float64]]]


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


class _Refused(Exception):
    def __init__(self, number: int, message: str) -> None:
        super().__init__(message)
        self.code = f"UPM-PR-{number:03d}"
        self.message = message


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


def _number(cells: dict[str, str], column: str, default: float | None = None) -> float:
    text = cells.get(column, "")
    if not text.strip():
        if default is None:
            raise _Refused(16, f"column {column} is blank. Give a number.")
        return default
    try:
        return parse_number(text)
    except CellFault as fault:
        raise _Refused(15, f"column {column}: {fault.message}") from None


def _one_of(cells: dict[str, str], column: str, allowed: Sequence[str], default: str = "", *, number: int) -> str:
    value = cells.get(column, "").strip() or default
    if value not in allowed:
        raise _Refused(number, f"column {column}: {shown(value)} is not one of {', '.join(allowed)}.")
    return value


def _european(cells: dict[str, str]) -> tuple[dict[str, float], str]:
    """Columns of `european_values` and the name of the method for one row, or _Refused."""
    product = _one_of(cells, "product", PRODUCTS, number=10)
    model = _one_of(cells, "model", MODELS, "black_scholes", number=11)
    if product != "european":
        raise _Refused(10, f"product {product} is not offered. Offered: european.")
    if model != "black_scholes":
        raise _Refused(11, f"model {model} is not offered for european. Offered: black_scholes.")
    if cells.get("dividends", "").strip():
        raise _Refused(12, "cash dividends are not offered for european. Leave `dividends` blank and give dividend_yield.")
    sign = 1.0 if _one_of(cells, "option_type", ("call", "put"), number=13) == "call" else -1.0
    inverse = _one_of(cells, "settlement", ("linear", "inverse"), "linear", number=14) == "inverse"
    nan = float("nan")
    row = {"sign": sign, "inverse": float(inverse)}
    for column, default in (("spot", nan), ("forward", nan), ("strike", None), ("time_to_expiry", None), ("rate", 0.0), ("dividend_yield", 0.0),
                            ("volatility", nan), ("market_price", nan)):
        row[column] = _number(cells, column, default)
    given = [c for c in ("spot", "forward") if not np.isnan(row[c])]
    if len(given) != 1:
        raise _Refused(17, f"{'both spot and forward are' if given else 'neither spot nor forward is'} given. Give one of them.")
    for column in (*given, "strike"):
        if not row[column] > 0.0:
            raise _Refused(18, f"column {column}: {row[column]!r} is not above 0.")
    for column in ("time_to_expiry", "volatility", "market_price"):
        if row[column] < 0.0:
            raise _Refused(18, f"column {column}: {row[column]!r} is below 0.")
    asked = np.isnan(row["volatility"])
    if asked and np.isnan(row["market_price"]):
        raise _Refused(19, "volatility and market_price are both blank. Give the volatility, or the price to imply it from.")
    if asked and row["time_to_expiry"] == 0.0:
        raise _Refused(18, "an implied volatility needs a time_to_expiry above 0.")
    formula = "black_76" if given == ["forward"] else "black_scholes_generalised"
    return row, formula + ("_inverse" if inverse else "") + ("_implied_volatility" if asked else "")


_STATUS = {
    BELOW_PAYOFF: (20, "the market price is below the payoff at the forward: no volatility gives it."),
    ABOVE_BOUND: (21, "the market price is at or above the forward (call) or the strike (put), discounted: no volatility gives it."),
    NO_TIME_VALUE: (22, "the market price has no time value above rounding: every small volatility gives it."),
}


def value_cases(table: CaseTable, values: Values) -> tuple[list[dict[str, Any]], list[CaseFault]]:
    """Results of every row under the names of RESULTS (None where not offered), and the rows that have none with the reason.

    `values` is a backend's operation of that name; it is called once with all good rows.
    """
    results: list[dict[str, Any]] = [{} for _ in table.rows]
    faults: list[CaseFault] = []

    def refuse(i: int, refused: _Refused) -> None:
        results[i] = {"method": results[i].get("method"), "error": refused.code}
        faults.append(CaseFault(table.lines[i], refused.code, refused.message))

    good: list[tuple[int, dict[str, float]]] = []
    for i, row in enumerate(table.rows):
        try:
            if len(row) != len(table.header):
                raise _Refused(23, f"{len(row)} cells, the header has {len(table.header)}.")
            columns, method = _european(dict(zip(table.header, row, strict=True)))
        except _Refused as refused:
            refuse(i, refused)
            continue
        results[i]["method"] = method
        good.append((i, columns))
    if good:
        found = values({name: np.array([columns[name] for _, columns in good]) for name in EUROPEAN_INPUTS})
        for at, (i, _) in enumerate(good):
            status = int(found["status"][at])
            if status != FOUND:
                refuse(i, _Refused(*_STATUS.get(status, (24, "the arguments leave the range of double precision."))))
            elif not np.isfinite(found["price"][at]):
                refuse(i, _Refused(24, "the value leaves the range of double precision."))
            else:
                results[i] |= {name: float(found[name][at]) for name in RESULTS if name in found and np.isfinite(found[name][at])}
    return results, sorted(faults, key=lambda fault: fault.line)


def _safe(text: str) -> str:
    """A cell of the input as it was; text that a spreadsheet would run is escaped, numbers are not."""
    try:
        parse_number(text)
    except CellFault:
        return escape_cell(text)
    return text


def case_text(table: CaseTable, results: list[dict[str, Any]]) -> str:
    """The rows as they came, without columns that the results replace, and the results; numbers in the shortest exact form."""
    kept = [i for i, name in enumerate(table.header) if name not in RESULTS]
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([*(escape_cell(table.header[i]) for i in kept), *RESULTS])
    for row, result in zip(table.rows, results, strict=True):
        padded = (*row, *[""] * (len(table.header) - len(row)))
        writer.writerow([*(_safe(padded[i]) for i in kept), *(cell_text(result.get(name)) for name in RESULTS)])
    return buffer.getvalue()
