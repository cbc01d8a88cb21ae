"""What a mixture of correlation regimes costs beside one regime: draws of one base step on one thread, at 4 and 500 factors.

    PYTHONPATH=. python benchmarks/regimes.py

Processor seconds (not wall time: the machine may be busy), best of seven, the variants in turn. Prints million factor draws a second and the ratio to one regime.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from upm_gpu.backend import cpu
from upm_gpu.model.garch import Dynamics, GarchParameters
from upm_gpu.model.gbm import GbmParameters
from upm_gpu.model.innovations import Innovation
from upm_gpu.model.recursion import ewma
from upm_gpu.model.regimes import Regime, under_regimes
from upm_gpu.pricing.compiled import empty
from upm_gpu.scenario.spec import ScenarioSpec

CASES = (("gbm", 4, 400_000), ("gbm", 500, 16_384), ("garch, one common factor", 500, 16_384))
MIXTURES = {"forced": [Regime("a", 1.0, 0.6, "one")], "two regimes, 10 %": [Regime("a", 0.1, 0.6, "one")],
            "three regimes, 5 % each": [Regime("a", 0.05, 0.6, "one"), Regime("b", 0.05, 1.0, "one")]}


def plain_set(model: str, factors: int, count: int) -> Any:
    """t copula and t marginals under gbm, Gaussian innovations under a t copula and a factor model under garch."""
    names = tuple(f"log_level[A{i}]" for i in range(factors))
    loading = np.random.default_rng(1).uniform(0.3, 0.8, (factors, 1))
    correlation = loading @ loading.T
    np.fill_diagonal(correlation, 1.0)
    if model == "gbm":
        given: Any = GbmParameters(names, np.full(factors, 0.03), correlation, copula="student_t", copula_degrees_of_freedom=4.0, marginal=("student_t",) * factors,
                                   marginal_degrees_of_freedom=np.full(factors, 4.0))
    else:
        dynamics = Dynamics(("ewma",) * factors, (ewma(0.94),) * factors, np.full(factors, 9e-4), np.full(factors, 1.5))
        given = GarchParameters(names, dynamics, (Innovation(),) * factors, loading=loading, copula_degrees_of_freedom=(4.0,))
    return given.scenarios(np.array([1.0]), ScenarioSpec(count=count, seed=1))


def main() -> None:
    """Time every case."""
    for model, factors, count in CASES:
        plain = plain_set(model, factors, count)
        variants = {"one regime": plain, **{name: under_regimes(plain, regimes)[0] for name, regimes in MIXTURES.items()}}
        best = dict.fromkeys(variants, np.inf)
        for _ in range(7):
            for name, scenarios in variants.items():
                with cpu.prepare(*empty(scenarios.state_names, scenarios.dates), "double", 1) as prepared:
                    start = time.process_time()
                    cpu.states(prepared, scenarios, 0, count)
                    best[name] = min(best[name], time.process_time() - start)
        print(f"{model}, {factors} factors, {count} scenarios, {cpu.isas()[0]}, 1 thread")
        for name, seconds in best.items():
            print(f"  {name:24} {factors * count / seconds / 1e6:7.1f} M draws/s  {seconds / best['one regime']:5.2f}")


if __name__ == "__main__":
    main()
