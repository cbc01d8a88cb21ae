"""What a run computes with, from book, market, specification and methodology: everything that can be refused is refused here, before the first draw."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from upm_gpu.domain.book import Book
from upm_gpu.domain.instrument import Instrument, Spot, paid_in
from upm_gpu.errors import InputError
from upm_gpu.margin.requests import (
    BASE,
    LONG_RUN,
    PERFECT,
    ZERO,
    MeasureRequest,
    Request,
    SetName,
    StressedPeriod,
    StressRequest,
)
from upm_gpu.margin.rows import underlyings_of
from upm_gpu.margin.units import Units, build_rows, build_units, priced_instruments
from upm_gpu.market.marks import linear_marks
from upm_gpu.market.snapshot import MarketSnapshot
from upm_gpu.model.regimes import RegimeInForce
from upm_gpu.pricing.compile import CompileReport, compile_book
from upm_gpu.pricing.compiled import Compiled, Rows
from upm_gpu.pricing.dynamics import Dynamics, Periods, dynamics_of
from upm_gpu.pricing.exotics import bridges_of
from upm_gpu.pricing.path_dates import option_expiries, path_dates
from upm_gpu.pricing.quantos import with_rates
from upm_gpu.pricing.states import funding_dates
from upm_gpu.pricing.tables import Library
from upm_gpu.pricing.two_assets import options_read, with_correlations
from upm_gpu.scenario.derived import derive, shortened
from upm_gpu.scenario.sets import ScenarioSet
from upm_gpu.scenario.spec import ScenarioSpec

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


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
    """those that the pass of the core answers"""
    depth: int
    clock_days: tuple[float, ...]
    """(H,) the horizons in days of the trading clock, as asked for"""
    regimes: tuple[RegimeInForce, ...] = ()
    """the correlations scenarios move by, where the model has any"""
    further: tuple[Request, ...] = ()
    """what charges ask for beside `requests`, see `measuring.py`"""
    sets: dict[SetName, ScenarioSet] = field(default_factory=dict)
    """the scenario sets of `further` by name, each as long as the run's"""
    moves: dict[StressRequest, tuple[dict[str, float], ...]] = field(default_factory=dict)
    """the moves that `further` gives outright, a state -> its change for each"""
    library: Library | None = None
    """value tables of another market that serve where they cover this one"""

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the inputs, the methodology, the calibration and the compilation had to say."""
        from upm_gpu.margin.methodology import collateral_warnings
        from upm_gpu.market.parity_violations import parity_table, parity_warnings

        return (*self.book.warnings, *collateral_warnings(self.methodology, self.book, self.market), *self.market.warnings, *parity_warnings(parity_table(self.market, self.instruments)), *self.compile_report.warnings, *(self.fit.warnings if self.fit is not None else ()))

    @property
    def underlyings(self) -> tuple[str, ...]:
        """What `Measured.underlyings` lists."""
        return underlyings_of(self.instruments)

    @property
    def horizons(self) -> tuple[float, ...]:
        """(H,) days since the valuation time, ascending."""
        return self.compiled.horizons

    def horizon(self, days: float) -> int:
        """Index of the horizon `days` of the trading clock away; ValueError where it is none of the plan's."""
        return self.clock_days.index(days)


