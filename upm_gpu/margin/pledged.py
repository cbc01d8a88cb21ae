"""What is posted, by margined unit: for charges that look at collateral.

An account's collateral stands with its own unit of the blank netting set; where it has none, with its first unit by name.
"""

from __future__ import annotations

import numpy as np

from upm_gpu.domain.book import Book
from upm_gpu.margin.requests import Pledged
from upm_gpu.margin.units import Units
from upm_gpu.market.levels import spot_price
from upm_gpu.market.snapshot import MarketSnapshot


def pledged_of(book: Book, market: MarketSnapshot, units: Units, cut: dict[str, float]) -> Pledged:
    """Market value and counted value of every asset posted; `cut` is the share of each that does not count."""
    home = unit_of_accounts(book, units)
    assets = tuple(sorted(set(book.collateral.asset)))
    place = {a: i for i, a in enumerate(assets)}
    asset = np.array([place[a] for a in book.collateral.asset], np.int64)
    price = np.array([spot_price(market, a, f"collateral {a}") for a in assets], np.float64)
    kept = np.array([1.0 - cut[a] for a in assets], np.float64)
    value = book.collateral.quantity * price[asset] if len(asset) else np.zeros(0)
    return Pledged(assets, home[book.collateral.account], asset, book.collateral.quantity.astype(np.float64), value, value * kept[asset] if len(asset) else value)


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
