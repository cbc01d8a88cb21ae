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


def house():
    """The methodology without the tool that reads a history, which the small market lacks; tests/end_to_end/test_anti_procyclicality.py has one."""
    made = load_methodology(package_file(HOUSE))
    return made.model_copy(update={"charges": [c for c in made.charges if c.name != "anti_procyclicality"]})


def test_every_charge_is_measured_and_adds_up(tmp_path: Path):
    book, market = read(write(tmp_path, BOOK))
    methodology = house()
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
    cores = [margin_run(book, market, SPEC, m, "cpu", model=GAUSSIAN).table["core"].to_numpy() for m in (house(), load_methodology(package_file("configs/methodology/house_v1.toml")))]
    assert cores[0].tobytes() == cores[1].tobytes()


def test_a_rule_between_keys_is_refused_with_its_place(tmp_path: Path):
    text = package_file(HOUSE).read_text().replace("tenor_days = [7.0, 30.0, 90.0]", "tenor_days = [7.0, 90.0, 30.0]")
    path = tmp_path / "m.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=r"UPM-CF-056 m\.toml line \d+ key charges\.5: tenor_days must ascend\."):
        load_methodology(path)


def test_the_plan_asks_once_for_what_charges_share(tmp_path: Path):
    book, market = read(write(tmp_path, BOOK))
    methodology = house()
    plan = make_plan(book, market, SPEC, methodology, GAUSSIAN)
    asked = [r for c in charges_in_force(methodology) for r in c.module.requests(plan.core, c.parameters)]
    assert len(plan.further) == len(set(plan.further)) < len(asked)


@pytest.mark.parametrize("name", ["prisma_style_v1", "span2_style_v1"])
def test_value_at_risk_under_dates_with_a_stress_period(tmp_path: Path, name: str):
    """The bundled market under filtered historical simulation: never below the day's own measure; a floor asks for at least the stress period's."""
    from upm_gpu.domain.reader import load_book
    from upm_gpu.market.reader import load_market
    from upm_gpu.shipped import resolve_sample

    market = load_market(resolve_sample("sample:crypto", "market"))
    folder = tmp_path / "book"
    folder.mkdir()
    (folder / "instruments.csv").write_text("instrument_id,kind,underlying,settlement,quote_currency,contract_size,expiry,strike,option_type,exercise\nP,perpetual,BTC,linear,USD,1,,,,\n")
    (folder / "positions.csv").write_text("account_id,instrument_id,quantity\nLONG,P,1\nSHORT,P,-1\n")
    (folder / "collateral.csv").write_text("account_id,asset,quantity\nLONG,USD,1\nSHORT,USD,1\n")
    methodology = load_methodology(package_file(f"configs/methodology/{name}.toml"))
    spec = ScenarioSpec(count=8_192, model="filtered_historical", horizons=(2.0,))
    result = margin_run(load_book(folder, market.valuation_time), market, spec, methodology, "cpu")
    table, request = result.to_pandas().set_index("account_id"), next(r for r in result.measured.measures if r.scenario_set != "base")
    stressed = result.measured.measures[request].value_at_risk
    core, charge = table["core"].to_numpy(), table["charge_anti_procyclicality"].to_numpy()
    assert np.all(stressed > core)  # March 2020 was wilder than February 2026
    if "charge_gap_risk" in table:  # the larger of the two floors
        charge = charge + table["charge_gap_risk"].to_numpy()
        assert np.all(charge >= (stressed - core) * (1.0 - 1e-12))
    else:
        assert charge == pytest.approx(0.25 * (stressed - core), rel=1e-12)
    assert np.all(table["initial_margin"] >= table["core"])
