"""SPAN: published risk arrays and spread examples exactly, arrays of options against Black by hand, composition by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from small_book import SPOT, read, write

from upm_gpu.backend import reference
from upm_gpu.formula.black import black_undiscounted
from upm_gpu.rulebook import load_rule_book
from upm_gpu.rulebook.clearing.risk_array import (
    DELTA_PRICE,
    DELTA_WEIGHT,
    FRACTION,
    PAIR,
    PRICE,
    VOLATILITY,
    composite_delta,
    scanning_risk,
    weighted_price_risk,
)
from upm_gpu.rulebook.clearing.spreads import (
    CommoditySpread,
    TierSpread,
    calendar_spreads,
    commodity_credits,
    commodity_risk,
    requirement,
    tier_deltas,
)
from upm_gpu.rulebook.frame.held import hold
from upm_gpu.rulebook.span import risk_array

SCENARIOS = [(0, 1, 1), (0, -1, 1), (1 / 3, 1, 1), (1 / 3, -1, 1), (-1 / 3, 1, 1), (-1 / 3, -1, 1), (2 / 3, 1, 1), (2 / 3, -1, 1), (-2 / 3, 1, 1), (-2 / 3, -1, 1),
             (1, 1, 1), (1, -1, 1), (-1, 1, 1), (-1, -1, 1), (2, 0, 0.35), (-2, 0, 0.35)]
"""published: price move, volatility move, fraction"""
FUTURE = np.array([0, 0, 3330, 3330, -3330, -3330, 6670, 6670, -6670, -6670, 10000, 10000, -10000, -10000, 7000, -7000.0])
CALL = np.array([460, -610, 2640, 1730, -1270, -2340, 5210, 4540, -2540, -3430, 8060, 7640, -3380, -3990, 3130, -1500.0])
COVERED = np.array([-460, 610, 690, 1600, -2060, -990, 1460, 2130, -4130, -3240, 1940, 2360, -6620, -6010, 3870, -5500.0])
"""an S&P 500 future at a scan range of 10,000, a December 410 call, and the covered write, as printed in a text on options"""


def test_scenarios_are_the_published_ones():
    np.testing.assert_array_equal(np.stack([PRICE, VOLATILITY, FRACTION], axis=1), np.array(SCENARIOS, float))
    assert all(PRICE[i] == PRICE[p] and VOLATILITY[i] == -VOLATILITY[p] for i, p in enumerate(PAIR))
    np.testing.assert_allclose(10_000.0 * PRICE * FRACTION, FUTURE, atol=3.4)


def test_published_covered_write_and_call():
    np.testing.assert_array_equal(FUTURE - CALL, COVERED)
    risk, worst = scanning_risk(np.stack([FUTURE - CALL, CALL]))
    assert risk.tolist() == [6620.0, 3990.0] and worst.tolist() == [12, 13]


def test_published_calendar_spreads():
    """Outright rates 500, 500, 750 in months 2, 3, 4; charges 200 (2-3), 50 (2-4), 0 (3-4): 200, 300 and 250."""
    rates, spreads = np.array([500.0, 500.0, 750.0]), [TierSpread(0, 1, 200.0), TierSpread(0, 2, 50.0), TierSpread(1, 2, 0.0)]
    for held, expected in (((1, -1, 0), 200.0), ((1, 0, -1), 300.0), ((0, 1, -1), 250.0), ((-1, 1, 0), 200.0)):
        quantity = np.array(held, float)
        scanning, _ = scanning_risk((quantity * rates) @ np.ones((3, 1)) * PRICE[None, :] * FRACTION)
        long, short = tier_deltas(quantity, np.zeros(3, int), np.arange(3), 1, 3)
        assert float((scanning + calendar_spreads(long, short, spreads).charge)[0]) == pytest.approx(expected, rel=1e-14)


def test_published_commodity_spread():
    """Two corn at 1,750 against one soybean at 2,500, 55 % credit: 6,000 become 2,700. And the crack spread's headline: 77.3 % of 27,590."""
    quantity, rates = np.array([[2.0, -1.0]]), np.array([1750.0, 2500.0])
    pnl = (quantity * rates)[0][:, None] * PRICE * FRACTION
    scanning, _ = scanning_risk(pnl)
    price_risk = weighted_price_risk(pnl, quantity[0])
    np.testing.assert_allclose(price_risk, rates, rtol=1e-14)
    credit = commodity_credits(quantity, price_risk[None, :], [CommoditySpread(0, 1, 0.55, 2.0, 1.0)])
    assert scanning.sum() == pytest.approx(6000.0) and scanning.sum() - credit.sum() == pytest.approx(2700.0, rel=1e-14)
    assert not commodity_credits(np.array([[2.0, 1.0]]), price_risk[None, :], [CommoditySpread(0, 1, 0.55)]).any()
    assert round(1.0 - 6256.0 / 27590.0, 3) == 0.773


