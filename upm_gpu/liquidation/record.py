"""What a cascade leaves behind: its rounds, the liquidation of every account, and where money and positions ended."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from upm_gpu.liquidation.holdings import Holdings
from upm_gpu.liquidation.money import Ledger
from upm_gpu.liquidation.sequencing import Order
from upm_gpu.liquidation.waterfall import Funds


@dataclass(frozen=True)
class Round:
    """One round, amounts in the reporting currency."""

    round: int
    price: dict[str, float]
    """relative move of each underlying by impact alone, when the round begins"""
    volatility: dict[str, float]
    calls: int
    call_amount: float
    paid: float
    new_defaults: int
    liquidating: int
    let_go: int
    closed: int
    cost: float
    delta_traded: dict[str, float]
    """net, by underlying"""
    losses: float
    """that the waterfall bore"""
    fund_used: float
    """so far, all layers but the market's own loss"""
    open_risk: float
    """initial margin that the books still in liquidation would need after the round's trades: what the next move can cost"""
    initial_margin: float
    """of all parties, where the market stands when the round begins"""
    charges: float
    """of it, where charges are computed again; 0 where they move with the core"""


@dataclass
class Default:
    """One account's liquidation, from entry to end."""

    party: str
    generation: int
    entered: int
    """round"""
    before: bool
    """below maintenance before the scenario came"""
    equity: float
    """when it entered"""
    required: float
    """initial margin where the market stood then"""
    cost: float = 0.0
    steps: int = 0
    how: str = "market"
    """market, auction, deleveraged"""
    end: str = "open"
    """let go, closed, open"""
    left: int = -1
    """round of its end"""
    loss: float = 0.0
    borne: dict[str, float] = field(default_factory=dict)
    bankruptcy_move: float | None = None
    """relative move of all prices from the valuation time that leaves it no equity, nearest to none; None where no move does"""


@dataclass(frozen=True)
class Cascade:
    """Everything that happened."""

    scenario: str
    order: Order
    auction: bool
    settled: bool
    rounds: tuple[Round, ...]
    defaults: tuple[Default, ...]
    steps: tuple[dict[str, Any], ...]
    ledger: Ledger
    opening_cents: int
    """sum of the ledger at the start"""
    opening_lots: tuple[int, ...]
    holdings: Holdings
    funds: Funds
    opening_funds: dict[str, int]
    equity: NDArray[np.int64]
    """(P,) cents at the end"""
    price: dict[str, float]
    """relative move of each underlying by impact alone, at the end"""

    @property
    def depth(self) -> int:
        """Generations."""
        return max((d.generation for d in self.defaults), default=0)

    @property
    def conserved(self) -> bool:
        """Whether cash and positions are what they were, to the cent and the lot."""
        return self.ledger.total() == self.opening_cents and tuple(self.holdings.total()) == self.opening_lots
