"""What a rule book answers: margins of every unit, the charges they are made of, the scenario that decided."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class RuleMargin:
    """Arrays (U,) over margined units, positive to post, in the reporting currency."""

    units: tuple[str, ...]
    initial: NDArray[np.float64]
    maintenance: NDArray[np.float64]
    charges: Mapping[str, NDArray[np.float64]]
    """by name; none is negative, they sum to `initial`"""
    worst: tuple[str, ...]
    """name of the scenario that decided, "" where there is no risk"""
    notes: tuple[str, ...] = ()
    """what the rule book could not apply to this book, in words"""


def composed(units: tuple[str, ...], charges: Mapping[str, NDArray[np.floating]], maintenance: NDArray[np.floating], worst: tuple[str, ...], notes: tuple[str, ...] = ()) -> RuleMargin:
    """The result whose initial margin is the sum of its charges in their order; a negative or undefined charge is a fault of the rule book, never a number."""
    for name, amount in charges.items():
        if not np.all(amount >= 0.0):
            raise AssertionError(f"charge {name} of {units[int(np.flatnonzero(~(amount >= 0.0))[0])]} is negative or undefined")
        amounts = {name: np.asarray(amount, np.float64) for name, amount in charges.items()}
    return RuleMargin(units, np.sum(list(amounts.values()), axis=0), np.asarray(maintenance, np.float64), amounts, worst, notes)


def worst_of(pnl: NDArray[np.float64], names: tuple[str, ...]) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """(loss >= 0 (G,), place of the worst scenario (G,)) of P&L (G, S); among equals the one whose name comes first, so that the order of scenarios changes nothing."""
    alphabetical = np.argsort(np.array(names, object), kind="stable")
    place = alphabetical[np.argmin(pnl[:, alphabetical], axis=1)]
    return np.maximum(-pnl[np.arange(len(pnl)), place], 0.0), place
