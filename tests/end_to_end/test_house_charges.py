"""The second house methodology on the small book: every charge has its column, they add up, and they are those of the holdings the engine measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from small_book import GAUSSIAN, read, write

from upm_gpu.engine import margin_run
from upm_gpu.errors import InputError
from upm_gpu.margin.methodology import charges_in_force, load_methodology
from upm_gpu.plan import make_plan
from upm_gpu.scenario.spec import ScenarioSpec
from upm_gpu.shipped import package_file

HOUSE = "configs/methodology/house_v2.toml"
BOOK = ("account_id,instrument_id,quantity\n" "PAIR,BTC-LINEAR,1\nPAIR,ETH-PERP,-60000\nONE,BTC-LINEAR,-2\nONE,BTC-C70,3\nMANY,BTC-P60,-5\nMANY,BTC-FUT,1000\nMANY,ETH-C20L,-40\nMANY,ETH-PERP,3000\n")
SPEC = ScenarioSpec(count=8_192, seed=7)


def test_every_charge_is_measured_and_adds_up(tmp_path: Path):
    book, market = read(write(tmp_path, BOOK))
    methodology = load_methodology(package_file(HOUSE))
    result = margin_run(book, market, SPEC, methodology, "cpu", precision="double", model=GAUSSIAN)
    table = result.to_pandas().set_index("account_id")
    names = [entry.name for entry in methodology.charges]
    assert [c for c in table.columns if c.startswith("charge_")] == [f"charge_{n}" for n in names]
    total = table["core"] + table[[f"charge_{n}" for n in names]].sum(axis=1)
    assert table["initial_margin"].to_numpy() == pytest.approx(total.to_numpy(), rel=1e-12)
    held = result.measured.exposures
    assert held is not None
    by_name = dict(zip(result.measured.units, range(len(result.measured.units)), strict=True))
    # by hand, from the book: 0.25 % of each leg; the perpetual's notional is its quantity in dollars
    spot = {u: market.spots[u] for u in ("BTC", "ETH")}
    pair = 0.0025 * (np.abs(held.delta[(held.unit == by_name["PAIR"])]).sum())
    assert table.loc["PAIR", "charge_basis"] == pytest.approx(pair, rel=1e-3)
    short = 0.005 * (5.0 * spot["BTC"] + 40.0 * spot["ETH"])
    assert table.loc["MANY", "charge_short_option_minimum"] in (0.0, pytest.approx(max(0.0, short - table.loc["MANY", "core"]), rel=1e-9))
    assert table.loc["MANY", "charge_short_option_minimum"] * table.loc["MANY", "charge_minimum_gross"] == 0.0  # the larger of the two floors
    assert table.loc["ONE", "charge_liquidation_cost"] > 0.0
    assert table.loc["MANY", "charge_skew"] > 0.0
    assert set(np.array(held.currencies)[held.currency]) == {"coin", "USD"}


def test_charges_leave_the_core_alone(tmp_path: Path):
    book, market = read(write(tmp_path, BOOK))
    cores = [margin_run(book, market, SPEC, load_methodology(package_file(m)), "cpu", model=GAUSSIAN).table["core"].to_numpy() for m in (HOUSE, "configs/methodology/house_v1.toml")]
    assert cores[0].tobytes() == cores[1].tobytes()


def test_a_rule_between_keys_is_refused_with_its_place(tmp_path: Path):
    text = package_file(HOUSE).read_text().replace("tenor_days = [7.0, 30.0, 90.0]", "tenor_days = [7.0, 90.0, 30.0]")
    path = tmp_path / "m.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=r"UPM-CF-056 m\.toml line \d+ key charges\.3: tenor_days must ascend\."):
        load_methodology(path)


def test_the_plan_asks_once_for_what_charges_share(tmp_path: Path):
    book, market = read(write(tmp_path, BOOK))
    methodology = load_methodology(package_file(HOUSE))
    plan = make_plan(book, market, SPEC, methodology, GAUSSIAN)
    asked = [r for c in charges_in_force(methodology) for r in c.module.requests(plan.core, c.parameters)]
    assert len(plan.further) == len(set(plan.further)) < len(asked)
