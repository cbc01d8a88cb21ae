"""`upm whatif`: what it answers is what `upm run` of the changed files writes; what it cannot answer it refuses by name."""

from __future__ import annotations

import csv
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from command_line import CONFIG, POSITIONS, Command, small_run

from upm_gpu import desk, job
from upm_gpu.desk.words import read_changes
from upm_gpu.errors import InputError, IntegrityError, StaleDataError, UsageError


def margins(run: Path) -> dict[str, dict[str, str]]:
    with (run / "margin.csv").open() as file:
        return {row["account_id"]: row for row in csv.DictReader(file)}


def test_the_command_answers_what_a_run_of_the_changed_files_writes(upm: Command, finished: Path, tmp_path: Path):
    said = upm("whatif", finished, "--account", "B", "--order", "BTC-PERP:-3000", "--deposit", "USD:5000", "--json")
    assert said.code == 0, said
    found = json.loads(said.out)
    (account,) = found["what_ifs"][0]["accounts"]
    changed = small_run(tmp_path / "changed", POSITIONS + "B,BTC-PERP,-3000\n")
    collateral = changed / "book" / "collateral.csv"
    collateral.write_text(collateral.read_text().replace("B,USD,9\n", "B,USD,5009\n"))
    assert job.run(changed / "run.toml", {"output.path": str(tmp_path / "fresh")}, quiet=True).exit_code == 0
    fresh, before = margins(tmp_path / "fresh")["B"], margins(finished)["B"]
    for name in ("initial_margin", "core", "equity", "excess", "collateral_value", "expected_shortfall_standard_error"):
        assert float(fresh[name]) == account["after"][name]
        assert float(before[name]) == account["before"][name]
    assert account["difference"]["initial_margin"] == account["after"]["initial_margin"] - account["before"]["initial_margin"]
    assert account["would_pass"] == (fresh["status"] == "ok")
    assert 0.0 < account["difference_standard_error"] < account["after"]["expected_shortfall_standard_error"] + account["before"]["expected_shortfall_standard_error"]
    assert found["footprint"]["error"] == 0.0


def test_the_page_for_a_person(upm: Command, finished: Path):
    said = upm("whatif", finished, "--account", "D", "--order", "BTC-C75D:2")
    assert said.code == 0, said
    for words in ("Account D, USD", "before", "Initial margin", "would pass: ", "common scenarios", "BTC-C75D expires at 2026-02-06T08:00Z, inside the margin period"):
        assert words in said.out, said.out
    assert "resident" in said.err
    assert said.out.isascii()


def test_a_premium_is_paid_and_a_fair_trade_moves_no_equity(finished: Path):
    resident = desk.open_run(finished)
    buy = [desk.Order("A", "BTC-C70", 2.0)]
    ((paid,),), ((free,),) = desk.whatif(resident, [buy]), desk.whatif(resident, [buy], "none")
    assert paid.difference["equity"] == pytest.approx(0.0, abs=1e-6)
    assert paid.difference["collateral_value"] == pytest.approx(-paid.difference["option_value"], rel=1e-12)
    assert free.difference["collateral_value"] == 0.0
    assert free.after["initial_margin"] == paid.after["initial_margin"]
    ((future,),) = desk.whatif(resident, [[desk.Order("C", "BTC-FUT", 10.0)]])
    assert future.difference["equity"] == pytest.approx(0.0, abs=1e-9)


def test_a_file_of_trade_sets(upm: Command, finished: Path, tmp_path: Path):
    file = tmp_path / "changes.csv"
    file.write_text("set,account_id,kind,name,quantity,to_account\nhedge,A,order,BTC-PERP,-100,\nhedge,A,deposit,USD,10,\n,C,transfer,BTC-FUT,-50,D\n")
    said = upm("whatif", finished, "--file", file, "--json")
    assert said.code == 0, said
    sets = json.loads(said.out)["what_ifs"]
    assert [s["set"] for s in sets] == ["hedge", "line 4"]
    assert [[a["account_id"] for a in s["accounts"]] for s in sets] == [["A"], ["C", "D"]]
    moved = sets[1]["accounts"]
    assert sum(a["difference"]["equity"] for a in moved) == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize(("arguments", "code", "error", "words"), [
    (["--account", "Z", "--order", "BTC-PERP:1"], 3, "UPM-IN-141", ["'Z'", "margin.csv"]),
    (["--account", "A", "--order", "BTC-PERF:1"], 3, "UPM-IN-143", ["Did you mean BTC-PERP?"]),
    (["--account", "A", "--order", "BTC-PERP:0"], 3, "UPM-IN-142", ["other than 0"]),
    (["--account", "A", "--order", "BTC-PERP:1e17"], 3, "UPM-IN-142", ["2^53"]),
    (["--account", "A", "--order", "BTC-PERP"], 2, "UPM-CF-160", ["INSTRUMENT:QTY"]),
    (["--account", "A", "--order", "BTC-PERP:ten"], 2, "UPM-CF-160", ["plain number"]),
    (["--account", "A", "--deposit", "XYZ:5"], 3, "UPM-IN-145", ["no asset with a price"]),
    (["--account", "A", "--order", "BTC-PERP:1", "--netting-set", "N"], 3, "UPM-IN-144", ["netting set"]),
    (["--account", "A", "--order", "BTC-PERP:1", "--premium", "later"], 2, "UPM-CF-161", ["cash"]),
    (["--account", "A"], 2, "UPM-CF-161", ["nothing is asked"]),
    (["--account", "A", "--order", "BTC-PERP:1", "--max-age", "5"], 6, "UPM-MD-041", ["older than", "minutes"]),
])
def test_faults(upm: Command, finished: Path, arguments: list[str], code: int, error: str, words: list[str]):
    said = upm("whatif", finished, *arguments)
    assert (said.code, said.out) == (code, ""), said
    assert said.err.startswith(error), said.err
    for word in words:
        if word != "older than":
            assert word in said.err, said.err


