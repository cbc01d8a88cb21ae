"""Options between two barriers in a book: the law of the exit, in and out, the law of a martingale, direct prices, every backend, bad terms, and `upm run`."""

from __future__ import annotations

import csv
import math

import numpy as np
import pytest
from command_line import CONFIG, history, upm
from exotic_books import FLAT, RATES, STILL, read_written, same_on_the_emulated_device, values_by_name
from small_book import GAUSSIAN, STUDENT, methodology, write

from upm_gpu.backend import cpu, reference
from upm_gpu.backend.select import choose
from upm_gpu.engine import compute_outcome
from upm_gpu.errors import InputError
from upm_gpu.formula.derived import bridge_stays
from upm_gpu.model.registry import reference_states
from upm_gpu.passes import in_memory
from upm_gpu.plan import make_plan
from upm_gpu.pricing.compiled import TERM_REALS
from upm_gpu.pricing.tables import TOLERANCE, group_of, with_tables
from upm_gpu.scenario.derived import Bridges, derive, running_exit, running_extreme
from upm_gpu.scenario.sets import Explicit
from upm_gpu.scenario.spec import ScenarioSpec

HEAD = "instrument_id,kind,underlying,settlement,quote_currency,contract_size,expiry,strike,option_type,exercise,product,lower_barrier,upper_barrier,barrier_type,rebate,monitoring,barrier\n"
FAR, NEAR = "2026-02-27T08:00:00Z", "2026-02-06T08:00:00Z"
ROWS = f"""\
KO,option,ETH,linear,USD,1,{FAR},2000,call,,double_barrier,1800,2350,knock_out,,,
KI,option,ETH,linear,USD,1,{FAR},2000,call,,double_barrier,1800,2350,knock_in,,continuous,
WIDE,option,ETH,linear,USD,1,{FAR},2000,call,,double_barrier,1750,2450,knock_out,,,
PO,option,ETH,linear,USD,1,{FAR},2100,put,,double_barrier,1800,2350,knock_out,25,,
PI,option,ETH,linear,USD,1,{FAR},2100,put,,double_barrier,1800,2350,knock_in,25,,
SO,option,BTC,linear,USD,1,{NEAR},70000,call,,double_barrier,67000,73000,knock_out,500,,
SI,option,BTC,linear,USD,1,{NEAR},70000,call,,double_barrier,67000,73000,knock_in,500,,
UO,option,ETH,linear,USD,1,{FAR},2000,call,,barrier,,,up_out,,,2350
DO,option,ETH,linear,USD,1,{FAR},2000,call,,barrier,,,down_out,,,1800
C,option,ETH,linear,USD,1,{FAR},2000,call,european,,,,,,,
P,option,ETH,linear,USD,1,{FAR},2100,put,european,,,,,,,
"""
IDS = [row.split(",")[0] for row in ROWS.splitlines()]
POSITIONS = "account_id,instrument_id,quantity\n" + "".join(f"{name},{name},-1\n" for name in IDS)
COUNT = 16_384


def read_book(tmp_path, market, rows=ROWS, positions=POSITIONS):
    return read_written(tmp_path, HEAD + rows, positions, market)


@pytest.fixture(scope="module")
def priced(tmp_path_factory):
    """Tables, states, values at one and two days, today's; every plain price is a martingale."""
    book, market = read_book(tmp_path_factory.mktemp("double"), FLAT)
    plan = make_plan(book, market, ScenarioSpec(count=COUNT, seed=3, horizons=(1.0, 2.0)), methodology(), STILL)
    compiled = with_tables(plan.compiled, (plan.scenarios,), cpu)[0]
    states, today, values = values_by_name(plan, compiled)
    return compiled, states, values, today


def state(compiled, states, name, day):
    return states[np.searchsorted(compiled.dates, day), compiled.state_names.index(name)]


