"""Draws a second and thread beside what ready parts draw: `python -m benchmarks.draws [--only NAME,...] [--rounds N] [--json FILE]`.

Correlated normals with loadings, a factor model, quadratic-exponential steps of Heston, filtered historical simulation, Sobol points plain
and scrambled to correlated normals; float64, one thread, one process pinned to one core. Rounds are interleaved, so all see the same machine; what is
kept is processor seconds, the least and the median of the rounds, and the ratio of the median to that of the fastest peer. Peers write the
same arrays from their own generators, without caps and dates, and with a centring where ours has one (a case says so; theirs is one polynomial of the degree that our
table has in each of its cells); what a peer may do once (compile, allocate) is not counted. JAX and torch need the `bench` extra; those not installed are named and left out.

Slopes: ours at one, two and four times the factors, steps and scenarios; seconds over those of one, 2 and 4 where cost is linear.
"""

from __future__ import annotations

import os

for _name in ("OMP", "MKL", "OPENBLAS", "NUMEXPR"):
    os.environ[f"{_name}_NUM_THREADS"] = "1"
os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"

import argparse  # noqa: E402
import json  # noqa: E402
import platform  # noqa: E402
import statistics  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402
from collections.abc import Callable  # noqa: E402
from datetime import UTC, datetime  # noqa: E402
from importlib.metadata import PackageNotFoundError, version  # noqa: E402
from typing import Any  # noqa: E402

from benchmarks import draws_ours, draws_peers  # noqa: E402

Work = Callable[[], Any]
CASES = {
    "normals, 50 factors": ("normals", {"factors": 50, "scenarios": 1 << 16}),
    "normals, 500 factors": ("normals", {"factors": 500, "scenarios": 1 << 13}),
    "factor model, 50 factors": ("factor_model", {"factors": 50, "common": 5, "scenarios": 1 << 16}),
    "factor model, 500 factors": ("factor_model", {"factors": 500, "common": 10, "scenarios": 1 << 13}),
    "heston, 1 underlying": ("heston", {"underlyings": 1, "steps": 16, "scenarios": 1 << 17}),
    "heston, 20 underlyings": ("heston", {"underlyings": 20, "steps": 16, "scenarios": 1 << 13}),
    "filtered historical": ("filtered", {"factors": 50, "steps": 10, "rows": 1000, "scenarios": 1 << 13, "centred": False}),
    "filtered historical, centred": ("filtered", {"factors": 50, "steps": 10, "rows": 1000, "scenarios": 1 << 13, "centred": True}),
    "sobol normals, owen, 50 dimensions": ("sobol_normals", {"dimensions": 50, "scenarios": 1 << 16, "owen": True}),
    "sobol normals, shift, 50 dimensions": ("sobol_normals", {"dimensions": 50, "scenarios": 1 << 16, "owen": False}),
    "sobol points, 50 dimensions": ("sobol_points", {"dimensions": 50, "scenarios": 1 << 16}),
    "sobol points, 500 dimensions": ("sobol_points", {"dimensions": 500, "scenarios": 1 << 13}),
}
"""name: (kind, sizes); a draw is one factor and step of one scenario"""
SLOPES = {
    "factors": ("factor_model", [{"factors": 125 * n, "common": 5, "scenarios": 1 << 13} for n in (1, 2, 4)]),
    "steps": ("heston", [{"underlyings": 5, "steps": 8 * n, "scenarios": 1 << 13} for n in (1, 2, 4)]),
    "scenarios": ("normals", [{"factors": 50, "scenarios": n << 14} for n in (1, 2, 4)]),
}


def interleaved(work: dict[str, Work], rounds: int) -> dict[str, list[float]]:
    """Processor seconds of every call, after one that warms up."""
    seconds: dict[str, list[float]] = {name: [] for name in work}
    for number in range(rounds + 1):
        for name, call in work.items():
            start = time.process_time()
            call()
            if number:
                seconds[name].append(time.process_time() - start)
    return seconds


def draws(sizes: dict[str, Any]) -> int:
    """Random coordinates of a case."""
    count = int(sizes["scenarios"])
    for axis in ("factors", "dimensions", "underlyings", "steps"):
        count *= int(sizes.get(axis, 1))
    return count


def run_case(name: str, rounds: int, missing: set[str]) -> dict[str, Any]:
    kind, sizes = CASES[name]
    work: dict[str, Work] = {"ours": draws_ours.WORK[kind](**sizes)}
    for peer, make in draws_peers.WORK[kind].items():
        try:
            work[peer] = make(**sizes)
        except ImportError:
            missing.add(peer)
    seconds = interleaved(work, rounds)
    count, median = draws(sizes), {who: statistics.median(s) for who, s in seconds.items()}
    peers = {who: s for who, s in median.items() if who != "ours"}
    best = min(peers, key=lambda who: peers[who])
    row = {"case": name, "sizes": sizes, "draws": count, "seconds_median": median, "seconds_least": {who: min(s) for who, s in seconds.items()},
           "million_a_second": {who: count / s / 1e6 for who, s in median.items()}, "best_peer": best, "ratio": median[best] / median["ours"],
           "ratio_of_least": min(seconds[best]) / min(seconds["ours"])}
    print(f"{name:38s} ours {row['million_a_second']['ours']:7.1f} M/s, {row['ratio']:5.2f} x {best} ({row['ratio_of_least']:.2f} of the least); "
          + ", ".join(f"{who} {row['million_a_second'][who]:.1f}" for who in peers), flush=True)
    return row


def slope(axis: str, rounds: int) -> dict[str, Any]:
    kind, sizes = SLOPES[axis]
    seconds = interleaved({str(i): draws_ours.WORK[kind](**one) for i, one in enumerate(sizes)}, rounds)
    least = [min(s) for s in seconds.values()]
    row = {"axis": axis, "kind": kind, "sizes": sizes, "seconds_least": least, "times": [s / least[0] for s in least]}
    print(f"slope in {axis}: 1, 2, 4 times cost " + ", ".join(f"{t:.2f}" for t in row["times"]), flush=True)
    return row


def versions() -> dict[str, str]:
    found = {}
    for name in ("numpy", "scipy", "jax", "torch"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="cases whose name contains one of these")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", default="")
    given = parser.parse_args()
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    missing: set[str] = set()
    chosen = [c for c in CASES if not given.only or any(part in c for part in given.only.split(","))]
    cases = [run_case(c, given.rounds, missing) for c in chosen]
    slopes = [] if given.only else [slope(axis, given.rounds) for axis in SLOPES]
    if missing:
        print(f"not installed: {', '.join(sorted(missing))}", file=sys.stderr)
    if given.json:
        result = {"when": datetime.now(UTC).isoformat(timespec="seconds"), "machine": platform.machine(), "isa": draws_ours.isa(), "threads": 1, "precision": "float64",
                  "rounds": given.rounds, "load": os.getloadavg()[0], "versions": versions(), "cases": cases, "slopes": slopes}
        with open(given.json, "w", encoding="ascii") as file:
            json.dump(result, file, indent=1)


if __name__ == "__main__":
    main()
