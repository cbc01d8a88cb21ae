"""Who holds what: sparse quantities by margined unit and instrument, and sums of values over them for thousands of units at once.

Every sum of a unit runs over its own lines in instrument order, so that another unit, the order of scenarios or the splitting of a position
changes no bit. Verified: tests/properties/test_rulebook_laws.py.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from upm_gpu.domain.book import Book
from upm_gpu.margin.units import COLLATERAL_PREFIX, Units, build_units, priced_instruments
from upm_gpu.market.snapshot import MarketSnapshot
from upm_gpu.rulebook.frame.terms import Terms, make_terms


@dataclass(frozen=True)
class Held:
    """Terms and lines; a line is one (unit, instrument), sorted so. Quantity is contracts x contract size, of collateral the amount posted."""

    terms: Terms
    units: tuple[str, ...]
    unit: NDArray[np.int32]
    """(L,)"""
    instrument: NDArray[np.int32]
    """(L,)"""
    quantity: NDArray[np.float64]
    """(L,)"""
    spots: Mapping[str, float] = field(default_factory=dict)
    """today's price of every asset of the market in the reporting currency, such as of stablecoins"""

    @property
    def matrix(self) -> Any:
        """(U, N) sparse quantities."""
        return _sparse(self.quantity, self.unit, self.instrument, (len(self.units), self.terms.count))

    def totals(self, amount: NDArray[np.float64]) -> NDArray[np.float64]:
        """(U,) or (U, S): sum over a unit's lines of quantity x amount (N,) or (N, S)."""
        return self.matrix @ np.ascontiguousarray(amount)

    def grouped(self, label: NDArray[np.integer], kept: NDArray[np.bool_] | None = None) -> Grouped:
        """The lines parted by a label of their instruments, (N,); with `kept` (N,) only those instruments."""
        lines = np.arange(len(self.unit)) if kept is None else np.flatnonzero(kept[self.instrument])
        width = int(label.max(initial=0)) + 1
        key = self.unit[lines].astype(np.int64) * width + label[self.instrument[lines]]
        distinct, group = np.unique(key, return_inverse=True)
        return Grouped((distinct // width).astype(np.int32), (distinct % width).astype(np.int32), len(self.units),
                       _sparse(self.quantity[lines], group, self.instrument[lines], (len(distinct), self.terms.count)))


@dataclass(frozen=True)
class Grouped:
    """Lines by (unit, label): G groups, only those that hold anything, ordered."""

    unit: NDArray[np.int32]
    """(G,)"""
    label: NDArray[np.int32]
    """(G,)"""
    units: int
    matrix: Any
    """(G, N) sparse quantities"""

    def totals(self, amount: NDArray[np.float64]) -> NDArray[np.float64]:
        """(G,) or (G, S): sum over a group's lines of quantity x amount (N,) or (N, S)."""
        return self.matrix @ np.ascontiguousarray(amount)

    def absolute(self, amount: NDArray[np.float64]) -> NDArray[np.float64]:
        """(G,) the same sum of |quantity| x amount: gross."""
        return abs(self.matrix) @ np.ascontiguousarray(amount)

    def by_unit(self, amount: NDArray[np.float64]) -> NDArray[np.float64]:
        """(U,) or (U, S): sum of amounts of groups (G,) or (G, S) over each unit's groups."""
        return _sparse(np.ones(len(self.unit)), self.unit, np.arange(len(self.unit)), (self.units, len(self.unit))) @ np.ascontiguousarray(amount)

    def regrouped(self, coarser: NDArray[np.integer]) -> tuple[NDArray[np.int32], NDArray[np.int32], Any]:
        """(unit, label, matrix (H, G)) of groups of groups: `coarser` gives the new label of each old one, such as the underlying of an expiry."""
        width = int(coarser.max(initial=0)) + 1
        key = self.unit.astype(np.int64) * width + coarser[self.label]
        distinct, group = np.unique(key, return_inverse=True)
        matrix = _sparse(np.ones(len(key)), group, np.arange(len(key)), (len(distinct), len(key)))
        return (distinct // width).astype(np.int32), (distinct % width).astype(np.int32), matrix


def _sparse(value: NDArray[np.float64], row: NDArray[np.integer], column: NDArray[np.integer], shape: tuple[int, int]) -> Any:
    from scipy.sparse import csr_array

    made = csr_array((value, (row, column)), shape=shape)
    made.sort_indices()
    return made


def hold(book: Book, market: MarketSnapshot) -> tuple[Held, Units]:
    """Positions and every posted asset of a book as lines of margined units (a unit is (member, netting set), as in the Monte Carlo margin), and those units.

    Cash in the reporting currency has no risk and no line. Positions of a pool are netted exactly. Raises as `make_terms` does.
    """
    assets = set(book.collateral.asset)
    instruments = priced_instruments(book, market, assets)
    units = build_units(book, instruments, {a for a in assets if a != market.reporting_currency})
    terms = make_terms(instruments, [i.instrument_id.startswith(COLLATERAL_PREFIX) for i in instruments], market)
    lines = units.lines
    order = np.lexsort((lines.instrument, lines.unit))
    unit, instrument, quantity = lines.unit[order], lines.instrument[order], lines.quantity[order]
    first = np.flatnonzero(np.r_[True, (unit[1:] != unit[:-1]) | (instrument[1:] != instrument[:-1])]) if len(unit) else np.zeros(0, np.int64)
    end = np.r_[first[1:], len(unit)]
    netted = quantity[first] if len(unit) else quantity
    for e in np.flatnonzero(end - first > 1):
        netted[e] = math.fsum(quantity[first[e]: end[e]])
    return Held(terms, units.names, unit[first], instrument[first], netted, market.spots), units
