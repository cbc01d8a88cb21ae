"""Charts of estimates as SVG text: bars with errors, clouds with a line, quantiles, courses over time with a window. Class names are those of report.css. Verified by tests/end_to_end/test_calibrate_factors.py."""

from __future__ import annotations

import html
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from upm_gpu.report.liquidation_chart import short
from upm_gpu.report.smiles import HEIGHT, LEFT, MARGIN, TOP, WIDTH, axes, line

ROW = 19.0
NAME = 118.0


def bars_svg(names: Sequence[str], values: Sequence[float], errors: Sequence[float], label: str, mark: float | None = None) -> str:
    """A horizontal bar a name from 0, with two standard errors about its end (NaN: none); `mark` is a vertical line."""
    value, half = np.asarray(values, np.float64), 2.0 * np.nan_to_num(np.asarray(errors, np.float64))
    low = min(0.0, float(np.min(value - half)))
    high = max(0.0, float(np.max(value + half)), mark or 0.0)
    right, span = WIDTH - MARGIN - 44.0, (high - low) or 1.0
    tall = TOP + ROW * len(names)

    def across(x: float) -> float:
        return NAME + (x - low) / span * (right - NAME)

    parts = [f'<svg class="chart" viewBox="0 0 {WIDTH:.0f} {tall + 8:.0f}" role="img" aria-label="{html.escape(label, quote=True)}">']
    for i, (name, v, h) in enumerate(zip(names, value.tolist(), half.tolist(), strict=True)):
        y = TOP + ROW * i
        start, end = sorted((across(0.0), across(v)))
        parts.append(f'<text x="{NAME - 6:.0f}" y="{y + 12:.1f}" text-anchor="end">{html.escape(name)}</text>'
                     f'<rect class="{"fill-accent" if v >= 0.0 else "fill-loss"}" x="{start:.1f}" y="{y + 2:.1f}" width="{max(end - start, 0.5):.1f}" height="{ROW - 6:.1f}"><title>{html.escape(name)} {v:.4g}</title></rect>'
                     f'<text x="{WIDTH - MARGIN:.0f}" y="{y + 12:.1f}" text-anchor="end">{short(v)}</text>')
        if h > 0.0:
            parts.append(f'<line class="zero" x1="{across(v - h):.1f}" x2="{across(v + h):.1f}" y1="{y + 8.5:.1f}" y2="{y + 8.5:.1f}"/>')
    if mark is not None:
        parts.append(f'<line class="line-warn" stroke-width="1.4" x1="{across(mark):.1f}" x2="{across(mark):.1f}" y1="{TOP:.0f}" y2="{tall:.1f}"/>')
    return "".join([*parts, f'<line class="axis" x1="{across(0.0):.1f}" x2="{across(0.0):.1f}" y1="{TOP:.0f}" y2="{tall:.1f}"/></svg>'])


def cloud_svg(x: NDArray[np.float64], y: NDArray[np.float64], slope: float, label: str) -> str:
    """Days as dots in units of a deviation, and the line of a slope through 0."""
    across, up, parts = axes(np.append(x, 0.0), np.append(y, 0.0), label, "", 1.0)
    parts += [f'<circle class="fill-muted" cx="{across(a):.1f}" cy="{up(b):.1f}" r="2"/>' for a, b in zip(x, y, strict=True)]
    ends = np.array([np.min(x), np.max(x)])
    return "".join([*parts, f'<path d="{line(across(ends), up(slope * ends))}" class="line-accent" fill="none" stroke-width="1.6"/></svg>'])


def diagonal_svg(model: NDArray[np.float64], observed: NDArray[np.float64], label: str) -> str:
    """Observed quantiles over those of a law, and the line on which they are equal."""
    across, up, parts = axes(model, np.concatenate([observed, model]), label, "", 1.0)
    ends = np.array([model[0], model[-1]])
    parts.append(f'<path d="{line(across(ends), up(ends))}" class="line-accent" fill="none" stroke-width="1.2"/>')
    return "".join([*parts, *(f'<circle class="fill-loss" cx="{across(a):.1f}" cy="{up(b):.1f}" r="2"><title>law {a:.4g}, observed {b:.4g}</title></circle>' for a, b in zip(model, observed, strict=True)), "</svg>"])


def window_svg(day: NDArray[np.float64], value: NDArray[np.float64], first: float, last: float, label: str, times: float = 100.0) -> str:
    """A measure over time (at the last day of its window), in percent; the window from `first` to `last` is shaded. NaN breaks the line."""
    seen = np.isfinite(value)
    across, up, parts = axes(np.append(day[seen], [first, last]), np.append(value[seen], 0.0), label, "%", times)
    parts.append(f'<rect class="fill-warn" fill-opacity="0.25" x="{across(first):.1f}" y="{TOP:.0f}" width="{across(last) - across(first):.1f}" height="{HEIGHT:.0f}"/>')
    places = np.flatnonzero(seen)
    for run in np.split(places, np.flatnonzero(np.diff(places) > 1) + 1):
        if len(run):
            parts.append(f'<path d="{line(across(day[run]), up(value[run]))}" class="line-accent" fill="none" stroke-width="1.4"/>')
    low, high = (str(np.datetime64(int(d), "D")) for d in (min(day[0], first), max(day[-1], last)))
    return "".join([*parts, f'<text x="{LEFT:.0f}" y="{TOP + HEIGHT + 14:.0f}">{low}</text><text x="{WIDTH - MARGIN:.0f}" y="{TOP + HEIGHT + 14:.0f}" text-anchor="end">{high}</text></svg>'])
