"""In which order a book is closed: steps of one party in one round.

*Sequenced*: at every step the one that lowers the margin most per cost is taken, of
  - closing the round's share of a package (`packages.py`), legs together,
  - hedging: trading the linear instrument of an underlying until the unit's delta there is none. A trade that opens counts its cost twice: it must be closed again.
Hedges come first wherever the cheap perpetual carries most of the risk; what the book needs hedged is closed before its hedge. The last step is cut to what is needed. A book that must go in
full (bankrupt, or a member's) is hedged for what the round leaves of it, then closed as it comes.
*Pro rata*: the same share of everything at once. *By size*: line after line, the most volatile first, legs apart: what sequencing is compared with.

What is promised: where closing pro rata makes the account safe within the round, at the prices of the round, the sequenced plan does too and costs no more: both are made and the cheaper is
taken. Nothing of the kind is promised for a whole cascade: who is let go cheaply may fall again. Verified by tests/properties/test_liquidation_laws.py.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from upm_gpu.domain.instrument import Instrument
from upm_gpu.liquidation.account import (
    Account,
    Scene,
    Taken,
    Trades,
    cost_of,
    joined,
    nothing_taken,
    shrunk,
    take,
    trades_of,
)
from upm_gpu.liquidation.packages import grouped

Order: TypeAlias = Literal["sequenced", "pro_rata", "by_size"]
HALVINGS = 8
"""of the share of a last step: what is left is a 256th of it"""
OPENING = 2.0
"""times its cost that a trade counts which must be undone again"""
FLAT = 1e-3
"""of the unit's gross delta: less is no delta to hedge"""


@dataclass(frozen=True)
class Step:
    """One step of a plan."""

    kind: str
    """close, hedge, or pro rata"""
    name: str
    trades: Trades
    cost: float
    """planned: alone in the market"""
    before: float
    """margin required"""
    after: float


def plan(account: Account, scene: Scene, order: Order, begun: dict[tuple[int, int], int], share: float) -> list[Step]:
    """Steps of this round. `begun`: (unit, instrument) -> most lots it has held since its liquidation began; `share` of them may be closed a round."""
    if order == "by_size":
        return _line_by_line(account, scene, begun, share)
    if order == "sequenced" and account.close_all:
        return _in_full(account, scene, begun, share)
    level = _pro_rata(account, scene, begun, share)
    if order == "pro_rata":
        return level
    steps = _greedy(account, scene, begun, share)
    if not level or not _ends_safe(account, level):
        return steps
    if not steps or not _ends_safe(account, steps) or sum(s.cost for s in level) < sum(s.cost for s in steps):
        return level
    return steps


def _ends_safe(account: Account, steps: list[Step]) -> bool:
    left = account.equity - sum(s.cost for s in steps)
    return left >= 0.0 and left >= account.restore * steps[-1].after


def portions(account: Account, instruments: tuple[Instrument, ...], begun: dict[tuple[int, int], int], share: float) -> list[tuple[str, Trades]]:
    """What may be closed this round, by package: (name, trades)."""
    found = []
    for unit in sorted(account.lots):
        own = account.lots[unit]
        for name, members in grouped(list(own), instruments):
            changes = [(n, -int(np.sign(own[n])) * min(abs(own[n]), int(np.ceil(share * begun.get((unit, n), abs(own[n])))))) for n in members]
            found.append((name, trades_of(unit, changes)))
    return found


def _copy(account: Account) -> Account:
    return Account(account.party, account.equity, account.initial, account.core, account.restore, account.close_all, {u: dict(x) for u, x in account.lots.items()}, dict(account.pnl),
                   account.core_multiplier, account.charges)


