"""A unit that feels a coarse table: the tables it reads are made finer and no others, its margin is that of direct prices, and the run folder says which."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from command_line import CONFIG, small_run
from small_book import GAUSSIAN, INSTRUMENTS, VALUATION, methodology, read, write

from upm_gpu import desk, engine, job, table_check
from upm_gpu.backend import cpu
from upm_gpu.backend.select import choose
from upm_gpu.desk.carried import MadeTables
from upm_gpu.domain.reader import load_book
from upm_gpu.engine import compute_outcome
from upm_gpu.errors import InputError, RunInterrupted
from upm_gpu.passes import in_memory
from upm_gpu.plan import make_plan
from upm_gpu.pricing import table_refinement, tables
from upm_gpu.scenario.spec import ScenarioSpec
from upm_gpu.table_check import SHARE_OF_ERROR

AMERICAN = "".join(f"{u}-{t[0].upper()}{k}A,option,{u},linear,USD,1,{day}T08:00:00Z,{k},{t},american\n"
                   for u, k in (("ETH", 2600), ("BTC", 70000)) for t in ("call", "put") for day in ("2026-02-27",))
RATES = "currency,tenor_days,zero_rate\nUSD,30,0.3\n"
POSITIONS = "A,ETH-P2600A,-1\nA,ETH-PERP,-2600\nB,BTC-C70000A,2\nB,BTC-LINEAR,5\n"
"""A: a put that is worth exercising and the underlying sold, next to no risk; B does not mind"""
COARSE, STEPS = 3e-3, (1.0 / 4.0, 1.0 / 2.0)
"""a tolerance that account A feels, some dollars an option, and steps that use it up"""


@pytest.fixture
def coarse(monkeypatch):
    monkeypatch.setattr(tables, "TOLERANCE", COARSE)
    monkeypatch.setattr(tables, "FIRST_STEPS", STEPS)


def plan_of(folder, positions=POSITIONS, count=8_192):
    write(folder, "account_id,instrument_id,quantity\n" + positions, market={"rates.csv": RATES})
    (folder / "book" / "instruments.csv").write_text(INSTRUMENTS + AMERICAN)
    _, market = read(folder)
    return make_plan(load_book(folder / "book", VALUATION), market, ScenarioSpec(count=count, horizons=(2.0,)), methodology(), GAUSSIAN)


def outcome_of(plan, chunk=0, threads=0, shelf=None):
    return compute_outcome(plan, choose("cpu", "double", threads), chunk, in_memory(), shelf=shelf)


def test_tables_that_are_felt_are_made_finer_and_no_others(tmp_path, monkeypatch):
    plan = plan_of(tmp_path)
    exact = outcome_of(plan)
    assert not table_refinement.finer_of(exact.plan.compiled, 0)
    monkeypatch.setattr(tables, "TOLERANCE", COARSE)
    monkeypatch.setattr(tables, "FIRST_STEPS", STEPS)
    found = outcome_of(plan)
    finer = table_refinement.finer_of(found.plan.compiled, 0)
    assert {found.plan.compiled.programs[0].table_requests[t].name for t in finer} == {"ETH-P2600A"}
    assert len(found.tables) == 2
    assert found.table_check.largest_share <= SHARE_OF_ERROR
    with monkeypatch.context() as patch:  # without the second walk
        patch.setattr(engine, "_check_tables", lambda *_: None)
        crude = outcome_of(plan)
    error = exact.result.table["expected_shortfall_standard_error"][0]
    at = "expected_shortfall"
    assert abs(crude.result.table[at][0] - exact.result.table[at][0]) > SHARE_OF_ERROR * error
    assert abs(found.result.table[at][0] - exact.result.table[at][0]) < SHARE_OF_ERROR * error
    assert found.result.table[at][1] == crude.result.table[at][1]


def test_chunks_threads_and_kept_tables_change_nothing(tmp_path, coarse):
    plan, shelf = plan_of(tmp_path), MadeTables()
    one = outcome_of(plan, 4_096, 1, shelf)
    made = set(shelf.made)
    two = outcome_of(plan, 8_192, 2, shelf)
    assert table_refinement.finer_of(one.plan.compiled, 0)
    assert set(shelf.made) == made
    np.testing.assert_array_equal(one.tail.pnl, two.tail.pnl)


def test_what_no_finer_table_mends_stops_the_run(tmp_path, coarse, monkeypatch):
    plain, walks = engine._walked, []
    monkeypatch.setattr(table_refinement, "MOST", 0)
    monkeypatch.setattr(engine, "_walked", lambda *a: walks.append(a[-1]) or plain(*a))
    with pytest.raises(InputError, match=r"UPM-PR-082 ETH-P2600A: .* expected shortfall of A "):
        outcome_of(plan_of(tmp_path))
    assert walks == [0]


def test_a_finer_table_is_another_table_to_a_tenth_of_the_error():
    from test_value_tables import request_of

    request, box = request_of(-1.0), ((-0.25, 0.25), (-1.5, -0.5))
    keys = {tables.table_key(replace(request, finer=n), box) for n in range(2)}
    assert len(keys) == 2
    for n in range(2):
        table, error = tables._build(replace(request, finer=n), box, cpu)
        assert error <= 1e-5 * 0.1**n
        assert max(tables.sampled_errors(table, request, cpu)) == error


def test_the_folder_says_which_and_a_desk_and_a_resumed_run_make_them_again(tmp_path, coarse, monkeypatch):
    monkeypatch.setattr(table_check, "SHARE_OF_ERROR", 1e-3)  # the prices of this folder move more
    folder = small_run(tmp_path, "account_id,instrument_id,quantity\n" + POSITIONS, CONFIG, {"rates.csv": RATES})
    (folder / "book" / "instruments.csv").write_text(INSTRUMENTS + AMERICAN)
    assert job.run(folder / "run.toml", {"output.path": str(folder / "run")}, quiet=True).exit_code == 0
    finer = json.loads((folder / "run" / "manifest.json").read_text())["value_tables"]["finer"]
    assert finer == [{"table": finer[0]["table"], "name": "BTC-C70000A", "finer": 1}], finer
    ((answer,),) = desk.whatif(desk.open_run(folder / "run"), [[desk.Deposit("B", "USD", 1.0)]])  # held to the margins of the run
    assert answer.difference["equity"] == 1.0
    plain, seen = engine.measure, []

    def stopped(*arguments):
        seen.append(1)
        if len(seen) == 2:
            raise RunInterrupted("UPM-RN-001", "stopped in the second walk")
        return plain(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(engine, "measure", stopped)
        with pytest.raises(RunInterrupted):
            job.run(folder / "run.toml", {"output.path": str(folder / "again")}, quiet=True)
    assert job.resume(folder / "again", quiet=True).exit_code == 0
    for name in ("margin.parquet", "contributions.parquet"):
        assert (folder / "run" / name).read_bytes() == (folder / "again" / name).read_bytes()
