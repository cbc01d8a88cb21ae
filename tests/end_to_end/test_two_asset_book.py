"""Spread options and options on the better or the worse of two in a book: direct prices, laws in every scenario, every backend, terms, Greeks, and `upm run`."""

from __future__ import annotations

import csv
import math
from dataclasses import replace

import numpy as np
import pytest
from command_line import CONFIG, history, upm
from exotic_books import read_written, same_on_the_emulated_device, values_by_name
from hypothesis import example, given, settings
from hypothesis import strategies as some
from small_book import GAUSSIAN, STUDENT, VALUATION, methodology, write

from upm_gpu import exhibits
from upm_gpu.backend import cpu
from upm_gpu.backend.select import choose
from upm_gpu.domain.instrument import Exotic
from upm_gpu.engine import compute_outcome
from upm_gpu.errors import InputError
from upm_gpu.formula.families import european_volatility
from upm_gpu.formula.pair import Pair, pair_value
from upm_gpu.passes import in_memory
from upm_gpu.plan import make_plan
from upm_gpu.pricing.compiled import TERM_REALS
from upm_gpu.pricing.tables import group_of
from upm_gpu.pricing.two_assets import PAYOFFS, nodes
from upm_gpu.scenario.spec import ScenarioSpec

HEAD = "instrument_id,kind,underlying,settlement,quote_currency,contract_size,expiry,strike,option_type,exercise,product,underlying_2,correlation\n"
FAR, NEAR = "2026-02-27T08:00:00Z", "2026-02-06T08:00:00Z"
ROWS = f"""\
ETH-C,option,ETH,linear,USD,1,{FAR},2000,call,european,,,
ALT-C,option,ALT,linear,USD,1,{FAR},2000,call,european,,,
MAX-C,option,ETH,linear,USD,1,{FAR},2000,call,,maximum_of_two,ALT,0.6
MAX-P,option,ETH,linear,USD,1,{FAR},2000,put,,maximum_of_two,ALT,0.6
MIN-C,option,ETH,linear,USD,1,{FAR},2000,call,,minimum_of_two,ALT,0.6
MIN-P,option,ALT,linear,USD,1,{FAR},2000,put,,minimum_of_two,ETH,0.6
SPR-C,option,ALT,linear,USD,1,{FAR},-50,call,,spread,ETH,0.6
SPR-P,option,ALT,linear,USD,1,{FAR},-50,put,,spread,ETH,0.6
SPR-0,option,ALT,linear,USD,1,{FAR},0,call,,spread,ETH,
NEAR-MAX,option,ALT,linear,USD,1,{NEAR},2000,call,,maximum_of_two,ETH,0.6
NEAR-SPR,option,ALT,linear,USD,1,{NEAR},10,put,,spread,ETH,0.6
"""
IDS = [row.split(",")[0] for row in ROWS.splitlines()]
COUNT, RATE = 4096, 0.05
POSITIONS = "account_id,instrument_id,quantity\n" + "".join(f"{name},{name},-1\n" for name in IDS)
SMILE = "".join(f"{u},{e},{round(f * m, -1)},{base + 0.4 * (m - 1.0) ** 2 - 0.1 * (m - 1.0)}\n"
                for u, e, f, base in (("ALT", FAR, 1980, 0.62), ("ALT", NEAR, 1990, 0.6), ("ETH", NEAR, 2001, 0.7), ("ETH", FAR, 2005, 0.75), ("BTC", FAR, 70200, 0.55))
                for m in (0.8, 0.9, 1.0, 1.1, 1.2))
MARKET = {
    "spots.csv": "asset,price,currency,timestamp\n" + "".join(f"{a},{p},USD,2026-02-05T09:00:00Z\n" for a, p in (("BTC", 70000), ("ETH", 2000), ("ALT", 1990))),
    "forwards.csv": f"underlying,expiry,forward\nETH,{FAR},2005\nALT,{FAR},1980\nETH,{NEAR},2001\nALT,{NEAR},1990\nBTC,{FAR},70200\n",
    "implied_vols.csv": "underlying,expiry,strike,implied_volatility\n" + SMILE,
    "rates.csv": f"currency,tenor_days,zero_rate\nUSD,30,{RATE}\n",
}
NAMES = tuple(n.replace("BTC", "ALT") for n in GAUSSIAN.state_names)
ALT_GAUSSIAN, ALT_STUDENT = replace(GAUSSIAN, state_names=NAMES), replace(STUDENT, state_names=NAMES)
DISCOUNT = math.exp(-RATE * (22.0 - 1.0 / 24.0) / 365.0)


