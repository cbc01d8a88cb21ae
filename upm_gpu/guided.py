"""Scenarios guided by the book: from a plan's arrays to the mixture that importance sampling draws from."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from upm_gpu.backend import reference
from upm_gpu.model.sampling import mixed
from upm_gpu.pricing.compiled import Compiled, Rows
from upm_gpu.pricing.tables import european_only
from upm_gpu.risk.pilot import plain_walk, run_pilot
from upm_gpu.risk.tail import tail_depth
from upm_gpu.risk.tail_mixture import first_depth, guide
from upm_gpu.scenario.derived import Derived
from upm_gpu.scenario.sets import ScenarioSet
from upm_gpu.scenario.spec import ScenarioSpec


def guided(scenarios: ScenarioSet, spec: ScenarioSpec, compiled: Compiled, rows: Rows, horizon: int, level: float, lowest: float) -> tuple[ScenarioSet, int]:
    """Importance sampling for the tails of `rows`: the walk drawn from the mixture that pilot scenarios propose, and the depth of the tail they expect.

    The pilot is valued by the NumPy twins, so that every backend is guided by the same mixture, and without early exercise: a guide need not be exact.
    """
    nobody = Rows(np.zeros(1, np.int64), np.zeros(0, np.int32), np.zeros(0))
    plain = european_only(compiled)
    with reference.prepare(plain, nobody, "double") as prepared:
        pilot = run_pilot(scenarios, compiled, rows, lambda given: reference.unit_pnl(prepared, given, 0, given.count, horizon), horizon, level, lowest)
    found = guide(pilot, spec.stream)
    if found is None:
        return scenarios, tail_depth(spec.count, lowest)
    drawn: ScenarioSet = mixed(plain_walk(scenarios), found.mixture)
    return replace(scenarios, base=drawn) if isinstance(scenarios, Derived) else drawn, max(tail_depth(spec.count, lowest), first_depth(found, spec.count))
