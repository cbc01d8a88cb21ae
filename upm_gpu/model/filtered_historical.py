"""Filtered historical simulation: residuals drawn by date, for all factors from the same one, under a volatility that starts from today's.

Each base step one uniform picks a date d of the history; factor k moves by clip(sigma_k e_k(d), -M, M) and its variance follows the
recursion of its filter (EWMA, GARCH, GJR). Under `margin` the step is centred given its sigma by the exact mean over the dates,
c(sigma) = -log mean_d exp(clip(sigma e(d))), tabulated over sigma: E[exp] is 1 step by step. A date inside a step is Levy's bridge with
residual rows in the place of normals, each node's date from its own address (`bridge.py`): variance grows with time, increments are
uncorrelated, the cross-section stays that of the dates, and another date moves no figure.

G. Barone-Adesi, K. Giannopoulos, L. Vosper, "VaR without correlations for portfolios of derivative securities", J. Futures Markets 19
(1999). There is no correlation parameter. Verified by `tests/statistics/test_garch_law.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from upm_gpu.errors import CalibrationError
from upm_gpu.model.garch import Dynamics, check_dynamics, check_request, drift_of
from upm_gpu.model.gbm import is_price
from upm_gpu.model.innovations import discrete_centring_table
from upm_gpu.model.legs import path_legs
from upm_gpu.model.reversion import date_persistence, reverted_days, steady_prices
from upm_gpu.rng.streams import (
    BRIDGE,
    BRIDGE_END,
    FACTOR,
    RESIDUAL,
    RESIDUAL_BRIDGE,
    RESIDUAL_BRIDGE_END,
    stream_word,
)
from upm_gpu.scenario.sets import SmoothTable
from upm_gpu.scenario.spec import Measure, ScenarioSpec
from upm_gpu.scenario.volatility_sets import GarchWalk

MIN_DATES = 100
RESIDUAL_OF = {FACTOR: RESIDUAL, BRIDGE: RESIDUAL_BRIDGE, BRIDGE_END: RESIDUAL_BRIDGE_END}


@dataclass(frozen=True)
class FilteredHistoricalParameters:
    """K factors, N dates."""

    state_names: tuple[str, ...]
    dynamics: Dynamics
    residuals: NDArray[np.float64]
    """(N, K) of mean 0 and variance 1"""
    step_days: float = 1.0
    measure: Measure = "margin"
    drift: NDArray[np.float64] | None = None
    """(K,) a day, read under `pricing` and `historical`"""
    half_life_days: NDArray[np.float64] | None = None
    """(K,) of the reversion of a state to today's value, see `reversion.py`; 0 or None: none. Log-prices do not revert"""
    labels: tuple[str, ...] = ()
    """(N,) dates"""

    @property
    def daily_volatility(self) -> NDArray[np.float64]:
        """(K,) today's."""
        return np.sqrt(self.dynamics.variance / self.step_days)

    def scenarios(self, dates_days: NDArray[np.float64], spec: ScenarioSpec) -> GarchWalk:
        """The walk of a specification. Raises `CalibrationError` for parameters out of range, `InputError` for dates, seed, stream, count."""
        refuse_correlation(spec, "filtered_historical")
        dates = check_request(np.asarray(dates_days, np.float64), spec, self.step_days)
        check_dynamics(self.state_names, self.dynamics)
        size, rows = len(self.state_names), np.ascontiguousarray(self.residuals.T, np.float64)
        if rows.shape[0] != size or not np.all(np.isfinite(rows)):
            raise CalibrationError("UPM-CA-137", f"residuals of shape {self.residuals.shape} for {size} factors, or some are not finite. Give one column a factor.")
        if rows.shape[1] < MIN_DATES:
            raise CalibrationError("UPM-CA-138", f"{rows.shape[1]} dates to draw from, at least {MIN_DATES} are needed. Lengthen the history.")
        if not np.all(np.isfinite(self.dynamics.max_log_move)):
            raise CalibrationError("UPM-CA-053", "max_log_move is infinite: drawn residuals need a finite truncation, such as 1.5.")
        legs = path_legs(dates, self.step_days, spec.stream)
        persistence = steady_prices(self.half_life_days, self.state_names, self.step_days)
        centring, index = list[SmoothTable](), np.full((len(legs.step), size), -1, np.int32)
        if self.measure != "historical":
            done: dict[tuple[object, ...], int] = {}
            for g in range(len(legs.step)):
                weights = legs.root[g] * legs.term_weight[legs.first_term[g] : legs.first_term[g + 1]]
                for k, name in enumerate(self.state_names):
                    key = (k, tuple(weights))
                    if key not in done:
                        done[key] = len(centring)
                        centring.append(discrete_centring_table(rows[k], weights, float(self.dynamics.max_log_move[k]), is_price(name)))
                    index[g, k] = done[key]
        return GarchWalk(
            state_names=tuple(self.state_names), seed=int(spec.seed), count=int(spec.count), residuals=rows, cholesky=None, loading=None, specific=None,
            group=np.zeros(size, np.int32), mixing=(), mixing_stream=0, marginal=np.full(size, -1, np.int32), tables=(), odd=np.zeros(0, np.int32),
            max_log_move=self.dynamics.max_log_move, **self.dynamics.coefficients(), variance=self.dynamics.variance, top=self.dynamics.top,
            centring=tuple(centring), centring_of=index, leg_step=legs.step, leg_root=legs.root, leg_first_term=legs.first_term,
            term_stream=np.array([stream_word(spec.stream, RESIDUAL_OF[int(i)]) for i in legs.term_internal], np.uint32), term_step=legs.term_step,
            term_weight=legs.term_weight, dates=dates, date_whole=legs.date_whole, date_leg=legs.date_leg,
            drift=drift_of(self.drift, self.measure, reverted_days(persistence, legs, dates, self.step_days, size)),
            persistence=persistence, date_persistence=date_persistence(persistence, legs), regimes=None)


def refuse_correlation(spec: ScenarioSpec, name: str) -> None:
    """A set of dates carries its own dependence: a correlation that would be put in its place is refused by name."""
    wanted = str(getattr(spec, "correlation_stress", "") or "")
    if spec.correlation not in ("sample", "kendall") or wanted not in ("", "none"):
        asked = wanted or spec.correlation
        raise CalibrationError("UPM-CA-139", f"correlation {asked!r} with model {name}: its dependence is that of the dates drawn and there is no matrix to replace. "
                               "Use gbm or garch for stressed correlations.")
