"""One option chain as a fit sees it: out-of-the-money prices over the forward, their volatilities, spreads and vegas, by expiry.

A strike quoted as a call and as a put is one quote, that of the side that is out of the money. Left out, and counted by reason: quotes beyond `reach` standard deviations at the money (exchanges quote
a flat volatility there by convention), closer to their expiry than `least_days`, or outside 0.5 % to 1,000 % volatility. A price that no volatility gives (below the payoff or at its bound) is an arbitrage in the input and
refused by name (UPM-CA-211), as are too few quotes (UPM-CA-210).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from upm_gpu.domain.text import instant_text
from upm_gpu.errors import CalibrationError
from upm_gpu.formula.out_of_the_money import black_out_of_the_money
from upm_gpu.market.arbitrage import QuoteLine
from upm_gpu.market.snapshot import MarketSnapshot, years_between
from upm_gpu.market.surface import MAX_VOLATILITY, MIN_VOLATILITY

REACH = 5.0
"""standard deviations at the money, as `surface.NEAR`"""
LEAST_DAYS = 1.0
"""an expiry nearer than this is settled by the hours and news of the day, not by a law of years"""


@dataclass(frozen=True)
class Chain:
    """Q quotes of one underlying at one time, sorted by expiry and strike; prices undiscounted, over the forward."""

    underlying: str
    valuation_time: datetime | None
    years: NDArray[np.float64]
    """(E,) ascending"""
    labels: tuple[str, ...]
    """(E,) what the expiries are called"""
    expiry: NDArray[np.int64]
    """(Q,) index into `years`"""
    forward: NDArray[np.float64]
    strike: NDArray[np.float64]
    volatility: NDArray[np.float64]
    spread: NDArray[np.float64]
    """(Q,) ask less bid, undiscounted over the forward; NaN where not quoted"""
    left_out: Mapping[str, int] = field(default_factory=dict)
    """reason -> quotes"""

    @property
    def log_moneyness(self) -> NDArray[np.float64]:
        """(Q,) k = ln(F / K)."""
        return np.asarray(np.log(self.forward / self.strike))

    @property
    def deviation(self) -> NDArray[np.float64]:
        """(E,) total standard deviation at the money."""
        return np.array([_at_the_money(self.log_moneyness[self.expiry == e], self.volatility[self.expiry == e]) * np.sqrt(t) for e, t in enumerate(self.years)])

    @property
    def price(self) -> NDArray[np.float64]:
        """(Q,) out-of-the-money prices over the forward."""
        k = self.log_moneyness
        return np.asarray(black_out_of_the_money(np.abs(k), self.volatility * np.sqrt(self.years[self.expiry])) * np.minimum(1.0, np.exp(-k)))

    @property
    def vega(self) -> NDArray[np.float64]:
        """(Q,) of the price over the forward, a unit of volatility."""
        return black_vega(self.log_moneyness, self.volatility, self.years[self.expiry])

    def only(self, keep: NDArray[np.bool_]) -> Chain:
        """The chain of some of its quotes."""
        expiries = np.unique(self.expiry[keep])
        return Chain(self.underlying, self.valuation_time, self.years[expiries], tuple(self.labels[e] for e in expiries), np.searchsorted(expiries, self.expiry[keep]),
                     self.forward[keep], self.strike[keep], self.volatility[keep], self.spread[keep], self.left_out)


def black_vega(k: Any, volatility: Any, years: Any, xp: Any = np) -> Any:
    """phi(d1) sqrt(T): of a price over the forward, k = ln(F / K); arrays of `xp`."""
    stdev = volatility * xp.sqrt(years)
    d1 = k / stdev + 0.5 * stdev
    return xp.exp(-0.5 * d1 * d1) * xp.sqrt(years / (2.0 * np.pi))


def make_chain(underlying: str, valuation_time: datetime | None, labels: Sequence[str], years: NDArray[np.float64], forward: NDArray[np.float64], strike: NDArray[np.float64],
               volatility: NDArray[np.float64], spread: NDArray[np.float64], reach: float = REACH, least_days: float = LEAST_DAYS, unknowns: int = 5) -> Chain:
    """A chain of rows (Q,): label and time of their expiry, forward, strike, volatility (NaN: none), spread (NaN: none).

    Raises `CalibrationError` UPM-CA-210 where fewer than `unknowns` + 1 quotes are left.
    """
    left: dict[str, int] = {}
    good = np.ones(len(strike), bool)
    for reason, keep in ((f"within {least_days:g} {'day' if least_days == 1.0 else 'days'} of their expiry", years >= least_days / 365.0), ("without a forward", forward > 0.0),
                         (f"volatility outside {MIN_VOLATILITY:g} to {MAX_VOLATILITY:g}", (volatility >= MIN_VOLATILITY) & (volatility <= MAX_VOLATILITY))):
        _count(left, reason, good & ~keep)
        good &= keep
    expiries = sorted({(float(t), str(n)) for t, n, g in zip(years, labels, good, strict=True) if g})
    at = {n: i for i, (_, n) in enumerate(expiries)}
    names = np.array([str(n) for n in labels], object)
    index = np.array([at.get(n, -1) for n in names], np.int64)
    k = np.full(len(strike), np.nan)
    k[good] = np.log(forward[good] / strike[good])
    for i, (t, _) in enumerate(expiries):
        own = good & (index == i)
        far = own & (np.abs(k) > reach * _at_the_money(k[own], volatility[own]) * np.sqrt(t))
        _count(left, f"beyond {reach:g} standard deviations", far)
        good &= ~far
    if np.count_nonzero(good) <= unknowns:
        aside = "; ".join(f"{n} {reason}" for reason, n in left.items()) or "none"
        raise CalibrationError("UPM-CA-210", f"{underlying}: too few quotes, {np.count_nonzero(good)} usable ones for {unknowns} parameters (left out: {aside}). Give a fuller chain, or a model with fewer parameters.")
    order = np.lexsort((strike, index))
    order = order[good[order]]
    kept = np.unique(index[order])
    return Chain(underlying, valuation_time, np.array([expiries[i][0] for i in kept]), tuple(expiries[i][1] for i in kept), np.searchsorted(kept, index[order]), forward[order], strike[order],
                 volatility[order], spread[order], left)


def with_units(market: MarketSnapshot) -> MarketSnapshot:
    """The market with `linear_marks` read off its quotes, which a book says where there is one: bids and asks are in the currency where that is nearer to Black's price than coins are, by the median of the logarithms."""
    q = market.quotes
    middle = 0.5 * (q.bid + q.ask)
    found = {}
    for u in sorted(set(map(str, q.underlying))):
        rows = np.flatnonzero((q.underlying == u) & (middle > 0.0))
        forward = np.array([market.forwards.get((u, q.expiry[i]), np.nan) for i in rows])
        years = np.array([years_between(market.valuation_time, q.expiry[i]) for i in rows])
        good = (forward > 0.0) & (years > 0.0)
        k = np.log(forward[good] / q.strike[rows][good])
        coins = black_out_of_the_money(np.abs(k), q.implied_volatility[rows][good] * np.sqrt(years[good])) * np.minimum(1.0, np.exp(-k))
        seen = coins > 1e-6
        if np.any(seen):
            away = np.log(middle[rows][good][seen] / coins[seen])
            if abs(float(np.median(away - np.log(forward[good][seen])))) < abs(float(np.median(away))):
                found[u] = market.spot_currency.get(u, market.reporting_currency)
    return replace(market, linear_marks=found)


