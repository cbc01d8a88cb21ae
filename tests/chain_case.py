"""A small back-test over the chains that ship: one day of BTC and the next, a thousand scenarios."""

from __future__ import annotations

from pathlib import Path

TEXT = """schema_version = 1
[chains]
path = "sample:chains"
start = "2026-02-05"
underlyings = ["BTC"]
[scenarios]
count = 1000
[goal]
most_misses = 0
share = 1.0
[[portfolios]]
kind = "single"
tenor_days = [1.0, 30.0]
deltas = [0.25, 0.5]
[[portfolios]]
kind = "hedged"
sides = ["long"]
[[portfolios]]
kind = "market_maker"
count = 2
legs = 5
[[models]]
name = "gbm"
methodology = "configs/methodology/house_v1.toml"
"""


def written(folder: Path, text: str = TEXT) -> Path:
    """The configuration in a folder."""
    (folder / "chains.toml").write_text(text)
    return folder / "chains.toml"
