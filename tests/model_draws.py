"""States of a model drawn on the widest backend of this machine, for the tests of laws and of published prices."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from upm_gpu.backend import cpu, reference
from upm_gpu.pricing.compiled import empty
from upm_gpu.scenario.sets import ScenarioSet
from upm_gpu.scenario.spec import ScenarioSpec


def draw(scenarios: ScenarioSet) -> NDArray[np.float64]:
    """(D, K, S) of all scenarios of a set."""
    backend = cpu if cpu.available()[0] else reference
    with backend.prepare(*empty(scenarios.state_names, scenarios.dates), "double", 1) as prepared:
        return backend.states(prepared, scenarios, 0, scenarios.count)


def simulate(model: Any, dates: list[float], count: int, seed: int = 11, **spec: Any) -> NDArray[np.float64]:
    """The same of a model's parameters on dates in days."""
    return draw(model.scenarios(np.array(dates), ScenarioSpec(count=count, seed=seed, **spec)))


def score(sample: NDArray[np.float64], expected: float) -> float:
    """Standard errors between the mean of a sample and what it should be."""
    return float((sample.mean() - expected) / (sample.std() / np.sqrt(sample.size)))
