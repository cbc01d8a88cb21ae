"""Forward-start options in a book: direct prices before and after the start, variance between the dates, Greeks, every backend, terms, and `upm run`."""

from __future__ import annotations

import csv
import math
from dataclasses import replace

import numpy as np
import pytest
from command_line import CONFIG, history, upm
from exotic_books import read_written, same_on_the_emulated_device, values_by_name
from small_book import GAUSSIAN, STUDENT, methodology, write

from upm_gpu import exhibits
from upm_gpu.backend import cpu
from upm_gpu.backend.select import choose
from upm_gpu.engine import compute_outcome
from upm_gpu.errors import InputError, MarketDataError
from upm_gpu.formula.black import black_undiscounted
from upm_gpu.passes import in_memory
from upm_gpu.plan import make_plan
from upm_gpu.pricing.compiled import TERM_REALS
from upm_gpu.scenario.spec import ScenarioSpec

HEAD = "instrument_id,kind,underlying,settlement,quote_currency,contract_size,expiry,strike,option_type,exercise,product,moneyness,start_time\n"
FAR, NEAR = "2026-02-27T08:00:00Z", "2026-02-06T08:00:00Z"
ROWS = f"""\
LATER,option,BTC,linear,USD,1,{FAR},,call,,forward_start,1.05,2026-02-16T08:00:00Z
SOON,option,BTC,linear,USD,1,{FAR},,put,,forward_start,0.95,{NEAR}
DAY,option,BTC,linear,USD,1,2026-02-07T08:00:00Z,,call,,forward_start,1,{NEAR}
PLAIN,option,BTC,linear,USD,1,{FAR},70000,call,european,,,
"""
IDS = [row.split(",")[0] for row in ROWS.splitlines()]
COUNT, RATE, SPOT, FORWARD = 4096, 0.05, 70000.0, 70200.0
POSITIONS = "account_id,instrument_id,quantity\n" + "".join(f"{name},{name},-1\n" for name in IDS)
RATES = {"rates.csv": f"currency,tenor_days,zero_rate\nUSD,30,{RATE}\n"}
STARTS = {"LATER": 11.0 - 1.0 / 24.0, "SOON": 23.0 / 24.0, "DAY": 23.0 / 24.0}
ENDS = {"LATER": 22.0 - 1.0 / 24.0, "SOON": 22.0 - 1.0 / 24.0, "DAY": 47.0 / 24.0}


def read_book(tmp_path, rows=ROWS, positions=POSITIONS, market=None):
    return read_written(tmp_path, HEAD + rows, positions, {**RATES, **(market or {})})


@pytest.fixture(scope="module")
def priced(tmp_path_factory):
    """The plan, log-levels of BTC by path date, its volatility state, unit values (N, S) at half a day and two days, and today's."""
    book, market = read_book(tmp_path_factory.mktemp("later"))
    plan = make_plan(book, market, ScenarioSpec(count=COUNT, horizons=(0.5, 2.0), volatility_dynamics="sticky_strike"), methodology(), GAUSSIAN)
    compiled = plan.compiled
    states, today, values = values_by_name(plan, compiled)
    return plan, states, values, today


def column(plan, name):
    """Terms of an instrument by name."""
    c = int(plan.compiled.instrument_column[plan.compiled.instrument_ids.index(name)]) - plan.compiled.linear
    return {k: float(plan.compiled.terms[i, c]) for i, k in enumerate(TERM_REALS)}


def level_at(plan, states, day):
    return states[np.searchsorted(plan.compiled.dates, day), plan.compiled.state_names.index("log_level[BTC]")]


