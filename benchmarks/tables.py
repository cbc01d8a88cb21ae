"""Value tables: seconds to build them for a book of American options, and what the options cost a run once the tables stand.

Run: python benchmarks/tables.py [--instruments N] [--scenarios S] [--out DIR]. One command, under 3 minutes on two cores.

1. `nodes`: 32 x 16 nodes (forward / strike 0.7 to 1.4, volatility halved to doubled) for each of N instruments, priced directly: what one table an instrument would cost.
2. `tables`: the tables this engine makes for the same N instruments, one an expiry and side, to 1e-5 of strike, today's corrections included.
3. `run`: the engine (draws, prices, sums, tails) and the whole from plan to margins over the same book American and European, best of 2, in processor seconds of all threads, which a busy
   machine spoils less. Target: at most 2x.
   `library`: entries for the markets to come (`upm tables`), and the same tables taken from them a day later at other rates and volatilities.
4. `heston`: the same of a book of European options under Heston, repriced by the model at the path's own variance and, beside it, at quoted volatilities that move.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.books import VALUATION, plan_of
from benchmarks.shapes import EXPIRIES, Shape
from upm_gpu.backend import cpu
from upm_gpu.backend.select import choose
from upm_gpu.domain.instrument import Option
from upm_gpu.engine import compute_outcome
from upm_gpu.model.heston import HestonParameters
from upm_gpu.passes import in_memory
from upm_gpu.plan import Plan, make_plan
from upm_gpu.pricing import tables
from upm_gpu.pricing.compiled import TableRequest
from upm_gpu.pricing.library_build import Margins, make_entries
from upm_gpu.pricing.table_library import library_bytes, library_of

RATE = 0.04
MONEYNESS, VOLATILITY, NODES = (0.7, 1.4), (0.5, 2.0), (32, 16)


class Shelf(dict):
    """Tables in memory."""

    def take(self, key: str) -> Any:
        return self.get(key)

    def keep(self, key: str, table: Any, error: float) -> None:
        self[key] = table, error


def plans(instruments: int, scenarios: int) -> tuple[Plan, Plan]:
    """The same listed book with American and with European exercise: 20 underlyings, linear options, 1,000 accounts of 30 positions."""
    base = plan_of(Shape(1_000, instruments, 20, scenarios, 30), sticky_moneyness=True)
    market = replace(base.market, rates={"USD": ((30.0, RATE),)})
    found = []
    for exercise in ("american", "european"):
        listed = tuple(replace(i, settlement="linear", exercise=exercise) if isinstance(i, Option) else i for i in base.book.instruments)
        found.append(make_plan(replace(base.book, instruments=listed), market, base.spec, base.methodology, base.model))
    return found[0], found[1]


def heston_plans(instruments: int, scenarios: int) -> tuple[Plan, Plan]:
    """The same book and Heston scenarios, repriced under the model and at quoted volatilities."""
    base = plan_of(Shape(1_000, instruments, 20, scenarios, 30), sticky_moneyness=True)
    names = tuple(f"U{u:03d}" for u in range(20))
    one = np.ones(len(names))
    model = HestonParameters(names, 0.36 * one, 4.0 * one, 0.36 * one, 1.2 * one, -0.4 * one, 0.5 * np.eye(len(names)) + 0.5)
    market = replace(base.market, rates={"USD": ((30.0, RATE),)})
    listed = tuple(replace(i, settlement="linear") if isinstance(i, Option) else i for i in base.book.instruments)
    by_model, at_quotes = (make_plan(replace(base.book, instruments=listed), market, replace(base.spec, model="heston", repricing=repricing), base.methodology, model)
                           for repricing in ("model", "quoted"))
    return by_model, at_quotes


def timed(work: Callable[[], Any], passes: int = 1, clock: Callable[[], float] = time.perf_counter) -> tuple[float, Any]:
    """Seconds of the fastest pass, and its result."""
    best, result = float("inf"), None
    for _ in range(passes):
        start = clock()
        result = work()
        best = min(best, clock() - start)
    return best, result


def node_prices(instruments: list[Option]) -> dict[str, Any]:
    """A table of its own for every instrument, its nodes priced in one batch each; a volatility's forwards share their exercise boundary."""
    y, m = (a.ravel() for a in np.meshgrid(np.linspace(*np.log(VOLATILITY), NODES[1]), np.linspace(*np.log(MONEYNESS), NODES[0]), indexing="ij"))

    def build() -> int:
        count = 0
        for option in instruments:
            years = (option.expiry - VALUATION) / timedelta(days=365)
            discount, sign = float(np.exp(-RATE * years)), 1.0 if option.option_type == "call" else -1.0
            inputs = (("rate", RATE), ("dividend_yield", RATE), ("sign", sign), ("time_to_expiry", years))
            request = TableRequest(option.instrument_id, 0, "american", True, sign, 1.0, inputs, years, discount, inputs, years, discount)
            count += len(tables.direct_values(request, m, 0.6 * np.exp(y), cpu))
        return count

    seconds, prices = timed(build)
    return {"instruments": len(instruments), "nodes_each": list(NODES), "prices": prices, "seconds": seconds, "microseconds_a_price": 1e6 * seconds / prices}


