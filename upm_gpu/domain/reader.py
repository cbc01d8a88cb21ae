"""load_book: a folder of tables becomes a Book, or an error that says which line to mend.

Verified: tests/faults/test_book_files.py (every listed fault: code, line, exit class, kept rows intact),
tests/properties/test_book_order.py (row order and splitting change no bit).
"""

from __future__ import annotations

import math
from datetime import datetime
from pathlib import Path

import numpy as np

from upm_gpu.domain.blocks import check_folder, fail, file_hash, find_table
from upm_gpu.domain.book import Account, Book, Collateral, Reject
from upm_gpu.domain.cells import identifiers, numbers, require
from upm_gpu.domain.holdings import Lots, net, rank, read_collateral, read_lots
from upm_gpu.domain.tables import Schema, Sheet, read_chunks, reject_text
from upm_gpu.domain.terms import expired, read_terms
from upm_gpu.errors import InputError
from upm_gpu.shipped import resolve_sample

ACCOUNTS = Schema("accounts", ("account_id",), ("member_id", "limit"), frozenset({"account_id", "member_id"}), may_be_empty=True)

MEANS = Schema("margin_means", ("unit", "one_year_mean"), ("days",), frozenset({"unit"}), may_be_empty=True)


class TooManyRejects(InputError):
    """More rows were rejected than allowed; `rejects` lists every one."""

    def __init__(self, code: str, message: str, rejects: tuple[Reject, ...]) -> None:
        super().__init__(code, message)
        self.rejects = rejects


def load_book(path: str | Path, valuation_time: datetime | None = None, max_reject_share: float = 0.01) -> Book:
    """Read `instruments`, `positions`, `collateral` and, where they are there, `accounts` and `margin_means` from a folder or `sample:NAME`.

    Rows that cannot be used are set aside in `Book.rejects`. Raises InputError where a whole file cannot be used, where more
    than `max_reject_share` of a file's rows are rejected (TooManyRejects), and where nothing is left to margin. With
    `valuation_time`, positions in expired instruments are rejected and expired instruments left out.
    """
    if not 0.0 <= max_reject_share <= 1.0:
        raise InputError("UPM-CF-061", f"max_reject_share is {max_reject_share!r}; it is a share between 0 and 1.")
    if valuation_time is not None and valuation_time.tzinfo is None:
        raise InputError("UPM-IN-031", f"valuation_time {valuation_time.isoformat()} has no time zone. Give an aware datetime in UTC.")
    folder = check_folder(resolve_sample(path, "book"), "IN", "book")
    hashes: dict[str, str] = {}
    sheets: list[Sheet] = []

    def open_sheet(name: str, required: bool = True) -> tuple[Path, Sheet] | None:
        file = find_table(folder, name, "IN", required)
        if file is None:
            return None
        hashes[file.name] = file_hash(file, "IN")
        sheets.append(Sheet(file.name, "IN"))
        return file, sheets[-1]

    terms_file, terms_sheet = open_sheet("instruments")  # type: ignore[misc]
    lots_file, lots_sheet = open_sheet("positions")  # type: ignore[misc]
    collateral_file, collateral_sheet = open_sheet("collateral")  # type: ignore[misc]
    listed_file = open_sheet("accounts", required=False)
    means_file = open_sheet("margin_means", required=False)

    terms = read_terms(terms_file, terms_sheet)
    lots = read_lots(lots_file, lots_sheet, terms, valuation_time)
    collateral_account, collateral_asset, collateral_quantity = read_collateral(collateral_file, collateral_sheet)
    listed = read_accounts(*listed_file) if listed_file else {}
    means = read_means(*means_file) if means_file else {}
    rejects = tuple(sorted((r for s in sheets for r in s.rejects), key=lambda r: (r.file, r.line)))
    if not len(lots.contracts):
        first = _first(lots_sheet) or _first(terms_sheet)
        fail("IN", 39, f"{lots_file.name}: nothing to margin: all {lots_sheet.rows} position rows were rejected.{' First: ' + first if first else ''}")
    for sheet in sheets:
        check_share(sheet, max_reject_share, rejects)

    names = sorted(terms.instruments)
    alive = np.array([not expired(terms.instruments[n], valuation_time) for n in names], bool)
    place = np.cumsum(alive) - 1
    instruments = [terms.instruments[n] for n, a in zip(names, alive, strict=True) if a]
    warnings = [w for s in sheets for w in s.warnings]
    if not alive.all():
        warnings.append(f"UPM-IN-029 {terms_file.name}: {int((~alive).sum())} instruments expired before the valuation time and are left out.")

    accounts = sorted({*(lots.accounts[i] for i in np.unique(lots.account)), *collateral_account, *listed})
    netting_sets = sorted(set(lots.netting_sets))
    lots_alive = Lots(lots.accounts, lots.netting_sets, lots.account, lots.netting_set, place[lots.instrument].astype(np.int32),
                                lots.contracts, lots.entry_price, lots.has_trade_id)
    positions, repeated = net(lots_alive, accounts, netting_sets, instruments)
    if not len(positions.contracts):
        fail("IN", 39, f"{lots_file.name}: nothing to margin: every position is 0 or nets to 0.")
    if repeated:
        warnings.append(f"UPM-IN-026 {lots_file.name}: {repeated} rows repeat another row word for word and have no trade_id; they count as lots of their own.")
    if listed:
        unlisted = len(accounts) - len(listed)
        if unlisted:
            warnings.append(f"UPM-IN-045 {listed_file[0].name}: {unlisted} accounts with positions or collateral are not listed and stand alone.")  # type: ignore[index]
    if rejects:
        warnings.append(f"UPM-IN-040 {len(rejects)} rows rejected; the margin of their accounts leaves them out. First: {reject_text(rejects[0])}")
    return Book(
        instruments=tuple(instruments),
        accounts=tuple(listed.get(a, Account(a)) for a in accounts),
        netting_sets=tuple(netting_sets),
        positions=positions,
        collateral=Collateral(rank(collateral_account, accounts), tuple(collateral_asset), collateral_quantity),
        rejects=rejects,
        warnings=tuple(warnings),
        rows_read=sum(s.rows for s in sheets),
        hashes=hashes,
        margin_means=means,
    )


