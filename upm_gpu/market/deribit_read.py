"""Reads chain snapshots: tidy CSV, or the exchange's JSON. Text in, `Chain` out; every fault has a place."""

from __future__ import annotations

import csv
import gzip
import io
import json
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

from upm_gpu.domain.book import Reject
from upm_gpu.errors import MarketDataError
from upm_gpu.market.deribit import FUTURE_CONTRACT_SIZE, Chain, ChainRow, FutureRow

COLUMNS = ("timestamp", "instrument_name", "underlying_price", "underlying_name", "index_price", "mark_price", "mark_iv",
           "bid_price", "ask_price", "open_interest", "volume_24h")
# A chain of every listed option is under 2 MB of CSV and 10 MB of JSON; more is not a chain.
MAX_BYTES = 200_000_000
NAME = re.compile(r"([A-Z0-9]+)-(\d{1,2})([A-Z]{3})(\d{2})(?:-(\d+(?:d\d+)?)-([CP]))?")
MONTHS = {m: i + 1 for i, m in enumerate(["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"])}
# As `surface.py` takes them.
MAX_VOLATILITY = 10.0


class _Bad(Exception):
    def __init__(self, column: str, code: str, message: str) -> None:
        self.column, self.code, self.message = column, code, message


def read(path: Path, instruments: Path | None = None) -> Chain:
    """The chain of a CSV or JSON file or of a folder of JSON answers; `instruments` is a further JSON file."""
    extra = [] if instruments is None else [_load(_text(instruments), instruments)]
    if path.is_dir():
        files = sorted(p for p in path.iterdir() if p.name.endswith((".json", ".json.gz")))
        if not files:
            raise MarketDataError("UPM-MD-101", f"{path}: the folder holds no .json file. Give a CSV, a JSON file or a folder of JSON answers.")
        return _read_json(path.name, [_load(_text(p), p) for p in files] + extra)
    text = _text(path)
    if text.lstrip()[:1] in ("{", "["):
        return _read_json(path.name, [_load(text, path), *extra])
    return _read_csv(path.name, text)


def _text(path: Path) -> str:
    try:
        raw = path.read_bytes()
        if raw[:2] == b"\x1f\x8b":
            with gzip.GzipFile(fileobj=io.BytesIO(raw)) as stream:
                raw = stream.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise MarketDataError("UPM-MD-101", f"{path}: no such file. Give the path of a chain snapshot.") from None
    except (OSError, EOFError) as error:
        raise MarketDataError("UPM-MD-101", f"{path}: cannot be read ({error}). Fetch the snapshot again.") from None
    if len(raw) > MAX_BYTES:
        raise MarketDataError("UPM-MD-101", f"{path}: larger than {MAX_BYTES} bytes unpacked. Give one snapshot.")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise MarketDataError("UPM-MD-101", f"{path}: byte {error.start} is not UTF-8. Save the file as UTF-8.") from None
    if not text.strip():
        raise MarketDataError("UPM-MD-101", f"{path}: the file is empty. Fetch the snapshot again.")
    return text


