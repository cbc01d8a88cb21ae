"""From files to margins on small books whose answers are known: closed forms, identities of the conventions, invariances to the bit."""

from __future__ import annotations

import numpy as np
import pytest
from small_book import GAUSSIAN, MARKET, STUDENT, methodology, read, write

from upm_gpu.backend.select import choose
from upm_gpu.engine import compute_outcome, margin_run
from upm_gpu.errors import InputError
from upm_gpu.passes import in_memory
from upm_gpu.plan import make_plan
from upm_gpu.risk.closed_form import lognormal_tail
from upm_gpu.scenario.spec import ScenarioSpec

SPEC = ScenarioSpec(count=20_000, seed=7, horizons=(1.0, 2.0))
HEAD = "account_id,instrument_id,quantity,entry_price\n"


def margins(folder, spec=SPEC, model=GAUSSIAN, backend="cpu", **options):
    book, market = read(folder)
    return margin_run(book, market, spec, methodology(), backend, model=model, precision="double", **options).table.set_index("account_id")


def test_linear_perpetual_meets_the_lognormal_closed_form(tmp_path):
    """ES 99 % of one long and one short coin over two days, sigma 3 % a day; within four standard errors."""
    table = margins(write(tmp_path, HEAD + "L,BTC-LINEAR,1,\nS,BTC-LINEAR,-1,\n"), ScenarioSpec(count=100_000, seed=11))
    for account in ("L", "S"):
        known = lognormal_tail(70_000.0, 0.0, 0.03 * np.sqrt(365.0), 2.0 / 365.0, 0.99, short=account == "S")[1]
        assert abs(table.loc[account, "expected_shortfall"] - known) < 4.0 * table.loc[account, "expected_shortfall_standard_error"]
        assert 0.005 * known < table.loc[account, "expected_shortfall_standard_error"] < 0.02 * known


def test_coin_collateral_and_a_short_inverse_perpetual_of_its_value_need_no_margin(tmp_path):
    """One coin and C q = -S_0: the account holds dollars."""
    folder = write(tmp_path, HEAD + "A,BTC-PERP,-7000,70000\n", "account_id,asset,quantity\nA,BTC,1\n")
    row = margins(folder).loc["A"]
    assert abs(row["core"]) < 1e-6
    assert row["collateral_value"] == 70_000.0
    assert row["status"] == "ok"


def test_put_call_parity_cancels_on_every_scenario(tmp_path):
    """Long call, short put, short the forward's worth of coins and cash: an inverse conversion moves with the coin's level only."""
    row = margins(write(tmp_path, HEAD + "A,BTC-C70,10,\nA,BTC-P70,-10,\n", "account_id,asset,quantity\n")).loc["A"]
    # C - P = (F - K) / F coins = (1 - K / F) S = S - K S_0 / F_0: a long coin, nothing else
    linear = margins(write(tmp_path / "linear", HEAD + "A,BTC-LINEAR,10,\n")).loc["A"]
    assert row["expected_shortfall"] == pytest.approx(linear["expected_shortfall"], rel=1e-9)


def test_equity_status_and_call_amount(tmp_path):
    """Unrealised gains of inverse and linear futures since entry, haircut and cash collateral, status by the conventions."""
    folder = write(tmp_path, HEAD + "INV,BTC-PERP,1000,50000\nLIN,BTC-LINEAR,1,69000\nNO,BTC-LINEAR,1,\n",
                   "account_id,asset,quantity\nINV,USD,100\nLIN,USD,8000\n")
    table = margins(folder)
    assert table.loc["INV", "unrealised_pnl"] == pytest.approx(10_000 * (1 / 50_000 - 1 / 70_000) * 70_000, rel=1e-12)
    assert table.loc["LIN", "unrealised_pnl"] == pytest.approx(1_000.0)
    assert table.loc["NO", "unrealised_pnl"] == 0.0
    for row in table.itertuples():
        expected = "ok" if row.equity >= row.initial_margin else "call" if row.equity >= row.maintenance_margin else "liquidation"
        assert row.status == expected
        assert row.excess == row.equity - row.initial_margin
        assert row.maintenance_margin == 0.8 * row.initial_margin
    assert table.loc["NO", "status"] == "liquidation"
    assert table.loc["LIN", "status"] == "ok"


