"""Terms, grid and sums of the rule books: against closed forms by hand and against the book itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from small_book import SPOT, read, write

from upm_gpu.backend import reference
from upm_gpu.errors import InputError
from upm_gpu.formula.black import black_undiscounted
from upm_gpu.rulebook import load_rule_book
from upm_gpu.rulebook.frame.grid import Moves, greeks, local_values, parallel, pnl, reporting_values, unmoved
from upm_gpu.rulebook.frame.held import hold
from upm_gpu.rulebook.frame.result import composed, worst_of

POSITIONS = """account_id,instrument_id,quantity
A,BTC-PERP,7000
A,BTC-FUT,-3
A,BTC-C70,-1
A,BTC-P60,2
A,ETH-C20L,5
B,ETH-PERP,100
B,BTC-LINEAR,0.5
"""
COLLATERAL = "account_id,asset,quantity\nA,BTC,1.5\nB,USD,1000\n"


@pytest.fixture
def held(tmp_path: Path):
    return hold(*read(write(tmp_path / "small", POSITIONS, COLLATERAL)))[0]


def place(held, name: str) -> int:
    return held.terms.instrument_id.index(name)


def test_terms_are_the_market(held):
    t, call, linear = held.terms, place(held, "BTC-C70"), place(held, "ETH-C20L")
    assert (t.strike[call], t.sign[call], t.forward[call], t.index[call], t.inverse[call], t.rate[call]) == (70_000.0, 1.0, 70_200.0, 70_000.0, True, 0.0)
    assert t.days[call] == pytest.approx(21.0 + 23.0 / 24.0, abs=1e-9)
    assert not t.inverse[linear] and t.exchange[linear] == 1.0 and 0.7 < t.volatility[linear] < 0.8
    posted = place(held, "collateral:BTC")
    assert t.collateral[posted] and t.collateral.sum() == 1 and np.isnan(t.years[posted])
    assert t.expiries[0] == ("BTC", None) and len({*t.bucket}) == len(t.expiries)


def test_values_by_hand(held):
    """An inverse option is worth Black76(F m) / (F m) coins at S m; an inverse perpetual gains q (S / F) (m - 1); a coin S (m - 1)."""
    t, m = held.terms, 1.2
    volatility = np.full((t.count, 1), 0.9)
    got = pnl(t, parallel(t, np.array([m]), volatility), reference.values)[:, 0]
    n = place(held, "BTC-C70")
    forward, root = t.forward[n] * m, np.sqrt(t.years[n])
    then = black_undiscounted(forward, t.strike[n], np.log(forward / t.strike[n]), 0.9 * root, 1.0) / forward * SPOT["BTC"] * m
    now = black_undiscounted(t.forward[n], t.strike[n], np.log(t.forward[n] / t.strike[n]), t.volatility[n] * root, 1.0) / t.forward[n] * SPOT["BTC"]
    assert got[n] == pytest.approx(then - now, rel=1e-12)
    assert got[place(held, "BTC-PERP")] == pytest.approx(SPOT["BTC"] / 70_000.0 * 0.2, rel=1e-12)
    assert got[place(held, "collateral:BTC")] == pytest.approx(SPOT["BTC"] * 0.2, rel=1e-12)
    assert got[place(held, "BTC-LINEAR")] == pytest.approx(70_000.0 * 0.2, rel=1e-12)
    assert not pnl(t, unmoved(t), reference.values).any()


def test_decay_and_rates(held):
    """At expiry an option is worth its payoff; a rate discounts what is paid in the quote currency."""
    t, n = held.terms, place(held, "ETH-C20L")
    ones = np.ones((1, 2))
    moves = Moves(ones * 1.1, ones * 1.1, t.volatility[:, None], years=np.broadcast_to(t.years[:, None] * [[0.0, 1.0]], (t.count, 2)), rate=np.broadcast_to([[0.0, 0.5]], (t.count, 2)))
    got = reporting_values(t, moves, local_values(t, moves, reference.values))[n]
    free = Moves(ones * 1.1, ones * 1.1, t.volatility[:, None])
    assert got[0] == pytest.approx(2005.0 * 1.1 - 2000.0, rel=1e-14)
    assert got[1] == pytest.approx(local_values(t, free, reference.values)[n, 0] * np.exp(-0.5 * t.years[n]), rel=1e-12)


def test_greeks_are_derivatives_of_the_grid(held):
    """Delta is the change of value a coin's move of the index, forwards moving with it; vega the change a point."""
    t, found = held.terms, greeks(held.terms, reference.values)
    bump = 1e-5
    up, down = (pnl(t, parallel(t, np.array([1.0 + s * bump]), t.volatility[:, None]), reference.values)[:, 0] for s in (1.0, -1.0))
    slope = (up - down) / (2.0 * bump * t.index)
    linear = np.where(t.inverse, 1.0, t.forward / t.index)  # a linear future moves by its own price
    np.testing.assert_allclose(slope, found["delta"] * linear, rtol=2e-9, atol=1e-9)
    up, down = (pnl(t, Moves(np.ones((1, 1)), np.ones((1, 1)), t.volatility[:, None] + s * bump), reference.values)[:, 0] for s in (1.0, -1.0))
    np.testing.assert_allclose((up - down) / (2.0 * bump), found["vega"], rtol=2e-8, atol=1e-6)


