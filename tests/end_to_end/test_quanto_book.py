"""Options paid in another currency at a fixed rate: today's value by `upm price`, every scenario by hand, the model's own numbers, backends, Greeks, terms."""

from __future__ import annotations

import math

import numpy as np
import pytest
from emulator import build
from emulator.backend import EmulatedCuda
from scipy.special import ndtr
from small_book import methodology, read, write

from upm_gpu.backend import cpu
from upm_gpu.backend.select import Choice, choose
from upm_gpu.engine import compute_outcome
from upm_gpu.errors import InputError
from upm_gpu.exhibits import unit_greeks
from upm_gpu.model.gbm import GbmParameters
from upm_gpu.passes import in_memory
from upm_gpu.plan import make_plan
from upm_gpu.pricing.cases import CaseTable, value_cases
from upm_gpu.rulebook.frame.terms import make_terms
from upm_gpu.scenario.spec import ScenarioSpec

EUR, DAX, ETH, COUNT = 1.18, 18_000.0, 2_000.0, 8192
SOON, LATE = "2026-02-06T08:00:00Z", "2026-02-27T08:00:00Z"
DAYS = 22.0 - 1.0 / 24.0
YEARS = DAYS / 365.0
FORWARD = {"DAX": 18_020.0, "ETH": 2_003.0}
VOLATILITY = {"DAX": 0.2, "ETH": 0.6}
RATES = {"USD": 0.05, "EUR": 0.03}
HEAD = "instrument_id,kind,underlying,settlement,quote_currency,contract_size,expiry,strike,option_type,exercise,premium,payout_currency,payout_rate,payout_volatility,payout_correlation\n"
ROWS = f"""\
DAX-C,option,DAX,quanto,EUR,1,{LATE},18000,call,european,,USD,1.5,0.1,0.4
DAX-P,option,DAX,quanto,EUR,1,{LATE},18000,put,european,,USD,1.5,0.1,0.4
DAX-M,option,DAX,quanto,EUR,1,{LATE},18000,put,european,,USD,1.5,,
DAX-S,option,DAX,quanto,EUR,1,{SOON},18200,put,european,,USD,1.5,0.1,0.4
DAX-L,option,DAX,linear,EUR,1,{LATE},18000,call,european,,,,,
ETH-E,option,ETH,quanto,USD,1,{LATE},2000,call,european,,EUR,0.9,0.12,-0.5
ETH-M,option,ETH,quanto,USD,1,{LATE},2000,call,european,,EUR,0.9,,
ETH-Z,option,ETH,quanto,USD,1,{LATE},2000,call,european,,EUR,0.9,0.12,0
"""
IDS = [row.split(",")[0] for row in ROWS.splitlines()]
AT = "2026-02-05T09:00:00Z"
MARKET = {
    "spots.csv": f"asset,price,currency,timestamp\nDAX,{DAX},EUR,{AT}\nETH,{ETH},USD,{AT}\nBTC,70000,USD,{AT}\nEUR,{EUR},USD,{AT}\nJPY,0.0066,USD,{AT}\n",
    "forwards.csv": f"underlying,expiry,forward\nDAX,{SOON},18001\nDAX,{LATE},{FORWARD['DAX']}\nETH,,2000\nETH,{LATE},{FORWARD['ETH']}\n",
    "implied_vols.csv": "underlying,expiry,strike,implied_volatility\n" + "".join(f"{u},{LATE},{k},{VOLATILITY[u]}\n" for u, at in (("DAX", 18_000), ("ETH", 2_000)) for k in (round(m * at) for m in (0.8, 0.9, 1.0, 1.1, 1.2))),
    "rates.csv": "currency,tenor_days,zero_rate\n" + "".join(f"{c},30,{r}\n" for c, r in RATES.items()),
}
STATES = ("log_level[DAX]", "log_level[ETH]", "log_fx[EUR]", "volatility_shift[DAX]", "volatility_shift[ETH]")
RHO = 0.3
MODEL = GbmParameters(STATES, np.array([0.02, 0.04, 0.01, 0.05, 0.05]), (1.0 - RHO) * np.eye(5) + RHO)


def planned(folder, rows=ROWS, model=MODEL, **spec):
    names = [row.split(",")[0] for row in rows.splitlines()]
    write(folder, "account_id,instrument_id,quantity\n" + "".join(f"{n},{n},-1\n" for n in names), market=MARKET)
    (folder / "book" / "instruments.csv").write_text(HEAD + rows)
    book, market = read(folder)
    assert not book.rejects, book.rejects
    return make_plan(book, market, ScenarioSpec(count=COUNT, seed=3, horizons=(2.0,), volatility_dynamics="sticky_strike", **spec), methodology(), model)


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    return planned(tmp_path_factory.mktemp("quanto"))


