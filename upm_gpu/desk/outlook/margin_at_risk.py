"""Margin at risk: the distribution of tomorrow's margin and of the money that will be called, account by account and for the house.

Nested simulation by regression: at N paths, chosen so that the outer reaches are among them, tomorrow's margin is a fresh run's in the market, the book and the law of that path (`tomorrow.py`), every one with
the same random numbers; between them it is a regression of each account's margin on the states of tomorrow,

  M(x) = M_0 - M_0' + sum_p beta_p phi_p(z) + sum_n gamma_n k(|z - z_n|),   phi: 1, z, and of the leading components sqrt(1 + 0.03 z^2) and products y y', y = z / sqrt(1 + z^2 / 9),

universal kriging with a Matern 3/2 kernel k of length 8 (Ankenman, Nelson and Staum, "Stochastic kriging for simulation metamodeling", Operations Research 58, 2010), z the states in units of their spread along the
principal components, M_0 the run's margin and M_0' that of today with the inner count, so that the inner scenarios' own error cancels (control variate). All scenarios
of the run are then evaluated: margin, equity from the paths' own P&L, what is called = max(M - equity, 0), and their sums for the house. Error of the regression against brute force: the root mean square of
what a run says at a path less what the regression of all other paths says there (leave-one-out in closed form: Dubrule, Mathematical Geology 15, 1983), which is what the regression errs by at a new path; every point counts by the share of
scenarios that it stands for, and the points beyond 95 % of the scenarios have a figure of their own. Regression in the place of inner simulation: Broadie, Du and Moallemi, "Risk estimation via regression", Operations Research 63, 2015.

Verified: tests/statistics/test_margin_at_risk.py against fresh runs at every path of a small book.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from upm_gpu.desk.outlook.passage import Maintenance
from upm_gpu.desk.outlook.paths import Paths, walking
from upm_gpu.desk.outlook.tomorrow import check_can_move, tomorrow
from upm_gpu.desk.resident import Progress, Resident
from upm_gpu.engine import compute_outcome
from upm_gpu.errors import InputError
from upm_gpu.passes import in_memory
from upm_gpu.plan import make_plan
from upm_gpu.risk.dependence import dependence_of, variance_of_mean

LEADING = 4
"""principal components with products: 19 functions; a book of two underlyings has no more states"""
POINTS_A_FUNCTION = 4
LENGTH = 8.0
"""of the kernel, spreads: of 4, 8 and 16 with and without products of the components, this errs least on accounts of every kind of the sample"""
NUGGET = 1e-6
"""of the kernel's variance: keeps the system solvable where two points all but meet"""
BEND = 3.0
"""spreads beyond which products grow no more: margins are all but linear far out"""
MEMORY = 0.03
"""share of a squared move in tomorrow's variance, as of an EWMA with lambda 0.97: margins grow with sqrt(1 + 0.03 z^2)"""
FAR = 0.95
"""share of the scenarios nearer to today than the points whose error is given as that of the outer reaches"""
POOL = 4096
"""scenarios among which the points of the regression are chosen"""
OUTWARD = 1.5
"""points are dense far out: ranks by distance from today are 1 - (1 - u)^1.5"""
INNER = 10_000
OUTER = 20_000
LEVELS = (0.5, 0.95, 0.99)
PART = 64
"""accounts evaluated at once"""


