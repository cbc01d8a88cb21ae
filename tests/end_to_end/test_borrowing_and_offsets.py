"""Interest on what is owed, and offsets between and inside groups of products: by hand from the same scenarios."""

from __future__ import annotations

import numpy as np
import pytest
from small_book import GAUSSIAN, MARKET, methodology, read, write

from upm_gpu.backend import reference
from upm_gpu.backend.select import choose
from upm_gpu.engine import margin_run
from upm_gpu.errors import InputError
from upm_gpu.margin.methodology import load_methodology
from upm_gpu.measuring import Pass
from upm_gpu.passes import chunk_ranges, in_memory, tails
from upm_gpu.plan import make_plan
from upm_gpu.pricing.compiled import Rows
from upm_gpu.risk.measures import expected_shortfall
from upm_gpu.risk.tail_state import with_empty_rows
from upm_gpu.scenario.spec import ScenarioSpec
from upm_gpu.shipped import find_file

SPEC = ScenarioSpec(count=12_000, seed=7, horizons=(2.0,))
HEAD = "account_id,instrument_id,quantity\n"
SPOTS = {"spots.csv": MARKET["spots.csv"] + "USDC,0.5,USD,2026-02-05T09:00:00Z\n"}


def test_interest_on_what_is_owed(tmp_path):
    """Two days; bitcoin is simulated, USDC is not; what is posted earns nothing; B's set holds the position, its debt stands in its own unit."""
    rates = {"name": "borrowing", "rates": {"BTC": 0.02, "USDC": 0.365}, "default_rate": 0.73}
    posted = "account_id,asset,quantity\nA,BTC,-1\nA,USDC,-2000\nA,USD,5000\nB,USD,-1000\nC,USDC,2000\n"
    folder = write(tmp_path, HEAD.replace("quantity", "quantity,netting_set") + "A,BTC-LINEAR,1,\nB,BTC-LINEAR,1,house\nC,BTC-LINEAR,1,\n", posted, market=SPOTS)
    table = margin_run(*read(folder), SPEC, methodology(charges=[rates]), "cpu", model=GAUSSIAN).table.set_index("account_id")
    assert table["charge_borrowing"].tolist() == pytest.approx([70_000.0 * 0.02 * 2.0 / 365.0 + 1000.0 * 0.002, 1000.0 * 0.004, 0.0], rel=1e-13)
    longer = margin_run(*read(folder), SPEC, methodology(charges=[{**rates, "days": 10.0}]), "cpu", model=GAUSSIAN).table
    np.testing.assert_allclose(longer["charge_borrowing"], 5.0 * table["charge_borrowing"].to_numpy(), rtol=1e-13)


BOOK = HEAD + "PAIR,BTC-LINEAR,1\nPAIR,ETH-PERP,-60000\nONE,BTC-LINEAR,-2\nONE,BTC-C70,3\nMANY,BTC-P60,-5\nMANY,BTC-FUT,3000\nMANY,ETH-C20L,-40\nMANY,ETH-PERP,30000\n"


def shortfalls(plan, part_of):
    """{(unit, part): ES 99 %} of lines grouped by `part_of(instrument)`."""
    nobody = Rows(np.zeros(1, np.int64), np.zeros(0, np.int32), np.zeros(0))
    with reference.prepare(plan.compiled, nobody, "double") as prepared:
        pnl = reference.unit_pnl(prepared, plan.scenarios, 0, plan.scenarios.count, plan.horizon(2.0))
    found: dict = {}
    lines = plan.units.lines
    for unit, n, quantity in zip(lines.unit, lines.instrument, lines.quantity, strict=True):
        key = plan.units.names[unit], part_of(plan.instruments[n])
        found[key] = found.get(key, 0.0) + quantity * plan.compiled.instrument_coefficient[n] * pnl[plan.compiled.instrument_column[n]]
    return {k: max(0.0, float(expected_shortfall(-v, 0.99))) for k, v in found.items()}


def of(unit, parts):
    return [v for (u, _), v in parts.items() if u == unit]


