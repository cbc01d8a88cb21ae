"""`upm compare`: rule books and Monte Carlo side by side, two versions of one file, the words, the files, the refusals."""

from __future__ import annotations

import csv
import hashlib
import json
from pathlib import Path

import pytest
from command_line import here, small_run

from upm_gpu.shipped import find_file

V2 = find_file("configs/methodology/derive_pmrm2_v2.toml").read_text()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    small_run(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_rule_books_and_monte_carlo_side_by_side(folder, capsys, monkeypatch):
    said = here(capsys, monkeypatch, "compare", "--config", "run.toml", "--methodologies", "house_v1,derive_pmrm2,derive_pmrm_v1", "--out", "out", "--json")
    assert said.code == 0, said
    found = json.loads(said.out)
    assert [m["title"].split()[0] for m in found["methodologies"]] == ["house", "derive_pmrm2", "derive_pmrm"] and found["units"] == 4
    with open("out/margins.csv") as file:
        rows = list(csv.DictReader(file))
    with open("out/charges.csv") as file:
        charges = list(csv.DictReader(file))
    assert len(rows) == 12 and {r["unit"] for r in rows} == {"A", "B", "C", "D"}
    for row in rows:  # charges sum to the margin, changes are against the first, only Monte Carlo has an error
        mine = [float(c["amount"]) for c in charges if (c["unit"], c["methodology"]) == (row["unit"], row["methodology"])]
        assert sum(mine) == pytest.approx(float(row["initial_margin"]), rel=1e-12)
        base = next(float(r["initial_margin"]) for r in rows if r["unit"] == row["unit"] and r["methodology"].startswith("house"))
        assert float(row["initial_margin_change"]) == pytest.approx(float(row["initial_margin"]) - base, rel=1e-12, abs=1e-9)
        assert (row["standard_error"] != "") == row["methodology"].startswith("house") and (row["worst_scenario"] == "") == row["methodology"].startswith("house")
    total = sum(float(r["initial_margin"]) for r in rows if r["methodology"] == "derive_pmrm2 2")
    second = found["methodologies"][1]
    assert second["initial_margin"] == pytest.approx(total, rel=1e-12)
    assert any(s.startswith("within two standard errors") for s in second["explanation"]) and any("decided by: " in s for s in second["explanation"])
    for line in Path("out/SHA256SUMS").read_text().splitlines():
        digest, name = line.split("  ")
        assert hashlib.sha256(Path("out", name).read_bytes()).hexdigest() == digest
    kept = json.loads(Path("out/compare.json").read_text())
    assert kept["methodologies"] == found["methodologies"] and len(kept["inputs"]["methodology/derive_pmrm2_v2.toml"]) == 64
    assert "derive_pmrm2 2 against house 1" in Path("out/explanation.txt").read_text()
    again = here(capsys, monkeypatch, "compare", "--config", "run.toml", "--methodologies", "house_v1,derive_pmrm2", "--out", "out")
    again.refused(2, "UPM-RN-002", "left untouched")


def test_the_effect_of_a_parameter_before_it_goes_live(folder, capsys, monkeypatch):
    """A new version that only raises short-option contingencies moves that charge alone, by that ratio, in accounts with naked shorts alone."""
    Path("next.toml").write_text(V2.replace('version = "2"', 'version = "2.1"').replace("option_initial_extra = 0.002", "option_initial_extra = 0.007"))
    said = here(capsys, monkeypatch, "compare", "--book", "book", "--market", "market", "--methodologies", "derive_pmrm2_v2,next.toml", "--out", "out", "--quiet")
    assert said.code == 0 and not said.err, said
    assert "parameters: contingency.option_initial_extra 0.002 -> 0.007" in said.out and "by charge: short_options +" in said.out and "(100 %)" in said.out
    with open("out/charges.csv") as file:
        charges = {(r["unit"], r["methodology"], r["charge"]): float(r["amount"]) for r in csv.DictReader(file)}
    for (unit, methodology, charge), amount in charges.items():
        if methodology == "derive_pmrm2 2":
            assert charges[unit, "derive_pmrm2 2.1", charge] == pytest.approx(amount * (2.0 if charge == "short_options" else 1.0), rel=1e-12)
    assert charges["A", "derive_pmrm2 2", "short_options"] == pytest.approx(5 * 70_000.0 * 0.005)  # five puts short; the calls are long
    back = here(capsys, monkeypatch, "compare", "--book", "book", "--market", "market", "--methodologies", "next.toml,derive_pmrm2", "--quiet")
    assert "fall most" in back.out and "rise most" not in back.out and "0 accounts need more" in back.out


def test_one_rule_book_alone(folder, capsys, monkeypatch):
    """What `upm run` points to: margins and charges of every account, without a second methodology."""
    said = here(capsys, monkeypatch, "compare", "--book", "book", "--market", "market", "--methodologies", "derive_pmrm2", "--out", "one", "--quiet")
    assert "accounts that need most" in said.out and "against" not in said.out
    with open("one/margins.csv") as file:
        margins = {r["unit"]: float(r["initial_margin"]) for r in csv.DictReader(file)}
    with open("one/charges.csv") as file:
        charges = list(csv.DictReader(file))
    assert margins and max(margins.values()) > 0.0
    for unit, amount in margins.items():
        assert amount == pytest.approx(sum(float(r["amount"]) for r in charges if r["unit"] == unit), rel=1e-12)


def test_refusals(folder, capsys, monkeypatch):
    base = ("compare", "--book", "book", "--market", "market", "--methodologies")
    here(capsys, monkeypatch, *base, "house,house").refused(2, "UPM-CF-124", "different")
    here(capsys, monkeypatch, *base, "house,house_v2").refused(2, "UPM-CF-124", "different")
    here(capsys, monkeypatch, *base, "house,stans_of_mars").refused(3, "UPM-CF-123", "derive_pmrm2_v2")
    Path("wrong.toml").write_text(V2.replace("range_up = 0.5", "range_up = -0.5").replace("\n[peg]\n", "\n[peg]\nthreshhold = 1.0\n"))
    here(capsys, monkeypatch, *base, "house,wrong.toml").refused(3, "UPM-CF-056", "wrong.toml line", "volatility.range_up", "peg.threshhold", "Did you mean threshold?")
    Path("bare.toml").write_text(V2.split("[collateral.BTC]")[0] + "[collateral.ETH]\nmaintenance_haircut = 0.1\ninitial_haircut_extra = 0.0\n")
    here(capsys, monkeypatch, *base, "bare.toml,derive_pmrm2").refused(3, "UPM-CF-122", "no haircut of BTC", "[collateral.BTC]")
    here(capsys, monkeypatch, "run", "run.toml", "--methodology", "configs/methodology/derive_pmrm2_v2.toml", "--out", "r").refused(3, "UPM-CF-125", "no run", "upm compare --methodologies", "derive_pmrm2_v2.toml --out DIR")
