"""What keeps a moved surface free of arbitrage, as tables in the change of skew: how far neighbouring expiries may part, and how much a smile must be drawn out.

A moved slice is w(k) = M u(k / l), u(k) = w_0(k) + c k: total variance w_0 of today times M = exp(y), tilted about the money by c = 2 sqrt(w_0(0)) x (x the
change of skew), drawn out in moneyness by l. Then, k' = k / l (J. Gatheral, A. Jacquier, "Arbitrage-free SVI volatility surfaces", 2014, for g):

* butterfly: g(k) = A^2 + (M / l^2) (D - B) - (M / l)^2 C >= 0 with A = 1 - k' u' / 2u, B = u'^2 / 4u, C = u'^2 / 16, D = u'' / 2 at k'. So l^2 >= max over k' of
  (M (B - D) + M^2 C) / A^2: any multiplier can be borne by a smile drawn out far enough, as long as A stays away from zero.
* calendar: with one l for all expiries of an underlying, M_e u_e(k') <= M_f u_f(k') for e before f: y_f - y_e >= max over k' of ln(u_e / u_f).

Both hold at any later date too: there w is smaller by (T - h) / T, which weakens the first and rises with T in the second. Slices are flat
beyond |k'| = 3; nothing is claimed of the kink there. Verified: tests/properties/test_surface_arbitrage.py (an independent check on finer grids).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from upm_gpu.market.surface import MAX_LOG_MONEYNESS, SviSlice

SKEW_FIRST, SKEW_CELLS, SKEW_INVERSE = -0.4, 32, 40.0
"""changes of skew from -0.4 to 0.4 in cells of 1 / 40: about twenty daily deviations; 0 is a node, so that today's surface is met exactly"""
VARIANCE_FIRST, VARIANCE_CELLS, VARIANCE_INVERSE = -1.0, 14, 2.0
"""ln M from -1 to 6 in cells of a half; below, what the lowest needs is enough, above, ln l grows by no more than ln M"""
REFINED = 4
"""points inside a cell at which the interpolation is held to the function"""
LEAST_STRETCH = -3.0
SKEW_STRETCH = 0.4
"""ln l that a change of skew alone may ask for, at today's level: beyond it the skew is held"""
SHARE_OF_TODAY = 0.5
"""of today's smallest A and of its lowest variance, kept by every change of skew"""


@dataclass(frozen=True)
class SurfaceBounds:
    """E expiries of one underlying, ascending."""

    skew_low: NDArray[np.float64]
    skew_high: NDArray[np.float64]
    """(E,) between which a change of skew is held"""
    gap: NDArray[np.float64]
    """(E - 1, SKEW_CELLS, 3) left, right, bubble: an upper bound of max ln(u_e / u_{e+1}) is left + t (right - left) + 4 t (1 - t) bubble"""
    stretch: NDArray[np.float64]
    """(E, SKEW_CELLS, VARIANCE_CELLS, 5) corners (skew, variance) 00, 01, 10, 11 and bubble: an upper bound of ln l is the bilinear value + 4 (t (1 - t) + s (1 - s)) bubble"""
    free_today: tuple[bool, ...]
    """(E,) whether g >= 0 today; a slice that is not is left as it is: neither stretched nor its skew held for it"""


def surface_bounds(slices: Sequence[SviSlice]) -> SurfaceBounds:
    """The tables of one underlying."""
    grids = [_nodes(svi) for svi in slices]
    free, low, high, stretch = [], [], [], []
    x = SKEW_FIRST + np.arange(SKEW_CELLS * REFINED + 1) / (SKEW_INVERSE * REFINED)
    y = VARIANCE_FIRST + np.arange(VARIANCE_CELLS * REFINED + 1) / (VARIANCE_INVERSE * REFINED)
    for svi, k in zip(slices, grids, strict=True):
        u, first, second = shape(svi, k, x[:, None])
        with np.errstate(divide="ignore", invalid="ignore"):
            a = 1.0 - k * first / (2.0 * u)
            linear, square = (first * first / (4.0 * u) - second / 2.0) / (a * a), first * first / 16.0 / (a * a)
        zero = SKEW_CELLS * REFINED // 2
        assert abs(x[zero]) < 1e-15
        now = linear[zero] + square[zero]
        free.append(bool(np.max(now) <= 1.0))
        sound = (u.min(axis=1) >= SHARE_OF_TODAY * u[zero].min()) & (a.min(axis=1) >= SHARE_OF_TODAY * a[zero].min())
        if free[-1]:
            with np.errstate(invalid="ignore"):
                sound &= np.max(linear + square, axis=1) <= np.exp(2.0 * SKEW_STRETCH)
        begin, end = zero, zero
        while begin > 0 and sound[begin - 1]:
            begin -= 1
        while end < len(x) - 1 and sound[end + 1]:
            end += 1
        low.append(x[begin])
        high.append(x[end])
        held = np.clip(np.arange(len(x)), begin, end)
        need = np.full((len(x), len(y)), LEAST_STRETCH)
        if free[-1]:
            for j, m in enumerate(np.exp(y)):
                need[:, j] = 0.5 * np.log(np.maximum(np.max(m * linear[held] + m * m * square[held], axis=1), np.exp(2.0 * LEAST_STRETCH)))
        stretch.append(_cells_2d(need))
    gap = [_cells(_gaps(slices[e], slices[e + 1], np.union1d(grids[e], grids[e + 1]), x, (low[e], high[e]), (low[e + 1], high[e + 1]))) for e in range(len(slices) - 1)]
    return SurfaceBounds(np.array(low), np.array(high), np.array(gap).reshape(-1, SKEW_CELLS, 3), np.array(stretch), tuple(free))


