"""The part of charges in portfolio-specific haircuts: what all charges of a unit change by for one more of anything, by the chain rule.

  d charges / d q_n = sum over what was measured of  d charges / d measured  x  d measured / d q_n

The first factors come from one backward pass through the charges' own arithmetic (`margin/charge_slopes.py`), the second from the scenarios of the run: tail means of the rows that hold n, in every set the charges ask for
(`tail_slopes.py`), P&L of one n under given moves, one n's exposures, and the schedule of collateral. Of what an account does not post the derivative is taken just above nothing, so kinks such as |delta| are those of more; a row
that holds nothing yet grows by the measure of one unit alone. Standard error: a bound, those of the terms added up. Held as they are: which of two charges of a group is the larger, which names are the largest, which
parts are slow, one-year means, and under value-at-risk, dependent or weighted scenarios and fitted laws the standard error that `sampling_error` charges.

Verified by tests/end_to_end/test_charge_haircuts.py against full runs of changed books.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from upm_gpu import exhibits
from upm_gpu.engine import Outcome
from upm_gpu.margin.charge_slopes import FIELDS, ChargeSlopes, charge_slopes
from upm_gpu.margin.collateral import Posted, counted
from upm_gpu.margin.methodology import charges_in_force
from upm_gpu.margin.pledged import unit_of_accounts
from upm_gpu.margin.requests import (
    NAME,
    UNIT,
    Classes,
    Exposures,
    Measured,
    MeasureRequest,
    Names,
    Rest,
    Slower,
    StressRequest,
)
from upm_gpu.margin.rows import class_of, days_to_close
from upm_gpu.margin.units import instrument_levels
from upm_gpu.measuring import Walk, alone_instruments, rows_measure
from upm_gpu.pricing.compiled import Rows
from upm_gpu.risk.dependence import dependence_of
from upm_gpu.tail_slopes import Figure, Kind, slopes_of

ABOVE = 2.0**-30
"""of the size of a unit: what stands for just above nothing"""


@dataclass(frozen=True)
class Directions:
    """One more of what, arrays (Q,): an asset in an account, or an instrument in a unit."""

    unit: NDArray[np.int64]
    """-1: an account without a unit of its own"""
    instrument: NDArray[np.int64]
    """-1: an asset that is cut and not simulated"""
    account: NDArray[np.int64]
    asset: NDArray[np.int64]
    """-1: a position"""
    sign: NDArray[np.float64]
    """of what is held; 1 where nothing is"""


def charge_haircuts(outcome: Outcome, posted: Posted, q: Directions, core: NDArray[np.float64], core_error: NDArray[np.float64], raw: tuple[NDArray, NDArray, NDArray]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(Q,) change of the unit's charges for one more, and its standard error; `core` (Q,) is that of the core, `raw` (directions, derivative of its measure, standard error) what it was made of."""
    amount, error = np.zeros(len(q.unit)), np.zeros(len(q.unit))
    in_force = charges_in_force(outcome.plan.methodology)
    if not in_force:
        return amount, error
    chain = _Chain(outcome, posted, q, core, core_error)
    chain.keep_core(*raw)
    line = posted.account * len(posted.assets) + posted.asset
    new = (q.asset >= 0) & ~np.isin(q.account * max(len(posted.assets), 1) + q.asset, line[posted.value != 0.0])
    passes = [(None, np.flatnonzero(~new)), *((m, np.flatnonzero(new & (q.asset == m))) for m in range(len(posted.assets)))]
    for asset, members in passes:
        if len(members):
            point, lines = (outcome.result.measured, posted) if asset is None else _just_above(outcome, posted, q, members, chain)
            slopes = charge_slopes(point, outcome.plan.core, outcome.plan.methodology.core.multiplier, in_force)
            amount[members], error[members] = chain.collect(point, lines, slopes, members)
    return amount, error


