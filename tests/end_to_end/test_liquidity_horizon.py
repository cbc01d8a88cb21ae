"""The liquidity horizon cascade by hand: which parts are slow, their shortfalls from the same scenarios, the root of the sum of squares, what costs nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from small_book import STUDENT, methodology, read, write

from upm_gpu.backend import reference
from upm_gpu.engine import margin_run
from upm_gpu.errors import InputError
from upm_gpu.margin.methodology import charges_in_force
from upm_gpu.plan import make_plan
from upm_gpu.pricing.compiled import Rows
from upm_gpu.risk.measures import expected_shortfall
from upm_gpu.scenario.spec import ScenarioSpec

SPEC = ScenarioSpec(count=8192, seed=7, horizons=(2.0,))
HEAD = "account_id,instrument_id,quantity\n"
BOOK = HEAD + "BIG,BTC-LINEAR,300\nBIG,ETH-C20L,-40\nBIG,ETH-PERP,100000\nMIXED,ETH-PERP,4000000\nMIXED,BTC-LINEAR,-10\nHEDGED,BTC-LINEAR,300\nHEDGED,BTC-PERP,-2100000\nSMALL,BTC-LINEAR,1\n"
"""BIG is 21 million of BTC: 10.5 days at 2 million a day. MIXED is 4 million of ETH: 8 days at half a million. HEDGED holds as much of BTC and nothing on balance"""
KEYS = {"ladder_days": [1.0, 5.0, 10.0, 20.0], "participation": 0.5, "volume": {"BTC": 4e6, "ETH": 1e6}}


def run(tmp_path, positions=BOOK, count=0, backend="cpu", spec=SPEC, **keys):
    book, market = read(write(tmp_path, positions))
    rules = methodology(charges=[{"name": "liquidity_horizon", **KEYS, "count": count, **keys}])
    return margin_run(book, market, spec, rules, backend, precision="double", model=STUDENT), make_plan(book, market, spec, rules, STUDENT)


def part_losses(plan, underlying):
    """{unit: (S,)} losses of the part of each unit in one underlying."""
    nobody = Rows(np.zeros(1, np.int64), np.zeros(0, np.int32), np.zeros(0))
    with reference.prepare(plan.compiled, nobody, "double") as prepared:
        pnl = reference.unit_pnl(prepared, plan.scenarios, 0, plan.scenarios.count, 0)
    found = {name: np.zeros(plan.scenarios.count) for name in plan.units.names}
    lines, c = plan.units.lines, plan.compiled
    for unit, n, q in zip(lines.unit, lines.instrument, lines.quantity, strict=True):
        if plan.instruments[n].underlying == underlying:
            found[plan.units.names[unit]] -= q * c.instrument_coefficient[n] * pnl[c.instrument_column[n]]
    return found


@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_by_hand(tmp_path, backend):
    """BIG's BTC is slower than 2, 5 and 10 days: three terms of 3, 5 and 10 days over 2. MIXED's ETH is slower than 2 and 5: 3 and 5."""
    result, plan = run(tmp_path, backend=backend)
    coin, ether = part_losses(plan, "BTC"), part_losses(plan, "ETH")
    whole = {name: float(expected_shortfall(coin[name] + ether[name], 0.99)) for name in coin}
    big, mixed = float(expected_shortfall(coin["BIG"], 0.99)), float(expected_shortfall(ether["MIXED"], 0.99))
    known = {"BIG": np.sqrt(whole["BIG"] ** 2 + big**2 * (3.0 + 5.0 + 10.0) / 2.0), "MIXED": np.sqrt(whole["MIXED"] ** 2 + mixed**2 * (3.0 + 5.0) / 2.0),
             "HEDGED": max(whole["HEDGED"], 0.0), "SMALL": whole["SMALL"]}
    table = result.table.set_index("account_id")
    for name, cascade in known.items():
        assert table.loc[name, "initial_margin"] == pytest.approx(cascade, rel=1e-9, abs=1e-6), name
    assert table.loc["HEDGED", "charge_liquidity_horizon"] == 0.0 == table.loc["SMALL", "charge_liquidity_horizon"]
    (parts,) = result.measured.slower.values()
    assert list(zip(parts.unit.tolist(), parts.step.tolist(), strict=True)) == [(0, 0), (0, 1), (0, 2), (2, 0), (2, 1)]
    error = dict(zip(result.measured.units, result.charges[0].standard_error, strict=True))
    assert error["BIG"] > 0.0 and error["SMALL"] == 0.0


def test_twice_the_size_is_more_than_twice_the_margin_and_own_counts(tmp_path):
    one, _ = run(tmp_path / "one", HEAD + "A,BTC-LINEAR,100\n", count=4096)
    two, _ = run(tmp_path / "two", HEAD + "A,BTC-LINEAR,200\n", count=4096)
    assert two.table["initial_margin"][0] > 2.01 * one.table["initial_margin"][0]
    (request,) = [r for r in one.measured.measures if r.rows != "unit"]
    assert request.count == 4096


def test_when_nothing_is_slow_nothing_is_walked(tmp_path):
    result, _ = run(tmp_path, HEAD + "A,BTC-LINEAR,1\nB,ETH-PERP,-9000\n", count=4096)
    assert np.all(result.table["charge_liquidity_horizon"] == 0.0)
    assert all(len(p.unit) == 0 for p in result.measured.slower.values())


def test_any_chunk_and_more_volume_never_costs_more(tmp_path):
    whole, _ = run(tmp_path / "a")
    last = whole.table["charge_liquidity_horizon"]
    for k, volume in enumerate((8e6, 3e7, 1e9)):
        made, _ = run(tmp_path / str(k), volume={"BTC": volume, "ETH": volume / 4.0})
        assert np.all(made.table["charge_liquidity_horizon"] <= last)
        last = made.table["charge_liquidity_horizon"]
    assert np.all(last == 0.0)
    book, market = read(write(tmp_path / "b", BOOK))
    rules = methodology(charges=[{"name": "liquidity_horizon", **KEYS}])
    assert whole.table.equals(margin_run(book, market, replace(SPEC), rules, "cpu", precision="double", model=STUDENT, chunk=4096).table)


@pytest.mark.parametrize(("keys", "said"), [({"ladder_days": [5.0, 5.0]}, "ascend"), ({"ladder_days": []}, "ladder_days"), ({"volume": {"BTC": 0.0}}, "volumes"), ({"participation": 1.5}, "participation")])
def test_bad_parameters(keys, said):
    with pytest.raises(InputError, match=f"UPM-CF-0.*{said}"):
        charges_in_force(methodology(charges=[{"name": "liquidity_horizon", **keys}]))
