"""Euler contributions: who makes the tail of a sum, from scenarios of its parts.

For a positively homogeneous measure the contribution of part i is x_i dRho/dx_i, and the contributions add up to the
measure. For ES it is the mean of the part's loss over the tail of the whole, the boundary scenario counted by its fraction;
for VaR it is the part's loss in the scenario of the quantile, one scenario and so noisy (Tasche, "Capital allocation to
business units and sub-portfolios: the Euler principle", 2008).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from upm_gpu.risk.measures import tail_size


def expected_shortfall_contributions(losses: ArrayLike, level: float) -> NDArray[np.float64]:
    """losses (P, S) of the parts -> (P,), adding up to the ES of their sum. Ties are broken by the scenario's place.

    >>> expected_shortfall_contributions([[1.0, 2.0], [3.0, 0.0]], 0.5).tolist()
    [1.0, 3.0]
    """
    losses = np.asarray(losses, np.float64)
    order, k, whole = _worst(losses, level)
    weight = np.full(order.size, 1.0)
    weight[whole:] = k - whole
    return np.sum(losses[:, order] * weight, axis=1) / k


def value_at_risk_contributions(losses: ArrayLike, level: float) -> NDArray[np.float64]:
    """losses (P, S) -> (P,): the parts' losses in the scenario of the quantile, adding up to the VaR of their sum."""
    losses = np.asarray(losses, np.float64)
    order, _, whole = _worst(losses, level)
    return losses[:, order[whole]]


def _worst(losses: NDArray[np.float64], level: float) -> tuple[NDArray[np.int64], float, int]:
    """The floor(k) + 1 worst scenarios of the sum, worst first."""
    k = tail_size(losses.shape[1], level)
    whole = int(np.floor(k))
    total = np.zeros(losses.shape[1])
    for part in losses:
        total = total + part
    return np.argsort(-total, kind="stable")[: whole + 1], k, whole
