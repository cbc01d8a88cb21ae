"""Portfolio-specific haircuts against full runs of changed books on the same scenarios, and their errors against the spread of independent runs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from small_book import GAUSSIAN, MARKET, VALUATION, read, write

from upm_gpu.backend.select import choose
from upm_gpu.engine import compute_outcome
from upm_gpu.margin.methodology import Methodology
from upm_gpu.passes import in_memory
from upm_gpu.plan import make_plan
from upm_gpu.portfolio_haircuts import core_slopes, portfolio_haircuts
from upm_gpu.scenario.spec import ScenarioSpec

SPOTS = {"spots.csv": MARKET["spots.csv"] + "USDC,0.5,USD,2026-02-05T09:00:00Z\nEUR,1.25,USD,2026-02-05T09:00:00Z\n"}
RULES = {"modes": {"BTC": "simulated", "ETH": "simulated"}, "haircuts": {"EUR": 0.1}, "tiers": {"USDC": [[0.0, 0.1], [1000.0, 0.5]]}, "limits": {"EUR": {"share": 0.5}},
         "borrowing": {"EUR": {"premium": 0.2}}}
SPEC = ScenarioSpec(count=20_000, seed=3, horizons=(2.0,))
POSITIONS = "account_id,instrument_id,quantity\n"
HELD = {("A", "BTC-LINEAR"): 1.0, ("A", "BTC-C70"): -3.0, ("B", "ETH-PERP"): -60_000.0, ("B", "BTC-P60"): 2.0, ("B", "ETH-C20L"): 30.0, ("C", "BTC-SPOT"): -2.0, ("C", "BTC-PERP"): 9000.0}
COINS = {("A", "USDC"): 1000.0, ("A", "EUR"): 100.0, ("B", "ETH"): 10.0, ("B", "USDC"): 4000.0, ("B", "EUR"): 40_000.0, ("C", "BTC"): -0.5, ("C", "EUR"): -20.0, ("D", "USD"): 100.0}
STEP = {"BTC-PERP": 2.0**-12, "ETH-PERP": 2.0**-12, "USDC": 2.0**-12, "EUR": 2.0**-12, "USD": 2.0**-12}
FINE = 2.0**-24
"""of what is worth thousands: two thousandths of a dollar exchange no scenario of a tail"""


def methodology(**more):
    return Methodology(name="test", version="1", effective_date=VALUATION.date(), collateral=RULES, core={"multiplier": 1.5, **more.pop("core", {})}, **more)


def outcome(folder, held=HELD, coins=COINS, spec=SPEC, rules=None):
    write(folder, POSITIONS + "".join(f"{a},{i},{q!r}\n" for (a, i), q in held.items()), "account_id,asset,quantity\n" + "".join(f"{a},{x},{q!r}\n" for (a, x), q in coins.items()), market=SPOTS)
    path = folder / "book" / "instruments.csv"
    path.write_text(path.read_text() + "BTC-SPOT,spot,BTC,linear,USD,1,,,,\n")
    plan = make_plan(*read(folder), spec, rules or methodology(), GAUSSIAN)
    return compute_outcome(plan, choose("cpu", "double"), 0, in_memory())


def need(table, account):
    """Initial margin less what collateral counts."""
    row = table.set_index("account_id").loc[account]
    return row["initial_margin"] - row["collateral_value"]


def test_full_runs_of_changed_books_change_as_much(tmp_path):
    """A step so small that no tail exchanges a scenario: the difference is the derivative, to rounding."""
    base = outcome(tmp_path / "base")
    table = portfolio_haircuts(base).set_index(["account_id", "asset", "instrument_id"])
    assert len(table) == 4 * 5 + len(HELD)  # BTC, ETH, EUR, USD, USDC for everyone
    posted = [("A", "USDC"), ("A", "EUR"), ("A", "BTC"), ("B", "ETH"), ("B", "BTC"), ("B", "EUR"), ("B", "USD"), ("C", "BTC"), ("C", "EUR"), ("D", "EUR")]
    for n, (account, asset) in enumerate(posted):
        more = outcome(tmp_path / f"coin{n}", coins={**COINS, (account, asset): COINS.get((account, asset), 0.0) + (step := STEP.get(asset, FINE))})
        change = (need(more.result.table, account) - need(base.result.table, account)) / step
        assert table.loc[(account, asset, ""), "haircut_per_unit"] == pytest.approx(change, rel=1e-6, abs=1e-6), (account, asset)
    for n, (account, instrument) in enumerate(HELD):
        more = outcome(tmp_path / f"held{n}", held={**HELD, (account, instrument): HELD[account, instrument] + (step := STEP.get(instrument, FINE))})
        change = (need(more.result.table, account) - need(base.result.table, account)) / step
        assert table.loc[(account, "", instrument), "haircut_per_unit"] == pytest.approx(change, rel=1e-5, abs=1e-6), (account, instrument)


def test_values_that_need_no_run(tmp_path):
    table = portfolio_haircuts(outcome(tmp_path)).set_index(["account_id", "asset", "instrument_id"])
    psh, error = table["haircut_per_unit"], table["standard_error"]
    assert psh["A", "USD", ""] == pytest.approx(-1.0) and error["A", "USD", ""] == 0.0
    assert psh["A", "USDC", ""] == pytest.approx(-0.5 * 0.9)
    assert psh["C", "EUR", ""] == pytest.approx(-1.25 * 1.2)
    assert np.isnan(psh["D", "BTC", ""]) and np.isnan(error["D", "BTC", ""])  # dollars alone: no tail to differentiate
    short = psh["C", "BTC", ""]  # short 2.5 bitcoins, long 90,000 dollars of the perpetual
    assert short < -70_000.0  # one more bitcoin counts its price and takes risk away
    assert error["C", "BTC", ""] > 0.0


def test_contributions_are_haircuts_times_what_is_held(tmp_path):
    found = outcome(tmp_path)
    lines = found.plan.units.lines
    slope, _ = core_slopes(found, lines.unit.astype(np.int64), lines.instrument.astype(np.int64))
    np.testing.assert_allclose(slope * lines.quantity, 1.5 * found.result.contributions["contribution"].to_numpy(), rtol=1e-11)


@pytest.mark.parametrize("sampling", [{}, pytest.param({"sampler": "sobol"}, marks=pytest.mark.slow), pytest.param({"variance_reduction": "antithetic"}, marks=pytest.mark.slow)], ids=["plain", "sobol", "antithetic"])
def test_errors_are_the_spread_of_independent_runs(tmp_path, sampling):
    """40 runs: a spread is known to 11 %, so a factor of 1.5 is beyond three deviations; over all derivatives, which are not independent, 1.25."""
    spec = replace(SPEC, count=8192, **sampling)
    book = outcome(tmp_path, spec=spec).plan
    found = []
    for seed in range(40):
        plan = make_plan(book.book, book.market, replace(spec, seed=seed + 100), methodology(), GAUSSIAN)
        table = portfolio_haircuts(compute_outcome(plan, choose("cpu", "double"), 0, in_memory()))
        found.append(table[table["standard_error"] > 0.0].set_index(["account_id", "asset", "instrument_id"]))
    value, error = (np.array([f[name].to_numpy() for f in found]) for name in ("haircut_per_unit", "standard_error"))
    ratio = np.sqrt(np.mean(error**2, axis=0)) / np.std(value, axis=0, ddof=1)
    assert value.shape[1] >= 10
    assert np.all((ratio > 1.0 / 1.5) & (ratio < 1.5)) and 0.8 < np.exp(np.mean(np.log(ratio))) < 1.25, ratio


def test_value_at_risk_has_the_loss_of_one_scenario_and_no_error(tmp_path):
    base = outcome(tmp_path / "base", rules=methodology(core={"measure": "value_at_risk"}))
    table = portfolio_haircuts(base).set_index(["account_id", "asset", "instrument_id"])
    more = outcome(tmp_path / "more", held={**HELD, ("A", "BTC-LINEAR"): 1.0 + FINE}, rules=methodology(core={"measure": "value_at_risk"}))
    assert table.loc[("A", "", "BTC-LINEAR"), "haircut_per_unit"] == pytest.approx((need(more.result.table, "A") - need(base.result.table, "A")) / FINE, rel=1e-6)
    assert np.isnan(table.loc[("A", "", "BTC-LINEAR"), "standard_error"])


def test_importance_sampling_gives_the_same_within_errors(tmp_path):
    plain = portfolio_haircuts(outcome(tmp_path / "plain", spec=replace(SPEC, count=65_536))).set_index(["account_id", "asset", "instrument_id"])
    guided = portfolio_haircuts(outcome(tmp_path / "guided", spec=replace(SPEC, sampler="importance"))).set_index(["account_id", "asset", "instrument_id"])
    both = plain["standard_error"] > 0.0
    error = np.hypot(plain["standard_error"], guided["standard_error"])[both]
    assert np.all(np.abs(plain["haircut_per_unit"] - guided["haircut_per_unit"])[both] < 4.0 * error)


def test_sets_and_pools(tmp_path):
    """A position in a set has the slope of its set, members of a pool that of the pool; what an account posts stands in its own unit, which here holds nothing."""
    positions = "account_id,instrument_id,quantity,netting_set\nA,BTC-LINEAR,1,client\nB,BTC-C70,-2,client\nB,ETH-PERP,1000,\nX,BTC-LINEAR,1,\nX,BTC-C70,-2,\n"
    book, market = read(write(tmp_path, positions, "account_id,asset,quantity\nB,ETH,1\n", accounts="account_id,member_id\nA,M\nB,M\nX,\n", market=SPOTS))
    plan = make_plan(book, market, SPEC, methodology(), GAUSSIAN)
    table = portfolio_haircuts(compute_outcome(plan, choose("cpu", "double"), 0, in_memory())).set_index(["account_id", "netting_set", "asset", "instrument_id"])
    psh = table["haircut_per_unit"]
    assert psh["A", "client", "", "BTC-LINEAR"] == pytest.approx(psh["X", "", "", "BTC-LINEAR"], rel=1e-12)
    assert psh["B", "client", "", "BTC-C70"] == pytest.approx(psh["X", "", "", "BTC-C70"], rel=1e-12)
    assert np.isnan(psh["A", "", "ETH", ""]) and np.isfinite(psh["B", "", "ETH", ""]) and np.isfinite(psh["X", "", "ETH", ""])
