"""Charges on what is held and posted, by hand on a few lines; their laws on random holdings; parameters that cannot be."""

from __future__ import annotations

import datetime
from dataclasses import replace
from importlib import import_module
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from upm_gpu.margin.requests import Exposures, Measured, MeasureRequest, Pledged, Stressed

CORE = MeasureRequest("base", 2.0, 0.99)
ON_HOLDINGS = ("liquidation_cost", "basis", "calendar_vega", "skew", "short_option_minimum", "minimum_gross", "expiry_day", "funding_and_fees", "oracle_confidence", "wrong_way", "depeg")
UNDERLYINGS = ("BTC", "ETH")
LEVEL = {"BTC": 50_000.0, "ETH": 2_000.0}


def held(*lines: tuple) -> Exposures:
    """Lines (unit, underlying, kind, days, strike, quantity, currency, vega), delta = notional; one instrument a line."""
    unit, name, kind, days, strike, quantity, currency, vega = zip(*lines, strict=True) if lines else ((),) * 8
    currencies = tuple(sorted(set(currency)))
    level = np.array([LEVEL[n] for n in name])
    amount = np.array(quantity, np.float64)
    notional = amount * level
    zero = np.zeros(len(lines))
    return Exposures(np.array(unit, np.int32), np.array([UNDERLYINGS.index(n) for n in name], np.int32), np.arange(len(lines), dtype=np.int32), tuple(f"I{i}" for i in range(len(lines))), tuple(kind),
                     np.array([currencies.index(c) for c in currency], np.int64), currencies, level, np.array(days, np.float64), np.array(strike, np.float64), amount, notional,
                     np.where(np.isfinite(np.array(strike, np.float64)), 0.05 * notional, 0.0), notional, zero, np.array(vega, np.float64), zero)


def measured(exposures: Exposures, core: Any = 0.0, units: int = 2, **more: Any) -> Measured:
    gross = np.bincount(exposures.unit, np.abs(exposures.notional), minlength=units)
    return Measured(tuple("ABCDEFG"[:units]), {}, np.broadcast_to(np.asarray(core, np.float64), (units,)).copy(), gross, UNDERLYINGS, exposures=exposures, **more)


def amount(name: str, found: Measured, **parameters: Any) -> np.ndarray:
    module = import_module(f"upm_gpu.margin.charges.{name}")
    return module.charge(found, CORE, 1.0, module.Parameters(**parameters)).amount


NAN = float("nan")
SPOT, PERP = (0.0, NAN), (0.0, NAN)


def test_liquidation_cost_by_hand():
    """Unit A: 1 BTC future at 60 days against 0.4 spot, vega 100 a point at 60 days; half spreads 10 and 20 basis points, 2 points of volatility; cost correlation 0.5."""
    book = held((0, "BTC", "spot", *SPOT, 0.4, "coin", 0.0), (0, "BTC", "future", 60.0, NAN, -1.0, "USD", 0.0), (0, "BTC", "option", 60.0, 5e4, 0.2, "USD", 100.0), (1, "ETH", "perpetual", *PERP, 5.0, "USDT", 0.0))
    keys: dict[str, Any] = {"tenor_days": [30.0], "delta_half_spread": [0.001, 0.002], "vega_half_spread": [3.0, 2.0]}
    near, far, vega = 20_000 * 0.001, 40_000 * 0.002, 100.0 * 2.0
    delta = np.sqrt(0.5 * (near**2 + far**2) + 0.5 * (near + far) ** 2)
    want = np.sqrt(delta**2 + vega**2 + delta * vega)
    assert amount("liquidation_cost", measured(book), **keys) == pytest.approx([want, 10.0], rel=1e-12)
    # a quarter of the day's volume over two days is 20,000: of 60,000 three times too much, the root of three on every cell of BTC's delta
    slow = amount("liquidation_cost", measured(book), **keys, volume={"BTC": 40_000.0}, cell_correlation=1.0, grid_correlation=1.0)
    assert slow == pytest.approx([(near + far) * np.sqrt(3.0) + vega, 10.0], rel=1e-12)
    assert amount("liquidation_cost", measured(book), **keys, minimum_per_contract=1_000.0) == pytest.approx([1_200.0, 5_000.0])


