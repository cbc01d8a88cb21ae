"""Answers of many trade sets, kept as columns: the figures of one are put together when they are looked at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from upm_gpu.desk.change import Change, Order, Transfer, accounts_of
from upm_gpu.desk.resident import Resident
from upm_gpu.desk.stack import plain_column
from upm_gpu.margin.result import OK

FIGURES = ("initial_margin", "maintenance_margin", "core", "expected_shortfall", "value_at_risk", "collateral_value", "unrealised_pnl", "option_value", "equity", "excess")


@dataclass(frozen=True)
class Answer:
    """One account under one trade set; amounts in the reporting currency."""

    account_id: str
    before: dict[str, Any]
    """columns of margin.csv"""
    after: dict[str, Any]
    difference: dict[str, float]
    """after less before, of every amount"""
    difference_standard_error: float | None
    """of the difference of the core, common scenarios; None where the core is a value-at-risk or from a fitted law"""
    charges_standard_error: float | None
    """bound of that of the difference of the charges; None where none has an error"""
    would_pass: bool
    """equity covers the initial margin after the change"""
    notes: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Margined:
    """Accounts after trade sets, a row of the margin table each."""

    resident: Resident
    table: dict[str, Any]
    names: Sequence[str]
    """(n,) the account that is answered"""
    before: Sequence[tuple[dict[str, list[Any]], int]]
    """(n,) columns before any change, and the account's place in them"""
    after: NDArray[np.int64]
    """(n,) its place in `table`"""
    changes: Sequence[Sequence[Change]]
    """(n,)"""
    errors: Sequence[float | None]
    """(n,) of the difference of the core"""

    @cached_property
    def columns(self) -> dict[str, list[Any]]:
        """`table` as plain data."""
        return {k: plain_column(v) for k, v in self.table.items()}

    @cached_property
    def amounts(self) -> list[str]:
        """Columns that have a difference."""
        return [k for k in self.table if k in FIGURES or k.startswith("charge_")]

    def answer(self, n: int) -> Answer:
        """The n-th."""
        name, (columns, a), b = self.names[n], self.before[n], int(self.after[n])
        old, new = {k: v[a] for k, v in columns.items()}, {k: v[b] for k, v in self.columns.items()}
        old["account_id"] = new["account_id"] = name
        bounds = [s["charges_standard_error"] for s in (old, new) if s.get("charges_standard_error") is not None]
        return Answer(name, old, new, {k: new[k] - old[k] for k in self.amounts}, self.errors[n], float(sum(bounds)) if bounds else None, new["status"] == OK,
                      _notes(self.resident, name, self.changes[n], old, new))


@dataclass(frozen=True, eq=False)
class Answers(Sequence[tuple[Answer, ...]]):
    """One entry a trade set: the answers of the accounts that it names."""

    tables: Sequence[Margined]
    table: Sequence[int]
    """(sets,) where the rows of each stand"""
    first: Sequence[int]
    """(sets,) the first of them"""
    rows: Sequence[int]
    """(sets,) how many"""

    def __len__(self) -> int:
        return len(self.table)

    @overload
    def __getitem__(self, n: int) -> tuple[Answer, ...]: ...

    @overload
    def __getitem__(self, n: slice) -> list[tuple[Answer, ...]]: ...

    def __getitem__(self, n: int | slice) -> tuple[Answer, ...] | list[tuple[Answer, ...]]:
        if isinstance(n, slice):
            return [self[i] for i in range(*n.indices(len(self)))]
        made = self.tables[self.table[n]]
        return tuple(made.answer(self.first[n] + i) for i in range(self.rows[n]))

    def __iter__(self) -> Iterator[tuple[Answer, ...]]:
        return (self[n] for n in range(len(self)))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    def after(self, name: str) -> NDArray[np.float64]:
        """A figure of margin.csv after the change, of every answer, set after set; NaN where it is none."""
        columns = [np.asarray(t.table[name], np.float64)[t.after] for t in self.tables]
        return np.concatenate([np.zeros(0), *(columns[t][f : f + c] for t, f, c in zip(self.table, self.first, self.rows, strict=True))])


def answers_of(parts: Sequence[tuple[Sequence[int], Margined, Sequence[int]]], sets: int) -> Answers:
    """From (numbers of trade sets, their rows one after the other, how many each has); what comes later counts."""
    table, first, count = [0] * sets, [0] * sets, [0] * sets
    for t, (numbers, _, rows) in enumerate(parts):
        at = 0
        for n, c in zip(numbers, rows, strict=True):
            table[n], first[n], count[n] = t, at, c
            at += c
    return Answers([m for _, m, _ in parts], table, first, count)


def _notes(resident: Resident, account: str, changes: Sequence[Change], old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[str, ...]:
    """What a desk must be told beside the figures."""
    notes = []
    if old["equity"] < 0.0:
        notes.append(f"account {account} is bankrupt before the change: its equity is {old['equity']:,.2f}.")
    elif old["status"] != OK:
        notes.append(f"account {account} is in {old['status']} before the change: equity {old['equity']:,.2f}, initial margin {old['initial_margin']:,.2f}.")
    if new["equity"] < 0.0 <= old["equity"]:
        notes.append(f"account {account} would be bankrupt: its equity would be {new['equity']:,.2f}.")
    for c in changes:
        name = c.instrument_id if isinstance(c, Order) else c.name if isinstance(c, Transfer) else ""
        expiry = resident.expiring.get(name)
        if expiry is not None and account in accounts_of([c]):
            notes.append(f"{name} expires at {expiry:%Y-%m-%dT%H:%M}Z, inside the margin period: it settles at the index then, its payoff is held to the end of the period, and hedges stay open.")
    return tuple(dict.fromkeys(notes))
