"""How to reduce a margin with charges: the model against what-ifs, its slopes against differences, its cuts against the charges elsewhere, hedges against fresh runs and against every size of every trade."""

from __future__ import annotations

import numpy as np
import pytest
from test_hedge import at_desk, fresh_row

from upm_gpu import desk
from upm_gpu.desk.hedging.hedge import reduce
from upm_gpu.desk.hedging.hedge_charged import relief
from upm_gpu.desk.hedging.hedge_cuts import Cuts
from upm_gpu.desk.hedging.hedge_desk import Desk, Goal, Target
from upm_gpu.desk.hedging.hedge_model import UnitModel
from upm_gpu.desk.hedging.trading import load_trading
from upm_gpu.margin.methodology import load_methodology
from upm_gpu.shipped import package_file

VOLUME = {"volume": {"BTC": 8e4, "ETH": 4e4}}
"""so little that positions are slow to close and spreads grow"""


@pytest.fixture(scope="module")
def charged(tmp_path_factory):
    """A resident under the charges of the house, but for the one that needs ten years of history, and its methodology."""
    made = load_methodology(package_file("configs/methodology/house_v2.toml"))
    method = made.model_copy(update={"charges": [c.model_copy(update=VOLUME) if c.name in ("liquidity_horizon", "liquidation_cost") else c for c in made.charges if c.name != "anti_procyclicality"]})
    resident, market = at_desk(tmp_path_factory.mktemp("charged"), method=method)
    return resident, market, method


@pytest.fixture(scope="module")
def modelled(charged):
    at = Desk.of(charged[0], "A", "", load_trading(), [])
    return at, UnitModel.of(at)


def some_trades(at: Desk, seed: int, how_many: int = 4, size: float = 0.2) -> np.ndarray:
    draw, p = np.random.default_rng(seed), at.programme
    x = np.zeros(len(p.column))
    for j in draw.choice(len(x), how_many, replace=False):
        limit = min(p.buy[j] if draw.random() < 0.5 else p.sell[j], 40.0 / p.size[j])
        x[j] = draw.choice([-1.0, 1.0]) * np.floor(limit * size / p.lot[j]) * p.lot[j]
    return np.round(np.clip(x, -p.sell, p.buy), 10)


def test_the_model_is_what_the_desk_answers(modelled):
    at, model = modelled
    trades = [some_trades(at, seed) for seed in range(12)]
    charges = set()
    for x, hedge in zip(trades, at.hedges(trades), strict=True):
        figures = at.figures(hedge)
        assert model.margin(x) == pytest.approx(figures["initial_margin"], rel=1e-12)
        charges |= {k for k, v in figures.items() if k.startswith("charge_") and v > 0.0}
    assert len(charges) >= 8, charges


def test_slopes_are_those_of_small_trades_and_both_sides_of_what_is_not_held(modelled):
    at, model = modelled
    for x in (np.zeros(len(at.programme.column)), some_trades(at, 3)):
        point = model.point(x, np.flatnonzero(model._quantity(x)[model.place] == 0.0))
        rise, fall = relief(model, point)
        for j in [n for n, i in enumerate(at.market.instruments) if i.underlying == "BTC"]:  # where a name is not held its own shortfall has a kink too
            for side, slope in ((1.0, rise[j]), (-1.0, fall[j])):
                moved = x.copy()
                moved[j] += side * 1e-4 * model.lot[j]
                found = (model.margin(moved) - point.margin) / (1e-4 * model.lot[j])
                assert found == pytest.approx(slope, rel=2e-3, abs=2e-5 * abs(point.margin) / (model.lot[j] * 1e4) + 1e-3 * abs(rise).max() * model.lot[j] / model.lot.max()), (j, side)