def test_basis_by_hand():
    """Deribit's published roll shock: 1 % of each leg, of a perpetual and a future of opposite sign; farther out the annual move is larger."""
    book = held((0, "BTC", "perpetual", *PERP, 1.0, "USD", 0.0), (0, "BTC", "future", 30.0, NAN, -1.0, "USD", 0.0), (1, "BTC", "future", 365.0, NAN, 2.0, "USD", 0.0), (1, "BTC", "spot", *SPOT, -2.0, "coin", 0.0))
    found = amount("basis", measured(book), minimum_move=0.01, annual_move=0.075)
    assert found == pytest.approx([0.01 * 100_000.0, 100_000.0 * np.expm1(0.075)], rel=1e-12)
    assert amount("basis", measured(book), minimum_move=0.01, annual_move=0.075, spot_free=False)[1] == pytest.approx(found[1] + 1_000.0)


def test_calendar_vega_by_hand():
    """Long 100 at 30 days against short 60 at 120: in 30-day points the far vega counts 4^-0.13; the smaller side is hedged."""
    book = held((0, "BTC", "option", 30.0, 5e4, 1.0, "USD", 100.0), (0, "BTC", "option", 120.0, 5e4, -1.0, "USD", -60.0), (1, "BTC", "option", 30.0, 5e4, 1.0, "USD", 100.0), (1, "ETH", "option", 120.0, 2e3, -1.0, "USD", -60.0))
    assert amount("calendar_vega", measured(book), move=2.0) == pytest.approx([2.0 * 60.0 * 0.25**0.13, 0.0])


def test_skew_by_hand():
    """A risk reversal: long the upper wing, short the lower, half a width out at 91.25 days (half a root year): both legs lose in one direction of the tilt."""
    up, down = 5e4 * np.exp(0.15), 5e4 * np.exp(-0.15)
    book = held((0, "BTC", "option", 91.25, up, 1.0, "USD", 40.0), (0, "BTC", "option", 91.25, down, -1.0, "USD", -40.0), (1, "BTC", "option", 91.25, up, 1.0, "USD", 40.0), (1, "BTC", "option", 91.25, down, 1.0, "USD", 40.0))
    assert amount("skew", measured(book), move=3.0, width=0.6) == pytest.approx([3.0 * 0.5 * 80.0, 0.0], abs=1e-9)


def test_minima_by_hand():
    book = held((0, "BTC", "option", 30.0, 9e4, -2.0, "USD", -1.0), (0, "BTC", "option", 30.0, 8e4, 5.0, "USD", 1.0), (1, "ETH", "option", 30.0, 9e3, -10.0, "USD", 0.0))
    assert amount("short_option_minimum", measured(book, core=[700.0, 0.0]), rate=0.01, rates={"ETH": 0.02}) == pytest.approx([300.0, 400.0])
    assert amount("short_option_minimum", measured(book, core=[700.0, 0.0]), rate=0.01, mode="add") == pytest.approx([1_000.0, 200.0])
    assert amount("minimum_gross", measured(book, core=[1e6, 50.0]), rate=0.005) == pytest.approx([0.0, 50.0])


def test_expiry_day_by_hand():
    """At the money everything counts, one deviation out exp(-1/2), later expiries nothing."""
    out = 5e4 * np.exp(0.6 * np.sqrt(1.0 / 365.0))
    book = held((0, "BTC", "option", 1.0, 5e4, -1.0, "USD", 0.0), (0, "BTC", "option", 1.0, out, 1.0, "USD", 0.0), (0, "BTC", "option", 1.1, 5e4, 1.0, "USD", 0.0), (1, "ETH", "future", 0.5, NAN, -5.0, "USD", 0.0))
    assert amount("expiry_day", measured(book), rate=0.01) == pytest.approx([500.0 * (1.0 + np.exp(-0.5)), 100.0])


