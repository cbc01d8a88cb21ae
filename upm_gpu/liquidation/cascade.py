"""The cascade: a scenario comes, accounts fall below their maintenance margin, their books are closed, which moves the market for everybody, until nothing falls any more.

A round
  1. everybody is revalued where the market stands, gains and losses booked in cents against the market;
  2. margins are measured again there (`world.py`); an account below its initial margin is called, and pays what its owner has left to pay; one below maintenance is in liquidation;
  3. each book in liquidation makes its plan at the prices of the round (`sequencing.py`), or is auctioned when it enters, or deleveraged where the insurance fund is gone;
  4. all plans trade together: what they buy and sell of an underlying's delta and vega meets first, and every unit of it costs all who trade it the same, so no order of accounts matters;
  5. who is safe again is let go; who has nothing left and owes is carried by the waterfall (`waterfall.py`);
  6. the permanent part of the impact is where the market stands in the next round.
It ends when a round brings no liquidation that still has something to close and no new one: settled; or at the limit of rounds, said by name. The depth is the number of generations: the first falls with the scenario, each further one
after trades of the one before. Same case, same bytes: no order of a set or a dictionary of ids decides anything.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from upm_gpu.liquidation.account import Account, Scene, flows
from upm_gpu.liquidation.auction import Bidder, sell
from upm_gpu.liquidation.case import Case
from upm_gpu.liquidation.deleveraging import deleverage
from upm_gpu.liquidation.depth import Depth, depth_of
from upm_gpu.liquidation.holdings import Holdings, hold
from upm_gpu.liquidation.money import MARKET, OWNERS, Ledger, money, to_cents
from upm_gpu.liquidation.packages import hedges_of
from upm_gpu.liquidation.parameters import Parameters
from upm_gpu.liquidation.sequencing import Order, Step, plan
from upm_gpu.liquidation.waterfall import INSURANCE, TRANSIT, UNPAID, Funds, bear, funds_of
from upm_gpu.liquidation.world import Slopes, Start, World, gains
from upm_gpu.margin.units import instrument_levels, sum_by

STILL = 1e-5
"""log move below which margins of who did nothing are not measured again: it changes them by far less than their error"""


@dataclass(frozen=True)
class Round:
    """One round, amounts in the reporting currency."""

    round: int
    price: dict[str, float]
    """relative move of each underlying by impact alone, when the round begins"""
    volatility: dict[str, float]
    calls: int
    call_amount: float
    paid: float
    new_defaults: int
    liquidating: int
    let_go: int
    closed: int
    cost: float
    delta_traded: dict[str, float]
    """net, by underlying"""
    losses: float
    """that the waterfall bore"""
    fund_used: float
    """so far, all layers but the market's own loss"""
    open_risk: float
    """initial margin that the books still in liquidation would need after the round's trades: what the next move can cost"""


@dataclass
class Default:
    """One account's liquidation, from entry to end."""

    party: str
    generation: int
    entered: int
    """round"""
    before: bool
    """below maintenance before the scenario came"""
    equity: float
    """when it entered"""
    required: float
    """initial margin where the market stood then"""
    cost: float = 0.0
    steps: int = 0
    how: str = "market"
    """market, auction, deleveraged"""
    end: str = "open"
    """let go, closed, open"""
    left: int = -1
    """round of its end"""
    loss: float = 0.0
    borne: dict[str, float] = field(default_factory=dict)
    bankruptcy_move: float | None = None
    """relative move of all prices from the valuation time that leaves it no equity, nearest to none; None where no move does"""


@dataclass(frozen=True)
class Cascade:
    """Everything that happened."""

    scenario: str
    order: Order
    auction: bool
    settled: bool
    rounds: tuple[Round, ...]
    defaults: tuple[Default, ...]
    steps: tuple[dict[str, Any], ...]
    ledger: Ledger
    opening_cents: int
    """sum of the ledger at the start"""
    opening_lots: tuple[int, ...]
    holdings: Holdings
    funds: Funds
    opening_funds: dict[str, int]
    equity: NDArray[np.int64]
    """(P,) cents at the end"""
    price: dict[str, float]
    """relative move of each underlying by impact alone, at the end"""

    @property
    def depth(self) -> int:
        """Generations."""
        return max((d.generation for d in self.defaults), default=0)

    @property
    def conserved(self) -> bool:
        """Whether cash and positions are what they were, to the cent and the lot."""
        return self.ledger.total() == self.opening_cents and tuple(self.holdings.total()) == self.opening_lots