class _Chain:
    """The second factors; what several passes need is found once."""

    def __init__(self, outcome: Outcome, posted: Posted, q: Directions, core: NDArray[np.float64], core_error: NDArray[np.float64]) -> None:
        plan = outcome.plan
        self.outcome, self.posted, self.q, self.core, self.core_error = outcome, posted, q, core, core_error
        self.underlying = np.array([plan.underlyings.index(i.underlying) for i in plan.instruments] or [0], np.int64)
        self.level = instrument_levels(plan.instruments, plan.market) if plan.instruments else np.zeros(1)
        self.each = _each(outcome.result.measured.exposures, len(plan.instruments))
        self.moves = {r: _moves_of_one(outcome, r) for r in outcome.result.measured.stressed}
        self.alone = {n: k for k, n in enumerate(alone_instruments(plan))}
        self.walked: dict[tuple[MeasureRequest, Kind], tuple[NDArray, NDArray, NDArray]] = {}
        """(row x instruments + instrument, derivative, standard error) by measure, the first ascending"""

    def keep_core(self, known: NDArray[np.int64], slope: NDArray, error: NDArray) -> None:
        """What the core was walked for."""
        kind: Kind = "quantile" if self.outcome.plan.methodology.core.measure == "value_at_risk" else "shortfall"
        key, first = np.unique(self.q.unit[known] * len(self.level) + self.q.instrument[known], return_index=True)
        self.walked[self.outcome.plan.core, kind] = (key, slope[first], error[first])

    def collect(self, point: Measured, posted: Posted, slopes: ChargeSlopes, members: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(M,) of the directions `members`."""
        q = self.q
        total, error = np.zeros(len(members)), np.zeros(len(members))
        on = np.flatnonzero((q.unit[members] >= 0) & (q.instrument[members] >= 0))  # what moves
        at = members[on]
        u, n = q.unit[at], q.instrument[at]
        total[on] += slopes.core[u] * np.where(slopes.core[u] == 0.0, 0.0, self.core[at]) + slopes.gross_notional[u] * q.sign[at] * self.level[n]
        error[on] += np.abs(slopes.core[u]) * np.where(slopes.core[u] == 0.0, 0.0, self.core_error[at])
        for request, pnl in self.moves.items():
            total[on] += np.sum(slopes.stressed[request][u] * pnl[n], axis=1)
        if point.exposures is not None and slopes.exposures:
            entry = _entries(point.exposures, u, n, len(self.level))
            for field in FIELDS:
                total[on] += slopes.exposures[field][entry] * self.each[field][n]
        kinds: tuple[tuple[Kind, dict[MeasureRequest, NDArray]], ...] = (("shortfall", slopes.shortfall), ("quantile", slopes.quantile))
        for kind, of in kinds:
            for asked, slope in of.items():
                if np.any(slope):
                    self._add(point, asked, slope, kind, u, n, on, total, error)
        if np.any(slopes.core_standard_error):
            self._add_error(slopes.core_standard_error, u, n, on, total)
        if len(slopes.value):
            self._add_posted(posted, slopes, members, total)
        return total, error

    def _add(self, point: Measured, request: MeasureRequest, slope: NDArray, kind: Kind, u: NDArray, n: NDArray, on: NDArray, total: NDArray, error: NDArray) -> None:
        where, row = self._rows(point, request, u, n)
        used = slope[row] != 0.0
        where, row = where[used], row[used]
        found, own = self._slopes(request, kind, row, n[where])
        np.add.at(total, on[where], slope[row] * found)
        np.add.at(error, on[where], np.abs(slope[row]) * own)

    def _slopes(self, request: MeasureRequest, kind: Kind, row: NDArray, n: NDArray) -> tuple[NDArray, NDArray]:
        """(Q,) derivative of a measure of `row` in n, and its standard error; of a row that holds nothing, the measure of one n alone."""
        walk = self._walk(request)
        size = np.diff(walk.rows.first)
        known = row < len(size)  # rows that were added for a name not held yet come after them
        known[known] &= size[row[known]] > 0
        found, own = np.full(len(row), np.nan), np.full(len(row), np.nan)
        if known.any():
            found[known], own[known] = self._of_walk(walk, request, kind, row[known], n[known])
        if walk.alone is not None and not known.all():
            one = rows_measure(walk.plan, *walk.alone, len(self.alone), request)
            value, its = (one.value_at_risk, one.value_at_risk_standard_error) if kind == "quantile" else (one.expected_shortfall, one.expected_shortfall_standard_error)
            place = np.array([self.alone.get(int(i), -1) for i in n[~known]], np.int64)
            found[~known], own[~known] = np.where(place < 0, np.nan, value[place]), np.where(place < 0, np.nan, its[place])
        return found, own

    def _of_walk(self, walk: Walk, request: MeasureRequest, kind: Kind, row: NDArray, n: NDArray) -> tuple[NDArray, NDArray]:
        """Of rows that hold something. The first question about a measure is answered for all directions: a walk prices the scenarios of everybody's tail, whoever asks."""
        count = len(self.level)
        if (request, kind) not in self.walked:
            on = np.flatnonzero((self.q.unit >= 0) & (self.q.instrument >= 0))
            where, every = self._rows(self.outcome.result.measured, request, self.q.unit[on], self.q.instrument[on])
            of = self.q.instrument[on][where]
            size = np.diff(walk.rows.first)
            key = np.unique((every * count + of)[(every < len(size)) & (size[np.minimum(every, len(size) - 1)] > 0)])
            self.walked[request, kind] = (key, *slopes_of(self._figure(walk, request, kind), walk.first + key // count, key % count))
        key, slope, error = self.walked[request, kind]
        place = np.searchsorted(key, row * count + n)
        return slope[place], error[place]

    def above(self, point: Measured, members: NDArray[np.int64], trace: NDArray[np.float64]) -> Measured:
        """What would be measured with the trace: so that of equal measures, such as those of one name under every correlation, the one that grows most is the largest."""
        q, measures = self.q, dict(point.measures)
        u, n = q.unit[members], q.instrument[members]
        for request, measure in point.measures.items():
            where, row = self._rows(point, request, u, n) if len(measure.expected_shortfall) else (np.zeros(0, np.int64),) * 2
            old = row < len(self._walk(request).rows.first) - 1
            where, row = where[old], row[old]
            slope, _ = self._slopes(request, "shortfall", row, n[where])
            value = measure.expected_shortfall.copy()
            np.add.at(value, row, trace[where] * np.nan_to_num(slope))
            measures[request] = replace(measure, expected_shortfall=value)
        core, stressed = point.core.copy(), dict(point.stressed)
        np.add.at(core, u, trace * np.nan_to_num(self.core[members]))
        for asked, moved in point.stressed.items():
            pnl = moved.pnl.copy()
            np.add.at(pnl, u, trace[:, None] * self.moves[asked][n])
            stressed[asked] = replace(moved, pnl=pnl)
        return replace(point, measures=measures, core=core, stressed=stressed)

    def _add_error(self, slope: NDArray, u: NDArray, n: NDArray, on: NDArray, total: NDArray) -> None:
        """Of the standard error of a plain expected shortfall of independent scenarios; others are held."""
        plan = self.outcome.plan
        if plan.methodology.core.measure != "expected_shortfall" or plan.core.tail_share or self.outcome.weights is not None or dependence_of(plan.scenarios) != "independent":
            return
        used = np.flatnonzero((slope[u] != 0.0) & (np.diff(plan.rows.first)[u] > 0))
        if not len(used):
            return
        found, _ = slopes_of(self._figure(self._walk(plan.core), plan.core, "error"), u[used], n[used])
        total[on[used]] += slope[u[used]] * plan.methodology.core.multiplier * found

    def _add_posted(self, posted: Posted, slopes: ChargeSlopes, members: NDArray, total: NDArray) -> None:
        """Of charges on what is posted: an asset's own value, and what of all assets of the account counts."""
        q, accounts = self.q, len(self.outcome.plan.book.accounts)
        before = counted(posted.schedule, posted.account, posted.asset, posted.value, accounts).value
        size = np.bincount(posted.account, np.abs(posted.value), minlength=accounts)
        for asset in np.unique(q.asset[members][q.asset[members] >= 0]):
            mine = posted.asset == asset
            step = 2.0**-20 * np.maximum(size, posted.price[asset])
            after = counted(posted.schedule, posted.account, posted.asset, posted.value + np.where(mine, step[posted.account], 0.0), accounts).value
            change = slopes.counted * (after - before) / step[posted.account] + np.where(mine, slopes.value, 0.0)
            own = np.flatnonzero(q.asset[members] == asset)
            total[own] += posted.price[asset] * np.bincount(posted.account, change, minlength=accounts)[q.account[members[own]]]

    def _walk(self, request: MeasureRequest) -> Walk:
        found = self.outcome.walks.get(request)
        return Walk(self.outcome.plan, self.outcome.tail, 0, self.outcome.plan.rows) if found is None else found

    def _figure(self, walk: Walk, request: MeasureRequest, kind: Kind) -> Figure:
        return Figure(walk.plan, self.outcome.choice, walk.tail, walk.plan.horizon(request.horizon), request.level, kind, request.tail_share, self.outcome.weights if request.main else None)

    def _rows(self, point: Measured, request: MeasureRequest, u: NDArray, n: NDArray) -> tuple[NDArray, NDArray]:
        """(index into u, row) of every row of a request that one more of n in u is part of."""
        kind, every, name = request.rows, np.arange(len(u)), self.underlying[n]
        if kind == UNIT:
            return every, u
        if isinstance(kind, Classes):
            return every, u * (len(kind.classes) + 1) + class_of(self.outcome.plan.instruments, kind.classes)[n]
        if isinstance(kind, Slower):
            return self._slow(point, kind, u, name)
        assert point.names is not None
        if kind == NAME:
            return every, _find(point.names, u, name)
        taken = point.largest[request][u]
        out = np.any((taken >= 0) & (point.names.underlying[taken] == name[:, None]), axis=1)
        return every[~out], u[~out]

    def _slow(self, point: Measured, kind: Slower, u: NDArray, name: NDArray) -> tuple[NDArray, NDArray]:
        plan, parts = self.outcome.plan, point.slower[kind]
        held = self.outcome.result.measured.exposures
        assert held is not None
        count, steps = max(len(plan.underlyings), 1), len(kind.ladder) - 1
        cell, days = days_to_close(held, plan.underlyings, kind)
        key = u * count + name
        place = np.minimum(np.searchsorted(cell, key), max(len(cell) - 1, 0))
        taken = np.where(cell[place] == key, days[place], 0.0) if len(cell) else np.zeros(len(key))
        of_part = parts.unit * steps + parts.step
        found = [(np.flatnonzero(taken > kind.ladder[j]), j) for j in range(steps)]
        return np.concatenate([w for w, _ in found]).astype(np.int64), np.concatenate([np.searchsorted(of_part, u[w] * steps + j) for w, j in found]).astype(np.int64)


def _find(names: Names, u: NDArray, name: NDArray) -> NDArray[np.int64]:
    """(Q,) row of each (unit, name); the number of rows where there is none."""
    count = int(max(names.underlying.max(initial=0), name.max(initial=0))) + 1
    key = names.unit.astype(np.int64) * count + names.underlying
    order = np.append(np.argsort(key, kind="stable"), len(key))
    wanted = u * count + name
    place = np.searchsorted(key, wanted, sorter=order[:-1])
    return np.where(np.append(key, -1)[order[place]] == wanted, order[place], len(key))


def _entries(held: Exposures, u: NDArray, n: NDArray, count: int) -> NDArray[np.int64]:
    key = held.unit.astype(np.int64) * count + held.instrument
    order = np.argsort(key, kind="stable")
    return order[np.searchsorted(key, u * count + n, sorter=order)]


def _each(held: Exposures | None, count: int) -> dict[str, NDArray[np.float64]]:
    """(N,) of one unit of every instrument: a held line over its quantity; NaN for one that nets to nothing everywhere."""
    if held is None:
        return {}
    found = {field: np.full(count, np.nan) for field in FIELDS}
    some = np.flatnonzero(held.quantity != 0.0)
    for field in FIELDS:
        found[field][held.instrument[some]] = getattr(held, field)[some] / held.quantity[some]
    return found


def _moves_of_one(outcome: Outcome, request: StressRequest) -> NDArray[np.float64]:
    """(N, S) P&L of one unit of every instrument under given moves."""
    plan, choice = outcome.plan, outcome.choice
    names, moves = tuple(s.name for s in request.stresses), plan.moves[request]
    if not moves:
        return np.zeros((max(len(plan.instruments), 1), 0))
    today = exhibits.compile_today(plan.instruments, plan.market, plan.surfaces, plan.compiled.drawn_names, plan.dynamics)
    given = exhibits.explicit_moves(today.drawn_names, moves, names)
    today = exhibits.cover(choice.module, today, (given,), choice.threads)
    rows = Rows(np.arange(len(plan.instruments) + 1, dtype=np.int64), today.instrument_column.astype(np.int32), today.instrument_coefficient.astype(np.float64))
    return exhibits.row_values(choice.module, today, rows, given, choice.threads)


def _just_above(outcome: Outcome, posted: Posted, q: Directions, members: NDArray[np.int64], chain: _Chain) -> tuple[Measured, Posted]:
    """What was measured, and what is posted, where every account of `members` holds a trace of the asset it does not hold."""
    measured, plan = outcome.result.measured, outcome.plan
    account, asset = q.account[members], int(q.asset[members[0]])
    price, home = posted.price[asset], unit_of_accounts(plan.book, plan.units)[account]
    trace = ABOVE * np.maximum(measured.gross_notional[np.maximum(home, 0)] / price, 1.0)
    slope = counted(posted.schedule, account, np.full(len(account), asset), np.zeros(len(account)), len(plan.book.accounts)).slope
    some = home >= 0
    new = replace(posted, account=np.concatenate([posted.account, account[some]]), asset=np.concatenate([posted.asset, np.full(int(some.sum()), asset)]),
                  quantity=np.concatenate([posted.quantity, trace[some]]), value=np.concatenate([posted.value, (trace * price)[some]]),
                  counted=np.concatenate([posted.counted, (trace * price * slope)[some]]))
    point = measured
    if measured.pledged is not None:
        p = measured.pledged
        point = replace(point, pledged=replace(p, unit=np.concatenate([p.unit, home[some]]), asset=new.asset, quantity=new.quantity, value=new.value, counted=new.counted))
    moves = (q.unit[members] >= 0) & (q.instrument[members] >= 0)
    unit, n, trace = q.unit[members][moves], q.instrument[members][moves], trace[moves]
    if len(unit) and point.exposures is not None:
        point = replace(point, exposures=_with_lines(point.exposures, unit, int(n[0]), trace, chain.each, outcome))
    if len(unit) and point.names is not None:
        point = _with_names(point, unit, int(chain.underlying[n[0]]), trace, chain, int(n[0]))
    return chain.above(point, members[moves], trace) if len(unit) else point, new


def _with_lines(held: Exposures, unit: NDArray, n: int, trace: NDArray, each: dict[str, NDArray], outcome: Outcome) -> Exposures:
    like = np.flatnonzero(held.instrument == n)
    more: dict[str, NDArray] = {"unit": unit.astype(np.int32), **{f: trace * each[f][n] for f in FIELDS}}
    for field in ("underlying", "instrument", "currency", "level", "days", "strike"):
        own = getattr(held, field)
        more[field] = np.full(len(unit), own[like[0]] if len(like) else 0, own.dtype)
    whole: dict[str, Any] = {field: np.concatenate([getattr(held, field), values]) for field, values in more.items()}
    return replace(held, **whole)


def _with_names(point: Measured, unit: NDArray, underlying: int, trace: NDArray, chain: _Chain, n: int) -> Measured:
    """Rows for a name that units do not hold yet, and its place among the largest where one is free."""
    names = point.names
    assert names is not None
    missing = ~np.isin(unit, names.unit[names.underlying == underlying])
    unit, trace = unit[missing], trace[missing]
    first = len(names.unit)
    rows = first + np.arange(len(unit))
    measures, largest = dict(point.measures), dict(point.largest)
    for request, measure in point.measures.items():
        if request.rows == NAME:
            tail, begin = chain.outcome.walks[request].alone or (chain.outcome.tail, 0)
            one = rows_measure(chain.outcome.walks[request].plan, tail, begin, len(chain.alone), request)
            grown: dict[str, Any] = {f: np.concatenate([getattr(measure, f), trace * getattr(one, f)[chain.alone[n]]])
                     for f in ("expected_shortfall", "expected_shortfall_standard_error", "value_at_risk", "value_at_risk_standard_error")}
            measures[request] = replace(measure, **grown)
    for request, taken in point.largest.items():
        assert isinstance(request.rows, Rest)
        if point.underlyings[underlying] not in request.rows.not_eligible:
            free = np.argmax(taken[unit] < 0, axis=1)
            has = taken[unit, free] < 0
            taken = taken.copy()
            taken[unit[has], free[has]] = rows[has]
            largest[request] = taken
    return replace(point, names=Names(np.concatenate([names.unit, unit.astype(np.int32)]), np.concatenate([names.underlying, np.full(len(unit), underlying, np.int32)])), measures=measures, largest=largest)
