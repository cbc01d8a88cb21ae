"""The order in which a fresh run sums the columns of a book."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from upm_gpu.plan import Plan


def column_rank(plan: Plan, held: NDArray[np.bool_]) -> NDArray[np.int64] | None:
    """(C,) where a fresh run of a book that holds `held` (N,) sums each column; None where that is the order of the plan.

    Linear columns come first, as the plan has them. The others stand by group, groups in the order of their first instrument (`pricing/compile.py`), so a group moves when its first
    instrument is traded away or a new one comes in front.
    """
    compiled = plan.compiled
    column = compiled.instrument_column.astype(np.int64)
    first, size = (plan.compiled.programs[0].group_integers[:, k].astype(np.int64) for k in (1, 2))
    first, size = first[size > 0], size[size > 0]  # a second asset is a group without columns
    rank = np.arange(compiled.columns, dtype=np.int64)
    if not len(first):
        return None
    leader = np.full(len(first), len(column), np.int64)
    options = np.flatnonzero(column >= compiled.linear)
    group = np.searchsorted(first, column[options], side="right") - 1
    inside = held[options]
    np.minimum.at(leader, group[inside], options[inside])
    order = np.argsort(leader, kind="stable")
    if np.array_equal(order, np.arange(len(order))):
        return None
    start = compiled.linear
    for g in order.tolist():
        rank[first[g] : first[g] + size[g]] = np.arange(start, start + size[g])
        start += int(size[g])
    return rank


def moving_order(plan: Plan) -> bool:
    """Whether the order of linear columns may depend on what is held: where any reads a state that is made from others as instruments ask for it."""
    drawn = len(plan.compiled.drawn_names)
    return any(bool(np.any(p.linear_state >= drawn)) for p in plan.compiled.programs)