@pytest.mark.parametrize("model", [GAUSSIAN, STUDENT], ids=["gaussian", "student"])
def test_same_bytes_for_any_chunk_thread_count_executor_and_neighbour(tmp_path, model):
    """Chunks, threads, a parallel map and one more account change no bit of an account's margin."""
    positions = HEAD + "A,BTC-C70,3,\nA,BTC-P60,-5,\nA,BTC-PERP,100,\nB,ETH-C20L,40,\nB,BTC-C75D,-2,\nC,BTC-FUT,-50,\n"
    first = margins(write(tmp_path / "a", positions), model=model, threads=1, chunk=4096)
    second = margins(write(tmp_path / "b", positions + "D,ETH-PERP,3000,\n"), model=model, threads=2, chunk=20_000)
    third = margins(write(tmp_path / "c", positions), model=model, threads=2, chunk=8192, executor=lambda f, r: reversed(list(map(f, r))))
    columns = ["expected_shortfall", "value_at_risk", "expected_shortfall_standard_error", "initial_margin", "equity"]
    assert (first[columns].to_numpy() == second.loc[first.index, columns].to_numpy()).all()
    assert (first[columns].to_numpy() == third[columns].to_numpy()).all()


def test_splitting_a_position_changes_no_bit(tmp_path):
    whole = margins(write(tmp_path / "a", HEAD + "A,BTC-C70,7,\nA,BTC-LINEAR,0.3,\n"))
    split = margins(write(tmp_path / "b", HEAD + "A,BTC-C70,2,\nA,BTC-LINEAR,0.1,\nA,BTC-C70,4,\nA,BTC-LINEAR,0.2,\nA,BTC-C70,1,\n"))
    assert whole.loc["A", "expected_shortfall"] == split.loc["A", "expected_shortfall"]


def test_reference_and_cpu_give_the_same_margins(tmp_path):
    """Within 1e-10 of max(|margin|, 1e-6 gross) in double."""
    folder = write(tmp_path, HEAD + "A,BTC-C70,3,\nA,BTC-P60,-5,\nA,BTC-PERP,100,\nB,ETH-C20L,40,\nB,BTC-C75D,-2,\nC,BTC-FUT,-50,\n", "account_id,asset,quantity\nA,BTC,1\nB,ETH,9\n")
    spec = ScenarioSpec(count=9_000, seed=3, horizons=(0.5, 1.0, 2.0))
    cpu, plain = margins(folder, spec, STUDENT), margins(folder, spec, STUDENT, backend="reference")
    gross = 1e6
    gap = np.abs(cpu["initial_margin"] - plain["initial_margin"]) / np.maximum(plain["initial_margin"].abs(), 1e-6 * gross)
    assert gap.max() < 1e-10


def test_contributions_sum_to_the_expected_shortfall(tmp_path):
    book, market = read(write(tmp_path, HEAD + "A,BTC-C70,3,\nA,BTC-P60,-5,\nA,BTC-PERP,100,\nB,ETH-C20L,-40,\nB,BTC-C75D,-2,\n", "account_id,asset,quantity\nA,BTC,0.1\n"))
    result = margin_run(book, market, SPEC, methodology(), "cpu", model=STUDENT)
    total = result.contributions.groupby("account_id")["contribution"].sum()
    shortfall = result.table.set_index("account_id")["expected_shortfall"]
    assert np.abs(total - shortfall).max() < 1e-9 * 1e6


