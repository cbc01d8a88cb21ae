"""The terms and today's market of everything a book holds, as columns: what a rule book prices and labels.

Volatilities are the quotes of the market as they stand, because that is what a venue margins with; a strike without a quote takes the fitted
surface. Verified: tests/end_to_end/test_rulebook_frame.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from upm_gpu.domain.instrument import Exotic, Future, Instrument, Option, Perpetual, Spot, expiry_of
from upm_gpu.errors import InputError, MarketDataError
from upm_gpu.market.levels import discount_factor, exchange_rate, quote_price, spot_price
from upm_gpu.market.snapshot import MarketSnapshot, days_between
from upm_gpu.pricing.styles import early_exercise

SPOT, FUTURE, PERPETUAL, OPTION = range(4)


@dataclass(frozen=True)
class Terms:
    """Columns over instruments, (N,). Prices in the quote currency; what an instrument does not have is NaN (strike, volatility, times) or 0 (sign)."""

    instrument_id: tuple[str, ...]
    underlyings: tuple[str, ...]
    expiries: tuple[tuple[str, datetime | None], ...]
    """(underlying, expiry) of every bucket, ordered, without expiry first; `bucket` counts in it"""
    kind: NDArray[np.int8]
    """SPOT, FUTURE, PERPETUAL or OPTION"""
    underlying: NDArray[np.int32]
    bucket: NDArray[np.int32]
    collateral: NDArray[np.bool_]
    """posted as collateral (a spot), not traded"""
    inverse: NDArray[np.bool_]
    """paid in coins of the underlying"""
    american: NDArray[np.bool_]
    """priced with early exercise"""
    sign: NDArray[np.float64]
    """+1 call, -1 put, 0 for all else"""
    strike: NDArray[np.float64]
    years: NDArray[np.float64]
    """to expiry, ACT/365 with the hour; NaN without one"""
    forward: NDArray[np.float64]
    """price of the future or perpetual, forward of the option, the spot of a spot"""
    index: NDArray[np.float64]
    """today's index of the underlying"""
    volatility: NDArray[np.float64]
    rate: NDArray[np.float64]
    """continuously compounded to the expiry, of what is discounted; 0 for all else"""
    exchange: NDArray[np.float64]
    """one unit of the quote currency in the reporting currency"""
    contract_size: NDArray[np.float64]
    quote_currency: tuple[str, ...] = ()
    """of each instrument, "" for spot; empty where a rule book need not know"""

    @property
    def count(self) -> int:
        """N."""
        return len(self.instrument_id)

    @property
    def days(self) -> NDArray[np.float64]:
        """(N,) to expiry; NaN without one."""
        return self.years * 365.0

    def of_kind(self, *kinds: int) -> NDArray[np.bool_]:
        """(N,) whether an instrument is one of the kinds."""
        return np.isin(self.kind, kinds)


