"""The scenarios of one finished run, resident: opened once, asked many times.

    desk = open_run("runs/quickstart")
    desk.whatif([[Order("A0001", "BTC-27FEB26-70000-C", 5.0)]])

What is kept: the unit P&L of every column of the book on every scenario, in the type the engine sums (nothing is rounded further), and, on first use, the P&L vectors of the units
asked about. Everything is drawn again by address from the run's own copies of its inputs, and held to the margins the run wrote. A resident is of one run by one program: another
version, kernel, numeric library or changed input is refused by name, when it is opened and before every answer.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from upm_gpu.backend.select import Choice
from upm_gpu.desk.carried import MadeTables
from upm_gpu.desk.change import Known
from upm_gpu.desk.column_order import column_rank
from upm_gpu.desk.cube import Base, Cube
from upm_gpu.domain.instrument import Instrument, Spot, expiry_of
from upm_gpu.errors import InputError, IntegrityError
from upm_gpu.margin.methodology import ChargeInForce
from upm_gpu.margin.requests import MeasureRequest
from upm_gpu.margin.units import COLLATERAL_PREFIX
from upm_gpu.market.snapshot import days_between
from upm_gpu.plan import Plan

Progress: TypeAlias = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class FurtherCube:
    """A scenario set that charges ask for."""

    sub: Plan
    asked: tuple[MeasureRequest, ...]
    cubes: tuple[Cube, ...]
    """by horizon of `sub`"""


@dataclass(eq=False)
class Resident:
    """A run whose scenarios are in memory."""

    path: Path | None
    """the run folder; None for what was never a run"""
    plan: Plan
    """of the run's book; its instruments are those held and those asked for"""
    choice: Choice
    cubes: dict[int, Cube]
    """by index of the horizon: those that the core and its like are read at"""
    further: tuple[FurtherCube, ...]
    value0: NDArray[np.float64]
    greeks: dict[str, NDArray[np.float64]] | None
    charges: tuple[ChargeInForce, ...]
    known: Known
    holders: NDArray[np.int64]
    """(N,) lines of the run's book in each instrument of the plan"""
    margins: dict[str, dict[str, Any]]
    """what the run wrote, by account"""
    stamps: dict[str, tuple[int, int]]
    """size and time of change of every file of the run that an answer depends on"""
    model: Any = None
    """given with the book; None: fitted to the market"""
    cap: int = 0
    """scenarios asked for: an adaptive run may have stopped before"""
    bases: dict[tuple[str, int, int], Base] = field(default_factory=dict)
    """kept P&L vectors by (unit, set, horizon); set -1 is the run's own"""
    before: dict[tuple[int, ...], Any] = field(default_factory=dict)
    """margins of accounts that were asked about, before any change"""
    factors: dict[int, tuple[float, ...]] = field(default_factory=dict)
    """what one unit of an instrument of the book adds to equity, see `equity_factors`"""
    orders: dict[frozenset[tuple[int, bool]], Any] = field(default_factory=dict)
    """orders of sums by what is held that was not, and the other way"""
    checked: set[str] = field(default_factory=set)
    """accounts whose margin was found as the run wrote it"""
    sized: bool = False
    """the book holds, or is asked for, products that another instrument may change (value tables, states made on demand)"""
    tables: MadeTables = field(default_factory=MadeTables)
    """value tables made so far"""
    rebuilt: dict[Any, Resident] = field(default_factory=dict)
    """the book with other holdings, where it is `sized` (`rebuilt.py`)"""
    doubtful: bool = False
    """somebody feels its value tables: a run would make some finer (`felt_tables.py`)"""

    @cached_property
    def held(self) -> NDArray[np.bool_]:
        """(N,) what somebody in the run holds."""
        return self.holders > 0

    @cached_property
    def rank(self) -> NDArray[np.int64] | None:
        """`column_rank` of the run's own book."""
        return column_rank(self.plan, self.holders > 0)

    @cached_property
    def place_of(self) -> NDArray[np.int64]:
        """(instruments of the book,) their place in the plan; -1 for what is not resident."""
        at = {name: n for n, name in enumerate(self.plan.compiled.instrument_ids)}
        return np.array([at.get(i.instrument_id, -1) for i in self.plan.book.instruments], np.int64)

    @cached_property
    def places(self) -> list[int]:
        """`place_of` as plain numbers, for single questions."""
        return list(self.place_of.tolist())

    @cached_property
    def folded(self) -> list[tuple[int, float]]:
        """Column and coefficient of each instrument of the plan."""
        c = self.plan.compiled
        return list(zip(c.instrument_column.tolist(), c.instrument_coefficient.tolist(), strict=True))

    @cached_property
    def coin_of(self) -> dict[str, int]:
        """Place in the plan of collateral whose moves are simulated, by asset."""
        return {i.underlying: n for n, i in enumerate(self.plan.instruments) if i.instrument_id == COLLATERAL_PREFIX + i.underlying}

    @cached_property
    def simulable(self) -> frozenset[str]:
        """Assets that are simulated once they are posted."""
        modes, known = self.plan.methodology.collateral.modes, {i.underlying for i in self.plan.book.instruments}
        return frozenset(a for a in modes if modes[a] == "simulated" and a in known)

    @cached_property
    def holders_of(self) -> dict[str, int]:
        """Lines of the run's book in each instrument of the plan, by id."""
        return {i.instrument_id: n for i, n in zip(self.plan.instruments, self.holders.tolist(), strict=True)}

    def is_cash(self, instrument: Instrument) -> bool:
        """Whether it is the reporting currency itself, which is priced with nothing."""
        return isinstance(instrument, Spot) and instrument.underlying == self.plan.market.reporting_currency

    @cached_property
    def of_member(self) -> dict[str, list[int]]:
        """Accounts of each member, by their place in the book."""
        found: dict[str, list[int]] = {}
        for n, account in enumerate(self.plan.book.accounts):
            found.setdefault(account.member_id, []).append(n)
        return found

    @cached_property
    def expiring(self) -> dict[str, datetime]:
        """Instruments of the book that expire inside the margin period, with their expiry."""
        days = self.plan.horizons[self.plan.horizon(self.plan.core.horizon)]
        expiries = {i.instrument_id: expiry_of(i) for i in self.plan.book.instruments}
        return {name: e for name, e in expiries.items() if e is not None and days_between(self.plan.market.valuation_time, e) <= days}

    @property
    def all_cubes(self) -> tuple[Cube, ...]:
        """Every cube."""
        return (*self.cubes.values(), *(c for f in self.further for c in f.cubes))

    def footprint(self) -> dict[str, Any]:
        """What is in memory and how exact: columns, scenarios, bytes of the cubes and of the kept vectors, and the error against a fresh run, which is none."""
        cubes, vectors = self.all_cubes, sum(b.bytes for b in self.bases.values())
        return {"columns": self.plan.compiled.columns, "scenarios": self.plan.scenarios.count, "cubes": len(cubes), "stored": str(cubes[0].unit.dtype), "cube_bytes": sum(c.bytes for c in cubes),
                "vector_bytes": vectors, "mapped": isinstance(cubes[0].unit, np.memmap), "device_bytes": sum(c.bytes for c in cubes if c.on_device), "error": 0.0}

    def check(self) -> None:
        """Raise IntegrityError where a file of the run was changed since it was opened."""
        for name, stamp in self.stamps.items():
            if self.path is not None and stamp_of(self.path / name) != stamp:
                raise IntegrityError("UPM-RN-083", f"{self.path / name} was changed after the run was opened: what is resident is not of it any more. Open the run again.")


def payable(resident: Resident, instrument_id: str) -> bool:
    """Whether an instrument is resident: its scenarios and today's value are known."""
    n = resident.known.instruments[instrument_id]
    instrument = resident.plan.book.instruments[n]
    return bool(resident.place_of[n] >= 0) or resident.is_cash(instrument)


def require_columns(resident: Resident, names: Iterable[str]) -> None:
    """Refuse an instrument that a search would have to price on the scenarios and cannot."""
    for name in names:
        if name in resident.known.instruments and not payable(resident, name):
            raise InputError("UPM-RN-082", f"{name} is held by nobody, and this book holds products that another instrument may change (value tables, or states made for them), so a search cannot offer it. "
                             "Ask `upm whatif` for single orders in it, or add a position in it and run again.")


def stamp_of(path: Path) -> tuple[int, int]:
    """Size and time of change of a file; (-1, -1) where there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return (-1, -1)
    return (found.st_size, found.st_mtime_ns)
