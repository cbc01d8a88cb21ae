"""Forwards from spot, rates, borrow, yield and cash dividends: by hand, against prices of another method, and where they are used."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from upm_gpu.domain.instrument import Future
from upm_gpu.errors import MarketDataError
from upm_gpu.formula.cash_dividends import cash_price
from upm_gpu.market.carry import carried_forward, dividends_before, growth
from upm_gpu.market.consistency import carry_warnings, implied_carry
from upm_gpu.market.levels import quote_price
from upm_gpu.market.snapshot import CarryPoint, Dividend, MarketSnapshot

NOW = datetime(2026, 2, 5, 9, tzinfo=UTC)
YEAR = NOW + timedelta(days=365)
RATES = {"USD": ((365.0, 0.05),), "EUR": ((365.0, 0.02),)}
PAID = tuple(Dividend(NOW + timedelta(days=d), a) for d, a in ((90, 1.0), (270, 2.0), (365, 50.0)))


def market(**changes):
    return MarketSnapshot(NOW, "USD", {"USD": 1.0, "EUR": 1.25, "X": 100.0}, {}, None, RATES, None, **changes)  # type: ignore[arg-type]


def test_the_stock_grows_at_rate_less_borrow_less_yield():
    held = market(carry={"X": (CarryPoint(182.5, 0.01, 0.005), CarryPoint(547.5, 0.03, 0.005))})
    assert carried_forward(held, "X", YEAR) == pytest.approx(100.0 * np.exp(0.05 - 0.02 - 0.005), rel=1e-14)
    assert growth(held, "X", 100.0) == pytest.approx(np.exp((0.05 - 0.015) * 100.0 / 365.0), rel=1e-14)
    assert growth(held, "X", 730.0) == pytest.approx(np.exp((0.05 - 0.035) * 2.0), rel=1e-14)


def test_dividends_before_the_expiry_come_off():
    """By hand: 100 e^0.05 - 1 e^(0.05 275/365) - 2 e^(0.05 95/365); the dividend on the expiry has no effect."""
    held = market(dividends={"X": PAID})
    assert carried_forward(held, "X", YEAR) == pytest.approx(100.0 * np.exp(0.05) - np.exp(0.05 * 275.0 / 365.0) - 2.0 * np.exp(0.05 * 95.0 / 365.0), rel=1e-14)
    assert len(dividends_before(held, "X", YEAR)) == 2


def test_it_is_the_forward_of_options_priced_by_another_method():
    """Call less put by convolution over the falling stock is the discounted forward less the strike."""
    held = market(dividends={"X": PAID}, carry={"X": (CarryPoint(365.0, 0.01, 0.01),)})
    terms = (100.0, 95.0, 1.0, 0.05, 0.02, 0.25)
    paid = [(90.0 / 365.0, 1.0), (270.0 / 365.0, 2.0)]
    call, put = (cash_price(*terms, sign, False, paid, 1) for sign in (1.0, -1.0))
    assert call - put == pytest.approx(np.exp(-0.05) * (carried_forward(held, "X", YEAR) - 95.0), abs=2e-6)


def test_a_spot_in_another_currency_grows_at_its_rate():
    held = market(spot_currency={"X": "EUR"}, dividends={"X": PAID[:1]})
    assert carried_forward(held, "X", YEAR) == pytest.approx(80.0 * np.exp(0.02) - np.exp(0.02 * 275.0 / 365.0), rel=1e-14)


def test_a_contract_without_a_quote_stands_at_it_and_a_quote_wins():
    held = market(dividends={"X": PAID})
    future = Future("F", "X", "linear", "USD", 1.0, YEAR)
    assert quote_price(held, future) == carried_forward(held, "X", YEAR)
    assert quote_price(replace(held, spots={**held.spots, "EUR": 0.5}), replace(future, quote_currency="EUR")) == pytest.approx(2.0 * carried_forward(held, "X", YEAR))
    assert quote_price(replace(held, forwards={("X", YEAR): 104.0}), future) == 104.0


def test_dividends_above_the_stock_are_refused():
    with pytest.raises(MarketDataError, match="UPM-MD-147 X"):
        carried_forward(market(dividends={"X": (Dividend(NOW + timedelta(days=10), 101.0),)}), "X", YEAR)


@pytest.mark.parametrize(("off", "flagged"), [(0.025, False), (0.035, True), (-0.035, True)])
def test_a_quote_is_held_to_what_is_given(off, flagged):
    """2 % a year and 1 % of the spot, where forwards of which nothing is known may carry 30 % a year."""
    held = market(dividends={"X": PAID})
    rows = implied_carry(replace(held, forwards={("X", YEAR): carried_forward(held, "X", YEAR) * np.exp(off)}))
    assert rows[0]["flagged"] == flagged and rows[0]["forward_of_given_carry"] == carried_forward(held, "X", YEAR)
    assert [w[:27] for w in carry_warnings(rows)] == ["UPM-MD-145 forwards: 1 of X"] * flagged
    assert not implied_carry(replace(held, forwards={("X", YEAR): 103.0}, carried_forwards=frozenset({("X", YEAR)})))
