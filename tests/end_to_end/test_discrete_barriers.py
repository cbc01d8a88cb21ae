"""Barriers that are looked at on fixings only, in a book: hits along the path, in and out, the law of a martingale, direct prices, every backend, bad terms, and `upm run`."""

from __future__ import annotations

import csv
import math
from datetime import timedelta

import numpy as np
import pytest
from command_line import CONFIG, history, upm
from exotic_books import FLAT, RATES, STILL, read_written, same_on_the_emulated_device, values_by_name
from small_book import GAUSSIAN, VALUATION, methodology, write

from upm_gpu.backend import cpu, reference
from upm_gpu.backend.select import choose
from upm_gpu.engine import compute_outcome
from upm_gpu.errors import InputError
from upm_gpu.passes import in_memory
from upm_gpu.plan import make_plan
from upm_gpu.pricing.compiled import TERM_REALS
from upm_gpu.pricing.tables import TOLERANCE, group_of, with_tables
from upm_gpu.scenario.spec import ScenarioSpec

HEAD = "instrument_id,kind,underlying,settlement,quote_currency,contract_size,expiry,strike,option_type,exercise,product,barrier,barrier_type,rebate,monitoring,fixings\n"


def every(hours: float, count: int) -> tuple[str, str]:
    """Fixings from the valuation time on, and the last of them."""
    times = [(VALUATION + timedelta(hours=hours * (i + 1))).strftime("%Y-%m-%dT%H:%M:%SZ") for i in range(count)]
    return ";".join(times), times[-1]


HOURLY, SOON = every(1.0, 48)
DAILY, LATE = every(24.0, 24)
SLOW, HALF = every(12.0, 4)
BETWEEN, _ = every(16.0 / 3.0, 9)
"""none at one day: there a level may lie beyond the barrier and the option be alive"""
ROWS = f"""\
UO,option,BTC,linear,USD,1,{SOON},70000,call,,barrier,73000,up_out,200,discrete,{HOURLY}
UI,option,BTC,linear,USD,1,{SOON},70000,call,,barrier,73000,up_in,200,discrete,{HOURLY}
DO,option,BTC,linear,USD,1,{SOON},71000,put,,barrier,67000,down_out,,discrete,{HOURLY}
DI,option,BTC,linear,USD,1,{SOON},71000,put,,barrier,67000,down_in,,discrete,{HOURLY}
C,option,BTC,linear,USD,1,{SOON},70000,call,european,,,,,,
P,option,BTC,linear,USD,1,{SOON},71000,put,european,,,,,,
BO,option,BTC,linear,USD,1,{SOON},70000,call,,barrier,71500,up_out,,discrete,{BETWEEN}
BI,option,BTC,linear,USD,1,{SOON},71000,put,,barrier,69000,down_in,,discrete,{BETWEEN}
LUO,option,ETH,linear,USD,1,{LATE},2000,call,,barrier,2200,up_out,,discrete,{DAILY}
LUI,option,ETH,linear,USD,1,{LATE},2000,call,,barrier,2200,up_in,,discrete,{DAILY}
LC,option,ETH,linear,USD,1,{LATE},2000,call,european,,,,,,
"""
IDS = [row.split(",")[0] for row in ROWS.splitlines()]
POSITIONS = "account_id,instrument_id,quantity\n" + "".join(f"{name},{name},-1\n" for name in IDS)
COUNT = 16_384


def read_book(tmp_path, market, rows=ROWS, positions=POSITIONS):
    return read_written(tmp_path, HEAD + rows, positions, market)


@pytest.fixture(scope="module")
def priced(tmp_path_factory):
    """Tables, states, values at one and two days, today's; every plain price is a martingale."""
    book, market = read_book(tmp_path_factory.mktemp("discrete"), FLAT)
    plan = make_plan(book, market, ScenarioSpec(count=COUNT, seed=2, horizons=(1.0, 2.0)), methodology(), STILL)
    compiled = with_tables(plan.compiled, (plan.scenarios,), cpu)[0]
    states, today, values = values_by_name(plan, compiled)
    return compiled, states, values, today


