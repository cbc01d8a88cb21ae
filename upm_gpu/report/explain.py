"""One account in full: charges, worst scenarios with their factor moves, contribution of every position, Greeks."""

from __future__ import annotations

import difflib
import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from upm_gpu.errors import InputError
from upm_gpu.report.accounts import charge_title, core_margin
from upm_gpu.report.build import currency
from upm_gpu.report.figures import margin_measure
from upm_gpu.report.read import Columns, length, read_table, where
from upm_gpu.report.told import told
from upm_gpu.report.words import factor_moves, full, is_state, margin_period
from upm_gpu.run.verify import read_manifest

if TYPE_CHECKING:
    from rich.console import Console

NARROW = 60
"""below this many columns lists take the place of wide tables, so that no number is broken"""


def explain(run_path: Path | str, account_id: str) -> dict:
    """Everything the run folder knows of one account, as plain data (floats unrounded, None where undefined).

    Raises `InputError` for an unknown account, with the nearest ids, and for a folder that is no run of a known format.
    """
    run_path = Path(run_path)
    manifest = read_manifest(run_path)
    margin = read_table(run_path / "margin.parquet")
    if margin is None:
        raise InputError("UPM-RN-047", f"{run_path / 'margin.parquet'} is missing: no account can be explained. Run the margin again.")
    row = where(margin, account_id=account_id)
    if row is None:
        raise InputError("UPM-RN-048", f"account {printable(account_id)!r} is not in {run_path}. {_nearest(account_id, margin)}")
    tails = read_table(run_path / "report" / "tails.parquet")
    level, days = margin_measure(manifest, margin, tails)
    worst = where(read_table(run_path / "worst_scenarios.parquet"), account_id=account_id)
    greeks = where(read_table(run_path / "greeks.parquet"), account_id=account_id)
    figures = {name: _plain(values[0]) for name, values in row.items() if not name.startswith("charge_")}
    charges = {name: _plain(values[0]) for name, values in row.items() if name.startswith("charge_") and name != "charge_core"}
    return figures | {
        "currency": currency(manifest),
        "level": level,
        "core_measure": manifest.get("core_measure", "expected_shortfall"),
        "horizon_days": days,
        "period": None if days is None else margin_period(manifest, days),
        "core": _plain(core_margin(row)[0]),
        "charges": charges,
        "worst_scenarios": _worst(worst, manifest),
        "told": told(worst, manifest, None if greeks is None or "underlying" not in greeks else set(greeks["underlying"]), minus="-"),
        "contributions": _contributions(where(read_table(run_path / "contributions.parquet"), account_id=account_id)),
        "greeks": _rows(greeks),
        "tails": _rows(where(tails, account_id=account_id)),
    }


