"""Do the quoted volatilities give the quoted prices? What does not is quarantined and the surface used."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from upm_gpu.domain.instrument import Instrument, Option
from upm_gpu.domain.text import instant_text
from upm_gpu.market.levels import discount_factor
from upm_gpu.market.snapshot import DAYS_PER_YEAR, MarketSnapshot, years_between

MARK_TOLERANCE = 0.005
"""coins a coin (0.5 % of the forward): a model value further from its mark is quarantined"""


@dataclass(frozen=True)
class MarkCheck:
    """Model minus mark of every quote, in coins (linear chains: in forwards); NaN where there is no mark, no forward or no time left."""

    gap: NDArray[np.float64]
    """(Q,)"""
    quarantined: NDArray[np.bool_]
    """(Q,) beyond the tolerance"""

    def listed(self, market: MarketSnapshot) -> list[dict[str, Any]]:
        """The quarantined quotes, for people."""
        q = market.quotes
        return [{"underlying": str(q.underlying[i]), "expiry": instant_text(q.expiry[i]), "strike": float(q.strike[i]), "option_type": str(q.mark_type[i]),
                 "mark": float(q.mark[i]), "model_minus_mark": float(self.gap[i]), "quoted_volatility": float(q.implied_volatility[i])}
                for i in np.flatnonzero(self.quarantined)]

    def summary(self) -> dict[str, float | int]:
        """Count, median, median and largest absolute gap, in coins."""
        gaps = self.gap[np.isfinite(self.gap)]
        if not len(gaps):
            return {"count": 0}
        size = np.abs(gaps)
        return {"count": len(gaps), "median": float(np.median(gaps)), "median_absolute": float(np.median(size)), "largest_absolute": float(size.max())}


def check_marks(market: MarketSnapshot) -> MarkCheck:
    """Black-76 at the quoted volatility, over the forward, minus the mark: in coins as it is quoted on inverse chains, over the forward on linear ones (`linear_marks`),
    whose model value is discounted as the option is."""
    from upm_gpu.formula.black import black_undiscounted

    q = market.quotes
    forward = np.array([market.forwards.get((str(u), e), np.nan) for u, e in zip(q.underlying, q.expiry, strict=True)])
    years = np.array([years_between(market.valuation_time, e) for e in q.expiry])
    sign = np.where(q.mark_type == "call", 1.0, np.where(q.mark_type == "put", -1.0, np.nan))
    usable = np.isfinite(forward) & (years > 0.0) & np.isfinite(q.mark) & np.isfinite(sign)
    gap = np.full(len(q.strike), np.nan)
    at = np.flatnonzero(usable)
    f, k = forward[at], q.strike[at]
    linear = np.array([str(u) in market.linear_marks for u in q.underlying[at]], bool)
    discount = np.array([discount_factor(market, market.linear_marks.get(str(u), ""), t * DAYS_PER_YEAR) for u, t in zip(q.underlying[at], years[at], strict=True)])
    coins = black_undiscounted(f, k, np.log(f / k), q.implied_volatility[at] * np.sqrt(years[at]), sign[at]) / f
    gap[at] = coins * discount - np.where(linear, q.mark[at] / f, q.mark[at])
    return MarkCheck(gap, np.abs(np.where(usable, gap, 0.0)) > MARK_TOLERANCE)


def linear_marks(instruments: Iterable[Instrument]) -> dict[str, str]:
    """Underlyings whose options are all linear, and the currency their marks are discounted in ("" under futures-style premium): `MarketSnapshot.linear_marks`."""
    options = [i for i in instruments if isinstance(i, Option)]
    inverse = {i.underlying for i in options if i.settlement == "inverse"}
    return {i.underlying: i.quote_currency if i.premium == "upfront" else "" for i in options if i.underlying not in inverse}
