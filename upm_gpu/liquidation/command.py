"""`upm liquidate`: from the command line to the cascade and back."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from upm_gpu.errors import UsageError
from upm_gpu.liquidation.case import case_of_run
from upm_gpu.liquidation.folder import contents, plain, tail_contents, write
from upm_gpu.liquidation.parameters import load_parameters
from upm_gpu.liquidation.systemic import VARIANTS, along_the_tail, simulate
from upm_gpu.liquidation.words import render, render_tail
from upm_gpu.progress import line, silent, told
from upm_gpu.report.liquidation_page import render_liquidation
from upm_gpu.report.liquidation_tail_page import render_tail_page


def liquidate_command(path: Path, scenario: str | None, tail: str | None, rules: str | None, compare: str, out: Path | None, quiet: bool = True) -> tuple[dict[str, Any], str, str]:
    """(plain data, page for a person, one line about the work); unless `quiet` it says on stderr how far it is. Raises UsageError for a command that asks nothing or too much, and what the simulation raises."""
    from upm_gpu.run.folder import check_target

    if (scenario is None) == (tail is None):
        raise UsageError("UPM-CF-193", "give either --scenario (a move such as \"BTC -40 %\", a stress of the report, or the number of a scenario) or --tail N (the N worst scenarios of the house, or all of its tail).")
    if tail is not None and tail != "all" and not tail.isdecimal():
        raise UsageError("UPM-CF-192", f"--tail {tail!a}: no number of scenarios. Give a number such as 20, or all.")
    known = [name for name, _, _ in VARIANTS]
    variants = [v.strip() for v in compare.split(",") if v.strip()]
    short = {name.partition(",")[0].replace(" ", "-"): name for name in known}
    unknown = [v for v in variants if v not in short]
    if unknown or not variants:
        raise UsageError("UPM-CF-194", f"--compare {compare!a}: {unknown[0] if unknown else 'nothing'!a} is no way of closing. Use {', '.join(short)}, separated by commas.")
    chosen = list(dict.fromkeys(short[v] for v in variants))
    parameters = load_parameters(rules)
    if out is not None:
        check_target(out)
    begun = time.perf_counter()
    if not quiet:
        line()(f"opening {path}")
    case = case_of_run(path)
    currency = case.plan.market.reporting_currency
    opened = time.perf_counter()
    facts = {"currency": currency, "valuation_time": case.plan.market.valuation_time.isoformat(), "accounts": len(case.parties.names), "margin_scenarios": min(parameters.margin.scenarios, case.plan.scenarios.count),
             "initial_margin": float(case.initial.sum()), "device": case.choice.name}
    if tail is not None:
        found = along_the_tail(case, None if tail == "all" else int(tail), parameters, chosen, silent if quiet else told("cascades"))
        cascades = len(found["lines"])
        data, page = {"run": str(path), "currency": currency, "rules": f"{parameters.name} {parameters.version}", **found}, render_tail(found, currency)
        files, drawn = tail_contents(found, parameters, chosen, str(path), facts), render_tail_page
    else:
        made = simulate(case, str(scenario), parameters, chosen, None if quiet else line())
        cascades = len(chosen)
        data, page = {"run": str(path), "currency": currency, **plain(made)}, render(made, currency)
        files, drawn = contents(made, str(path), facts), render_liquidation
    if out is not None:
        data["files"] = write(out, files, drawn)
        page += f"\n{out}: {', '.join(data['files'])}"
    done = time.perf_counter()
    return data, page, f"{len(case.parties.names):,} accounts opened in {opened - begun:.1f} s; {cascades:,} cascade{'s' * (cascades != 1)} in {done - opened:.1f} s"
