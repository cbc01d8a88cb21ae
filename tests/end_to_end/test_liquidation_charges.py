"""Margins inside a cascade with the charges of the methodology, against fresh runs of the reduced book in the market after the move."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from liquidation_case import BOOK, COLLATERAL, case, ground, rules
from small_book import GAUSSIAN, methodology, read, write

from upm_gpu.backend.select import choose
from upm_gpu.engine import compute_outcome
from upm_gpu.liquidation import Case, cascade, case_of
from upm_gpu.liquidation.account import Account
from upm_gpu.liquidation.folder import contents
from upm_gpu.liquidation.holdings import hold
from upm_gpu.liquidation.margins import margins_of
from upm_gpu.liquidation.scenarios import start_of
from upm_gpu.liquidation.systemic import simulate
from upm_gpu.passes import in_memory
from upm_gpu.plan import make_plan
from upm_gpu.scenario.spec import ScenarioSpec

CHARGES = ({"name": "dependence", "weight": 0.25, "level": 0.995}, {"name": "concentration", "weight": 0.25, "level": 0.995, "names": 1},
           {"name": "stress", "mode": "blend", "weight": 0.25, "scenarios": [{"name": "down", "moves": {"*": {"price": -0.15, "volatility": 0.4}}}]},
           {"name": "liquidation_cost", "tenor_days": [7.0], "delta_half_spread": [0.001, 0.002], "vega_half_spread": [2.0, 1.0]})
POSITIONS = "account_id,instrument_id,quantity\nA,BTC-LINEAR,4\nA,ETH-PERP,30000\nB,BTC-PERP,20000\nB,ETH-PERP,-30000\n"
HALVED = "account_id,instrument_id,quantity\nA,BTC-LINEAR,2\nA,ETH-PERP,30000\nB,BTC-PERP,20000\nB,ETH-PERP,-30000\n"
MONEY = "account_id,asset,quantity\nA,USD,100000\nB,BTC,3\n"
FALLEN = {"spots.csv": "asset,price,currency,timestamp\nBTC,56000,USD,2026-02-05T09:00:00Z\nETH,2000,USD,2026-02-05T09:00:00Z\n", "forwards.csv": "underlying,expiry,forward\nBTC,,56000\nETH,,2000\n"}


def charged_case(folder: Path, positions: str, collateral: str, market: dict[str, str] | None = None, charges: tuple = CHARGES) -> Case:
    book, there = read(write(folder, positions, collateral, market=market))
    plan = make_plan(book, there, ScenarioSpec(count=4096, seed=3, horizons=(2.0,)), methodology(charges=list(charges)), GAUSSIAN)
    choice = choose("cpu", "double")
    return case_of(plan, choice, compute_outcome(plan, choice, 0, in_memory()).result.table)


def test_reduced_books_have_the_margin_of_a_fresh_run_where_the_market_stands(tmp_path: Path):
    today = charged_case(tmp_path / "today", POSITIONS, MONEY)
    # what the inverse perpetual has lost is gone in coins
    fresh = charged_case(tmp_path / "fresh", HALVED, MONEY.replace("B,BTC,3", f"B,BTC,{3.0 + 200_000.0 * (1.0 / 70_000.0 - 1.0 / 56_000.0)!r}"), FALLEN)
    margins = margins_of(today, rules().model_copy(update={"margin": rules().margin.model_copy(update={"scenarios": 4096})}))
    assert margins.anew
    opening, none = margins.opening(start_of(today, "BTC -20 %")), np.zeros(2)
    np.testing.assert_allclose(opening.before.required, today.initial, rtol=1e-12)
    held = hold(today.plan.units, today.plan.instruments)
    linear = [i.instrument_id for i in today.plan.instruments].index("BTC-LINEAR")
    held.lots[held.instrument == linear] //= 2
    cores = opening.world.ground.cores(held, opening.unit_pnl)
    level = margins.level(opening.before, opening.world, none, none, held, cores)
    np.testing.assert_allclose(level.required, fresh.initial, rtol=1e-9)
    np.testing.assert_allclose(level.core + level.charges, fresh.initial, rtol=1e-9)
    # what charges that move with the core would say is something else
    moved = today.initial * level.core / opening.before.core
    assert np.max(np.abs(moved / fresh.initial - 1.0)) > 0.01
    # one unit alone: the same figure
    wanted = np.array([True, False])[today.parties.of_unit]
    alone = margins.level(opening.before, opening.world, none, none, held, cores, wanted)
    assert alone.required[0] == pytest.approx(level.required[0], rel=1e-12)


def test_a_cascade_with_charges(tmp_path: Path):
    given_case = charged_case(tmp_path / "case", BOOK, COLLATERAL)
    parameters = rules()
    made = simulate(given_case, "BTC -14 %", parameters, ("sequenced", "pro rata"))
    for own in made.cascades.values():
        assert own.conserved and own.settled and own.defaults
        assert own.rounds[0].charges > 0.0
        assert own.rounds[0].initial_margin > own.rounds[0].charges
    assert made.margins["charges"].startswith("computed again")
    assert {"law", "time", "plans"} <= set(made.margins["not_recomputed"])
    assert contents(made, "run", {}) == contents(simulate(given_case, "BTC -14 %", parameters, ("sequenced", "pro rata")), "run", {})
    held = parameters.model_copy(update={"margin": parameters.margin.model_copy(update={"charges": "with_core"})})
    other = simulate(given_case, "BTC -14 %", held, ("sequenced",))
    assert "move with the core" in other.margins["charges"] and "charges" in other.margins["not_recomputed"]
    assert other.cascades["sequenced"].rounds[0].charges == 0.0
    assert [r.initial_margin for r in other.cascades["sequenced"].rounds] != [r.initial_margin for r in made.cascades["sequenced"].rounds]


def test_plans_let_charges_stand():
    """80 of core and 20 of charges: half the core leaves 60, no core 20; where charges move with the core, 50 and nothing."""
    held = Account(0, 0.0, 100.0, 40.0, 1.0, False, {}, {}, 1.0, 20.0)
    assert [held.required(e) for e in (40.0, 20.0, 0.0)] == [100.0, 60.0, 20.0]
    assert [replace(held, charges=0.0).required(e) for e in (40.0, 20.0, 0.0)] == [100.0, 50.0, 0.0]


def test_what_a_market_does_not_quote_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("upm_gpu.campaign.shocked.KINDS", ("log_level",))
    given_case = charged_case(tmp_path / "case", POSITIONS, MONEY)
    said = margins_of(given_case, rules()).said
    assert said["charges"] == "move with the core margin: the model moves volatility_shift, which no market quotes"
    assert cascade(given_case, start_of(given_case, "BTC -20 %"), rules()).conserved


def test_a_methodology_without_charges_says_so():
    assert margins_of(case(), rules()).said["charges"] == "none in the methodology"
    assert ground(case()).coverage.of(case().now, None) is case().now  # nothing is read from tables: nothing is looked at
