"""How things stand in the middle of a cascade: who holds what, the ledger, the funds, who is in liquidation and what each must have.

Nothing here decides anything; `stages.py` and `closing.py` change it, round by round.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from upm_gpu.liquidation.account import Account, Scene
from upm_gpu.liquidation.case import Case
from upm_gpu.liquidation.holdings import hold
from upm_gpu.liquidation.margins import Level, Margins
from upm_gpu.liquidation.money import MARKET, OWNERS, Ledger, money, to_cents
from upm_gpu.liquidation.parameters import Parameters
from upm_gpu.liquidation.record import Default
from upm_gpu.liquidation.sequencing import Order
from upm_gpu.liquidation.waterfall import TRANSIT, funds_of
from upm_gpu.liquidation.world import Slopes, World, books_pnl, gains
from upm_gpu.margin.units import instrument_levels


class Standing:
    """The moving parts of a cascade."""

    def __init__(self, case: Case, world: World, margins: Margins, parameters: Parameters, order: Order, auction: bool) -> None:
        self.case, self.world, self.margins, self.parameters, self.order, self.auction = case, world, margins, parameters, order, auction
        count = len(case.parties.names)
        self.holdings = hold(case.plan.units, case.plan.instruments)
        self.opening_lots = tuple(self.holdings.total())
        self.ledger = Ledger(to_cents(case.equity), {MARKET: 0, OWNERS: 0})
        self.opening_equity = self.ledger.equity.copy()
        self.funds = funds_of(parameters.fund, [max(0, c) for c in to_cents(case.initial).tolist()], self.ledger)
        self.opening_funds = {k: v for k, v in self.ledger.pots.items() if k not in (MARKET, OWNERS, TRANSIT)}
        self.opening_cents = self.ledger.total()
        self.capacity = to_cents(parameters.margin.call_capacity * case.initial)
        self.units_of, self.place = case.units_of, {name: n for n, name in enumerate(case.parties.names)}
        self.maintenance = case.plan.methodology.maintenance_ratio
        self.multiplier = case.plan.methodology.core.multiplier
        self.notional = instrument_levels(case.plan.instruments, case.plan.market)
        self.before = case.equity < self.maintenance * case.initial
        """(P,) below maintenance before the scenario came"""
        self.value = np.zeros(len(case.plan.instruments))
        self.defaults: dict[int, Default] = {}
        self.past: list[Default] = []
        self.begun: dict[tuple[int, int], int] = {}
        self.steps: list[dict[str, Any]] = []
        self.paid_in = np.zeros(count, np.int64)
        self.level = Level(np.zeros(count), np.zeros(count), np.zeros(count))
        """what every party must have, as it was measured last"""
        self.changed = False
        """positions of others than those in liquidation changed: margins must be measured again"""
        self.bidding: dict[int, NDArray[np.float64]] = {}
        """P&L of units that were asked to bid in this round"""
        self.trading = 0
        """generation that traded in the round before"""

    def revalue(self, now: int, slopes: Slopes) -> None:
        """Book what everybody gained since the round before."""
        gained = self.margins.by_party(gains(self.holdings, slopes.value - self.value, len(self.case.plan.units.names)))
        self.ledger.to_parties(now, "variation", MARKET, to_cents(gained))
        self.value = slopes.value

    def survivors(self) -> list[bool]:
        """(P,) who never entered liquidation."""
        gone = set(self.defaults) | {self.place[d.party] for d in self.past}
        return [p not in gone for p in range(len(self.case.parties.names))]

    def lots(self, p: int) -> dict[int, dict[int, int]]:
        """unit -> instrument -> lots of a party, none of nothing."""
        return {u: self.holdings.lots_of(u) for u in self.units_of[p]}

    def holds(self, p: int) -> bool:
        """Whether a party holds anything."""
        return any(self.lots(p).values())

    def equity(self, p: int) -> float:
        """Of a party, money."""
        return money(int(self.ledger.equity[p]))

    def accounts(self, parties: list[int], scene: Scene) -> list[Account]:
        """Parties as their plans see them: equity, lots and P&L of now."""
        units = [u for p in parties for u in self.units_of[p]]
        pnl = dict(zip(units, books_pnl(self.holdings, units, scene.unit_pnl), strict=True))
        return [self.account(p, {u: pnl[u] for u in self.units_of[p]}) for p in parties]

    def account(self, p: int, pnl: dict[int, NDArray[np.float64]]) -> Account:
        """A party with the P&L (M,) of its units."""
        equity, pace = self.equity(p), self.parameters.pace
        return Account(p, equity, float(self.level.required[p]), float(self.level.core[p]), pace.restore, pace.close_all or equity < 0.0, self.lots(p), pnl, self.multiplier, float(self.level.charges[p]))
