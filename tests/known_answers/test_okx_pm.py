"""OKX's portfolio margin: the published examples to the last digit, every part by hand, refusals."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from venue_accounts import book

from upm_gpu.backend import reference
from upm_gpu.errors import InputError
from upm_gpu.formula.black import black_undiscounted
from upm_gpu.rulebook import load_rule_book, okx_pm
from upm_gpu.rulebook.frame.held import Held
from upm_gpu.rulebook.frame.terms import FUTURE, OPTION, PERPETUAL, SPOT
from upm_gpu.rulebook.okx.parameters import Parameters, depeg_row, tiered

FILE = "configs/methodology/okx_pm_v2025.toml"
LAW: Parameters = load_rule_book(FILE).parameters
BEFORE: Parameters = load_rule_book("configs/methodology/okx_pm_v2024.toml").parameters
S = 60_000.0
CALL = {"kind": OPTION, "sign": 1.0, "strike": 66_000.0, "years": 30.0 / 365.0, "volatility": 0.6}


def parts(*rows: dict[str, Any], law: Parameters = LAW, **given: Any) -> dict[str, float]:
    """MR1 to MR9 of one account in linear contracts."""
    found = okx_pm.risk_parts(book("BTC", S, list(rows), inverse=False, **given), law, reference.values)[1]
    return {f.name: float(getattr(found, f.name)[0]) for f in fields(found)}


def margin(*rows: dict[str, Any], law: Parameters = LAW, **given: Any) -> Any:
    held: Held = book("BTC", S, list(rows), inverse=False, **given)
    return okx_pm.margin(held, law, reference.values)


def of(**amounts: float) -> okx_pm.Parts:
    """A risk unit whose parts are given."""
    return okx_pm.Parts(**{f.name: np.array([amounts.get(f.name, 0.0)]) for f in fields(okx_pm.Parts)})


def test_published_minimum_charge() -> None:
    """Raw 30,000 is 10,000 once and 20,000 twice: 50,000, above the 40,000 of the market."""
    group = BEFORE.groups[0]
    least = tiered(np.array([30_000.0]), group.tiers_from, group.tier_multipliers)[0]
    assert least == 50_000.0
    assert of(spot_shock=40_000.0, minimum_charge=least).requirement[0] == 50_000.0


def test_published_composition() -> None:
    """Spot against a perpetual: MR4 decides, 8,053.32; before the change of 2024 MR4 was 0 and MR7 decided, 3,020.87."""
    assert of(basis=8053.32, minimum_charge=3020.17).requirement[0] == 8053.32
    assert of(minimum_charge=3020.87).requirement[0] == 3020.87


def test_published_depeg() -> None:
    """10 million hedged across stablecoins: 7,500 + 70,000 + 125,000 = 202,500, as a table and through a book: long in USDT, short in coins."""
    assert [tiered(np.array([x]), LAW.depeg.tiers_from, depeg_row(0.98, LAW.depeg))[0] for x in (1e6, 5e6, 1e7)] == [7500.0, 77_500.0, 202_500.0]
    size = 1e7 / S
    rows = ({"kind": PERPETUAL, "quantity": size, "quote": "USDT"}, {"kind": PERPETUAL, "quantity": -1e7, "inverse": True})
    found = parts(*rows, spots={"USDT": 0.985})
    assert found["depeg"] == pytest.approx(202_500.0, rel=1e-12) and found["spot_shock"] == pytest.approx(0.0, abs=1e-6)
    assert parts(*rows)["depeg"] == pytest.approx(5000.0 + 40_000.0 + 75_000.0, rel=1e-12)  # at par


def test_order_of_hedges_between_dollars() -> None:
    """USDT first against USD, then against USDC, then USDC against USD; the same side hedges nothing."""
    def charge(usdt: float, usdc: float, usd: float) -> float:
        return parts(*({"kind": PERPETUAL, "quantity": q / S, "quote": n} for n, q in (("USDT", usdt), ("USDC", usdc), ("USD", usd)) if q), spots={"USDT": 0.985, "USDC": 1.0})["depeg"]

    low, par = (lambda x: 0.0075 * x), (lambda x: 0.005 * x)
    assert charge(5e5, -2e5, -2e5) == pytest.approx(low(2e5) + low(2e5), rel=1e-12)
    assert charge(1e5, 4e5, -4e5) == pytest.approx(low(1e5) + par(3e5), rel=1e-12)  # what is matched is gone on both sides
    assert charge(1e5, 3e5, 2e5) == 0.0


def call(forward: float, volatility: float, years: float = CALL["years"]) -> float:
    if years == 0.0:
        return max(forward - 66_000.0, 0.0)
    return float(black_undiscounted(forward, 66_000.0, np.log(forward / 66_000.0), volatility * np.sqrt(years), 1.0))


def test_spot_shock_and_extreme_move_by_hand() -> None:
    """At 30 days volatilities move by 25 points or 35 %: 85 and 81 points up, 35 and 39 down."""
    short = parts(CALL | {"quantity": -2.0})
    assert short["spot_shock"] == pytest.approx(2.0 * (call(1.12 * S, 0.85) - call(S, 0.6)), rel=1e-10)
    assert short["extreme_move"] == pytest.approx(0.5 * 2.0 * (call(1.24 * S, 0.6) - call(S, 0.6)), rel=1e-10)
    long = parts(CALL | {"quantity": 2.0})
    assert long["spot_shock"] == pytest.approx(2.0 * (call(S, 0.6) - call(0.88 * S, 0.35)), rel=1e-10)
    assert parts({"kind": PERPETUAL, "quantity": 1.0}, law=BEFORE)["spot_shock"] == pytest.approx(0.15 * S, rel=1e-12)
    assert parts({"kind": PERPETUAL, "quantity": -1.0})["extreme_move"] == pytest.approx(0.12 * S, rel=1e-12)


def test_decay_term_structure_and_rates_by_hand() -> None:
    """A day less; 5 points less at 90 days against 10 more at 0; forward and discount moving with the rate. Futures have none of them."""
    found = parts(CALL | {"quantity": 3.0})
    assert found["time_decay"] == pytest.approx(3.0 * (call(S, 0.6) - call(S, 0.6, 29.0 / 365.0)), rel=1e-9)
    assert parts(CALL | {"quantity": -3.0})["time_decay"] == 0.0
    assert parts(CALL | {"quantity": 3.0, "years": 0.5 / 365.0, "forward": 67_000.0})["time_decay"] == pytest.approx(3.0 * (call(67_000.0, 0.6, 0.5 / 365.0) - 1000.0), rel=1e-8)
    far = CALL | {"quantity": 3.0, "years": 90.0 / 365.0}
    assert found["vega_term_structure"] == 0.0  # the pivot
    assert parts(far)["vega_term_structure"] == pytest.approx(3.0 * (call(S, 0.6, 90.0 / 365.0) - call(S, 0.55, 90.0 / 365.0)), rel=1e-9)
    near = CALL | {"quantity": -10.0, "years": 10.0 / 365.0}
    both = 10.0 * (call(S, 0.6 + 0.1 * 2.0 / 3.0, 10.0 / 365.0) - call(S, 0.6, 10.0 / 365.0)) + 3.0 * (call(S, 0.6, 90.0 / 365.0) - call(S, 0.55, 90.0 / 365.0))
    assert parts(near, far)["vega_term_structure"] == pytest.approx(both, rel=1e-9)
    t, x = 90.0 / 365.0, 0.05
    assert parts(far)["interest_rate"] == pytest.approx(3.0 * (call(S, 0.6, t) - np.exp(x * t) * call(S * np.exp(-x * t), 0.6, t)), rel=1e-9)
    future = parts({"kind": FUTURE, "quantity": 1.0, "years": 1.0})
    assert future["time_decay"] == future["vega_term_structure"] == future["interest_rate"] == 0.0


def test_basis_and_minimum_by_hand() -> None:
    """A year out e^0.05 - 1, perpetuals 0.8 %, expiries do not net; 0.3 % of gross futures and of short options."""
    year, perpetual = {"kind": FUTURE, "quantity": -1.0, "years": 1.0}, {"kind": PERPETUAL, "quantity": 1.0}
    assert parts(year, perpetual)["basis"] == pytest.approx((np.expm1(0.05) + 0.008) * S, rel=1e-12)
    assert parts(year, perpetual, CALL | {"quantity": -4.0}, CALL | {"quantity": 4.0, "strike": 70_000.0})["minimum_charge"] == pytest.approx(0.003 * 6.0 * S, rel=1e-12)
    # 250,000 once, the next 250,000 twice: 450 coins short are a raw charge of 81,000; 1,500 of 270,000
    assert parts(perpetual | {"quantity": -1500.0})["minimum_charge"] == pytest.approx(250_000.0 + 2.0 * 20_000.0, rel=1e-12)


def test_spot_in_use_borrowing_and_initial_factor() -> None:
    """A coin counts as far as it cancels the derivatives; owed coins cost their rate; initial is 1.3 times the derivatives' maintenance."""
    coin, short = {"kind": SPOT, "quantity": 3.0}, {"kind": PERPETUAL, "quantity": -2.0}
    assert parts(coin)["spot_shock"] == 0.0
    assert parts(coin, short)["spot_shock"] == pytest.approx(0.0, abs=1e-9) and parts(coin, short | {"quantity": 2.0})["spot_shock"] == pytest.approx(0.12 * 2.0 * S)
    assert parts(coin, short | {"quantity": -5.0})["spot_shock"] == pytest.approx(0.12 * 2.0 * S, rel=1e-12)
    found = margin(short)
    assert found.maintenance[0] == pytest.approx((0.12 + 0.008) * 2.0 * S, rel=1e-12) and found.initial[0] == pytest.approx(1.3 * found.maintenance[0], rel=1e-12)
    assert found.worst == ("BTC spot +12 %, volatility points down",)
    owed = margin({"kind": SPOT, "quantity": -1.0})
    assert (owed.maintenance[0], owed.initial[0]) == (pytest.approx(0.03 * S), pytest.approx(0.1 * S))
    flat = margin(short, short | {"quantity": 2.0})
    assert flat.worst == ("BTC minimum charge",) and flat.maintenance[0] == pytest.approx(0.003 * 4.0 * S, rel=1e-12)


def test_refusals(tmp_path: Path) -> None:
    """Overlapping tiers, rates that fall, two groups for others, days that do not ascend, a misspelt key: each with its place."""
    text = Path(FILE).read_text()
    for find, put, said in (("[0.0, 250_000.0,", "[0.0, 0.0,", "do not overlap"), ("[1.0, 2.0,", "[3.0, 2.0,", "none below the one before"), ('["BTC", "ETH"]', "[]", "exactly one group"),
                            ("days = 90.0", "days = 3.0", "do not ascend"), ("price_moves = [0.04,", "price_moves = [0.14,", "not ascending"), ('"SOL", ', '"BTC", ', "two groups"),
                            ("initial = 0.10", "initial = 0.01", "initial rate"), ("decay_hours", "decay_hour", "decay_hours")):
        broken = tmp_path / "broken.toml"
        broken.write_text(text.replace(find, put, 1))
        with pytest.raises(InputError, match=said):
            load_rule_book(broken)
