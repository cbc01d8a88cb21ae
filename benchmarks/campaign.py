"""Stress campaigns over the crypto sample: losses of many shocks, margins after some, the search for breaking moves; wall seconds on the CPU backend.

    PYTHONPATH=. python benchmarks/campaign.py [--shocks 10000] [--margins 32] [--out FILE.json]

Beside the losses: a plain NumPy reference (the `reference` backend, same moves, fewer of them), scaled. Bounds held to on two cores: 10,000 shocks x 2,000 accounts over the full chain within 10 s;
1,000 margins of 10,000 scenarios within 15 minutes.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

from upm_gpu.backend import cpu, reference
from upm_gpu.campaign import chunks
from upm_gpu.campaign.config import load_campaign
from upm_gpu.campaign.reverse import reverse_stress
from upm_gpu.campaign.stressed_book import stressed_book
from upm_gpu.run.manifest import identity, versions

TEXT = """schema_version = 1
name = "speed"
[base]
config = "configs/quickstart.toml"
count = 10000
[[families]]
name = "a fall by a fifth"
given = {{ BTC = {{ price = -0.2 }} }}
count = {count}
"""
PEER = 200
"""shocks of the reference"""


def seconds(work: object) -> float:
    """Wall seconds of a call."""
    start = time.perf_counter()
    work()  # type: ignore[operator]
    return time.perf_counter() - start


def main() -> None:
    """Time every part."""
    given = argparse.ArgumentParser()
    given.add_argument("--shocks", type=int, default=10_000)
    given.add_argument("--margins", type=int, default=32)
    given.add_argument("--out", type=Path)
    asked = given.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "campaign.toml"
        file.write_text(TEXT.format(count=asked.shocks))
        campaign, _ = load_campaign(file)
        start = time.perf_counter()
        book = stressed_book(campaign.books[0], campaign)
        found = {"prepare": time.perf_counter() - start}
        (Path(folder) / chunks.LOSSES).mkdir()
        ranges = chunks.ranges(book, chunks.LOSSES)
        book.values(0, 100)  # warm
        found["losses, computed"] = seconds(lambda: [book.values(f, t) for f, t in ranges])
        found["losses, written"] = seconds(lambda: [chunks.make(Path(folder), book, chunks.LOSSES, f, t) for f, t in ranges])
        own = book.today, book.rows, book.choice
        from upm_gpu import exhibits
        from upm_gpu.campaign.stressed_book import at_once

        few = at_once(book.today, book.shocks.moves[:, :PEER])
        found["losses, reference backend scaled"] = seconds(lambda: exhibits.row_values(reference, own[0], own[1], few, 1)) * asked.shocks / PEER
        found["margins, each"] = seconds(lambda: chunks.margins(book, 0, asked.margins)) / asked.margins
        found["reverse stress, all accounts"] = seconds(lambda: reverse_stress(book, True, False, 0.0))
    report = {"benchmark": "campaign", **identity(), "libraries": versions(), "isa": cpu.isas()[0], "threads": book.choice.threads, "shocks": asked.shocks, "accounts": len(book.accounts), "columns": book.today.columns,
              "scenarios_of_a_margin": campaign.base.count, "precision": "double (losses), mixed (margins)", "seconds": {k: round(v, 3) for k, v in found.items()}}
    print(json.dumps(report["seconds"], indent=2))
    if asked.out:
        asked.out.write_text(json.dumps(report, indent=2, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
