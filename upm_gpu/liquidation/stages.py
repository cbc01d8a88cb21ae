"""What happens to accounts beside trading: they are called, fall, are let go, or are carried by the waterfall."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from upm_gpu.liquidation.account import Scene
from upm_gpu.liquidation.margins import Level
from upm_gpu.liquidation.money import OWNERS, money, to_cents
from upm_gpu.liquidation.record import Default
from upm_gpu.liquidation.standing import Standing
from upm_gpu.liquidation.waterfall import bear


def call(run: Standing, now: int) -> tuple[int, float, float]:
    """Call who is below initial margin and take what its owner has: (calls, amount asked, amount paid)."""
    short = to_cents(run.level.required) - run.ledger.equity
    short[list(run.defaults)] = 0
    asked = np.maximum(short, 0)
    paid = np.minimum(asked, run.capacity)
    if paid.any():
        run.capacity -= paid
        run.paid_in += paid
        run.ledger.to_parties(now, "call paid", OWNERS, paid)
    return int(np.count_nonzero(asked)), money(int(asked.sum())), money(int(paid.sum()))


def enter(run: Standing, now: int) -> list[int]:
    """Parties that fall below maintenance in this round."""
    below = run.ledger.equity < to_cents(run.maintenance * run.level.required)
    fresh, names, fell = [], run.case.parties.names, {d.party for d in run.past}
    for p in np.flatnonzero(below).tolist():
        if p in run.defaults or (not run.holds(p) and (run.ledger.equity[p] >= 0 or names[p] in fell)):
            continue
        run.defaults[p] = Default(names[p], run.trading + 1, now, bool(run.before[p]), run.equity(p), float(run.level.required[p]))
        fresh.append(p)
    return fresh


def measured_again(run: Standing, before: Level, scene: Scene, price: NDArray[np.float64], volatility: NDArray[np.float64]) -> None:
    """What those in liquidation must have after the trades of the round, at its prices."""
    active = sorted(run.defaults)
    core, required, charges = run.level.core.copy(), run.level.required.copy(), run.level.charges.copy()
    wanted = np.zeros(len(run.case.plan.units.names), bool)
    wanted[[u for p in active for u in run.units_of[p]]] = True
    cores = np.zeros(len(wanted))
    holding = [a for a in run.accounts(active, scene) if not a.empty]
    for account in holding:
        for unit, own in account.measure(scene).items():
            cores[unit] = own
    if holding:
        level = run.margins.level(before, run.world, price, volatility, run.holdings, cores, wanted)
        core[active], required[active], charges[active] = level.core[active], level.required[active], level.charges[active]
    for p in set(active) - {a.party for a in holding}:
        core[p] = required[p] = charges[p] = 0.0
    run.level = replace(run.level, required=required, core=core, charges=charges)


def leave(run: Standing, now: int) -> tuple[int, int]:
    """Who is safe at the prices of the round, or has nothing left and owes nothing: (let go, closed)."""
    let_go = closed = 0
    for p in sorted(run.defaults):
        empty = not run.holds(p)
        if empty and run.ledger.equity[p] < 0:
            continue
        if not empty and not run.account(p, {}).safe(float(run.level.core[p]), 0.0):
            continue
        found = run.defaults.pop(p)
        found.end, found.left = ("closed" if empty else "let go"), now
        let_go, closed = let_go + (not empty), closed + empty
        run.past.append(found)
        run.begun = {k: v for k, v in run.begun.items() if k[0] not in run.units_of[p]}
    return let_go, closed


def carry(run: Standing, now: int) -> int:
    """The waterfall carries who has nothing left and owes; cents."""
    losers = [p for p in sorted(run.defaults) if run.ledger.equity[p] < 0 and not run.holds(p)]
    losses = [-int(run.ledger.equity[p]) for p in losers]
    gain = (run.ledger.equity - run.opening_equity - run.paid_in).tolist()
    for p, loss, borne in zip(losers, losses, bear(now, losers, list(run.parameters.waterfall), run.ledger, run.funds, run.survivors(), gain), strict=True):
        found = run.defaults.pop(p)
        found.loss += money(loss)
        for layer, cents in borne.items():
            found.borne[layer] = found.borne.get(layer, 0.0) + money(cents)
        found.end, found.left = "closed", now
        run.past.append(found)
    return sum(losses)
