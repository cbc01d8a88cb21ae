"""Dates and base steps of a path: which whole steps and which part of a step a date reads, and where their draws are addressed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from upm_gpu.errors import InputError
from upm_gpu.model.bridge import Term, bridge_terms
from upm_gpu.rng.streams import FACTOR, stream_word

SNAP = 1e-9
"""a date this close to a whole number of steps is on it"""
SECONDS_PER_DAY = 86_400.0


@dataclass(frozen=True)
class Legs:
    """The whole steps 0..J-1, then one leg a date that ends inside a step; the fields of `Walk` of the same names."""

    step: NDArray[np.uint32]
    root: NDArray[np.float64]
    first_term: NDArray[np.int32]
    term_internal: NDArray[np.int32]
    """(M,) internal stream of each term: FACTOR, BRIDGE or BRIDGE_END"""
    term_stream: NDArray[np.uint32]
    term_step: NDArray[np.uint32]
    term_weight: NDArray[np.float64]
    date_whole: NDArray[np.int32]
    date_leg: NDArray[np.int32]
    part: NDArray[np.float64]
    """(D,) part of a step that a date ends in, 0 on a step"""


def path_legs(dates: NDArray[np.float64], step_days: float, stream: int) -> Legs:
    """Legs of ascending dates (D,) in days; a part of a step is a Brownian bridge to the step's own draw, see `bridge.py`."""
    position = dates / step_days
    nearest = np.round(position)
    on_step = np.abs(position - nearest) <= SNAP
    whole = np.where(on_step, nearest, np.floor(position)).astype(np.int64)
    part = np.where(on_step, 0.0, position - whole)
    if whole.max() >= 1 << 24 or dates[-1] * SECONDS_PER_DAY >= 1 << 32:
        raise InputError("UPM-CF-084", f"the last date is {dates[-1]:g} days or {whole.max()} base steps away: addresses hold 2^24 steps and 2^32 seconds. "
                         "Use longer base steps or nearer dates.")
    legs: list[list[Term]] = [[(FACTOR, step, 1.0)] for step in range(int(whole.max()))]
    leg_step, leg_root = list(range(len(legs))), [1.0] * len(legs)
    date_leg = np.full(dates.size, -1, np.int32)
    for d in np.flatnonzero(part > 0.0):
        date_leg[d] = len(legs)
        legs.append(bridge_terms(int(whole[d]), float(part[d]), round(float(dates[d]) * SECONDS_PER_DAY)))
        leg_step.append(int(whole[d]))
        leg_root.append(float(np.sqrt(part[d])))
    flat = [term for leg in legs for term in leg]
    return Legs(
        step=np.array(leg_step, np.uint32), root=np.array(leg_root, np.float64),
        first_term=np.concatenate([[0], np.cumsum([len(leg) for leg in legs])]).astype(np.int32),
        term_internal=np.array([internal for internal, _, _ in flat], np.int32),
        term_stream=np.array([stream_word(stream, internal) for internal, _, _ in flat], np.uint32),
        term_step=np.array([word for _, word, _ in flat], np.uint32),
        term_weight=np.array([weight for _, _, weight in flat], np.float64),
        date_whole=whole.astype(np.int32), date_leg=date_leg, part=part)
