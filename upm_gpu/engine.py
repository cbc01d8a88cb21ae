"""margin_run(): the whole flow on one page.

book + market -> plan (what to price, on which dates, under which law) -> tails (scenarios drawn, repriced, summed by unit, cut)
-> measures -> charges -> margin. Each step is a function of another room; nothing is computed here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from upm_gpu.backend.contract import TailState
from upm_gpu.backend.select import Choice, choose
from upm_gpu.domain.book import Book
from upm_gpu.errors import InputError
from upm_gpu.margin.adaptive import SHARE_OF_NOTIONAL
from upm_gpu.margin.collateral import Posted, posted_of
from upm_gpu.margin.composition import counted
from upm_gpu.margin.pledged import pledged_of
from upm_gpu.margin.requests import Charge, Measure, Measured, MeasureRequest, PledgedRequest
from upm_gpu.margin.result import (
    Common,
    MarginResult,
    account_equity,
    account_shares,
    calls_table,
    margin_table,
    option_values,
    repeated,
)
from upm_gpu.margin.units import Units, gross_notional, sum_by
from upm_gpu.market.snapshot import MarketSnapshot
from upm_gpu.measuring import Further, Walk, measure_further
from upm_gpu.passes import Loop, adaptive_tails, chunk_ranges, in_memory, measure, tails, weighted_tails
from upm_gpu.plan import Plan, make_plan
from upm_gpu.pricing.compiled import Rows
from upm_gpu.pricing.table_refinement import MOST, made_finer
from upm_gpu.pricing.tables import Shelf, TableReport, with_tables
from upm_gpu.scenario.spec import ScenarioSpec
from upm_gpu.table_check import Felt, TableCheck, check_tables

if TYPE_CHECKING:
    from upm_gpu.margin.methodology import ChargeInForce

PASSES_OF_A_WALK = 100
"""numbers in the ledger between one walk and the next with finer tables; `measuring.FIRST_PASS` lies beyond them all"""


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


def unit_contributions(plan: Plan, backend: ModuleType, precision: str, threads: int, tail: TailState, weights: np.ndarray | None = None) -> np.ndarray:
    """(L,) contribution of every line to the core measure of its unit, losses positive: Euler's to expected shortfall, the loss in the scenario of value-at-risk."""
    from upm_gpu.risk.tail import quantile_weights, tail_weights
    from upm_gpu.risk.weighted_tail import row_parts

    h = plan.horizon(plan.core.horizon)
    ones = Rows(plan.rows.first, plan.rows.column, np.ones(len(plan.rows.column)))
    per_entry = np.zeros(len(plan.rows.column))
    with backend.prepare(plan.compiled, ones, precision, threads) as prepared:
        if plan.methodology.core.measure == "value_at_risk":
            per_entry[:] = backend.attribution(prepared, plan.scenarios, h, *quantile_weights(tail, h, plan.core.level, weights))
        else:
            for part in [range(plan.rows.count)] if weights is None else row_parts(tail):
                entries = slice(plan.rows.first[part.start], plan.rows.first[part.stop])
                per_entry[entries] = backend.attribution(prepared, plan.scenarios, h, *tail_weights(tail, h, plan.core.level, weights, part))[entries]
    amount = plan.units.lines.quantity * plan.compiled.instrument_coefficient[plan.units.lines.instrument]
    return amount * per_entry[plan.line_entry]


def to_fitted(plan: Plan, contribution: np.ndarray, core: Measure) -> np.ndarray:
    """(L,) contributions to the fitted measure: what it differs from the plain one by is shared in proportion to the size of the plain contributions, so that they add up."""
    assert core.tail is not None
    quantile = plan.methodology.core.measure == "value_at_risk"
    over = core.value_at_risk - core.tail.plain_quantile if quantile else core.expected_shortfall - core.tail.plain
    unit, count = plan.units.lines.unit, len(plan.units.names)
    size = sum_by(unit, np.abs(contribution), count)
    share = np.divide(over, size, out=np.zeros(count), where=size > 0.0)
    return contribution + share[unit] * np.abs(contribution)


