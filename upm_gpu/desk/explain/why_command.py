"""`upm why`: from the command line to the contributions of one account and back."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from upm_gpu.desk.explain.why import Part, Why, why
from upm_gpu.desk.opening import open_run
from upm_gpu.report.accounts import charge_title
from upm_gpu.report.explain import explain, printable

LONGEST = 25
"""positions on a page for a person; the JSON holds all"""
KINDS = {"log_level": "price", "volatility_shift": "volatility", "variance": "variance", "log_forward": "forward", "log_fx": "exchange rate"}


def why_command(path: Path, account: str, incremental: bool, by_factor: bool) -> tuple[dict[str, Any], str, str]:
    """(plain data, page for a person, one line about the work). Raises what `open_run` and `why` raise."""
    start = time.perf_counter()
    resident = open_run(path)
    opened = time.perf_counter()
    found = why(resident, account, incremental, by_factor)
    plan, told = resident.plan, explain(path, account)["told"]
    data = {"run": str(path), "currency": plan.market.reporting_currency, "scenarios": plan.scenarios.count, "valuation_time": plan.market.valuation_time.isoformat()} | plain(found) | {"told": told}
    said = f"{plan.scenarios.count:,} scenarios resident in {opened - start:.1f} s; {len(found.holdings)} holdings in {time.perf_counter() - opened:.2f} s"
    return data, "\n".join([render(found, plan.market.reporting_currency), "", *map(printable, told["sentences"])]), said


def plain(found: Why) -> dict[str, Any]:
    """Contributions as plain data for JSON."""
    return asdict(found)


def factor_title(name: str) -> str:
    """"BTC price" for `log_level[BTC]`; a state of an unknown kind keeps its name."""
    kind, bracket, asset = name.rstrip("]").partition("[")
    return f"{asset} {KINDS.get(kind, kind.replace('_', ' '))}" if bracket else name[:1].upper() + name[1:]


def render(found: Why, currency: str) -> str:
    """A page for a person: what each part adds, its error, its share; ASCII."""
    initial = float(found.margin["initial_margin"])
    lines = [f"Account {printable(found.account_id)}: initial margin {initial:,.2f} {currency}, and what it is made of", ""]
    charged = any(h.charges for h in found.holdings)
    lines += _table("Charge", found.charges, [charge_title(c.name) for c in found.charges], initial)
    lines += _table("Underlying", found.underlyings, [printable(u.name) for u in found.underlyings], initial)
    if found.factors:
        shown = [f for f in found.factors if f.core or f.core_standard_error]
        lines += _table("Factor (of the core)", shown, [factor_title(f.name) for f in shown], float(found.margin["core"]))
    ranked = sorted(found.holdings, key=lambda h: (-abs(h.margin), h.name))
    head = f"{'Position':<34}{'contribution':>16}{'+- s.e.':>12}{'share':>10}{'without it':>16}{'+- s.e.':>12}"
    lines += [head, "-" * len(head)]
    for h in ranked[:LONGEST]:
        name = printable(h.name) + (f" ({printable(h.netting_set)})" if h.netting_set else "")
        lines.append(_row(h, name, initial))
    if len(ranked) > LONGEST:
        rest = sum(h.margin for h in ranked[LONGEST:])
        lines.append(f"{f'{len(ranked) - LONGEST} more (in --json)':<34}{rest:>16,.2f}{'':>12}{_share(rest, initial)}")
    left = {k: v for k, v in found.residuals.items() if abs(v) > 1e-9 * max(abs(initial), 1.0)}
    for name, value in left.items():
        lines.append(f"{'in no position: ' + charge_title(name):<34}{value:>16,.2f}{'':>12}{_share(value, initial)}")
    lines += [f"{'Sum':<34}{initial:>16,.2f}", "", "contribution: for a little more of it, sums to the margin" + (" with what is in no position" if left else "") + "; without it: change if it is closed, stands still (of the core) or is not charged."]
    lines.append("s.e.: standard error of the core part, from the scenarios" + ("; charges have bounds of their own." if charged else "."))
    return "\n".join([*lines, *(printable(n) for n in found.notes)])


def _table(title: str, parts: Sequence[Part], names: list[str], total: float) -> list[str]:
    head = f"{title:<34}{'contribution':>16}{'+- s.e.':>12}{'share':>10}{'without it':>16}{'+- s.e.':>12}"
    return [head, "-" * len(head), *(_row(p, name, total) for p, name in zip(parts, names, strict=True)), ""]


def _row(part: Part, name: str, total: float) -> str:
    without = f"{0.0 - part.incremental:>+16,.2f}" if part.incremental is not None else f"{'':>16}"
    return f"{name[:33]:<34}{part.margin:>16,.2f}{_error(part.core_standard_error)}{_share(part.margin, total)}{without}{_error(part.incremental_standard_error)}".rstrip()


def _error(value: float | None) -> str:
    return f"{'':>12}" if value is None else f"{value:>12,.2f}"


def _share(value: float, total: float) -> str:
    return f"{100.0 * value / total:>8.1f} %" if total else f"{'':>10}"
