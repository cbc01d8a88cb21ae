"""Why an account needs its margin: what every position, underlying, factor and charge adds, from resident scenarios.

Two questions of a position or underlying i, both exact:
  contribution   q_i dM/dq_i, the margin for a little more of it: sums to the margin;
  incremental    M - M without it, by a what-if that closes it: a fresh run of the book without it, to the bit. It does not sum.
Without a factor is the core on the same scenarios with that factor standing still.

The core is parted by Euler's rule (`shares.py`), by factor as `factors.py` says. A charge c is differentiated where it stands, through the functions of a run:
  c_i = [c(q_i (1 + h)) - c(q_i (1 - h))] / (2 h),   h = 2^-17
(the two errors, curvature of order h^2 and rounding of order 2^-53 / h, are both some 1e-10 of the charge; on fixed scenarios a charge made of shortfalls is linear there). Charges homogeneous in positions are the
sum of their c_i; what is left of another (a floor, a minimum, a tier, others of a pool) is its residual, by name. A charge that jumps between the two is not differentiated in that position.

Standard errors are those of the core's contributions; a charge's error is a bound of the charge as a whole. Verified by tests/properties/test_why.py.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from upm_gpu.desk.answers import Answer
from upm_gpu.desk.change import Change, Deposit, Order
from upm_gpu.desk.explain.factors import factor_parts, held_still
from upm_gpu.desk.explain.shares import Parted, UnitTail, errors, has_errors, line_parts, unit_tail
from upm_gpu.desk.resident import Resident
from upm_gpu.desk.whatif import whatif
from upm_gpu.domain.tables import nearest
from upm_gpu.errors import InputError
from upm_gpu.margin.units import COLLATERAL_PREFIX, sum_by

STEP = 2.0**-17
JUMP = 1e-3
"""a charge that moves by this share of itself within a step of 1 in 131,072 jumps"""
NOT_ALONE = "UPM-IN-149"
"""a position that cannot be closed without another book being priced"""


@dataclass(frozen=True)
class Part:
    """What a name adds to the margin, reporting currency."""

    name: str
    core: float
    core_standard_error: float | None
    charges: dict[str, float]
    margin: float
    """core and charges"""
    margin_without: float | None
    """of the account when it is closed, stands still or is not charged; None where that is not asked for, or would be another book (see `notes`)"""
    incremental: float | None
    """margin less that"""
    incremental_standard_error: float | None
    """of its core, common scenarios"""


@dataclass(frozen=True)
class Holding(Part):
    """A position, or collateral; `name` is its instrument, "collateral:BTC" for collateral."""

    netting_set: str
    underlying: str
    quantity: float
    """contracts; units of collateral"""


@dataclass(frozen=True)
class Why:
    """One account; all parts of one kind and the residuals add up to the initial margin."""

    account_id: str
    margin: dict[str, Any]
    """columns of margin.csv"""
    holdings: tuple[Holding, ...]
    underlyings: tuple[Part, ...]
    factors: tuple[Part, ...]
    """of the core alone, and so is what they would be without; empty where they cannot be had (see `notes`)"""
    charges: tuple[Part, ...]
    """core, then every charge"""
    residuals: dict[str, float]
    """by charge and for the core: what is in no holding"""
    notes: tuple[str, ...]


def why(resident: Resident, account_id: str, incremental: bool = True, by_factor: bool = True) -> Why:
    """Contributions of every part of an account's margin; without `incremental` no position is closed (a what-if each), without `by_factor` no scenario is repriced.

    Raises InputError for an account the run does not know, and what `whatif` raises.
    """
    resident.check()
    plan, known = resident.plan, resident.known.accounts
    if account_id not in known:
        near = nearest(account_id, list(known))
        raise InputError("UPM-IN-141", f"account {account_id!a} is not in the run.{f' Did you mean {ascii(near)[1:-1]}?' if near else ' Accounts are listed in margin.csv.'}")
    lines, notes = np.flatnonzero(plan.units.lines.account == known[account_id]), list[str]()
    units = np.unique(plan.units.lines.unit[lines]).tolist()
    mine = [lines[plan.units.lines.unit[lines] == u] for u in units]
    tails = [unit_tail(resident, u) for u in units]
    parts = [line_parts(resident, of, own) for of, own in zip(tails, mine, strict=True)]
    held = _held(resident, account_id, lines)
    others = _haircut_collateral(resident, account_id) if resident.charges else []
    (first,) = whatif(resident, [[Deposit(account_id, plan.market.reporting_currency, 1.0)]], "none")
    margin = first[0].before
    slopes = _slopes(resident, [c for c, *_ in (*held, *others)], margin, notes) if resident.charges else [{} for _ in held]
    names = sorted({u for _, _, u, _ in held})
    together = [[c for c, _, u, _ in held if u == name] for name in names]
    closed = _closed(resident, [*([c] for c, *_ in held), *together], notes) if incremental else [None] * (len(held) + len(names))
    after, without = closed[: len(held)], dict(zip(names, closed[len(held) :], strict=True))
    multiplier, charges = plan.methodology.core.multiplier, [k for k in margin if k.startswith("charge_")]
    errored = has_errors(plan)
    own_error = errors(plan, parts, _numbered(mine), len(lines)) * multiplier if errored else np.full(len(lines), np.nan)
    core = np.concatenate([p.contribution for p in parts] or [np.zeros(0)]) * multiplier
    holdings = [_holding(held[i], float(core[i]), _known(own_error[i]), slopes[i], after[i], margin) for i in range(len(held))]  # lines ascend by unit, as `mine` does
    holdings += [_holding(o, 0.0, 0.0 if errored else None, s, None, margin) for o, s in zip(others, slopes[len(held):], strict=True) if any(s.values())]
    factors = _factors(resident, tails, mine, errored, incremental, float(margin["core"]), notes) if by_factor and units else ()
    residuals = {"core": float(margin["core"]) - _total([h.core for h in holdings])}
    residuals |= {c: float(margin[c]) - _total([h.charges.get(c, 0.0) for h in holdings]) for c in charges}
    of_core = float(errors(plan, parts, [np.zeros(len(m), np.int64) for m in mine], 1)[0]) * multiplier if errored else float(margin["expected_shortfall_standard_error"]) * multiplier
    return Why(account_id, margin, tuple(holdings), _underlyings(resident, holdings, parts, mine, without, margin, errored), factors, _charges(resident, margin, charges, of_core), residuals, tuple(dict.fromkeys(notes)))


def _held(resident: Resident, account_id: str, lines: NDArray[np.intp]) -> list[tuple[Change, str, str, float]]:
    """Of every line: the change that closes it, netting set, underlying, quantity."""
    plan, book = resident.plan, resident.plan.book
    p = book.positions
    own = np.flatnonzero(p.account == resident.known.accounts[account_id])
    contracts = {(book.netting_sets[p.netting_set[i]], book.instruments[p.instrument[i]].instrument_id): float(p.contracts[i]) for i in own.tolist()}
    found: list[tuple[Change, str, str, float]] = []
    for n in lines.tolist():
        instrument, name = plan.instruments[plan.units.lines.instrument[n]], plan.units.netting_set[plan.units.lines.unit[n]]
        if instrument.instrument_id.startswith(COLLATERAL_PREFIX):
            quantity = float(plan.units.lines.quantity[n])
            found.append((Deposit(account_id, instrument.underlying, -quantity), name, instrument.underlying, quantity))
        else:
            quantity = contracts[name, instrument.instrument_id]
            found.append((Order(account_id, instrument.instrument_id, -quantity, name), name, instrument.underlying, quantity))
    return found


def _haircut_collateral(resident: Resident, account_id: str) -> list[tuple[Change, str, str, float]]:
    """The account's collateral that is not simulated, as `_held` has it: only charges read it."""
    c = resident.plan.book.collateral
    own = np.flatnonzero(c.account == resident.known.accounts[account_id]).tolist()
    return [(Deposit(account_id, c.asset[i], -float(c.quantity[i])), "", c.asset[i], float(c.quantity[i])) for i in own if c.asset[i] not in resident.coin_of and c.quantity[i]]


