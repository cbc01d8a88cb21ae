"""Bybit options, Drift weights, Binance uniMMR and the Prisma result tree: published figures, and by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from small_book import SPOT, read, write

from upm_gpu.backend import reference
from upm_gpu.errors import InputError
from upm_gpu.rulebook import load_rule_book
from upm_gpu.rulebook.binance_unimmr import Bracket, adjusted_equity, futures_maintenance
from upm_gpu.rulebook.bybit_standard import short_option_initial, short_option_maintenance
from upm_gpu.rulebook.clearing.prisma import (
    RiskMeasureSet,
    Split,
    SubSample,
    correlation_break,
    initial_margin,
    market_risk,
    split_margin,
    sub_sample,
    total_margin,
)
from upm_gpu.rulebook.drift import asset_weight, liability_weight
from upm_gpu.rulebook.frame.held import hold
from upm_gpu.shipped import package_file

BYBIT, DRIFT, BINANCE = (load_rule_book(f"configs/methodology/{f}.toml") for f in ("bybit_standard_2022", "drift_v2", "binance_unimmr_2025"))


def array(*values: float) -> np.ndarray:
    return np.array(values, float)


def test_bybit_published_short_options():
    """A put of strike 18,500 at index 20,250, entry 280, mark 290: 938 and 2,315. A call at index 30,000, mark 300: 1,260."""
    maintenance = short_option_maintenance(array(20_250, 30_000), array(290, 300), BYBIT.parameters)
    assert maintenance.tolist() == [938.0, 1260.0]
    assert short_option_initial(array(20_250), array(18_500), array(-1), array(290), array(280), BYBIT.parameters).tolist() == [2315.0]


def test_bybit_initial_margin_in_and_out_of_the_money():
    """15 % less the distance where that is more than 10 %; never below the maintenance margin."""
    got = short_option_initial(array(20_000, 20_000, 20_000), array(20_000, 20_500, 20_500), array(1, 1, -1), array(500, 400, 900), array(0, 0, 0), BYBIT.parameters)
    assert got.tolist() == [3000.0 + 500.0, 2500.0 + 400.0, 3000.0 + 900.0]
    deep = short_option_initial(array(100.0), array(9_000.0), array(-1), array(8_900.0), array(0.0), BYBIT.parameters)
    assert deep[0] == pytest.approx(0.03 * 8_900.0 + 8_900.0 + 0.2) and deep[0] > 15.0 + 8_900.0


def test_drift_published_weight_and_the_premium():
    assert float(asset_weight(np.inf, 0.003, 2000.0)) == pytest.approx(0.96987, abs=1e-5)
    assert float(asset_weight(0.8, 0.003, 2000.0)) == 0.8
    assert float(asset_weight(0.8, 0.003, 1e6)) == pytest.approx(1.1 / 4.0)
    assert liability_weight(1.2, 0.003, array(100.0, 10_000.0)).tolist() == pytest.approx([1.2, 0.96 + 0.3])


def test_binance_published_parts_and_the_ratio():
    """Short 0.05 from 52,000 to 40,000 gains 600 USDT; 1,000 + 5,000 + 600 - 414 USDT, 0.06 + 0.1 - 0.05 BTC, 5 ETH of which 15 are owed against 20."""
    net = array(6186.0, 0.11 * 40_000.0, 5 * 2_000.0, -300.0)
    assert float(adjusted_equity(net, array(1.0, 0.95, 0.9, 0.9))) == pytest.approx(6186.0 + 4180.0 + 9000.0 - 300.0)
    tiers = [Bracket(from_notional=0.0, rate=0.005), Bracket(from_notional=50_000.0, rate=0.01)]
    assert futures_maintenance(array(2_000.0, 50_000.0, 80_000.0), tiers).tolist() == pytest.approx([10.0, 250.0, 80_000.0 * 0.01 - 250.0])
    assert np.ptp(futures_maintenance(array(50_000.0, 50_000.0 + 1e-6), tiers)) < 1e-7


@pytest.fixture
def held(tmp_path: Path):
    rows = "account_id,instrument_id,quantity\nA,BTC-PERP,-7000\nA,BTC-FUT,3500\nB,ETH-PERP,2000\n"
    return hold(*read(write(tmp_path / "small", rows, "account_id,asset,quantity\nA,BTC,2\nB,ETH,-5\nC,BTC,9\n")))[0]


def test_drift_rule_book_by_hand(held):
    """Two coins count 1.1 / (1 + 0.105 sqrt 2) or 80 %, a debt of five ether 120 %; an inverse perpetual's notional is its dollars."""
    made = DRIFT.module.margin(held, DRIFT.parameters, reference.values)
    at = {u: i for i, u in enumerate(made.units)}
    assert made.charges["asset_discount"][at["A"]] == pytest.approx(2 * SPOT["BTC"] * 0.2, rel=1e-12)
    assert made.charges["perpetuals"][at["A"]] == pytest.approx(0.1 * (70_000.0 + 35_000.0), rel=1e-12)
    assert made.charges["liability_premium"][at["B"]] == pytest.approx(5 * SPOT["ETH"] * 0.2, rel=1e-12)
    assert made.initial[at["C"]] == pytest.approx(9 * SPOT["BTC"] * (1.0 - min(0.8, 1.1 / (1.0 + 0.105 * 3.0))), rel=1e-12)
    assert made.maintenance[at["C"]] == pytest.approx(9 * SPOT["BTC"] * 0.1, rel=1e-12)


