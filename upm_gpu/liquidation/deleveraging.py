"""Auto-deleveraging: where the insurance fund is gone, who stands on the other side and has gained takes a bankrupt book over, at a price that leaves it no loss.

Lots of every instrument go to accounts that hold the opposite and have gained on it since the start, so that both shrink. First comes who has gained most with the most of it per equity,
rank = gain of the line x its size / equity, the order of the venues' queues. The shortfall is borne in proportion to the gains of the lots taken, by nobody beyond that gain and its equity; what is
left of it goes to the next layer of the waterfall, positions that nobody takes are closed in the market.
Source of the mechanism: T. Chitra et al., "Autodeleveraging: impossibilities and optimization" (arXiv 2512.01112, 2025), sections on the queues of venues.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from upm_gpu.liquidation.holdings import Holdings, Parties
from upm_gpu.liquidation.money import Ledger, shared_up_to


def deleverage(now: int, party: int, units: list[int], holdings: Holdings, parties: Parties, ledger: Ledger, value: NDArray[np.float64], notional: NDArray[np.float64],
               survivor: list[bool]) -> tuple[int, int]:
    """Give the positions of a party with negative equity to its opposites; (cents they bear, lots moved). `value` (N,) P&L of a unit since the start, `notional` (N,) of one unit."""
    taken: dict[int, int] = {}
    moved = 0
    for unit in units:
        for line in holdings.of(unit).tolist():
            lots, n = int(holdings.lots[line]), int(holdings.instrument[line])
            for other, amount in _queue(n, lots, holdings, parties, ledger, value, notional, survivor):
                signed = amount if lots > 0 else -amount
                holdings.between(unit, int(holdings.unit[other]), n, signed)
                owner = int(parties.of_unit[holdings.unit[other]])
                # what it gained on these lots, whole cents
                taken[owner] = taken.get(owner, 0) + int(amount * float(holdings.size[n]) * abs(float(value[n])) * 100.0)
                moved += amount
    loss = -int(ledger.equity[party])
    if not taken or loss <= 0:
        return 0, moved
    owners = sorted(taken)
    weights = [taken[o] for o in owners]
    parts = shared_up_to(loss, weights, [min(w, max(0, int(ledger.equity[o]))) for o, w in zip(owners, weights, strict=True)])
    for owner, part in zip(owners, parts, strict=True):
        ledger.between(now, "auto_deleveraging", owner, party, part)
    return sum(parts), moved


def _queue(n: int, lots: int, holdings: Holdings, parties: Parties, ledger: Ledger, value: NDArray[np.float64], notional: NDArray[np.float64], survivor: list[bool]) -> list[tuple[int, int]]:
    """(line, lots it takes as a positive number) of the opposites of a position, first in the queue first."""
    lines = [line for line in np.flatnonzero((holdings.instrument == n) & (np.sign(holdings.lots) == -np.sign(lots))).tolist() if survivor[int(parties.of_unit[holdings.unit[line]])]]
    quantity = holdings.quantity(np.array(lines, np.int64))
    gain = quantity * value[n]
    lines, quantity, gain = [k for k, g in zip(lines, gain.tolist(), strict=True) if g > 0.0], quantity[gain > 0.0], gain[gain > 0.0]
    equity = np.array([max(1, int(ledger.equity[parties.of_unit[holdings.unit[line]]])) for line in lines], np.float64) / 100.0
    rank = gain * np.abs(quantity) * notional[n] / equity
    found, left = [], abs(lots)
    for k in sorted(range(len(lines)), key=lambda k: (-rank[k], lines[k])):
        if left <= 0:
            break
        amount = min(left, abs(int(holdings.lots[lines[k]])))
        found.append((lines[k], amount))
        left -= amount
    return found
