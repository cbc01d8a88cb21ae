"""The largest order, the best exchange of collateral and where it stands: against every size and share, and against fresh runs."""

from __future__ import annotations

import numpy as np
import pytest
from small_book import STUDENT, methodology, read, write

from upm_gpu import desk
from upm_gpu.backend.select import choose
from upm_gpu.desk import Deposit, Order
from upm_gpu.desk.hedging.allocation import allocate
from upm_gpu.desk.hedging.orders import best_switch, largest_order
from upm_gpu.engine import compute_outcome
from upm_gpu.errors import InputError
from upm_gpu.passes import in_memory
from upm_gpu.plan import make_plan
from upm_gpu.risk.measures import expected_shortfall
from upm_gpu.scenario.spec import ScenarioSpec

POSITIONS = ("account_id,instrument_id,quantity,netting_set,entry_price\nA,BTC-C70,3,,\nA,BTC-P60,-5,S,\nA,BTC-LINEAR,-0.5,,\nB,ETH-C20L,-40,,\nC,BTC-FUT,-5000,,71000\nC,BTC-PERP,-3000,S,70000\n"
             "C,ETH-PERP,1000,,\nE,BTC-PERP,10000,,70000\nM1,BTC-C70,1,P,\nM2,BTC-C70,-1,P,\nF,BTC-PERP,500,,\nF,BTC-C75D,0.1,,\n")
COLLATERAL = "account_id,asset,quantity\nA,USD,10000\nA,BTC,0.3\nB,USD,9000\nC,USD,9000\nC,BTC,1.2\nD,USD,1000\nE,USD,5000\nF,USD,-900\nF,BTC,0.01\nM1,USD,10\nM2,USD,20000\n"
SPEC = ScenarioSpec(count=4_096, seed=5, horizons=(2.0,))


@pytest.fixture(scope="module")
def at_desk(tmp_path_factory):
    book, market = read(write(tmp_path_factory.mktemp("orders"), POSITIONS, COLLATERAL, "account_id,member_id\nA,\nB,\nC,\nD,\nE,\nF,\nM1,M\nM2,M\n"))
    return desk.keep(book, market, SPEC, methodology(), choose("cpu"), model=STUDENT), market


def passes(resident, account, instrument, size, cost):
    changes = [Order(account, instrument, size), Deposit(account, "USD", -cost * abs(size))] if size else [Deposit(account, "USD", 1e-9)]
    return next(a for a in desk.whatif(resident, [changes])[0] if a.account_id == account).would_pass


@pytest.mark.parametrize(("account", "instrument", "side"), [("A", "BTC-PERP", "buy"), ("A", "BTC-PERP", "sell"), ("D", "ETH-C20L", "buy"), ("C", "BTC-FUT", "sell")])
def test_one_lot_more_does_not_pass(at_desk, account, instrument, side):
    resident, market = at_desk
    found = largest_order(resident, account, instrument, side)
    assert found.contracts is not None and found.next_fails and found.answer is not None and found.answer.would_pass
    lot = 1.0
    cost = (found.answer.before["collateral_value"] - found.answer.after["collateral_value"] - (found.answer.after["option_value"] - found.answer.before["option_value"])) / abs(found.contracts)
    for size, expected in ((found.contracts, True), (found.contracts + np.sign(found.contracts) * lot, False), (0.5 * found.contracts, True), (2.0 * found.contracts, False)):
        assert passes(resident, account, instrument, float(size), cost) is expected
    after = desk.book_after(resident, [Order(account, instrument, found.contracts), Deposit(account, "USD", -cost * abs(found.contracts))])
    fresh = compute_outcome(make_plan(after, market, SPEC, methodology(), STUDENT), choose("cpu"), 0, in_memory()).result.table
    row = fresh[fresh["account_id"] == account].iloc[0]
    assert row["status"] == "ok" and row["initial_margin"] == found.answer.after["initial_margin"]


def test_an_account_that_fails_today_has_orders_that_mend_it(at_desk):
    resident, _ = at_desk
    found = largest_order(resident, "E", "BTC-PERP", "sell")
    assert found.answer is not None and found.answer.before["status"] != "ok"
    assert found.contracts is not None and found.smallest is not None and found.contracts < -10_000.0 < found.smallest < 0.0
    cost = 10.0 * 0.0006
    assert passes(resident, "E", "BTC-PERP", found.smallest, cost) and not passes(resident, "E", "BTC-PERP", found.smallest + 1.0, cost)
    assert passes(resident, "E", "BTC-PERP", found.contracts, cost) and not passes(resident, "E", "BTC-PERP", found.contracts - 1.0, cost)
    worse = largest_order(resident, "E", "BTC-PERP", "buy")
    assert worse.contracts is None and "makes the account pass" in worse.notes[0]
    with pytest.raises(InputError, match="UPM-IN-161"):
        largest_order(resident, "A", "BTC-PERP", "long")
    with pytest.raises(InputError, match="UPM-IN-143"):
        largest_order(resident, "A", "BTC-NONE", "buy")


