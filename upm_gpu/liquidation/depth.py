"""What the market takes: the volume of a day in delta, vega and contracts, and the spread of one unit, from quotes and the liquidation file.

  own cost of trading instrument i:  h_i |q| + Phi_i(C + q) - Phi_i(C),  Phi_i(C) = 2/3 h_i Y |C|^(3/2) / sqrt(L_i)

the square-root law once more with the half spread h_i as its scale: L_i is the larger of the volume quoted and a share of open interest, C what liquidators have bought of it so far.
Futures, perpetuals and spot are as deep as their underlying. An option's delta is traded in the underlying by whoever takes the option over, so it moves the price as a future's does.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from upm_gpu.domain.instrument import Option, expiry_of
from upm_gpu.liquidation.impact import Square
from upm_gpu.liquidation.parameters import Parameters
from upm_gpu.liquidation.world import Ground, Slopes
from upm_gpu.market.snapshot import days_between


@dataclass(frozen=True)
class Depth:
    """Laws of a market before anything is traded; spreads (N,) are money a unit."""

    price: Square
    """by underlying, in money of delta"""
    volatility: Square
    """by underlying, in money of vega for a relative change by 1"""
    own: Square
    """by instrument, in units"""
    spread: NDArray[np.float64]
    """(N,) half of it"""
    volume: NDArray[np.float64]
    """(U,) delta a day"""


def depth_of(ground: Ground, slopes: Slopes, parameters: Parameters) -> Depth:
    """Depth of the market of a run, at today's slopes."""
    impact, count = parameters.impact, len(ground.plan.instruments)
    price_volatility, vol_volatility = ground.daily_volatility
    contracts = _contracts_a_day(ground, parameters)
    point = _point_size(ground)
    volume = np.array([impact.volume.get(u, impact.default_volume) for u in ground.underlyings])
    quoted = np.bincount(ground.of_instrument, weights=np.where(np.isfinite(contracts), contracts, 0.0) * np.abs(slopes.vega), minlength=len(ground.underlyings))
    vega = np.array([impact.vega_volume[u] / point[k] if u in impact.vega_volume else quoted[k] if quoted[k] > 0.0 else impact.default_vega_volume / point[k]
                     for k, u in enumerate(ground.underlyings)])
    spread, y = _half_spreads(ground, slopes, parameters, point), impact.coefficient
    least = np.maximum(np.where(np.isfinite(contracts), contracts, 0.0), impact.least_depth)
    own = np.where(ground.is_option, spread * y / np.sqrt(least), 0.0)
    zero = np.zeros(len(ground.underlyings))
    return Depth(Square(y * price_volatility / np.sqrt(volume), zero, impact.permanent), Square(y * vol_volatility / np.sqrt(vega), zero, impact.permanent),
                 Square(own, np.zeros(count), 0.0), spread, volume)


def depth_in_words(ground: Ground, parameters: Parameters) -> str:
    """How many options are closed against a guess, since nothing is quoted of their volume."""
    options = int(np.count_nonzero(ground.is_option))
    blind = options - int(np.count_nonzero(np.isfinite(_contracts_a_day(ground, parameters))))
    if not blind:
        return "every option has a quoted volume or open interest" if options else "no options"
    return f"{blind:,} of {options:,} options have no quoted volume or open interest: closed as if {parameters.impact.least_depth:g} unit a day traded (impact.least_depth)"


def _contracts_a_day(ground: Ground, parameters: Parameters) -> NDArray[np.float64]:
    """(N,) units of each option that trade a day: NaN where it has no quote with a volume or open interest. A quote stands for the call and the put of its strike."""
    quotes = ground.plan.market.quotes
    taken = np.maximum(np.nan_to_num(quotes.volume), parameters.impact.open_interest_turnover * np.nan_to_num(quotes.open_interest))
    seen = {(str(u), e, k): v for u, e, k, v in zip(quotes.underlying, quotes.expiry, quotes.strike.tolist(), taken.tolist(), strict=True)}
    found = [seen.get((i.underlying, i.expiry, i.strike), 0.0) * i.contract_size if isinstance(i, Option) else np.nan for i in ground.plan.instruments]
    return np.where(np.array(found, np.float64) > 0.0, found, np.nan)


def _point_size(ground: Ground) -> NDArray[np.float64]:
    """(U,) what a volatility point is, relative to the volatility of the underlying: a hundredth of the median quoted volatility there (0.5 where none is quoted)."""
    quotes = ground.plan.market.quotes
    level = [float(np.median(own)) if len(own := quotes.implied_volatility[quotes.underlying == u]) else 0.5 for u in ground.underlyings]
    return 0.01 / np.array(level, np.float64)


def _half_spreads(ground: Ground, slopes: Slopes, parameters: Parameters, point: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N,) money a unit."""
    plan, spreads = ground.plan, parameters.spreads
    found = np.zeros(len(plan.instruments))
    for n, instrument in enumerate(plan.instruments):
        expiry = expiry_of(instrument)
        if isinstance(instrument, Option) and expiry is not None:
            tenor = int(np.searchsorted(spreads.tenor_days, days_between(plan.market.valuation_time, expiry)))
            points = spreads.option_points[tenor] * point[ground.of_instrument[n]] * abs(slopes.vega[n])
            least = spreads.least * plan.market.spots.get(instrument.underlying, 0.0)
            found[n] = max(points, least)
        else:
            found[n] = spreads.linear * abs(slopes.delta[n])
    return found
