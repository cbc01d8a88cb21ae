"""Prices and implied volatilities beside QuantLib, JAX and py_vollib_vectorized in one run: American, exotics, Heston, Bates and Merton, implied volatility.

Run: python -m benchmarks.prices [--peers PYTHON] [--out FOLDER]. `--peers` is an interpreter whose environment has JAX and py_vollib_vectorized (default: this one). Writes
prices_DATE_HASH.json, in which every section has its rows with microseconds (or millions a second) and the largest error, one thread, process time, best of five; below two minutes.
A library that is absent is named under `missing`. Measure on a quiet machine: the load average is kept with the figures.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))


def section(main: Callable[[], None], name: str, *more: str) -> dict[str, Any]:
    """What a benchmark of this folder writes with `--json`, and the seconds it took."""
    start, kept = time.perf_counter(), sys.argv
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "rows.json"
        sys.argv = [name, "--json", str(file), *more]
        try:
            main()
        finally:
            sys.argv = kept
        return {**json.loads(file.read_text()), "seconds": time.perf_counter() - start}


def release(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peers", default=sys.executable, help="interpreter with JAX and py_vollib_vectorized")
    parser.add_argument("--out", type=Path, default=HERE / "results", help="folder of the file")
    given = parser.parse_args()
    from benchmarks import american, exotics, implied, model_options

    found = {"american": section(american.main, "american"), "exotics": section(exotics.main, "exotics"), "model_options": section(model_options.main, "model_options"),
             "implied": section(implied.main, "implied", "--peers", given.peers)}
    whole = {"machine": {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count(), "load_average": os.getloadavg()}, "quantlib": release("QuantLib"), "date": time.strftime("%Y-%m-%d"), **found}
    text = json.dumps(whole, indent=1) + "\n"
    given.out.mkdir(parents=True, exist_ok=True)
    file = given.out / f"prices_{whole['date']}_{hashlib.sha256(text.encode()).hexdigest()[:8]}.json"
    file.write_text(text)
    print(file)


if __name__ == "__main__":
    main()
