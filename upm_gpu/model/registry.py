"""The models by name and the twins of scenario sets by kind: the one table a new model is entered in.

A model is a module of this room with frozen parameters that have `scenarios(dates, spec)` and, unless it is calibrated at the start of
a run, `read(path, spec)` that makes them from a parameter file. What it compiles to is a frozen type of
`scenario/sets.py`; the twin of each kind of set is a function (set, first, last) -> states (D, K, S), clip counts (K,).
"""

from __future__ import annotations

from importlib import import_module
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from upm_gpu.errors import CalibrationError
from upm_gpu.scenario.sets import ScenarioSet
from upm_gpu.scenario.spec import ScenarioSpec

MODELS = {
    "gbm": "upm_gpu.model.gbm",
    "merton": "upm_gpu.model.merton",
    "heston": "upm_gpu.model.heston",
    "bates": "upm_gpu.model.bates",
    "historical": "upm_gpu.model.historical",
    "scaled_historical": "upm_gpu.model.historical",
    "filtered_historical": "upm_gpu.model.filtered_historical",
    "garch": "upm_gpu.model.garch",
}
"""module of each model; `gbm` is also what a history is calibrated to"""
CALIBRATED = "gbm"
PER_YEAR = ("merton", "heston", "bates")
"""models whose parameters are per year of 365 days"""
OPTION_MODELS = ("merton", "heston", "bates")
"""models that price options themselves, see `pricing_law.py`"""
FROM_HISTORY = ("historical", "scaled_historical", "filtered_historical", "garch")
"""models made from the market's history at the start of a run, see `calibrate/from_history.py`; they have no parameter file"""
FLOORED = ("gbm", "garch", "filtered_historical", "scaled_historical")
"""models with a short-term volatility that a long-run floor can be put under, see `calibrate/volatility_floor.py`"""
TWINS = {
    "explicit": "upm_gpu.model.registry:_explicit_states",
    "walk": "upm_gpu.model.gbm:reference_states",
    "heston": "upm_gpu.model.heston:reference_states",
    "resample": "upm_gpu.model.garch_twin:resample_states",
    "garch": "upm_gpu.model.garch_twin:garch_states",
    "sampled_walk": "upm_gpu.model.sampling:sampled_states",
    "derived": "upm_gpu.model.derived:derived_states",
}


class Model(Protocol):
    """Parameters of a model."""

    def scenarios(self, dates_days: NDArray[np.float64], spec: ScenarioSpec) -> ScenarioSet: ...


def read_model(spec: ScenarioSpec) -> Model:
    """The model a specification names, from its parameter file. Raises `CalibrationError` UPM-CA-070 without one, UPM-CA-071 for an unknown name."""
    if spec.model not in MODELS:
        raise CalibrationError("UPM-CA-071", f"model {spec.model!r} is not known. Use one of {', '.join(MODELS)} in model.name.")
    if not spec.parameters:
        raise CalibrationError("UPM-CA-070", f"model {spec.model} has no calibration from a history: name its parameter file in model.parameters.")
    model: Model = import_module(MODELS[spec.model]).read(spec.parameters, spec)
    return model


def reference_states(scenarios: ScenarioSet, first: int, last: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """States (D, K, S) and clip counts (K,) of scenarios [first, last) by the plain twin of the set's kind."""
    module, _, name = TWINS[scenarios.kind].partition(":")
    states: tuple[NDArray[np.float64], NDArray[np.int64]] = getattr(import_module(module), name)(scenarios, first, last)
    return states


def _explicit_states(scenarios: ScenarioSet, first: int, last: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    values = scenarios.values[:, :, first:last]  # type: ignore[union-attr]
    return values, np.zeros(values.shape[1], np.int64)