def between(start, end, width, variance):
    """P(a Brownian bridge stays between 0 and the width) by the sine series of the density, 400 terms."""
    n = np.arange(1, 401)
    waves = np.sin(n * np.pi * start / width) * np.sin(n * np.pi * end / width) * np.exp(-0.5 * (n * np.pi / width) ** 2 * variance)
    return 2.0 / width * waves.sum() * math.sqrt(2.0 * math.pi * variance) * math.exp(0.5 * (end - start) ** 2 / variance)


CASES = [(0.0, 0.04, 0.05, 0.05), (0.03, 0.04, 0.06, 0.04), (-0.01, 0.06, 0.02, 0.09), (0.0, 0.05, 0.03, 0.03)]
"""log-level at the end, standard deviation, distance below and above"""


@pytest.mark.parametrize(("end", "deviation", "below", "above"), CASES)
def test_the_exit_between_two_dates_follows_the_law_of_the_bridge(end, deviation, below, above):
    """200,000 draws against the sine series, within 4.5 standard errors. Two independent extremes miss it by more where both barriers are near."""
    count, width, variance = 200_000, below + above, deviation**2
    expected = between(below, below + end, width, variance)
    assert bridge_stays(below, below + np.array([end]), width, variance, 8)[0] == pytest.approx(expected, abs=1e-12)
    level, dates, bridges = "log_level[X]", np.array([1.0]), Bridges(11, 0, np.full((1, 1), variance))
    derived = derive(Explicit((level,), dates, np.full((1, 1, count), end)), [
        running_extreme("high", dates, level, 0, 1.0, bridges), running_extreme("low", dates, level, 0, -1.0, bridges),
        running_exit("exit", dates, level, ("high", "low"), 0, -below, above, bridges)])
    _, high, low, left = reference_states(derived, 0, count)[0][0]
    error = math.sqrt(expected * (1.0 - expected) / count)
    assert abs((left == 0.0).mean() - expected) < 4.5 * error
    assert np.all(left[(high >= above) | (low <= -below)] == 1.0) and set(np.unique(left)) == {0.0, 1.0}
    apart = ((high < above) & (low > -below)).mean()
    if width < 1.5 * deviation:
        assert apart - expected > 9.0 * error


def test_a_path_without_variance_is_a_line_and_one_between_narrow_barriers_never_stays():
    level, dates = "log_level[X]", np.array([1.0, 2.0])
    values = np.array([[0.01, 0.03, 0.01], [0.02, 0.01, -0.05]])[:, None, :]
    for variance, expected in ((0.0, [[0, 1, 0], [0, 1, 1]]), (1.0, [[1, 1, 1], [1, 1, 1]])):
        bridges = Bridges(1, 0, np.full((2, 1), variance))
        derived = derive(Explicit((level,), dates, values), [
            running_extreme("high", dates, level, 0, 1.0, bridges), running_extreme("low", dates, level, 0, -1.0, bridges),
            running_exit("exit", dates, level, ("high", "low"), 0, -0.025, 0.025, bridges)])
        np.testing.assert_array_equal(reference_states(derived, 0, 3)[0][:, 3], expected)


def test_a_single_hit_is_a_double_hit_and_a_farther_pair_implies_a_nearer(priced):
    compiled, states, _, _ = priced
    for day in (1.0, 2.0):
        near, wide = (state(compiled, states, f"running_exit[ETH,{pair}]", day) for pair in ("1800,2350", "1750,2450"))
        high, low = (state(compiled, states, f"running_{which}[ETH]", day) for which in ("maximum", "minimum"))
        single = (high >= math.log(2350.0 / 2000.0)) | (low <= math.log(1800.0 / 2000.0))
        assert np.all(near[single] == 1.0) and np.all(near[wide == 1.0] == 1.0)
        assert 0.0002 < wide.mean() < near.mean() < 0.3