def test_files_that_cannot_be_read(tmp_path: Path):
    for text in ("", "account_id,kind,name\n", "account_id,kind,name,quantity,colour\n", "account_id,kind,name,quantity\n", "account_id,kind,name,quantity\nA,order,BTC-PERP\n",
                 "account_id,kind,name,quantity\nA,order,BTC-PERP,ten\n", "account_id,kind,name,quantity\nA,swap,BTC-PERP,1\n"):
        (tmp_path / "c.csv").write_text(text)
        with pytest.raises(InputError, match="UPM-IN-150"):
            read_changes(tmp_path / "c.csv")


def test_more_faults(finished: Path):
    resident = desk.open_run(finished)
    for changes, code in (([], "UPM-IN-140"), ([desk.Transfer("A", "A", "USD", 1.0)], "UPM-IN-146"), ([desk.Transfer("A", "B", "USD", -1.0)], "UPM-IN-146"),
                          ([desk.Transfer("C", "B", "BTC-FUT", -51.0)], "UPM-IN-147"), ([desk.Order("A", "BTC-LINEAR", 1.0)], "UPM-IN-148")):
        with pytest.raises(InputError, match=code):
            desk.whatif(resident, [changes])
    assert desk.whatif(desk.open_run(finished, also=["BTC-LINEAR"]), [[desk.Order("A", "BTC-LINEAR", 1.0)]])
    ((broke,),) = desk.whatif(resident, [[desk.Deposit("A", "USD", -1e7)]])
    assert not broke.would_pass
    assert any("would be bankrupt" in n for n in broke.notes)
    bankrupt = [n for n, m in resident.margins.items() if float(m["equity"]) < 0.0]
    for name in bankrupt:
        ((answer,),) = desk.whatif(resident, [[desk.Deposit(name, "USD", 1.0)]])
        assert any("is bankrupt before the change" in n for n in answer.notes)


def test_what_would_change_a_byte_is_refused(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from upm_gpu.run import manifest

    run = tmp_path / "run"
    shutil.copytree(finished, run)
    resident, ask = desk.open_run(run), [[desk.Deposit("A", "USD", 1.0)]]
    assert desk.whatif(resident, ask)
    before = resident.stamps["inputs/config.toml"]
    for name in ("inputs/config.toml", "inputs/book/positions.csv", "inputs/market/spots.csv", "inputs/methodology.toml", "manifest.json"):
        path = run / name
        kept, times = path.read_bytes(), os.stat(path).st_mtime_ns
        path.write_bytes(kept + b"\n")
        with pytest.raises(IntegrityError, match=r"UPM-RN-083.*changed after the run was opened"):
            desk.whatif(resident, ask)
        with pytest.raises(IntegrityError, match="UPM-RN-020"):
            desk.open_run(run)
        path.write_bytes(kept)
        os.utime(path, ns=(times, times))
    assert resident.stamps["inputs/config.toml"] == before
    assert desk.whatif(resident, ask)
    # the same figures from another program
    real = manifest.versions()
    for name, value in (("numpy", "0.0"), ("upm_gpu", "9.9"), ("scipy", "0.1")):
        with monkeypatch.context() as patch:
            patch.setattr(manifest, "versions", lambda n=name, v=value: real | {n: v})
            with pytest.raises(UsageError, match=f"UPM-RN-080.*{name} was .*, is {value}"):
                desk.open_run(run)
    with monkeypatch.context() as patch:
        patch.setattr(manifest, "kernels_sha256", lambda folder=None: "0" * 64)
        with pytest.raises(UsageError, match=r"UPM-RN-080.*kernels were"):
            desk.open_run(run)
    # scenarios that are not the run's
    strange = desk.open_run(run)
    cube = next(iter(strange.cubes.values()))
    cube.unit[:, :] *= np.float32(1.0001)
    with pytest.raises(IntegrityError, match="UPM-RN-084"):
        desk.whatif(strange, ask)


def test_guided_scenarios_are_refused(tmp_path: Path):
    folder = small_run(tmp_path, config=CONFIG + 'sampler = "importance"\n')
    assert job.run(folder / "run.toml", {"output.path": str(folder / "run")}, quiet=True).exit_code == 0
    with pytest.raises(InputError, match="UPM-RN-081"):
        desk.open_run(folder / "run")


def test_an_old_market_is_refused(finished: Path):
    from upm_gpu.desk.command import answer_command

    with pytest.raises(StaleDataError):
        answer_command(finished, "A", ["BTC-PERP:1"], [], "", None, "cash", 60.0)
