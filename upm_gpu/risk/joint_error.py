"""Standard errors of sums of tail measures of several rows: rows share their scenarios, so their errors are added scenario by scenario and not in quadrature.

With c_r the weight of row r in its sum, s_r its own standard error and e_r(s) what scenario s contributes to it (max(L - VaR, 0) for expected shortfall, 1{L > VaR} for value-at-risk; 0 outside the tail),

  SE^2 = Var of the mean over scenarios of  sum over r of c_r s_r e_r(s) / sd_r,   sd_r^2 = Var of the mean of e_r,

variances between the groups of `dependence.py`, or of self-normalised weights. For a plain expected shortfall s_r = sd_r / (1 - level), so it is the error of the mean of the summed excesses, which is what Trindade et al. (see
`tail.py`) give for one row. For a value-at-risk and for fitted laws s_r comes from elsewhere (order statistics, the law's own), and the e_r say how far rows err together. Two rows alike have twice the error of
one; rows that lose in other scenarios nearly their root of squares. A sum of one row has that row's own error, to the bit.

Verified by tests/known_answers/test_joint_error.py: sums, halves and opposites of rows, against the error of the row that is their sum, and against the spread over seeds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from upm_gpu.risk.dependence import Dependence, variance_of_mean
from upm_gpu.risk.tail_state import NO_SCENARIO, TailState

TOGETHER = 256
"""sums at once: some 10 MB of tails"""


@dataclass(frozen=True)
class Parts:
    """Which rows (P,) are part of which sum, and with what weight."""

    weight: NDArray[np.float64]
    of: NDArray[np.integer]
    row: NDArray[np.integer]

    @property
    def several(self) -> NDArray[np.int64]:
        """Parts of sums of more than one row."""
        often = np.bincount(self.of, minlength=1)
        return np.flatnonzero(often[self.of] > 1)


def joint_error(parts: Parts, count: int, own: NDArray[np.float64], effect: NDArray[np.float64], scenario: NDArray[np.uint32], scenarios: int, dependence: Dependence = "independent",
                weights: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
    """(count,) standard errors of sums; `own` (R,) are those of the rows, `effect` (R, D) their e_r in `scenario` (R, D), each scenario once a row; `weights` (S,) of importance sampling."""
    found = np.sqrt(np.bincount(parts.of, (parts.weight * own[parts.row]) ** 2, count))
    several = parts.several
    if not len(several):
        return found
    alone = np.sqrt(_variance(effect, scenario, scenarios, dependence, weights))
    scale = np.divide(own, alone, out=np.zeros(len(own)), where=alone > 0.0)
    order = several[np.argsort(parts.of[several], kind="stable")]
    sums, first, size = np.unique(parts.of[order], return_index=True, return_counts=True)
    whole = np.zeros(scenarios)
    for k in np.unique(size).tolist():  # sums of as many rows lie in one table: what stands beside a sum changes no bit of it
        alike = np.flatnonzero(size == k)
        for begin in range(0, len(alike), TOGETHER):
            some = alike[begin : begin + TOGETHER]
            values, ids = np.zeros((len(some), k * effect.shape[1])), np.full((len(some), k * effect.shape[1]), NO_SCENARIO, np.uint32)
            for n, i in enumerate(some.tolist()):
                _add(parts, order[first[i] : first[i] + k], scale, effect, scenario, whole, values[n], ids[n])
            found[sums[some]] = np.sqrt(_variance(values, ids, scenarios, dependence, weights))
    return found


def tail_effects(tail: TailState, horizon: int, value_at_risk: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(R, D) what each kept scenario contributes to expected shortfall and to value-at-risk."""
    beyond = -tail.pnl[horizon] - value_at_risk[:, None]
    return np.maximum(beyond, 0.0), (beyond > 0.0).astype(np.float64)


def _add(parts: Parts, members: NDArray[np.int64], scale: NDArray[np.float64], effect: NDArray[np.float64], scenario: NDArray[np.uint32], whole: NDArray[np.float64], values: NDArray[np.float64],
         ids: NDArray[np.uint32]) -> None:
    """Fill the values and scenarios of one sum, each scenario once; `whole` (S,) is 0 before and after."""
    rows, depth = parts.row[members].tolist(), effect.shape[1]
    inside = [np.flatnonzero(effect[r]) for r in rows]
    for p, r, own in zip(members.tolist(), rows, inside, strict=True):
        whole[scenario[r][own]] += parts.weight[p] * scale[r] * effect[r][own]
    for n, (r, own) in enumerate(zip(rows, inside, strict=True)):  # where a scenario was seen before nothing is left of it
        seen = scenario[r][own]
        left = whole[seen]
        whole[seen] = 0.0
        values[n * depth + own], ids[n * depth + own] = left, np.where(left != 0.0, seen, NO_SCENARIO)


def _variance(values: NDArray[np.float64], scenario: NDArray[np.uint32], count: int, dependence: Dependence, weights: NDArray[np.float64] | None) -> NDArray[np.float64]:
    """Of the mean of each row of values (n, D)."""
    if weights is None:
        return variance_of_mean(values, scenario, count, dependence)
    total, squares = float(np.sum(weights)), float(np.sum(weights * weights))
    w = np.where(values != 0.0, weights[np.minimum(scenario, count - 1)], 0.0)
    mean = np.sum(w * values, axis=1) / total
    about = np.sum((w * (values - mean[:, None])) ** 2, axis=1) + (squares - np.sum(w * w, axis=1)) * mean * mean
    made: NDArray[np.float64] = count / (count - 1.0) * about / (total * total)
    return made