def _check_tables(plan: Plan, choice: Choice, tail: TailState, core: Measure, weights: np.ndarray | None, felt: Felt | None = None) -> tuple[TableCheck, Felt | None] | None:
    """The check of all units, or of those who felt their tables before these were made finer."""
    from upm_gpu.risk.tail import tail_weights

    h = plan.horizon(plan.core.horizon)
    first, scenario, _ = tail_weights(tail, h, plan.core.level, weights)
    nobody_minds = SHARE_OF_NOTIONAL * gross_notional(plan.units, plan.instruments, plan.market)
    return check_tables(plan.compiled, plan.rows, plan.units.names, plan.scenarios, h, first, scenario,
                        np.maximum(core.expected_shortfall_standard_error, nobody_minds), choice.module, choice.threads, None if felt is None else felt.units)


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
    passes: tuple[dict[str, Any], ...] = ()
    """further passes that charges asked for: set, scenarios, rows"""
    walks: dict[MeasureRequest, Walk] = field(default_factory=dict)
    """their tails"""


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


def compute_outcome(plan: Plan, choice: Choice, chunk: int, loop: Loop, executor: Callable | None = None, shelf: Shelf | None = None, contributions: bool = True) -> Outcome:
    """Run a plan on a backend: tails, measures, contributions, charges, margin. The plan of the outcome has the final number of scenarios. `shelf` keeps value tables. Without `contributions` they are 0, and pools,
    whose members bear by them, share alike."""
    from upm_gpu.risk.dependence import dependence_of, weights_of
    from upm_gpu.risk.weighted_tail import check_gain

    timings, cap = Timings(), plan.spec.count
    backend, bare = choice.module, plan.compiled
    with timings.measure("engine"):
        weights = weights_of(plan.scenarios)
    core, made, checked, felt = plan.horizon(plan.core.horizon), plan.compiled, None, None
    for times in range(MOST + 2):  # once; again with finer tables for units that feel coarse ones, which ends after `MOST` times or raises
        with timings.measure("tables"):
            compiled, tables = with_tables(made, (plan.scenarios,), backend, choice.threads, shelf, library=plan.library)
            plan = replace(plan, compiled=compiled)
        with timings.measure("engine"):
            plan, tail, ranges, value0 = _walked(plan, choice, chunk, loop, executor, timings, weights, times)
            if tail.not_finite:
                raise InputError("UPM-PR-078", f"{tail.not_finite} of the scenario P&L values are NaN or infinite: a volatility, level or quantity is "
                                 "beyond what float64 can hold. Check the largest inputs; no margin was written.")
            measures = measure(plan, tail, weights)
        check_gain(plan.units.names, measures[plan.core].variance_ratio)
        with timings.measure("table_check"):
            found = _check_tables(plan, choice, tail, measures[plan.core], weights, felt) if tables else None
        if found is None:
            break
        checked, felt = found[0] if checked is None else checked.with_later(found[0]), found[1]
        if felt is None:
            break
        made = made_finer(made, core, felt.tables, times + 1, felt.message)
    with timings.measure("attribution"):
        contribution = unit_contributions(plan, backend, choice.precision, choice.threads, tail, weights) if contributions else np.zeros(len(plan.units.lines.unit))
        if contributions and measures[plan.core].tail is not None:
            contribution = to_fitted(plan, contribution, measures[plan.core])
    with timings.measure("charges"):
        further = measure_further(plan, bare, choice, chunk, loop, value0, executor, shelf)
    with timings.measure("margin"):
        result = assemble(plan, measures, contribution, value0, further, Common(tail, plan.horizon(plan.core.horizon), dependence_of(plan.scenarios), weights))
    result.provenance.update(_provenance(plan, choice, timings.phases["engine"]))
    return Outcome(plan, result, tail, value0, choice, timings.phases, tuple(ranges), cap, weights, tables, checked, tuple(further.passes), further.walks)


