"""Instruments that the book does not list: another strike, another expiry, another product, by their terms.

Terms are those of the `instruments` file, read and checked by its own reader, from a CSV or Parquet file, from JSON or TOML (a list of tables, in TOML `[[instrument]]`), or as KEY=VALUE pairs.
`like` takes what is not given from an instrument of the run. They are priced on the resident scenarios with the run's own market and surface, as in a fresh run of a book that lists them: a strike
without a quote has the volatility of the surface.
"""

from __future__ import annotations

import csv
import json
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from upm_gpu.domain.book import Book
from upm_gpu.domain.instrument import Future, Instrument, Option, Perpetual, Spot, expiry_of
from upm_gpu.domain.tables import Sheet, nearest
from upm_gpu.domain.terms import INSTRUMENTS, expired, read_terms
from upm_gpu.errors import InputError, UsageError
from upm_gpu.market.snapshot import MarketSnapshot

LIKE = "like"
FILES = (".csv", ".parquet", ".json", ".toml", ".gz", ".zst")


def read_instruments(given: Sequence[str], book: Book) -> tuple[Instrument, ...]:
    """Instruments of `--instrument` values: names of files, or KEY=VALUE pairs separated by commas. Raises UsageError UPM-CF-162, InputError UPM-IN-151."""
    found: list[Instrument] = []
    for text in given:
        path = Path(text)
        if path.suffix in FILES and "=" not in text:
            found += _of_file(path, book)
        else:
            found += instruments_of([_pairs(text)], book, "--instrument")
    return tuple(found)


def _pairs(text: str) -> dict[str, str]:
    pairs = [p.partition("=") for p in text.split(",") if p.strip()]
    if not pairs or any(not equals for _, equals, _ in pairs):
        raise UsageError("UPM-CF-162", f"--instrument {text!a}: is neither a file ({', '.join(FILES[:4])}) nor KEY=VALUE pairs. Write for example --instrument like=BTC-27MAR26-80000-C,instrument_id=BTC-27MAR26-85000-C,strike=85000.")
    return {key.strip(): value.strip() for key, _, value in pairs}


def _of_file(path: Path, book: Book) -> tuple[Instrument, ...]:
    if path.suffix not in (".json", ".toml"):
        if not path.is_file():
            raise InputError("UPM-IN-151", f"{path}: no such file of instrument terms. Give a CSV, Parquet, JSON or TOML file.")
        return _read(path, path.name)
    try:
        text = path.read_text("utf-8")
        data: Any = json.loads(text) if path.suffix == ".json" else _toml(text)
    except (OSError, ValueError) as error:
        raise InputError("UPM-IN-151", f"{path}: cannot be read as instrument terms ({str(error).splitlines()[0]}). Give a list of tables, in TOML [[instrument]].") from None
    if isinstance(data, dict):
        data = data["instrument"] if isinstance(data.get("instrument"), list) else [data]
    if not isinstance(data, list) or not data or not all(isinstance(row, dict) for row in data):
        raise InputError("UPM-IN-151", f"{path.name}: holds no list of instrument terms. Give a list of tables, in TOML [[instrument]].")
    return instruments_of([{str(k): _cell(v) for k, v in row.items()} for row in data], book, path.name)


def _toml(text: str) -> Any:
    import tomllib

    return tomllib.loads(text)