def read_book(tmp_path, rows=ROWS, positions=POSITIONS):
    return read_written(tmp_path, HEAD + rows, positions, MARKET)


@pytest.fixture(scope="module")
def priced(tmp_path_factory):
    """The plan, states, unit values (N, S) by instrument at one and two days, and today's."""
    book, market = read_book(tmp_path_factory.mktemp("two"))
    plan = make_plan(book, market, ScenarioSpec(count=COUNT, horizons=(1.0, 2.0)), methodology(), ALT_GAUSSIAN)
    compiled = plan.compiled
    states, today, values = values_by_name(plan, compiled)
    return plan, states, values, today


def direct(group, second, strike, sign, forward, volatility, forward_2, volatility_2, years, discount):
    """The operation of `upm price`, with its own quadrature."""
    n = np.size(forward)
    columns = {"spot": forward, "volatility": volatility, "spot_2": forward_2, "volatility_2": volatility_2, "correlation": group["correlation"], "strike": strike, "sign": sign,
               "kind": group["payoff"], "time_to_expiry": years}
    return discount * cpu.values("two_asset", {k: np.broadcast_to(np.asarray(v, float), (n,)) for k, v in columns.items()})["price"]


def legs(plan, name, states, pick, h):
    """Forward and volatility of both assets of an instrument in the scenarios picked."""
    program, compiled = plan.compiled.programs[h], plan.compiled
    column = int(compiled.instrument_column[compiled.instrument_ids.index(name)])
    g = int(np.flatnonzero((program.group_integers[:, 1] == column) & (program.group_integers[:, 2] > 0))[0])
    group, terms = group_of(program, g), {k: compiled.terms[i, column - compiled.linear] for i, k in enumerate(TERM_REALS)}
    second = group_of(program, int(group["second"]))
    found = []
    for read, row in ((group, terms), (second, {"log_moneyness": second["leg_moneyness"], "volatility": second["leg_volatility"], "residual": second["leg_residual"]})):
        move, shift = (states[int(group["date"]), int(read[k]), pick] for k in ("forward_state", "volatility_state"))
        found += [read["forward0"] * np.exp(move), european_volatility(move, shift, row["log_moneyness"], row["volatility"], row["residual"], read)]
    return group, second, terms, found


def test_values_are_those_of_the_direct_formula_at_the_scenario(priced):
    plan, states, values, today = priced
    pick = np.arange(0, COUNT, 37)
    for name in IDS[2:9]:
        group, second, terms, (f1, v1, f2, v2) = legs(plan, name, states, pick, 1)
        expected = direct(group, second, terms["strike"], terms["sign"], f1, v1, f2, v2, group["remaining_years"], group["discount"])
        np.testing.assert_allclose(values[1][name][pick], expected, rtol=0, atol=2000.0 * 1e-9, err_msg=name)
        still = direct(group, second, terms["strike"], terms["sign"], group["forward0"], terms["volatility"], second["forward0"], second["leg_volatility"], group["expiry_years"], group["discount0"])
        assert today[name] == pytest.approx(float(still[0]), abs=2000.0 * 1e-9)


def test_both_volatilities_and_both_levels_are_read(priced):
    """A planted second asset that stands still, or whose volatility does, would be seen."""
    plan, states, values, _ = priced
    pick = np.arange(0, COUNT, 37)
    group, second, terms, (f1, v1, f2, v2) = legs(plan, "MAX-C", states, pick, 1)
    for still in ((f1, v1, np.full_like(f2, second["forward0"]), v2), (f1, v1, f2, np.full_like(v2, second["leg_volatility"])), (f1, np.full_like(v1, terms["volatility"]), f2, v2)):
        other = direct(group, second, terms["strike"], terms["sign"], *still, group["remaining_years"], group["discount"])
        assert np.max(np.abs(values[1]["MAX-C"][pick] - other)) > 1.0


