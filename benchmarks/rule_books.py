"""Rule books: seconds to margin many accounts over the whole sample chain under every grid rule book that ships.

Run: python -m benchmarks.rule_books [--accounts N] [--device cpu] [--out DIR]. A generated book over the real instruments of `sample:crypto`; the frame (terms and
sparse positions) is built once, each rule book prices its own grid. Target: 10,000 accounts within 10 s on two cores, reading the book not counted.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import tempfile
import time
from datetime import date
from pathlib import Path

from upm_gpu.backend.select import choose
from upm_gpu.domain.reader import load_book
from upm_gpu.generate.book import generate_book
from upm_gpu.market.reader import load_market
from upm_gpu.rulebook import load_rule_book
from upm_gpu.rulebook.frame.held import hold

FILES = ("derive_pmrm2_v2", "derive_pmrm_v1", "paradex_v1", "aevo_v1", "powertrade_v1", "powertrade_v2", "powertrade_v3", "span_v1", "tims_v1",
         "bybit_standard_2022", "deribit_spm_v2024", "deribit_spm_v2026", "deribit_xpm_v2026", "okx_pm_v2024", "okx_pm_v2025", "bybit_pm_v2024", "bybit_pm_v2025")


def measure(accounts: int, device: str) -> dict:
    """Seconds by rule book and in all."""
    market = load_market("sample:crypto")
    with tempfile.TemporaryDirectory() as folder:
        generate_book("sample:crypto", accounts, 3, Path(folder) / "book")
        book = load_book(Path(folder) / "book", market.valuation_time)
    choice = choose(device, "double")
    began = time.perf_counter()
    held = hold(book, market)[0]
    seconds = {"frame": time.perf_counter() - began}
    for name in FILES:
        rules = load_rule_book(f"configs/methodology/{name}.toml")
        start = time.perf_counter()
        rules.module.margin(held, rules.parameters, choice.module.values)
        seconds[name] = time.perf_counter() - start
    return {"accounts": len(held.units), "instruments": held.terms.count, "lines": len(held.unit), "device": choice.name, "threads": choice.threads,
            "seconds": {k: round(v, 3) for k, v in seconds.items()}, "seconds_in_all": round(time.perf_counter() - began, 3)}


def main() -> None:
    """Print the figures, write them with --out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--accounts", type=int, default=10_000)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    found = measure(given.accounts, given.device)
    found |= {"machine": platform.processor() or platform.machine(), "load_average": os.getloadavg()[0]}
    print(json.dumps(found, indent=2))
    if given.out:
        commit = subprocess.run(["git", "rev-parse", "--short=8", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
        (given.out / f"rule_books_{date.today().isoformat()}_{commit}.json").write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
