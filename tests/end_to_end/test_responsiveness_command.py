"""`upm responsiveness`: runs of three days to a table, and to the means that the buffer of the next run is used up against."""

from __future__ import annotations

import csv
import itertools
import json
from datetime import timedelta
from pathlib import Path

import pytest
from command_line import Command, here
from small_book import MARKET, VALUATION, write

from upm_gpu.calibrate.covariance import CovarianceFit
from upm_gpu.calibrate.parameter_file import write_parameters

BOOK = "account_id,instrument_id,quantity\nA,BTC-LINEAR,1\nB,ETH-PERP,-9000\n"
METHOD = 'schema_version = 1\nname = "test"\nversion = "1"\neffective_date = 2026-01-01\n{more}[collateral]\ndefault_haircut = 1.0\n'
BUFFER = '[[charges]]\nname = "anti_procyclicality"\ntool = "buffer"\n'


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Command:
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: here(capsys, monkeypatch, *arguments)


def day(tmp_path: Path, number: int, volatility: float, means: Path | None = None) -> Path:
    """A run of `number` days later under a daily volatility, its folder."""
    import numpy as np
    from small_book import GAUSSIAN

    folder = tmp_path / f"day{number}"
    later = (VALUATION + timedelta(days=number)).strftime("%Y-%m-%dT%H:%M:%SZ")
    # the option that expires on the next day is left out: its market is not this day's
    market = {"spots.csv": MARKET["spots.csv"].replace("2026-02-05T09:00:00Z", later)}
    write(folder, BOOK, market=market)
    if means is not None:
        (folder / "book" / "margin_means.csv").write_bytes(means.read_bytes())
    size = len(GAUSSIAN.state_names)
    fit = CovarianceFit(GAUSSIAN.state_names, VALUATION, volatility * np.ones(size), GAUSSIAN.correlation, "ewma", 0.97, degrees_of_freedom=np.full(size, 5.0), copula_degrees_of_freedom=5.0,
                        observations=np.full((size, size), 100), first=("2025-01-01",) * size)
    write_parameters(fit, folder / "p.toml")
    (folder / "m.toml").write_text(METHOD.format(more=BUFFER if means else ""))
    (folder / "run.toml").write_text(f'schema_version = 1\n[book]\npath = "{folder}/book"\n[market]\npath = "{folder}/market"\nmax_age_minutes = 0\n[methodology]\nfile = "{folder}/m.toml"\n'
                                     f'[model]\nparameters = "{folder}/p.toml"\n[scenarios]\ncount = 4096\n[output]\npath = "{folder}/run"\nreport = false\n')
    return folder


def test_three_days_and_the_buffer_of_the_fourth(command: Command, tmp_path: Path) -> None:
    runs = []
    for number, volatility in ((0, 0.04), (2, 0.02), (1, 0.03)):
        folder = day(tmp_path, number, volatility)
        said = command("run", folder / "run.toml", "--quiet")
        assert said.code in (0, 4), said
        runs.append(folder / "run")
    said = command("responsiveness", *runs, "--out", "table.csv", "--means", "means.csv", "--json")
    assert said.code == 0, said
    found = json.loads(said.out)
    margins = {}
    for run in runs:
        with (run / "margin.csv").open() as stream:
            margins[json.loads((run / "manifest.json").read_text())["valuation_time"]] = {r["account_id"]: float(r["initial_margin"]) for r in csv.DictReader(stream)}
    in_order = [margins[t] for t in sorted(margins)]
    for row in found["accounts"]:
        series = [m[row["account_id"]] for m in in_order]
        assert row["peak_to_trough"] == pytest.approx(max(series) / min(series), rel=1e-12)
        assert row["largest_rise_1d"] == pytest.approx(max(0.0, *(b / a - 1.0 for a, b in itertools.pairwise(series))), rel=1e-12)
        assert found["one_year_means"][row["account_id"]] == pytest.approx(sum(series) / 3.0, rel=1e-12)
    assert found["total"]["largest"] == pytest.approx(max(sum(m.values()) for m in in_order))
    with Path("table.csv").open() as stream:
        assert [r["account_id"] for r in csv.DictReader(stream)] == ["(all accounts)", "A", "B"]
    assert "peak/trough" in command("responsiveness", *runs).out

    fourth = day(tmp_path, 3, 0.045, Path("means.csv"))
    assert command("run", fourth / "run.toml", "--quiet").code in (0, 4)
    assert "book/margin_means.csv" in json.loads((fourth / "run" / "manifest.json").read_text())["inputs"]
    with (fourth / "run" / "margin.csv").open() as stream:
        for r in csv.DictReader(stream):
            core, mean = float(r["core"]), found["one_year_means"][r["account_id"]]
            left = min(max((1.5 - core / mean) / 0.5, 0.0), 1.0)
            assert 0.0 < left < 1.0 or r["account_id"] != "A"
            assert float(r["charge_anti_procyclicality"]) == pytest.approx(0.25 * left * core, rel=1e-9)

    for wrong, code, exit_code in (((runs[0],), "UPM-RN-072", 2), ((runs[0], runs[0]), "UPM-RN-073", 3), ((runs[0], tmp_path), "UPM-RN-001", 2)):
        said = command("responsiveness", *wrong)
        assert said.code == exit_code and code in said.err, said
    (runs[0] / "margin.csv").write_text("changed")
    said = command("responsiveness", *runs)
    assert said.code == 9 and "UPM-RN-020" in said.err