def test_sums_by_unit_expiry_and_underlying(held):
    t = held.terms
    amount = np.random.default_rng(1).normal(size=(t.count, 3))
    dense = np.zeros((len(held.units), t.count))
    dense[held.unit, held.instrument] = held.quantity
    np.testing.assert_allclose(held.totals(amount), dense @ amount, rtol=1e-13)
    groups = held.grouped(t.bucket)
    np.testing.assert_allclose(groups.by_unit(groups.totals(amount)), dense @ amount, rtol=1e-13)
    for g, (unit, label) in enumerate(zip(groups.unit, groups.label, strict=True)):
        np.testing.assert_allclose(groups.totals(amount)[g], dense[unit] * (t.bucket == label) @ amount, rtol=1e-13)
        np.testing.assert_allclose(groups.absolute(np.abs(amount[:, 0]))[g], np.abs(dense[unit]) * (t.bucket == label) @ np.abs(amount[:, 0]), rtol=1e-13)
    of_expiry = np.array([t.underlyings.index(u) for u, _ in t.expiries])
    unit, label, coarser = groups.regrouped(of_expiry)
    np.testing.assert_allclose(coarser @ groups.totals(amount), [dense[u] * (t.underlying == e) @ amount for u, e in zip(unit, label, strict=True)], rtol=1e-13)
    options = held.grouped(t.bucket, t.sign != 0.0)
    np.testing.assert_allclose(options.by_unit(options.totals(amount)), dense * (t.sign != 0.0) @ amount, rtol=1e-13)


def test_the_worst_scenario_has_one_name():
    """Among equals the name that comes first, in whatever order scenarios stand."""
    loss, place = worst_of(np.array([[1.0, -3.0, -3.0], [2.0, 1.0, 0.5]]), ("c", "b", "a"))
    assert loss.tolist() == [3.0, 0.0] and place.tolist() == [2, 2]
    with pytest.raises(AssertionError, match="charge bad of A"):
        composed(("A",), {"bad": np.array([-1.0])}, np.zeros(1), ("",))


def test_a_rule_book_that_does_not_exist(tmp_path: Path):
    file = tmp_path / "m.toml"
    file.write_text('schema_version = 1\nname = "x"\nversion = "1"\neffective_date = 2026-01-01\nrule_book = "nobody"\n')
    with pytest.raises(InputError, match=r"UPM-CF-120 m.toml line 5 key rule_book: rule book 'nobody' does not exist"):
        load_rule_book(file)
