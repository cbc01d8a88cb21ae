"""Today's level of anything held: spot, exchange rate, price of a future or forward of an expiry.

One place, so that P&L, equity and the loss that came start from the same F_0. Verified: tests/end_to_end/test_levels.py.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from upm_gpu.domain.instrument import Future, Option, Perpetual, expiry_of
from upm_gpu.errors import MarketDataError
from upm_gpu.market.snapshot import MarketSnapshot, years_between


def spot_price(market: MarketSnapshot, asset: str, who: str) -> float:
    """One unit of an asset in the reporting currency; MarketDataError UPM-MD-051 names `who` needs it."""
    price = 1.0 if asset == market.reporting_currency else market.spots.get(asset)
    if price is None:
        raise MarketDataError("UPM-MD-051", f"{who}: no spot price of {asset}. Add it to spots.")
    return price


def exchange_rate(market: MarketSnapshot, instrument: Future | Option | Perpetual) -> float:
    """One unit of the quote currency in the reporting currency; MarketDataError UPM-MD-052 where there is none."""
    if instrument.quote_currency == market.reporting_currency:
        return 1.0
    rate = market.spots.get(instrument.quote_currency)
    if rate is None:
        raise MarketDataError("UPM-MD-052", f"{instrument.instrument_id}: no exchange rate of {instrument.quote_currency} to "
                              f"{market.reporting_currency}. Add {instrument.quote_currency} to spots.")
    return rate


def payment_rate(market: MarketSnapshot, instrument: Future | Option | Perpetual) -> float:
    """What a unit of the quote currency pays in the reporting currency: the exchange rate, or the fixed rate times that of the currency it is paid in. Raises as `exchange_rate`."""
    quanto = instrument.quanto if isinstance(instrument, Option) else None
    if quanto is None:
        return exchange_rate(market, instrument)
    return quanto.rate * exchange_rate(market, replace(instrument, quote_currency=quanto.currency))


def quote_price(market: MarketSnapshot, instrument: Future | Option | Perpetual) -> float:
    """F_0 in the quote currency: of the perpetual, or of the expiry; of an option on a future, that future's.

    As quoted. A perpetual without a quote stands at the spot; an expiry without one is what spot, rates, borrow and dividends give where any are known (`carry.py`), else takes
    ln(F/S) linear in time between quoted expiries, the carry rate of the last one beyond it, and the spot where no expiry is quoted.
    """
    expiry = (instrument.future_expiry if isinstance(instrument, Option) else None) or expiry_of(instrument)
    quoted = market.forwards.get((instrument.underlying, expiry))
    if quoted is not None:
        return quoted
    spot = spot_price(market, instrument.underlying, instrument.instrument_id) / exchange_rate(market, instrument)
    if expiry is None:
        return spot
    if instrument.underlying in market.carry or instrument.underlying in market.dividends:
        from upm_gpu.market.carry import carried_forward

        code = market.spot_currency.get(instrument.underlying, market.reporting_currency)
        return carried_forward(market, instrument.underlying, expiry) * spot_price(market, code, instrument.instrument_id) / exchange_rate(market, instrument)
    known = sorted((years_between(market.valuation_time, e), math.log(f / spot)) for (u, e), f in market.forwards.items()
                   if u == instrument.underlying and e is not None and e > market.valuation_time)
    years = years_between(market.valuation_time, expiry)
    if not known:
        return spot
    if years >= known[-1][0]:
        return spot * math.exp(known[-1][1] / known[-1][0] * years)
    times, carries = [0.0, *(k[0] for k in known)], [0.0, *(k[1] for k in known)]
    return spot * math.exp(float(np.interp(years, times, carries)))


def daily_funding(market: MarketSnapshot, asset: str) -> float | None:
    """The last close of ASSET.FUNDING, the funding of a day as a fraction of the index (positive: longs pay); None where the history has none."""
    history = market.history
    if not len(history):
        return None
    closes = history.loc[history["asset"] == f"{asset}.FUNDING", "close"].to_numpy(np.float64)
    return float(closes[-1]) if len(closes) else None


def discount_factor(market: MarketSnapshot, currency: str, days: float) -> float:
    """exp(-z t) of the zero curve of a currency, zero rates linear in tenor and flat outside; 1 without one."""
    curve = market.rates.get(currency, ())
    if not curve:
        return 1.0
    tenors, rates = zip(*curve, strict=True)
    return math.exp(-float(np.interp(days, tenors, rates)) * days / 365.0)
