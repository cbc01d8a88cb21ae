"""What the value tables change: tail scenarios repriced directly, and the difference to every expected shortfall.

A unit's expected shortfall is a weighted mean of losses over its tail; the same mean of (table - direct price) over ranks of that tail, evenly spaced, is what the
tables add to it. It must be below a tenth of the standard error: an error that a second run with another seed would drown ten times over. All units are looked at in a few
scenarios; those where the errors, added without their signs, are not far below what is allowed, in 64. Of costly operations a look prices some pairs only and gives the others the largest error
found, all of one sign: a bound, which may clear a unit and never condemns one. Units that it does not clear are priced pair by pair.

Units that feel their tables are named: a run makes those tables finer and looks at these units once more (`pricing/table_refinement.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from upm_gpu.formula.black import black_undiscounted
from upm_gpu.formula.families import average_place, european_volatility, exotic_hit, looked_at
from upm_gpu.formula.value_table import table_values
from upm_gpu.pricing.compiled import (
    GROUP_INTEGERS,
    TERM_REALS,
    Compiled,
    Family,
    ModelRequest,
    Rows,
    ValueTable,
    empty,
)
from upm_gpu.pricing.exotics import inside_range
from upm_gpu.pricing.model_tables import model_volatility
from upm_gpu.pricing.tables import CHUNK, COSTLY, direct_values, group_of
from upm_gpu.scenario.sets import ScenarioSet

MOST_PRICES = 15_000
"""direct prices of the first look at all units: a fraction of a second"""
EVERY_PAIR = 1 << 40
"""no limit to the direct prices of a look"""
RANKS = (1, 64)
"""fewest and most tail scenarios of a unit that are repriced"""
LEAST_PRICES = 16
"""of a unit at the first look, where its tail has as many"""
SHARE_OF_ERROR = 0.1
MOST_COSTLY = 4_096
"""direct prices of an operation of `tables.COSTLY` at each of the first two looks, a second; the other positions are given its largest error found, per unit of strike"""
CLOSER = 0.2
"""of what is allowed: units whose table errors, added without their signs, come to more at the first look are repriced in 64 scenarios"""


@dataclass(frozen=True)
class TableCheck:
    """How the tail scenarios of units that read tables came out when priced directly, those who felt them left out."""

    units: int
    prices: int
    largest_change: float
    """of an expected shortfall, reporting currency"""
    largest_share: float
    """of its standard error"""

    def with_later(self, later: TableCheck) -> TableCheck:
        """The check with a closer look at the units that it left out."""
        return TableCheck(self.units, self.prices + later.prices, max(self.largest_change, later.largest_change), max(self.largest_share, later.largest_share))


@dataclass(frozen=True)
class Felt:
    """Units whose expected shortfall moves by more than `SHARE_OF_ERROR` of its standard error when their tail is priced directly."""

    units: NDArray[np.int64]
    tables: tuple[int, ...]
    """requests of the horizon that they read"""
    message: str
    """of the worst of them"""


def check_tables(compiled: Compiled, rows: Rows, names: tuple[str, ...], scenarios: ScenarioSet, horizon: int, tail_first: NDArray[np.int64], tail_scenario: NDArray[np.uint32],
                 standard_error: NDArray[np.float64], backend: ModuleType, threads: int = 0, again: NDArray[np.int64] | None = None,
                 whole: NDArray[np.int64] | None = None) -> tuple[TableCheck, Felt | None] | None:
    """Reprice; None where nothing is read from a table. The tails are those of `risk.tail.tail_weights`. Units `again` (u,) alone are looked at where they are given, each in the most tail scenarios.
    `whole` (R,): entries that read a table in the book that each row is of, where `rows` are some of it; they share `MOST_PRICES`."""
    table_of = tables_of_columns(compiled, horizon)
    held = np.flatnonzero(table_of[rows.column] >= 0)
    if not len(held):
        return None
    unit = np.repeat(np.arange(rows.count), np.diff(rows.first))[held]
    bound = np.maximum(standard_error, np.finfo(float).tiny)
    entries = np.bincount(unit, minlength=rows.count)

    def look(chosen: NDArray[np.bool_], ranks: NDArray[np.int64], most_costly: int = MOST_COSTLY) -> _Look:
        own = chosen[unit]
        return _look(compiled, rows.quantity[held[own]], rows.column[held[own]], unit[own], rows.count, ranks, horizon, scenarios, tail_first, tail_scenario, table_of, backend, threads, most_costly)

    def closer(found: _Look, chosen: NDArray[np.bool_], most_costly: int) -> _Look:
        """`found`, the chosen units repriced in the most tail scenarios."""
        if not chosen.any():
            return found
        new = look(chosen, np.full(rows.count, RANKS[1]), most_costly)
        return _Look(found.prices + new.prices, *(np.where(chosen, getattr(new, k), getattr(found, k)) for k in ("change", "size", "largest", "bounded")))

    chosen, ranks = entries > 0, np.clip(np.maximum(MOST_PRICES // np.maximum(len(held) if whole is None else whole, 1), -(-LEAST_PRICES // np.maximum(entries, 1))), *RANKS)
    if again is not None:
        chosen, ranks = chosen & np.isin(np.arange(rows.count), again), np.full(rows.count, RANKS[1])
    found = look(chosen, ranks)
    found = closer(found, (found.size > CLOSER * SHARE_OF_ERROR * bound) & (ranks < RANKS[1]), MOST_COSTLY)
    found = closer(found, found.bounded & (np.abs(found.change) > SHARE_OF_ERROR * bound), EVERY_PAIR)
    change = np.abs(found.change)
    share = change / bound
    worst = int(np.argmax(share))
    fine = share <= SHARE_OF_ERROR
    report = TableCheck(int(np.count_nonzero(chosen)), found.prices, float(change[fine].max(initial=0.0)), float(share[fine].max(initial=0.0)))
    if fine[worst]:
        return report, None
    units = np.flatnonzero(~fine)
    name = compiled.instrument_ids[int(np.flatnonzero(compiled.instrument_column == found.largest[worst])[0])]
    return report, Felt(units, tuple(np.unique(table_of[rows.column[held[np.isin(unit, units)]]]).tolist()), f"{name}: its value table changes the expected shortfall of {names[worst]} by "
                        f"{change[worst]:,.2f}, {share[worst]:.2f} of the standard error, where {SHARE_OF_ERROR:g} is allowed. Run fewer scenarios, or leave the instrument out.")


def tables_of_columns(compiled: Compiled, horizon: int) -> NDArray[np.int64]:
    """(C,) the table that each column reads at a horizon; -1 for none."""
    found = np.full(compiled.columns, -1, np.int64)
    for group in compiled.programs[horizon].group_integers:
        first, count, table = (int(group[GROUP_INTEGERS.index(k)]) for k in ("first", "count", "table"))
        if table >= 0:
            found[first : first + count] = table
    return found


@dataclass(frozen=True)
class _Look:
    """What direct prices in some tail scenarios change; arrays (R,), 0 for units not looked at."""

    prices: int
    change: NDArray[np.float64]
    """of the mean loss of the scenarios looked at"""
    size: NDArray[np.float64]
    """the same with the errors of all positions added without their signs"""
    largest: NDArray[np.int64]
    """column with the largest error; -1 for none"""
    bounded: NDArray[np.bool_]
    """some of its pairs have a bound in place of an error"""


def _look(compiled: Compiled, quantity: NDArray[np.float64], column: NDArray[np.int32], unit: NDArray[np.int64], units: int, ranks: NDArray[np.int64], horizon: int,
          scenarios: ScenarioSet, tail_first: NDArray[np.int64], tail_scenario: NDArray[np.uint32], table_of: NDArray[np.int64], backend: ModuleType, threads: int, most_costly: int) -> _Look:
    """Entries (n,) of units repriced in `ranks` (R,) of the tail scenarios of each."""
    picked = {int(u): _spread(tail_scenario[tail_first[u] : tail_first[u + 1]], int(ranks[u])) for u in np.unique(unit)}
    length = np.array([len(picked[int(u)]) for u in unit])
    pair_column, pair_unit, pair_share = (np.repeat(x, length) for x in (column, unit, quantity / np.maximum(length, 1)))
    pair_scenario = np.concatenate([picked[int(u)] for u in unit])
    pairs, back = np.unique(pair_column.astype(np.int64) << 32 | pair_scenario.astype(np.int64), return_inverse=True)
    errors, direct = _table_errors(compiled, horizon, scenarios, pairs >> 32, pairs & 0xFFFFFFFF, table_of, backend, threads, most_costly)
    error = pair_share * errors[back]
    order = np.lexsort((np.abs(error), pair_unit))
    largest = np.full(units, -1)
    largest[pair_unit[order]] = pair_column[order]  # the last of a unit stays
    change, size = (np.bincount(pair_unit, x, units).astype(np.float64) for x in (error, np.abs(error)))
    bounded = np.zeros(units, bool)
    bounded[pair_unit[~direct[back]]] = True
    return _Look(int(np.count_nonzero(direct)), change, size, largest, bounded)


def _spread(scenarios: NDArray[np.uint32], ranks: int) -> NDArray[np.uint32]:
    """At most `ranks` of a tail's scenarios, evenly spaced in their order of ids, which says nothing about the loss."""
    if len(scenarios) <= ranks:
        return scenarios
    return scenarios[((np.arange(ranks) + 0.5) * len(scenarios) / ranks).astype(np.int64)]


