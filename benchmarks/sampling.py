"""Sobol points per second beside SciPy, and what a sampler buys: the variance of ES against work, on the sample book.

Run: python -m benchmarks.sampling [--wide] [--counts 16384,65536] [--seeds 8] [--threads 1] [--json FILE]. Processor seconds, best of 5.
Points: normals of `dimensions` scrambled coordinates, ours from `states` (Owen, with the loadings of a walk of one step), SciPy from
`qmc.Sobol(...).random` (linear matrix scrambling, its own 30 bits) and `ndtri`. Work: processor seconds of the tail pass alone (importance: with its pilot and weights; all accounts in one run, though two of them would have it refused). The variance ratio of a sampler is the
mean over seeds of the squared stated error of plain sampling over the variance observed over the seeds (of its ES at 99 %), per account.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from scipy import special
from scipy.stats import qmc

from benchmarks.books import plan_of
from benchmarks.shapes import Shape
from upm_gpu.backend import cpu
from upm_gpu.domain.reader import load_book
from upm_gpu.exhibits import select_rows
from upm_gpu.guided import guided
from upm_gpu.margin.methodology import load_methodology
from upm_gpu.market.reader import load_market
from upm_gpu.model.gbm import GbmParameters
from upm_gpu.passes import chunk_ranges, in_memory, measure, tails, weighted_tails
from upm_gpu.plan import Plan, make_plan
from upm_gpu.pricing.compiled import Rows, empty
from upm_gpu.risk.dependence import weights_of
from upm_gpu.scenario.spec import ScenarioSpec
from upm_gpu.shipped import resolve_sample

SAMPLERS = {
    "philox": ScenarioSpec(), "antithetic": ScenarioSpec(variance_reduction="antithetic"), "moment_matching": ScenarioSpec(variance_reduction="moment_matching"),
    "sobol": ScenarioSpec(sampler="sobol"), "sobol digital shift": ScenarioSpec(sampler="sobol", scrambling="digital_shift"),
    "importance": ScenarioSpec(sampler="importance"),
}


def best(work: Callable[[], Any], calls: int = 5) -> float:
    """Processor seconds of the fastest call: a busy machine distorts them least."""
    seconds = []
    for _ in range(calls):
        start = time.process_time()
        work()
        seconds.append(time.process_time() - start)
    return min(seconds)


def points(dimensions: int, count: int = 1 << 16) -> dict[str, float]:
    """Coordinates a second on one thread, as normals; `correlation` is the identity, its cost is in ours."""
    names = tuple(f"log_level[A{k}]" for k in range(dimensions))
    model = GbmParameters(names, np.full(dimensions, 0.03), np.eye(dimensions))
    dates = np.array([1.0])
    found: dict[str, float] = {}
    for name in ("philox", "sobol", "sobol digital shift"):
        walk = model.scenarios(dates, replace(SAMPLERS[name], count=count))
        with cpu.prepare(*empty(names, dates), "double", 1) as prepared:
            found[f"ours, {name}"] = count * dimensions / best(lambda p=prepared, w=walk: cpu.states(p, w, 0, count))  # type: ignore[misc]
    for scramble in (False, True):
        engine = qmc.Sobol(dimensions, scramble=scramble, seed=1)

        def draw(engine: qmc.Sobol = engine) -> Any:
            engine.reset()
            return special.ndtri(engine.random(count))

        found["SciPy, " + ("scrambled" if scramble else "plain")] = count * dimensions / best(draw, 3)
    rng = np.random.default_rng(1)
    found["NumPy, standard_normal"] = count * dimensions / best(lambda: rng.standard_normal((count, dimensions)))
    return found


def shortfalls(plan: Plan, model: Any, spec: ScenarioSpec, threads: int) -> tuple[np.ndarray, np.ndarray, float]:
    """ES (U,), stated error (U,), seconds of the tail pass."""
    from upm_gpu.risk.tail import tail_depth

    lowest = min(r.level for r in plan.requests)
    start = time.process_time()
    scenarios, depth = model.scenarios(plan.compiled.dates, spec), tail_depth(spec.count, lowest)
    if spec.sampler == "importance":
        scenarios, depth = guided(scenarios, spec, plan.compiled, plan.rows, plan.horizon(plan.core.horizon), plan.core.level, lowest)
    else:
        start = time.process_time()  # matching draws everything once more when it is planned; that is told elsewhere
    drawn = replace(plan, spec=spec, scenarios=scenarios, depth=depth)
    weights = weights_of(scenarios)
    with cpu.prepare(drawn.compiled, drawn.rows, "mixed", threads) as prepared:
        ranges = chunk_ranges(drawn, 0, cpu, prepared)
        if weights is None:
            tail = tails(drawn, cpu, prepared, ranges, in_memory())
        else:
            drawn, tail = weighted_tails(drawn, cpu, prepared, ranges, in_memory(), None, weights)
        seconds = time.process_time() - start
    core = measure(drawn, tail, weights)[drawn.core]
    return core.expected_shortfall, core.expected_shortfall_standard_error, seconds


def sample_plan(count: int) -> Plan:
    market = load_market(resolve_sample("sample:crypto", "market"))
    book = load_book(resolve_sample("sample:crypto", "book"), market.valuation_time)
    return make_plan(book, market, ScenarioSpec(count=count), load_methodology())


def wide_plan(count: int) -> Plan:
    """A made book over 500 factors: 250 underlyings with a price and a volatility each, eight common factors with two thirds of the variance, normal; 100 accounts of 100 random lines of 250 perpetuals
    and 750 options."""
    return plan_of(Shape(accounts=100, options=750, underlyings=250, scenarios=count, positions=100))


def work(plan: Plan, samplers: tuple[str, ...], counts: list[int], seeds: int, threads: int) -> list[dict[str, Any]]:
    rows = []
    for count in counts:
        plain = None
        for name in samplers:
            spec = replace(SAMPLERS[name], horizons=plan.spec.horizons)
            runs = [shortfalls(plan, plan.model, replace(spec, count=count, seed=1000 + s), threads) for s in range(seeds)]
            observed = np.var([r[0] for r in runs], axis=0, ddof=1)
            stated = np.mean([r[1] ** 2 for r in runs], axis=0)
            plain = stated if plain is None else plain
            held = plain > 0.0
            ratio = plain[held] / np.maximum(observed[held], 1e-300)
            rows.append({"sampler": name, "scenarios": count, "seconds": min(r[2] for r in runs), "median_ratio": float(np.median(ratio)),
                         "ratio_at_least_10": float(np.mean(ratio >= 10.0)), "stated_over_observed": float(np.median(stated[held] / np.maximum(observed[held], 1e-300)))})
            print("{sampler:20s} {scenarios:8d} scenarios {seconds:7.2f} s  variance ratio: median {median_ratio:6.1f}, >= 10 for {ratio_at_least_10:5.1%} of accounts; "
                  "stated / observed variance {stated_over_observed:.2f}".format(**rows[-1]), flush=True)
    return rows


def alone(count: int, seeds: int, threads: int) -> list[dict[str, Any]]:
    """Importance sampling of one account a run: kinds of account of the sample book, and three directional books made of its instruments.

    `ratio`: squared stated error of plain sampling (mean over seeds) over the variance of ES observed over the seeds of importance sampling.
    """
    plan = sample_plan(count)
    column = {name: int(c) for name, c in zip(plan.compiled.instrument_ids, plan.compiled.instrument_column, strict=True)}
    held = [n for n in plan.compiled.instrument_ids if n.startswith("BTC-27MAR26-") and n.endswith("-C")]
    made = {"long one coin": {"collateral:BTC": 1.0}, "short one coin": {"collateral:BTC": -1.0}, "short calls and short spot": {"collateral:BTC": -1.0, held[len(held) // 2]: -5.0}}
    books = {name: Rows(np.array([0, len(lines)]), *_sorted(column, lines)) for name, lines in made.items()}
    kinds = {n[:3]: u for u, n in reversed(list(enumerate(plan.units.names))) if plan.rows.first[u + 1] > plan.rows.first[u]}
    books |= {f"account {plan.units.names[u]}": select_rows(plan.rows, [u]) for u in kinds.values()}
    found = []
    for name, rows in books.items():
        own = replace(plan, rows=rows)
        plain = [shortfalls(own, plan.model, ScenarioSpec(count=count, seed=1000 + s), threads) for s in range(seeds)]
        weighted = [shortfalls(own, plan.model, ScenarioSpec(count=count, seed=1000 + s, sampler="importance"), threads) for s in range(seeds)]
        stated, variance = float(np.mean([p[1][0] ** 2 for p in plain])), float(np.var([w[0][0] for w in weighted], ddof=1))
        found.append({"book": name, "scenarios": count, "seeds": seeds, "ratio": stated / max(variance, 1e-300), "stated_ratio": stated / float(np.mean([w[1][0] ** 2 for w in weighted])),
                      "plain_seconds": min(p[2] for p in plain), "importance_seconds": min(w[2] for w in weighted)})
        print("{book:28s} {scenarios:7d} scenarios  variance ratio {ratio:6.1f} observed, {stated_ratio:6.1f} stated; {plain_seconds:.3f} s plain, {importance_seconds:.3f} s with pilot and weights".format(**found[-1]), flush=True)
    return found


def _sorted(column: dict[str, int], lines: dict[str, float]) -> tuple[np.ndarray, np.ndarray]:
    order = sorted(lines, key=column.__getitem__)
    return np.array([column[n] for n in order], np.int32), np.array([lines[n] for n in order])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--counts", default="16384,65536")
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--dimensions", default="20,200")
    parser.add_argument("--wide", action="store_true", help="only Sobol beside plain sampling on a made book over 500 factors")
    parser.add_argument("--json", default="")
    given = parser.parse_args()
    counts = [int(c) for c in given.counts.split(",")]
    result: dict[str, Any] = {"machine": platform.processor() or platform.machine(), "isa": cpu.isas()[0], "points_a_second": {}}
    if given.wide:
        result["work_500_factors"] = work(wide_plan(counts[0]), ("philox", "sobol"), counts, given.seeds, given.threads)
        return write(result, given.json)
    for dimensions in (int(d) for d in given.dimensions.split(",")):
        result["points_a_second"][dimensions] = found = points(dimensions)
        print(f"{dimensions} dimensions, coordinates a second: " + ", ".join(f"{name} {rate / 1e6:.0f} M" for name, rate in found.items()), flush=True)
    result["work"] = work(sample_plan(counts[0]), tuple(SAMPLERS), counts, given.seeds, given.threads)
    result["one_account_a_run"] = alone(16_384, 2 * given.seeds, given.threads)
    write(result, given.json)


def write(result: dict[str, Any], path: str) -> None:
    if path:
        with open(path, "w", encoding="ascii") as file:
            json.dump(result, file, indent=1)


if __name__ == "__main__":
    sys.exit(main())