def test_parities_hold_in_every_scenario(priced):
    """max + min of calls are both calls; calls less puts are forwards: of the spread S1 - S2 - K, of max + min S1 + S2 - 2 K."""
    plan, states, values, today = priced
    for v, days in ((values[0], 1.0), (values[1], 2.0)):
        left = DISCOUNT * math.exp(RATE * days / 365.0)
        at = states[np.searchsorted(plan.compiled.dates, days)]
        eth, alt = (f * np.exp(at[plan.compiled.state_names.index(f"log_level[{u}]")]) for u, f in (("ETH", 2005.0), ("ALT", 1980.0)))
        np.testing.assert_allclose(v["MAX-C"] + v["MIN-C"], v["ETH-C"] + v["ALT-C"], rtol=1e-12)
        np.testing.assert_allclose(v["SPR-C"] - v["SPR-P"], left * (alt - eth + 50.0), rtol=0, atol=1e-8)
        np.testing.assert_allclose(v["MAX-C"] - v["MAX-P"] + v["MIN-C"] - v["MIN-P"], left * (alt + eth - 4000.0), rtol=0, atol=1e-7)
        assert np.all(v["MIN-C"] <= np.minimum(v["ETH-C"], v["ALT-C"]) + 1e-7) and np.all(v["MAX-C"] >= np.maximum(v["ETH-C"], v["ALT-C"]) - 1e-7)
    assert today["MIN-C"] < today["ETH-C"] < today["MAX-C"]


def test_what_expired_inside_the_horizon_is_paid_at_both_indices(priced):
    plan, states, values, _ = priced
    at = states[np.searchsorted(plan.compiled.dates, 23.0 / 24.0)]
    eth, alt = (s * np.exp(at[plan.compiled.state_names.index(f"log_level[{u}]")]) for u, s in (("ETH", 2000.0), ("ALT", 1990.0)))
    np.testing.assert_allclose(values[1]["NEAR-MAX"], np.maximum(np.maximum(eth, alt) - 2000.0, 0.0), rtol=0, atol=1e-8)
    np.testing.assert_allclose(values[1]["NEAR-SPR"], np.maximum(10.0 - (alt - eth), 0.0), rtol=0, atol=1e-8)


def test_a_blank_correlation_is_the_model_s_and_said(priced):
    plan, *_ = priced
    blank = next(i for i in plan.instruments if i.instrument_id == "SPR-0")
    assert isinstance(blank, Exotic) and blank.correlation == pytest.approx(0.8)
    assert [w for w in plan.warnings if w.startswith("UPM-PR-098") and "0.8000" in w]


def test_greeks_are_told_of_both_assets(priced):
    plan, *_ = priced
    table = exhibits.greeks(cpu, plan.instruments, plan.compiled, plan.units, [a.account_id for a in plan.book.accounts], plan.market)
    names = [f"log_level[{u}]" for u in ("ALT", "ETH")]
    h, today = 1e-3, exhibits.compile_today(plan.instruments, plan.market, plan.surfaces, plan.compiled.drawn_names, replace(plan.dynamics, sticky_moneyness=False))
    moves = exhibits.explicit_moves(today.state_names, [{}] + [{n: s * h} for n in names for s in (1, -1)])
    with cpu.prepare(today, plan.rows, "double") as prepared:
        unit = cpu.unit_pnl(prepared, moves, 0, 5, 0)
    for name in ("MAX-C", "MIN-P", "SPR-C"):
        own = table[table.instrument_id == name].set_index("underlying")
        pnl = -unit[today.instrument_column[today.instrument_ids.index(name)]]
        for u, (up, down) in (("ALT", (1, 2)), ("ETH", (3, 4))):
            assert own.loc[u, "delta"] == pytest.approx((pnl[up] - pnl[down]) / (2.0 * h), rel=1e-4), (name, u)
            slope = (pnl[up] - pnl[down]) / (2.0 * h)
            assert own.loc[u, "gamma"] == pytest.approx(0.01 * ((pnl[up] + pnl[down]) / h**2 - slope), rel=1e-3), (name, u)
        assert len(own) == 2 and (own["vega"] != 0.0).all()


@settings(max_examples=60, deadline=None)
@example(kind="minimum_of_two", sign=1.0, s=1.523, ratio=1.019, rho=-0.833, level=1.284, strike=0.697, years=0.849, drift=0.746)
@example(kind="maximum_of_two", sign=1.0, s=0.265, ratio=1.014, rho=-0.941, level=1.619, strike=1.307, years=0.241, drift=1.342)
@example(kind="minimum_of_two", sign=1.0, s=1.62, ratio=1.54, rho=0.77, level=2.09, strike=2.5, years=0.79, drift=0.7)
@example(kind="spread", sign=1.0, s=1.27, ratio=2.32, rho=0.82, level=0.44, strike=0.94, years=1.42, drift=0.7)
@example(kind="maximum_of_two", sign=-1.0, s=2.0, ratio=1.0, rho=-0.5, level=2.0, strike=2.0, years=1.0, drift=0.75)
@given(kind=some.sampled_from(sorted(PAYOFFS)), sign=some.sampled_from((1.0, -1.0)), s=some.floats(0.1, 2.0), ratio=some.floats(0.3, 3.0), rho=some.floats(-0.95, 0.95),
       level=some.floats(0.4, 2.5), strike=some.floats(0.4, 2.5), years=some.floats(0.001, 1.5), drift=some.floats(0.7, 1.4))