@dataclass(frozen=True, eq=False)
class Regression:
    """Tomorrow's initial margin of accounts (A) as a function of tomorrow's states (K)."""

    center: NDArray[np.float64]
    turn: NDArray[np.float64]
    """(K, C) states to components in units of their spread"""
    point: NDArray[np.float64]
    """(N, C) components of the points"""
    weight: NDArray[np.float64]
    """(N + P, A) of the kernels and of the functions"""
    scenario: NDArray[np.int64]
    """(N,) paths of the points"""
    margin: NDArray[np.float64]
    """(N, A) fresh runs at them, corrected to the run's count"""
    left_out: NDArray[np.float64]
    """(N, A) run less the regression of the other points"""

    share: NDArray[np.float64]
    """(N,) of the scenarios that each point stands for; they add up to 1"""
    far: NDArray[np.bool_]
    """(N,) beyond `FAR` of the scenarios"""

    @property
    def error(self) -> NDArray[np.float64]:
        """(A,) root mean square of `left_out` over the scenarios."""
        found: NDArray[np.float64] = np.sqrt(self.share @ self.left_out**2)
        return found

    @property
    def far_error(self) -> NDArray[np.float64]:
        """(A,) of the outer reaches."""
        found: NDArray[np.float64] = np.sqrt(np.mean(self.left_out[self.far] ** 2, axis=0))
        return found

    def functions(self, states: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n, N + P) kernels and functions at states (K, n)."""
        z = (states.T - self.center) @ self.turn
        return np.column_stack([_kernel(z, self.point), _functions(z)])

    def at(self, states: NDArray[np.float64], part: slice = slice(None)) -> NDArray[np.float64]:
        """(A, n) margin at states (K, n), at least 0."""
        found: NDArray[np.float64] = np.maximum((self.functions(states) @ self.weight[:, part]).T, 0.0)
        return found


@dataclass(frozen=True, eq=False)
class Distribution:
    """Of one amount of accounts (A), or of the house (1): reporting currency."""

    mean: NDArray[np.float64]
    mean_error: NDArray[np.float64]
    quantile: NDArray[np.float64]
    """(A, L) at `LEVELS`"""
    quantile_error: NDArray[np.float64]
    """(A, L) of sampling: half the 95 % interval of order statistics / 1.96"""


@dataclass(frozen=True, eq=False)
class MarginAtRisk:
    """What tomorrow may ask of accounts (A) and of the house."""

    accounts: tuple[str, ...]
    days: float
    scenarios: int
    points: int
    today: NDArray[np.float64]
    """(A,) initial margin"""
    margin: Distribution
    called: Distribution
    """max(margin - equity, 0)"""
    call_probability: NDArray[np.float64]
    call_probability_error: NDArray[np.float64]
    regression_error: NDArray[np.float64]
    """(A,) of the margin against fresh runs"""
    far_error: NDArray[np.float64]
    """(A,) the same in the outer reaches"""
    house_margin: Distribution
    house_called: Distribution
    house_error: float
    """of the sum of margins against fresh runs"""


def _functions(z: NDArray[np.float64]) -> NDArray[np.float64]:
    lead = z[:, :LEADING]
    soft = lead / np.sqrt(1.0 + (lead / BEND) ** 2)
    products = [soft[:, i] * soft[:, j] for i in range(lead.shape[1]) for j in range(i, lead.shape[1])]
    return np.column_stack([np.ones(len(z)), z, *products, np.sqrt(1.0 + MEMORY * lead * lead)])


def function_count(states: int) -> int:
    """P for K states."""
    return _functions(np.zeros((1, states))).shape[1]


def fit_margin(resident: Resident, paths: Paths, points: int = 0, inner: int = 0, progress: Progress | None = None) -> Regression:
    """Fresh runs at the points and the regression between them. `points` 0: four a function; `inner` 0: as many scenarios as the run, at most `INNER`; `progress(done, total)` in fresh runs.

    Raises InputError for a run whose tomorrow cannot be had and for too few points.
    """
    check_can_move(paths.plan)
    step = len(paths.days) - 1
    states = _states(resident, paths, 0, min(paths.count, POOL))
    last = states[paths.date[step]]
    least = function_count(len(last)) + 4
    points = points or POINTS_A_FUNCTION * function_count(len(last))
    if points < least or points > last.shape[1]:
        raise InputError("UPM-IN-183", f"{points} points for a regression on {function_count(len(last))} functions of tomorrow's states: give at least {least} and at most {last.shape[1]}.")
    inner = inner or min(resident.plan.scenarios.count, INNER)
    center, turn = _components(last)
    chosen = _chosen(last, center, turn, points)
    now = fresh_margins(resident, paths, None, step, inner)
    full = paths.figures["initial_margin"]
    made = []
    for n, s in enumerate(chosen.tolist()):
        made.append(fresh_margins(resident, paths, states[:, :, s], step, inner))
        if progress is not None:
            progress(n + 1, len(chosen))
    margin = np.stack(made) + (full - now)
    z = (last[:, chosen].T - center) @ turn
    trend = _functions(z)
    table = np.block([[_kernel(z, z) + NUGGET * np.eye(len(z)), trend], [trend.T, np.zeros((trend.shape[1], trend.shape[1]))]])
    inverse = np.linalg.pinv(table)
    weight = inverse @ np.vstack([margin, np.zeros((trend.shape[1], margin.shape[1]))])
    left_out = weight[: len(z)] / np.diag(inverse)[: len(z), None]
    return Regression(center, turn, z, weight, chosen, margin, left_out, *_standing(last, center, turn, chosen))


def _kernel(z: NDArray[np.float64], point: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n, N) Matern 3/2 of the distances between components (n, C) and points (N, C)."""
    squares = np.sum(z * z, axis=1)[:, None] + np.sum(point * point, axis=1) - 2.0 * (z @ point.T)
    r = np.sqrt(3.0 * np.maximum(squares, 0.0)) / LENGTH
    found: NDArray[np.float64] = (1.0 + r) * np.exp(-r)
    return found


