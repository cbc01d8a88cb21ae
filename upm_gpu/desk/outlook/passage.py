"""The chance that an account breaks before tomorrow: first passage of its equity through its maintenance margin along the paths of a run.

  tau = first date t_i with equity_0 + P&L(t_i) < maintenance(t_i),   P(tau <= t) by the share of paths,

over dates that are the paths' own: a breach between two dates is not seen (Broadie, Glasserman and Kou, "A continuity correction for discrete barrier options", Mathematical Finance 7, 1997: m dates of
a Brownian motion see the barrier 0.5826 sigma sqrt(T / m) farther away). Maintenance is that of today, or follows the state of the market by a regression (`margin_at_risk.py`). Simulated collateral moves
with the P&L. Standard errors are binomial, between groups where scenarios depend on one another (`risk/dependence.py`); where no path breaks, what the probability may still be at 95 %
(Clopper-Pearson) is beside it. Weighted scenarios are refused: no weights are kept.

Verified: tests/statistics/test_first_passage.py against the closed form with that correction.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from upm_gpu.desk.outlook.paths import Paths, walking
from upm_gpu.desk.resident import Resident
from upm_gpu.risk.dependence import dependence_of, variance_of_mean

Maintenance = Callable[[int, NDArray[np.float64]], NDArray[np.float64]]
"""(step, states (D, K, n)) -> maintenance margin (A, n)"""
CONFIDENCE = 0.95


@dataclass(frozen=True, eq=False)
class Passage:
    """Of accounts (A) by dates (T)."""

    accounts: tuple[str, ...]
    days: tuple[float, ...]
    scenarios: int
    probability: NDArray[np.float64]
    """(A, T) that the account has been through its maintenance margin by the date; 1 where it is below it today"""
    standard_error: NDArray[np.float64]
    """(A, T)"""
    at_most: NDArray[np.float64]
    """(A,) upper end of the one-sided 95 % interval of the last date's probability"""
    bankrupt: NDArray[np.float64]
    """(A,) probability that equity is below 0 at any date"""
    bankrupt_error: NDArray[np.float64]
    deficit: NDArray[np.float64]
    """(A,) mean of maintenance less equity when it is first seen below; NaN where no path breaks"""
    broken: NDArray[np.bool_]
    """(A,) below the maintenance margin today"""


def first_passage(resident: Resident, paths: Paths, maintenance: Maintenance | None = None) -> Passage:
    """First passages on all paths; `maintenance` None: today's all along. Deterministic, as the run's scenarios are."""
    from scipy import special

    accounts, steps, count = len(paths.accounts), len(paths.days), paths.count
    equity, today = paths.figures["equity"][:, None], paths.figures["maintenance_margin"][:, None]
    broken = paths.figures["equity"] < paths.figures["maintenance_margin"]
    found: list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]] = []
    ruined: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = []
    short = np.zeros(accounts)
    with walking(resident, paths, states=maintenance is not None) as (ranges, read):
        for first, last in ranges:
            alive, solvent = np.repeat(~broken[:, None], last - first, 1), np.repeat(equity >= 0.0, last - first, 1)
            for step in range(steps):
                pnl, states = read(first, last, step)
                needed = today if maintenance is None else maintenance(step, states)
                now = equity + pnl
                gap = needed - now
                breaks = alive & (gap > 0.0)
                a, s = np.nonzero(breaks)
                short += np.bincount(a, gap[a, s], accounts)
                found.append((a, s + first, np.full(len(a), step)))
                alive &= ~breaks
                a, s = np.nonzero(solvent & (now < 0.0))
                ruined.append((a, s + first))
                solvent[a, s] = False
    account, scenario, when = (np.concatenate([f[i] for f in found]) for i in range(3))
    probability, error = np.zeros((accounts, steps)), np.zeros((accounts, steps))
    dependence = dependence_of(paths.plan.scenarios)
    for step in range(steps):
        here = when <= step
        probability[:, step], error[:, step] = _shares(account[here], scenario[here], accounts, count, dependence)
    hits = np.bincount(account, minlength=accounts)
    probability[broken], error[broken] = 1.0, 0.0
    at_most = np.where(hits >= count, 1.0, special.betaincinv(hits + 1.0, np.maximum(count - hits, 1), CONFIDENCE))
    at_most[broken] = 1.0
    ruin, ruin_error = _shares(np.concatenate([r[0] for r in ruined]), np.concatenate([r[1] for r in ruined]), accounts, count, dependence)
    gone = paths.figures["equity"] < 0.0
    ruin[gone], ruin_error[gone] = 1.0, 0.0
    deficit = np.divide(short, hits, out=np.full(accounts, np.nan), where=hits > 0)
    return Passage(paths.accounts, paths.days, count, probability, error, at_most, ruin, ruin_error, deficit, broken)


def _shares(account: NDArray[np.int64], scenario: NDArray[np.int64], accounts: int, count: int, dependence: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(share of the scenarios, its standard error), both (A,), of those listed."""
    hits = np.bincount(account, minlength=accounts)
    share = hits / count
    if dependence == "independent":
        return share, np.sqrt(share * (1.0 - share) / max(count - 1, 1))
    error = np.zeros(accounts)
    order = np.argsort(account, kind="stable")
    ids = np.split(scenario[order].astype(np.uint32), np.cumsum(hits)[:-1])
    for a in np.flatnonzero(hits).tolist():
        error[a] = float(np.sqrt(variance_of_mean(np.ones((1, hits[a])), ids[a][None], count, dependence)[0]))  # type: ignore[arg-type]
    return share, error
