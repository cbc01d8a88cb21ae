"""Factors that are differences or rates, not prices: bases, funding, interest rates. They revert to today's value, or wander, and change by addition.

| factor | series of the history | value |
| --- | --- | --- |
| log_basis[BTC] | BTC.PERP beside BTC | log of the perpetual over the index |
| funding_rate[BTC] | BTC.FUNDING | funding of a day, a fraction of the index; positive: longs pay |
| rate_level[USD] | USD.RATE | zero rate at 30 days, continuously compounded |
| rate_slope[USD] | USD.SLOPE | zero rate at a year less that at 30 days |

A reverting series is replaced by the running sum of its innovations e = (v' - m) - phi (v - m), phi = 2^(-elapsed / half-life), m its mean, so that its
changes have the volatility and the correlations that the model draws. A factor whose series is missing may have its volatility from the
configuration; it is then independent of all others. Verified: tests/known_answers/test_spreads.py.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from upm_gpu.calibrate.series import Series

if TYPE_CHECKING:
    import pandas as pd

    from upm_gpu.calibrate.covariance import CovarianceFit
    from upm_gpu.market.snapshot import MarketSnapshot
    from upm_gpu.scenario.spec import ScenarioSpec

SUFFIX = {"log_basis": ".PERP", "funding_rate": ".FUNDING", "rate_level": ".RATE", "rate_slope": ".SLOPE"}
"""of the series of each kind of factor"""
SIGNED = ("funding_rate", "rate_level", "rate_slope")
"""kinds whose series may be 0 or below"""

HOUSE_DEGREES = 4.0
"""degrees of freedom of a factor without a history where the others' are fitted: the house default of the configuration"""


def kind_of(factor: str) -> str:
    """The kind of a factor, "" where it is no spread."""
    kind = factor.partition("[")[0]
    return kind if kind in SUFFIX else ""


def innovations(series: Series, half_life_days: float) -> Series:
    """The running sum of a series' innovations under reversion with a half-life; the series itself where that is 0."""
    if half_life_days <= 0.0 or len(series.time) < 2:
        return series
    about = series.value - series.value.mean()
    left = np.exp2(-np.diff(series.time) / half_life_days)
    return Series(series.time, np.concatenate([[0.0], np.cumsum(about[1:] - left * about[:-1])]))


def half_lives(factors: Sequence[str], spec: ScenarioSpec) -> NDArray[np.float64] | None:
    """(K,) days, 0 for a factor that does not revert; None where none does."""
    days = {"log_basis": spec.basis_half_life_days, "funding_rate": spec.funding_half_life_days, "volatility_shift": spec.level_half_life,
            "volatility_skew": spec.skew_half_life, "volatility_slope": spec.slope_half_life}
    found = np.array([days.get(f.partition("[")[0], 0.0) for f in factors])
    return found if np.any(found) else None


def wanted(spec: ScenarioSpec) -> tuple[str, ...]:
    """Kinds of factors a specification asks for."""
    return (*(("log_basis",) if spec.basis else ()), *(("funding_rate",) if spec.funding == "path" else ()),
            *(("rate_level", "rate_slope") if spec.rates == "moving" else ()))


def from_history(history: pd.DataFrame, underlyings: Sequence[str], spec: ScenarioSpec) -> tuple[str, ...]:
    """Factors asked for whose series the history has: of the underlyings, and of every currency; kinds in order, names in order."""
    assets = {str(a) for a in history["asset"].unique()} if len(history) else set()
    found = []
    for kind in wanted(spec):
        suffix = SUFFIX[kind]
        names = underlyings if kind in ("log_basis", "funding_rate") else sorted(a.removesuffix(suffix) for a in assets if a.endswith(suffix))
        found += [f"{kind}[{n}]" for n in names if n + suffix in assets]
    return tuple(found)


def configured(made: Container[str], underlyings: Sequence[str], market: MarketSnapshot, spec: ScenarioSpec) -> dict[str, float]:
    """Volatilities of a day of the factors asked for that no series made, from the configuration."""
    volatility = {"log_basis": spec.basis_volatility, "funding_rate": spec.funding_volatility, "rate_level": spec.rate_volatility, "rate_slope": spec.slope_volatility}
    currencies = sorted({market.reporting_currency, *market.rates})
    found = {}
    for kind in wanted(spec):
        for name in underlyings if kind in ("log_basis", "funding_rate") else currencies:
            factor = f"{kind}[{name}]"
            if volatility[kind] > 0.0 and factor not in made:
                found[factor] = volatility[kind]
    return found


def with_independent(fit: CovarianceFit, volatility: dict[str, float]) -> CovarianceFit:
    """The fit with factors that move on their own, after the others."""
    if not volatility:
        return fit
    size, more = len(fit.factors), len(volatility)

    def beside(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
        found = np.eye(size + more)
        found[:size, :size] = matrix
        return found

    observations = np.zeros((size + more, size + more), np.int64)
    observations[:size, :size] = fit.observations if fit.observations.size else 0
    degrees = fit.degrees_of_freedom if len(fit.degrees_of_freedom) else np.full(size, np.nan)
    return replace(
        fit, factors=(*fit.factors, *volatility), daily_volatility=np.concatenate([fit.daily_volatility, list(volatility.values())]), correlation=beside(fit.correlation),
        residuals=None if fit.residuals is None else np.column_stack([fit.residuals, np.full((len(fit.residuals), more), np.nan)]),
        stressed_correlation=None if fit.stressed_correlation is None else beside(fit.stressed_correlation), observations=observations, first=(*fit.first, *[""] * more) if fit.first else (), degrees_of_freedom=np.concatenate([degrees, np.full(more, HOUSE_DEGREES)]),
        daily_mean=np.concatenate([fit.daily_mean, np.zeros(more)]) if len(fit.daily_mean) else fit.daily_mean,
        half_life_days=np.concatenate([fit.half_life_days, np.zeros(more)]) if len(fit.half_life_days) else fit.half_life_days)