def test_today_is_the_operation_of_upm_price(priced):
    """The market's own carry between start and expiry, volatility that of the instrument's column."""
    plan, _, _, today = priced
    for name in STARTS:
        terms, start, end = column(plan, name), STARTS[name] / 365.0, ENDS[name] / 365.0
        sign = terms["sign"]
        at_start = terms["strike"] / {"LATER": 1.05, "SOON": 0.95, "DAY": 1.0}[name]
        forward = terms["strike"] / math.exp(terms["log_moneyness"])
        carry = math.log(forward / at_start) / (end - start)
        case = {"spot": at_start, "time_to_expiry": end - start, "rate": RATE, "dividend_yield": RATE - carry, "volatility": terms["volatility"], "moneyness": terms["strike"] / at_start,
                "start_time": 0.0, "sign": sign}
        found = cpu.values("forward_start", {k: np.array([float(v)]) for k, v in case.items()})["price"][0]
        assert today[name] == pytest.approx(math.exp(-RATE * start) * found, rel=1e-9), name


def test_the_variance_is_that_between_the_dates(priced):
    """Total variances at the strike's moneyness add up; half of the time to expiry lies before LATER's start, and the surface is nearly flat in time."""
    plan, *_ = priced
    from upm_gpu.formula.families import svi_total_variance
    from upm_gpu.market.surface import slice_at

    terms, surface = column(plan, "LATER"), plan.surfaces["BTC"]
    option = next(i for i in plan.instruments if i.instrument_id == "LATER")
    whole, before = (float(svi_total_variance(terms["log_moneyness"], s.a, s.b, s.rho, s.m, s.s)) for s in (slice_at(surface, option.expiry), slice_at(surface, option.fixings[0])))
    assert terms["volatility"] ** 2 * (ENDS["LATER"] - STARTS["LATER"]) / 365.0 == pytest.approx(whole - before, rel=1e-9)
    assert 0.3 < terms["volatility"] < 0.7


def test_before_the_start_the_value_is_the_forward_times_a_number(priced):
    plan, states, values, _ = priced
    for h, day, names in ((0, 0.5, ("LATER", "SOON", "DAY")), (1, 2.0, ("LATER",))):
        x = level_at(plan, states, day)
        shift = states[np.searchsorted(plan.compiled.dates, day), plan.compiled.state_names.index("volatility_shift[BTC]")]
        for name in names:
            terms, left = column(plan, name), math.sqrt((ENDS[name] - STARTS[name]) / 365.0)
            sigma = terms["volatility"] * np.exp(shift * plan.dynamics.loading(ENDS[name]))
            forward = terms["strike"] / math.exp(terms["log_moneyness"])
            discount = math.exp(-RATE * (ENDS[name] - day) / 365.0)
            np.testing.assert_allclose(values[h][name], np.exp(x) * discount * black_undiscounted(forward, terms["strike"], -terms["log_moneyness"], sigma * left, terms["sign"]), rtol=1e-10)


def test_from_the_start_on_the_strike_is_the_level_then(priced):
    plan, states, values, _ = priced
    x, at_start = level_at(plan, states, 2.0), level_at(plan, states, 23.0 / 24.0)
    shift = states[np.searchsorted(plan.compiled.dates, 2.0), plan.compiled.state_names.index("volatility_shift[BTC]")]
    terms = column(plan, "SOON")
    sigma = terms["volatility"] * np.exp(shift * plan.dynamics.loading(ENDS["SOON"]))
    forward, strike = terms["strike"] / math.exp(terms["log_moneyness"]) * np.exp(x), terms["strike"] * np.exp(at_start)
    expected = math.exp(-RATE * (ENDS["SOON"] - 2.0) / 365.0) * black_undiscounted(forward, strike, np.log(forward / strike), sigma * math.sqrt((ENDS["SOON"] - 2.0) / 365.0), -1.0)
    np.testing.assert_allclose(values[1]["SOON"], expected, rtol=1e-9)
    still = black_undiscounted(forward, terms["strike"], np.log(forward / terms["strike"]), sigma * math.sqrt((ENDS["SOON"] - 2.0) / 365.0), -1.0)
    assert np.max(np.abs(still - expected)) > 100.0  # a strike fixed today would be seen
    end = level_at(plan, states, 47.0 / 24.0)
    paid = np.maximum(SPOT * np.exp(end) - column(plan, "DAY")["strike"] * np.exp(at_start), 0.0)
    np.testing.assert_allclose(values[1]["DAY"], paid, rtol=0, atol=1e-7)


