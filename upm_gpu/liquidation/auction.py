"""A whole book sold at once: the price falls until an account that can carry it takes it.

A bidder adds the book to its largest unit and asks for the margin it must post more, times what it wants to earn on that: reserve = return x max(0, increase). An increase below
nothing, where the book hedges its own, lets it bid the mark. The discount rises by ticks of the margin sold; the first bidder whose reserve is reached and whose equity, discount
received, covers its initial margin with the book takes everything, packages and all (ties: the smaller increase, then the name). Positions pass between accounts, the market does not move. The auction
fails beyond the largest discount, or where closing in the market is planned to cost less: the book is closed there then. The falling price is that of Derive's liquidations (docs.derive.xyz/liquidations-2.md); a clearing
house's auction of a member's book differs in who must bid.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from upm_gpu.liquidation.account import Account, Scene
from upm_gpu.liquidation.parameters import Auction


@dataclass(frozen=True)
class Bidder:
    """A party that may take a book over."""

    party: int
    unit: int
    """that it would add it to"""
    equity: float
    required: float
    per_core: float
    """initial margin by unit of core"""
    pnl: NDArray[np.float64]
    """(M,) of the unit"""


@dataclass(frozen=True)
class Sale:
    """A book sold."""

    bidder: Bidder
    discount: float
    """money that the winner receives with the book"""
    increase: float
    """of the winner's initial margin"""


def sell(account: Account, scene: Scene, bidders: list[Bidder], rules: Auction) -> Sale | None:
    """The sale of all positions of a party, or None where nobody takes them."""
    measured = sum(account.measure(scene).values())
    sold = account.required(measured)
    book = np.sum(list(account.pnl.values()), axis=0)
    if not sold > 0.0 or not bidders:
        return None
    offers = []
    for b in bidders:
        both = scene.ground.measure(np.stack([b.pnl, b.pnl + book]))
        increase = b.per_core * float(both[1] - both[0])
        reserve = rules.return_on_margin * max(0.0, increase)
        ticks = int(np.ceil(reserve / (rules.tick * sold) - 1e-12))
        discount = ticks * rules.tick * sold
        if ticks * rules.tick <= rules.largest_discount + 1e-12 and b.equity + discount >= b.required + increase:
            offers.append((ticks, increase, b.party, Sale(b, discount, increase)))
    return min(offers, key=lambda o: o[:3])[3] if offers else None
