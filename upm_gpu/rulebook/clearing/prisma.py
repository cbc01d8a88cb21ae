"""The result tree of Eurex Prisma, and a composition in its manner: liquidation groups, splits, risk measure sets, sub-samples.

    one sub-sample      = risk measure + correlation break adjustment + compression adjustment
    one risk measure set = mean over its sub-samples, times the weighting factor of the set
    market risk          = the sets combined: the largest (a stress set as floor), or their sum
    initial margin       = market risk + liquidity add-on + premium margin + long option credit + time to expiry adjustment, of one split
    margin               = sum over liquidation groups, and over the splits of a group; nothing offsets across

The correlation break adjustment here is kappa standard deviations of the value at risk over consecutive windows of the sub-sample's dates, held between two shares of
the sub-sample's own: it answers how much the measure owes to correlations that held over the whole history only.
Source: documentation of the Eurex Clearing Prisma margin estimator (result tree, weighting factors) and the user guide's description of the adjustments; the clearing house's own
parameters are not public. Verified: tests/known_answers/test_venue_rules.py (identities of the documented example to 2e-6, the rest by hand).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from upm_gpu.errors import InputError
from upm_gpu.risk.measures import value_at_risk


@dataclass(frozen=True)
class SubSample:
    """Risk of one sub-sample, money, losses positive."""

    risk_measure: float
    correlation_break_adjustment: float = 0.0
    compression_adjustment: float = 0.0

    @property
    def market_risk(self) -> float:
        """The three added."""
        return self.risk_measure + self.correlation_break_adjustment + self.compression_adjustment


@dataclass(frozen=True)
class RiskMeasureSet:
    """Filtered historical, stress period or event risk, with its weight in the market risk."""

    name: str
    sub_samples: tuple[SubSample, ...]
    weighting_factor: float = 1.0

    def __post_init__(self) -> None:
        if not self.sub_samples or not 0.0 <= self.weighting_factor <= 10.0:
            raise InputError("UPM-CF-132", f"risk measure set {self.name!r} has {len(self.sub_samples)} sub-samples and weight {self.weighting_factor:g}. Give at least one sub-sample and a weight from 0 to 10.")

    @property
    def market_risk(self) -> float:
        """Mean over the sub-samples, before the weight."""
        return sum(s.market_risk for s in self.sub_samples) / len(self.sub_samples)


@dataclass(frozen=True)
class Split:
    """Positions of one liquidation group with one holding period."""

    name: str
    sets: tuple[RiskMeasureSet, ...]
    liquidity_add_on: float = 0.0
    premium_margin: float = 0.0
    long_option_credit: float = 0.0
    """negative or 0: it reduces the margin"""
    time_to_expiry_adjustment: float = 0.0


def market_risk(sets: Sequence[RiskMeasureSet], combination: Literal["largest", "sum"] = "largest") -> float:
    """Weighted market risk of a split, not below 0."""
    weighted = [s.weighting_factor * s.market_risk for s in sets]
    return max(0.0, max(weighted, default=0.0) if combination == "largest" else sum(weighted))


def split_margin(split: Split, combination: Literal["largest", "sum"] = "largest") -> float:
    """Initial margin of one split, not below 0."""
    return max(0.0, initial_margin(market_risk(split.sets, combination), split.liquidity_add_on) + split.premium_margin + split.long_option_credit + split.time_to_expiry_adjustment)


def initial_margin(market: float, liquidity_add_on: float) -> float:
    """Market risk and what it costs to leave the positions."""
    return market + liquidity_add_on


def total_margin(groups: Mapping[str, Sequence[Split]], combination: Literal["largest", "sum"] = "largest") -> float:
    """Sum over liquidation groups and their splits: a gain in one never pays for another."""
    return sum(split_margin(s, combination) for splits in groups.values() for s in splits)


def sub_sample(pnl: NDArray[np.float64], level: float, window: int, kappa: float, bounds: tuple[float, float], compression: float = 0.0) -> SubSample:
    """A sub-sample from its P&L (S,), dates ascending. `window` dates are one window; `bounds` are shares of the value at risk."""
    var = max(0.0, float(value_at_risk(-pnl, level)))
    return SubSample(var, correlation_break(pnl, level, window, kappa, bounds), compression)


def correlation_break(pnl: NDArray[np.float64], level: float, window: int, kappa: float, bounds: tuple[float, float]) -> float:
    """kappa x standard deviation of the value at risk over whole windows, between bounds x the sub-sample's. Raises InputError UPM-CF-132."""
    low, high = bounds
    if not (2 <= window <= len(pnl) // 2 and kappa >= 0.0 and 0.0 <= low <= high):
        raise InputError("UPM-CF-132", f"correlation break with window {window} of {len(pnl)} dates, kappa {kappa:g}, bounds {low:g} to {high:g}: the sub-sample needs two windows of 2 dates or more, kappa of 0 or more and ascending bounds.")
    count = len(pnl) // window
    recent = pnl[len(pnl) - count * window:].reshape(count, window)
    measured = np.maximum(value_at_risk(-recent, level), 0.0)
    own = max(0.0, float(value_at_risk(-pnl, level)))
    return float(np.clip(kappa * np.std(measured), low * own, high * own))
