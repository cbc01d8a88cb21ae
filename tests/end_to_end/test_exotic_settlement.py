"""Exotic options settled in coins or with a premium paid like a future's, and touches that are looked at on fixings: what each is beside its linear, up-front or plain kin in every scenario, backends, terms,
the next market, and `upm run`."""

from __future__ import annotations

import csv
import math
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from command_line import CONFIG, history, upm
from exotic_books import (
    FAR,
    FLAT,
    NEAR,
    RATE,
    RATES,
    STILL,
    read_written,
    same_on_the_emulated_device,
    values_by_name,
)
from small_book import GAUSSIAN, STUDENT, VALUATION, methodology, write

from upm_gpu import exhibits
from upm_gpu.backend import cpu
from upm_gpu.backend.select import choose
from upm_gpu.engine import compute_outcome
from upm_gpu.market.observations import Observations
from upm_gpu.next_market import _what_became
from upm_gpu.passes import in_memory
from upm_gpu.plan import make_plan
from upm_gpu.pricing.tables import TOLERANCE, with_tables
from upm_gpu.scenario.spec import ScenarioSpec

HEAD = ("instrument_id,kind,underlying,settlement,quote_currency,contract_size,expiry,strike,option_type,exercise,product,barrier,barrier_type,rebate,monitoring,payout_type,payout,"
        "payout_time,asian_average,fixings,lower_barrier,upper_barrier,moneyness,start_time,underlying_2,correlation,premium\n")
DAILY = ";".join((VALUATION + timedelta(hours=11 + 12 * i)).strftime("%Y-%m-%dT%H:%M:%SZ") for i in range(44))
assert DAILY.endswith("2026-02-27T08:00:00Z")
KINDS = {  # terms from the strike to the correlation
    "UO": "2000,call,,barrier,2200,up_out,,,,,,,,,,,,,", "UI": "2000,call,,barrier,2200,up_in,30,,,,,,,,,,,,", "DI": "2000,put,,barrier,1900,down_in,,,,,,,,,,,,,", "C": "2000,call,european,,,,,,,,,,,,,,,,",
    "TWO": "2000,call,,double_barrier,,knock_out,,,,,,,,1800,2250,,,,", "CASH": "2000,call,,digital,,,,,cash,100,,,,,,,,,", "ASSET": "2000,put,,digital,,,,,asset,0.5,,,,,,,,,",
    "TOUCHED": ",,,one_touch,2200,up,,,cash,100,expiry,,,,,,,,", "UNTOUCHED": ",,,no_touch,2200,up,,,asset,,,,,,,,,,",
    "FIXED": f"2000,call,,barrier,2200,up_out,,discrete,,,,,{DAILY},,,,,,",
}
LINEAR_ONLY = {"AVERAGE": f"2000,call,,asian,,,,,,,,arithmetic,2026-02-20T08:00:00Z;{FAR},,,,,,", "BEST": "2000,call,,maximum_of_two,,,,,,,,,,,,,,BTC,0.6",
               "LATER": ",call,,forward_start,,,,,,,,,,,,1.02,2026-02-10T08:00:00Z,,", "REBATE": "2000,call,,barrier,2200,up_out,50,,,,,,,,,,,,"}


def rows(settlement: str, premium: str, kinds: dict[str, str], expiry: str = FAR, sign: str = "") -> str:
    return "".join(f"{sign}{name},option,ETH,{settlement},USD,1,{expiry},{terms},{premium}\n" for name, terms in kinds.items())


ROWS = rows("linear", "", {**KINDS, **LINEAR_ONLY}, sign="L-") + rows("linear", "futures", {**KINDS, **LINEAR_ONLY}, sign="F-") + rows("inverse", "", KINDS, sign="I-")
SOON = {k: v for k, v in KINDS.items() if k not in ("FIXED",)}
ROWS += rows("linear", "", SOON, NEAR, "LN-") + rows("inverse", "", SOON, NEAR, "IN-")
IDS = [row.split(",")[0] for row in ROWS.splitlines()]
POSITIONS = "account_id,instrument_id,quantity\n" + "".join(f"{name},{name},-1\n" for name in IDS)
COUNT = 4_096
LEFT = math.exp(RATE * (22.0 - 1.0 / 24.0 - 2.0) / 365.0)
CLOSE = 2_000.0 * 6.0 * TOLERANCE
"""two tables, each read between its nodes"""


def read_book(folder, market, lines=ROWS, positions=POSITIONS):
    return read_written(folder, HEAD + lines, positions, market)


@pytest.fixture(scope="module")
def priced(tmp_path_factory):
    """Plan, tables, states, today's values, and those at two days."""
    book, market = read_book(tmp_path_factory.mktemp("settled"), RATES)
    plan = make_plan(book, market, ScenarioSpec(count=COUNT, horizons=(1.0, 2.0)), methodology(), GAUSSIAN)
    compiled = with_tables(plan.compiled, (plan.scenarios,), cpu)[0]
    states, today, values = values_by_name(plan, compiled)
    return plan, compiled, states, today, values[1]


def at(compiled, states, name, day):
    return states[np.searchsorted(compiled.dates, day), compiled.state_names.index(name)]


