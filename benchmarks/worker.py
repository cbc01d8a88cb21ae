"""One pipeline in a process of its own, told what to do line by line: its memory is its own, and its idle thread pools disturb nobody.

python -m benchmarks.worker NAME KIND THREADS SHAPE_JSON
Commands on standard input: `run SEED`, `check SCENARIOS`, `quit`; each answers with one line of JSON.
"""

from __future__ import annotations

import importlib
import json
import platform
import resource
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.shapes import Shape, make

LIBRARIES = {"numpy_scipy": ("numpy", "scipy"), "torch_ops": ("torch",), "jax_jit": ("jax", "jaxlib", "numpy"), "numba_tiles": ("numba", "numpy"),
             "best_mix": ("jax", "numba", "torch"), "ours": ("numpy",), "engine": ("numpy",)}


def resident() -> float:
    """MB in memory now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 1e6


def peak() -> float:
    """MB, the most ever in memory."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def pipeline(name: str, kind: str, threads: int, shape: Shape, sticky: bool) -> tuple[Callable[[int], dict[str, Any]], Callable[[int], float]]:
    """(run, check) of one pipeline."""
    from benchmarks import ours
    from benchmarks.peers.problem import Estimate

    if name == "engine":
        from benchmarks.books import plan_of
        from upm_gpu.backend.select import choose
        from upm_gpu.engine import compute_outcome
        from upm_gpu.passes import in_memory

        plan, choice = plan_of(shape, sticky_moneyness=sticky), choose("cpu", kind, threads)

        def margins(seed: int) -> dict[str, Any]:
            start = time.perf_counter()
            outcome = compute_outcome(plan, choice, 0, in_memory())
            return {"seconds": time.perf_counter() - start, "phases": outcome.timings}

        return margins, lambda count: 0.0
    compiled, rows, walk = make(shape, sticky_moneyness=sticky)
    if name == "ours":
        def es(seed: int, scenarios: Any = walk) -> Estimate:
            return ours.estimate(compiled, rows, scenarios, kind, threads)
    else:
        from benchmarks.peers.problem import problem_of

        made = importlib.import_module(f"benchmarks.peers.{name}").prepare(problem_of(compiled, rows, walk), kind, threads)

        def es(seed: int, scenarios: Any = None) -> Estimate:
            return made(seed, None if scenarios is None else scenarios.values[0])

    def run(seed: int) -> dict[str, Any]:
        start = time.perf_counter()
        found = es(seed)
        return {"seconds": time.perf_counter() - start, "phases": found.phases, "expected_shortfall": found.expected_shortfall.tolist()}

    def check(count: int) -> float:
        given = ours.first_states(compiled, rows, walk, count, threads)
        exact = ours.estimate(compiled, rows, given, "double", threads).expected_shortfall
        return float(np.max(np.abs(es(0, given).expected_shortfall / exact - 1.0)))

    return run, check


def main() -> None:
    name, kind, threads, text = sys.argv[1:5]
    given = json.loads(text)
    sticky = given.pop("sticky_moneyness")
    if name not in ("ours", "engine"):
        importlib.import_module(f"benchmarks.peers.{name}")
        if name in ("jax_jit", "best_mix"):
            importlib.import_module("jax")
    else:
        importlib.import_module("benchmarks.ours" if name == "ours" else "benchmarks.books")
    libraries = resident()
    run, check = pipeline(name, kind, int(threads), Shape(**given), sticky)
    print(json.dumps({"ready": name, "versions": {m: version(m) for m in LIBRARIES[name]} | {"python": platform.python_version()}}), flush=True)
    for line in sys.stdin:
        word, *rest = line.split()
        if word == "quit":
            break
        if word == "run":
            before = time.process_time()
            answer = run(int(rest[0]))
            answer |= {"processor_seconds": time.process_time() - before, "peak_mb": peak(), "above_libraries_mb": peak() - libraries}
        else:
            answer = {"worst_relative_difference": check(int(rest[0]))}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
