"""Do the quoted volatilities give the quoted prices? What does not is quarantined and the surface used."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from upm_gpu.domain.text import instant_text
from upm_gpu.market.snapshot import MarketSnapshot, years_between

MARK_TOLERANCE = 0.005
"""coins a coin (0.5 % of the forward): a model value further from its mark is quarantined"""


@dataclass(frozen=True)
class MarkCheck:
    """Model minus mark of every quote, in coins; NaN where there is no mark, no forward or no time left."""

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
    """Black-76 at the quoted volatility, over the forward, minus the mark in coins (the marks of inverse chains are in coins)."""
    from upm_gpu.formula.black import black_undiscounted

    q = market.quotes
    forward = np.array([market.forwards.get((str(u), e), np.nan) for u, e in zip(q.underlying, q.expiry, strict=True)])
    years = np.array([years_between(market.valuation_time, e) for e in q.expiry])
    sign = np.where(q.mark_type == "call", 1.0, np.where(q.mark_type == "put", -1.0, np.nan))
    usable = np.isfinite(forward) & (years > 0.0) & np.isfinite(q.mark) & np.isfinite(sign)
    gap = np.full(len(q.strike), np.nan)
    at = np.flatnonzero(usable)
    f, k = forward[at], q.strike[at]
    gap[at] = black_undiscounted(f, k, np.log(f / k), q.implied_volatility[at] * np.sqrt(years[at]), sign[at]) / f - q.mark[at]
    return MarkCheck(gap, np.abs(np.where(usable, gap, 0.0)) > MARK_TOLERANCE)
