"""The scenarios of one finished run, resident: opened once, asked many times.

    desk = open_run("runs/quickstart")
    desk.whatif([[Order("A0001", "BTC-27FEB26-70000-C", 5.0)]])

What is kept: the unit P&L of every column of the book on every scenario, in the type the engine sums (nothing is rounded further), and, on first use, the P&L vectors of the units
asked about. Everything is drawn again by address from the run's own copies of its inputs, and held to the margins the run wrote. A resident is of one run by one program: another
version, kernel, numeric library or changed input is refused by name, when it is opened and before every answer.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from upm_gpu.backend.select import Choice, choose
from upm_gpu.desk.carried import MadeTables, carried_cubes, same_scenarios
from upm_gpu.desk.change import Known, unknown_instrument, with_nothing_of
from upm_gpu.desk.cube import Base, Cube, draw_cubes
from upm_gpu.desk.hypothetical import listed_with
from upm_gpu.desk.stored import FOLDER, Reading, Store, Writing
from upm_gpu.domain.book import Book
from upm_gpu.domain.instrument import Instrument, Spot, expiry_of
from upm_gpu.errors import InputError, IntegrityError, UsageError
from upm_gpu.margin.methodology import ChargeInForce, charges_in_force, simulated_assets
from upm_gpu.margin.requests import ExposureRequest, MeasureRequest, Slower
from upm_gpu.margin.result import option_values
from upm_gpu.margin.units import COLLATERAL_PREFIX, build_rows, build_units, priced_instruments
from upm_gpu.market.snapshot import MarketSnapshot, days_between
from upm_gpu.plan import Plan, make_plan, with_count
from upm_gpu.pricing.table_refinement import as_recorded, finer_of
from upm_gpu.pricing.tables import Library
from upm_gpu.scenario.spec import ScenarioSpec

if TYPE_CHECKING:
    from upm_gpu.engine import Outcome

Progress: TypeAlias = Callable[[int, int], None]
LIBRARIES = ("upm_gpu", "numpy", "scipy")
"""whose versions may change a bit of a margin"""


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
            if self.path is not None and _stamp(self.path / name) != stamp:
                raise IntegrityError("UPM-RN-083", f"{self.path / name} was changed after the run was opened: what is resident is not of it any more. Open the run again.")


def open_run(path: str | Path, also: Iterable[str] = (), progress: Progress | None = None, hypothetical: Callable[[Book], Sequence[Instrument]] | Sequence[Instrument] = (),
             fast: bool = False) -> Resident:
    """Read a finished run, draw its scenarios again and keep them; `also` names instruments of its file that nobody holds, `hypothetical` are some that it does not list
    (`desk/hypothetical.py`), or what makes them once the book is known. Unit P&L that the run kept (`output.store_pnl`) is a memory map; `fast` does not hash it.

    Raises UsageError (no run, not finished, another program), IntegrityError (a file changed), InputError (an unknown instrument, a sampler or products that cannot be kept).
    """
    from upm_gpu.inputs_again import inputs_again
    from upm_gpu.run.verify import check_folder, read_manifest, verify_run

    folder = check_folder(path)
    verify_run(folder, f"{FOLDER}/" if fast else None)
    manifest = read_manifest(folder)
    same_program(folder, manifest)
    again = inputs_again(folder, manifest)
    choice = choose(str(manifest["backend"]), str(manifest["precision"]), again.threads)
    listed = tuple(hypothetical(again.book) if callable(hypothetical) else hypothetical)
    book, also = listed_with(again.book, again.market, listed), [*also, *(i.instrument_id for i in listed)]
    made = keep(book, again.market, again.spec, again.methodology, choice, also=also, count=int(manifest["scenarios"]), progress=progress, library=again.library,
                store=Reading(folder), finer=again.finer)
    stamps = {name: _stamp(folder / name) for name in ("SHA256SUMS", "manifest.json", "plan.json", *(f"inputs/{n}" for n in manifest["inputs"]))}
    return replace(made, path=folder, margins=_margins(folder), stamps=stamps)


def refuse_guided(spec: ScenarioSpec) -> None:
    """Refuse scenarios that are of one book alone."""
    if spec.sampler == "importance":
        raise InputError("UPM-RN-081", "the scenarios of this run were guided by where its book loses (sampler importance), so another book has others. Run with sampler philox or sobol.")


def open_plan(path: str | Path) -> Resident:
    """A finished run with its plan and without its scenarios in memory: for questions that draw paths of their own. Raises UsageError and IntegrityError as `open_run`."""
    from upm_gpu.inputs_again import inputs_again
    from upm_gpu.run.verify import check_folder, read_manifest, verify_run

    folder = check_folder(path)
    verify_run(folder, f"{FOLDER}/")
    manifest = read_manifest(folder)
    same_program(folder, manifest)
    again = inputs_again(folder, manifest)
    refuse_guided(again.spec)
    choice = choose(str(manifest["backend"]), str(manifest["precision"]), again.threads)
    plan = make_plan(again.book, again.market, again.spec, again.methodology)
    plan = replace(with_count(plan, int(manifest["scenarios"])), library=again.library)
    known = Known({a.account_id: n for n, a in enumerate(again.book.accounts)}, {i.instrument_id: n for n, i in enumerate(again.book.instruments)}, frozenset({plan.market.reporting_currency, *plan.market.spots}), {})
    return Resident(folder, plan, choice, {}, (), np.zeros(0), None, charges_in_force(plan.methodology), known, np.zeros(len(plan.instruments), np.int64), _margins(folder), {}, None, again.spec.count)


def keep(book: Book, market: MarketSnapshot, spec: ScenarioSpec, methodology: Any, choice: Choice, *, model: Any = None, also: Iterable[str] = (), count: int | None = None,
         progress: Progress | None = None, library: Library | None = None, store: Store | None = None, finer: Mapping[int, int] | None = None,
         like: Resident | None = None) -> Resident:
    """Draw the scenarios of a book and keep them: `open_run` without a folder. `count`: where an adaptive run stopped; `store`: where the unit P&L of the book's own instruments lies or is written;
    `finer`: value tables that its run made finer; `like`: of another book on the same market, whose surfaces, tables and
    columns are taken where they are the same. Raises InputError as `open_run` does."""
    from upm_gpu.exhibits import unit_greeks
    from upm_gpu.market.surface import fit_surfaces
    from upm_gpu.measuring import sub_plans
    from upm_gpu.pricing.tables import with_tables
    from upm_gpu.pricing.two_assets import options_read

    refuse_guided(spec)
    place = {i.instrument_id: n for n, i in enumerate(book.instruments)}
    extras = sorted(set(also))
    for name in extras:
        if name not in place:
            raise unknown_instrument(name, list(place))
    held = set(np.unique(book.positions.instrument).tolist())
    fitted = None
    if like is not None:
        options = {i.underlying for i in options_read(tuple(book.instruments[n] for n in held | {place[name] for name in extras}))}
        fitted = {**like.plan.surfaces, **fit_surfaces(market, options - like.plan.surfaces.keys())}
    new, coins = [place[name] for name in extras if place[name] not in held], posted_by_nobody(methodology, book, market)
    plan = make_plan(with_nothing_of(book, new, coins) if new or coins else book, market, spec, methodology, model, fitted)
    simulated = simulated_assets(methodology, book)
    bare = plan.compiled
    units = build_units(book, plan.instruments, simulated)
    rows, entry = build_rows(units, bare)
    plan = replace(plan, book=book, units=units, rows=rows, line_entry=entry)
    own = len(priced_instruments(book, plan.market, simulated))
    sized = moving_order(plan) or any(p.table_requests for p in bare.programs)
    if own < len(plan.instruments) and sized:
        # value tables are sized by what is in them, states made on demand are numbered by it: only the run's own instruments are priced as in the run, others when they are asked for (`rebuilt.py`)
        plan, new = make_plan(book, market, spec, methodology, model, fitted), []
        bare, units = plan.compiled, plan.units
    plan = replace(plan, library=library)
    shelf = MadeTables() if like is None else like.tables
    compiled, _ = with_tables(as_recorded(bare, plan.horizon(plan.core.horizon), finer or {}), (plan.scenarios,), choice.module, choice.threads, shelf, library=library)
    plan = with_count(replace(plan, compiled=compiled), count or spec.count)
    main = sorted({plan.horizon(r.horizon) for r in plan.requests})
    store = None if new else store  # columns beside those of the book's own instruments stand elsewhere
    if like is not None and same_scenarios(like.plan, plan):
        cubes, value0 = carried_cubes(like.plan, like.cubes, plan, choice, main, progress)
    else:
        cubes, value0 = draw_cubes(choice.module, compiled, plan.rows, choice.precision, choice.threads, plan.scenarios, main, progress, store)
    further = []
    for n, (sub, asked) in enumerate(sub_plans(plan, bare, choice, shelf)):
        at, known_sub = list(range(len(sub.horizons))), like.further[n] if like is not None and n < len(like.further) else None
        if known_sub is not None and same_scenarios(known_sub.sub, sub):
            made, _ = carried_cubes(known_sub.sub, dict(enumerate(known_sub.cubes)), sub, choice, at, progress)
        else:
            made, _ = draw_cubes(choice.module, sub.compiled, plan.rows, choice.precision, choice.threads, sub.scenarios, at, progress, store, f"further{n}")
        further.append(FurtherCube(sub, tuple(asked), tuple(made[h] for h in sorted(made))))
    if own < len(plan.instruments):
        _same_columns(plan, make_plan(book, market, spec, methodology, model, fitted), choice, cubes[main[0]], main[0])
    exposed = any(isinstance(r, ExposureRequest) or (isinstance(r, MeasureRequest) and isinstance(r.rows, Slower)) for r in plan.further)
    greeks = unit_greeks(choice.module, plan.instruments, compiled, plan.market) if exposed else None
    known = Known({a.account_id: n for n, a in enumerate(book.accounts)}, place, frozenset({plan.market.reporting_currency, *plan.market.spots}),
                  option_values(compiled, plan.instruments, value0))
    holders = np.bincount(units.lines.instrument, minlength=len(plan.instruments))
    return Resident(None, plan, choice, cubes, tuple(further), value0, greeks, charges_in_force(plan.methodology), known, holders, {}, {}, model, spec.count, sized=sized, tables=shelf)


def store_unit_pnl(run: Path, outcome: Outcome) -> None:
    """Draw the scenarios of a run that was just computed once more, into files of its folder (`desk/stored.py`)."""
    plan = outcome.plan
    keep(plan.book, plan.market, replace(plan.spec, count=outcome.cap), plan.methodology, outcome.choice, count=plan.spec.count, library=plan.library, store=Writing(run),
         finer=finer_of(plan.compiled, plan.horizon(plan.core.horizon)))


def posted_by_nobody(methodology: Any, book: Book, market: MarketSnapshot) -> list[str]:
    """Assets that would be simulated once somebody posts them, and that nobody has posted yet."""
    underlyings = {i.underlying for i in book.instruments}
    modes = methodology.collateral.modes
    return sorted(a for a in modes if modes[a] == "simulated" and a in underlyings and a in market.spots and a not in set(book.collateral.asset))


def same_program(folder: Path, manifest: dict[str, Any]) -> None:
    """Refuse a run of another version, whose bits may differ."""
    from upm_gpu.run.manifest import kernels_sha256, versions

    now, before = versions(), manifest.get("libraries", {})
    differ = [f"{name} was {before.get(name, 'absent')}, is {now.get(name, 'absent')}" for name in LIBRARIES if before.get(name) != now.get(name)]
    if manifest["kernels_sha256"] != kernels_sha256():
        differ.append(f"kernels were {str(manifest['kernels_sha256'])[:12]}, are {kernels_sha256()[:12]}")
    if differ:
        raise UsageError("UPM-RN-080", f"{folder}: the run was made by another version, whose figures may differ: {'; '.join(differ)}. Ask that version, or run again.")


def _same_columns(wide: Plan, own: Plan, choice: Choice, cube: Cube, horizon: int) -> None:
    """Refuse where an instrument that nobody holds changes what others are worth: the first block of every held column must be the run's to the bit."""
    last = min(own.scenarios.count, cube.count, 4096)
    own = with_count(own, cube.count)
    with choice.module.prepare(own.compiled, own.rows, choice.precision, choice.threads) as prepared:
        unit = choice.module.unit_pnl(prepared, own.scenarios, 0, last, horizon)
    at = {name: n for n, name in enumerate(wide.compiled.instrument_ids)}
    for n, name in enumerate(own.compiled.instrument_ids):
        if not np.array_equal(unit[own.compiled.instrument_column[n]], cube.unit[wide.compiled.instrument_column[at[name]], :last]):
            raise InputError("UPM-RN-082", f"pricing an instrument that nobody holds changes the scenarios of {name}, so no answer could be that of a fresh run. "
                             "Add a position in the instrument and run again.")


