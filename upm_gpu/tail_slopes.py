"""Derivatives of tail measures of any rows of any walked set in the quantity of any instrument, on the scenarios of the set.

  d ES / d q_n  = mean over the row's tail of the loss of one unit of n        (Euler; Tasche, "Capital allocation to business units and sub-portfolios: the Euler principle", 2008)
  d VaR / d q_n = the loss of one unit of n in the scenario that is the quantile
  of a fitted law (`risk/extreme_value.py`): sum over its scenarios of d ES / d L_s times the loss of one unit of n in s

Measures are piecewise smooth in quantity on fixed scenarios, so each is exact until two scenarios change ranks. Every one is a weighted sum of losses in the worst scenarios of the row, and one attribution has them all.

Standard error, asymptotic: the influence of a scenario on the mean loss in the tail is (1{s in T}(L_n - m) - share of it (h - m)) / (1 - level), m = E[L_n at the boundary of the tail], taken as the mean over the
least bad tenth of the tail; variance between GROUPS groups of scenarios that do not depend on one another (pairs, blocks, scramblings stay together), so known to some 18 %. Of a fitted law likewise, with its weights
for 1{s in T} and its threshold for the boundary. None of a value-at-risk, whose derivative is one scenario's. Verified: tests/end_to_end/test_portfolio_haircuts.py against full runs, and the errors against the spread of
independent runs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from upm_gpu.backend.contract import TailState
from upm_gpu.backend.select import Choice
from upm_gpu.plan import Plan
from upm_gpu.pricing.compiled import Rows
from upm_gpu.risk.dependence import dependence_of, usable
from upm_gpu.risk.extreme_value import fitted_weights
from upm_gpu.rng.scramble import SCRAMBLINGS
from upm_gpu.scenario.sets import BLOCK

GROUPS = SCRAMBLINGS
"""between which errors are taken"""
BOUNDARY = 0.1
"""share of the tail that stands for its boundary: a tenth of 1,000 scenarios knows the mean there to a few per cent of the spread, which enters the error in the second place"""
TOGETHER = 1 << 24
"""(entry, group) pairs of one walk: some 300 MB"""
LISTED = 1 << 23
"""(row, scenario) pairs of one walk under a fitted law"""

Kind = Literal["shortfall", "quantile", "error"]
Weights = tuple[NDArray[np.int64], NDArray[np.uint32], NDArray[np.float64]]
"""(first, scenario, weight) of rows, as attribution takes them: weights of P&L, so below 0 for losses"""


@dataclass(frozen=True)
class Figure:
    """A measure of rows of a walked set, and how it is taken."""

    plan: Plan
    """of the set"""
    choice: Choice
    tail: TailState
    horizon: int
    """index of the plan's"""
    level: float
    kind: Kind
    """expected shortfall, value-at-risk, or the standard error of a plain expected shortfall of independent scenarios"""
    tail_share: float = 0.0
    """above 0: of the law fitted to it"""
    weights: NDArray[np.float64] | None = None
    """of importance sampling"""


@dataclass(frozen=True)
class _Entries:
    """Distinct (row, column) pairs (E,), ascending."""

    row: NDArray[np.int64]
    column: NDArray[np.int64]


