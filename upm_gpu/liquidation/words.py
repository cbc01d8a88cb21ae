"""The systemic table for a person: what came, who fell, what it cost and who bore it; ASCII."""

from __future__ import annotations

from typing import Any

from upm_gpu.liquidation.systemic import Simulation, summary
from upm_gpu.report.explain import printable

LINES = (("accounts_in_liquidation", "accounts in liquidation"), ("before_the_scenario", "  of them before the scenario"), ("accounts_lost", "accounts lost (owe more than they had)"), ("depth", "depth of the cascade, generations"),
         ("rounds", "rounds"), ("margin_calls", "margin calls as the scenario comes"), ("call_amount", "  amount called"), ("closing_cost", "cost of closing"),
         ("open_risk_after_first_round", "risk still open after the first round"), ("loss_beyond_margin", "loss beyond margin"), ("fund_used", "  borne by funds and others"), ("uncovered", "  borne by nobody"))
SHOWN = 10
"""accounts of the table of losses"""


def layer_title(layer: str) -> str:
    """A layer of the waterfall in words."""
    return {"own_capital": "the house's own capital", "insurance_fund": "insurance fund", "auto_deleveraging": "auto-deleveraging", "socialised_loss": "gains of others (socialised)",
            "defaulter_contribution": "contributions of the defaulters", "survivor_contributions": "contributions of survivors", "uncovered": "nobody"}.get(layer, layer)


def render(made: Simulation, currency: str) -> str:
    """Lines of a simulation."""
    table = {name: summary(c) for name, c in made.cascades.items()}
    wide = max(16, *(len(n) + 2 for n in table))
    lines = [f"{printable(made.scenario)}, {currency}; rules {printable(made.parameters.name)} {printable(made.parameters.version)}", f"{'':<44}" + "".join(f"{n:>{wide}}" for n in table)]
    for key, label in LINES:
        lines.append(f"{label:<44}" + "".join(f"{_number(t[key]):>{wide}}" for t in table.values()))
    for layer in dict.fromkeys(k for t in table.values() for k in t["borne"]):
        if layer != "uncovered":
            lines.append(f"    {layer_title(layer):<40}" + "".join(f"{_number(t['borne'].get(layer, 0.0)):>{wide}}" for t in table.values()))
    for asset in next(iter(table.values()))["price_moved"]:
        lines.append(f"{f'{printable(asset)} moved by liquidations, in the end':<44}" + "".join(f"{100.0 * t['price_moved'][asset]:>+{wide - 2}.2f} %" for t in table.values()))
    first = next(iter(made.cascades.values()))
    lost = sorted((d for d in first.defaults if d.loss > 0.0), key=lambda d: (-d.loss, d.party))
    if lost:
        lines += ["", f"largest losses, {next(iter(table))}:", f"{'account':<16}{'generation':>11}{'equity':>16}{'closing cost':>14}{'loss':>16}{'bankrupt at':>13}  how"]
        lines += [f"{printable(d.party)[:15]:<16}{d.generation:>11}{d.equity:>16,.2f}{d.cost:>14,.2f}{d.loss:>16,.2f}{_move(d.bankruptcy_move):>13}  {d.how}" for d in lost[:SHOWN]]
    unsettled = [n for n, t in table.items() if not t["settled"]]
    if unsettled:
        lines.append(f"UPM-RN-095 not settled within {made.parameters.pace.rounds} rounds: {', '.join(unsettled)}. Raise pace.rounds or pace.share in the rules.")
    lines += said_of(made.margins)
    kept = "to the cent and the lot" if all(t["conserved"] for t in table.values()) else "NOT KEPT"
    return "\n".join([*lines, f"cash and positions conserved: {kept}"])


def render_tail(found: dict[str, Any], currency: str) -> str:
    """Lines of a walk along the tail."""
    names = list(found["means"])
    cells = [_mean(figure) for n in names for figure in found["means"][n].values()]
    wide = 2 + max(len(text) for text in (*cells, *names))
    lines = [f"the {found['paths']} worst scenarios of the house, {currency}: mean (standard error; worst)", f"{'':<40}" + "".join(f"{n:>{wide}}" for n in names)]
    for key, label in LINES:
        if key in found["means"][names[0]]:
            lines.append(f"{label:<40}" + "".join(f"{_mean(found['means'][n][key]):>{wide}}" for n in names))
    return "\n".join([*lines, *said_of(found["margins"]), f"cash and positions conserved: {'to the cent and the lot' if found['conserved'] else 'NOT KEPT'}"])


def said_of(margins: dict[str, Any]) -> list[str]:
    """How depth and margins were measured, and what was not computed again."""
    return [f"depth: {printable(margins['depth'])}", f"charges: {printable(margins['charges'])}", *(f"  as before: {text}" for text in margins["not_recomputed"].values())]


def _mean(figure: dict[str, Any]) -> str:
    error = "none" if figure["standard_error"] is None else f"{figure['standard_error']:,.1f}"
    return f"{figure['mean']:,.1f} ({error}; {figure['worst']:,.0f})"


def _number(value: float | int) -> str:
    return f"{value:,.2f}" if isinstance(value, float) else f"{value:,}"


def _move(value: float | None) -> str:
    return "none" if value is None else f"{100.0 * value:+.1f} %"