def test_binance_rule_book_by_hand(held):
    made = BINANCE.module.margin(held, BINANCE.parameters, reference.values)
    at = {u: i for i, u in enumerate(made.units)}
    futures, haircut = 0.005 * 105_000.0, 2 * SPOT["BTC"] * 0.05
    assert made.initial[at["A"]] == pytest.approx(1.2 * futures + haircut, rel=1e-12)
    assert made.maintenance[at["A"]] == pytest.approx(1.05 * futures + haircut, rel=1e-12)
    assert made.charges["loans"][at["B"]] == pytest.approx(1.2 * 0.1 * 5 * SPOT["ETH"], rel=1e-12)
    equity = 2 * SPOT["BTC"]
    ratio = float(adjusted_equity(array(equity), array(0.95))) / futures
    assert (equity >= made.initial[at["A"]]) == (ratio >= 1.2) == bool(np.isclose(made.initial[at["A"]] - haircut, 1.2 * futures))


def test_bybit_rule_book_on_a_book(tmp_path):
    rows = "account_id,instrument_id,quantity\nA,BTC-P60,-2\nA,BTC-C70,1\nB,BTC-C75D,-0.5\nC,ETH-PERP,-3000\n"
    held = hold(*read(write(tmp_path / "small", rows)))[0]
    made = BYBIT.module.margin(held, BYBIT.parameters, reference.values)
    put = held.terms.instrument_id.index("BTC-P60")
    found = reference.values("european", {"forward": array(70_200.0), "strike": array(60_000.0), "time_to_expiry": held.terms.years[[put]], "rate": array(0.0),
                                          "volatility": held.terms.volatility[[put]], "sign": array(-1.0), "inverse": array(1.0)})
    mark = float(found["price_coin"][0]) * SPOT["BTC"]
    at = {u: i for i, u in enumerate(made.units)}
    assert made.initial[at["A"]] == pytest.approx(2 * (7_000.0 + mark), rel=1e-12)
    assert made.maintenance[at["A"]] == pytest.approx(2 * (0.03 * 70_000.0 + mark + 140.0), rel=1e-12)
    assert (made.initial[at["C"]], made.maintenance[at["C"]]) == (pytest.approx(300.0), pytest.approx(15.0))


def test_prisma_documented_identities():
    assert initial_margin(3155.266149, 6.442439) == pytest.approx(3161.708587, abs=2e-6)
    documented = SubSample(4481.692879, 500.0, 10.0)
    assert documented.market_risk == pytest.approx(4991.692879, abs=2e-6)
    weighted = RiskMeasureSet("filtered historical", (documented,), 0.51)
    assert market_risk([weighted]) == pytest.approx(0.51 * 4991.692879, abs=2e-6)