def reused(plan: Plan) -> dict[str, Any]:
    """Seconds to make a library, and to take every table from it on a market four hours on with other interest; today's corrections included in both."""
    seconds, (entries, left_out) = timed(lambda: make_entries(plan.compiled, (plan.scenarios,), Margins(), cpu))
    content = library_bytes(entries)
    hours = 4.0 / 24.0 / 365.0
    programs = tuple(replace(p, table_requests=tuple(later(r, hours, 0.002) for r in p.table_requests if isinstance(r, TableRequest))) for p in plan.compiled.programs)
    then = replace(plan.compiled, programs=programs)
    taking, (_, reports) = timed(lambda: tables.with_tables(then, (plan.scenarios,), cpu, library=library_of(content)))
    making, _ = timed(lambda: tables.with_tables(then, (plan.scenarios,), cpu))
    return {"entries": len(entries), "left_out": len(left_out), "bytes": len(content), "seconds_to_make": seconds, "tables": len(reports), "tables_taken": sum(r.reused for r in reports),
            "largest_error_per_strike": max(r.error for r in reports), "seconds_to_take": taking, "seconds_to_make_them_without": making}


def later(request: TableRequest, years: float, rate: float) -> TableRequest:
    """A request on a later market with more interest; the forward is the spot still."""
    inputs = {**dict(request.inputs)}
    left, interest = float(inputs["time_to_expiry"]) - years, float(inputs["rate"]) + rate  # type: ignore[arg-type]
    inputs |= {"rate": interest, "dividend_yield": float(inputs["dividend_yield"]) + rate, "time_to_expiry": left}  # type: ignore[arg-type]
    return replace(request, inputs=tuple(inputs.items()), years=left, discount=float(np.exp(-interest * left)))


def measured(american: Plan, european: Plan, names: tuple[str, str] = ("american", "european")) -> dict[str, Any]:
    """Tables, then both runs."""
    choice = choose("cpu")
    shelf = Shelf()
    seconds, (_, reports) = timed(lambda: tables.with_tables(american.compiled, (american.scenarios,), choice.module, choice.threads, shelf))
    ranges, _ = timed(lambda: tables.state_ranges(american.scenarios, choice.module, choice.threads))
    found: dict[str, Any] = {"tables": {"count": len(reports), "nodes": sum(r.nodes[0] * r.nodes[1] for r in reports), "largest_error_per_strike": max(r.error for r in reports),
                                        "seconds": seconds, "seconds_of_ranges": ranges}}
    for name, plan in zip(names, (american, european), strict=True):
        whole, outcome = timed(lambda plan=plan: compute_outcome(plan, choice, 0, in_memory(), shelf=shelf), 2, time.process_time)
        phases = {k: round(outcome.timings[k], 4) for k in ("tables", "engine", "table_check", "attribution", "margin") if k in outcome.timings}
        found[name] = {"processor_seconds": whole, "wall_seconds_by_phase": phases}
    phases = [found[name]["wall_seconds_by_phase"]["engine"] for name in names]
    if names[0] == "american":
        found["library"] = reused(american)
    found["ratio_of_engines"] = phases[0] / phases[1]
    found["ratio_of_runs"] = found[names[0]]["processor_seconds"] / found[names[1]]["processor_seconds"]
    found["share_of_ranges"] = ranges / phases[0]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--instruments", type=int, default=5_000)
    parser.add_argument("--scenarios", type=int, default=40_960)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args()
    american, european = plans(options.instruments, options.scenarios)
    listed = [i for i in american.book.instruments if isinstance(i, Option)]
    result = {"nodes": node_prices(listed), **measured(american, european), "heston": measured(*heston_plans(options.instruments, options.scenarios), ("model", "quoted")), "expiries_days": list(EXPIRIES), "scenarios": options.scenarios,
              "accounts": len(american.book.accounts), "positions": len(american.book.positions.instrument), "cores": os.cpu_count(),
              "load_average": os.getloadavg()[0], "processor": platform.processor() or platform.machine(), "precision": "mixed"}
    commit = subprocess.run(["git", "rev-parse", "--short=8", "HEAD"], capture_output=True, text=True, check=False, cwd=Path(__file__).parent).stdout.strip() or "unknown"
    file = options.out / f"tables_{date.today()}_{commit}.json"
    file.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))
    print(file)


if __name__ == "__main__":
    main()
