"""`upm whatif`: from the command line to the answers and back."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from upm_gpu.desk.change import Premium
from upm_gpu.desk.fills import worst_fill
from upm_gpu.desk.hypothetical import read_instruments
from upm_gpu.desk.opening import open_run
from upm_gpu.desk.resident import Resident
from upm_gpu.desk.whatif import whatif
from upm_gpu.desk.words import fill_lines, given, instruments_of, plain, plain_fill, read_sets, render, resting_orders
from upm_gpu.errors import UsageError


def answer_command(path: Path, account: str | None, orders: Sequence[str], deposits: Sequence[str], netting_set: str, file: Path | None, premium: str,
                   max_age_minutes: float | None, instruments: Sequence[str] = (), open_orders: Sequence[str] = (), fast: bool = False, market: str | None = None) -> tuple[dict[str, Any], str, str]:
    """(plain data, page for a person, one line about what is resident). Raises what `open_run` and `whatif` raise, UsageError for a command that asks nothing, StaleDataError for an old market."""
    if premium not in ("cash", "none"):
        raise UsageError("UPM-CF-161", f"--premium {premium!a} is not known. Use cash (paid in the reporting currency) or none.")
    if file is not None and (orders or deposits or open_orders or account):
        raise UsageError("UPM-CF-161", "--file holds whole trade sets with their accounts. Give it without --account, --order, --open-order and --deposit, or leave it out.")
    if file is None and not (account and (orders or deposits or open_orders)):
        raise UsageError("UPM-CF-161", "nothing is asked. Give --account ID with --order INSTRUMENT:QTY, --open-order INSTRUMENT:QTY or --deposit ASSET:QTY, or --file CHANGES.csv.")
    sets, resting = read_sets(file) if file is not None else ({"": given(str(account), orders, deposits, netting_set)}, {"": resting_orders(str(account), open_orders, netting_set)})
    start = time.perf_counter()
    resident = open_run(path, instruments_of([*sets.values(), *resting.values()]), hypothetical=lambda book: read_instruments(instruments, book), fast=fast)
    moved = None
    if market is not None:
        from upm_gpu.desk.moved import under_market
        from upm_gpu.market.reader import load_market
        from upm_gpu.shipped import resolve_sample

        moved = under_market(resident, load_market(resolve_sample(market, "market")))
        resident = moved.resident
    opened = time.perf_counter()
    _check_age(resident, max_age_minutes)
    kind: Premium = "cash" if premium == "cash" else "none"
    plain_sets = [name for name in sets if not resting.get(name)]
    found = dict(zip(plain_sets, whatif(resident, [sets[n] for n in plain_sets], kind), strict=True))
    fills = {name: worst_fill(resident, orders, sets[name], kind) for name, orders in resting.items() if orders}
    answers = [found[name] if name in found else (fills[name].answer,) for name in sets]
    asked = time.perf_counter()
    plan, currency = resident.plan, resident.plan.market.reporting_currency
    data = {"run": str(path), "currency": currency, "scenarios": plan.scenarios.count, "valuation_time": plan.market.valuation_time.isoformat(), "premium": premium,
            "footprint": resident.footprint(), "what_ifs": [{"set": name, "accounts": [plain(a) for a in of], **plain_fill(fills.get(name))} for name, of in zip(sets, answers, strict=True)]}
    pages = ["\n".join([*render(a, currency, f"{name}: " if name else ""), *fill_lines(fills.get(name))]) for name, of in zip(sets, answers, strict=True) for a in of]
    size = resident.footprint()
    said = (f"{size['scenarios']:,} scenarios x {size['columns']} columns resident ({size['cube_bytes'] / 1e6:,.0f} MB{' mapped' * size['mapped']}{' and as much on the device' * bool(size['device_bytes'])}, {size['stored']}, error against a fresh run: none) in {opened - start:.1f} s; "
            f"{len(sets)} what-if{'s' * (len(sets) != 1)} in {asked - opened:.2f} s")
    if moved is not None:
        data["market"] = {"path": str(market), "revalued_columns": moved.revalued, "columns": moved.columns, "underlyings": list(moved.underlyings)}
        said += f"; under the new market {moved.revalued} of {moved.columns} columns priced again ({', '.join(moved.underlyings) or 'nothing moved'})"
    return data, "\n\n".join(pages), said


def _check_age(resident: Resident, minutes: float | None) -> None:
    """Refuse a run whose market is older than asked."""
    from upm_gpu.market.reader import check_age

    if minutes is not None:
        check_age(resident.plan.market, datetime.now(UTC), minutes)
