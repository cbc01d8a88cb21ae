"""Cascades of books that are read from value tables: tables reach where the cascade goes, and hang on the scenario alone."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from liquidation_case import case_from, ground, rules
from small_book import read, write

from upm_gpu import exhibits
from upm_gpu.liquidation import Case, simulate
from upm_gpu.liquidation.bankruptcy import bankruptcy_moves
from upm_gpu.liquidation.coverage import REACH
from upm_gpu.liquidation.folder import contents
from upm_gpu.liquidation.margins import margins_of
from upm_gpu.liquidation.scenarios import start_of
from upm_gpu.liquidation.world import given_states
from upm_gpu.pricing.compiled import ValueTable
from upm_gpu.pricing.tables import TOLERANCE

AMERICAN = "BTC-AP60,option,BTC,linear,USD,1,2026-02-27T08:00:00Z,60000,put,american\nBTC-AP80,option,BTC,linear,USD,1,2026-02-27T08:00:00Z,80000,put,american\nETH-AP20,option,ETH,linear,USD,1,2026-02-27T08:00:00Z,2000,put,american\n"
RATES = {"rates.csv": "currency,tenor_days,zero_rate\nUSD,30,0.08\nUSD,365,0.08\n"}
NONE = np.zeros(2)


@cache
def american() -> Case:
    """A seller and a holder of American puts, and one long."""
    with TemporaryDirectory() as folder:
        made = write(Path(folder) / "case", "account_id,instrument_id,quantity\nSELLER,BTC-AP60,-10\nSELLER,ETH-AP20,-40\nHOLDER,BTC-AP80,5\nHOLDER,BTC-LINEAR,3\nLONG,BTC-LINEAR,8\n",
                     "account_id,asset,quantity\nSELLER,USD,60000\nHOLDER,USD,20000\nLONG,USD,80000\n", market=RATES)
        file = made / "book" / "instruments.csv"
        file.write_text(file.read_text() + AMERICAN)
        book, market = read(made)
    return case_from(book, market, 1024)


def ends(table: ValueTable, axis: int) -> tuple[float, float]:
    """First and last node but those beyond the range, whose distance is the table's own step."""
    step = 1.0 / table.inverse_step[axis]
    return table.low[axis] + step, table.low[axis] + (table.values.shape[axis] - 2) * step


def test_tables_reach_where_the_cascade_goes():
    """Values and margin P&L against tables made for exactly these states, at the start, a little beyond it and far beyond."""
    given_case = american()
    own = ground(given_case, 512).reaching(start_of(given_case, "BTC -20 %, volatility +40 %"))
    world = own.at(start_of(given_case, "BTC -20 %, volatility +40 %"))
    strike = np.array([getattr(i, "strike", 0.0) for i in given_case.plan.instruments])
    for price in (0.0, -0.3, 0.3):
        states = (world.stands(np.array([price, price]), NONE)[None, :, None] + own.draws)
        found = own.unit(own.core, states)
        exact = exhibits.cover(given_case.choice.module, own.core, (given_states(own.core, states),), 1)  # type: ignore[arg-type]
        for reached, needed in zip(own.coverage.of(own.core, given_states(own.core, states)).programs[0].tables, exact.programs[0].tables, strict=True):
            assert all(ends(reached, axis)[0] <= ends(needed, axis)[0] and ends(reached, axis)[1] >= ends(needed, axis)[1] for axis in (0, 1))
        with given_case.choice.module.prepare(exact, given_case.plan.rows, "double", 1) as prepared:
            columns = given_case.choice.module.unit_pnl(prepared, given_states(own.core, states), 0, 512, 0)
        expected = columns[own.core.instrument_column] * own.core.instrument_coefficient[:, None]
        assert np.max(np.abs(found - expected) / np.maximum(strike, 1.0)[:, None]) < 4.0 * TOLERANCE  # each table to its own tolerance, and today's value under both
        assert np.any(found[strike > 0.0])


def test_a_market_pushed_a_little_asks_for_the_tables_it_has():
    given_case = american()
    start = start_of(given_case, "BTC -20 %, volatility +40 %")
    own = ground(given_case, 512).reaching(start)
    world = own.at(start)
    before = own.today.slopes(NONE, NONE)
    world.margin_pnl(NONE, NONE), world.slopes(NONE, NONE)
    made = len(own.coverage.shelf.made)
    pushed = np.array([-0.1 * REACH, 0.0])
    world.margin_pnl(pushed, NONE), world.slopes(pushed, NONE)
    assert len(own.coverage.shelf.made) == made > 0
    world.margin_pnl(np.array([-2.0 * REACH, 0.0]), NONE)
    assert len(own.coverage.shelf.made) > made
    assert ground(given_case, 512).reaching(start).today.slopes(NONE, NONE).value.tobytes() == before.value.tobytes()


def test_a_long_tail_keeps_the_tables_of_the_last_scenario_alone():
    given_case = american()
    margins, shelf = margins_of(given_case, rules()), []
    for text in ("BTC -30 %", "BTC +30 %", "BTC -30 %", "BTC -30 %"):
        margins.opening(start_of(given_case, text))
        shelf.append(set(margins.ground.coverage.shelf.made))
    assert shelf[3] == shelf[2] - (shelf[1] - shelf[0]) == shelf[0]  # those of the rise went with the second question after it
    assert shelf[1] - shelf[0]


def test_no_bit_hangs_on_what_was_asked_before():
    given_case, parameters = american(), rules()
    fresh = contents(simulate(given_case, "BTC -25 %", parameters, ("sequenced",)), "run", {})
    both = simulate(given_case, "BTC -25 %", parameters, ("pro rata", "sequenced"))
    alone = simulate(given_case, "BTC -25 %", parameters, ("sequenced",))
    assert contents(alone, "run", {}) == fresh
    assert all(c.conserved and c.settled and c.defaults for c in both.cascades.values())
    assert both.cascades["sequenced"].steps == alone.cascades["sequenced"].steps
    assert both.cascades["sequenced"].equity.tobytes() == alone.cascades["sequenced"].equity.tobytes()


def test_bankruptcy_moves_of_american_options():
    """Sellers of puts break on the way down; eight contracts long on 80,000 at 70,000: a fall by a seventh."""
    given_case = american()
    moves = dict(zip(given_case.parties.names, bankruptcy_moves(given_case, ground(given_case), [0, 1, 2]), strict=True))
    assert -0.5 < (moves["SELLER"] or 0.0) < 0.0
    assert abs((moves["LONG"] or 0.0) + 80_000.0 / 8.0 / 70_000.0) < 1e-7
