"""A library of value tables: its tables beside direct prices over drawn rates, times and markets, what it does not cover, its file, and a run of a later market."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import replace

import numpy as np
import pytest
from command_line import CONFIG, history, upm
from hypothesis import given, settings
from hypothesis import strategies as some
from small_book import GAUSSIAN, INSTRUMENTS, VALUATION, methodology, read, write
from test_value_tables import AMERICAN, RATES, request_of

from upm_gpu.backend import cpu
from upm_gpu.backend.select import choose
from upm_gpu.domain.reader import load_book
from upm_gpu.engine import compute_outcome
from upm_gpu.formula.value_table import table_values
from upm_gpu.passes import in_memory
from upm_gpu.plan import make_plan
from upm_gpu.pricing import library_build, tables
from upm_gpu.pricing.compiled import TableRequest
from upm_gpu.pricing.library_build import Margins
from upm_gpu.pricing.table_library import GUARD, TableLibrary, at_rates, covers, library_bytes, library_of, scaled
from upm_gpu.scenario.spec import ScenarioSpec

USUAL = Margins()
BOX = ((-0.3, 0.3), (math.log(0.3), math.log(0.6)))


def barrier_request(years: float, rate: float, dividend: float, spot_over_forward: float | None = None, discount: float | None = None) -> TableRequest:
    """An up-and-out call, barrier at 1.2 strikes; the discount factor and the basis of the market may be their own."""
    over = math.exp(-(rate - dividend) * years) if spot_over_forward is None else spot_over_forward
    inputs = (("rate", rate), ("dividend_yield", dividend), ("time_to_expiry", years), ("barrier", 1.2), ("up", 1.0), ("hit", 0.0), ("region", 1.0), ("asset", 1.0), ("cash", -1.0),
              ("knock_in", 0.0), ("hit_payment", 0.05), ("miss_payment", 0.0))
    d = math.exp(-rate * years) if discount is None else discount
    return TableRequest("X", 0, "single_barrier", True, 1.0, over, inputs, years, d, inputs, years, d, inside=(-math.inf, math.log(1.2) - math.log(over)))


def library_for(request: TableRequest, margins: Margins = USUAL) -> TableLibrary:
    wanted = library_build._wanted(request, BOX, margins)
    assert wanted is not None
    entry = library_build._entry(wanted, cpu)
    assert not isinstance(entry, str), entry
    return library_of(library_bytes((entry,)))


LIBRARIES = {kind: library_for(request) for kind, request in {
    "put": request_of(-1.0, 0.25, 0.04, 0.0), "future put": request_of(-1.0, 0.25, 0.04, 0.04), "call": request_of(1.0, 0.25, 0.03, 0.05), "barrier": barrier_request(0.25, 0.04, 0.01)}.items()}


@settings(max_examples=40, deadline=None)
@given(kind=some.sampled_from(sorted(LIBRARIES)), days=some.floats(0.0, 5.0), rate=some.floats(-0.005, 0.005), dividend=some.floats(-0.0025, 0.0025), basis=some.floats(-0.002, 0.002),
       level=some.floats(-0.1, 0.1), volatility=some.floats(-0.25, 0.25))
def test_a_later_market_is_within_the_promised_error(kind, days, rate, dividend, basis, level, volatility):
    """At any rates, time and basis of the range, whatever discount factor and forward the run has beside the rates of the product: 400 points that nobody looked at."""
    years = 0.25 - days / 365.0
    made = {"put": lambda: request_of(-1.0, years, 0.04 + rate, 0.0), "future put": lambda: request_of(-1.0, years, 0.04 + rate, 0.04 + rate),
            "call": lambda: request_of(1.0, years, 0.03 + rate, 0.05 + dividend), "barrier": lambda: barrier_request(years, 0.04 + rate, 0.01 + dividend)}[kind]()
    if kind != "barrier":  # a barrier lies where its spot does
        made = replace(made, spot_over_forward=made.spot_over_forward * math.exp(basis))
    made = replace(made, discount=made.discount * math.exp(0.1 * basis))
    box = ((BOX[0][0] + 0.9 * level, BOX[0][1] + 0.9 * level), (BOX[1][0] + volatility, BOX[1][1] + volatility))
    found = LIBRARIES[kind].table_for(made, box, cpu)
    assert found is not None
    table, error = found
    assert error <= GUARD
    rng = np.random.default_rng(3)
    m, y = rng.uniform(box[0][0], min(box[0][1], made.inside[1]), 400), rng.uniform(*box[1], 400)
    direct = tables.direct_values(made, m, np.exp(y), cpu)
    assert np.max(np.abs(table_values(table.low, table.inverse_step, table.values, m, y) - direct)) <= 4.0 * tables.TOLERANCE


def test_the_rates_are_followed():
    """The table at the rates the library was made for would be wrong by a hundred times what is promised."""
    made = request_of(-1.0, 0.25 - 5.0 / 365.0, 0.045, 0.0)
    other = request_of(-1.0, 0.25, 0.04, 0.0)
    m = np.linspace(-0.3, 0.3, 50)
    assert np.max(np.abs(tables.direct_values(made, m, np.full(50, 0.4), cpu) - tables.direct_values(other, m, np.full(50, 0.4), cpu))) > 50.0 * tables.TOLERANCE


@pytest.mark.parametrize("change", ["rate", "time", "yield", "level", "volatility", "sign", "barrier"])
def test_what_is_outside_is_not_served(change):
    """Nothing is extrapolated: a table of such a market is made as without a library."""
    kind, made, box = "call", request_of(1.0, 0.25, 0.03, 0.05), BOX
    if change == "rate":
        made = request_of(1.0, 0.25, 0.036, 0.05)
    elif change == "time":
        made = request_of(1.0, 0.2, 0.03, 0.05)
    elif change == "yield":
        made = request_of(1.0, 0.25, 0.03, 0.053)
    elif change == "level":
        box = ((-0.5, 0.3), BOX[1])
    elif change == "volatility":
        box = (BOX[0], (BOX[1][0], BOX[1][1] + 0.4))
    elif change == "sign":
        made = request_of(-1.0, 0.25, 0.03, 0.05)
    else:
        kind, made = "barrier", replace(barrier_request(0.25, 0.04, 0.01), inputs=tuple((k, 1.21 if k == "barrier" else v) for k, v in barrier_request(0.25, 0.04, 0.01).inputs))
    assert LIBRARIES[kind].table_for(made, box, cpu) is None


def test_a_wrong_table_is_found_out_and_made():
    """Direct prices stand before every table: one that was bent is not used."""
    good = LIBRARIES["put"].entries[0]
    bent = TableLibrary((replace(good, values=good.values + 3e-5),), "x")
    assert bent.table_for(request_of(-1.0, 0.25, 0.04, 0.0), BOX, cpu) is None
    assert LIBRARIES["put"].table_for(request_of(-1.0, 0.25, 0.04, 0.0), BOX, cpu) is not None


def test_operations_with_a_clock_of_their_own_have_no_entry():
    made = replace(request_of(-1.0), operation="cash_dividends")
    assert scaled(made) is None and scaled(replace(request_of(-1.0), alive=False)) is None


def test_a_library_at_its_own_rates_is_the_product_at_time_one():
    """The price per strike hangs on sigma sqrt(T), r T and q T alone."""
    for made in (request_of(-1.0, 0.25, 0.04, 0.02), barrier_request(0.25, 0.04, 0.01)):
        asked = scaled(made)
        alike = at_rates(made, asked.u, asked.v)
        m, sigma = np.linspace(-0.3, 0.15, 40), np.full(40, 0.4)
        np.testing.assert_allclose(tables.direct_values(alike, m + asked.log_basis, sigma * 0.5, cpu), tables.direct_values(made, m, sigma, cpu), rtol=0, atol=1e-9)


def test_a_damaged_file_is_refused():
    content = library_bytes(LIBRARIES["put"].entries)
    back = library_of(content)
    assert back.entries[0].terms == LIBRARIES["put"].entries[0].terms and np.array_equal(back.entries[0].values, LIBRARIES["put"].entries[0].values)
    for at in (3, 20, 60, len(content) - 5):
        with pytest.raises(ValueError):
            library_of(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
    with pytest.raises(ValueError):
        library_of(content[:100])


def test_covers_needs_a_node_beyond_either_end():
    entry = LIBRARIES["put"].entries[0]
    asked = scaled(request_of(-1.0, 0.25, 0.04, 0.0))
    low = entry.low[0] - asked.log_basis
    step = 1.0 / entry.inverse_step[0]
    assert covers(entry, asked, ((low + step + 1e-6, 0.0), BOX[1])) is not None
    assert covers(entry, asked, ((low + 0.5 * step, 0.0), BOX[1])) is None


POSITIONS = "account_id,instrument_id,quantity\nA,ETH-P2600A,-1\nB,ETH-C1600A,-2\nC,ETH-P2000A,3\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A book of American options, and a later market: an hour on, other rates, forward and volatilities."""
    made = write(tmp_path_factory.mktemp("library"), POSITIONS, market={"rates.csv": RATES, "history.csv": history()})
    (made / "book" / "instruments.csv").write_text(INSTRUMENTS + AMERICAN)
    (made / "run.toml").write_text(CONFIG)
    later = made / "later"
    later.mkdir()
    for file in (made / "market").iterdir():
        text = file.read_text()
        if file.name == "rates.csv":
            text = text.replace("0.3", "0.302")
        if file.name == "implied_vols.csv":
            rows = [row.split(",") for row in text.splitlines()]
            text = "\n".join([",".join(rows[0]), *(",".join([*r[:3], f"{1.05 * float(r[3]):.6f}", *r[4:]]) for r in rows[1:])]) + "\n"
        (later / file.name).write_text(text)
    return made


