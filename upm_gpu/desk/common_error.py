"""Standard error of a difference of margins on common scenarios: of the tail excesses after less those before, scenario by scenario."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from upm_gpu.backend.contract import NO_SCENARIO
from upm_gpu.desk.margins import State
from upm_gpu.margin.units import sum_by
from upm_gpu.plan import Plan
from upm_gpu.risk.dependence import dependence_of, usable, variance_of_mean
from upm_gpu.risk.tail import tail_size

Pair = tuple[State, int, int]
"""margins before, place of the account in them and in the margins after"""


def difference_errors(plan: Plan, pairs: Sequence[Pair], after: State) -> list[float]:
    """Of the core of each account, in the order of `pairs`."""
    variance, scenarios = np.zeros(len(pairs)), plan.scenarios.count
    count, of = np.bincount(after.shares[1], minlength=len(after.table["account_id"])).tolist(), _unit_of(after)
    dependence = usable(dependence_of(plan.scenarios), scenarios)
    alone: dict[tuple[int, int], bool] = {}
    alike: dict[tuple[int, int], list[int]] = {}
    for n, (before, a, b) in enumerate(pairs):
        key = (id(before), a)
        if key not in alone:
            alone[key] = int(np.count_nonzero(before.shares[1] == a)) == 1
        if count[b] == 1 and alone[key]:
            alike.setdefault(key, []).append(n)
        else:
            variance[n] = _variance(plan, *_excesses(plan, before, a, after, b))
    for members in alike.values():
        before, a, _ = pairs[members[0]]
        at = [pairs[n][2] for n in members]
        shares, units = of[0][at], of[1][at]
        if dependence == "independent":
            variance[members] = _independent(plan, before, a, after, shares, units)
        else:
            variance[members] = variance_of_mean(*_of_one_unit(plan, before, a, after, shares, units), scenarios, dependence)
    found: list[float] = _errors(plan, np.sqrt(variance)).tolist()
    return found


def _independent(plan: Plan, before: State, account: int, after: State, shares: NDArray[np.float64], units: NDArray[np.int64]) -> NDArray[np.float64]:
    """(M,) variance of the mean of the differences, as `variance_of_mean` of `_of_one_unit` where scenarios are independent, without an array of both tails: what is in the tail after, less what it was
    before, and what has left. Each sum is over its own account alone, so an answer has the same bits whatever is asked beside it."""
    mine = int(np.flatnonzero(before.shares[1] == account)[0])
    u, scenarios = int(before.shares[2][mine]), plan.scenarios.count
    beyond = int(tail_size(scenarios, plan.core.level))  # no more lose more than the value-at-risk
    old = np.r_[_excess(before, u, float(before.shares[0][mine]))[:beyond], 0.0]
    place = np.full(scenarios, beyond, np.int32)
    place[before.tail.scenario[0, u, :beyond]] = np.arange(beyond, dtype=np.int32)
    step = np.diff(units)
    rows: slice | NDArray[np.int64] = slice(int(units[0]), int(units[-1]) + 1, int(step[0]) if len(step) else 1) if len(step) == 0 or (step[0] > 0 and np.all(step == step[0])) else units
    at = place.take(after.tail.scenario[0, rows, :beyond])
    change = after.tail.pnl[0, rows, :beyond] + after.value_at_risk[units][:, None]
    np.multiply(change, np.where(after.shortfall[units] > 0.0, -shares, 0.0)[:, None], out=change)
    change -= old.take(at)
    stays = np.zeros((len(units), beyond + 1), bool)
    stays.ravel()[at + np.arange(len(units), dtype=np.int32)[:, None] * np.int32(beyond + 1)] = True
    row, gone = np.divmod(np.flatnonzero(~stays), beyond + 1)
    total = np.sum(change, axis=1) - sum_by(row, old[gone], len(units))
    squares = np.einsum("ij,ij->i", change, change) + sum_by(row, old[gone] ** 2, len(units))
    about = np.maximum(squares - total / scenarios * total, 0.0)
    found: NDArray[np.float64] = about * (scenarios / (scenarios - 1.0)) / (float(scenarios) * scenarios) if scenarios > 1 else np.full(len(units), np.nan)
    return found


def _errors(plan: Plan, deviation: NDArray[np.float64]) -> NDArray[np.float64]:
    return deviation / (1.0 - plan.core.level) * plan.methodology.core.multiplier


def _unit_of(state: State) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """(A,) share and unit of accounts that are in one unit; the last one's of others."""
    share, account, unit = state.shares
    count = len(state.table["account_id"])
    shares, units = np.zeros(count), np.zeros(count, np.int64)
    shares[account], units[account] = share, unit
    return shares, units


