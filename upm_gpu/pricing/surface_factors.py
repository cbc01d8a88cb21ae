"""Volatility factors of an underlying to the states its options read, expiry by expiry.

From `volatility_shift[u]` (level), and `volatility_skew[u]`, `volatility_slope[u]` where the model makes them, the operation `surface_shift` makes for every
quoted expiry e of the surface, so that no held instrument changes another's figures:

* `volatility_shift[u,e]` = L(T) level + ln(max(T, 1 d) / 30 d) slope, L the decay of `Dynamics.loading`; the slope is a change of d ln sigma / d ln T;
* `volatility_skew[u,e]` = skew, a change of d ln sigma / d z at the money, z in standard deviations: the same for all expiries (house choice: on the sample it is -0.16
  at one day and -0.10 at five months);
* `volatility_stretch[u,e]`: logarithm by which today's smile is drawn out in moneyness: 0, or under sticky delta the shift itself, so that volatility
  is a function of standard deviations from the money.

Under `project` they are corrected to a surface without arbitrage (`market/surface_bounds.py`): shifts to the nearest that leave none between expiries; the
stretch to the least that leaves none inside any, one for all expiries of an underlying (under sticky delta at least the change of the level).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from upm_gpu.errors import InputError
from upm_gpu.formula.surface_shift import MOST_EXPIRIES
from upm_gpu.market import surface_bounds as bounds
from upm_gpu.market.surface import Surface
from upm_gpu.pricing.states import expiry_label
from upm_gpu.scenario.derived import Operation

if TYPE_CHECKING:
    from upm_gpu.pricing.dynamics import Dynamics


def slope_loading(days: float) -> float:
    """ln(max(T, 1 d) / 30 d): how far an expiry lies from the 30-day one, in logarithms of time.

    >>> slope_loading(30.0), round(slope_loading(0.5), 4)
    (0.0, -3.4012)
    """
    return math.log(max(days, 1.0) / 30.0)


def surface_operations(state_names: Sequence[str], surfaces: Mapping[str, Surface], dynamics: Dynamics) -> tuple[list[Operation], tuple[str, ...]]:
    """An operation an underlying, where the model or the dynamics ask for more than a level; and what there is to say of slices that are not free today.

    Raises `InputError` UPM-PR-090 for factors or dynamics that need relative shifts of one level, UPM-PR-091 for too many expiries.
    """
    operations, warnings = [], []
    for u in sorted(surfaces):
        skew, slope = (name if name in state_names else "" for name in (f"volatility_skew[{u}]", f"volatility_slope[{u}]"))
        if not (skew or slope or dynamics.sticky_delta or dynamics.project):
            continue
        level, slices = f"volatility_shift[{u}]", surfaces[u].slices
        if level not in state_names or any(n.startswith(f"volatility_shift[{u},") for n in state_names) or dynamics.additive:
            raise InputError("UPM-PR-090", f"{u}: skew and slope factors, sticky delta and model.arbitrage project act on a relative change of one level of volatility, and "
                             + ("model.volatility_shift is additive. Use relative." if dynamics.additive else
                                "the model moves volatility by expiry or not at all. Use surface_factors level, another volatility_dynamics and arbitrage, or another model."))
        if dynamics.project and not dynamics.sticky_moneyness:
            raise InputError("UPM-PR-090", f"{u}: model.arbitrage project corrects a surface in moneyness and model.volatility_dynamics is sticky_strike. Use sticky_moneyness or sticky_delta.")
        if len(slices) > MOST_EXPIRIES:
            raise InputError("UPM-PR-091", f"the surface of {u} has {len(slices)} expiries, at most {MOST_EXPIRIES} are moved one by one. Leave out quotes of some expiries, or use surface_factors level.")
        labels = [f"{u},{expiry_label(s.expiry)}" for s in slices]
        days = [s.expiry_years * 365.0 for s in slices]
        tables: list[np.ndarray] = []
        low, high = np.full(len(slices), -np.inf), np.full(len(slices), np.inf)
        if dynamics.project:
            found = bounds.surface_bounds(slices)
            low, high, tables = found.skew_low, found.skew_high, [found.gap, found.stretch]
            warnings += [f"UPM-PR-092 surface {label} implies a negative density today: its smile is moved as it is, not projected" for label, free in zip(labels, found.free_today, strict=True) if not free]
        head = [len(slices), float(dynamics.project), float(dynamics.sticky_delta), bounds.SKEW_FIRST, bounds.SKEW_INVERSE, bounds.SKEW_CELLS, bounds.VARIANCE_FIRST,
                bounds.VARIANCE_INVERSE, bounds.VARIANCE_CELLS]
        expiry = np.stack([[dynamics.loading(d) for d in days], [slope_loading(d) for d in days], low, high], axis=1)
        outputs = tuple(f"volatility_{kind}[{label}]" for kind in ("shift", "skew", "stretch") for label in labels)
        operations.append(Operation("surface_shift", outputs, (level, skew, slope), np.concatenate([np.array(head), expiry.ravel(), *(t.ravel() for t in tables)])))
    return operations, tuple(warnings)
