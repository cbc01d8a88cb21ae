"""What to simulate: the size and address of the draw, the dates, the law."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal

from upm_gpu.domain.clock import CALENDAR, Clock, session_clock

Law = Literal["gaussian", "student_t"]
CopulaLaw = Literal["gaussian", "student_t", "grouped_t"]
MarginalLaw = Literal["gaussian", "student_t", "skewed_t", "empirical"]
Filter = Literal["ewma", "garch", "gjr"]
Sampler = Literal["philox", "sobol", "importance"]
Scrambling = Literal["owen", "digital_shift"]
SobolOrder = Literal["brownian_bridge", "principal_components"]
VarianceReduction = Literal["none", "antithetic", "moment_matching"]
Measure = Literal["margin", "pricing", "historical"]
Funding = Literal["zero", "path"]
Rates = Literal["fixed", "moving"]
Repricing = Literal["quoted", "model"]
AcrossDates = Literal["refused", "rearranged"]
ClockName = Literal["calendar", "sessions"]


@dataclass(frozen=True)
class RegimeSpec:
    """Correlations that move `share` of the way to one or to a stressed period, with a probability; see `model/regimes.py`."""

    name: str
    probability: float = 1.0
    share: float = 1.0
    toward: Literal["one", "stressed_period"] = "one"
    start: str = ""
    end: str = ""
    """first and last day of the stressed period, ISO; blank: the matrix of the parameter file"""


@dataclass(frozen=True)
class ScenarioSpec:
    """Frozen request for scenarios.

    `horizons` are days since the valuation time (0.999 and 2.0 for the sample); `steps` adds that many equally spaced path dates
    to the longest horizon for inspection and changes no figure. The law (copula, marginals, base step) is in the
    model parameters; here are the choices that turn a history into those parameters.
    """

    count: int = 100_000
    seed: int = 20_260_205
    stream: int = 0
    sampler: Sampler = "philox"
    scrambling: Scrambling = "owen"
    """of Sobol points"""
    sobol_order: SobolOrder = "brownian_bridge"
    """which change of the steps gives Sobol dimensions their order; factors are always taken by principal components"""
    variance_reduction: VarianceReduction = "none"
    target_relative_error: float = 0.0
    """above 0: stop when every account's standard error is at most this times its expected shortfall (or 1e-5 of its gross notional); `count` is the cap"""
    horizons: tuple[float, ...] = (2.0,)
    steps: int = 1
    measure: Measure = "margin"
    model: str = "gbm"
    parameters: str = ""
    """path of a calibrated parameter file; "" calibrates from the market's history"""
    base_step_days: float = 1.0
    copula: CopulaLaw = "student_t"
    copula_degrees_of_freedom: float = 4.0
    marginal: MarginalLaw = "student_t"
    degrees_of_freedom: float = 4.0
    max_log_move_price: float = 1.5
    max_log_move_volatility: float = 1.5
    estimator: str = "ewma"
    ewma_lambda: float = 0.97
    volatility_floor: Literal["none", "long_run"] = "none"
    """the volatility in force is not below the level of the last `long_run_years`, see `calibrate/volatility_floor.py`"""
    long_run_years: float = 10.0
    correlation: str = "sample"
    correlation_regimes: tuple[RegimeSpec, ...] = ()
    """what their probabilities leave of 1 has the correlation as estimated"""
    inverse_assets: tuple[str, ...] = ()
    """assets whose price moves against the others when correlations go to one"""
    across_dates: AcrossDates = "refused"
    """perfect and zero correlation where a model draws dates: refused, or the dates of each underlying in another order, see `model/rearranged.py`"""
    filter: Filter = "gjr"
    """volatility recursion of the models garch and filtered_historical"""
    common_factors: int = 0
    """of the model garch; 0: the full correlation matrix"""
    clock: ClockName = "calendar"
    """what a day of variance is: `calendar`, or `sessions` of an exchange, see `domain/clock.py`; horizons are days of this clock"""
    holidays: tuple[str, ...] = ()
    """weekdays without a session, ISO dates"""
    volatility_dynamics: str = "sticky_moneyness"
    volatility_shift: str = "relative"
    repricing: Repricing = "quoted"
    """of European options at the horizon: quoted volatilities that move, or the scenarios' own model at the path's variance"""
    surface: Literal["svi", "ssvi_power_law", "ssvi_heston"] = "svi"
    """family of the volatility surfaces"""
    surface_file: str = ""
    """path of slices made by `upm calibrate surface`; "" fits surfaces to the market's quotes"""
    surface_factors: tuple[str, ...] = ("level",)
    arbitrage: str = "report"
    level_half_life: float = 0.0
    skew_half_life: float = 0.0
    slope_half_life: float = 0.0
    """days; 0: no reversion"""
    volatility_decay_short: float = 0.30
    volatility_decay_long: float = 0.13
    basis: bool = False
    """perpetuals have a factor log_basis[ASSET], log of the perpetual over the index"""
    basis_volatility: float = 0.0
    """of a day, where the history has no ASSET.PERP; 0: none"""
    basis_half_life_days: float = 3.0
    funding: Funding = "zero"
    funding_rate: float = 0.0
    """a day, today's, where the history has no ASSET.FUNDING"""
    funding_volatility: float = 0.0
    """of a day, where the history has no ASSET.FUNDING; 0: none"""
    funding_half_life_days: float = 3.0
    rates: Rates = "fixed"
    rate_volatility: float = 0.0
    """of a day, parallel, where the history has no CURRENCY.RATE; 0: none"""
    slope_volatility: float = 0.0
    """of a day, a year's rate over a month's, where the history has no CURRENCY.SLOPE; 0: none"""
    expiries: tuple[tuple[str, str, float], ...] = ()
    """(underlying, label, days since valuation) of the option expiries that will be priced: a model whose volatility moves by expiry makes a state
    `volatility_shift[underlying,label]` for each; no draw depends on them"""

    def trading_clock(self, valuation_time: datetime) -> Clock:
        """The clock variance runs on, its closes at the hour of the valuation time."""
        if self.clock == "calendar":
            return CALENDAR
        return session_clock(valuation_time, tuple(date.fromisoformat(day) for day in self.holidays))
