"""What a chain of two-sided quotes says about its forward: put-call parity.

C - P = D (F - K) for European options of one expiry, so every strike with both sides quoted gives a forward K + (C - P) / D. Quotes are mids; a
strike counts by the inverse square of its error, half the sum of the two spreads over D, and the forward is the weighted median, which a
stale quote does not move (H. Stoll, "The relationship between put and call option prices", Journal of Finance 24, 1969).

Verified by `tests/known_answers/test_parity.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from upm_gpu.errors import MarketDataError

NEAR = 0.10
"""strikes within this share of the forward count: deep ones are quoted wide and say little"""


@dataclass(frozen=True)
class ParityForward:
    """A forward, how well the quotes agree on it, and how many strikes had a say."""

    forward: float
    spread: float
    """median of |F_i - F| over the strikes used, in currency"""
    strikes: int
    outside: int
    """strikes whose bid and ask of both sides do not admit this forward: K + (C_bid - P_ask) / D > F or K + (C_ask - P_bid) / D < F"""


def parity_forward(strike: NDArray[np.float64], call_bid: NDArray[np.float64], call_ask: NDArray[np.float64], put_bid: NDArray[np.float64],
                   put_ask: NDArray[np.float64], discount: float, label: str = "expiry") -> ParityForward:
    """The forward of one expiry from arrays (K,) of quotes; a bid of 0 or NaN is no quote. Raises MarketDataError UPM-MD-141 where fewer than two strikes have both sides.

    >>> k, c, p = np.array([90.0, 100.0, 110.0]), np.array([12.0, 5.0, 1.5]), np.array([1.0, 4.0, 10.5])
    >>> parity_forward(k, c - 0.1, c + 0.1, p - 0.1, p + 0.1, 1.0).forward
    101.0
    """
    quoted = (call_bid > 0.0) & (put_bid > 0.0) & (call_ask >= call_bid) & (put_ask >= put_bid)
    if np.count_nonzero(quoted) < 2:
        raise MarketDataError("UPM-MD-141", f"{label}: {np.count_nonzero(quoted)} strikes have a bid and an ask on both sides, at least 2 are needed for a forward. Give the forward, or leave the expiry out.")
    k, cb, ca, pb, pa = (x[quoted] for x in (strike, call_bid, call_ask, put_bid, put_ask))
    implied = k + 0.5 * (cb + ca - pb - pa) / discount
    error = np.maximum(0.5 * (ca - cb + pa - pb) / discount, 1e-6 * k)
    rough = _weighted_median(implied, error**-2.0)
    near = np.abs(k / rough - 1.0) <= NEAR
    if np.count_nonzero(near) < 2:
        near = np.ones_like(near)
    forward = _weighted_median(implied[near], error[near] ** -2.0)
    outside = (k + (cb - pa) / discount > forward) | (k + (ca - pb) / discount < forward)
    return ParityForward(forward, float(np.median(np.abs(implied[near] - forward))), int(np.count_nonzero(near)), int(np.count_nonzero(outside)))


def _weighted_median(value: NDArray[np.float64], weight: NDArray[np.float64]) -> float:
    order = np.argsort(value, kind="stable")
    total = np.cumsum(weight[order])
    return float(value[order][int(np.searchsorted(total, 0.5 * total[-1]))])