def make_plan(book: Book, market: MarketSnapshot, spec: ScenarioSpec, methodology: Any, model: Any = None, surfaces: dict | None = None, fit: Any = None) -> Plan:
    """Compile everything a run needs; raises InputError or MarketDataError before the first draw.

    `model` is a parameters object of a model of `upm_gpu.model`; None takes the file named in `spec` or calibrates from the history. `surfaces` by
    underlying stand in for those that would be fitted to the quotes; `fit` is what calibration had to say of a model that is given.
    """
    from upm_gpu.calibrate.model_of_spec import calibrate_model
    from upm_gpu.calibrate.stressed import correlation_regimes
    from upm_gpu.guided import guided
    from upm_gpu.margin.collateral import posted_of
    from upm_gpu.margin.methodology import (
        charges_in_force,
        check_netting_sets,
        class_periods,
        core_request,
        simulated_assets,
    )
    from upm_gpu.market.surface import fit_surfaces
    from upm_gpu.market.surface_given import given_surfaces
    from upm_gpu.model.pricing_law import feller_warnings, moment_warnings, pricing_laws
    from upm_gpu.model.regimes import under_regimes
    from upm_gpu.model.sampling import check_sampled
    from upm_gpu.risk.pilot import plain_walk
    from upm_gpu.stresses import moves_of

    if not len(book.positions.instrument) and not len(book.collateral.asset):
        raise InputError("UPM-IN-039", "nothing to margin: the book holds no position. Check positions and rejects.")
    market = replace(market, linear_marks=linear_marks(book.instruments), surface_family=spec.surface)
    check_netting_sets(methodology, book)
    simulated = simulated_assets(methodology, book)
    posted_of(book, market, methodology.collateral, simulated)  # unpriced or without a haircut: refused here
    instruments = priced_instruments(book, market, simulated)
    core = core_request(methodology)
    asked = dict.fromkeys([core, *(r for c in charges_in_force(methodology) for r in c.module.requests(core, c.parameters))])
    measures = [r for r in asked if isinstance(r, MeasureRequest)]
    if spec.sampler == "importance" and any(r.tail_share for r in measures):
        raise InputError("UPM-CF-110", f"methodology {methodology.name} {methodology.version}: core.estimator extreme_value fits a law to equally weighted scenarios, and scenarios.sampler is importance, which weighs "
                         "them. Use sampler philox or sobol, or estimator plain.")
    requests = tuple(r for r in measures if r.main)
    further = tuple(r for r in asked if r not in requests)
    clock = spec.trading_clock(market.valuation_time)
    own = class_periods(methodology.core, instruments)
    clock_days = tuple(sorted({*spec.horizons, *(r.horizon for r in measures), *(own or ())}))
    horizons = tuple(clock.target(market.valuation_time, h) for h in clock_days)
    at = dict(zip(clock_days, horizons, strict=True))
    periods = None if own is None else Periods(at[core.horizon], tuple(at[d] for d in own))
    dynamics = dynamics_of(spec)
    told: tuple[str, ...] = ()
    if surfaces is None:
        needed = {i.underlying for i in options_read(instruments)}
        surfaces, told = given_surfaces(spec.surface_file, market, needed) if spec.surface_file else (fit_surfaces(market, needed), ())
    extra = [max(horizons) * (i + 1) / spec.steps for i in range(spec.steps - 1)]
    dates = path_dates(instruments, market, horizons, [*extra, *funding_dates(instruments, horizons, dynamics)])
    if model is None:
        model, fit = calibrate_model(market, spec, surfaces=surfaces)
    regimes = correlation_regimes(market, spec, model, fit, surfaces)
    elapsed, expiries = clock.elapsed(market.valuation_time, dates), option_expiries(instruments, market)

    def drawn_of(law: Any) -> tuple[ScenarioSet, tuple[RegimeInForce, ...]]:
        return under_regimes(law.scenarios(elapsed, replace(spec, expiries=expiries)), regimes, spec.inverse_assets, spec.stream)

    scenarios, in_force = drawn_of(model)
    check_sampled(scenarios, spec)
    instruments, assumed = with_correlations(instruments, in_force, scenarios)
    instruments, rates = with_rates(instruments, scenarios, market, clock.days_per_year)
    assumed += rates
    laws = pricing_laws(model) if spec.repricing == "model" else None

    def compiled_on(drawn: ScenarioSet) -> tuple[Compiled, CompileReport]:
        return compile_book(instruments, market, surfaces, drawn.state_names, dates, horizons, dynamics, bridges_of(drawn, spec, instruments), laws, periods)

    compiled, report = compiled_on(scenarios)
    report = replace(report, warnings=(*report.warnings, *told, *assumed, *moment_warnings(model, max(horizons), expiries if laws is not None else ())))
    if laws is not None:
        report = replace(report, warnings=(*report.warnings, *feller_warnings(model)))
    names = [r.scenario_set for r in measures if not r.main]
    sets = {name: derive(drawn, compiled.operations) for name, drawn in further_sets(scenarios, names, spec).items()}
    for name, law in _other_laws(names, model, fit, market, spec, surfaces).items():
        drawn = plain_walk(drawn_of(law)[0]) if spec.sampler == "importance" else drawn_of(law)[0]
        # what happens between two dates has the variance of the law: only paths across barriers read it
        sets[name] = derive(drawn, compiled.operations if bridges_of(drawn, spec, instruments) is None else compiled_on(drawn)[0].operations)
    held = {a for i in instruments for a in (i.underlying, *(() if isinstance(i, Spot) else (i.quote_currency, paid_in(i))))}
    moves = {r: moves_of(r, compiled.drawn_names, market, spec, surfaces, held) for r in further if isinstance(r, StressRequest)}
    scenarios = derive(scenarios, compiled.operations)
    units = build_units(book, instruments, simulated)
    rows, entry = build_rows(units, compiled)
    lowest = min(r.level for r in requests)
    depth = depth_of(spec.count, requests)
    if spec.sampler == "importance":
        scenarios, depth = guided(scenarios, spec, compiled, rows, clock_days.index(core.horizon), core.level, lowest)
    return Plan(book, market, spec, methodology, instruments, surfaces, dynamics, model, fit, compiled, report, scenarios, units, rows, entry,
                core, requests, depth, clock_days, in_force, further, sets, moves)