def test_funding_and_fees_by_hand():
    """Net perpetual 3 of 5 against 2: six eight-hours in two days; fees on everything but spot, of an option at most an eighth of its value."""
    book = held((0, "BTC", "perpetual", *PERP, 5.0, "USD", 0.0), (0, "BTC", "perpetual", *PERP, -2.0, "USDC", 0.0), (1, "ETH", "spot", *SPOT, 9.0, "coin", 0.0), (1, "ETH", "option", 9.0, 2e3, 1.0, "USD", 1.0))
    found = amount("funding_and_fees", measured(book), rate_8h=0.0002, fee=0.01, option_fee_cap=0.125)
    assert found == pytest.approx([150_000.0 * 0.0002 * 6.0 + 0.01 * 350_000.0, min(0.01 * 2_000.0, 0.125 * 100.0)])


def test_oracle_confidence_by_hand():
    book = held((0, "BTC", "perpetual", *PERP, 1.0, "USD", 0.0), (0, "BTC", "future", 9.0, NAN, -1.0, "USD", 0.0), (1, "ETH", "spot", *SPOT, 9.0, "coin", 0.0))
    assert amount("oracle_confidence", measured(book), confidence={"BTC": 0.4, "ETH": 0.9}, rate=0.5) == pytest.approx([0.5 * 0.6 * 100_000.0, 0.0])


def posted(*lines: tuple[int, str, float, float]) -> Pledged:
    unit, asset, value, counted = zip(*lines, strict=True) if lines else ((),) * 4
    assets = tuple(sorted(set(asset)))
    return Pledged(assets, np.array(unit, np.int64), np.array([assets.index(a) for a in asset], np.int64), np.array(value, np.float64), np.array(value, np.float64), np.array(counted, np.float64))


def test_wrong_way_by_hand():
    """Unit A posts BTC and is long BTC; unit B posts BTC against a short: nothing; a token tied to ETH is wrong-way with long ETH."""
    book = held((0, "BTC", "perpetual", *PERP, 1.0, "USD", 0.0), (0, "ETH", "perpetual", *PERP, 5.0, "USD", 0.0), (1, "BTC", "perpetual", *PERP, -1.0, "USD", 0.0))
    pledged = posted((0, "BTC", 1e5, 1e5), (0, "TOKEN", 5e4, 4e4), (1, "BTC", 1e5, 1e5), (1, "TOKEN", 5e4, 4e4))
    found = amount("wrong_way", measured(book, pledged=pledged), rates={"BTC": 0.1, "TOKEN": 0.5, "NOBODY": 1.0}, tied={"TOKEN": ["ETH"]})
    assert found == pytest.approx([10_000.0 + 20_000.0, 0.0])


def test_depeg_by_hand():
    """Long USDT against short USDC perpetuals of 150,000: tiers of 100,000 at 1 % and the rest at 5 %; posted coins by their shock, grown where the index is off."""
    book = held((0, "BTC", "perpetual", *PERP, 3.0, "USDT", 0.0), (0, "BTC", "perpetual", *PERP, -3.0, "USDC", 0.0), (1, "BTC", "perpetual", *PERP, 3.0, "USDT", 0.0), (1, "ETH", "perpetual", *PERP, -3.0, "USDC", 0.0))
    pledged = posted((0, "USDC", 1e4, 9e3), (1, "USD", 1e6, 1e6))
    keys: dict[str, Any] = {"shocks": {"USDC": 0.1}, "tiers": [[0.0, 0.01], [1e5, 0.05]]}
    assert amount("depeg", measured(book, pledged=pledged), **keys) == pytest.approx([900.0 + 1_000.0 + 2_500.0, 0.0])
    assert amount("depeg", measured(book, pledged=pledged), **keys, index={"USDC": 0.98}) == pytest.approx([3_600.0 + 4.0 * 3_500.0, 0.0])