def _scaled(close: Change, factor: float) -> Change:
    """A part of the change that closes a holding."""
    if isinstance(close, Order):
        return Order(close.account_id, close.instrument_id, close.contracts * factor, close.netting_set)
    assert isinstance(close, Deposit)
    return Deposit(close.account_id, close.asset, close.quantity * factor)


def _quantity(close: Change) -> float:
    """What a change that closes a holding moves; 0 for a holding of nothing."""
    return close.contracts if isinstance(close, Order) else close.quantity


def _slopes(resident: Resident, closes: list[Change], margin: dict[str, Any], notes: list[str]) -> list[dict[str, float]]:
    """Contribution of every holding to every charge: quantity times the slope."""
    charges = [k for k in margin if k.startswith("charge_")]
    moved = [n for n, c in enumerate(closes) if _quantity(c)]
    answers = iter(whatif(resident, [[_scaled(closes[n], step)] for n in moved for step in (-STEP, STEP)], "none"))
    found = [dict.fromkeys(charges, 0.0) for _ in closes]
    for n in moved:
        up, down = next(answers)[0].after, next(answers)[0].after
        for name in charges:
            here, sides = float(margin[name]), (float(up[name]), float(down[name]))
            if max(abs(s - here) for s in sides) > JUMP * max(here, *sides):
                notes.append(f"{name.removeprefix('charge_')} jumps where a position is: what it adds there is in its residual.")
            else:
                found[n][name] = (sides[0] - sides[1]) / (2.0 * STEP)
    return found


