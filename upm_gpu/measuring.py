"""What charges ask for beside the core: one pass over each further scenario set, moves given outright, and what every unit holds today.

The pass of the core is left as it is: its bits, its speed and where an adaptive run stops depend on no charge. A further set is a fixed number of scenarios
(the first so many, by address), at the horizons asked for alone, with all rows that are asked of it stacked into one; rows that are known only then (`Rest`) take a second pass
over it. Each pass has its own number in the ledger, so a run that was stopped goes on to the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from upm_gpu.backend.contract import TailState
from upm_gpu.backend.select import Choice
from upm_gpu.domain.instrument import Option, Spot, expiry_of, paid_in
from upm_gpu.errors import InputError
from upm_gpu.margin.requests import (
    NAME,
    Classes,
    ExposureRequest,
    Exposures,
    Measure,
    MeasureRequest,
    Names,
    Rest,
    Slower,
    SlowParts,
    Stressed,
    StressRequest,
)
from upm_gpu.margin.result import model_values
from upm_gpu.margin.rows import (
    class_rows,
    kind_of,
    largest_names,
    line_underlyings,
    name_rows,
    rest_rows,
    slow_rows,
    stacked,
)
from upm_gpu.margin.units import COLLATERAL_PREFIX, instrument_levels, sum_by
from upm_gpu.market.snapshot import days_between
from upm_gpu.passes import Loop, chunk_ranges, measure_of, tails
from upm_gpu.plan import Plan, depth_of
from upm_gpu.pricing.compiled import Compiled, Rows
from upm_gpu.pricing.tables import Shelf, with_tables
from upm_gpu.risk.tail import finish
from upm_gpu.risk.tail_state import with_empty_rows
from upm_gpu.scenario.derived import shortened
from upm_gpu.scenario.sets import BLOCK, ScenarioSet
from upm_gpu.stresses import stressed

COIN = "coin"
"""what spot and inverse contracts settle in, among currencies"""
FIRST_PASS = 1000
"""number in the ledger of the first further pass: those of the core and its deepenings are below"""


@dataclass(frozen=True)
class Walk:
    """Rows [first, first + rows.count) of a walked tail, kept for derivatives; after them in the same or another walk of the set, one unit of each simulated asset alone."""

    plan: Plan
    """of the set"""
    tail: TailState
    first: int
    rows: Rows
    alone: tuple[TailState, int] | None = None
    """the tail that holds what is alone, and its first row there, in the order of `alone_instruments`"""


@dataclass
class Further:
    """What was measured beside the core, as `Measured` holds it."""

    measures: dict[MeasureRequest, Measure] = field(default_factory=dict)
    names: Names | None = None
    largest: dict[MeasureRequest, np.ndarray] = field(default_factory=dict)
    slower: dict[Slower, SlowParts] = field(default_factory=dict)
    stressed: dict[StressRequest, Stressed] = field(default_factory=dict)
    exposures: Exposures | None = None
    passes: list[dict[str, Any]] = field(default_factory=list)
    """for the manifest: set, scenarios, rows"""
    walks: dict[MeasureRequest, Walk] = field(default_factory=dict)
    """of the requests of further sets, where they are kept"""


def measure_further(plan: Plan, bare: Compiled, choice: Choice, chunk: int, loop: Loop, value0: np.ndarray, executor: Callable | None = None, shelf: Shelf | None = None) -> Further:
    """Everything in `plan.further`; `plan` is that of the final number of scenarios, `bare` its instruments before value tables were made."""
    found = Further()
    asked = [r for r in plan.further if isinstance(r, MeasureRequest)]
    names: tuple[Names, Rows] | None = None
    if any(r.rows == NAME or isinstance(r.rows, Rest) for r in asked):
        names = name_rows(plan.units, plan.instruments, plan.compiled)
        found.names = names[0]
    if any(isinstance(r, ExposureRequest) for r in plan.further) or any(isinstance(r.rows, Slower) for r in asked):
        found.exposures = exposures_of(plan, choice, value0)
    for number, (sub, mine) in enumerate(sub_plans(plan, bare, choice, shelf)):
        measure_set(Pass(plan, choice, chunk, loop, executor, sub, FIRST_PASS + 2 * number), mine, names, found, keep=True)
    found.stressed = {r: stressed(plan, choice, r, shelf) for r in plan.further if isinstance(r, StressRequest)}
    return found


def sub_plans(plan: Plan, bare: Compiled, choice: Choice, shelf: Shelf | None = None) -> list[tuple[Plan, list[MeasureRequest]]]:
    """A plan of each further scenario set that charges ask for, with the requests it answers: its scenarios, only the horizons asked for, value tables of its own."""
    asked = [r for r in plan.further if isinstance(r, MeasureRequest)]
    kinds = list(dict.fromkeys((r.scenario_set, _count(plan, r)) for r in asked))
    sets: list[ScenarioSet] = [shortened(plan.sets[name], count) for name, count in kinds]
    days = tuple(sorted({r.horizon for r in asked}))
    compiled = replace(bare, programs=tuple(bare.programs[plan.horizon(d)] for d in days))
    if sets:  # tables of their own, so that those of the core depend on no charge; made once for all further sets
        compiled, _ = with_tables(compiled, sets, choice.module, choice.threads, shelf, library=plan.library)
    found = []
    for scenarios, (name, count) in zip(sets, kinds, strict=True):
        mine = [r for r in asked if (r.scenario_set, _count(plan, r)) == (name, count)]
        found.append((_sub_plan(plan, compiled, days, scenarios, mine), mine))
    return found


def _count(plan: Plan, request: MeasureRequest) -> int:
    """Scenarios of a request: matched blocks are whole or not matched."""
    own = min(request.count or plan.spec.count, plan.spec.count)
    return min(-(-own // BLOCK) * BLOCK, plan.spec.count) if plan.spec.variance_reduction == "moment_matching" else own


def _sub_plan(plan: Plan, compiled: Compiled, horizons: tuple[float, ...], scenarios: ScenarioSet, asked: Sequence[MeasureRequest]) -> Plan:
    """The plan of one set: its scenarios, only the horizons asked for; `compiled` has a program for each of `horizons` and tables that cover the set."""
    days = tuple(sorted({r.horizon for r in asked}))
    spec = replace(plan.spec, count=scenarios.count, target_relative_error=0.0)
    every = [replace(r, level=level) for r in asked for level in (r.level, *([r.rows.level] if isinstance(r.rows, Rest) else []))]
    return replace(plan, spec=spec, compiled=replace(compiled, programs=tuple(compiled.programs[horizons.index(d)] for d in days)), scenarios=scenarios, clock_days=days,
                   depth=depth_of(scenarios.count, every), further=())


@dataclass(frozen=True)
class Pass:
    """A set and how it is walked."""

    plan: Plan
    choice: Choice
    chunk: int
    loop: Loop
    executor: Callable | None
    sub: Plan
    number: int

    def tails(self, rows: Rows, second: bool) -> TailState:
        """The tail of rows over the set. Rows that hold nothing are not walked: all their scenarios are equal, and a selection among equals must look at every one."""
        held = np.flatnonzero(np.diff(rows.first) > 0)
        some = rows if len(held) == rows.count else Rows(np.concatenate([[0], np.cumsum(np.diff(rows.first)[held])]).astype(np.int64), rows.column, rows.quantity)
        if not len(held):  # one row of them all
            held, some = np.zeros(1, np.int64), Rows(rows.first[:2], rows.column, rows.quantity)
        sub, backend = replace(self.sub, rows=some), self.choice.module
        with backend.prepare(sub.compiled, some, self.choice.precision, self.choice.threads) as prepared:
            tail = tails(sub, backend, prepared, chunk_ranges(sub, self.chunk, backend, prepared), self.loop, self.executor, again=self.number + int(second))
        if tail.not_finite:
            raise InputError("UPM-PR-078", f"{tail.not_finite} of the scenario P&L values of a charge are NaN or infinite: a volatility, level or quantity is beyond what float64 can hold. "
                             "Check the largest inputs; no margin was written.")
        return tail if len(held) == rows.count else with_empty_rows(tail, held, rows.count)

    def measures(self, tail: TailState, first: int, count: int, asked: MeasureRequest) -> Measure:
        """Measures of rows [first, first + count) of a stacked tail."""
        return rows_measure(self.sub, tail, first, count, asked)


def rows_measure(sub: Plan, tail: TailState, first: int, count: int, asked: MeasureRequest) -> Measure:
    """Measures of rows [first, first + count) of a stacked tail over the set of `sub`."""
    from upm_gpu.risk.dependence import dependence_of

    h, rows = sub.clock_days.index(asked.horizon), slice(first, first + count)
    part = replace(tail, pnl=tail.pnl[h : h + 1, rows], scenario=tail.scenario[h : h + 1, rows], block_sums=tail.block_sums[:, h : h + 1, rows])
    dependence = dependence_of(sub.scenarios)
    return measure_of(finish(part, [asked.level], dependence)[asked.level], part, 0, asked.tail_share, dependence)


def measure_set(job: Pass, asked: Sequence[MeasureRequest], names: tuple[Names, Rows] | None, found: Further, keep: bool = False) -> None:
    """All requests of one set: units and names in one pass, what is left without the largest names in a second one; `keep` keeps the tails, with those of single assets, for derivatives."""
    plan, units = job.plan, job.plan.rows.count
    rests = [r for r in asked if isinstance(r.rows, Rest)]
    first = dict.fromkeys(r for r in asked if not isinstance(r.rows, Rest))
    first |= dict.fromkeys(replace(r, rows=NAME, level=r.rows.level) for r in rests if isinstance(r.rows, Rest))
    kinds = list(dict.fromkeys(r.rows for r in first))
    parts = [_rows(plan, kind, names, found) for kind in kinds]
    start = dict(zip(kinds, np.cumsum([0, *(p.count for p in parts)]).tolist(), strict=False))
    count = {kind: part.count for kind, part in zip(kinds, parts, strict=True)}
    if not sum(count.values()):  # nothing is slow: there is nothing to walk for
        nothing = np.zeros(0)
        found.measures |= dict.fromkeys(first, Measure(nothing, nothing, nothing, nothing, np.zeros(0, bool)))
        return
    alone = [alone_rows(plan)] if keep else []
    tail = job.tails(stacked([*parts, *alone]), second=False)
    by_itself = (tail, sum(count.values())) if keep else None
    for r in first:
        found.measures[r] = job.measures(tail, start[r.rows], count[r.rows], r)
        if keep:
            found.walks[r] = Walk(job.sub, tail, start[r.rows], parts[kinds.index(r.rows)], by_itself)
    found.passes.append({"scenario_set": str(asked[0].scenario_set), "scenarios": job.sub.spec.count, "rows": sum(count.values())})
    del tail
    if not rests or names is None:
        return
    different: dict[tuple[Rest, float], tuple[int, Rows]] = {}
    for r in rests:
        assert isinstance(r.rows, Rest)
        own = found.measures[replace(r, rows=NAME, level=r.rows.level)].expected_shortfall
        found.largest[r] = largest_names(names[0], own, plan.underlyings, units, r.rows)
        if (r.rows, r.horizon) not in different:
            different[r.rows, r.horizon] = (len(different) * units, rest_rows(plan.units, plan.instruments, plan.compiled, names[0], found.largest[r]))
    tail = job.tails(stacked([rows for _, rows in different.values()]), second=True)
    for r in rests:
        assert isinstance(r.rows, Rest)
        begin, rows = different[r.rows, r.horizon]
        found.measures[r] = job.measures(tail, begin, units, r)
        if keep:
            found.walks[r] = Walk(job.sub, tail, begin, rows, by_itself)
    found.passes.append({"scenario_set": str(asked[0].scenario_set), "scenarios": job.sub.spec.count, "rows": len(different) * units})


def alone_instruments(plan: Plan) -> list[int]:
    """What collateral that moves with the book is, among the instruments of the plan."""
    return [n for n, i in enumerate(plan.instruments) if i.instrument_id.startswith(COLLATERAL_PREFIX)]


def alone_rows(plan: Plan) -> Rows:
    """One row for one unit of each of them."""
    own = np.array(alone_instruments(plan), np.int64)
    return Rows(np.arange(len(own) + 1, dtype=np.int64), plan.compiled.instrument_column[own].astype(np.int32), plan.compiled.instrument_coefficient[own].astype(np.float64))


def _rows(plan: Plan, kind: str | Rest | Classes | Slower, names: tuple[Names, Rows] | None, found: Further) -> Rows:
    """The rows of a kind that is known before anything is measured; which parts are slow is noted in `found`."""
    if isinstance(kind, Slower):
        assert found.exposures is not None
        found.slower[kind], rows = slow_rows(plan.units, plan.instruments, plan.compiled, found.exposures, kind)
        return rows
    if isinstance(kind, Classes):
        return class_rows(plan.units, plan.instruments, plan.compiled, kind.classes)
    return names[1] if kind == NAME and names is not None else plan.rows


def exposures_of(plan: Plan, choice: Choice, value0: np.ndarray, greeks: dict[str, np.ndarray] | None = None) -> Exposures:
    """What every unit holds, with values and Greeks of today; `greeks` (N,) of one unit of every instrument where they are known already."""
    from upm_gpu.exhibits import unit_greeks

    lines, instruments = plan.units.lines, plan.instruments
    key = lines.unit.astype(np.int64) * max(len(instruments), 1) + lines.instrument
    distinct, place = np.unique(key, return_inverse=True)
    quantity = sum_by(place, lines.quantity, len(distinct))
    _, first = np.unique(place, return_index=True)
    unit, n = lines.unit[first], lines.instrument[first]
    worth = model_values(plan.compiled, instruments, value0)
    value = np.array([worth.get(i.instrument_id, 0.0) for i in instruments])
    expiry = [expiry_of(i) for i in instruments]
    days = np.array([0.0 if e is None else days_between(plan.market.valuation_time, e) for e in expiry], np.float64)
    strike = np.array([i.strike if isinstance(i, Option) else np.nan for i in instruments], np.float64)
    each = {name: quantity * values[n] for name, values in (unit_greeks(choice.module, instruments, plan.compiled, plan.market) if greeks is None else greeks).items()}
    kind = tuple(kind_of(i) for i in instruments)
    settles = [COIN if isinstance(i, Spot) or i.settlement == "inverse" else paid_in(i) for i in instruments]
    currencies = tuple(sorted(set(settles)))
    currency = np.array([currencies.index(c) for c in settles], np.int64)
    level = np.array([plan.market.spots[i.underlying] for i in instruments], np.float64)
    return Exposures(unit, line_underlyings(lines, instruments)[first], n, tuple(i.instrument_id for i in instruments), kind, currency[n], currencies, level[n], days[n], strike[n], quantity,
                     quantity * instrument_levels(instruments, plan.market)[n], quantity * value[n], **each)
