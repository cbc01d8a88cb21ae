"""American and European options on a stock with cash dividends, borrow and yield, through the engine: today's value against `upm price`, scenarios against direct prices, order of values."""

from __future__ import annotations

import numpy as np
import pytest
from dividend_book import BORROW, CASH, EX, FORWARDS, RATE, SPOT, YEARS, planned

from upm_gpu import table_check
from upm_gpu.backend import cpu
from upm_gpu.backend.select import choose
from upm_gpu.engine import compute_outcome
from upm_gpu.errors import InputError
from upm_gpu.formula.black import black_undiscounted
from upm_gpu.formula.families import european_volatility
from upm_gpu.model.registry import reference_states
from upm_gpu.passes import in_memory
from upm_gpu.pricing import tables
from upm_gpu.pricing.compiled import TERM_REALS


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return compute_outcome(planned(tmp_path_factory.mktemp("dividends")), choose("cpu", "double"), 0, in_memory())


@pytest.fixture(scope="module")
def values(run):
    """Value of each option at the horizon, (4096,), by instrument id."""
    compiled = run.plan.compiled
    with cpu.prepare(compiled, run.plan.rows, "double", 0) as prepared:
        pnl = cpu.unit_pnl(prepared, run.plan.scenarios, 0, 4_096, 0)
    return {name: pnl[column] + run.value0[column - compiled.linear] for name, column in zip(compiled.instrument_ids, compiled.instrument_column, strict=True)}


def growth(t):
    return np.exp((RATE - BORROW) * t)


FORWARD = growth(YEARS) * (SPOT - sum(d / growth(t) for t, d in zip(EX, CASH, strict=True)))


def quoted(run, strike):
    compiled = run.plan.compiled
    return {k: compiled.terms[i, np.flatnonzero(compiled.terms[0] == strike)[0]] for i, k in enumerate(TERM_REALS)}


def direct(spot, strike, sign, sigma, years, times, cash):
    n = len(spot)
    columns = {"spot": spot, "strike": np.full(n, strike), "volatility": sigma, "sign": np.full(n, sign), "time_to_expiry": np.full(n, years), "rate": np.full(n, RATE),
               "dividend_yield": np.full(n, BORROW), "american": np.ones(n), "price_only": np.ones(n), "dividend_time": np.tile(np.array(times)[:, None], n), "dividend_amount": cash}
    return cpu.values("cash_dividends", columns)["price"]


def test_today_is_the_value_of_the_cash_amounts(run):
    value = run.result.table.set_index("account_id")["equity"]
    for account, strike, sign in (("P", 2400.0, -1.0), ("C", 1700.0, 1.0)):
        sigma = np.array([quoted(run, strike)["volatility"]])
        assert value[account] == pytest.approx(direct(np.array([SPOT]), strike, sign, sigma, YEARS, EX, np.array(CASH)[:, None])[0], abs=1e-5 * strike)


def test_european_options_are_priced_on_the_forward_less_dividends(run):
    value = run.result.table.set_index("account_id")["equity"]
    assert run.plan.market.forwards["ETH", run.plan.market.quotes.expiry[-1]] == pytest.approx(FORWARD, rel=1e-12)
    for account, strike, sign in (("E", 2400.0, -1.0), ("F", 1700.0, 1.0)):
        sigma = quoted(run, strike)["volatility"]
        assert value[account] == pytest.approx(np.exp(-RATE * YEARS) * black_undiscounted(FORWARD, strike, np.log(FORWARD / strike), sigma * np.sqrt(YEARS), sign), rel=1e-9)


