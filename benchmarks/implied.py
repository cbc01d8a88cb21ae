"""Implied volatilities: millions a second on one core and the error of each method, beside QuantLib, JAX and py_vollib_vectorized in the same run.

Run: python benchmarks/implied.py [--json FILE] [--peers PYTHON]. Total standard deviations from a hundredth to three, strikes within eight of them, as normalised out-of-the-money prices; the error is that of
the total standard deviation found, relative, less what half a unit in the last place of the price allows. Best of 5 passes of process time.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from formula_harness import Kernels, offered, processor_flags

from upm_gpu.formula.out_of_the_money import black_out_of_the_money

COUNT, FEW = 200_000, 2_000
"""cases for speed; of those for errors, priced to 60 digits and rounded once, and for QuantLib, which is called from Python case by case"""


def cases() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """|ln(F / K)|, total standard deviation, price over min(F, K)."""
    rng = np.random.default_rng(11)
    s = np.exp(rng.uniform(np.log(0.01), np.log(3.0), COUNT))
    m = s * np.abs(rng.uniform(-8.0, 8.0, COUNT))
    value = np.asarray(black_out_of_the_money(m, s))
    kept = (value > 1e-290) & (value < 1.0 - 1e-9)
    m, s, value = m[kept], s[kept], value[kept]
    value[:FEW] = [exact(*pair) for pair in zip(m[:FEW], s[:FEW], strict=True)]
    return m, s, value


def exact(m: float, s: float) -> float:
    """Phi(-a) - e^m Phi(-b) with 60 digits, rounded to float64."""
    import mpmath

    with mpmath.workdps(60):
        x, y = mpmath.mpf(m), mpmath.mpf(s)
        return float(mpmath.ncdf(-x / y + y / 2) - mpmath.exp(x) * mpmath.ncdf(-x / y - y / 2))


def best(work: Any) -> float:
    """Seconds of process time of the fastest of 5 calls."""
    fastest = float("inf")
    for _ in range(5):
        start = time.process_time()
        work()
        fastest = min(fastest, time.process_time() - start)
    return fastest


def excess(found: np.ndarray, m: np.ndarray, s: np.ndarray, value: np.ndarray) -> np.ndarray:
    """Relative error of s beyond half a unit in the last place of the price, which moves s by value / (s phi(a)) times as much."""
    a = m / s - 0.5 * s
    condition = value / (s * np.exp(-0.5 * a * a) / np.sqrt(2.0 * np.pi))
    return np.maximum(np.abs(found / s - 1.0) - 1.1102230246251565e-16 * condition, 0.0)


def ours(isa: str, m: np.ndarray, s: np.ndarray, value: np.ndarray) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        library = Kernels.load(isa, Path(folder)).library
        out = np.empty(len(m))
        pointers = [ctypes.c_void_p(x.ctypes.data) for x in (m, value, out)]
        seconds = best(lambda: library.implied_total_stdev(ctypes.c_int64(len(m)), *pointers))
    error = excess(out, m, s, value)[:FEW]
    return {"method": f"this engine, {isa}", "million_per_second": len(m) / seconds / 1e6, "worst": float(error.max()), "median": float(np.median(error))}


def quantlib(m: np.ndarray, s: np.ndarray, value: np.ndarray) -> list[dict[str, Any]]:
    try:
        import QuantLib as ql
    except ImportError:
        return []
    m, s, value = m[:FEW], s[:FEW], value[:FEW]
    strike = np.exp(m)

    def work() -> np.ndarray:
        return np.array([ql.blackFormulaImpliedStdDev(ql.Option.Call, float(k), 1.0, float(v), 1.0, 0.0, float(g), 1e-15, 100) for k, v, g in zip(strike, value, s, strict=True)])

    try:
        found = work()
    except RuntimeError:
        return [{"method": "QuantLib blackFormulaImpliedStdDev: refuses some of these prices", "million_per_second": None, "worst": None, "median": None}]
    error = excess(found, m, s, value)
    return [{"method": "QuantLib blackFormulaImpliedStdDev, started at the answer, called from Python", "million_per_second": FEW / best(work) / 1e6, "worst": float(error.max()),
             "median": float(np.median(error))}]


def peers(python: str, m: np.ndarray, s: np.ndarray, value: np.ndarray) -> tuple[list[dict[str, Any]], list[str]]:
    """Rows of the libraries that interpreter `python` has, and what it has not (implied_peers.py). `unanswered` is the share of the first prices without a volatility."""
    with tempfile.TemporaryDirectory() as folder:
        np.savez(Path(folder) / "cases.npz", m=m, value=value, few=FEW)
        words = [python, str(Path(__file__).with_name("implied_peers.py")), str(Path(folder) / "cases.npz")]
        answer = json.loads(subprocess.run(words, capture_output=True, text=True, check=True, timeout=300).stdout.splitlines()[-1])
    rows = []
    for row in answer["rows"]:
        found = np.array(row["found"])
        answered = np.isfinite(found) & (found > 0.0)
        error = excess(found[answered], m[:FEW][answered], s[:FEW][answered], value[:FEW][answered])
        rows.append({"method": row["method"], "million_per_second": len(m) / row["seconds"] / 1e6, "worst": float(error.max()), "median": float(np.median(error)), "unanswered": 1.0 - float(answered.mean())})
    return rows, answer["missing"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="file to write")
    parser.add_argument("--peers", default=sys.executable, help="interpreter with JAX and py_vollib_vectorized")
    arguments = parser.parse_args()
    data = cases()
    others, missing = peers(arguments.peers, *data)
    rows = [ours(isa, *data) for isa in offered()] + quantlib(*data) + others
    for row in rows:
        print(row)
    print(*missing, sep="\n")
    if arguments.json:
        machine = {"avx512": "avx512f" in processor_flags(), "numpy": np.__version__}
        arguments.json.write_text(json.dumps({"machine": machine, "values": len(data[0]), "precision": "float64", "threads": 1, "rows": rows, "missing": missing}, indent=1) + "\n")


if __name__ == "__main__":
    main()
