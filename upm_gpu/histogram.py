"""The P&L distribution of any account of a finished run, drawn again from the run's own copies of its inputs.

A report holds the histograms of the accounts with the largest margins; those of all others would weigh more than they are
read. Draws are functions of their address, so the scenarios of one account can be repeated alone: same P&L, same VaR and ES
as in `margin.csv`, to the bit on the backend of the run. Verified by `tests/end_to_end/test_commands.py`.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from upm_gpu.errors import DeviceError, InputError

BAR = 30
"""letters of the longest bar on a wide terminal"""


def account_histogram(path: Path | str, account_id: str) -> dict[str, Any]:
    """The units an account is margined in, each with its P&L histogram, VaR and ES over the margin period.

    Plain data: `account_id, currency, level, horizon_days, scenarios, backend, notes, units: [{unit, lines, value_at_risk, expected_shortfall,
    expected_shortfall_standard_error, bins: [{left, right, count}]}]`. Amounts in the reporting currency, P&L positive for a
    profit, VaR and ES positive for a loss. The bins of `exhibits.histograms`: the outer two take what lies beyond.

    Raises InputError for an unknown account, IntegrityError where the kept inputs are not those of the run.
    """
    from upm_gpu.backend.select import choose
    from upm_gpu.exhibits import histograms, select_rows
    from upm_gpu.inputs_again import inputs_again
    from upm_gpu.plan import make_plan, with_count
    from upm_gpu.pricing.table_refinement import as_recorded
    from upm_gpu.pricing.tables import with_tables
    from upm_gpu.report.explain import explain
    from upm_gpu.risk.dependence import dependence_of, weights_of
    from upm_gpu.risk.tail import finish
    from upm_gpu.run.verify import read_manifest

    manifest = read_manifest(path)
    explain(path, account_id)  # refuses an unknown account with the nearest ids
    again = inputs_again(Path(path), manifest)
    plan = with_count(make_plan(again.book, again.market, again.spec, again.methodology), int(manifest["scenarios"]))
    notes = []
    try:
        choice = choose(str(manifest["backend"]), str(manifest["precision"]))
    except DeviceError as error:
        choice = choose("auto", str(manifest["precision"]))
        notes.append(f"recomputed on {choice.name}, the run was on {manifest['backend']} ({error.code}): the last digits may differ")
    h, level = plan.horizon(plan.core.horizon), plan.core.level
    plan = replace(plan, compiled=with_tables(as_recorded(plan.compiled, h, again.finer), (plan.scenarios,), choice.module, choice.threads, library=again.library)[0])
    units, weights = [], weights_of(plan.scenarios)
    for unit in _units_of(plan, account_id):
        table, tail = histograms(choice.module, plan.compiled, select_rows(plan.rows, [unit]), [plan.units.names[unit]], plan.scenarios,
                                 choice.precision, choice.threads, [h], plan.depth, weights)
        estimate = finish(tail, [level], dependence_of(plan.scenarios), weights)[level]
        units.append({
            "unit": plan.units.names[unit], "lines": int(np.count_nonzero(plan.units.lines.unit == unit)),
            "value_at_risk": float(estimate.value_at_risk[0, 0]), "expected_shortfall": float(estimate.expected_shortfall[0, 0]),
            "expected_shortfall_standard_error": float(estimate.expected_shortfall_standard_error[0, 0]),
            "bins": [{"left": float(a), "right": float(b), "count": int(n) if weights is None else float(n)} for a, b, n in zip(table["bin_left"], table["bin_right"], table["count"], strict=True)]})
    return {"account_id": account_id, "currency": plan.market.reporting_currency, "level": level, "horizon_days": plan.core.horizon,
            "scenarios": plan.scenarios.count, "backend": choice.name, "notes": notes, "units": units}


def account_pnl(book: Any, market: Any, account_id: str, spec: Any = None, methodology: Any = None, backend: str = "auto",
                precision: str = "mixed") -> NDArray[np.float64]:
    """(S,) P&L of one account over the margin period, scenario by scenario, in the reporting currency, profit positive.

    The arguments of `margin_run`; the sum over the units an account is margined in. Raises what `margin_run` raises, and InputError for
    an unknown account.
    """
    from upm_gpu.backend.select import choose
    from upm_gpu.exhibits import HISTOGRAM_RANGE, select_rows
    from upm_gpu.margin.methodology import load_methodology
    from upm_gpu.plan import make_plan
    from upm_gpu.pricing.tables import with_tables
    from upm_gpu.scenario.spec import ScenarioSpec

    plan = make_plan(book, market, spec or ScenarioSpec(), methodology or load_methodology())
    choice, h, count = choose(backend, precision), plan.horizon(plan.core.horizon), plan.scenarios.count
    compiled, _ = with_tables(plan.compiled, (plan.scenarios,), choice.module, choice.threads)
    with choice.module.prepare(compiled, select_rows(plan.rows, _units_of(plan, account_id)), choice.precision, choice.threads) as prepared:
        parts = [choice.module.row_pnl(prepared, plan.scenarios, first, min(first + HISTOGRAM_RANGE, count), h) for first in range(0, count, HISTOGRAM_RANGE)]
    return np.concatenate(parts, axis=1).sum(axis=0)


def _units_of(plan: Any, account_id: str) -> list[int]:
    """Every unit in which an account holds a line; the empty unit of an account without lines."""
    number = next((n for n, a in enumerate(plan.book.accounts) if a.account_id == account_id), None)
    if number is None:
        raise InputError("UPM-RN-048", f"account {account_id!a} is not in the book of the run. Accounts are listed in margin.csv.")
    lines = plan.units.lines
    found = sorted({int(u) for u in lines.unit[lines.account == number]})
    return found or [plan.units.names.index(account_id)]


def render_histogram(found: dict[str, Any], width: int = 80) -> str:
    """Text for people: one line for two bins, VaR and ES marked where they fall; ASCII, at most `width` columns."""
    from upm_gpu.report.explain import printable

    lines = []
    for unit in found["units"]:
        title = f"P&L over {found['horizon_days']:g} days, {found['currency']}, {found['scenarios']:,} scenarios"
        if len(found["units"]) > 1 or unit["unit"] != found["account_id"]:
            title += f", unit {printable(unit['unit'])}"
        lines += [title, ""]
        bins = unit["bins"]
        pairs = [(bins[i]["left"], bins[i + 1]["right"], bins[i]["count"] + bins[i + 1]["count"]) for i in range(0, len(bins) - 1, 2)]
        labels = [f"{left:,.0f}" for left, _, _ in pairs]
        wide = max(map(len, labels))
        most = max(count for _, _, count in pairs)
        room = max(min(BAR, width - wide - 20), 5)
        for n, ((left, right, count), label) in enumerate(zip(pairs, labels, strict=True)):
            first, last = n == 0, n == len(pairs) - 1
            marks = [name for name, key in (("ES", "expected_shortfall"), ("VaR", "value_at_risk"))
                     if (first or -unit[key] >= left) and (last or -unit[key] < right)]
            bar = "#" * max(round(room * count / most), 1 if count else 0)
            lines.append(f"{label:>{wide}} |{bar:<{room}} {count:>7,.0f}{' <- ' + ', '.join(marks) if marks else ''}".rstrip())
        percent = f"{100.0 * found['level']:g} %"
        lines += ["", f"VaR {percent} {unit['value_at_risk']:,.2f}", f"ES {percent} {unit['expected_shortfall']:,.2f} "
                  f"(standard error {unit['expected_shortfall_standard_error']:,.2f})", ""]
    return "\n".join([*lines, *found["notes"]]).rstrip("\n") + "\n"
