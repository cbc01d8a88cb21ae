"""Digitals, barriers, touches and averages in a book: their laws in every scenario, direct prices, every backend, bad terms, and `upm run`."""

from __future__ import annotations

import csv
import math

import numpy as np
import pytest
from command_line import CONFIG, history, upm
from exotic_books import read_written, same_on_the_emulated_device, values_by_name
from scipy.stats import norm
from small_book import GAUSSIAN, STUDENT, methodology, write

from upm_gpu.backend import cpu, reference
from upm_gpu.backend.select import choose
from upm_gpu.engine import compute_outcome
from upm_gpu.errors import InputError
from upm_gpu.formula.black import black_undiscounted
from upm_gpu.formula.families import european_volatility
from upm_gpu.passes import in_memory
from upm_gpu.plan import make_plan
from upm_gpu.pricing.compiled import TERM_REALS
from upm_gpu.pricing.tables import TOLERANCE, group_of, with_tables
from upm_gpu.scenario.spec import ScenarioSpec

HEAD = ("instrument_id,kind,underlying,settlement,quote_currency,contract_size,expiry,strike,option_type,exercise,product,barrier,barrier_type,rebate,monitoring,payout_type,payout,"
        "payout_time,asian_average,fixings,average_so_far,fixings_so_far\n")
FAR, NEAR = "2026-02-27T08:00:00Z", "2026-02-06T08:00:00Z"
FIXINGS = f"2026-02-20T08:00:00Z;2026-02-24T08:00:00Z;{FAR}"
ROWS = f"""\
ETH-UO,option,ETH,linear,USD,1,{FAR},2000,call,,barrier,2200,up_out,,,,,,,,,
ETH-UI,option,ETH,linear,USD,1,{FAR},2000,call,,barrier,2200,up_in,,,,,,,,,
ETH-DO,option,ETH,linear,USD,1,{FAR},2000,put,,barrier,1900,down_out,25,,,,,,,,
ETH-DI,option,ETH,linear,USD,1,{FAR},2000,put,,barrier,1900,down_in,25,continuous,,,,,,,
ETH-C,option,ETH,linear,USD,1,{FAR},2000,call,european,,,,,,,,,,,,
ETH-P,option,ETH,linear,USD,1,{FAR},2000,put,european,,,,,,,,,,,,
ETH-CASH,option,ETH,linear,USD,1,{FAR},2000,call,,digital,,,,,cash,100,,,,,
ETH-ASSET,option,ETH,linear,USD,1,{FAR},2000,put,,digital,,,,,asset,,,,,,
ETH-TOUCH,option,ETH,linear,USD,1,{FAR},,,,one_touch,2200,up,,,cash,100,hit,,,,
ETH-TOUCHED,option,ETH,linear,USD,1,{FAR},,,,one_touch,2200,up,,,cash,100,expiry,,,,
ETH-UNTOUCHED,option,ETH,linear,USD,1,{FAR},,,,no_touch,2200,up,,,cash,100,,,,,
ETH-ARITHMETIC,option,ETH,linear,USD,1,{FAR},2000,call,,asian,,,,,,,,arithmetic,{FIXINGS},2010,2
ETH-GEOMETRIC,option,ETH,linear,USD,1,{FAR},2000,put,,asian,,,,,,,,geometric,{FIXINGS},,
ETH-FIXED,option,ETH,linear,USD,1,{FAR},2000,call,,asian,,,,,,,,arithmetic,,2100,5
BTC-UO,option,BTC,linear,USD,1,{NEAR},70000,call,,barrier,73000,up_out,500,,,,,,,,
BTC-UI,option,BTC,linear,USD,1,{NEAR},70000,call,,barrier,73000,up_in,500,,,,,,,,
BTC-C,option,BTC,linear,USD,1,{NEAR},70000,call,european,,,,,,,,,,,,
BTC-UNTOUCHED,option,BTC,linear,USD,1,{NEAR},,,,no_touch,67000,down,,,cash,100,,,,,
BTC-CASH,option,BTC,linear,USD,1,{NEAR},70000,put,,digital,,,,,cash,1000,,,,,
"""
IDS = [row.split(",")[0] for row in ROWS.splitlines()]
COUNT, RATE = 8192, 0.05
RATES = {"rates.csv": f"currency,tenor_days,zero_rate\nUSD,30,{RATE}\n"}
POSITIONS = "account_id,instrument_id,quantity\n" + "".join(f"{name},{name},-1\n" for name in IDS)


