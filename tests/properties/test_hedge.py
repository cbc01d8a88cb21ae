"""How to reduce: the programme against the full one with a variable a scenario, hedges against fresh runs and against every single instrument, and what cannot be reached."""

from __future__ import annotations

import numpy as np
import pytest
from small_book import MARKET, STUDENT, methodology, read, write

from upm_gpu import desk
from upm_gpu.backend.select import choose
from upm_gpu.desk.cube import cube_of
from upm_gpu.desk.hedging.hedge import reduce
from upm_gpu.desk.hedging.hedge_desk import Goal
from upm_gpu.desk.hedging.hedge_programme import Programme, solve
from upm_gpu.desk.hedging.hedge_rounding import best_single, rounded
from upm_gpu.desk.hedging.trading import load_trading, tradable
from upm_gpu.engine import compute_outcome
from upm_gpu.errors import InputError
from upm_gpu.passes import in_memory
from upm_gpu.plan import make_plan
from upm_gpu.risk.measures import expected_shortfall
from upm_gpu.scenario.spec import ScenarioSpec

POSITIONS = ("account_id,instrument_id,quantity,netting_set,entry_price\nA,BTC-C70,3,,\nA,BTC-P60,-5,,\nA,BTC-LINEAR,-0.5,,\nB,ETH-C20L,-40,,\nB,BTC-C75D,-2,,\nB,BTC-P70,1.5,,\n"
             "C,BTC-FUT,-5000,,71000\nC,ETH-C20L,-7,,\nC,ETH-PERP,100,,\nC,BTC-PERP,1,,\n")
COLLATERAL = "account_id,asset,quantity\nA,USD,21000\nB,USD,12000\nC,USD,9000\nD,USD,100\nE,USD,-500\n"
POOLED = POSITIONS.replace("B,ETH-C20L,-40,,", "B,ETH-C20L,-40,POOL,").replace("C,ETH-C20L,-7,,", "C,ETH-C20L,-7,POOL,")
SPEC = ScenarioSpec(count=6_000, seed=5, horizons=(2.0,))


def quoted(interest: float = 400.0) -> dict[str, str]:
    """The small market with bids, asks, open interest and volume."""
    head, *rows = MARKET["implied_vols.csv"].splitlines()
    rows += ["BTC,2026-02-27T08:00:00Z,70000,0.5503", "BTC,2026-02-27T08:00:00Z,60000,0.5731"]
    more = [f"{row},{0.0101 + 0.001 * n % 0.003:.4f},{0.0105 + 0.001 * n % 0.003:.4f},{interest:g},{interest:g}" for n, row in enumerate(rows)]
    return {"implied_vols.csv": "\n".join([f"{head},bid,ask,open_interest,volume", *more]) + "\n"}


def at_desk(folder, positions: str = POSITIONS, method=None, accounts: str = "", interest: float = 400.0):
    book, market = read(write(folder, positions, COLLATERAL, accounts, quoted(interest)))
    return desk.keep(book, market, SPEC, method or methodology(), choose("cpu"), model=STUDENT), market


def fresh_row(resident, market, method, changes, account):
    made = compute_outcome(make_plan(desk.book_after(resident, changes), market, SPEC, method, STUDENT), choose("cpu"), 0, in_memory()).result.table
    return made[made["account_id"] == account].iloc[0]


def random_programme(seed: int, lots: float = 0.01) -> Programme:
    draw = np.random.default_rng(seed)
    unit = draw.standard_t(4.0, (7, 500))
    unit[1:] += 0.7 * unit[0]
    cube = cube_of(unit)
    base = 3.0 * unit[0] - 2.0 * unit[2] + draw.normal(size=500)
    return Programme(cube, base, 0.95, np.arange(7), np.ones(7), draw.uniform(0.05, 0.4, 7), draw.uniform(0.5, 4.0, 7), draw.uniform(0.5, 4.0, 7), np.full(7, lots))


def full_programme(p: Programme, target: float | None) -> float:
    """The cost of Rockafellar and Uryasev's programme with a variable a scenario; without a target the least ES."""
    from scipy.optimize import linprog

    n, s = len(p.column), len(p.base)
    k = s * (1.0 - p.level)
    rows = np.hstack([-p.cube.unit.T, p.cube.unit.T, -np.ones((s, 1)), -np.eye(s)])  # loss - t <= z
    shortfall = np.concatenate([np.zeros(2 * n), [1.0], np.full(s, 1.0 / k)])
    bounds = [(0.0, b) for b in p.buy] + [(0.0, b) for b in p.sell] + [(None, None)] + [(0.0, None)] * s
    if target is None:
        return float(linprog(shortfall, A_ub=rows, b_ub=p.base, bounds=bounds, method="highs").fun)
    cost = np.concatenate([p.cost, p.cost, np.zeros(s + 1)])
    found = linprog(cost, A_ub=np.vstack([rows, shortfall]), b_ub=np.append(p.base, target), bounds=bounds, method="highs")
    return float(found.fun) if found.status == 0 else np.inf


