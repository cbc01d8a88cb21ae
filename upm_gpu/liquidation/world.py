"""The market as it moves in a cascade: values, slopes and core measures of everything held, through the engine's own pricing.

Where the market stands is a change of drawn states since the valuation time: the scenario's own, plus what liquidators have pushed prices (`log_level`) and volatilities
(`volatility_shift`, `variance`). Values are unit P&L of given states in float64, as in the stress table of a report: at once for a named stress, at the core's horizon with the path
before it for a scenario of the run (its expiries, settlements and decay included; impact moves the last date alone).

Core measures are made from scenarios, not scaled with prices: the first so many scenarios of the run are drawn again, shifted to where the market stands, and every instrument is priced on them once, less what
it is worth there; books are sums over that. Time stands still for margins: a scenario of the run two days on is margined as if it had come at once.
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
from upm_gpu.liquidation.case import Case
from upm_gpu.liquidation.coverage import Coverage
from upm_gpu.liquidation.holdings import Holdings, hold
from upm_gpu.liquidation.starts import Start, drawn_states, stress_start
from upm_gpu.margin.units import sum_by
from upm_gpu.plan import Plan
from upm_gpu.pricing.compiled import Compiled, Rows
from upm_gpu.risk.measures import tail_size
from upm_gpu.scenario.derived import derive, shortened
from upm_gpu.scenario.sets import Explicit, ScenarioSet

PRICE_BUMP, VOLATILITY_BUMP = 0.005, 0.01
"""log moves of the slopes: large against rounding of a price, small against any cascade"""
BLOCK_OF_UNITS = 256
"""whose P&L is in memory together: 8 MB at 4,096 scenarios"""


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
class Ground:
    """What all cascades of a run share: its law, its instruments, and today's market."""

    case: Case
    scenarios: int
    """margins are measured on"""
    coverage: Coverage

    @property
    def plan(self) -> Plan:
        return self.case.plan

    @property
    def choice(self) -> Choice:
        return self.case.choice

    def at(self, start: Start) -> World:
        """The market of a scenario."""
        return World(self, start)

    @cached_property
    def today(self) -> World:
        """The market before anything came."""
        return self.at(stress_start(self.case.now, "today", {}))

    def reaching(self, start: Start) -> Ground:
        """The same with value tables that reach from today's market over that of a scenario; itself where nothing is read from tables."""
        programs = (self.case.now, self.core)
        if not any(p.table_requests for c in programs for p in c.programs):
            return self
        found = replace(self, coverage=Coverage(self.choice, self.coverage.shelf))
        first, none = start.states[start.last], np.zeros(len(self.case.now.drawn_names))
        found.coverage.anchor(self.case.now, [given_states(self.case.now, at[None, :, None]) for at in (none, first)])
        found.coverage.anchor(found.core, [given_states(found.core, found.draws + at[None, :, None]) for at in (none, first)])
        return found

    @cached_property
    def today_slopes(self) -> Slopes:
        """What depth is measured in."""
        return self.today.slopes(np.zeros(len(self.underlyings)), np.zeros(len(self.underlyings)))

    @cached_property
    def today_cores(self) -> NDArray[np.float64]:
        """(U,) the core's measure of the books of the run, before anything came."""
        none = np.zeros(len(self.underlyings))
        return self.cores(hold(self.plan.units, self.plan.instruments), self.today.margin_pnl(none, none))

    @cached_property
    def underlyings(self) -> tuple[str, ...]:
        """Assets whose prices can be pushed."""
        return tuple(sorted({i.underlying for i in self.plan.instruments}))

    @cached_property
    def pushed(self) -> tuple[tuple[NDArray[np.int64], NDArray[np.int64]], tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """(places of drawn states, of underlyings) that a move of prices changes, and one of volatilities."""
        place, found = {u: k for k, u in enumerate(self.underlyings)}, {"price": list[tuple[int, int]](), "volatility": list[tuple[int, int]]()}
        for k, state in enumerate(self.plan.compiled.drawn_names):
            kind, _, of = state.rstrip("]").partition("[")
            asset = of.partition(",")[0]
            if kind in exhibits.MOVED_BY and asset in place:
                found[exhibits.MOVED_BY[kind]].append((k, place[asset]))
        price, volatility = (np.array(found[which], np.int64).reshape(-1, 2) for which in ("price", "volatility"))
        return (price[:, 0], price[:, 1]), (volatility[:, 0], volatility[:, 1])

    @cached_property
    def of_instrument(self) -> NDArray[np.int64]:
        """(N,) place of each instrument's underlying."""
        place = {u: k for k, u in enumerate(self.underlyings)}
        return np.array([place[i.underlying] for i in self.plan.instruments], np.int64)

    @cached_property
    def is_option(self) -> NDArray[np.bool_]:
        """(N,)"""
        return np.array([isinstance(i, Option) for i in self.plan.instruments], bool)

    @cached_property
    def draws(self) -> NDArray[np.float64]:
        """(D, K, M) drawn states of the first scenarios of the run."""
        return drawn_states(self.plan, self.choice, shortened(self.plan.scenarios, self.scenarios), 0, self.scenarios)

    @cached_property
    def core(self) -> Compiled:
        """The run's program at the core's horizon alone."""
        return replace(self.plan.compiled, programs=(self.plan.compiled.programs[self.plan.horizon(self.plan.core.horizon)],))

    @cached_property
    def daily_volatility(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(U,) of prices and of volatilities, relative, a day: the spread of the run's own scenarios over the core's horizon, spread over its days."""
        spread = np.std(self.draws[-1], axis=1) / np.sqrt(self.core.horizons[0])
        found = np.zeros((2, len(self.underlyings)))
        for which, (states, assets) in enumerate(self.pushed):
            np.maximum.at(found[which], assets, spread[states])
        return found[0], found[1]

    def unit(self, compiled: Compiled, states: NDArray[np.float64]) -> NDArray[np.float64]:
        """(N, S) P&L of one unit of every instrument under states (D, K, S) of a program."""
        rows = Rows(np.zeros(1, np.int64), np.zeros(0, np.int32), np.zeros(0))
        given = given_states(compiled, states)
        with self.choice.module.prepare(self.coverage.of(compiled, given), rows, "double", self.choice.threads) as prepared:
            columns = self.choice.module.unit_pnl(prepared, given, 0, states.shape[2], 0)
        if len(columns) != len(compiled.instrument_column) or np.any(compiled.instrument_column != np.arange(len(columns))):  # a copy of them all takes as long as pricing them
            columns = columns[compiled.instrument_column]
        if np.any(compiled.instrument_coefficient != 1.0):
            columns *= compiled.instrument_coefficient[:, None]
        found: NDArray[np.float64] = columns
        return found

    def measure(self, pnl: NDArray[np.float64]) -> NDArray[np.float64]:
        """(...,) the core's measure of P&L (..., M), at least 0."""
        return tail_measure(pnl, self.tail, self.quantile)

    @cached_property
    def tail(self) -> float:
        """Scenarios of the core's tail, with a fraction."""
        return tail_size(self.scenarios, self.plan.methodology.core.level)

    @cached_property
    def quantile(self) -> bool:
        """Whether the core is a value-at-risk."""
        return bool(self.plan.methodology.core.measure == "value_at_risk")

    def cores(self, holdings: Holdings, unit_pnl: NDArray[np.float64]) -> NDArray[np.float64]:
        """(U,) the core's measure of every unit on the P&L (N, M) of instruments."""
        count = len(self.plan.units.names)
        return np.concatenate([np.zeros(0), *(self.measure(books_pnl(holdings, range(first, min(first + BLOCK_OF_UNITS, count)), unit_pnl)) for first in range(0, count, BLOCK_OF_UNITS))])


@dataclass(frozen=True)
class World:
    """A scenario's market, and how liquidators move it."""

    ground: Ground
    start: Start

    def shift(self, price: NDArray[np.float64], volatility: NDArray[np.float64]) -> NDArray[np.float64]:
        """(K,) change of drawn states under log moves (U,) of prices and volatilities."""
        found = np.zeros(len(self.start.compiled.drawn_names))
        for log_move, (states, assets) in zip((price, volatility), self.ground.pushed, strict=True):
            found[states] = log_move[assets]
        return found

    def stands(self, price: NDArray[np.float64], volatility: NDArray[np.float64]) -> NDArray[np.float64]:
        """(K,) drawn states where impact has moved the start by log moves (U,)."""
        found: NDArray[np.float64] = self.start.states[self.start.last] + self.shift(price, volatility)
        return found

    def values(self, shifts: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
        """(N, S) P&L since the valuation time of one unit of every instrument, after the start and each of the shifts (K,)."""
        states = np.repeat(self.start.states[:, :, None], len(shifts), axis=2)
        states[self.start.last :] += np.stack(shifts, axis=1)
        return self.ground.unit(self.start.compiled, states)

    def slopes(self, price: NDArray[np.float64], volatility: NDArray[np.float64]) -> Slopes:
        """Values and slopes where impact has moved the start by log moves (U,), central differences."""
        at, none = self.shift(price, volatility), np.zeros(len(self.ground.underlyings))
        up, wide = self.shift(none + PRICE_BUMP, none), self.shift(none, none + VOLATILITY_BUMP)
        value = self.values([at, at + up, at - up, at + wide, at - wide])
        return Slopes(value[:, 0], (value[:, 1] - value[:, 2]) / (2.0 * PRICE_BUMP), (value[:, 3] - value[:, 4]) / (2.0 * VOLATILITY_BUMP))

    def margin_pnl(self, price: NDArray[np.float64], volatility: NDArray[np.float64]) -> NDArray[np.float64]:
        """(N, M) P&L of one unit of every instrument over the margin period, from where the market stands."""
        first = self.stands(price, volatility)
        there = self.ground.unit(self.ground.case.now, first[None, :, None])
        found = self.ground.unit(self.ground.core, self.ground.draws + first[None, :, None])
        found -= there
        return found


def given_states(compiled: Compiled, states: NDArray[np.float64]) -> ScenarioSet:
    """Drawn states (D, K, S) as scenarios of a program."""
    return derive(Explicit(compiled.drawn_names, compiled.dates, np.ascontiguousarray(states)), compiled.operations)


def books_pnl(holdings: Holdings, units: Sequence[int], unit_pnl: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n, M) P&L of the books of units, each summed in the order of its instruments alone: the same bits in whatever company it is asked for."""
    from scipy.sparse import csr_matrix

    lines = np.concatenate([np.zeros(0, np.int64), *(holdings.of(u) for u in units)]).astype(np.int64)
    row = np.repeat(np.arange(len(units)), [len(holdings.of(u)) for u in units])
    held = lines[holdings.lots[lines] != 0], row[holdings.lots[lines] != 0]
    order = np.lexsort((holdings.instrument[held[0]], held[1]))
    lines, row = held[0][order], held[1][order]
    first = np.searchsorted(row, np.arange(len(units) + 1))
    found: NDArray[np.float64] = csr_matrix((holdings.quantity(lines), holdings.instrument[lines], first), shape=(len(units), unit_pnl.shape[0])) @ unit_pnl
    return found


def tail_measure(pnl: NDArray[np.float64], size: float, quantile: bool) -> NDArray[np.float64]:
    """(...,) expected shortfall over the worst `size` (or value-at-risk) of P&L (..., M), floored at 0: the definitions of `risk/measures.py`, by partition instead of a sort."""
    whole = int(size)
    part = np.partition(pnl, whole, axis=-1) if whole < pnl.shape[-1] else np.sort(pnl, axis=-1)
    at = part[..., min(whole, pnl.shape[-1] - 1)]
    loss: Any = -at if quantile else -(np.add.reduce(part[..., :whole], axis=-1) + (size - whole) * at) / size
    found: NDArray[np.float64] = np.maximum(loss, 0.0)
    return found


def gains(holdings: Holdings, value: NDArray[np.float64], units: int) -> NDArray[np.float64]:
    """(U,) what the positions of every unit are worth at values (N,) of one unit of each instrument."""
    return sum_by(holdings.unit, holdings.quantity() * value[holdings.instrument], units)
