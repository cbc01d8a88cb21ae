"""Who carries the core of a margined unit: Euler contributions of its lines, with the error that a mean over a tail has.

  ES contribution of i:  C_i = q_i dES/dq_i = mean of L_i over the tail of the unit's loss L = sum of L_i;   sum of C_i = ES
  SE(C_i)^2 = variance of the mean over all scenarios of (L_i(s) - m_i) 1{s in the tail} / (1 - level)^2,   m_i = E[L_i | L = VaR]

The second is the influence function of C_i; the m_i add up to VaR, so the errors are those of ES where i is everything. m_i is read off the line through L_i against L over the scenarios next to the quantile,
as many beyond it as before it (2 x 4 sqrt(k)): such lines add up, so the m_i do. Dependent draws are grouped as in `risk/dependence.py`. A value-at-risk is one scenario's loss and a fitted law
spreads what it adds: both have contributions and no error of them.

Source: Tasche, "Capital allocation to business units and sub-portfolios: the Euler principle", 2008; the variance: Hong and Liu, "Simulating sensitivities of conditional value at risk", Management Science 55,
2009. Verified by tests/properties/test_why.py: contributions are those of the run to the bit, errors add up to the error of ES, and against their spread over seeds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from upm_gpu.backend.contract import TailState
from upm_gpu.desk.cube import Cube, attribution, kept, row_of, tail_state, worst
from upm_gpu.desk.resident import Resident
from upm_gpu.margin.methodology import core_measure
from upm_gpu.margin.requests import Measure
from upm_gpu.margin.units import sum_by
from upm_gpu.passes import measure_of
from upm_gpu.plan import Plan
from upm_gpu.pricing.compiled import Rows
from upm_gpu.risk.dependence import dependence_of, variance_of_mean
from upm_gpu.risk.measures import tail_size
from upm_gpu.risk.tail import finish, quantile_weights, tail_weights

MAIN = -1
"""number of the run's own set among kept vectors"""


@dataclass(frozen=True, eq=False)
class UnitTail:
    """The tail of one margined unit at the horizon of the core."""

    unit: int
    tail: TailState
    measure: Measure
    amount: float
    """the measure of the core, before floor and multiplier"""
    scenario: NDArray[np.uint32]
    """scenarios that the measure weighs, ascending, and"""
    weight: NDArray[np.float64]
    """their weights: -1/k each for a shortfall, so that a weighted sum of P&L is a loss"""

    @property
    def charged(self) -> bool:
        """False where the core is floored at 0: nothing then carries any of it."""
        return self.amount > 0.0


@dataclass(frozen=True, eq=False)
class Parted:
    """The loss of a unit parted among some names, summing to the loss of the account in it."""

    of: UnitTail
    contribution: NDArray[np.float64]
    """(n,) to the core before the multiplier; zeros where it is floored"""
    loss: NDArray[np.float64]
    """(n, D) on the worst scenarios of the unit, worst first"""


def core_cube(resident: Resident) -> tuple[int, Cube]:
    """Index of the core's horizon, and its cube."""
    h = resident.plan.horizon(resident.plan.core.horizon)
    return h, resident.cubes[h]


def unit_tail(resident: Resident, unit: int) -> UnitTail:
    """The tail of a unit of the run's book; its P&L vector stays resident."""
    plan = resident.plan
    h, cube = core_cube(resident)
    row, key = row_of(plan.rows, unit, resident.rank), (plan.units.names[unit], MAIN, h)
    base = resident.bases.setdefault(key, kept(cube, row))
    tail = tail_state([worst(cube, row, plan.depth, base)], cube.count)
    measure = measured(plan, tail)
    weights = quantile_weights if plan.methodology.core.measure == "value_at_risk" else tail_weights
    _, scenario, weight = weights(tail, 0, plan.core.level)
    return UnitTail(unit, tail, measure, float(core_measure(plan.methodology.core, measure)[0][0]), scenario, weight)


def measured(plan: Plan, tail: TailState) -> Measure:
    """The measure of the core of one row's tail."""
    dependence = dependence_of(plan.scenarios)
    return measure_of(finish(tail, [plan.core.level], dependence)[plan.core.level], tail, 0, plan.core.tail_share, dependence)


def excess(plan: Plan, tail: TailState, measure: Measure, amount: float) -> tuple[NDArray[np.uint32], NDArray[np.float64]]:
    """(scenarios, what each adds to the mean that is a unit's core): max(0, L - VaR) x multiplier / (1 - level) where it is above 0; none where the core is floored at 0."""
    over = np.maximum(-tail.pnl[0, 0] - measure.value_at_risk[0], 0.0) if amount > 0.0 else np.zeros(tail.pnl.shape[2])
    return tail.scenario[0, 0][over > 0.0], over[over > 0.0] * plan.methodology.core.multiplier / (1.0 - plan.core.level)


