"""What a calibrator says of its parameters: value, standard error, t and bound, as plain values and as a table a person reads; and standard errors from scores."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def estimate_row(value: float, error: float, bound: str = "") -> dict[str, Any]:
    """One parameter; null where there is no number.

    >>> estimate_row(2.0, 0.5)
    {'value': 2.0, 'standard_error': 0.5, 't': 4.0, 'bound': None}
    """
    return {"value": _digits(value), "standard_error": _digits(error), "t": _digits(value / error) if error > 0.0 else None, "bound": bound or None}


def estimate_lines(rows: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The table: a header and a line a parameter."""
    wide = max(18, *(len(k) for k in rows)) if rows else 18
    lines = [f"  {'':{wide}}{'value':>12}{'std. error':>12}{'t':>10}  bound"]
    for key, row in rows.items():
        cells = "".join(f"{'-' if row[c] is None else format(row[c], f):>{w}}" for c, w, f in (("value", 12, ".5g"), ("standard_error", 12, ".3g"), ("t", 10, ".4g")))
        lines.append(f"  {key:{wide}}{cells}  {row['bound'] or ''}".rstrip())
    return lines


def information_errors(gradient: Callable[[NDArray[np.float64]], NDArray[np.float64]], at: NDArray[np.float64], free: NDArray[np.bool_], step: float = 1e-4) -> NDArray[np.float64]:
    """(P, P) inverse of the observed information, by central differences of the gradient of the log-likelihood over the unknowns that are `free`; NaN where it is not positive definite, 0 rows for the others."""
    names = np.flatnonzero(free)
    found = np.zeros((len(at), len(at)))
    bend = np.empty((len(names), len(names)))
    for i, n in enumerate(names):
        h = np.zeros(len(at))
        h[n] = step * max(1.0, abs(at[n]))
        bend[i] = (gradient(at + h) - gradient(at - h))[names] / (2.0 * h[n])
    bend = -0.5 * (bend + bend.T)
    size = np.sqrt(np.abs(np.diag(bend)))
    if not len(names) or not np.all(np.isfinite(bend)) or not np.all(size > 0.0) or float(np.min(np.linalg.eigvalsh(bend / np.outer(size, size)))) < 1e-10:
        found[:] = np.nan
        return found
    found[np.ix_(names, names)] = np.linalg.inv(bend / np.outer(size, size)) / np.outer(size, size)
    return found


def through(natural: Callable[[NDArray[np.float64]], NDArray[np.float64]], at: NDArray[np.float64], covariance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Standard errors of `natural`(unknowns) by the delta method; NaN where it does not move."""
    columns = []
    for i in range(len(at)):
        h = np.zeros(len(at))
        h[i] = 1e-6 * max(1.0, abs(at[i]))
        columns.append((natural(at + h) - natural(at - h)) / (2.0 * h[i]))
    by = np.stack(columns, axis=1)
    variance = np.einsum("ap,pq,aq->a", by, covariance, by)
    return np.asarray(np.sqrt(np.where(variance > 0.0, variance, np.nan)))


def bounds_met(at: NDArray[np.float64], low: NDArray[np.float64], high: NDArray[np.float64]) -> tuple[str, ...]:
    """'lower', 'upper' or '' of every unknown."""
    room = 1e-6 * (high - low)
    return tuple("lower" if x <= a + r else "upper" if x >= b - r else "" for x, a, b, r in zip(at, low, high, room, strict=True))


def listed(names: Sequence[str], values: NDArray[np.float64], errors: NDArray[np.float64], bounds: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Rows by name."""
    return {n: estimate_row(float(v), float(e), b) for n, v, e, b in zip(names, values, errors, bounds, strict=True)}


def _digits(value: float) -> float | None:
    return float(f"{value:.8g}") if math.isfinite(value) else None