def test_in_and_out_are_the_plain_option_and_what_is_out_stays_out(priced):
    compiled, states, values, today = priced
    for h, day in ((0, 1.0), (1, 2.0)):
        v, slack = values[h], 2100.0 * 4.0 * TOLERANCE
        out = state(compiled, states, "running_exit[ETH,1800,2350]", day) == 1.0
        np.testing.assert_allclose(v["KO"] + v["KI"], v["C"], rtol=0, atol=slack)
        np.testing.assert_array_equal(v["KO"][out], 0.0)
        np.testing.assert_allclose(v["KI"][out], v["C"][out], rtol=1e-12)
        np.testing.assert_allclose(v["PO"][out], 25.0, rtol=1e-12)
        rebates = v["PO"] + v["PI"] - v["P"]
        np.testing.assert_allclose(rebates, 25.0, rtol=0, atol=2.0 * slack)  # no interest
        assert np.all(v["KO"] <= np.minimum(v["UO"], v["DO"]) + slack) and np.all(v["KO"] <= v["WIDE"] + slack)
    assert today["KO"] + today["KI"] == pytest.approx(today["C"], abs=1e-9)
    ended = np.searchsorted(compiled.dates, 23.0 / 24.0)
    index = 70_000.0 * np.exp(states[ended, compiled.state_names.index("log_level[BTC]")])
    payoff, left = np.maximum(index - 70_000.0, 0.0), states[ended, compiled.state_names.index("running_exit[BTC,67000,73000]")]
    np.testing.assert_allclose(values[1]["SO"], np.where(left, 500.0, payoff), rtol=1e-9, atol=1e-7)
    np.testing.assert_allclose(values[1]["SI"], np.where(left, payoff, 500.0), rtol=1e-9, atol=1e-7)


def test_prices_are_martingales(priced):
    """Today's price and E[V] agree within 4.5 standard errors and what half a per cent of the bridges' root makes of it, 0.5 % of the price. Looked at on the dates only, out is worth far more."""
    compiled, states, values, today = priced
    for name in ("KO", "KI", "WIDE", "PO", "PI", "SO", "SI"):
        for h in (0, 1):
            v = values[h][name]
            assert abs(v.mean() - today[name]) < 4.5 * v.std() / math.sqrt(COUNT) + 0.005 * min(today[name], 500.0) + 2100.0 * TOLERANCE, (name, h, v.mean(), today[name])
    ended = np.searchsorted(compiled.dates, 23.0 / 24.0)
    index = 70_000.0 * np.exp(states[ended, compiled.state_names.index("log_level[BTC]")])
    seen = np.where((index <= 67_000.0) | (index >= 73_000.0), 500.0, np.maximum(index - 70_000.0, 0.0))
    assert abs(seen.mean() - today["SO"]) > 10.0 * seen.std() / math.sqrt(COUNT)


def test_values_are_those_of_the_direct_formula_at_the_scenario(priced):
    compiled, states, values, _ = priced
    program, seen = compiled.programs[0], 0
    for request, table in zip(program.table_requests, program.tables, strict=True):
        if request.operation != "double_barrier" or not request.alive:
            continue
        group = group_of(program, request.group)
        at = states[int(group["date"])]
        pick = np.flatnonzero(at[int(group["path_state"])] == 0.0)[::173]
        terms = {k: compiled.terms[i, int(group["first"]) - compiled.linear] for i, k in enumerate(TERM_REALS)}
        given = {name: np.full(len(pick), value) for name, value in request.inputs}
        spot = group["spot0"] * np.exp(at[int(group["forward_state"]), pick]) / terms["strike"]
        found = reference.values(request.operation, {**given, "spot": spot, "strike": np.ones(len(pick)), "volatility": np.full(len(pick), 0.04 * math.sqrt(365.0))})
        assert np.all(found["status"] == 0.0) and len(pick) > 20
        np.testing.assert_allclose(values[0][request.name][pick], terms["strike"] * found["price"], rtol=0, atol=terms["strike"] * 4.0 * TOLERANCE, err_msg=request.name)
        ends = table.low[0], table.low[0] + (table.values.shape[0] - 1) / table.inverse_step[0]
        np.testing.assert_allclose(ends, request.inside, rtol=0, atol=1e-12)
        seen += 1
    assert seen == 5


