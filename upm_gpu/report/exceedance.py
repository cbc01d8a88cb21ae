"""Exceedance plots as SVG text: losses, the margin line, the days above it, and a strip of exceptions for every model.

Only numbers and the class names of report.css go into the markup; the page's policy allows neither script nor inline style. Verified by tests/end_to_end/test_backtest_command.py.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

WIDTH, HEIGHT, LEFT, RIGHT, TOP = 900.0, 230.0, 46.0, 150.0, 8.0
STRIP = 15.0
"""height of one model's strip of exceptions"""
COLUMNS = 560
"""bars drawn at most: days that share a column are one bar, of their worst loss"""
LONG_NAME = 22
"""letters of a model's name that fit beside its strip; the whole name stands in the table below"""


def exceedance_svg(days: NDArray[np.int64], loss: NDArray[np.float64], margin: NDArray[np.float64], exceptions: Mapping[str, NDArray[np.int64]]) -> str:
    """One portfolio: `days` (T,) since 1970 ascending, losses and margins of the model shown, `exceptions` days above the margin of each model."""
    first, last = float(days[0]), float(max(days[-1], days[0] + 1))
    top = 1.05 * max(float(loss.max(initial=0.0)), float(margin.max(initial=0.0)), 1e-12)

    def x(day: NDArray[np.float64] | float) -> NDArray[np.float64]:
        return LEFT + (np.asarray(day, np.float64) - first) / (last - first) * (WIDTH - LEFT - RIGHT)

    def y(value: NDArray[np.float64] | float) -> NDArray[np.float64]:
        return TOP + (1.0 - np.asarray(value, np.float64) / top) * HEIGHT

    zero = float(y(0.0))
    height = TOP + HEIGHT + 22.0 + STRIP * len(exceptions) + 4.0
    parts = [f'<svg class="chart" viewBox="0 0 {WIDTH:.0f} {height:.0f}" role="img" aria-label="losses and margin by day">']
    for value in _ticks(top):
        at = float(y(value))
        parts.append(f'<line class="axis" x1="{LEFT:.0f}" x2="{WIDTH - RIGHT:.0f}" y1="{at:.1f}" y2="{at:.1f}"/><text x="{LEFT - 6:.0f}" y="{at + 4:.1f}" text-anchor="end">{100 * value:.3g} %</text>')
    for year, day in _years(first, last):
        at = float(x(day))
        parts.append(f'<line class="axis" x1="{at:.1f}" x2="{at:.1f}" y1="{TOP:.0f}" y2="{zero:.1f}"/><text x="{at + 3:.1f}" y="{zero + 15:.1f}">{year}</text>')
    column = np.minimum(((days - first) / (last - first) * COLUMNS).astype(np.int64), COLUMNS - 1)
    shown = np.unique(column)
    starts = np.searchsorted(column, shown)
    worst, held, middle = np.maximum.reduceat(loss, starts), np.maximum.reduceat(margin, starts), np.maximum.reduceat(days, starts)
    bars = "".join(f"M{a:.1f} {zero:.1f}V{b:.1f}" for a, b, w in zip(x(middle), y(worst), worst, strict=True) if w > 0.0)
    parts.append(f'<path d="{bars}" class="zero" fill="none"/>')
    line = "M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in zip(x(middle), y(held), strict=True))
    parts.append(f'<path d="{line}" class="line-accent" fill="none" stroke-width="1.5"/>')
    for n in np.flatnonzero(loss > margin):
        parts.append(f'<circle class="fill-loss" cx="{float(x(days[n])):.1f}" cy="{float(y(loss[n])):.1f}" r="3.2"><title>{np.datetime64(int(days[n]), "D")}: loss {100 * loss[n]:.2f} %, margin {100 * margin[n]:.2f} %</title></circle>')
    base = zero + 22.0
    for row, (name, own) in enumerate(exceptions.items()):
        at = base + row * STRIP
        ticks = "".join(f"M{float(x(d)):.1f} {at + 2:.1f}v{STRIP - 5:.0f}" for d in own)
        parts.append(f'<line class="axis" x1="{LEFT:.0f}" x2="{WIDTH - RIGHT:.0f}" y1="{at + STRIP - 1:.1f}" y2="{at + STRIP - 1:.1f}"/><path d="{ticks}" class="line-loss" stroke-width="1.6"/>')
        parts.append(f'<text x="{WIDTH - RIGHT + 6:.0f}" y="{at + STRIP - 3:.1f}">{_escaped(name)}: {len(own)}</text>')
    return "".join([*parts, "</svg>"])


def _escaped(name: str) -> str:
    import html

    return html.escape(name if len(name) <= LONG_NAME else name[: LONG_NAME - 2] + "..", quote=True)


def _ticks(top: float) -> list[float]:
    raw = top / 4.0
    size = 10.0 ** np.floor(np.log10(raw))
    step = float(size * next(m for m in (1.0, 2.0, 5.0, 10.0) if m * size >= raw))
    return [n * step for n in range(int(top / step) + 1)]


def _years(first: float, last: float) -> list[tuple[int, int]]:
    from datetime import date, timedelta

    epoch = date(1970, 1, 1)
    found = [(y, (date(y, 1, 1) - epoch).days) for y in range((epoch + timedelta(days=int(first))).year, (epoch + timedelta(days=int(last))).year + 1)]
    return [(y, d) for y, d in found if first <= d <= last]
