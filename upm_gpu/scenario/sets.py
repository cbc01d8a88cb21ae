"""What may happen: a scenario set is drawn by counter, or given.

States are the only thing a model and a product share: a named row (state, date, scenario) of float64. The first
models make two an underlying, both log-changes since the valuation time:

* ``log_level[BTC]``: ln(S_d / S_0); spot, perpetual and every forward move by it (F_e / S_0 kept).
* ``volatility_shift[BTC]``: log-change x of the 30-day at-the-money volatility (or additive points).

Path dates are elapsed days since the valuation time, ascending; horizons are some of them.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from upm_gpu.scenario.regimes import Regimes

if TYPE_CHECKING:
    from upm_gpu.scenario.derived import Derived
    from upm_gpu.scenario.volatility_sets import GarchWalk, Resample

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
class Jumps:
    """Compound Poisson clocks over the legs of a path: what `model/jumps.py` compiles to.

    Clock c, whole step j: N = number of thresholds below u1, W = sqrt(N) Phi^-1(u2), (u1, u2) the two uniforms at (scenario, address[c], leg_step[j],
    stream). A part of a step descends a tree: at each split M = number of thresholds of row N below u1 and the left side has
    the pair (M, (M / N) W + sqrt(M (N - M) / N) Phi^-1(u2)), the right side the rest; side 0 goes left, 1 takes the left and goes right, 2 takes the
    left and ends. The clock's log jump is N mean + deviation W, and a state moves by loading x jump of each of its clocks.
    """

    address: NDArray[np.uint32]
    """(C,) factor word of a clock"""
    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]
    """(C,) of one log jump"""
    threshold: NDArray[np.float64]
    """(C, M) Poisson distribution function at 0, 1, ..., padded with 2"""
    stream: int
    """stream word of the whole steps' uniforms"""
    leg_first_split: NDArray[np.int32]
    """(G + 1,); a whole step has none"""
    split_stream: NDArray[np.uint32]
    split_step: NDArray[np.uint32]
    split_side: NDArray[np.int32]
    split_table: NDArray[np.int32]
    """(Q,) which of `split_threshold`"""
    split_threshold: NDArray[np.float64]
    """(B, M + 1, M) binomial distribution function of row n at 0, 1, ..., n - 1, padded with 2"""
    first_entry: NDArray[np.int32]
    """(K + 1,) entries of state k are [first[k], first[k + 1])"""
    entry_clock: NDArray[np.int32]
    entry_loading: NDArray[np.float64]
    """(E,)"""


@dataclass(frozen=True)
class Walk:
    """A random walk in log factors with a copula inside each base step: what `model/gbm.py` compiles to.

    Per base step j: z = L n with n independent normals; under a t copula every z is multiplied by
    exp(mixing(q)), q the normal score of the step's own uniform (the square root of nu / chi2_nu); y is what results.
    The factor's move is x = root x clip(scale x g(y), -max_log_move, +max_log_move), g(y) = y where `marginal` is -1, else
    sign(y) table(asinh |y|). A date takes the whole steps before it, each x <- persistence x + move, then its own part of a step the same way
    with `date_persistence`, then adds `centre`.

    Addresses of the normals are those of `upm_gpu.rng`: counter (scenario, factor, step, stream). A part of a step is a
    weighted sum of terms, each with its own (stream, step) words: the step's own normal and the nodes of a dyadic
    Brownian bridge, so that adding a date never changes a figure at another date.
    """

    kind: ClassVar[str] = "walk"
    """under which backends and twins find how to draw it; the kernels' table is `kernels/models.def`"""
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
    jumps: Jumps | None = None
    """added to the move of each leg"""
    regimes: Regimes | None = None
    """square roots in the place of `cholesky`, which is then the first of them"""
    persistence: NDArray[np.float64] | None = None
    """(K,) what is left of a state after a base step, before that step's move; None: all of it, a random walk"""
    date_persistence: NDArray[np.float64] | None = None
    """(D, K) the same over the part of a step that a date ends in; given where `persistence` is"""

    @property
    def jump_clocks(self) -> int:
        return 0 if self.jumps is None else len(self.jumps.address)


@dataclass(frozen=True)
class StepCopula:
    """A t copula of what the price Brownian motions do over each base step: `model/heston.py` has the construction.

    Base step b of m substeps: Z = L n, n the sum of its substeps' normals over sqrt(m); y = Z exp(mixing(q)), q the normal score of the uniform at
    (scenario, 0, b, mixing_stream); c = sign(y) marginal(asinh |y|) - Z. Every leg of the step adds leg_weight x c to its g = L n.
    """

    substeps: int
    stream: int
    """stream word of the substeps' normals"""
    marginal: SmoothTable
    """from the t copula's score to a normal"""
    mixing: SmoothTable
    mixing_stream: int
    leg_weight: NDArray[np.float64]
    """(G,) square root of the leg's length in base steps"""


