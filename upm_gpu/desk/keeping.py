"""Drawing the scenarios of a book and keeping them: its own instruments as its run priced them, and beside them those asked for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from upm_gpu.backend.select import Choice
from upm_gpu.desk.carried import MadeTables, carried_cubes, same_scenarios
from upm_gpu.desk.change import Known, unknown_instrument, with_nothing_of
from upm_gpu.desk.column_order import moving_order
from upm_gpu.desk.cube import Cube, draw_cubes
from upm_gpu.desk.resident import FurtherCube, Progress, Resident
from upm_gpu.desk.stored import Store, Writing
from upm_gpu.domain.book import Book
from upm_gpu.errors import InputError
from upm_gpu.margin.methodology import charges_in_force, simulated_assets
from upm_gpu.margin.requests import ExposureRequest, MeasureRequest, Slower
from upm_gpu.margin.result import option_values
from upm_gpu.margin.units import build_rows, build_units, priced_instruments
from upm_gpu.market.snapshot import MarketSnapshot
from upm_gpu.plan import Plan, make_plan, with_count
from upm_gpu.pricing.table_refinement import as_recorded, finer_of
from upm_gpu.pricing.tables import Library
from upm_gpu.scenario.spec import ScenarioSpec

if TYPE_CHECKING:
    from upm_gpu.engine import Outcome

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


def refuse_guided(spec: ScenarioSpec) -> None:
    """Refuse scenarios that are of one book alone."""
    if spec.sampler == "importance":
        raise InputError("UPM-RN-081", "the scenarios of this run were guided by where its book loses (sampler importance), so another book has others. Run with sampler philox or sobol.")


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
