"""The core as value-at-risk, margin periods by product class on one path, and limits of the offset between classes: by hand from the same scenarios."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from small_book import GAUSSIAN, STUDENT, methodology, read, write

from upm_gpu.backend import reference
from upm_gpu.backend.select import choose
from upm_gpu.engine import compute_outcome, margin_run
from upm_gpu.errors import InputError
from upm_gpu.margin.methodology import load_methodology
from upm_gpu.passes import in_memory
from upm_gpu.plan import make_plan
from upm_gpu.pricing.compiled import Rows
from upm_gpu.risk.measures import expected_shortfall
from upm_gpu.scenario.spec import ScenarioSpec
from upm_gpu.shipped import find_file

SPEC = ScenarioSpec(count=12_000, seed=7, horizons=(0.5, 1.0, 2.0))
HEAD = "account_id,instrument_id,quantity\n"
BOOK = HEAD + "HEDGED,BTC-LINEAR,-2\nHEDGED,BTC-C70,5\nHEDGED,ETH-PERP,20000\nSETTLES,BTC-C75D,-40\nSETTLES,BTC-FUT,2000\nSETTLES,BTC-P60,-3\nEUR,ETH-C20L,-40\nEUR,ETH-PERP,-3000\n"
COINS = "account_id,asset,quantity\nHEDGED,BTC,1\n"
CLASSES = [{"name": "delta one", "horizon": "1d", "kinds": ["future", "perpetual", "spot"]}, {"name": "ether options", "horizon": "12h", "underlyings": ["ETH"]}]
DAYS = {"perpetual": 1.0, "future": 1.0, "collateral": 1.0}


def days_of(name: str) -> float:
    """Margin period of an instrument of the book under CLASSES."""
    if name.startswith("collateral:") or name.split("-")[1] in ("PERP", "LINEAR", "FUT"):
        return 1.0
    return 0.5 if name.startswith("ETH") else 2.0


def line_pnl(plan, horizons):
    """{(unit, instrument): (S,)} of quantity x unit P&L at the horizon `horizons(instrument)`, from a plan without classes."""
    nobody = Rows(np.zeros(1, np.int64), np.zeros(0, np.int32), np.zeros(0))
    found = {}
    with reference.prepare(plan.compiled, nobody, "double") as prepared:
        pnl = {d: reference.unit_pnl(prepared, plan.scenarios, 0, plan.scenarios.count, plan.horizon(d)) for d in (0.5, 1.0, 2.0)}
    lines, c = plan.units.lines, plan.compiled
    for unit, n, q in zip(lines.unit, lines.instrument, lines.quantity, strict=True):
        name = plan.instruments[n].instrument_id
        found[plan.units.names[unit], name] = q * c.instrument_coefficient[n] * pnl[horizons(name)][c.instrument_column[n]]
    return found


@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_each_instrument_is_read_at_the_date_of_its_class(tmp_path, backend):
    """One shortfall of the sum over a path; a spot posted as collateral folds with the perpetuals of its date and not with others."""
    book, market = read(write(tmp_path, BOOK, COINS))
    plain = line_pnl(make_plan(book, market, SPEC, methodology(), STUDENT), days_of)
    result = margin_run(book, market, SPEC, methodology(core={"classes": CLASSES}), backend, precision="double", model=STUDENT)
    table = result.table.set_index("account_id")
    shared = result.contributions.groupby("account_id", observed=True)["contribution"].sum()
    for unit in result.measured.units:
        known = float(expected_shortfall(-sum(v for (u, _), v in plain.items() if u == unit), 0.99))
        assert table.loc[unit, "expected_shortfall"] == pytest.approx(known, rel=1e-9)
        assert shared[unit] == pytest.approx(known, rel=1e-9)


def test_other_horizons_stay_what_they_are(tmp_path):
    """Classes move the margin period's horizon alone: the tails at half a day and a day are the same bits."""
    book, market = read(write(tmp_path, BOOK, COINS))
    choice = choose("cpu", "double")
    a, b = (compute_outcome(make_plan(book, market, SPEC, m, STUDENT), choice, 0, in_memory()).tail for m in (methodology(), methodology(core={"classes": CLASSES})))
    for h in (0, 1):
        np.testing.assert_allclose(a.pnl[h], b.pnl[h], rtol=1e-12, atol=1e-6)  # columns fold otherwise: the order of a sum
    assert not np.allclose(a.pnl[2], b.pnl[2])


def test_one_class_for_all_is_another_horizon(tmp_path):
    book, market = read(write(tmp_path, BOOK, COINS))
    classes = margin_run(book, market, SPEC, methodology(core={"classes": [{"name": "all", "horizon": "1d"}]}), "cpu", model=STUDENT)
    plain = margin_run(book, market, SPEC, methodology(core={"horizon": "1d"}), "cpu", model=STUDENT)
    np.testing.assert_array_equal(classes.table["initial_margin"], plain.table["initial_margin"])


