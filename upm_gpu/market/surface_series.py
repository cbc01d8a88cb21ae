"""The volatility series of an underlying: what a day's surface adds to its history, all positive, so that moves are log-changes.

* `BTC.IV30`: volatility at the forward at 30 days (decimal), total variance interpolated in time.
* `BTC.SKEW30`: exp(kappa), kappa = d ln sigma / d z at the forward of the 30-day slice, z = ln(K / F) / (sigma sqrt T): how many times the volatility a strike one
  standard deviation up would have if the smile were a line. kappa = w'(0) / (2 sqrt w(0)) for total variance w(k).
* `BTC.SLOPE30`: exp(d ln sigma / d ln T) between 7 and 90 days: how many times the volatility an expiry e times as far away has.

Verified: tests/known_answers/test_surface_factors.py.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

import numpy as np

from upm_gpu.market.snapshot import MarketSnapshot
from upm_gpu.market.surface import Surface, SviSlice, at_the_money_volatility, fit_surface, slice_at, total_variance

SERIES_DAYS = 30.0
SLOPE_DAYS = (7.0, 90.0)
"""weeklies and quarterlies: both ends of what exchanges list at all times"""
SUFFIXES = (".IV30", ".SKEW30", ".SLOPE30")


def skew_per_deviation(svi: SviSlice) -> float:
    """kappa = w'(0) / (2 sqrt w(0)) of a slice."""
    slope = svi.b * (svi.rho - svi.m / np.hypot(svi.m, svi.s))
    return float(slope / (2.0 * np.sqrt(total_variance(svi, 0.0))))


def term_slope(surface: Surface) -> float:
    """d ln sigma / d ln T between `SLOPE_DAYS`, at the forward."""
    near, far = (at_the_money_volatility(surface, days) for days in SLOPE_DAYS)
    return float(np.log(far / near) / np.log(SLOPE_DAYS[1] / SLOPE_DAYS[0]))


def surface_series(surface: Surface) -> dict[str, float]:
    """Close of each volatility series by its asset's name, to six decimals."""
    slice30 = slice_at(surface, surface.valuation_time + timedelta(days=SERIES_DAYS))
    values = at_the_money_volatility(surface, SERIES_DAYS), np.exp(skew_per_deviation(slice30)), np.exp(term_slope(surface))
    return {surface.underlying + suffix: round(float(v), 6) for suffix, v in zip(SUFFIXES, values, strict=True)}


def daily_series(snapshots: Iterable[MarketSnapshot]) -> list[tuple[str, str, float]]:
    """(time, asset, close) of every volatility series of every snapshot, ascending in asset and time; one chain a day makes a history."""
    from upm_gpu.domain.text import instant_text

    rows = [(instant_text(m.valuation_time), asset, close) for m in snapshots for u in sorted({str(u) for u in m.quotes.underlying})
            for asset, close in surface_series(fit_surface(m, u)).items()]
    return sorted(rows, key=lambda r: (r[1], r[0]))