def _other_laws(names: Sequence[SetName], model: Any, fit: Any, market: MarketSnapshot, spec: ScenarioSpec, surfaces: dict) -> dict[SetName, Any]:
    """The models behind the sets whose volatilities are not today's."""
    from upm_gpu.calibrate.other_volatility import long_run_model, stressed_model

    found: dict[SetName, Any] = {}
    for name in dict.fromkeys(names):
        if isinstance(name, StressedPeriod):
            found[name] = stressed_model(model, fit, market, spec, name.start, name.end, surfaces)
        elif name == LONG_RUN:
            found[name] = long_run_model(model, fit, market, spec, surfaces)
    return found


def further_sets(scenarios: ScenarioSet, names: Sequence[SetName], spec: ScenarioSpec) -> dict[SetName, ScenarioSet]:
    """The scenario sets that charges name and that are those of the run or its dependence replaced, without derived states. Plain scenarios stand in for weighted ones: weights are made for the tails of units, not for other rows."""
    from upm_gpu.model.across import across
    from upm_gpu.risk.pilot import plain_walk

    plain: ScenarioSet = plain_walk(scenarios) if names and spec.sampler == "importance" else scenarios
    found: dict[SetName, ScenarioSet] = {BASE: plain}
    if PERFECT in names:
        found[PERFECT] = across(plain, "perfect", spec.inverse_assets, spec.across_dates)
    if ZERO in names:
        found[ZERO] = across(plain, "zero", spec.inverse_assets, spec.across_dates)
    return found if names else {}


def depth_of(count: int, requests: Iterable[MeasureRequest]) -> int:
    """Scenarios a row must keep for all requests."""
    from upm_gpu.risk.extreme_value import fit_depth
    from upm_gpu.risk.tail import tail_depth

    asked = list(requests)
    return max(tail_depth(count, min(r.level for r in asked)), *(fit_depth(count, r.tail_share) for r in asked))


def with_count(plan: Plan, count: int) -> Plan:
    """The plan of the first `count` scenarios."""
    if count == plan.spec.count:
        return plan
    return replace(plan, spec=replace(plan.spec, count=count), scenarios=shortened(plan.scenarios, count), depth=depth_of(count, plan.requests))