def shape(svi: SviSlice, k: NDArray[np.float64], skew: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """u, u', u'' of a slice tilted by changes of skew, at log-moneyness k; the arrays broadcast."""
    d = k - svi.m
    root = np.sqrt(d * d + svi.s * svi.s)
    level = svi.a + svi.b * (svi.rho * d + root)
    tilt = 2.0 * np.sqrt(svi.a + svi.b * (np.hypot(svi.m, svi.s) - svi.rho * svi.m)) * skew
    return level + tilt * k, svi.b * (svi.rho + d / root) + tilt, svi.b * svi.s**2 / root**3


def _nodes(svi: SviSlice) -> NDArray[np.float64]:
    """Moneyness at which a slice is looked at: everywhere to the limit, densely within eight standard deviations and about its vertex."""
    width = np.sqrt(svi.a + svi.b * (np.hypot(svi.m, svi.s) - svi.rho * svi.m))
    near = np.concatenate([width * np.linspace(-8.0, 8.0, 161), svi.m + svi.s * np.linspace(-3.0, 3.0, 61)])
    return np.unique(np.clip(np.concatenate([np.linspace(-MAX_LOG_MONEYNESS, MAX_LOG_MONEYNESS, 301), near]), -MAX_LOG_MONEYNESS, MAX_LOG_MONEYNESS))


def _gaps(before: SviSlice, after: SviSlice, k: NDArray[np.float64], x: NDArray[np.float64], own: tuple[float, float], other: tuple[float, float]) -> NDArray[np.float64]:
    """(skews,) max over k of ln(u_before / u_after); today's, which the surface keeps at 0 or below, without the noise of its rounding."""
    first, second = shape(before, k, np.clip(x, *own)[:, None])[0], shape(after, k, np.clip(x, *other)[:, None])[0]
    ratio = first / second
    found = ratio.max(axis=1)
    for row, at in enumerate(ratio.argmax(axis=1)):  # and between the nodes on either side of the largest
        near = np.linspace(k[max(at - 1, 0)], k[min(at + 1, len(k) - 1)], 65)
        point = x[row : row + 1]
        found[row] = max(found[row], np.max(shape(before, near, np.clip(point, *own))[0] / shape(after, near, np.clip(point, *other))[0]))
    found = np.log(found)
    today = SKEW_CELLS * REFINED // 2
    found[today] = min(found[today], 0.0)
    return found


def _cells(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """(cells, 3) left, right, bubble of a function given at REFINED points a cell."""
    node = values[::REFINED]
    t = np.arange(1, REFINED) / REFINED
    inside = values[:-1].reshape(-1, REFINED)[:, 1:]
    straight = node[:-1, None] + t * (node[1:] - node[:-1])[:, None]
    bubble = np.max(np.maximum(inside - straight, 0.0) / (4.0 * t * (1.0 - t)), axis=1)
    return np.stack([node[:-1], node[1:], bubble + SAFETY], axis=1)


SAFETY = 1e-4
"""added to a bubble for what lies between the refined points; it vanishes at the nodes, so today's surface stays as it is"""


def _cells_2d(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """(cells, cells, 5) corners 00, 01, 10, 11 and bubble of a function of two variables given at REFINED points a cell and axis."""
    node = values[::REFINED, ::REFINED]
    corner = [node[:-1, :-1], node[:-1, 1:], node[1:, :-1], node[1:, 1:]]
    t = np.arange(REFINED + 1) / REFINED
    bubble = np.zeros(corner[0].shape)
    for i, p in enumerate(t):
        for j, q in enumerate(t):
            form = 4.0 * (p * (1.0 - p) + q * (1.0 - q))
            if form == 0.0:
                continue
            rows, columns = corner[0].shape
            there = values[i : i + (rows - 1) * REFINED + 1 : REFINED, j : j + (columns - 1) * REFINED + 1 : REFINED]
            flat = (1.0 - p) * ((1.0 - q) * corner[0] + q * corner[1]) + p * ((1.0 - q) * corner[2] + q * corner[3])
            bubble = np.maximum(bubble, (there - flat) / form)
    return np.stack([*corner, bubble + SAFETY], axis=-1)
