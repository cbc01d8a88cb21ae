"""The page of what was estimated from a history, or of what a run was asked: verdict, charts, tables, every parameter with its error, warnings, provenance.

One file without script under the policy of the other pages. Same estimates, same bytes. Verified by tests/end_to_end/test_calibrate_factors.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from upm_gpu.report.calibration_page import page_parts


@dataclass(frozen=True)
class Table:
    """Rows of a name and numbers (or text)."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[Any]]


@dataclass(frozen=True)
class Part:
    """A section of the page."""

    heading: str
    note: str = ""
    charts: Sequence[tuple[str, str, str]] = ()
    """title, what is drawn, SVG"""
    tables: Sequence[Table] = ()


@dataclass(frozen=True)
class Study:
    """What the page says."""

    eyebrow: str
    marks: Sequence[str]
    verdict: str
    lead: str
    parts: Sequence[Part]
    parameters: Mapping[str, Mapping[str, Any]]
    """none: a page of answers and not of estimates"""
    errors: str
    """how the standard errors were made"""
    warnings: Sequence[str] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)
    said: str = "Warnings"
    """heading of the warnings"""


def render_study(study: Study) -> bytes:
    """Raises UsageError where jinja2 is not installed."""
    environment, context = page_parts("study.html.j2")
    return bytes(environment.from_string(context.pop("source")).render(study=study, **context).encode("utf-8", errors="xmlcharrefreplace"))
