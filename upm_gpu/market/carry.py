"""What holding a stock costs and pays: the files `dividends` (cash, by ex date) and `carry` (borrow rate and dividend yield by tenor), and the forward they give.

Between ex dates the stock grows at the zero rate of the currency its spot is quoted in, less borrow rate and dividend yield; at an ex date it falls by the dividend:

    F(T) = G(T) (S - sum of D_i / G(t_i) over 0 < t_i < T),   G(t) = Q(t) / P(t),

P the discount factor, Q(t) = exp(-(borrow + yield)(t) t) with both linear in tenor and flat outside. A dividend at or after the expiry has no effect. A forward that is quoted is used as it is,
and compared (`consistency.py`).

Like all market files these are read whole or not at all. Verified: tests/known_answers/test_carry.py, tests/faults/test_carry_files.py.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

import numpy as np

from upm_gpu.domain.cells import CellFault, currency, identifiers, instants, numbers, reject_codes, require
from upm_gpu.domain.tables import Schema, Sheet, read_chunks
from upm_gpu.domain.text import instant_text
from upm_gpu.errors import MarketDataError
from upm_gpu.market.levels import discount_factor
from upm_gpu.market.snapshot import DAYS_PER_YEAR, CarryPoint, Dividend, MarketSnapshot, days_between

DIVIDENDS = Schema("dividends", ("underlying", "ex_date", "amount", "currency"), ids=frozenset({"underlying", "currency"}), room="MD", may_be_empty=True)
CARRY = Schema("carry", ("underlying", "tenor_days", "borrow_rate", "dividend_yield"), ids=frozenset({"underlying"}), room="MD", may_be_empty=True)
LARGEST_RATE = 1.0


def read_dividends(path: Path, sheet: Sheet, spots: Mapping[str, float], spot_currency: Mapping[str, str], reporting_currency: str, valuation_time: datetime) -> dict[str, tuple[Dividend, ...]]:
    """underlying -> dividends to come, ascending by ex date; those gone ex are left out with a warning. `sheet` collects rows that cannot be used."""
    found: dict[str, dict[datetime, float]] = {}
    past = 0
    for chunk in read_chunks(path, DIVIDENDS, sheet):
        code, names = identifiers(chunk, "underlying")
        unit, currencies = identifiers(chunk, "currency")
        faults = {}
        for i, name in enumerate(currencies):
            try:
                currency(name, "currency")
            except CellFault as fault:
                faults[i] = fault
        reject_codes(chunk, "currency", unit, faults)
        dates = instants(chunk, "ex_date")
        amount = numbers(chunk, "amount")
        require(chunk, "amount", amount, amount > 0.0, 43, lambda cell: f"{cell} is not a dividend. It must be above 0.")
        for r in np.flatnonzero(~chunk.rejected).tolist():
            name, date = names[code[r]], dates[r]
            assert date is not None
            own = spot_currency.get(name, reporting_currency)
            if name not in spots:
                chunk.reject(r, "underlying", 51, f"{name} has no spot price. Add it to spots.")
            elif currencies[unit[r]] != own:
                chunk.reject(r, "currency", 146, f"{name} is priced in {own} and its dividend is in {currencies[unit[r]]}. Give the amount in {own}.")
            elif date in found.get(name, {}):
                chunk.reject(r, "ex_date", 48, f"{name} has two dividends at {instant_text(date)}. Add their amounts.")
            elif date <= valuation_time:
                past += 1
            else:
                found.setdefault(name, {})[date] = float(amount[r])
    if past:
        sheet.warnings.append(f"UPM-MD-029 {sheet.file}: {past} dividends had gone ex at the valuation time and are left out.")
    return {name: tuple(Dividend(d, a) for d, a in sorted(rows.items())) for name, rows in sorted(found.items())}


def read_carry(path: Path, sheet: Sheet, spots: Mapping[str, float]) -> dict[str, tuple[CarryPoint, ...]]:
    """underlying -> its points, ascending by tenor."""
    found: dict[str, dict[float, CarryPoint]] = {}
    for chunk in read_chunks(path, CARRY, sheet):
        code, names = identifiers(chunk, "underlying")
        tenor = numbers(chunk, "tenor_days")
        require(chunk, "tenor_days", tenor, tenor > 0.0, 43, lambda cell: f"{cell} is not a tenor in days. It must be above 0.")
        rates = {column: numbers(chunk, column) for column in ("borrow_rate", "dividend_yield")}
        for column, values in rates.items():
            require(chunk, column, values, np.abs(values) < LARGEST_RATE, 56, lambda cell: f"{cell} is 100 % or more. Rates are decimals: 0.05 is 5 %.")
        for r in np.flatnonzero(~chunk.rejected).tolist():
            name, days = names[code[r]], float(tenor[r])
            if name not in spots:
                chunk.reject(r, "underlying", 51, f"{name} has no spot price. Add it to spots.")
            elif days in found.get(name, {}):
                chunk.reject(r, "tenor_days", 48, f"{name} has two rows of this tenor. Keep one.")
            else:
                found.setdefault(name, {})[days] = CarryPoint(days, float(rates["borrow_rate"][r]), float(rates["dividend_yield"][r]))
    return {name: tuple(rows[d] for d in sorted(rows)) for name, rows in sorted(found.items())}


def carried(market: MarketSnapshot, underlying: str) -> bool:
    """Whether anything is known of what the underlying pays or costs."""
    return underlying in market.carry or underlying in market.dividends


def growth(market: MarketSnapshot, underlying: str, days: float) -> float:
    """G(t): what a unit of the stock held without dividends grows to, zero rate less borrow rate and dividend yield."""
    points = market.carry.get(underlying, ())
    cost = float(np.interp(days, [p.tenor_days for p in points], [p.borrow_rate + p.dividend_yield for p in points])) if points else 0.0
    code = market.spot_currency.get(underlying, market.reporting_currency)
    return math.exp(-cost * days / DAYS_PER_YEAR) / discount_factor(market, code, days)


def dividends_before(market: MarketSnapshot, underlying: str, expiry: datetime) -> tuple[Dividend, ...]:
    """Cash dividends between the valuation time and an expiry."""
    return tuple(d for d in market.dividends.get(underlying, ()) if market.valuation_time < d.ex_date < expiry)


def carried_forward(market: MarketSnapshot, underlying: str, expiry: datetime) -> float:
    """F(T) in the currency of the spot. Raises MarketDataError UPM-MD-147 where the dividends leave nothing of the stock."""
    days = days_between(market.valuation_time, expiry)
    code = market.spot_currency.get(underlying, market.reporting_currency)
    left = market.spots[underlying] / market.spots.get(code, 1.0)
    for paid in dividends_before(market, underlying, expiry):
        left -= paid.amount / growth(market, underlying, days_between(market.valuation_time, paid.ex_date))
    if not left > 0.0:
        raise MarketDataError("UPM-MD-147", f"{underlying}: its dividends before {instant_text(expiry)} are worth more than the stock. Check their amounts and their currency.")
    return left * growth(market, underlying, days)
