"""What the charges of the house methodology cost beside the core alone: the crypto sample, all accounts, processor seconds of the computation on the CPU backend.

    PYTHONPATH=. python benchmarks/charges.py [--scenarios 100000] [--threads 2] [--repeats 3] [--methodology FILE] [--out DIR]

Variants: the core alone; every charge as the file says (its further sets with their own counts, 10,000 here and in STANS); the same without the dependence charge, so without the perfect and the
zero set; every charge with further sets as long as the run. Processor time (not wall time: the machine may be busy), the least of the repeats, the variants in turn. From a compiled plan to margins and
contributions: no files, no report; --out keeps the figures as JSON. Bounds held to: 4.5 and 1.5 times the core alone.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import time
from datetime import date
from pathlib import Path
from typing import Any

from upm_gpu.backend import cpu
from upm_gpu.backend.select import choose
from upm_gpu.config import load_config, scenario_spec
from upm_gpu.domain.reader import load_book
from upm_gpu.engine import compute_outcome
from upm_gpu.margin.methodology import ChargeEntry, Methodology, load_methodology
from upm_gpu.market.reader import load_market
from upm_gpu.passes import in_memory
from upm_gpu.plan import make_plan
from upm_gpu.shipped import find_file


def variants(methodology: Methodology) -> dict[str, Methodology]:
    """The methodology with some of its charges."""
    def long(entry: ChargeEntry) -> ChargeEntry:
        return ChargeEntry(**{**entry.model_dump(), "count": 0}) if "count" in (entry.model_extra or {}) else entry

    def under(charges: list[ChargeEntry]) -> Methodology:
        return methodology.model_copy(update={"charges": charges})

    own = list(methodology.charges)
    return {"core alone": under([]), "all charges": under(own), "without perfect and zero": under([c for c in own if c.name != "dependence"]),
            "further sets as long as the run": under([long(c) for c in own])}


def main() -> None:
    """Time every variant."""
    given = argparse.ArgumentParser()
    given.add_argument("--scenarios", type=int, default=100_000)
    given.add_argument("--threads", type=int, default=2)
    given.add_argument("--repeats", type=int, default=3)
    given.add_argument("--methodology", default="configs/methodology/house_v2.toml")
    given.add_argument("--out", type=Path)
    asked = given.parse_args()
    spec = scenario_spec(load_config(find_file("configs/quickstart.toml"), {"scenarios.count": str(asked.scenarios)}))
    market = load_market("sample:crypto")
    book = load_book("sample:crypto", market.valuation_time)
    choice = choose("cpu", "mixed", asked.threads)
    plans = {name: make_plan(book, market, spec, m) for name, m in variants(load_methodology(find_file(asked.methodology))).items()}
    best: dict[str, float] = {}
    passes: dict[str, tuple[dict[str, Any], ...]] = {}
    for _ in range(asked.repeats):
        for name, plan in plans.items():
            start = time.process_time()
            passes[name] = compute_outcome(plan, choice, 0, in_memory()).passes
            best[name] = min(best.get(name, float("inf")), time.process_time() - start)
    first = next(iter(plans.values()))
    print(f"{asked.methodology}: {len(first.units.names)} units, {first.compiled.columns} columns, {len(first.horizons)} horizons, {spec.count} scenarios, mixed, {cpu.isas()[0]}, {asked.threads} threads")
    for name, seconds in best.items():
        walked = ", ".join(f"{p['scenario_set']} {p['scenarios']} x {p['rows']} rows" for p in passes[name])
        print(f"  {name:34} {seconds:7.2f} s  {seconds / best['core alone']:5.2f}  {walked}")
    if asked.out:
        commit = subprocess.run(["git", "rev-parse", "--short=8", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
        found = {"methodology": asked.methodology, "units": len(first.units.names), "columns": first.compiled.columns, "horizons": len(first.horizons), "scenarios": spec.count, "precision": "mixed", "isa": cpu.isas()[0],
                 "threads": asked.threads, "repeats": asked.repeats, "processor_seconds": best, "times_the_core": {n: t / best["core alone"] for n, t in best.items()}, "passes": passes, "load_average": os.getloadavg()[0]}
        (asked.out / f"charges_{date.today().isoformat()}_{commit}.json").write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
