"""Why methodologies differ, in words and tables: for the terminal, the JSON and the files of `upm compare --out`.

Every sentence is arithmetic on the margins: no threshold but the number of things named.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from upm_gpu.compare import Comparison, Margined
from upm_gpu.report.explain import printable

NAMED = 3
"""charges, scenarios and accounts named in a sentence"""
SHOWN = 15
"""accounts of the terminal's table"""
PARAMETERS = 12
"""changed parameters named"""


def explanations(comparison: Comparison) -> dict[str, list[str]]:
    """Sentences about every methodology but the first, by title."""
    return {other.title: explain(comparison.base, other, comparison.currency) for other in comparison.margined[1:]}


def explain(base: Margined, other: Margined, currency: str) -> list[str]:
    """How and why `other` differs from `base`: size, charges, parameters, scenarios, accounts."""
    before, after = base.table["initial_margin"], other.table["initial_margin"]
    change = after - before
    total, was = float(after.sum()), float(before.sum())
    ratio = f", {total / was:.3g} times {base.title}" if was > 0.0 else ""
    said = [f"initial margin {total:,.0f} {currency}{ratio} ({change.sum():+,.0f}); {int((change > 0.0).sum()):,} accounts need more, {int((change < 0.0).sum()):,} less"]
    error = np.hypot(base.table["standard_error"], other.table["standard_error"])
    if (error > 0.0).any():
        close = int(((change.abs() <= 2.0 * error) & (error > 0.0)).sum())
        said.append(f"within two standard errors of the Monte Carlo figure: {close:,} accounts")
    if same_charges(base, other):
        moved = (other.charges - base.charges).sum()
        parts = [f"{name} {amount:+,.0f}{_share(amount, change.sum())}" for name, amount in _largest(moved) if amount != 0.0]
        said.append("by charge: " + (", ".join(parts) if parts else "no charge changes"))
        said += parameter_changes(base, other)
    else:
        said.append(f"made of {composition(other)}; {base.title} of {composition(base)}")
    said += _scenarios(base, other)
    charge = main_charges(base, other)
    for word, order in (("rise most", change.sort_values(ascending=False, kind="stable")), ("fall most", change.sort_values(kind="stable"))):
        named = [(unit, amount) for unit, amount in order.head(NAMED).items() if (amount > 0.0) == (word == "rise most") and amount != 0.0]
        if named:
            said.append(f"{word}: " + "; ".join(f"{printable(str(unit))} {amount:+,.0f} ({', '.join(filter(None, (str(charge[unit]), str(other.table.at[unit, 'worst_scenario']))))})"
                                                for unit, amount in named))
    return said + [printable(note) for note in other.notes]


def same_charges(base: Margined, other: Margined) -> bool:
    """Two versions of one methodology, whose charges can be put side by side."""
    return list(base.charges.columns) == list(other.charges.columns) and base.parameters.get("rule_book") == other.parameters.get("rule_book")


def main_charges(base: Margined, other: Margined) -> pd.Series:
    """What moved most in every account: the charge with the largest change, or the largest charge where the two have different ones."""
    amounts = other.charges - base.charges if same_charges(base, other) and other is not base else other.charges
    size = amounts.abs()
    return size.idxmax(axis=1).where(size.max(axis=1) > 0.0, "") if len(size.columns) else pd.Series("", index=size.index)


def composition(one: Margined) -> str:
    """Charges with their share of the total, largest first."""
    total = one.charges.sum()
    parts = [f"{name} {amount:,.0f}{_share(amount, total.sum())}" for name, amount in _largest(total) if amount > 0.0]
    return ", ".join(parts) or "nothing"


def parameter_changes(base: Margined, other: Margined) -> list[str]:
    """Changed parameters by dotted key."""
    keys = [k for k in dict.fromkeys([*base.parameters, *other.parameters]) if base.parameters.get(k) != other.parameters.get(k)]
    if not keys:
        return ["parameters: none changed"]
    named = [f"{k} {base.parameters.get(k, 'absent')} -> {other.parameters.get(k, 'absent')}" for k in keys[:PARAMETERS]]
    rest = f" and {len(keys) - PARAMETERS} more" if len(keys) > PARAMETERS else ""
    return [f"parameters: {', '.join(named)}{rest}"]