def _cell(value: Any) -> str:
    """A value of JSON or TOML as a cell of a table."""
    if value is None:
        return ""
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def instruments_of(rows: Sequence[Mapping[str, str]], book: Book, name: str) -> tuple[Instrument, ...]:
    """Instruments of rows of terms, `like` filled in. Raises InputError UPM-IN-151 with what is wrong."""
    known = {i.instrument_id: i for i in book.instruments}
    filled = []
    for row in rows:
        strange = [k for k in row if k not in INSTRUMENTS.known and k != LIKE]
        if strange:
            near = nearest(strange[0], [*INSTRUMENTS.known, LIKE])
            raise InputError("UPM-IN-151", f"{name}: {strange[0]!a} is no term of an instrument.{f' Did you mean {near}?' if near else ' Terms are the columns of the instruments file, and like.'}")
        base: dict[str, str] = {}
        if row.get(LIKE):
            if row[LIKE] not in known:
                near = nearest(row[LIKE], list(known))
                raise InputError("UPM-IN-151", f"{name}: like = {row[LIKE]!a} is no instrument of the run.{f' Did you mean {near}?' if near else ' Give its terms.'}")
            base = terms_of(known[row[LIKE]], name)
        filled.append(base | {k: v for k, v in row.items() if k != LIKE})
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "instruments.csv"
        with path.open("w", newline="", encoding="utf-8") as file:
            columns = list(dict.fromkeys([*INSTRUMENTS.required, *(k for row in filled for k in row)]))
            writer = csv.DictWriter(file, columns, restval="")
            writer.writeheader()
            writer.writerows(filled)
        return _read(path, name)


def terms_of(instrument: Instrument, name: str) -> dict[str, str]:
    """An instrument as cells of the instruments file. Raises InputError UPM-IN-151 for one with further terms."""
    if type(instrument) not in (Spot, Future, Perpetual, Option) or (isinstance(instrument, Option) and (instrument.quanto is not None or instrument.future_expiry is not None)):
        raise InputError("UPM-IN-151", f"{name}: like = {instrument.instrument_id!a} has terms of its own kind that are not copied. Give all terms of the new instrument.")
    cells = {"instrument_id": instrument.instrument_id, "kind": type(instrument).__name__.lower(), "underlying": instrument.underlying, "quote_currency": instrument.quote_currency,
             "contract_size": repr(instrument.contract_size)}
    expiry = expiry_of(instrument)
    if expiry is not None:
        cells["expiry"] = expiry.isoformat()
    if not isinstance(instrument, Spot):
        cells["settlement"] = instrument.settlement
    if isinstance(instrument, Option):
        cells |= {"strike": repr(instrument.strike), "option_type": instrument.option_type, "exercise": instrument.exercise, "premium": instrument.premium}
    return cells


def _read(path: Path, name: str) -> tuple[Instrument, ...]:
    """By the reader of the instruments file; nothing is set aside."""
    sheet = Sheet(name, "IN")
    terms = read_terms(path, sheet)
    if sheet.rejects:
        first = min(sheet.rejects, key=lambda r: r.line)
        raise InputError("UPM-IN-151", f"{name}, term {first.column} of the instrument: {first.message}")
    if terms.combos:
        raise InputError("UPM-IN-151", f"{name}: {next(iter(terms.combos))} is a combo, whose terms are those of its legs. Give orders in its legs.")
    return tuple(terms.instruments.values())


def listed_with(book: Book, market: MarketSnapshot, instruments: Iterable[Instrument]) -> Book:
    """The book with further instruments listed, in the order of ids. Raises InputError UPM-IN-152 for one that is listed with other terms or has expired."""
    known = {i.instrument_id: i for i in book.instruments}
    for i in instruments:
        if known.get(i.instrument_id, i) != i:
            raise InputError("UPM-IN-152", f"instrument {i.instrument_id!a} is listed in the run with other terms. Give the hypothetical one an id of its own.")
        if expired(i, market.valuation_time):
            raise InputError("UPM-IN-152", f"instrument {i.instrument_id!a} expires at {expiry_of(i):%Y-%m-%dT%H:%M}Z, and the run is of {market.valuation_time:%Y-%m-%dT%H:%M}Z. Give a later expiry.")
        known[i.instrument_id] = i
    ordered = sorted(known)
    if len(ordered) == len(book.instruments):
        return book
    place = {name: n for n, name in enumerate(ordered)}
    moved = np.array([place[i.instrument_id] for i in book.instruments], np.int32)
    return replace(book, instruments=tuple(known[n] for n in ordered), positions=replace(book.positions, instrument=moved[book.positions.instrument]))