def _table_errors(compiled: Compiled, horizon: int, scenarios: ScenarioSet, columns: NDArray[np.int64], wanted: NDArray[np.int64], table_of: NDArray[np.int64],
                  backend: ModuleType, threads: int, most_costly: int) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """(pairs,) table minus direct price of one unit, in the reporting currency, and whether it is that or a bound of it."""
    program = compiled.programs[horizon]
    states = _states(scenarios, np.unique(wanted), backend, threads)
    place = np.searchsorted(np.unique(wanted), wanted)
    error, known = np.zeros(len(columns)), np.ones(len(columns), bool)
    costly = [r for r in program.table_requests if not isinstance(r, ModelRequest) and r.operation in COSTLY]
    for request, table in zip(program.table_requests, program.tables, strict=True):
        own = np.flatnonzero(table_of[columns] == program.table_requests.index(request))
        if not len(own):
            continue
        group = group_of(program, request.group)
        at = states[int(group["date"])][:, place[own]]
        terms = {key: compiled.terms[i, columns[own] - compiled.linear] for i, key in enumerate(TERM_REALS)}
        state = {k: at[int(group[f"{k}_state"])] if group[f"{k}_state"] >= 0 else np.zeros(len(own)) for k in ("forward", "volatility", "skew", "stretch", "scale")}
        if isinstance(request, ModelRequest):
            error[own] = _model_errors(request, table, terms, state, at[int(group["level_state"])], group, backend)
            continue
        sigma = european_volatility(state["forward"], state["volatility"], terms["log_moneyness"], terms["volatility"], terms["residual"], group, skew=state["skew"], stretch=state["stretch"])
        path = at[int(group["path_state"])] if group["path_state"] >= 0 else np.zeros(len(own))
        m, left = inside_range(request, looked_at(state["forward"], sigma, group) - terms["log_moneyness"]), np.ones(len(own))
        if group["family"] == Family.AVERAGE:
            m, left = average_place(state["forward"], path, terms["log_moneyness"], group)
            m = np.minimum(m, table.low[0] + (table.values.shape[0] - 1) / table.inverse_step[0])  # a table ends where nothing is left of the value
        read = table_values(table.low, table.inverse_step, table.values, m, np.log(sigma))
        order = np.argsort(sigma, kind="stable")
        if request.operation in COSTLY:
            order = order[np.unique(np.linspace(0, len(own) - 1, min(len(own), most_costly // len(costly) + 1)).astype(np.int64))]
        direct = np.empty(len(own))
        direct[order] = direct_values(request, m[order], sigma[order], backend)
        if len(order) < len(own):
            missed = np.ones(len(own), bool)
            missed[order] = False
            known[own[missed]] = False
            direct[missed] = read[missed] - np.max(np.abs(read[order] - direct[order]))
        living = np.maximum(left, 0.0) * ~exotic_hit(path, looked_at(state["forward"], sigma, group), group)
        error[own] = living * (read - direct) * terms["strike"] * _unit(state, at[int(group["level_state"])], group)
    return error, known


def _model_errors(request: ModelRequest, table: ValueTable, terms: dict[str, NDArray[np.float64]], state: dict[str, NDArray[np.float64]], level: NDArray[np.float64],
                  group: dict[str, float], backend: ModuleType) -> NDArray[np.float64]:
    """(n,) of options at the model's volatility."""
    m, y = state["forward"] - terms["log_moneyness"], state["volatility"] * group["volatility_loading"]
    forward, root = group["forward0"] * np.exp(state["forward"]), np.sqrt(request.years)
    read, direct = (black_undiscounted(forward, terms["strike"], m, terms["residual"] * sigma * root, terms["sign"]) for sigma in (
        table_values(table.low, table.inverse_step, table.values, m, y), model_volatility(request, m, y, backend)))
    return group["discount"] * (read - direct) * _unit(state, level, group)  # type: ignore[no-any-return]


def _unit(state: dict[str, NDArray[np.float64]], level: NDArray[np.float64], group: dict[str, float]) -> NDArray[np.float64]:
    """(n,) what one unit of a value is worth in the reporting currency; coins: S / F."""
    if not group["inverse"]:
        return np.asarray(np.exp(state["scale"]))
    return np.asarray(group["spot0"] * np.exp(level - state["forward"]) / group["forward0"])


def _states(scenarios: ScenarioSet, wanted: NDArray[np.int64], backend: ModuleType, threads: int) -> NDArray[np.float64]:
    """(D, K, n) states of the scenarios `wanted`, ascending."""
    out = np.empty((len(scenarios.dates), len(scenarios.state_names), len(wanted)))
    with backend.prepare(*empty(scenarios.state_names, scenarios.dates), "double", threads) as prepared:
        for first in range(0, scenarios.count, CHUNK):
            last = min(first + CHUNK, scenarios.count)
            inside = slice(*np.searchsorted(wanted, [first, last]))
            if inside.start < inside.stop:
                out[:, :, inside] = backend.states(prepared, scenarios, first, last)[:, :, wanted[inside] - first]
    return out


__all__ = ["Felt", "TableCheck", "check_tables", "tables_of_columns"]
