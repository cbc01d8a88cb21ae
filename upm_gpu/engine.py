"""margin_run(): the whole flow on one page.

book + market -> plan (what to price, on which dates, under which law) -> tails (scenarios drawn, repriced, summed by unit, cut)
-> measures -> charges -> margin. Each step is a function of another room; nothing is computed here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial, reduce
from types import ModuleType
from typing import Any

import numpy as np

from upm_gpu.backend.contract import Prepared, TailState, merge
from upm_gpu.backend.select import Choice, choose
from upm_gpu.domain.book import Book
from upm_gpu.domain.instrument import Instrument, Option
from upm_gpu.errors import InputError
from upm_gpu.margin.adaptive import SHARE_OF_NOTIONAL, batch_ends, precise_enough
from upm_gpu.margin.charges import load as load_charge
from upm_gpu.margin.requests import Charge, Measure, Measured, MeasureRequest
from upm_gpu.margin.result import (
    MarginResult,
    account_equity,
    account_shares,
    calls_table,
    margin_table,
    option_values,
    repeated,
)
from upm_gpu.margin.units import Units, build_rows, build_units, gross_notional, priced_instruments
from upm_gpu.market.marks import linear_marks
from upm_gpu.market.snapshot import MarketSnapshot
from upm_gpu.model.regimes import RegimeInForce
from upm_gpu.pricing.compile import CompileReport, Dynamics, compile_book, dynamics_of, option_expiries, path_dates
from upm_gpu.pricing.compiled import Compiled, Rows
from upm_gpu.pricing.exotics import bridges_of
from upm_gpu.pricing.states import funding_dates
from upm_gpu.pricing.tables import Shelf, TableReport, with_tables
from upm_gpu.risk.tail_state import deepened
from upm_gpu.scenario.derived import derive, shortened
from upm_gpu.scenario.sets import BLOCK, ScenarioSet
from upm_gpu.scenario.spec import ScenarioSpec
from upm_gpu.table_check import TableCheck, check_tables


@dataclass(frozen=True)
class Plan:
    """Everything a run computes with: a pure function of book, market, spec and methodology."""

    book: Book
    market: MarketSnapshot
    spec: ScenarioSpec
    methodology: Any
    instruments: tuple[Instrument, ...]
    surfaces: dict
    dynamics: Dynamics
    model: Any
    """the model's parameters"""
    fit: Any
    """what calibration had to say, or None"""
    compiled: Compiled
    compile_report: CompileReport
    scenarios: ScenarioSet
    units: Units
    rows: Rows
    line_entry: np.ndarray
    core: MeasureRequest
    requests: tuple[MeasureRequest, ...]
    depth: int
    clock_days: tuple[float, ...]
    """(H,) the horizons in days of the trading clock, as asked for"""
    regimes: tuple[RegimeInForce, ...] = ()
    """the correlations scenarios move by, where the model has any"""

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the inputs, the methodology, the calibration and the compilation had to say."""
        from upm_gpu.margin.methodology import collateral_warnings

        return (*self.book.warnings, *collateral_warnings(self.methodology, self.book, self.market.reporting_currency), *self.market.warnings, *self.compile_report.warnings, *(self.fit.warnings if self.fit is not None else ()))

    @property
    def horizons(self) -> tuple[float, ...]:
        """(H,) days since the valuation time, ascending."""
        return self.compiled.horizons

    def horizon(self, days: float) -> int:
        """Index of the horizon `days` of the trading clock away; ValueError where it is none of the plan's."""
        return self.clock_days.index(days)


@dataclass
class Timings:
    """Seconds by phase: `engine` from arrays to VaR and ES with their errors (within it simulate, price, aggregate, tail), then `attribution`
    (contributions of every position) and `margin` (charges, equity, tables)."""

    phases: dict[str, float] = field(default_factory=dict)

    def measure(self, phase: str) -> _Clock:
        """Add the seconds of a `with` block to a phase."""
        return _Clock(self.phases, phase)


@dataclass
class _Clock:
    phases: dict[str, float]
    phase: str
    start: float = 0.0

    def __enter__(self) -> None:
        self.start = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self.phases[self.phase] = self.phases.get(self.phase, 0.0) + time.perf_counter() - self.start