def _states(resident: Resident, paths: Paths, first: int, last: int) -> NDArray[np.float64]:
    """(D, K, n)."""
    module, plan = resident.choice.module, paths.plan
    with module.prepare(plan.compiled, plan.rows, resident.choice.precision, resident.choice.threads) as prepared:
        found: NDArray[np.float64] = module.states(prepared, plan.scenarios, first, last)
    return found


def fresh_margins(resident: Resident, paths: Paths, states: NDArray[np.float64] | None, step: int, inner: int) -> NDArray[np.float64]:
    """(A,) initial margin of a fresh run at a step of a path, states (D, K) on its dates; None: today."""
    plan = paths.plan
    book, market, model, surfaces = paths.book, plan.market, plan.model, plan.surfaces
    if states is not None:
        then = tomorrow(paths, states, step)
        book, market, model, surfaces = then.book, then.market, then.model, then.surfaces
    spec = replace(plan.spec, count=inner, horizons=(plan.core.horizon,), target_relative_error=0.0)
    if not len(book.positions.instrument) and not len(book.collateral.asset):
        return np.zeros(len(paths.accounts))
    made = compute_outcome(make_plan(book, market, spec, plan.methodology, model, surfaces), resident.choice, 0, in_memory()).result.table
    margin = dict(zip(made["account_id"], made["initial_margin"].to_numpy(np.float64), strict=True))
    return np.array([margin[a] for a in paths.accounts], np.float64)


