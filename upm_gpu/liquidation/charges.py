"""Margins with every charge of the methodology, of the books that are left, where the market stands: by the functions of a run.

A plan is made in the market after the move (`campaign/shocked.py`): spots, forwards, quoted volatilities and surfaces as the pricing program moves them, the law as it was estimated before. What units hold
now takes the place of what they held; then tails, further scenario sets, exposures, given moves and charges are those of a run on the first so many scenarios. No charge has a second way to be told.

What stays as it was is said by name (`KEPT`): nothing of it is recomputed. Verified by tests/end_to_end/test_liquidation_charges.py against fresh runs of the reduced book in the market after the move.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from upm_gpu.backend.select import Choice
from upm_gpu.domain.instrument import Future, Perpetual
from upm_gpu.liquidation.holdings import Holdings
from upm_gpu.margin.methodology import charges_in_force, simulated_assets
from upm_gpu.margin.requests import PledgedRequest
from upm_gpu.margin.units import COLLATERAL_PREFIX, Lines, build_rows
from upm_gpu.market.levels import quote_price
from upm_gpu.market.snapshot import MarketSnapshot
from upm_gpu.plan import Plan
from upm_gpu.pricing.compiled import Compiled, Rows
from upm_gpu.pricing.tables import Shelf

KEPT = {"law": "the law that scenarios are drawn from is the one estimated before the scenario", "time": "margins are those of the valuation time: no option is nearer to its expiry",
        "plans": "inside a round, plans of closing let charges stand where the round began, so they may close up to a round's share more than is needed; every round begins and ends with all of them computed again"}
PLEDGED = "collateral that charges look at is what was posted before, at the prices of the moved market"
MEANS = "one-year means of margins are those of before"


@dataclass(frozen=True)
class There:
    """A run's plan in a moved market."""

    plan: Plan
    """with value tables"""
    bare: Compiled
    """before they were made"""
    value0: NDArray[np.float64]
    coins: NDArray[np.float64]
    """(N,) coins that a unit of each inverse future or perpetual has gained since the valuation time; 0 of others"""
    coin: NDArray[np.int64]
    """(N,) place of the simulated collateral in these coins; -1 where nobody posted any: they move nothing then"""


def kept_of(plan: Plan) -> dict[str, str]:
    """What is not computed again, by name."""
    found = dict(KEPT)
    if PledgedRequest() in plan.further:
        found["collateral"] = PLEDGED
    if plan.book.margin_means:
        found["means"] = MEANS
    return found


def cannot(plan: Plan) -> str:
    """Why charges cannot be computed in a moved market; "" where they can."""
    from upm_gpu.campaign.shocked import KINDS

    foreign = sorted({name.partition("[")[0] for name in plan.compiled.drawn_names} - set(KINDS))
    return f"the model moves {', '.join(foreign)}, which no market quotes" if foreign else ""


def has_charges(plan: Plan) -> bool:
    """Whether the methodology has any."""
    return bool(charges_in_force(plan.methodology))


def there(plan: Plan, choice: Choice, scenarios: int, shelf: Shelf, moves: dict[str, float] | None) -> There:
    """The plan of the first `scenarios` where drawn states moved; None: where nothing has. Raises what making a plan raises."""
    from upm_gpu.campaign.shocked import shocked_market
    from upm_gpu.plan import make_plan, with_count
    from upm_gpu.pricing.tables import with_tables

    before = plan.market
    if moves is not None:
        market, surfaces = shocked_market(plan, moves, choice.module)
        plan = replace(make_plan(plan.book, market, plan.spec, plan.methodology, plan.model, surfaces), library=plan.library)
    plan = with_count(plan, scenarios)
    bare = plan.compiled
    compiled, _ = with_tables(bare, (plan.scenarios,), choice.module, choice.threads, shelf, library=plan.library)
    nothing = Rows(np.zeros(1, np.int64), np.zeros(0, np.int32), np.zeros(0))
    with choice.module.prepare(compiled, nothing, choice.precision, choice.threads) as prepared:
        value0 = np.array(prepared.value0)
    return There(replace(plan, compiled=compiled), bare, value0, *coins_gained(plan, before))


def coins_gained(plan: Plan, before: MarketSnapshot) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """(N,) coins gained by a unit of each instrument from the market before to the plan's, 1/F - 1/F' of inverse contracts, and where the coins are among the instruments, see `There`."""
    place = {i.instrument_id: n for n, i in enumerate(plan.instruments)}
    coins, coin = np.zeros(len(plan.instruments)), np.full(len(plan.instruments), -1, np.int64)
    for n, i in enumerate(plan.instruments):
        if isinstance(i, Future | Perpetual) and i.settlement == "inverse" and COLLATERAL_PREFIX + i.underlying in place:
            coins[n] = 1.0 / quote_price(before, i) - 1.0 / quote_price(plan.market, i)
            coin[n] = place[COLLATERAL_PREFIX + i.underlying]
    return coins, coin


def lines_of(at: There, holdings: Holdings, wanted: NDArray[np.bool_] | None) -> Lines:
    """What units hold, and beside their collateral the coins that their inverse contracts have gained: those move with the coin as a run of the day after would see them."""
    held = holdings.lines(wanted)
    own = np.flatnonzero((at.coin[held.instrument] >= 0) & (at.coins[held.instrument] != 0.0))
    unit, instrument = np.r_[held.unit, held.unit[own]], np.r_[held.instrument, at.coin[held.instrument[own]].astype(np.int32)]
    quantity = np.r_[held.quantity, held.quantity[own] * at.coins[held.instrument[own]]]
    order = np.lexsort((instrument, unit))
    return Lines(unit[order], np.zeros(len(order), np.int32), instrument[order], quantity[order])


def margins(at: There, choice: Choice, shelf: Shelf, holdings: Holdings, wanted: NDArray[np.bool_] | None = None) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(core (U,), charges (U,)) of what units hold; of units `wanted` (U,) alone where given, nothing for the others."""
    from upm_gpu.engine import charged
    from upm_gpu.margin.collateral import posted_of
    from upm_gpu.measuring import Pass, measure_further
    from upm_gpu.passes import in_memory, measure

    units = replace(at.plan.units, lines=lines_of(at, holdings, wanted))
    rows, entry = build_rows(units, at.plan.compiled)
    plan, loop = replace(at.plan, units=units, rows=rows, line_entry=entry), in_memory(None)
    measures = measure(plan, Pass(plan, choice, 0, loop, None, plan, 0).tails(rows, second=False), None)
    further = measure_further(plan, at.bare, choice, 0, loop, at.value0, shelf=shelf)
    posted = posted_of(plan.book, plan.market, plan.methodology.collateral, simulated_assets(plan.methodology, plan.book))
    measured, found = charged(plan, measures, further, posted)
    return measured.core, np.sum([np.zeros(len(units.names)), *(c.amount for c in found)], axis=0)
