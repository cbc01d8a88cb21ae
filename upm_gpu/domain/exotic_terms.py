"""The columns of the instruments table that name an option's further terms: `product` and what each product needs, by the names of `upm price`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from upm_gpu.domain.cells import CellFault, check_id, choice, parse_instant, parse_number, shown
from upm_gpu.domain.faults import ColumnFault
from upm_gpu.domain.instrument import TWO_ASSETS, Exotic, Option

COLUMNS = ("product", "barrier", "barrier_type", "rebate", "monitoring", "payout_type", "payout", "payout_time", "asian_average", "fixings", "average_so_far", "fixings_so_far",
           "underlying_2", "correlation", "moneyness", "start_time", "lower_barrier", "upper_barrier")
"""optional columns of the instruments table; a blank product is a plain option"""
PRODUCTS = ("digital", "barrier", "one_touch", "no_touch", "asian", *TWO_ASSETS, "forward_start", "double_barrier")
USES = {
    "digital": ("payout_type", "payout"),
    "barrier": ("barrier", "barrier_type", "rebate", "monitoring", "fixings"),
    "one_touch": ("barrier", "barrier_type", "monitoring", "fixings", "payout_type", "payout", "payout_time"),
    "no_touch": ("barrier", "barrier_type", "monitoring", "fixings", "payout_type", "payout", "payout_time"),
    "asian": ("asian_average", "monitoring", "fixings", "average_so_far", "fixings_so_far"),
    **dict.fromkeys(TWO_ASSETS, ("underlying_2", "correlation")),
    "forward_start": ("moneyness", "start_time"),
    "double_barrier": ("lower_barrier", "upper_barrier", "barrier_type", "rebate", "monitoring"),
}
"""columns that a product reads beside `product`"""
TOUCHES = ("one_touch", "no_touch")
STRIKE_COLUMN = {"one_touch": "barrier", "no_touch": "barrier", "forward_start": "moneyness"}
"""where what an instrument keeps as its strike stands, for products without one"""
MOST_FIXINGS = 4096
IN_COINS = ("digital", "barrier", "one_touch", "no_touch", "double_barrier")
"""products that may be inverse: paid at the expiry in coins at the index then. An average is converted at itself, two assets have two coins, a forward start has its strike in the level of another day"""


def product_of(text: dict[str, str]) -> str:
    """The product of a row; "" for a plain option."""
    cell = text.get("product", "").strip()
    if not cell or cell in ("european", "american"):
        return ""
    return _chosen(text, "product", PRODUCTS)


def check_unused(kind: str, product: str, text: dict[str, str]) -> None:
    """Refuse terms that the product does not have."""
    for column in COLUMNS[1:] if kind == "option" else COLUMNS:
        if text.get(column, "").strip() and column not in USES.get(product, ()):
            what = product or ("plain option" if kind == "option" else kind)
            raise ColumnFault(column, 42, f"a {what} has no {column.replace('_', ' ')}, but {shown(text[column])} is given. Leave it blank or change the product.")


def make_exotic(product: str, plain: Option, text: dict[str, str]) -> Exotic:
    """The option with its further terms, or ColumnFault."""
    if plain.exercise == "american" or plain.settlement == "quanto" or (plain.settlement == "inverse" and product not in IN_COINS):
        raise ColumnFault("product", 41, f"a {product} that is {'exercised early' if plain.exercise == 'american' else plain.settlement} is not priced. Remove the instrument and its positions.")
    made = Exotic(plain.instrument_id, plain.underlying, plain.settlement, plain.quote_currency, plain.contract_size, plain.expiry, plain.strike, plain.option_type, premium=plain.premium,
                  product=product, **_READ[product](product, text, plain.expiry))  # type: ignore[arg-type]
    at_the_hit = "payout_time" if made.payout_time == "hit" else "rebate" if made.rebate and made.barrier_type.endswith("out") else ""
    if plain.settlement == "inverse" and at_the_hit:
        raise ColumnFault(at_the_hit, 41, f"a {product} paid in coins at the hit is not priced: what the coins are worth at the horizon hangs on the level at the hit. Remove the instrument and its positions.")
    return made


def strike_instead(product: str, text: dict[str, str]) -> float:
    """What stands for the strike of a product that has none: the barrier of a touch, the moneyness of a forward start."""
    return _positive(text, STRIKE_COLUMN[product])


def _digital(product: str, text: dict[str, str], expiry: datetime) -> dict[str, Any]:
    return _payout(text)


def _barrier(product: str, text: dict[str, str], expiry: datetime) -> dict[str, Any]:
    return {"fixings": _looked_at(text, expiry), "barrier": _positive(text, "barrier"), "barrier_type": _chosen(text, "barrier_type", ("up_out", "up_in", "down_out", "down_in")), "rebate": _positive(text, "rebate", 0.0)}


def _double_barrier(product: str, text: dict[str, str], expiry: datetime) -> dict[str, Any]:
    _continuous(text, "double barrier")
    lower, upper = _positive(text, "lower_barrier"), _positive(text, "upper_barrier")
    if lower >= upper:
        raise ColumnFault("upper_barrier", 32, f"the upper barrier {upper:g} is not above the lower one {lower:g}. Correct one of them.")
    return {"lower_barrier": lower, "upper_barrier": upper, "barrier_type": _chosen(text, "barrier_type", ("knock_out", "knock_in")), "rebate": _positive(text, "rebate", 0.0)}


def _touch(product: str, text: dict[str, str], expiry: datetime) -> dict[str, Any]:
    payout = _payout(text)
    when = _chosen(text, "payout_time", ("hit", "expiry") if product == "one_touch" else ("expiry",), "" if product == "one_touch" else "expiry")
    if when == "hit" and payout["payout_type"] == "asset":
        raise ColumnFault("payout_time", 41, "an asset paid at the hit is not priced in a book. Give its value as cash (the barrier times the units).")
    return {**payout, "fixings": _looked_at(text, expiry), "barrier": _positive(text, "barrier"), "barrier_type": _chosen(text, "barrier_type", ("up", "down")), "payout_time": when}


def _asian(product: str, text: dict[str, str], expiry: datetime) -> dict[str, Any]:
    if text.get("monitoring", "").strip() not in ("", "discrete"):
        raise ColumnFault("monitoring", 41, f"{shown(text['monitoring'])}: an average over all times is not priced in a book. List its fixings, such as one a minute.")
    average = _chosen(text, "asian_average", ("geometric", "arithmetic"))
    past = _number(text, "fixings_so_far", 0.0)
    if past != int(past) or not 0.0 <= past <= 1e6:
        raise ColumnFault("fixings_so_far", 32, f"{shown(text['fixings_so_far'])} is not a whole number of fixings.")
    if past and not text.get("average_so_far", "").strip():
        raise ColumnFault("average_so_far", 32, f"{past:g} fixings lie in the past and have no value. Give their average.")
    if not past and text.get("average_so_far", "").strip():
        raise ColumnFault("fixings_so_far", 32, "an average so far is given and the number of its fixings is not. Give it.")
    fixings = _fixings(text, expiry)
    if not fixings and not past:
        raise ColumnFault("fixings", 32, "an average needs fixings. Give their times, separated by semicolons.")
    return {"asian_average": average, "fixings": fixings, "fixings_so_far": int(past), "average_so_far": _positive(text, "average_so_far") if past else 0.0}


def _two_assets(product: str, text: dict[str, str], expiry: datetime) -> dict[str, Any]:
    try:
        second = check_id(text.get("underlying_2", "").strip(" \t"))
    except CellFault as fault:
        raise ColumnFault("underlying_2", fault.number, fault.message) from None
    if second == text["underlying"].strip(" \t"):
        raise ColumnFault("underlying_2", 42, f"a {product} is on two assets, and both are {second}. Name another one.")
    correlation = _number(text, "correlation")
    if abs(correlation) > 1.0:
        raise ColumnFault("correlation", 32, f"{shown(text['correlation'])} is not a correlation. It must lie between -1 and 1; leave it blank for the model's.")
    return {"underlying_2": second, "correlation": None if math.isnan(correlation) else correlation}


def _forward_start(product: str, text: dict[str, str], expiry: datetime) -> dict[str, Any]:
    try:
        start = parse_instant(text.get("start_time", ""))
    except CellFault as fault:
        raise ColumnFault("start_time", fault.number, fault.message) from None
    if start >= expiry:
        raise ColumnFault("start_time", 32, f"the start at {start.isoformat()} is not before the expiry {expiry.isoformat()}. Correct one of them.")
    return {"moneyness": _positive(text, "moneyness"), "fixings": (start,)}


_READ = {"digital": _digital, "barrier": _barrier, "one_touch": _touch, "no_touch": _touch, "asian": _asian, **dict.fromkeys(TWO_ASSETS, _two_assets), "forward_start": _forward_start,
         "double_barrier": _double_barrier}


def _payout(text: dict[str, str]) -> dict[str, Any]:
    kind = _chosen(text, "payout_type", ("cash", "asset"))
    return {"payout_type": kind, "payout": _positive(text, "payout", 1.0 if kind == "asset" else math.nan)}


def _looked_at(text: dict[str, str], expiry: datetime) -> tuple[datetime, ...]:
    """When a barrier is looked at; nothing for all the time."""
    fixings = _fixings(text, expiry)
    if (_chosen(text, "monitoring", ("continuous", "discrete"), "continuous") == "discrete") != bool(fixings):
        raise ColumnFault("fixings", 32, "a barrier has fixings where its monitoring is discrete, and only there. Give their times, separated by semicolons, or leave both blank.")
    return fixings


def _continuous(text: dict[str, str], what: str) -> None:
    if text.get("monitoring", "").strip() not in ("", "continuous"):
        raise ColumnFault("monitoring", 41, f"{shown(text['monitoring'])}: a {what} that is looked at on fixings only is not priced in a book. Remove the instrument and its positions.")


def _fixings(text: dict[str, str], expiry: datetime) -> tuple[datetime, ...]:
    """Instants ascending, none after the expiry."""
    found = []
    for cell in filter(None, (part.strip() for part in text.get("fixings", "").split(";"))):
        try:
            found.append(parse_instant(cell))
        except CellFault as fault:
            raise ColumnFault("fixings", fault.number, fault.message) from None
    if len(found) > MOST_FIXINGS or len(set(found)) < len(found) or (found and max(found) > expiry):
        raise ColumnFault("fixings", 32, f"fixings are at most {MOST_FIXINGS} different times up to the expiry {expiry.isoformat()}.")
    return tuple(sorted(found))


def _chosen(text: dict[str, str], column: str, allowed: Sequence[str], default: str = "") -> str:
    cell = text.get(column, "")
    if default and not cell.strip():
        return default
    try:
        return choice(cell, {name: name for name in allowed}, column.replace("_", " "))
    except CellFault as fault:
        raise ColumnFault(column, fault.number, fault.message) from None


def _number(text: dict[str, str], column: str, default: float = math.nan) -> float:
    cell = text.get(column, "").strip(" \t")
    if not cell:
        return default
    try:
        return parse_number(cell)
    except CellFault as fault:
        raise ColumnFault(column, fault.number, fault.message) from None


def _positive(text: dict[str, str], column: str, default: float = math.nan) -> float:
    """A number above 0 and at most 1e12, or the default where blank (none: refused); a default of 0 lets 0 be."""
    value = _number(text, column, default)
    if not (0.0 < value <= 1e12 or (value == 0.0 == default)):
        name = column.replace("_", " ")
        raise ColumnFault(column, 32, f"{shown(text.get(column, ''))} is not a {name}. It must be above 0 and at most 1e12.")
    return value


__all__ = ["COLUMNS", "STRIKE_COLUMN", "TOUCHES", "check_unused", "make_exotic", "product_of", "strike_instead"]