def test_gap_risk_is_a_floor_over_names():
    module = import_module("upm_gpu.margin.charges.gap_risk")
    p = module.Parameters(jumps={"BTC": [-0.4, 0.3], "ETH": [-0.5, 0.0]}, weight=0.5)
    asked = module.stresses(p)
    assert [s.moves for s in asked.stresses] == [(("BTC", -0.4, 0.3),), (("BTC", 0.3, 0.3),), (("ETH", -0.5, 0.3),)]
    found = replace(measured(held(), core=[100.0, 0.0]), stressed={asked: Stressed(("a", "b", "c"), np.array([[-1_000.0, 500.0, 20.0], [5.0, 6.0, 7.0]]))})
    assert module.charge(found, CORE, 1.0, p).amount.tolist() == [400.0, 0.0]


def test_a_specific_charge_is_dated_and_named():
    entry = {"unit": "A", "amount": 10.0, "share": 0.5, "reason": "thin name", "decided_by": "R. Officer", "begin": datetime.date(2026, 2, 1), "until": datetime.date(2026, 3, 1)}
    module = import_module("upm_gpu.margin.charges.specific")
    p = module.Parameters(entries=[entry, {**entry, "unit": "gone"}])
    for day, want in ((datetime.date(2026, 1, 31), 0.0), (datetime.date(2026, 2, 1), 60.0), (datetime.date(2026, 3, 1), 0.0)):
        found = module.charge(measured(held(), core=100.0, valuation_date=day), CORE, 1.0, p)
        assert found.amount.tolist() == [want, 0.0]
        assert ("R. Officer" in found.reason) == (want > 0.0)


line = st.tuples(st.just(0), st.sampled_from(UNDERLYINGS), st.sampled_from(("perpetual", "future", "option")), st.sampled_from((0.5, 7.0, 40.0)), st.sampled_from((NAN, 4e4, 2.2e3)),
                 st.floats(-100.0, 100.0).filter(lambda q: abs(q) > 1e-3), st.sampled_from(("USD", "USDC", "coin")), st.floats(-500.0, 500.0))
KEYS: dict[str, dict[str, Any]] = {"wrong_way": {"rates": {"BTC": 0.2}}, "oracle_confidence": {"confidence": {"BTC": 0.2}}, "liquidation_cost": {"growth": 0.0}}


def whole(lines: list[tuple]) -> list[tuple]:
    """An option has a strike and vega, others neither."""
    return [(u, n, k, 0.0 if k == "perpetual" else d, (s if s == s else LEVEL[n]) if k == "option" else NAN, q, c, v if k == "option" else 0.0) for u, n, k, d, s, q, c, v in lines]


@pytest.mark.parametrize("name", ON_HOLDINGS)
@settings(max_examples=40, deadline=None)
@given(lines=st.lists(line, min_size=1, max_size=6), data=st.data())
def test_laws_of_charges_on_holdings(name, lines, data):
    """Never negative; a position in two halves costs the same; twice the book twice the amount where there are no tiers or floors; order is nothing."""
    pledged = posted((0, "BTC", 1e5, 1e5), (0, "USDC", 1e5, 9e4))
    keys = KEYS.get(name, {})

    def of(book: list[tuple]) -> float:
        return float(amount(name, measured(held(*book), units=1, pledged=pledged), **keys)[0])

    book = whole(lines)
    one = of(book)
    assert one >= 0.0
    split = [(u, n, k, d, s, q * part, c, v * part) for u, n, k, d, s, q, c, v in book for part in (0.25, 0.75)]
    assert of(split) == pytest.approx(one, rel=1e-9, abs=1e-6)
    assert of(data.draw(st.permutations(book))) == pytest.approx(one, rel=1e-9, abs=1e-6)
    if name not in ("depeg", "wrong_way"):
        assert of([(u, n, k, d, s, 2.0 * q, c, 2.0 * v) for u, n, k, d, s, q, c, v in book]) == pytest.approx(2.0 * one, rel=1e-9, abs=1e-6)


