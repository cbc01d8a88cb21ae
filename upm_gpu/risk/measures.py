"""Value at risk and expected shortfall of a sample of losses, exact.

With S scenarios of weight 1 and confidence `level`, k = S (1 - level), snapped to an integer within 1e-9 relative:

  VaR = the (floor(k) + 1)-th worst loss (the lower quantile),
  ES  = (sum of the floor(k) worst + (k - floor(k)) x the next) / k

(Acerbi and Tasche, "On the coherence of expected shortfall", 2002; equal to the minimum of Rockafellar and Uryasev, 2000).
With weights, k is W (1 - level), W their sum, and losses are counted by weight. Losses are positive amounts. Verified by
twenty-loss samples with known answers, plain and weighted, and by the definition as a minimum.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from upm_gpu.errors import InputError

SNAP = 1e-9
"""relative: S (1 - level) this close to an integer is that integer (1 - 0.99 is not a hundredth in binary)"""


def check_level(level: float) -> float:
    """A confidence level strictly between 0 and 1.

    >>> check_level(0.99)
    0.99
    """
    level = float(level)
    if 0.0 < level < 1.0:
        return level
    hint = f" Use {level / 100.0:.15g}." if 1.0 < level < 100.0 else " Use a number such as 0.99."
    raise InputError("UPM-CF-088", f"confidence level {level:.15g} is not between 0 and 1.{hint}")


def tail_size(total: float, level: float) -> float:
    """k = total (1 - level), snapped; at most `total`.

    >>> tail_size(1000, 0.99)
    10.0
    """
    k = total * (1.0 - check_level(level))
    nearest = float(np.round(k))
    return nearest if nearest > 0.0 and abs(k - nearest) <= SNAP * nearest else k


def value_at_risk(loss: ArrayLike, level: float, weights: ArrayLike | None = None) -> NDArray[np.float64] | np.float64:
    """The lower `level`-quantile of the loss; loss (..., S) -> (...); weights (S,) or (..., S), not negative.

    >>> float(value_at_risk([1.0, 2.0, 3.0, 4.0], 0.5))
    2.0
    """
    sorted_loss, sorted_weight, k = _worst_first(loss, level, weights)
    at = _boundary(sorted_weight, k)
    return np.take_along_axis(sorted_loss, at[..., None], -1)[..., 0][()]


def expected_shortfall(loss: ArrayLike, level: float, weights: ArrayLike | None = None) -> NDArray[np.float64] | np.float64:
    """The mean of the worst 1 - `level` of the loss, the boundary scenario counted by its fraction; (..., S) -> (...).

    >>> float(expected_shortfall([1.0, 2.0, 3.0, 4.0], 0.625))
    3.6666666666666665
    """
    sorted_loss, sorted_weight, k = _worst_first(loss, level, weights)
    before = np.cumsum(sorted_weight, axis=-1) - sorted_weight
    share = np.clip(np.asarray(k)[..., None] - before, 0.0, sorted_weight)
    # the weights of a whole tail add up to k; dividing by k keeps a constant loss exact
    return (np.sum(np.where(share > 0.0, share * sorted_loss, 0.0), axis=-1) / k)[()]


def _boundary(sorted_weight: NDArray[np.float64], k: NDArray[np.float64]) -> NDArray[np.int64]:
    """Index of the first scenario, worst first, at which the weight seen exceeds k."""
    seen = np.cumsum(sorted_weight, axis=-1)
    beyond = seen > np.asarray(k)[..., None] * (1.0 + SNAP)
    last = sorted_weight.shape[-1] - 1
    return np.where(beyond.any(axis=-1), np.argmax(beyond, axis=-1), last)


def _worst_first(loss: ArrayLike, level: float, weights: ArrayLike | None) -> tuple[NDArray, NDArray, NDArray]:
    loss = np.asarray(loss, np.float64)
    check_level(level)
    if loss.ndim == 0 or loss.shape[-1] == 0:
        raise InputError("UPM-CF-089", "a risk measure of no scenarios. Give losses with at least one scenario on the last axis.")
    if np.isnan(loss).any():
        at = tuple(int(i) for i in np.argwhere(np.isnan(loss))[0])
        raise InputError("UPM-PR-080", f"loss {at} is not a number. Remove the cause; no measure of it exists.")
    if weights is None:
        k = np.float64(tail_size(loss.shape[-1], level))
        return -np.sort(-loss, axis=-1), np.ones(loss.shape), np.broadcast_to(k, loss.shape[:-1])
    weight = np.broadcast_to(np.asarray(weights, np.float64), loss.shape)
    if not np.all(np.isfinite(weight)) or np.any(weight < 0.0) or np.any(np.sum(weight, axis=-1) <= 0.0):
        raise InputError("UPM-CF-089", "scenario weights must be finite, not negative, and not all 0. Correct the weights.")
    order = np.argsort(-loss, axis=-1, kind="stable")
    sorted_weight = np.take_along_axis(weight, order, -1)
    total = np.sum(sorted_weight, axis=-1)
    k = np.vectorize(lambda w: tail_size(w, level), otypes=[np.float64])(total)
    return np.take_along_axis(loss, order, -1), sorted_weight, k