@pytest.mark.parametrize("seed", range(6))
def test_cutting_planes_give_what_the_whole_programme_gives(seed):
    p = random_programme(seed)
    start = p.shortfall(p.base)
    assert start == pytest.approx(float(expected_shortfall(-p.base, 0.95)), rel=1e-12)
    least = full_programme(p, None)
    for share in (0.2, 0.6, 0.95):
        target = start - share * (start - max(least, 0.0))
        exact, found = full_programme(p, target), solve(p, target)
        assert found.reached
        assert p.shortfall(p.pnl(found.contracts)) <= target * (1.0 + 1e-12)
        assert exact * (1.0 - 1e-7) <= found.cost <= exact * 1.0011
        assert found.bound <= exact * (1.0 + 1e-7)
        assert len(p.planes) < 250
    if least > 0.0:
        beyond = solve(random_programme(seed), 0.5 * least)
        assert not beyond.reached
        assert beyond.bound <= least * (1.0 + 1e-7)
        assert least * (1.0 - 1e-9) <= beyond.value <= least + 0.002 * (start - least)


@pytest.mark.parametrize("seed", [1, 4])
def test_the_best_single_instrument_is_the_best_of_all_sizes(seed):
    p = random_programme(seed, lots=0.05)
    start = p.shortfall(p.base)
    solve(p, 0.6 * start)
    for share in (0.95, 0.8, 0.6):
        target, best = share * start, np.inf
        for j in range(7):
            for side, limit in ((1.0, p.buy[j]), (-1.0, p.sell[j])):
                for n in range(1, int(limit / 0.05) + 1):
                    x = np.zeros(7)
                    x[j] = side * n * 0.05
                    if p.shortfall(p.pnl(x)) <= target:
                        best = min(best, float(p.cost[j] * n * 0.05))
                        break
        found = best_single(p, target, 0.0)
        assert (np.inf if found is None else float(p.cost @ np.abs(found))) == pytest.approx(best)


def test_whole_lots_few_trades_and_tickets():
    every, numbers = np.arange(7), []
    for seed in (0, 1, 2, 3):
        p = random_programme(seed, lots=0.05)
        start = p.shortfall(p.base)
        target = start - 0.85 * (start - full_programme(p, None))
        exact = solve(p, target)
        free, dear, one = rounded(p, target, 0.0, every), rounded(p, target, 0.0, every, ticket=5.0), rounded(p, target, 0.0, every, trades=1)
        assert free is not None and dear is not None and one is None
        for x in (free, dear):
            assert p.shortfall(p.pnl(x)) <= target
            assert np.allclose(x / 0.05, np.round(x / 0.05), atol=1e-9)
            assert p.cost @ np.abs(x) >= exact.bound * (1.0 - 1e-9)
        numbers.append((np.count_nonzero(free), np.count_nonzero(dear)))
    assert all(few <= many for many, few in numbers) and any(few < many for many, few in numbers), numbers


@pytest.mark.parametrize(("account", "goal"), [("A", Goal(free=4_000.0)), ("A", Goal(free=9_000.0)), ("B", Goal(free=2_000.0)), ("C", Goal(passes=True)), ("B", Goal(ratio=4.0))])
def test_a_hedge_is_what_a_fresh_run_says_and_no_dearer_than_the_best_single_one(tmp_path, account, goal):
    resident, market = at_desk(tmp_path)
    found = reduce(resident, account, goal)
    assert found.reached and found.hedge.trades and found.bound is not None
    row = fresh_row(resident, market, methodology(), found.hedge.changes, account)
    assert {k: row[k] for k in ("initial_margin", "equity", "core", "status")} == {k: found.after[k] for k in ("initial_margin", "equity", "core", "status")}
    if goal.free is not None:
        assert found.before["initial_margin"] - row["initial_margin"] >= goal.free
    elif goal.passes:
        assert found.before["status"] != "ok" and row["status"] == "ok"
    else:
        assert row["margin_ratio"] >= goal.ratio
    assert found.hedge.cost == pytest.approx(sum(t.half_spread + t.fee for t in found.hedge.trades))
    assert row["equity"] == pytest.approx(found.before["equity"] - found.hedge.cost, abs=1e-6)  # done at model value: only costs are paid
    assert found.bound <= found.hedge.cost * (1.0 + 1e-9)
    assert found.gap is not None and found.gap < 0.2
    assert found.single is None or found.hedge.cost <= found.single.cost
    held = {t.instrument_id: t for t in found.hedge.trades}
    terms = tradable(resident, account, "", load_trading())
    for n, name in enumerate(terms.names):
        if name in held:
            assert abs(held[name].contracts) <= (terms.buy[n] if held[name].contracts > 0.0 else terms.sell[n]) + 1e-9
            assert held[name].contracts / terms.lot[n] == pytest.approx(round(held[name].contracts / terms.lot[n]), abs=1e-6)


