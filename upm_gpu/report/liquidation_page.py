"""`liquidation.html`: the systemic table, the cascade round by round, who bore the loss, and the accounts that fell, from the folder of a simulation alone.

One file without script: charts are SVG, the policy allows the one style by its hash and nothing else. Same folder, same bytes. Verified by tests/end_to_end/test_liquidation_command.py.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from upm_gpu.errors import CapacityError, UsageError
from upm_gpu.report.calibration_page import page_parts
from upm_gpu.report.liquidation_chart import rounds_svg, short, waterfall_svg
from upm_gpu.report.read import read_json, read_rows

LIMIT = 9_500_000
"""bytes, as of the run report"""
SHOWN = 60
"""accounts listed at most, the largest losses first; all are in defaults.csv"""
STEPS = 40
"""steps of one account shown"""
TITLES = {"own_capital": "own capital of the house", "insurance_fund": "insurance fund", "auto_deleveraging": "auto-deleveraging", "socialised_loss": "gains of others (socialised)", "assessments": "assessments",
          "defaulter_contribution": "contributions of defaulters", "survivor_contributions": "contributions of survivors", "uncovered": "nobody"}


def render_liquidation(folder: Path) -> bytes:
    """The page of a folder. Raises UsageError where it is no simulation or jinja2 is not installed, CapacityError for a page beyond LIMIT."""
    manifest, table = read_json(folder / "manifest.json"), read_json(folder / "systemic.json")
    rounds, defaults, steps = (read_rows(folder / f"{n}.csv") for n in ("rounds", "defaults", "steps"))
    if manifest is None or table is None or rounds is None or defaults is None or steps is None:
        raise UsageError("UPM-RN-045", f"{folder} is no simulation of liquidations: a table is missing. Simulate again.")
    variants = [str(v) for v in manifest["variants"]]
    first = variants[0]
    own = [d for d in defaults if d["variant"] == first]
    lost = sorted(own, key=lambda d: (-float(d["loss"]), -float(d["cost"]), d["party"]))
    worst = lost[0]["party"] if lost else ""
    return filled("liquidation.html.j2", folder, manifest=manifest, table=table, variants=variants, first=first, titles=TITLES, layers=list(dict.fromkeys(k for t in table.values() for k in t["borne"])),
                  charts=_charts(rounds, table, variants), lost=lost[:SHOWN], hidden=max(0, len(lost) - SHOWN), worst=worst,
                  worst_steps=[s for s in steps if s["variant"] == first and s["party"] == worst][:STEPS])


def filled(template: str, folder: Path, charts: list[tuple[str, str, str]], **values: Any) -> bytes:
    """A page of this room: a template with its style, charts (title, note, SVG) and values. Raises as `render_liquidation` does."""
    environment, context = page_parts(template, "the page", "leave --out away")
    environment.trim_blocks = environment.lstrip_blocks = True
    environment.filters |= {"money": lambda v: f"{float(v):,.0f}", "short": lambda v: short(float(v)), "share": lambda v: "" if v in ("", None) else f"{100.0 * float(v):+.2f} %"}
    markup = context["markup"]
    page = environment.from_string(context.pop("source")).render(**{**context, **values}, charts=[(title, note, markup(svg)) for title, note, svg in charts]).encode("utf-8", errors="xmlcharrefreplace")
    if len(page) > LIMIT:
        raise CapacityError("UPM-RN-044", f"the page of {folder} would have {len(page):,} bytes, above {LIMIT:,}. Read the tables.")
    return bytes(page)


def _charts(rounds: list[dict[str, str]], table: dict[str, Any], variants: list[str]) -> list[tuple[str, str, str]]:
    """(title, note, SVG) of the page."""
    def series(column: str) -> dict[str, list[float]]:
        return {v: [float(r[column]) for r in rounds if r["variant"] == v] for v in variants}

    assets = list(table[variants[0]]["price_moved"])
    found = [("Who bears what margins do not cover", "The loss of accounts that owe more than they had, by layer of the waterfall.", waterfall_svg({v: table[v]["borne"] for v in variants}, TITLES)),
             ("Accounts in liquidation", "At the beginning of each round's trades.", rounds_svg(series("liquidating"), "accounts in liquidation by round")),
             ("Risk still open", "Initial margin that the books still in liquidation would need after the round's trades: what the next move can cost.", rounds_svg(series("open_risk"), "open risk by round"))]
    moved = sorted(assets, key=lambda a: -max(abs(float(r[f"price_move_{a}"])) for r in rounds))[:2]
    return found + [(f"{a}: moved by liquidations", "On top of the scenario, when each round begins: the permanent part of the impact.", rounds_svg(series(f"price_move_{a}"), f"{a} price by round", percent=True)) for a in moved]
