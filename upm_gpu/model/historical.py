"""Historical simulation: a scenario is a window of the history, all factors from the same dates, windows overlapping.

With J whole or begun base steps to the last date there is one window for each run of J consecutive changes without a gap; one uniform
picks it. At a date after n whole steps and the part f of the next the state is the sum of the window's first n changes plus sqrt(f) times
the next one: the step's own shape, variance growing with time. Changes are cut at max_log_move, counted. Volatility-scaled
(J. Hull, A. White, "Incorporating volatility updating into the historical simulation method", J. Risk 1, 1998): each change times
today's EWMA volatility over that of its own date. Under `margin` the mean of exp over the windows is 1 at every date exactly and
log-volatilities have mean 0; `historical` leaves the changes as they were.

Overlapping windows repeat changes: they add no independent information beyond the number of changes. Dates up to the last one never move one another;
a later last date shortens the list of windows. Verified by `tests/statistics/test_garch_law.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from upm_gpu.errors import CalibrationError
from upm_gpu.model.filtered_historical import refuse_correlation
from upm_gpu.model.garch import check_request, drift_of
from upm_gpu.model.gbm import is_price
from upm_gpu.model.legs import path_legs
from upm_gpu.rng.streams import WINDOW, stream_word
from upm_gpu.scenario.spec import Measure, ScenarioSpec
from upm_gpu.scenario.volatility_sets import Resample

MIN_WINDOWS = 100


@dataclass(frozen=True)
class HistoricalParameters:
    """Changes of K factors over N base steps, in order of time."""

    state_names: tuple[str, ...]
    changes: NDArray[np.float64]
    """(N, K), volatility-scaled where asked for"""
    segment: NDArray[np.int64]
    """(N,) number of the run without a gap a change belongs to"""
    max_log_move: NDArray[np.float64]
    """(K,)"""
    step_days: float = 1.0
    measure: Measure = "margin"
    drift: NDArray[np.float64] | None = None
    """(K,) a day, read under `pricing`"""
    labels: tuple[str, ...] = ()
    """(N,) dates on which the changes begin"""
    variance: NDArray[np.float64] | None = None
    """(K,) of the next step, which the changes are scaled to; None: not scaled"""

    @property
    def daily_volatility(self) -> NDArray[np.float64]:
        """(K,) root mean square of the changes, over one day."""
        return np.sqrt(np.mean(self.changes**2, axis=0) / self.step_days)

    def scenarios(self, dates_days: NDArray[np.float64], spec: ScenarioSpec) -> Resample:
        """The windows of a specification. Raises `CalibrationError` for a history that is too short, `InputError` for dates, seed, stream, count."""
        refuse_correlation(spec, spec.model)
        dates = check_request(np.asarray(dates_days, np.float64), spec, self.step_days)
        size, legs = len(self.state_names), path_legs(dates, self.step_days, spec.stream)
        if self.changes.ndim != 2 or self.changes.shape[1] != size or not np.all(np.isfinite(self.changes)):
            raise CalibrationError("UPM-CA-137", f"changes of shape {self.changes.shape} for {size} factors, or some are not finite. Give one column a factor.")
        length = int(legs.date_whole[-1]) + int(legs.part[-1] > 0.0)
        start = np.arange(len(self.changes) - length + 1) if length <= len(self.changes) else np.zeros(0, np.int64)
        start = start[self.segment[start] == self.segment[start + length - 1]] if start.size else start
        if start.size < MIN_WINDOWS:
            raise CalibrationError("UPM-CA-140", f"the history has {start.size} windows of {length} steps without a gap, at least {MIN_WINDOWS} are needed. "
                                   "Lengthen the history, or use nearer horizons.")
        cut = np.clip(self.changes, -self.max_log_move, self.max_log_move)
        met = (np.abs(self.changes) > self.max_log_move).astype(np.int32)
        values = np.empty((dates.size, size, start.size))
        for d, (whole, part) in enumerate(zip(legs.date_whole, legs.part, strict=True)):
            total = np.zeros((start.size, size))
            for j in range(int(whole)):
                total += cut[start + j]
            if part > 0.0:
                total += np.sqrt(part) * cut[start + int(whole)]
            values[d] = total.T
        if self.measure != "historical":
            for k, name in enumerate(self.state_names):
                shift = np.log(np.mean(np.exp(values[:, k]), axis=1)) if is_price(name) else np.mean(values[:, k], axis=1)
                values[:, k] -= shift[:, None]
        if self.measure == "pricing":
            values += drift_of(self.drift, self.measure, np.repeat(dates[:, None], size, axis=1))[:, :, None]
        clipped = sum((met[start + j] for j in range(length)), np.zeros((start.size, size), np.int32))
        return Resample(tuple(self.state_names), int(spec.seed), int(spec.count), stream_word(spec.stream, WINDOW), dates, values, np.ascontiguousarray(clipped.T),
                        tuple(self.labels[n] for n in start) if self.labels else ())