class _Run:
    """The moving parts of a cascade."""

    def __init__(self, case: Case, world: World, parameters: Parameters, order: Order, auction: bool) -> None:
        self.case, self.world, self.parameters, self.order, self.auction = case, world, parameters, order, auction
        count = len(case.parties.names)
        self.holdings = hold(case.plan.units, case.plan.instruments)
        self.opening_lots = tuple(self.holdings.total())
        self.ledger = Ledger(to_cents(case.equity), {MARKET: 0, OWNERS: 0})
        self.opening_equity = self.ledger.equity.copy()
        self.funds = funds_of(parameters.fund, [max(0, c) for c in to_cents(case.initial).tolist()], self.ledger)
        self.opening_funds = {k: v for k, v in self.ledger.pots.items() if k not in (MARKET, OWNERS, TRANSIT)}
        self.opening_cents = self.ledger.total()
        self.capacity = to_cents(parameters.margin.call_capacity * case.initial)
        self.units_of, self.place = case.units_of, {name: n for n, name in enumerate(case.parties.names)}
        self.maintenance = case.plan.methodology.maintenance_ratio
        self.multiplier = case.plan.methodology.core.multiplier
        self.notional = instrument_levels(case.plan.instruments, case.plan.market)
        none = np.zeros(len(world.underlyings))
        start = self.holdings.rows(len(case.plan.units.names), case.plan.compiled)
        self.core0 = self._by_party(world.measure(world.margin_pnl(none, none, start, today=True)))
        self.value = np.zeros(len(case.plan.instruments))
        self.defaults: dict[int, Default] = {}
        self.past: list[Default] = []
        self.begun: dict[tuple[int, int], int] = {}
        self.steps: list[dict[str, Any]] = []
        self.paid_in = np.zeros(count, np.int64)
        self.changed = False
        """positions of others than those in liquidation changed: margins must be measured again"""
        self.bidding: dict[int, NDArray[np.float64]] = {}
        """P&L of units that were asked to bid in this round"""
        self.trading = 0
        """generation that traded in the round before"""

    def _by_party(self, per_unit: NDArray[np.float64]) -> NDArray[np.float64]:
        return sum_by(self.case.parties.of_unit, per_unit, len(self.case.parties.names))

    def required(self, core: NDArray[np.float64]) -> NDArray[np.float64]:
        """(P,) initial margin at core measures where the market stands."""
        ratio = np.divide(core, self.core0, out=np.ones_like(core), where=self.core0 > 0.0)
        return np.where(self.core0 > 0.0, self.case.initial * ratio, self.case.initial + self.multiplier * core)

    def revalue(self, now: int, slopes: Slopes) -> None:
        """Book what everybody gained since the round before."""
        gained = self._by_party(gains(self.holdings, slopes.value - self.value, len(self.case.plan.units.names)))
        self.ledger.to_parties(now, "variation", MARKET, to_cents(gained))
        self.value = slopes.value

    def survivors(self) -> list[bool]:
        """(P,) who never entered liquidation."""
        gone = set(self.defaults) | {self.place[d.party] for d in self.past}
        return [p not in gone for p in range(len(self.case.parties.names))]


def cascade(case: Case, start: Start, parameters: Parameters, order: Order = "sequenced", auction: bool = False) -> Cascade:
    """Run a cascade to its end. Deterministic; raises CapacityError for positions or amounts beyond whole lots and cents."""
    world = World(case.plan, case.choice, start, min(parameters.margin.scenarios, case.plan.scenarios.count))
    run = _Run(case, world, parameters, order, auction)
    none = np.zeros(len(world.underlyings))
    today = slopes_today(world)
    depth, hedges = depth_of(world, today, parameters), hedges_of(world, run.holdings, today)
    before = case.equity < run.maintenance * case.initial
    rounds, settled = list[Round](), False
    price, volatility = none, none
    measured: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None
    required, unit_pnl = np.zeros(len(case.equity)), np.zeros((0, 0))
    for now in range(parameters.pace.rounds):
        slopes = world.slopes(price, volatility)
        run.revalue(now, slopes)
        if measured is None or run.changed or max(np.max(np.abs(price - measured[0])), np.max(np.abs(volatility - measured[1]))) > STILL:
            rows = run.holdings.rows(len(case.plan.units.names), case.plan.compiled)
            required = run.required(run._by_party(world.measure(world.margin_pnl(price, volatility, rows))))
            unit_pnl, measured, run.changed = world.margin_pnl(price, volatility), (price, volatility), False
        called, asked, paid = _call(run, now, required)
        fresh = _enter(run, now, required, before)
        active = sorted(run.defaults)
        if not active:
            settled = True
            rounds.append(_round(run, now, price, volatility, (called, asked, paid), 0, 0, 0, 0, 0, none, 0, 0.0))
            break
        scene = Scene(world, slopes, depth, unit_pnl, run.holdings.size, hedges)
        lost, flow, cost = _liquidate(run, now, scene, active, fresh, required)
        depth = flow
        let_go, closed = _leave(run, now, scene, required)
        lost += _carry(run, now)
        rounds.append(_round(run, now, price, volatility, (called, asked, paid), len(fresh), len(active), let_go, closed, cost, depth.price.traded, lost, float(required[sorted(run.defaults)].sum())))
        price, volatility = depth.price.mark(), depth.volatility.mark()
    return Cascade(start.name, order, auction, settled, tuple(rounds), tuple(sorted([*run.past, *run.defaults.values()], key=lambda d: (d.entered, d.party))), tuple(run.steps), run.ledger,
                   run.opening_cents, run.opening_lots, run.holdings, run.funds, run.opening_funds, run.ledger.equity.copy(), dict(zip(world.underlyings, np.expm1(price).tolist(), strict=True)))