def _excess(state: State, unit: NDArray[np.integer] | int, share: NDArray[np.float64] | float) -> NDArray[np.float64]:
    """share x max(L - VaR, 0) of the kept tail; 0 where the core is floored."""
    var, shortfall = np.asarray(state.value_at_risk[unit]), np.asarray(state.shortfall[unit])
    loss = np.maximum(-state.tail.pnl[0, unit] - var[..., None], 0.0)
    made: NDArray[np.float64] = np.asarray(np.where(shortfall > 0.0, share, 0.0))[..., None] * loss
    return made


def _of_one_unit(plan: Plan, before: State, account: int, after: State, shares: NDArray[np.float64], units: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.uint32]]:
    """(M, n) differences and their scenarios, of an account in one unit before and after: each scenario once, no scenario where there is no value."""
    mine = int(np.flatnonzero(before.shares[1] == account)[0])
    u = int(before.shares[2][mine])
    old = _excess(before, u, float(before.shares[0][mine]))
    beyond = int(np.count_nonzero(old))  # the tail is worst first
    old, old_ids = old[:beyond], before.tail.scenario[0, u, :beyond]
    place = np.full(plan.scenarios.count, -1, np.int64)
    place[old_ids] = np.arange(beyond)
    new = _excess(after, units, shares)
    width = int(np.max(np.count_nonzero(new, axis=1), initial=0))
    new, ids = new[:, :width], after.tail.scenario[0, units][:, :width]
    at = place[ids]
    common = (at >= 0) & (new > 0.0)
    values = np.zeros((len(units), width + beyond))
    listed = np.full((len(units), width + beyond), NO_SCENARIO, np.uint32)
    padded = np.r_[old, 0.0]
    values[:, :width] = new - padded[np.where(common, at, beyond)]
    listed[:, :width] = np.where(new > 0.0, ids, NO_SCENARIO)
    left = np.ones((len(units), beyond), bool)
    row = np.nonzero(common)
    left[row[0], at[row]] = False
    values[:, width:] = np.where(left, -old, 0.0)
    listed[:, width:] = np.where(left, old_ids, NO_SCENARIO)
    return values, listed


def _excesses(plan: Plan, before: State, a: int, after: State, b: int) -> tuple[NDArray[np.float64], NDArray[np.uint32]]:
    """The same of an account with several units: scenario by scenario over all of them."""
    ids, values = [], []
    for state, account, sign in ((before, a, -1.0), (after, b, 1.0)):
        shares, of, units = state.shares
        mine = np.flatnonzero(of == account)
        for share, u in zip(shares[mine].tolist(), units[mine].tolist(), strict=True):
            excess = _excess(state, u, share)
            ids.append(state.tail.scenario[0, u][excess > 0.0])
            values.append(sign * excess[excess > 0.0])
    if not ids:
        return np.zeros(0), np.zeros(0, np.uint32)
    scenario, place = np.unique(np.concatenate(ids), return_inverse=True)
    return sum_by(place, np.concatenate(values), len(scenario)), scenario.astype(np.uint32)


def _variance(plan: Plan, values: NDArray[np.float64], scenario: NDArray[np.uint32]) -> float:
    return float(variance_of_mean(values, scenario, plan.scenarios.count, dependence_of(plan.scenarios))) if len(values) else 0.0
