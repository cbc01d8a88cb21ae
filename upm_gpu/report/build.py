"""Building `report.html`: figures from the run folder, one template, style and scripts inlined.

Safety: the template escapes every text; the embedded JSON has no "<"; scripts build nodes with textContent only; the
policy in the head allows exactly the inlined scripts and style, by their SHA-256, and no network. Same run folder, same bytes.
"""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path

from upm_gpu.errors import CapacityError, UsageError
from upm_gpu.report import accounts, comparisons, figures, quality, words
from upm_gpu.report.read import Columns, length, read_json, read_rows, read_table, select
from upm_gpu.run.verify import read_manifest

LIMIT = 9_500_000
"""bytes a report may have: mail gateways and browsers take 10 MB without complaint"""
ROWS = 5_000
"""accounts in the searchable table at most; the rest is in margin.csv"""
SCRIPTS = ("charts.js", "table.js", "report.js")


def render_report(run_path: Path | str) -> bytes:
    """The page of a run folder that is complete but for the page itself.

    Raises `UsageError` for a folder that is no run and where jinja2 is not installed, `InputError` for an unknown format,
    `IntegrityError` for a file that is missing or cannot be read.
    """
    run_path = Path(run_path)
    manifest = read_manifest(run_path)
    rows = ROWS
    page = _page(run_path, manifest, rows)
    while len(page) > LIMIT and rows > 0:
        rows //= 2
        page = _page(run_path, manifest, rows)
    if len(page) > LIMIT:
        raise CapacityError("UPM-RN-044", f"the report of {run_path} would have {len(page):,} bytes, above {LIMIT:,}. Read the tables in the run folder instead.")
    return page


def report_data(run_path: Path, manifest: dict, rows: int) -> tuple[dict, dict]:
    """(what the scripts draw, what the template prints) of a run folder."""
    margin = read_table(run_path / "margin.parquet")
    if margin is None:
        raise UsageError("UPM-RN-045", f"{run_path / 'margin.parquet'} is missing: there is nothing to report. Run the margin again.")
    folder = run_path / "report"
    histograms, tails = read_table(folder / "histograms.parquet"), read_table(folder / "tails.parquet")
    contributions, worst = read_table(run_path / "contributions.parquet"), read_table(run_path / "worst_scenarios.parquet")
    house_worst = read_table(folder / "house_worst_scenarios.parquet")
    heatmap, greeks = read_table(folder / "heatmap.parquet"), read_table(run_path / "greeks.parquet")
    table_of_greeks = greeks if greeks and "underlying" in greeks else None
    additive = manifest.get("volatility_shift") == "additive"
    decimals = accounts.money_decimals(margin)
    total = accounts.totals(margin, manifest)
    shown = accounts.detail_accounts(margin, histograms)
    level, days = figures.margin_measure(manifest, margin, tails)

    def view(account_id: str, rows_of: Columns, found: dict[str, float]) -> dict:
        return {
            "id": account_id,
            "waterfall": figures.waterfall(rows_of, decimals, str(manifest.get("core_measure", "expected_shortfall"))),
            "contributors": figures.contributors(found, decimals) if found else None,
            "greeks": figures.greeks(table_of_greeks, account_id),
            "distributions": figures.distributions(histograms, tails, account_id, decimals),
            "worst": figures.worst_scenarios(worst if account_id else house_worst, account_id, decimals, additive=additive),
            "told": figures.told_worst(worst if account_id else house_worst, table_of_greeks, account_id, manifest),
            "heat": figures.heat_maps(heatmap, account_id, decimals),
        }

    views = [view("", margin, figures.house_contributions(contributions) if contributions else {})] if length(margin) else []
    for account in shown:
        found = figures.account_contributions(contributions, account) if contributions else {}
        views.append(view(account, select(margin, account_id=account), found))
    quality_json = read_json(folder / "quality.json") or {}
    rejects = read_rows(run_path / "rejects.csv")
    came = comparisons.realised(read_table(folder / "realised.parquet"), margin, rows, level, decimals)
    data = {
        "currency": currency(manifest),
        "decimals": decimals,
        "level": level,
        "days": days,
        "accounts": accounts.account_table(margin, rows, decimals),
        "views": views,
        "stress": comparisons.stress(read_table(folder / "stress.parquet"), margin, shown, decimals),
        "realised": came,
    }
    return data, _printed(manifest, total, level, days, quality_json, rejects, came, views)


def currency(manifest: dict) -> str:
    """The reporting currency."""
    found = manifest.get("reporting_currency") or "USD"
    return str(found)


def _printed(manifest: dict, total: accounts.Totals, level: float | None, days: float | None, found: dict,
             rejects: list[dict[str, str]] | None, came: dict | None, views: list[dict]) -> dict:
    """What the template prints itself: verdict, warnings, tables of the data quality, reproducibility."""
    first, rest = quality.reproduction(manifest)
    age = found.get("age_minutes", manifest.get("age_minutes"))
    counts = manifest.get("counts")
    count = len(rejects) if rejects is not None else int(counts.get("rejects", 0)) if isinstance(counts, dict) else 0
    return {
        "total": total,
        "currency": currency(manifest),
        "measure": f"{'VaR' if manifest.get('core_measure') == 'value_at_risk' else 'ES'} {100.0 * level:g} % over {words.margin_period(manifest, days)}" if level is not None and days is not None else "expected shortfall",
        "scenarios": manifest.get("scenarios") if isinstance(manifest.get("scenarios"), int) else None,
        "valuation_time": words.moment(str(manifest.get("valuation_time", ""))),
        "device": str(manifest.get("device", "")),
        "seconds": _seconds(manifest),
        "rejects": count,
        "age": None if not isinstance(age, int | float) else words.duration(float(age)),
        "warnings": [str(text) for text in found.get("warnings", manifest.get("warnings", []) or [])],
        "tables": quality.quality_tables({k: manifest.get(k) for k in ("value_tables", "charges")} | found, rejects),
        "first": first,
        "rest": rest,
        "realised": came,
        "has_detail": len(views) > 1,
    }


def _seconds(manifest: dict) -> float | None:
    timings = manifest.get("timings")
    value = timings.get("engine") if isinstance(timings, dict) else None
    return float(value) if isinstance(value, int | float) else None


def _page(run_path: Path, manifest: dict, rows: int) -> bytes:
    try:
        import jinja2
    except ImportError:
        raise UsageError("UPM-CF-040", "the report needs jinja2, which is not installed. Install it with `pip install 'upm-gpu[report]'` and run `upm report` on the folder.") from None

    data, printed = report_data(run_path, manifest, rows)
    folder = Path(__file__).parent
    style = folder.joinpath("report.css").read_text(encoding="utf-8")
    script = "\n".join(folder.joinpath(name).read_text(encoding="utf-8") for name in SCRIPTS)
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"short": words.short, "full": words.full, "exact": quality.exact}
    template = environment.from_string(folder.joinpath("report.html.j2").read_text(encoding="utf-8"))
    policy = (f"default-src 'none'; script-src 'sha256-{_digest(script)}'; style-src 'sha256-{_digest(style)}'; "
              "base-uri 'none'; form-action 'none'")
    return template.render(
        **printed, policy=policy, style=jinja2.utils.markupsafe.Markup(style), script=jinja2.utils.markupsafe.Markup(script),
        data=jinja2.utils.markupsafe.Markup(inline_json(data)),
    ).encode("utf-8", errors="xmlcharrefreplace")


def inline_json(data: object) -> str:
    """JSON for a script element: no "<", ">" or "&" in it, so no text can end the element or open a comment; ASCII only; no NaN."""
    text = json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")
