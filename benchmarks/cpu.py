"""Speed on the CPU beside what a capable user would otherwise write: `python -m benchmarks.cpu [--shape small|target|sample] [--repeat N]`.

Every pipeline lives in its own process; rounds are interleaved, so all see the same machine, and one round warms up. A machine
with other work on it lengthens wall times and processor times differently: medians of both are shown with the least, and ratios are what
is worth quoting. That all compute the same is checked twice: on the same states (differences are rounding), and from
their own random numbers (differences within the Monte Carlo error). Peers need the `bench` extra; those not installed are named and left out.

`engine` is the whole computation between inputs compiled and margins known, by this command's own clock: tail pass and measures (what a
manifest calls `timings.engine`), contributions of every position, charges, tables; `phases_median` keeps the parts apart. `ours` is the
tail pass with the measures, which is all that the peers do.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.shapes import SHAPES, Shape

HERE = Path(__file__).resolve().parent
PIPELINES = ("engine:mixed", "ours:mixed", "ours:double", "best_mix:float32", "torch_ops:float32", "jax_jit:float32", "numba_tiles:float32",
             "numpy_scipy:float32", "numpy_scipy:float64", "numpy_scipy_1:float64")
CHECKED = 10_000
"""scenarios of the check on the same states"""
AGREEMENT = 1e-4
"""largest relative difference of an account's ES on the same states; float32 throughout errs about 2e-6 on these books"""
GROWTH = {"accounts": (1, 2, 4, 8), "positions": (1, 2, 4, 8), "scenarios": (1, 2, 4, 8), "options": (1, 2, 4)}
"""multiples of SMALL by which time is measured along one axis"""


