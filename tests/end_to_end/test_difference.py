"""`upm diff`: shares are differences of fresh runs, add up exactly in any order, err as common scenarios do, and say what changed."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from command_line import POSITIONS, Command, here, history, small_run
from small_book import STUDENT, methodology, read, write

from upm_gpu import job
from upm_gpu.backend.select import choose
from upm_gpu.desk.explain import difference as module
from upm_gpu.desk.explain.difference import FIGURES, PARTS, _point, difference, step
from upm_gpu.desk.explain.difference_words import changed, plain
from upm_gpu.engine import compute_outcome
from upm_gpu.errors import InputError, UsageError
from upm_gpu.passes import in_memory
from upm_gpu.plan import make_plan
from upm_gpu.scenario.spec import ScenarioSpec

METHOD = """schema_version = 1
name = "other"
version = "9"
effective_date = 2026-01-01
[core]
level = 0.98
[collateral]
default_haircut = 1.0
[collateral.modes]
BTC = "simulated"
ETH = "simulated"
[collateral.haircuts]
USD = 0.0
[[charges]]
name = "minimum_gross"
rate = 0.05
"""
MORE = POSITIONS.replace("A,BTC-C70,3", "A,BTC-C70,7") + "E,BTC-LINEAR,-1\n"


def one_run(folder: Path, positions: str = POSITIONS, *, spot: str = "", seed: int = 7, law: str = "", method: bool = False) -> Path:
    small_run(folder, positions)
    config = (folder / "run.toml").read_text().replace("seed = 7", f"seed = {seed}").replace("[model]", f"[model]\n{law}")
    if method:
        (folder / "method.toml").write_text(METHOD)
        config += f'[methodology]\nfile = "{folder / "method.toml"}"\n'
    (folder / "run.toml").write_text(config + "[output]\nreport = false\n")
    if spot:
        spots = folder / "market" / "spots.csv"
        spots.write_text(spots.read_text().replace("70000.0", spot))
    assert job.run(folder / "run.toml", {"output.path": str(folder / "out")}, quiet=True).exit_code == 0
    return folder / "out"


def margins(run: Path) -> dict[str, float]:
    with (run / "margin.csv").open() as file:
        return {row["account_id"]: float(row["initial_margin"]) for row in csv.DictReader(file)}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("difference")
    return {"a": one_run(root / "a"), "trades": one_run(root / "t", MORE), "market": one_run(root / "m", MORE, spot="68000.0"),
            "all": one_run(root / "b", MORE, spot="68000.0", seed=8, law="ewma_lambda = 0.9", method=True)}


def adds_up(found) -> None:
    for account in found.accounts:
        for figure in FIGURES:
            parts = math.fsum([*(s.share.get(account, {}).get(figure, 0.0) for s in found.steps), found.program[account][figure]])
            assert abs(parts - found.change(account, figure)) <= 1e-9 * max(1.0, abs(found.change(account, figure)))


def test_shares_are_differences_of_fresh_runs(runs) -> None:
    found = difference(runs["a"], runs["all"])
    assert [s.name for s in found.steps] == list(PARTS)
    adds_up(found)
    before, trades, market = (margins(runs[n]) for n in ("a", "trades", "market"))
    for account in found.accounts:
        assert found.steps[0].share[account]["initial_margin"] == trades[account] - before.get(account, 0.0)
        assert found.steps[1].share[account]["initial_margin"] == market[account] - trades[account]
        assert found.program[account] == dict.fromkeys(FIGURES, 0.0)
    assert "E" in found.accounts and "E" not in before
    assert not found.notes


def test_another_order_adds_up_too_and_parts_them_otherwise(runs) -> None:
    turned = difference(runs["a"], runs["market"], PARTS[::-1])
    adds_up(turned)
    assert [s.name for s in turned.steps] == ["market", "trades"]
    straight = difference(runs["a"], runs["market"])
    assert straight.steps[0].share["A"]["initial_margin"] != turned.steps[1].share["A"]["initial_margin"]
    assert turned.steps[1].share["B"] == dict.fromkeys(FIGURES, 0.0)  # B neither trades nor depends on A


def test_nothing_changed(runs) -> None:
    found = difference(runs["a"], runs["a"])
    assert found.steps == ()
    adds_up(found)


def test_errors_are_of_common_scenarios_or_say_otherwise(runs) -> None:
    found = difference(runs["a"], runs["all"])
    by = {s.name: s for s in found.steps}
    assert by["trades"].error["B"] == 0.0 == by["trades"].share["B"]["core"]
    own = module._point(compute_outcome_of(runs["market"]))
    assert 0.0 < by["market"].error["C"] < 0.3 * own.error["C"]  # the same random numbers
    assert by["sampling"].error["B"] > 1.2 * own.error["B"]  # others: both errors count
    assert by["trades"].total_error == pytest.approx(by["trades"].error["A"], rel=2.0)
    assert not any(s.bound for s in found.steps)


def compute_outcome_of(run: Path):
    side = module.read_side(run)
    from upm_gpu.inputs_again import inputs_again

    again = inputs_again(run, side.manifest)
    return compute_outcome(make_plan(again.book, again.market, again.spec, again.methodology), choose("cpu"), 0, in_memory())


def test_what_cannot_be_margined_alone_is_joined(tmp_path, runs) -> None:
    """The second book holds what the first market does not quote: trades and market are one step, said by name."""
    coin = history() + "".join(line.replace(",BTC,", ",SOL,") + "\n" for line in history().splitlines() if ",BTC," in line)
    folder = small_run(tmp_path / "j", MORE + "A,SOL-SPOT,1\n", market={"history.csv": coin})
    for path, row in ((folder / "book" / "instruments.csv", "SOL-SPOT,spot,SOL,,USD,1,,,,\n"), (folder / "market" / "spots.csv", "SOL,100,USD,2026-02-05T09:00:00Z\n")):
        path.write_text(path.read_text() + row)
    assert job.run(folder / "run.toml", {"output.path": str(folder / "out")}, quiet=True).exit_code == 0
    found = difference(runs["a"], folder / "out")
    assert [s.name for s in found.steps] == ["trades and market"]
    assert "is one step with it" in found.notes[0]
    adds_up(found)
    adds_up(difference(runs["a"], folder / "out", ("market", "trades", "model", "sampling", "methodology")))


def test_another_program_has_its_part(runs, monkeypatch) -> None:
    real = module.read_side

    def shifted(path):
        side = real(path)
        return replace(side, margins={a: {f: v + 1.0 for f, v in m.items()} for a, m in side.margins.items()}) if path == runs["a"] else side

    monkeypatch.setattr(module, "read_side", shifted)
    found = difference(runs["a"], runs["trades"])
    adds_up(found)
    assert found.program["B"]["initial_margin"] == pytest.approx(-1.0, rel=1e-9)


def test_what_changed_in_words(runs) -> None:
    found = difference(runs["a"], runs["all"])
    assert changed(found, "trades") == ["positions.csv changed", "1 account new"]
    assert changed(found, "market")[0] == "BTC -2.9 %"
    assert changed(found, "model") == ["ewma_lambda: 0.97 to 0.9"]
    assert changed(found, "sampling") == ["seed: 7 to 8"]
    said = changed(found, "methodology")
    assert said[0] == "house 1 to other 9" and "charge added: minimum_gross" in said and "core.level: 0.99 to 0.98" in said
    json.dumps(plain(found), allow_nan=False)


@pytest.fixture
def upm(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    return lambda *arguments: here(capsys, monkeypatch, *arguments)


def test_the_command_and_its_folder(upm: Command, runs, tmp_path) -> None:
    out = tmp_path / "out"
    said = upm("diff", runs["a"], runs["market"], "--out", out)
    assert said.code == 0, said
    assert said.out.isascii()
    for words in ("Initial margin of all accounts", "trades", "BTC -2.9 %", "no residual", "Sum"):
        assert words in said.out, said.out
    with (out / "difference.csv").open() as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        assert float(row["initial_margin_trades"]) + float(row["initial_margin_market"]) + float(row["initial_margin_program"]) == pytest.approx(float(row["initial_margin_change"]), rel=1e-9, abs=1e-9)
    page = (out / "difference.html").read_text()
    assert "<script" not in page and "What changed it" in page
    assert json.loads((out / "difference.json").read_text())["order"] == list(PARTS)
    again = upm("diff", runs["a"], runs["market"], "--out", out)
    assert (again.code, again.err[:10]) == (2, "UPM-CF-171")
    assert upm("diff", runs["a"], runs["market"], "--order", "trades").err[:10] == "UPM-CF-171"
    assert upm("diff", runs["a"], tmp_path / "none").code == 2


def test_two_currencies_and_a_second_run_that_cannot_be(runs, monkeypatch) -> None:
    real = module.read_side
    monkeypatch.setattr(module, "read_side", lambda p: replace(real(p), manifest=real(p).manifest | {"reporting_currency": "EUR"}) if p == runs["trades"] else real(p))
    with pytest.raises(InputError, match="UPM-RN-091"):
        difference(runs["a"], runs["trades"])
    with pytest.raises(UsageError, match="UPM-CF-171"):
        difference(runs["a"], runs["trades"], ("trades", "trades"))


@pytest.mark.slow
def test_errors_of_shares_are_their_spread_over_seeds(tmp_path) -> None:
    book, market = read(write(tmp_path, "account_id,instrument_id,quantity\nA,BTC-C70,3\nA,BTC-P60,-5\nB,BTC-P70,-2\nB,ETH-C20L,-5\n"))
    later = replace(market, spots={**market.spots, "BTC": 68_000.0})
    changes, errors = [], []
    for seed in range(40):
        points = [_point(compute_outcome(make_plan(book, m, ScenarioSpec(count=8_192, seed=900 + seed), methodology(), STUDENT), choose("cpu"), 0, in_memory())) for m in (market, later)]
        found = step(("market",), *points)
        changes.append([found.share[a]["core"] for a in "AB"] + [sum(s["core"] for s in found.share.values())])
        errors.append([*(found.error[a] for a in "AB"), found.total_error])
    ratio = np.std(changes, axis=0, ddof=1) / np.mean(errors, axis=0)
    # 40 seeds know a deviation to 11 %
    assert np.all((ratio > 0.6) & (ratio < 1.55)), ratio