@pytest.mark.parametrize(("between", "inside"), [(1.0, 1.0), (0.8, 1.0), (0.0, 1.0), (1.0, 0.3), (0.8, 0.3), (0.0, 0.0)])
def test_offsets_between_and_inside_groups(tmp_path, between, inside):
    """Delta-one contracts in both coins are a group, options on what they like another; the charge is the part of each offset that does not count."""
    classes = [{"name": "delta one", "kinds": ["future", "perpetual"], "underlyings": ["BTC", "ETH"], "offset": inside}, {"name": "options", "kinds": ["option"]}]
    book, market = read(write(tmp_path, BOOK))
    rules = methodology(charges=[{"name": "offset_limit", "classes": classes, "offset": between}])
    plan = make_plan(book, market, SPEC, rules, GAUSSIAN)
    table = margin_run(book, market, SPEC, rules, "cpu", precision="double", model=GAUSSIAN).table.set_index("account_id")

    def group(instrument):
        return "options" if hasattr(instrument, "strike") else "delta one"

    together, groups = shortfalls(plan, lambda _: "all"), shortfalls(plan, group)
    split = shortfalls(plan, lambda i: (group(i), i.underlying if group(i) == "delta one" else ""))
    for unit in plan.units.names:
        whole, alone, apart = together[unit, "all"], sum(of(unit, groups)), sum(of(unit, split))
        by_hand = whole + (1.0 - between) * (alone - whole) + (1.0 - inside) * (apart - alone)
        assert table.loc[unit, "initial_margin"] == pytest.approx(by_hand, rel=1e-9)
        assert whole * (1.0 - 1e-12) <= table.loc[unit, "initial_margin"] <= apart * (1.0 + 1e-12)
    assert sum(of("PAIR", split)) > 1.2 * together["PAIR", "all"]  # there is an offset to limit


@pytest.mark.parametrize(("charge", "words"), [
    ('name = "offset_limit"\nclasses = [{ name = "all", offset = 0.5 }]', "class all has an offset of 0.5 between underlyings and names none"),
    ('name = "offset_limit"\noffset = 1.5\nclasses = [{ name = "all" }]', "key charges.0.offset"),
    ('name = "borrowing"\ndefault_rate = -0.1', "key charges.0.default_rate"),
    ('name = "borrowing"\ndefault_rate = 0.1\nrates = { BTC = 30.0 }', "rate of BTC must be from 0 to 10"),
])
def test_parameters_out_of_their_range_are_refused(tmp_path, charge, words):
    text = find_file("configs/methodology/house_v1.toml").read_text().replace("charges = []", "").replace("[core]", f"[[charges]]\n{charge}\n\n[core]")
    path = tmp_path / "house.toml"
    path.write_text(text)
    with pytest.raises(InputError) as refused:
        load_methodology(path)
    assert refused.value.code == "UPM-CF-056" and words in str(refused.value)


def test_rows_that_hold_nothing_are_not_walked_and_have_the_same_tail(tmp_path):
    """What a backend makes of an empty row, zeros in the order of the scenarios, without looking at them."""
    book, market = read(write(tmp_path, "account_id,instrument_id,quantity\nA,BTC-LINEAR,1\nB,BTC-C70,-2\n"))
    plan = make_plan(book, market, ScenarioSpec(count=6000, seed=3, horizons=(2.0,)), methodology(), GAUSSIAN)
    choice = choose("cpu", "mixed")
    spread = Rows(np.array([0, 0, 1, 1, 2, 2], np.int64), plan.rows.column, plan.rows.quantity)

    def walked(rows):
        with choice.module.prepare(plan.compiled, rows, choice.precision, choice.threads) as prepared:
            return tails(plan, choice.module, prepared, chunk_ranges(plan, 0, choice.module, prepared), in_memory())

    want, found = walked(spread), with_empty_rows(walked(plan.rows), np.array([1, 3]), 5)
    for name in ("pnl", "scenario", "block_sums"):
        np.testing.assert_array_equal(getattr(found, name), getattr(want, name))
    assert found.pnl.dtype == want.pnl.dtype
    job = Pass(plan, choice, 0, in_memory(), None, plan, 0)
    np.testing.assert_array_equal(job.tails(spread, second=False).pnl, want.pnl)
    np.testing.assert_array_equal(job.tails(Rows(np.zeros(4, np.int64), plan.rows.column[:0], plan.rows.quantity[:0]), second=False).scenario, want.scenario[:, [0, 0, 0]])
