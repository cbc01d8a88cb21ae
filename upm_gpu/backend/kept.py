"""Rows kept on all scenarios, and the tails of what differs from them in a few columns: operations of every backend beside the contract's.

A row is one float64 sum over its entries in their order, multiply then add, from 0.0 (`contract.py`), so its P&L is a function of the stored unit P&L alone. A backend offers

  keep_unit(unit, threads) -> KeptUnit                      where the unit P&L (C, S) of a scenario set is kept
  kept_sums(unit, column, quantity, scenarios) -> (n,)      P&L of a row on the scenarios listed, None: on all
  keep_row(unit, column, quantity) -> KeptRow               the same on all scenarios, and their order by it, worst first
  changed_tails(row, changes, depth) -> (M, depth) twice    P&L and ids of the worst `depth` scenarios of every changed row, ascending by (P&L, id), each P&L summed in full

The last selects by an approximation, kept P&L + sum over changed entries of difference x unit P&L, which differs from the sum by at most half of `guard`: what is worse than the depth-th of
them by `guard` cannot be left out, and who was further above than `least` cannot come in. The proof is in `desk/cube.py`. Results are the same bits on every backend.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

REPLACED, INSERTED, GONE = 0, 1, 2
"""kinds of a change: another quantity, a new column in front of a place, a column that is left out"""


@dataclass(frozen=True, eq=False)
class KeptUnit:
    """Unit P&L of a scenario set where a backend reads it."""

    unit: NDArray
    """(C, S), float32 or float64, in the host's memory"""
    threads: int = 1
    home: Any = None
    """of the backend: the same on a device"""

    @property
    def scenarios(self) -> int:
        """S."""
        return int(self.unit.shape[1])


@dataclass(frozen=True, eq=False)
class KeptRow:
    """A row on all scenarios."""

    unit: KeptUnit
    column: NDArray[np.int32]
    """(P,) in the order of the sum"""
    quantity: NDArray[np.float64]
    """(P,)"""
    order: NDArray[np.uint32]
    """(S,) scenarios by (P&L, id)"""
    ascending: NDArray[np.float64]
    """(S,) P&L in that order"""
    home: Any = None
    """of the backend"""


@dataclass(frozen=True, eq=False)
class RowChanges:
    """M rows as what differs from a kept one; arrays (E,) over the changed entries of all of them, those of an item by place, a new column before what it stands in front of."""

    first: NDArray[np.int64]
    """(M + 1,)"""
    place: NDArray[np.int32]
    """entry of the kept row; P for what is new behind the last"""
    kind: NDArray[np.int32]
    column: NDArray[np.int32]
    quantity: NDArray[np.float64]
    """of the changed row; 0 for what is gone"""
    difference: NDArray[np.float64]
    """of quantities"""
    guard: NDArray[np.float64]
    """(M,) twice the most by which approximation and sum can differ"""
    least: NDArray[np.float64]
    """(M,) least that the changes can add on any scenario"""

    @property
    def count(self) -> int:
        """M."""
        return len(self.first) - 1


class KeepsRows(Protocol):
    """What a backend offers to the desk."""

    name: str

    def keep_unit(self, unit: NDArray, threads: int = 1) -> KeptUnit:
        """The unit P&L of a set; CapacityError where a device cannot hold it."""
        ...

    def kept_sums(self, unit: KeptUnit, column: NDArray[np.int32], quantity: NDArray[np.float64], scenarios: NDArray[np.uint32] | None = None) -> NDArray[np.float64]:
        """(n,) P&L of a row."""
        ...

    def keep_row(self, unit: KeptUnit, column: NDArray[np.int32], quantity: NDArray[np.float64]) -> KeptRow:
        """A row on all scenarios."""
        ...

    def changed_tails(self, row: KeptRow, changes: RowChanges, depth: int) -> tuple[NDArray[np.float64], NDArray[np.uint32]]:
        """(M, depth) P&L and ids; `depth` is at most S."""
        ...


def ordered(pnl: NDArray[np.float64]) -> tuple[NDArray[np.uint32], NDArray[np.float64]]:
    """(S,) scenarios by (P&L, id) and the P&L in that order."""
    order = np.argsort(pnl, kind="stable")
    return order.astype(np.uint32), pnl[order]
