"""Laws of the liquidation simulator: nothing is made or lost, shares are exact, impact makes no money, sequencing keeps its promise, the same case gives the same bytes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from liquidation_case import case, ground, rules

from upm_gpu.errors import CapacityError
from upm_gpu.liquidation import cascade
from upm_gpu.liquidation.account import Account, Scene, cost_of, flows, nothing_taken, take
from upm_gpu.liquidation.depth import depth_of
from upm_gpu.liquidation.folder import contents
from upm_gpu.liquidation.holdings import hold
from upm_gpu.liquidation.impact import Square, slice_cost
from upm_gpu.liquidation.money import MARKET, Ledger, shared, shared_up_to, to_cents
from upm_gpu.liquidation.packages import grouped, hedges_of
from upm_gpu.liquidation.scenarios import start_of
from upm_gpu.liquidation.sequencing import plan
from upm_gpu.liquidation.systemic import simulate
from upm_gpu.liquidation.waterfall import bear, funds_of

CENTS = st.integers(0, 10**14)
SCENES: dict = {}


@given(CENTS, st.lists(CENTS, min_size=1, max_size=30))
def test_shares_are_whole_and_sum_to_the_amount(total, weights):
    parts = shared(total, weights)
    assert all(isinstance(p, int) and p >= 0 for p in parts)
    assert sum(parts) == (total if any(weights) else 0)
    if any(weights):
        assert all(abs(p * sum(weights) - total * w) < sum(weights) for p, w in zip(parts, weights, strict=True))  # within a cent of the exact share


@given(CENTS, st.lists(st.tuples(CENTS, CENTS), min_size=1, max_size=20))
def test_nobody_bears_more_than_its_limit(total, pairs):
    weights, limits = [w for w, _ in pairs], [m for _, m in pairs]
    parts = shared_up_to(total, weights, limits)
    assert all(0 <= p <= m for p, m in zip(parts, limits, strict=True))
    assert sum(parts) == min(total, sum(m for w, m in pairs if w > 0))


def test_what_is_no_number_of_cents_is_refused():
    with pytest.raises(CapacityError, match="UPM-CP-095"):
        to_cents([1.0, np.nan])
    with pytest.raises(CapacityError, match="UPM-CP-095"):
        to_cents([1e14])


FLOWS = st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=8)


@given(FLOWS, st.floats(0.0, 1.0), st.floats(-1e8, 1e8))
def test_slices_cost_what_the_whole_costs_and_a_round_trip_nothing(flow, permanent, before):
    law = Square(np.array([1e-5]), np.array([before]), permanent)
    mark, at, paid = law.mark(), law, 0.0
    for q in flow:
        paid += float(at.cost(np.array([q]), mark)[0])
        at = at.after(np.array([q]))
    whole = float(law.cost(np.array([sum(flow)]), mark)[0])
    size = 1e-5 * (abs(before) + sum(abs(q) for q in flow)) ** 1.5
    assert paid == pytest.approx(whole, abs=1e-9 * size + 1e-6)
    back = float(at.cost(np.array([-sum(flow)]), mark)[0])
    assert paid + back == pytest.approx(0.0, abs=1e-9 * size + 1e-6)


@given(st.floats(-1e9, 1e9), st.floats(-1e9, 1e9), st.floats(0.0, 1.0))
def test_one_slice_costs_what_the_law_says(traded, flow, permanent):
    law = Square(np.array([1e-5]), np.array([traded]), permanent)
    assert slice_cost(1e-5, traded, float(law.mark()[0]), flow) == pytest.approx(float(law.cost(np.array([flow]))[0]), rel=1e-9, abs=1e-11 * (abs(traded) + abs(flow)) ** 1.5)


def test_a_plan_costs_what_the_laws_of_the_market_say():
    """Three legs of two underlyings after others were taken, against the sums of the laws."""
    scene, _ = SCENES.setdefault("", _scene(case(), rules(), "everything -5 %"))
    instruments = [i.instrument_id for i in case().plan.instruments]
    n = np.array([instruments.index(name) for name in ("BTC-P70", "BTC-LINEAR", "ETH-C20L")], np.int64)
    lots, earlier = np.array([3 * 10**8, -2 * 10**8, 7 * 10**8], np.int64), np.array([10**8, 10**8, -(10**8)], np.int64)
    taken = nothing_taken(scene)
    take(scene, taken, (np.zeros(3, np.int64), n, earlier))
    (delta, vega, units), depth = flows(scene, n, lots), scene.depth
    before = np.array([taken.own[k] for k in n.tolist()])
    own = depth.own.scale[n] * (2.0 / 3.0) * (np.abs(before + units) ** 1.5 - np.abs(before) ** 1.5)
    expected = depth.price.after(taken.price).cost(delta, depth.price.mark()).sum() + depth.volatility.after(taken.volatility).cost(vega, depth.volatility.mark()).sum() + np.sum(depth.spread[n] * np.abs(units) + own)
    assert cost_of(scene, taken, (np.zeros(3, np.int64), n, lots)) == pytest.approx(float(expected), rel=1e-12)


def test_the_square_root_law_in_numbers():
    """Y = 1, volatility 4 % a day, 1e9 a day: selling a hundredth of the day's volume moves 0.4 % and costs two thirds of that on all of it."""
    law = Square(np.array([0.04 / np.sqrt(1e9)]), np.zeros(1), 2.0 / 3.0)
    sold = np.array([-1e7])
    assert law.cost(sold)[0] == pytest.approx(2.0 / 3.0 * 0.004 * 1e7)
    assert law.per_unit(sold)[0] == pytest.approx(-2.0 / 3.0 * 0.004)
    assert law.after(sold).mark()[0] == pytest.approx(-2.0 / 3.0 * 0.004)


