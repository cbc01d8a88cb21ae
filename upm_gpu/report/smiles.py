"""Smiles, residuals and the course of parameters as SVG text, with the class names of report.css only. Verified by tests/end_to_end/test_calibrate_chains.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

WIDTH, HEIGHT, LEFT, TOP = 420.0, 170.0, 44.0, 8.0
MARGIN = 8.0


def smile_svg(smile: Mapping[str, Any]) -> str:
    """One expiry: quoted volatilities as dots, the model's as a line, over standard deviations from the forward."""
    x, quoted, model = (np.asarray(smile[n], np.float64) for n in ("x", "quoted", "model"))
    across, up, parts = axes(x, np.concatenate([quoted, model]), f"smile of {smile['label']}", "%", 100.0)
    parts.append(f'<path d="{line(across(x), up(model))}" class="line-accent" fill="none" stroke-width="1.6"/>')
    for a, q, m, k in zip(x, quoted, model, np.asarray(smile["strike"]), strict=True):
        parts.append(f'<circle class="fill-loss" cx="{across(a):.1f}" cy="{up(q):.1f}" r="2.2"><title>strike {k:g}: quoted {100 * q:.2f} %, model {100 * m:.2f} %</title></circle>')
    return "".join([*parts, "</svg>"])


def residual_svg(found: Sequence[Mapping[str, Any]]) -> str:
    """Model less quote in volatility points of all expiries, over standard deviations from the forward."""
    x, gap = np.concatenate([f["x"] for f in found]), np.concatenate([np.asarray(f["model"]) - np.asarray(f["quoted"]) for f in found])
    across, up, parts = axes(x, np.append(gap, 0.0), "residuals of all quotes", "", 100.0)
    right = WIDTH - MARGIN
    parts.append(f'<line class="zero" x1="{LEFT:.0f}" x2="{right:.0f}" y1="{up(0.0):.1f}" y2="{up(0.0):.1f}"/>')
    for f in found:
        for a, e in zip(np.asarray(f["x"]), np.asarray(f["model"]) - np.asarray(f["quoted"]), strict=True):
            parts.append(f'<circle class="fill-loss" cx="{across(a):.1f}" cy="{up(e):.1f}" r="2"><title>{f["label"]}: {100 * e:+.2f} points</title></circle>')
    return "".join([*parts, "</svg>"])


def course_svg(day: NDArray[np.float64], value: NDArray[np.float64], name: str) -> str:
    """A parameter from one chain to the next."""
    across, up, parts = axes(np.asarray(day), np.asarray(value), name, "", 1.0)
    parts.append(f'<path d="{line(across(day), up(value))}" class="line-accent" fill="none" stroke-width="1.4"/>')
    first, last = (str(np.datetime64(int(d), "D")) for d in (day[0], day[-1]))
    parts.append(f'<text x="{LEFT:.0f}" y="{TOP + HEIGHT + 14:.0f}">{first}</text><text x="{WIDTH - MARGIN:.0f}" y="{TOP + HEIGHT + 14:.0f}" text-anchor="end">{last}</text>')
    return "".join([*parts, "</svg>"])


def axes(x: NDArray[np.float64], y: NDArray[np.float64], label: str, unit: str, times: float) -> tuple[Any, Any, list[str]]:
    """Maps to the drawing, and its beginning: horizontal lines with their values, and for moneyness the numbers below."""
    import html

    low, high = float(np.min(y)), float(np.max(y))
    room = 0.06 * max(high - low, 1e-6 * max(abs(high), 1.0))
    low, high = low - room, high + room
    first, last = float(np.min(x)), float(np.max(x))
    span = (last - first) or 1.0
    right = WIDTH - MARGIN

    def across(value: Any) -> Any:
        return LEFT + (np.asarray(value, np.float64) - first) / span * (right - LEFT)

    def up(value: Any) -> Any:
        return TOP + (high - np.asarray(value, np.float64)) / (high - low) * HEIGHT

    parts = [f'<svg class="chart" viewBox="0 0 {right + MARGIN:.0f} {TOP + HEIGHT + 20:.0f}" role="img" aria-label="{html.escape(label, quote=True)}">']
    step = _round_step(times * (high - low) / 4.0) / times
    for value in step * np.arange(np.ceil(low / step), np.floor(high / step) + 1.0):
        at = float(up(value))
        parts.append(f'<line class="axis" x1="{LEFT:.0f}" x2="{right:.0f}" y1="{at:.1f}" y2="{at:.1f}"/><text x="{LEFT - 5:.0f}" y="{at + 4:.1f}" text-anchor="end">{times * value + 0.0:.6g}{unit}</text>')
    if abs(first) < 100.0:
        spacing = 1.0 if span >= 3.0 else _round_step(span / 5.0)
        for number in range(int(np.ceil(first / spacing)), int(np.floor(last / spacing)) + 1):
            parts.append(f'<text x="{across(number * spacing):.1f}" y="{TOP + HEIGHT + 14:.0f}" text-anchor="middle">{number * spacing:.6g}</text>')
    return across, up, parts


def line(x: NDArray[np.float64], y: NDArray[np.float64]) -> str:
    """The path of a polygon through points of the drawing."""
    return "M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in zip(x, y, strict=True))


def _round_step(raw: float) -> float:
    """The next 1, 2, 5 or 10 times a power of ten."""
    size = 10.0 ** np.floor(np.log10(raw))
    return float(size * next(m for m in (1.0, 2.0, 5.0, 10.0) if m * size >= raw))
