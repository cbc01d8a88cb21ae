"""Charts of a cascade as SVG text: what happens round by round, and who bears the loss. Only numbers, escaped names and the class names of report.css go into the markup."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence

WIDTH, LEFT, RIGHT, TOP, HEIGHT = 560.0, 74.0, 118.0, 14.0, 190.0
WIDE = 900.0
"""of the chart over both columns"""
LINES = ("line-accent", "line-loss", "line-warn", "zero")
FILLS = ("fill-accent", "fill-warn", "fill-gain", "fill-muted", "fill-loss")
BAR = 26.0


def rounds_svg(series: Mapping[str, Sequence[float]], label: str, percent: bool = False, axis: str = "round", first: int = 0) -> str:
    """One line a variant over rounds, from `first`, or over what `axis` names."""
    longest = max((len(v) for v in series.values()), default=1)
    values = [v for own in series.values() for v in own] or [0.0]
    low, high = min(0.0, *values), max(0.0, *values)
    if high - low <= 0.0:
        high = low + 1.0

    def x(n: int) -> float:
        return LEFT + n / max(longest - 1, 1) * (WIDTH - LEFT - RIGHT)

    def y(value: float) -> float:
        return TOP + (high - value) / (high - low) * HEIGHT

    parts = [f'<svg class="chart" viewBox="0 0 {WIDTH:.0f} {TOP + HEIGHT + 30:.0f}" role="img" aria-label="{_safe(label)}">']
    for k in range(5):
        value = low + k / 4.0 * (high - low)
        text = f"{100.0 * value:.2f} %" if percent else short(value)
        parts.append(f'<line class="axis" x1="{LEFT:.0f}" x2="{WIDTH - RIGHT:.0f}" y1="{y(value):.1f}" y2="{y(value):.1f}"/><text x="{LEFT - 6:.0f}" y="{y(value) + 4:.1f}" text-anchor="end">{text}</text>')
    for n in range(0, longest, max(1, longest // 12)):
        parts.append(f'<text x="{x(n):.1f}" y="{TOP + HEIGHT + 16:.1f}" text-anchor="middle">{n + first}</text>')
    parts.append(f'<text x="{0.5 * (LEFT + WIDTH - RIGHT):.0f}" y="{TOP + HEIGHT + 29:.1f}" text-anchor="middle">{_safe(axis)}</text>')
    ends: list[float] = []
    for k, (name, own) in enumerate(series.items()):
        path = "M" + "L".join(f"{x(n):.1f} {y(v):.1f}" for n, v in enumerate(own))
        parts.append(f'<path d="{path}" class="{LINES[k % len(LINES)]}" fill="none" stroke-width="2"/>')
        parts += [f'<circle class="fill-none" cx="{x(n):.1f}" cy="{y(v):.1f}" r="5"><title>{_safe(name)}, {_safe(axis)} {n + first}: {f"{100 * v:.3f} %" if percent else f"{v:,.0f}"}</title></circle>' for n, v in enumerate(own)]
        at = y(own[-1]) + 4.0
        while any(abs(at - e) < 14.0 for e in ends):  # names that end at one place stand below each other
            at += 14.0
        ends.append(at)
        parts.append(f'<line class="{LINES[k % len(LINES)]}" x1="{x(len(own) - 1):.1f}" y1="{y(own[-1]):.1f}" x2="{WIDTH - RIGHT + 4:.1f}" y2="{at - 4:.1f}" stroke-opacity=".5"/>'
                     f'<text class="ink" x="{WIDTH - RIGHT + 8:.0f}" y="{at:.1f}">{_safe(name[:17])}</text>')
    return "".join([*parts, "</svg>"])


def waterfall_svg(borne: Mapping[str, Mapping[str, float]], titles: Mapping[str, str]) -> str:
    """A bar a variant: the loss beyond margin, by who bears it."""
    layers = list(dict.fromkeys(k for own in borne.values() for k in own))
    top = max((sum(own.values()) for own in borne.values()), default=0.0) or 1.0
    height = TOP + (BAR + 14.0) * len(borne) + 22.0 * ((len(layers) + 2) // 3) + 8.0
    parts = [f'<svg class="chart" viewBox="0 0 {WIDE:.0f} {height:.0f}" role="img" aria-label="loss by who bears it">']
    for row, (name, own) in enumerate(borne.items()):
        y, at = TOP + row * (BAR + 14.0), 190.0
        parts.append(f'<text class="ink" x="180" y="{y + 17:.1f}" text-anchor="end">{_safe(name)}</text>')
        for layer, amount in own.items():
            wide = amount / top * (WIDE - 190.0 - 110.0)
            parts.append(f'<rect class="{FILLS[layers.index(layer) % len(FILLS)]}" x="{at:.1f}" y="{y:.1f}" width="{wide:.1f}" height="{BAR:.0f}"><title>{_safe(titles.get(layer, layer))}: {amount:,.2f}</title></rect>')
            at += wide
        parts.append(f'<text x="{at + 8:.1f}" y="{y + 17:.1f}">{short(sum(own.values()))}</text>')
    base = TOP + (BAR + 14.0) * len(borne) + 6.0
    for k, layer in enumerate(layers):
        x, y = 190.0 + (k % 3) * 230.0, base + (k // 3) * 22.0
        parts.append(f'<rect class="{FILLS[k % len(FILLS)]}" x="{x:.0f}" y="{y:.1f}" width="12" height="12"/><text x="{x + 18:.0f}" y="{y + 10:.1f}">{_safe(titles.get(layer, layer))}</text>')
    return "".join([*parts, "</svg>"])


def short(value: float) -> str:
    """An amount in few letters.

    >>> short(1234567.0)
    '1.23 m'
    """
    for size, name in ((1e9, " bn"), (1e6, " m"), (1e3, " k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{name}"
    return f"{value:.3g}"


def _safe(text: str) -> str:
    return html.escape(text, quote=True)