@settings(max_examples=60)
@given(st.lists(st.integers(-10**10, 10**10), min_size=3, max_size=12), st.floats(0.0, 0.4), st.floats(0.0, 0.4), st.permutations(["defaulter_contribution", "own_capital", "survivor_contributions", "assessments",
                                                                                                                                "insurance_fund", "socialised_loss"]))
def test_the_waterfall_pays_exactly(equity, insurance, contributions, layers):
    ledger = Ledger(np.array(equity, np.int64), {MARKET: 0})
    fund = rules().fund.model_copy(update={"insurance": insurance, "contributions": contributions, "own_capital": 0.25, "assessments": 1.0})
    funds = funds_of(fund, [abs(e) for e in equity], ledger)
    before, pots = ledger.total(), dict(ledger.pots)
    losers = [p for p, e in enumerate(equity) if e < 0]
    gain = [e // 2 for e in equity]
    paid = bear(0, losers, layers, ledger, funds, [e >= 0 for e in equity], gain)
    assert ledger.total() == before
    assert [sum(p.values()) for p in paid] == [-equity[p] for p in losers]
    assert all(ledger.equity[p] == 0 for p in losers)
    assert np.all(ledger.equity >= 0)  # nobody is ruined by paying for others
    assert all(v >= 0 for k, v in ledger.pots.items() if k != MARKET)
    assert ledger.pots["survivors"] == 0
    assert ledger.pots["default_fund"] == sum(funds.contributions)
    used = {k: sum(p.get(k, 0) for p in paid) for k in {k for p in paid for k in p}}
    assert used == funds.used
    assert pots["insurance_fund"] - ledger.pots["insurance_fund"] == used.get("insurance_fund", 0)
    if used.get("uncovered"):  # nothing is unpaid while a fund still holds something
        assert ledger.pots["insurance_fund"] == 0
        assert ledger.pots["own_capital"] == 0


def test_a_layer_is_asked_in_its_turn():
    ledger = Ledger(np.array([-100, 1000, 3000], np.int64), {MARKET: 0})
    funds = funds_of(rules().fund.model_copy(update={"insurance": 0.0, "contributions": 0.01, "own_capital": 0.5, "assessments": 2.0}), [1000, 1000, 2000], ledger)
    assert funds.contributions == [10, 10, 20]
    (paid,) = bear(0, [0], ["defaulter_contribution", "own_capital", "survivor_contributions", "assessments"], ledger, funds, [False, True, True], [0, 0, 0])
    assert paid == {"defaulter_contribution": 10, "own_capital": 20, "survivor_contributions": 30, "assessments": 40}
    assert ledger.equity.tolist() == [0, 987, 2973]  # 40 in the proportion 10 : 20, the odd cent to the larger remainder


@pytest.mark.parametrize("which", ["venue", "clearing"])
@pytest.mark.parametrize(("order", "auction"), [("sequenced", False), ("pro_rata", False), ("by_size", False), ("sequenced", True)])
def test_cash_and_positions_are_conserved(which, order, auction):
    given_case = case()
    made = cascade(given_case, start_of(given_case, "everything -30 %, volatility +60 %"), rules(which), order, auction)
    assert made.conserved and made.settled
    assert made.defaults and any(d.loss > 0.0 for d in made.defaults)
    assert made.ledger.total() == int(to_cents(given_case.equity).sum()) + sum(made.opening_funds.values())
    flows = sum(f.cents if f.target == "accounts" else -f.cents for f in made.ledger.flows if (f.source == "accounts") != (f.target == "accounts"))
    assert int(made.equity.sum()) - int(to_cents(given_case.equity).sum()) == flows  # every cent of an account has a flow


def test_without_impact_closing_is_at_the_mark():
    """Equity at the end is equity at the start plus what the scenario did to positions, to the cent; nothing moves and nothing costs."""
    free = rules("venue").model_copy(update={"impact": rules().impact.model_copy(update={"coefficient": 0.0}),
                                             "spreads": rules().spreads.model_copy(update={"linear": 0.0, "option_points": [0.0] * 4, "least": 0.0})})
    given_case = case()
    start = start_of(given_case, "everything -30 %")
    made = cascade(given_case, start, free)
    world = ground(given_case, 512).at(start)
    held, none = hold(given_case.plan.units, given_case.plan.instruments), np.zeros(2)
    gained = np.bincount(given_case.parties.of_unit[held.unit], weights=held.quantity() * world.values([world.shift(none, none)])[held.instrument, 0], minlength=len(given_case.parties.names))
    marked = to_cents(given_case.equity) + to_cents(gained)
    assert made.price == {"BTC": 0.0, "ETH": 0.0}
    for d in made.defaults:
        p = given_case.parties.names.index(d.party)
        assert d.cost == 0.0
        assert d.loss == max(0, -int(marked[p])) / 100.0
    solvent = [p for p in range(len(marked)) if marked[p] >= 0 and not made.funds.used.get("socialised_loss")]
    assert [int(made.equity[p]) for p in solvent] == [int(marked[p]) for p in solvent]


def _scene(given_case, parameters, text):
    start = start_of(given_case, text)
    own = ground(given_case, 1024)
    world, none = own.at(start), np.zeros(len(own.underlyings))
    slopes, held = world.slopes(none, none), hold(given_case.plan.units, given_case.plan.instruments)
    return Scene(own, slopes, depth_of(own, slopes, parameters), world.margin_pnl(none, none), held.size, hedges_of(own, held, slopes)), held


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 4), st.floats(0.2, 0.99), st.floats(0.1, 1.0))
def test_sequencing_never_costs_more_where_pro_rata_saves(p, equity_share, share):
    """The promise of sequencing.py: at the prices of one round."""
    given_case, parameters = case(), rules()
    scene, held = SCENES.setdefault("", _scene(given_case, parameters, "everything -5 %"))
    unit = given_case.units_of[p][0]
    lots = {int(n): int(q) for n, q in zip(held.instrument[held.of(unit)], held.lots[held.of(unit)], strict=True)}
    pnl = sum(q * scene.size[n] * scene.unit_pnl[n] for n, q in lots.items())
    core = float(scene.ground.measure(pnl))
    account = Account(p, equity_share * core, core, core, 1.0, False, {unit: lots}, {unit: pnl})
    level, steps = plan(account, scene, "pro_rata", {}, share), plan(account, scene, "sequenced", {}, share)
    left = account.equity - sum(s.cost for s in level)
    if level and left >= level[-1].after:
        assert account.equity - sum(s.cost for s in steps) >= steps[-1].after
        assert sum(s.cost for s in steps) <= sum(s.cost for s in level)
    assert nothing_taken(scene).own == {}





