"""Two promises of a margin by hand: a haircut is taken off posted assets, lines of one column are added exactly."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from small_book import GAUSSIAN, MARKET, methodology, read, write

from upm_gpu.engine import margin_run
from upm_gpu.margin.units import Lines, Units, build_rows
from upm_gpu.plan import make_plan
from upm_gpu.pricing.compiled import empty
from upm_gpu.scenario.spec import ScenarioSpec


def test_a_haircut_is_taken_off_posted_collateral(tmp_path):
    """10 % of USDC (methodology of the small book), nothing of the reporting currency."""
    spots = MARKET["spots.csv"] + "USDC,0.5,USD,2026-02-05T09:00:00Z\n"
    folder = write(tmp_path, "account_id,instrument_id,quantity,entry_price\nA,BTC-LINEAR,1,\nB,BTC-LINEAR,1,\n",
                   "account_id,asset,quantity\nA,USDC,1000\nB,USD,1000\n", market={"spots.csv": spots})
    table = margin_run(*read(folder), ScenarioSpec(count=4096), methodology(), "reference", model=GAUSSIAN).to_pandas().set_index("account_id")
    assert table.loc["A", "collateral_value"] == pytest.approx(450.0, rel=1e-14)
    assert table.loc["B", "collateral_value"] == 1000.0


def test_lines_of_one_column_are_added_exactly():
    """0.1 + 0.2 + 0.3 is 0.6 in every order; a running sum gives 0.6000000000000001 in this one."""
    compiled, _ = empty(("log_level[A]",), np.array([1.0]))
    compiled = replace(compiled, instrument_column=np.zeros(3, np.int32), instrument_coefficient=np.ones(3), linear=1)
    lines = Lines(np.zeros(3, np.int32), np.zeros(3, np.int32), np.arange(3, dtype=np.int32), np.array([0.1, 0.2, 0.3]))
    rows, entry = build_rows(Units(("",), ("",), ("A",), lines), compiled)
    assert rows.quantity.tolist() == [0.6]
    assert entry.tolist() == [0, 0, 0]


def test_an_account_may_be_called_like_a_pool(tmp_path):
    """Member M in netting set N, an account "M/N" alone and an account M with a set N of its own: three units, three names."""
    positions = "account_id,instrument_id,quantity,netting_set\nA,BTC-LINEAR,1,N\nM/N,BTC-LINEAR,2,\nM,BTC-LINEAR,4,N\n"
    book, market = read(write(tmp_path, positions, accounts="account_id,member_id\nA,M\nM/N,\nM,\n"))
    plan = make_plan(book, market, ScenarioSpec(count=4096), methodology(), GAUSSIAN)
    held = dict(zip(plan.units.names, plan.rows.quantity, strict=True))
    assert {n: round(q / 70_000.0) for n, q in held.items()} == {"M/N": 2, "M/N (netting set)": 4, "M/N (pool)": 1}
    assert list(plan.units.names) == sorted(plan.units.names)
