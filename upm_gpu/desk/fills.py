"""Open orders by their worst fill: which of them, filled, leave the account with the least excess.

Each order is filled or not. The core is convex in what is filled (expected shortfall is), and an order at model value moves no equity, so no partial fill is worse than the worst of all corners: with up to
`EXACT` open orders every corner is asked, 2^n trade sets in one call. With more, a climb from several corners (nothing, everything, all purchases, all sales) fills or cancels the one order that costs
most until none does; the answer then says that it is the worst that was found. Charges other than the core may lack the convexity: then it is the worst corner.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from upm_gpu.desk.answers import Answer
from upm_gpu.desk.change import Change, Order, Premium
from upm_gpu.desk.resident import Resident
from upm_gpu.desk.whatif import whatif
from upm_gpu.errors import InputError

EXACT = 10
"""orders of which every set of fills is asked: 1,024 questions, some tenths of a second"""
STEPS = 200
"""most fills and cancellations of a climb"""


@dataclass(frozen=True)
class WorstFill:
    """The account after the fills that leave it the least excess."""

    answer: Answer
    filled: tuple[Order, ...]
    asked: int
    """sets of fills that were margined"""
    exact: bool
    """every set of fills was asked"""


def worst_fill(resident: Resident, orders: Sequence[Order], changes: Sequence[Change] = (), premium: Premium = "cash") -> WorstFill:
    """The worst fill of open orders of one account, on top of `changes`. Raises InputError UPM-IN-153 for orders of several accounts or none, and what `whatif` raises."""
    accounts = sorted({o.account_id for o in orders})
    if len(accounts) != 1:
        raise InputError("UPM-IN-153", f"open orders are margined account by account, and these are of {', '.join(map(ascii, accounts)) or 'none'}. Give a set for each account.")
    known: dict[tuple[bool, ...], Answer] = {}

    def ask(corners: Sequence[tuple[bool, ...]]) -> None:
        new = [c for c in dict.fromkeys(corners) if c not in known]
        sets = [[*changes, *(o for o, fill in zip(orders, c, strict=True) if fill)] for c in new]
        empty = [c for c, changed in zip(new, sets, strict=True) if not changed]
        for c, answers in zip([c for c in new if c not in empty], whatif(resident, [s for s in sets if s], premium), strict=True):
            known[c] = next(a for a in answers if a.account_id == accounts[0])
        for c in empty:
            known[c] = unchanged(resident, accounts[0], orders[0], premium)

    def excess(corner: tuple[bool, ...]) -> tuple[float, int]:
        return float(known[corner].after["excess"]), sum(corner)

    count, exact = len(orders), len(orders) <= EXACT
    if exact:
        ask([tuple(bool(n >> i & 1) for i in range(count)) for n in range(1 << count)])
    else:
        starts = [(False,) * count, (True,) * count, tuple(o.contracts > 0.0 for o in orders), tuple(o.contracts < 0.0 for o in orders)]
        ask(starts)
        for start in starts:
            here = start
            for _ in range(STEPS):
                near = [(*here[:i], not here[i], *here[i + 1 :]) for i in range(count)]
                ask(near)
                best = min(near, key=excess)
                if excess(best)[0] >= excess(here)[0]:
                    break
                here = best
    worst = min(known, key=excess)
    return WorstFill(known[worst], tuple(o for o, fill in zip(orders, worst, strict=True) if fill), len(known), exact)


def unchanged(resident: Resident, account: str, order: Order, premium: Premium) -> Answer:
    """The account as it is: an order and its opposite."""
    answers = whatif(resident, [[order, Order(order.account_id, order.instrument_id, -order.contracts, order.netting_set)]], premium)[0]
    found = next(a for a in answers if a.account_id == account)
    same = dict.fromkeys(found.difference, 0.0)
    error = None if found.difference_standard_error is None else 0.0
    return Answer(account, found.before, found.before, same, error, found.charges_standard_error, found.before["status"] == "ok", ())