def test_every_backend_gives_the_same_margins(tmp_path):
    some = "".join(row for row in ROWS.splitlines(keepends=True) if row.split(",")[0] in ("KO", "PI", "SO", "C"))
    book, market = read_book(tmp_path, RATES, some, "account_id,instrument_id,quantity\nA,KO,-1\nA,PI,1\nB,SO,-2\nB,C,1\n")
    plan = make_plan(book, market, ScenarioSpec(count=4_200, seed=5, horizons=(1.0, 2.0)), methodology(), STUDENT)
    found = compute_outcome(plan, choose("cpu", "double"), 0, in_memory())
    assert found.table_check is not None and found.table_check.largest_share < 0.1
    same_on_the_emulated_device(plan, found)


@pytest.mark.parametrize(("row", "code", "column"), [
    (f"X,option,ETH,linear,USD,1,{FAR},2000,call,,double_barrier,2350,1800,knock_out,,,", "UPM-IN-032", "upper_barrier"),
    (f"X,option,ETH,linear,USD,1,{FAR},2000,call,,double_barrier,1800,,knock_out,,,", "UPM-IN-032", "upper_barrier"),
    (f"X,option,ETH,linear,USD,1,{FAR},2000,call,,double_barrier,-5,2350,knock_out,,,", "UPM-IN-032", "lower_barrier"),
    (f"X,option,ETH,linear,USD,1,{FAR},2000,call,,double_barrier,1800,2350,up_out,,,", "UPM-IN-033", "barrier_type"),
    (f"X,option,ETH,linear,USD,1,{FAR},2000,call,,double_barrier,1800,2350,knock_out,,discrete,", "UPM-IN-041", "monitoring"),
    (f"X,option,ETH,linear,USD,1,{FAR},2000,call,,double_barrier,1800,2350,knock_out,,,2200", "UPM-IN-042", "barrier"),
    (f"X,option,ETH,inverse,USD,1,{FAR},2000,call,,double_barrier,1800,2350,knock_out,5,,", "UPM-IN-041", "rebate"),
])
def test_bad_terms_cost_their_row(tmp_path, row, code, column):
    book, _ = read_book(tmp_path, RATES, ROWS + row + "\n")
    assert [(r.code, r.column) for r in book.rejects] == [(code, column)]


@pytest.mark.parametrize("barriers", ["2000,2150", "2100,2200", "1800,1990"])
def test_a_barrier_that_has_been_reached_stops_the_run(tmp_path, barriers):
    row = f"X,option,ETH,linear,USD,1,{FAR},2000,call,,double_barrier,{barriers},knock_out,,,\n"
    book, market = read_book(tmp_path, RATES, row, "account_id,instrument_id,quantity\nX,X,1\n")
    with pytest.raises(InputError, match="UPM-PR-083"):
        make_plan(book, market, ScenarioSpec(count=4096, horizons=(2.0,)), methodology(), GAUSSIAN)


def test_upm_run_margins_them(tmp_path):
    folder = write(tmp_path, "account_id,instrument_id,quantity\nA,KO,-1\nA,KI,-1\nB,KI,-1\nC,C,-1\n", market={**RATES, "history.csv": history()})
    (folder / "book" / "instruments.csv").write_text(HEAD + ROWS)
    (folder / "run.toml").write_text(CONFIG)
    said = upm("run", "run.toml", "--out", "out", "--device", "cpu", cwd=folder)
    assert said.code == 0, said.err
    with (folder / "out" / "margin.csv").open() as file:
        margin = {row["account_id"]: float(row["initial_margin"]) for row in csv.DictReader(file)}
    assert margin["A"] == pytest.approx(margin["C"], abs=0.2) and margin["B"] > 10.0