def _greedy(given: Account, scene: Scene, begun: dict[tuple[int, int], int], share: float) -> list[Step]:
    account, taken, steps, cost = _copy(given), nothing_taken(scene), list[Step](), 0.0
    measured = account.measure(scene)
    open_ = portions(account, scene.ground.plan.instruments, begun, share)
    stale: set[tuple[int, int]] = set()
    while not account.safe(sum(measured.values()), cost):
        hedges = _hedges(account, scene, stale)
        closes = [("close", name, trades) for name, trades in open_ if not _carries_a_hedge(account, scene, trades)]
        candidates = closes + hedges
        if not candidates:
            break
        after = [{u: float(scene.ground.measure(p)) for u, p in account.changed(scene, trades).items()} for _, _, trades in candidates]
        relief = [sum(measured[u] - m for u, m in a.items()) for a in after]
        price = [cost_of(scene, taken, trades) for _, _, trades in candidates]
        score = [_score(r, p * (OPENING if kind == "hedge" and _opens(account, trades) else 1.0)) for (kind, _, trades), r, p in zip(candidates, relief, price, strict=True)]
        best = max(range(len(candidates)), key=lambda k: (score[k] if candidates[k][0] == "close" or relief[k] > 0.0 else -np.inf, -k))
        kind, name, trades = candidates[best]
        if kind == "hedge" and relief[best] <= 0.0:  # what frees no margin is no hedge
            stale |= {(int(t[0][0]), int(scene.ground.of_instrument[t[1][0]])) for _, _, t in hedges}
            continue
        trades, step_cost, new = _cut(account, scene, taken, trades, measured, cost, price[best], after[best])
        before = account.required(sum(measured.values()))
        measured = measured | new
        steps.append(Step(kind, name, trades, step_cost, before, account.required(sum(measured.values()))))
        cost += step_cost
        take(scene, taken, trades)
        account.apply(scene, trades)
        if kind == "close":
            open_ = [(n, t) for n, t in open_ if t is not candidates[best][2]]
            touched = set(scene.ground.of_instrument[trades[1]].tolist())
            stale = {(u, k) for u, k in stale if u != int(trades[0][0]) or k not in touched}
        else:
            stale.add((int(trades[0][0]), int(scene.ground.of_instrument[trades[1][0]])))
    return steps


def _in_full(given: Account, scene: Scene, begun: dict[tuple[int, int], int], share: float) -> list[Step]:
    """A book that goes in full: the delta that this round's closings leave is hedged first where that frees margin, then the packages are closed as they come."""
    account, ahead, taken, steps = _copy(given), _copy(given), nothing_taken(scene), list[Step]()
    closes = [("close", name, trades) for name, trades in portions(account, scene.ground.plan.instruments, begun, share) if not _carries_a_hedge(account, scene, trades)]
    for _, _, trades in closes:
        ahead.apply(scene, trades)
    left = ahead.measure(scene)
    carried = {(unit, int(scene.ground.of_instrument[n])) for unit, own in account.lots.items() for n in own if _carries_a_hedge(account, scene, trades_of(unit, [(n, 0)]))}
    hedges = [h for h in _hedges(ahead, scene, set(), carried) if sum(left[u] - float(scene.ground.measure(p)) for u, p in ahead.changed(scene, h[2]).items()) > 0.0]
    measured = account.measure(scene)
    for kind, name, trades in hedges + closes:
        cost, before = cost_of(scene, taken, trades), account.required(sum(measured.values()))
        take(scene, taken, trades)
        account.apply(scene, trades)
        measured |= {u: float(scene.ground.measure(account.pnl[u])) for u in set(trades[0].tolist())}
        steps.append(Step(kind, name, trades, cost, before, account.required(sum(measured.values()))))
    return steps


def _score(relief: float, cost: float) -> float:
    """Margin freed by a unit of cost; what costs nothing or pays comes first, what frees nothing last, the least harm before the greater."""
    if relief <= 0.0:
        return relief - 1.0
    return relief / max(cost, 1e-9)


def _opens(account: Account, trades: Trades) -> bool:
    unit, n, lots = int(trades[0][0]), int(trades[1][0]), int(trades[2][0])
    return abs(account.lots[unit].get(n, 0) + lots) > abs(account.lots[unit].get(n, 0))


def _carries_a_hedge(account: Account, scene: Scene, trades: Trades) -> bool:
    """Whether a package is the hedging instrument of something else that the unit still holds: it is traded by hedging alone then."""
    if len(trades[1]) != 1:
        return False
    n, unit = int(trades[1][0]), int(trades[0][0])
    k = scene.ground.of_instrument[n]
    return bool(scene.hedges[k] == n) and any(m != n and scene.ground.of_instrument[m] == k for m in account.lots[unit])


