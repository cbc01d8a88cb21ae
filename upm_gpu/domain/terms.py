"""The instruments table: one row a product, terms checked kind by kind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np

from upm_gpu.domain import combos
from upm_gpu.domain.cells import CellFault, check_id, choice, currency, identifiers, instants, numbers, shown
from upm_gpu.domain.exotic_terms import (
    COLUMNS,
    STRIKE_COLUMN,
    TOUCHES,
    check_unused,
    make_exotic,
    product_of,
    strike_instead,
)
from upm_gpu.domain.faults import ColumnFault
from upm_gpu.domain.instrument import Future, Instrument, Option, Perpetual, Spot, expiry_of
from upm_gpu.domain.quanto_terms import QUANTO_COLUMNS, with_payout
from upm_gpu.domain.tables import Chunk, Schema, Sheet, read_chunks

INSTRUMENTS = Schema(
    "instruments",
    ("instrument_id", "kind", "underlying", "settlement", "quote_currency", "contract_size", "expiry", "strike", "option_type", "exercise"),
    ("premium", "lot_size", "legs", "future_expiry", "payout_currency", *QUANTO_COLUMNS, *COLUMNS),
    frozenset({"instrument_id", "underlying"}),
)
KINDS = {k: k for k in ("spot", "future", "perpetual", "option", "combo")}
SETTLEMENTS = {s: s for s in ("linear", "inverse", "quanto")}
OPTION_TYPES = {"call": "call", "put": "put", "c": "call", "p": "put"}
EXERCISES = {"european": "european", "american": "american"}
PREMIUMS = {"upfront": "upfront", "futures": "futures"}
LATEST_YEAR = 2200
"""an expiry beyond it (9999-12-31) is a placeholder for "none", not a date"""


@dataclass(frozen=True)
class Terms:
    """What the instruments file said: the usable instruments, and why the others are not."""

    instruments: dict[str, Instrument]
    lot_size: dict[str, float]
    refused: dict[str, str]
    """instrument id -> reason, for ids whose rows were rejected"""
    combos: dict[str, combos.Legs] = field(default_factory=dict)
    """combo id -> its legs, every one a usable instrument"""


def read_terms(path: Path, sheet: Sheet) -> Terms:
    """Read and check every instrument; rows that cannot be used are rejects of `sheet`."""
    found: dict[str, tuple[Instrument | combos.Combo, float, int]] = {}
    packages: dict[str, tuple[Chunk, int]] = {}
    refused: dict[str, str] = {}
    clashes: list[tuple[str, Chunk, int]] = []
    repeated = 0
    for chunk in read_chunks(path, INSTRUMENTS, sheet):
        codes, ids = identifiers(chunk, "instrument_id")
        expiries = instants(chunk, "expiry", blank=True)
        futures = instants(chunk, "future_expiry", blank=True)
        size = numbers(chunk, "contract_size", blank=True)
        strike = numbers(chunk, "strike", blank=True)
        lot = numbers(chunk, "lot_size", blank=True)
        text = {c: chunk.columns[c].to_pylist() for c in INSTRUMENTS.known if c in chunk.columns}
        for row in range(len(chunk)):
            name = ids[codes[row]]
            if not chunk.rejected[row]:
                row_text = {c: values[row] for c, values in text.items()}
                try:
                    made = combos.make_combo(name, row_text) if combos.is_combo(row_text) else make_instrument(name, row_text, expiries[row], size[row], strike[row])
                    if not isinstance(made, combos.Combo):
                        made = with_delivery(made, row_text, futures[row])
                    check_lot(lot[row], row_text)
                except ColumnFault as fault:
                    chunk.reject(row, fault.column, fault.number, fault.message)
                else:
                    old = found.get(name)
                    if old is None:
                        if isinstance(made, combos.Combo):
                            packages[name] = chunk, row
                        found[name] = (made, float(lot[row]), int(chunk.lines[row]))
                    elif old[0] == made and (old[1] == lot[row] or (np.isnan(old[1]) and np.isnan(lot[row]))):
                        repeated += 1
                    else:
                        clashes.append((name, chunk, row))
            if chunk.rejected[row]:
                refused.setdefault(name, f"its row in {sheet.file} (line {chunk.lines[row]}) was rejected")
    for name, chunk, row in clashes:
        line = found[name][2]
        chunk.reject(row, "instrument_id", 28, f"{shown(name)} is on line {line} with other terms. Keep the right row; until then neither is used.")
    for name in {c[0] for c in clashes}:
        refused[name] = f"{sheet.file} gives it twice with different terms"
        del found[name]
    for name in [n for n in found if n in refused and "rejected" in refused[n]]:
        del refused[name]
    if repeated:
        sheet.warnings.append(f"UPM-IN-028 {sheet.file}: {repeated} instrument rows repeat an earlier row word for word; counted once.")
    lots = {name: lot for name, (_, lot, _) in found.items() if not np.isnan(lot)}
    instruments = {name: made for name, (made, _, _) in found.items() if not isinstance(made, combos.Combo)}
    held = {name: made.legs for name, (made, _, _) in found.items() if isinstance(made, combos.Combo)}
    for name, why in [(n, combos.leg_fault(legs, instruments, held)) for n, legs in held.items()]:
        if why is not None:
            chunk, row = packages[name]
            chunk.reject(row, "legs", why.number, why.message)
            refused[name] = f"its row in {sheet.file} (line {chunk.lines[row]}) was rejected"
            del held[name]
    return Terms(instruments, lots, refused, held)


def _chosen(text: dict[str, str], column: str, allowed: dict[str, str], what: str, default: str = "") -> str:
    cell = text.get(column, "")
    if default and not cell.strip():
        return default
    try:
        return choice(cell, allowed, what)
    except CellFault as fault:
        raise ColumnFault(column, fault.number, fault.message) from None


def _code(text: dict[str, str], column: str, check: Callable[[str], str]) -> str:
    try:
        return check(text[column])
    except CellFault as fault:
        raise ColumnFault(column, fault.number, fault.message) from None


def check_lot(lot: float, text: dict[str, str]) -> None:
    """Refuse a lot size that is not a number above 0."""
    if lot <= 0.0:
        raise ColumnFault("lot_size", 32, f"{shown(text['lot_size'])} is not a lot size. Give a number above 0, or leave it blank.")


def make_instrument(name: str, text: dict[str, str], expiry: datetime | None, size: float, strike: float) -> Instrument:
    """One instrument from its row, or ColumnFault."""
    kind = _chosen(text, "kind", KINDS, "kind")
    if text.get("legs", "").strip():
        raise ColumnFault("legs", 42, f"a {kind} has no legs, but {shown(text['legs'])} is given. Leave it blank or change the kind to combo.")
    underlying = _code(text, "underlying", lambda cell: check_id(cell.strip(" \t")))
    quote = _code(text, "quote_currency", currency)
    if np.isnan(size):
        if kind != "spot":
            raise ColumnFault("contract_size", 32, f"the contract size is empty. A {kind} needs one.")
        size = 1.0
    if not 0.0 < size <= 1e12:
        raise ColumnFault("contract_size", 32, f"{shown(text['contract_size'])} is not a contract size. It must be above 0 and at most 1e12.")
    if kind in ("spot", "perpetual") and expiry is not None:
        raise ColumnFault("expiry", 42, f"a {kind} has no expiry, but {shown(text['expiry'])} is given. Leave it blank or change the kind.")
    if kind in ("future", "option"):
        if expiry is None:
            raise ColumnFault("expiry", 30, f"the expiry is empty. A {kind} needs one, such as 2026-02-06T08:00:00Z.")
        if expiry.year >= LATEST_YEAR:
            raise ColumnFault("expiry", 29, f"{shown(text['expiry'])} is not a real expiry. A contract without expiry is of kind perpetual, with a blank expiry.")
    if kind != "option" and (not np.isnan(strike) or text["option_type"].strip()):
        column = "option_type" if np.isnan(strike) else "strike"
        raise ColumnFault(column, 42, f"a {kind} has no {column.replace('_', ' ')}, but {shown(text[column])} is given. Leave it blank or change the kind.")
    product = product_of(text) if kind == "option" else ""
    check_unused(kind, product, text)
    settlement = _chosen(text, "settlement", SETTLEMENTS, "settlement", "linear" if kind == "spot" else "")
    if kind == "spot":
        if settlement != "linear":
            raise ColumnFault("settlement", 42, "a spot instrument is linear. Write linear or leave it blank.")
        return Spot(name, underlying, quote, float(size))
    if kind == "perpetual":
        return Perpetual(name, underlying, settlement, quote, float(size))  # type: ignore[arg-type]
    if kind == "future":
        return Future(name, underlying, settlement, quote, float(size), expiry)  # type: ignore[arg-type]
    if product in STRIKE_COLUMN:
        if not np.isnan(strike) or (product in TOUCHES and text["option_type"].strip()):
            if product in TOUCHES:
                raise ColumnFault("strike", 42, f"a {product} has no strike and no option type: its terms are a barrier and a payout. Leave both blank.")
            raise ColumnFault("strike", 42, f"a {product} has no strike yet: its terms are moneyness and start_time. Leave it blank.")
        strike = strike_instead(product, text)
    if np.isnan(strike):
        raise ColumnFault("strike", 32, "the strike is empty. An option needs one.")
    if not (strike > 0.0 or product == "spread") or not abs(strike) <= 1e12:
        raise ColumnFault("strike", 32, f"{shown(text['strike'])} is not a strike. It must be above 0 and at most 1e12.")
    option_type = "call" if product in TOUCHES else _chosen(text, "option_type", OPTION_TYPES, "option type")
    exercise = _chosen(text, "exercise", EXERCISES, "exercise style", "european")
    premium = _chosen(text, "premium", PREMIUMS, "premium style", "upfront")
    if exercise == "american" and settlement == "inverse":
        raise ColumnFault("exercise", 41, "American exercise of an inverse option is not priced. Remove the instrument and its positions.")
    plain = Option(name, underlying, settlement, quote, float(size), expiry, float(strike), option_type, exercise, premium)  # type: ignore[arg-type]
    return make_exotic(product, plain, text) if product else plain


def with_delivery(instrument: Instrument, text: dict[str, str], future_expiry: datetime | None) -> Instrument:
    """The instrument with the future it is exercised into, or ColumnFault: what it is paid in must be its own currency."""
    instrument = with_payout(instrument, text)
    if future_expiry is None:
        return instrument
    if type(instrument) is not Option:
        raise ColumnFault("future_expiry", 42, f"only an option of the plain kind has terms of a future to be exercised into, but {shown(text['future_expiry'])} is given. Leave it blank.")
    if instrument.settlement != "linear":
        raise ColumnFault("future_expiry", 41, f"{'an inverse' if instrument.settlement == 'inverse' else 'a quanto'} option on a future that ends later is not priced. Remove the instrument and its positions.")
    if not instrument.expiry <= future_expiry or future_expiry.year >= LATEST_YEAR:
        raise ColumnFault("future_expiry", 49, f"{shown(text['future_expiry'])} is not the expiry of a future that the option can be exercised into: it must not come before the option's own.")
    return replace(instrument, future_expiry=future_expiry)


def expired(instrument: Instrument, valuation_time: datetime | None) -> bool:
    """True once the expiry hour is reached; an expiry later on the same day is alive."""
    expiry = expiry_of(instrument)
    return valuation_time is not None and expiry is not None and expiry - valuation_time <= timedelta(0)
