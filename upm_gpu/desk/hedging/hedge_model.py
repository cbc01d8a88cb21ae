"""The initial margin of one unit, charges and all, as a function of trades: what each charge reads, in the parts that a linear programme can hold.

  M(x) = m max(ES_core(x), 0) + sum of charges,   charge = f(shortfalls of rows of scenario sets, P&L under given moves, what is held)

*Blocks* (`hedge_blocks.py`) are the shortfalls: one a (set, horizon, level, part of the unit), each convex in the trades x and each with its plane, as in `hedge_programme.py`, over the cube that the charges' own set has. *Cuts* are planes of one
charge in the blocks and in the trades: its value and its derivatives at a point, by the backward pass through the charge's own arithmetic (`margin/charge_slopes.py`), so that a new charge needs nothing of its own. Charges of
what is held have kinks where nothing is held: their slopes for one more bought and one more sold are two numbers, from a step each way of all instruments asked for, as units of one book.

A cut is below its charge everywhere where the charge is convex in blocks and trades together (`is_convex`); of others it holds near its point. What is posted is held fixed: charges that read it, and other units of the account,
are in the constant that an exact what-if gives. Verified by tests/properties/test_hedge_charges.py: the margin against what-ifs, slopes against differences, cuts against the charges at other points.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from upm_gpu.desk.hedging.hedge_blocks import Blocks, Key, Tail
from upm_gpu.margin.charge_slopes import FIELDS, charge_slopes
from upm_gpu.margin.composition import counted
from upm_gpu.margin.methodology import ChargeInForce
from upm_gpu.margin.requests import (
    NAME,
    UNIT,
    Charge,
    Classes,
    ExposureRequest,
    Exposures,
    Measure,
    Measured,
    MeasureRequest,
    Names,
    PledgedRequest,
    Rest,
    Slower,
    SlowParts,
    Stressed,
    StressRequest,
)
from upm_gpu.margin.rows import class_of, days_to_close, largest_names
from upm_gpu.margin.units import Lines, Units, instrument_levels
from upm_gpu.measuring import exposures_of
from upm_gpu.plan import Plan
from upm_gpu.stresses import stressed

if TYPE_CHECKING:
    from upm_gpu.desk.hedging.hedge_desk import Desk

STEP = 1e-5
"""of a lot: near enough for a derivative, far above the rounding of a charge"""
LINES = 1 << 19
"""lines of stacked units at once: some 100 MB of exposures and cells"""
ALWAYS = frozenset({"dependence", "stress", "basis", "skew", "short_option_minimum", "minimum_gross", "expiry_day", "funding_and_fees"})
"""charges that are convex in shortfalls and holdings: norms, maxima and sums of them, less a multiple of a shortfall"""

@dataclass(frozen=True, eq=False)
class Cut:
    """charge >= start + rise'b + fall's + sum of slope x block, b bought and s sold (J,)."""

    charge: int
    start: float
    rise: NDArray[np.float64]
    fall: NDArray[np.float64]
    slope: dict[Key, float]
    lower: bool = False
    """of the convex charge below it, see `UnitModel.below`"""


@dataclass(frozen=True, eq=False)
class Point:
    """The margin at some trades, with what it is made of."""

    contracts: NDArray[np.float64]
    margin: float
    charges: tuple[Charge, ...]
    planes: dict[Key, tuple[float, NDArray[np.float64]]]
    """of each block: value at no trades and gradient (J,)"""
    cuts: tuple[Cut, ...]


@dataclass(eq=False)
class UnitModel:
    """One unit and what may be traded against it; lines (L,) are all instruments that it holds or may trade."""

    plan: Plan
    """its instruments are the lines'"""
    units: Units
    charges: tuple[ChargeInForce, ...]
    """that are modelled"""
    fixed: tuple[str, ...]
    """charges that are held as they are: they read what is posted"""
    held: NDArray[np.float64]
    """(L,) quantity before"""
    place: NDArray[np.int64]
    """(J,) line of each instrument that may be traded"""
    size: NDArray[np.float64]
    """(J,) quantity a contract"""
    lot: NDArray[np.float64]
    most: NDArray[np.float64]
    """(L,) quantity that may be held at most, of either sign"""
    blocks: Blocks
    where: dict[MeasureRequest, tuple[int, int]]
    """set and horizon of each request"""
    each: Exposures | None
    """of one unit of every line"""
    moves: dict[StressRequest, NDArray[np.float64]]
    """(L, M) P&L of one unit of every line"""

    @classmethod
    def of(cls, desk: Desk) -> UnitModel:
        """The unit that the account's orders join."""
        resident, whole = desk.resident, desk.resident.plan
        lines = whole.units.lines
        mine = np.flatnonzero(lines.unit == (-1 if desk.unit is None else desk.unit))
        chosen = np.unique(np.concatenate([lines.instrument[mine].astype(np.int64), desk.market.place]))
        count = len(chosen)
        held = np.bincount(np.searchsorted(chosen, lines.instrument[mine]), lines.quantity[mine], count).astype(np.float64)
        c = whole.compiled
        compiled = replace(c, instrument_ids=tuple(c.instrument_ids[n] for n in chosen.tolist()), instrument_column=c.instrument_column[chosen], instrument_coefficient=c.instrument_coefficient[chosen])
        plan = replace(whole, instruments=tuple(whole.instruments[n] for n in chosen.tolist()), compiled=compiled)
        nothing = np.zeros(count, np.int32)
        units = Units(("",), ("",), (desk.account,), Lines(nothing, nothing, np.arange(count, dtype=np.int32), np.ones(count)))
        plan = replace(plan, units=units)
        fixed = [any(isinstance(r, PledgedRequest) for r in ch.module.requests(plan.core, ch.parameters)) for ch in resident.charges]
        charges = tuple(ch for ch, stays in zip(resident.charges, fixed, strict=True) if not stays)
        cubes = {(-1, h): cube for h, cube in resident.cubes.items()}
        where: dict[MeasureRequest, tuple[int, int]] = {r: (-1, whole.horizon(r.horizon)) for r in whole.requests}
        for n, further in enumerate(resident.further):
            cubes |= {(n, h): cube for h, cube in enumerate(further.cubes)}
            where |= {r: (n, further.sub.horizon(r.horizon)) for r in further.asked}
        each = None
        if resident.greeks is not None:
            each = exposures_of(plan, resident.choice, resident.value0, {k: v[chosen] for k, v in resident.greeks.items()})
        alone = replace(units, names=tuple(str(n) for n in range(count)), member=("",) * count, netting_set=("",) * count,
                        lines=replace(units.lines, unit=np.arange(count, dtype=np.int32)))
        asked = [r for ch in charges for r in ch.module.requests(plan.core, ch.parameters)]
        moves = {r: stressed(replace(plan, units=alone), resident.choice, r).pnl for r in dict.fromkeys(asked) if isinstance(r, StressRequest)}
        place = np.searchsorted(chosen, desk.market.place)
        size = np.array([i.contract_size for i in desk.market.instruments], np.float64)
        most = np.abs(held)
        most[place] += np.maximum(desk.market.buy, desk.market.sell) * size
        return cls(plan, units, charges, tuple(ch.module.NAME for ch, stays in zip(resident.charges, fixed, strict=True) if stays), held, place, size, desk.market.lot, most, Blocks(held, place, size, compiled.instrument_column, compiled.instrument_coefficient, cubes), where, each, moves)

    @cached_property
    def core(self) -> Key:
        """The block of the core."""
        return (*self.where[self.plan.core], self.plan.core.level, np.ones(len(self.held), bool).tobytes())

    @property
    def multiplier(self) -> float:
        """m."""
        return self.plan.methodology.core.multiplier

    def margin(self, contracts: NDArray[np.float64]) -> float:
        """M at some trades."""
        return self._margin(self._measured(contracts, lean=True)[0])[0]

    def point(self, contracts: NDArray[np.float64], sided: NDArray[np.intp]) -> Point:
        """The margin at some trades with its planes and cuts; both sides are looked at of the instruments `sided`, none of which is held then."""
        measured, tails, rows = self._measured(contracts)
        margin, found = self._margin(measured)
        gradients: dict[Key, NDArray[np.float64]] = {}

        def gradient(key: Key) -> NDArray[np.float64]:
            if key not in gradients:
                gradients[key] = self.blocks.gradient(key, tails[key])
            return gradients[key]

        core, cuts = self.core, []
        kinks = self._sides(contracts, measured, sided)
        for n, own, lower in [*((n, c, False) for n, c in enumerate(self.charges)), *((n, c, True) for n, c in self.below.items())]:
            slopes = charge_slopes(measured, self.plan.core, self.multiplier, [replace(own, largest_of="")])
            slope = {core: float(slopes.core[0]) * self.multiplier} if tails[core].shortfall > 0.0 else {}
            for request, values in slopes.shortfall.items():
                for row, value in enumerate(values.tolist()):
                    if value != 0.0:
                        key = rows[request][row]
                        slope[key] = slope.get(key, 0.0) + value
            slope = {k: v for k, v in slope.items() if v != 0.0}
            direct = self._direct(slopes, measured)[self.place] * self.size
            rise, fall = direct.copy(), -direct
            if (n, lower) in kinks:
                up, down = kinks[n, lower]
                rise[sided], fall[sided] = up, down
            amount = float(own.module.charge(measured, self.plan.core, self.multiplier, own.parameters).amount[0])
            start = amount - float(rise @ np.maximum(contracts, 0.0) + fall @ np.maximum(-contracts, 0.0)) - sum(v * tails[k].shortfall for k, v in slope.items())
            cuts.append(Cut(n, start, rise, fall, slope, lower))
        for key in dict.fromkeys([core, *(k for keys in rows.values() for k in keys)]):
            gradient(key)
        planes = {k: (tails[k].shortfall - float(g @ contracts), g) for k, g in gradients.items()}
        return Point(contracts, margin, tuple(found), planes, tuple(cuts))

    def is_convex(self, number: int) -> bool:
        """Whether every cut of a charge is below it everywhere."""
        own = self.charges[number]
        name, p = own.module.NAME, cast(Any, own.parameters)
        if name == "concentration":  # which names are the largest may change
            return len({i.underlying for i in self.plan.instruments} - set(p.not_eligible)) <= p.names
        if name == "anti_procyclicality":
            return set(p.tools) <= {"floor", "stressed_weight"} and self.plan.methodology.core.measure != "value_at_risk"
        if name == "liquidation_cost":  # a norm of cells while size moves no spread
            return bool(p.growth == 0.0)
        return name in ALWAYS

    @cached_property
    def below(self) -> dict[int, ChargeInForce]:
        """Of charges that are not convex: one that is and is nowhere above."""
        found = {}
        for n, c in enumerate(self.charges):
            if c.module.NAME == "liquidation_cost" and not self.is_convex(n):
                found[n] = replace(c, parameters=c.parameters.model_copy(update={"growth": 0.0}))
        return found

    def _quantity(self, contracts: NDArray[np.float64]) -> NDArray[np.float64]:
        q = self.held.copy()
        np.add.at(q, self.place, contracts * self.size)
        return q

    def _margin(self, measured: Measured) -> tuple[float, list[Charge]]:
        found = counted([c.module.charge(measured, self.plan.core, self.multiplier, c.parameters) for c in self.charges], [c.largest_of for c in self.charges])
        return float(measured.core[0] + sum(c.amount[0] for c in found)), found

    def _measured(self, contracts: NDArray[np.float64], lean: bool = False) -> tuple[Measured, dict[Key, Tail], dict[MeasureRequest, list[Key]]]:
        """What charges read, with the blocks and which of them are the rows of each request; `lean`: exposures of what is held alone."""
        q, plan = self._quantity(contracts), self.plan
        tails: dict[Key, Tail] = {}
        rows: dict[MeasureRequest, list[Key]] = {}
        names, slower, largest = Names(np.zeros(len(plan.underlyings), np.int32), np.arange(len(plan.underlyings), dtype=np.int32)), {}, {}
        held = None if self.each is None else self._exposed(self.each, np.flatnonzero(q) if lean else np.arange(len(q)), q)

        def of(request: MeasureRequest, level: float, mask: NDArray[np.bool_]) -> Key:
            key = (*self.where[request], level, mask.tobytes())
            if key not in tails:
                tails[key] = self.blocks.tail(key, contracts)
            return key

        everything, underlying = np.ones(len(q), bool), self._underlying
        for request in dict.fromkeys([plan.core, *(r for c in self.charges for r in c.module.requests(plan.core, c.parameters) if isinstance(r, MeasureRequest))]):
            kind, masks = request.rows, []
            if kind == UNIT:
                masks = [everything]
            elif kind == NAME:
                masks = [underlying == k for k in range(len(plan.underlyings))]
            elif isinstance(kind, Classes):
                number = class_of(plan.instruments, kind.classes)
                masks = [number == k for k in range(len(kind.classes) + 1)]
            elif isinstance(kind, Rest):
                own = np.array([tails[of(request, kind.level, underlying == k)].shortfall for k in range(len(plan.underlyings))])
                largest[request] = largest_names(names, own, plan.underlyings, 1, kind)
                masks = [~np.isin(underlying, largest[request][largest[request] >= 0])]
            elif isinstance(kind, Slower):
                assert held is not None
                cell, days = days_to_close(held, plan.underlyings, kind)
                steps = [j for j in range(len(kind.ladder) - 1) if np.any(days > kind.ladder[j])]
                slower[kind] = SlowParts(np.zeros(len(steps), np.int64), np.array(steps, np.int64))
                masks = [np.isin(underlying, cell[days > kind.ladder[j]]) for j in steps]
            rows[request] = [of(request, request.level, mask) for mask in masks]
        measures = {r: self._measure([tails[k] for k in keys]) for r, keys in rows.items()}
        core = np.maximum(measures[plan.core].expected_shortfall, 0.0) * self.multiplier
        given = {r: Stressed(tuple(s.name for s in r.stresses), (q @ pnl)[None]) for r, pnl in self.moves.items()}
        return Measured(self.units.names, measures, core, np.array([float(np.abs(q) @ self._level)]), plan.underlyings, names, largest, slower, given, held, np.zeros(1), None,
                        plan.market.valuation_time.date(), False, np.array([plan.book.margin_means.get(self.units.names[0], np.nan)])), tails, rows

    @staticmethod
    def _exposed(each: Exposures, lines: NDArray[np.intp], q: NDArray[np.float64], unit: NDArray[np.int32] | None = None) -> Exposures:
        """Exposures of lines in some quantities (both of one length, or q of every line), all of one unit or of `unit`."""
        amount = q if len(q) == len(lines) and unit is not None else q[lines]
        values: dict[str, Any] = {f: getattr(each, f)[lines] * amount for f in FIELDS}
        values |= {f: getattr(each, f)[lines] for f in ("underlying", "instrument", "currency", "level", "days", "strike")}
        return replace(each, unit=np.zeros(len(lines), np.int32) if unit is None else unit, **values)

    @staticmethod
    def _measure(tails: list[Tail]) -> Measure:
        none = np.zeros(len(tails))
        return Measure(np.array([t.shortfall for t in tails]), none, np.array([t.quantile for t in tails]), none, np.ones(len(tails), bool))

    @cached_property
    def _underlying(self) -> NDArray[np.int64]:
        names = {u: k for k, u in enumerate(self.plan.underlyings)}
        return np.array([names[i.underlying] for i in self.plan.instruments], np.int64)

    @cached_property
    def _level(self) -> NDArray[np.float64]:
        return instrument_levels(self.plan.instruments, self.plan.market)

    def _direct(self, slopes: Any, measured: Measured) -> NDArray[np.float64]:
        """(L,) derivative of a charge in the quantity of each line, the blocks standing still."""
        assert measured.exposures is not None or not slopes.exposures
        found = np.zeros(len(self.held))
        for request, pnl in self.moves.items():
            found += pnl @ slopes.stressed[request][0]
        for name in FIELDS if self.each is not None and slopes.exposures else ():
            found += slopes.exposures[name] * getattr(self.each, name)
        if slopes.gross_notional[0] != 0.0:
            q = self.held if measured.exposures is None else measured.exposures.quantity
            found += slopes.gross_notional[0] * np.sign(q) * self._level
        return found

    def _sides(self, contracts: NDArray[np.float64], measured: Measured, sided: NDArray[np.intp]) -> dict[tuple[int, bool], tuple[NDArray[np.float64], NDArray[np.float64]]]:
        """By charge of what is held alone, and by the one below it: its slopes (A,), a contract bought and a contract sold."""
        every = [*(((n, False), c) for n, c in enumerate(self.charges)), *(((n, True), c) for n, c in self.below.items())]
        some = [(n, c) for n, c in every if c.module.NAME != "specific" and all(isinstance(r, ExposureRequest) or r == self.plan.core for r in c.module.requests(self.plan.core, c.parameters))]
        q = self._quantity(contracts)
        lines = np.flatnonzero(q)
        found = {n: (np.zeros(len(sided)), np.zeros(len(sided))) for n, _ in some}
        together = max(1, LINES // (2 * (len(lines) + 1)))
        for first in range(0, len(sided) if some else 0, together):
            part = slice(first, first + together)
            own = np.repeat(sided[part], 2)
            step = np.tile([1.0, -1.0], len(own) // 2) * STEP * self.lot[own]
            stacked, base = self._stepped(measured, q, lines, own, step), self._stepped(measured, q, lines, own[:1], 0.0 * step[:1])
            for n, c in some:
                after, now = (c.module.charge(m, self.plan.core, self.multiplier, c.parameters).amount for m in (stacked, base))
                slope = (after - now[0]) / np.abs(step)
                found[n][0][part], found[n][1][part] = slope[::2], slope[1::2]
        return found

    def _stepped(self, measured: Measured, q: NDArray[np.float64], lines: NDArray[np.intp], own: NDArray[np.intp], step: NDArray[np.float64]) -> Measured:
        """A unit for each step in one instrument that it does not hold, as charges of what is held see it."""
        count, more = len(own), step * self.size[own]
        at = np.concatenate([np.broadcast_to(lines, (count, len(lines))), self.place[own][:, None]], axis=1)
        quantity = np.concatenate([np.broadcast_to(q[lines], (count, len(lines))), np.zeros((count, 1))], axis=1)
        quantity[:, -1] += more
        held = None if self.each is None else self._exposed(self.each, at.ravel(), quantity.ravel(), np.repeat(np.arange(count, dtype=np.int32), len(lines) + 1))
        gross = (np.abs(quantity) * self._level[at]).sum(axis=1)
        core = measured.measures[self.plan.core]
        none = np.zeros(count)
        one = Measure(np.repeat(core.expected_shortfall, count), none, np.repeat(core.value_at_risk, count), none, np.ones(count, bool))
        return replace(measured, units=measured.units * count, measures={self.plan.core: one}, core=np.repeat(measured.core, count), gross_notional=gross, names=None, largest={}, slower={}, stressed={}, exposures=held,
                       core_standard_error=none, one_year_mean=np.repeat(measured.one_year_mean, count))
