"""Bates' model: Heston's stochastic variance with Merton's jumps, market-wide and of each underlying's own.

D. S. Bates, "Jumps and stochastic volatility: exchange rate processes implicit in Deutsche mark options", Review of Financial Studies 9 (1996). The parts are those of
`heston.py` and `jumps.py`; jumps are counted per substep. Verified: tests/statistics/test_heston_law.py, tests/known_answers/test_stochastic_models.py.
"""

from __future__ import annotations

from upm_gpu.model.heston import KEYS, HestonParameters, parameters_of
from upm_gpu.model.merton import JUMP_KEYS, jumps_of
from upm_gpu.model.parameter_table import read_table
from upm_gpu.scenario.spec import ScenarioSpec


def read(path: str, spec: ScenarioSpec) -> HestonParameters:
    """Parameters from a file of kind `bates`: the keys of `heston` and the sections [systemic] and [own] of `merton`, values by underlying."""
    table = read_table(path, "bates", (*KEYS, *JUMP_KEYS))
    return parameters_of(table, spec, jumps_of(table, len(table.text("underlyings"))))
