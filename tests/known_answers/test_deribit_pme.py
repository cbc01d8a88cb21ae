"""Deribit's portfolio margin against its published answers, against recomputed grids, and by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from venue_accounts import accounts, amounts, book, everything

from upm_gpu.backend import cpu, reference
from upm_gpu.errors import InputError
from upm_gpu.rulebook import deribit_pme, load_rule_book
from upm_gpu.rulebook.deribit_pme import Orders, Parameters
from upm_gpu.rulebook.frame.grid import local_values, unmoved
from upm_gpu.rulebook.frame.held import Held
from upm_gpu.rulebook.frame.terms import FUTURE, OPTION, PERPETUAL
from upm_gpu.rulebook.frame.volatility import directions, shocked

PUBLISHED = json.loads((Path(__file__).parent / "reference" / "deribit_pme.json").read_text())
GRIDS = {c["id"]: c for c in PUBLISHED["grids"]}
FILE = {"BTC": "deribit_spm_v2024", "ETH": "deribit_xpm_v2026"}
BACKENDS = [pytest.param(reference.values, id="reference"), pytest.param(cpu.values, id="cpu", marks=pytest.mark.skipif(not cpu.available()[0], reason="no compiled engine"))]


def shipped(name: str) -> Parameters:
    return load_rule_book(f"configs/methodology/{name}.toml").parameters


def of_case(case: dict[str, Any], only: str | None = None) -> Held:
    """The positions of a published answer: sizes in coins at the mark."""
    now, rows = datetime.fromtimestamp(case["timestamp_ms"] / 1000.0, UTC), []
    for p in case["positions"]:
        if only in (None, p["name"]):
            row = {"kind": PERPETUAL, "forward": p["mark"], "quantity": p["coins"] * p["mark"]}
            if p["expiry"]:
                row |= {"kind": FUTURE, "years": (datetime.fromisoformat(p["expiry"]) - now).total_seconds() / 31_536_000.0}
            rows.append(row)
    return book(case["currency"], case["index"], rows)


@pytest.mark.parametrize("values", BACKENDS)
@pytest.mark.parametrize("case", PUBLISHED["cases"], ids=lambda c: c["id"])
def test_published_answers(case: dict[str, Any], values: Any) -> None:
    """Risk vectors of every position, aggregated vectors, worst case, shocks and both margins, in coins: to 1e-12, totals to 1e-9 as the venue rounds them."""
    law, index = shipped(FILE[case["currency"]]), case["index"]
    for p in case["positions"]:
        got = deribit_pme.risk_vectors(of_case(case, p["name"]), law, values)
        np.testing.assert_allclose(got.matrix[0] / index, np.repeat(case["matrix"][p["name"]], 3), rtol=0.0, atol=1e-15)
        np.testing.assert_allclose(got.extended[0] / index, case["extended"][p["name"]], rtol=0.0, atol=1e-15)
    held = of_case(case)
    counted = deribit_pme.counted(deribit_pme.risk_vectors(held, law, values), held.terms, law)[0] / index
    np.testing.assert_allclose(counted, [*np.repeat(case["aggregated"], 3), *case["aggregated_extended"]], rtol=0.0, atol=1e-15)
    other = {k: case["other_margin"][f"{k}_margin"] * index for k in ("mmp", "open_orders", "spot")}
    found = deribit_pme.margin(held, law, values, Orders({"A": other["open_orders"]}, {"A": other["mmp"]}, {"A": other["spot"]}))
    coins = {k: float(v[0]) / index for k, v in found.charges.items()}
    assert coins["worst_case"] == pytest.approx(case["worst_case"], abs=1e-12)
    assert coins["roll_shock"] == pytest.approx(case["roll_shock"], abs=1e-12)
    assert coins["delta_shock"] == case["delta_shock"] == coins["correlation_contingency"]
    assert sum(coins[k] for k in ("worst_case", "roll_shock", "delta_shock")) == pytest.approx(case["risk_matrix_margin"], abs=1e-9)
    assert found.initial[0] / index == pytest.approx(case["initial"], abs=1e-9)
    assert found.maintenance[0] / index == pytest.approx(case["maintenance"], abs=1e-9)
    side = "-" if case["worst_bucket"] == 1 else "+"
    assert found.worst[0].startswith(f"{case['currency']} spot {side}1")


def test_reference_perpetual_and_parameters() -> None:
    """The inverse scenario P&L X m / (1 + m), and the numbers of the documented file."""
    case = GRIDS["D10-001"]
    held = book("BTC", 65_666.19, [{"kind": PERPETUAL, "forward": 65_910.57, "quantity": case["inputs"]["coin_equivalent_position"] * 65_910.57}])
    law = shipped("deribit_spm_v2024")
    got = deribit_pme.risk_vectors(held, law, reference.values).matrix[0] / 65_666.19
    np.testing.assert_allclose(got[::3][:6], case["expected"]["pnl_coin"], rtol=0.0, atol=1e-15)
    expected, pair = GRIDS["D10-002"]["expected"], law.pairs["BTC"]
    assert (pair.price_range, law.buckets_per_side, law.maintenance_factor, pair.max_delta_shock) == tuple(expected[k] for k in ("price_range", "buckets_each_side", "mm_factor", "max_delta_shock"))
    assert (pair.volatility.range_up, pair.volatility.range_down, pair.volatility.minimum_up) == tuple(expected[k] for k in ("volatility_range_up", "volatility_range_down", "min_volatility_for_shock_up"))
    assert (law.currencies["BTC"].extended_dampener, law.currencies["USD"].extended_dampener) == (expected["extended_dampener_btc"], expected["extended_dampener_usd"])
    assert law.extended_moves == expected["extended_price_moves"] and pair.delta_threshold == expected["delta_total_liq_shock_threshold"]
    np.testing.assert_allclose([pair.price_range * k / 4 for k in range(-4, 5)], expected["price_moves"], rtol=1e-15)


@pytest.mark.parametrize("number", range(3, 9))
def test_reference_volatility_shocks(number: int) -> None:
    case = GRIDS[f"D10-{number:03d}"]
    x, law = case["inputs"], shipped("deribit_spm_v2024").pairs["BTC"].volatility
    got = shocked(np.array([x["implied_vol"]]), np.array([float(x["days_to_expiry"])]), directions(["up", "down"]), law)[0]
    np.testing.assert_allclose(got, [case["expected"]["vol_up"], case["expected"]["vol_down"]], rtol=1e-10)


@pytest.mark.parametrize("values", BACKENDS)
@pytest.mark.parametrize("number", [9, 10, 11])
def test_reference_inverse_option_grids(number: int, values: Any) -> None:
    """All 27 P&L in coins, and the worst, which is the margin where the extended table does not bind."""
    case = GRIDS[f"D10-{number:03d}"]
    x, law = case["inputs"], shipped("deribit_spm_v2024")
    held = book("BTC", x["forward_usd"], [{"kind": OPTION, "forward": x["forward_usd"], "strike": x["strike_usd"], "sign": 1.0 if x["option_type"] == "call" else -1.0,
                                            "years": x["days_to_expiry"] / x["year_days"], "volatility": x["implied_vol"], "quantity": x["quantity"]}])
    vectors = deribit_pme.risk_vectors(held, law, values)
    np.testing.assert_allclose(vectors.matrix[0].reshape(9, 3) / x["forward_usd"], case["expected"]["pnl_coin_grid"], rtol=0.0, atol=1e-10)
    assert deribit_pme.worst_case(vectors, held, law)[0][0] / x["forward_usd"] == pytest.approx(-case["expected"]["worst_case_coin"], abs=1e-10)


def test_extended_table_by_hand() -> None:
    """A linear and an inverse future count in every far move exactly what they count at the edge; 500 short far calls lose there what no bucket shows, less the dampener."""
    law = shipped("deribit_spm_v2024")
    for inverse in (True, False):
        held = book("BTC", 60_000.0, [{"kind": PERPETUAL, "quantity": 60_000.0 if inverse else 1.0}], inverse)
        got = deribit_pme.risk_vectors(held, law, reference.values)
        edge = [got.matrix[0, 0]] * 2 + [got.matrix[0, -1]] * 6
        np.testing.assert_allclose(got.extended[0], edge, rtol=1e-13)
    calls = book("BTC", 60_000.0, [{"kind": OPTION, "sign": 1.0, "strike": 120_000.0, "years": 7.0 / 365.0, "volatility": 0.7, "quantity": -500.0}])
    moved = deribit_pme.moves(calls.terms, law)
    coin = (local_values(calls.terms, moved, reference.values) - local_values(calls.terms, unmoved(calls.terms), reference.values))[0] * -500.0 * 60_000.0
    plain = deribit_pme.worst_case(replace(deribit_pme.risk_vectors(calls, law, reference.values), extended=np.zeros((1, 8))), calls, law)[0][0]
    up = np.array(law.extended_moves[2:])
    lost, let_off = coin[29:] * 0.16 / up * (1.0 + up) / 1.16, (up / 0.16 - 1.0) * 100_000.0 / 1.16
    found = deribit_pme.margin(calls, law, reference.values)
    assert found.charges["worst_case"][0] == pytest.approx(-np.min(lost + let_off), rel=1e-12) and found.charges["worst_case"][0] > 2.0 * plain > 0.0
    assert found.worst[0] == f"BTC extended spot {100.0 * up[np.argmin(lost + let_off)]:+.4g} %"
    # each of two halves is let off the dampener, the whole only once: merging may need more
    double = deribit_pme.margin(replace(calls, quantity=calls.quantity * 2.0), law, reference.values).charges["worst_case"][0]
    assert double == pytest.approx(-np.min(2.0 * lost + let_off), rel=1e-12) and double > 2.0 * found.charges["worst_case"][0]


def test_delta_shock_by_hand() -> None:
    """2,000 coins short: (2,000 - 333.3) x 5e-5 = 8.33 % of them; long calls reduce the delta, long puts do not raise it; 10 % is the most."""
    law = shipped("deribit_spm_v2024")
    perpetual = {"kind": PERPETUAL, "quantity": -2000.0 * 60_000.0}
    option = {"kind": OPTION, "strike": 60_000.0, "years": 30.0 / 365.0, "volatility": 0.6}

    def shock(*rows: dict[str, Any]) -> float:
        return float(deribit_pme.margin(book("BTC", 60_000.0, list(rows)), law, reference.values).charges["delta_shock"][0])

    rate = (2000.0 - 20e6 / 60_000.0) * 5e-5
    assert shock(perpetual) == pytest.approx(rate * 2000.0 * 60_000.0, rel=1e-12)
    assert shock(perpetual, option | {"sign": -1.0, "quantity": 500.0}) == pytest.approx(shock(perpetual), rel=1e-12)
    assert 0.0 < shock(perpetual, option | {"sign": 1.0, "quantity": 500.0}) < 0.9 * shock(perpetual)
    assert shock(perpetual, option | {"sign": 1.0, "quantity": 50_000.0}) == 0.0
    assert shock(perpetual | {"quantity": -1e4 * 60_000.0}) == pytest.approx(0.1 * 1e4 * 60_000.0, rel=1e-12)


def test_roll_shock_by_hand() -> None:
    """A year out 7.5 % a year is e^0.075 - 1; legs of different expiry do not net, legs of the same do."""
    law = shipped("deribit_spm_v2024")
    dated = {"kind": FUTURE, "years": 1.0, "quantity": -60_000.0}

    def roll(*rows: dict[str, Any]) -> float:
        return float(deribit_pme.margin(book("BTC", 60_000.0, list(rows)), law, reference.values).charges["roll_shock"][0])

    assert roll(dated) == pytest.approx(np.expm1(0.075) * 60_000.0, rel=1e-12)
    assert roll(dated, {"kind": PERPETUAL, "quantity": 60_000.0}) == pytest.approx((np.expm1(0.075) + 0.01) * 60_000.0, rel=1e-12)
    assert roll(dated, dated | {"quantity": 60_000.0}) == 0.0


def test_segregated_cross_and_offsets(tmp_path: Path) -> None:
    """A linear long against an inverse short: apart their worst losses add; together a gain counts 40 or 60 % of itself against the other's loss."""
    one = everything(tmp_path)
    held = accounts(one, amounts(BTC_LINEAR=1.0, BTC_PERP=-1.0))
    cross, apart = shipped("deribit_xpm_v2026"), shipped("deribit_spm_v2026")
    loss, gain = 0.16 * 70_000.0, 0.16 / 0.84 * 70_000.0
    up_loss = 0.16 / 1.16 * 70_000.0
    assert deribit_pme.margin(held, apart, reference.values).charges["worst_case"][0] == pytest.approx(loss + up_loss, rel=1e-12)
    assert deribit_pme.margin(held, cross, reference.values).charges["worst_case"][0] == pytest.approx(max(loss - 0.6 * gain, up_loss - 0.4 * loss), rel=1e-12)
    tight = cross.model_copy(update={"currencies": {k: c.model_copy(update={"max_offsetable_pnl": 1000.0}) for k, c in cross.currencies.items()}})
    assert deribit_pme.margin(held, tight, reference.values).charges["worst_case"][0] == pytest.approx(loss - 1000.0, rel=1e-12)