def slopes_today(world: World) -> Slopes:
    """Slopes at the valuation time, before the scenario: what depth is measured in."""
    from dataclasses import replace

    from upm_gpu.liquidation.world import stress_start

    none = np.zeros(len(world.underlyings))
    return replace(world, start=stress_start(world.plan, "today", {})).slopes(none, none)


def _call(run: _Run, now: int, required: NDArray[np.float64]) -> tuple[int, float, float]:
    """Call who is below initial margin and take what its owner has: (calls, amount asked, amount paid)."""
    short = to_cents(required) - run.ledger.equity
    short[list(run.defaults)] = 0
    asked = np.maximum(short, 0)
    paid = np.minimum(asked, run.capacity)
    if paid.any():
        run.capacity -= paid
        run.paid_in += paid
        run.ledger.to_parties(now, "call paid", OWNERS, paid)
    return int(np.count_nonzero(asked)), money(int(asked.sum())), money(int(paid.sum()))


def _enter(run: _Run, now: int, required: NDArray[np.float64], before: NDArray[np.bool_]) -> list[int]:
    """Parties that fall below maintenance in this round."""
    below = run.ledger.equity < to_cents(run.maintenance * required)
    fresh = []
    for p in np.flatnonzero(below).tolist():
        if p in run.defaults:
            continue
        holds = any(np.any(run.holdings.lots[run.holdings.of(u)]) for u in run.units_of[p])
        if not holds and run.ledger.equity[p] >= 0:
            continue
        earlier = any(d.party == run.case.parties.names[p] for d in run.past)
        if not holds and earlier:
            continue
        run.defaults[p] = Default(run.case.parties.names[p], run.trading + 1, now, bool(before[p]), money(int(run.ledger.equity[p])), float(required[p]))
        fresh.append(p)
    return fresh


def _lots_of(run: _Run, unit: int) -> dict[int, int]:
    """instrument -> lots of a unit, none of nothing."""
    return {int(run.holdings.instrument[k]): int(run.holdings.lots[k]) for k in run.holdings.of(unit).tolist() if run.holdings.lots[k]}


def _account(run: _Run, p: int, scene: Scene) -> Account:
    lots = {u: _lots_of(run, u) for u in run.units_of[p]}
    for u, own in lots.items():
        for n, held in own.items():
            run.begun[u, n] = max(run.begun.get((u, n), 0), abs(held))
    equity = money(int(run.ledger.equity[p]))
    return Account(p, equity, float(run.case.initial[p]), float(run.core0[p]), run.parameters.pace.restore, run.parameters.pace.close_all or equity < 0.0, lots,
                   {u: _pnl_of(own, scene) for u, own in lots.items()}, run.multiplier)


def _liquidate(run: _Run, now: int, scene: Scene, active: list[int], fresh: list[int], required: NDArray[np.float64]) -> tuple[int, Depth, float]:
    """Auctions, deleveraging, plans, and their trades: (cents lost to nobody yet, depth after, cost)."""
    plans, lost = list[tuple[int, list[Step]]](), 0
    run.bidding.clear()
    for p in active:
        account = _account(run, p, scene)
        if account.empty:
            continue
        if "auto_deleveraging" in run.parameters.waterfall and run.ledger.equity[p] < 0 and run.ledger.pots[INSURANCE] == 0:
            lost += _deleverage(run, now, p, scene)
            account = _account(run, p, scene)
            if account.empty:
                continue
        planned = plan(account, scene, run.order, run.begun, run.parameters.pace.share)
        if run.auction and p in fresh and _auctioned(run, now, p, account, scene, required, sum(s.cost for s in planned)):
            continue
        plans.append((p, planned))
    cost, after = _trade(run, now, scene, plans)
    return lost, after, cost


def _pnl_of(lots: dict[int, int], scene: Scene) -> NDArray[np.float64]:
    found = np.zeros(scene.unit_pnl.shape[1])
    for n, held in sorted(lots.items()):
        found = found + held * scene.size[n] * scene.unit_pnl[n]
    return found


