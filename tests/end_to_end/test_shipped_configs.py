"""Every configuration that ships runs on the sample as its own first lines say, and differs from the quick start where it says it does."""

from __future__ import annotations

import csv
import json
import tomllib
from pathlib import Path

import pytest
from command_line import here

ROOT = Path(__file__).parents[2] / "configs"
NOT_RUNS = {"methodology/house_v1.toml", "model/bates.toml", "model/heston.toml", "model/merton.toml", "scenario/standard_stress.toml"}
"""what a run configuration names: methodologies, parameter files (test_models.py), stresses"""
RUNS = sorted({p.relative_to(ROOT).as_posix() for p in ROOT.rglob("*.toml")} - NOT_RUNS - {"quickstart.toml"})
SAYS = {"scenario/correlation_stress.toml": ("manifest.json", "March 2020"), "scenario/perpetual_funding.toml": ("scenario", "funding_rate[BTC]"), "surface_factors.toml": ("scenario", "volatility_skew[BTC]")}


def test_each_file_is_known():
    """A new configuration is run here, or named among those that are no runs; the golden table and the wheel's test run the quick start."""
    assert set(RUNS) == set(SAYS)
    for name in NOT_RUNS:
        assert not {"book", "scenarios", "compute"} & set(tomllib.loads((ROOT / name).read_text()))


@pytest.mark.parametrize("name", RUNS)
def test_it_runs_on_the_sample(tmp_path, capsys, monkeypatch, name):
    out = tmp_path / "run"
    said = here(capsys, monkeypatch, "run", f"configs/{name}", "--paths", "4096", "--out", out, "--quiet")
    assert said.code in (0, 4), said
    with open(out / "margin.csv") as file:
        margins = [float(r["initial_margin"]) for r in csv.DictReader(file)]
    assert len(margins) == 2000 and sum(m > 0.0 for m in margins) > 1500 and (out / "report.html").stat().st_size > 100_000
    manifest, (kind, word) = (out / "manifest.json").read_text(), SAYS[name]
    assert json.loads(manifest)["scenarios"] == 4096
    if kind == "scenario":
        import pyarrow.parquet as pq

        assert any(word in c for c in pq.read_schema(out / "worst_scenarios.parquet").names), pq.read_schema(out / "worst_scenarios.parquet").names
    else:
        assert word in manifest
