"""The market as it moves in a cascade: values, slopes and margins of everything held, through the engine's own pricing.

Where the market stands is a change of drawn states since the valuation time: the scenario's own, plus what liquidators have pushed prices (`log_level`) and volatilities
(`volatility_shift`, `variance`). Values are unit P&L of given states in float64, as in the stress table of a report: at once for a named stress, at the core's horizon with the path
before it for a scenario of the run (its expiries, settlements and decay included; impact moves the last date alone).

Margins are measured again from scenarios, not scaled with prices: the first so many scenarios of the run are drawn again, shifted to where the market stands, priced and summed for
every unit, less what the unit is worth there; the core measure of that P&L over that at the start is what a party's initial margin of the run, charges included, is multiplied by. The same
scenarios on both sides: most of their sampling error leaves the ratio. Time stands still for margins: a scenario of the run two days on is margined as if it had come at once.
Verified by tests/end_to_end/test_liquidation.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from upm_gpu import exhibits
from upm_gpu.backend.select import Choice
from upm_gpu.domain.instrument import Option
from upm_gpu.liquidation.holdings import Holdings
from upm_gpu.margin.units import sum_by
from upm_gpu.plan import Plan
from upm_gpu.pricing.compiled import Compiled, Rows, empty
from upm_gpu.risk.measures import tail_size
from upm_gpu.scenario.derived import derive, shortened
from upm_gpu.scenario.sets import Explicit, ScenarioSet

PRICE_BUMP, VOLATILITY_BUMP = 0.005, 0.01
"""log moves of the slopes: large against rounding of a price, small against any cascade"""


@dataclass(frozen=True)
class Start:
    """A scenario to begin with: states of the path (D, K), and the program and dates that read them."""

    name: str
    compiled: Compiled
    states: NDArray[np.float64]
    horizon_days: float
    """0 for a move at once"""
    last: int = 0
    """the path date values are read at: impact moves it and whatever comes after"""


@dataclass(frozen=True)
class Slopes:
    """What one unit of every instrument is worth and how that moves, (N,), where the market stands."""

    value: NDArray[np.float64]
    """P&L since the valuation time"""
    delta: NDArray[np.float64]
    """money for +100 % of its underlying, all underlyings together where it has two"""
    vega: NDArray[np.float64]
    """money for a relative change of volatility by 1"""


@dataclass(frozen=True)
class World:
    """A plan whose market can be moved."""

    plan: Plan
    choice: Choice
    start: Start
    scenarios: int
    """margins are measured on"""

    @cached_property
    def underlyings(self) -> tuple[str, ...]:
        """Assets whose prices can be pushed."""
        return tuple(sorted({i.underlying for i in self.plan.instruments}))

    @cached_property
    def of_instrument(self) -> NDArray[np.int64]:
        """(N,) place of each instrument's underlying."""
        return np.array([self.underlyings.index(i.underlying) for i in self.plan.instruments], np.int64)

    @cached_property
    def is_option(self) -> NDArray[np.bool_]:
        """(N,)"""
        return np.array([isinstance(i, Option) for i in self.plan.instruments], bool)

    def shift(self, price: NDArray[np.float64], volatility: NDArray[np.float64]) -> NDArray[np.float64]:
        """(K,) change of drawn states under log moves (U,) of prices and volatilities."""
        moves = {"price": price, "volatility": volatility}
        found = np.zeros(len(self.start.compiled.drawn_names))
        for k, state in enumerate(self.start.compiled.drawn_names):
            kind, _, of = state.rstrip("]").partition("[")
            asset = of.partition(",")[0]
            if kind in exhibits.MOVED_BY and asset in self.underlyings:
                found[k] = moves[exhibits.MOVED_BY[kind]][self.underlyings.index(asset)]
        return found

    def values(self, shifts: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
        """(N, S) P&L since the valuation time of one unit of every instrument, after the start and each of the shifts (K,)."""
        states = np.repeat(self.start.states[:, :, None], len(shifts), axis=2)
        states[self.start.last :] += np.stack(shifts, axis=1)
        return self._unit(self.start.compiled, states)

    def slopes(self, price: NDArray[np.float64], volatility: NDArray[np.float64]) -> Slopes:
        """Values and slopes where impact has moved the start by log moves (U,), central differences."""
        at, none = self.shift(price, volatility), np.zeros(len(self.underlyings))
        up, wide = self.shift(none + PRICE_BUMP, none), self.shift(none, none + VOLATILITY_BUMP)
        value = self.values([at, at + up, at - up, at + wide, at - wide])
        return Slopes(value[:, 0], (value[:, 1] - value[:, 2]) / (2.0 * PRICE_BUMP), (value[:, 3] - value[:, 4]) / (2.0 * VOLATILITY_BUMP))

    def margin_pnl(self, price: NDArray[np.float64], volatility: NDArray[np.float64], rows: Rows | None = None, today: bool = False) -> NDArray[np.float64]:
        """P&L over the margin period from where the market stands (`today`: from the valuation time, before any move): (R, M) of rows, or (N, M) of one unit of every instrument."""
        first = np.zeros(len(self.start.compiled.drawn_names)) if today else self.start.states[self.start.last] + self.shift(price, volatility)
        there = self._unit(self._now, np.ascontiguousarray(first)[None, :, None])[:, 0]
        states = self._draws + first[None, :, None]
        if rows is None:
            return self._unit(self._core, states) - there[:, None]
        column = np.zeros(self._core.columns)
        compiled = self._core
        # rows are over columns: the value of a column is that of an instrument in it over its coefficient
        column[compiled.instrument_column] = there / compiled.instrument_coefficient
        given = derive(Explicit(compiled.drawn_names, compiled.dates, states), compiled.operations)
        covered = self._covered(compiled, states)
        with self.choice.module.prepare(covered, rows, "double", self.choice.threads) as prepared:
            pnl = self.choice.module.row_pnl(prepared, given, 0, states.shape[2], 0)
        of_row = np.repeat(np.arange(rows.count), np.diff(rows.first))
        pnl -= np.bincount(of_row, weights=rows.quantity * column[rows.column], minlength=rows.count)[:, None]
        found: NDArray[np.float64] = pnl
        return found

    def measure(self, pnl: NDArray[np.float64]) -> NDArray[np.float64]:
        """(...,) the core's measure of P&L (..., M), at least 0."""
        core = self.plan.methodology.core
        return tail_measure(pnl, core.level, core.measure == "value_at_risk")

    @cached_property
    def _draws(self) -> NDArray[np.float64]:
        """(D, K, M) drawn states of the first scenarios of the run."""
        return drawn_states(self.plan, self.choice, shortened(self.plan.scenarios, self.scenarios), 0, self.scenarios)

    @cached_property
    def _core(self) -> Compiled:
        """The run's program at the core's horizon alone."""
        return replace(self.plan.compiled, programs=(self.plan.compiled.programs[self.plan.horizon(self.plan.core.horizon)],))

    @cached_property
    def _now(self) -> Compiled:
        """Moves at once: where the market stands."""
        return now_of(self.plan)

    @cached_property
    def daily_volatility(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(U,) of prices and of volatilities, relative, a day: the spread of the run's own scenarios over the core's horizon, spread over its days."""
        days, last, names = self._core.horizons[0], self._draws[-1], self._core.drawn_names
        found = np.zeros((2, len(self.underlyings)))
        for k, state in enumerate(names):
            kind, _, of = state.rstrip("]").partition("[")
            asset, which = of.partition(",")[0], exhibits.MOVED_BY.get(kind)
            if which is not None and asset in self.underlyings:
                place = ("price", "volatility").index(which), self.underlyings.index(asset)
                found[place] = max(found[place], float(np.std(last[k])) / np.sqrt(days))
        return found[0], found[1]

    def _unit(self, compiled: Compiled, states: NDArray[np.float64]) -> NDArray[np.float64]:
        """(N, S) P&L of one unit of every instrument under states (D, K, S) of a program."""
        rows = Rows(np.zeros(1, np.int64), np.zeros(0, np.int32), np.zeros(0))
        given = derive(Explicit(compiled.drawn_names, compiled.dates, np.ascontiguousarray(states)), compiled.operations)
        covered = self._covered(compiled, states)
        with self.choice.module.prepare(covered, rows, "double", self.choice.threads) as prepared:
            columns = self.choice.module.unit_pnl(prepared, given, 0, states.shape[2], 0)
        found: NDArray[np.float64] = columns[compiled.instrument_column] * compiled.instrument_coefficient[:, None]
        return found

    def _covered(self, compiled: Compiled, states: NDArray[np.float64]) -> Compiled:
        """The program with value tables that reach where the states go; itself where it needs none."""
        if not any(p.table_requests for p in compiled.programs):
            return compiled
        return exhibits.cover(self.choice.module, compiled, (Explicit(compiled.drawn_names, compiled.dates, np.ascontiguousarray(states)),), self.choice.threads)


def now_of(plan: Plan) -> Compiled:
    """The plan's instruments compiled for moves at once."""
    return exhibits.compile_today(plan.instruments, plan.market, plan.surfaces, plan.compiled.drawn_names, plan.dynamics)


def stress_start(plan: Plan, name: str, moves: dict[str, dict[str, float]]) -> Start:
    """Relative moves by asset ("*": every other), at once."""
    compiled = now_of(plan)
    moved = exhibits.state_moves(compiled.drawn_names, moves)
    return Start(name, compiled, np.array([[moved[state] for state in compiled.drawn_names]]), 0.0)


def drawn_states(plan: Plan, choice: Choice, scenarios: ScenarioSet, first: int, last: int) -> NDArray[np.float64]:
    """(D, K, last - first) states that the model draws, of scenarios by number; nothing is priced, so no value table is asked for."""
    nothing, rows = empty(plan.compiled.state_names, plan.compiled.dates)
    with choice.module.prepare(nothing, rows, "double", choice.threads) as prepared:
        states = choice.module.states(prepared, scenarios, first, last)
    return np.ascontiguousarray(states[:, : len(plan.compiled.drawn_names)])


def scenario_start(plan: Plan, choice: Choice, scenario: int) -> Start:
    """A scenario of the run by its number, at the core's horizon."""
    program = plan.compiled.programs[plan.horizon(plan.core.horizon)]
    compiled = replace(plan.compiled, programs=(program,))
    states = drawn_states(plan, choice, plan.scenarios, scenario, scenario + 1)[:, :, 0]
    last = int(np.argmin(np.abs(compiled.dates - program.horizon)))
    return Start(f"scenario {scenario}", compiled, np.array(states), program.horizon, last)


def tail_measure(pnl: NDArray[np.float64], level: float, quantile: bool) -> NDArray[np.float64]:
    """(...,) expected shortfall (or value-at-risk) of P&L (..., M), floored at 0: the definitions of `risk/measures.py`, by partition instead of a sort."""
    size = tail_size(pnl.shape[-1], level)
    whole = int(np.floor(size))
    part = np.partition(pnl, whole, axis=-1) if whole < pnl.shape[-1] else np.sort(pnl, axis=-1)
    at = part[..., min(whole, pnl.shape[-1] - 1)]
    loss: Any = -at if quantile else -(part[..., :whole].sum(axis=-1) + (size - whole) * at) / size
    found: NDArray[np.float64] = np.maximum(loss, 0.0)
    return found


def gains(holdings: Holdings, value: NDArray[np.float64], units: int) -> NDArray[np.float64]:
    """(U,) what the positions of every unit are worth at values (N,) of one unit of each instrument."""
    return sum_by(holdings.unit, holdings.quantity() * value[holdings.instrument], units)