def test_scenarios_are_those_of_direct_prices_after_the_first_dividend(run, values):
    """The stock at the horizon is today's times the scenario's factor less the dividend that went ex; the second keeps its share of it."""
    plan, left = run.plan, YEARS - 2.0 / 365.0
    states = reference_states(plan.scenarios, 0, 4_096)[0][-1]
    group = tables.group_of(plan.compiled.programs[0], plan.compiled.programs[0].table_requests[0].group)
    at = np.linspace(0, 4_095, 6).astype(int)
    x, v = states[int(group["forward_state"])][at], states[int(group["volatility_state"])][at]
    for name, strike, sign in (("ETH-P2400A", 2400.0, -1.0), ("ETH-C1700A", 1700.0, 1.0)):
        terms = quoted(run, strike)
        sigma = european_volatility(x, v, terms["log_moneyness"], terms["volatility"], terms["residual"], group)
        stock = (SPOT - CASH[0]) * np.exp(x)
        expected = direct(stock, strike, sign, sigma, left, [EX[1] - 2.0 / 365.0], CASH[1] * np.exp(x)[None])
        np.testing.assert_allclose(values[name][at], expected, atol=2.0 * tables.TOLERANCE * strike)


def test_american_is_at_least_european_and_exercise(run, values):
    forward = reference_states(run.plan.scenarios, 0, 4_096)[0][-1][1]
    stock = (SPOT - CASH[0]) * np.exp(forward)
    for kind, strike, sign in (("P", 2400, -1.0), ("C", 1700, 1.0)):
        american, slack = values[f"ETH-{kind}{strike}A"], 3.0 * tables.TOLERANCE * strike
        assert np.min(american - values[f"ETH-{kind}{strike}E"]) > -slack
        assert np.min(american - np.maximum(sign * (stock - strike), 0.0)) > -slack
    assert np.mean(values["ETH-C1700A"] - values["ETH-C1700E"]) > 1.0  # a call is exercised before the stock falls


def test_tables_are_checked_in_the_tail(run):
    assert {t.operation for t in run.tables} == {"cash_dividends"} and max(t.error for t in run.tables) <= tables.TOLERANCE
    assert run.table_check is not None and run.table_check.units == 2 and run.table_check.largest_share < 0.1


def test_a_bound_in_place_of_a_price_condemns_nobody(run, monkeypatch):
    """Looks that price one pair a table find it far off: units are cleared by the last look, which prices every pair."""
    plain, alone = table_check.direct_values, []

    def first_one_wrong(request, log_moneyness, sigma, backend):
        alone.append(len(sigma) == 1)
        return plain(request, log_moneyness, sigma, backend) + alone[-1]

    monkeypatch.setattr(table_check, "MOST_COSTLY", 0)
    monkeypatch.setattr(table_check, "direct_values", first_one_wrong)
    found = compute_outcome(run.plan, choose("cpu", "double"), 0, in_memory()).table_check
    assert any(alone) and not all(alone) and found.largest_share < 0.1


@pytest.mark.parametrize(("file", "text"), [("rates.csv", "currency,tenor_days,zero_rate\nUSD,30,-0.01\n"), ("forwards.csv", FORWARDS + "ETH,2026-02-27T08:00:00Z,2100\n")])
def test_two_boundaries_and_dividends_below_zero_are_refused(tmp_path, file, text):
    with pytest.raises(InputError, match="UPM-PR-088 ETH-"):
        planned(tmp_path, {file: text})


def test_a_forward_a_little_high_takes_it_from_the_dividends(tmp_path):
    """Quoted between what no dividend and all dividends give: the yield is 0 and the dividends carry the rest."""
    quote = 1_990.0
    plan = planned(tmp_path, {"forwards.csv": FORWARDS + f"ETH,2026-02-27T08:00:00Z,{quote}\n"})
    assert any(w.startswith("UPM-MD-145 forwards: 1 of ETH") for w in plan.market.warnings)
    for request in plan.compiled.programs[0].table_requests:
        given = dict(request.inputs_today)
        assert given["dividend_yield"] == 0.0
        assert SPOT * np.exp(RATE * YEARS) * (1.0 - sum(d * np.exp(-RATE * t) for t, d in zip(given["dividend_time"], given["dividend_share"], strict=True))) == pytest.approx(quote, rel=1e-12)