def _first(sheet: Sheet) -> str:
    return reject_text(min(sheet.rejects, key=lambda r: r.line)) if sheet.rejects else ""


def check_share(sheet: Sheet, max_reject_share: float, rejects: tuple[Reject, ...]) -> None:
    """Stop when more than the allowed share of one file's rows was rejected."""
    bad = len(sheet.rejects)
    if bad and bad > max_reject_share * sheet.rows * (1.0 + 1e-12):
        share = 100.0 * bad / sheet.rows
        raise TooManyRejects(
            "UPM-IN-040",
            f"{sheet.file}: {bad} of {sheet.rows} rows rejected ({share:.3g} %), more than max_reject_share = {max_reject_share:g} allows. "
            f"Mend them or raise the share. First: {_first(sheet)}",
            rejects,
        )


def read_accounts(path: Path, sheet: Sheet) -> dict[str, Account]:
    """The optional accounts table; a second row of an account with other values is rejected."""
    found: dict[str, Account] = {}
    for chunk in read_chunks(path, ACCOUNTS, sheet):
        codes, ids = identifiers(chunk, "account_id")
        members, member_ids = identifiers(chunk, "member_id", blank=True)
        limit = numbers(chunk, "limit", blank=True)
        require(chunk, "limit", limit, limit >= 0.0, 24, lambda cell: f"{cell} is not a limit. It must be 0 or more, or blank for none.")
        for row in np.flatnonzero(~chunk.rejected):
            account = Account(ids[codes[row]], member_ids[members[row]], None if math.isnan(limit[row]) else float(limit[row]))
            old = found.setdefault(account.account_id, account)
            if old != account:
                chunk.reject(int(row), "account_id", 43, f"account {account.account_id!r} is listed before with other values. Keep one row.")
    return found


def read_means(path: Path, sheet: Sheet) -> dict[str, float]:
    """The optional one-year means of the core by margined unit; a second row of a unit is rejected."""
    found: dict[str, float] = {}
    for chunk in read_chunks(path, MEANS, sheet):
        codes, ids = identifiers(chunk, "unit")
        mean = numbers(chunk, "one_year_mean")
        require(chunk, "one_year_mean", mean, mean >= 0.0, 24, lambda cell: f"{cell} is outside what a mean margin can be: a value of 0 or more.")
        for row in np.flatnonzero(~chunk.rejected):
            name = ids[codes[row]]
            if name in found:
                chunk.reject(int(row), "unit", 43, f"unit {name!r} is listed before. Keep one row.")
            else:
                found[name] = float(mean[row])
    return found
