"""The contract of a backend: the operations, their shapes, and what is shared by all.

A backend is a module that offers the functions of `Backend` below. Scenario is always the last axis, profit is
positive, unit P&L and row P&L are in the reporting currency.

Precision: `double` stores unit P&L in float64; `mixed` prices in float64 and stores the unit P&L in float32. In both,
a row is summed over its columns in ascending order, multiply then add, in one float64 accumulator, so a row P&L is a function
of the stored unit P&L alone, on every backend.

Sums across scenarios (P&L and its square) have one fixed shape: inside an aligned tile of 64 scenarios, lane l of eight takes the
scenarios congruent to l mod 8 in ascending order, starting from 0.0; the eight lanes are added in ascending order; tiles are added in
ascending order inside an aligned block of 4,096; blocks are added in block order by `finish`. A range that ends inside a tile leaves
the missing scenarios out (they add 0.0). Any thread may take any tile.
"""

from __future__ import annotations

from types import TracebackType
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from upm_gpu.pricing.compiled import Compiled, Rows
from upm_gpu.risk.tail_state import NO_SCENARIO, TailState, merge
from upm_gpu.scenario.sets import ScenarioSet

__all__ = ["NO_SCENARIO", "Backend", "Precision", "Prepared", "TailState", "merge"]

Precision = Literal["double", "mixed"]


class Prepared(Protocol):
    """A book on a backend; opaque, holds memory, closed by `with`."""

    compiled: Compiled
    rows: Rows
    precision: Precision
    value0: NDArray[np.float64]
    """(C - linear,) value today of one unit, by the backend's own arithmetic"""

    def __enter__(self) -> Prepared: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None: ...


class Backend(Protocol):
    """What a backend module offers. Ranges are half-open scenario ids."""

    name: str

    def prepare(self, compiled: Compiled, rows: Rows, precision: Precision, threads: int = 0) -> Prepared:
        """Copy a book to where it is priced; CapacityError where it does not fit, DeviceError for a precision that is not offered."""
        ...

    def states(self, prepared: Prepared, scenarios: ScenarioSet, first: int, last: int) -> NDArray[np.float64]:
        """(D, K, S) of the range."""
        ...

    def unit_pnl(self, prepared: Prepared, scenarios: ScenarioSet, first: int, last: int, horizon: int) -> NDArray:
        """(C, S) in the stored type of the precision."""
        ...

    def row_pnl(self, prepared: Prepared, scenarios: ScenarioSet, first: int, last: int, horizon: int) -> NDArray[np.float64]:
        """(R, S)."""
        ...

    def row_tail(self, prepared: Prepared, scenarios: ScenarioSet, first: int, last: int, depth: int,
                 threshold: NDArray[np.float64] | None = None) -> TailState:
        """Fused: the worst `depth` of the range per (H, R) and the block sums. `first` is a multiple of 4,096.

        With `threshold` (H, R), only scenarios at or below it need be kept: it is the `depth`-th worst P&L of ranges already
        merged, so what is left out could not survive the merge.
        """
        ...

    def attribution(self, prepared: Prepared, scenarios: ScenarioSet, horizon: int, tail_first: NDArray[np.int64],
                    tail_scenario: NDArray[np.uint32], tail_weight: NDArray[np.float64]) -> NDArray[np.float64]:
        """(P,) per entry of the rows: quantity x sum over the row's tail scenarios of weight x unit P&L.

        Row r's scenarios are tail_scenario[tail_first[r]:tail_first[r + 1]], ascending ids; each sum runs in that order in one accumulator.
        """
        ...

    def values(self, operation: str, columns: dict[str, NDArray[np.float64]]) -> dict[str, NDArray[np.float64]]:
        """Prices and Greeks of single cases for `upm price`, reports and tables: an operation of `formula/operations.py`, its columns by name."""
        ...
