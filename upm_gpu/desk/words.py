"""A what-if for a person, and what a command reads: orders, deposits, a file of trade sets."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from upm_gpu.desk.answers import Answer
from upm_gpu.desk.change import Change, Deposit, Order, Transfer
from upm_gpu.desk.fills import WorstFill
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


def resting_orders(account: str, orders: Sequence[str], netting_set: str) -> list[Order]:
    """The open orders of a command line."""
    return [Order(account, *parse_pair(o, "--open-order", "INSTRUMENT"), netting_set) for o in orders]


def read_changes(path: Path) -> dict[str, list[Change]]:
    """Trade sets by name of a file without open orders, as `read_sets`."""
    sets, resting = read_sets(path)
    if any(resting.values()):
        raise InputError("UPM-IN-150", f"{path.name}: holds open orders, which are margined by their worst fill and are no trade set. Take them out.")
    return sets


def read_sets(path: Path) -> tuple[dict[str, list[Change]], dict[str, list[Order]]]:
    """Trade sets by name, and their open orders, of a CSV, Parquet or JSON file: `account_id, kind (order, open_order, deposit, transfer), name, quantity`, and `set, netting_set, to_account` where they are
    needed; JSON is a list of such objects. Rows of one `set` are one trade set; a blank one is a set of its own, named by its line. Raises InputError with the line."""
    rows = _json_rows(path) if path.suffix == ".json" else _parquet_rows(path) if path.suffix == ".parquet" else _csv_rows(path)
    sets: dict[str, list[Change]] = {}
    resting: dict[str, list[Order]] = {}
    for line, row in rows:
        name = row["set"] or f"line {line}"
        sets.setdefault(name, [])
        change = _change(row | {"kind": "order"} if row["kind"] == "open_order" else row, f"{path.name} line {line}")
        if row["kind"] == "open_order" and isinstance(change, Order):
            resting.setdefault(name, []).append(change)
        else:
            sets[name].append(change)
    if not sets:
        raise InputError("UPM-IN-150", f"{path.name}: no row, so no trade set. Give at least one.")
    return sets, resting


def _columns(path: Path, head: Sequence[str], where: str) -> None:
    lacking, unknown = [c for c in REQUIRED if c not in head], [h for h in head if h not in COLUMNS]
    if lacking or unknown:
        raise InputError("UPM-IN-150", f"{path.name}{where}: {f'lacks column {lacking[0]}' if lacking else f'has a column {unknown[0]!a} that no trade set knows'}. Columns are {', '.join(COLUMNS)}.")


def _csv_rows(path: Path) -> list[tuple[int, dict[str, str]]]:
    import csv

    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.reader(file))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError("UPM-IN-150", f"{path}: cannot be read as a CSV of trade sets ({error}). Give a UTF-8 text file.") from None
    head = [h.strip() for h in rows[0]] if rows else []
    _columns(path, head, " line 1")
    found = []
    for line, cells in enumerate(rows[1:], 2):
        if not any(c.strip() for c in cells):
            continue
        if len(cells) != len(head):
            raise InputError("UPM-IN-150", f"{path.name} line {line}: {len(cells)} cells, the trade sets' header has {len(head)}. Mend the row.")
        found.append((line, dict.fromkeys(COLUMNS, "") | {h: c.strip() for h, c in zip(head, cells, strict=True)}))
    return found


def _json_rows(path: Path) -> list[tuple[int, dict[str, str]]]:
    import json

    try:
        data = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InputError("UPM-IN-150", f"{path}: cannot be read as JSON of trade sets ({error}). Give a list of objects.") from None
    if not isinstance(data, list) or not all(isinstance(row, dict) for row in data):
        raise InputError("UPM-IN-150", f"{path.name}: is no list of objects, so no trade set. Columns are {', '.join(COLUMNS)}.")
    for n, row in enumerate(data, 1):
        _columns(path, list(row), f" entry {n}")
    return [(n, dict.fromkeys(COLUMNS, "") | {k: "" if v is None else str(v) for k, v in row.items()}) for n, row in enumerate(data, 1)]


def _parquet_rows(path: Path) -> list[tuple[int, dict[str, str]]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise InputError("UPM-IN-150", f"{path}: cannot be read as Parquet of trade sets ({str(error).splitlines()[0]}). Give a Parquet file.") from None
    _columns(path, table.column_names, "")
    return [(n, dict.fromkeys(COLUMNS, "") | {k: "" if v is None else str(v) for k, v in row.items()}) for n, row in enumerate(table.to_pylist(), 1)]


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
    raise InputError("UPM-IN-150", f"{where} column kind: {row['kind']!a} is no kind of a trade set. Use order, open_order, deposit or transfer.")


def instruments_of(sets: Iterable[Sequence[Change]]) -> set[str]:
    """Instruments that orders name."""
    return {c.instrument_id for changes in sets for c in changes if isinstance(c, Order)}


def plain_fill(fill: WorstFill | None) -> dict[str, Any]:
    """What a trade set with open orders adds to its plain data."""
    if fill is None:
        return {}
    return {"worst_fill": {"filled": [{"instrument_id": o.instrument_id, "contracts": o.contracts, "netting_set": o.netting_set} for o in fill.filled], "fills_asked": fill.asked, "exact": fill.exact}}


def fill_lines(fill: WorstFill | None) -> list[str]:
    """The same for a person."""
    from upm_gpu.report.explain import printable

    if fill is None:
        return []
    filled = ", ".join(f"{printable(o.instrument_id)} {o.contracts:+g}" for o in fill.filled) or "none of the open orders"
    return [f"worst fill: {filled} ({'every one of' if fill.exact else 'the worst found of'} {fill.asked} sets of fills)"]


def plain(answer: Answer) -> dict[str, Any]:
    """An answer as plain data for JSON."""
    return vars(answer) | {"notes": list(answer.notes)}


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
