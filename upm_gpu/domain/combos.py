"""Combos: packages of other instruments, traded as one and held as their legs.

A combo (spread, straddle, calendar, hedged option) is an instrument of kind `combo` whose column `legs` names what it is made of, `A:1;B:-2`: instrument and
signed contracts a combo. It has no terms and no price of its own. A position of q combos is q times its legs, split before anything is netted, so that it nets with the same
instruments held outright and a combo margins to the bit as its legs do. Contributions are by leg.

Verified by `tests/end_to_end/test_combos.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from upm_gpu.domain.cells import CellFault, check_id, shown
from upm_gpu.domain.faults import ColumnFault

if TYPE_CHECKING:
    from upm_gpu.domain.holdings import Lots

MOST_LEGS = 40
"""legs of a combo: the exchanges allow 4 to 20"""

Legs = tuple[tuple[str, float], ...]
"""(instrument id, signed contracts a combo), in the order given"""


def parse_legs(cell: str) -> Legs:
    """The legs of a `legs` cell, or CellFault 47.

    >>> parse_legs("BTC-PERP:1; BTC-FUT:-2")
    (('BTC-PERP', 1.0), ('BTC-FUT', -2.0))
    """
    found: dict[str, float] = {}
    for part in cell.split(";"):
        name, colon, ratio = part.strip(" \t").rpartition(":")
        try:
            contracts = float(ratio) if colon and ratio.strip(" \t+-.0123456789") == "" else 0.0
        except ValueError:
            contracts = 0.0
        if not 0.0 < abs(contracts) <= 1e6:
            raise CellFault(47, f"{shown(part)} is not a leg of a combo. Write instrument:contracts, legs separated by a semicolon, such as A:1;B:-2.")
        name = check_id(name.strip(" \t"))
        if name in found:
            raise CellFault(47, f"the leg {shown(name)} of the combo is given twice. Give each instrument once.")
        found[name] = contracts
    if len(found) > MOST_LEGS:
        raise CellFault(47, f"a combo of {len(found)} legs; at most {MOST_LEGS} are read. Split the combo.")
    return tuple(found.items())


@dataclass(frozen=True)
class Combo:
    """A package of other instruments."""

    instrument_id: str
    legs: Legs


def is_combo(text: Mapping[str, str]) -> bool:
    """Whether a row of the instruments file is a combo."""
    return text["kind"].strip(" \t").lower() == "combo"


def make_combo(name: str, text: Mapping[str, str]) -> Combo:
    """A combo from its row, or ColumnFault. What a single instrument is described by must be blank, but for underlying, settlement and currency, which are for readers."""
    for column in ("contract_size", "expiry", "strike", "option_type", "exercise", "premium"):
        if text.get(column, "").strip():
            raise ColumnFault(column, 42, f"a combo has no {column.replace('_', ' ')} of its own, but {shown(text[column])} is given. Leave it blank: its legs have theirs.")
    try:
        return Combo(name, parse_legs(text.get("legs", "")))
    except CellFault as fault:
        raise ColumnFault("legs", fault.number, fault.message) from None


def leg_fault(legs: Legs, instruments: Mapping[str, object], combos: Mapping[str, Legs]) -> CellFault | None:
    """Why the legs cannot be used: one that is not an instrument, or a combo itself."""
    for name, _ in legs:
        if name in combos:
            return CellFault(47, f"the leg {shown(name)} is a combo itself. Name the instruments it is made of.")
        if name not in instruments:
            return CellFault(47, f"the leg {shown(name)} of the combo is not a usable row of the instruments file. Add it or correct the id.")
    return None


def combos_text(legs: Legs) -> str:
    """Legs as the file writes them.

    >>> combos_text((("A", 1.0), ("B", -2.5)))
    'A:1;B:-2.5'
    """
    return ";".join(f"{name}:{ratio:g}" for name, ratio in legs)


def split_combos(lots: Lots, order: Sequence[str], combos: Sequence[Legs]) -> Lots:
    """Lots with every combo, whose `instrument` is len(order) + its number, replaced by its legs, indices into the instrument ids `order`.

    Legs count as traded with an id: two combos that share a leg are no repetition of a row. contracts = combos x contracts a combo.
    """
    from upm_gpu.domain.holdings import Lots

    number = lots.instrument - len(order)
    held = np.flatnonzero(number >= 0)
    if not len(held):
        return lots
    place = {name: i for i, name in enumerate(order)}
    row = np.concatenate([np.flatnonzero(number < 0), np.repeat(held, [len(combos[c]) for c in number[held]])])
    legs = [leg for c in number[held] for leg in combos[c]]
    plain = len(row) - len(legs)

    def all_rows(values: NDArray, of_legs: NDArray) -> NDArray:
        return np.concatenate([values[row[:plain]], of_legs]).astype(values.dtype)

    instrument = np.array([place[name] for name, _ in legs], np.int32)
    contracts = lots.contracts[row[plain:]] * np.array([ratio for _, ratio in legs])
    return Lots(lots.accounts, lots.netting_sets, lots.account[row], lots.netting_set[row], all_rows(lots.instrument, instrument), all_rows(lots.contracts, contracts),
                all_rows(lots.entry_price, np.full(len(legs), np.nan)), all_rows(lots.has_trade_id, np.ones(len(legs), bool)))
