"""Contract terms: options on a future that ends later, premiums settled daily with early exercise, what is refused by name, volatilities beyond the surface."""

from __future__ import annotations

import numpy as np
import pytest
from small_book import GAUSSIAN, INSTRUMENTS, VALUATION, methodology, write

from upm_gpu.backend import cpu
from upm_gpu.domain.reader import load_book
from upm_gpu.engine import compute_outcome, margin_run
from upm_gpu.formula.black import black_undiscounted
from upm_gpu.market.reader import load_market
from upm_gpu.model.registry import reference_states
from upm_gpu.passes import in_memory
from upm_gpu.plan import make_plan
from upm_gpu.scenario.spec import ScenarioSpec

FUTURE = 70_700.0
"""of 27 March, where the index is 70,000 and the forward of 27 February 70,200"""
FLAT = "underlying,expiry,strike,implied_volatility\n" + "".join(
    f"{u},{e},{round(f * m, -1)},0.6\n" for u, e, f in (("BTC", "2026-02-06T08:00:00Z", 70010), ("BTC", "2026-02-27T08:00:00Z", 70200), ("ETH", "2026-02-27T08:00:00Z", 2005))
    for m in (0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3))
RATES = "currency,tenor_days,zero_rate\nUSD,30,0.3\n"
SMILE = 1e-3
"""relative: a fitted smile of flat quotes is lifted by some 1e-4 where expiries would cross"""
YEARS = (21.0 + 23.0 / 24.0) / 365.0
"""from the valuation time to 27 February 08:00"""


def option(name, expiry="2026-02-27", strike=70_000, kind="call", exercise="european", premium="upfront", future="2026-03-27T08:00:00Z", settlement="linear", payout=""):
    return f"{name},option,BTC,{settlement},USD,1,{expiry}T08:00:00Z,{strike},{kind},{exercise},{premium},{future},{payout}"


def book_of(folder, positions, *rows, market=None):
    root = write(folder, "account_id,instrument_id,quantity\n" + positions, market={"implied_vols.csv": FLAT, "rates.csv": RATES, **(market or {})})
    head, *lines = INSTRUMENTS.splitlines()
    (root / "book" / "instruments.csv").write_text("\n".join([head + ",premium,future_expiry,payout_currency", *(f"{line},,," for line in lines), *rows]) + "\n")
    return load_book(root / "book", VALUATION, 1.0), load_market(root / "market")


def margin(folder, positions, *rows, horizons=(2.0,), market=None):
    book, snapshot = book_of(folder, positions, *rows, market=market)
    return margin_run(book, snapshot, ScenarioSpec(count=8_192, horizons=horizons), methodology(), "cpu", precision="double", model=GAUSSIAN)


def shortfall(loss):
    loss, k = np.sort(loss)[::-1], 0.01 * len(loss)
    return (loss[: int(k)].sum() + (k - int(k)) * loss[int(k)]) / k


def test_an_option_on_a_future_follows_the_future(tmp_path):
    """Revalued by hand on the scenarios: Black on the future's price, discounted to the option's own expiry."""
    result = margin(tmp_path, "A,F,-2\n", option("F", kind="put"))
    states, _ = reference_states(GAUSSIAN.scenarios(np.array([2.0]), ScenarioSpec(count=8_192, horizons=(2.0,))), 0, 8_192)
    x, v = states[0, 0], states[0, 2]
    left, sigma = YEARS - 2.0 / 365.0, 0.6 * np.exp(v * (30.0 / (YEARS * 365.0)) ** 0.30)

    def value(forward, sigma, years):
        return np.exp(-0.3 * years) * black_undiscounted(forward, 70_000.0, np.log(forward / 70_000.0), sigma * np.sqrt(years), -1.0)

    today = value(FUTURE, 0.6, YEARS)
    assert result.table["equity"][0] == pytest.approx(-2.0 * today, rel=SMILE)
    assert result.table["expected_shortfall"][0] == pytest.approx(shortfall(2.0 * (value(FUTURE * np.exp(x), sigma, left) - today)), rel=SMILE)
    assert abs(today / value(70_200.0, 0.6, YEARS) - 1.0) > 0.05  # the forward of its own expiry would be another price


def test_expired_inside_the_horizon_it_pays_on_the_future(tmp_path):
    result = margin(tmp_path, "A,F,-1\n", option("F", expiry="2026-02-06"))
    day = 23.0 / 24.0
    states, _ = reference_states(GAUSSIAN.scenarios(np.array([day, 2.0]), ScenarioSpec(count=8_192, horizons=(2.0,))), 0, 8_192)
    today = np.exp(-0.3 * day / 365.0) * black_undiscounted(FUTURE, 70_000.0, np.log(FUTURE / 70_000.0), 0.6 * np.sqrt(day / 365.0), 1.0)
    assert result.table["expected_shortfall"][0] == pytest.approx(shortfall(np.maximum(FUTURE * np.exp(states[0, 0]) - 70_000.0, 0.0) - today), rel=SMILE)