def make_plan(book: Book, market: MarketSnapshot, spec: ScenarioSpec, methodology: Any, model: Any = None) -> Plan:
    """Compile everything a run needs; raises InputError or MarketDataError before the first draw.

    `model` is a parameters object of a model of `upm_gpu.model`; None takes the file named in `spec` or calibrates from the history.
    """
    from upm_gpu.calibrate.covariance import calibrate_model
    from upm_gpu.calibrate.stressed import correlation_regimes
    from upm_gpu.guided import guided
    from upm_gpu.margin.methodology import core_request, simulated_assets
    from upm_gpu.market.surface import fit_surfaces
    from upm_gpu.model.regimes import under_regimes
    from upm_gpu.model.sampling import check_sampled
    from upm_gpu.risk.tail import tail_depth

    if not len(book.positions.instrument) and not len(book.collateral.asset):
        raise InputError("UPM-IN-039", "nothing to margin: the book holds no position. Check positions and rejects.")
    market = replace(market, linear_marks=linear_marks(book.instruments), surface_family=spec.surface)
    simulated = simulated_assets(methodology, book)
    instruments = priced_instruments(book, market, simulated)
    core = core_request(methodology)
    requests = [core]
    for parameters in methodology.charges:
        requests += load_charge(parameters.name).requests(core, parameters.model_dump())
    clock = spec.trading_clock(market.valuation_time)
    clock_days = tuple(sorted({*spec.horizons, *(r.horizon for r in requests)}))
    horizons = tuple(clock.target(market.valuation_time, h) for h in clock_days)
    dynamics = dynamics_of(spec)
    surfaces = fit_surfaces(market, {i.underlying for i in instruments if isinstance(i, Option)})
    extra = [max(horizons) * (i + 1) / spec.steps for i in range(spec.steps - 1)]
    dates = path_dates(instruments, market, horizons, [*extra, *funding_dates(instruments, horizons, dynamics)])
    fit = None
    if model is None:
        model, fit = calibrate_model(market, spec, surfaces=surfaces)
    regimes = correlation_regimes(market, spec, model, fit, surfaces)
    scenarios, in_force = under_regimes(model.scenarios(clock.elapsed(market.valuation_time, dates), replace(spec, expiries=option_expiries(instruments, market))), regimes,
                                        spec.inverse_assets, spec.stream)
    check_sampled(scenarios, spec)
    compiled, report = compile_book(instruments, market, surfaces, scenarios.state_names, dates, horizons, dynamics, bridges_of(scenarios, spec, instruments))
    scenarios = derive(scenarios, compiled.operations)
    units = build_units(book, instruments, simulated)
    rows, entry = build_rows(units, compiled)
    lowest = min(r.level for r in requests)
    depth = tail_depth(spec.count, lowest)
    if spec.sampler == "importance":
        scenarios, depth = guided(scenarios, spec, compiled, rows, clock_days.index(core.horizon), core.level, lowest)
    return Plan(book, market, spec, methodology, instruments, surfaces, dynamics, model, fit, compiled, report, scenarios, units, rows, entry,
                core, tuple(dict.fromkeys(requests)), depth, clock_days, in_force)