def test_in_a_pool_the_account_s_own_share_is_what_falls(tmp_path):
    resident, market = at_desk(tmp_path, POOLED, accounts="account_id,member_id\nA,\nB,M\nC,M\nD,\nE,\n")
    found = reduce(resident, "B", Goal(free=500.0), netting_set="POOL")
    assert found.bound is None and any("pool" in n for n in found.notes)
    assert found.reached
    assert found.before["initial_margin"] - fresh_row(resident, market, methodology(), found.hedge.changes, "B")["initial_margin"] >= 500.0


def test_what_cannot_be_reached_has_its_clear_answer(tmp_path):
    resident, market = at_desk(tmp_path, interest=0.5)  # a tenth of half a contract is below one lot: no option can be traded
    before = resident and desk.whatif(resident, [[desk.Deposit("B", "USD", 1.0)]])[0][0].before
    more = reduce(resident, "B", Goal(free=2.0 * before["initial_margin"]))
    assert not more.reached and "no trades in these instruments within their limits free" in more.notes[-1]
    assert more.least_margin is not None and -1e-6 <= more.least_margin <= more.after["initial_margin"] < before["initial_margin"]
    assert fresh_row(resident, market, methodology(), more.hedge.changes, "B")["initial_margin"] == more.after["initial_margin"]
    nothing = reduce(resident, "A", Goal(free=5_000.0), only=["BTC-P60"])  # its limit is below one lot
    assert not nothing.reached and not nothing.hedge.trades and "none lowers the margin" in nothing.notes[-1]
    empty = reduce(resident, "D", Goal(free=10.0))
    assert not empty.reached and not empty.hedge.trades
    assert reduce(resident, "D", Goal(passes=True)).notes[-1] == "nothing to do: the goal is met already."
    broke = reduce(resident, "E", Goal(passes=True))
    assert not broke.reached and any("bankrupt" in n for n in broke.notes) and "A deposit of 500.00 USD" in broke.notes[-1]


def test_goals_that_are_none_are_refused(tmp_path):
    resident, _ = at_desk(tmp_path)
    for goal in (Goal(), Goal(free=1.0, ratio=2.0), Goal(free=0.0), Goal(ratio=float("nan")), Goal(free=-5.0)):
        with pytest.raises(InputError, match="UPM-IN-160"):
            reduce(resident, "A", goal)
    with pytest.raises(InputError, match="UPM-IN-160"):
        reduce(resident, "A", Goal(free=1.0), trades=-1)
    with pytest.raises(InputError, match=r"UPM-IN-143 .*Did you mean BTC-P60"):
        reduce(resident, "A", Goal(free=1.0), only=["BTC-P6O"])
    with pytest.raises(InputError, match="UPM-IN-141"):
        reduce(resident, "Z", Goal(free=1.0))


def test_costs_and_limits_of_the_terms(tmp_path):
    resident, market = at_desk(tmp_path)
    terms = tradable(resident, "C", "", load_trading())
    at = {name: n for n, name in enumerate(terms.names)}
    perp, call, expiring = at["BTC-PERP"], at["BTC-C70"], at["BTC-C75D"]
    assert terms.cost[perp] == pytest.approx(10.0 * (0.0001 + 0.0005))
    assert terms.fee[call] == pytest.approx(0.0003 * 70_000.0)
    quotes = market.quotes
    n = next(i for i in range(len(quotes.strike)) if quotes.underlying[i] == "BTC" and quotes.strike[i] == 70_000.0)
    half = 0.5 * (quotes.ask[n] - quotes.bid[n]) * 70_000.0
    assert terms.half_spread[call] == pytest.approx(half)
    assert terms.buy[call] == terms.sell[call] == 40.0  # a tenth of 400, less than a quarter of the volume
    assert terms.buy[expiring] == 0.0  # expires inside the margin period: may only be reduced, and C holds none
    assert terms.buy[at["BTC-FUT"]] >= 5_000.0 and terms.lot[call] == 0.1