def _closed(resident: Resident, closes: list[list[Change]], notes: list[str]) -> list[Answer | None]:
    """Answers of closing each set of holdings; all in one call where none is refused."""
    sets = [[c for c in close if _quantity(c)] for close in closes]
    wanted = [n for n, s in enumerate(sets) if s]
    found: list[Answer | None] = [None] * len(closes)
    try:
        for n, answers in zip(wanted, whatif(resident, [sets[n] for n in wanted], "none", rebuild=False), strict=True):
            found[n] = answers[0]
        return found
    except InputError as error:
        if error.code != NOT_ALONE:
            raise
    for n in wanted:
        try:
            found[n] = whatif(resident, [sets[n]], "none", rebuild=False)[0][0]
        except InputError as error:
            if error.code != NOT_ALONE:
                raise
            notes.append("a position that nobody else holds cannot be closed without the value tables of others changing: its margin without it needs a run.")
    return found


def _without(after: Answer | None, margin: dict[str, Any]) -> tuple[float | None, float | None, float | None]:
    """Margin without what an answer closes, the margin less that, and its error."""
    if after is None:
        return None, None, None
    without = float(after.after["initial_margin"])
    return without, float(margin["initial_margin"]) - without, after.difference_standard_error


def _holding(held: tuple[Change, str, str, float], core: float, error: float | None, charges: dict[str, float], after: Answer | None, margin: dict[str, Any]) -> Holding:
    close, netting_set, underlying, quantity = held
    name = close.instrument_id if isinstance(close, Order) else COLLATERAL_PREFIX + underlying
    return Holding(name, core, error, charges, core + _total(list(charges.values())), *_without(after, margin), netting_set, underlying, quantity)


def _numbered(mine: list[NDArray[np.intp]]) -> list[NDArray[np.int64]]:
    """Numbers 0, 1, ... over the lines of all units in turn."""
    starts = np.cumsum([0, *(len(m) for m in mine)])
    return [np.arange(start, start + len(m)) for start, m in zip(starts, mine, strict=False)]