def _load(text: str, path: Path) -> object:
    def refuse(value: str) -> float:
        raise ValueError(f"{value} is not JSON")

    try:
        return json.loads(text, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise MarketDataError("UPM-MD-106", f"{path}: not valid JSON ({error}). Save the exchange's answer unchanged.") from None


def _number(row: Mapping[str, object], column: str, blank: bool = False, positive: bool = False) -> float:
    value = row.get(column)
    if value is None or value == "":
        if blank:
            return math.nan
        raise _Bad(column, "UPM-MD-103", f"{column} is blank")
    try:
        number = float(value) if not isinstance(value, bool) else math.nan  # type: ignore[arg-type]
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise _Bad(column, "UPM-MD-103", f"{value!r} is not a plain number")
    if number < 0.0 or (positive and number == 0.0):
        raise _Bad(column, "UPM-MD-103", f"{column} {value} must be {'above' if positive else 'at least'} 0")
    return number


def _parse_name(name: str) -> tuple[str, datetime, float, str] | None:
    """(underlying, expiry, strike, option type) of an inverse instrument; strike NaN for a future. Expiries are at 08:00Z."""
    found = NAME.fullmatch(name)
    if not found or found[3] not in MONTHS:
        return None
    try:
        expiry = datetime(2000 + int(found[4]), MONTHS[found[3]], int(found[2]), 8, tzinfo=UTC)
    except ValueError:
        return None
    if found[5] is None:
        return found[1], expiry, math.nan, ""
    return found[1], expiry, float(found[5].replace("d", ".")), "call" if found[6] == "C" else "put"


def _option(line: int, name: str, terms: tuple[str, datetime, float, str], size: float, row: Mapping[str, object],
            percent: bool, names: Mapping[str, str], at: datetime) -> ChainRow:
    underlying, expiry, strike, option_type = terms
    if expiry <= at:
        raise _Bad("instrument_name", "UPM-MD-112", f"expired at {expiry.isoformat()}, before the snapshot")
    if not strike > 0.0:
        raise _Bad("strike", "UPM-MD-103", f"strike {strike} must be above 0")
    volatility = _number(row, "mark_iv", positive=True)
    # Ten digits: 51.96 percent is the same number whether a file was made by division or by multiplication.
    volatility = round(volatility / 100.0 if percent else volatility, 10)
    if volatility > MAX_VOLATILITY:
        raise _Bad("mark_iv", "UPM-MD-110", f"volatility {volatility:g} above {MAX_VOLATILITY:g}; "
                   f"mark_iv is a {'percentage' if percent else 'decimal'} here")
    bid, ask = _number(row, names["bid"], blank=True), _number(row, names["ask"], blank=True)
    if bid == 0.0:
        bid = math.nan
    if ask == 0.0:
        ask = math.nan
    if bid > ask:
        raise _Bad(names["bid"], "UPM-MD-113", f"bid {bid:g} above ask {ask:g}")
    interest, volume = _number(row, "open_interest", blank=True), _number(row, names["volume"], blank=True)
    return ChainRow(
        line=line, instrument_id=name, underlying=underlying, expiry=expiry, strike=strike, option_type=option_type,
        contract_size=size, index=_number(row, names["index"], positive=True), forward=_number(row, "underlying_price", positive=True),
        forward_name=str(row.get(names["forward"]) or ""), mark=_number(row, "mark_price"), implied_volatility=volatility,
        bid=bid, ask=ask, open_interest=0.0 if math.isnan(interest) else interest, volume=0.0 if math.isnan(volume) else volume)


def _read_csv(source: str, text: str) -> Chain:
    reader = csv.DictReader(io.StringIO(text, newline=""))
    header = reader.fieldnames or []
    missing = [c for c in COLUMNS if c not in header]
    if missing:
        raise MarketDataError("UPM-MD-102", f"{source} line 1: column {missing[0]} is missing (found {', '.join(map(str, header[:20]))}). "
                              f"A chain has {', '.join(COLUMNS)}.")
    return chain_of_rows(source, [(reader.line_num, row) for row in reader], len(header))


def chain_of_rows(source: str, rows: list[tuple[int, dict]], width: int) -> Chain:
    """The chain of one snapshot's rows by the names of `COLUMNS`, blank "" or NaN; `width` is the number of columns of the file."""
    at = _csv_time(source, rows)
    names = {"bid": "bid_price", "ask": "ask_price", "volume": "volume_24h", "index": "index_price", "forward": "underlying_name"}
    options, rejects = [], []
    seen: dict[str, int] = {}
    for line, row in rows:
        name = row["instrument_name"] or ""
        try:
            if None in row or None in row.values():
                raise _Bad("", "UPM-MD-103", f"the row has not {width} fields")
            terms = _parse_name(name)
            if terms is None or not terms[3]:
                raise _Bad("instrument_name", "UPM-MD-104", f"{name!r} is not the name of an inverse option such as BTC-26JUN26-70000-C")
            if name in seen:
                raise _Bad("instrument_name", "UPM-MD-104", f"{name} is on line {seen[name]} already")
            seen[name] = line
            options.append(_option(line, name, terms, 1.0, row, False, names, at))
        except _Bad as bad:
            rejects.append(Reject(source, line, bad.column, bad.code, bad.message, name))
    return Chain(source, at, tuple(options), tuple(_implied_futures(options)), tuple(rejects))


def _csv_time(source: str, rows: list[tuple[int, dict]]) -> datetime:
    stamps: dict[str, int] = {}
    for line, row in rows:
        stamps.setdefault(row["timestamp"] or "", line)
    if not rows:
        raise MarketDataError("UPM-MD-107", f"{source}: the file holds a header and no row. Give a snapshot of a whole chain.")
    if len(stamps) > 1:
        lines = list(stamps.items())[:2]
        raise MarketDataError("UPM-MD-105", f"{source} line {lines[1][1]} column timestamp: {lines[1][0]!r} after {lines[0][0]!r}: a snapshot has one "
                              "timestamp. Split the file by timestamp.")
    stamp, line = next(iter(stamps.items()))
    try:
        at = datetime.fromisoformat(stamp.replace("Z", "+00:00"))
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise MarketDataError("UPM-MD-105", f"{source} line {line} column timestamp: {stamp!r} is not a time with a zone such as 2026-02-05T09:36:47Z.")
    return at.astimezone(UTC)


def _implied_futures(options: list[ChainRow]) -> list[FutureRow]:
    """Perpetuals, and the dated futures that the chain names as underlyings (a synthetic one, SYN.*, is not listed)."""
    found = [FutureRow(f"{u}-PERPETUAL", u, None, FUTURE_CONTRACT_SIZE[u], math.nan)
             for u in sorted({r.underlying for r in options}) if u in FUTURE_CONTRACT_SIZE]
    dated = {}
    for r in options:
        terms = _parse_name(r.forward_name)
        if terms and not terms[3] and terms[:2] == (r.underlying, r.expiry) and r.underlying in FUTURE_CONTRACT_SIZE:
            dated[r.forward_name] = FutureRow(r.forward_name, r.underlying, r.expiry, FUTURE_CONTRACT_SIZE[r.underlying], math.nan)
    return found + [dated[name] for name in sorted(dated)]


def _collect(document: object, found: list[dict], depth: int = 0) -> None:
    """Every object with an instrument_name, whatever the envelope: an answer, its result, or several of them in one file."""
    if depth > 6:
        return
    if isinstance(document, dict):
        if "instrument_name" in document:
            found.append(document)
        else:
            for value in document.values():
                _collect(value, found, depth + 1)
    elif isinstance(document, list):
        for value in document:
            _collect(value, found, depth + 1)


def _time_of(milliseconds: float) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=milliseconds)


