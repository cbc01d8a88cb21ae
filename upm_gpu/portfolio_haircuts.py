"""Portfolio-specific haircuts: the change of an account's margin per unit more of every asset it may post and every instrument it holds, from the scenarios of the run.

  h_n = d(core - counted collateral) / d(quantity of n)

The core's derivative is Euler's: with tail T of the account, k = S (1 - level), it is multiplier x mean over T of the loss of one unit of n; expected shortfall is piecewise linear in quantity on fixed scenarios, so
the derivative is exact until the tail exchanges a scenario. Simulated assets and spots also count their price; other assets only the marginal rate of their schedule (`margin/collateral.py`), so h is -price
(1 - marginal haircut) without error. A negative h lowers the need. Charges beside the core are not differentiated. Source: Tasche, "Capital allocation to business units and sub-portfolios: the Euler
principle", 2008; the daily figure by security and account is that of OCC's collateral in margin.

Standard error, asymptotic: the influence of a scenario on the mean loss in the tail is (1{s in T}(L_n - m) - share of it (h - m)) / (1 - level), m = E[L_n at the boundary of the tail], taken as the mean over the
least bad tenth of the tail; variance between GROUPS groups of scenarios that do not depend on one another (pairs, blocks, scramblings stay together), so known to some 18 %. Verified: tests/end_to_end/test_portfolio_haircuts.py
against full runs on the same scenarios, and the error against the spread of independent runs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from upm_gpu.domain.instrument import Spot
from upm_gpu.engine import Outcome
from upm_gpu.margin.collateral import Posted, counted, posted_of
from upm_gpu.margin.methodology import simulated_assets
from upm_gpu.margin.units import COLLATERAL_PREFIX
from upm_gpu.market.levels import spot_price
from upm_gpu.plan import Plan
from upm_gpu.pricing.compiled import Rows
from upm_gpu.risk.dependence import dependence_of, usable
from upm_gpu.rng.scramble import SCRAMBLINGS
from upm_gpu.scenario.sets import BLOCK

GROUPS = SCRAMBLINGS
"""between which errors are taken"""
BOUNDARY = 0.1
"""share of the tail that stands for its boundary: a tenth of 1,000 scenarios knows the mean there to a few per cent of the spread, which enters the error in the second place"""
TOGETHER = 1 << 24
"""(entry, group) pairs of one walk: some 300 MB"""


def portfolio_haircuts(outcome: Outcome) -> pd.DataFrame:
    """Columns account_id, netting_set, asset, instrument_id, haircut_per_unit, standard_error; money per unit of the asset or per contract, positive where one more needs more margin.

    One row an account and asset that anybody posts (`instrument_id` blank; in the account's own unit of the blank netting set), and one a position (`asset` blank). Of a pool: what the pool would need more.
    Empty where there is no derivative: a simulated asset where the unit holds nothing that moves, or an expected shortfall of exactly 0. `standard_error` is empty where the core is a value-at-risk, whose
    derivative is the loss in one scenario.
    """
    plan = outcome.plan
    book, market, units = plan.book, plan.market, plan.units
    simulated = simulated_assets(plan.methodology, book)
    posted = posted_of(book, market, plan.methodology.collateral, simulated)
    number = {i.instrument_id: n for n, i in enumerate(plan.instruments)}
    own = np.full(len(book.accounts), -1, np.int64)
    place = {a.account_id: k for k, a in enumerate(book.accounts)}
    for u, name in enumerate(units.names):
        if not units.netting_set[u] and name in place:
            own[place[name]] = u
    asset_instrument = np.array([number.get(COLLATERAL_PREFIX + a, -1) for a in posted.assets], np.int64)
    account, asset = (x.ravel() for x in np.meshgrid(np.arange(len(own)), np.arange(len(posted.assets)), indexing="ij"))
    lines = units.lines
    held = np.array([not i.instrument_id.startswith(COLLATERAL_PREFIX) for i in plan.instruments] or [True])
    positions = np.flatnonzero(held[lines.instrument])
    unit = np.concatenate([own[account], lines.unit[positions]])
    instrument = np.concatenate([asset_instrument[asset], lines.instrument[positions]])
    moves = instrument >= 0
    core, error = np.zeros(len(unit)), np.zeros(len(unit))
    known = np.flatnonzero(moves & (unit >= 0))
    core[known], error[known] = core_slopes(outcome, unit[known], instrument[known])
    core[moves & (unit < 0)] = np.nan
    error[~np.isfinite(core)] = np.nan
    size = np.array([i.contract_size for i in plan.instruments] or [1.0])[instrument[len(account):]]
    worth = np.array([spot_price(market, i.underlying, i.instrument_id) if isinstance(i, Spot) else 0.0 for i in plan.instruments] or [0.0])[instrument[len(account):]]
    scale = np.concatenate([np.ones(len(account)), size])
    value = core * scale - np.concatenate([posted.price[asset] * _slopes(posted, account, asset, len(own)) if len(asset) else np.zeros(0), worth * size])
    names, sets = np.array([a.account_id for a in book.accounts], object), np.array([*units.netting_set, ""], object)
    return pd.DataFrame({
        "account_id": names[np.concatenate([account, lines.account[positions]])], "netting_set": sets[np.where(np.arange(len(unit)) < len(account), len(units.names), unit)],
        "asset": np.array([*posted.assets, ""], object)[np.concatenate([asset, np.full(len(positions), -1)])],
        "instrument_id": np.array([*(i.instrument_id for i in plan.instruments), ""], object)[np.concatenate([np.full(len(account), -1), instrument[len(account):]])],
        "haircut_per_unit": value, "standard_error": error * scale})


def _slopes(posted: Posted, account: NDArray[np.int64], asset: NDArray[np.int64], accounts: int) -> NDArray[np.float64]:
    """Of `counted` at every (account, asset), posted or not; both ascending, accounts first."""
    value = np.zeros(len(account))
    value[posted.account * len(posted.assets) + posted.asset] = posted.value
    return counted(posted.schedule, account, asset, value, accounts).slope


@dataclass(frozen=True)
class _Entries:
    """Distinct (unit, column) pairs (E,), ascending."""

    unit: NDArray[np.int64]
    column: NDArray[np.int64]


def core_slopes(outcome: Outcome, unit: NDArray[np.int64], instrument: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(Q,) d core / d quantity of `instrument` in `unit`, with its standard error; NaN where there is no derivative. Q pairs, held or not."""
    plan = outcome.plan
    column, coefficient = plan.compiled.instrument_column[instrument].astype(np.int64), plan.compiled.instrument_coefficient[instrument]
    key, back = np.unique(unit * plan.compiled.columns + column, return_inverse=True)
    entries = _Entries(key // plan.compiled.columns, key % plan.compiled.columns)
    slope, error = np.zeros(len(key)), np.zeros(len(key))
    step = max(1, TOGETHER // (GROUPS + 1))
    starts = np.unique(np.searchsorted(entries.unit, entries.unit[::step]))  # whole units
    for first, last in zip(starts, [*starts[1:], len(key)], strict=True):
        part = slice(int(first), int(last))
        slope[part], error[part] = _walk(outcome, _Entries(entries.unit[part], entries.column[part]))
    amount = plan.methodology.core.multiplier * coefficient
    measured = outcome.result.measured
    own = measured.measures[plan.core]
    size = own.value_at_risk if plan.methodology.core.measure == "value_at_risk" else own.expected_shortfall
    inside = np.where(size > 0.0, 1.0, np.where(size < 0.0, 0.0, np.nan))[unit]  # at 0 the floor has a kink, and nothing to lose has no tail
    return inside * amount * slope[back], inside * np.abs(amount) * error[back]


def _walk(outcome: Outcome, entries: _Entries) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(E,) mean loss of one unit of each column in the tail of its unit, and its standard error."""
    from upm_gpu.risk.tail import quantile_weights, tail_weights

    plan, choice = outcome.plan, outcome.choice
    h, level = plan.horizon(plan.core.horizon), plan.core.level
    units, local, count = np.unique(entries.unit, return_inverse=True, return_counts=True)
    one = plan.methodology.core.measure == "value_at_risk"
    quantile = quantile_weights(outcome.tail, h, level, outcome.weights)
    first, scenario, weight = quantile if one else _chosen(units, *tail_weights(outcome.tail, h, level, outcome.weights, range(outcome.tail.scenario.shape[1])))
    if one:
        first, scenario, weight = _chosen(units, *quantile)
    rows = 1 if one else GROUPS + 1
    group = np.zeros(len(scenario), np.int64) if one else _group(plan, scenario)
    row = np.repeat(np.arange(len(units)), np.diff(first)) * rows + group
    if not one:
        edge_row, edge_scenario, edge_weight = _boundary(outcome, h, units, rows)
        row, scenario, weight = np.concatenate([row, edge_row]), np.concatenate([scenario, edge_scenario]), np.concatenate([weight, edge_weight])
    order = np.lexsort((scenario, row))
    share = np.bincount(row, weights=-weight, minlength=len(units) * rows).reshape(-1, rows)
    begin = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=len(units) * rows))])
    start = np.cumsum(count) - count
    at = np.concatenate([np.tile(np.arange(s, s + n), rows) for s, n in zip(start, count, strict=True)])
    stacked = Rows(np.concatenate([[0], np.cumsum(np.repeat(count, rows))]).astype(np.int64), entries.column[at].astype(np.int32), np.ones(len(at)))
    with choice.module.prepare(plan.compiled, stacked, choice.precision, choice.threads) as prepared:
        found = choice.module.attribution(prepared, plan.scenarios, h, begin.astype(np.int64), scenario[order].astype(np.uint32), weight[order])
    loss = np.empty((len(entries.unit), rows))
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


def _chosen(rows: NDArray[np.int64], first: NDArray[np.int64], scenario: NDArray[np.uint32], weight: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.uint32], NDArray[np.float64]]:
    """The weights of some rows of a tail."""
    size = np.diff(first)[rows]
    begin = np.concatenate([[0], np.cumsum(size)])
    at = np.repeat(first[rows] - begin[:-1], size) + np.arange(begin[-1])
    return begin, scenario[at], weight[at]


def _group(plan: Plan, scenario: NDArray[np.integer]) -> NDArray[np.int64]:
    """Group of each scenario: those that depend on one another are in one."""
    count, dependence = plan.scenarios.count, usable(dependence_of(plan.scenarios), plan.scenarios.count)
    ids = scenario.astype(np.int64)
    if dependence == "scramblings":
        return ids % SCRAMBLINGS
    size = BLOCK if dependence == "blocks" else 2
    return ids // size * GROUPS // -(-count // size)


def _boundary(outcome: Outcome, h: int, units: NDArray[np.int64], rows: int) -> tuple[NDArray[np.int64], NDArray[np.uint32], NDArray[np.float64]]:
    """(row, scenario, weight) of the least bad tenth of each unit's tail; the weights of a unit add up to -1."""
    from upm_gpu.risk.measures import tail_size
    from upm_gpu.risk.weighted_tail import quantile_ranks

    plan, tail = outcome.plan, outcome.tail
    if outcome.weights is None:
        rank = np.full(len(units), int(np.floor(tail_size(tail.count, plan.core.level))))
    else:
        rank = quantile_ranks(tail, outcome.weights, h, plan.core.level)[units]
    width = np.maximum(1, (BOUNDARY * rank).astype(np.int64))
    begin = np.maximum(rank - width, 0)
    which = np.repeat(np.arange(len(units)), width)
    at = np.arange(len(which)) - np.repeat(np.cumsum(width) - width, width) + begin[which]
    scenario = tail.scenario[h, units[which], at]
    each = np.ones(len(which)) if outcome.weights is None else outcome.weights[scenario]
    return which * rows + GROUPS, scenario, -each / np.bincount(which, weights=each)[which]