def test_a_premium_paid_like_a_future_s_leaves_the_value_undiscounted(priced):
    """What is paid at the expiry: the linear up-front value over the discount factor of the horizon. (A rebate paid at the hit is not: it is worth less where interest is.)"""
    _, _, _, today, values = priced
    for name in (*KINDS, "AVERAGE", "BEST", "LATER"):
        np.testing.assert_allclose(values[f"F-{name}"], values[f"L-{name}"] * LEFT, rtol=0, atol=CLOSE, err_msg=name)
        assert today[f"F-{name}"] == pytest.approx(today[f"L-{name}"] * math.exp(RATE * (22.0 - 1.0 / 24.0) / 365.0), rel=1e-9)
    assert np.max(values["F-REBATE"] - values["L-REBATE"] * LEFT) < 0.1 and values["F-REBATE"].mean() > values["L-REBATE"].mean()


def test_coins_at_the_expiry_are_the_undiscounted_value_over_the_forward(priced):
    """What is paid in coins at the index of the expiry is worth S / F times the undiscounted value, in every scenario."""
    _, _, _, today, values = priced
    for name in KINDS:
        np.testing.assert_allclose(values[f"I-{name}"], values[f"F-{name}"] * 2_000.0 / 2_005.0, rtol=0, atol=CLOSE, err_msg=name)
        assert today[f"I-{name}"] == pytest.approx(today[f"F-{name}"] * 2_000.0 / 2_005.0, rel=1e-9)


def test_coins_paid_inside_the_horizon_move_with_the_coin(priced):
    _, compiled, states, _, values = priced
    held = np.exp(at(compiled, states, "log_level[ETH]", 2.0) - at(compiled, states, "log_level[ETH]", 23.0 / 24.0))
    assert held.std() > 0.01
    for name in SOON:
        np.testing.assert_allclose(values[f"IN-{name}"], values[f"LN-{name}"] * held, rtol=0, atol=1e-9, err_msg=name)


def test_in_and_out_in_coins_are_the_plain_option(priced):
    _, _, _, today, values = priced
    book_in_out = values["I-UO"] + values["I-UI"]
    extra = values["I-UNTOUCHED"] / values["I-C"]  # the rebate of the knock-in is paid where the barrier was never met
    assert np.isfinite(extra).all()
    assert np.all(book_in_out >= values["I-C"] - CLOSE) and np.all(book_in_out <= values["I-C"] + 30.0 * 1.2 + CLOSE)
    assert today["I-C"] < today["I-UO"] + today["I-UI"] < today["I-C"] + 31.0


def test_touches_on_fixings(tmp_path):
    """Hit on a fixing and nowhere else, both touches are the payout, and prices are martingales where nothing has interest."""
    lines = "".join(f"{name},option,ETH,linear,USD,1,{FAR},,,,{product},2200,up,,{monitoring},cash,100,{when},,{fixings},,,,,,,\n" for name, product, monitoring, when, fixings in (
        ("T", "one_touch", "discrete", "expiry", DAILY), ("H", "one_touch", "discrete", "hit", DAILY), ("N", "no_touch", "discrete", "", DAILY), ("A", "one_touch", "", "expiry", "")))
    book, market = read_book(tmp_path, FLAT, lines, "account_id,instrument_id,quantity\nT,T,1\nH,H,1\nN,N,1\nA,A,1\n")
    plan = make_plan(book, market, ScenarioSpec(count=32_768, seed=4, horizons=(1.0, 2.0)), methodology(), STILL)
    compiled = with_tables(plan.compiled, (plan.scenarios,), cpu)[0]
    states, today, (_, values) = values_by_name(plan, compiled)
    days = [d for d in (11 / 24 + 0.5 * i for i in range(44)) if d <= 2.0]
    hit = np.max([at(compiled, states, "log_level[ETH]", d - 1e-9) for d in days], axis=0) >= math.log(1.1)
    assert 0.01 < hit.mean() < 0.2
    for name in ("T", "H"):
        np.testing.assert_allclose(values[name][hit], 100.0, rtol=0, atol=1e-9)
        assert values[name][~hit].max() < 100.0 + CLOSE
        paid_or_sure = values[name] > 100.0 - 1e-6  # beyond the moved barrier at the horizon it is as good as hit
        assert np.mean(paid_or_sure & ~hit) < 0.1 * hit.mean()
    np.testing.assert_allclose(values["T"] + values["N"], 100.0, rtol=0, atol=CLOSE)
    np.testing.assert_allclose(values["H"], values["T"], rtol=0, atol=CLOSE)  # without interest it matters not when
    for name in ("T", "N"):
        assert abs(values[name].mean() - today[name]) < 4.5 * values[name].std() / math.sqrt(32_768) + 0.2, name
    assert today["A"] > today["T"] + 2.0  # looked at all the time it is met more often


