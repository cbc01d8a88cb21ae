"""Several days on end: money is conserved, the closed stay closed, the first day is the shock of the same move."""

from __future__ import annotations

import numpy as np
import pytest
from campaigns import CAMPAIGN, small_campaign

from upm_gpu.campaign.paths import closed, daily_moves, walk_path, with_cash

PATHS = '''[[paths]]
name = "slide"
days = [{ BTC = { price = -0.1 }, ETH = { price = -0.15, volatility = 0.3 } }, { "*" = { price = -0.005 } }, { "*" = { price = -0.35 } }, { "*" = { price = 0.2 } }]
[[paths]]
name = "nobody pays"
days = [{ BTC = { price = -0.1 }, ETH = { price = -0.15, volatility = 0.3 } }, { "*" = { price = -0.005 } }, { "*" = { price = -0.35 } }, { "*" = { price = 0.2 } }]
calls_paid = false
liquidity = 2.0
[[paths]]
name = "days of December"
start = "2025-12-01"
end = "2025-12-04"
[losses]'''


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return small_campaign(tmp_path_factory.mktemp("campaign"), CAMPAIGN.replace("[losses]", PATHS))


def walked(small, n):
    campaign, book = small
    lost = campaign.losses
    return walk_path(campaign.paths[n], book, lost.delta_cost, lost.vega_cost, lost.default_fund)


def test_the_days_of_a_period_add_up_to_it(small):
    campaign, book = small
    days = daily_moves(campaign.paths[2], book)
    assert [name for name, _ in days] == ["2025-12-02", "2025-12-03", "2025-12-04"]
    assert days[0][1] == pytest.approx(book.shocks.moves[:, 0], rel=1e-12), "the event of the same day"
    closes = book.outcome.plan.market.history
    btc = closes[closes["asset"] == "BTC"].set_index("timestamp")["close"]
    assert sum(m[0] for _, m in days) == pytest.approx(np.log(btc["2025-12-05"] / btc["2025-12-02"]), rel=1e-9), "a day is its close, 24:00Z"


def test_the_first_day_is_the_shock_of_its_move(small):
    _, book = small
    _, accounts = walked(small, 0)
    first = accounts[accounts["day"] == 1]
    moves = daily_moves(small[0].paths[0], book)[0][1]
    assert first["equity"].to_numpy() == pytest.approx(book.under(moves[:, None])[1][:, 0], rel=1e-10)


@pytest.mark.parametrize("n", [0, 1])
def test_money_is_conserved_from_day_to_day(small, n):
    """Equity of a day: that of the day before less costs, plus what the fund paid, plus deposits and what the move made of what was held."""
    campaign, _ = small
    days, accounts = walked(small, n)
    assert days["liquidated"].sum() > 0 and days["calls"].iloc[0] > 0.0 and (days["closing_cost"].sum() > 0.0)
    if n:
        assert (days["deposits"] == 0.0).all()
    else:
        assert (days["deposits"].to_numpy()[1:] == pytest.approx(days["calls"].to_numpy()[:-1])) and days["deposits"].iloc[1] > 0.0
    for name, own in accounts.groupby("account_id"):
        own = own.sort_values("day")
        ends = np.flatnonzero(own["state"] == "liquidated")
        assert len(ends) <= 1
        if len(ends):
            left = own["equity"].iloc[ends[0]] - own["closing_cost"].iloc[ends[0]]
            assert own["uncovered_loss"].iloc[ends[0]] == pytest.approx(max(-left, 0.0))
            after = own.iloc[ends[0] + 1:]
            assert (after["state"] == "closed").all() and after["equity"].to_numpy() == pytest.approx(max(left, 0.0), abs=1e-9), name
            assert (after["initial_margin"] == 0.0).all() and (after["call"] == 0.0).all()
    assert days["uncovered_so_far"].to_numpy() == pytest.approx(np.cumsum(days["uncovered_loss"]))
    assert days["default_fund_left"].to_numpy() == pytest.approx(np.maximum(campaign.losses.default_fund - days["uncovered_so_far"], 0.0))


def test_who_does_not_pay_is_closed_the_next_day(small):
    _, paying = walked(small, 0)
    _, refusing = walked(small, 1)
    called = set(refusing[(refusing["day"] == 1) & (refusing["call"] > 0.0)]["account_id"])
    assert called and called <= set(refusing[(refusing["day"] == 2) & (refusing["state"] == "liquidated")]["account_id"])
    assert not called <= set(paying[(paying["day"] == 2) & (paying["state"] == "liquidated")]["account_id"])


def test_cash_and_closing_touch_nobody_else(small):
    _, book = small
    held = book.outcome.plan.book
    richer = with_cash(held, "USD", {1: 5.0, 3: 7.0})
    assert dict(zip(zip(richer.collateral.account.tolist(), richer.collateral.asset, strict=True), richer.collateral.quantity.tolist(), strict=True)) == {
        (0, "BTC"): 1.0, (1, "USD"): 20_005.0, (1, "USDC"): 900.0, (2, "USD"): 4_000.0, (2, "USDC"): 500.0, (3, "ETH"): 12.0, (3, "USD"): 7.0}
    rest = closed(held, np.array([0, 2]))
    assert set(rest.positions.account) == {1, 3} and set(rest.collateral.account) == {1, 3}
    own = held.positions.account == 3
    assert (rest.positions.quantity[rest.positions.account == 3] == held.positions.quantity[own]).all()
