"""Another market on resident scenarios: answers are those of a fresh run of it, only what moved is priced again, and what draws other scenarios is refused."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from emulator import build
from emulator.backend import EmulatedCuda
from parity import test_kept
from small_book import STUDENT, methodology, read, write

from upm_gpu import desk
from upm_gpu.backend.select import Choice, choose
from upm_gpu.desk.moved import under_market
from upm_gpu.engine import compute_outcome
from upm_gpu.errors import InputError
from upm_gpu.passes import in_memory
from upm_gpu.plan import make_plan
from upm_gpu.scenario.spec import ScenarioSpec

BOOK = "account_id,instrument_id,quantity,netting_set,entry_price\nA,BTC-C70,3,,\nA,BTC-P60,-5,,\nA,BTC-PERP,100,,69000\nB,ETH-C20L,40,,\nB,BTC-C75D,-2,,\nC,BTC-FUT,-50,,71000\nC,ETH-C20L,-7,,\n"
COLLATERAL = "account_id,asset,quantity\nA,BTC,1\nB,USD,90000\nC,USD,20000\n"
SPEC = ScenarioSpec(count=6_000, seed=5, horizons=(1.0, 2.0))
ASK = [[desk.Order("A", "BTC-C70", 1.0)], [desk.Order("B", "ETH-C20L", -3.0), desk.Deposit("B", "ETH", 1.0)], [desk.Order("C", "BTC-FUT", 10.0)]]


def markets(market):
    """Named changes: the spot and forwards of one underlying, its volatilities alone, everything."""
    eth = replace(market, spots={**market.spots, "ETH": 2_100.0}, forwards={k: v * 1.05 if k[0] == "ETH" else v for k, v in market.forwards.items()})
    found = {"ETH": eth, "nothing": replace(market)}
    q = market.quotes
    found["BTC volatility"] = replace(market, quotes=replace(q, implied_volatility=np.where(q.underlying == "BTC", 1.1, 1.0) * q.implied_volatility))
    found["both"] = replace(eth, spots={**eth.spots, "BTC": 68_000.0}, forwards={k: v * 68.0 / 70.0 if k[0] == "BTC" else v for k, v in eth.forwards.items()})
    return found


def compare(resident, market, choice):
    moved = under_market(resident, market)
    for changes in ASK:
        after = desk.book_after(moved.resident, changes)
        fresh = compute_outcome(make_plan(after, market, SPEC, methodology(), STUDENT), choice, 0, in_memory()).result.table
        for answer in desk.whatif(moved.resident, [changes])[0]:
            row = fresh[fresh["account_id"] == answer.account_id].iloc[0]
            for name, value in answer.after.items():
                assert (value is None and np.isnan(row[name])) or value == row[name], (name, value, row[name])
    return moved


def test_answers_equal_a_fresh_run_of_the_changed_market(tmp_path):
    book, market = read(write(tmp_path, BOOK, COLLATERAL))
    for precision in ("mixed", "double"):
        choice = choose("cpu", precision)
        resident = desk.keep(book, market, SPEC, methodology(), choice, model=STUDENT)
        before = desk.whatif(resident, ASK)
        for name, changed in markets(market).items():
            moved = compare(resident, changed, choice)
            if name == "nothing":
                assert moved.revalued == 0
                assert desk.whatif(moved.resident, ASK) == before
            elif name != "both":
                assert moved.underlyings == (name.split()[0],)
                assert 0 < moved.revalued < moved.columns
                cube, other = (next(iter(r.cubes.values())) for r in (resident, moved.resident))
                kept = [np.array_equal(a, b) for a, b in zip(cube.unit, other.unit, strict=True)]
                assert sum(not k for k in kept) == moved.revalued
            assert desk.whatif(resident, ASK) == before  # the old one stays what it was


def test_on_the_other_backends(tmp_path):
    book, market = read(write(tmp_path, BOOK, COLLATERAL))
    choices = [choose("reference", "mixed")]
    if not build.unavailable():
        choices.append(Choice(EmulatedCuda(test_kept.emulated().library), "mixed", 1, "test"))
    for choice in choices:
        resident = desk.keep(book, market, SPEC, methodology(), choice, model=STUDENT)
        compare(resident, markets(market)["ETH"], choice)


def test_a_full_run_is_due(tmp_path):
    book, market = read(write(tmp_path, BOOK, COLLATERAL))
    resident = desk.keep(book, market, SPEC, methodology(), choose("cpu"), model=STUDENT)
    with pytest.raises(InputError, match=r"UPM-RN-086 a full run is due: the valuation time"):
        under_market(resident, replace(market, valuation_time=market.valuation_time + timedelta(hours=1)))
    with pytest.raises(InputError, match=r"UPM-RN-086 the market snapshot is older than the run"):
        under_market(resident, replace(market, valuation_time=market.valuation_time - timedelta(hours=1)))
    # another law
    resident.model = replace(STUDENT, daily_volatility=STUDENT.daily_volatility * 1.001)
    with pytest.raises(InputError, match=r"UPM-RN-086.*the law that scenarios are drawn from is another one"):
        under_market(resident, markets(market)["ETH"])
