"""Book x market as arrays: what every backend prices. Built by `pricing/compile.py`, read by `backend/*`.

Axes: N instrument, C column, G group, D path date, H horizon, K state, R row, P entry of a row.

A *column* is one unit P&L series. Columns [0, linear) are the linear ones, one per (state, date it is read at): unit
P&L exp(state) - 1, or the state itself where the state is a return already. Instruments exactly linear in a state fold into them with a coefficient. The other columns are
one option (or expiring inverse future) each, in instrument-id order, and belong to a *group*: same family, underlying,
expiry and settlement, contiguous columns.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from upm_gpu.scenario.derived import Operation


class Family(IntEnum):
    """Product families, in the order of `kernels/families.def`."""

    EUROPEAN = 0
    """Black-76 on the forward of the expiry, alive at the horizon"""
    SETTLED_OPTION = 1
    """expired inside the horizon: payoff at the index then, coins valued at the level of the horizon"""
    INVERSE_FUTURE = 2
    """a dated inverse future that expires inside the longest horizon: (1/F_0 - 1/F) S_h"""
    EXOTIC = 3
    """an option with further terms, alive at the horizon"""
    SETTLED_EXOTIC = 4
    """the same expired inside the horizon"""
    MODEL_VOLATILITY = 5
    """a European option alive at the horizon, at the volatility of the scenarios' own model"""
    AVERAGE = 6
    """an option on an average, some of its fixings inside the horizon and some beyond"""
    FIXED_AVERAGE = 7
    """the same with no fixing beyond"""
    TWO_ASSET = 8
    """a spread option, or one on the better or the worse of two, alive at the horizon"""
    SETTLED_TWO_ASSET = 9
    """the same expired inside the horizon"""
    QUANTO = 10
    """a European option paid in another currency at a fixed rate, alive at the horizon"""


GROUP_INTEGERS = ("family", "first", "count", "date", "settle_date", "level_state", "forward_state",
                  "volatility_state", "inverse", "sticky_moneyness", "additive_volatility", "scale_state", "skew_state", "stretch_state", "table", "path_state", "second", "payoff", "half_nodes")
GROUP_REALS = ("spot0", "forward0", "expiry_years", "remaining_years", "discount0", "discount", "volatility_loading",
               "svi_a", "svi_b", "svi_rho", "svi_m", "svi_s", "svi_tilt",
               "barrier", "barrier_side", "miss_black", "miss_cash", "miss_index", "hit_black", "hit_cash", "hit_index", "region_cash", "region_index", "fixing_shift",
               "average_past", "average_weight", "average_log", "average_share", "average_shift", "average_bend", "average_scale", "average_years", "average_cash",
               "leg_moneyness", "leg_volatility", "leg_residual", "correlation", "node_step", "quanto_drift")
TERM_REALS = ("strike", "log_moneyness", "volatility", "residual", "sign", "correction")


@dataclass(frozen=True)
class TableRequest:
    """What a group of options is worth above Black's value, by an operation of `formula/operations.py` at unit strike: asked for by the compilation,
    made by `pricing/tables.py` once the scenarios are known."""

    name: str
    """of its first instrument, for messages"""
    group: int
    operation: str
    alive: bool
    """False where the option has expired by the horizon: only today's value is asked for"""
    sign: float
    spot_over_forward: float
    inputs: tuple[tuple[str, float | tuple[float, ...]], ...]
    """fixed inputs of the operation at the horizon"""
    years: float
    discount: float
    """of Black's value at the horizon"""
    inputs_today: tuple[tuple[str, float | tuple[float, ...]], ...]
    years_today: float
    discount_today: float
    base: float = 1.0
    """what of Black's value the group has beside the table; today all of it"""
    growth: float = 1.0
    """forward of that Black's value over the forward of the expiry; today 1"""
    inside: tuple[float, float] = (-np.inf, np.inf)
    """range of ln(F / K) in which the product lives: the other side of its barrier is never read"""
    shift: float = 0.0
    """times sigma: what ln(F / K) is above the place it is read at, where a barrier is looked at on fixings only; today 0"""
    unit: float = 1.0
    """what the operation's price is multiplied by: F / S of what is paid in coins, whose table is in coins at the forward"""
    spot_over_forward_today: float | None = None
    """None: that of the horizon; another where a dividend goes ex in between"""
    finer: int = 0
    """how often its tolerance is divided by ten and its first steps are halved, for units that felt a coarser table (`table_refinement.py`)"""