def margins_of(path):
    with (path / "margin.csv").open() as file:
        return {row["account_id"]: float(row["expected_shortfall"]) for row in csv.DictReader(file)}


def test_a_run_of_a_later_market_takes_its_tables_and_says_so(folder):
    said = upm("tables", "run.toml", "--out", "kept.upm", "--days", "2", "--json", cwd=folder)
    assert said.code == 0, said.err
    library = json.loads(said.out)
    assert library["entries"] == 2 and not library["left_out"]
    for name, options in (("with", ["--tables", "kept.upm"]), ("without", [])):
        done = upm("run", "run.toml", "--market", "later", "--out", name, "--device", "cpu", "--paths", "4096", *options, cwd=folder)
        assert done.code == 0, done.err
    told = json.loads((folder / "with" / "manifest.json").read_text())
    assert told["value_tables"]["library"] == {"sha256": library["sha256"], "tables_taken": told["value_tables"]["tables"]}
    assert told["inputs"]["tables.upm"] == library["sha256"] and told["value_tables"]["tail_check"]["largest_share"] < 0.1
    assert "library" not in json.loads((folder / "without" / "manifest.json").read_text())["value_tables"]
    one, other = margins_of(folder / "with"), margins_of(folder / "without")
    for account, scale in (("A", 2600.0), ("B", 3200.0), ("C", 6000.0)):
        assert one[account] == pytest.approx(other[account], abs=4e-5 * scale)
    assert one != other
    assert upm("verify", "with", cwd=folder).code == 0
    shown = upm("explain", "with", "--account", "A", "--histogram", "--json", cwd=folder)
    assert shown.code == 0 and json.loads(shown.out)["histogram"]["units"][0]["expected_shortfall"] == one["A"], shown.err


