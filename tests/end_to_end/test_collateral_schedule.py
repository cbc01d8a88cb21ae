"""What collateral counts, by hand: tiers, concentration limits, debts, borrowing limits, the columns of margin.csv; what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from small_book import GAUSSIAN, MARKET, VALUATION, read, write

from upm_gpu.engine import margin_run
from upm_gpu.errors import InputError
from upm_gpu.margin.methodology import Methodology, load_methodology
from upm_gpu.plan import make_plan
from upm_gpu.scenario.spec import ScenarioSpec
from upm_gpu.shipped import find_file

SPOTS = {"spots.csv": MARKET["spots.csv"] + "".join(f"{a},{p},USD,2026-02-05T09:00:00Z\n" for a, p in (("USDC", 0.5), ("SOL", 100.0), ("EUR", 1.25)))}
SPEC = ScenarioSpec(count=4096)
RULES = {"modes": {"BTC": "simulated"}, "haircuts": {"USDC": 0.1, "EUR": 0.02}, "tiers": {"SOL": [[0.0, 0.2], [1000.0, 0.5], [3000.0, 1.0]]},
         "limits": {"USDC": {"amount": 5000.0}, "EUR": {"share": 0.4}}, "borrowing": {"EUR": {"premium": 0.05, "limit": 100.0, "beyond_limit": 0.5}, "BTC": {"limit": 70_000.0}}}
HEAD = "account_id,asset,quantity\n"


def methodology(collateral=RULES, **more):
    return Methodology(name="test", version="1", effective_date=VALUATION.date(), collateral=collateral, **more)


def counted(tmp_path, posted: str, collateral=RULES):
    """The margin table by account; everyone holds one perpetual."""
    accounts = sorted({line.split(",")[0] for line in posted.split()})
    positions = "account_id,instrument_id,quantity\n" + "".join(f"{a},BTC-LINEAR,1\n" for a in accounts)
    return margin_run(*read(write(tmp_path, positions, HEAD + posted, market=SPOTS)), SPEC, methodology(collateral), "cpu", model=GAUSSIAN).table.set_index("account_id")


def test_each_part_of_the_value_has_the_haircut_of_its_tier(tmp_path):
    table = counted(tmp_path, "A,SOL,5\nB,SOL,10\nC,SOL,20\nD,SOL,30\nE,SOL,500\n")
    assert table["collateral_value"].tolist() == pytest.approx([400.0, 800.0, 800.0 + 500.0, 800.0 + 1000.0, 800.0 + 1000.0], rel=1e-14)
    assert table["collateral_market_value"].tolist() == [500.0, 1000.0, 2000.0, 3000.0, 50_000.0]
    assert table["collateral_haircut"].tolist() == pytest.approx([100.0, 200.0, 700.0, 1200.0, 48_200.0], rel=1e-14)


def test_what_is_beyond_a_concentration_limit_counts_nothing(tmp_path):
    """USDC up to 5,000 at market; EUR up to 40 % of all that is posted."""
    table = counted(tmp_path, "A,USDC,8000\nB,USDC,12000\nC,EUR,800\nC,USD,1000\nD,EUR,800\nD,USD,4000\nE,EUR,80\nF,EUR,800\nF,USD,-1000\n")
    eur = 0.98
    by_hand = [3600.0, 4500.0, eur * 0.4 * 2000.0 + 1000.0, eur * 1000.0 + 4000.0, eur * 0.4 * 100.0, eur * 0.4 * 1000.0 - 1000.0]  # a debt is no part of what is posted
    assert table["collateral_value"].tolist() == pytest.approx(by_hand, rel=1e-14)


def test_a_debt_has_no_haircut_and_bears_its_premiums(tmp_path):
    """EUR: 5 % on top, and 50 % more on what is beyond 100; USDC: nothing but the debt itself, though it has a haircut; an asset nobody has judged is owed in full."""
    table = counted(tmp_path, "A,EUR,-40\nB,EUR,-800\nC,USDC,-1000\nD,ETH,-1\nE,BTC,-2\nE,USD,1000\n")
    assert table["collateral_value"].tolist() == pytest.approx([-52.5, -1050.0 - 0.5 * 900.0, -500.0, -2000.0, 1000.0 - 140_000.0 - 70_000.0], rel=1e-14)
    assert table["liabilities"].tolist() == pytest.approx([52.5, 1500.0, 500.0, 2000.0, 210_000.0], rel=1e-14)
    assert table["collateral_haircut"].tolist() == [0.0] * 5
    assert table.loc["E", "core"] != table.loc["A", "core"]  # the debt moves with the scenarios: short two and long one


def test_columns_add_up_with_spot_positions_at_market(tmp_path):
    instruments = "BTC-SPOT,spot,BTC,linear,USD,1,,,,\n"
    folder = write(tmp_path, "account_id,instrument_id,quantity\nA,BTC-SPOT,2\nB,BTC-SPOT,-1\n", HEAD + "A,SOL,20\nA,EUR,-40\nB,USD,1000\nB,USDC,-10\n", market=SPOTS)
    path = folder / "book" / "instruments.csv"
    path.write_text(path.read_text() + instruments)
    table = margin_run(*read(folder), SPEC, methodology(), "cpu", model=GAUSSIAN).table.set_index("account_id")
    assert table["collateral_market_value"].tolist() == [142_000.0, 1000.0]
    assert table["liabilities"].tolist() == pytest.approx([52.5, 70_005.0])
    by_parts = table["collateral_market_value"] - table["collateral_haircut"] - table["liabilities"]
    np.testing.assert_allclose(table["collateral_value"], by_parts, rtol=1e-14)


def test_a_missing_haircut_is_refused_where_one_is_required(tmp_path):
    """The reporting currency needs none, a simulated asset that is no underlying of the book does."""
    rules = {"require_haircut": True, "modes": {"BTC": "simulated", "SOL": "simulated"}, "haircuts": {"USDC": 0.1}}
    positions = "account_id,instrument_id,quantity\nA,BTC-LINEAR,1\n"
    market = SPOTS
    book, prices = read(write(tmp_path / "good", positions, HEAD + "A,USD,1\nA,USDC,1\nA,BTC,1\n", market=market))
    make_plan(book, prices, SPEC, methodology(rules), GAUSSIAN)
    book, prices = read(write(tmp_path / "bad", positions, HEAD + "A,USD,1\nA,EUR,1\nA,SOL,1\n", market=market))
    with pytest.raises(InputError, match=r"UPM-CF-122 key collateral.require_haircut: .*EUR, SOL"):
        make_plan(book, prices, SPEC, methodology(rules), GAUSSIAN)


def test_who_owes_more_than_allowed_is_named(tmp_path):
    book, prices = read(write(tmp_path, "account_id,instrument_id,quantity\nA,BTC-LINEAR,1\n", HEAD + "A,EUR,-80\nB,EUR,-100\nC,BTC,-2\n", market=SPOTS))
    warnings = [w for w in make_plan(book, prices, SPEC, methodology(), GAUSSIAN).warnings if "UPM-IN-055" in w]
    assert len(warnings) == 1 and "B owes 125.00 of EUR; C owes 140,000.00 of BTC" in warnings[0]


def test_a_netting_set_that_is_not_defined_is_refused(tmp_path):
    positions = "account_id,instrument_id,quantity,netting_set\nA,BTC-LINEAR,1,house\nB,BTC-LINEAR,1,cleint\nB,BTC-PERP,1,\n"
    book, prices = read(write(tmp_path, positions))
    make_plan(book, prices, SPEC, methodology(), GAUSSIAN)  # none named: any
    with pytest.raises(InputError, match=r"UPM-CF-133 netting set 'cleint' \(account B; 1 positions.*house, client, segregated. Did you mean client\?"):
        make_plan(book, prices, SPEC, methodology(netting_sets=["house", "client", "segregated"]), GAUSSIAN)


@pytest.mark.parametrize(("line", "code", "words"), [
    ("tiers.SOL = [[0.0, 0.2], [2000.0, 0.3], [1000.0, 0.5]]", "UPM-CF-056", "key collateral.tiers.SOL: tiers overlap: one from 1000 stands after one from 2000"),
    ("tiers.SOL = [[10.0, 0.2]]", "UPM-CF-056", "key collateral.tiers.SOL: the first tier begins at 10; it must begin at 0"),
    ("tiers.SOL = [[0.0, 1.2]]", "UPM-CF-056", "key collateral.tiers.SOL: haircut 1.2 of a tier; give 0 to 1"),
    ("tiers.SOL = [[0.0]]", "UPM-CF-056", "key collateral.tiers.SOL: tiers must be a list of [from, haircut]"),
    ("tiers.BTC = [[0.0, 0.2]]", "UPM-CF-063", "key collateral.tiers.BTC: BTC is simulated and has a schedule of haircuts"),
    ("tiers.USDC = [[0.0, 0.2]]", "UPM-CF-063", "key collateral.tiers.USDC: USDC has a haircut and tiers"),
    ("limits.BTC = { share = 0.5 }", "UPM-CF-063", "key collateral.limits.BTC: BTC is simulated and has a limit"),
    ("limits.USDC = { share = 1.5 }", "UPM-CF-056", "key collateral.limits.USDC.share"),
    ("limits.USDC = { shares = 0.5 }", "UPM-CF-059", "Did you mean share?"),
    ("borrowing.BTC = { premium = 0.1 }", "UPM-CF-063", "key collateral.borrowing.BTC: BTC is simulated and has a premium"),
    ("borrowing.USDC = { premium = -0.1 }", "UPM-CF-056", "key collateral.borrowing.USDC.premium"),
])
def test_faults_of_a_schedule_have_their_place(tmp_path, line, code, words):
    text = find_file("configs/methodology/house_v1.toml").read_text().replace("[collateral]\n", f"[collateral]\n{line}\n")
    path = tmp_path / "house.toml"
    path.write_text(text)
    with pytest.raises(InputError) as refused:
        load_methodology(path)
    assert refused.value.code == code and words in str(refused.value)
    assert f"house.toml line {text.splitlines().index(line) + 1} key" in str(refused.value)