def test_cuts_are_below_convex_charges_everywhere(modelled):
    at, model = modelled
    points = [model.point(some_trades(at, seed, 5, 0.5), np.zeros(0, np.intp)) for seed in range(8)]
    assert {model.charges[n].module.NAME for n in range(len(model.charges)) if not model.is_convex(n)} == {"liquidity_horizon", "liquidation_cost", "calendar_vega"}
    checked = 0
    for here in points:
        for there in points:
            x = there.contracts
            block = {k: v + float(g @ x) for k, (v, g) in there.planes.items()}
            for key, (value, gradient) in here.planes.items():
                assert key not in block or value + float(gradient @ x) <= block[key] + 1e-6
            for cut in here.cuts:
                if (model.is_convex(cut.charge) or cut.lower) and set(cut.slope) <= set(block):
                    value = cut.start + float(cut.rise @ np.maximum(x, 0.0) + cut.fall @ np.maximum(-x, 0.0)) + sum(v * block[k] for k, v in cut.slope.items())
                    true = there.charges[cut.charge]
                    assert value <= float(true.amount[0]) + (0.0 if true.not_counted is None else float(true.not_counted[0])) + 1e-6 * there.margin, model.charges[cut.charge].module.NAME
                    checked += 1
    assert checked > 400


def test_a_charge_that_is_no_longer_in_the_programme_is_missed(modelled):
    at, model = modelled
    known = Cuts(model, at.programme.cost, at.programme.buy, at.programme.sell, 0.0)
    x = np.zeros(len(at.programme.column))
    point = model.point(x, np.zeros(0, np.intp))
    known.add(point)
    free = 0.3 * point.margin
    contracts, cost, above = known.solve(point.margin - free, point.planes)
    known.cuts.clear()
    _, less, _ = known.solve(point.margin - free, point.planes)  # the core alone is below the goal
    assert above == pytest.approx(0.0, abs=1e-3) and cost > 0.0 and np.any(contracts) and less < cost


@pytest.mark.parametrize(("account", "goal"), [("A", Goal(free=12_000.0)), ("B", Goal(ratio=0.5)), ("C", Goal(passes=True))])
def test_a_hedge_of_all_charges_is_what_a_fresh_run_says(charged, account, goal):
    resident, market, method = charged
    found = reduce(resident, account, goal)
    assert found.reached and found.hedge.trades
    row = fresh_row(resident, market, method, found.hedge.changes, account)
    assert row["initial_margin"] == found.after["initial_margin"] and row["equity"] == found.after["equity"]
    assert Target.of(goal, found.before, method.maintenance_ratio).room(row) >= 0.0
    assert found.bound is not None and found.gap is not None and 0.0 <= found.bound <= found.hedge.cost
    assert found.single is None or found.hedge.cost <= found.single.cost


@pytest.mark.parametrize("names", [("BTC-PERP", "BTC-P60"), ("BTC-C70", "BTC-P60")])
def test_no_trades_in_two_instruments_are_cheaper(charged, names):
    resident, _, _ = charged
    at = Desk.of(resident, "A", "", load_trading(), names)
    model, p = UnitModel.of(at), at.programme
    goal = 0.9 * float(at.before["initial_margin"])
    found = reduce(resident, "A", Goal(free=float(at.before["initial_margin"]) - goal), only=names)
    assert found.reached and found.bound is not None
    steps = [np.round(np.arange(-np.floor(min(s, limit) / lot), np.floor(min(b, limit) / lot) + 1) * lot, 10)[:: max(1, int(min(s + b, 2.0 * limit) / lot / 12))]
             for s, b, lot, limit in zip(p.sell, p.buy, p.lot, 8.0 / p.size, strict=True)]
    best = min((float(p.cost @ np.abs(x)) for a in steps[0] for b in steps[1] if model.margin(x := np.array([a, b])) <= goal), default=np.inf)
    assert found.bound <= best * (1.0 + 1e-9)
    assert found.hedge.cost <= best * 1.02


def test_what_no_trades_can_free_is_said_with_its_proof(charged):
    resident, market, method = charged
    before = desk.whatif(resident, [[desk.Deposit("A", "USD", 1.0)]])[0][0].before
    found = reduce(resident, "A", Goal(free=0.9 * before["initial_margin"]), only=["BTC-C70", "BTC-PERP"])
    assert not found.reached and found.hedge.trades
    row = fresh_row(resident, market, method, found.hedge.changes, "A")
    assert row["initial_margin"] == found.after["initial_margin"] < before["initial_margin"]
    assert found.least_margin is not None and found.least_margin <= found.after["initial_margin"]
    assert found.least_margin > 0.1 * before["initial_margin"] and "no trades in these instruments within their limits free" in found.notes[-1]
