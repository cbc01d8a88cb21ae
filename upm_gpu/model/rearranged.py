"""Perfect and zero dependence across underlyings for sets that draw dates: every underlying keeps its own dates, in another order.

A scenario of `filtered_historical`, `historical` or `scaled_historical` takes one row d of N dates (or windows) for all factors. Here factor k of underlying u takes the row r_u(d), r_u a
rearrangement of the rows, the same for all factors of u:

  perfect   r_u puts the price changes of u in the order of the first underlying's: its largest fall meets theirs, and so on (the comonotone rearrangement; for inverse assets the
            other way round). Ties keep the order of their dates. Windows are ordered by their change to the last date. What has no price (funding, a rate alone) is shuffled.
  zero      every underlying but the first is shuffled by keyed uniforms; the rows stand several times, shuffled anew, so that what a shuffle leaves of correlation by chance
            has a standard deviation of 1 / sqrt(rows), below 1 %.

A rearrangement draws every date of u as often as before, so marginals, centring and the joint law of a price with its own volatility, skew and basis are those of the model exactly; under zero
dates of common turmoil are parted as well, which no correlation matrix does. Beside their prices, volatilities of two underlyings are those of two dates, not one normal as in `across.py`.
Over several base steps of filtered residuals each step is comonotone and volatilities follow their own moves, so sums are nearly so, not exactly. Only numbers change: every backend
draws such a set as it draws any other, from the same addresses. The first underlying keeps its paths to the bit.

Sources: R. Iman, W. Conover, "A distribution-free approach to inducing rank correlation among input variables", Communications in Statistics B 11 (1982); J. Dhaene et al.,
"The concept of comonotonicity in actuarial science and finance: theory", Insurance: Mathematics and Economics 31 (2002): comonotone sums are largest in convex order, so is expected
shortfall. That a methodology's perfect correlation means this for dates is a house choice (`model.across_dates`). Verified by tests/known_answers/test_rearranged.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from upm_gpu.model.gbm import PRICE_STATES
from upm_gpu.model.regimes import asset_of
from upm_gpu.rng.normal import uniform_at
from upm_gpu.rng.streams import SHUFFLE, stream_word
from upm_gpu.scenario.volatility_sets import GarchWalk, Resample

ROWS = 16_384
"""of a set that is shuffled, at least: correlation left by chance has a standard deviation of 0.8 %"""
CELLS = 8_000_000
"""numbers of such a set at most, 64 MB; a history that is larger stands once"""


def rearranged(drawn: GarchWalk | Resample, which: Literal["perfect", "zero"], inverse_assets: Sequence[str] = ()) -> GarchWalk | Resample:
    """The set with the dates of its underlyings in another order."""
    if isinstance(drawn, Resample):
        rows = row_order(drawn.values[-1], drawn.state_names, which, inverse_assets, drawn.seed, _copies(drawn.values.size, drawn.values.shape[-1]))
        values = np.stack([np.take_along_axis(v, rows, axis=1) for v in drawn.values])
        return replace(drawn, values=values, clipped=np.take_along_axis(drawn.clipped, rows, axis=1), labels=())
    assert drawn.residuals is not None, "a set without dates has a correlation"
    rows = row_order(drawn.residuals, drawn.state_names, which, inverse_assets, drawn.seed, _copies(drawn.residuals.size, drawn.residuals.shape[-1]))
    return replace(drawn, residuals=np.take_along_axis(drawn.residuals, rows, axis=1))


def _copies(size: int, rows: int) -> int:
    return max(1, min(-(-ROWS // rows), CELLS // max(size, 1)))


def row_order(changes: NDArray[np.float64], factors: Sequence[str], which: Literal["perfect", "zero"], inverse_assets: Sequence[str], seed: int, copies: int) -> NDArray[np.int64]:
    """(K, N) or, where something is shuffled, (K, N x copies): the row that each factor takes in the place of row d, from changes (K, N) whose prices are ordered.

    >>> row_order(np.array([[0.3, -0.1, 0.2], [5.0, 6.0, 7.0]]), ["log_level[A]", "log_level[B]"], "perfect", (), 1, 2).tolist()
    [[0, 1, 2], [2, 0, 1]]
    """
    count = changes.shape[1]
    assets = list(dict.fromkeys(asset_of(f) for f in factors))
    price = {a: next((k for k, f in enumerate(factors) if asset_of(f) == a and f.partition("[")[0] in PRICE_STATES), None) for a in assets}

    def sorted_rows(asset: str) -> NDArray[np.int64]:
        k = price[asset]
        assert k is not None
        return np.argsort(-changes[k] if asset in inverse_assets else changes[k], kind="stable")

    lead = next((a for a in assets if price[a] is not None), None) if which == "perfect" else assets[0]
    rank = np.empty(count, np.int64)
    if which == "perfect" and lead is not None:
        rank[sorted_rows(lead)] = np.arange(count)
    alone = [a for a in assets if a != lead and (which == "zero" or price[a] is None)]
    times = copies if alone else 1
    made = np.empty((len(factors), count * times), np.int64)
    for place, asset in enumerate(assets):
        if asset in alone:
            rows = np.concatenate([np.argsort(uniform_at(seed, np.arange(count, dtype=np.uint32), place, copy, stream_word(0, SHUFFLE)), kind="stable") for copy in range(times)])
        else:
            rows = np.tile(np.arange(count) if asset == lead else sorted_rows(asset)[rank], times)
        made[[k for k, f in enumerate(factors) if asset_of(f) == asset]] = rows
    return made
