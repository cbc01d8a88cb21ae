"""Tomorrow's law: what a run of tomorrow makes of the moves of one path, model by model.

* gbm, its volatilities estimated by EWMA from the market's history: every whole base step of the path is one more return, Sigma' = lambda Sigma + (1 - lambda) m m' / step; the part of a step that a date ends in takes
  lambda^f and m m' / f. Correlations by Kendall's tau, equal weights, shrinkage, a parameter file, factors whose volatility is configured: as today (one return among all of the history).
* garch, filtered_historical: h' = min(omega + (alpha + gamma [m < 0]) m^2 + beta h, top) for every whole step, m = state's move less the step's centring: the recursion of the paths themselves (`model/garch.py`). A step that has
  begun keeps its h. filtered_historical draws from the residuals m / sqrt h of the path's days too, brought to unit variance again as `calibrate/panel.py` does.
* historical, scaled_historical: the path's whole steps are more changes at the end of the history; scaled ones take the EWMA volatility of tomorrow.
* heston, bates: the path's own variance. merton: no memory.

A long-run floor is put under tomorrow's volatilities after the moves, which are taken into the estimate without the floor. Coefficients are not fitted again. Regimes of correlation are drawn anew by every run.

Verified: tests/statistics/test_tomorrow.py, the variances against the paths of the twins, the rest by hand.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from upm_gpu.model.filtered_historical import FilteredHistoricalParameters
from upm_gpu.model.garch import GarchParameters
from upm_gpu.model.gbm import GbmParameters
from upm_gpu.model.heston import HestonParameters
from upm_gpu.model.historical import HistoricalParameters
from upm_gpu.model.tables import evaluate_table
from upm_gpu.plan import Plan
from upm_gpu.scenario.derived import Derived
from upm_gpu.scenario.volatility_sets import GarchWalk

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Law:
    """Today's law of a plan, as tomorrow's run will find it in its estimates."""

    plan: Plan
    model: Any
    """without a floor"""
    floor: Array | None
    """(K,) long-run volatilities of a day; None: no floor"""

    @property
    def remembers(self) -> bool:
        """Whether tomorrow's law depends on what the whole steps before did, one by one."""
        return isinstance(self.model, GarchParameters | FilteredHistoricalParameters | HistoricalParameters | GbmParameters)


def law_of(plan: Plan) -> Law:
    """The law of a plan; where a floor raises it, estimated again without."""
    from upm_gpu.calibrate.model_of_spec import calibrate_model
    from upm_gpu.calibrate.surface_factors import slides_of
    from upm_gpu.calibrate.volatility_floor import long_run_volatility

    if plan.fit is None or plan.spec.volatility_floor == "none":
        return Law(plan, plan.model, None)
    bare, _ = calibrate_model(plan.market, replace(plan.spec, volatility_floor="none"), surfaces=plan.surfaces)
    seen = _estimated(plan, len(plan.model.state_names))
    floor = np.zeros(len(seen))
    floor[seen] = long_run_volatility(plan.market, [n for n, s in zip(plan.model.state_names, seen, strict=True) if s], plan.spec, slides_of(plan.spec, plan.surfaces))
    return Law(plan, bare, floor)


def _estimated(plan: Plan, size: int) -> NDArray[np.bool_]:
    """(K,) factors whose volatility comes from a history, not from the configuration."""
    seen = np.ones(size, bool)
    if plan.fit is not None and plan.fit.observations.size:
        seen[: len(plan.fit.observations)] = np.diag(plan.fit.observations) > 0
    return seen


@dataclass(frozen=True)
class Whole:
    """States at the whole base steps of a path, and where it stands after them."""

    steps: Array
    """(J, K, ...) of the model's factors, after each whole step"""
    last: Array
    """(K, ...) at the date itself"""
    part: float
    """of a base step that the date ends in; 0: on a step"""


def moves_of(whole: Whole) -> Array:
    """(J, K, ...) of each whole step."""
    return np.diff(whole.steps, axis=0, prepend=np.zeros((1, *whole.steps.shape[1:])))


def law_then(law: Law, whole: Whole, states: Mapping[str, float]) -> Any:
    """The model of a run at a date of one path; `whole` of the factors in the model's order, `states` at the date by name."""
    model = law.model
    if isinstance(model, HestonParameters):
        return replace(model, initial_variance=np.array([states[f"variance[{u}]"] for u in model.underlyings]))
    if isinstance(model, GbmParameters):
        return _floored(law, _one_more_return(law, whole))
    if isinstance(model, GarchParameters):
        variance, _ = variances(law, whole)
        return _floored(law, replace(model, dynamics=replace(model.dynamics, variance=variance[-1])))
    if isinstance(model, FilteredHistoricalParameters):
        return _floored(law, _more_residuals(model, *variances(law, whole)))
    if isinstance(model, HistoricalParameters):
        return _floored(law, _more_changes(law, whole))
    return model


def _floored(law: Law, model: Any) -> Any:
    if law.floor is None:
        return model
    if isinstance(model, GbmParameters):
        return replace(model, daily_volatility=np.maximum(model.daily_volatility, law.floor))
    if isinstance(model, HistoricalParameters):
        return replace(model, changes=model.changes * np.maximum(law.floor / model.daily_volatility, 1.0))
    return replace(model, dynamics=replace(model.dynamics, variance=np.maximum(model.dynamics.variance, law.floor**2 * model.step_days)))


