"""The window of a history in which a portfolio would have lost most: what a stressed period is, found and not chosen.

Of a portfolio with fixed values w_i (in the reporting currency; negative is short) the loss over h closes is -sum_i w_i (S_i(t + h) / S_i(t) - 1), overlapping for h above 1. Every run of `window` such losses has a measure:

  expected_shortfall: the mean of the worst 1 - level;  value_at_risk: its quantile;  volatility: root mean square.

The stressed window is the one with the largest; of windows that share their worst losses the one with the largest volatility. A close more than four days after the one before it begins a new stretch; all assets of the portfolio must have closes throughout. Standard errors take losses as independent, times sqrt(h) for overlapping ones; the largest of many windows is too large by
chance as well, which no error of one window tells: the table names the worst window apart from it, and how far the measure lies above the median of all.

Sources: Basel Committee, "Revisions to the Basel II market risk framework" (2009), 718(Lxxvi)(i) (stressed value-at-risk of a continuous twelve-month period of significant stress relevant to the bank's portfolio); European Banking Authority, guidelines EBA/GL/2012/2 (the period is found by a formula over the history, for
the portfolio); MAR33.6 (the twelve months in which the portfolio has its largest measure, back to 2007); Delegated Regulation (EU) 153/2013, article 28(1)(b). Level 97.5 % as MAR33.3; a window of 250 days as MAR33 counts a year of trading.
Verified: tests/statistics/test_stressed_window.py (a planted period, errors, brute force).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from upm_gpu.calibrate.series import MAX_GAP_DAYS, Series
from upm_gpu.errors import CalibrationError
from upm_gpu.risk.measures import expected_shortfall, value_at_risk

Measure = Literal["expected_shortfall", "value_at_risk", "volatility"]
MEASURES: tuple[Measure, ...] = ("expected_shortfall", "value_at_risk", "volatility")
FEW_BEYOND = 5.0
"""losses beyond the level below which a measure is the size of a day or two"""


@dataclass(frozen=True)
class Window:
    """A run of losses."""

    first: float
    """days since 1970 of the close that the first loss starts from"""
    last: float
    """of the close of the last loss"""
    measure: float
    error: float
    worst: float
    """largest loss inside"""


@dataclass(frozen=True)
class StressedWindow:
    """The worst window and all the others."""

    stressed: Window
    runner_up: Window | None
    """the worst that shares no day with it"""
    today: Window
    """the last of the history"""
    day: NDArray[np.float64]
    """(N,) last day of each window"""
    measure: NDArray[np.float64]
    """(N,)"""
    losses: int
    bound: str
    """"lower" where the worst window is the first of the history, "upper" where it is the last"""


def find_stressed(series: Mapping[str, Series], values: Mapping[str, float], window: int = 250, measure: Measure = "expected_shortfall", level: float = 0.975, horizon: int = 1) -> StressedWindow:
    """Of prices by asset (logarithms) and the value held of each. Raises `CalibrationError` UPM-CA-235 (an unknown choice), 236 (too short, too few beyond the level)."""
    _check(values, series, window, measure, level, horizon)
    names = [a for a, v in values.items() if v != 0.0]
    time = series[names[0]].time
    for a in names[1:]:
        time = np.intersect1d(time, series[a].time)
    level_of = np.stack([series[a].value[np.searchsorted(series[a].time, time)] for a in names])
    if len(time) < window + horizon:
        raise CalibrationError("UPM-CA-236", f"stressed window: {', '.join(names)} have {len(time)} common closes, {window + horizon} are needed for a window of {window} and a horizon of {horizon}. Lengthen the history, shorten --window, or leave the youngest asset out of --portfolio.")
    pnl = np.array([values[a] for a in names]) @ np.expm1(level_of[:, horizon:] - level_of[:, :-horizon])
    gap = np.cumsum(np.concatenate([[0], np.diff(time) > MAX_GAP_DAYS]))
    ends = np.arange(window - 1, len(pnl))
    whole = gap[ends - window + 1] == gap[ends + horizon]
    if not np.any(whole):
        raise CalibrationError("UPM-CA-236", f"stressed window: no stretch of {window} losses of {', '.join(names)} without a gap of {MAX_GAP_DAYS:g} days between closes. Fill the history, or shorten --window.")
    runs = np.lib.stride_tricks.sliding_window_view(-pnl, window)
    found = np.where(whole, _measures(runs, measure, level), np.nan)
    # windows that share their worst losses tie: the one that is wilder altogether
    tied = np.flatnonzero(found >= np.nanmax(found) * (1.0 - 1e-9))
    best = int(tied[np.argmax(_measures(runs[tied], "volatility", level))])
    apart = np.abs(ends - ends[best]) >= window + horizon - 1
    others = np.flatnonzero(whole & apart)

    def made(i: int) -> Window:
        return Window(float(time[ends[i] - window + 1]), float(time[ends[i] + horizon]), float(found[i]), _error(runs[i], measure, level) * float(np.sqrt(horizon)), float(np.max(runs[i])))

    usable = np.flatnonzero(whole)
    bound = "upper" if best == usable[-1] else "lower" if best == usable[0] else ""
    return StressedWindow(made(best), made(int(others[np.argmax(found[others])])) if len(others) else None, made(int(usable[-1])), time[ends + horizon], found, len(pnl), bound)


def _measures(losses: NDArray[np.float64], measure: Measure, level: float) -> NDArray[np.float64]:
    """(N,) of losses (N, W)."""
    if measure == "volatility":
        return np.asarray(np.sqrt(np.mean(losses * losses, axis=-1)))
    return np.asarray((expected_shortfall if measure == "expected_shortfall" else value_at_risk)(losses, level))


def _error(losses: NDArray[np.float64], measure: Measure, level: float) -> float:
    """Standard error of the measure of one window (W,)."""
    count = len(losses)
    if measure == "volatility":
        square = losses * losses
        return float(np.std(square) / (2.0 * np.sqrt(count * np.mean(square))))
    quantile = float(value_at_risk(losses, level))
    if measure == "expected_shortfall":
        return float(np.std(np.maximum(losses - quantile, 0.0), ddof=1) / ((1.0 - level) * np.sqrt(count)))
    # half the normal interval of the order statistics about the quantile
    k, spread = count * (1.0 - level), np.sqrt(count * level * (1.0 - level))
    low, high = (int(np.clip(round(k + z * spread), 0, count - 1)) for z in (-1.0, 1.0))
    worst = np.sort(losses)[::-1]
    return float(0.5 * (worst[low] - worst[high]))


def _check(values: Mapping[str, float], series: Mapping[str, Series], window: int, measure: str, level: float, horizon: int) -> None:
    if measure not in MEASURES:
        raise CalibrationError("UPM-CA-235", f"--measure {measure!r} is not a known choice. Use one of {', '.join(MEASURES)}.")
    if not 0.5 <= level < 1.0:
        raise CalibrationError("UPM-CA-235", f"--level {level:g} is not a confidence. Give a choice from 0.5 to below 1, such as 0.975.")
    if not 1 <= horizon <= 60 or window < 20:
        raise CalibrationError("UPM-CA-235", f"--window {window} and --horizon {horizon}: give a choice of 20 days or more, and 1 to 60 closes.")
    if not any(v != 0.0 for v in values.values()):
        raise CalibrationError("UPM-CA-235", "--portfolio holds nothing. Give a choice such as BTC:1,ETH:-0.5, values in one currency.")
    absent = [a for a in values if a not in series]
    if absent:
        raise CalibrationError("UPM-CA-235", f"--portfolio names {', '.join(absent)}, and the history has prices of {', '.join(series)}. Correct the choice.")
    if measure != "volatility" and window * (1.0 - level) < 1.0:
        raise CalibrationError("UPM-CA-236", f"stressed window: {window} losses leave {window * (1.0 - level):.2g} beyond level {level:g}, fewer than one. Lengthen --window or lower --level.")


def equal_values(names: Sequence[str]) -> dict[str, float]:
    """One unit of the currency in all, in equal parts.

    >>> equal_values(["A", "B"])
    {'A': 0.5, 'B': 0.5}
    """
    return dict.fromkeys(names, 1.0 / len(names))