def test_american_on_a_future_is_exercised_into_the_future(tmp_path):
    result = margin(tmp_path, "A,A,1\nE,E,1\n", option("A", strike=45_000, exercise="american"), option("E", strike=45_000))
    columns = {"spot": FUTURE, "strike": 45_000.0, "time_to_expiry": YEARS, "rate": 0.3, "dividend_yield": 0.3, "volatility": 0.6, "sign": 1.0, "price_only": 1.0}
    direct = cpu.values("american", {k: np.array([c]) for k, c in columns.items()})["price"][0]
    value = result.table.set_index("account_id")["equity"]
    assert value["A"] == pytest.approx(direct, rel=SMILE)
    assert value["A"] >= FUTURE - 45_000.0 > value["E"]


def test_a_premium_settled_daily_leaves_nothing_to_exercise_for_on_a_future(tmp_path):
    """The futures-style American option on a future is its European one, to the bit; so is its margin."""
    rows = (option("A", exercise="american", premium="futures"), option("E", premium="futures"))
    one = margin(tmp_path / "one", "A,A,-1\n", *rows)
    two = margin(tmp_path / "two", "A,E,-1\n", *rows)
    assert one.table.equals(two.table)
    assert one.table["expected_shortfall"][0] > 0.0 and one.table["equity"][0] == 0.0


def test_a_premium_settled_daily_with_early_exercise_on_the_index(tmp_path):
    """Undiscounted, with today's carry: a call on an index whose forward lies below it is worth more alive than dead only in part."""
    low = {"forwards.csv": "underlying,expiry,forward\nBTC,,70000\nETH,,2000\nBTC,2026-02-06T08:00:00Z,69000\nBTC,2026-02-27T08:00:00Z,66000\n"
                           "BTC,2026-03-27T08:00:00Z,62000\nETH,2026-02-27T08:00:00Z,2005\n"}
    rows = (option("A", strike=50_000, exercise="american", premium="futures", future=""), option("E", strike=50_000, premium="futures", future=""))
    book, market = book_of(tmp_path, "A,A,-1\nE,E,-1\n", *rows, market=low)
    plan = make_plan(book, market, ScenarioSpec(count=8_192, horizons=(2.0,)), methodology(), GAUSSIAN)
    from upm_gpu.backend.select import choose

    outcome = compute_outcome(plan, choose("cpu", "double", 1), 0, in_memory())
    value = dict(zip(("A", "E"), outcome.value0, strict=True))
    columns = {"spot": 70_000.0, "strike": 50_000.0, "time_to_expiry": YEARS, "rate": 0.0, "dividend_yield": -np.log(66.0 / 70.0) / YEARS, "volatility": 0.6, "sign": 1.0, "price_only": 1.0}
    assert value["A"] == pytest.approx(cpu.values("american", {k: np.array([c]) for k, c in columns.items()})["price"][0], rel=SMILE)
    assert value["A"] >= 20_000.0 * (1.0 - 1e-12) > value["E"]
    assert list(outcome.result.table["equity"]) == [0.0, 0.0]


@pytest.mark.parametrize(("row", "column", "code", "words"), [
    (option("X", future="2026-02-26T08:00:00Z"), "future_expiry", "UPM-IN-049", "must not come before"),
    (option("X", future="9999-12-31T00:00:00Z"), "future_expiry", "UPM-IN-049", "is not the expiry"),
    (option("X", future="soon"), "future_expiry", "UPM-IN-030", ""),
    (option("X", settlement="inverse"), "future_expiry", "UPM-IN-041", "inverse option on a future"),
    (option("X", settlement="inverse", exercise="american", future=""), "exercise", "UPM-IN-041", "American exercise"),
    (option("X", payout="EUR"), "payout_currency", "UPM-IN-041", "quanto"),
    ("X,future,BTC,linear,USD,1,2026-03-27T08:00:00Z,,,,,2026-03-27T08:00:00Z,", "future_expiry", "UPM-IN-042", "only an option of the plain kind"),
    ("X,perpetual,BTC,inverse,USD,1,,,,,,,USD", "payout_currency", "UPM-IN-041", "quanto"),
    (option("X", strike=-1), "strike", "UPM-IN-032", "is not a strike"),
    (option("X").replace("USD,1,", "USD,0,"), "contract_size", "UPM-IN-032", "is not a contract size"),
    (option("X").replace("USD,1,", "USD,-5,"), "contract_size", "UPM-IN-032", "is not a contract size"),
])
def test_bad_terms_are_rejected_by_name(tmp_path, row, column, code, words):
    book, _ = book_of(tmp_path, "A,BTC-PERP,1\nA,X,1\n", row)
    found = next(r for r in book.rejects if r.file == "instruments.csv")
    assert (found.column, found.code) == (column, code) and words in found.message
    assert len(book.positions.account) == 1


def test_a_payout_in_its_own_currency_is_no_quanto(tmp_path):
    book, _ = book_of(tmp_path, "A,X,1\nA,Y,1\n", option("X", payout="usd"), option("Y", payout="BTC", settlement="inverse", future=""))
    assert not book.rejects


def test_a_strike_beyond_the_surface_is_named(tmp_path):
    book, market = book_of(tmp_path, "A,X,1\nA,Y,1\n", option("X", strike=7_000_000, future=""), option("Y", strike=70_000, future=""))
    plan = make_plan(book, market, ScenarioSpec(count=4_096, horizons=(2.0,)), methodology(), GAUSSIAN)
    said = [w for w in plan.warnings if w.startswith("UPM-PR-008")]
    assert len(said) == 1 and said[0].startswith("UPM-PR-008 X: the volatility ") and "ln(K / F) = 4.6" in said[0]
