"""Which charges count: those of one `largest_of` group stand for the same risk, and only the largest of each unit is posted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from upm_gpu.margin.requests import Charge


def kept(charges: Sequence[Charge], groups: Sequence[str]) -> list[NDArray[np.bool_]]:
    """(U,) of each charge: whether it counts, for no other of its group ("" is none) is larger; the first of equal ones counts."""
    found = [np.ones(c.amount.shape, bool) for c in charges]
    for group in dict.fromkeys(g for g in groups if g):
        members = [i for i, g in enumerate(groups) if g == group]
        largest = np.argmax(np.stack([charges[i].amount for i in members]), axis=0)
        for place, i in enumerate(members):
            found[i] = largest == place
    return found


def counted(charges: Sequence[Charge], groups: Sequence[str]) -> list[Charge]:
    """The charges with `amount` 0 wherever another one of the same group is larger. What is left out is in `not_counted`.

    So amounts add up to what is posted: base + max(a, b) + others.
    """
    return [own if not group else replace(own, amount=np.where(stays, own.amount, 0.0), not_counted=np.where(stays, 0.0, own.amount),
                                          standard_error=None if own.standard_error is None else np.where(stays, own.standard_error, 0.0))
            for own, group, stays in zip(charges, groups, kept(charges, groups), strict=True)]
