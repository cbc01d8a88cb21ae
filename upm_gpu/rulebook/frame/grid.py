"""The priced grid: what every instrument is worth in every scenario of a rule book, priced in one batch by a backend.

Scenario is the last axis. Spot, futures and perpetuals are exact; options are Black-76 on the shocked forward (early exercise by the operation
`american`). Inverse contracts are paid in coins: the local value is in coins, the value in the reporting currency is at the shocked index.
Verified: tests/end_to_end/test_rulebook_frame.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from upm_gpu.rulebook.frame.terms import OPTION, SPOT, Terms

Values = Callable[[str, dict[str, NDArray[np.float64]]], dict[str, NDArray[np.float64]]]
"""a backend's operation `values`: `backend/contract.py`"""
CASES = 1 << 18
"""options x scenarios a call, so that the Greeks that come with each price stay below 50 MB"""


@dataclass(frozen=True)
class Moves:
    """Where the market stands in every scenario; every array broadcasts to (N, S)."""

    spot: NDArray[np.float64]
    """index over today's"""
    forward: NDArray[np.float64]
    """price of the future, perpetual or forward over today's"""
    volatility: NDArray[np.float64]
    """decimal, the shocked volatility itself"""
    years: NDArray[np.float64] | None = None
    """left to expiry; None: today's. At 0 an option is worth its payoff"""
    rate: NDArray[np.float64] | None = None
    """continuously compounded; None: today's"""

    @property
    def scenarios(self) -> int:
        """S."""
        return max(np.shape(a)[-1] for a in (self.spot, self.forward, self.volatility))


def unmoved(terms: Terms) -> Moves:
    """Today's market as one scenario, (N, 1)."""
    return Moves(np.ones((1, 1)), np.ones((1, 1)), terms.volatility[:, None])


def parallel(terms: Terms, multiplier: NDArray[np.float64], volatility: NDArray[np.float64]) -> Moves:
    """Spot and all forwards move by the same factor (S,); volatilities are (N, S)."""
    return Moves(multiplier[None, :], multiplier[None, :], volatility)


def local_values(terms: Terms, moves: Moves, values: Values) -> NDArray[np.float64]:
    """(N, S) value of one unit: in coins of the underlying for inverse contracts, in the quote currency for all else.

    Spot and linear futures: the price. Inverse future or perpetual: 1 / F_0 - 1 / F, the gain since today. Option: exp(-r T) Black76(F, K, sigma, T);
    inverse: Black76 / F.
    """
    shape = (terms.count, moves.scenarios)
    forward = terms.forward[:, None] * np.broadcast_to(moves.forward, shape)
    out = np.where(terms.inverse[:, None], 1.0 / terms.forward[:, None] - 1.0 / forward, forward)
    spot = terms.kind == SPOT
    out[spot] = terms.index[spot, None] * np.broadcast_to(moves.spot, shape)[spot]
    options = np.flatnonzero(terms.kind == OPTION)
    step = max(CASES // max(shape[1], 1), 1)
    for start in range(0, len(options), step):
        part = options[start: start + step]
        for early in (False, True):
            these = part[terms.american[part] == early]
            if len(these):
                out[these] = _options(terms, moves, these, forward[these], values, early)
    return out


def _options(terms: Terms, moves: Moves, these: NDArray[np.intp], forward: NDArray[np.float64], values: Values, early: bool) -> NDArray[np.float64]:
    """(n, S) local values of options."""
    shape = forward.shape

    def column(given: NDArray[np.float64] | None, default: NDArray[np.float64]) -> NDArray[np.float64]:
        wide = default[these, None] if given is None else (np.broadcast_to(given, (terms.count, shape[1]))[these])
        return np.ascontiguousarray(np.broadcast_to(wide, shape)).ravel()

    years, rate = column(moves.years, terms.years), column(moves.rate, terms.rate)
    columns = {"strike": column(None, terms.strike), "time_to_expiry": years, "rate": rate, "volatility": column(moves.volatility, terms.volatility), "sign": column(None, terms.sign)}
    if early:
        carry = np.log(terms.forward[these] / terms.index[these]) / terms.years[these]
        dividend = rate - np.repeat(carry, shape[1])
        columns |= {"spot": forward.ravel() * np.exp((dividend - rate) * years), "dividend_yield": dividend, "price_only": np.ones(forward.size)}
        return values("american", columns)["price"].reshape(shape)
    columns |= {"forward": forward.ravel(), "inverse": np.repeat(terms.inverse[these].astype(float), shape[1])}
    found = values("european", columns)
    return np.where(terms.inverse[these, None], found["price_coin"].reshape(shape), found["price"].reshape(shape))


def reporting_values(terms: Terms, moves: Moves, local: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N, S) of local values in the reporting currency: coins at the shocked index, quote currencies at today's rate."""
    coin = terms.inverse[:, None] * terms.index[:, None] * moves.spot + ~terms.inverse[:, None]
    return local * coin * terms.exchange[:, None]


def pnl(terms: Terms, moves: Moves, values: Values) -> NDArray[np.float64]:
    """(N, S) change of the value of one unit in the reporting currency against today."""
    today = unmoved(terms)
    return reporting_values(terms, moves, local_values(terms, moves, values)) - reporting_values(terms, today, local_values(terms, today, values))


def greeks(terms: Terms, values: Values) -> dict[str, NDArray[np.float64]]:
    """Per unit of quantity, (N,): `delta` and `delta_coin` in coins of the underlying, `vega` in the reporting currency a unit of volatility, `gamma` in coins a unit of forward.

    `delta` is that of the value in the reporting currency (an inverse option has Black's delta, an inverse future 1 / F_0); `delta_coin` that of an
    inverse option counted in coins: Black's delta less the premium. Spot and linear futures have 1.
    """
    zero = np.zeros(terms.count)
    delta = np.where(terms.inverse, 1.0 / terms.forward, 1.0)
    out = {"delta": delta, "delta_coin": delta.copy(), "vega": zero.copy(), "gamma": zero.copy()}
    options = np.flatnonzero(terms.kind == OPTION)
    if len(options):
        found = values("european", {"forward": terms.forward[options], "strike": terms.strike[options], "time_to_expiry": terms.years[options], "rate": terms.rate[options],
                                    "volatility": terms.volatility[options], "sign": terms.sign[options], "inverse": terms.inverse[options].astype(float)})
        inverse = terms.inverse[options]
        out["delta"][options] = found["delta"]
        out["delta_coin"][options] = np.where(inverse, found["delta_coin"], found["delta"])
        scale = np.where(inverse, terms.index[options] / terms.forward[options], 1.0) * terms.exchange[options]
        out["vega"][options] = found["vega"] * scale
        out["gamma"][options] = found["gamma"]
    return out