def values(plan, module):
    """Unit values (S,) by instrument at the horizon, today's, and the states."""
    with module.prepare(plan.compiled, plan.rows, "double", 1) as prepared:
        states = module.states(prepared, plan.scenarios, 0, COUNT)
        unit = module.unit_pnl(prepared, plan.scenarios, 0, COUNT, 0)
        at = [int(c) for c in plan.compiled.instrument_column]
        today = {n: float(prepared.value0[c - plan.compiled.linear]) for n, c in zip(plan.compiled.instrument_ids, at, strict=True)}
    return {n: unit[c] + today[n] for n, c in zip(plan.compiled.instrument_ids, at, strict=True)}, today, states


def black(forward, strike, volatility, years, sign):
    stdev = volatility * np.sqrt(years)
    d = np.log(forward / strike) / stdev + stdev / 2.0
    return sign * (forward * ndtr(sign * d) - strike * ndtr(sign * (d - stdev)))


def test_today_is_the_row_of_upm_price(plan):
    _, today, _ = values(plan, cpu)
    for name, asset, spot, own, paid, rate, volatility, correlation, money in (
            ("DAX-C", "DAX", DAX, "EUR", "USD", 1.5, 0.1, 0.4, 1.0), ("DAX-P", "DAX", DAX, "EUR", "USD", 1.5, 0.1, 0.4, 1.0), ("ETH-E", "ETH", ETH, "USD", "EUR", 0.9, 0.12, -0.5, EUR)):
        row = {"product": "european", "option_type": "put" if name == "DAX-P" else "call", "spot": spot, "strike": 18_000.0 if asset == "DAX" else 2_000.0, "time_to_expiry": YEARS, "rate": RATES[paid],
               "quote_rate": RATES[own], "dividend_yield": RATES[own] - math.log(FORWARD[asset] / spot) / YEARS, "volatility": VOLATILITY[asset], "quanto_rate": rate, "quanto_volatility": volatility,
               "correlation": correlation}
        found, faults = value_cases(CaseTable("cases.csv", tuple(row), (tuple(map(str, row.values())),), (2,)), cpu.values)
        assert not faults
        assert today[name] == pytest.approx(money * found[0]["price"], rel=1e-9), name


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_every_scenario_by_hand(plan, backend):
    """The forward at the scenario's own volatility and the time left, at a fixed rate into money that moves."""
    found, _, states = values(plan, choose(backend, "double", 1).module)
    dates = [float(d) for d in plan.compiled.dates]
    assert dates == [23.0 / 24.0, 2.0]
    left = (DAYS - 2.0) / 365.0
    place = {name: k for k, name in enumerate(plan.compiled.state_names)}
    dax, eth, eur, shift_dax, shift_eth = (states[1, place[s]] for s in STATES)
    loading = (30.0 / DAYS) ** 0.30
    sigma = {"DAX": VOLATILITY["DAX"] * np.exp(loading * shift_dax), "ETH": VOLATILITY["ETH"] * np.exp(loading * shift_eth)}
    forward = {"DAX": FORWARD["DAX"] * np.exp(dax), "ETH": FORWARD["ETH"] * np.exp(eth)}

    def worth(asset, strike, sign, drift, money, paid):
        return math.exp(-RATES[paid] * left) * money * black(forward[asset] * np.exp(-drift * sigma[asset] * left), strike, sigma[asset], left, sign)

    call, put = (worth("DAX", 18_000.0, s, 0.04, 1.5, "USD") for s in (1.0, -1.0))
    np.testing.assert_allclose(found["DAX-C"], call, rtol=1e-9)
    np.testing.assert_allclose(found["DAX-P"], put, rtol=1e-9, atol=1e-9)
    assert np.max(np.abs(worth("DAX", 18_000.0, 1.0, 0.0, 1.5, "USD") / call - 1.0)) > 0.01  # the correlation would be missed
    np.testing.assert_allclose(found["ETH-E"], worth("ETH", 2_000.0, 1.0, -0.06, 0.9 * EUR * np.exp(eur), "EUR"), rtol=1e-9)
    np.testing.assert_allclose(found["ETH-Z"], worth("ETH", 2_000.0, 1.0, 0.0, 0.9 * EUR * np.exp(eur), "EUR"), rtol=1e-9)
    np.testing.assert_allclose(found["DAX-L"], worth("DAX", 18_000.0, 1.0, 0.0, EUR * np.exp(eur), "EUR"), rtol=1e-9)
    np.testing.assert_allclose(found["DAX-S"], 1.5 * np.maximum(18_200.0 - DAX * np.exp(states[0, place["log_level[DAX]"]]), 0.0), atol=1e-8)


def test_blank_terms_are_the_models(plan):
    """Null: X is EUR in dollars at 1 % a square-root day and correlation 0.3 with DAX (with ETH paid in euros, the inverse rate, -0.3). 8,192 scenarios: standard errors 0.8 % and 0.01; four allowed, so
    that a year of 252 days, or the other sign, fails."""
    terms = {i.instrument_id: i.quanto for i in plan.instruments}
    for name, sign in (("DAX-M", 1.0), ("ETH-M", -1.0)):
        assert terms[name].volatility == pytest.approx(0.01 * math.sqrt(365.0), rel=0.032)
        assert terms[name].correlation == pytest.approx(sign * RHO, abs=0.04)
    assert sum(w.startswith("UPM-PR-111") for w in plan.warnings) == 2
    assert terms["DAX-C"].volatility == 0.1 and terms["DAX-C"].correlation == 0.4


