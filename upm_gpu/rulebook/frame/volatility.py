"""Volatility shocks of the venues' grids: multiplicative with a power of the days to expiry, or additive points. They clash; a rule book says which it takes.

Verified: tests/known_answers/test_volatility_shocks.py.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from upm_gpu.strict_toml import Strict

UP, NONE, DOWN = 1, 0, -1
DIRECTIONS = {"up": UP, "none": NONE, "down": DOWN}


class MultiplicativeShock(Strict):
    """sigma x (1 + range (reference / max(days, floor))^p), p by side of 30 days; the reference is 30 days."""

    range_up: float = Field(ge=0.0, description="relative rise at 30 days")
    range_down: float = Field(ge=0.0, description="relative fall at 30 days")
    short_term_power: float = Field(ge=0.0, le=1.0, description="p at and below 30 days")
    long_term_power: float = Field(ge=0.0, le=1.0, description="p above 30 days")
    days_floor: float = Field(default=1.0, gt=0.0, description="days to expiry count at least this much")
    minimum_up: float = Field(default=0.0, ge=0.0, description="the raised volatility is at least this")
    reference_days: float = Field(default=30.0, gt=0.0, description="the range is that of an option with so many days")


class AdditiveShock(Strict):
    """sigma + points (30 / max(days, floor))^p, not below 0; p is 0 where every expiry takes the same points."""

    points_up: float = Field(ge=0.0, description="decimal: 0.5 adds 50 points")
    points_down: float = Field(ge=0.0, description="decimal")
    floor: float = Field(default=0.0, ge=0.0, description="the lowered volatility is at least this")
    short_term_power: float = Field(default=0.0, ge=0.0, le=1.0, description="p at and below 30 days")
    long_term_power: float = Field(default=0.0, ge=0.0, le=1.0, description="p above 30 days")
    days_floor: float = Field(default=1.0, gt=0.0, description="days to expiry count at least this much")
    reference_days: float = Field(default=30.0, gt=0.0, description="the points are those of an option with so many days")


def directions(words: Sequence[str]) -> NDArray[np.int8]:
    """(S,) of up, none, down."""
    return np.array([DIRECTIONS[w] for w in words], np.int8)


def term_scale(days: NDArray[np.float64], shock: MultiplicativeShock | AdditiveShock) -> NDArray[np.float64]:
    """(N,) (reference / max(days, floor))^p; p is the short power where days <= 30. NaN without expiry."""
    return (shock.reference_days / np.maximum(days, shock.days_floor)) ** np.where(days <= 30.0, shock.short_term_power, shock.long_term_power)


def shocked(volatility: NDArray[np.float64], days: NDArray[np.float64], direction: NDArray[np.integer], shock: MultiplicativeShock | AdditiveShock) -> NDArray[np.float64]:
    """(N, S) volatilities from today's (N,), in scenarios of `direction` (S,): UP, NONE or DOWN.

    >>> float(shocked(np.array([0.6]), np.array([30.0]), np.array([UP]), AdditiveShock(points_up=0.5, points_down=0.25))[0, 0])
    1.1
    """
    scale = term_scale(days, shock)
    if isinstance(shock, AdditiveShock):
        up, down = volatility + shock.points_up * scale, np.maximum(volatility - shock.points_down * scale, shock.floor)
    else:
        up = np.maximum(volatility * (1.0 + shock.range_up * scale), shock.minimum_up)
        down = volatility * np.maximum(1.0 - shock.range_down * scale, 0.0)
    table = np.stack([down, volatility, up], axis=1)
    return table[:, np.asarray(direction, int) + 1]