def test_priorities_and_what_is_left():
    """Three long in tier 1, one short each in tiers 1 and 2: the inside spread comes first, one long is left."""
    long, short = np.array([[3.0, 0.0]]), np.array([[1.0, 1.0]])
    made = calendar_spreads(long, short, [TierSpread(0, 0, 10.0), TierSpread(0, 1, 25.0)])
    assert (made.charge.tolist(), made.long.tolist(), made.short.tolist()) == ([35.0], [[1.0, 0.0]], [[0.0, 0.0]])
    assert long[0, 0] == 3.0


def test_composite_delta_weighs_the_seven_prices():
    assert composite_delta(np.ones((2, 7))).tolist() == pytest.approx([1.0, 1.0], rel=1e-15)
    step = (DELTA_PRICE > 0.5).astype(float)
    assert composite_delta(step[None, :])[0] == pytest.approx((0.110 + 0.037) / 0.998, rel=1e-14) and DELTA_WEIGHT.sum() == pytest.approx(0.998)


def test_price_risk_leaves_volatility_and_time_out():
    """The call's worst is scenario 14 (3,990) with pair 13 (3,380); scenarios 1 and 2 lose (-460 + 610) / 2 on average: 3,685 - 75, a delta of 0.5."""
    assert weighted_price_risk(CALL[None, :], np.array([0.5]))[0] == pytest.approx((3685.0 - 75.0) / 0.5, rel=1e-14)
    assert weighted_price_risk(CALL[None, :], np.zeros(1))[0] == 0.0


def test_composition():
    parts = commodity_risk(np.array([100.0]), np.array([20.0]), np.array([5.0]), np.array([110.0]), np.array([3.0]))
    assert {k: float(v[0]) for k, v in parts.items()} == {"scanning": 0.0, "calendar_spread": 10.0, "delivery": 5.0, "short_option_minimum": 0.0}
    parts = commodity_risk(np.array([100.0]), np.array([20.0]), np.array([5.0]), np.array([0.0]), np.array([130.0]))
    assert sum(float(v[0]) for v in parts.values()) == 130.0 and float(parts["short_option_minimum"][0]) == 5.0
    assert (float(requirement(6620.0, 1500.0)), float(requirement(6620.0, -500.0)), float(requirement(100.0, 900.0))) == (5120.0, 7120.0, 0.0)


@pytest.fixture
def held(tmp_path: Path):
    rows = "account_id,instrument_id,quantity\nA,BTC-FUT,-14000\nA,BTC-PERP,14000\nB,BTC-C75D,-2\nC,ETH-C20L,5\nC,BTC-P60,1\nD,BTC-LINEAR,1\nD,ETH-PERP,-70000\n"
    return hold(*read(write(tmp_path / "small", rows, "account_id,asset,quantity\nA,BTC,3\nE,ETH,1\n")))[0]


def test_arrays_of_options_by_hand(held):
    """An ETH call, linear: Black on the shocked forward one day later, the extreme moves at 35 %."""
    t = held.terms
    n = t.instrument_id.index("ETH-C20L")
    array = risk_array(t, np.full(t.count, 0.15), np.full(t.count, 0.25), 1.0, reference.values)[n]
    now = black_undiscounted(2005.0, 2000.0, np.log(2005.0 / 2000.0), t.volatility[n] * np.sqrt(t.years[n]), 1.0)
    for s, (price, volatility, fraction) in enumerate(SCENARIOS):
        forward, sigma = 2005.0 * (1 + 0.15 * price), t.volatility[n] * (1 + 0.25 * volatility)
        then = black_undiscounted(forward, 2000.0, np.log(forward / 2000.0), sigma * np.sqrt(t.years[n] - 1 / 365), 1.0)
        assert array[s] == pytest.approx(fraction * (then - now), rel=1e-9, abs=1e-9)


