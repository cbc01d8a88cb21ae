"""Terms of an option that is paid in another currency at a fixed rate, checked cell by cell."""

from __future__ import annotations

import math
from dataclasses import replace

from upm_gpu.domain.cells import CellFault, currency, parse_number, shown
from upm_gpu.domain.faults import ColumnFault
from upm_gpu.domain.instrument import Instrument, Option, Quanto

QUANTO_COLUMNS = ("payout_rate", "payout_volatility", "payout_correlation")


def with_payout(instrument: Instrument, text: dict[str, str]) -> Instrument:
    """The option with its fixed rate where its settlement is quanto; any other contract unchanged if it pays in its own currency. ColumnFault for the rest."""
    cell = text.get("payout_currency", "").strip(" \t")
    settlement = getattr(instrument, "settlement", "linear")
    if settlement != "quanto":
        given = next((c for c in QUANTO_COLUMNS if text.get(c, "").strip()), None)
        if given:
            raise ColumnFault(given, 42, f"a contract whose settlement is {settlement} has no {given.replace('_', ' ')}, but {shown(text[given])} is given. Leave it blank or set settlement to quanto.")
        own = instrument.underlying if settlement == "inverse" else instrument.quote_currency
        if cell and cell.upper() != own.upper():
            raise ColumnFault("payout_currency", 41, f"a contract on {instrument.underlying} in {own} that pays {shown(cell)} needs settlement quanto, which European options have, and its payout_rate.")
        return instrument
    if type(instrument) is not Option or instrument.exercise == "american" or instrument.premium == "futures":
        raise ColumnFault("settlement", 41, "quanto settlement is priced for plain European options whose premium is paid up front. Remove the instrument and its positions.")
    if not cell:
        raise ColumnFault("payout_currency", 32, "a contract whose settlement is quanto needs the currency it pays in.")
    try:
        paid = currency(cell)
    except CellFault as fault:
        raise ColumnFault("payout_currency", fault.number, fault.message) from None
    if paid == instrument.quote_currency:
        raise ColumnFault("payout_currency", 42, f"a contract that pays {paid}, its quote currency, is linear. Set settlement to linear, or name the other currency.")
    rate, volatility, correlation = (_number(text, c) for c in QUANTO_COLUMNS)
    if not 0.0 < rate <= 1e12:
        raise ColumnFault("payout_rate", 32, f"{shown(text.get('payout_rate', ''))} is not a rate. It must be above 0 and at most 1e12: units of {paid} for each unit of {instrument.quote_currency}.")
    if not (math.isnan(volatility) or 0.0 <= volatility <= 5.0):
        raise ColumnFault("payout_volatility", 32, f"{shown(text['payout_volatility'])} is not a volatility of an exchange rate. It must lie between 0 and 5 a year; leave it blank for the model's.")
    if abs(correlation) > 1.0:
        raise ColumnFault("payout_correlation", 32, f"{shown(text['payout_correlation'])} is not a correlation. It must lie between -1 and 1; leave it blank for the model's.")
    return replace(instrument, quanto=Quanto(paid, rate, *(None if math.isnan(x) else x for x in (volatility, correlation))))


def _number(text: dict[str, str], column: str) -> float:
    """A cell as a number, NaN where blank, or ColumnFault."""
    cell = text.get(column, "").strip()
    if not cell:
        return math.nan
    try:
        return parse_number(cell)
    except CellFault as fault:
        raise ColumnFault(column, fault.number, fault.message) from None


__all__ = ["QUANTO_COLUMNS", "with_payout"]