def read_book(tmp_path, rows=ROWS, positions=POSITIONS):
    return read_written(tmp_path, HEAD + rows, positions, RATES)


@pytest.fixture(scope="module")
def priced(tmp_path_factory):
    """The plan with its tables, states, and unit values (N, S) by instrument at one and two days."""
    book, market = read_book(tmp_path_factory.mktemp("exotics"))
    plan = make_plan(book, market, ScenarioSpec(count=COUNT, horizons=(1.0, 2.0)), methodology(), GAUSSIAN)
    compiled = with_tables(plan.compiled, (plan.scenarios,), cpu)[0]
    states, today, values = values_by_name(plan, compiled)
    return plan, compiled, states, values, today


def hit(compiled, states, name, barrier, spot, day):
    path = states[np.searchsorted(compiled.dates, day), compiled.state_names.index(name)]
    edge = math.log(barrier / spot)
    return path >= edge if barrier > spot else path <= edge


def test_a_knock_in_and_a_knock_out_are_the_plain_option(priced):
    _, compiled, states, values, today = priced
    discount = math.exp(-RATE * (22.0 - 1.0 / 24.0) / 365.0)
    for h, day in ((0, 1.0), (1, 2.0)):
        v = values[h]
        up = hit(compiled, states, "running_maximum[ETH]", 2200.0, 2000.0, day)
        assert 0.01 < up.mean() < 0.3
        np.testing.assert_allclose(v["ETH-UO"] + v["ETH-UI"], v["ETH-C"], rtol=0, atol=2000.0 * 4.0 * TOLERANCE)
        left = discount * math.exp(RATE * day / 365.0)
        np.testing.assert_allclose(v["ETH-TOUCHED"] + v["ETH-UNTOUCHED"], 100.0 * left, rtol=0, atol=2200.0 * 4.0 * TOLERANCE)
        rebates = v["ETH-DI"] + v["ETH-DO"] - v["ETH-P"]  # of one of the two, at the hit or at expiry
        assert np.all((rebates > 25.0 * left - 2000.0 * 4.0 * TOLERANCE) & (rebates < 25.0 + 2000.0 * 4.0 * TOLERANCE))
    assert today["ETH-UO"] + today["ETH-UI"] == pytest.approx(today["ETH-C"], abs=1e-9)


def test_what_is_knocked_out_stays_out(priced):
    _, compiled, states, values, _ = priced
    out = hit(compiled, states, "running_maximum[ETH]", 2200.0, 2000.0, 1.0)
    below = states[np.searchsorted(compiled.dates, 2.0), compiled.state_names.index("log_level[ETH]")] < math.log(1.1)
    assert (out & below).sum() > 20  # some came back, and some were seen between dates only
    for h in (0, 1):
        np.testing.assert_array_equal(values[h]["ETH-UO"][out], 0.0)
        np.testing.assert_allclose(values[h]["ETH-DO"][hit(compiled, states, "running_minimum[ETH]", 1900.0, 2000.0, 1.0)], 25.0, rtol=1e-12)
        np.testing.assert_allclose(values[h]["ETH-TOUCH"][out], 100.0, rtol=1e-12)
        np.testing.assert_array_equal(values[h]["ETH-UNTOUCHED"][out], 0.0)
        np.testing.assert_allclose(values[h]["ETH-UI"][out], values[h]["ETH-C"][out], rtol=1e-12)
    ended = np.searchsorted(compiled.dates, 23.0 / 24.0)
    index = 70_000.0 * np.exp(states[ended, compiled.state_names.index("log_level[BTC]")])
    touched = hit(compiled, states, "running_maximum[BTC]", 73_000.0, 70_000.0, compiled.dates[ended])
    payoff = np.maximum(index - 70_000.0, 0.0)
    np.testing.assert_allclose(values[1]["BTC-UO"], np.where(touched, 500.0, payoff), rtol=1e-9, atol=1e-7)
    np.testing.assert_allclose(values[1]["BTC-UI"], np.where(touched, payoff, 500.0), rtol=1e-9, atol=1e-7)
    np.testing.assert_array_equal(values[1]["BTC-CASH"], 1000.0 * (index < 70_000.0))


