"""Portfolio-specific haircuts with charges: derivatives of the whole margin against full runs of changed books on the same scenarios."""

from __future__ import annotations

import numpy as np
import pytest
from small_book import GAUSSIAN, MARKET, VALUATION, read, write

from upm_gpu.backend.select import choose
from upm_gpu.engine import compute_outcome
from upm_gpu.margin.methodology import Methodology
from upm_gpu.passes import in_memory
from upm_gpu.plan import make_plan
from upm_gpu.portfolio_haircuts import portfolio_haircuts
from upm_gpu.scenario.spec import ScenarioSpec

SPOTS = {"spots.csv": MARKET["spots.csv"] + "USDC,0.5,USD,2026-02-05T09:00:00Z\nEUR,1.25,USD,2026-02-05T09:00:00Z\n"}
RULES = {"modes": {"BTC": "simulated", "ETH": "simulated"}, "haircuts": {"EUR": 0.1}, "tiers": {"USDC": [[0.0, 0.1], [1000.0, 0.5]]}, "limits": {"EUR": {"share": 0.5}}}
SPEC = ScenarioSpec(count=8192, seed=3, horizons=(2.0,))
HELD = {("A", "BTC-LINEAR"): 1.0, ("A", "BTC-C70"): -3.0, ("B", "ETH-PERP"): -60_000.0, ("B", "BTC-P60"): 2.0, ("B", "ETH-C20L"): 30.0, ("C", "BTC-SPOT"): -2.0, ("C", "BTC-PERP"): 9000.0}
COINS = {("A", "USDC"): 1000.0, ("A", "EUR"): 100.0, ("B", "ETH"): 10.0, ("B", "USDC"): 4000.0, ("B", "EUR"): 40_000.0, ("C", "BTC"): -0.5, ("C", "EUR"): -20.0, ("D", "USD"): 100.0}
STEP = {"BTC-PERP": 2.0**-12, "ETH-PERP": 2.0**-12, "USDC": 2.0**-12, "EUR": 2.0**-12, "USD": 2.0**-12}
FINE = 2.0**-22
"""of what is worth thousands: a hundredth of a dollar exchanges no scenario of a tail"""

ON_SETS = [
    {"name": "dependence", "largest_of": "model risk", "count": 4096}, {"name": "concentration", "largest_of": "model risk", "count": 4096},
    {"name": "liquidity_horizon", "count": 4096, "volume": {"BTC": 60_000.0, "ETH": 30_000.0}},
    {"name": "offset_limit", "offset": 0.5, "count": 4096, "classes": [{"name": "majors", "underlyings": ["BTC", "ETH"], "offset": 0.5}]},
    {"name": "sampling_error", "multiple": 1.5},
]
ON_HOLDINGS = [
    {"name": "stress", "mode": "blend", "scenarios": [{"name": "down", "moves": {"*": {"price": -0.3, "volatility": 0.5}}}, {"name": "up", "moves": {"*": {"price": 0.3}}}]},
    {"name": "gap_risk", "jumps": {"BTC": [-0.6, 0.5], "ETH": [-0.7, 0.6]}},
    {"name": "liquidation_cost", "tenor_days": [7.0, 30.0], "delta_half_spread": [0.01, 0.02, 0.03], "vega_half_spread": [2.0, 1.0, 0.7], "volume": {"BTC": 40_000.0}, "vega_volume": {"BTC": 50.0}},
    {"name": "basis"}, {"name": "calendar_vega"}, {"name": "skew"}, {"name": "minimum_gross", "rate": 0.01}, {"name": "short_option_minimum", "rate": 0.02, "mode": "add"},
    {"name": "expiry_day", "window_days": 31.0}, {"name": "funding_and_fees"}, {"name": "oracle_confidence", "confidence": {"ETH": 0.3}, "rate": 0.1, "threshold": 0.6},
    {"name": "depeg", "shocks": {"USDC": 0.04, "EUR": 0.01}, "tiers": [[0.0, 0.01], [10_000.0, 0.02]]}, {"name": "wrong_way", "rates": {"BTC": 0.1, "EUR": 0.02}, "tied": {"EUR": ["BTC"]}},
    {"name": "borrowing", "default_rate": 0.2}, {"name": "specific", "entries": [{"unit": "A", "amount": 10.0, "share": 0.2, "reason": "r", "decided_by": "d", "begin": "2026-01-01", "until": "2026-12-31"}]},
]


def methodology(charges, **core):
    import datetime

    for c in charges:
        if c["name"] == "specific":
            c["entries"] = [{**e, **{k: datetime.date.fromisoformat(e[k]) for k in ("begin", "until") if isinstance(e[k], str)}} for e in c["entries"]]
    return Methodology(name="test", version="1", effective_date=VALUATION.date(), collateral=RULES, core={"multiplier": 1.5, **core}, charges=charges)


