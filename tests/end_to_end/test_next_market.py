"""The market that came: refused before anything is computed where it cannot be used, else a loss worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import ndtr
from small_book import GAUSSIAN, MARKET, methodology, read, write

from upm_gpu.backend.select import choose
from upm_gpu.engine import compute_outcome
from upm_gpu.errors import MarketDataError
from upm_gpu.next_market import load_next, realised
from upm_gpu.passes import in_memory
from upm_gpu.plan import make_plan
from upm_gpu.scenario.spec import ScenarioSpec

POSITIONS = "account_id,instrument_id,quantity\nC,BTC-C75D,2\nD,BTC-C70,-3\nE,ETH-C20L,10\nF,BTC-FUT,100\nP,BTC-LINEAR,1\n"
LATER = {"spots.csv": "asset,price,currency,timestamp\nBTC,76000,USD,2026-02-06T09:00:00Z\nETH,2100,USD,2026-02-06T09:00:00Z\n",
         "forwards.csv": "underlying,expiry,forward\nBTC,,76010\nETH,,2100\nBTC,2026-02-27T08:00:00Z,76200\nBTC,2026-03-27T08:00:00Z,76700\nETH,2026-02-27T08:00:00Z,2105\n",
         "implied_vols.csv": "underlying,expiry,strike,implied_volatility\n" + "".join(
             f"{u},2026-02-27T08:00:00Z,{k},0.8\n" for u, strikes in (("BTC", (60_000, 70_000, 80_000, 90_000)), ("ETH", (1_800, 2_000, 2_200))) for k in strikes),
         "settlements.csv": "underlying,expiry,price,label,source\nBTC,2026-02-06T08:00:00Z,75500,official,the exchange\n"}


def plan_and_later(tmp_path, horizons=(1.0, 2.0), **changes):
    book, market = read(write(tmp_path, POSITIONS))
    plan = make_plan(book, market, ScenarioSpec(count=4096, horizons=horizons), methodology(), GAUSSIAN)
    folder = tmp_path / "later"
    folder.mkdir()
    for name, text in {**LATER, **changes}.items():
        (folder / name).write_text(text)
    return plan, folder


def black(forward, strike, years, volatility, sign=1.0):
    s = volatility * np.sqrt(years)
    d = np.log(forward / strike) / s + s / 2.0
    return sign * (forward * ndtr(sign * d) - strike * ndtr(sign * (d - s)))


def test_losses_by_hand(tmp_path):
    """Settled at the delivery price and held in coins, revalued at the next quotes, futures at the next forwards."""
    plan, folder = plan_and_later(tmp_path)
    outcome = compute_outcome(plan, choose("reference", "double", 1), 0, in_memory())
    table, note = realised(outcome, load_next(plan, folder))
    found = table.set_index("account_id")["realised_loss"]
    before = dict(zip((i.instrument_id for i in plan.instruments if "-C" in i.instrument_id), outcome.value0, strict=True))
    years = (21.0 - 1.0 / 24.0) / 365.0
    known = {"C": 2.0 * (500.0 / 75_500.0 * 76_000.0 - before["BTC-C75D"]),
             "D": -3.0 * (black(76_200.0, 70_000.0, years, 0.8) / 76_200.0 * 76_000.0 - before["BTC-C70"]),
             "E": 10.0 * (black(2_105.0, 2_000.0, years, 0.8) - before["ETH-C20L"]),
             "F": 1_000.0 * (1.0 / 70_700.0 - 1.0 / 76_700.0) * 76_000.0, "P": 6_010.0}
    for account, gain in known.items():
        assert found[account] == pytest.approx(-gain, rel=1e-9), account
    assert table["horizon_days"].unique().tolist() == [1.0]
    assert "0 instruments settled at a proxy price" in note and "no horizon is near" not in note


def test_without_a_delivery_price_the_later_index_stands_in_and_is_counted(tmp_path):
    plan, folder = plan_and_later(tmp_path)
    (folder / "settlements.csv").unlink()
    outcome = compute_outcome(plan, choose("reference", "double", 1), 0, in_memory())
    table, note = realised(outcome, load_next(plan, folder))
    row = table.set_index("account_id").loc["C"]
    assert row["realised_loss"] == pytest.approx(-2.0 * (1_000.0 - outcome.value0[plan.compiled.instrument_column[plan.compiled.instrument_ids.index("BTC-C75D")] - plan.compiled.linear]))
    assert row["realised_loss_without_proxy"] == 0.0
    assert "1 instruments settled at a proxy price" in note


@pytest.mark.parametrize(("changes", "words"), [
    ({"spots.csv": MARKET["spots.csv"]}, "UPM-MD-131 .*is not after 2026-02-05T09:00:00"),
    ({"spots.csv": LATER["spots.csv"].replace("ETH,2100,USD,2026-02-06T09:00:00Z\n", ""), "forwards.csv": "underlying,expiry,forward\n",
      "implied_vols.csv": "underlying,expiry,strike,implied_volatility\n"}, "no spot price of ETH"),
    ({"implied_vols.csv": "underlying,expiry,strike,implied_volatility\n"}, "UPM-MD-053 .*BTC-C70: no implied volatility of BTC"),
    ({"settlements.csv": LATER["settlements.csv"].replace("75500", "x")}, "UPM-MD-130 .*settlements.csv line 2"),
])
def test_what_cannot_be_compared_is_refused_before_the_run(tmp_path, changes, words):
    plan, folder = plan_and_later(tmp_path, **changes)
    with pytest.raises(MarketDataError, match=words) as caught:
        load_next(plan, folder)
    assert "the next market (market.next_path)" in str(caught.value)


def test_a_horizon_far_from_the_time_that_passed_is_named(tmp_path):
    plan, folder = plan_and_later(tmp_path, horizons=(2.0,))
    outcome = compute_outcome(plan, choose("reference", "double", 1), 0, in_memory())
    assert "no horizon is near: add 1.000d" in realised(outcome, load_next(plan, folder))[1]
