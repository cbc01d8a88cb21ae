"""What-ifs in books that read value tables: orders, closings and instruments that nobody holds, to the bit as a fresh run of the changed book, which makes tables of its own."""

from __future__ import annotations

import importlib
from dataclasses import replace

import numpy as np
import pytest
from small_book import GAUSSIAN, INSTRUMENTS, VALUATION, methodology, read, write
from test_desk import house_methodology, same

from upm_gpu import desk
from upm_gpu.backend.select import choose
from upm_gpu.desk.carried import places
from upm_gpu.desk.hypothetical import instruments_of, listed_with
from upm_gpu.desk.resident import require_columns
from upm_gpu.domain.reader import load_book
from upm_gpu.engine import compute_outcome
from upm_gpu.errors import InputError
from upm_gpu.model.gbm import GbmParameters
from upm_gpu.passes import in_memory
from upm_gpu.plan import make_plan
from upm_gpu.pricing import table_refinement, tables
from upm_gpu.scenario.spec import ScenarioSpec

whatif_module = importlib.import_module("upm_gpu.desk.whatif")
AMERICAN = "".join(f"ETH-P{k}A,option,ETH,linear,USD,1,2026-02-27T08:00:00Z,{k},put,american\n" for k in (1500, 2000, 2600, 3200))
RATES = "currency,tenor_days,zero_rate\nUSD,30,0.3\n"
POSITIONS = "account_id,instrument_id,quantity\nA,ETH-P2600A,-1\nA,BTC-C70,1\nB,ETH-P2000A,2\nB,ETH-P2600A,1\nC,ETH-C20L,-3\nC,BTC-PERP,40\n"
COLLATERAL = "account_id,asset,quantity\nA,USD,900\nB,USD,500\nC,USD,80000\n"
SPEC = ScenarioSpec(count=4_096, horizons=(2.0,), seed=9)
HYPOTHETICAL = [{"like": "ETH-P2000A", "instrument_id": "ETH-P1800H", "strike": "1800"},
                {"instrument_id": "ETH-UOC", "kind": "option", "underlying": "ETH", "settlement": "linear", "quote_currency": "USD", "contract_size": "1", "expiry": "2026-02-27T08:00:00Z", "strike": "2000",
                 "option_type": "call", "exercise": "european", "product": "barrier", "barrier": "2600", "barrier_type": "up_out"}]


def given(folder, positions=POSITIONS):
    folder = write(folder, positions, COLLATERAL, market={"rates.csv": RATES})
    (folder / "book" / "instruments.csv").write_text(INSTRUMENTS + AMERICAN)
    _, market = read(folder)
    return load_book(folder / "book", VALUATION), market


def fresh(resident, market, changes, spec=SPEC, model=GAUSSIAN):
    plan = make_plan(desk.book_after(resident, changes), market, spec, methodology(), model, resident.plan.surfaces)
    return compute_outcome(replace(plan, library=resident.plan.library), resident.choice, 0, in_memory()).result


def compared(resident, market, sets):
    """A fresh run of each set says the same."""
    for changes, answers in zip(sets, desk.whatif(resident, sets), strict=True):
        run = fresh(resident, market, changes)
        for answer in answers:
            same(run, answer)


SETS = {
    "quantities": [desk.Order("A", "ETH-P2600A", 0.5), desk.Order("B", "ETH-P2000A", 3.0)],
    "close what one account holds": [desk.Order("B", "ETH-P2000A", -2.0)],
    "close what no table reads": [desk.Order("C", "ETH-C20L", 3.0)],
    "the last that reads a table": [desk.Order("A", "ETH-P2600A", 1.0), desk.Order("B", "ETH-P2600A", -1.0), desk.Order("B", "ETH-P2000A", -2.0)],
    "an unheld strike inside": [desk.Order("C", "ETH-P1500A", 1.0)],
    "an unheld strike outside the box": [desk.Order("C", "ETH-P3200A", -2.0), desk.Order("A", "ETH-P2600A", -1.0)],
    "an unheld European": [desk.Order("A", "BTC-P60", 2.0)],
    "one out, one in": [desk.Order("B", "ETH-P2000A", -2.0), desk.Order("B", "ETH-P1500A", 2.0)],
    "a coin that nobody posted": [desk.Deposit("A", "ETH", 0.2)],
    "bought and sold": [desk.Order("A", "ETH-P1500A", 2.0), desk.Order("A", "ETH-P1500A", -2.0), desk.Deposit("A", "USD", 3.0)],
}