@dataclass(frozen=True)
class ModelRequest:
    """The implied volatility of European options under the scenarios' own model, over (ln(F / K), y): y is the group's volatility state times its loading, and the input `moving` of
    the operation max((e^(power y) - base) / slope, 0). Asked for by the compilation, made by `pricing/model_tables.py`."""

    name: str
    """of its first instrument, for messages"""
    group: int
    operation: str
    inputs: tuple[tuple[str, float], ...]
    """fixed inputs of the operation"""
    moving: str
    power: float
    base: float
    slope: float
    years: float
    years_today: float
    finer: int = 0
    """as of a `TableRequest`"""


@dataclass(frozen=True)
class ValueTable:
    """Values per unit of strike over (ln(F / K), ln sigma), or the volatilities of a `ModelRequest`: node (i, j) lies at low + (i, j) / inverse_step, at least four nodes a side."""

    low: tuple[float, float]
    inverse_step: tuple[float, float]
    values: NDArray[np.float64]
    """(nodes, nodes)"""


@dataclass(frozen=True)
class Program:
    """How to price every column at one horizon.

    European unit value, per unit of underlying, in the reporting currency (x = exp of the log-level at the horizon,
    v = volatility state, both read at `date`):
      F = forward0 exp(state[forward_state]); S = spot0 exp(state[level_state]);
      base = volatility, or under sticky moneyness sqrt(svi(k') / expiry_years) + residual, k' = (ln(strike/forward0) - state[forward_state]) exp(-state[stretch_state]);
      with a skew c = svi_tilt state[skew_state] the surface is svi(k') + c k', and a quoted volatility moves by what its own strike's point of the surface does;
      sigma = clip(base exp(v volatility_loading), 0.05, 5)   (additive: clip(base + v volatility_loading, 0.05, 5));
      value = discount Black76(F, strike, sigma, remaining_years, sign), times S / F where inverse (discount 1), else times exp(state[scale_state]) where there is
      one: the exchange rate of the currency the option is quoted in, its discount factor, or both.
    svi(k) = a + b (rho (k - m) + sqrt((k - m)^2 + s^2)), total variance at `expiry_years`, k clipped to [-3, 3], floored at 1e-12.
    Settled option (level read at `date`, level_e the forward state at `settle_date`): I = spot0 exp(level_e); payoff = max(sign (I - strike), 0);
      inverse: payoff exp(level - level_e); linear: payoff exp(state[scale_state]) where there is one.
    Inverse future: (1/strike - 1/(forward0 exp(level_e))) (spot0 exp(level)); while alive forward0 is today's forward and settle_date the
      horizon's own date, once settled forward0 is today's index and settle_date the expiry's. value0 = 0.
    Exotic: before the barrier is hit miss_black Black76 + strike table(ln F/K, ln sigma), and for digitals discount (region_cash N(sign d2) + region_index F N(sign d1));
      once the state `path_state` has reached `barrier` (log-level; side +1 above, -1 below, 0 none) hit_black Black76 + hit_cash + hit_index F; all times exp(state[scale_state]).
      A barrier that is looked at on fixings only is read, and known to be beyond, at the log-change of the forward less barrier_side fixing_shift sigma.
    Settled exotic, I the index at `settle_date`: miss_black payoff + miss_cash + miss_index I + (region_cash + region_index I where sign (I - strike) > 0), or with hit_*.
    Model volatility: European at sigma = residual table(ln F/K, v volatility_loading), without limits; `residual` is the ratio of the quote to the model's volatility today.
    Average, A = state[path_state] what the fixings of the path add up to: left = 1 - (average_past + average_weight A), the share of the strike that is left to the fixings to come;
      ln G = average_log + average_share state[forward_state] + average_shift A + average_bend sigma^2, the forward of their average over the strike;
      strike (average_cash (Black76(G, left, sigma, average_years, sign) + (max(-left, 0) of a call)) + max(left, 0) table(ln(F/K) - ln(left average_scale), ln sigma)) exp(state[scale_state]).
    Fixed average: strike average_cash max(sign (average_past + average_weight A + average_share exp(average_log + average_shift A) - 1), 0), likewise.
    Two assets: `second` is the group of the second one, of family EUROPEAN and without columns, its terms are leg_moneyness, leg_volatility and leg_residual; value =
      discount exp(state[scale_state]) times `formula/pair.py` at both forwards and volatilities, by 2 half_nodes + 1 nodes; settled, the payoff at both indices.
    Quanto: European on F exp(-quanto_drift sigma remaining_years), spot0, forward0 and strike at the fixed rate; settled it is a settled option.
    The twin is `formula/families.py`. Unit P&L = value - value0, value0 of an option the European (or two-asset) arithmetic at zero states with `expiry_years` and `discount0`.
    """

    horizon: float
    """days since valuation"""
    linear_state: NDArray[np.int32]
    """(linear,)"""
    linear_date: NDArray[np.int32]
    """(linear,) index into dates"""
    group_integers: NDArray[np.int32]
    """(G, len(GROUP_INTEGERS)); `date`, `settle_date` index path dates; -1 where it does not apply"""
    group_reals: NDArray[np.float64]
    """(G, len(GROUP_REALS))"""
    linear_form: NDArray[np.int32] | None = None
    """(linear,) 0: unit P&L exp(state) - 1; 1: the state itself, a return. None: all 0"""
    table_requests: tuple[TableRequest | ModelRequest, ...] = ()
    """request t is answered by table t; a group names its own in `table`"""
    tables: tuple[ValueTable, ...] = ()


