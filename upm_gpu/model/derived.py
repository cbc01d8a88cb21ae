"""The twin of derived states: base states by their own twin, then the operations of `formula/derived.py` in order."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from upm_gpu.formula.derived import DRAWS, OPERATIONS
from upm_gpu.scenario.derived import NO_STATE, Derived


def derived_states(derived: Derived, first: int, last: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """States (D, K + E, S) of scenarios [first, last) and counts (K + E,): clipped draws of the base, events of the operations."""
    from upm_gpu.model.registry import reference_states

    base, clipped = reference_states(derived.base, first, last)
    drawn = base.shape[1]
    states = np.empty((base.shape[0], len(derived.state_names), base.shape[2]))
    states[:, :drawn] = base
    counts = np.zeros(states.shape[1], np.int64)
    counts[:drawn] = clipped
    for o, number in enumerate(derived.operation):
        inputs = [None if k == NO_STATE else states[:, k] for k in derived.input[derived.first_input[o] : derived.first_input[o + 1]]]
        reals = derived.real[derived.first_real[o] : derived.first_real[o + 1]]
        outputs, events = OPERATIONS[int(number)](inputs, reals, derived.dates, *((np.arange(first, last, dtype=np.uint32),) if number in DRAWS else ()))
        begin, end = drawn + int(derived.first_output[o]), drawn + int(derived.first_output[o + 1])
        states[:, begin:end] = np.moveaxis(outputs, 0, 1)
        if isinstance(events, np.ndarray):
            counts[begin:end] += events
        else:
            counts[begin] += events
    return states, counts
