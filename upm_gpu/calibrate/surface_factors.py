"""Which surface factors a history can carry, how they revert, and what a sticky-strike smile already does to their series.

Series as in `market/surface_series.py`; the slope factor is what moves beyond the level: d ln(SLOPE30) less the slope that the decays of the level's
loading give its own move, so that level and slope together reproduce the history's 7- and 90-day volatilities. Under sticky strike a fall along today's
smile changes level, skew and slope of what is at the money without any factor; the series are net of it. Verified: tests/known_answers/test_surface_factors.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from upm_gpu.calibrate.series import LEVEL_SLOPE, MAX_GAP_DAYS, MIN_RETURNS, Series
from upm_gpu.market.surface import Surface, SviSlice, at_the_money_skew, slice_at, total_variance
from upm_gpu.market.surface_series import SERIES_DAYS, SLOPE_DAYS, skew_per_deviation

if TYPE_CHECKING:
    import pandas as pd

    from upm_gpu.scenario.spec import ScenarioSpec

SERIES_OF = {"volatility_shift": ".IV30", "volatility_skew": ".SKEW30", "volatility_slope": ".SLOPE30"}
KIND_OF = {"level": "volatility_shift", "skew": "volatility_skew", "slope": "volatility_slope"}


def surface_factors(history: pd.DataFrame, underlyings: Sequence[str], wanted: Sequence[str], valuation_time: datetime) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of the skew and slope factors that are wanted and have a series, skews first; and a warning for each underlying without one."""
    import pandas as pd

    past = history[history["timestamp"] <= pd.Timestamp(valuation_time)]
    closes = past["asset"].value_counts()
    names, warnings = [], []
    for factor in ("skew", "slope"):
        for u in underlyings if factor in wanted else ():
            kind = KIND_OF[factor]
            if int(closes.get(u + SERIES_OF[kind], 0)) > MIN_RETURNS:
                names.append(f"{kind}[{u}]")
            else:
                warnings.append(f"UPM-CA-167 history has too little of {u}{SERIES_OF[kind]}: the {factor} of its volatility surface does not move")
    return tuple(names), tuple(warnings)


def level_slope(spec: ScenarioSpec) -> float:
    """d ln sigma / d ln T between the days of the slope series for a unit move of the level, by the decays of its loading."""
    near, far = ((SERIES_DAYS / days) ** (spec.volatility_decay_short if days < SERIES_DAYS else spec.volatility_decay_long) for days in SLOPE_DAYS)
    return float((far - near) / np.log(SLOPE_DAYS[1] / SLOPE_DAYS[0]))


def slides_of(spec: ScenarioSpec, surfaces: Mapping[str, Surface] | None) -> dict[str, float]:
    """What `factor_series` takes out of volatility series under a specification: the slide along a sticky-strike smile, and the level's own term slope."""
    found = slides(surfaces) if spec.volatility_dynamics == "sticky_strike" and surfaces else {}
    return found | ({LEVEL_SLOPE: level_slope(spec)} if "slope" in spec.surface_factors else {})


def slides(surfaces: Mapping[str, Surface]) -> dict[str, float]:
    """By underlying the level's, by factor the others': what a sticky-strike smile adds to the series for a unit log-move of the price.

    Level: d sigma / d k at the money of the 30-day slice. Skew: d kappa / d k there. Slope: kappa / (sigma sqrt T) at 90 days less that at 7, over ln(90 / 7).
    """
    found: dict[str, float] = {}
    for u, surface in surfaces.items():
        at = {days: slice_at(surface, surface.valuation_time + timedelta(days=days)) for days in (SERIES_DAYS, *SLOPE_DAYS)}
        found[u] = at_the_money_skew(surface)
        found[f"volatility_skew[{u}]"] = _skew_of_skew(at[SERIES_DAYS])
        near, far = (skew_per_deviation(at[d]) / np.sqrt(float(total_variance(at[d], 0.0))) for d in SLOPE_DAYS)
        found[f"volatility_slope[{u}]"] = float((far - near) / np.log(SLOPE_DAYS[1] / SLOPE_DAYS[0]))
    return found


def _skew_of_skew(svi: SviSlice) -> float:
    """d/dk of w' / (2 sqrt w) at the money: w'' / (2 sqrt w) - w'^2 / (4 w^1.5)."""
    w, root = float(total_variance(svi, 0.0)), float(np.hypot(svi.m, svi.s))
    first, second = svi.b * (svi.rho - svi.m / root), svi.b * svi.s**2 / root**3
    return second / (2.0 * np.sqrt(w)) - first * first / (4.0 * w**1.5)


def half_life(series: Series) -> float:
    """Days in which a deviation from the mean halves, by regression of a close on the one before, corrected for its bias in small samples; inf where it does not.

    phi + (1 + 3 phi) / n for n pairs (M. Kendall, "Note on bias in the estimation of autocorrelation", 1954), per the mean elapsed time of the pairs.
    """
    days = np.diff(series.time)
    keep = days <= MAX_GAP_DAYS
    deviation = series.value - series.value.mean()
    x, y = deviation[:-1][keep], deviation[1:][keep]
    if not len(x) or not np.any(x):
        return float("inf")
    phi = float(x @ y / (x @ x))
    phi += (1.0 + 3.0 * phi) / len(x)
    return float(-np.log(2.0) / np.log(phi) * days[keep].mean()) if 0.0 < phi < 1.0 else 0.0 if phi <= 0.0 else float("inf")


def reverting(model: Any, spec: ScenarioSpec) -> Any:
    """A model with the half-lives of a specification, where it has a place for them."""
    from dataclasses import replace

    from upm_gpu.calibrate.spreads import half_lives

    days = half_lives(model.state_names, spec)
    return model if days is None or not hasattr(model, "half_life_days") else replace(model, half_life_days=days)
