"""What is posted counts: haircuts by size, concentration limits, debts.

For an account with market values V_a, all of them together T = sum_a max(V_a, 0):

  V_a >= 0   counted_a = sum over tiers t of (1 - haircut_t) x the part of min(V_a, amount_a, share_a T) that lies in tier t
  V_a <  0   counted_a = V_a (1 + premium_a) - beyond_a max(-V_a - limit_a, 0)

A debt has no haircut: what is owed is owed in full. Simulated assets count V_a: their risk is in the scenarios. Counted value is never above V_a, and it is continuous and never falls in any quantity,
for share_a T grows with every asset posted. Source: size-scaled haircuts as venues publish them (Deribit, OKX); the form of the limits is a house choice.
Verified: tests/end_to_end/test_collateral_schedule.py by hand, tests/properties/test_collateral_laws.py.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from upm_gpu.domain.book import Book
from upm_gpu.errors import InputError
from upm_gpu.margin.collateral_rules import Borrowing, CollateralRules, Limit
from upm_gpu.margin.units import sum_by
from upm_gpu.market.levels import spot_price
from upm_gpu.market.snapshot import MarketSnapshot

NAMED = 5
"""accounts named in a warning"""


@dataclass(frozen=True)
class Schedule:
    """The rules of M assets as arrays (M,) and (M, T); money in the reporting currency, infinite where there is no bound."""

    start: NDArray[np.float64]
    """(M, T) where a tier begins; infinite beyond the last"""
    width: NDArray[np.float64]
    """(M, T), 0 beyond the last"""
    kept: NDArray[np.float64]
    """(M, T) one less haircut"""
    share: NDArray[np.float64]
    amount: NDArray[np.float64]
    premium: NDArray[np.float64]
    borrowing_limit: NDArray[np.float64]
    beyond_limit: NDArray[np.float64]


def schedule_of(rules: CollateralRules, assets: tuple[str, ...], simulated: set[str], reporting_currency: str) -> Schedule:
    """Rules of `assets`: nothing is cut of what is simulated; the reporting currency itself is cut only where it is listed.

    Raises InputError UPM-CF-122 for an asset without a haircut where the methodology requires one.
    """
    missing = [a for a in assets if a not in simulated and a not in rules.haircuts and a not in rules.tiers and a != reporting_currency]
    if rules.require_haircut and missing:
        raise InputError("UPM-CF-122", f"key collateral.require_haircut: the book holds {', '.join(missing)} as collateral, and the methodology has no haircut of it. "
                                       f"Add it to [collateral.haircuts] or [collateral.tiers], or take it out of the book.")
    tiers = [_tiers(rules, a, simulated, reporting_currency) for a in assets]
    longest = max([1, *map(len, tiers)])
    start, width, kept = (np.full((len(assets), longest), x) for x in (np.inf, 0.0, 0.0))
    for m, own in enumerate(tiers):
        begin = np.array([t[0] for t in own])
        start[m, : len(own)], width[m, : len(own)], kept[m, : len(own)] = begin, np.diff(begin, append=np.inf), [1.0 - t[1] for t in own]
    limits = [rules.limits.get(a, Limit()) for a in assets]
    debts = [rules.borrowing.get(a, Borrowing()) for a in assets]

    def bounds(given: list[float | None]) -> NDArray[np.float64]:
        return np.array([np.inf if g is None else g for g in given], np.float64)

    return Schedule(start, width, kept, bounds([limit.share if limit.share < 1.0 else None for limit in limits]), bounds([limit.amount for limit in limits]), bounds([d.premium for d in debts]),
                    bounds([d.limit for d in debts]), bounds([d.beyond_limit for d in debts]))


def _tiers(rules: CollateralRules, asset: str, simulated: set[str], reporting_currency: str) -> list[list[float]]:
    if asset in simulated:
        return [[0.0, 0.0]]
    return rules.tiers.get(asset, [[0.0, rules.haircuts.get(asset, 0.0 if asset == reporting_currency else rules.default_haircut)]])


@dataclass(frozen=True)
class Counted:
    """Arrays (L,) over lines."""

    value: NDArray[np.float64]
    """what counts; negative for debts"""
    slope: NDArray[np.float64]
    """change of what the account's collateral counts per money more of this asset, other assets' share limits included; at a kink that of more, not of less"""


def counted(schedule: Schedule, account: NDArray[np.integer], asset: NDArray[np.integer], value: NDArray[np.float64], accounts: int) -> Counted:
    """Of lines (L,), one an (account, asset): `value` at market."""
    s = schedule
    posted = np.maximum(value, 0.0)
    total = sum_by(account, posted, accounts)[account] if len(account) else posted
    bounded = np.isfinite(s.share[asset])
    by_share = np.where(bounded, np.where(bounded, s.share[asset], 0.0) * total, np.inf)
    limit = np.minimum(s.amount[asset], by_share)
    inside = np.minimum(posted, limit)
    part = np.clip(inside[:, None] - s.start[asset], 0.0, s.width[asset])
    assets = np.zeros(len(value))
    for t in range(part.shape[1]):  # in order, so that a single tier is value x (1 - haircut) to the bit
        assets = assets + part[:, t] * s.kept[asset, t]
    owed = np.maximum(-value, 0.0)
    debt = owed * (1.0 + s.premium[asset]) + s.beyond_limit[asset] * np.maximum(owed - s.borrowing_limit[asset], 0.0)
    return Counted(np.where(value < 0.0, -debt, assets), _slope(s, account, asset, value, accounts, by_share, inside))


def _slope(s: Schedule, account: NDArray[np.integer], asset: NDArray[np.integer], value: NDArray[np.float64], accounts: int, by_share: NDArray[np.float64],
           inside: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of `counted`: min(V, amount, share T) grows at the smallest rate of those of the three that are its value."""
    held = value >= 0.0
    tier = np.sum(s.start[asset] <= inside[:, None], axis=1) - 1
    kept = s.kept[asset, np.maximum(tier, 0)]
    share = np.where(np.isfinite(s.share[asset]), s.share[asset], 1.0)
    by_value, by_amount, shared = value <= inside, s.amount[asset] <= inside, by_share <= inside
    own = np.minimum(np.minimum(np.where(by_value, 1.0, np.inf), np.where(by_amount, 0.0, np.inf)), np.where(shared, share, np.inf))
    of_others = np.where(shared & ~by_value & ~by_amount, share, 0.0)
    cross = np.where(held, kept * of_others, 0.0)
    all_cross = sum_by(account, cross, accounts)[account] if len(account) else cross
    debt = 1.0 + s.premium[asset] + np.where(-value > s.borrowing_limit[asset], s.beyond_limit[asset], 0.0)
    return np.where(held, kept * own + all_cross - cross, debt)


