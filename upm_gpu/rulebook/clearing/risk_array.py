"""SPAN risk arrays: the 16 scenarios, scanning risk, composite delta, and the price risk of a delta.

    array_s  = fraction_s x P&L of one unit at price + p_s x price scan range, volatility + v_s x volatility scan range
    scanning = max(0, -min_s sum_n q_n array_ns)
    composite delta = sum_p w_p delta(price + p x price scan range) / sum_p w_p over the seven prices of the first 14 scenarios
    price risk of a delta = max(0, (loss of the worst scenario + loss of its pair) / 2 - (loss of scenario 1 + loss of scenario 2) / 2) / |net delta|

The pair of a scenario has the same price and the other volatility; the two extreme moves are their own. Scenarios 1 and 2 leave the price, so
their mean loss is what time takes. Source: CME SPAN, Risk Arrays and composite delta (pages of the clearing house and standard texts).
Verified: tests/known_answers/test_span.py.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

PRICE = np.array([0, 0, 1, 1, -1, -1, 2, 2, -2, -2, 3, 3, -3, -3, 6, -6]) / 3.0
"""(16,) price move in price scan ranges"""
VOLATILITY = np.array([1.0, -1.0] * 7 + [0.0, 0.0])
"""(16,) volatility move in volatility scan ranges"""
FRACTION = np.array([1.0] * 14 + [0.35] * 2)
"""(16,) share of the P&L that counts"""
PAIR = np.array([1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 14, 15])
NAMES = tuple(f"price {p:+.2f}, volatility {v:+.0f}" if f == 1.0 else f"extreme price {p:+.0f}" for p, v, f in zip(PRICE, VOLATILITY, FRACTION, strict=True))
DELTA_PRICE = np.array([0, 1, -1, 2, -2, 3, -3]) / 3.0
DELTA_WEIGHT = np.array([0.270, 0.217, 0.217, 0.110, 0.110, 0.037, 0.037])
"""likelihood of the seven prices; they sum to 0.998 as published and are divided by their sum, so that a future's delta is 1"""


def scanning_risk(pnl: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """(G,) largest loss, floored at 0, and (G,) its scenario; pnl (G, 16) is summed over positions. Of equal scenarios the first.

    >>> scanning_risk(np.array([[5.0] * 15 + [-7.0]]))
    (array([7.]), array([15]))
    """
    worst = np.argmin(pnl, axis=1)
    return np.maximum(-pnl[np.arange(len(pnl)), worst], 0.0), worst


def composite_delta(delta: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N,) of deltas (N, 7) at DELTA_PRICE."""
    return np.asarray(delta @ DELTA_WEIGHT / DELTA_WEIGHT.sum())


def weighted_price_risk(pnl: NDArray[np.float64], net_delta: NDArray[np.float64]) -> NDArray[np.float64]:
    """(G,) price risk of one delta; 0 where there is no net delta. pnl (G, 16), net_delta (G,)."""
    _, worst = scanning_risk(pnl)
    rows = np.arange(len(pnl))
    price = -(pnl[rows, worst] + pnl[rows, PAIR[worst]]) / 2.0 + (pnl[:, 0] + pnl[:, 1]) / 2.0
    size = np.abs(net_delta)
    return np.divide(np.maximum(price, 0.0), size, out=np.zeros(len(size)), where=size > 0.0)
