"""Every configuration that ships runs on the sample as its own first lines say, and differs from the quick start where it says it does."""

from __future__ import annotations

import csv
import json
import tomllib
from pathlib import Path

import pytest
from command_line import here

ROOT = Path(__file__).parents[2] / "configs"
SECTIONS = {"schema_version", "book", "market", "model", "scenarios", "methodology", "compute", "output"}
ELSEWHERE = {"quickstart.toml", "listed.toml"}
"""run by test_golden.py, test_wheel.py and test_listed_sample.py"""
FILES = {p.relative_to(ROOT).as_posix(): tomllib.loads(p.read_text()) for p in ROOT.rglob("*.toml")}
RUNS = sorted({name for name, content in FILES.items() if set(content) <= SECTIONS} - ELSEWHERE)
SAYS = {"scenario/correlation_stress.toml": ("manifest.json", "March 2020"), "scenario/perpetual_funding.toml": ("scenario", "funding_rate[BTC]"), "surface_factors.toml": ("scenario", "volatility_skew[BTC]")}
"""what a run leaves that the quick start's does not"""


def test_run_configurations_are_told_from_other_files():
    """Methodologies, parameter files and stresses are read elsewhere."""
    assert set(SAYS) <= set(RUNS) and set(FILES) >= ELSEWHERE
    assert not {n for n in FILES if n.startswith(("model/", "methodology/"))} & set(RUNS)


@pytest.mark.parametrize("name", RUNS)
def test_it_runs_on_the_sample(tmp_path, capsys, monkeypatch, name):
    out = tmp_path / "run"
    said = here(capsys, monkeypatch, "run", f"configs/{name}", "--paths", "4096", "--out", out, "--quiet")
    assert said.code in (0, 4), said
    with open(out / "margin.csv") as file:
        margins = [float(r["initial_margin"]) for r in csv.DictReader(file)]
    assert len(margins) == 2000 and sum(m > 0.0 for m in margins) > 1500 and (out / "report.html").stat().st_size > 100_000
    manifest, (kind, word) = (out / "manifest.json").read_text(), SAYS.get(name, ("", ""))
    assert json.loads(manifest)["scenarios"] == 4096
    if kind == "scenario":
        import pyarrow.parquet as pq

        assert any(word in c for c in pq.read_schema(out / "worst_scenarios.parquet").names), pq.read_schema(out / "worst_scenarios.parquet").names
    else:
        assert word in manifest
