"""What a cell means: numbers, ids, instants, choices. Whole columns at once; only bad cells are looked at one by one.

Each function takes a `Chunk`, sets aside the rows whose cell cannot be used, and gives an array for all its rows, with a
placeholder where the row was rejected. A cell that is wrong is never repaired: the message says what to write.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from upm_gpu.domain.tables import Chunk, nearest

PLAIN = r"^[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?$"
_PLAIN = re.compile(PLAIN)
TIDY_ID = r"^[!-~]([ -~]{0,126}[!-~])?$"
MAX_ID = 128
LARGEST_EXACT = 2.0**53
"""beyond it float64 no longer counts single contracts"""
_ISO = re.compile(r"(\d{4})-(\d{2})-(\d{2})[T ](\d{2}):(\d{2})(?::(\d{2})(?:\.(\d{1,9}))?)?(Z|z|[+-]\d{2}:?\d{2})?")
_DATE = re.compile(r"(\d{4})-(\d{2})-(\d{2})")
_LATIN_LOOKALIKES = frozenset("\u0410\u0412\u0415\u0405\u0406\u0408\u041a\u041c\u041d\u041e\u0420\u0421\u0422\u0423\u0425\u0430\u0435\u0456\u0458\u043e\u0440\u0441\u0443\u0445\u04bb\u0501\u051b\u051d\u0455\u0391\u0392\u0395\u0396\u0397\u0399\u039a\u039c\u039d\u039f\u03a1\u03a4\u03a5\u03a7\u03bf\u03b1\u03bd")


class CellFault(Exception):
    """Why one cell cannot be used: the number of its code and the message."""

    def __init__(self, number: int, message: str) -> None:
        super().__init__(message)
        self.number = number
        self.message = message


def shown(text: str) -> str:
    """A cell as shown in a message: quoted, short, with what cannot be seen spelled out."""
    short = text if len(text) <= 60 else text[:57] + "..."
    return '"' + "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in short) + '"'


def parse_number(text: str) -> float:
    """A finite float64, or CellFault with the likely intention."""
    plain = text.strip(" \t")
    if not plain:
        raise CellFault(24, "the value is empty. Give a number.")
    if _PLAIN.match(plain):
        value = float(plain)
        if math.isinf(value):
            raise CellFault(24, f"{shown(text)} is beyond the largest number. Check the exponent.")
        if value == 0.0 and re.search("[1-9]", re.split("[eE]", plain)[0]):
            raise CellFault(24, f"{shown(text)} is too small to be told from 0. Check the exponent.")
        return value + 0.0
    if re.fullmatch(r"[+-]?(nan|inf|infinity)|#?n/?a|null|none|#\w+[!?]?", plain, re.IGNORECASE):
        raise CellFault(24, f"{shown(text)} is not a finite number. Give the number or remove the row.")
    raise CellFault(14, f"{shown(text)} is not a plain number.{_intention(plain)}")


def _intention(text: str) -> str:
    body = text.replace("\u2212", "-").replace("\u2013", "-").replace("\u00a0", " ").replace("\u202f", " ").replace("\u2019", "'")
    if match := re.fullmatch(r"\((.*)\)", body):
        body = "-" + match[1]
    body = re.sub(r"^([+-]?)[$\u20ac\u00a3]", r"\1", body)
    number = None
    if re.fullmatch(r"[+-]?\d{1,3}([,' _]\d{3})+(\.\d+)?", body):
        number = re.sub("[,' _]", "", body)
    elif re.fullmatch(r"[+-]?\d{1,3}(\.\d{3})+,\d+", body) or re.fullmatch(r"[+-]?\d+,\d+", body):
        number = body.replace(".", "").replace(",", ".")
    elif _PLAIN.match(body):
        number = body
    if number is not None:
        return f" Use {number}."
    return " Write digits and a decimal point, such as -1000.5."


def numbers(chunk: Chunk, column: str, blank: bool = False) -> NDArray[np.float64]:
    """(n,) finite float64; NaN where blank is allowed or the row was rejected. A missing column is all NaN."""
    text = chunk.columns.get(column)
    if text is None:
        return np.full(len(chunk), np.nan)
    plain = pc.match_substring_regex(text, PLAIN)
    good = plain.to_numpy(zero_copy_only=False)
    usable = text if good.all() else pc.if_else(plain, text, pa.scalar(None, pa.string()))
    values = np.array(pc.cast(usable, pa.float64()).to_numpy(zero_copy_only=False), np.float64)
    odd = np.flatnonzero(~np.isfinite(values) | (values == 0.0))
    faults: dict[str, CellFault] = {}
    for row, cell in zip(odd.tolist(), text.take(pa.array(odd)).to_pylist(), strict=True):
        if cell not in faults:
            if blank and not cell.strip(" \t"):
                continue
            try:
                values[row] = parse_number(cell)
                continue
            except CellFault as fault:
                faults[cell] = fault
        values[row] = np.nan
        chunk.reject(row, column, faults[cell].number, faults[cell].message)
    return values


def require(chunk: Chunk, column: str, values: NDArray[np.float64], good: NDArray[np.bool_], number: int,
            why: Callable[[str], str]) -> None:
    """Reject the rows where `good` is False and the value is a number; `why` makes the message from the cell."""
    for row in np.flatnonzero(~good & ~np.isnan(values)):
        chunk.reject(int(row), column, number, why(shown(chunk.columns[column][int(row)].as_py())))


def check_id(text: str) -> str:
    """An id as it is kept, or CellFault. Blanks around it are taken off by the caller; nothing else is touched.

    Refused: invisible characters, characters that a compatibility form would change (full width), a mix of
    Latin with Cyrillic or Greek letters, and words made only of letters that look Latin and are not.
    """
    if not text:
        raise CellFault(36, "the id is empty.")
    if len(text) > MAX_ID:
        raise CellFault(36, f"the id has {len(text)} characters; at most {MAX_ID} are allowed.")
    for position, char in enumerate(text):
        if char != " " and unicodedata.category(char) in ("Cc", "Cf", "Zs", "Zl", "Zp", "Co", "Cn", "Cs"):
            name = unicodedata.name(char, "CONTROL CHARACTER")
            raise CellFault(36, f"{shown(text)} holds the invisible character U+{ord(char):04X} {name} at position {position + 1}. Remove it.")
    if unicodedata.normalize("NFKC", text) != text:
        plain = unicodedata.normalize("NFKC", text)
        raise CellFault(36, f"{shown(text)} holds look-alike characters; its plain form is {shown(plain)}. Write that.")
    foreign = [c for c in text if c.isalpha() and unicodedata.name(c, "").startswith(("CYRILLIC", "GREEK"))]
    latin = any(c.isalpha() and (c.isascii() or unicodedata.name(c, "").startswith("LATIN")) for c in text)
    if foreign and (latin or all(c in _LATIN_LOOKALIKES for c in foreign)):
        c = foreign[0]
        raise CellFault(36, f"{shown(text)} holds U+{ord(c):04X} {unicodedata.name(c)}, which looks like a Latin letter. Type the id again.")
    return text


def identifiers(chunk: Chunk, column: str, blank: bool = False) -> tuple[NDArray[np.int32], list[str]]:
    """(n,) index into the distinct ids of the chunk, and those ids; "" where blank is allowed or the column is missing."""
    text = chunk.columns.get(column)
    if text is None:
        return np.zeros(len(chunk), np.int32), [""]
    coded = pc.dictionary_encode(text)
    codes = coded.indices.to_numpy(zero_copy_only=False).astype(np.int32, copy=False)
    tidy = pc.match_substring_regex(coded.dictionary, TIDY_ID).to_numpy(zero_copy_only=False)
    ids: list[str] = coded.dictionary.to_pylist()
    faults: dict[int, CellFault] = {}
    trimmed = np.zeros(len(ids), bool)
    for index in np.flatnonzero(~tidy).tolist():
        cell = ids[index]
        try:
            ids[index] = cell.strip(" \t")
            trimmed[index] = ids[index] != cell
            if ids[index] or not blank:
                check_id(ids[index])
        except CellFault as fault:
            faults[index] = fault
    reject_codes(chunk, column, codes, faults)
    if trimmed.any():
        rows = int(trimmed[codes].sum())
        chunk.sheet.warnings.append(f"UPM-{chunk.sheet.room}-036 {chunk.sheet.file} column {column}: spaces around the id taken off in {rows} rows.")
    return codes, ids


def reject_codes(chunk: Chunk, column: str, codes: NDArray[np.int32], faults: dict[int, CellFault]) -> None:
    """Reject every row whose distinct value (code) has a fault."""
    if faults:
        bad = np.zeros(int(codes.max()) + 1, bool)
        bad[list(faults)] = True
        for row in np.flatnonzero(bad[codes]).tolist():
            fault = faults[int(codes[row])]
            chunk.reject(row, column, fault.number, fault.message)


def parse_instant(text: str) -> datetime:
    """An aware UTC datetime from ISO 8601 with an offset, or CellFault that says what to write."""
    cell = text.strip(" \t")
    if not cell:
        raise CellFault(30, "the time is empty. Write it as 2026-02-06T08:00:00Z.")
    match = _ISO.fullmatch(cell)
    if match is None:
        raise _not_iso(text, cell)
    year, month, day, hour, minute, second, fraction, zone = match.groups()
    if zone is None:
        raise CellFault(31, f"{shown(text)} has no time zone. Add Z for UTC, or an offset such as +01:00.")
    try:
        micro = int((fraction or "0").ljust(9, "0")[:6])
        local = datetime(int(year), int(month), int(day), int(hour), int(minute), int(second or 0), micro, tzinfo=UTC)
        if zone in "Zz":
            return local
        hours, minutes = int(zone[1:3]), int(zone[-2:])
        if hours > 14 or minutes > 59:
            raise CellFault(31, f"{shown(text)} has the offset {zone}, which no clock uses. Write it in UTC with Z.")
        shift = timedelta(hours=hours, minutes=minutes)
        return local - shift if zone[0] == "+" else local + shift
    except (ValueError, OverflowError) as error:
        raise CellFault(30, f"{shown(text)} is not a time that exists ({error}).") from None


def parse_date(text: str) -> datetime:
    """The end of a day: date D means 24:00Z, the first instant of D + 1."""
    cell = text.strip(" \t")
    match = _DATE.fullmatch(cell)
    if match is None:
        if _ISO.fullmatch(cell):
            raise CellFault(30, f"{shown(text)} is a time in a date column. Name the column timestamp.")
        raise _not_iso(text, cell)
    try:
        return datetime(int(match[1]), int(match[2]), int(match[3]), tzinfo=UTC) + timedelta(days=1)
    except (ValueError, OverflowError) as error:
        raise CellFault(30, f"{shown(text)} is not a date that exists ({error}).") from None


def _not_iso(text: str, cell: str) -> CellFault:
    if re.fullmatch(r"\d{9,20}(\.\d+)?", cell):
        digits = len(cell.split(".")[0])
        unit, scale = ("seconds", 1) if digits <= 11 else ("milliseconds", 10**3) if digits <= 14 else ("microseconds", 10**6) if digits <= 17 else ("nanoseconds", 10**9)
        try:
            meant = datetime.fromtimestamp(int(cell.split(".")[0]) // scale, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        except (ValueError, OverflowError, OSError):
            meant = "no date"
        return CellFault(31, f"{shown(text)} is a count since 1970; in {unit} it would be {meant}. Write the time itself.")
    if _DATE.fullmatch(cell):
        return CellFault(31, f"{shown(text)} has no hour and no time zone. Write it as {cell}T08:00:00Z, with its hour.")
    if re.match(r"\d{4}-\d{2}-\d{2}[T ].*[A-Za-z]{2,}", cell):
        return CellFault(31, f"{shown(text)} has a zone by name, which is ambiguous when clocks change. Write it in UTC with Z.")
    if re.match(r"\d{1,2}[/.\-]\d{1,2}[/.\-]\d{2,4}", cell):
        return CellFault(30, f"{shown(text)} can be read as day/month or month/day. Write it as 2026-02-06T08:00:00Z.")
    return CellFault(30, f"{shown(text)} is not an ISO 8601 time. Write it as 2026-02-06T08:00:00Z.")


def instants(chunk: Chunk, column: str, blank: bool = False, parse: Callable[[str], datetime] = parse_instant) -> list[datetime | None]:
    """(n,) aware UTC datetimes; None where blank is allowed or the row was rejected. Each distinct text is read once."""
    text = chunk.columns.get(column)
    if text is None:
        return [None] * len(chunk)
    coded = pc.dictionary_encode(text)
    codes = coded.indices.to_numpy(zero_copy_only=False)
    found: list[datetime | None] = []
    faults: dict[int, CellFault] = {}
    for index, cell in enumerate(coded.dictionary.to_pylist()):
        value = None
        if not (blank and not cell.strip(" \t")):
            try:
                value = parse(cell)
            except CellFault as fault:
                faults[index] = fault
        found.append(value)
    reject_codes(chunk, column, codes, faults)
    return [found[c] for c in codes]


def choice(text: str, allowed: dict[str, str], what: str) -> str:
    """One of the allowed words in any case, or CellFault with the nearest one. `allowed` maps lower-case spelling to word."""
    word = text.strip(" \t")
    if word.lower() in allowed:
        return allowed[word.lower()]
    words = list(dict.fromkeys(allowed.values()))
    near = nearest(word, words) if word else ""
    hint = f" Did you mean {near}?" if near else ""
    raise CellFault(33, f"{shown(text)} is not a known {what}.{hint} Use {', '.join(words[:-1])} or {words[-1]}.")


def currency(text: str, what: str = "currency") -> str:
    """A currency or asset code: 2 to 12 capital letters or digits."""
    word = text.strip(" \t")
    if not word:
        raise CellFault(34, f"the {what} is empty. Give its code, such as USD.")
    if not re.fullmatch(r"[A-Z0-9]{2,12}", word):
        hint = f" Write {word.upper()}." if re.fullmatch(r"[A-Za-z0-9]{2,12}", word) else " Give a code such as USD."
        raise CellFault(34, f"{shown(text)} is not a {what} code.{hint}")
    return word