def test_packages_are_closed_leg_with_leg():
    given_case, parameters = case(), rules("clearing")
    scene, held = _scene(given_case, parameters, "everything -5 %")
    unit = given_case.units_of[given_case.parties.names.index("SPREAD")][0]
    lots = {int(n): int(q) for n, q in zip(held.instrument[held.of(unit)], held.lots[held.of(unit)], strict=True)}
    (package,) = [g for g in grouped(list(lots), given_case.plan.instruments) if len(g[1]) > 1]
    pnl = sum(q * scene.size[n] * scene.unit_pnl[n] for n, q in lots.items())
    account = Account(0, -1.0, 1.0, 1.0, 1.0, True, {unit: dict(lots)}, {unit: pnl})
    (step,) = [s for s in plan(account, scene, "sequenced", {}, 0.25) if s.kind == "close" and s.name == package[0]]
    assert {n: q / lots[n] for n, q in zip(step.trades[1].tolist(), step.trades[2].tolist(), strict=True)} == dict.fromkeys(package[1], -0.25)


def test_the_same_case_gives_the_same_bytes():
    files = [contents(simulate(replace(case()), "BTC -30 %", rules(), ("sequenced", "auction, then sequenced")), "run", {}) for _ in range(2)]
    assert files[0] == files[1]


def test_who_did_nothing_is_moved_by_the_impact_of_others():
    """A thin market: selling what falls pushes down whoever else is long, and the cascade has a second generation that a deep market has not."""
    given_case, thin = case(), rules()
    deep = thin.model_copy(update={"impact": thin.impact.model_copy(update={"default_volume": 1e15, "volume": {}})})
    thin = thin.model_copy(update={"impact": thin.impact.model_copy(update={"default_volume": 2e6, "volume": {}})})
    start = start_of(given_case, "BTC -12 %")
    narrow, broad = cascade(given_case, start, thin), cascade(given_case, start, deep)
    assert narrow.price["BTC"] < broad.price["BTC"] - 0.001
    assert narrow.depth > broad.depth == 1
    assert {d.party for d in broad.defaults} < {d.party for d in narrow.defaults}