def test_equal_steps_are_enough_whatever_the_terms(kind, sign, s, ratio, rho, level, strike, years, drift):
    """Steps chosen for today's volatilities against the operation's adaptive panels, at volatilities whose ratio has moved: the promise is 1e-8 of the levels."""
    if abs(strike - 1.0) < 1e-3 or s * ratio > 3.0:
        return
    k = strike - 1.2 if kind == "spread" else strike
    option = Exotic("X", "A", "linear", "USD", 1.0, VALUATION, k, "call", product=kind, underlying_2="B", correlation=rho)
    half, step = nodes(option, s, s * ratio, years)
    v1, v2, root = s * drift, s * ratio, math.sqrt(years)
    found = float(pair_value(Pair(1.0, level, v1 * root, v2 * root, rho, half, step), k, sign, PAYOFFS[kind]))
    exact = direct({"correlation": rho, "payoff": PAYOFFS[kind]}, None, k, sign, np.ones(1), v1, level, v2, years, 1.0)
    assert found == pytest.approx(float(exact[0]), abs=1e-8 * (1.0 + level + abs(k)))


def test_assets_too_alike_are_refused_by_name(tmp_path):
    book, market = read_book(tmp_path, ROWS + f"X,option,ALT,linear,USD,1,{FAR},0,call,,spread,ETH,0.9999\n", POSITIONS + "X,X,1\n")
    with pytest.raises(InputError, match="UPM-PR-099 X"):
        make_plan(book, market, ScenarioSpec(count=4096, horizons=(2.0,)), methodology(), ALT_GAUSSIAN)


def test_every_backend_gives_the_same_margins(tmp_path):
    book, market = read_book(tmp_path)
    plan = make_plan(book, market, ScenarioSpec(count=700, seed=5, horizons=(1.0, 2.0)), methodology(), ALT_STUDENT)
    found = compute_outcome(plan, choose("cpu", "double"), 0, in_memory())
    slow = compute_outcome(plan, choose("reference", "double"), 0, in_memory())
    np.testing.assert_allclose(found.tail.pnl, slow.tail.pnl, rtol=0, atol=1e-8)
    device = same_on_the_emulated_device(plan, found)
    assert device.result.contributions.equals(found.result.contributions)


@pytest.mark.parametrize(("row", "code", "column"), [
    (f"X,option,ETH,linear,USD,1,{FAR},2000,call,,maximum_of_two,,0.5", "UPM-IN-036", "underlying_2"),
    (f"X,option,ETH,linear,USD,1,{FAR},2000,call,,maximum_of_two,ETH,0.5", "UPM-IN-042", "underlying_2"),
    (f"X,option,ETH,linear,USD,1,{FAR},2000,call,,minimum_of_two,ALT,1.5", "UPM-IN-032", "correlation"),
    (f"X,option,ETH,linear,USD,1,{FAR},-10,call,,minimum_of_two,ALT,0.5", "UPM-IN-032", "strike"),
    (f"X,option,ETH,linear,USD,1,{FAR},2000,call,,digital,ALT,0.5", "UPM-IN-042", "underlying_2"),
    (f"X,option,ETH,inverse,USD,1,{FAR},2000,call,,spread,ALT,0.5", "UPM-IN-041", "product"),
])
def test_bad_terms_cost_their_row(tmp_path, row, code, column):
    book, _ = read_book(tmp_path, ROWS + row + "\n")
    assert [(r.code, r.column) for r in book.rejects] == [(code, column)]


def test_upm_run_margins_options_on_two_assets(tmp_path):
    rows = ROWS.replace(",ALT", ",BTC").replace(",2000,", ",72000,").replace("-50,call", "60000,call")
    folder = write(tmp_path, POSITIONS, market={"history.csv": history(), "rates.csv": MARKET["rates.csv"]})
    (folder / "book" / "instruments.csv").write_text(HEAD + rows)
    (folder / "run.toml").write_text(CONFIG)
    said = upm("run", "run.toml", "--out", "out", "--device", "cpu", cwd=folder)
    assert said.code == 0, said.err
    assert "UPM-PR-098" in said.err
    with (folder / "out" / "margin.csv").open() as file:
        margin = {row["account_id"]: float(row["initial_margin"]) for row in csv.DictReader(file)}
    assert set(margin) == set(IDS) and margin["MAX-C"] > margin["MIN-C"]
    assert upm("report", "out", cwd=folder).code == 0