def test_the_crossing_follows_the_law_of_the_path(priced):
    """P(min of a Brownian motion with drift <= b by T) in closed form; the sample variance of the interval errs by half a per cent of its root, which with four standard errors of
    the count makes 0.015. Looking at the dates only gives half the crossings, a doubled variance 0.05 more."""
    _, compiled, states, _, _ = priced
    ended = compiled.dates[np.searchsorted(compiled.dates, 23.0 / 24.0)]
    found = hit(compiled, states, "running_minimum[BTC]", 67_000.0, 70_000.0, ended).mean()
    s, m, b = 0.03 * math.sqrt(ended), -0.5 * 0.03**2 * ended, math.log(67.0 / 70.0)
    expected = norm.cdf((b - m) / s) + math.exp(2.0 * m * b / s**2) * norm.cdf((b + m) / s)
    assert found == pytest.approx(expected, abs=0.015)
    ends_beyond = (states[np.searchsorted(compiled.dates, ended), compiled.state_names.index("log_level[BTC]")] <= b).mean()
    assert abs(ends_beyond - expected) > 0.05


def test_values_are_those_of_the_direct_formula_at_the_scenario(priced):
    """Every product alive at two days, scenario by scenario through the slow twin of its operation; digitals by Black's own terms."""
    _, compiled, states, values, _ = priced
    program = compiled.programs[1]
    pick = np.arange(0, COUNT, 401)
    seen = 0
    for request in program.table_requests:
        group = group_of(program, request.group)
        if not request.alive and request.name not in ("ETH-CASH", "ETH-ASSET"):
            continue
        at = states[int(group["date"])]
        option = int(group["first"]) - compiled.linear
        terms = {k: compiled.terms[i, option] for i, k in enumerate(TERM_REALS)}
        move = at[int(group["forward_state"]), pick]
        sigma = european_volatility(move, at[int(group["volatility_state"]), pick], terms["log_moneyness"], terms["volatility"], terms["residual"], group)
        spot = 2000.0 * np.exp(move) / terms["strike"]
        given = {name: np.tile(np.array(value)[:, None], pick.size) if isinstance(value, tuple) else np.full(pick.size, value) for name, value in request.inputs}
        direct = terms["strike"] * reference.values(request.operation, {**given, "spot": spot, "strike": np.ones(pick.size), "volatility": sigma})["price"]
        alive = np.ones(pick.size, bool)
        if group["barrier_side"]:
            alive = group["barrier_side"] * (at[int(group["path_state"]), pick] - group["barrier"]) < 0.0
        np.testing.assert_allclose(values[1][request.name][pick][alive], direct[alive], rtol=0, atol=terms["strike"] * 4.0 * TOLERANCE + 2e-4, err_msg=request.name)
        seen += 1
    assert seen == 12


def test_an_average_that_is_all_fixed_is_its_payoff(priced):
    _, _, _, values, today = priced
    years = (22.0 - 1.0 / 24.0) / 365.0
    assert today["ETH-FIXED"] == pytest.approx(100.0 * math.exp(-RATE * years), rel=1e-12)
    np.testing.assert_allclose(values[1]["ETH-FIXED"], 100.0 * math.exp(-RATE * (years - 2.0 / 365.0)), rtol=1e-9)


def test_digitals_are_the_slope_of_calls(priced):
    _, compiled, _, _, today = priced
    program = compiled.programs[0]
    request = next(r for r in program.table_requests if r.name == "ETH-CASH")
    group = group_of(program, request.group)
    sigma = compiled.terms[TERM_REALS.index("volatility"), int(group["first"]) - compiled.linear]
    stdev, f, h = sigma * math.sqrt(group["expiry_years"]), group["forward0"], 0.01
    calls = [float(black_undiscounted(f, k, math.log(f / k), stdev, 1.0)) for k in (2000.0 - h, 2000.0 + h)]
    assert today["ETH-CASH"] == pytest.approx(100.0 * group["discount0"] * (calls[0] - calls[1]) / (2.0 * h), rel=1e-6)