def make_terms(instruments: Sequence[Instrument], collateral: Sequence[bool], market: MarketSnapshot) -> Terms:
    """Columns of `instruments`; raises InputError UPM-CF-121 for what no rule book values, MarketDataError for a missing level or volatility."""
    for instrument in instruments:
        if isinstance(instrument, Exotic):
            raise InputError("UPM-CF-121", f"{instrument.instrument_id}: rule books value spot, futures, perpetuals and plain options, not a {instrument.product}. "
                             "Remove it, or margin the book under a Monte Carlo methodology.")
        if isinstance(instrument, Option) and instrument.quanto is not None:
            raise InputError("UPM-CF-121", f"{instrument.instrument_id}: rule books do not value options that are paid in another currency at a fixed rate. "
                             "Remove it, or margin the book under a Monte Carlo methodology.")
    underlyings = tuple(sorted({i.underlying for i in instruments}))
    expiries = tuple(sorted({(i.underlying, expiry_of(i)) for i in instruments}, key=lambda e: (e[0], e[1] is not None, e[1] or market.valuation_time)))
    place = {u: n for n, u in enumerate(underlyings)}
    bucket = {e: n for n, e in enumerate(expiries)}
    kinds = {Spot: SPOT, Future: FUTURE, Perpetual: PERPETUAL, Option: OPTION}
    reals = np.full((8, len(instruments)), np.nan)
    sign, strike, years, forward, index, rate, exchange, size = reals
    inverse = np.zeros(len(instruments), bool)
    american = np.zeros(len(instruments), bool)
    levels: dict[tuple, tuple[float, float, float, float, float]] = {}
    for n, i in enumerate(instruments):
        size[n], sign[n], rate[n] = i.contract_size, 0.0, 0.0
        if isinstance(i, Spot):
            index[n] = forward[n] = spot_price(market, i.underlying, i.instrument_id)
            exchange[n] = 1.0
            continue
        inverse[n] = i.settlement == "inverse"
        key = (i.underlying, expiry_of(i), i.quote_currency, i.future_expiry if isinstance(i, Option) else None)
        if key not in levels:
            levels[key] = _levels(i, market)
        years[n], forward[n], index[n], discount, exchange[n] = levels[key]
        if isinstance(i, Option):
            sign[n] = 1.0 if i.option_type == "call" else -1.0
            strike[n], american[n] = i.strike, early_exercise(i)
            if i.settlement == "linear" and i.premium == "upfront":
                rate[n] = -np.log(discount) / years[n]
    return Terms(
        tuple(i.instrument_id for i in instruments), underlyings, expiries, np.array([kinds[type(i)] for i in instruments], np.int8),
        np.array([place[i.underlying] for i in instruments], np.int32), np.array([bucket[i.underlying, expiry_of(i)] for i in instruments], np.int32),
        np.array(collateral, bool), inverse, american, sign, strike, years, forward, index, quoted_volatility(instruments, market, forward, years), rate, exchange, size,
        tuple("" if isinstance(i, Spot) else i.quote_currency for i in instruments))


def _levels(instrument: Future | Perpetual | Option, market: MarketSnapshot) -> tuple[float, float, float, float, float]:
    """Years, forward, index (quote currency), discount factor and exchange rate of an expiry."""
    rate = exchange_rate(market, instrument)
    index = spot_price(market, instrument.underlying, instrument.instrument_id) / rate
    expiry = expiry_of(instrument)
    days = np.nan if expiry is None else days_between(market.valuation_time, expiry)
    if days <= 0.0:
        raise InputError("UPM-IN-029", f"{instrument.instrument_id} expired at {instrument.expiry.isoformat()}, before the valuation time "  # type: ignore[union-attr]
                         f"{market.valuation_time.isoformat()}. Remove the position or value at an earlier time.")
    discount = 1.0 if expiry is None else discount_factor(market, instrument.quote_currency, days)
    return days / 365.0, quote_price(market, instrument), index, discount, rate


def quoted_volatility(instruments: Sequence[Instrument], market: MarketSnapshot, forward: NDArray[np.float64], years: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N,) quoted volatility of every option, of the fitted surface where the strike has no quote; NaN for all else. MarketDataError UPM-MD-053 where there is neither."""
    quotes = market.quotes
    known = {(quotes.underlying[q], quotes.expiry[q], float(quotes.strike[q])): float(quotes.implied_volatility[q]) for q in range(len(quotes.expiry))}
    out = np.full(len(instruments), np.nan)
    absent: dict[tuple[str, datetime], list[int]] = {}
    for n, i in enumerate(instruments):
        if isinstance(i, Option):
            out[n] = known.get((i.underlying, i.expiry, float(i.strike)), np.nan)
            if np.isnan(out[n]):
                absent.setdefault((i.underlying, i.expiry), []).append(n)
    if absent:
        from upm_gpu.formula.families import svi_total_variance
        from upm_gpu.market.surface import fit_surfaces, slice_at

        surfaces = fit_surfaces(market, {u for u, _ in absent})
        for (underlying, expiry), members in absent.items():
            if underlying not in surfaces:
                raise MarketDataError("UPM-MD-053", f"{instruments[members[0]].instrument_id}: no implied volatility of {underlying} at all. Add quotes to implied_vols.")
            smile = slice_at(surfaces[underlying], expiry)
            k = np.log(np.array([instruments[n].strike for n in members]) / forward[members])  # type: ignore[union-attr]
            out[members] = np.sqrt(svi_total_variance(k, smile.a, smile.b, smile.rho, smile.m, smile.s) / years[members])
    return out