def require_tables(program: Program) -> None:
    """Every backend asks before it prices: a group with a table that was never made would be priced as a European."""
    assert len(program.tables) == len(program.table_requests), "tables are made by pricing/tables.py before a book is prepared"


@dataclass(frozen=True)
class Compiled:
    """Instruments as columns with their terms, and one program a horizon."""

    instrument_ids: tuple[str, ...]
    """(N,) ascending"""
    instrument_column: NDArray[np.int32]
    """(N,)"""
    instrument_coefficient: NDArray[np.float64]
    """(N,) P&L of one unit = coefficient x unit P&L of its column"""
    state_names: tuple[str, ...]
    """(K,)"""
    dates: NDArray[np.float64]
    """(D,) path dates, days since valuation"""
    linear: int
    terms: NDArray[np.float64]
    """(len(TERM_REALS), C - linear); for INVERSE_FUTURE strike is today's price F_0"""
    programs: tuple[Program, ...]
    """(H,)"""
    operations: tuple[Operation, ...] = ()
    """what makes the last of the states from those a model draws, see `scenario/derived.py`; a set is given to a backend with them on it"""

    @property
    def drawn_names(self) -> tuple[str, ...]:
        """Names of the states that a scenario set brings along."""
        return self.state_names[: len(self.state_names) - sum(len(o.outputs) for o in self.operations)]

    @property
    def columns(self) -> int:
        """C."""
        return self.linear + self.terms.shape[1]

    @property
    def horizons(self) -> tuple[float, ...]:
        """(H,) days since valuation."""
        return tuple(p.horizon for p in self.programs)


@dataclass(frozen=True)
class Rows:
    """Sparse portfolios over columns (CSR): what is summed. Columns ascend inside a row; no duplicates."""

    first: NDArray[np.int64]
    """(R + 1,)"""
    column: NDArray[np.int32]
    """(P,)"""
    quantity: NDArray[np.float64]
    """(P,) units x coefficient, netted with math.fsum"""

    @property
    def count(self) -> int:
        """R."""
        return len(self.first) - 1


def empty(state_names: tuple[str, ...], dates: NDArray[np.float64]) -> tuple[Compiled, Rows]:
    """A book of nothing, for drawing states alone."""
    none, number = np.zeros(0, np.int32), np.zeros(0)
    program = Program(float(dates[-1]), none, none, np.zeros((0, len(GROUP_INTEGERS)), np.int32), np.zeros((0, len(GROUP_REALS))))
    return (Compiled((), none, number, state_names, dates, 0, np.zeros((len(TERM_REALS), 0)), (program,)),
            Rows(np.zeros(1, np.int64), none, number))
