"""What the tests of books with further terms share: markets in which every price is a martingale, reading, values by instrument, the emulated device."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from emulator import build
from emulator.backend import EmulatedCuda
from small_book import GAUSSIAN, VALUATION, write

from upm_gpu.backend import cpu
from upm_gpu.backend.select import Choice
from upm_gpu.domain.book import Book
from upm_gpu.domain.reader import load_book
from upm_gpu.engine import Outcome, compute_outcome
from upm_gpu.market.reader import load_market
from upm_gpu.market.snapshot import MarketSnapshot
from upm_gpu.model.gbm import GbmParameters
from upm_gpu.passes import in_memory
from upm_gpu.plan import Plan
from upm_gpu.pricing.compiled import Compiled

FAR, NEAR = "2026-02-27T08:00:00Z", "2026-02-06T08:00:00Z"
RATE = 0.05
RATES = {"rates.csv": f"currency,tenor_days,zero_rate\nUSD,30,{RATE}\n"}
FLAT = {"forwards.csv": "underlying,expiry,forward\n" + "".join(f"{u},{e},{s}\n" for u, s in (("BTC", 70_000.0), ("ETH", 2_000.0)) for e in ("", NEAR, FAR)),
        "implied_vols.csv": "underlying,expiry,strike,implied_volatility\n" + "".join(
            f"{u},{e},{round(s * m)},{v * math.sqrt(365.0)!r}\n" for u, s, v in (("BTC", 70_000.0, 0.03), ("ETH", 2_000.0, 0.04)) for e in (NEAR, FAR) for m in (0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3))}
"""forwards at the spot, no rates, and the volatilities that the scenarios move by: every price is a martingale"""
STILL = GbmParameters(GAUSSIAN.state_names, np.array([0.03, 0.04, 1e-9, 1e-9]), np.eye(4))


def read_written(folder: Path, instruments: str, positions: str, market: dict[str, str]) -> tuple[Book, MarketSnapshot]:
    """A book of these instruments (CSV with its header) and the small market with some of its files replaced; a fifth of the rows may be rejected."""
    write(folder, positions, market=market)
    (folder / "book" / "instruments.csv").write_text(instruments)
    return load_book(folder / "book", VALUATION, 0.2), load_market(folder / "market")


def values_by_name(plan: Plan, compiled: Compiled, shown: int = 0) -> tuple[np.ndarray, dict[str, float], list[dict[str, np.ndarray]]]:
    """The states of the first `shown` scenarios (0: all), today's value of each instrument, and its values at the two horizons, by the cpu in float64."""
    at = dict(zip(compiled.instrument_ids, compiled.instrument_column, strict=True))
    count = plan.scenarios.count
    with cpu.prepare(compiled, plan.rows, "double") as prepared:
        states = cpu.states(prepared, plan.scenarios, 0, shown or count)
        today = {name: float(prepared.value0[c - compiled.linear]) for name, c in at.items()}
        units = (cpu.unit_pnl(prepared, plan.scenarios, 0, count, h) for h in (0, 1))
        return states, today, [{name: unit[c] + today[name] for name, c in at.items()} for unit in units]


def same_on_the_emulated_device(plan: Plan, found: Outcome) -> Outcome:
    """The outcome of the emulated device, whose tails have the bits of `found`; a skip where there is nothing to emulate with."""
    if reason := build.unavailable():
        pytest.skip(reason)
    device = compute_outcome(plan, Choice(EmulatedCuda(build.build()), "double", 1, "test"), 4096, in_memory())
    assert np.array_equal(device.tail.pnl, found.tail.pnl) and np.array_equal(device.tail.scenario, found.tail.scenario)
    return device
