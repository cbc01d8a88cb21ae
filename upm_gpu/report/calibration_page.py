"""The page of a fit to option chains: verdict, parameters with what is known of them, residuals, a smile an expiry, the course over days, provenance.

One file without script: charts are SVG, the policy allows the one style by its hash and nothing else. Same fit, same bytes. Verified by tests/end_to_end/test_calibrate_chains.py.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from upm_gpu.errors import UsageError
from upm_gpu.report.backtest_page import number
from upm_gpu.report.smiles import course_svg, residual_svg, smile_svg


def render_calibration(summary: Mapping[str, Any], smiles: Mapping[str, Sequence[Mapping[str, Any]]], courses: Mapping[str, Mapping[str, Any]], provenance: Mapping[str, Any]) -> bytes:
    """The page of a summary of `upm calibrate heston|merton|bates`. Raises UsageError where jinja2 is not installed."""
    environment, context = page_parts("calibration.html.j2")
    drawn = {u: {"residuals": residual_svg(found), "smiles": [(f["label"], smile_svg(f)) for f in found],
                 "course": [(name, course_svg(courses[u]["day"], values, name)) for name, values in courses[u].items() if name != "day"]} for u, found in smiles.items()}
    page = environment.from_string(context.pop("source")).render(summary=summary, drawn=drawn, provenance=provenance, **context)
    return bytes(page.encode("utf-8", errors="xmlcharrefreplace"))


def page_parts(template: str, what: str = "the page of a fit", instead: str = "leave --page out") -> tuple[Any, dict[str, Any]]:
    """A strict environment, and what every page without script is given: the template's `source`, its style and the policy that allows that alone. Raises UsageError where jinja2 is not installed."""
    try:
        import jinja2
    except ImportError:
        raise UsageError("UPM-CF-040", f"{what} needs jinja2, which is not installed. Install it with `pip install 'upm-gpu[report]'`, or {instead}.") from None
    here = Path(__file__).parent
    style = here.joinpath("report.css").read_text(encoding="utf-8")
    policy = f"default-src 'none'; style-src 'sha256-{base64.b64encode(hashlib.sha256(style.encode()).digest()).decode('ascii')}'; base-uri 'none'; form-action 'none'"
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["number"] = lambda v, digits=4: "" if v is None else number(v, digits)
    return environment, {"source": here.joinpath(template).read_text(encoding="utf-8"), "policy": policy, "style": jinja2.utils.markupsafe.Markup(style), "markup": jinja2.utils.markupsafe.Markup}