def test_an_unshocked_zero_time_scenario_is_exactly_zero(tmp_path):
    from upm_gpu.exhibits import compile_today, explicit_moves, row_values
    from upm_gpu.margin.units import build_rows

    book, market = read(write(tmp_path, HEAD + "".join(f"A,{i},1,\n" for i in ("BTC-C70", "BTC-P60", "BTC-C75D", "ETH-C20L", "BTC-PERP", "BTC-FUT"))))
    plan = make_plan(book, market, SPEC, methodology(), STUDENT)
    today = compile_today(plan.instruments, market, plan.surfaces, plan.scenarios.state_names, plan.dynamics)
    rows, _ = build_rows(plan.units, today)
    for name in ("cpu", "reference"):
        assert row_values(choose(name).module, today, rows, explicit_moves(plan.scenarios.state_names, [{}]), 1)[0, 0] == 0.0


def test_members_of_a_pool_get_euler_shares(tmp_path):
    """Two accounts of one member in one netting set are margined together; their shares sum to the pool's core."""
    positions = "account_id,instrument_id,quantity,netting_set\nA,BTC-LINEAR,3,house\nB,BTC-LINEAR,-1,house\nC,BTC-LINEAR,3,house\n"
    table = margins(write(tmp_path, positions, accounts="account_id,member_id\nA,M\nB,M\nC,\n"))
    single = margins(write(tmp_path / "one", HEAD + "X,BTC-LINEAR,2,\n"))
    assert table.loc[["A", "B"], "expected_shortfall"].sum() == pytest.approx(single.loc["X", "expected_shortfall"], rel=1e-12)
    assert table.loc["B", "expected_shortfall"] < 0.0 < table.loc["A", "expected_shortfall"]
    assert table.loc["C", "expected_shortfall"] == pytest.approx(1.5 * single.loc["X", "expected_shortfall"], rel=1e-12)


def test_adding_a_date_or_steps_changes_no_figure(tmp_path):
    folder = write(tmp_path, HEAD + "A,BTC-C70,3,\nA,BTC-C75D,-4,\n")
    base = margins(folder, ScenarioSpec(count=8192, horizons=(2.0,)), STUDENT)
    more = margins(folder, ScenarioSpec(count=8192, horizons=(1 / 24, 0.7, 2.0), steps=7), STUDENT)
    assert base.loc["A", "expected_shortfall"] == more.loc["A", "expected_shortfall"]


def test_a_charge_is_added_and_named(tmp_path):
    book, market = read(write(tmp_path, HEAD + "A,BTC-C70,3,\n"))
    plain = margin_run(book, market, SPEC, methodology(), "cpu", model=GAUSSIAN).table.iloc[0]
    loaded = margin_run(book, market, SPEC, methodology(charges=[{"name": "sampling_error", "multiple": 3.0}]), "cpu", model=GAUSSIAN).table.iloc[0]
    assert loaded["charge_sampling_error"] == pytest.approx(3.0 * plain["expected_shortfall_standard_error"])
    assert loaded["initial_margin"] == pytest.approx(plain["initial_margin"] + loaded["charge_sampling_error"])
    with pytest.raises(InputError, match="UPM-CF-070"):
        margin_run(book, market, SPEC, methodology(charges=[{"name": "os"}]), "cpu", model=GAUSSIAN)


def test_a_state_the_model_does_not_make_is_named(tmp_path):
    from dataclasses import replace

    book, market = read(write(tmp_path, HEAD + "A,ETH-C20L,3,\n"))
    only = replace(GAUSSIAN, state_names=GAUSSIAN.state_names[:1], daily_volatility=GAUSSIAN.daily_volatility[:1], correlation=np.eye(1))
    with pytest.raises(InputError, match=r"UPM-PR-001.*log_level\[ETH\]"):
        make_plan(book, market, SPEC, methodology(), only)


def test_overflow_is_counted_and_fails_the_run(tmp_path):
    """A level beyond what float64 can hold: never a margin."""
    from dataclasses import replace

    book, market = read(write(tmp_path, HEAD + "A,BTC-LINEAR,1,\n"))
    wild = replace(GAUSSIAN, measure="historical", drift=np.array([500.0, 0.0, 0.0, 0.0]))
    for backend in ("cpu", "reference"):
        with pytest.raises(InputError, match="UPM-PR-078"):
            compute_outcome(make_plan(book, market, SPEC, methodology(), wild), choose(backend, "double"), 0, in_memory())


