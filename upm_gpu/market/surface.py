"""Implied-volatility surfaces: raw SVI total-variance slices without calendar arbitrage.

A slice is w(k) = a + b (rho (k - m) + sqrt((k - m)^2 + s^2)), total implied variance sigma^2 T at log-forward-moneyness
k = ln(K / F), k clipped to [-3, 3] (J. Gatheral, "A parsimonious arbitrage-free implied volatility parameterization", 2004).
Slices of one underlying are fitted together (or tied to one another, `ssvi.py`): least squares on the volatilities with a robust loss, plus a penalty
wherever a slice lies below the one before it; what is left is lifted away, so that w never falls in T at any k.

Verified by `tests/known_answers/test_surface.py` (recovers a known surface, interpolation by hand) and
`tests/properties/test_surface_calendar.py` (no calendar arbitrage under random quotes).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from upm_gpu.errors import MarketDataError
from upm_gpu.market.snapshot import MarketSnapshot, SurfaceFamily, years_between

if TYPE_CHECKING:
    from upm_gpu.market.ssvi import Ssvi

MAX_LOG_MONEYNESS = 3.0
MIN_TOTAL_VARIANCE = 1e-12
# Quotes outside are no volatilities; the same bounds as the clip of a shocked volatility would cut real one-day wings.
MIN_VOLATILITY, MAX_VOLATILITY = 0.005, 10.0
NEAR = 5.0
"""standard deviations from the money within which errors of a fit are reported"""
# Below this a day count of variance is noise of the clock: the slice says nothing about the expiries after it.
MIN_YEARS = 1.0 / (365.0 * 24.0 * 60.0)
# Spacing of the grid on which the lift is measured; the curvature bound of `_gap` covers what lies between its points.
LIFT_GRID = np.linspace(-MAX_LOG_MONEYNESS, MAX_LOG_MONEYNESS, 6001)


QuoteLists = tuple[list[datetime], list[float], list[NDArray[np.float64]], list[NDArray[np.float64]], list[NDArray[np.float64]]]


@dataclass(frozen=True)
class SviSlice:
    """One expiry. `fit_error`: largest volatility error of the slice against what it was fitted to (decimal)."""

    expiry: datetime
    expiry_years: float
    a: float
    b: float
    rho: float
    m: float
    s: float
    fit_error: float = 0.0


@dataclass(frozen=True)
class SliceDiagnostics:
    """How well one slice sits. Errors are model minus quote in volatility (decimal), within five standard deviations of the money."""

    expiry: datetime
    quotes: int
    """all that were used"""
    root_mean_square_error: float
    max_error: float
    violation: float
    """largest fall of total variance against the slice before it, after the penalised fit"""
    lift: float
    """added to `a` to remove it"""
    butterfly: float
    """smallest g(k) over the quoted strikes; negative where the slice implies a negative density there"""


@dataclass(frozen=True)
class Surface:
    """Slices of one underlying, ascending in expiry, w non-decreasing in T at every k."""

    underlying: str
    valuation_time: datetime
    slices: tuple[SviSlice, ...]
    fits: tuple[SliceDiagnostics, ...]
    broken: tuple[dict[str, Any], ...] = ()
    """conditions of no arbitrage that the fit itself names as broken (SSVI), as rows of `arbitrage.surface_violations`"""

    @property
    def diagnostics(self) -> dict[str, float | int]:
        """The whole surface in plain numbers, for a report."""
        return {
            "expiries": len(self.slices),
            "quotes": sum(f.quotes for f in self.fits),
            "root_mean_square_error": float(
                np.sqrt(sum(f.quotes * f.root_mean_square_error**2 for f in self.fits) / sum(f.quotes for f in self.fits))
            ),
            "max_error": max(f.max_error for f in self.fits),
            "calendar_violation": max(f.violation for f in self.fits),
            "lift": max(f.lift for f in self.fits),
            "butterfly": min(f.butterfly for f in self.fits),
        }


def total_variance(svi: SviSlice, log_moneyness: NDArray[np.float64] | float) -> NDArray[np.float64]:
    """w(k), clipped and floored exactly as the pricing program does (`pricing/compiled.py`)."""
    k = np.clip(np.asarray(log_moneyness, np.float64), -MAX_LOG_MONEYNESS, MAX_LOG_MONEYNESS)
    d = k - svi.m
    return np.maximum(svi.a + svi.b * (svi.rho * d + np.sqrt(d * d + svi.s * svi.s)), MIN_TOTAL_VARIANCE)


def implied_volatility(svi: SviSlice, log_moneyness: NDArray[np.float64] | float) -> NDArray[np.float64]:
    """sqrt(w(k) / T)."""
    return np.sqrt(total_variance(svi, log_moneyness) / svi.expiry_years)


def fit_surface(market: MarketSnapshot, underlying: str, keep: NDArray[np.bool_] | None = None, ssvi: Callable[..., Ssvi] | None = None) -> Surface:
    """The surface of one underlying from the quotes of a snapshot; `ssvi` stands for `ssvi.fit_ssvi` where the family is one of its.

    `keep` (Q,) leaves quotes out (quarantined ones); quotes without a forward, past their expiry or outside
    0.5 % to 1,000 % volatility are left out as well. Weights: Black vega, divided by the bid-ask spread where there is one.
    Raises `MarketDataError` UPM-MD-120 when no usable quote is left.
    """
    return fit_slices(underlying, market.valuation_time, *usable_quotes(market, underlying, keep), market.surface_family, ssvi)


def usable_quotes(market: MarketSnapshot, underlying: str, keep: NDArray[np.bool_] | None = None) -> QuoteLists:
    """Expiries ascending, years, and by expiry ln(K / F), volatilities and weights of the quotes that `fit_surface` uses; raises as it does."""
    quotes = market.quotes
    rows = np.flatnonzero((quotes.underlying == underlying) & (True if keep is None else keep))
    by_expiry: dict[datetime, list[int]] = {}
    for row in rows:
        by_expiry.setdefault(quotes.expiry[row], []).append(int(row))
    expiries: list[datetime] = []
    years: list[float] = []
    moneyness: list[NDArray[np.float64]] = []
    volatility: list[NDArray[np.float64]] = []
    weight: list[NDArray[np.float64]] = []
    for expiry in sorted(by_expiry):
        t = years_between(market.valuation_time, expiry)
        forward = market.forwards.get((underlying, expiry))
        if t < MIN_YEARS or forward is None or not forward > 0.0:
            continue
        at = np.array(by_expiry[expiry])
        sigma = quotes.implied_volatility[at]
        good = (sigma >= MIN_VOLATILITY) & (sigma <= MAX_VOLATILITY) & (quotes.strike[at] > 0.0)
        at, sigma = at[good], sigma[good]
        if not len(at):
            continue
        k = np.log(quotes.strike[at] / forward)
        expiries.append(expiry)
        years.append(t)
        moneyness.append(k)
        volatility.append(sigma)
        weight.append(quote_weights(k, sigma, t, quotes.ask[at] - quotes.bid[at]))
    if not expiries:
        quarantined = int(np.count_nonzero(quotes.underlying == underlying)) - len(rows)
        aside = f", {quarantined} more being quarantined: their volatility misses their mark, which is read in {'the quote currency' if underlying in market.linear_marks else 'coins'}" if quarantined else ""
        raise MarketDataError(
            "UPM-MD-120",
            f"implied_vols: underlying {underlying} has no usable quote (alive, with a forward, volatility between "
            f"{MIN_VOLATILITY:g} and {MAX_VOLATILITY:g}) among {len(rows)}{aside}. Give quotes or forwards for its expiries.",
        )
    return expiries, years, moneyness, volatility, weight


def fit_surfaces(market: MarketSnapshot, underlyings: Iterable[str]) -> dict[str, Surface]:
    """Surfaces by name of underlying, quarantined quotes left out.

    An underlying without any quote is left out too, so that the pricing can name the instrument. Raises as `fit_surface`.
    """
    from upm_gpu.market.marks import check_marks

    quoted, keep = set(market.quotes.underlying.tolist()), ~check_marks(market).quarantined
    return {u: fit_surface(market, u, keep) for u in sorted(set(underlyings)) if u in quoted}


def fit_slices(
    underlying: str,
    valuation_time: datetime,
    expiries: Sequence[datetime],
    years: Sequence[float],
    log_moneyness: Sequence[NDArray[np.float64]],
    implied_volatilities: Sequence[NDArray[np.float64]],
    weights: Sequence[NDArray[np.float64]],
    family: SurfaceFamily = "svi",
    ssvi: Callable[..., Ssvi] | None = None,
) -> Surface:
    """Fit all slices together; sequences run over expiries (ascending), arrays over the quotes of each."""
    from upm_gpu.market.ssvi import conditions, fit_ssvi
    from upm_gpu.market.svi_fit import fit_jointly

    broken: tuple[dict[str, Any], ...] = ()
    if family == "svi":
        parameters = fit_jointly(np.asarray(years), log_moneyness, implied_volatilities, weights)
    else:
        tied = (ssvi or fit_ssvi)(np.asarray(years), log_moneyness, implied_volatilities, weights, "heston" if family == "ssvi_heston" else "power_law")
        parameters = tied.slices()
        broken = tuple({"underlying": underlying, "expiry": expiries[row.pop("expiry")].isoformat(), "violation": row.pop("condition"), "worst": row.pop("value")} for row in conditions(tied))
    return surface_of(underlying, valuation_time, expiries, years, parameters, log_moneyness, implied_volatilities, broken)


def surface_of(underlying: str, valuation_time: datetime, expiries: Sequence[datetime], years: Sequence[float], parameters: NDArray[np.float64], log_moneyness: Sequence[NDArray[np.float64]],
               implied_volatilities: Sequence[NDArray[np.float64]], broken: tuple[dict[str, Any], ...] = ()) -> Surface:
    """Raw parameters (E, 5) as slices without calendar arbitrage, each lifted over the one before it where it must be, and how they meet the quotes."""
    slices: list[SviSlice] = []
    diagnostics: list[SliceDiagnostics] = []
    for i, (expiry, t) in enumerate(zip(expiries, years, strict=True)):
        a, b, rho, m, s = (float(p) for p in parameters[i])
        svi = SviSlice(expiry, float(t), a, b, rho, m, s)
        violation = _gap(slices[-1], svi) if slices else 0.0
        # Total variance of a slice is positive at its vertex before anything is compared with it.
        vertex = a + b * s * np.sqrt(1.0 - rho * rho)
        lift = max(violation, 1e-4 * float(t) * MIN_VOLATILITY - vertex, 0.0)
        if lift > 0.0:
            # A hair more than measured: the sum is rounded.
            svi = replace(svi, a=a + lift * (1.0 + 1e-12) + 1e-15)
        error = implied_volatility(svi, log_moneyness[i]) - implied_volatilities[i]
        near = np.abs(log_moneyness[i]) <= NEAR * _at_the_money_deviation(log_moneyness[i], implied_volatilities[i], float(t))
        error = error[near] if near.any() else error
        svi = replace(svi, fit_error=float(np.max(np.abs(error))))
        slices.append(svi)
        diagnostics.append(
            SliceDiagnostics(
                expiry=expiry,
                quotes=len(log_moneyness[i]),
                root_mean_square_error=float(np.sqrt(np.mean(error * error))),
                max_error=svi.fit_error,
                violation=max(violation, 0.0),
                lift=lift,
                butterfly=float(np.min(density_sign(svi, np.linspace(*_span(log_moneyness[i]), 201)))),
            )
        )
    return Surface(underlying, valuation_time, tuple(slices), tuple(diagnostics), broken)


def slice_at(surface: Surface, expiry: datetime) -> SviSlice:
    """The slice of any expiry after the valuation time.

    A quoted expiry gives its own slice. Between two expiries w is interpolated linearly in T at fixed k and a slice is fitted to
    that curve, `fit_error` its largest volatility error within five standard deviations of the money. Outside,
    volatility is flat in T: w scales with T, exactly. Raises `MarketDataError` UPM-MD-121 for an expiry that is past.
    """
    t = years_between(surface.valuation_time, expiry)
    if t <= 0.0:
        raise MarketDataError(
            "UPM-MD-121",
            f"surface {surface.underlying}: expiry {expiry.isoformat()} is not after the valuation time "
            f"{surface.valuation_time.isoformat()}. Remove the instrument or value the book earlier.",
        )
    times = np.array([x.expiry_years for x in surface.slices])
    i = int(np.searchsorted(times, t))
    for near in surface.slices[max(i - 1, 0) : i + 1]:
        if near.expiry == expiry:
            return near
    if i == 0 or i == len(times):
        end = surface.slices[0 if i == 0 else -1]
        ratio = t / end.expiry_years
        return replace(end, expiry=expiry, expiry_years=t, a=end.a * ratio, b=end.b * ratio)
    before, after = surface.slices[i - 1], surface.slices[i]
    share = (t - before.expiry_years) / (after.expiry_years - before.expiry_years)
    return _between(before, after, share, expiry, t)


def at_the_money_volatility(surface: Surface, days: float = 30.0) -> float:
    """Volatility at the forward, total variance interpolated linearly in T; flat outside the quoted expiries."""
    t = days / 365.0
    times = np.array([x.expiry_years for x in surface.slices])
    w = np.array([float(total_variance(x, 0.0)) for x in surface.slices])
    inside = float(np.clip(t, times[0], times[-1]))
    return float(np.sqrt(np.interp(inside, times, w) / inside))


def at_the_money_skew(surface: Surface, days: float = 30.0) -> float:
    """Slope of volatility in log-moneyness at the forward, d sigma / d k at k = 0."""
    svi = slice_at(surface, surface.valuation_time + timedelta(days=days))
    slope = svi.b * (svi.rho - svi.m / np.sqrt(svi.m * svi.m + svi.s * svi.s))
    return float(slope / (2.0 * np.sqrt(total_variance(svi, 0.0) * svi.expiry_years)))


def quote_weights(k: NDArray, sigma: NDArray, years: float, spread: NDArray) -> NDArray:
    """Fourth root of vega (1 at the money), floored so that wings still count, over the root of the relative spread where quoted."""
    distance = k / _at_the_money_deviation(k, sigma, years)
    vega = np.exp(-0.5 * (k / (sigma * np.sqrt(years))) ** 2)
    # Beyond five deviations exchanges quote a flat volatility by convention: prices are zero there and say nothing.
    weight = np.maximum(vega**0.25, np.where(np.abs(distance) <= NEAR, 0.15, 0.03))
    known = np.isfinite(spread) & (spread > 0.0)
    if known.any():
        typical = float(np.median(spread[known]))
        factor = np.where(known, np.sqrt(typical / np.where(known, spread, 1.0)), 0.5)
        weight = weight * np.clip(factor, 0.3, 2.0)
    return weight


def _at_the_money_deviation(k: NDArray, sigma: NDArray, years: float) -> float:
    order = np.argsort(k, kind="stable")
    return float(np.interp(0.0, k[order], sigma[order]) * np.sqrt(years))


def _span(k: NDArray) -> tuple[float, float]:
    low, high = float(np.min(k)), float(np.max(k))
    return (low, high) if high > low else (low - 0.01, high + 0.01)


def _gap(before: SviSlice, after: SviSlice) -> float:
    """Upper bound of max over k in [-3, 3] of w_before - w_after; 0 or less when there is none.

    On the grid, plus h^2 / 8 times the largest curvature |w''| <= b / s of either slice between its points.
    """
    difference = _raw(before, LIFT_GRID) - _raw(after, LIFT_GRID)
    h = LIFT_GRID[1] - LIFT_GRID[0]
    d = np.abs(LIFT_GRID[:, None] - np.array([before.m, after.m]))
    # |w''| = b s^2 / (d^2 + s^2)^1.5 falls away from the vertex; each cell takes its nearer end.
    s2 = np.array([before.s**2, after.s**2])
    near = np.maximum(d - h, 0.0) ** 2
    curvature = np.array([before.b, after.b]) * s2 / (near + s2) ** 1.5
    return float(np.max(difference + h * h / 8.0 * curvature.sum(axis=1)))


def _raw(svi: SviSlice, k: NDArray) -> NDArray:
    d = k - svi.m
    return svi.a + svi.b * (svi.rho * d + np.sqrt(d * d + svi.s * svi.s))


def density_sign(svi: SviSlice, k: NDArray) -> NDArray:
    """g(k), positive where the risk-neutral density is (J. Gatheral, A. Jacquier, "Arbitrage-free SVI volatility surfaces", 2014)."""
    d = k - svi.m
    root = np.sqrt(d * d + svi.s * svi.s)
    w = np.maximum(_raw(svi, k), MIN_TOTAL_VARIANCE)
    first = svi.b * (svi.rho + d / root)
    second = svi.b * svi.s**2 / root**3
    return (1.0 - k * first / (2.0 * w)) ** 2 - first**2 / 4.0 * (1.0 / w + 0.25) + second / 2.0


def _between(before: SviSlice, after: SviSlice, share: float, expiry: datetime, years: float) -> SviSlice:
    """A slice fitted to the interpolated curve, starting from the parameters between its neighbours."""
    from upm_gpu.market.svi_fit import fit_curve

    width = 5.0 * float(np.sqrt((1.0 - share) * total_variance(before, 0.0) + share * total_variance(after, 0.0)))
    k = np.clip(width * np.linspace(-1.0, 1.0, 101), -MAX_LOG_MONEYNESS, MAX_LOG_MONEYNESS)
    wings = np.linspace(-MAX_LOG_MONEYNESS, MAX_LOG_MONEYNESS, 41)
    wings = wings[np.abs(wings) > width]
    grid = np.concatenate([k, wings])
    w = (1.0 - share) * total_variance(before, grid) + share * total_variance(after, grid)
    weight = np.concatenate([np.ones(len(k)), np.full(len(wings), 0.1)])
    start = [(1.0 - share) * getattr(before, n) + share * getattr(after, n) for n in ("a", "b", "rho", "m", "s")]
    a, b, rho, m, s = fit_curve(years, grid, np.sqrt(w / years), weight, np.array(start))
    svi = SviSlice(expiry, years, a, b, rho, m, s)
    error = implied_volatility(svi, k) - np.sqrt(w[: len(k)] / years)
    return replace(svi, fit_error=float(np.max(np.abs(error))))