def test_greeks_are_slopes_of_today_s_value(priced):
    plan, *_ = priced
    table = exhibits.greeks(cpu, plan.instruments, plan.compiled, plan.units, [a.account_id for a in plan.book.accounts], plan.market).set_index("instrument_id")
    h = 1e-3
    today = exhibits.compile_today(plan.instruments, plan.market, plan.surfaces, plan.compiled.drawn_names, plan.dynamics)
    moves = exhibits.explicit_moves(today.drawn_names, [{}, {"log_level[ETH]": h}, {"log_level[ETH]": -h}])
    covered = exhibits.cover(cpu, today, [moves], 0)
    with cpu.prepare(covered, plan.rows, "double") as prepared:
        from upm_gpu.scenario.derived import derive

        unit = cpu.unit_pnl(prepared, derive(moves, covered.operations), 0, 3, 0)
    for name in ("I-CASH", "I-UNTOUCHED", "I-TOUCHED", "F-TOUCHED", "F-DI"):
        pnl = -unit[covered.instrument_column[covered.instrument_ids.index(name)]]
        slope = (pnl[1] - pnl[2]) / (2.0 * h)
        assert table.loc[name, "delta"] == pytest.approx(slope, rel=0.05, abs=5.0), name


def test_every_backend_gives_the_same_margins(tmp_path):
    book, market = read_book(tmp_path, RATES)
    plan = make_plan(book, market, ScenarioSpec(count=700, seed=5, horizons=(1.0, 2.0)), methodology(), STUDENT)
    found = compute_outcome(plan, choose("cpu", "double"), 0, in_memory())
    assert found.table_check.largest_share < 0.1
    compiled = with_tables(plan.compiled, (plan.scenarios,), cpu)[0]
    from upm_gpu.backend import reference

    with reference.prepare(compiled, plan.rows, "double") as twin, cpu.prepare(compiled, plan.rows, "double") as own:
        for h in (0, 1):
            np.testing.assert_allclose(own.value0, twin.value0, rtol=1e-12, atol=1e-9)
            np.testing.assert_allclose(cpu.unit_pnl(own, plan.scenarios, 0, 700, h), reference.unit_pnl(twin, plan.scenarios, 0, 700, h), rtol=0, atol=1e-7)
    same_on_the_emulated_device(plan, found)


@pytest.mark.parametrize(("row", "code", "column"), [
    (f"X,option,ETH,inverse,USD,1,{FAR},{LINEAR_ONLY['AVERAGE']},", "UPM-IN-041", "product"),
    (f"X,option,ETH,inverse,USD,1,{FAR},{LINEAR_ONLY['BEST']},", "UPM-IN-041", "product"),
    (f"X,option,ETH,inverse,USD,1,{FAR},{LINEAR_ONLY['LATER']},", "UPM-IN-041", "product"),
    (f"X,option,ETH,inverse,USD,1,{FAR},{LINEAR_ONLY['REBATE']},", "UPM-IN-041", "rebate"),
    (f"X,option,ETH,inverse,USD,1,{FAR},,,,one_touch,2200,up,,,cash,100,hit,,,,,,,,,", "UPM-IN-041", "payout_time"),
    (f"X,option,ETH,linear,USD,1,{FAR},,,,one_touch,2200,up,,discrete,cash,100,expiry,,,,,,,,,", "UPM-IN-032", "fixings"),
])
def test_bad_terms_cost_their_row(tmp_path, row, code, column):
    book, _ = read_book(tmp_path, RATES, ROWS + row + "\n")
    assert [(r.code, r.column) for r in book.rejects] == [(code, column)]


def test_coins_of_the_expiry_are_valued_at_the_later_level(priced):
    plan, *_ = priced
    later = replace(plan.market, valuation_time=plan.market.valuation_time + timedelta(days=1), spots={**plan.market.spots, "ETH": 2_300.0})
    expiry = next(i for i in plan.instruments if i.instrument_id == "IN-CASH").expiry
    held = _what_became(plan, later, {("ETH", expiry): (2_100.0, False)}, Observations())
    assert held["IN-CASH"].cash == pytest.approx(100.0 / 2_100.0 * 2_300.0) and held["LN-CASH"].cash == 100.0
    held = _what_became(plan, later, {("ETH", expiry): (1_900.0, False)}, Observations())
    assert held["IN-ASSET"].cash == pytest.approx(0.5 * 2_300.0) and held["LN-ASSET"].cash == pytest.approx(0.5 * 1_900.0)


def test_upm_run_margins_them(tmp_path):
    folder = write(tmp_path, POSITIONS, market={**RATES, "history.csv": history()})
    (folder / "book" / "instruments.csv").write_text(HEAD + ROWS)
    (folder / "run.toml").write_text(CONFIG)
    said = upm("run", "run.toml", "--out", "out", "--device", "cpu", "--paths", "4096", cwd=folder)
    assert said.code == 0, said.err
    with (folder / "out" / "margin.csv").open() as file:
        margin = {row["account_id"]: row for row in csv.DictReader(file)}
    assert set(margin) == set(IDS) and min(float(margin[f"{k}-C"]["initial_margin"]) for k in "LFI") > 0.0
    assert float(margin["F-UO"]["equity"]) == 0.0 != float(margin["I-UO"]["equity"])  # settled daily: no value in equity
    assert upm("report", "out", cwd=folder).code == 0
