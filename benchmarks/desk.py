"""What-if from resident scenarios beside a fresh run and a plain NumPy implementation, on the crypto sample.

Run: python benchmarks/desk.py [--scenarios S] [--positions N] [--singles N] [--many N] [--rounds N]. The sample's book with one more account of N positions in random instruments of the sample, house methodology 1,
precision mixed. Times are of the whole call, in wall-clock seconds and, because a busy machine spoils those, in processor seconds of all threads (`cpu`); selection, sum and order of many orders run on two threads.

1. `open`: drawing the scenarios and keeping them; footprint beside it.
2. `single`: one order of one instrument a call, after the account's vector was made: median and 99 % of `--singles` calls.
3. `many`: `--many` orders in one call, per item, median of `--rounds` calls (the first finds what is kept of every instrument); its answers are columns, `read` puts every one of them together as an
   object. `times_less`: of a call of one order.
4. `numpy`: the account's P&L as a product of its quantities and the unit P&L (float32 matrix of its own columns), partition, mean of the tail: ES alone, no equity, charges or errors.
5. `fresh`: the engine over the whole changed book.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections import defaultdict

import numpy as np

from upm_gpu import desk
from upm_gpu.backend.select import choose
from upm_gpu.desk.change import Known, changed_book
from upm_gpu.domain.book import Book
from upm_gpu.domain.instrument import Spot
from upm_gpu.domain.reader import load_book
from upm_gpu.engine import compute_outcome
from upm_gpu.margin.methodology import load_methodology
from upm_gpu.market.reader import load_market
from upm_gpu.passes import in_memory
from upm_gpu.plan import make_plan
from upm_gpu.scenario.spec import ScenarioSpec
from upm_gpu.shipped import resolve_sample


def with_large_account(book: Book, market: object, positions: int, draw: np.random.Generator) -> tuple[Book, str]:
    """The book with `positions` instruments in its first account."""
    held = [book.instruments[n].instrument_id for n in np.unique(book.positions.instrument) if not isinstance(book.instruments[n], Spot)]
    name = book.accounts[0].account_id
    known = Known({a.account_id: n for n, a in enumerate(book.accounts)}, {i.instrument_id: n for n, i in enumerate(book.instruments)}, frozenset(), defaultdict(float))
    orders = [desk.Order(name, str(i), float(draw.integers(-20, 21)) or 1.0) for i in draw.choice(held, positions, replace=False)]
    return changed_book(book, market, orders, known, "none"), name  # type: ignore[arg-type]


def main() -> None:
    """Measure and print one JSON object."""
    ask = argparse.ArgumentParser()
    for name, default in (("scenarios", 100_000), ("positions", 500), ("singles", 200), ("many", 10_000), ("rounds", 3)):
        ask.add_argument(f"--{name}", type=int, default=default)
    given = ask.parse_args()
    draw = np.random.default_rng(1)
    market = load_market(resolve_sample("sample:crypto", "market"))
    book, account = with_large_account(load_book(resolve_sample("sample:crypto", "book"), market.valuation_time), market, given.positions, draw)
    spec, method, choice = ScenarioSpec(count=given.scenarios, seed=20260205, horizons=(2.0,)), load_methodology(), choose("cpu")

    start = time.perf_counter()
    resident = desk.keep(book, market, spec, method, choice)
    opened = time.perf_counter() - start
    names = resident.plan.compiled.instrument_ids
    tradable = [n for n in names if n in resident.known.instruments]
    orders = [[desk.Order(account, str(tradable[draw.integers(len(tradable))]), float(draw.integers(1, 11)) * (1.0 if draw.integers(2) else -1.0))] for _ in range(max(given.singles, given.many))]
    start = time.perf_counter()
    desk.whatif(resident, orders[:1])
    first = time.perf_counter() - start
    desk.whatif(resident, orders[1:4])
    single, single_cpu = [], []
    for one in orders[: given.singles]:
        start, spent = time.perf_counter(), time.process_time()
        desk.whatif(resident, [one])
        single.append(time.perf_counter() - start)
        single_cpu.append(time.process_time() - spent)
    many, many_cpu, read = [], [], []
    for _ in range(given.rounds):
        start, spent = time.perf_counter(), time.process_time()
        answers = desk.whatif(resident, orders[: given.many])
        many.append((time.perf_counter() - start) / given.many)
        many_cpu.append((time.process_time() - spent) / given.many)
        start = time.perf_counter()
        for answer in answers:
            assert answer
        read.append((time.perf_counter() - start) / given.many)

    plan, cube = resident.plan, next(iter(resident.cubes.values()))
    unit = list(plan.units.names).index(account)
    part = slice(int(plan.rows.first[unit]), int(plan.rows.first[unit + 1]))
    own, quantity, tail = np.ascontiguousarray(cube.unit[plan.rows.column[part]]), plan.rows.quantity[part].astype(np.float32), given.scenarios // 100
    plain = []
    for _ in range(5):
        spent = time.process_time()
        np.partition(quantity @ own, tail)[:tail].mean()
        plain.append(time.process_time() - spent)
    start, spent = time.perf_counter(), time.process_time()
    compute_outcome(make_plan(desk.book_after(resident, orders[0]), market, spec, method), choice, 0, in_memory())
    fresh, fresh_cpu = time.perf_counter() - start, time.process_time() - spent
    print(json.dumps({"machine": platform.processor() or platform.machine(), "cores": len(os.sched_getaffinity(0)), "load": os.getloadavg()[0], "device": "cpu", "precision": "mixed",
                      "accounts": len(book.accounts), "scenarios": given.scenarios, "positions": given.positions, "open_s": opened, "first_use_s": first, "single_median_ms": 1e3 * float(np.median(single)),
                      "single_p99_ms": 1e3 * float(np.quantile(single, 0.99)), "single_median_cpu_ms": 1e3 * float(np.median(single_cpu)),
                      "single_p99_cpu_ms": 1e3 * float(np.quantile(single_cpu, 0.99)), "many": given.many, "many_ms_an_item": 1e3 * float(np.median(many)), "many_first_ms_an_item": 1e3 * many[0], "many_cpu_ms_an_item": 1e3 * float(np.median(many_cpu)),
                      "read_ms_an_item": 1e3 * float(np.median(read)), "times_less": float(np.median(single) / np.median(many)), "times_less_cpu": float(np.median(single_cpu) / np.median(many_cpu)),
                      "numpy_cpu_ms": 1e3 * float(np.median(plain)), "fresh_s": fresh, "fresh_cpu_s": fresh_cpu,
                      "footprint": resident.footprint()}, indent=2))


if __name__ == "__main__":
    main()