def outcome(folder, rules, held=HELD, coins=COINS, spec=SPEC):
    write(folder, "account_id,instrument_id,quantity\n" + "".join(f"{a},{i},{q!r}\n" for (a, i), q in held.items()),
          "account_id,asset,quantity\n" + "".join(f"{a},{x},{q!r}\n" for (a, x), q in coins.items()), market=SPOTS)
    path = folder / "book" / "instruments.csv"
    path.write_text(path.read_text() + "BTC-SPOT,spot,BTC,linear,USD,1,,,,\n")
    return compute_outcome(make_plan(*read(folder), spec, rules, GAUSSIAN), choose("cpu", "double"), 0, in_memory())


def need(table, account):
    """Initial margin less what collateral counts."""
    row = table.set_index("account_id").loc[account]
    return row["initial_margin"] - row["collateral_value"]


def compare(folder, rules, posted, held=tuple(HELD), spec=SPEC, rel=1e-5):
    base = outcome(folder / "base", rules, spec=spec)
    table = portfolio_haircuts(base).set_index(["account_id", "asset", "instrument_id"])
    for n, (account, asset) in enumerate(posted):
        more = outcome(folder / f"coin{n}", rules, coins={**COINS, (account, asset): COINS.get((account, asset), 0.0) + (step := STEP.get(asset, FINE))}, spec=spec)
        change = (need(more.result.table, account) - need(base.result.table, account)) / step
        assert table.loc[(account, asset, ""), "haircut_per_unit"] == pytest.approx(change, rel=rel, abs=1e-5), (account, asset)
    for n, (account, instrument) in enumerate(held):
        more = outcome(folder / f"held{n}", rules, held={**HELD, (account, instrument): HELD[account, instrument] + (step := STEP.get(instrument, FINE))}, spec=spec)
        change = (need(more.result.table, account) - need(base.result.table, account)) / step
        assert table.loc[(account, "", instrument), "haircut_per_unit"] == pytest.approx(change, rel=rel, abs=1e-5), (account, instrument)
    return base, table


def test_every_charge_on_holdings_and_given_moves(tmp_path):
    base, table = compare(tmp_path, methodology(ON_HOLDINGS), [("A", "USDC"), ("A", "EUR"), ("A", "BTC"), ("B", "ETH"), ("B", "BTC"), ("C", "BTC"), ("C", "EUR"), ("D", "EUR"), ("C", "USD")])
    charged = base.result.table.filter(like="charge_").to_numpy()
    assert np.count_nonzero(np.any(charged > 0.0, axis=0)) >= 12  # nearly every charge is at work
    assert np.any(np.abs(table["charges_per_unit"]) > 1.0)


def test_every_charge_on_scenario_sets(tmp_path):
    """A name not held yet (ETH in A and C) joins the single names; a row that holds nothing yet has its own measure."""
    base, _ = compare(tmp_path, methodology(ON_SETS), [("A", "BTC"), ("A", "ETH"), ("B", "ETH"), ("B", "BTC"), ("C", "ETH")])
    assert all(base.result.table[f"charge_{c['name']}"].max() > 0.0 for c in ON_SETS)


def test_a_fitted_core(tmp_path):
    """Of the law of the worst scenarios. C holds one name, so that historical, perfect and zero correlation are equal until another one comes."""
    charges = [{"name": "dependence"}, {"name": "concentration"}, {"name": "short_option_minimum", "rate": 0.3, "mode": "floor"}]
    base, _ = compare(tmp_path, methodology(charges, estimator="extreme_value", tail_share=0.05), [("A", "BTC"), ("B", "ETH"), ("C", "ETH")],
                      held=[("A", "BTC-C70"), ("B", "BTC-P60"), ("C", "BTC-PERP")], rel=1e-4)
    assert base.result.table["tail_fitted"].iloc[:3].all()


def test_an_account_without_positions_bears_its_charges(tmp_path):
    coins = {**COINS, ("D", "EUR"): 50.0, ("E", "EUR"): -80.0}
    found = outcome(tmp_path, methodology([{"name": "depeg", "shocks": {"EUR": 0.01}}, {"name": "borrowing", "default_rate": 0.2}]), coins=coins).result.table.set_index("account_id")
    assert found.loc["D", "initial_margin"] == pytest.approx(0.01 * 0.9 * 50.0 * 1.25)  # all of it counts: 62.5 of 162.5 is less than half
    assert found.loc["E", "initial_margin"] == pytest.approx(80.0 * 1.25 * 0.2 * 2.0 / 365.0)
