"""Throughput of the scalar formulae on one core, beside NumPy and SciPy on the same numbers in the same run.

Run: python benchmarks/formulas.py [--json FILE]. Warm first-level cache (1,024 values, 8 KiB a column), best of 10 batches of 2,000 calls
(NumPy: best of 200 calls, output allocated before). The ratio is what is worth quoting, the machine is noisy; a black ratio
near 1 means that vectorisation was lost.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import scipy.special

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from formula_harness import Kernels, offered, processor_flags

from upm_gpu.rng.normal import normal

COUNT = 1024


def best(work: Callable[[], object], calls: int = 200) -> float:
    """Seconds of the fastest call."""
    fastest = float("inf")
    for _ in range(calls):
        start = time.perf_counter()
        work()
        fastest = min(fastest, time.perf_counter() - start)
    return fastest


def numpy_black(forward: np.ndarray, strike: float, log_moneyness: np.ndarray, stdev: float) -> np.ndarray:
    """The textbook call: two ndtr, no parity; what a NumPy user writes."""
    d1 = log_moneyness / stdev + 0.5 * stdev
    return forward * scipy.special.ndtr(d1) - strike * scipy.special.ndtr(d1 - stdev)


def measure(isa: str, folder: Path) -> list[dict[str, object]]:
    library = Kernels.load(isa, folder).library
    rng = np.random.default_rng(1)
    u = rng.uniform(0.0, 1.0, COUNT)
    x = rng.uniform(-3.0, 3.0, COUNT)
    log_moneyness = rng.normal(0.0, 0.1, COUNT)
    forward = 105.0 * np.exp(log_moneyness)
    out = np.empty(COUNT)
    repeats = 2_000 if isa != "plain" else 100
    peers: dict[str, tuple[np.ndarray, Callable[[], object]]] = {
        "black": (np.concatenate([forward, log_moneyness]), lambda: numpy_black(forward, 105.0, log_moneyness, 0.2)),
        "normal_quantile": (u, lambda: scipy.special.ndtri(u, out)),
        "normal_cdf": (x, lambda: scipy.special.ndtr(x, out)),
        "exponential": (x, lambda: np.exp(x, out)),
        "logarithm": (u, lambda: np.log(u, out)),
        "normals": (u, lambda: normal(1, 0, COUNT, 1)),
    }
    rows = []
    for name, (data, peer) in peers.items():
        own = getattr(library, f"{name}_repeated")
        arguments = (ctypes.c_int64(repeats), ctypes.c_int64(COUNT), data.ctypes.data_as(ctypes.c_void_p), out.ctypes.data_as(ctypes.c_void_p))
        ours, theirs = best(lambda own=own, arguments=arguments: own(*arguments), 10) / repeats, best(peer)
        rows.append({"isa": isa, "formula": name, "million_per_second": COUNT / ours / 1e6, "numpy_million_per_second": COUNT / theirs / 1e6,
                     "ratio": theirs / ours})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="file to write")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = [row for isa in reversed(offered()) for row in measure(isa, Path(folder))]
    print(f"float64, one core, {COUNT} values, best call")
    print(f"{'isa':8}{'formula':22}{'M/s':>8}{'NumPy M/s':>12}{'ratio':>8}")
    for row in rows:
        print(f"{row['isa']:8}{row['formula']:22}{row['million_per_second']:8.0f}{row['numpy_million_per_second']:12.1f}{row['ratio']:8.1f}")
    if arguments.json:
        machine = {"processor": platform.processor() or platform.machine(), "avx512": "avx512f" in processor_flags(), "numpy": np.__version__}
        arguments.json.write_text(json.dumps({"machine": machine, "values": COUNT, "precision": "float64", "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