@pytest.mark.parametrize("precision", ["mixed", "double"])
def test_trades_in_a_book_with_value_tables(tmp_path, precision):
    book, market = given(tmp_path)
    resident = desk.keep(book, market, SPEC, methodology(), choose("cpu", precision), model=GAUSSIAN)
    sets = list(SETS.values())
    compared(resident, market, sets if precision == "mixed" else sets[5:6])


def test_states_made_on_demand(tmp_path):
    """Returns of perpetuals whose funding is paid along the path are states that instruments ask for: the first of another underlying renumbers them."""
    correlation = np.eye(5)
    correlation[:4, :4] = GAUSSIAN.correlation
    model = GbmParameters((*GAUSSIAN.state_names, "funding_rate[BTC]"), np.array([*GAUSSIAN.daily_volatility, 4e-4]), correlation, half_life_days=np.array([0.0] * 4 + [3.0]))
    history = {"history.csv": "date,asset,close\n2026-02-03,BTC.FUNDING,0.0002\n2026-02-04,BTC.FUNDING,-0.0007\n"}
    book, market = read(write(tmp_path, "account_id,instrument_id,quantity\nA,BTC-C70,1\nB,ETH-PERP,500\nC,ETH-C20L,-3\n", COLLATERAL, market=history))
    spec = replace(SPEC, funding="path", funding_rate=3e-4)
    resident = desk.keep(book, market, spec, methodology(), choose("cpu"), model=model)
    assert resident.sized
    for changes in ([desk.Order("C", "BTC-PERP", 30.0)], [desk.Order("B", "ETH-PERP", -500.0), desk.Order("B", "BTC-C70", 0.5)]):
        ((answer,),) = desk.whatif(resident, [changes])
        same(fresh(resident, market, changes, spec, model), answer)


def test_what_is_not_answered_so_is_refused_by_name(tmp_path):
    book, market = given(tmp_path)
    resident = desk.keep(book, market, SPEC, methodology(), choose("cpu"), model=GAUSSIAN)
    with pytest.raises(InputError, match="UPM-IN-149 after the trades ETH-P2000A is held by nobody any more"):
        desk.whatif(resident, [[desk.Order("B", "ETH-P2000A", -2.0)]], rebuild=False)
    with pytest.raises(InputError, match="UPM-RN-082 ETH-P1500A is held by nobody"):
        require_columns(resident, ["ETH-P2000A", "ETH-P1500A"])


def test_the_largest_order_in_an_unheld_option(tmp_path):
    from upm_gpu.desk.hedging.orders import largest_order

    book, market = given(tmp_path)
    resident = desk.keep(book, market, SPEC, methodology(), choose("cpu"), model=GAUSSIAN)
    account = next(a.account_id for a in book.accounts if desk.whatif(resident, [[desk.Deposit(a.account_id, "USD", 1.0)]])[0][0].before["status"] == "ok")
    found = largest_order(resident, account, "ETH-P1500A", "sell")
    assert found.contracts < 0.0
    assert found.answer.would_pass
    assert found.next_fails
    ((beyond,),) = desk.whatif(resident, [[desk.Order(account, "ETH-P1500A", 2.0 * found.contracts)]])
    assert not beyond.would_pass