def _kept_pnl(run: _Run, unit: int, scene: Scene) -> NDArray[np.float64]:
    """(M,) P&L of a bidder's unit, made once a round."""
    if unit not in run.bidding:
        run.bidding[unit] = _pnl_of(_lots_of(run, unit), scene)
    return run.bidding[unit]


def _deleverage(run: _Run, now: int, p: int, scene: Scene) -> int:
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


def _auctioned(run: _Run, now: int, p: int, account: Account, scene: Scene, required: NDArray[np.float64], planned: float) -> bool:
    """Sell the whole book if somebody takes it for less than closing it is planned to cost."""
    rules, survivor = run.parameters.auction, run.survivors()
    excess = run.ledger.equity / 100.0 - required
    able = [b for b in np.argsort(-excess, kind="stable").tolist() if survivor[b] and excess[b] > 0.0 and run.units_of[b]][: rules.bidders]
    bidders = []
    for b in able:
        held = {u: _kept_pnl(run, u, scene) for u in run.units_of[b]}
        unit = max(held, key=lambda u: (float(np.ptp(held[u])), -u))
        per_core = float(run.case.initial[b] / run.core0[b]) if run.core0[b] > 0.0 else run.multiplier
        bidders.append(Bidder(b, unit, money(int(run.ledger.equity[b])), float(required[b]), per_core, held[unit]))
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
    required[sale.bidder.party] += sale.increase
    run.changed = True
    run.steps.append({"round": now, "party": found.party, "order": "auction", "kind": "auction", "name": f"to {run.case.parties.names[sale.bidder.party]}", "contracts": 0.0, "cost": money(cents),
                      "required_before": account.required(sum(account.measure(scene).values())), "required_after": 0.0})
    return True


def _trade(run: _Run, now: int, scene: Scene, plans: list[tuple[int, list[Step]]]) -> tuple[float, Depth]:
    """Do all plans of a round together; every unit of a risk costs all who trade it the same."""
    depth, total = scene.depth, 0.0
    count, instruments = len(scene.world.underlyings), len(run.case.plan.instruments)
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


def _leave(run: _Run, now: int, scene: Scene, required: NDArray[np.float64]) -> tuple[int, int]:
    """Who is safe at the prices of the round, or has nothing left and owes nothing: (let go, closed). What they must have now is noted in `required`."""
    let_go = closed = 0
    for p in sorted(run.defaults):
        lots = {u: _lots_of(run, u) for u in run.units_of[p]}
        empty = not any(lots.values())
        required[p] = 0.0
        if not empty:
            core = sum(float(scene.world.measure(_pnl_of(own, scene))) for own in lots.values())
            account = Account(p, money(int(run.ledger.equity[p])), float(run.case.initial[p]), float(run.core0[p]), run.parameters.pace.restore, run.parameters.pace.close_all, {}, {}, run.multiplier)
            required[p] = account.required(core)
            if account.close_all or not account.safe(core, 0.0):
                continue
        elif run.ledger.equity[p] < 0:
            continue
        found = run.defaults.pop(p)
        found.end, found.left = ("closed" if empty else "let go"), now
        let_go, closed = let_go + (not empty), closed + empty
        run.past.append(found)
        run.begun = {k: v for k, v in run.begun.items() if k[0] not in run.units_of[p]}
    return let_go, closed


def _carry(run: _Run, now: int) -> int:
    """The waterfall carries who has nothing left and owes; cents."""
    losers = [p for p in sorted(run.defaults) if run.ledger.equity[p] < 0 and not any(_lots_of(run, u) for u in run.units_of[p])]
    losses = [-int(run.ledger.equity[p]) for p in losers]
    gain = (run.ledger.equity - run.opening_equity - run.paid_in).tolist()
    for p, loss, borne in zip(losers, losses, bear(now, losers, list(run.parameters.waterfall), run.ledger, run.funds, run.survivors(), gain), strict=True):
        found = run.defaults.pop(p)
        found.loss += money(loss)
        for layer, cents in borne.items():
            found.borne[layer] = found.borne.get(layer, 0.0) + money(cents)
        found.end, found.left = "closed", now
        run.past.append(found)
    return sum(losses)


def _round(run: _Run, now: int, price: NDArray[np.float64], volatility: NDArray[np.float64], calls: tuple[int, float, float], fresh: int, active: int, let_go: int, closed: int, cost: float,
           traded: NDArray[np.float64], lost: int, open_risk: float) -> Round:
    names = run.world.underlyings
    return Round(now, dict(zip(names, np.expm1(price).tolist(), strict=True)), dict(zip(names, np.expm1(volatility).tolist(), strict=True)), calls[0], calls[1], calls[2], fresh, active, let_go, closed,
                 cost, dict(zip(names, traded.tolist(), strict=True)), money(lost), money(sum(v for k, v in run.funds.used.items() if k != UNPAID)), open_risk)
