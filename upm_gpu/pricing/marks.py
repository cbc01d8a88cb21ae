"""Do the quoted volatilities give the quoted prices? What does not is quarantined and the surface used."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from upm_gpu.domain.instrument import Option
from upm_gpu.market.snapshot import MarketSnapshot

MARK_TOLERANCE = 0.005
"""coins a coin, or share of the forward: a model value further from its mark is quarantined (conventions of the project)"""


def check_marks(market: MarketSnapshot, group: Option, options: Sequence[Option], strike: NDArray[np.float64], sign: NDArray[np.float64],
                forward: float, years: float, fitted: NDArray[np.float64]) -> tuple[NDArray[np.float64], list[dict]]:
    """Quoted volatility of each option (NaN where none, or quarantined) and one record a mark that was compared.

    The comparison is Black-76 at the quoted volatility, over the forward, against the mark (in coins for inverse
    options; over the forward for linear ones), for the option type the mark belongs to.
    """
    from upm_gpu.formula.black import black_undiscounted

    found = _lookup(market, group, strike)
    quotes = market.quotes
    volatility = np.where(found >= 0, quotes.implied_volatility[found], np.nan)
    records = []
    inverse = group.settlement == "inverse"
    for i in np.flatnonzero(found >= 0):
        q = int(found[i])
        mark, kind = float(quotes.mark[q]), str(quotes.mark_type[q])
        if not np.isfinite(mark) or not kind:
            continue
        side = 1.0 if kind == "call" else -1.0
        model = float(black_undiscounted(forward, strike[i], np.log(forward / strike[i]), volatility[i] * np.sqrt(years), side)) / forward
        gap = model - (mark if inverse else mark / forward)
        bad = not abs(gap) <= MARK_TOLERANCE
        if bad:
            volatility[i] = np.nan
        if kind == options[i].option_type or bad:
            records.append({"instrument_id": options[i].instrument_id, "mark": mark, "model": model, "gap": gap, "quarantined": bad,
                            "quoted_volatility": float(quotes.implied_volatility[q]), "surface_volatility": float(fitted[i])})
    return volatility, records


def _lookup(market: MarketSnapshot, group: Option, strike: NDArray[np.float64]) -> NDArray[np.int64]:
    """Index of the quote of each strike of the group's underlying and expiry, or -1."""
    quotes = market.quotes
    same = np.flatnonzero(quotes.underlying == group.underlying)
    same = same[[quotes.expiry[q] == group.expiry for q in same]] if len(same) else same
    index = {float(quotes.strike[q]): int(q) for q in same}
    return np.array([index.get(float(k), -1) for k in strike], np.int64)