class Worker:
    """A pipeline in its process. `name_1` runs on one thread whatever the others get."""

    def __init__(self, label: str, shape: Shape, threads: int, sticky: bool) -> None:
        name, self.kind = label.split(":")
        self.label, self.threads = label, 1 if name.endswith("_1") else threads
        self.name = name.removesuffix("_1")
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE.parent), os.environ.get("PYTHONPATH", "")])}
        environment |= {f"{library}_NUM_THREADS": str(self.threads) for library in ("OMP", "MKL", "OPENBLAS", "NUMBA")}
        given = json.dumps({**asdict(shape), "sticky_moneyness": sticky})
        self.process = subprocess.Popen([sys.executable, "-m", "benchmarks.worker", self.name, self.kind, str(self.threads), given], text=True, env=environment,
                                        cwd=HERE.parent, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.hello = self._read()

    def _read(self) -> dict[str, Any] | None:
        line = self.process.stdout.readline()
        return json.loads(line) if line else None

    def ask(self, command: str) -> dict[str, Any]:
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        answer = self._read()
        if answer is None:
            raise SystemExit(f"{self.label} failed: {self.process.stderr.read()[-2000:]}")
        return answer

    def why(self) -> str:
        lines = self.process.stderr.read().strip().splitlines()
        return lines[-1] if lines else "no reason given"

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.stdin.write("quit\n")
            self.process.stdin.close()
        self.process.wait()


def measure(shape: Shape, labels: list[str], threads: int, repeat: int, sticky: bool, peer_scenarios: int) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Records of the pipelines that could be started, and the reasons of those left out."""
    workers, skipped = [], {}
    for label in labels:
        peer = not label.startswith(("ours", "engine"))
        worker = Worker(label, replace(shape, scenarios=peer_scenarios) if peer and peer_scenarios else shape, threads, sticky)
        if worker.hello is None:
            skipped[label] = worker.why()
            continue
        workers.append((worker, peer_scenarios if peer and peer_scenarios else shape.scenarios, []))
    for turn in range(repeat + 1):
        for worker, _, answers in workers:
            answers.append(worker.ask(f"run {turn + 1}"))
    records = []
    for worker, scenarios, (warm_up, *answers) in workers:
        seconds, busy = [a["seconds"] for a in answers], [a["processor_seconds"] for a in answers]
        scale = shape.scenarios / scenarios
        record = {
            "pipeline": worker.label, "threads": worker.threads, "versions": worker.hello["versions"], "scenarios_run": scenarios,
            "warm_up_seconds": warm_up["seconds"], "seconds_median": scale * statistics.median(seconds), "seconds_least": scale * min(seconds),
            "seconds_most": scale * max(seconds), "processor_seconds_median": scale * statistics.median(busy), "processor_seconds_least": scale * min(busy),
            "phases_median": {k: scale * statistics.median(a["phases"][k] for a in answers) for k in answers[0]["phases"]},
            "peak_mb": max(a["peak_mb"] for a in answers), "above_libraries_mb": max(a["above_libraries_mb"] for a in answers),
            "expected_shortfall": [a.get("expected_shortfall") for a in answers],
        }
        if worker.name != "engine":
            record |= worker.ask(f"check {min(CHECKED, scenarios)}")
        worker.close()
        records.append(record)
    return records, skipped


def agree(records: list[dict[str, Any]], shape: Shape, sticky: bool, threads: int) -> list[str]:
    """Compares every ES with ours; adds what was found to the records. Returns complaints."""
    from benchmarks import ours
    from benchmarks.shapes import make

    complaints = []
    reference = next((r for r in records if r["pipeline"].startswith("ours")), None)
    if reference is None:
        return ["our own pipeline was not asked for: nothing to compare with"]
    error = ours.standard_error(*make(shape, sticky_moneyness=sticky), threads)
    exact = np.array(reference["expected_shortfall"][0])
    for record in records:
        if record["pipeline"].startswith("engine"):
            continue
        draws = [(np.array(es) - exact) / (error * np.sqrt(1.0 + shape.scenarios / record["scenarios_run"])) for es in record["expected_shortfall"]]
        record["standard_errors_rms"] = float(np.sqrt(np.mean(np.square(draws))))
        if record["worst_relative_difference"] > AGREEMENT:
            complaints.append(f"{record['pipeline']}: an ES on the same states differs by {record['worst_relative_difference']:.1e} relative")
        if record["standard_errors_rms"] > 2.0:
            complaints.append(f"{record['pipeline']}: ES differs by {record['standard_errors_rms']:.1f} standard errors in the root mean square, 1 is expected")
    for record in records:
        del record["expected_shortfall"]
    return complaints


def growth(threads: int, base: Shape) -> dict[str, Any]:
    """Least seconds of our tail pass along each axis from `base` up, and the slope of log time against log size (1: linear)."""
    found: dict[str, Any] = {}
    for axis, multiples in GROWTH.items():
        sizes, seconds, busy = [], [], []
        for multiple in multiples:
            shape = replace(base, **{axis: getattr(base, axis) * multiple})
            worker = Worker("ours:mixed", shape, threads, False)
            answers = [worker.ask("run 1") for _ in range(4)][1:]
            worker.close()
            sizes.append(getattr(shape, axis))
            seconds.append(min(a["seconds"] for a in answers))
            busy.append(min(a["processor_seconds"] for a in answers))
        found[axis] = {"sizes": sizes, "seconds_least": seconds, "processor_seconds_least": busy,
                       "slope": float(np.polyfit(np.log(sizes), np.log(busy), 1)[0]),
                       "last_slope": float(np.log(busy[-1] / busy[-2]) / np.log(sizes[-1] / sizes[-2]))}
    return found


def sample(repeat: int, threads: int) -> list[dict[str, Any]]:
    """The bundled sample through the engine; peers do not offer its law (t copula, settlements on the path, several dates)."""
    from upm_gpu.backend.select import choose
    from upm_gpu.config import load_config, scenario_spec
    from upm_gpu.domain.reader import load_book
    from upm_gpu.engine import compute_outcome
    from upm_gpu.inputs import gather
    from upm_gpu.margin.methodology import load_methodology
    from upm_gpu.market.reader import load_market
    from upm_gpu.passes import in_memory
    from upm_gpu.plan import make_plan

    config = load_config(HERE.parent / "configs" / "quickstart.toml", {})
    files = gather(config)
    market = load_market(files.market)
    book = load_book(files.book, market.valuation_time, config.book.max_reject_share)
    plan = make_plan(book, market, scenario_spec(config), load_methodology(files.methodology))
    records = []
    for precision in ("mixed", "double"):
        runs, seconds = [], []
        for _ in range(repeat + 1):
            start = time.perf_counter()
            runs.append(compute_outcome(plan, choose("cpu", precision, threads), 0, in_memory()).timings)
            seconds.append(time.perf_counter() - start)
        runs, seconds = runs[1:], seconds[1:]
        records.append({"pipeline": f"engine:{precision}", "threads": threads, "seconds_median": statistics.median(seconds), "seconds_least": min(seconds),
                        "seconds_most": max(seconds), "phases_median": {k: statistics.median(r[k] for r in runs) for k in runs[0]},
                        "accounts": len(book.accounts), "columns": plan.compiled.columns, "entries": len(plan.rows.column), "scenarios": plan.scenarios.count,
                        "horizons": len(plan.horizons)})
    return records


def machine() -> dict[str, Any]:
    from upm_gpu import __version__
    from upm_gpu.backend import cpu
    from upm_gpu.run.manifest import kernels_sha256

    info = Path("/proc/cpuinfo")
    model = next((line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")), "") if info.exists() else ""
    return {"processor": model or platform.processor(), "cores": cpu.default_threads(), "isa": cpu.isas()[0], "system": platform.system(), "version": __version__,
            "kernels_sha256": kernels_sha256(), "load_before": os.getloadavg()}


def show(records: list[dict[str, Any]], title: str) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title)
    for name in ("pipeline", "median s", "least s", "x ours", "processor s", "x ours", "simulate", "price", "aggregate", "tail", "peak MB", "own MB", "worst rel. diff.", "rms s.e."):
        table.add_column(name, justify="left" if name == "pipeline" else "right", overflow="fold")
    ours = next((r for r in records if r["pipeline"] == "ours:mixed"), records[0])
    for r in records:
        phases = r["phases_median"]
        busy = r.get("processor_seconds_median")
        cells = [r["pipeline"], f"{r['seconds_median']:.3f}", f"{r['seconds_least']:.3f}", f"{r['seconds_median'] / ours['seconds_median']:.1f}",
                 f"{busy:.3f}" if busy else "", f"{busy / ours['processor_seconds_median']:.1f}" if busy else "",
                 *(f"{phases[k]:.3f}" if k in phases else "" for k in ("simulate", "price", "aggregate", "tail")),
                 *(f"{r[k]:.0f}" if k in r else "" for k in ("peak_mb", "above_libraries_mb")),
                 f"{r['worst_relative_difference']:.0e}" if "worst_relative_difference" in r else "", f"{r['standard_errors_rms']:.2f}" if "standard_errors_rms" in r else ""]
        table.add_row(*cells)
    Console(width=None if sys.stdout.isatty() else 170).print(table)


def show_growth(found: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title="growth of our tail pass from SMALL: processor seconds, log-log slope (1 is linear; below 1, a part does not grow along the axis)")
    for name in ("axis", "sizes", "processor s", "slope", "last slope"):
        table.add_column(name)
    for axis, r in found.items():
        table.add_row(axis, " ".join(f"{s:,}" for s in r["sizes"]), " ".join(f"{s:.3f}" for s in r["processor_seconds_least"]), f"{r['slope']:.2f}", f"{r['last_slope']:.2f}")
    Console(width=None if sys.stdout.isatty() else 170).print(table)


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", choices=["tiny", "small", "target", "sample"], default="small")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--pipelines", "--peers", nargs="*", default=list(PIPELINES), metavar="NAME:KIND", help=" ".join(PIPELINES))
    parser.add_argument("--sticky-moneyness", action="store_true", help="ours alone: peers price sticky strike only")
    parser.add_argument("--peer-scenarios", type=int, default=0, help="peers run this many scenarios and their times are scaled up (cost is linear in scenarios)")
    parser.add_argument("--growth", action="store_true", help="time along each axis from SMALL up")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args(words)
    result: dict[str, Any] = {"benchmark": "cpu", "shape": given.shape, "date": datetime.now(UTC).strftime("%Y-%m-%d"), "machine": machine(), "threads": given.threads,
                              "repeat": given.repeat, "warm_up": 1, "sticky_moneyness": given.sticky_moneyness}
    complaints: list[str] = []
    if given.shape == "sample":
        result["results"] = sample(given.repeat, given.threads)
    else:
        shape = SHAPES[given.shape.upper()]
        labels = [p for p in given.pipelines if p.startswith(("ours", "engine"))] if given.sticky_moneyness else given.pipelines
        records, result["left_out"] = measure(shape, labels, given.threads, given.repeat, given.sticky_moneyness, given.peer_scenarios)
        complaints = agree(records, shape, given.sticky_moneyness, given.threads)
        result |= {"sizes": asdict(shape), "results": records, "complaints": complaints}
    result["machine"]["load_after"] = os.getloadavg()
    show(result["results"], f"{given.shape.upper()}, {given.threads} threads, {result['machine']['isa']}, median of {given.repeat}")
    for label, reason in result.get("left_out", {}).items():
        print(f"left out: {label}: {reason}")
    for complaint in complaints:
        print(f"DISAGREES: {complaint}")
    if given.growth:
        result["growth"] = growth(given.threads, SHAPES["SMALL"])
        show_growth(result["growth"])
    text = json.dumps(result, indent=1) + "\n"
    out = given.out or HERE / "results" / f"cpu_{given.shape}_{result['date']}_{hashlib.sha256(text.encode()).hexdigest()[:8]}.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(text)
    print(out)
    return 1 if complaints else 0


if __name__ == "__main__":
    raise SystemExit(main())
