"""Orders that are answered many at a time have the answers of trade sets that are asked one after the other, every figure of them."""

from __future__ import annotations

import importlib
from dataclasses import replace

import numpy as np
import pytest
from small_book import STUDENT, methodology, read, write

from upm_gpu import desk
from upm_gpu.backend.select import choose
from upm_gpu.desk import Deposit, Order
from upm_gpu.errors import InputError
from upm_gpu.scenario.spec import ScenarioSpec

BOOK = ("account_id,instrument_id,quantity,netting_set,entry_price\n" "A,BTC-C70,3,,\nA,BTC-P60,-5,,\nA,BTC-PERP,100,,69000\nA,BTC-LINEAR,0.5,HEDGE,\nB,ETH-C20L,40,,\nB,BTC-C75D,-2,,\n"
        "B,BTC-P70,1.5,,\nC,BTC-FUT,-50,,71000\nC,ETH-C20L,-7,,\nC,BTC-C70,-1,,\nC,BTC-P60,2,,\nC,ETH-PERP,-3,,\n")
COLLATERAL = "account_id,asset,quantity\nA,BTC,1\nB,USD,90000\nB,BTC,0.5\nC,USD,20000\n"
NAMES = ("BTC-C70", "BTC-P60", "BTC-PERP", "BTC-LINEAR", "ETH-C20L", "BTC-C75D", "BTC-P70", "BTC-FUT", "ETH-PERP")


@pytest.fixture(scope="module")
def resident(tmp_path_factory):
    book, market = read(write(tmp_path_factory.mktemp("orders"), BOOK, COLLATERAL, "account_id,member_id\nA,\nB,\nC,\n"))
    return desk.keep(book, market, ScenarioSpec(count=4_500, seed=5, horizons=(1.0, 2.0)), methodology(), choose("cpu"), model=STUDENT)


def orders() -> list[list]:
    """Every account and instrument, other quantities and those that close what is held, and a deposit between them."""
    draw = np.random.default_rng(3)
    closing = [Order("A", "BTC-P60", 5.0), Order("A", "BTC-C70", -3.0), Order("C", "BTC-P60", -2.0), Order("B", "ETH-C20L", -40.0), Order("A", "BTC-LINEAR", -0.5, "HEDGE"), Order("C", "ETH-PERP", 3.0)]
    found = [[Order(a, name, float(np.round(draw.normal() * 20.0, 2)) or 1.0, "HEDGE" if name == "BTC-LINEAR" and a == "A" else "")] for a in "ABC" for name in NAMES for _ in range(3)]
    return [*([o] for o in closing), *found, [Deposit("A", "USD", 5.0)], [Order("A", "BTC-C70", 1.0), Order("A", "BTC-P60", 1.0)]]


@pytest.mark.parametrize("premium", ["cash", "none"])
def test_orders_at_once_are_as_one_by_one(resident, monkeypatch, premium):
    module = importlib.import_module("upm_gpu.desk.whatif")
    asked, taken = orders(), []
    with monkeypatch.context() as patch:
        patch.setattr(module, "ordered_margins", lambda of, made, kind, way=module.ordered_margins: taken.append(len(made.some)) or way(of, made, kind))
        patch.setattr(module, "ORDERS", 10)  # several parts an account, the next while one is margined
        quick = module.whatif(resident, asked, premium)
    assert len(asked) - 2 > sum(taken) > 60
    monkeypatch.setattr(module, "_single_orders", lambda _, sets, __: ([], list(range(len(sets)))))
    plain = [module.whatif(resident, [one], premium)[0] for one in asked]
    for given, found, expected in zip(asked, quick, plain, strict=True):
        assert [a.difference_standard_error for a in found] == pytest.approx([a.difference_standard_error for a in expected], rel=1e-9, abs=1e-9)
        assert tuple(replace(a, difference_standard_error=0.0) for a in found) == tuple(replace(a, difference_standard_error=0.0) for a in expected), given
    assert quick.after("initial_margin").tolist() == [a.after["initial_margin"] for found in plain for a in found]
    assert quick[-2:] == [quick[len(asked) - 2], quick[len(asked) - 1]]


def test_the_first_wrong_set_is_named(resident):
    good = [Order("A", "BTC-C70", 1.0)]
    for wrong, code in (([Order("Z", "BTC-C70", 1.0)], "UPM-IN-141"), ([Order("A", "BTC-C70", 0.0)], "UPM-IN-142"), ([Order("A", "BTC-C70", 2.0**60)], "UPM-IN-142"),
                        ([Order("A", "NOTHING", 1.0)], "UPM-IN-143"), ([Order("A", "BTC-C70", 1.0, "NOWHERE")], "UPM-IN-144"), ([], "UPM-IN-140")):
        with pytest.raises(InputError) as refusal:
            desk.whatif(resident, [good, wrong, good])
        assert refusal.value.code == code