def render_explain(explanation: dict, console: Console | None = None) -> None:
    """Print an explanation for a person; control characters in ids are made visible, markup in them is inert."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = console or Console()
    unit = explanation["currency"]

    def text(value: object, style: str = "", lines: bool = False) -> Text:
        shown = "\n".join(map(printable, str(value).split("\n"))) if lines else printable(str(value))
        return Text(shown, style=style, overflow="fold")

    def money(value: float | None) -> Text:
        number = math.nan if value is None else float(value)
        return Text(full(number, 2, minus="-"), style="red" if number < 0 else "")

    def table(title: str, heads: list[str], right: set[str]) -> Table:
        grid = Table(title=Text(title, style="bold"), title_justify="left", box=box.SIMPLE_HEAD)
        for head in heads:
            grid.add_column(head, justify="right" if head in right else "left", overflow="fold", no_wrap=head in right)
        return grid

    style = {"ok": "green", "call": "yellow", "liquidation": "red"}.get(str(explanation["status"]), "")
    console.print(Text.assemble(("Account ", "bold"), text(explanation["account_id"], "bold"), "  ", text(explanation["status"], style)))
    measure = ""
    if explanation["level"] is not None and explanation["horizon_days"] is not None:
        measure = f" ({'VaR' if explanation.get('core_measure') == 'value_at_risk' else 'ES'} {100 * explanation['level']:g} % over {explanation['period']})"
    figures = table(f"Margin, {unit}", ["", unit], {unit})
    figures.add_row("Core" + measure, money(explanation["core"]))
    for name, amount in explanation["charges"].items():
        figures.add_row(text(charge_title(name)), money(amount))
    for name, title in (("initial_margin", "Initial margin"), ("maintenance_margin", "Maintenance margin"), ("expected_shortfall", "Expected shortfall"),
                        ("expected_shortfall_standard_error", "  standard error"), ("value_at_risk", "Value at risk"),
                        ("collateral_market_value", "Collateral at market"), ("collateral_haircut", "  haircuts and limits"), ("liabilities", "  liabilities"),
                        ("collateral_value", "Collateral counted"), ("equity", "Equity"), ("excess", "Excess over initial margin")):
        if name in explanation:
            figures.add_row(title, money(explanation[name]))
    if explanation.get("variance_ratio") is not None:
        figures.add_row("Variance ratio against plain scenarios", text(f"{explanation['variance_ratio']:.1f}"))
    console.print(figures)
    narrow = console.width < NARROW
    for sentence in explanation["told"]["sentences"]:
        console.print(text(sentence))
    if explanation["worst_scenarios"] and narrow:
        console.print(Text("Worst scenarios", style="bold"))
        for line in explanation["worst_scenarios"]:
            console.print(Text.assemble(f"  {line['rank']:>2} ", money(line["pnl"]), f"  scenario {line['scenario']}"))
            for moves in line["moves"].split("; "):
                console.print(Text("     ").append(text(moves)))
        console.print()
    elif explanation["worst_scenarios"]:
        worst = table("Worst scenarios", ["Rank", "Scenario", "P&L", "Moves"], {"Rank", "Scenario", "P&L"})
        for line in explanation["worst_scenarios"]:
            weight = f"\nweight {line['weight']:.2g}" if line.get("weight") is not None else ""
            worst.add_row(text(line["rank"]), text(f"{line['scenario']}{weight}", lines=True), money(line["pnl"]), text(line["moves"].replace("; ", "\n"), lines=True))
        console.print(worst)
    if explanation["contributions"]:
        positions = table("Contribution of every position to expected shortfall", ["Position", unit, "Share"], {unit, "Share"})
        total = math.fsum(line["contribution"] or 0.0 for line in explanation["contributions"])
        for line in explanation["contributions"]:
            share = f"{100 * line['contribution'] / total:.1f} %" if total and line["contribution"] is not None else ""
            positions.add_row(text(line["instrument_id"]), money(line["contribution"]), share)
        positions.add_row("Sum", money(total), "")
        console.print(positions)
    if explanation["greeks"] and narrow:
        console.print(Text("Greeks", style="bold"))
        for line in explanation["greeks"]:
            console.print(Text("  ").append(text(line["instrument_id"])))
            for name, value in line.items():
                if name not in ("underlying", "instrument_id"):
                    console.print(f"    {name:<9}{'' if value is None else format(value, ',.4g'):>12}")
    elif explanation["greeks"]:
        heads = list(explanation["greeks"][0])
        greeks = table("Greeks", heads, {name for name in heads if name not in ("underlying", "instrument_id")})
        for line in explanation["greeks"]:
            greeks.add_row(*(f"{value:,.4g}" if isinstance(value, float) else text("" if value is None else value) for value in line.values()))
        console.print(greeks)


def printable(text: str) -> str:
    """Text without control characters, so that an id cannot drive a terminal."""
    return "".join(letter if letter.isprintable() else f"\\x{ord(letter):02x}" for letter in text)


def _nearest(account_id: str, margin: Columns) -> str:
    ids = [str(value) for value in margin["account_id"]]
    near = difflib.get_close_matches(account_id, ids, n=3, cutoff=0.5)
    if near:
        return "Nearest: " + ", ".join(printable(value) for value in near) + "."
    return f"The run has {len(ids)} accounts; they are listed in margin.csv."


def _worst(rows: Columns | None, manifest: dict) -> list[dict]:
    if rows is None:
        return []
    states = [name for name in rows if is_state(name)]
    additive = manifest.get("volatility_shift") == "additive"
    found = []
    for index in np.argsort(rows["rank"], kind="stable"):
        moves = {name: float(rows[name][index]) for name in states}
        found.append({"rank": int(rows["rank"][index]), "scenario": int(rows["scenario"][index]), "pnl": _plain(rows["pnl"][index]),
                      **({"weight": _plain(rows["weight"][index])} if "weight" in rows else {}), "moves": factor_moves(moves, minus="-", additive_volatility=additive), "states": {k: _plain(v) for k, v in moves.items()}})
    return found


def _contributions(rows: Columns | None) -> list[dict]:
    if rows is None:
        return []
    lines = [{"instrument_id": str(name), "contribution": _plain(value)}
             for name, value in zip(rows["instrument_id"], rows["contribution"], strict=True)]
    return sorted(lines, key=lambda line: (-(line["contribution"] or 0.0), line["instrument_id"]))


def _rows(rows: Columns | None) -> list[dict]:
    if rows is None:
        return []
    return [{name: _plain(values[index]) for name, values in rows.items() if name != "account_id"} for index in range(length(rows))]


def _plain(value: object) -> object:
    """A NumPy scalar as plain JSON data; NaN and infinities are None."""
    value = value.item() if isinstance(value, np.generic) else value
    return None if isinstance(value, float) and not math.isfinite(value) else value