def _walked(plan: Plan, choice: Choice, chunk: int, loop: Loop, executor: Callable | None, timings: Timings, weights: np.ndarray | None,
            times: int) -> tuple[Plan, TailState, Sequence[tuple[int, int]], np.ndarray]:
    """One walk over the scenarios: the plan of the final number of them, tails, ranges and today's values. Walks with finer tables are passes of their own, as long as the first."""
    backend, again = choice.module, times * PASSES_OF_A_WALK
    with backend.prepare(plan.compiled, plan.rows, choice.precision, choice.threads) as prepared:
        with timings.measure("tail_pass"):
            if plan.spec.target_relative_error > 0.0 and not times:
                plan, tail, ranges = adaptive_tails(plan, backend, prepared, chunk, loop, executor)
            else:
                ranges = chunk_ranges(plan, chunk, backend, prepared)
                if weights is None:
                    tail = tails(plan, backend, prepared, ranges, loop, executor, again=again)
                else:
                    plan, tail = weighted_tails(plan, backend, prepared, ranges, loop, executor, weights, again)
        for phase, seconds in getattr(prepared, "timings", {}).items():
            timings.phases[phase] = timings.phases.get(phase, 0.0) + seconds
        return plan, tail, ranges, np.array(prepared.value0)


def _provenance(plan: Plan, choice: Choice, seconds: float) -> dict[str, Any]:
    """Enough to repeat a run made from Python; a run folder's manifest says more."""
    from upm_gpu.run.manifest import identity, versions

    return {**identity(), "libraries": versions(), "backend": choice.name, "device_reason": choice.reason, "precision": choice.precision,
            "seed": plan.spec.seed, "stream": plan.spec.stream, "scenarios": plan.spec.count, "horizons_days": list(plan.horizons),
            "methodology": f"{plan.methodology.name} {plan.methodology.version}", "valuation_time": plan.market.valuation_time.isoformat(),
            "inputs": {**plan.book.hashes, **plan.market.hashes}, "engine_seconds": seconds}


def charged(plan: Plan, measures: dict[MeasureRequest, Measure], further: Further, posted: Posted, in_force: Sequence[ChargeInForce] | None = None,
            gross: np.ndarray | None = None, homes: Units | None = None) -> tuple[Measured, list[Charge]]:
    """What was measured of the plan's units, and every charge of the methodology on it: arithmetic alone. `in_force` are the charges and `gross` (U,) the gross notionals where they are known already; `homes` are
    the units under the names of the book's accounts, where the plan's own have others."""
    from upm_gpu.margin.methodology import charges_in_force, core_measure

    methodology, book, market, units = plan.methodology, plan.book, plan.market, plan.units
    amount, error = core_measure(methodology.core, measures[plan.core])
    core = np.maximum(amount, 0.0) * methodology.core.multiplier
    pledged = pledged_of(book, homes or units, posted) if PledgedRequest() in plan.further else None
    measured = Measured(units.names, measures | further.measures, core, gross_notional(units, plan.instruments, market) if gross is None else gross, plan.underlyings, further.names, further.largest, further.slower,
                        further.stressed, further.exposures, error * methodology.core.multiplier, pledged, market.valuation_time.date(), methodology.core.measure == "value_at_risk",
                        np.array([book.margin_means.get(name, np.nan) for name in units.names]))
    in_force = charges_in_force(methodology) if in_force is None else in_force
    return measured, counted([c.module.charge(measured, plan.core, methodology.core.multiplier, c.parameters) for c in in_force], [c.largest_of for c in in_force])


def assemble(plan: Plan, measures: dict[MeasureRequest, Measure], contribution: np.ndarray, value0: np.ndarray, further: Further, common: Common) -> MarginResult:
    """Charges, equity and tables: NumPy and pandas only."""
    import pandas as pd

    from upm_gpu.margin.methodology import simulated_assets

    methodology, book, market, units = plan.methodology, plan.book, plan.market, plan.units
    posted = posted_of(book, market, methodology.collateral, simulated_assets(methodology, book))
    measured, charges = charged(plan, measures, further, posted)
    equity = account_equity(book, market, posted, option_values(plan.compiled, plan.instruments, value0))
    table, unit_table = margin_table(book, units, measured, plan.core, charges, equity, *account_shares([a.account_id for a in book.accounts], units, contribution), methodology.maintenance_ratio, common)
    lines = units.lines
    contributions = pd.DataFrame({"account_id": repeated([a.account_id for a in book.accounts], lines.account),
                                  "instrument_id": repeated([i.instrument_id for i in plan.instruments], lines.instrument), "contribution": contribution})
    return MarginResult(table, unit_table, contributions, calls_table(table), measured, tuple(charges), {})


__all__ = ["Outcome", "compute_outcome", "margin_run"]