def test_what_is_the_same_is_taken_over(tmp_path):
    """Columns that another strike leaves as they are, and tables; one bit of a term, a group or a table is another column. With every charge of a house, whose sets are kept too."""
    book, market = given(tmp_path)
    method = house_methodology()
    resident = desk.keep(book, market, SPEC, method, choose("cpu"), model=GAUSSIAN)
    ((answer,),) = desk.whatif(resident, [[desk.Order("C", "ETH-P3200A", -2.0)]])
    (other,) = resident.rebuilt.values()
    old, new = resident.plan.compiled, other.plan.compiled
    place = places(old, new)
    column = dict(zip(new.instrument_ids, new.instrument_column.tolist(), strict=True))
    assert place[column["ETH-P3200A"]] == -1
    assert place[column["BTC-C70"]] == old.instrument_column[old.instrument_ids.index("BTC-C70")] >= 0
    assert np.array_equal(places(old, old), np.arange(old.columns))
    program = old.programs[0]
    table = replace(program.tables[0], values=program.tables[0].values.copy())
    assert np.array_equal(places(replace(old, programs=(replace(program, tables=(table,)), *old.programs[1:])), old), np.arange(old.columns))
    table.values[0, 0] = np.nextafter(table.values[0, 0], 9.0)
    reads = {old.instrument_column[old.instrument_ids.index(n)] for n in ("ETH-P2000A", "ETH-P2600A")}
    assert set(np.flatnonzero(places(replace(old, programs=(replace(program, tables=(table,)), *old.programs[1:])), old) < 0)) == reads
    plan = make_plan(desk.book_after(resident, [desk.Order("C", "ETH-P3200A", -2.0)]), market, SPEC, method, GAUSSIAN, resident.plan.surfaces)
    same(compute_outcome(plan, resident.choice, 0, in_memory()).result, answer)


def test_hypothetical_american_and_exotic_options(tmp_path):
    """In a book with value tables, and in one that has none until such an option is bought."""
    for name, positions in (("with", POSITIONS), ("without", "account_id,instrument_id,quantity\nA,BTC-C70,1\nC,ETH-C20L,-3\nC,BTC-PERP,40\n")):
        book, market = given(tmp_path / name, positions)
        listed = instruments_of(HYPOTHETICAL, book, "test")
        resident = desk.keep(listed_with(book, market, listed), market, SPEC, methodology(), choose("cpu"), model=GAUSSIAN, also=[i.instrument_id for i in listed])
        compared(resident, market, [[desk.Order("C", "ETH-P1800H", -2.0)], [desk.Order("C", "ETH-UOC", 4.0)], [desk.Order("A", "ETH-UOC", -1.0), desk.Order("A", "ETH-P1800H", 1.0)]])


def test_an_account_that_would_feel_its_tables_is_answered_by_a_fresh_run(tmp_path, monkeypatch):
    """Coarse tables are fine for everybody until A sells the underlying against its put; and the other way round, where the run made them finer."""
    from test_table_refinement import COARSE, STEPS

    monkeypatch.setattr(tables, "TOLERANCE", COARSE)
    monkeypatch.setattr(tables, "FIRST_STEPS", STEPS)
    asked = []
    plain = whatif_module.fresh_state
    monkeypatch.setattr(whatif_module, "fresh_state", lambda *a: asked.append(1) or plain(*a))
    rough, hedged = (f"A,ETH-P2600A,-1\nA,ETH-PERP,{n}\nB,ETH-PERP,5\n" for n in (40_000, -2_600))
    for name, positions, changes, again in (("rough", rough, desk.Order("A", "ETH-PERP", -42_600.0), True), ("rougher", rough, desk.Order("A", "ETH-PERP", 900.0), False),
                                            ("hedged", hedged, desk.Order("A", "ETH-PERP", 42_600.0), True), ("another", hedged, desk.Order("B", "ETH-PERP", 1.0), False),
                                            ("priced again", hedged, desk.Order("B", "ETH-P3200A", 1.0), True)):
        book, market = given(tmp_path / name, "account_id,instrument_id,quantity\n" + positions)
        first = compute_outcome(make_plan(book, market, SPEC, methodology(), GAUSSIAN), choose("cpu"), 0, in_memory())
        finer = table_refinement.finer_of(first.plan.compiled, 0)
        assert bool(finer) == (positions is hedged)
        resident = desk.keep(book, market, SPEC, methodology(), choose("cpu"), model=GAUSSIAN, finer=finer)
        asked.clear()
        compared(resident, market, [[changes]])
        assert bool(asked) == again, name
