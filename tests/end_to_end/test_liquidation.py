"""The cascade against what can be worked out by hand, and against the engine's own figures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from liquidation_case import case, case_from, ground, rules
from small_book import read, write

from upm_gpu.errors import InputError, UsageError
from upm_gpu.liquidation import cascade, load_parameters
from upm_gpu.liquidation.bankruptcy import bankruptcy_moves
from upm_gpu.liquidation.holdings import hold
from upm_gpu.liquidation.scenarios import house_tail, start_of
from upm_gpu.liquidation.starts import scenario_start
from upm_gpu.liquidation.world import World, books_pnl, tail_measure
from upm_gpu.risk.measures import expected_shortfall, tail_size, value_at_risk

NONE = np.zeros(2)


def world_of(given_case, text: str = "everything +0 %", scenarios: int = 4096) -> World:
    return ground(given_case, scenarios).at(start_of(given_case, text))


def test_bankruptcy_prices_of_closed_form(tmp_path: Path):
    """A linear perpetual long at F with collateral c: F (1 + m) = F - c / q. Inverse, short with USD: q (1/F - 1/F') F' = -c has F' = F (1 + c / |q|). Coins behind an inverse long: C/F + q (1/F - 1/F')/1 = 0."""
    book, market = read(write(tmp_path / "a", "account_id,instrument_id,quantity\nA,BTC-LINEAR,2\nB,BTC-PERP,-20000\nC,BTC-PERP,10000\nD,BTC-LINEAR,1\n",
                              "account_id,asset,quantity\nA,USD,21000\nB,USD,50000\nC,BTC,0.5\nD,USD,0\n"))
    given_case = case_from(book, market, 4096)
    moves = dict(zip(given_case.parties.names, bankruptcy_moves(given_case, ground(given_case), [0, 1, 2, 3]), strict=True))
    assert moves["A"] == pytest.approx(-21000.0 / 2.0 / 70_000.0, abs=1e-7)
    assert moves["B"] == pytest.approx(50_000.0 / 200_000.0, abs=1e-7)
    # half a coin and 100,000 USD long at 70,000: 0.5 + 100000 (1/70000 - 1/x) = 0
    assert moves["C"] == pytest.approx(100_000.0 / (0.5 + 100_000.0 / 70_000.0) / 70_000.0 - 1.0, abs=1e-7)
    assert moves["D"] == 0.0


def test_one_account_by_hand(tmp_path: Path):
    """Ten linear perpetuals fall by 20 %: a loss of 140,000 on 100,000 of collateral leaves 40,000 and the cost of closing, which the square-root law gives."""
    book, market = read(write(tmp_path / "a", "account_id,instrument_id,quantity\nA,BTC-LINEAR,10\nB,BTC-LINEAR,-0.01\n", "account_id,asset,quantity\nA,USD,100000\nB,USD,500000\n"))
    given_case, parameters = case_from(book, market), rules()
    parameters = parameters.model_copy(update={"waterfall": ["insurance_fund"], "pace": parameters.pace.model_copy(update={"share": 1.0})})
    made = cascade(given_case, start_of(given_case, "BTC -20 %"), parameters, "pro_rata")
    (fallen,) = made.defaults
    own = ground(given_case, 1024)
    delta, volume = 10.0 * 56_000.0, parameters.impact.volume["BTC"]
    daily = own.daily_volatility[0][own.underlyings.index("BTC")]
    expected = 2.0 / 3.0 * daily * delta**1.5 / np.sqrt(volume) + parameters.spreads.linear * 10.0 * 70_000.0
    assert fallen.equity == -40_000.0
    assert fallen.cost == pytest.approx(expected, rel=2e-4)  # delta by differences over half a percent
    assert fallen.loss == pytest.approx(40_000.0 + fallen.cost, abs=0.005)
    assert (fallen.generation, fallen.end, made.depth, made.settled) == (1, "closed", 1, True)
    fund = made.opening_funds["insurance_fund"] / 100.0
    assert made.funds.used == {"insurance_fund": round(fund * 100), "uncovered": round((fallen.loss - fund) * 100)}
    # prices settle at the permanent part of the impact
    assert made.price["BTC"] == pytest.approx(np.expm1(-2.0 / 3.0 * daily * np.sqrt(delta / volume)), rel=2e-4)


def test_margins_of_an_unmoved_market_are_those_of_the_run():
    given_case = case()
    world = world_of(given_case)
    held = hold(given_case.plan.units, given_case.plan.instruments)
    core = world.ground.cores(held, world.margin_pnl(NONE, NONE))
    by_party = np.bincount(given_case.parties.of_unit, weights=core, minlength=len(given_case.parties.names))
    np.testing.assert_allclose(by_party, given_case.initial, rtol=1e-11)


def test_margins_move_with_the_market_as_a_fresh_run_says(tmp_path: Path):
    """After a fall by 20 % the ratio of measures is that of two runs, one of them on the fallen market: linear and inverse perpetuals, whose forwards fall with the spot."""
    positions = "account_id,instrument_id,quantity\nA,BTC-LINEAR,3\nB,BTC-PERP,20000\nB,ETH-PERP,-30000\n"
    money = "account_id,asset,quantity\nA,USD,100000\nB,BTC,3\n"
    today = case_from(*read(write(tmp_path / "today", positions, money)))
    fallen = {"spots.csv": "asset,price,currency,timestamp\nBTC,56000,USD,2026-02-05T09:00:00Z\nETH,2000,USD,2026-02-05T09:00:00Z\n", "forwards.csv": "underlying,expiry,forward\nBTC,,56000\nETH,,2000\n"}
    # what the inverse perpetual has lost is gone in coins: 200,000 USD x (1/70,000 - 1/56,000)
    later = case_from(*read(write(tmp_path / "later", positions, money.replace("B,BTC,3", f"B,BTC,{3.0 + 200_000.0 * (1.0 / 70_000.0 - 1.0 / 56_000.0)!r}"), market=fallen)))
    world = world_of(today, "BTC -20 %")
    held = hold(today.plan.units, today.plan.instruments)
    core = world.ground.cores(held, world.margin_pnl(NONE, NONE))
    np.testing.assert_allclose(core[np.argsort(today.parties.of_unit)], later.initial, rtol=1e-9)


def test_a_scenario_of_the_run_is_that_scenario():
    given_case = case()
    plan, module = given_case.plan, given_case.choice.module
    (worst, *_), (loss, *_) = house_tail(given_case, 3)
    start = scenario_start(plan, given_case.choice, int(worst))
    world = ground(given_case, 512).at(start)
    with module.prepare(plan.compiled, plan.rows, "double", 1) as prepared:
        expected = module.row_pnl(prepared, plan.scenarios, int(worst), int(worst) + 1, plan.horizon(plan.core.horizon))[:, 0]
    held = hold(plan.units, plan.instruments)
    value = world.values([world.shift(NONE, NONE)])[:, 0]
    got = np.bincount(held.unit, weights=held.quantity() * value[held.instrument], minlength=len(plan.units.names))
    np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-6)
    assert expected.sum() == pytest.approx(loss)
    made = cascade(given_case, start, rules())
    assert made.conserved and made.defaults


def test_the_measure_is_that_of_the_house():
    pnl = np.random.default_rng(5).standard_t(4, (3, 1000))
    for level in (0.99, 0.9876, 0.9995):
        np.testing.assert_allclose(tail_measure(pnl, tail_size(1000, level), False), expected_shortfall(-pnl, level), rtol=1e-12)
        np.testing.assert_allclose(tail_measure(pnl, tail_size(1000, level), True), value_at_risk(-pnl, level), rtol=0)
    assert tail_measure(np.ones((2, 10)), 1.0, False).tolist() == [0.0, 0.0]


def test_members_fall_as_one():
    given_case = case()
    assert "M" in given_case.parties.names and "MEMBER-1" not in given_case.parties.names
    assert given_case.equity[given_case.parties.names.index("M")] == pytest.approx(0.3 * 70_000.0 + 25_000.0)


def test_books_are_sold_whole_where_that_is_cheaper():
    given_case = case()
    dear = rules()
    dear = dear.model_copy(update={"spreads": dear.spreads.model_copy(update={"linear": 0.02})})
    sold = cascade(given_case, start_of(given_case, "BTC -14 %"), dear, "sequenced", auction=True)
    market = cascade(given_case, start_of(given_case, "BTC -14 %"), dear, "sequenced")
    by_auction = [d for d in sold.defaults if d.how == "auction"]
    assert by_auction
    assert {d.end for d in by_auction} == {"closed"}
    assert sum(d.cost for d in sold.defaults) <= sum(d.cost for d in market.defaults)
    assert sold.conserved


def test_deleveraging_leaves_opposites_with_less_and_the_market_with_nothing():
    given_case = case()
    parameters = rules()
    parameters = parameters.model_copy(update={"fund": parameters.fund.model_copy(update={"insurance": 0.0})})
    made = cascade(given_case, start_of(given_case, "BTC -35 %"), parameters)
    gone = [d for d in made.defaults if d.how == "deleveraged"]
    assert gone and made.funds.used["auto_deleveraging"] > 0 and made.conserved
    held = {given_case.plan.instruments[n].instrument_id: lots for n, lots in zip(made.holdings.instrument.tolist(), made.holdings.lots.tolist(), strict=True) if lots
            and given_case.parties.names[given_case.parties.of_unit[made.holdings.unit[made.holdings.instrument.tolist().index(n)]]] == "BANK"}
    assert abs(held.get("BTC-LINEAR", 0)) < 3 * 10**8


def test_owners_pay_calls_while_they_can():
    given_case = case()
    parameters = rules()
    rich = parameters.model_copy(update={"margin": parameters.margin.model_copy(update={"call_capacity": 5.0})})
    poor, saved = (cascade(given_case, start_of(given_case, "BTC -12 %"), p) for p in (parameters, rich))
    assert poor.rounds[0].paid == 0.0 < saved.rounds[0].paid == saved.rounds[0].call_amount
    assert len(saved.defaults) < len(poor.defaults)
    assert saved.conserved


@pytest.mark.parametrize(("text", "code"), [("BTC falls", "UPM-CF-190"), ("BTC -100 %", "UPM-CF-190"), ("DOGE -10 %", "UPM-CF-191"), ("5000", "UPM-CF-191"), ("everything -10 %, volatility", "UPM-CF-190")])
def test_scenarios_that_are_none(text, code):
    with pytest.raises(UsageError, match=code):
        start_of(case(), text)
    with pytest.raises(UsageError, match="UPM-CF-192"):
        house_tail(case(), 5000)


def test_words_for_scenarios():
    given_case = case()
    names = given_case.plan.compiled.drawn_names
    moved = dict(zip(names, start_of(given_case, "BTC -40 %, volatility +60 %").states[0].tolist(), strict=True))
    assert moved == {"log_level[BTC]": pytest.approx(np.log(0.6)), "log_level[ETH]": 0.0, "volatility_shift[BTC]": pytest.approx(np.log(1.6)), "volatility_shift[ETH]": pytest.approx(np.log(1.6))}
    named = start_of(given_case, "BTC still, others -25 %").states[0]
    assert named[names.index("log_level[BTC]")] == 0.0


def test_rules_that_cannot_be():
    with pytest.raises(InputError, match="Did you mean"):
        load_parameters("configs/liquidation/venu_v1.toml")


def test_an_empty_book_is_worth_nothing():
    given_case = case()
    world, held = world_of(given_case, scenarios=512), hold(given_case.plan.units, given_case.plan.instruments)
    held.lots[held.of(0)] = 0
    pnl = world.margin_pnl(NONE, NONE)
    assert not books_pnl(held, [0], pnl).any()
    assert world.ground.cores(held, pnl)[0] == 0.0


def test_a_book_has_the_same_bits_in_any_company():
    given_case = case()
    world, held = world_of(given_case, scenarios=512), hold(given_case.plan.units, given_case.plan.instruments)
    pnl, units = world.margin_pnl(NONE, NONE), list(range(len(given_case.plan.units.names)))
    together = books_pnl(held, units, pnl)
    assert all(books_pnl(held, [u], pnl)[0].tobytes() == together[u].tobytes() for u in units)
    by_hand = [sum((q * pnl[n] for n, q in sorted(zip(held.instrument[held.of(u)].tolist(), held.quantity(held.of(u)).tolist(), strict=True))), np.zeros(512)) for u in units]
    np.testing.assert_allclose(together, by_hand, rtol=1e-12, atol=1e-9)
