"""The largest order that still passes, and the exchange of collateral that helps most: searches by exact what-ifs, costs paid.

An order's excess (equity less initial margin) is concave in its size where the margin is an expected shortfall, so sizes that pass are one interval: it is found by doubling and by eights, each end by one lot, and
both ends are exact what-ifs: the size passes, one lot more does not. An exchange gives some of one asset for another at today's prices and the spot spread and fee of the terms: its best share is found on
sixteenths, then on 256ths around the best.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from upm_gpu.desk.answers import Answer
from upm_gpu.desk.change import LARGEST, Change, Deposit, Order
from upm_gpu.desk.hedging.trading import Trading, load_trading, tradable
from upm_gpu.desk.resident import Resident, payable
from upm_gpu.desk.whatif import whatif
from upm_gpu.errors import InputError
from upm_gpu.market.levels import spot_price

AT_ONCE = 8
SIXTEENTHS = 16


@dataclass(frozen=True)
class LargestOrder:
    """Of one instrument and side."""

    account_id: str
    instrument_id: str
    side: str
    contracts: float | None
    """signed; None where no size passes"""
    smallest: float | None
    """where the account does not pass today: the smallest order that makes it pass"""
    market_limit: float
    """contracts that the terms let an order be"""
    answer: Answer | None
    next_fails: bool
    """one lot more does not pass; False where any size does"""
    notes: tuple[str, ...]


def largest_order(resident: Resident, account: str, instrument: str, side: str, *, netting_set: str = "", trading: Trading | None = None) -> LargestOrder:
    """The largest order in one instrument after which equity, costs paid, still covers the initial margin. `side` is buy or sell. Raises what `whatif` raises, InputError for another side."""
    if side not in ("buy", "sell"):
        raise InputError("UPM-IN-161", f"side {side!a} of an order: give buy or sell.")
    sign = 1.0 if side == "buy" else -1.0
    probe = _mine(whatif(resident, [[Order(account, instrument, sign, netting_set)]])[0], account)  # names that are not known are refused here
    priced = None if payable(resident, instrument) else next(iter(resident.rebuilt.values()))  # what nobody holds in a book with value tables: priced for the probe
    market = tradable(resident, account, netting_set, trading or load_trading(), [instrument], priced)
    lot, cost, limit = float(market.lot[0]), float(market.cost[0]), float((market.buy if sign > 0.0 else market.sell)[0])
    currency = resident.plan.market.reporting_currency

    def ask(lots: Sequence[int]) -> list[Answer]:
        sets: list[list[Change]] = []
        for n in lots:
            size = round(n * lot, 10)
            sets.append([Order(account, instrument, sign * size, netting_set), *([Deposit(account, currency, -cost * size)] if cost > 0.0 else [])])
        return [_mine(a, account) for a in whatif(resident, sets)]

    powers = [1 << k for k in range(0, 53) if (1 << k) * lot < LARGEST / 4.0][:44]
    answers = dict(zip(powers, ask(powers), strict=True))
    now = probe.before["status"] == "ok"
    good = _found(answers)
    while not good and not now:  # the sizes that pass may all lie between two of those asked: the excess is concave, so near its top
        sizes = sorted(answers)
        top = max(range(len(sizes)), key=lambda i: answers[sizes[i]].after["excess"])
        low, high = sizes[max(top - 1, 0)], sizes[min(top + 1, len(sizes) - 1)]
        more = [n for n in sorted({int(x) for x in np.linspace(low, high, AT_ONCE + 2)}) if n not in answers]
        if not more:
            break
        answers |= dict(zip(more, ask(more), strict=True))
        good = _found(answers)
    notes = _first_notes(resident, account, instrument, probe)
    if not good and not now:
        best = max(answers.values(), key=lambda a: a.after["excess"])
        notes.append(f"no {side} order in {instrument} makes the account pass: the best leaves {-best.after['excess']:,.2f} {currency} to be posted.")
        return LargestOrder(account, instrument, side, None, None, limit, None, False, tuple(notes))
    end = _edge(ask, answers, max(good, default=0), +1)
    start = None if now else _edge(ask, answers, min(good), -1)
    if end == 0:
        notes.append(f"not even one lot of {lot:g} passes.")
        return LargestOrder(account, instrument, side, None, None, limit, None, True, tuple(notes))
    fails = end < powers[-1]
    if not fails:
        notes.append("every size that was asked passes: this order does not raise the margin beyond equity.")
    if end * lot > limit:
        notes.append("by the terms, what expires inside the margin period is only traded to reduce what is held: " + (f"{limit:,.10g} contracts." if limit > 0.0 else "no order in it.")
                     if instrument in resident.expiring else f"the market takes {limit:,.10g} contracts at once by the terms: the margin is not what bounds this order.")
    if start is not None:
        notes.append("the account does not pass today; orders from the smallest to the largest given make it pass.")
    return LargestOrder(account, instrument, side, sign * round(end * lot, 10), None if start is None else sign * round(start * lot, 10), limit, answers[end], fails, tuple(notes))


def _first_notes(resident: Resident, account: str, instrument: str, probe: Answer) -> list[str]:
    """What must be known of the account and the instrument before any size."""
    notes, expiry = [], resident.expiring.get(instrument)
    if probe.before["equity"] < 0.0:
        notes.append(f"account {account} is bankrupt: its equity is {probe.before['equity']:,.2f}, and no order moves equity up.")
    if expiry is not None:
        notes.append(f"{instrument} expires at {expiry:%Y-%m-%dT%H:%M}Z, inside the margin period: it settles at the index then and its payoff is held to the end of the period.")
    return notes


def _mine(answers: Sequence[Answer], account: str) -> Answer:
    return next(a for a in answers if a.account_id == account)


def _found(answers: dict[int, Answer]) -> list[int]:
    return [n for n, a in answers.items() if a.would_pass]


def _edge(ask: Any, answers: dict[int, Answer], inside: int, way: int) -> int:
    """The last number of lots that passes, going up or down from one that does; answers are added."""
    while True:
        beyond = [n for n in answers if (n - inside) * way > 0 and not answers[n].would_pass] + ([0] if way < 0 else [])
        if not beyond:
            return inside
        outside = min(beyond, key=lambda n: abs(n - inside))
        if abs(outside - inside) <= 1:
            return inside
        more = [n for n in sorted({int(x) for x in np.linspace(inside, outside, AT_ONCE + 2)} - {inside, outside}) if n not in answers]
        more = more or [(inside + outside) // 2]
        answers |= dict(zip(more, ask(more), strict=True))
        passing = [n for n in more if answers[n].would_pass]
        if passing:
            inside = max(passing) if way > 0 else min(passing)


@dataclass(frozen=True)
class Switch:
    """Some of one asset given for another."""

    give: str
    quantity: float
    take: str
    received: float
    cost: float
    """spread and fee, reporting currency"""
    gain: float
    """of excess: equity less initial margin"""
    answer: Answer


def best_switch(resident: Resident, account: str, *, trading: Trading | None = None) -> tuple[Switch, ...]:
    """The best exchange of every pair (asset posted, asset priced), the most helpful first; only those that gain. Raises what `whatif` raises."""
    terms = trading or load_trading()
    plan, market = resident.plan, resident.plan.market
    _mine(whatif(resident, [[Deposit(account, market.reporting_currency, 1.0)]])[0], account)
    c, mine = plan.book.collateral, resident.known.accounts[account]
    held = {c.asset[n]: float(c.quantity[n]) for n in range(len(c.asset)) if c.account[n] == mine and c.quantity[n] > 0.0}
    takes = sorted(a for a in resident.known.assets if a == market.reporting_currency or a in resident.coin_of or a not in resident.simulable)
    rate = terms.half_spread.spot_share + terms.fees.spot_share
    found: list[Switch] = []
    for give, quantity in sorted(held.items()):
        for take in takes:
            if take == give:
                continue
            shares = np.arange(1, SIXTEENTHS + 1) / SIXTEENTHS
            best = None
            for _ in range(2):
                made = [_switch(account, market, give, quantity * float(s), take, rate) for s in shares]
                answers = [_mine(a, account) for a in whatif(resident, [m[0] for m in made])]
                n = int(np.argmax([a.difference["excess"] for a in answers]))
                if best is None or answers[n].difference["excess"] > best.gain:
                    best = Switch(give, quantity * float(shares[n]), take, made[n][1], made[n][2], answers[n].difference["excess"], answers[n])
                step = shares[0] if len(shares) == SIXTEENTHS and shares[0] == 1.0 / SIXTEENTHS else 0.0
                near = shares[n] + np.arange(-SIXTEENTHS + 1, SIXTEENTHS) * step / SIXTEENTHS
                shares = near[(near > 0.0) & (near <= 1.0)]
            if best is not None and best.gain > 0.0:
                found.append(best)
    return tuple(sorted(found, key=lambda s: -s.gain))


def _switch(account: str, market: Any, give: str, quantity: float, take: str, rate: float) -> tuple[list[Change], float, float]:
    """(trade set, what is received, what it costs)."""
    value = quantity * spot_price(market, give, "collateral")
    received = value * (1.0 - rate) / spot_price(market, take, "collateral")
    return [Deposit(account, give, -quantity), Deposit(account, take, received)], received, value * rate
