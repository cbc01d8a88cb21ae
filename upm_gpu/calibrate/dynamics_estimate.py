"""How the volatility surfaces of a history move: daily volatility, reversion and correlation of their level, skew and slope, with the price and with one another, and the standard errors of all.

Series as in `market/surface_series.py`, net of what the repricing of a run does by itself (`surface_factors.py`). A factor v reverts as

  v' - m = phi (v - m) + e,   phi = exp(-kappa elapsed),  half-life = ln 2 / kappa;

phi by least squares of a close on the one before, corrected for its bias in small samples (M. Kendall 1954), its error robust to changing volatility (H. White 1980; HC3 of J. MacKinnon, H. White 1985). Whether v reverts at all is asked of the t value of phi - 1 uncorrected: a random walk is kept unless it lies
below the 5 % point of D. Dickey and W. Fuller's law (J. MacKinnon 1991: -2.8621 - 2.738 / n - 8.36 / n^2), since a reversion that is not there makes margins too small. The innovations e over the root of their days have volatilities and correlations under equal or EWMA weights, their errors
by leaving out blocks of days (`weighted_days.py`) with the half-lives held.

The correlation of a price with its own volatility is what makes a short put lose twice: the table names it, and the volatility's slope, d ln sigma a unit of d ln S.

Verified: tests/statistics/test_dynamics_estimate.py (recovery, cover of intervals).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from upm_gpu.calibrate.series import MAX_GAP_DAYS, Series, common_returns
from upm_gpu.calibrate.spreads import innovations
from upm_gpu.calibrate.weighted_days import WeightedDays, correlation_of, jackknife_error, weighted_days
from upm_gpu.errors import CalibrationError

Rule = Literal["tested", "estimated", "none"]
RULES: tuple[Rule, ...] = ("tested", "estimated", "none")
LEAST_DAYS = 30
"""below it a block of days is a day, and a half-life of weeks is seen once"""
LEAST_PERSISTENCE = 0.06
"""of a day: a half-life of six hours; below it daily closes do not tell how fast"""


@dataclass(frozen=True)
class Reversion:
    """Of one series, per day."""

    rate: float
    """kappa; 0 where phi is 1 or above"""
    error: float
    t: float
    """of phi - 1, uncorrected"""
    critical: float
    bound: str
    in_force: float
    """half-life in days; 0: none"""


@dataclass(frozen=True)
class DynamicsFit:
    """K factors in the order given, prices first."""

    factors: tuple[str, ...]
    reversion: tuple[Reversion | None, ...]
    """None for prices"""
    volatility: NDArray[np.float64]
    """(K,) of a day"""
    volatility_error: NDArray[np.float64]
    correlation: NDArray[np.float64]
    correlation_error: NDArray[np.float64]
    slope: dict[str, tuple[float, float]]
    """underlying -> d ln sigma / d ln S and its error"""
    days: WeightedDays

    @property
    def half_life(self) -> NDArray[np.float64]:
        """(K,) in force; 0: none."""
        return np.array([0.0 if r is None else r.in_force for r in self.reversion])


def fit_dynamics(series: Sequence[Series], factors: Sequence[str], decay: float = 1.0, rule: Rule = "tested") -> DynamicsFit:
    """Dynamics of the logarithms in `series`, whose factors are `factors`. Raises `CalibrationError` UPM-CA-232 (too few days, a series that stands still)."""
    reversion = tuple(None if f.startswith("log_level[") else fit_reversion(s, f, rule) for s, f in zip(series, factors, strict=True))
    moved = [s if r is None else innovations(s, r.in_force) for s, r in zip(series, reversion, strict=True)]
    changes = common_returns(moved)
    if len(changes) < LEAST_DAYS:
        raise CalibrationError("UPM-CA-232", f"dynamics of {', '.join(factors)}: {len(changes)} common changes are too few days, {LEAST_DAYS} are needed. Give more chains or a longer history.")
    days = weighted_days(changes, decay)
    correlation, without = correlation_of(days.moment), correlation_of(days.without)
    volatility = np.sqrt(np.diag(days.moment))
    slope = {}
    for k, name in enumerate(factors):
        u = name.partition("[")[2].rstrip("]")
        if name.startswith("volatility_shift[") and f"log_level[{u}]" in factors:
            p = list(factors).index(f"log_level[{u}]")
            beta = days.moment[k, p] / days.moment[p, p]
            slope[u] = float(beta), float(jackknife_error(days.share, beta, days.without[:, k, p] / days.without[:, p, p]))
    return DynamicsFit(tuple(factors), reversion, volatility, jackknife_error(days.share, volatility, np.sqrt(np.einsum("bii->bi", days.without))), correlation,
                       jackknife_error(days.share, correlation, without), slope, days)


def fit_reversion(series: Series, name: str, rule: Rule = "tested") -> Reversion:
    """Of one series of logarithms. Raises `CalibrationError` UPM-CA-232."""
    elapsed = np.diff(series.time)
    keep = elapsed <= MAX_GAP_DAYS
    count = int(np.count_nonzero(keep))
    if count < LEAST_DAYS:
        raise CalibrationError("UPM-CA-232", f"dynamics of {name}: {count} changes are too few days, {LEAST_DAYS} are needed. Give more chains or a longer history.")
    before, after = series.value[:-1][keep], series.value[1:][keep]
    x, y = before - before.mean(), after - after.mean()
    if not float(x @ x) > 0.0 or not np.any(np.diff(series.value)):
        raise CalibrationError("UPM-CA-232", f"dynamics of {name}: the series stands still. Correct it or leave its underlying out.")
    phi = float(x @ y / (x @ x))
    e = y - phi * x
    free = 1.0 - 1.0 / count - x * x / (x @ x)  # what a point leaves of its own residual
    error = float(np.sqrt(np.sum((x * e / free) ** 2)) / (x @ x))
    corrected, error_corrected = phi + (1.0 + 3.0 * phi) / count, error * (1.0 + 3.0 / count)
    critical = -2.8621 - 2.738 / count - 8.36 / count**2
    t, span = (phi - 1.0) / error, float(elapsed[keep].mean())
    bound = "lower" if corrected >= 1.0 else "upper" if corrected <= LEAST_PERSISTENCE else ""
    held = float(np.clip(corrected, LEAST_PERSISTENCE, 1.0))
    rate = 0.0 if bound == "lower" else -np.log(held) / span
    real = rate > 0.0 and (rule == "estimated" or (rule == "tested" and t < critical))
    return Reversion(float(rate), float("nan") if bound else error_corrected / (held * span), t, critical, bound, float(np.log(2.0) / rate) if real else 0.0)
