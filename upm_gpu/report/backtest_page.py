"""`backtest.html`: goals, league of models, and an exceedance plot with every test for each portfolio, from the folder of a back-test alone.

One file without script: charts are SVG, the policy allows the one style by its hash and nothing else. Same folder, same bytes.
Verified by tests/end_to_end/test_backtest_command.py.
"""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from upm_gpu.errors import CapacityError, UsageError
from upm_gpu.report.exceedance import exceedance_svg
from upm_gpu.report.read import Columns, read_json, read_rows, read_table

LIMIT = 9_500_000
"""bytes, as of the run report"""
SHOWN = 150
"""portfolios drawn at most, those with the most exceptions of the best model first; all are in summary.csv"""


def render_backtest(folder: Path) -> bytes:
    """The page of a folder. Raises UsageError where it is no back-test or jinja2 is not installed, CapacityError for a page beyond LIMIT."""
    try:
        import jinja2
    except ImportError:
        raise UsageError("UPM-CF-040", "the back-test's page needs jinja2, which is not installed. Install it with `pip install 'upm-gpu[report]'`, or set output.report = false.") from None
    manifest, found = read_json(folder / "manifest.json"), read_json(folder / "goals.json")
    days, summary, league = read_table(folder / "backtest.parquet"), read_rows(folder / "summary.csv"), read_rows(folder / "league.csv")
    if manifest is None or found is None or days is None or not summary or not league:
        raise UsageError("UPM-RN-045", f"{folder} is no back-test: a table is missing. Run the back-test again.")
    here = Path(__file__).parent
    style = here.joinpath("report.css").read_text(encoding="utf-8")
    policy = f"default-src 'none'; style-src 'sha256-{base64.b64encode(hashlib.sha256(style.encode()).digest()).decode('ascii')}'; base-uri 'none'; form-action 'none'"
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"share": share, "number": number, "p": p_value}
    shown = _portfolios(days, summary, league[0]["model"], float(manifest["league_level"]))
    page = environment.from_string(here.joinpath("backtest.html.j2").read_text(encoding="utf-8")).render(
        policy=policy, style=jinja2.utils.markupsafe.Markup(style), manifest=manifest, goals=found["goals"], league=league, portfolios=shown,
        hidden=max(0, len({r["portfolio"] for r in summary}) - len(shown)), markup=jinja2.utils.markupsafe.Markup).encode("utf-8", errors="xmlcharrefreplace")
    if len(page) > LIMIT:
        raise CapacityError("UPM-RN-044", f"the page of {folder} would have {len(page):,} bytes, above {LIMIT:,}. Set output.report = false and read the tables.")
    return bytes(page)


def _portfolios(days: Columns, summary: list[dict[str, str]], best: str, level: float) -> list[dict[str, Any]]:
    """What is drawn of each portfolio at one level: the plot under the best model, strips and a line of tests of all models."""
    at = days["level"] == level
    date = np.array(days["date"][at], dtype="datetime64[D]").astype(np.int64)
    portfolio, model, loss, margin = (days[c][at] for c in ("portfolio", "model", "loss", "margin"))
    rows = [r for r in summary if float(r["level"]) == level]
    count = {r["portfolio"]: int(r["number_of_exceptions"]) for r in rows if r["model"] == best}
    names = sorted(dict.fromkeys(r["portfolio"] for r in rows), key=lambda n: -count.get(n, 0))[:SHOWN]
    found = []
    for name in names:
        own = portfolio == name
        line = own & (model == best)
        models = [r["model"] for r in rows if r["portfolio"] == name]
        exceptions = {m: date[own & (model == m) & (loss > margin)] for m in models}
        found.append({"name": name, "rows": [r for r in rows if r["portfolio"] == name], "svg": exceedance_svg(date[line], loss[line], margin[line], exceptions), "best": best})
    return found


def share(value: str | float, digits: int = 2) -> str:
    """A fraction in percent; blank where there is none.

    >>> share("0.9912")
    '99.12 %'
    """
    return "" if value in ("", None) else f"{100.0 * float(value):.{digits}f} %"


def number(value: str | float, digits: int = 4) -> str:
    """A number to `digits` significant digits; blank where there is none."""
    return "" if value in ("", None) else f"{float(value):.{digits}g}"


def p_value(value: str | float) -> str:
    """A p-value to three decimals; blank where there is none."""
    return "" if value in ("", None) else "< 0.001" if float(value) < 0.001 else f"{float(value):.3f}"
