"""`upm whatif`: from the command line to the answers and back."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from upm_gpu.desk.change import Premium
from upm_gpu.desk.resident import Resident, open_run
from upm_gpu.desk.whatif import whatif
from upm_gpu.desk.words import given, instruments_of, plain, read_changes, render
from upm_gpu.errors import UsageError


def answer_command(path: Path, account: str | None, orders: Sequence[str], deposits: Sequence[str], netting_set: str, file: Path | None, premium: str,
                   max_age_minutes: float | None) -> tuple[dict[str, Any], str, str]:
    """(plain data, page for a person, one line about what is resident). Raises what `open_run` and `whatif` raise, UsageError for a command that asks nothing, StaleDataError for an old market."""
    if premium not in ("cash", "none"):
        raise UsageError("UPM-CF-161", f"--premium {premium!a} is not known. Use cash (paid in the reporting currency) or none.")
    if file is not None and (orders or deposits or account):
        raise UsageError("UPM-CF-161", "--file holds whole trade sets with their accounts. Give it without --account, --order and --deposit, or leave it out.")
    if file is None and not (account and (orders or deposits)):
        raise UsageError("UPM-CF-161", "nothing is asked. Give --account ID with --order INSTRUMENT:QTY or --deposit ASSET:QTY, or --file CHANGES.csv.")
    sets = read_changes(file) if file is not None else {"": given(str(account), orders, deposits, netting_set)}
    start = time.perf_counter()
    resident = open_run(path, instruments_of(list(sets.values())))
    opened = time.perf_counter()
    _check_age(resident, max_age_minutes)
    kind: Premium = "cash" if premium == "cash" else "none"
    answers = whatif(resident, list(sets.values()), kind)
    asked = time.perf_counter()
    plan, currency = resident.plan, resident.plan.market.reporting_currency
    data = {"run": str(path), "currency": currency, "scenarios": plan.scenarios.count, "valuation_time": plan.market.valuation_time.isoformat(), "premium": premium,
            "footprint": resident.footprint(), "what_ifs": [{"set": name, "accounts": [plain(a) for a in found]} for name, found in zip(sets, answers, strict=True)]}
    pages = ["\n".join(render(a, currency, f"{name}: " if name else "")) for name, found in zip(sets, answers, strict=True) for a in found]
    size = resident.footprint()
    said = (f"{size['scenarios']:,} scenarios x {size['columns']} columns resident ({size['cube_bytes'] / 1e6:,.0f} MB, {size['stored']}, error against a fresh run: none) in {opened - start:.1f} s; "
            f"{len(sets)} what-if{'s' * (len(sets) != 1)} in {asked - opened:.2f} s")
    return data, "\n\n".join(pages), said


def _check_age(resident: Resident, minutes: float | None) -> None:
    """Refuse a run whose market is older than asked."""
    from upm_gpu.market.reader import check_age

    if minutes is not None:
        check_age(resident.plan.market, datetime.now(UTC), minutes)