def difference_error(plan: Plan, before: Sequence[tuple[NDArray[np.uint32], NDArray[np.float64]]], after: Sequence[tuple[NDArray[np.uint32], NDArray[np.float64]]]) -> float:
    """Standard error of the difference of two sums of cores over the same scenarios, from the `excess` of their units."""
    ids = np.concatenate([i for i, _ in (*before, *after)])
    if not len(ids):
        return 0.0
    scenario, place = np.unique(ids, return_inverse=True)
    total = sum_by(place, np.concatenate([*(-v for _, v in before), *(v for _, v in after)]), len(scenario))
    return float(np.sqrt(variance_of_mean(total, scenario.astype(np.uint32), plan.scenarios.count, dependence_of(plan.scenarios))))


def line_parts(resident: Resident, of: UnitTail, lines: NDArray[np.intp]) -> Parted:
    """The unit parted among its lines `lines` (indices of the plan's), those of other accounts in a pool left out."""
    plan = resident.plan
    _, cube = core_cube(resident)
    part = slice(int(plan.rows.first[of.unit]), int(plan.rows.first[of.unit + 1]))
    column = plan.rows.column[part]
    ones = row_of(Rows(np.array([0, len(column)]), column, np.ones(len(column))), 0)
    per_entry = attribution(cube, ones, of.scenario, of.weight)
    every = np.flatnonzero(plan.units.lines.unit == of.unit)
    amount = plan.units.lines.quantity * plan.compiled.instrument_coefficient[plan.units.lines.instrument]
    contribution = fitted(of, amount[every] * per_entry[plan.line_entry[every] - part.start], plan)
    ids = of.tail.scenario[0, 0]
    entry = plan.line_entry[lines] - part.start
    loss = np.empty((len(lines), len(ids)))
    for i, (e, q) in enumerate(zip(entry.tolist(), amount[lines].tolist(), strict=True)):
        np.multiply(cube.unit[column[e]].take(ids), -q, out=loss[i], dtype=np.float64)
    mine = contribution[np.searchsorted(every, lines)]
    return Parted(of, mine if of.charged else np.zeros(len(lines)), loss)


def fitted(of: UnitTail, contribution: NDArray[np.float64], plan: Plan) -> NDArray[np.float64]:
    """Contributions to the fitted measure, where one is fitted: what it differs from the plain one by is shared in proportion to the size of the plain contributions, as a run does."""
    law = of.measure.tail
    if law is None:
        return contribution
    over = of.amount - float((law.plain_quantile if plan.methodology.core.measure == "value_at_risk" else law.plain)[0])
    size = float(np.sum(np.abs(contribution)))
    return contribution + (over / size if size > 0.0 else 0.0) * np.abs(contribution)


def has_errors(plan: Plan) -> bool:
    """Whether contributions have standard errors: those to a plain expected shortfall do."""
    return bool(plan.methodology.core.measure == "expected_shortfall" and plan.core.tail_share == 0.0)


def errors(plan: Plan, parts: Sequence[Parted], group: Sequence[NDArray[np.integer]], count: int) -> NDArray[np.float64]:
    """(count,) standard errors of sums of contributions, before the multiplier; `group` says of each part which sum each of its names is in. Units share their scenarios."""
    whole = int(np.floor(tail_size(plan.scenarios.count, plan.core.level)))
    ids: list[NDArray[np.uint32]] = []
    values = []
    for part, of in zip(parts, group, strict=True):
        if part.of.charged:
            summed = np.zeros((count, part.loss.shape[1]))
            np.add.at(summed, of, part.loss)
            total = -part.of.tail.pnl[0, 0]
            ids.append(part.of.tail.scenario[0, 0, :whole])
            values.append(summed[:, :whole] - at_quantile(summed, total, whole)[:, None])
    if not ids:
        return np.zeros(count)
    scenario, place = np.unique(np.concatenate(ids), return_inverse=True)
    table = np.concatenate(values, axis=1)
    influence = np.stack([sum_by(place, row, len(scenario)) for row in table]) if count else np.zeros((0, len(scenario)))
    variance = variance_of_mean(influence, scenario.astype(np.uint32), plan.scenarios.count, dependence_of(plan.scenarios))
    result: NDArray[np.float64] = np.sqrt(variance) / (1.0 - plan.core.level)
    return result


def at_quantile(loss: NDArray[np.float64], total: NDArray[np.float64], whole: int) -> NDArray[np.float64]:
    """(n,) mean of each loss (n, D) where the total (D,), worst first, is at its quantile, the total of rank `whole`."""
    reach = max(1, min(whole, total.size - whole, int(np.ceil(4.0 * np.sqrt(whole)))))
    near = slice(max(0, whole - reach), whole + reach)
    x, y = total[near], loss[:, near]
    centred = x - np.mean(x)
    spread = float(centred @ centred)
    slope = (y @ centred) / spread if spread > 0.0 else np.zeros(len(y))
    result: NDArray[np.float64] = np.mean(y, axis=1) + slope * (total[whole] - np.mean(x))
    return result
