"""Scenario sets with a memory: windows of a history, and paths whose volatility follows their own moves."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from upm_gpu.scenario.regimes import Regimes
from upm_gpu.scenario.sets import SmoothTable


@dataclass(frozen=True)
class Resample:
    """States of a scenario are one of N given rows, picked by one uniform: counter (scenario, 0, 0, stream_word).

    row = min(floor(u N), N - 1); states[d, k, s] = values[d, k, row(s)].
    """

    kind: ClassVar[str] = "resample"
    state_names: tuple[str, ...]
    seed: int
    count: int
    stream_word: int
    dates: NDArray[np.float64]
    """(D,) days since valuation, ascending"""
    values: NDArray[np.float64]
    """(D, K, N) log-changes since valuation of every row"""
    clipped: NDArray[np.int32]
    """(K, N) moves of the row that met max_log_move, counted once a scenario that takes it"""
    labels: tuple[str, ...] = field(default=())
    """(N,) where each row comes from, such as the start of its window; or empty"""


@dataclass(frozen=True)
class GarchWalk:
    """A walk in log factors whose variance follows its own moves: GJR-GARCH(1,1), GARCH, EWMA or constant, per factor.

    Per base step and factor, h the step's variance and sigma = sqrt h: m = clip(sigma g, -M, M) with g an innovation of unit variance;
    the state moves by m + c(sigma); h' = min(omega + (alpha + gamma [m < 0]) m^2 + beta h, top). A date inside a step takes root x y, y the
    same with the step's own h, and centring c of that leg. c(sigma) makes E[exp] = 1 given sigma (log-prices), or E = 0 (log-volatilities).

    Innovations. Without `residuals`: z = L n, or z_k = sum_j loading[k, j] f_j + specific[k] n_k with common normals f_j at factor
    words COMMON + j; z is multiplied by exp(mixing[group](q)), q at factor word `group`; g = table(w), w = sign(z) asinh |z|, or
    sign(z) table(asinh |z|) where `odd`, or z where `marginal` is -1. Then y = clip(sigma g). With `residuals`: the uniform at (scenario, 0, term step,
    term stream) picks a row d for all factors, and y = sum over the leg's terms of weight x clip(sigma residual[k, d]).

    Legs, terms, dates, persistence: as `Walk`. Date: whole steps, then its own part, then `drift`.
    """

    kind: ClassVar[str] = "garch"
    state_names: tuple[str, ...]
    seed: int
    count: int
    residuals: NDArray[np.float64] | None
    """(K, N) or None"""
    cholesky: NDArray[np.float64] | None
    """(K, K) lower triangular, rows of unit length; None where loadings or residuals are used"""
    loading: NDArray[np.float64] | None
    """(K, F)"""
    specific: NDArray[np.float64] | None
    """(K,)"""
    group: NDArray[np.int32]
    """(K,) mixing group"""
    mixing: tuple[SmoothTable, ...]
    """(groups,) or empty: Gaussian copula"""
    mixing_stream: int
    marginal: NDArray[np.int32]
    """(K,) index into `tables` or -1"""
    tables: tuple[SmoothTable, ...]
    odd: NDArray[np.int32]
    """(tables,) 1 where a table is one side of an odd function"""
    max_log_move: NDArray[np.float64]
    """(K,)"""
    omega: NDArray[np.float64]
    alpha: NDArray[np.float64]
    gamma: NDArray[np.float64]
    beta: NDArray[np.float64]
    variance: NDArray[np.float64]
    """(K,) of the first step; a step's units"""
    top: NDArray[np.float64]
    """(K,) largest variance of a step"""
    centring: tuple[SmoothTable, ...]
    """c over sigma"""
    centring_of: NDArray[np.int32]
    """(G, K) index into `centring` or -1"""
    leg_step: NDArray[np.uint32]
    leg_root: NDArray[np.float64]
    leg_first_term: NDArray[np.int32]
    term_stream: NDArray[np.uint32]
    term_step: NDArray[np.uint32]
    term_weight: NDArray[np.float64]
    dates: NDArray[np.float64]
    date_whole: NDArray[np.int32]
    date_leg: NDArray[np.int32]
    drift: NDArray[np.float64]
    """(D, K)"""
    regimes: Regimes | None = None
    """square roots (K, K), or loadings and specific part (K, F + 1), in the place of the set's own, which are then the first of them"""
    persistence: NDArray[np.float64] | None = None
    """(K,)"""
    date_persistence: NDArray[np.float64] | None = None
    """(D, K)"""
