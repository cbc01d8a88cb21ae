"""What hedges what across expiries: opposite amounts matched nearest expiry first, at a cost of the time between them.

Verified: tests/known_answers/test_bybit_pm.py.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def spread_cost(amount: NDArray[np.float64], days: NDArray[np.float64], least_days: float = 0.0) -> NDArray[np.float64]:
    """(G,) sum over matched pairs of size x max(days between, `least_days`), of amounts (G, E) at ascending days (E,).

    Expiries are taken in order of time; each is matched against what is left of earlier ones of the other sign, the latest first. What finds no
    partner costs nothing. Continuous in the amounts; of two expiries it is min(|a|, |b|) x days between them where the signs differ.

    >>> float(spread_cost(np.array([[3.0, -1.0, -1.0]]), np.array([0.0, 30.0, 90.0]))[0])
    120.0
    """
    left = np.array(amount, np.float64, copy=True)
    cost = np.zeros(len(left))
    for later in range(1, left.shape[1]):
        for earlier in range(later - 1, -1, -1):
            a, b = left[:, earlier], left[:, later]
            matched = np.where(a * b < 0.0, np.minimum(np.abs(a), np.abs(b)), 0.0)
            left[:, earlier], left[:, later] = a - np.sign(a) * matched, b - np.sign(b) * matched
            cost += matched * max(float(days[later] - days[earlier]), least_days)
    return cost