def _hedges(account: Account, scene: Scene, stale: set[tuple[int, int]], carried: Collection[tuple[int, int]] = ()) -> list[tuple[str, str, Trades]]:
    """Trades that leave a unit no delta in an underlying; `carried`: (unit, underlying) whose hedge is left over where what it hedged is gone."""
    found = []
    for unit in sorted(account.lots):
        own = account.lots[unit]
        if not own:
            continue
        n = np.array(sorted(own), np.int64)
        delta = np.array([own[m] for m in n.tolist()]) * scene.size[n] * scene.slopes.delta[n]
        of = scene.ground.of_instrument[n]
        for k in np.unique(of).tolist():
            h = int(scene.hedges[k])
            others = [m for m in n[of == k].tolist() if m != h]
            net, gross = float(delta[of == k].sum()), float(np.abs(delta[of == k]).sum())
            if h < 0 or not (others or (unit, k) in carried) or (unit, k) in stale or abs(net) <= FLAT * gross:
                continue
            lots = -round(net / (scene.slopes.delta[h] * scene.size[h]))
            if lots:
                found.append(("hedge", scene.ground.plan.instruments[h].instrument_id, trades_of(unit, [(h, lots)])))
    return found


def _cut(account: Account, scene: Scene, taken: Taken, trades: Trades, measured: dict[int, float], cost: float, price: float, after: dict[int, float]) -> tuple[Trades, float, dict[int, float]]:
    """The step, cut to the least share of it that makes the account safe where all of it does."""
    if not account.safe(sum((measured | after).values()), cost + price):
        return trades, price, after
    low, high, best = 0.0, 1.0, (trades, price, after)
    for _ in range(HALVINGS):
        middle = 0.5 * (low + high)
        part = shrunk(trades, middle)
        some = cost_of(scene, taken, part)
        new = {u: float(scene.ground.measure(p)) for u, p in account.changed(scene, part).items()}
        if account.safe(sum((measured | new).values()), cost + some):
            high, best = middle, (part, some, new)
        else:
            low = middle
    return best


def _pro_rata(given: Account, scene: Scene, begun: dict[tuple[int, int], int], share: float) -> list[Step]:
    """One step: the same share of all positions."""
    account, taken, measured = _copy(given), nothing_taken(scene), given.measure(scene)
    if account.safe(sum(measured.values()), 0.0):
        return []
    trades = joined([t for _, t in portions(account, scene.ground.plan.instruments, begun, share)])
    if not len(trades[0]):
        return []
    after = {u: float(scene.ground.measure(p)) for u, p in account.changed(scene, trades).items()}
    trades, cost, new = _cut(account, scene, taken, trades, measured, 0.0, cost_of(scene, taken, trades), after)
    return [Step("pro rata", "everything", trades, cost, account.required(sum(measured.values())), account.required(sum((measured | new).values())))]


def _line_by_line(given: Account, scene: Scene, begun: dict[tuple[int, int], int], share: float) -> list[Step]:
    """The most volatile line first, legs apart."""
    account, taken, measured, cost, steps = _copy(given), nothing_taken(scene), given.measure(scene), 0.0, list[Step]()
    lines = [(unit, n, lots) for unit, own in sorted(account.lots.items()) for n, lots in sorted(own.items())]
    lines.sort(key=lambda x: (-abs(x[2]) * scene.size[x[1]] * float(np.std(scene.unit_pnl[x[1]])), x[0], x[1]))
    for unit, n, lots in lines:
        if account.safe(sum(measured.values()), cost):
            break
        closed = -int(np.sign(lots)) * min(abs(lots), int(np.ceil(share * begun.get((unit, n), abs(lots)))))
        trades = trades_of(unit, [(n, closed)])
        after = {u: float(scene.ground.measure(p)) for u, p in account.changed(scene, trades).items()}
        trades, price, new = _cut(account, scene, taken, trades, measured, cost, cost_of(scene, taken, trades), after)
        before = account.required(sum(measured.values()))
        measured = measured | new
        steps.append(Step("close", scene.ground.plan.instruments[n].instrument_id, trades, price, before, account.required(sum(measured.values()))))
        cost += price
        take(scene, taken, trades)
        account.apply(scene, trades)
    return steps
