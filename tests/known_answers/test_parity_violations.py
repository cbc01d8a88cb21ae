"""Put-call parity strike by strike: arbitrage-free chains show nothing, planted errors are found by side and size, American bounds by prices of another formula."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from upm_gpu.domain.instrument import Option
from upm_gpu.formula.american import american_values
from upm_gpu.formula.black import black_undiscounted
from upm_gpu.market.parity_violations import Styles, parity_table, parity_violations, parity_warnings, styles_of
from upm_gpu.market.snapshot import MarketSnapshot, Pairs, Quotes

NOW = datetime(2026, 2, 5, 9, tzinfo=UTC)
END = NOW + timedelta(days=365)
RATE, YIELD, SPOT, SIGMA = 0.05, 0.02, 100.0, 0.25
FORWARD = SPOT * np.exp(RATE - YIELD)
STRIKE = np.array([70.0, 85.0, 100.0, 115.0, 130.0])
NOTHING = np.full(5, np.nan)
EUROPEAN = Styles(frozenset(), frozenset())
AMERICAN = Styles(frozenset({("X", END)}), frozenset())


def market(call=NOTHING, put=NOTHING, half=0.05, call_mark=NOTHING, put_mark=NOTHING, call_volatility=SIGMA, linear=True):
    n = len(STRIKE)
    pairs = Pairs(np.array(["X"] * n, object), (END,) * n, STRIKE, np.full(n, call_volatility), call - half, call + half, call_mark, np.full(n, SIGMA), put - half, put + half, put_mark)
    quotes = Quotes(pairs.underlying, pairs.expiry, STRIKE, np.full(n, SIGMA), *[NOTHING] * 3, np.full(n, "", object), *[NOTHING] * 2, pairs=pairs)
    return MarketSnapshot(NOW, "USD", {"USD": 1.0, "X": SPOT}, {("X", END): FORWARD}, quotes, {"USD": ((365.0, RATE),)}, None, linear_marks={"X": "USD"} if linear else {})  # type: ignore[arg-type]


def black(sign, strike=STRIKE):
    return black_undiscounted(FORWARD, strike, np.log(FORWARD / strike), SIGMA, sign)


def discounted(sign):
    return np.exp(-RATE) * black(sign)


def american(sign):
    columns = {"spot": SPOT, "strike": STRIKE, "time_to_expiry": 1.0, "rate": RATE, "dividend_yield": YIELD, "volatility": SIGMA, "sign": sign, "price_only": 1.0}
    return american_values({k: np.broadcast_to(np.asarray(c, float), STRIKE.shape) for k, c in columns.items()})["price"]


def test_chains_at_parity_show_nothing():
    assert parity_violations(market(discounted(1.0), discounted(-1.0)), "X", EUROPEAN) == []
    assert parity_violations(market(black(1.0) / FORWARD, black(-1.0) / FORWARD, 0.0005, linear=False), "X", EUROPEAN) == []  # coins
    assert parity_violations(market(), "X", EUROPEAN) == []  # equal volatilities
    assert parity_violations(market(american(1.0), american(-1.0)), "X", AMERICAN) == []


def test_american_prices_break_the_european_equality():
    """The early exercise of the deep put is worth more than the spread."""
    row, = parity_violations(market(american(1.0), american(-1.0)), "X", EUROPEAN)
    assert row["worst_strike"] == 130.0 and row["beyond_spread"] == row["violations"] >= 1


@pytest.mark.parametrize("side", [1.0, -1.0])
def test_a_stale_quote_is_found_by_its_strike(side):
    """1.50 too dear on one side: beyond the two half spreads of 0.05 by 1.40."""
    stale = discounted(side) + 1.5 * (STRIKE == 85.0)
    row, = parity_violations(market(stale, discounted(-1.0)) if side > 0.0 else market(discounted(1.0), stale), "X", EUROPEAN)
    assert (row["violations"], row["with_spread"], row["pairs"], row["worst_strike"], row["exercise"]) == (1, 5, 5, 85.0, "european")
    assert row["worst_of_forward"] == pytest.approx(1.4 / FORWARD, rel=1e-9)
    warning, = parity_warnings([row])
    assert warning.startswith("UPM-MD-148 implied_vols: 1 strikes of X ") and " 85 of " in warning


def test_american_bounds_by_hand():
    """C - P <= S - K D and >= D F - K: a call 0.5 above the upper bound with the put at its bid, a put that much too dear."""
    discount = np.exp(-RATE)
    put = american(-1.0)
    high = SPOT - STRIKE * discount + put + 0.5
    row, = parity_violations(market(high, put, 0.0), "X", AMERICAN)
    assert row["violations"] == 5 and row["worst_of_forward"] == pytest.approx(0.5 / FORWARD, rel=1e-9)
    low = discount * FORWARD - STRIKE + put - 0.5
    row, = parity_violations(market(low + 100.0, put + 100.0, 0.0), "X", AMERICAN)
    assert row["violations"] == 5 and row["worst_of_forward"] == pytest.approx(0.5 / FORWARD, rel=1e-9)


def test_without_spreads_marks_and_volatilities_say_it_more_loosely():
    row, = parity_violations(market(call_volatility=SIGMA + 0.05), "X", EUROPEAN)
    assert row["with_spread"] == row["beyond_spread"] == 0 and row["violations"] >= 3
    assert parity_warnings([row]) == []
    row, = parity_violations(market(call_mark=discounted(1.0) + 0.01 * FORWARD * (STRIKE == 100.0), put_mark=discounted(-1.0)), "X", EUROPEAN)
    assert (row["violations"], row["worst_strike"]) == (1, 100.0) and row["worst_of_forward"] == pytest.approx(0.01, rel=1e-9)


def test_the_book_says_how_a_chain_is_exercised():
    option = Option("A", "X", "linear", "USD", 1.0, END, 130.0, "put", "american")
    held = market(american(1.0), american(-1.0))
    assert styles_of([option]) == AMERICAN and parity_table(held, [option]) == []
    assert parity_table(held, [replace(option, exercise="european")])[0]["exercise"] == "european"
    assert parity_table(held, [replace(option, exercise="european", future_expiry=END + timedelta(days=30))]) == []


def test_the_reader_keeps_both_sides_and_the_report_shows_the_table(tmp_path):
    from upm_gpu.market.reader import load_market
    from upm_gpu.report.quality import quality_tables

    (tmp_path / "spots.csv").write_text("asset,price,currency,timestamp\nX,100,USD,2026-02-05T09:00:00Z\n")
    (tmp_path / "forwards.csv").write_text("underlying,expiry,forward\nX,2027-02-05T09:00:00Z,100\n")
    (tmp_path / "implied_vols.csv").write_text("underlying,expiry,strike,implied_volatility,option_type,bid,ask\nX,2027-02-05T09:00:00Z,100,0.2,call,0.09,0.1\n"
                                               "X,2027-02-05T09:00:00Z,100,0.21,put,0.05,0.06\nX,2027-02-05T09:00:00Z,110,0.2,call,0.01,0.02\n")
    read = load_market(tmp_path)
    pairs = read.quotes.pairs
    assert pairs is not None and list(pairs.strike) == [100.0] and (pairs.call_bid[0], pairs.put_ask[0], pairs.put_volatility[0]) == (0.09, 0.06, 0.21)
    rows = parity_table(read, [Option("A", "X", "inverse", "USD", 1.0, END, 100.0, "call")])
    assert rows[0]["worst_of_forward"] == pytest.approx(0.03, rel=1e-9)  # coins: the call sold at 0.09, the put bought at 0.06
    shown = next(t for t in quality_tables({"parity_violations": rows}, None) if t["title"] == "Put-call parity of quotes")
    assert shown["count"] == 1