def test_blank_terms_and_no_factor_stop_the_run(tmp_path):
    row = f"X,option,DAX,quanto,EUR,1,{LATE},18000,call,european,,JPY,100,,\n"
    with pytest.raises(InputError, match=r"UPM-PR-110.*X.*log_fx\[JPY\]"):
        planned(tmp_path, row)


def test_emulated_device_has_the_same_bits(plan):
    reason = build.unavailable()
    if reason:
        pytest.skip(reason)
    own = compute_outcome(plan, choose("cpu", "double", 1), 4096, in_memory())
    device = compute_outcome(plan, Choice(EmulatedCuda(build.build()), "double", 1, "test"), 4096, in_memory())
    assert np.array_equal(device.tail.pnl, own.tail.pnl) and np.array_equal(device.tail.scenario, own.tail.scenario)
    assert np.array_equal(device.value0, own.value0)
    assert np.all(own.result.table["expected_shortfall"] > 0.0)


def test_greeks_are_slopes(plan):
    """Of today's value written out, in ln S, volatility and time."""
    greeks = unit_greeks(cpu, plan.instruments, plan.compiled, plan.market)
    n = [i.instrument_id for i in plan.instruments].index("ETH-E")

    def value(x=0.0, volatility=0.6, years=YEARS):
        return EUR * 0.9 * math.exp(-RATES["EUR"] * years) * float(black(FORWARD["ETH"] * math.exp(x + 0.06 * volatility * years), 2_000.0, volatility, years, 1.0))

    h = 1e-4
    assert greeks["delta"][n] == pytest.approx((value(h) - value(-h)) / (2 * h), rel=1e-5)
    assert greeks["vega"][n] == pytest.approx(0.01 * (value(0.0, 0.6 + h) - value(0.0, 0.6 - h)) / (2 * h), rel=1e-5)
    assert greeks["theta"][n] == pytest.approx(-(value(0.0, 0.6, YEARS + h / 10) - value(0.0, 0.6, YEARS - h / 10)) / (2 * h / 10) / 365.0, rel=1e-4)


def test_rule_books_refuse_it_by_name(plan):
    with pytest.raises(InputError, match=r"UPM-CF-121.*DAX-C.*fixed rate"):
        make_terms(plan.instruments, [False] * len(plan.instruments), plan.market)


@pytest.mark.parametrize(("row", "code", "column"), [
    (f"X,option,DAX,quanto,EUR,1,{LATE},18000,call,american,,USD,1.5,0.1,0.4", "UPM-IN-041", "settlement"),
    (f"X,option,DAX,quanto,EUR,1,{LATE},18000,call,european,futures,USD,1.5,0.1,0.4", "UPM-IN-041", "settlement"),
    (f"X,future,DAX,quanto,EUR,1,{LATE},,,,,USD,1.5,0.1,0.4", "UPM-IN-041", "settlement"),
    (f"X,option,DAX,quanto,EUR,1,{LATE},18000,call,european,,,1.5,0.1,0.4", "UPM-IN-032", "payout_currency"),
    (f"X,option,DAX,quanto,EUR,1,{LATE},18000,call,european,,EUR,1.5,0.1,0.4", "UPM-IN-042", "payout_currency"),
    (f"X,option,DAX,quanto,EUR,1,{LATE},18000,call,european,,USD,,0.1,0.4", "UPM-IN-032", "payout_rate"),
    (f"X,option,DAX,quanto,EUR,1,{LATE},18000,call,european,,USD,-1,0.1,0.4", "UPM-IN-032", "payout_rate"),
    (f"X,option,DAX,quanto,EUR,1,{LATE},18000,call,european,,USD,1.5,-0.1,0.4", "UPM-IN-032", "payout_volatility"),
    (f"X,option,DAX,quanto,EUR,1,{LATE},18000,call,european,,USD,1.5,0.1,1.4", "UPM-IN-032", "payout_correlation"),
    (f"X,option,DAX,quanto,EUR,1,{LATE},18000,call,european,,USD,1.5,x,0.4", "UPM-IN-014", "payout_volatility"),
    (f"X,option,DAX,linear,EUR,1,{LATE},18000,call,european,,,1.5,,", "UPM-IN-042", "payout_rate"),
    (f"X,option,DAX,linear,EUR,1,{LATE},18000,call,european,,USD,,,", "UPM-IN-041", "payout_currency"),
])
def test_terms_that_are_none_cost_their_row(tmp_path, row, code, column):
    write(tmp_path, "account_id,instrument_id,quantity\nA,X,1\n" + "".join(f"B{i},DAX-L,1\n" for i in range(9)), market=MARKET)
    (tmp_path / "book" / "instruments.csv").write_text(HEAD + ROWS + row + "\n")
    from upm_gpu.domain.reader import load_book
    from upm_gpu.market.reader import load_market

    book = load_book(tmp_path / "book", load_market(tmp_path / "market").valuation_time, 0.5)
    assert [(r.code, r.column) for r in book.rejects][:1] == [(code, column)]
