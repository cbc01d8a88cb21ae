"""The whole engine on the CUDA backend, its kernels executed by emulation: the margins of the CPU backend, to the bit."""

from __future__ import annotations

import numpy as np
import pytest
from emulator import build
from emulator.backend import EmulatedCuda
from small_book import STUDENT, methodology, read, write

from upm_gpu.backend.select import Choice, choose
from upm_gpu.engine import compute_outcome
from upm_gpu.passes import in_memory
from upm_gpu.plan import make_plan
from upm_gpu.scenario.spec import ScenarioSpec

HEAD = "account_id,instrument_id,quantity,entry_price\n"
BOOK = HEAD + "A,BTC-C70,3,\nA,BTC-P60,-5,\nA,BTC-PERP,100,69000\nB,ETH-C20L,40,\nB,BTC-C75D,-2,\nC,BTC-FUT,-50,71000\n"


@pytest.mark.parametrize("precision", ["double", "mixed"])
def test_margins_contributions_and_tails_equal_the_cpu_backend(tmp_path, precision):
    if reason := build.unavailable():
        pytest.skip(reason)
    book, market = read(write(tmp_path, BOOK, "account_id,asset,quantity\nA,BTC,1\nB,ETH,9\n"))
    plan = make_plan(book, market, ScenarioSpec(count=6_000, seed=5, horizons=(0.6, 1.0, 2.0)), methodology(), STUDENT)
    emulated = Choice(EmulatedCuda(build.build()), precision, 1, "test")
    device, cpu = compute_outcome(plan, emulated, 4096, in_memory()), compute_outcome(plan, choose("cpu", precision), 0, in_memory())
    assert np.array_equal(device.tail.pnl, cpu.tail.pnl)
    assert np.array_equal(device.tail.scenario, cpu.tail.scenario)
    assert np.array_equal(device.tail.block_sums, cpu.tail.block_sums)
    assert device.result.contributions.equals(cpu.result.contributions)
    assert device.result.table.equals(cpu.result.table)
