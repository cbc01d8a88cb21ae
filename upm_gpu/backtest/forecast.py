"""The law of tomorrow as a model of the engine gives it today: estimated every so many days, its volatility brought up to date every day.

An estimate is what `upm run` makes from a history that ends on that day (`model_from_history`, `calibrate_covariance`). Between two estimates the
coefficients, correlations, degrees of freedom and the dates drawn from stay; the variance in force is the recursion's own, run over every change known on the day:

  gbm                                    EWMA of the factor's squared changes (weights lambda^age that sum to 1)
  garch, filtered_historical             h of the filter, times the factor the estimate had put on it to make residuals of unit variance
  scaled_historical                      the scaled changes times the root of h over the h of the estimate
  historical                             nothing: it has no volatility in force

so with `recalibrate_days = 1` every day is an estimate of its own, and for the EWMA filters the variance is the same either way.
Verified by tests/properties/test_rolling_laws.py.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from upm_gpu.backtest.config import ModelEntry, Scenarios
from upm_gpu.backtest.past import Past
from upm_gpu.model.recursion import Garch, ewma, variances
from upm_gpu.scenario.spec import ScenarioSpec

SEED_STEP = 1_000_003
"""a prime: days of one back-test never share a seed, and two configurations whose seeds differ by little do not share one either"""
TINY = 1e-300
"""in the place of omega where only the rest of a recursion is wanted: 0 would mean an EWMA"""


@dataclass(frozen=True)
class Law:
    """An estimate and how its variance goes on."""

    time: float
    model: Any
    """parameters of the engine's model"""
    compiled: Any
    """its scenario set on the day of the estimate"""
    variance: NDArray[np.float64]
    """(K,) in force then"""
    unit: NDArray[np.float64]
    """(K,) what the estimate multiplies the filter's variance with"""


def spec_of(entry: ModelEntry, scenarios: Scenarios, horizon_days: int, clock: str) -> ScenarioSpec:
    """The engine's request for one model of the back-test; the seed of a day is set by `seeded`."""
    return ScenarioSpec(count=scenarios.count, seed=scenarios.seed, horizons=(float(horizon_days),), model=entry.model, filter=entry.filter, ewma_lambda=entry.ewma_lambda, copula=entry.copula,
                        copula_degrees_of_freedom=entry.copula_degrees_of_freedom, marginal=entry.marginal, degrees_of_freedom=entry.degrees_of_freedom, across_dates=entry.across_dates,
                        clock="sessions" if clock == "sessions" else "calendar")


def day_seed(seed: int, time: float) -> int:
    """The seed of a valuation day: a function of the day, not of how many came before it."""
    return (seed + SEED_STEP * int(time)) % 2**64


def estimate(past: Past, time: float, spec: ScenarioSpec) -> Law:
    """The model of a spec from what is known at a time. Raises `CalibrationError`."""
    from upm_gpu.calibrate.covariance import calibrate_covariance
    from upm_gpu.calibrate.from_history import model_from_history
    from upm_gpu.calibrate.model_of_spec import gbm_parameters

    at = past.instant(time)
    known = past.history[past.history["timestamp"] <= at]
    if spec.model == "gbm":
        model: Any = gbm_parameters(calibrate_covariance(known, past.factors, at, spec.estimator, spec.ewma_lambda, clock=past.clock), spec)
    else:
        model, _ = model_from_history(known, past.factors, at, spec)
    compiled = model.scenarios(np.array(spec.horizons), spec)
    size = len(past.factors)
    if spec.model == "gbm":
        return Law(time, model, compiled, model.daily_volatility**2, np.ones(size))
    if spec.model == "historical":
        return Law(time, model, compiled, np.ones(size), np.ones(size))
    if spec.model == "scaled_historical":
        return Law(time, model, compiled, np.array([_filtered(past, k, time, ewma(spec.ewma_lambda)) for k in range(size)]), np.ones(size))
    unit = np.array([_unit(past.known(k, time), m, float(v)) for k, (m, v) in enumerate(zip(model.dynamics.model, model.dynamics.variance, strict=True))])
    return Law(time, model, compiled, model.dynamics.variance, unit)


def scenarios_of(law: Law, past: Past, time: float, spec: ScenarioSpec) -> Any:
    """The scenario set of a day under a law estimated on it or before."""
    seed = day_seed(spec.seed, time)
    if time == law.time or spec.model == "historical":
        return replace(law.compiled, seed=seed)
    if spec.model in ("gbm", "scaled_historical"):
        return model_of(law, past, time, spec).scenarios(np.array(spec.horizons), replace(spec, seed=seed))
    return replace(law.compiled, variance=variance_of(law, past, time, spec), seed=seed)


def model_of(law: Law, past: Past, time: float, spec: ScenarioSpec) -> Any:
    """The parameters of the engine's model on a day under a law estimated on it or before."""
    if time == law.time or spec.model == "historical":
        return law.model
    variance = variance_of(law, past, time, spec)
    if spec.model == "gbm":
        return replace(law.model, daily_volatility=np.sqrt(variance))
    if spec.model == "scaled_historical":
        return replace(law.model, changes=law.model.changes * np.sqrt(variance / law.variance))
    return replace(law.model, dynamics=replace(law.model.dynamics, variance=variance))


def variance_of(law: Law, past: Past, time: float, spec: ScenarioSpec) -> NDArray[np.float64]:
    """(K,) in force at a time."""
    if spec.model == "historical":
        return law.variance
    if spec.model == "gbm":
        return np.array([_weighted(past.own_known(k, time), spec.ewma_lambda) for k in range(len(past.factors))])
    if spec.model == "scaled_historical":
        return np.array([_filtered(past, k, time, ewma(spec.ewma_lambda)) for k in range(len(past.factors))])
    return np.array([c * _filtered(past, k, time, replace(m, omega=m.omega / c)) for k, (m, c) in enumerate(zip(law.model.dynamics.model, law.unit, strict=True))])


def _filtered(past: Past, factor: int, time: float, model: Garch) -> float:
    return float(variances(past.known(factor, time), model)[-1])


def _weighted(changes: NDArray[np.float64], decay: float) -> float:
    weight = decay ** np.arange(len(changes) - 1, -1, -1.0)
    return float(np.sum(weight / np.sum(weight) * changes * changes))


def _unit(changes: NDArray[np.float64], model: Garch, variance: float) -> float:
    """c of an estimate: its variance is c h, its omega c times that of the filter, and h is linear in omega: variance = c h(without omega) + h(omega) - h(without)."""
    whole = float(variances(changes, model)[-1])
    if model.omega == 0.0:
        return variance / whole
    rest = float(variances(changes, replace(model, omega=TINY))[-1])
    return (variance - (whole - rest)) / rest