def test_correlation_set(tmp_path: Path) -> None:
    """BTC long and ETH short in the set: added bucket by bucket, and the contingency charges its share of what that saves; out of the set worst losses add."""
    held = accounts(everything(tmp_path), amounts(BTC_PERP=0.1, ETH_PERP=-3.0))
    plain = shipped("deribit_xpm_v2026")
    joined = plain.model_copy(update={"correlation_contingency": 0.3, "pairs": {k: p.model_copy(update={"correlation_set": True}) for k, p in plain.pairs.items()}})
    btc = np.array([0.16 * k / 4 / (1 + 0.16 * k / 4) for k in range(-4, 5)]) * 7000.0
    eth = -np.array([0.18 * k / 4 / (1 + 0.18 * k / 4) for k in range(-4, 5)]) * 6000.0
    kept = [np.where(v > 0.0, 0.6 * v, v) for v in (btc, eth)]
    apart, together = -kept[0].min() - kept[1].min(), -(kept[0] + kept[1]).min()
    assert deribit_pme.margin(held, plain, reference.values).charges["worst_case"][0] == pytest.approx(apart, rel=1e-12)
    found = deribit_pme.margin(held, joined, reference.values)
    assert found.charges["worst_case"][0] == pytest.approx(together, rel=1e-12)
    assert found.charges["correlation_contingency"][0] == pytest.approx(0.3 * (apart - together), rel=1e-12)
    assert found.worst == ("correlation set bucket -4 of 4, volatility down",)


