"""What the value tables change: tail scenarios repriced directly, and the difference to every expected shortfall.

A unit's expected shortfall is a weighted mean of losses over its tail; the same mean of (table - direct price) over ranks of that tail, evenly spaced, is what the
tables add to it. It must be below a tenth of the standard error: an error that a second run with another seed would drown ten times over.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from upm_gpu.errors import InputError
from upm_gpu.formula.families import average_place, barrier_hit, european_volatility
from upm_gpu.formula.value_table import table_values
from upm_gpu.pricing.compiled import GROUP_INTEGERS, TERM_REALS, Compiled, Family, Rows, empty
from upm_gpu.pricing.exotics import inside_range
from upm_gpu.pricing.tables import CHUNK, direct_values, group_of
from upm_gpu.scenario.sets import ScenarioSet

MOST_PRICES = 60_000
"""direct prices a run: some seconds"""
RANKS = (2, 64)
"""fewest and most tail scenarios of a unit that are repriced"""
SHARE_OF_ERROR = 0.1


@dataclass(frozen=True)
class TableCheck:
    """How the tail scenarios of units that read tables came out when priced directly."""

    units: int
    prices: int
    largest_change: float
    """of an expected shortfall, reporting currency"""
    largest_share: float
    """of its standard error"""


def check_tables(compiled: Compiled, rows: Rows, names: tuple[str, ...], scenarios: ScenarioSet, horizon: int, tail_first: NDArray[np.int64], tail_scenario: NDArray[np.uint32],
                 standard_error: NDArray[np.float64], backend: ModuleType, threads: int = 0) -> TableCheck | None:
    """Reprice; None where nothing is read from a table. The tails are those of `risk.tail.tail_weights`. Raises InputError UPM-PR-082 for a table that is felt."""
    program = compiled.programs[horizon]
    table_of = np.full(compiled.columns, -1)
    for group in program.group_integers:
        first, count, table = (int(group[GROUP_INTEGERS.index(k)]) for k in ("first", "count", "table"))
        if table >= 0:
            table_of[first : first + count] = table
    held = np.flatnonzero(table_of[rows.column] >= 0)
    if not len(held):
        return None
    unit = np.repeat(np.arange(rows.count), np.diff(rows.first))[held]
    ranks = int(np.clip(MOST_PRICES // len(held), *RANKS))
    picked = {int(u): _spread(tail_scenario[tail_first[u] : tail_first[u + 1]], ranks) for u in np.unique(unit)}
    pair_column = np.concatenate([np.full(len(picked[int(u)]), rows.column[e]) for u, e in zip(unit, held, strict=True)])
    pair_scenario = np.concatenate([picked[int(u)] for u in unit])
    pair_share = np.concatenate([np.full(len(picked[int(u)]), rows.quantity[e] / len(picked[int(u)])) for u, e in zip(unit, held, strict=True)])
    pair_unit = np.repeat(unit, [len(picked[int(u)]) for u in unit])
    pairs, back = np.unique(pair_column.astype(np.int64) << 32 | pair_scenario.astype(np.int64), return_inverse=True)
    error = _table_errors(compiled, horizon, scenarios, pairs >> 32, pairs & 0xFFFFFFFF, table_of, backend, threads)
    change = np.abs(np.bincount(pair_unit, pair_share * error[back], rows.count))
    bound = np.maximum(standard_error, np.finfo(float).tiny)
    share = change / bound
    worst = int(np.argmax(share))
    if share[worst] > SHARE_OF_ERROR:
        own = pair_unit == worst
        column = int(pair_column[own][np.argmax(np.abs(pair_share * error[back])[own])])
        name = compiled.instrument_ids[int(np.flatnonzero(compiled.instrument_column == column)[0])]
        raise InputError("UPM-PR-082", f"{name}: its value table changes the expected shortfall of {names[worst]} by {change[worst]:,.2f}, {share[worst]:.2f} of the standard error, where "
                         f"{SHARE_OF_ERROR:g} is allowed. Run fewer scenarios, or leave the instrument out.")
    return TableCheck(len(picked), len(pairs), float(change.max()), float(share[worst]))


def _spread(scenarios: NDArray[np.uint32], ranks: int) -> NDArray[np.uint32]:
    """At most `ranks` of a tail's scenarios, evenly spaced in their order of ids, which says nothing about the loss."""
    if len(scenarios) <= ranks:
        return scenarios
    return scenarios[((np.arange(ranks) + 0.5) * len(scenarios) / ranks).astype(np.int64)]


def _table_errors(compiled: Compiled, horizon: int, scenarios: ScenarioSet, columns: NDArray[np.int64], wanted: NDArray[np.int64], table_of: NDArray[np.int64],
                  backend: ModuleType, threads: int) -> NDArray[np.float64]:
    """(pairs,) table minus direct price of one unit, in the reporting currency."""
    program = compiled.programs[horizon]
    states = _states(scenarios, np.unique(wanted), backend, threads)
    place = np.searchsorted(np.unique(wanted), wanted)
    error = np.zeros(len(columns))
    for request, table in zip(program.table_requests, program.tables, strict=True):
        own = np.flatnonzero(table_of[columns] == program.table_requests.index(request))
        if not len(own):
            continue
        group = group_of(program, request.group)
        at = states[int(group["date"])][:, place[own]]
        terms = {key: compiled.terms[i, columns[own] - compiled.linear] for i, key in enumerate(TERM_REALS)}
        state = {k: at[int(group[f"{k}_state"])] if group[f"{k}_state"] >= 0 else np.zeros(len(own)) for k in ("forward", "volatility", "skew", "stretch", "scale")}
        sigma = european_volatility(state["forward"], state["volatility"], terms["log_moneyness"], terms["volatility"], terms["residual"], group, skew=state["skew"], stretch=state["stretch"])
        path = at[int(group["path_state"])] if group["path_state"] >= 0 else np.zeros(len(own))
        m, left = inside_range(request, state["forward"] - terms["log_moneyness"]), np.ones(len(own))
        if group["family"] == Family.AVERAGE:
            m, left = average_place(state["forward"], path, terms["log_moneyness"], group)
            m = np.minimum(m, table.low[0] + (table.values.shape[0] - 1) / table.inverse_step[0])  # a table ends where nothing is left of the value
        read = table_values(table.low, table.inverse_step, table.values, m, np.log(sigma))
        order = np.argsort(sigma, kind="stable")
        direct = np.empty(len(own))
        direct[order] = direct_values(request, m[order], sigma[order], backend)
        living = np.maximum(left, 0.0) * ~barrier_hit(path, group)
        error[own] = living * (read - direct) * terms["strike"] * np.exp(state["scale"])
    return error


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


__all__ = ["TableCheck", "check_tables"]