@pytest.mark.parametrize("name", ["liquidation_cost", "basis", "skew", "funding_and_fees", "expiry_day", "oracle_confidence"])
@settings(max_examples=40, deadline=None)
@given(first=st.lists(line, min_size=1, max_size=4), second=st.lists(line, min_size=1, max_size=4))
def test_merged_books_never_need_more(name, first, second):
    """Where the page of the charge promises it (liquidation cost without growth)."""
    def of(book: list[tuple]) -> float:
        return float(amount(name, measured(held(*whole(book)), units=1), **KEYS.get(name, {}))[0])

    assert of(first + second) <= (of(first) + of(second)) * (1.0 + 1e-12) + 1e-6


@pytest.mark.parametrize("name", ["calendar_vega", "liquidation_cost", "depeg"])
def test_where_merged_books_may_need_more(name):
    """The counter-examples that the pages speak of."""
    long, short = (0, "BTC", "option", 30.0, 5e4, 1.0, "USD", 100.0), (0, "BTC", "option", 200.0, 5e4, -1.0, "USD", -100.0)
    keys: dict[str, Any] = {}
    if name == "liquidation_cost":
        long = short = (0, "BTC", "perpetual", *PERP, 10.0, "USD", 0.0)
        keys = {"volume": {"BTC": 1e5}}
    if name == "depeg":
        long, short = (0, "BTC", "perpetual", *PERP, 100.0, "USDT", 0.0), (0, "BTC", "perpetual", *PERP, -100.0, "USDC", 0.0)
    parts = [amount(name, measured(held(x), units=1, pledged=posted()), **keys)[0] for x in (long, short)]
    assert amount(name, measured(held(long, short), units=1, pledged=posted()), **keys)[0] > sum(parts)


def test_no_holdings_no_charge():
    for name in ON_HOLDINGS:
        assert amount(name, measured(held(), pledged=posted()), **KEYS.get(name, {})).tolist() == [0.0, 0.0]


@pytest.mark.parametrize(("name", "keys"), [
    ("liquidation_cost", {"tenor_days": [30.0, 7.0]}), ("liquidation_cost", {"delta_half_spread": [0.1]}), ("liquidation_cost", {"volume": {"BTC": 0.0}}), ("liquidation_cost", {"participation": 0.0}),
    ("depeg", {"tiers": [[0.0, 0.1], [0.0, 0.2]]}), ("depeg", {"tiers": [[5.0, 0.1]]}), ("depeg", {"shocks": {"USDC": 1.5}}), ("gap_risk", {"jumps": {"BTC": [0.1, 0.2]}}), ("gap_risk", {}),
    ("wrong_way", {"rates": {"BTC": 2.0}}), ("oracle_confidence", {"confidence": {"BTC": 1.2}}), ("basis", {"minimum_move": -0.1}), ("calendar_vega", {"step": 1.0}),
    ("specific", {"entries": [{"unit": "A", "reason": "r", "decided_by": "d", "begin": datetime.date(2026, 1, 1), "until": datetime.date(2026, 2, 1)}]}),
    ("specific", {"entries": [{"unit": "A", "amount": 1.0, "reason": "r", "decided_by": "d", "begin": datetime.date(2026, 2, 1), "until": datetime.date(2026, 2, 1)}]}),
])
def test_parameters_that_cannot_be(name, keys):
    with pytest.raises(ValidationError):
        import_module(f"upm_gpu.margin.charges.{name}").Parameters(**keys)
