"""Margin at risk: the distribution of tomorrow's margin and of the money that will be called, account by account and for the house.

Nested simulation by regression: at N paths, chosen so that the outer reaches are among them, tomorrow's margin is a fresh run's in the market, the book and the law of that path (`tomorrow.py`), every one with
the same random numbers; between them it is a regression of each account's margin on what the path's states say (`features.py`, `regression.py`), of M - M_0' + M_0: M_0 the run's margin and M_0' that of today with the
inner count, so that the inner scenarios' own error cancels (control variate). All scenarios
of the run are then evaluated: margin, equity from the paths' own P&L, what is called = max(M - equity, 0), and their sums for the house. Error of the regression against brute force, twice:

* leave-one-out: the root mean square of what a run says at a point less what the regression of all other points says there, in closed form; every point counts by the share of scenarios that it stands for, and the points beyond
  95 % of the scenarios have a figure of their own;
* fresh runs at paths that are no points, `CHECKED` spread evenly over the scenarios by their distance from today and `CHECKED_FAR` over the outer 5 %: root mean square of regression less run, for margins, for what is called, and
  for equity (the path's P&L against what the fresh run finds in the book), and the mean over the first.

Regression in the place of inner simulation: Broadie, Du and Moallemi, "Risk estimation via regression", Operations Research 63, 2015.

Verified: tests/statistics/test_margin_at_risk.py against fresh runs at every path of a small book; tests/statistics/test_tomorrow.py for every model.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from upm_gpu.desk.outlook.features import features_of
from upm_gpu.desk.outlook.passage import Maintenance
from upm_gpu.desk.outlook.paths import Paths, walking
from upm_gpu.desk.outlook.regression import Regression, design_of, fit, function_count
from upm_gpu.desk.outlook.tomorrow import Outset, outset_of, tomorrow
from upm_gpu.desk.resident import Progress, Resident
from upm_gpu.engine import compute_outcome
from upm_gpu.errors import InputError, UpmError
from upm_gpu.passes import in_memory
from upm_gpu.plan import make_plan
from upm_gpu.risk.dependence import dependence_of, variance_of_mean

POINTS_A_FUNCTION = 4
POOL = 4096
"""scenarios among which the points of the regression are chosen"""
CHECKED, CHECKED_FAR = 8, 6
"""paths at which the regression is held to a fresh run that it has not seen, over all and in the outer 5 %"""
INNER = 10_000
OUTER = 20_000
LEVELS = (0.5, 0.95, 0.99)
PART = 64
"""accounts evaluated at once"""


@dataclass(frozen=True, eq=False)
class Fresh:
    """What a fresh run says of accounts (A)."""

    margin: NDArray[np.float64]
    equity: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Check:
    """The regression beside fresh runs at paths (C) that it has not seen, of accounts (A)."""

    scenario: NDArray[np.int64]
    margin: NDArray[np.float64]
    """(C, A) regression less run"""
    called: NDArray[np.float64]
    """(C, A) what is called by the regression less what is called by the run"""
    equity: NDArray[np.float64]
    """(C, A) the path's less the run's"""
    run: NDArray[np.float64]
    """(C, A) margin of the runs"""
    far: NDArray[np.bool_]
    """(C,) taken among the outer 5 % of the scenarios; the others are spread over all"""

    def house(self, far: bool) -> float:
        """Root mean square of the sum of margins, over all scenarios or in the outer 5 %."""
        return float(np.sqrt(np.mean(np.sum(self.margin[self.far == far], axis=1) ** 2)))

    @property
    def house_bias(self) -> tuple[float, float]:
        """(mean of regression less run for the sum of margins over all scenarios, its standard error)."""
        total = np.sum(self.margin[~self.far], axis=1)
        return float(np.mean(total)), float(np.std(total, ddof=1) / np.sqrt(len(total)))

    def error(self, far: bool) -> NDArray[np.float64]:
        """(A,) root mean square of the margin."""
        found: NDArray[np.float64] = np.sqrt(np.mean(self.margin[self.far == far] ** 2, axis=0))
        return found

    def level(self, far: bool) -> NDArray[np.float64]:
        """(A,) mean margin of the runs."""
        found: NDArray[np.float64] = np.mean(self.run[self.far == far], axis=0)
        return found


@dataclass(frozen=True, eq=False)
class Fitted:
    """A regression and how it does where it was not fitted."""

    outset: Outset
    regression: Regression
    check: Check

    @property
    def far_error(self) -> NDArray[np.float64]:
        """(A,) error of the regression in the outer 5 %, where the 99 % quantile is: what runs there that it has not seen show, and not less than leave-one-out over all scenarios. Leave-one-out of the outer 5 % itself
        says too much where points are few, and too little where jumps lie between them; without such runs it is all there is."""
        return np.maximum(self.regression.error, self.check.error(True)) if self.check.far.any() else self.regression.far_error


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
    fitted: Fitted
    today: NDArray[np.float64]
    """(A,) initial margin"""
    margin: Distribution
    called: Distribution
    """max(margin - equity, 0)"""
    call_probability: NDArray[np.float64]
    call_probability_error: NDArray[np.float64]
    house_margin: Distribution
    house_called: Distribution
    house: NDArray[np.float64]
    """(2, S) margin and called of all accounts together"""

    @property
    def house_error(self) -> float:
        """Leave-one-out error of the sum of margins."""
        regression = self.fitted.regression
        return float(np.sqrt(regression.share @ np.sum(regression.left_out, axis=1) ** 2))


def fit_margin(resident: Resident, paths: Paths, points: int = 0, inner: int = 0, progress: Progress | None = None, checked: tuple[int, int] = (CHECKED, CHECKED_FAR)) -> Fitted:
    """Fresh runs at the points and the regression between them. `points` 0: four a function; `inner` 0: as many scenarios as the run, at most `INNER`; `checked` paths, over all and in the outer 5 %, are no points and run too; `progress(done, total)` in
    fresh runs.

    Raises InputError for a run whose tomorrow cannot be had and for too few points.
    """
    outset = outset_of(paths)
    step = len(paths.days) - 1
    states = states_of(resident, paths, 0, min(paths.count, POOL))
    features = features_of(outset, states, step)
    functions = function_count(len(features))
    least, most = functions + 4, features.shape[1] - sum(checked)
    points = points or min(POINTS_A_FUNCTION * functions, most)
    if points < least or points > most:
        raise InputError("UPM-IN-183", f"{points} points for a regression on {functions} functions of tomorrow's states, beside {sum(checked)} paths to check it at: give at least {least} and at most {most}.")
    inner = inner or min(resident.plan.scenarios.count, INNER)
    design = design_of(features, points)
    others, far = design.others(*checked)
    now = fresh_run(resident, outset, None, step, inner).margin
    gap = paths.figures["initial_margin"] - now
    runs = []
    todo = [*design.scenario.tolist(), *others.tolist()]
    for n, s in enumerate(todo):
        try:
            runs.append(fresh_run(resident, outset, states[:, :, s], step, inner))
        except UpmError as error:
            raise type(error)(error.code, f"fresh run of tomorrow on scenario {s}: {error.message}") from None
        if progress is not None:
            progress(n + 1, len(todo))
    count = len(design.scenario)
    regression = fit(design, np.stack([r.margin for r in runs[:count]]) + gap)
    return Fitted(outset, regression, _check(resident, paths, regression, others, far, features, runs[count:], gap))


def _check(resident: Resident, paths: Paths, regression: Regression, scenario: NDArray[np.int64], far: NDArray[np.bool_], features: NDArray[np.float64], runs: list[Fresh], gap: NDArray[np.float64]) -> Check:
    if not runs:
        none = np.zeros((0, len(paths.accounts)))
        return Check(scenario, none, none, none, none, far)
    step = len(paths.days) - 1
    margin, equity = np.stack([r.margin for r in runs]) + gap, np.stack([r.equity for r in runs])
    guess = regression.at(features[:, scenario]).T
    with walking(resident, paths) as (_, read):
        pnl = np.stack([read(s, s + 1, step)[0][:, 0] for s in scenario.tolist()])
    path = paths.figures["equity"] + pnl
    return Check(scenario, guess - margin, np.maximum(guess - path, 0.0) - np.maximum(margin - equity, 0.0), path - equity, margin, far)


def states_of(resident: Resident, paths: Paths, first: int, last: int) -> NDArray[np.float64]:
    """(D, K, n)."""
    module, plan = resident.choice.module, paths.plan
    with module.prepare(plan.compiled, plan.rows, resident.choice.precision, resident.choice.threads) as prepared:
        found: NDArray[np.float64] = module.states(prepared, plan.scenarios, first, last)
    return found


def fresh_run(resident: Resident, outset: Outset, states: NDArray[np.float64] | None, step: int, inner: int) -> Fresh:
    """A fresh run at a step of a path, states (D, K) on its dates; None: today."""
    paths, plan = outset.paths, outset.paths.plan
    book, market, model, surfaces = paths.book, plan.market, plan.model, plan.surfaces
    if states is not None:
        then = tomorrow(outset, states, step)
        book, market, model, surfaces = then.book, then.market, then.model, then.surfaces
    if not len(book.positions.instrument) and not len(book.collateral.asset):
        return Fresh(np.zeros(len(paths.accounts)), np.zeros(len(paths.accounts)))
    spec = replace(plan.spec, count=inner, horizons=(plan.core.horizon,), target_relative_error=0.0)
    made = replace(make_plan(book, market, spec, plan.methodology, model, surfaces, plan.fit), library=resident.plan.library)
    pooled = any(a.member_id for a in book.accounts)  # only pools share what contributions say
    table = compute_outcome(made, resident.choice, 0, in_memory(), contributions=pooled).result.table.set_index("account_id").loc[list(paths.accounts)]
    return Fresh(table["initial_margin"].to_numpy(np.float64), table["equity"].to_numpy(np.float64))


def margin_at_risk(resident: Resident, paths: Paths, fitted: Fitted) -> MarginAtRisk:
    """Every scenario of the paths by the regression; the last date of `paths` is tomorrow."""
    step, accounts, count = len(paths.days) - 1, len(paths.accounts), paths.count
    regression, equity = fitted.regression, paths.figures["equity"]
    pnl = np.empty((accounts, count), np.float32)
    features = np.empty((len(regression.center), count))
    with walking(resident, paths, states=True) as (ranges, read):
        for first, last in ranges:
            pnl[:, first:last], states = read(first, last, step)
            features[:, first:last] = features_of(fitted.outset, states, step)
    dependence = dependence_of(paths.plan.scenarios)
    total, calls = np.zeros(count), np.zeros(count)
    known = regression.functions(features)
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
    return MarginAtRisk(paths.accounts, paths.days[step], count, fitted, paths.figures["initial_margin"], _joined(margins), _joined(called), *found,
                        _distribution(total[None], dependence), _distribution(calls[None], dependence), np.stack([total, calls]))


def _mean(values: NDArray[np.float64], dependence: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(mean, standard error) of values (A, S)."""
    mean = np.mean(values, axis=1)
    ids = np.arange(values.shape[1], dtype=np.uint32)
    return mean, np.sqrt(variance_of_mean(values - mean[:, None], ids, values.shape[1], dependence))  # type: ignore[arg-type]


