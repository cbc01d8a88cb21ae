"""`upm tables`: value tables for the markets to come, made from a run's configuration into one file that later runs are given (`compute.tables`)."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from upm_gpu.errors import UsageError
from upm_gpu.pricing.library_build import Margins, make_entries
from upm_gpu.pricing.table_library import library_bytes, library_of


def make_tables(config_path: Path | None, out: Path, margins: Margins, device: str = "auto") -> dict[str, Any]:
    """Write the library of a configuration's book and market; a summary of what it holds and what was left out."""
    from upm_gpu.backend.select import choose
    from upm_gpu.config import load_config, scenario_spec
    from upm_gpu.domain.reader import load_book
    from upm_gpu.inputs import gather
    from upm_gpu.margin.methodology import load_methodology
    from upm_gpu.market.reader import load_market
    from upm_gpu.plan import make_plan
    from upm_gpu.run.durable import write_file

    for name, value in vars(margins).items():
        if not 0.0 <= value < 1e3:
            raise UsageError("UPM-CF-134", f"--{name} {value}: not a number of 0 or more. Give how far it may move.")
    if out.is_dir() or not out.resolve().parent.is_dir():
        raise UsageError("UPM-CF-072", f"{out}: not a file that can be written. Give a file name in a folder that exists with --out.")
    started = time.perf_counter()
    config = load_config(config_path, {})
    choice = choose(device, "double", config.compute.threads)
    files = gather(config)
    market = load_market(files.market)
    book = load_book(files.book, market.valuation_time, config.book.max_reject_share)
    plan = make_plan(book, market, scenario_spec(config), load_methodology(files.methodology))
    entries, left_out = make_entries(plan.compiled, (plan.scenarios, *plan.sets.values()), margins, choice.module, choice.threads)
    content = library_bytes(entries)
    write_file(out, content)
    return {"file": str(out), "sha256": library_of(content).sha256, "entries": len(entries), "values": int(sum(e.values.size for e in entries)), "bytes": len(content),
            "largest_error_per_strike": max((e.error for e in entries), default=0.0), "left_out": list(left_out), "seconds": round(time.perf_counter() - started, 2)}


__all__ = ["make_tables"]