REFERENCE = [
    # forward, strike, sign, volatility, days, price range, volatility range in points, multiplier x quantity, the sixteen P&L, scan risk, number of the worst scenario
    (4000.0, 3900.0, -1.0, 0.18, 45.0, 200.0, 0.04, -50.0,
     [-971.2517206044595, 1035.6166337667, 84.10030621752875, 1829.4930212343934, -2296.778107527045, -148.8870475218267, 899.5551265481178, 2320.523176437686, -3912.9858169342356, -1783.7328955379771,
      1511.0614770581171, 2600.5817627662395, -5827.268056034764, -3880.0270597706008, 959.280978130247, -4438.717666636967], 5827.268056034764, 13),
    (80.0, 85.0, 1.0, 0.35, 60.0, 6.0, 0.05, 2000.0,
     [1144.9591878225376, -1255.5237625723994, 2797.8543482433797, 213.7748589918245, -271.0189763912667, -2425.889015059889, 4689.847559907411, 1995.717160701618, -1457.9488340724185, -3322.818507891595,
      6817.6832656444385, 4091.4396883647887, -2429.23250465561, -3981.284051845892, 4649.492575265724, -1629.984603214048], 3981.284051845892, 14),
]
"""a short put and a long call a day ahead, recomputed elsewhere in high precision"""


@pytest.mark.parametrize("case", REFERENCE, ids=["short put", "long call"])
def test_reference_option_arrays(held, case):
    forward, strike, sign, volatility, days, price_range, points, size, wanted, risk, number = case
    t = held.terms
    n = t.instrument_id.index("ETH-C20L")  # a linear option

    def one(name, value):
        return np.where(np.arange(t.count) == n, value, getattr(t, name))

    terms = replace(t, **{name: one(name, value) for name, value in (("forward", forward), ("strike", strike), ("sign", sign), ("volatility", volatility), ("years", days / 365.0))})
    pnl = size * risk_array(terms, np.full(t.count, price_range / forward), np.full(t.count, points / volatility), 1.0, reference.values)[n]
    np.testing.assert_allclose(pnl, wanted, rtol=0.0, atol=1e-8)
    assert -pnl.min() == pytest.approx(risk, abs=1e-8) and int(np.argmin(pnl)) + 1 == number


def test_the_rule_book_by_hand(held):
    """Calendar (A), minimum of short options (B), credit between coins (D); what is only posted (E) has no margin."""
    book = load_rule_book("configs/methodology/span_v1.toml")
    made = book.module.margin(held, book.parameters, reference.values)
    charges = {u: {k: float(v[i]) for k, v in made.charges.items()} for i, u in enumerate(made.units)}
    delta_perp, delta_fut = 140_000.0 / 70_000.0, -140_000.0 / 70_700.0
    scanning = abs(delta_perp + delta_fut) * SPOT["BTC"] * 0.15
    assert charges["A"]["scanning"] == pytest.approx(scanning, rel=1e-9)
    assert charges["A"]["calendar_spread"] == pytest.approx(-delta_fut * 0.01 * SPOT["BTC"], rel=1e-12)
    floor = 2 * 0.01 * SPOT["BTC"]
    assert sum(charges["B"].values()) >= floor and sum(charges["E"].values()) == 0.0
    spread = 1.0
    assert sum(charges["D"].values()) == pytest.approx(70_000 * 0.15 + 70_000 * 0.15 - 0.5 * spread * (70_000 * 0.15 + 35 * 2_000 * 0.15), rel=1e-9)
    np.testing.assert_allclose(made.initial, [sum(charges[u].values()) for u in made.units], rtol=1e-15)
    np.testing.assert_allclose(made.maintenance, 0.8 * made.initial, rtol=1e-15)
    assert made.worst[made.units.index("E")] == "" and made.worst[made.units.index("D")].startswith(("BTC: ", "ETH: "))


def test_delivery_and_the_minimum(held):
    """A delivery window that holds the future charges both of its deltas' size; a high minimum decides for the short calls."""
    book = load_rule_book("configs/methodology/span_v1.toml")
    first = book.parameters.commodities[0].model_copy(update={"delivery_days": 60.0, "delivery_charge": 0.02, "short_option_minimum": 0.5})
    parameters = book.parameters.model_copy(update={"commodities": [first, *book.parameters.commodities[1:]]})
    made = book.module.margin(held, parameters, reference.values)
    a, b = made.units.index("A"), made.units.index("B")
    assert made.charges["delivery"][a] == pytest.approx(140_000.0 / 70_700.0 * 0.02 * SPOT["BTC"], rel=1e-12)
    assert made.initial[b] == pytest.approx(2 * 0.5 * SPOT["BTC"] + 0.0, rel=1e-12)
