"""Bybit's portfolio margin by hand: grid, every contingency, matching of expiries, borrowing, refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from venue_accounts import book

from upm_gpu.backend import reference
from upm_gpu.errors import InputError
from upm_gpu.formula.black import black_undiscounted
from upm_gpu.rulebook import bybit_pm, load_rule_book
from upm_gpu.rulebook.bybit_pm import Parameters
from upm_gpu.rulebook.frame.matching import spread_cost
from upm_gpu.rulebook.frame.terms import FUTURE, OPTION, PERPETUAL, SPOT

FILE = "configs/methodology/bybit_pm_v2025.toml"
LAW: Parameters = load_rule_book(FILE).parameters
S, FACTOR = 60_000.0, 1.25
CALL = {"kind": OPTION, "sign": 1.0, "strike": 66_000.0, "years": 30.0 / 365.0, "volatility": 0.6}


def margin(*rows: dict[str, Any], law: Parameters = LAW) -> Any:
    return bybit_pm.margin(book("BTC", S, list(rows), inverse=False), law, reference.values)


def charge(name: str, *rows: dict[str, Any], law: Parameters = LAW) -> float:
    """Before the factor of the initial margin."""
    return float(margin(*rows, law=law).charges[name][0]) / FACTOR


def test_published_ranges() -> None:
    """15 % before 10 January 2025, 10 % since."""
    before = load_rule_book("configs/methodology/bybit_pm_v2024.toml").parameters
    for law, most in ((before, 0.15), (LAW, 0.10)):
        assert (min(s.spot for s in law.scenarios), max(s.spot for s in law.scenarios)) == (-most, most)
        assert len(law.scenarios) == 3 * (2 * round(most / 0.05) + 1)
    assert charge("worst_loss", {"kind": PERPETUAL, "quantity": 2.0}, law=before) == pytest.approx(0.15 * 2.0 * S, rel=1e-12)


def test_short_call_by_hand() -> None:
    """Worst at +10 % and volatilities up by 30 %; half a percent of the index for the net short call, which a long put does not cover and a long call does."""
    def value(forward: float, volatility: float) -> float:
        return float(black_undiscounted(forward, 66_000.0, np.log(forward / 66_000.0), volatility * np.sqrt(CALL["years"]), 1.0))

    short = CALL | {"quantity": -2.0}
    loss = 2.0 * (value(1.1 * S, 0.78) - value(S, 0.6))
    found = margin(short)
    assert found.charges["worst_loss"][0] == pytest.approx(FACTOR * loss, rel=1e-10) and found.worst == ("BTC spot +10 %, volatility up",)
    assert found.maintenance[0] == pytest.approx(loss + 0.005 * 2.0 * S, rel=1e-10) and found.initial[0] == pytest.approx(FACTOR * found.maintenance[0], rel=1e-12)
    assert charge("net_short_options", short, CALL | {"sign": -1.0, "quantity": 5.0}) == pytest.approx(0.01 * S, rel=1e-12)
    assert charge("net_short_options", short, CALL | {"strike": 70_000.0, "quantity": 1.5}) == pytest.approx(0.0025 * S, rel=1e-12)


def test_spreads_by_hand() -> None:
    """Vega hedged over 60 days costs 1.8 points of it; delta hedged over a year 45 %; a perpetual against a future; the same side and the same expiry nothing."""
    near, far = CALL | {"quantity": -2.0}, CALL | {"quantity": 1.0, "years": 90.0 / 365.0}
    s = 0.6 * np.sqrt(90.0 / 365.0)
    d1 = np.log(S / 66_000.0) / s + 0.5 * s
    vega_far = S * np.exp(-0.5 * d1 * d1) / np.sqrt(2.0 * np.pi) * np.sqrt(90.0 / 365.0)
    s = 0.6 * np.sqrt(30.0 / 365.0)
    d1 = np.log(S / 66_000.0) / s + 0.5 * s
    vega_near = 2.0 * S * np.exp(-0.5 * d1 * d1) / np.sqrt(2.0 * np.pi) * np.sqrt(30.0 / 365.0)
    assert charge("vega_spread", near, far) == pytest.approx(0.0003 * 60.0 * min(vega_near, vega_far), rel=1e-9)
    assert charge("vega_spread", near | {"quantity": 2.0}, far) == charge("vega_spread", near, CALL | {"quantity": 1.0, "strike": 70_000.0}) == 0.0
    year, perpetual = {"kind": FUTURE, "quantity": -3.0, "years": 1.0}, {"kind": PERPETUAL, "quantity": 1.0}
    assert charge("delta_spread", year, perpetual) == pytest.approx(0.45 * S, rel=1e-12)
    assert charge("delta_spread", year | {"years": 0.25 / 365.0}, perpetual) == pytest.approx(0.45 / 365.0 * S, rel=1e-12)
    assert charge("delta_spread", year, perpetual | {"quantity": -1.0}) == 0.0
    assert charge("futures", year, perpetual) == pytest.approx(0.005 * 4.0 * S, rel=1e-12)


def test_matching_nearest_expiry_first() -> None:
    """Of 3 near, -2 in the middle, 4 at 60 and -4 at 90 days: 2 over 30 days, 4 over 30 days, 1 long is left; written out for a longer chain too."""
    days = np.array([0.0, 30.0, 60.0, 90.0])
    assert spread_cost(np.array([[3.0, -2.0, 4.0, -4.0], [1.0, 1.0, 1.0, -3.0], [1.0, 0.0, 0.0, 0.0]]), days).tolist() == [180.0, 30.0 + 60.0 + 90.0, 0.0]
    assert spread_cost(np.array([[1.0, -1.0]]), np.array([0.0, 0.2]), 1.0).tolist() == [1.0]
    rows = np.random.default_rng(1).normal(size=(50, 4))
    np.testing.assert_allclose(spread_cost(-rows, days), spread_cost(rows, days), rtol=1e-14)
    assert (np.abs(spread_cost(rows + 1e-9, days) - spread_cost(rows, days)) < 4.0 * 90.0 * 4e-9).all()


def test_dollars_coins_and_borrowing() -> None:
    """Two coins in USDT against 1.5 in USDC and coins: 1.5 hedged at half a percent; spot hedging takes posted coins; what is owed costs its rate."""
    rows = ({"kind": PERPETUAL, "quantity": 2.0, "quote": "USDT"}, {"kind": PERPETUAL, "quantity": -1.0, "quote": "USDC"}, {"kind": PERPETUAL, "quantity": -0.5 * S, "inverse": True})
    assert charge("dollar_spread", *rows) == pytest.approx(0.005 * 1.5 * S, rel=1e-12)
    coin, short = {"kind": SPOT, "quantity": 1.0}, {"kind": PERPETUAL, "quantity": -1.0}
    hedging = LAW.model_copy(update={"moving_collateral": ["BTC"]})
    assert charge("worst_loss", coin, short) == pytest.approx(0.1 * S, rel=1e-12) and charge("worst_loss", coin, short, law=hedging) == pytest.approx(0.0, abs=1e-9)
    owed = margin({"kind": SPOT, "quantity": -1.0})
    assert (owed.maintenance[0], owed.initial[0]) == (pytest.approx(0.04 * S), pytest.approx(0.1 * S))


def test_refusals(tmp_path: Path) -> None:
    text = Path(FILE).read_text()
    for find, put, said in (("initial = 0.10", "initial = 0.01", "initial rate"), ('spot = 0.1, volatility = "up"', 'spot = 0.1, volatility = "down"', "given twice"),
                            ("futures = 0.005", "futures = 5.0", "futures"), ("net_short_options", "net_short_option", "net_short_options")):
        broken = tmp_path / "broken.toml"
        broken.write_text(text.replace(find, put, 1))
        with pytest.raises(InputError, match=said):
            load_rule_book(broken)