def _scenarios(base: Margined, other: Margined) -> list[str]:
    new, old = other.table["worst_scenario"], base.table["worst_scenario"]
    decided = new[new != ""]
    said = []
    if len(decided):
        counts = decided.value_counts()
        named = sorted(counts.items(), key=lambda c: (-int(c[1]), str(c[0])))[:NAMED]
        said.append("decided by: " + ", ".join(f"{name} in {count:,} accounts" for name, count in named) + (f"; {len(counts)} scenarios in all" if len(counts) > NAMED else ""))
    both = (new != "") & (old != "") & (new != old)
    if both.any():
        swaps = pd.Series([f"{b} instead of {a}" for a, b in zip(old[both], new[both], strict=True)]).value_counts()
        first = sorted(swaps.items(), key=lambda c: (-int(c[1]), str(c[0])))[0]
        said.append(f"another scenario decides in {int(both.sum()):,} accounts, most often {first[0]} ({first[1]:,})")
    return said


def _largest(amounts: pd.Series) -> list[tuple[str, float]]:
    return sorted(((str(k), float(v)) for k, v in amounts.items()), key=lambda c: (-abs(c[1]), c[0]))


def _share(amount: float, total: float) -> str:
    return f" ({100.0 * amount / total:.0f} %)" if total else ""


def margins_table(comparison: Comparison) -> pd.DataFrame:
    """One row a (unit, methodology): margins, standard error, deciding scenario, change against the first methodology."""
    base = comparison.base.table["initial_margin"]
    parts = [pd.DataFrame({"unit": m.table.index, "methodology": m.title, "initial_margin": m.table["initial_margin"].to_numpy(), "maintenance_margin": m.table["maintenance_margin"].to_numpy(),
                           "standard_error": m.table["standard_error"].to_numpy() if m.monte_carlo else np.nan, "worst_scenario": m.table["worst_scenario"].to_numpy(),
                           "initial_margin_change": (m.table["initial_margin"] - base).to_numpy(),
                           "main_charge": main_charges(comparison.base, m).to_numpy()}) for m in comparison.margined]
    return pd.concat(parts, ignore_index=True)


def charges_table(comparison: Comparison) -> pd.DataFrame:
    """One row a (unit, methodology, charge)."""
    parts = []
    for m in comparison.margined:
        long = m.charges.stack()
        parts.append(pd.DataFrame({"unit": long.index.get_level_values(0), "methodology": m.title, "charge": long.index.get_level_values(1), "amount": long.to_numpy()}))
    return pd.concat(parts, ignore_index=True)


def summary(comparison: Comparison) -> dict[str, Any]:
    """Totals and explanations, as JSON."""
    said = explanations(comparison)
    return {"currency": comparison.currency, "valuation_time": comparison.valuation_time, "backend": comparison.backend, "units": len(comparison.base.table),
            "methodologies": [{"title": m.title, "file": m.file, "monte_carlo": m.monte_carlo, "initial_margin": float(m.table["initial_margin"].sum()),
                               "maintenance_margin": float(m.table["maintenance_margin"].sum()), "charges": {str(k): float(v) for k, v in m.charges.sum().items()},
                               "explanation": said.get(m.title, list(m.notes))} for m in comparison.margined]}


def lines(comparison: Comparison) -> list[str]:
    """The terminal's page: totals, explanations, the accounts that differ most."""
    done, width = comparison.margined, max(len(m.title) for m in comparison.margined)
    page = [f"{len(comparison.base.table):,} accounts at {comparison.valuation_time}, {comparison.currency}, on {comparison.backend}", "",
            f"{'methodology':<{width}}  {'initial':>16}  {'maintenance':>16}  charges"]
    page += [f"{m.title:<{width}}  {m.table['initial_margin'].sum():>16,.0f}  {m.table['maintenance_margin'].sum():>16,.0f}  {composition(m)}" for m in done]
    if len(done) == 1:
        page += [f"  {printable(note)}" for note in done[0].notes]
    for title, said in explanations(comparison).items():
        page += ["", f"{title} against {comparison.base.title}", *(f"  {s}" for s in said)]
    wide = pd.DataFrame({m.title: m.table["initial_margin"] for m in done})
    size = wide.max(axis=1) - (wide.min(axis=1) if len(done) > 1 else 0.0)
    spread = size.sort_values(ascending=False, kind="stable")
    units = [str(u) for u in spread.head(SHOWN).index]
    names = [printable(u) for u in units]
    column = max([len(n) for n in names] + [7])
    page += ["", f"initial margin of the {len(units)} accounts that {'differ' if len(done) > 1 else 'need'} most, worst scenario of {done[-1].title}",
             f"{'account':<{column}}" + "".join(f"  {m.title:>{max(len(m.title), 14)}}" for m in done)]
    for unit, name in zip(units, names, strict=True):
        page.append(f"{name:<{column}}" + "".join(f"  {wide.at[unit, m.title]:>{max(len(m.title), 14)},.0f}" for m in done) + f"  {done[-1].table.at[unit, 'worst_scenario']}")
    return page
