"""How books are closed in a round: auctions, deleveraging, and plans that trade together."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from upm_gpu.liquidation.account import Account, Scene, flows
from upm_gpu.liquidation.auction import Bidder, sell
from upm_gpu.liquidation.deleveraging import deleverage
from upm_gpu.liquidation.depth import Depth
from upm_gpu.liquidation.money import MARKET, money, to_cents
from upm_gpu.liquidation.sequencing import Step, plan
from upm_gpu.liquidation.standing import Standing
from upm_gpu.liquidation.waterfall import INSURANCE
from upm_gpu.liquidation.world import books_pnl


def liquidate(run: Standing, now: int, scene: Scene, active: list[int], fresh: list[int]) -> tuple[int, Depth, float]:
    """Auctions, deleveraging, plans, and their trades: (cents lost to nobody yet, depth after, cost)."""
    plans, lost = list[tuple[int, list[Step]]](), 0
    run.bidding.clear()
    for account in run.accounts(active, scene):
        p = account.party
        if account.empty:
            continue
        _note(run, account)
        if "auto_deleveraging" in run.parameters.waterfall and run.ledger.equity[p] < 0 and run.ledger.pots[INSURANCE] == 0:
            lost += _deleverage(run, now, p, scene)
            (account,) = run.accounts([p], scene)
            if account.empty:
                continue
        planned = plan(account, scene, run.order, run.begun, run.parameters.pace.share)
        if run.auction and p in fresh and _auctioned(run, now, account, scene, sum(s.cost for s in planned)):
            continue
        plans.append((p, planned))
    cost, after = _trade(run, now, scene, plans)
    return lost, after, cost


def _note(run: Standing, account: Account) -> None:
    """The most that a unit in liquidation has held of everything: shares of a round are of that."""
    for unit, own in account.lots.items():
        for n, held in own.items():
            run.begun[unit, n] = max(run.begun.get((unit, n), 0), abs(held))


def _deleverage(run: Standing, now: int, p: int, scene: Scene) -> int:
    borne, lots = deleverage(now, p, run.units_of[p], run.holdings, run.case.parties, run.ledger, scene.slopes.value, run.notional, run.survivors())
    if lots:
        run.changed = True
        found = run.defaults[p]
        found.how, found.steps = "deleveraged", found.steps + 1
        found.loss += money(borne)
        found.borne["auto_deleveraging"] = found.borne.get("auto_deleveraging", 0.0) + money(borne)
        run.funds.used["auto_deleveraging"] = run.funds.used.get("auto_deleveraging", 0) + borne
        run.steps.append({"round": now, "party": found.party, "order": "auto-deleveraging", "kind": "deleverage", "name": "all that others hold against", "contracts": lots * 1e-8, "cost": 0.0,
                          "required_before": None, "required_after": None})
    return borne


def _auctioned(run: Standing, now: int, account: Account, scene: Scene, planned: float) -> bool:
    """Sell the whole book if somebody takes it for less than closing it is planned to cost."""
    p, rules, survivor, required, core = account.party, run.parameters.auction, run.survivors(), run.level.required, run.level.core
    excess = run.ledger.equity / 100.0 - required
    able = [b for b in np.argsort(-excess, kind="stable").tolist() if survivor[b] and excess[b] > 0.0 and run.units_of[b]][: rules.bidders]
    missing = [u for b in able for u in run.units_of[b] if u not in run.bidding]
    run.bidding.update(zip(missing, books_pnl(run.holdings, missing, scene.unit_pnl), strict=True))
    bidders = []
    for b in able:
        unit = max(run.units_of[b], key=lambda u: (float(np.ptp(run.bidding[u])), -u))
        bidders.append(Bidder(b, unit, run.equity(b), float(required[b]), float(required[b] / core[b]) if core[b] > 0.0 else run.multiplier, run.bidding[unit]))
    sale = sell(account, scene, bidders, rules)
    if sale is None or sale.discount > max(planned, 0.0):
        return False
    for unit in run.units_of[p]:
        for line in run.holdings.of(unit).tolist():
            run.holdings.between(unit, sale.bidder.unit, int(run.holdings.instrument[line]), int(run.holdings.lots[line]))
    run.bidding.pop(sale.bidder.unit, None)
    cents = int(to_cents(sale.discount))
    run.ledger.between(now, "auction discount", p, sale.bidder.party, cents)
    found = run.defaults[p]
    found.how, found.steps, found.cost = "auction", 1, found.cost + money(cents)
    more = np.zeros(len(required))
    more[sale.bidder.party] = sale.increase
    run.level = replace(run.level, required=required + more)
    run.changed = True
    run.steps.append({"round": now, "party": found.party, "order": "auction", "kind": "auction", "name": f"to {run.case.parties.names[sale.bidder.party]}", "contracts": 0.0, "cost": money(cents),
                      "required_before": account.required(sum(account.measure(scene).values())), "required_after": 0.0})
    return True


def _trade(run: Standing, now: int, scene: Scene, plans: list[tuple[int, list[Step]]]) -> tuple[float, Depth]:
    """Do all plans of a round together; every unit of a risk costs all who trade it the same."""
    depth, total = scene.depth, 0.0
    count, instruments = len(scene.ground.underlyings), len(run.case.plan.instruments)
    own_flow, delta_flow, vega_flow, mine = np.zeros(instruments), np.zeros(count), np.zeros(count), []
    for p, steps in plans:
        trades = [s.trades for s in steps]
        n = np.concatenate([t[1] for t in trades]) if trades else np.zeros(0, np.int64)
        lots = np.concatenate([t[2] for t in trades]) if trades else np.zeros(0, np.int64)
        delta, vega, units = flows(scene, n, lots)
        mine.append((p, steps, delta, vega, n, units))
        delta_flow, vega_flow = delta_flow + delta, vega_flow + vega
        np.add.at(own_flow, n, units)
    price, volatility, own = depth.price.per_unit(delta_flow), depth.volatility.per_unit(vega_flow), depth.own.per_unit(own_flow)
    for p, steps, delta, vega, n, units in mine:
        cost = float(delta @ price + vega @ volatility + np.sum(depth.spread[n] * np.abs(units) + own[n] * units))
        cents = int(to_cents(cost))
        run.ledger.to_party(now, "closing cost", MARKET, p, -cents)
        run.defaults[p].cost += money(cents)
        run.defaults[p].steps += len(steps)
        total += money(cents)
        for s in steps:
            for unit, k, q in zip(*(x.tolist() for x in s.trades), strict=True):
                run.holdings.to_market(unit, k, -q)
            run.steps.append({"round": now, "party": run.defaults[p].party, "order": run.order, "kind": s.kind, "name": s.name, "contracts": float(np.sum(np.abs(s.trades[2]))) * 1e-8, "cost": s.cost,
                              "required_before": s.before, "required_after": s.after})
    after = Depth(depth.price.after(delta_flow), depth.volatility.after(vega_flow), depth.own.after(own_flow), depth.spread, depth.volume)
    if plans:
        run.trading = max(run.trading, *(run.defaults[p].generation for p, _ in plans))
    return total, after