def chunk_ranges(plan: Plan, chunk: int, backend: ModuleType, prepared: Prepared, start: int = 0, end: int | None = None) -> list[tuple[int, int]]:
    """Half-open ranges of whole blocks that cover the scenarios (from `start` to `end`); `chunk` 0 lets the backend size them so that a call stays short."""
    if chunk <= 0:
        size = getattr(backend, "call_scenarios", lambda *_: BLOCK)
        chunk = size(prepared, plan.scenarios)
        if plan.depth > BLOCK:
            chunk = min(chunk, max(BLOCK, DEEP_CHUNK // (len(plan.horizons) * plan.rows.count)))
    size = -(-chunk // BLOCK) * BLOCK
    end = plan.scenarios.count if end is None else end
    return [(first, min(first + size, end)) for first in range(start, end, size)]


DEEP_CHUNK = 1 << 23
"""(row, horizon) pairs x scenarios of a chunk that is kept whole, as under importance sampling: some 250 MB while it is computed"""


def deepening(join: Callable[[TailState, TailState], TailState], depth: int) -> Callable[[TailState, TailState], TailState]:
    """A merge to `depth` of states that are only as deep as they have scenarios."""
    return lambda a, b: join(deepened(a, depth), b)


Loop = Callable[..., TailState]
"""Who walks the chunks, in memory or through a ledger that survives a crash: (ranges, compute(first, last, carry), join[, pass]) -> the merged state. A pass above 0
is the same ranges again, kept deeper."""


def in_memory(progress: Callable[[int, int], None] | None = None) -> Loop:
    """The loop without a run folder; `progress(done, total)` in scenarios."""
    from upm_gpu.run.chunks import run_chunks

    return lambda ranges, compute, join, again=0: run_chunks(None, ranges, compute, join, progress).state


def tails(plan: Plan, backend: ModuleType, prepared: Prepared, ranges: Sequence[tuple[int, int]], loop: Loop,
          executor: Callable | None = None, known: TailState | None = None, again: int = 0) -> TailState:
    """The merged tail of all ranges; `known` is that of ranges before them, for its threshold. `executor` is a `map` over ranges (processes, machines); None walks them in order,
    each knowing the threshold of those before it."""
    native = getattr(backend, "merge_tails", None)
    join = deepening(partial(native, reuse=True) if native else merge, plan.depth)  # the state merged so far is never looked at again

    def compute(first: int, last: int, carry: TailState | None) -> TailState:
        carry = known if carry is None else carry
        threshold = None if carry is None or carry.count < plan.depth else carry.pnl[:, :, -1]
        return backend.row_tail(prepared, plan.scenarios, first, last, min(plan.depth, last - first), threshold)

    if executor is not None:
        return reduce(join, executor(lambda r: compute(r[0], r[1], None), ranges))
    return loop(ranges, compute, join, again) if again else loop(ranges, compute, join)


def weighted_tails(plan: Plan, backend: ModuleType, prepared: Prepared, ranges: Sequence[tuple[int, int]], loop: Loop,
                   executor: Callable | None, weights: np.ndarray) -> tuple[Plan, TailState]:
    """The tail of weighted scenarios, kept deep enough: where the weight kept does not prove it, everything is run again twice as deep."""
    from upm_gpu.risk.weighted_tail import deep_enough

    again = 0
    while True:
        tail = tails(plan, backend, prepared, ranges, loop, executor, again=again)
        if tail.not_finite or deep_enough(tail, weights, min(r.level for r in plan.requests)):
            return plan, tail
        plan, again = replace(plan, depth=min(2 * plan.depth, plan.spec.count)), again + 1


def adaptive_tails(plan: Plan, backend: ModuleType, prepared: Prepared, chunk: int, loop: Loop,
                   executor: Callable | None = None) -> tuple[Plan, TailState, list[tuple[int, int]]]:
    """Batch after batch until every unit is precise enough or the cap is reached: the plan of the final size and its tail, cut to its depth."""
    join = deepening(getattr(backend, "merge_tails", merge), plan.depth)
    gross = gross_notional(plan.units, plan.instruments, plan.market)
    state: TailState | None = None
    ranges: list[tuple[int, int]] = []
    for end in batch_ends(plan.spec.count, plan.core.level, plan.spec.sampler == "sobol"):
        more = chunk_ranges(plan, chunk, backend, prepared, ranges[-1][1] if ranges else 0, end)
        ranges += more
        part = tails(plan, backend, prepared, more, loop, executor, state)
        # a loop with a ledger hands back all that was ever computed, one in memory what was asked for now
        state = part if state is None or part.count >= end else join(state, part)
        if state.count > end:
            continue  # an interrupted run went past this batch already
        final = with_count(plan, end)
        cut = replace(state, pnl=np.ascontiguousarray(state.pnl[:, :, : final.depth]), scenario=np.ascontiguousarray(state.scenario[:, :, : final.depth]))
        core = measure(final, cut)[plan.core]
        if precise_enough(core.expected_shortfall, core.expected_shortfall_standard_error, gross, plan.spec.target_relative_error):
            break
    return final, cut, ranges


def with_count(plan: Plan, count: int) -> Plan:
    """The plan of the first `count` scenarios."""
    from upm_gpu.risk.tail import tail_depth

    if count == plan.spec.count:
        return plan
    return replace(plan, spec=replace(plan.spec, count=count), scenarios=shortened(plan.scenarios, count), depth=tail_depth(count, min(r.level for r in plan.requests)))


def measure(plan: Plan, tail: TailState, weights: np.ndarray | None = None) -> dict[MeasureRequest, Measure]:
    """Measures asked for, per unit; `weights` (S,) are those of importance sampling."""
    from upm_gpu.risk.dependence import dependence_of
    from upm_gpu.risk.tail import finish

    estimates = finish(tail, sorted({r.level for r in plan.requests}), dependence_of(plan.scenarios), weights)
    found = {}
    for request in plan.requests:
        h, e = plan.horizon(request.horizon), estimates[request.level]
        found[request] = Measure(e.expected_shortfall[h], e.expected_shortfall_standard_error[h], e.value_at_risk[h],
                                 e.value_at_risk_standard_error[h], e.reliable[h], None if e.variance_ratio is None else e.variance_ratio[h])
    return found


def unit_contributions(plan: Plan, backend: ModuleType, precision: str, threads: int, tail: TailState, weights: np.ndarray | None = None) -> np.ndarray:
    """(L,) Euler contribution of every line to the expected shortfall of its unit, losses positive."""
    from upm_gpu.risk.tail import tail_weights

    h = plan.horizon(plan.core.horizon)
    first, scenario, weight = tail_weights(tail, h, plan.core.level, weights)
    ones = Rows(plan.rows.first, plan.rows.column, np.ones(len(plan.rows.column)))
    with backend.prepare(plan.compiled, ones, precision, threads) as prepared:
        per_entry = backend.attribution(prepared, plan.scenarios, h, first, scenario, weight)
    amount = plan.units.lines.quantity * plan.compiled.instrument_coefficient[plan.units.lines.instrument]
    return amount * per_entry[plan.line_entry]


def _check_tables(plan: Plan, choice: Choice, tail: TailState, core: Measure, weights: np.ndarray | None) -> TableCheck | None:
    from upm_gpu.risk.tail import tail_weights

    h = plan.horizon(plan.core.horizon)
    first, scenario, _ = tail_weights(tail, h, plan.core.level, weights)
    nobody_minds = SHARE_OF_NOTIONAL * gross_notional(plan.units, plan.instruments, plan.market)
    return check_tables(plan.compiled, plan.rows, plan.units.names, plan.scenarios, h, first, scenario,
                        np.maximum(core.expected_shortfall_standard_error, nobody_minds), choice.module, choice.threads)


@dataclass(frozen=True)
class Outcome:
    """What `margin_run` leaves for exhibits and the run folder."""

    plan: Plan
    result: MarginResult
    tail: TailState
    value0: np.ndarray
    choice: Choice
    timings: dict[str, float]
    ranges: tuple[tuple[int, int], ...]
    cap: int
    """scenarios asked for: an adaptive run may have stopped before"""
    weights: np.ndarray | None = None
    """(S,) of importance sampling; None: all count alike"""
    tables: tuple[TableReport, ...] = ()
    """value tables as built"""
    table_check: TableCheck | None = None
    """what they change; None where there are none"""


def margin_run(book: Book, market: MarketSnapshot, spec: ScenarioSpec | None = None, methodology: Any = None, backend: str = "auto", *,
               precision: str = "mixed", chunk: int = 0, threads: int = 0, model: Any = None, executor: Callable | None = None,
               progress: Callable[[int, int], None] | None = None) -> MarginResult:
    """Margin of every account of `book` under `methodology` over `spec` scenarios. Amounts in the reporting currency, positive to post.

    Raises InputError, MarketDataError (nothing computed), DeviceError, CapacityError. Same inputs, same bytes, for any chunk, threads
    or executor on one backend. Verified by tests/parity (backends), tests/known_answers (closed forms) and tests/end_to_end.
    """
    from upm_gpu.margin.methodology import load_methodology

    plan = make_plan(book, market, spec or ScenarioSpec(), methodology or load_methodology(), model)
    choice = choose(backend, precision, threads)
    return compute_outcome(plan, choice, chunk, in_memory(progress), executor).result


def compute_outcome(plan: Plan, choice: Choice, chunk: int, loop: Loop, executor: Callable | None = None, shelf: Shelf | None = None) -> Outcome:
    """Run a plan on a backend: tails, measures, contributions, charges, margin. The plan of the outcome has the final number of scenarios. `shelf` keeps value tables."""
    from upm_gpu.risk.dependence import weights_of
    from upm_gpu.risk.weighted_tail import check_gain

    timings, cap = Timings(), plan.spec.count
    backend = choice.module
    with timings.measure("tables"):
        compiled, tables = with_tables(plan.compiled, (plan.scenarios,), backend, choice.threads, shelf)
        plan = replace(plan, compiled=compiled)
    with timings.measure("engine"):
        weights = weights_of(plan.scenarios)
        with backend.prepare(plan.compiled, plan.rows, choice.precision, choice.threads) as prepared:
            with timings.measure("tail_pass"):
                if plan.spec.target_relative_error > 0.0:
                    plan, tail, ranges = adaptive_tails(plan, backend, prepared, chunk, loop, executor)
                else:
                    ranges = chunk_ranges(plan, chunk, backend, prepared)
                    if weights is None:
                        tail = tails(plan, backend, prepared, ranges, loop, executor)
                    else:
                        plan, tail = weighted_tails(plan, backend, prepared, ranges, loop, executor, weights)
            value0 = np.array(prepared.value0)
            phases = dict(getattr(prepared, "timings", {}))
        if tail.not_finite:
            raise InputError("UPM-PR-078", f"{tail.not_finite} of the scenario P&L values are NaN or infinite: a volatility, level or quantity is "
                             "beyond what float64 can hold. Check the largest inputs; no margin was written.")
        measures = measure(plan, tail, weights)
    check_gain(plan.units.names, measures[plan.core].variance_ratio)
    checked = None
    if tables:
        with timings.measure("table_check"):
            checked = _check_tables(plan, choice, tail, measures[plan.core], weights)
    with timings.measure("attribution"):
        contribution = unit_contributions(plan, backend, choice.precision, choice.threads, tail, weights)
    with timings.measure("margin"):
        result = assemble(plan, measures, contribution, value0)
    result.provenance.update(_provenance(plan, choice, timings.phases["engine"]))
    return Outcome(plan, result, tail, value0, choice, {**phases, **timings.phases}, tuple(ranges), cap, weights, tables, checked)


def _provenance(plan: Plan, choice: Choice, seconds: float) -> dict[str, Any]:
    """Enough to repeat a run made from Python; a run folder's manifest says more."""
    from upm_gpu.run.manifest import identity, versions

    return {**identity(), "libraries": versions(), "backend": choice.name, "device_reason": choice.reason, "precision": choice.precision,
            "seed": plan.spec.seed, "stream": plan.spec.stream, "scenarios": plan.spec.count, "horizons_days": list(plan.horizons),
            "methodology": f"{plan.methodology.name} {plan.methodology.version}", "valuation_time": plan.market.valuation_time.isoformat(),
            "inputs": {**plan.book.hashes, **plan.market.hashes}, "engine_seconds": seconds}


def assemble(plan: Plan, measures: dict[MeasureRequest, Measure], contribution: np.ndarray, value0: np.ndarray) -> MarginResult:
    """Charges, equity and tables: NumPy and pandas only."""
    import pandas as pd

    from upm_gpu.margin.methodology import haircuts

    methodology, book, market, units = plan.methodology, plan.book, plan.market, plan.units
    core = np.maximum(measures[plan.core].expected_shortfall, 0.0) * methodology.core.multiplier
    measured = Measured(units.names, measures, core, gross_notional(units, plan.instruments, market))
    charges: list[Charge] = []
    for parameters in methodology.charges:
        charges.append(load_charge(parameters.name).charge(measured, plan.core, methodology.core.multiplier, parameters.model_dump()))
    equity = account_equity(book, market, haircuts(methodology, book, market.reporting_currency), option_values(plan.compiled, plan.instruments, value0))
    table, unit_table = margin_table(book, units, measured, plan.core, charges, equity, *account_shares(units, contribution), methodology.maintenance_ratio)
    lines = units.lines
    contributions = pd.DataFrame({"account_id": repeated([a.account_id for a in book.accounts], lines.account),
                                  "instrument_id": repeated([i.instrument_id for i in plan.instruments], lines.instrument), "contribution": contribution})
    return MarginResult(table, unit_table, contributions, calls_table(table), measured, tuple(charges), {})


__all__ = ["Outcome", "Plan", "chunk_ranges", "compute_outcome", "in_memory", "make_plan", "margin_run"]