def _components(states: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(center (K,), turn (K, C)) of states (K, n): principal components in units of their spread, those without any left out."""
    center = np.mean(states, axis=1)
    value, vector = np.linalg.eigh(np.cov(states) if len(states) > 1 else np.atleast_2d(np.var(states)))
    order = np.argsort(-value, kind="stable")
    value, vector = value[order], vector[:, order]
    kept = value > 1e-12 * max(float(value[0]), 1e-300)
    sign = np.where(np.sum(vector, axis=0) < 0.0, -1.0, 1.0)  # an eigenvector has no sign of its own
    return center, (vector * sign / np.sqrt(np.where(kept, value, np.inf)))[:, kept]


def _chosen(states: NDArray[np.float64], center: NDArray[np.float64], turn: NDArray[np.float64], points: int) -> NDArray[np.int64]:
    """(N,) scenarios: the two ends of every component, the rest spread over distances from today, denser far out."""
    z = (states.T - center) @ turn
    ends = np.unique(np.concatenate([np.argmax(z[:, :LEADING], axis=0), np.argmin(z[:, :LEADING], axis=0)]))
    order = np.argsort(np.sum(z * z, axis=1), kind="stable")
    order = order[~np.isin(order, ends)]
    left = points - len(ends)
    place = (1.0 - (1.0 - (np.arange(left) + 0.5) / left) ** OUTWARD) * len(order)
    return np.sort(np.concatenate([ends, order[np.unique(place.astype(np.int64))]]))


def _standing(states: NDArray[np.float64], center: NDArray[np.float64], turn: NDArray[np.float64], chosen: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """(share of the scenarios nearest in distance from today (N,), whether a point is beyond `FAR` of them)."""
    z = (states.T - center) @ turn
    rank = np.argsort(np.argsort(np.sum(z * z, axis=1), kind="stable"), kind="stable")[chosen] / states.shape[1]
    order = np.argsort(rank, kind="stable")
    middle = 0.5 * (rank[order][1:] + rank[order][:-1])
    share = np.empty(len(chosen))
    share[order] = np.diff(np.concatenate([[0.0], middle, [1.0]]))
    return share, rank >= min(FAR, float(np.max(rank)))


def margin_at_risk(resident: Resident, paths: Paths, regression: Regression) -> MarginAtRisk:
    """Every scenario of the paths by the regression; the last date of `paths` is tomorrow."""
    step, accounts, count = len(paths.days) - 1, len(paths.accounts), paths.count
    equity = paths.figures["equity"]
    pnl = np.empty((accounts, count), np.float32)
    states = np.empty((len(regression.center), count))
    with walking(resident, paths, states=True) as (ranges, read):
        for first, last in ranges:
            pnl[:, first:last], states[:, first:last] = read(first, last, step)
    dependence = dependence_of(paths.plan.scenarios)
    total, calls = np.zeros(count), np.zeros(count)
    known = regression.functions(states)
    margins, called, chance = [], [], []
    for start in range(0, accounts, PART):
        part = slice(start, min(start + PART, accounts))
        margin = np.maximum(known @ regression.weight[:, part], 0.0).T
        short = np.maximum(margin - (equity[part, None] + pnl[part]), 0.0)
        total += np.sum(margin, axis=0)
        calls += np.sum(short, axis=0)
        margins.append(_distribution(margin, dependence))
        called.append(_distribution(short, dependence))
        chance.append(_mean((short > 0.0).astype(np.float64), dependence))
    found = np.concatenate([c[0] for c in chance]), np.concatenate([c[1] for c in chance])
    house = float(np.sqrt(regression.share @ np.sum(regression.left_out, axis=1) ** 2))
    return MarginAtRisk(paths.accounts, paths.days[step], count, len(regression.scenario), paths.figures["initial_margin"], _joined(margins), _joined(called), *found, regression.error, regression.far_error,
                        _distribution(total[None], dependence), _distribution(calls[None], dependence), house)


def _mean(values: NDArray[np.float64], dependence: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(mean, standard error) of values (A, S)."""
    mean = np.mean(values, axis=1)
    ids = np.arange(values.shape[1], dtype=np.uint32)
    return mean, np.sqrt(variance_of_mean(values - mean[:, None], ids, values.shape[1], dependence))  # type: ignore[arg-type]


def _distribution(values: NDArray[np.float64], dependence: str) -> Distribution:
    mean, error = _mean(values, dependence)
    count = values.shape[1]
    ordered = np.sort(values, axis=1)
    quantile, spread = [], []
    for level in LEVELS:
        half = 1.96 * np.sqrt(count * level * (1.0 - level))
        low, mid, high = (int(np.clip(np.ceil(r) - 1, 0, count - 1)) for r in (count * level - half, count * level, count * level + half))
        quantile.append(ordered[:, mid])
        spread.append((ordered[:, high] - ordered[:, low]) / (2.0 * 1.96))
    return Distribution(mean, error, np.stack(quantile, axis=1), np.stack(spread, axis=1))


def _joined(parts: list[Distribution]) -> Distribution:
    return Distribution(*(np.concatenate([getattr(p, name) for p in parts]) for name in ("mean", "mean_error", "quantile", "quantile_error")))


def maintenance_along(resident: Resident, paths: Paths, regression: Regression) -> Maintenance:
    """Maintenance margin along the paths for `first_passage`: the regression at the states of each date, and today's margin at today's states, the difference growing with time."""
    ratio, end = resident.plan.methodology.maintenance_ratio, paths.days[-1]
    today = regression.at(np.zeros((len(regression.center), 1)))
    gap = paths.figures["initial_margin"][:, None] - today

    def at(step: int, states: NDArray[np.float64]) -> NDArray[np.float64]:
        left = 1.0 - paths.days[step] / end
        found: NDArray[np.float64] = ratio * np.maximum(regression.at(states) + left * gap, 0.0)
        return found

    return at
