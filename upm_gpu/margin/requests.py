"""A methodology asks, the engine measures, a charge only does arithmetic.

The types between them: what is asked (`MeasureRequest`, `StressRequest`, `ExposureRequest`), what was measured (`Measured`), what it costs (`Charge`).
Requests are frozen values: two charges that ask the same share one measurement. How to add a charge: docs/design/0070-charges.md.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

BASE, PERFECT, ZERO, LONG_RUN = "base", "perfect", "zero", "long_run"
"""the scenarios of the run; the same random numbers with prices of different underlyings moving as one, with nothing in common between underlyings (`model/across.py`), and under the volatilities of
the long run (`calibrate/other_volatility.py`)"""
UNIT, NAME = "unit", "name"
"""rows: a margined unit; the part of a unit in one underlying"""


@dataclass(frozen=True)
class StressedPeriod:
    """The same random numbers under the volatilities and the correlation of a period of the history (`calibrate/other_volatility.py`)."""

    start: str
    end: str
    """ISO dates, the last day included"""

    def __str__(self) -> str:
        return f"stressed {self.start} to {self.end}"


SetName: TypeAlias = str | StressedPeriod


@dataclass(frozen=True)
class Rest:
    """Rows (U,): what is left of each unit without its `names` underlyings of the largest own expected shortfall at `level`, same scenarios and horizon.

    Underlyings `not_eligible` (index factors) always stay in the rest. A unit with fewer underlyings loses those it has. Which they were is in
    `Measured.largest`.
    """

    names: int
    level: float
    not_eligible: tuple[str, ...] = ()


@dataclass(frozen=True)
class ProductClass:
    """Instruments of some kinds and underlyings; nothing named is all."""

    name: str
    kinds: tuple[str, ...] = ()
    """spot, future, perpetual, option"""
    underlyings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Classes:
    """Rows (U x (C + 1)), unit by unit: the part of a unit in each class, the first that fits, and last what fits none."""

    classes: tuple[ProductClass, ...]


@dataclass(frozen=True)
class Slower:
    """Rows (E,): the part of a unit in underlyings that take longer to close out than a step of `ladder`, for each step but the last and each unit that has one.

    Days to close out an underlying: the size of the unit's net delta in it, P&L for +100 %, over what can be closed a day. Which rows there are is in `Measured.slower`.
    """

    ladder: tuple[float, ...]
    """days, ascending; the first is the margin period"""
    daily: tuple[tuple[str, float], ...]
    """what can be closed a day by underlying, money of delta"""
    default_daily: float
    """of underlyings not named"""


@dataclass(frozen=True)
class SlowParts:
    """Rows of a `Slower` (E,), ascending by (unit, step)."""

    unit: NDArray[np.int64]
    step: NDArray[np.int64]
    """step j: what takes longer than ladder[j]"""


@dataclass(frozen=True)
class MeasureRequest:
    """One measurement: expected shortfall and value-at-risk of every row at one horizon and level."""

    scenario_set: SetName
    """BASE, PERFECT, ZERO, LONG_RUN or a StressedPeriod"""
    horizon: float
    """days"""
    level: float
    """confidence, 0.99"""
    rows: str | Rest | Classes | Slower = UNIT
    """UNIT (U,), NAME (E,), a Rest (U,), Classes (U x (C + 1),) or a Slower (E,)"""
    count: int = 0
    """the first so many scenarios of the set; 0: as many as the run has (of an adaptive run: where it stopped)"""
    tail_share: float = 0.0
    """above 0: the estimates are those of a generalised Pareto law fitted to the worst share of the scenarios (`risk/extreme_value.py`)"""

    @property
    def main(self) -> bool:
        """Whether the pass of the core answers it; every other request costs a pass of its own kind."""
        return self.scenario_set == BASE and self.rows == UNIT and self.count == 0


@dataclass(frozen=True)
class Stress:
    """A deterministic move at once: relative changes of price and 30-day volatility by asset, "*" for every asset not named."""

    name: str
    moves: tuple[tuple[str, float, float], ...]
    """(asset, price, volatility): ("BTC", -0.2, 0.5)"""


@dataclass(frozen=True)
class PastMove:
    """What every factor of the model did between the closes of two days of the history."""

    name: str
    start: str
    end: str
    """ISO dates; a date means 24:00Z"""
    stand_in: str = ""
    """asset whose moves are taken for one without closes on both days"""


@dataclass(frozen=True)
class StressRequest:
    """P&L of every unit under given moves, today, the time not passing."""

    stresses: tuple[Stress | PastMove, ...]


@dataclass(frozen=True)
class ExposureRequest:
    """What every unit holds, instrument by instrument, with its Greeks today."""


@dataclass(frozen=True)
class PledgedRequest:
    """What every unit has posted, asset by asset."""


Request: TypeAlias = MeasureRequest | StressRequest | ExposureRequest | PledgedRequest


@dataclass(frozen=True)
class FittedTail:
    """The generalised Pareto law behind a measure, arrays (R,)."""

    index: NDArray[np.float64]
    """xi; NaN where no law was fitted"""
    threshold: NDArray[np.float64]
    """loss beyond which it holds, reporting currency"""
    fitted: NDArray[np.bool_]
    """False: the plain measures stand"""
    plain: NDArray[np.float64]
    """expected shortfall of the plain estimator"""
    plain_quantile: NDArray[np.float64]
    """value-at-risk of it"""


@dataclass(frozen=True)
class Measure:
    """Arrays (R,) over the rows asked for, losses positive, reporting currency."""

    expected_shortfall: NDArray[np.float64]
    expected_shortfall_standard_error: NDArray[np.float64]
    value_at_risk: NDArray[np.float64]
    value_at_risk_standard_error: NDArray[np.float64]
    reliable: NDArray[np.bool_]
    variance_ratio: NDArray[np.float64] | None = None
    """of importance sampling: variance of ES under plain sampling over its own; NaN for a unit without risk"""
    tail: FittedTail | None = None
    """of the extreme-value estimator"""


@dataclass(frozen=True)
class Names:
    """Rows NAME (E,), ascending by (unit, underlying): one for each underlying a unit holds."""

    unit: NDArray[np.int32]
    underlying: NDArray[np.int32]
    """index into `Measured.underlyings`"""


@dataclass(frozen=True)
class Stressed:
    """P&L of every unit under given moves."""

    names: tuple[str, ...]
    pnl: NDArray[np.float64]
    """(U, S), profit positive"""


@dataclass(frozen=True)
class Exposures:
    """One entry a (unit, instrument) held, arrays (P,) ascending by (unit, instrument); netted over the accounts of a unit. Money in the reporting currency."""

    unit: NDArray[np.int32]
    underlying: NDArray[np.int32]
    """index into `Measured.underlyings`"""
    instrument: NDArray[np.int32]
    """index into `instrument_ids`"""
    instrument_ids: tuple[str, ...]
    kind: tuple[str, ...]
    """of `instrument_ids`: spot, future, perpetual, option"""
    currency: NDArray[np.int64]
    """index into `currencies` of what it settles in"""
    currencies: tuple[str, ...]
    """quote currencies of linear contracts; "coin" for spot and for contracts that settle in their underlying"""
    level: NDArray[np.float64]
    """of the underlying today"""
    days: NDArray[np.float64]
    """to expiry; 0 for spot and perpetual"""
    strike: NDArray[np.float64]
    """NaN where there is none"""
    quantity: NDArray[np.float64]
    """contracts, signed; of collateral that is simulated: units of the asset"""
    notional: NDArray[np.float64]
    """quantity x level of the underlying, signed"""
    value: NDArray[np.float64]
    """options: model value today; 0 for others"""
    delta: NDArray[np.float64]
    """P&L for +100 % of the underlying at the present slope"""
    gamma: NDArray[np.float64]
    """change of that delta for +1 %"""
    vega: NDArray[np.float64]
    """P&L for +1 volatility point"""
    theta: NDArray[np.float64]
    """P&L of one day"""

    def buckets(self, edges: tuple[float, ...]) -> NDArray[np.int64]:
        """(P,) bucket of the days to expiry: bucket b holds edges[b - 1] <= days < edges[b], so spots and perpetuals are in the first, and there is one more than edges."""
        return np.searchsorted(np.array(edges), self.days, side="right")


@dataclass(frozen=True)
class Pledged:
    """One entry a line of collateral, arrays (L,)."""

    assets: tuple[str, ...]
    unit: NDArray[np.int64]
    asset: NDArray[np.int64]
    """index into `assets`"""
    quantity: NDArray[np.float64]
    value: NDArray[np.float64]
    """at market, reporting currency"""
    counted: NDArray[np.float64]
    """after haircut, limits and premiums; negative for debts"""


@dataclass(frozen=True)
class Measured:
    """Everything a charge may read: arrays and names."""

    units: tuple[str, ...]
    measures: dict[MeasureRequest, Measure]
    core: NDArray[np.float64]
    """(U,) max(0, ES or VaR, as the methodology says) x multiplier"""
    gross_notional: NDArray[np.float64]
    """(U,) sum of |quantity| x level"""
    underlyings: tuple[str, ...] = ()
    names: Names | None = None
    """rows NAME, where a request has them"""
    largest: dict[MeasureRequest, NDArray[np.int64]] = field(default_factory=dict)
    """by request with a Rest: (U, names) rows NAME that were taken out, largest first; -1 where a unit has fewer"""
    slower: dict[Slower, SlowParts] = field(default_factory=dict)
    stressed: dict[StressRequest, Stressed] = field(default_factory=dict)
    exposures: Exposures | None = None
    """where a charge asks for them"""
    core_standard_error: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    """(U,) of the core, before its floor"""
    pledged: Pledged | None = None
    """where a charge asks for it"""
    valuation_date: date | None = None
    quantile_core: bool = False
    """the core is a value-at-risk"""
    one_year_mean: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    """(U,) of the core over a year; NaN for a unit whose mean is not known"""


@dataclass(frozen=True)
class Charge:
    """One add-on: `amount` (U,) is at least 0; what was floored away is in `floored` (U,)."""

    name: str
    amount: NDArray[np.float64]
    floored: NDArray[np.float64]
    reason: str
    standard_error: NDArray[np.float64] | None = None
    """(U,) of the amount, or a bound of it as the charge's page says; None: not a Monte Carlo figure, or not known"""
    not_counted: NDArray[np.float64] | None = None
    """(U,) what was left out because another charge of its `largest_of` group is larger"""


def floor_at_zero(name: str, amount: NDArray[np.float64], reason: str, standard_error: NDArray[np.float64] | None = None) -> Charge:
    """A charge never lowers the margin: negative amounts become 0 and are reported."""
    return Charge(name, np.maximum(amount, 0.0), np.maximum(-amount, 0.0), reason, standard_error)