def test_a_file_that_is_none_is_refused_by_name(folder):
    (folder / "bad.upm").write_bytes(b"nothing")
    for name in ("bad.upm", "absent.upm"):
        said = upm("run", "run.toml", "--tables", name, "--out", "refused", cwd=folder)
        assert said.code == 3 and "UPM-PR-115" in said.err, said.err
    assert upm("tables", "run.toml", "--out", "x.upm", "--days", "-1", cwd=folder).code == 2


def test_every_backend_reads_the_same_table(tmp_path):
    from emulator import build
    from emulator.backend import EmulatedCuda

    from upm_gpu.backend.select import Choice

    made = write(tmp_path, POSITIONS, market={"rates.csv": RATES})
    (made / "book" / "instruments.csv").write_text(INSTRUMENTS + AMERICAN)
    _, market = read(made)
    plan = make_plan(load_book(made / "book", VALUATION), market, ScenarioSpec(count=4_096, horizons=(2.0,)), methodology(), GAUSSIAN)
    entries, _ = library_build.make_entries(plan.compiled, (plan.scenarios,), Margins(days=1.0), cpu)
    plan = replace(plan, library=library_of(library_bytes(entries)))
    found = compute_outcome(plan, choose("cpu", "double"), 0, in_memory())
    assert all(t.reused for t in found.tables) and found.table_check.largest_share < 0.1
    if reason := build.unavailable():
        pytest.skip(reason)
    device = compute_outcome(plan, Choice(EmulatedCuda(build.build()), "double", 1, "test"), 4096, in_memory())
    assert np.array_equal(device.tail.pnl, found.tail.pnl)