def test_greeks_are_those_of_a_number_of_forwards(priced):
    plan, _, _, today = priced
    table = exhibits.greeks(cpu, plan.instruments, plan.compiled, plan.units, [a.account_id for a in plan.book.accounts], plan.market).set_index("instrument_id")
    assert table.loc["LATER", "delta"] == pytest.approx(-today["LATER"], rel=1e-12) and table.loc["LATER", "gamma"] == 0.0
    assert table.loc["LATER", "theta"] == pytest.approx(-today["LATER"] * RATE / 365.0, rel=1e-9)
    assert table.loc["LATER", "vega"] < 0.0


def test_every_backend_gives_the_same_margins(tmp_path):
    book, market = read_book(tmp_path)
    plan = make_plan(book, market, ScenarioSpec(count=300, seed=5, horizons=(0.5, 2.0)), methodology(), STUDENT)
    found = compute_outcome(plan, choose("cpu", "double"), 0, in_memory())
    np.testing.assert_allclose(found.tail.pnl, compute_outcome(plan, choose("reference", "double"), 0, in_memory()).tail.pnl, rtol=0, atol=1e-7)
    same_on_the_emulated_device(plan, found)


@pytest.mark.parametrize(("row", "code", "field"), [
    (f"X,option,BTC,linear,USD,1,{FAR},70000,call,,forward_start,1,{NEAR}", "UPM-IN-042", "strike"),
    (f"X,option,BTC,linear,USD,1,{FAR},,call,,forward_start,0,{NEAR}", "UPM-IN-032", "moneyness"),
    (f"X,option,BTC,linear,USD,1,{FAR},,call,,forward_start,1,2026-03-27T08:00:00Z", "UPM-IN-032", "start_time"),
    (f"X,option,BTC,linear,USD,1,{FAR},,call,,forward_start,1,soon", "UPM-IN-030", "start_time"),
    (f"X,option,BTC,inverse,USD,1,{FAR},,call,,forward_start,1,{NEAR}", "UPM-IN-041", "product"),
])
def test_bad_terms_cost_their_row(tmp_path, row, code, field):
    book, _ = read_book(tmp_path, ROWS + row + "\n")
    assert [(r.code, r.column) for r in book.rejects] == [(code, field)]


def test_a_start_in_the_past_and_a_surface_without_variance_stop_the_run(tmp_path):
    book, market = read_book(tmp_path, ROWS + f"X,option,BTC,linear,USD,1,{FAR},,call,,forward_start,1,2026-02-01T08:00:00Z\n", POSITIONS + "X,X,1\n")
    with pytest.raises(InputError, match="UPM-PR-084 X"):
        make_plan(book, market, ScenarioSpec(count=4096, horizons=(2.0,)), methodology(), GAUSSIAN)
    book, market = read_book(tmp_path / "other")
    plan = make_plan(book, market, ScenarioSpec(count=4096, horizons=(2.0,)), methodology(), GAUSSIAN)
    from upm_gpu.pricing.forward_starts import slice_between

    surface = plan.surfaces["BTC"]
    flat = replace(surface, slices=tuple(replace(s, a=0.01, b=0.0) for s in surface.slices))
    option = next(i for i in plan.instruments if i.instrument_id == "SOON")
    with pytest.raises(MarketDataError, match="UPM-MD-055 SOON"):
        slice_between(option, flat, 0.0)


def test_upm_run_margins_forward_starts(tmp_path):
    folder = write(tmp_path, POSITIONS, market={**RATES, "history.csv": history()})
    (folder / "book" / "instruments.csv").write_text(HEAD + ROWS)
    (folder / "run.toml").write_text(CONFIG)
    said = upm("run", "run.toml", "--out", "out", "--device", "cpu", cwd=folder)
    assert said.code == 0, said.err
    with (folder / "out" / "margin.csv").open() as file:
        margin = {row["account_id"]: float(row["initial_margin"]) for row in csv.DictReader(file)}
    assert set(margin) == set(IDS) and 0.0 < margin["LATER"] < margin["PLAIN"]
    assert upm("report", "out", cwd=folder).code == 0
