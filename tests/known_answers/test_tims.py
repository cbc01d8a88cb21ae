"""TIMS: the ten points, offsets between class groups and the minimum, by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from small_book import SPOT, read, write

from upm_gpu.backend import reference
from upm_gpu.rulebook import load_rule_book
from upm_gpu.rulebook.clearing.groups import group_loss, requirement, valuation_points
from upm_gpu.rulebook.frame.held import hold
from upm_gpu.rulebook.tims import PriceRange, ProductGroup


def test_ten_equidistant_points():
    np.testing.assert_allclose(valuation_points(0.15, 0.15), [-0.15, -0.12, -0.09, -0.06, -0.03, 0.03, 0.06, 0.09, 0.12, 0.15], rtol=1e-14)
    assert len(valuation_points(0.08, 0.06)) == 10 and valuation_points(0.08, 0.06)[[0, -1]].tolist() == [-0.08, 0.06]


def test_offsets_between_classes():
    """One class loses 100, another gains 80: none, 90 % or all of the gain counts."""
    pnl = np.zeros((2, 10))
    pnl[0, 0], pnl[1, 0], pnl[0, 9], pnl[1, 9] = -100.0, 80.0, 30.0, -50.0
    for offset, expected, point in ((0.0, 100.0, 0), (0.9, 28.0, 0), (1.0, 20.0, 0)):
        loss, at = requirement(group_loss(pnl, offset))
        assert (float(loss), int(at)) == (pytest.approx(expected), point)
    assert float(requirement(group_loss(np.full((1, 10), 5.0), 1.0))[0]) == 0.0


@pytest.fixture
def held(tmp_path: Path):
    rows = "account_id,instrument_id,quantity\nA,BTC-LINEAR,2\nA,ETH-PERP,-70000\nB,BTC-C75D,1\nC,BTC-PERP,7000\nC,BTC-LINEAR,-1\n"
    return hold(*read(write(tmp_path / "small", rows, "account_id,asset,quantity\nD,BTC,3\n")))[0]


def test_the_rule_book_by_hand(held):
    book = load_rule_book("configs/methodology/tims_v1.toml")
    made = dict(zip(*(lambda m: (m.units, m.initial))(book.module.margin(held, book.parameters, reference.values)), strict=True))
    assert made["A"] == pytest.approx(2 * SPOT["BTC"] * 0.15 + 70_000.0 * 0.15, rel=1e-12)
    assert made["C"] == pytest.approx(2 * 0.375, rel=1e-9)
    assert made["D"] == 0.0
    grouped = book.parameters.model_copy(update={"product_groups": [ProductGroup(name="coins", underlyings=["BTC", "ETH"], offset=0.9)],
                                                 "classes": [PriceRange(name="equity", down=0.15, up=0.15), PriceRange(name="wide", down=0.3, up=0.3, underlyings=["ETH"])]})
    made = book.module.margin(held, grouped, reference.values)
    a = made.units.index("A")
    assert made.initial[a] == pytest.approx(max(70_000 * 0.3 - 0.9 * 2 * SPOT["BTC"] * 0.15, 2 * SPOT["BTC"] * 0.15 - 0.9 * 70_000 * 0.3), rel=1e-12)
    assert made.worst[a] == "BTC/ETH: point 10"


def test_minimum(held):
    book = load_rule_book("configs/methodology/tims_v1.toml")
    parameters = book.parameters.model_copy(update={"minimum_per_unit": 40_000.0})
    made = book.module.margin(held, parameters, reference.values)
    b, c = made.units.index("B"), made.units.index("C")
    assert made.initial[b] == pytest.approx(40_000.0) == pytest.approx(made.charges["minimum"][b] + made.charges["scenarios"][b])
    assert made.initial[c] == pytest.approx(2 * 40_000.0)