def test_refusals(tmp_path: Path) -> None:
    one, law = everything(tmp_path), shipped("deribit_xpm_v2026")
    held = accounts(one, amounts(ETH_PERP=1.0, coin=1.0))
    with pytest.raises(InputError, match=r"UPM-CF-140 deribit_xpm 2026 has no terms of the held underlying BTC"):
        deribit_pme.margin(held, law.model_copy(update={"pairs": {"ETH": law.pairs["ETH"]}}), reference.values)
    with pytest.raises(InputError, match=r"UPM-CF-122 deribit_xpm 2026: no haircut of BTC"):
        deribit_pme.margin(held, law.model_copy(update={"haircuts": {}}), reference.values)
    text = Path("configs/methodology/deribit_xpm_v2026.toml").read_text()
    for find, put, said in (("extended_moves = [-0.66,", "extended_moves = [-1.5,", "extended_moves"), ("USDT = 0.05", "USDT = 1.05", "give 0 to 1"),
                            ("price_range = 0.16", "price_range = 1.6", "price_range"), ("[pairs.ETH]", "[pairs.SOL]", "pairs"), ("maintenance_factor", "mantenance_factor", "maintenance_factor")):
        broken = tmp_path / "broken.toml"
        broken.write_text(text.replace(find, put, 1))
        with pytest.raises(InputError, match=said):
            load_rule_book(broken)