def _read_json(source: str, documents: list[object]) -> Chain:
    found: list[dict] = []
    for document in documents:
        _collect(document, found)
    summaries = [r for r in found if "mark_price" in r]
    listed = {str(r["instrument_name"]): r for r in found if "mark_price" not in r and "expiration_timestamp" in r}
    if not summaries:
        raise MarketDataError("UPM-MD-102", f"{source}: no row with instrument_name and mark_price. Save the result of public/get_book_summary_by_currency.")
    stamps = [r["creation_timestamp"] for r in summaries if isinstance(r.get("creation_timestamp"), int | float)]
    # Milliseconds since 1970: seconds would land in January 1970, nanoseconds beyond the year 9999.
    if not stamps or not all(1e12 < s < 1e13 for s in stamps):
        raise MarketDataError("UPM-MD-105", f"{source}: creation_timestamp is missing or not in milliseconds since 1970. Save the exchange's answer unchanged.")
    at = _time_of(max(stamps)).replace(microsecond=0)
    notes = [] if max(stamps) - min(stamps) <= 300_000 else [f"the rows span {(max(stamps) - min(stamps)) / 1000.0:.0f} s; the latest is the valuation time"]
    if not listed:
        notes.append("no answer of public/get_instruments: expiries, strikes and contract sizes come from the instrument names")
    names = {"bid": "bid_price", "ask": "ask_price", "volume": "volume", "index": "estimated_delivery_price", "forward": "underlying_index"}
    options, futures, rejects, skipped, seen = [], [], [], 0, set()
    for number, row in enumerate(summaries, 1):
        name = str(row["instrument_name"])
        try:
            if name in seen:
                raise _Bad("instrument_name", "UPM-MD-104", f"{name} is there twice")
            seen.add(name)
            terms, size = _terms(name, listed.get(name))
            if terms is None:
                skipped += 1
            elif terms[3]:
                options.append(_option(number, name, terms, size, row, True, names, at))  # type: ignore[arg-type]
            elif size > 0.0 and (terms[1] is None or terms[1] > at):
                futures.append(FutureRow(name, terms[0], terms[1], size, _number(row, "mark_price", positive=True)))
        except _Bad as bad:
            rejects.append(Reject(source, number, bad.column, bad.code, bad.message, name))
    if skipped:
        notes.append(f"{skipped} rows are no inverse futures or options and were left out")
    known = {f.instrument_id for f in futures}
    futures.extend(f for f in _implied_futures(options) if f.instrument_id not in known)
    futures.sort(key=lambda f: (f.expiry is not None, f.instrument_id))
    return Chain(source, at, tuple(options), tuple(futures), tuple(rejects), tuple(notes))


def _terms(name: str, listed: dict | None) -> tuple[tuple[str, datetime | None, float, str] | None, float]:
    """Terms and contract size from the instrument list, else from the name; None for what is not inverse."""
    terms: tuple[str, datetime | None, float, str] | None = _parse_name(name)
    if terms is None and name.endswith("-PERPETUAL") and "_" not in name:
        terms = (name.removesuffix("-PERPETUAL"), None, math.nan, "")
    if terms is None:
        return None, 0.0
    size = 1.0 if terms[3] else FUTURE_CONTRACT_SIZE.get(terms[0], 0.0)
    if listed is None:
        return terms, size
    underlying = str(listed.get("base_currency") or terms[0])
    if str(listed.get("settlement_currency") or underlying) != underlying or listed.get("kind") not in (None, "option", "future"):
        return None, 0.0
    expiry = terms[1]
    if expiry is not None:
        expiry = _time_of(_number(listed, "expiration_timestamp", positive=True))
    strike = _number(listed, "strike", positive=True) if terms[3] else math.nan
    return (underlying, expiry, strike, terms[3]), _number(listed, "contract_size", positive=True)
