"""Our side of `draws.py`: states of a scenario set over a book of nothing, and Sobol points."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from upm_gpu.backend import cpu
from upm_gpu.model.filtered_historical import FilteredHistoricalParameters
from upm_gpu.model.garch import Dynamics, GarchParameters
from upm_gpu.model.gbm import GbmParameters
from upm_gpu.model.heston import HestonParameters
from upm_gpu.model.innovations import Innovation
from upm_gpu.model.recursion import Garch
from upm_gpu.pricing.compiled import empty
from upm_gpu.rng.sobol import sobol
from upm_gpu.scenario.sets import ScenarioSet
from upm_gpu.scenario.spec import ScenarioSpec

Work = Callable[[], Any]
GJR = (2e-5, 0.05, 0.88, 0.06)
"""omega, alpha, beta, gamma"""
HESTON = {"variance0": 0.49, "kappa": 3.0, "theta": 0.5, "epsilon": 1.2, "rho": -0.4}


def isa() -> str:
    return cpu.isas()[0]


def residuals(rows: int, factors: int) -> np.ndarray:
    """(N, K) of mean 0 and variance 1, with fat tails."""
    e = np.random.default_rng(6).standard_t(5, (rows, factors))
    return (e - e.mean(axis=0)) / e.std(axis=0)


def names(factors: int) -> tuple[str, ...]:
    return tuple(f"log_level[A{k}]" for k in range(factors))


def loadings(factors: int, common: int) -> np.ndarray:
    """(K, F) that explain half of every variance."""
    rng = np.random.default_rng(5)
    b = rng.standard_normal((factors, common))
    return b * np.sqrt(0.5 / np.sum(b * b, axis=1))[:, None]


def correlation(factors: int) -> np.ndarray:
    b = loadings(factors, min(factors, 5))
    c = b @ b.T
    np.fill_diagonal(c, 1.0)
    return c


def states(scenarios: ScenarioSet) -> Work:
    prepared = cpu.prepare(*empty(scenarios.state_names, scenarios.dates), "double", 1)
    return lambda: cpu.states(prepared, scenarios, 0, scenarios.count)


def normals(factors: int, scenarios: int) -> Work:
    model = GbmParameters(names(factors), np.full(factors, 0.03), correlation(factors))
    return states(model.scenarios(np.array([1.0]), ScenarioSpec(count=scenarios)))


def factor_model(factors: int, common: int, scenarios: int) -> Work:
    still = Dynamics(("garch",) * factors, (Garch(0.0009, 0.0, 0.0),) * factors, np.full(factors, 0.0009), np.full(factors, np.inf))
    model = GarchParameters(names(factors), still, (Innovation("gaussian"),) * factors, loading=loadings(factors, common), measure="historical")
    return states(model.scenarios(np.array([1.0]), ScenarioSpec(count=scenarios)))


def heston(underlyings: int, steps: int, scenarios: int) -> Work:
    n = underlyings
    model = HestonParameters(tuple(f"A{k}" for k in range(n)), *(np.full(n, x) for x in HESTON.values()), correlation(n), substeps=steps)
    return states(model.scenarios(np.array([1.0]), ScenarioSpec(count=scenarios)))


def filtered(factors: int, steps: int, rows: int, scenarios: int, centred: bool) -> Work:
    """GJR of every factor on residuals of `rows` dates; `centred`: E[exp] is 1 step by step."""
    gjr = Dynamics(("gjr",) * factors, (Garch(*GJR),) * factors, np.full(factors, 0.0009), np.full(factors, 1.5))
    model = FilteredHistoricalParameters(names(factors), gjr, residuals(rows, factors), measure="margin" if centred else "historical")
    return states(model.scenarios(np.array([float(steps)]), ScenarioSpec(count=scenarios)))


def sobol_normals(dimensions: int, scenarios: int, owen: bool) -> Work:
    model = GbmParameters(names(dimensions), np.full(dimensions, 0.03), correlation(dimensions))
    spec = ScenarioSpec(count=scenarios, sampler="sobol", scrambling="owen" if owen else "digital_shift")
    return states(model.scenarios(np.array([1.0]), spec))


def sobol_points(dimensions: int, scenarios: int) -> Work:
    return lambda: sobol(scenarios, dimensions)


WORK: dict[str, Callable[..., Work]] = {
    "normals": normals, "factor_model": factor_model, "heston": heston, "filtered": filtered, "sobol_normals": sobol_normals, "sobol_points": sobol_points}