def test_sum_of_classes(tmp_path):
    """offset 0: core and charge are the sum of the classes' own shortfalls, each at its own date; 0.8 is a fifth of that."""
    book, market = read(write(tmp_path, BOOK, COINS))
    plain = line_pnl(make_plan(book, market, SPEC, methodology(), GAUSSIAN), days_of)
    classes = [{"name": "delta one", "kinds": ["future", "perpetual", "spot"]}, {"name": "options", "kinds": ["option"]}]
    none, most = (margin_run(book, market, SPEC, methodology(core={"classes": CLASSES}, charges=[{"name": "offset_limit", "classes": classes, "offset": x}]), "cpu", precision="double", model=GAUSSIAN)
                  for x in (0.0, 0.8))
    for row in none.table.itertuples():
        apart = 0.0
        for options in (True, False):
            part = [v for (u, i), v in plain.items() if u == row.account_id and (not i.startswith("collateral:") and i.split("-")[1] not in ("PERP", "LINEAR", "FUT")) == options]
            apart += max(0.0, float(expected_shortfall(-sum(part), 0.99))) if part else 0.0
        assert row.initial_margin == pytest.approx(apart, rel=1e-9)
    np.testing.assert_allclose(most.table["charge_offset_limit"], 0.2 * none.table["charge_offset_limit"], rtol=1e-9)
    assert none.table["charge_offset_limit"].max() > 1000.0


@pytest.mark.parametrize("spec", [SPEC, replace(SPEC, sampler="sobol"), replace(SPEC, target_relative_error=0.05, count=60_000)], ids=["philox", "sobol", "adaptive"])
def test_value_at_risk_as_the_core(tmp_path, spec):
    book, market = read(write(tmp_path, BOOK, COINS))
    result = margin_run(book, market, spec, methodology(core={"measure": "value_at_risk", "multiplier": 1.2}, charges=[{"name": "sampling_error", "multiple": 2.0}]), "cpu", model=STUDENT)
    table = result.table.set_index("account_id")
    np.testing.assert_allclose(table["core"], 1.2 * np.maximum(table["value_at_risk"], 0.0), rtol=1e-12)
    np.testing.assert_allclose(table["charge_sampling_error"], 2.4 * table["value_at_risk_standard_error"], rtol=1e-12)
    shared = result.contributions.groupby("account_id", observed=True)["contribution"].sum()
    np.testing.assert_allclose(shared[table.index], table["value_at_risk"], rtol=1e-6)
    assert np.all(table["value_at_risk"] < table["expected_shortfall"])


def test_value_at_risk_of_weighted_scenarios(tmp_path):
    book, market = read(write(tmp_path, HEAD + "L,BTC-LINEAR,1\nS,BTC-LINEAR,-1\n"))
    result = margin_run(book, market, replace(SPEC, sampler="importance"), methodology(core={"measure": "value_at_risk"}), "cpu", precision="double", model=GAUSSIAN)
    shared = result.contributions.groupby("account_id", observed=True)["contribution"].sum()
    np.testing.assert_allclose(shared, result.table["core"], rtol=1e-9)


def test_the_run_names_its_measure(tmp_path):
    import json

    from upm_gpu import job

    folder = write(tmp_path, BOOK, COINS)
    text = find_file("configs/methodology/house_v1.toml").read_text().replace('measure = "expected_shortfall"', 'measure = "value_at_risk"')
    (tmp_path / "var.toml").write_text(text)
    days = "".join(f"{np.datetime64('2025-06-01') + d},{a},{p * (1 + 0.02 * ((d * k) % 7 - 3))}\n" for d in range(200) for a, p, k in (("BTC", 7e4, 3), ("ETH", 2e3, 5), ("BTC.IV30", 0.6, 2), ("ETH.IV30", 0.7, 4)))
    (folder / "market" / "history.csv").write_text("date,asset,close\n" + days)
    overrides = {"book.path": str(folder / "book"), "market.path": str(folder / "market"), "methodology.file": str(tmp_path / "var.toml"), "scenarios.count": "4096",
                 "output.path": str(tmp_path / "run")}
    job.run(None, overrides, quiet=True)
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert manifest["core_measure"] == "value_at_risk" and manifest["totals"]["initial_margin_standard_error"] > 0.0
    page = (tmp_path / "run" / "report.html").read_text()
    assert "VaR 99" in page and "ES 99 % over" not in page


@pytest.mark.parametrize(("lines", "code", "words"), [
    ('name = "a"\nhorizon = "2"', "UPM-CF-062", "core.classes.0.horizon"),
    ('name = "a"\nhorizon = "1d"\nkinds = ["swap"]', "UPM-CF-056", "not one of"),
    ('name = "a"\nhorizon = "1d"\n[[core.classes]]\nname = "a"\nhorizon = "2d"', "UPM-CF-063", "a name stands twice"),
])
def test_faults_of_classes_name_their_place(tmp_path, lines, code, words):
    text = find_file("configs/methodology/house_v1.toml").read_text().replace("[collateral]", f"[[core.classes]]\n{lines}\n\n[collateral]")
    (tmp_path / "house.toml").write_text(text)
    with pytest.raises(InputError, match=f"{code} house.toml line .*{words}"):
        load_methodology(tmp_path / "house.toml")
