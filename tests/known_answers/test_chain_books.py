"""Portfolios of a day's listed options, on a board made by hand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from scipy.stats import norm

from upm_gpu.backtest.chain_books import Board, book_of, portfolios
from upm_gpu.backtest.chain_config import ChainPortfolios

NOW = datetime(2026, 2, 5, 9, tzinfo=UTC)


def board(days=(6.0, 28.0)) -> Board:
    strike = np.tile(np.arange(80.0, 121.0, 5.0), len(days))
    term = np.repeat(days, 9)
    deviation = 0.5 * np.sqrt(term / 365.0)
    return Board("BTC", 100.0, tuple(NOW + timedelta(days=float(t)) for t in term), term, strike, np.full(len(strike), 100.0), norm.cdf(np.log(100.0 / strike) / deviation + 0.5 * deviation))


def made(kind: str, **keys) -> dict:
    b = board()
    found = portfolios([b], [ChainPortfolios(kind=kind, **keys)], 20_489)
    return {p.name: ({(round(float(b.days[i])), float(b.strike[i]), t): q for (_, i, t), q in p.options.items()}, p.coins) for p in found}


def test_shapes():
    assert made("straddle", sides=["short"]) == {"BTC straddle 30d short": ({(28, 100.0, "call"): -1.0, (28, 100.0, "put"): -1.0}, {})}
    # N(d1) of 110 at 28 days and 50 % is 0.27, of 90 it is 0.79
    assert made("strangle", sides=["long"]) == {"BTC strangle 25 delta 30d long": ({(28, 110.0, "call"): 1.0, (28, 90.0, "put"): 1.0}, {})}
    assert made("spread", sides=["long"]) == {"BTC call spread 25 delta 30d long": ({(28, 100.0, "call"): 1.0, (28, 110.0, "call"): -1.0}, {}),
                                              "BTC put spread 25 delta 30d long": ({(28, 100.0, "put"): 1.0, (28, 90.0, "put"): -1.0}, {})}
    assert made("butterfly", sides=["long"]) == {"BTC butterfly 25 delta 30d long": ({(28, 90.0, "call"): 1.0, (28, 100.0, "call"): -2.0, (28, 110.0, "call"): 1.0}, {})}
    assert made("calendar", tenor_days=[7.0, 30.0], sides=["long"]) == {"BTC calendar 7d long": ({(6, 100.0, "call"): -1.0, (28, 100.0, "call"): 1.0}, {})}
    assert made("covered", sides=["short"]) == {"BTC covered call 25 delta 30d short": ({(28, 110.0, "call"): 1.0}, {0: -1.0})}
    assert len(made("single", tenor_days=[7.0, 30.0], deltas=[0.1, 0.25])) == 16
    assert made("single", tenor_days=[90.0]) == {}, "nothing is listed between 45 and 180 days"


def test_hedges_leave_no_delta():
    b = board()
    for p in portfolios([b], [ChainPortfolios(kind="hedged"), ChainPortfolios(kind="market_maker", count=3, legs=6)], 20_489):
        delta = sum(q * (b.call_delta[i] - (t == "put")) for (_, i, t), q in p.options.items())
        assert delta + p.coins[0] == pytest.approx(0.0, abs=1e-12)


def test_a_market_makers_book_is_the_same_whatever_the_count_and_another_each_day():
    entry = ChainPortfolios(kind="market_maker", count=2)
    one, many = portfolios([board()], [entry], 20_489), portfolios([board()], [entry.model_copy(update={"count": 5})], 20_489)
    assert many[:2] == one and portfolios([board()], [entry], 20_490)[0] != one[0]


def test_a_book_holds_coins_of_options_and_dollars_of_the_perpetual():
    b = board()
    book = book_of([b], portfolios([b], [ChainPortfolios(kind="covered", sides=["long"])], 20_489))
    assert [i.instrument_id for i in book.instruments] == ["BTC-05MAR26-110-C", "BTC-PERPETUAL"]
    assert book.positions.contracts.tolist() == [-1.0, 10.0] and book.positions.quantity.tolist() == [-1.0, 100.0]
