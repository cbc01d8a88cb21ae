"""What is posted, by margined unit: for charges that look at collateral.

An account's collateral stands with its own unit of the blank netting set; where it has none, with its first unit by name.
"""

from __future__ import annotations

import numpy as np

from upm_gpu.domain.book import Book
from upm_gpu.margin.collateral import Posted
from upm_gpu.margin.requests import Pledged
from upm_gpu.margin.units import Units


def pledged_of(book: Book, units: Units, posted: Posted) -> Pledged:
    """Market value and counted value of every asset posted."""
    return Pledged(posted.assets, unit_of_accounts(book, units)[posted.account], posted.asset, posted.quantity, posted.value, posted.counted)


def unit_of_accounts(book: Book, units: Units) -> np.ndarray:
    """(A,) the unit that an account's collateral stands with."""
    home = np.full(len(book.accounts), -1, np.int64)
    for u in range(len(units.names) - 1, -1, -1):
        own = units.lines.account[units.lines.unit == u]
        home[own] = u
    by_name = {name: u for u, name in enumerate(units.names) if not units.netting_set[u]}
    for a, account in enumerate(book.accounts):
        home[a] = by_name.get(account.account_id, home[a])
    return home
