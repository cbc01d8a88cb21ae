"""Cash in whole cents: amounts, exact shares of an amount, and a ledger in which nothing is made or lost.

Everything that changes hands in a cascade is an integer number of cents of the reporting currency, booked twice (from, to), so that the sum over all parties and pots is the same at
every moment, exactly. Verified by tests/properties/test_liquidation_laws.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from upm_gpu.errors import CapacityError

LARGEST = 2.0**53
"""cents beyond which a float64 holds no single ones"""

MARKET = "market"
"""everybody outside the book: the other side of its positions, and who trades with a liquidator"""
OWNERS = "owners"
"""where calls are paid from"""


def to_cents(amount: ArrayLike) -> NDArray[np.int64]:
    """Amounts in whole cents, nearest. Raises CapacityError where a cent is below what float64 holds.

    >>> to_cents([1.005, -2.0]).tolist()
    [100, -200]
    """
    cents = np.asarray(amount, np.float64) * 100.0
    if not np.all(np.abs(cents) < LARGEST):
        raise CapacityError("UPM-CP-095", "an amount of the cascade is not finite or above 9e13, where cents are no longer counted. Check the largest positions and moves.")
    return np.rint(cents).astype(np.int64)


def money(cents: int) -> float:
    """Cents as an amount."""
    return cents / 100.0


def shared(total: int, weights: Sequence[int]) -> list[int]:
    """`total` cents in proportion to whole weights of at least 0: whole parts that sum to it exactly, by largest remainder (ties: the first). Nothing is shared where no weight is above 0.

    >>> shared(100, [1, 1, 1])
    [34, 33, 33]
    """
    whole = sum(weights)
    if whole <= 0 or total <= 0:
        return [0] * len(weights)
    parts = [total * w // whole for w in weights]
    rest = sorted(range(len(weights)), key=lambda n: (-(total * weights[n] % whole), n))
    for n in rest[: total - sum(parts)]:
        parts[n] += 1
    return parts


def shared_up_to(total: int, weights: Sequence[int], limits: Sequence[int]) -> list[int]:
    """`shared`, but nobody bears more than a limit; what one cannot bear the others do. Sums to min(total, limits of those with a weight)."""
    parts, open_, left = [0] * len(weights), [w if m > 0 else 0 for w, m in zip(weights, limits, strict=True)], total
    while left > 0 and any(open_):
        given = shared(left, open_)
        for n, amount in enumerate(given):
            room = limits[n] - parts[n]
            parts[n] += min(amount, room)
            left -= min(amount, room)
            if parts[n] >= limits[n]:
                open_[n] = 0
    return parts


@dataclass(frozen=True)
class Flow:
    """Cents that went from one to another in a round; parties as a whole are "accounts"."""

    round: int
    kind: str
    source: str
    target: str
    cents: int


@dataclass
class Ledger:
    """Equity of every party and what stands in every pot, cents."""

    equity: NDArray[np.int64]
    """(P,)"""
    pots: dict[str, int] = field(default_factory=dict)
    flows: list[Flow] = field(default_factory=list)

    def total(self) -> int:
        """The sum of everything: the same after every booking."""
        return int(self.equity.sum(dtype=object)) + sum(self.pots.values()) if len(self.equity) else sum(self.pots.values())

    def to_parties(self, now: int, kind: str, source: str, amounts: NDArray[np.int64]) -> None:
        """Book amounts (P,) from a pot to the parties; negative ones the other way."""
        whole = int(amounts.sum())
        self.equity += amounts
        self._book(now, kind, source, "accounts", whole)

    def to_party(self, now: int, kind: str, source: str, party: int, cents: int) -> None:
        """Book one amount from a pot to a party."""
        self.equity[party] += cents
        self._book(now, kind, source, "accounts", cents)

    def between(self, now: int, kind: str, source: int, target: int, cents: int) -> None:
        """Book an amount from a party to another."""
        self.equity[source] -= cents
        self.equity[target] += cents
        if cents:
            self.flows.append(Flow(now, kind, "accounts", "accounts", cents))

    def between_pots(self, now: int, kind: str, source: str, target: str, cents: int) -> None:
        """Book an amount from one pot to another."""
        self.pots[source] = self.pots.get(source, 0) - cents
        self.pots[target] = self.pots.get(target, 0) + cents
        if cents:
            self.flows.append(Flow(now, kind, source, target, cents))

    def _book(self, now: int, kind: str, source: str, target: str, cents: int) -> None:
        self.pots[source] = self.pots.get(source, 0) - cents
        if cents > 0:
            self.flows.append(Flow(now, kind, source, target, cents))
        elif cents < 0:
            self.flows.append(Flow(now, kind, target, source, -cents))