@dataclass(frozen=True)
class Heston:
    """Prices under stochastic variance by the QE scheme, with or without jumps: what `model/heston.py` compiles to.

    State 2u is the log-price of underlying u, 2u + 1 its variance, then come volatility shifts by expiry. A leg is a substep or a part of one, its normals drawn as
    those of a `Walk` (factor words are the states'). Per leg: g = L n of the prices' normals, e the normal of the variance; then `kernels/heston.cuh`.
    """

    kind: ClassVar[str] = "heston"
    state_names: tuple[str, ...]
    seed: int
    count: int
    cholesky: NDArray[np.float64]
    """(U, U) of the Brownian motions that drive the prices"""
    variance0: NDArray[np.float64]
    """(U,) a year"""
    rho: NDArray[np.float64]
    """(U,) of an underlying's price and its variance"""
    constants: NDArray[np.float64]
    """(L, U, 7): c0, c1, d0, d1, k2, k3, a of a leg of some length, see `model/heston.py`"""
    leg_class: NDArray[np.int32]
    """(G,) which of the L lengths"""
    shift_underlying: NDArray[np.int32]
    shift_base: NDArray[np.float64]
    shift_slope: NDArray[np.float64]
    """(E,) x = 1/2 ln(base + slope variance) of underlying shift_underlying is state 2 U + e"""
    leg_step: NDArray[np.uint32]
    leg_first_term: NDArray[np.int32]
    term_stream: NDArray[np.uint32]
    term_step: NDArray[np.uint32]
    term_weight: NDArray[np.float64]
    dates: NDArray[np.float64]
    date_whole: NDArray[np.int32]
    date_leg: NDArray[np.int32]
    """as in `Walk`, a step being a substep"""
    centre: NDArray[np.float64]
    """(D, U) added to the log-price at each date"""
    jumps: Jumps | None = None
    """over all states; only log-prices have entries"""
    regimes: Regimes | None = None
    """square roots in the place of `cholesky`, which is then the first of them"""
    copula: StepCopula | None = None
    """None: the price Brownian motions are Gaussian across underlyings"""

    @property
    def jump_clocks(self) -> int:
        return 0 if self.jumps is None else len(self.jumps.address)


@dataclass(frozen=True)
class Explicit:
    """States given outright: grids, stresses, historical moves."""

    kind: ClassVar[str] = "explicit"
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


@dataclass(frozen=True)
class Mixture:
    """The law that importance sampling draws base normals and mixing scores from: standard normals, moved by the shift of a component.

    Scenario s takes the component given by the number of `threshold` values below its uniform at (s, 0, 0, stream). Component 0 is the plain law, its shift 0.
    """

    stream: int
    chance: NDArray[np.float64]
    """(C,) adds up to 1"""
    threshold: NDArray[np.float64]
    """(C - 1,) running sums of `chance`, the last left out"""
    shift: NDArray[np.float64]
    """(C, J, K + 1) of the base normals (step, factor), then of the step's mixing score"""


@dataclass(frozen=True)
class SampledWalk:
    """A walk whose base-step normals are not plain draws: Sobol points, antithetic pairs, normals matched in blocks, or a mixture.

    A term of the walk with the internal stream FACTOR names a base draw by (factor k, node); the others (dates inside a step) stay
    Philox. Scenario s draws, by `sampler`:

    * sobol, sobol_shift: the normal of point s div 16 of scrambling s mod 16 (Owen, or digital shift) in dimension `factor_dimension[node, k]`, the
      mixing uniform in `mixing_dimension[step]`. A node is one of the Brownian bridge or a principal component of the steps, a factor one
      of the covariance: the walk's `cholesky` is then a full square root of the correlation (`dense`).
    * antithetic: every normal of s div 2, negated where s is odd; the mixing uniform of s div 2.
    * moment_matching: (n - mean) x inverse deviation of the block of 4,096 that holds s; node = step.
    * importance: n plus the shift of the scenario's component, mixing scores likewise; the scenario then has the weight of `model/importance.py`.
    """

    kind: ClassVar[str] = "sampled_walk"
    walk: Walk | Heston
    """of Heston's both normals of an underlying are sampled: factor 2u is the price's, 2u + 1 the variance's; jumps stay plain"""
    sampler: Sampler
    dense: bool
    factor_dimension: NDArray[np.int32]
    """(J, F), F the factor words: the states of a walk, the log-prices and variances of Heston; zero unless sobol"""
    mixing_dimension: NDArray[np.int32]
    """(J,); zero unless sobol"""
    direction: NDArray[np.uint32]
    """(dimensions, 28) direction numbers, bits reversed"""
    key: NDArray[np.uint32]
    """(dimensions, 4, 16) keys of the scramblings"""
    moments: NDArray[np.float64]
    """(B, J, K, 2) mean and inverse deviation; empty unless moment_matching. A block that is not full has (0, 1): it stays plain"""
    mixture: Mixture | None = None
    """of importance"""
    path: NDArray[np.float64] | None = None
    """(J, J), sobol under a t copula over several steps: the normal of a step is a sum of nodes with these weights, turned by the scenario's stretches
    (`model/turned.py`); terms then name steps, not nodes, and `mixing_dimension` the largest score first. None: not turned"""
    winner_dimension: int = 0
    """where the largest score falls"""

    @property
    def state_names(self) -> tuple[str, ...]:
        return self.walk.state_names

    @property
    def count(self) -> int:
        return self.walk.count

    @property
    def dates(self) -> NDArray[np.float64]:
        return self.walk.dates

    @property
    def jump_clocks(self) -> int:
        return self.walk.jump_clocks

    def shortened(self, count: int) -> SampledWalk:
        """The first `count` scenarios; where moments are matched, whole blocks."""
        return replace(self, walk=replace(self.walk, count=count), moments=self.moments[: -(-count // BLOCK)])


Sampler = Literal["sobol", "sobol_shift", "antithetic", "moment_matching", "importance"]
ScenarioSet: TypeAlias = "Walk | SampledWalk | Heston | GarchWalk | Resample | Derived | Explicit"
