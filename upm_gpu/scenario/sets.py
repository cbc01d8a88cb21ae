"""What may happen: a scenario set is drawn by counter, or given.

States are the only thing a model and a product share: a named row (state, date, scenario) of float64. The first
models make two an underlying, both log-changes since the valuation time:

* ``log_level[BTC]``: ln(S_d / S_0); spot, perpetual and every forward move by it (F_e / S_0 kept).
* ``volatility_shift[BTC]``: log-change x of the 30-day at-the-money volatility (or additive points).

Path dates are elapsed days since the valuation time, ascending; horizons are some of them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

BLOCK = 4096
"""Scenarios a block: every floating sum across scenarios is taken inside aligned blocks and merged in block order."""


@dataclass(frozen=True)
class SmoothTable:
    """A smooth function of one variable as polynomials of degree 7 on equal cells.

    value(t) = sum_j coefficients[c, j] (u)^j with p = (t - low) x inverse_width, c = clip(floor(p), 0, cells - 1),
    u = p - c - 1/2. Horner from j = 7 down, multiply then add.
    """

    low: float
    inverse_width: float
    coefficients: NDArray[np.float64]
    """(cells, 8)"""


@dataclass(frozen=True)
class Walk:
    """A random walk in log factors with a copula inside each base step: what `model/gbm.py` compiles to.

    Per base step j: z = L n with n independent normals; under a t copula every z is multiplied by
    exp(mixing(q)), q the normal score of the step's own uniform (the square root of nu / chi2_nu); y is what results.
    The factor's move is x = root x clip(scale x g(y), -max_log_move, +max_log_move), g(y) = y where `marginal` is -1, else
    sign(y) table(asinh |y|). A date sums the whole steps before it, then its own part of a step, then adds `centre`.

    Addresses of the normals are those of `upm_gpu.rng`: counter (scenario, factor, step, stream). A part of a step is a
    weighted sum of terms, each with its own (stream, step) words: the step's own normal and the nodes of a dyadic
    Brownian bridge, so that adding a date never changes a figure at another date.
    """

    state_names: tuple[str, ...]
    """(K,): state k is factor k"""
    seed: int
    count: int
    cholesky: NDArray[np.float64]
    """(K, K) lower triangular, rows of unit length"""
    scale: NDArray[np.float64]
    """(K,)"""
    max_log_move: NDArray[np.float64]
    """(K,); +inf where the marginal is Gaussian"""
    marginal: NDArray[np.int32]
    """(K,) index into `tables`, or -1 for the identity"""
    tables: tuple[SmoothTable, ...]
    mixing: SmoothTable | None
    """None: Gaussian copula"""
    mixing_stream: int
    """stream word of the mixing uniforms, counter (scenario, 0, step, mixing_stream)"""
    leg_step: NDArray[np.uint32]
    """(G,) the base step a leg belongs to: address of its mixing uniform. Legs: the whole steps 0..J-1, then one leg a date that ends inside a step"""
    leg_root: NDArray[np.float64]
    """(G,) square root of the leg's length in base steps; 1 for whole steps"""
    leg_first_term: NDArray[np.int32]
    """(G + 1,) terms of leg g are [first[g], first[g + 1])"""
    term_stream: NDArray[np.uint32]
    term_step: NDArray[np.uint32]
    term_weight: NDArray[np.float64]
    """(M,); squares of one leg's weights sum to 1"""
    dates: NDArray[np.float64]
    """(D,) days since valuation, ascending"""
    date_whole: NDArray[np.int32]
    """(D,) whole steps before the date"""
    date_leg: NDArray[np.int32]
    """(D,) leg of the part of a step that ends at the date, or -1"""
    centre: NDArray[np.float64]
    """(D, K) added to the log-change at each date"""


@dataclass(frozen=True)
class Explicit:
    """States given outright: grids, stresses, historical moves."""

    state_names: tuple[str, ...]
    dates: NDArray[np.float64]
    """(D,)"""
    values: NDArray[np.float64]
    """(D, K, S)"""
    names: tuple[str, ...] = field(default=())
    """(S,) what each scenario is called, or empty"""

    @property
    def count(self) -> int:
        """Scenarios."""
        return self.values.shape[2]


ScenarioSet = Walk | Explicit
