"""How margins respond to markets: figures of a history of margins, days by accounts.

  peak to trough       = largest / smallest margin of the history
  largest n-day rise   = max over days s < t, t - s <= n, of margin_t / margin_s - 1, at least 0
  one-year mean        = mean of the margins of the last 365 days, the last one among them

Days are calendar days, so that a history with gaps is read as it is: a rise over a gap longer than n days is none of n days. A day on which an account has no margin is left out; a
margin of 0 has no ratio, so it is neither a trough nor the start of a rise. NaN where a history says nothing: fewer than two days, or none that lie within n days.

Source: D. Murphy, M. Vasios, N. Vause, "An investigation into the procyclicality of risk-based initial margin models", Bank of England Financial Stability Paper 29 (2014): peak-to-trough and n-day measures.
Verified by tests/known_answers/test_responsiveness.py.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

RISE_DAYS = (1, 5, 30)
YEAR_DAYS = 365.0
NEAR = 0.25
"""days by which valuations of two days may stand apart more than a whole number of days: markets are not stamped to the minute"""


def peak_to_trough(margin: NDArray[np.float64]) -> NDArray[np.float64]:
    """(A,) of a history (D, A), NaN where an account has no margin.

    >>> peak_to_trough(np.array([[2.0], [5.0], [4.0]])).tolist()
    [2.5]
    """
    known = np.where(margin > 0.0, margin, np.nan)
    several = np.sum(np.isfinite(known), axis=0) > 1
    peak, trough = np.fmax.reduce(known, axis=0), np.fmin.reduce(known, axis=0)
    return np.where(several, peak / trough, np.nan)


def largest_rise(days: NDArray[np.float64], margin: NDArray[np.float64], within: float) -> NDArray[np.float64]:
    """(A,) of a history (D, A) on ascending `days` (D,).

    >>> largest_rise(np.array([0.0, 1.0, 2.0]), np.array([[4.0], [5.0], [6.0]]), 1.0).tolist()
    [0.25]
    """
    found = np.full(margin.shape[1:], np.nan)
    start = np.where(margin > 0.0, margin, np.nan)
    for t in range(1, len(days)):
        first = int(np.searchsorted(days, days[t] - within - NEAR))
        if first < t:
            found = np.fmax(found, margin[t] / np.fmin.reduce(start[first:t], axis=0) - 1.0)
    return np.where(np.isfinite(found), np.maximum(found, 0.0), np.nan)


def one_year_mean(days: NDArray[np.float64], margin: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """((A,) means, (A,) number of days each is of), NaN of none.

    >>> one_year_mean(np.array([0.0, 300.0, 400.0]), np.array([[9.0], [1.0], [2.0]]))[0].tolist()
    [1.5]
    """
    recent = margin[days > days[-1] - YEAR_DAYS]
    known = np.isfinite(recent)
    count = np.sum(known, axis=0)
    total = np.sum(np.where(known, recent, 0.0), axis=0)
    return np.divide(total, count, out=np.full(count.shape, np.nan), where=count > 0), count