def _distribution(values: NDArray[np.float64], dependence: str) -> Distribution:
    mean, error = _mean(values, dependence)
    count = values.shape[1]
    ranks = []
    for level in LEVELS:
        half = 1.96 * np.sqrt(count * level * (1.0 - level))
        ranks.append(tuple(int(np.clip(np.ceil(r) - 1, 0, count - 1)) for r in (count * level - half, count * level, count * level + half)))
    ordered = np.partition(values, sorted({r for three in ranks for r in three}), axis=1)
    quantile, spread = [], []
    for low, mid, high in ranks:
        quantile.append(ordered[:, mid])
        spread.append((ordered[:, high] - ordered[:, low]) / (2.0 * 1.96))
    return Distribution(mean, error, np.stack(quantile, axis=1), np.stack(spread, axis=1))


def _joined(parts: list[Distribution]) -> Distribution:
    return Distribution(*(np.concatenate([getattr(p, name) for p in parts]) for name in ("mean", "mean_error", "quantile", "quantile_error")))


def maintenance_along(resident: Resident, paths: Paths, fitted: Fitted) -> Maintenance:
    """Maintenance margin along the paths for `first_passage`: the regression at the features of each date, and today's margin at today's, the difference growing with time."""
    regression, ratio, end = fitted.regression, resident.plan.methodology.maintenance_ratio, paths.days[-1]
    still = features_of(fitted.outset, np.zeros((len(paths.plan.compiled.dates), len(paths.plan.compiled.state_names), 1)), 0, still=True)
    gap = paths.figures["initial_margin"][:, None] - regression.at(still)

    def at(step: int, states: NDArray[np.float64]) -> NDArray[np.float64]:
        left = 1.0 - paths.days[step] / end
        found: NDArray[np.float64] = ratio * np.maximum(regression.at(features_of(fitted.outset, states, step)) + left * gap, 0.0)
        return found

    return at