def highest(compiled, states, u, hours, days):
    """Highest level over the fixings each `hours`, straight from the levels."""
    rows = [int(np.argmin(np.abs(compiled.dates - hours * (i + 1) / 24.0))) for i in range(round(days * 24.0 / hours))]
    return states[rows, compiled.state_names.index(f"log_level[{u}]")].max(axis=0)


def test_a_barrier_is_hit_on_fixings_only(priced):
    compiled, states, values, _ = priced
    level = compiled.state_names.index("log_level[BTC]")
    hit = highest(compiled, states, "BTC", 1.0, 2.0) >= math.log(73.0 / 70.0)
    index = 70_000.0 * np.exp(states[np.searchsorted(compiled.dates, 2.0), level])
    payoff = np.maximum(index - 70_000.0, 0.0)
    assert 0.05 < hit.mean() < 0.5
    np.testing.assert_allclose(values[1]["UO"], np.where(hit, 200.0, payoff), rtol=0, atol=1e-6)
    np.testing.assert_allclose(values[1]["UI"], np.where(hit, payoff, 200.0), rtol=0, atol=1e-6)
    early = highest(compiled, states, "BTC", 1.0, 1.0) >= math.log(73.0 / 70.0)
    np.testing.assert_allclose(values[0]["UO"][early], 200.0, rtol=0, atol=1e-9)


def test_in_and_out_are_the_plain_option(priced):
    _, _, values, today = priced
    for h in (0, 1):
        np.testing.assert_allclose(values[h]["DO"] + values[h]["DI"], values[h]["P"], rtol=0, atol=71_000.0 * 4.0 * TOLERANCE)
        np.testing.assert_allclose(values[h]["LUO"] + values[h]["LUI"], values[h]["LC"], rtol=0, atol=2_000.0 * 4.0 * TOLERANCE)
    assert today["DO"] + today["DI"] == pytest.approx(today["P"], abs=1e-8)


def test_prices_are_martingales_along_the_fixings(priced):
    """Today's price, E[V(1d)] and the mean payoff of paths agree within 4.5 standard errors and the error of a moved barrier, 1e-4 of the spot at 48 fixings.
    Looked at all the time these options are worth more than four times that less (out) or more (in)."""
    _, _, values, today = priced
    for name in ("UO", "UI", "DO", "DI", "LUO", "LUI"):
        for h in (0, 1):
            v = values[h][name]
            assert abs(v.mean() - today[name]) < 4.5 * v.std() / math.sqrt(v.size) + 1e-4 * (2_000.0 if name[0] == "L" else 70_000.0), (name, h, v.mean(), today[name])
    columns = {"spot": 70_000.0, "strike": 71_000.0, "barrier": 67_000.0, "up": -1.0, "region": -1.0, "asset": -1.0, "cash": 71_000.0, "knock_in": 0.0, "time_to_expiry": 2.0 / 365.0,
               "volatility": 0.03 * math.sqrt(365.0)}
    always = reference.values("single_barrier", {k: np.full(1, v) for k, v in columns.items()} | {"hit": np.zeros(1)})["price"][0]
    assert today["DO"] - always > 4e-4 * 70_000.0