def slopes_of(figure: Figure, row: NDArray[np.int64], instrument: NDArray[np.integer]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(Q,) d figure / d quantity of `instrument` in `row` of the tail, with its standard error (NaN where it has none). Q pairs, held or not."""
    compiled = figure.plan.compiled
    column, coefficient = compiled.instrument_column[instrument].astype(np.int64), compiled.instrument_coefficient[instrument]
    key, back = np.unique(row * compiled.columns + column, return_inverse=True)
    entries = _Entries(key // compiled.columns, key % compiled.columns)
    slope, error = np.zeros(len(key)), np.zeros(len(key))
    listed = int(figure.tail.count * figure.tail_share)
    step = max(1, TOGETHER // (GROUPS + 1)) if not listed else max(1, LISTED // listed)
    starts = np.unique(np.searchsorted(entries.row, entries.row[::step]))  # whole rows
    for first, last in zip(starts, [*starts[1:], len(key)], strict=True):
        part = slice(int(first), int(last))
        slope[part], error[part] = _walk(figure, _Entries(entries.row[part], entries.column[part]))
    return coefficient * slope[back], np.abs(coefficient) * error[back]


def _weights(figure: Figure, rows: NDArray[np.int64]) -> Weights:
    """Of each of `rows`."""
    from upm_gpu.risk.tail import quantile_weights, tail_weights

    some = replace(figure.tail, pnl=figure.tail.pnl[:, rows], scenario=figure.tail.scenario[:, rows], block_sums=figure.tail.block_sums[:, :, rows])
    if figure.tail_share > 0.0:
        return fitted_weights(some, figure.horizon, figure.level, figure.tail_share, figure.kind == "quantile")
    if figure.kind == "error":
        return _error_weights(some, figure.horizon, figure.level)
    if figure.kind == "quantile":
        return quantile_weights(some, figure.horizon, figure.level, figure.weights)
    return tail_weights(some, figure.horizon, figure.level, figure.weights, range(len(rows)))


def _error_weights(tail: TailState, h: int, level: float) -> Weights:
    """Of SE^2 = sum (x - mean x)^2 / ((S - 1) S (1 - level)^2), x = max(L - VaR, 0): (x - mean x) / ((S - 1) S (1 - level)^2 SE) of a loss beyond VaR, minus their sum of VaR itself."""
    from upm_gpu.risk.measures import tail_size

    count, whole = tail.count, int(np.floor(tail_size(tail.count, level)))
    loss = 0.0 - tail.pnl[h, :, : whole + 1]
    excess = loss[:, :whole] - loss[:, whole:]
    mean = np.sum(excess, axis=1, keepdims=True) / count
    squares = np.sum(excess * excess, axis=1, keepdims=True) - count * mean * mean
    scale = np.sqrt((count - 1.0) * count) * (1.0 - level)
    with np.errstate(divide="ignore", invalid="ignore"):
        beyond = np.where(squares > 0.0, (excess - mean) / (scale * np.sqrt(squares)), 0.0)
    weight = np.concatenate([beyond, -np.sum(beyond, axis=1, keepdims=True)], axis=1)
    scenario = tail.scenario[h, :, : whole + 1]
    order = np.argsort(scenario, axis=1, kind="stable")
    return np.arange(len(loss) + 1, dtype=np.int64) * (whole + 1), np.take_along_axis(scenario, order, 1).ravel(), -np.take_along_axis(weight, order, 1).ravel()


def _walk(figure: Figure, entries: _Entries) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(E,) weighted loss of one unit of each column in the tail of its row, and its standard error."""
    plan, choice, h = figure.plan, figure.choice, figure.horizon
    units, local, count = np.unique(entries.row, return_inverse=True, return_counts=True)
    first, scenario, weight = _weights(figure, units)
    one = figure.kind == "quantile" and figure.tail_share == 0.0
    rows = 1 if one else GROUPS + 1
    group = np.zeros(len(scenario), np.int64) if one else _group(plan, scenario)
    row = np.repeat(np.arange(len(units)), np.diff(first)) * rows + group
    if not one:
        edge_row, edge_scenario, edge_weight = _boundary(figure, units, rows)
        row, scenario, weight = np.concatenate([row, edge_row]), np.concatenate([scenario, edge_scenario]), np.concatenate([weight, edge_weight])
    order = np.lexsort((scenario, row))
    share = np.bincount(row, weights=-weight, minlength=len(units) * rows).reshape(-1, rows)
    begin = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=len(units) * rows))])
    start = np.cumsum(count) - count
    at = np.concatenate([np.tile(np.arange(s, s + n), rows) for s, n in zip(start, count, strict=True)])
    stacked = Rows(np.concatenate([[0], np.cumsum(np.repeat(count, rows))]).astype(np.int64), entries.column[at].astype(np.int32), np.ones(len(at)))
    with choice.module.prepare(plan.compiled, stacked, choice.precision, choice.threads) as prepared:
        found = choice.module.attribution(prepared, plan.scenarios, h, begin.astype(np.int64), scenario[order].astype(np.uint32), weight[order])
    loss = np.empty((len(entries.row), rows))
    loss[at, np.repeat(np.tile(np.arange(rows), len(units)), np.repeat(count, rows))] = found
    if one:
        return loss[:, 0], np.full(len(loss), np.nan)
    mean = np.sum(loss[:, :GROUPS], axis=1)
    boundary = loss[:, GROUPS]
    of_groups = loss[:, :GROUPS] - share[local, :GROUPS] * boundary[:, None]
    expected = np.bincount(_group(plan, np.arange(plan.scenarios.count)), minlength=GROUPS) / plan.scenarios.count
    spread = of_groups - expected * np.sum(of_groups, axis=1)[:, None]
    used = int(np.count_nonzero(expected))
    return mean, np.sqrt(np.sum(spread**2, axis=1) * used / (used - 1.0)) if used > 1 else np.full(len(mean), np.nan)


def _group(plan: Plan, scenario: NDArray[np.integer]) -> NDArray[np.int64]:
    """Group of each scenario: those that depend on one another are in one."""
    count, dependence = plan.scenarios.count, usable(dependence_of(plan.scenarios), plan.scenarios.count)
    ids = scenario.astype(np.int64)
    if dependence == "scramblings":
        return ids % SCRAMBLINGS
    size = BLOCK if dependence == "blocks" else 2
    return ids // size * GROUPS // -(-count // size)


def _boundary(figure: Figure, units: NDArray[np.int64], rows: int) -> Weights:
    """(row, scenario, weight) of the least bad tenth of each row's tail; the weights of a row add up to -1."""
    from upm_gpu.risk.measures import tail_size
    from upm_gpu.risk.weighted_tail import quantile_ranks

    tail, h = figure.tail, figure.horizon
    if figure.tail_share > 0.0:
        rank = np.full(len(units), int(np.floor(tail.count * figure.tail_share)))
    elif figure.weights is None:
        rank = np.full(len(units), int(np.floor(tail_size(tail.count, figure.level))))
    else:
        rank = quantile_ranks(tail, figure.weights, h, figure.level)[units]
    width = np.maximum(1, (BOUNDARY * rank).astype(np.int64))
    begin = np.maximum(rank - width, 0)
    which = np.repeat(np.arange(len(units)), width)
    at = np.arange(len(which)) - np.repeat(np.cumsum(width) - width, width) + begin[which]
    scenario = tail.scenario[h, units[which], at]
    each = np.ones(len(which)) if figure.weights is None else figure.weights[scenario]
    return which * rows + GROUPS, scenario, -each / np.bincount(which, weights=each)[which]
