"""A what-if for a person, and what a command reads: orders, deposits, a file of trade sets."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from upm_gpu.desk.change import Change, Deposit, Order, Transfer
from upm_gpu.desk.whatif import Answer
from upm_gpu.errors import InputError, UsageError

COLUMNS = ("account_id", "kind", "name", "quantity", "set", "netting_set", "to_account")
REQUIRED = COLUMNS[:4]


def parse_pair(text: str, option: str, what: str) -> tuple[str, float]:
    """(name, quantity) of NAME:QTY; UsageError where it is neither. The last colon parts the two: ids may hold colons."""
    name, colon, number = text.rpartition(":")
    try:
        quantity = float(number)
    except ValueError:
        quantity = math.nan
    if not colon or not name or not math.isfinite(quantity):
        raise UsageError("UPM-CF-160", f"{option} {text!a}: is not {what}:QTY with a plain number. Write for example {option} {'BTC-27FEB26-70000-C:-5' if what == 'INSTRUMENT' else 'USD:10000'}.")
    return name, quantity


def given(account: str, orders: Sequence[str], deposits: Sequence[str], netting_set: str) -> list[Change]:
    """The one trade set of a command line."""
    return [*(Order(account, *parse_pair(o, "--order", "INSTRUMENT"), netting_set) for o in orders), *(Deposit(account, *parse_pair(d, "--deposit", "ASSET")) for d in deposits)]


def read_changes(path: Path) -> dict[str, list[Change]]:
    """Trade sets by name of a CSV: `account_id, kind (order, deposit, transfer), name, quantity`, and `set, netting_set, to_account` where they are needed. Rows of one `set` are one trade set;
    a blank one is a set of its own, named by its line. Raises InputError with the line."""
    import csv

    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.reader(file))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError("UPM-IN-150", f"{path}: cannot be read as a CSV of trade sets ({error}). Give a UTF-8 text file.") from None
    head = [h.strip() for h in rows[0]] if rows else []
    lacking, unknown = [c for c in REQUIRED if c not in head], [h for h in head if h not in COLUMNS]
    if lacking or unknown:
        raise InputError("UPM-IN-150", f"{path.name} line 1: {f'lacks column {lacking[0]}' if lacking else f'has a column {unknown[0]!a} that no trade set knows'}. Columns are {', '.join(COLUMNS)}.")
    found: dict[str, list[Change]] = {}
    for line, cells in enumerate(rows[1:], 2):
        if not any(c.strip() for c in cells):
            continue
        if len(cells) != len(head):
            raise InputError("UPM-IN-150", f"{path.name} line {line}: {len(cells)} cells, the trade sets' header has {len(head)}. Mend the row.")
        row = dict.fromkeys(COLUMNS, "") | {h: c.strip() for h, c in zip(head, cells, strict=True)}
        found.setdefault(row["set"] or f"line {line}", []).append(_change(row, f"{path.name} line {line}"))
    if not found:
        raise InputError("UPM-IN-150", f"{path.name}: no row, so no trade set. Give at least one.")
    return found


def _change(row: dict[str, str], where: str) -> Change:
    try:
        quantity = float(row["quantity"])
    except ValueError:
        quantity = math.nan
    if not math.isfinite(quantity):
        raise InputError("UPM-IN-150", f"{where} column quantity: {row['quantity']!a} is not a plain number of a trade set. Use 1000 or -2.5.")
    account, name = row["account_id"], row["name"]
    if row["kind"] == "order":
        return Order(account, name, quantity, row["netting_set"])
    if row["kind"] == "deposit":
        return Deposit(account, name, quantity)
    if row["kind"] == "transfer":
        return Transfer(account, row["to_account"], name, quantity, row["netting_set"])
    raise InputError("UPM-IN-150", f"{where} column kind: {row['kind']!a} is no kind of a trade set. Use order, deposit or transfer.")


def instruments_of(sets: Sequence[Sequence[Change]]) -> set[str]:
    """Instruments that orders name."""
    return {c.instrument_id for changes in sets for c in changes if isinstance(c, Order)}


def plain(answer: Answer) -> dict[str, Any]:
    """An answer as plain data for JSON."""
    return asdict(answer) | {"notes": list(answer.notes)}


def render(answer: Answer, currency: str, title: str = "") -> list[str]:
    """Lines for a person: every amount before, after and by how much; ASCII."""
    from upm_gpu.report.accounts import charge_title
    from upm_gpu.report.explain import printable

    names = {"initial_margin": "Initial margin", "maintenance_margin": "Maintenance margin", "core": "  Core", "collateral_value": "Collateral", "unrealised_pnl": "Unrealised P&L",
             "option_value": "Option value", "equity": "Equity", "excess": "Excess"}
    charges = {k: f"  {charge_title(k.removeprefix('charge_'))}" for k in answer.after if k.startswith("charge_") and (answer.before[k] or answer.after[k])}
    shown = {k: names[k] for k in ("initial_margin", "core")} | charges | {k: names[k] for k in names if k not in ("initial_margin", "core")}
    lines = [f"{title}Account {printable(answer.account_id)}, {currency}", f"{'':<28}{'before':>18}{'after':>18}{'difference':>18}"]
    for key, label in shown.items():
        lines.append(f"{label[:27]:<28}{answer.before[key]:>18,.2f}{answer.after[key]:>18,.2f}{answer.difference[key]:>+18,.2f}")
    ratio = ["none" if s["margin_ratio"] is None else f"{s['margin_ratio']:.4f}" for s in (answer.before, answer.after)]
    lines += [f"{'Margin ratio':<28}{ratio[0]:>18}{ratio[1]:>18}", f"{'Status':<28}{answer.before['status']:>18}{answer.after['status']:>18}"]
    if answer.difference_standard_error is not None:
        lines.append(f"standard error of the core: before {_error(answer.before)}, after {_error(answer.after)}, of the difference {answer.difference_standard_error:,.2f} (common scenarios)")
    lines.append("would pass: " + ("yes, equity covers the initial margin" if answer.would_pass else "no, equity does not cover the initial margin"))
    return [*lines, *(printable(n) for n in answer.notes)]


def _error(figures: dict[str, Any]) -> str:
    return f"{figures['expected_shortfall_standard_error']:,.2f}"