def test_prisma_composition():
    """Sub-samples are averaged, a stress set is a floor, groups and splits add, a credit never makes a split negative."""
    history = RiskMeasureSet("filtered historical", (SubSample(100.0, 10.0), SubSample(140.0, 0.0, 6.0)), 1.0)
    stress = RiskMeasureSet("stress period", (SubSample(300.0),), 0.51)
    assert history.market_risk == 128.0
    assert market_risk([history, stress]) == 0.51 * 300.0 and market_risk([history, stress], "sum") == pytest.approx(128.0 + 153.0)
    assert market_risk([]) == market_risk([RiskMeasureSet("gain", (SubSample(-5.0),))]) == 0.0
    two, five = Split("PFI01_HP2", (history,), 7.0, 20.0, -3.0, 1.0), Split("PFI01_HP5", (stress,), long_option_credit=-1_000.0)
    assert (split_margin(two), split_margin(five)) == (153.0, 0.0)
    assert total_margin({"PFI01": (two, five), "PEQ01": (two,)}) == 306.0


def test_prisma_sub_sample_by_hand():
    """VaR at 75 % of eight dates is the third worst loss; of windows of four the second worst: 3 and 2."""
    pnl = array(-30, -3, 1, 2, -40, -2, 1, 0)
    assert correlation_break(pnl, 0.75, 4, 1.0, (0.0, 10.0)) == pytest.approx(np.std([3.0, 2.0]))
    assert correlation_break(pnl, 0.75, 4, 1.0, (0.5, 10.0)) == 1.5 and correlation_break(pnl, 0.75, 4, 1.0, (0.0, 0.1)) == pytest.approx(0.3)
    made = sub_sample(pnl, 0.75, 4, 1.0, (0.5, 10.0), compression=2.0)
    assert (made.risk_measure, made.market_risk) == (3.0, 6.5)
    assert sub_sample(-np.abs(pnl) * 0.0 + 5.0, 0.75, 4, 1.0, (0.5, 10.0)).market_risk == 0.0


@pytest.mark.parametrize("call", [
    lambda: correlation_break(np.zeros(8), 0.75, 5, 1.0, (0.0, 1.0)), lambda: correlation_break(np.zeros(8), 0.75, 4, 1.0, (2.0, 1.0)),
    lambda: RiskMeasureSet("stress period", ()), lambda: RiskMeasureSet("stress period", (SubSample(1.0),), -0.1),
])
def test_prisma_refusals(call):
    with pytest.raises(InputError) as raised:
        call()
    assert raised.value.code == "UPM-CF-132"


def test_what_a_venue_does_not_margin(tmp_path):
    held = hold(*read(write(tmp_path / "small", "account_id,instrument_id,quantity\nA,BTC-C70,1\nA,ETH-C20L,1\n")))[0]
    for book in (DRIFT, BINANCE):
        with pytest.raises(InputError, match=r"UPM-CF-131 .*no options.*BTC-C70 and 1 more"):
            book.module.margin(held, book.parameters, reference.values)
    held = hold(*read(write(tmp_path / "other", "account_id,instrument_id,quantity\nA,BTC-PERP,1\n", "account_id,asset,quantity\nA,ETH,1\n")))[0]
    with pytest.raises(InputError, match=r"UPM-CF-131 .*weight of the held asset ETH"):
        BINANCE.module.margin(held, BINANCE.parameters.model_copy(update={"collateral_rates": {"BTC": 0.9}}), reference.values)


@pytest.mark.parametrize(("file", "old", "new", "words"), [
    ("bybit_standard_2022", "smallest_initial_rate = 0.10", "smallest_initial_rate = 0.20", ("Exchange them",)),
    ("bybit_standard_2022", "futures_maintenance = 0.005", "futures_maintenance = 0.5", ("at most",)),
    ("drift_v2", "maintenance_asset = 0.95", "maintenance_asset = 0.5", ("assets.USDT", "stricter")),
    ("drift_v2", "imf = 0.105", "imf = -0.1", ("imf",)),
    ("binance_unimmr_2025", "from_notional = 10_000_000.0", "from_notional = 0.0", ("do not overlap",)),
    ("binance_unimmr_2025", "BTC = 0.95", "BTC = 1.95", ("collateral_rates.BTC", "0 to 1")),
    ("binance_unimmr_2025", "liquidation_ratio = 1.05", "liquidation_ratio = 1.5", ("at most",)),
])
def test_bad_parameters(tmp_path, file, old, new, words):
    text = (package_file("configs/methodology") / f"{file}.toml").read_text()
    assert old in text
    path = tmp_path / "mine.toml"
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(InputError) as raised:
        load_rule_book(path)
    assert raised.value.code == "UPM-CF-056" and all(w in str(raised.value) for w in ("mine.toml", *words)), raised.value