def _margins(folder: Path) -> dict[str, dict[str, Any]]:
    from upm_gpu.report.read import read_table

    table = read_table(folder / "margin.parquet")
    if table is None:
        raise InputError("UPM-RN-047", f"{folder / 'margin.parquet'} is missing: no account can be explained. Run the margin again.")
    names = list(table)
    return {str(row[names.index("account_id")]): dict(zip(names, row, strict=True)) for row in zip(*(table[n] for n in names), strict=True)}


def _stamp(path: Path) -> tuple[int, int]:
    try:
        found = os.stat(path)
    except OSError:
        return (-1, -1)
    return (found.st_size, found.st_mtime_ns)


def column_rank(plan: Plan, held: NDArray[np.bool_]) -> NDArray[np.int64] | None:
    """(C,) where a fresh run of a book that holds `held` (N,) sums each column; None where that is the order of the plan.

    Linear columns come first, as the plan has them. The others stand by group, groups in the order of their first instrument (`pricing/compile.py`), so a group moves when its first
    instrument is traded away or a new one comes in front.
    """
    compiled = plan.compiled
    column = compiled.instrument_column.astype(np.int64)
    first, size = (plan.compiled.programs[0].group_integers[:, k].astype(np.int64) for k in (1, 2))
    first, size = first[size > 0], size[size > 0]  # a second asset is a group without columns
    rank = np.arange(compiled.columns, dtype=np.int64)
    if not len(first):
        return None
    leader = np.full(len(first), len(column), np.int64)
    options = np.flatnonzero(column >= compiled.linear)
    group = np.searchsorted(first, column[options], side="right") - 1
    inside = held[options]
    np.minimum.at(leader, group[inside], options[inside])
    order = np.argsort(leader, kind="stable")
    if np.array_equal(order, np.arange(len(order))):
        return None
    start = compiled.linear
    for g in order.tolist():
        rank[first[g] : first[g] + size[g]] = np.arange(start, start + size[g])
        start += int(size[g])
    return rank


def moving_order(plan: Plan) -> bool:
    """Whether the order of linear columns may depend on what is held: where any reads a state that is made from others as instruments ask for it."""
    drawn = len(plan.compiled.drawn_names)
    return any(bool(np.any(p.linear_state >= drawn)) for p in plan.compiled.programs)


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