@pytest.mark.parametrize(("haircuts", "worth"), [({}, 1_000.0), ({"USD": 0.0}, 1_000.0), ({"USD": 0.25}, 750.0)])
def test_cash_counts_in_full_unless_the_methodology_cuts_it(tmp_path, haircuts, worth):
    """The default haircut of 1 is for assets nobody has judged, not for the reporting currency; a listed one is obeyed."""
    book, market = read(write(tmp_path, HEAD + "A,BTC-LINEAR,1,\n", "account_id,asset,quantity\nA,USD,1000\n"))
    rules = methodology().model_copy(update={"collateral": methodology().collateral.model_copy(update={"haircuts": haircuts})})
    result = margin_run(book, market, ScenarioSpec(count=200), rules, "reference", model=GAUSSIAN)
    assert result.table["collateral_value"].tolist() == [worth]


def test_collateral_that_counts_nothing_is_said(tmp_path):
    """A coin of a simulated kind that no instrument of the book has as underlying falls to the default haircut of 1."""
    book, market = read(write(tmp_path, HEAD + "A,BTC-LINEAR,1,\n", "account_id,asset,quantity\nA,SOL,10\nA,USDC,100\nA,BTC,1\n",
                              market={"spots.csv": MARKET["spots.csv"] + "SOL,90,USD,2026-02-05T09:00:00Z\nUSDC,1,USD,2026-02-05T09:00:00Z\n"}))
    rules = methodology().model_copy(update={"collateral": methodology().collateral.model_copy(update={"modes": {"BTC": "simulated", "SOL": "simulated"}})})
    plan = make_plan(book, market, ScenarioSpec(count=200), rules, GAUSSIAN)
    assert [w for w in plan.warnings if "UPM-IN-046" in w and " SOL counts nothing" in w and "USDC" not in w]
    assert margin_run(book, market, ScenarioSpec(count=200), rules, "reference", model=GAUSSIAN).table["collateral_value"].tolist() == [70_090.0]


def test_futures_style_premium_moves_like_the_option_and_is_no_equity(tmp_path):
    """The same linear put paid upfront and settled daily, under rates: equal P&L but for the discounting, equity only upfront."""
    folder = write(tmp_path, HEAD + "U,UP,1,\nF,FUT,1,\n", market={"rates.csv": "currency,tenor_days,zero_rate\nUSD,30,0.05\n"})
    (folder / "book" / "instruments.csv").write_text(
        "instrument_id,kind,underlying,settlement,quote_currency,contract_size,expiry,strike,option_type,exercise,premium\n"
        + "".join(f"{name},option,BTC,linear,USD,1,2026-02-27T08:00:00Z,60000,put,european,{premium}\n" for name, premium in (("UP", "upfront"), ("FUT", "futures"))))
    book, market = read(folder)
    plan = make_plan(book, market, ScenarioSpec(count=4096, seed=5), methodology(), GAUSSIAN)
    outcome = compute_outcome(plan, choose("reference", "double", 1), 0, in_memory())
    table = outcome.result.table.set_index("account_id")
    days = 22.0 - 1.0 / 24.0
    value = dict(zip(("F", "U"), outcome.value0, strict=True))
    assert value["U"] == pytest.approx(value["F"] * np.exp(-0.05 * days / 365.0), rel=1e-12)
    assert table["option_value"].to_dict() == {"F": 0.0, "U": pytest.approx(value["U"])}
    assert table["equity"].to_dict() == table["option_value"].to_dict()
    assert table.loc["U", "expected_shortfall"] == pytest.approx(table.loc["F", "expected_shortfall"], rel=5e-3)
    assert table.loc["U", "expected_shortfall"] < table.loc["F", "expected_shortfall"]