def _one_more_return(law: Law, whole: Whole) -> GbmParameters:
    model, spec = law.model, law.plan.spec
    if spec.estimator != "ewma" or spec.parameters:
        return model
    seen = _estimated(law.plan, len(model.state_names))
    sigma, kept = np.asarray(model.daily_volatility, np.float64), spec.ewma_lambda
    covariance = model.correlation * np.outer(sigma, sigma)
    for m in moves_of(whole):
        covariance = kept**model.step_days * covariance + (1.0 - kept**model.step_days) * np.outer(m, m) / model.step_days
    if whole.part > 0.0:
        days, m = whole.part * model.step_days, whole.last - (whole.steps[-1] if len(whole.steps) else 0.0)
        covariance = kept**days * covariance + (1.0 - kept**days) * np.outer(m, m) / days
    after = np.where(seen, np.sqrt(np.diag(covariance)), sigma)
    if spec.correlation == "kendall":  # equal weights
        return replace(model, daily_volatility=after)
    safe = np.where(after > 0.0, after, 1.0)
    correlation = np.where(np.outer(seen, seen), covariance / np.outer(safe, safe), model.correlation)
    np.fill_diagonal(correlation, 1.0)
    return replace(model, daily_volatility=after, correlation=0.5 * (correlation + correlation.T))


def variances(law: Law, whole: Whole) -> tuple[Array, Array]:
    """(J + 1, K, ...) variance of the next step after 0, 1, ... J whole steps, and (J, K, ...) the moves before centring that made them."""
    base = law.plan.scenarios.base if isinstance(law.plan.scenarios, Derived) else law.plan.scenarios
    assert isinstance(base, GarchWalk)

    def column(x: Array) -> Array:
        found: Array = x.reshape(-1, *[1] * (whole.last.ndim - 1))
        return found

    drawn = np.broadcast_to(column(base.variance), whole.last.shape)  # what the path moved by: with a floor where there is one
    known = np.broadcast_to(column(law.model.dynamics.variance), whole.last.shape)
    made, moves, running = [known], [], np.zeros_like(whole.last)
    at = {int(n): d for d, n in enumerate(base.date_whole) if base.date_leg[d] < 0}
    for j, state in enumerate(whole.steps):
        state = state - column(base.drift[at[j + 1]])
        left = running if base.persistence is None else column(base.persistence) * running
        sigma = np.sqrt(drawn)
        centre = np.stack([evaluate_table(base.centring[c], sigma[k]) if c >= 0 else np.zeros_like(sigma[k]) for k, c in enumerate(base.centring_of[j])])
        m = state - left - centre
        running = state
        news = column(base.omega) + (column(base.alpha) + column(base.gamma) * (m < 0.0)) * (m * m)
        drawn, known = (np.minimum(news + column(base.beta) * h, column(base.top)) for h in (drawn, known))
        made.append(known)
        moves.append(m)
    return np.stack(made), np.stack(moves) if moves else np.zeros((0, *whole.last.shape))


def _more_residuals(model: FilteredHistoricalParameters, variance: Array, moves: Array) -> FilteredHistoricalParameters:
    """The residuals with those of the path's days, at mean 0 and variance 1; what their variance was goes into the recursion."""
    if not len(moves):
        return replace(model, dynamics=replace(model.dynamics, variance=variance[-1]))
    more = np.divide(moves, np.sqrt(variance[:-1]), out=np.zeros_like(moves), where=variance[:-1] > 0.0)
    residuals = np.concatenate([model.residuals, more])
    spread = np.var(residuals, axis=0)
    recursions = tuple(replace(g, omega=g.omega * float(c)) for g, c in zip(model.dynamics.model, spread, strict=True))
    dynamics = replace(model.dynamics, model=recursions, variance=variance[-1] * spread)
    return replace(model, dynamics=dynamics, residuals=(residuals - np.mean(residuals, axis=0)) / np.sqrt(spread), labels=(*model.labels, *[""] * len(moves)) if model.labels else ())


def _more_changes(law: Law, whole: Whole) -> HistoricalParameters:
    model: HistoricalParameters = law.model
    moves = moves_of(whole)
    if not len(moves):
        return model
    changes, own = model.changes, moves
    if model.variance is not None:  # changes stand at the volatility of the next step
        h = model.variance
        for j, m in enumerate(moves):
            after = law.plan.spec.ewma_lambda * h + (1.0 - law.plan.spec.ewma_lambda) * m * m
            ratio = np.sqrt(np.divide(after, h, out=np.ones_like(h), where=h > 0.0))
            changes, h = np.concatenate([changes, own[j : j + 1]]) * ratio, after
        model = replace(model, variance=h)
    else:
        changes = np.concatenate([changes, own])
    segment = np.concatenate([model.segment, np.full(len(moves), model.segment[-1])])
    return replace(model, changes=changes, segment=segment, labels=(*model.labels, *["later"] * len(moves)) if model.labels else ())


__all__ = ["Law", "Whole", "law_of", "law_then", "moves_of", "variances"]