@dataclass(frozen=True)
class Posted:
    """One entry a line of collateral, arrays (L,); money in the reporting currency."""

    assets: tuple[str, ...]
    price: NDArray[np.float64]
    """(M,) of each of `assets`"""
    schedule: Schedule
    account: NDArray[np.int64]
    asset: NDArray[np.int64]
    """index into `assets`"""
    quantity: NDArray[np.float64]
    value: NDArray[np.float64]
    """at market"""
    counted: NDArray[np.float64]
    """after haircut, limits and premiums"""


def posted_of(book: Book, market: MarketSnapshot, rules: CollateralRules, simulated: set[str]) -> Posted:
    """All collateral of the book. Raises MarketDataError UPM-MD-051 for an unpriced asset, InputError UPM-CF-122 for one without a haircut where it is required."""
    assets = tuple(sorted(set(book.collateral.asset)))
    schedule = schedule_of(rules, assets, simulated, market.reporting_currency)
    place = {a: i for i, a in enumerate(assets)}
    asset = np.array([place[a] for a in book.collateral.asset], np.int64)
    price = np.array([spot_price(market, a, f"collateral {a}") for a in assets], np.float64)
    quantity, account = book.collateral.quantity.astype(np.float64), book.collateral.account.astype(np.int64)
    value = quantity * price[asset] if len(asset) else np.zeros(0)
    return Posted(assets, price, schedule, account, asset, quantity, value, counted(schedule, account, asset, value, len(book.accounts)).value)


def borrowing_warnings(book: Book, posted: Posted) -> tuple[str, ...]:
    """Accounts that owe more than the methodology lets them borrow."""
    beyond = np.flatnonzero(-posted.value > posted.schedule.borrowing_limit[posted.asset]) if len(posted.asset) else np.zeros(0, np.int64)
    if not len(beyond):
        return ()
    named = [f"{book.accounts[posted.account[i]].account_id} owes {-posted.value[i]:,.2f} of {posted.assets[posted.asset[i]]}" for i in beyond[:NAMED]]
    more = len(beyond) - len(named)
    return (f"UPM-IN-055 collateral: {'; '.join(named)}{f'; and {more} more' if more > 0 else ''}: beyond the borrowing limit of the methodology, where a further premium is owed.",)