def market_chain(market: MarketSnapshot, underlying: str, keep: NDArray[np.bool_] | None = None, **limits: Any) -> Chain:
    """The chain of one underlying of a market; `keep` (Q,) leaves quarantined quotes out. Spreads are those of the file, in coins or in the quote currency, undiscounted."""
    from upm_gpu.market.levels import discount_factor
    from upm_gpu.market.snapshot import DAYS_PER_YEAR

    q = market.quotes
    rows = np.flatnonzero((q.underlying == underlying) & (True if keep is None else keep))
    expiries = [q.expiry[i] for i in rows]
    years = np.array([years_between(market.valuation_time, e) for e in expiries])
    forward = np.array([market.forwards.get((underlying, e), np.nan) for e in expiries])
    spread = q.ask[rows] - q.bid[rows]
    if underlying in market.linear_marks:
        discount = {e: discount_factor(market, market.linear_marks[underlying], years_between(market.valuation_time, e) * DAYS_PER_YEAR) for e in set(expiries) if e > market.valuation_time}
        spread = spread / (forward * np.array([discount.get(e, 1.0) for e in expiries]))
    return make_chain(underlying, market.valuation_time, [instant_text(e) for e in expiries], years, forward, q.strike[rows], q.implied_volatility[rows], np.where(spread > 0.0, spread, np.nan), **limits)


def _count(left: dict[str, int], reason: str, gone: NDArray[np.bool_]) -> None:
    if np.any(gone):
        left[reason] = left.get(reason, 0) + int(np.count_nonzero(gone))


def _at_the_money(k: NDArray[np.float64], volatility: NDArray[np.float64]) -> float:
    order = np.argsort(k, kind="stable")
    return float(np.interp(0.0, k[order], volatility[order]))


def quote_lines(chain: Chain) -> list[QuoteLine]:
    """The expiries of a chain as calls over the forward, ascending in time; spreads stand about the mark."""
    from upm_gpu.formula.black import black_undiscounted

    lines = []
    start = chain.valuation_time or datetime(1970, 1, 1, tzinfo=UTC)
    for e, t in enumerate(chain.years):
        own = chain.expiry == e
        x, sigma, half = chain.strike[own] / chain.forward[own], chain.volatility[own], 0.5 * chain.spread[own]
        call = black_undiscounted(np.ones(len(x)), x, -np.log(x), sigma * np.sqrt(t), 1.0)
        lines.append(QuoteLine(start + timedelta(days=365.0 * float(t)), float(t), x, sigma, call, call - half, call + half))
    return lines
