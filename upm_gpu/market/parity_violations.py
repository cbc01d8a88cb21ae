"""Put-call parity of quotes, strike by strike: what can be bought and sold with money left, listed by expiry.

European, per unit of the underlying, D the discount factor: C - P = D (F - K); of inverse chains, in coins: C - P = 1 - K / F. American (both sides may be exercised, S the spot):

    D F - max(K, K D) <= C - P <= max(S, D F) - min(K, K D)

(R. C. Merton, "The relationship between put and call option prices: comment", Journal of Finance 28, 1973; with the forward in place of spot and dividends). Where both sides have a bid and an ask, the
call's bid less the put's ask and the call's ask less the put's bid are held to it; else marks, else Black's values at the two quoted volatilities. Beyond `STAMP` of the forward where there is a spread
and `MID` where there is none a strike is listed.

Verified by `tests/known_answers/test_parity_violations.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from upm_gpu.domain.instrument import Instrument, Option
from upm_gpu.domain.text import instant_text
from upm_gpu.market.levels import discount_factor
from upm_gpu.market.snapshot import DAYS_PER_YEAR, MarketSnapshot, Pairs, years_between

STAMP = 0.001
"""of the forward: quotes of a chain and their forward are stamped seconds to minutes apart"""
MID = 0.005
"""of the forward, where no spread says how sure a price is; the bound at which a mark is set aside"""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Styles:
    """What a book says of chains, (underlying, expiry): the market alone does not know how they are exercised."""

    american: frozenset[tuple[str, datetime]]
    on_futures: frozenset[tuple[str, datetime]]
    """not checked: their forward is the future's"""


def styles_of(instruments: Iterable[Instrument]) -> Styles:
    """Styles of the chains that are held."""
    options = [i for i in instruments if isinstance(i, Option)]
    return Styles(frozenset((i.underlying, i.expiry) for i in options if i.exercise == "american"), frozenset((i.underlying, i.expiry) for i in options if i.future_expiry is not None))


def parity_violations(market: MarketSnapshot, underlying: str, styles: Styles) -> list[dict[str, Any]]:
    """One object an expiry with any: pairs looked at, those with spreads, how many violate, the worst in share of the forward and its strike."""
    pairs = market.quotes.pairs
    if pairs is None:
        return []
    rows = []
    own = np.flatnonzero(pairs.underlying == underlying)
    for expiry in sorted({pairs.expiry[i] for i in own}):
        at = np.array([i for i in own if pairs.expiry[i] == expiry])
        years, forward = years_between(market.valuation_time, expiry), market.forwards.get((underlying, expiry))
        if years <= 0.0 or forward is None or (underlying, expiry) in styles.on_futures:
            continue
        american = (underlying, expiry) in styles.american
        low, high = _bounds(market, underlying, years, forward, pairs.strike[at], american)
        excess, spread = _excess(market, underlying, years, forward, pairs, at, low, high)
        bad = excess > np.where(spread, STAMP, MID)
        if bad.any():
            worst = int(np.argmax(np.where(bad, excess, -np.inf)))
            rows.append({"underlying": underlying, "expiry": instant_text(expiry), "exercise": "american" if american else "european", "pairs": len(at), "with_spread": int(spread.sum()), "violations": int(bad.sum()),
                         "beyond_spread": int((bad & spread).sum()), "worst_strike": float(pairs.strike[at][worst]), "worst_of_forward": float(excess[worst])})
    return rows


def parity_table(market: MarketSnapshot, instruments: Sequence[Instrument]) -> list[dict[str, Any]]:
    """The violations of every underlying that options are held on."""
    styles = styles_of(instruments)
    return [row for u in sorted({i.underlying for i in instruments if isinstance(i, Option)}) for row in parity_violations(market, u, styles)]


def _unit(market: MarketSnapshot, underlying: str, years: float, forward: float) -> tuple[float, float]:
    """(discount factor, what a quoted price of 1 is in quote currency)."""
    if underlying in market.linear_marks:
        return discount_factor(market, market.linear_marks[underlying], years * DAYS_PER_YEAR), 1.0
    return 1.0, forward


def _bounds(market: MarketSnapshot, underlying: str, years: float, forward: float, strike: Array, american: bool) -> tuple[Array, Array]:
    """Least and most of C - P, quote currency."""
    discount, _ = _unit(market, underlying, years, forward)
    if not american:
        return discount * (forward - strike), discount * (forward - strike)
    code = market.spot_currency.get(underlying, market.reporting_currency)
    spot = market.spots[underlying] / market.spots.get(code, 1.0)
    return discount * forward - strike * max(1.0, discount), max(spot, discount * forward) - strike * min(1.0, discount)


def _excess(market: MarketSnapshot, underlying: str, years: float, forward: float, pairs: Pairs, at: NDArray[np.int64], low: Array, high: Array) -> tuple[Array, NDArray[np.bool_]]:
    """How far C - P is outside its bounds over the forward (below 0: inside), and where a spread says so."""
    from upm_gpu.formula.black import black_undiscounted

    discount, unit = _unit(market, underlying, years, forward)
    cb, ca, pb, pa = (np.where(side[at] > 0.0, unit * side[at], np.nan) for side in (pairs.call_bid, pairs.call_ask, pairs.put_bid, pairs.put_ask))
    spread = np.isfinite(cb + pa) | np.isfinite(ca + pb)
    k = pairs.strike[at]
    root = np.sqrt(years)
    model = discount * (black_undiscounted(forward, k, np.log(forward / k), pairs.call_volatility[at] * root, 1.0) - black_undiscounted(forward, k, np.log(forward / k), pairs.put_volatility[at] * root, -1.0))
    mark = unit * (pairs.call_mark[at] - pairs.put_mark[at])
    middle = np.where(np.isfinite(mark), mark, model)
    least, most = (np.where(spread, np.nan_to_num(side, nan=missing), middle) for side, missing in ((ca - pb, np.inf), (cb - pa, -np.inf)))
    return np.maximum(low - least, most - high) / forward, spread


def parity_warnings(rows: list[dict[str, Any]]) -> list[str]:
    """One sentence an underlying with quotes that leave money beyond their spreads."""
    found = []
    for underlying in sorted({r["underlying"] for r in rows if r["beyond_spread"]}):
        own = [r for r in rows if r["underlying"] == underlying and r["beyond_spread"]]
        worst = max(own, key=lambda r: r["worst_of_forward"])
        found.append(f"UPM-MD-148 implied_vols: {sum(r['beyond_spread'] for r in own)} strikes of {underlying} break put-call parity beyond their bids and asks; at worst {worst['worst_strike']:g} of {worst['expiry']}, "
                     f"by {100.0 * worst['worst_of_forward']:.2f} % of the forward. Check stale quotes, the forward and the way they are exercised.")
    return found
