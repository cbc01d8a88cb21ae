"""The cascade: a scenario comes, accounts fall below their maintenance margin, their books are closed, which moves the market for everybody, until nothing falls any more.

A round
  1. everybody is revalued where the market stands, gains and losses booked in cents against the market;
  2. margins are measured again there, charges included (`margins.py`); an account below its initial margin is called, and pays what its owner has left to pay; one below maintenance is in liquidation;
  3. each book in liquidation makes its plan at the prices of the round (`sequencing.py`), or is auctioned when it enters, or deleveraged where the insurance fund is gone;
  4. all plans trade together: what they buy and sell of an underlying's delta and vega meets first, and every unit of it costs all who trade it the same, so no order of accounts matters;
  5. who is safe again is let go; who has nothing left and owes is carried by the waterfall (`waterfall.py`);
  6. the permanent part of the impact is where the market stands in the next round.
It ends when a round brings no liquidation that still has something to close and no new one: settled; or at the limit of rounds, said by name. The depth is the number of generations: the first falls with the scenario, each further one
after trades of the one before. Same case, same bytes: no order of a set or a dictionary of ids decides anything.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from upm_gpu.liquidation.account import Scene
from upm_gpu.liquidation.case import Case
from upm_gpu.liquidation.closing import liquidate
from upm_gpu.liquidation.depth import depth_of
from upm_gpu.liquidation.margins import Margins, margins_of
from upm_gpu.liquidation.money import money
from upm_gpu.liquidation.packages import hedges_of
from upm_gpu.liquidation.parameters import Parameters
from upm_gpu.liquidation.record import Cascade, Round
from upm_gpu.liquidation.sequencing import Order
from upm_gpu.liquidation.stages import call, carry, enter, leave, measured_again
from upm_gpu.liquidation.standing import Standing
from upm_gpu.liquidation.starts import Start
from upm_gpu.liquidation.waterfall import UNPAID

STILL = 1e-5
"""log move below which margins of who did nothing are not measured again: it changes them by far less than their error"""

Tell: TypeAlias = Callable[[int, int], None]
"""(round that begins, accounts in liquidation)"""


def cascade(case: Case, start: Start, parameters: Parameters, order: Order = "sequenced", auction: bool = False, margins: Margins | None = None, tell: Tell | None = None) -> Cascade:
    """Run a cascade to its end; `margins` where other cascades of the case share them. Deterministic; raises CapacityError for positions or amounts beyond whole lots and cents."""
    margins = margins_of(case, parameters) if margins is None else margins
    opening = margins.opening(start)
    world, ground, unit_pnl = opening.world, opening.world.ground, opening.unit_pnl
    none = np.zeros(len(ground.underlyings))
    run = Standing(case, world, margins, parameters, order, auction)
    depth, hedges = depth_of(ground, opening.today, parameters), hedges_of(ground, run.holdings, opening.today)
    rounds, settled = list[Round](), False
    price, volatility = none, none
    measured, run.level = (none, none), opening.level
    for now in range(parameters.pace.rounds):
        slopes = world.slopes(price, volatility) if now else opening.slopes
        run.revalue(now, slopes)
        if run.changed or max(np.max(np.abs(price - measured[0])), np.max(np.abs(volatility - measured[1]))) > STILL:
            unit_pnl = world.margin_pnl(price, volatility)
            run.level = margins.level(opening.before, world, price, volatility, run.holdings, ground.cores(run.holdings, unit_pnl))
            measured, run.changed = (price, volatility), False
        calls, fresh = call(run, now), enter(run, now)
        active = sorted(run.defaults)
        if tell is not None:
            tell(now, len(active))
        begins = _begins(run, now, price, volatility, calls, len(fresh), len(active))
        if not active:
            settled = True
            rounds.append(begins)
            break
        scene = Scene(ground, slopes, depth, unit_pnl, run.holdings.size, hedges)
        lost, depth, cost = liquidate(run, now, scene, active, fresh)
        measured_again(run, opening.before, scene, price, volatility)
        let_go, closed = leave(run, now)
        lost += carry(run, now)
        rounds.append(replace(begins, let_go=let_go, closed=closed, cost=cost, delta_traded=_by_name(run, depth.price.traded), losses=money(lost), fund_used=_used(run),
                              open_risk=float(run.level.required[sorted(run.defaults)].sum())))
        price, volatility = depth.price.mark(), depth.volatility.mark()
    defaults = tuple(sorted([*run.past, *run.defaults.values()], key=lambda d: (d.entered, d.party)))
    return Cascade(start.name, order, auction, settled, tuple(rounds), defaults, tuple(run.steps), run.ledger, run.opening_cents, run.opening_lots, run.holdings, run.funds, run.opening_funds,
                   run.ledger.equity.copy(), _by_name(run, np.expm1(price)))


def _begins(run: Standing, now: int, price: NDArray[np.float64], volatility: NDArray[np.float64], calls: tuple[int, float, float], fresh: int, active: int) -> Round:
    """A round before anything is traded in it."""
    none = _by_name(run, np.zeros(len(price)))
    return Round(now, _by_name(run, np.expm1(price)), _by_name(run, np.expm1(volatility)), *calls, fresh, active, 0, 0, 0.0, none, 0.0, _used(run), 0.0, float(run.level.required.sum()),
                 float(run.level.charges.sum()))


def _by_name(run: Standing, values: NDArray[np.float64]) -> dict[str, float]:
    return dict(zip(run.world.ground.underlyings, values.tolist(), strict=True))


def _used(run: Standing) -> float:
    """Of all layers but the market's own loss, so far."""
    return money(sum(v for k, v in run.funds.used.items() if k != UNPAID))