def test_the_best_exchange_beats_every_share(at_desk):
    resident, _ = at_desk
    for account in ("A", "B", "C"):
        found = best_switch(resident, account)
        assert found and all(s.gain > 0.0 and s.gain == s.answer.difference["excess"] for s in found)
        assert [s.gain for s in found] == sorted((s.gain for s in found), reverse=True)
        first = found[0]
        price = {"USD": 1.0, "BTC": 70_000.0, "ETH": 2_000.0}
        whole = {"A": {"USD": 10_000.0, "BTC": 0.3}, "B": {"USD": 9_000.0}, "C": {"USD": 9_000.0, "BTC": 1.2}}[account]
        assert first.received == pytest.approx(first.quantity * price[first.give] * 0.9995 / price[first.take])
        sets = [[Deposit(account, g, -q * s), Deposit(account, t, q * s * price[g] * 0.9995 / price[t])] for g, q in whole.items() for t in price if t != g and (t != "ETH" or account == "B")
                for s in np.arange(1, 41) / 40.0]
        assert first.gain >= max(a[0].difference["excess"] for a in desk.whatif(resident, sets)) - 0.02 * first.gain
    assert best_switch(resident, "D") == () or all(s.gain > 0.0 for s in best_switch(resident, "D"))


@pytest.mark.parametrize("account", ["A", "C"])
def test_no_placing_of_the_coins_asks_for_less(at_desk, account):
    resident, _ = at_desk
    found = allocate(resident, account)
    before = desk.whatif(resident, [[Deposit(account, "USD", 1.0)]])[0][0].before
    assert np.sum(found.core_before) == pytest.approx(before["core"], rel=1e-12)
    assert np.allclose(found.quantity.sum(axis=1), [{"A": 0.3, "C": 1.2}[account], {"A": 10_000.0, "C": 9_000.0}[account]])
    assert np.all(found.quantity >= 0.0)
    from upm_gpu.desk.change import sub_book
    from upm_gpu.desk.hedging.allocation import _Set

    book = sub_book(resident.plan.book, [resident.known.accounts[account]])
    sets = [_Set.of(resident, book, n) for n in sorted({0, *(int(n) for n in book.positions.netting_set)})]
    plan = resident.plan
    place = resident.coin_of["BTC"]
    coin = resident.cubes[plan.horizon(2.0)].unit[plan.compiled.instrument_column[place]] * plan.compiled.instrument_coefficient[place]
    held, cash = float(found.quantity[0].sum()), float(found.quantity[1].sum())

    def need(share):
        return [max(float(expected_shortfall(-(s.base + part * held * coin), 0.99)), 0.0) for s, part in zip(sets, (share, 1.0 - share), strict=True)]

    assert need(found.quantity[0, 0] / held) == pytest.approx(found.core, rel=1e-9, abs=1e-6)
    best = np.inf
    for share in np.linspace(0.0, 1.0, 81):
        core = need(share)
        room = [s.own + part * held * 70_000.0 for s, part in zip(sets, (share, 1.0 - share), strict=True)]
        short = sum(max(c - r, 0.0) for c, r in zip(core, room, strict=True))
        best = min(best, sum(core) + 100.0 * max(short - cash, 0.0))
    mine = float(np.sum(found.core) + 100.0 * np.sum(found.shortfall))
    assert mine <= best * (1.0 + 1e-9) + 1e-6
    assert found.bound <= np.sum(found.core) * (1.0 + 1e-9)
    assert np.sum(found.shortfall) <= np.sum(found.shortfall_before) + 1e-6


def test_what_has_nothing_to_place_is_refused(at_desk):
    resident, _ = at_desk
    with pytest.raises(InputError, match=r"UPM-IN-162 .*member"):
        allocate(resident, "M2")


def test_a_bankrupt_account_and_what_expires_have_their_clear_answer(at_desk):
    resident, _ = at_desk
    broke = largest_order(resident, "F", "BTC-PERP", "sell")
    assert broke.contracts is None and "account F is bankrupt: its equity is -" in broke.notes[0] and "makes the account pass" in broke.notes[1]
    assert "bankrupt" in allocate(resident, "F").notes[0]
    soon = largest_order(resident, "A", "BTC-C75D", "buy")
    assert soon.contracts is not None and soon.market_limit == 0.0
    assert "BTC-C75D expires at 2026-02-06T" in soon.notes[0] and any("only traded to reduce what is held: no order in it." in n for n in soon.notes)