def test_every_backend_gives_the_same_margins(tmp_path):
    book, market = read_book(tmp_path)
    plan = make_plan(book, market, ScenarioSpec(count=4_500, seed=5, horizons=(1.0, 2.0)), methodology(), STUDENT)
    found = compute_outcome(plan, choose("cpu", "double"), 0, in_memory())
    assert found.table_check is not None and found.table_check.largest_share < 0.1
    device = same_on_the_emulated_device(plan, found)
    assert device.result.contributions.equals(found.result.contributions)
    total = found.result.contributions.groupby("account_id")["contribution"].sum()
    np.testing.assert_allclose(total, found.result.table.set_index("account_id").loc[total.index, "expected_shortfall"], rtol=1e-9)


@pytest.mark.parametrize(("row", "code", "column"), [
    (f"X,option,ETH,linear,USD,1,{FAR},2000,call,,lookback,,,,,,,,,,,", "UPM-IN-033", "product"),
    (f"X,option,ETH,linear,USD,1,{FAR},-2000,call,,barrier,2200,up_out,,,,,,,,,", "UPM-IN-032", "strike"),
    (f"X,option,ETH,linear,USD,1,{FAR},2000,call,,barrier,,up_out,,,,,,,,,", "UPM-IN-032", "barrier"),
    (f"X,option,ETH,linear,USD,1,{FAR},2000,call,,barrier,2200,up_out,,discrete,,,,,,,", "UPM-IN-032", "fixings"),
    (f"X,option,ETH,linear,USD,1,{FAR},,,,one_touch,2200,up,,discrete,cash,100,hit,,,,", "UPM-IN-032", "fixings"),
    (f"X,option,ETH,inverse,USD,1,{FAR},,,,one_touch,2200,up,,,cash,100,hit,,,,", "UPM-IN-041", "payout_time"),
    (f"X,option,ETH,linear,USD,1,{FAR},2000,call,,,2200,,,,,,,,,,", "UPM-IN-042", "barrier"),
    (f"X,option,ETH,linear,USD,1,{FAR},2000,call,,no_touch,2200,up,,,cash,100,,,,,", "UPM-IN-042", "strike"),
    (f"X,option,ETH,linear,USD,1,{FAR},2000,call,,asian,,,,,,,,arithmetic,{FIXINGS},,2", "UPM-IN-032", "average_so_far"),
    (f"X,option,ETH,linear,USD,1,{FAR},2000,call,,asian,,,,,,,,arithmetic,2026-03-20T08:00:00Z,,", "UPM-IN-032", "fixings"),
])
def test_bad_terms_cost_their_row(tmp_path, row, code, column):
    book, _ = read_book(tmp_path, ROWS + row + "\n")
    assert [(r.code, r.column) for r in book.rejects] == [(code, column)]


@pytest.mark.parametrize(("row", "code"), [
    (f"X,option,ETH,linear,USD,1,{FAR},2000,call,,barrier,1900,up_out,,,,,,,,,", "UPM-PR-083"),
    (f"X,option,ETH,linear,USD,1,{FAR},,,,one_touch,2000,down,,,cash,100,hit,,,,", "UPM-PR-083"),
    (f"X,option,ETH,linear,USD,1,{FAR},2000,call,,asian,,,,,,,,geometric,2026-02-01T08:00:00Z;{FAR},,", "UPM-PR-084"),
])
def test_what_has_no_price_stops_the_run(tmp_path, row, code):
    book, market = read_book(tmp_path, ROWS + row + "\n", POSITIONS + "X,X,1\n")
    with pytest.raises(InputError, match=code):
        make_plan(book, market, ScenarioSpec(count=4096, horizons=(2.0,)), methodology(), GAUSSIAN)


def test_upm_run_margins_a_book_of_exotics(tmp_path):
    folder = write(tmp_path, POSITIONS, market={**RATES, "history.csv": history()})
    (folder / "book" / "instruments.csv").write_text(HEAD + ROWS)
    (folder / "run.toml").write_text(CONFIG)
    said = upm("run", "run.toml", "--out", "out", "--device", "cpu", cwd=folder)
    assert said.code == 0, said.err
    with (folder / "out" / "margin.csv").open() as file:
        margin = {row["account_id"]: float(row["initial_margin"]) for row in csv.DictReader(file)}
    assert set(margin) == set(IDS) and margin["ETH-FIXED"] < 1.0 < margin["ETH-UI"] and 50.0 > margin["ETH-UNTOUCHED"] > 10.0
    assert upm("report", "out", cwd=folder).code == 0