def _underlyings(resident: Resident, holdings: list[Holding], parts: list[Parted], mine: list[NDArray[np.intp]], without: dict[str, Answer | None], margin: dict[str, Any], errored: bool) -> tuple[Part, ...]:
    """Holdings added up by underlying, largest margin first."""
    plan = resident.plan
    names = sorted({h.underlying for h in holdings})
    place = {name: n for n, name in enumerate(names)}
    of_instrument = np.array([place.get(i.underlying, 0) for i in plan.instruments] or [0])
    scale = plan.methodology.core.multiplier
    error = errors(plan, parts, [of_instrument[plan.units.lines.instrument[m]] for m in mine], len(names)) * scale if errored else np.full(len(names), np.nan)
    number = np.array([place[h.underlying] for h in holdings], np.int64)
    core = sum_by(number, np.array([h.core for h in holdings]), len(names))
    keys = list(holdings[0].charges) if holdings else []
    charges = {k: sum_by(number, np.array([h.charges.get(k, 0.0) for h in holdings]), len(names)) for k in keys}
    found = [Part(name, float(core[n]), _known(error[n]), own := {k: float(v[n]) for k, v in charges.items()}, float(core[n]) + _total(list(own.values())), *_without(without.get(name), margin))
             for n, name in enumerate(names)]
    return tuple(sorted(found, key=lambda p: (-p.margin, p.name)))


def _factors(resident: Resident, tails: list[UnitTail], mine: list[NDArray[np.intp]], errored: bool, incremental: bool, whole: float, notes: list[str]) -> tuple[Part, ...]:
    """The core by factor, units added up, largest first; the passage of time and joint moves last."""
    try:
        found = [factor_parts(resident, of, own) for of, own in zip(tails, mine, strict=True)]
    except InputError as refused:
        if refused.code != "UPM-RN-090":
            raise
        notes.append(str(refused))
        return ()
    names, plan = found[0][0], resident.plan
    core = np.sum([p.contribution for _, p in found], axis=0) * plan.methodology.core.multiplier
    error = errors(plan, [p for _, p in found], [np.arange(len(names))] * len(found), len(names)) * plan.methodology.core.multiplier if errored else np.full(len(names), np.nan)
    alone = all(len(own) == int(np.count_nonzero(plan.units.lines.unit == of.unit)) for of, own in zip(tails, mine, strict=True))
    if incremental and not alone:
        notes.append("what a factor that stands still would leave is not asked of an account in a pool: its share of the pool would move with the others'.")
    moved = [n for n in range(len(names) - 2) if core[n] or not errored or error[n]]
    still = dict(zip(moved, held_still(resident, tails, moved), strict=True)) if incremental and alone else {}
    parts = [Part(name, float(core[n]), _known(error[n]), {}, float(core[n]), *((still[n][0], whole - still[n][0], still[n][1]) if n in still else (None, None, None))) for n, name in enumerate(names)]
    return (*sorted(parts[:-2], key=lambda p: (-p.core, p.name)), *parts[-2:])


def _charges(resident: Resident, margin: dict[str, Any], charges: list[str], of_core: float) -> tuple[Part, ...]:
    """The core and every charge; without one of a `largest_of` group the next largest would count, so that is not said."""
    grouped = {f"charge_{c.module.NAME}" for c in resident.charges if c.largest_of}
    initial = float(margin["initial_margin"])
    found = [Part("core", float(margin["core"]), of_core, {}, float(margin["core"]), None, None, None)]
    for c in charges:
        amount, known = float(margin[c]), c not in grouped
        found.append(Part(c.removeprefix("charge_"), 0.0, None, {c: amount}, amount, initial - amount if known else None, amount if known else None, None))
    return tuple(found)


def _total(values: list[float]) -> float:
    return math.fsum(values)


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
