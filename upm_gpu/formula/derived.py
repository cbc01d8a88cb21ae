"""Operations on drawn states: twins of `kernels/derived.cuh`, by the names of `kernels/derived.def`.

An operation is a function (inputs, reals, dates) -> (outputs (m, D, S), events, one number or (m,)): inputs are arrays (D, S), None where it does without one, reals a flat array
laid out as the function says, dates (D,) days since the valuation time, and scenarios (S,) their ids for one of DRAWS. Verified against the kernels in tests/parity/test_derived.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from upm_gpu.formula.surface_shift import surface_shift
from upm_gpu.rng.normal import uniform_at

Inputs: TypeAlias = Sequence[Any]
Made: TypeAlias = "tuple[NDArray[np.float64], int | NDArray[np.int64]]"


def linear_combination(inputs: Inputs, reals: NDArray[np.float64], dates: NDArray[np.float64]) -> Made:
    """sum over i of reals[d, i] x inputs[i][d], in order, multiply then add from 0. reals (D, n)."""
    weight = reals.reshape(len(dates), len(inputs))
    total = np.zeros_like(inputs[0])
    for i, x in enumerate(inputs):
        total += weight[:, i, None] * x
    return total[None], 0


def linear_contract(inputs: Inputs, reals: NDArray[np.float64], dates: NDArray[np.float64]) -> Made:
    """P&L over C F_0 X_0 of C contracts that pay F - F_0 less funding in a currency X: exp(x) (m exp(y_r + b) - 1 - A).

    Inputs y (log-level in the contract's currency), b (log-basis), f (change of the funding rate a day), x (log exchange rate); None is 0. Reals: f_0, S_0 / F_0, then
    (D, 4): days since the last accrual date, 1 where the date is one, m, the date r that y is read at. A_d = sum over accrual dates before d, and d
    itself, of (f_0 + f) days (S_0 / F_0) exp(y): funding of a step at the rate and the index of its end.
    """
    y, b, f, x = inputs
    table = reals[2:].reshape(len(dates), 4)
    accrued = _accrued(reals, table, f, y)
    move = np.stack([y[int(r)] for r in table[:, 3]])
    return (np.exp(_or_zero(x)) * (table[:, 2, None] * np.exp(move + _or_zero(b)) - 1.0 - accrued))[None], 0


def inverse_contract(inputs: Inputs, reals: NDArray[np.float64], dates: NDArray[np.float64]) -> Made:
    """P&L over C S_0 / F_0 of contracts of C quote currency that pay C (1/F_0 - 1/F) less funding in coins: exp(v) (1 - A) - exp(v - y - b).

    Inputs v (log-change of a coin in the reporting currency), y (in the contract's), b, f; None is 0. Reals: f_0, F_0 / S_0, then (D, 2) as `linear_contract`.
    A_d = sum of (f_0 + f) days (F_0 / S_0) exp(-y): the coins paid are f days C / S, each worth S_0 exp(v).
    """
    v, y, b, f = inputs
    table = reals[2:].reshape(len(dates), 2)
    accrued = _accrued(reals, table, f, -y)
    return (np.exp(v) * (1.0 - accrued) - np.exp(v - y - _or_zero(b)))[None], 0


def running_extreme(inputs: Inputs, reals: NDArray[np.float64], dates: NDArray[np.float64], scenarios: NDArray[np.uint32]) -> Made:
    """Highest (side +1) or lowest (-1) point of a log-level since the valuation time, where it is 0.

    Between two dates the path is a Brownian bridge from x to y of variance v: its highest point is (x + y + sqrt((y - x)^2 - 2 v ln U)) / 2, U uniform, so that a barrier b is
    crossed with probability exp(-2 (b - x) (b - y) / v). One draw a factor and interval serves every barrier. Reals: low and high word of the seed, stream word,
    factor word, side, then (D, 2): v, step word.
    """
    low, high, stream, factor, side = reals[:5]
    table = reals[5:].reshape(len(dates), 2)
    y = side * inputs[0]
    out, run, start = np.zeros_like(y), np.zeros(y.shape[1]), np.zeros(y.shape[1])
    for d, (variance, step) in enumerate(table):
        u = uniform_at(int(high) << 32 | int(low), scenarios, int(factor), int(step), int(stream))
        run = np.maximum(run, 0.5 * (start + y[d] + np.sqrt((y[d] - start) ** 2 - 2.0 * variance * np.log(u))))
        start, out[d] = y[d], side * run
    return out[None], 0


def running_exit(inputs: Inputs, reals: NDArray[np.float64], dates: NDArray[np.float64], scenarios: NDArray[np.uint32]) -> Made:
    """1 once a path has left the levels between a lower and an upper barrier, else 0. Inputs: the log-level, 0 at the valuation time, its highest and lowest point (`running_extreme`).

    An extreme that reaches its barrier settles it. Both inside, given M < u: the bridge has still been at l with P(m <= l | M < u) = 1 - P(l < m, M < u) / P(M < u), of which the uniform
    of the lowest point has used up P(m <= l), which is less: highest and lowest point fall together. P(l < m, M < u) = 1 + sum over n of what images n (u - l) away add
    (`bridge_stays`). So the hit has the law of the bridge, and two barriers are hit wherever one of them alone is, or two farther ones. Reals: low and high word of the seed, stream
    word, factor word, l, u, then (D, 3): variance, step word, images.
    """
    low, high, stream, factor, lower, upper = reals[:6]
    y, highest, lowest = inputs
    out, run, start = np.zeros_like(y), np.zeros(y.shape[1], bool), np.zeros(y.shape[1])
    for d, (variance, step, images) in enumerate(reals[6:].reshape(len(dates), 3)):
        u = uniform_at(int(high) << 32 | int(low), scenarios, int(factor), int(step), int(stream))
        with np.errstate(all="ignore"):  # beyond a barrier, where the extremes have settled it; or a variance of 0
            below = 1.0 - np.exp(-2.0 * (upper - start) * (upper - y[d]) / variance)
            drawn = (1.0 - u) * below < bridge_stays(start - lower, y[d] - lower, upper - lower, variance, int(images))
        run = run | (highest[d] >= upper) | (lowest[d] <= lower) | ~drawn
        start, out[d] = y[d], run
    return out[None], 0


def bridge_stays(start: Any, end: Any, width: float, variance: Any, images: int) -> Any:
    """Share of the Brownian bridges from `start` to `end` that stay between 0 and `width`; 0 where `images` is -1."""
    if images < 0:
        return np.zeros_like(end)
    total, move = 1.0 - np.exp(-2.0 * start * end / variance), end - start
    for n in range(1, images + 1):
        far = n * width
        total = total + (np.exp(-2.0 * far * (far - move) / variance) + np.exp(-2.0 * far * (far + move) / variance)
                         - np.exp(-2.0 * (start - far) * (end - far) / variance) - np.exp(-2.0 * (start + far) * (end + far) / variance))
    return total


def running_fixings(inputs: Inputs, reals: NDArray[np.float64], dates: NDArray[np.float64]) -> Made:
    """What the fixings up to each date make of a log-level y: kind 0 the sum of exp(y), 1 the sum of y, 2 the highest, 3 the lowest y. Reals: kind, the value
    before the first fixing, then (D,) 1 where a date is a fixing, else 0. Before the next fixing the value stays."""
    kind, so_far = int(reals[0]), np.full(inputs[0].shape[1], reals[1])
    out = np.zeros_like(inputs[0])
    for d, fixed in enumerate(reals[2:]):
        if fixed:
            y = inputs[0][d]
            so_far = (so_far + np.exp(y), so_far + y, np.maximum(y, so_far), np.minimum(y, so_far))[kind]
        out[d] = so_far
    return out[None], 0


def _accrued(reals: NDArray[np.float64], table: NDArray[np.float64], f: Any, level: NDArray[np.float64]) -> NDArray[np.float64]:
    """(D, S) funding so far at each date."""
    out, past = np.zeros_like(level), np.zeros(level.shape[1])
    if f is None and reals[0] == 0.0:
        return out
    for d, (days, ends) in enumerate(table[:, :2]):
        rate = reals[0] + (0.0 if f is None else f[d])
        out[d] = past + rate * days * reals[1] * np.exp(level[d])
        past = out[d] if ends else past
    return out


def _or_zero(x: Any) -> Any:
    return 0.0 if x is None else x


OPERATIONS: dict[int, Callable[..., Made]] = {1: linear_combination, 2: linear_contract, 3: inverse_contract,
                                                                                               4: surface_shift, 5: running_extreme, 6: running_fixings, 7: running_exit}
"""by the number in `kernels/derived.def`"""
DRAWS = (5, 7)
"""operations that draw, and are told which scenarios"""
