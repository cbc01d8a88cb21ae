"""What a path's states say about tomorrow's margin: the regressors of `regression.py`.

The factors that the book reads; of a model with stochastic variance sqrt(Vbar(v) / Vbar(v_0)), Vbar the expected average variance over the margin period, in the place of the variance and of its shifts by expiry, which are
functions of it; of a law that follows its own moves over several steps 1/2 ln(h' / h) of each factor beside its move, which over one step says it all.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from upm_gpu.desk.outlook.law import variances
from upm_gpu.desk.outlook.tomorrow import Outset, whole_steps
from upm_gpu.model.filtered_historical import FilteredHistoricalParameters
from upm_gpu.model.garch import GarchParameters
from upm_gpu.model.heston import HestonParameters, variance_line
from upm_gpu.model.jumps import YEAR_DAYS


def features_of(outset: Outset, states: NDArray[np.float64], step: int, still: bool = False) -> NDArray[np.float64]:
    """(F, n) at a step of paths, states (D, K, n) on their dates; `still`: where nothing has moved."""
    paths, plan, model = outset.paths, outset.paths.plan, outset.law.model
    names = plan.compiled.state_names
    read = outset.factors
    now = states[paths.date[step]]
    found = [now[[names.index(n) for n in read]]]
    if isinstance(model, HestonParameters):
        years = plan.horizons[plan.horizon(plan.core.horizon)] / YEAR_DAYS
        for i, u in enumerate(model.underlyings):
            if f"log_level[{u}]" in read:
                base, slope = variance_line(model, i, years)
                v = now[names.index(f"variance[{u}]")] if not still else np.full(now.shape[1], float(model.initial_variance[i]))
                found.append(np.sqrt(np.maximum(base + slope * v, 0.0))[None])
    if isinstance(model, GarchParameters | FilteredHistoricalParameters) and len(paths.whole) > 1:
        own = [k for k, n in enumerate(model.state_names) if n in read]
        if still:
            found.append(np.zeros((len(own), now.shape[1])))
        else:
            h, _ = variances(outset.law, whole_steps(paths, states, step))
            found.append(0.5 * np.log(h[-1][own] / h[0][own]))
    return np.concatenate(found)
