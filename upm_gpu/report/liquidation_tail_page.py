"""`liquidation.html` of a walk along the tail: means over the worst scenarios of the house with and without sequencing, each with its standard error, and every path.

One file without script, from the folder alone; same folder, same bytes. Verified by tests/end_to_end/test_liquidation_command.py.
"""

from __future__ import annotations

from pathlib import Path

from upm_gpu.errors import UsageError
from upm_gpu.report.liquidation_chart import rounds_svg, waterfall_svg
from upm_gpu.report.liquidation_page import SHOWN, TITLES, filled
from upm_gpu.report.read import read_json, read_rows


def render_tail_page(folder: Path) -> bytes:
    """The page of a folder. Raises UsageError where it is no walk along a tail or jinja2 is not installed, CapacityError for a page too large."""
    manifest, tail, paths = read_json(folder / "manifest.json"), read_json(folder / "tail.json"), read_rows(folder / "paths.csv")
    if manifest is None or tail is None or paths is None:
        raise UsageError("UPM-RN-045", f"{folder} is no walk of liquidations along a tail: a table is missing. Simulate again.")
    variants = [str(v) for v in manifest["variants"]]

    def series(column: str) -> dict[str, list[float]]:
        return {v: [float(p[column]) for p in paths if p["variant"] == v] for v in variants}

    borne = {v: {k: float(x["mean"]) for k, x in tail["borne"][v].items()} for v in variants}
    charts = [("Who bears what margins do not cover", "Mean over the paths, by layer of the waterfall.", waterfall_svg(borne, TITLES))]
    charts += [(title, note, rounds_svg(series(column), f"{title} by path", axis="path", first=1)) for column, title, note in (
        ("accounts_lost", "Accounts lost", "Along each path, the worst for the house first."), ("loss_beyond_margin", "Loss beyond margin", "What accounts owe more than they had, before the waterfall."),
        ("closing_cost", "Cost of closing", "Spreads and impact that liquidated accounts paid."), ("depth", "Depth", "Generations: 1 where nobody falls through the trades of others."))]
    worst = [p for p in paths if p["variant"] == variants[0]]
    by_path = {(p["scenario"], p["variant"]): p for p in paths}
    return filled("liquidation_tail.html.j2", folder, charts, manifest=manifest, tail=tail, variants=variants, first=variants[0], titles=TITLES, shown=worst[:SHOWN], hidden=max(0, len(worst) - SHOWN), by_path=by_path)
