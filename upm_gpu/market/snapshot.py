"""What is known at the valuation time: levels, forwards, quoted volatilities, rates, history.

Prices of one unit in the reporting currency; volatilities in decimals per square-root year; times are aware UTC
datetimes. A snapshot never changes: what is derived from it (surfaces, covariances) is built by other modules.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

SurfaceFamily = Literal["svi", "ssvi_power_law", "ssvi_heston"]
"""svi: five parameters an expiry; ssvi: one smile for all expiries under one of two curves, `market/ssvi.py`"""

SECONDS_PER_DAY = 86_400.0
DAYS_PER_YEAR = 365.0


def days_between(start: datetime, end: datetime) -> float:
    """Elapsed days (float, ACT with the hour)."""
    return (end - start).total_seconds() / SECONDS_PER_DAY


def years_between(start: datetime, end: datetime) -> float:
    """Elapsed years, ACT/365 with the hour; negative when `end` is past."""
    return days_between(start, end) / DAYS_PER_YEAR


@dataclass(frozen=True)
class Pairs:
    """Strikes quoted as a call and as a put; every array has shape (P,), sorted as `Quotes`. Prices are NaN where not given, as in the file."""

    underlying: NDArray[np.object_]
    expiry: tuple[datetime, ...]
    strike: NDArray[np.float64]
    call_volatility: NDArray[np.float64]
    call_bid: NDArray[np.float64]
    call_ask: NDArray[np.float64]
    call_mark: NDArray[np.float64]
    put_volatility: NDArray[np.float64]
    put_bid: NDArray[np.float64]
    put_ask: NDArray[np.float64]
    put_mark: NDArray[np.float64]


@dataclass(frozen=True)
class Quotes:
    """Quoted implied volatilities; every array has shape (Q,), sorted by (underlying, expiry, strike)."""

    underlying: NDArray[np.object_]
    expiry: tuple[datetime, ...]
    strike: NDArray[np.float64]
    implied_volatility: NDArray[np.float64]
    """decimal; one value a (underlying, expiry, strike)"""
    bid: NDArray[np.float64]
    """NaN where not given; as in the file (coins for inverse chains)"""
    ask: NDArray[np.float64]
    mark: NDArray[np.float64]
    """NaN where not given; with the option type it belongs to in `mark_type`"""
    mark_type: NDArray[np.object_]
    open_interest: NDArray[np.float64]
    volume: NDArray[np.float64]
    pairs: Pairs | None = None
    """both sides of the strikes that have them; None where the source has one side only"""


@dataclass(frozen=True)
class Dividend:
    """A cash dividend to come, a share, in the currency the spot is quoted in."""

    ex_date: datetime
    amount: float


@dataclass(frozen=True)
class CarryPoint:
    """What holding a unit of an underlying costs and pays to a tenor, a year, continuously compounded."""

    tenor_days: float
    borrow_rate: float
    dividend_yield: float


@dataclass(frozen=True)
class MarketSnapshot:
    """One consistent set of market data at `valuation_time`."""

    valuation_time: datetime
    reporting_currency: str
    spots: dict[str, float]
    """asset -> price of one unit in the reporting currency (the median index of the chain); the reporting currency itself is 1"""
    forwards: dict[tuple[str, datetime | None], float]
    """(underlying, expiry) -> forward in the quote currency; expiry None is the perpetual"""
    quotes: Quotes
    rates: dict[str, tuple[tuple[float, float], ...]]
    """currency -> ((tenor_days, zero_rate), ...) ascending; empty dict: zero rates"""
    history: pd.DataFrame
    """columns timestamp (UTC, datetime64[ns, UTC]), asset, close; sorted by (asset, timestamp); nothing after valuation_time"""
    warnings: tuple[str, ...] = ()
    hashes: dict[str, str] = field(default_factory=dict)
    spot_currency: dict[str, str] = field(default_factory=dict)
    """asset -> currency its spot is quoted in, as are its closes in the history; not named: the reporting currency"""
    linear_marks: dict[str, str] = field(default_factory=dict)
    """underlying -> currency its option marks are quoted and discounted in, "" where they are not discounted; not named: coins, undiscounted"""
    dividends: dict[str, tuple[Dividend, ...]] = field(default_factory=dict)
    """underlying -> cash dividends to come, ascending by ex date"""
    carry: dict[str, tuple[CarryPoint, ...]] = field(default_factory=dict)
    """underlying -> borrow rate and dividend yield, ascending by tenor"""
    carried_forwards: frozenset[tuple[str, datetime]] = frozenset()
    """keys of `forwards` that nobody quoted: they come from spot, rates, `carry` and `dividends`"""
    surface_family: SurfaceFamily = "svi"
    """what volatility surfaces are fitted as"""
