"""Static arbitrage in what is quoted and in what was fitted, counted and listed.

Of a surface: a negative density, g(k) < 0 (V. Durrleman's function, in J. Gatheral, A. Jacquier, "Arbitrage-free SVI volatility surfaces", 2014), and total variance below that
of the expiry before. Of quotes, as undiscounted calls over the forward c(x), x = K / F (puts by parity):
    vertical    -1 <= (c(x2) - c(x1)) / (x2 - x1) <= 0,
    butterfly   c(x2) <= the chord from x1 to x3 at x2,
    calendar    total variance at one ln x does not fall from one expiry to the next (the earlier one linear in ln x between its quotes).
Counted at the quoted volatilities and, of verticals and butterflies, once more beyond the spread: bought at the ask and sold at the bid there is money left.
Verified: tests/known_answers/test_arbitrage.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from upm_gpu.domain.text import instant_text
from upm_gpu.market.levels import discount_factor
from upm_gpu.market.snapshot import DAYS_PER_YEAR, MarketSnapshot, years_between
from upm_gpu.market.surface import MAX_LOG_MONEYNESS, Surface, SviSlice, density_sign

PRICE_TOLERANCE = 1e-6
"""of the forward: volatilities are quoted to a hundredth of a percent, which is this much of a one-day option"""
VOLATILITY_TOLERANCE = 1e-4


@dataclass(frozen=True)
class QuoteLine:
    """The quotes of one expiry as undiscounted calls over the forward, ascending in strike; NaN where a side is not quoted."""

    expiry: datetime
    years: float
    x: NDArray[np.float64]
    volatility: NDArray[np.float64]
    call: NDArray[np.float64]
    bid: NDArray[np.float64]
    ask: NDArray[np.float64]


def surface_violations(surface: Surface) -> list[dict[str, Any]]:
    """Slices with a negative density between |k| = 3 (where, how low g, whether at quoted strikes), and those that were lifted over the one before."""
    found: list[dict[str, Any]] = []
    for svi, fit in zip(surface.slices, surface.fits, strict=True):
        at = {"underlying": surface.underlying, "expiry": instant_text(svi.expiry)}
        k = _nodes(svi)
        g = density_sign(svi, k)
        bad = np.flatnonzero(g < 0.0)
        if len(bad):
            found.append(at | {"violation": "butterfly", "from_log_moneyness": float(k[bad[0]]), "to_log_moneyness": float(k[bad[-1]]), "worst_at": float(k[np.argmin(g)]),
                               "worst": float(np.min(g)), "at_quoted_strikes": fit.butterfly < 0.0})
        if fit.violation > 0.0:
            found.append(at | {"violation": "calendar, lifted", "worst": fit.violation})
    return found


def quote_lines(market: MarketSnapshot, underlying: str) -> list[QuoteLine]:
    """Every expiry to come that has a forward, ascending."""
    from upm_gpu.formula.black import black_undiscounted

    q = market.quotes
    rows: dict[datetime, list[int]] = {}
    for i in np.flatnonzero(q.underlying == underlying):
        rows.setdefault(q.expiry[i], []).append(int(i))
    linear = underlying in market.linear_marks
    lines = []
    for expiry in sorted(rows):
        at, years, forward = np.array(rows[expiry]), years_between(market.valuation_time, expiry), market.forwards.get((underlying, expiry))
        if years <= 0.0 or forward is None:
            continue
        x = q.strike[at] / forward
        unit = forward * discount_factor(market, market.linear_marks[underlying], years * DAYS_PER_YEAR) if linear else 1.0
        put = np.where(q.mark_type[at] == "", x < 1.0, q.mark_type[at] == "put")
        parity = np.where(put, 1.0 - x, 0.0)
        bid, ask = (np.where(side[at] > 0.0, side[at] / unit + parity, np.nan) for side in (q.bid, q.ask))
        volatility = q.implied_volatility[at]
        lines.append(QuoteLine(expiry, years, x, volatility, black_undiscounted(np.ones(len(x)), x, -np.log(x), volatility * np.sqrt(years), 1.0), bid, ask))
    return lines


def quote_violations(market: MarketSnapshot, underlying: str) -> list[dict[str, Any]]:
    """One object an expiry that has any, then their sum as `all`; empty where the quotes hold none."""
    return line_violations(quote_lines(market, underlying), underlying)


def line_violations(lines: Sequence[QuoteLine], underlying: str) -> list[dict[str, Any]]:
    """`quote_violations` of expiries given as lines, ascending in time."""
    before: QuoteLine | None = None
    found, totals = [], dict.fromkeys(_COUNTS, 0)
    for line in lines:
        row: dict[str, Any] = {"underlying": underlying, "expiry": instant_text(line.expiry), "quotes": len(line.x)} | _static(line) | _calendar(before, line)
        before = line
        for name in totals:
            totals[name] += row[name]
        if any(row[name] for name in _COUNTS[1:]):
            found.append(row)
    return [*found, {"underlying": underlying, "expiry": "all", **totals}] if found else []


_COUNTS = ("quotes", "vertical", "butterfly", "vertical_beyond_spread", "butterfly_beyond_spread", "calendar")


def _static(line: QuoteLine) -> dict[str, Any]:
    """Counts of verticals and butterflies of one expiry, and the largest loss of a butterfly over the forward."""
    width = np.diff(line.x)
    vertical = _verticals(line.call, line.call, width)
    executable = _verticals(line.bid, line.ask, width)
    fly, spread = _butterflies(line.x, line.call, line.call), _butterflies(line.x, line.ask, line.bid)
    return {"vertical": vertical, "butterfly": int(np.sum(fly < -PRICE_TOLERANCE)), "vertical_beyond_spread": executable,
            "butterfly_beyond_spread": int(np.sum(spread < -PRICE_TOLERANCE)), "worst_butterfly": float(max(-np.min(fly, initial=0.0), 0.0))}


def _verticals(sold: NDArray, bought: NDArray, width: NDArray) -> int:
    """Neighbours of which the lower strike costs less than the higher one brings, or brings more than the higher one and the width cost."""
    with np.errstate(invalid="ignore"):
        return int(np.sum((bought[:-1] - sold[1:] < -PRICE_TOLERANCE) | (sold[:-1] - bought[1:] > width + PRICE_TOLERANCE)))


def _butterflies(x: NDArray, wings: NDArray, body: NDArray) -> NDArray:
    """(n - 2,) cost of the chord less the body."""
    if len(x) < 3:
        return np.zeros(0)
    share = (x[2:] - x[1:-1]) / (x[2:] - x[:-2])
    return np.asarray(np.nan_to_num(share * wings[:-2] + (1.0 - share) * wings[2:] - body[1:-1], nan=0.0))


def _calendar(before: QuoteLine | None, line: QuoteLine) -> dict[str, Any]:
    """How many quotes have less total variance than the expiry before at their moneyness, and by how much volatility at worst."""
    if before is None:
        return {"calendar": 0, "worst_calendar": 0.0}
    k, earlier = np.log(line.x), np.log(before.x)
    inside = (k >= earlier[0]) & (k <= earlier[-1])
    least = np.sqrt(np.interp(k[inside], earlier, before.volatility**2 * before.years) / line.years)
    short = least - line.volatility[inside]
    return {"calendar": int(np.sum(short > VOLATILITY_TOLERANCE)), "worst_calendar": float(np.max(short, initial=0.0))}


def arbitrage_tables(market: MarketSnapshot, surfaces: Sequence[Surface]) -> dict[str, list[dict[str, Any]]]:
    """`surface_violations` and `quote_violations` of every underlying, for the data quality of a report."""
    return {"surface_violations": [row for s in surfaces for row in [*surface_violations(s), *s.broken]],
            "quote_violations": [row for s in surfaces for row in quote_violations(market, s.underlying)]}


def _nodes(svi: SviSlice) -> NDArray[np.float64]:
    near = svi.m + svi.s * np.linspace(-6.0, 6.0, 241)
    return np.unique(np.clip(np.concatenate([np.linspace(-MAX_LOG_MONEYNESS, MAX_LOG_MONEYNESS, 1201), near]), -MAX_LOG_MONEYNESS, MAX_LOG_MONEYNESS))
