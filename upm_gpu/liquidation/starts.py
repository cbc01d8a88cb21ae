"""Where a cascade begins: states of a path, and the program and dates that read them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from upm_gpu import exhibits
from upm_gpu.backend.select import Choice
from upm_gpu.plan import Plan
from upm_gpu.pricing.compiled import Compiled, empty
from upm_gpu.scenario.sets import ScenarioSet


@dataclass(frozen=True)
class Start:
    """A scenario to begin with: states of the path (D, K), and the program and dates that read them."""

    name: str
    compiled: Compiled
    states: NDArray[np.float64]
    horizon_days: float
    """0 for a move at once"""
    last: int = 0
    """the path date values are read at: impact moves it and whatever comes after"""


def stress_start(now: Compiled, name: str, moves: dict[str, dict[str, float]]) -> Start:
    """Relative moves by asset ("*": every other), at once; `now` is the case's program of moves at once."""
    moved = exhibits.state_moves(now.drawn_names, moves)
    return Start(name, now, np.array([[moved[state] for state in now.drawn_names]]), 0.0)


def drawn_states(plan: Plan, choice: Choice, scenarios: ScenarioSet, first: int, last: int) -> NDArray[np.float64]:
    """(D, K, last - first) states that the model draws, of scenarios by number; nothing is priced, so no value table is asked for."""
    nothing, rows = empty(plan.compiled.state_names, plan.compiled.dates)
    with choice.module.prepare(nothing, rows, "double", choice.threads) as prepared:
        states = choice.module.states(prepared, scenarios, first, last)
    return np.ascontiguousarray(states[:, : len(plan.compiled.drawn_names)])


def scenario_start(plan: Plan, choice: Choice, scenario: int) -> Start:
    """A scenario of the run by its number, at the core's horizon."""
    program = plan.compiled.programs[plan.horizon(plan.core.horizon)]
    compiled = replace(plan.compiled, programs=(program,))
    states = drawn_states(plan, choice, plan.scenarios, scenario, scenario + 1)[:, :, 0]
    last = int(np.argmin(np.abs(compiled.dates - program.horizon)))
    return Start(f"scenario {scenario}", compiled, np.array(states), program.horizon, last)