def test_values_are_those_of_the_direct_formula_at_the_scenario(priced):
    compiled, states, values, _ = priced
    program = compiled.programs[0]
    seen = 0
    for request in program.table_requests:
        group = group_of(program, request.group)
        at = states[int(group["date"])]
        path = at[int(group["path_state"])] if group["path_state"] >= 0 else np.zeros(COUNT)
        terms = {k: compiled.terms[i, int(group["first"]) - compiled.linear] for i, k in enumerate(TERM_REALS)}
        living = group["barrier_side"] * (path - group["barrier"]) < 0.0
        pick = np.flatnonzero(living)[::301]
        if request.name[0] == "B":  # past the barrier between two fixings: where a barrier that had not been moved would be seen
            pick = np.flatnonzero(living & (group["barrier_side"] * (at[int(group["forward_state"])] - group["barrier"]) > 0.0))[::7]
        move, side = at[int(group["forward_state"]), pick], group["barrier_side"]
        sigma = np.full(len(pick), 0.03 if request.name[0] != "L" else 0.04) * math.sqrt(365.0)
        given = {name: np.full(len(pick), value) for name, value in request.inputs}
        spot = group["spot0"] * np.exp(move) / terms["strike"]
        found = reference.values(request.operation, {**given, "spot": spot, "strike": np.ones(len(pick)), "volatility": sigma})
        alive = found["status"] == 0.0
        away = side * (move - group["barrier"]) - 0.5826 * sigma * math.sqrt(group["remaining_years"] / given["fixings"][0])
        np.testing.assert_array_equal(alive, away < 0.0)
        np.testing.assert_allclose(values[0][request.name][pick][alive], terms["strike"] * found["price"][alive], rtol=0, atol=terms["strike"] * 8.0 * TOLERANCE, err_msg=request.name)
        seen += int(alive.sum() > 20)
    assert seen == 8


def test_every_backend_gives_the_same_margins(tmp_path):
    book, market = read_book(tmp_path, RATES)
    plan = make_plan(book, market, ScenarioSpec(count=4_200, seed=5, horizons=(1.0, 2.0)), methodology(), GAUSSIAN)
    found = compute_outcome(plan, choose("cpu", "double"), 0, in_memory())
    assert found.table_check is None or found.table_check.largest_share < 0.1
    same_on_the_emulated_device(plan, found)


@pytest.mark.parametrize(("row", "code"), [
    (f"X,option,BTC,linear,USD,1,{SOON},70000,call,,barrier,69000,up_out,,discrete,{HOURLY}", "UPM-PR-083"),
    (f"X,option,BTC,linear,USD,1,{SOON},70000,call,,barrier,73000,up_out,,discrete,2026-02-01T08:00:00Z;{HOURLY}", "UPM-PR-084"),
    (f"X,option,BTC,linear,USD,1,{SOON},70000,call,,barrier,73000,up_out,,discrete,{HOURLY[: 21 * 40 - 1]}", "UPM-PR-089"),
    (f"X,option,BTC,linear,USD,1,{LATE},70000,call,,barrier,73000,up_out,,discrete,{HOURLY};{LATE}", "UPM-PR-089"),
])
def test_what_has_no_price_stops_the_run(tmp_path, row, code):
    book, market = read_book(tmp_path, RATES, row + "\n", "account_id,instrument_id,quantity\nX,X,1\n")
    with pytest.raises(InputError, match=code):
        make_plan(book, market, ScenarioSpec(count=4096, horizons=(2.0,)), methodology(), GAUSSIAN)


def test_few_fixings_left_are_said(tmp_path):
    row = f"X,option,BTC,linear,USD,1,{HALF},70000,call,,barrier,73000,up_out,,discrete,{SLOW}\n"
    book, market = read_book(tmp_path, RATES, row, "account_id,instrument_id,quantity\nX,X,1\n")
    plan = make_plan(book, market, ScenarioSpec(count=4096, horizons=(1.0, 2.0)), methodology(), GAUSSIAN)
    assert sum(w.startswith("UPM-PR-093 X: 2 fixings") for w in plan.warnings) == 1


def test_upm_run_margins_them(tmp_path):
    folder = write(tmp_path, "account_id,instrument_id,quantity\nA,UO,-1\nA,UI,-1\nB,UI,-1\n", market={**RATES, "history.csv": history()})
    (folder / "book" / "instruments.csv").write_text(HEAD + ROWS)
    (folder / "run.toml").write_text(CONFIG)
    said = upm("run", "run.toml", "--out", "out", "--device", "cpu", cwd=folder)
    assert said.code == 0, said.err
    with (folder / "out" / "margin.csv").open() as file:
        margin = {row["account_id"]: float(row["initial_margin"]) for row in csv.DictReader(file)}
    assert set(margin) == {"A", "B"} and min(margin.values()) > 100.0
