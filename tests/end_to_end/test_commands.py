"""The other commands, from files to files: each does what it says, and what one writes the next one reads."""

from __future__ import annotations

import csv
import io
import json
import math
import shutil
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from command_line import CONFIG, POSITIONS, PROMISED, Command, Said, here, small_run

from upm_gpu.rng import normal

CHAIN = Path(__file__).parent / "data" / "deribit_chain_20260206.csv.gz"
FACTORS = ("log_level[BTC]", "log_level[ETH]", "volatility_shift[BTC]", "volatility_shift[ETH]")
VOLATILITY = (0.03, 0.04, 0.05, 0.06)
PLAIN_MODEL = 'name = "gbm"\ncopula = "gaussian"\nmarginal = "gaussian"\nparameters = "plain.toml"\nhorizons = ["1d", "2d"]\nsteps = {steps}\n'


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_run(tmp_path_factory.mktemp("small"))


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Command:
    """`upm` in this process, its working folder empty; it must end with exit code 0."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> Said:
        said = here(capsys, monkeypatch, *arguments)
        assert said.code == 0, said
        return said

    return run


@pytest.fixture(scope="module")
def finished(small: Path) -> Path:
    """A finished run, made by the functions behind the command."""
    from upm_gpu import job

    assert job.run(small / "run.toml", {"output.path": str(small / "finished")}, quiet=True).exit_code == 0
    return small / "finished"


@pytest.fixture
def run_copy(finished: Path, tmp_path: Path) -> Path:
    shutil.copytree(finished, tmp_path / "run")
    return tmp_path / "run"


# ---- simulate


def plain_model(folder: Path, count: int, steps: int = 1) -> Path:
    """A run configuration of independent Gaussian factors."""
    rows = [", ".join("1.0" if i == j else "0.0" for j in range(4)) for i in range(4)]
    (folder / "plain.toml").write_text('schema_version = 1\nkind = "covariance"\nvaluation_time = "2026-02-05T09:00:00Z"\n'
                                       f"states = {json.dumps(FACTORS)}\ndaily_volatility = {list(VOLATILITY)}\ncorrelation = [{', '.join(f'[{r}]' for r in rows)}]\n")
    path = folder / f"simulate_{count}_{steps}.toml"
    path.write_text(CONFIG.replace('horizons = ["1d", "2d"]\n', PLAIN_MODEL.format(steps=steps)).replace("count = 4096", f"count = {count}"))
    return path


@pytest.mark.parametrize("device", ["auto", "reference"])
def test_simulate_writes_the_draws_of_their_addresses(command: Command, small: Path, tmp_path: Path, device: str) -> None:
    """One row a (scenario, step); with independent Gaussian factors each move is volatility x normal(seed, scenario, factor, step) - half the variance."""
    said = command("simulate", plain_model(small, 5000), "--out", "draws.parquet", "--device", device)
    assert said.out == "" and "5000 scenarios x 2 dates x 4 factors" in said.err
    table = pq.read_table(tmp_path / "draws.parquet")
    assert table.column_names == ["scenario", "step", "days", *FACTORS]
    assert [str(t) for t in table.schema.types] == ["uint32", "int32", "double"] + ["double"] * 4
    frame = table.to_pandas()
    assert frame["scenario"].tolist() == [s for s in range(5000) for _ in range(2)]
    assert frame["step"].tolist() == [0, 1] * 5000 and frame["days"].tolist() == [1.0, 2.0] * 5000
    draws = normal(7, 0, 5000, 4, steps=2)
    for k, (factor, sigma) in enumerate(zip(FACTORS, VOLATILITY, strict=True)):
        drift = -0.5 * sigma**2 if factor.startswith("log_level") else 0.0
        moves = frame[factor].to_numpy().reshape(5000, 2)
        assert moves[:, 0] == pytest.approx(sigma * draws[k, 0] + drift, rel=1e-13, abs=1e-16)
        assert moves[:, 1] == pytest.approx(sigma * (draws[k, 0] + draws[k, 1]) + 2.0 * drift, rel=1e-12, abs=1e-15)


def test_simulate_more_scenarios_or_steps_keeps_the_first(command: Command, small: Path, tmp_path: Path) -> None:
    command("simulate", plain_model(small, 700), "--out", "few.parquet", "--quiet")
    command("simulate", plain_model(small, 5000, steps=4), "--out", "more.parquet", "--quiet")
    few, more = pq.read_table(tmp_path / "few.parquet").to_pandas(), pq.read_table(tmp_path / "more.parquet").to_pandas()
    assert sorted(more["days"].unique()) == [0.5, 1.0, 1.5, 2.0]
    kept = more[(more["scenario"] < 700) & more["days"].isin([1.0, 2.0])].reset_index(drop=True)
    assert (kept[list(FACTORS)] == few[list(FACTORS)]).all(axis=None)


def test_simulated_prices_are_martingales_under_the_calibrated_law(command: Command, small: Path, tmp_path: Path) -> None:
    """E[S_h / S_0] = 1 at every date under the t copula with truncated t marginals; 20,000 scenarios, fixed seed, four standard errors
    (0.0008 on a two-day move of 4 %): a centring left out, at least 0.0008 a day, would show at the longer date of ETH."""
    (small / "law.toml").write_text(CONFIG.replace("count = 4096", "count = 20000"))
    said = command("simulate", small / "law.toml", "--out", "law.parquet", "--quiet")
    assert said == Said(0, "", "")
    frame = pq.read_table(tmp_path / "law.parquet").to_pandas()
    for days, group in frame.groupby("days"):
        for asset in ("BTC", "ETH"):
            growth = np.exp(group[f"log_level[{asset}]"])
            assert abs(growth.mean() - 1.0) < 4.0 * growth.std() / math.sqrt(len(growth)), (asset, days)
            assert abs(group[f"volatility_shift[{asset}]"].mean()) < 4.0 * group[f"volatility_shift[{asset}]"].std() / math.sqrt(len(group))


# ---- import, generate, calibrate, run


def test_from_a_chain_to_margins(command: Command, tmp_path: Path) -> None:
    """import deribit -> generate book -> calibrate covariance -> run, each on what the last one wrote."""
    summary = json.loads(command("import", "deribit", CHAIN, "--history", "sample:crypto", "--out", "live", "--json").out)
    assert (summary["options"], summary["rejects"], summary["market"]) == (1720, 0, "live/market")
    command("generate", "book", "--market", "live/market", "--accounts", "20", "--seed", "5", "--out", "book", "--json")
    found = json.loads(command("calibrate", "covariance", "live/market", "--assets", "BTC,ETH", "--out", "parameters.toml", "--json").out)
    assert found["factors"] == list(FACTORS) and all(0.005 < v < 0.5 for v in found["daily_volatility"])
    (tmp_path / "run.toml").write_text('schema_version = 1\n[book]\npath = "book"\n[market]\npath = "live/market"\n[model]\nparameters = "parameters.toml"\n'
                                       '[scenarios]\ncount = 4096\n[output]\npath = "run"\nreport = false\n')
    summary = json.loads(command("run", "run.toml", "--json").out)
    assert summary["accounts"] == 20 and summary["initial_margin"] > 0.0
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert manifest["valuation_time"] == "2026-02-06T09:35:16Z"
    again = command("generate", "book", "--market", "live/market", "--accounts", "20", "--seed", "5", "--out", "again", "--json")
    assert json.loads(again.out)
    for name in ("positions.csv", "collateral.csv"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "book" / name).read_bytes()
    command("generate", "book", "--market", "live/market", "--accounts", "20", "--seed", "6", "--out", "other")
    assert (tmp_path / "other" / "positions.csv").read_bytes() != (tmp_path / "book" / "positions.csv").read_bytes()


def test_calibrated_parameters_give_the_margins_of_a_run_that_calibrates(command: Command, small: Path, finished: Path, tmp_path: Path) -> None:
    said = command("calibrate", "covariance", small / "market", "--out", small / "fitted.toml")
    assert said.out.startswith(f"{small / 'fitted.toml'}: 4 factors; daily volatility log_level[BTC] ")
    (small / "fitted_run.toml").write_text(CONFIG.replace("[model]", '[model]\nparameters = "fitted.toml"'))
    command("run", small / "fitted_run.toml", "--out", "run", "--quiet")
    for name in PROMISED:
        assert (tmp_path / "run" / name).read_bytes() == (finished / name).read_bytes(), name
    assert (tmp_path / "run" / "inputs" / "parameters.toml").read_bytes() == (small / "fitted.toml").read_bytes()
    shutil.move(small / "fitted.toml", small / "moved.toml")  # the run has its own copy
    (tmp_path / "run" / "SHA256SUMS").unlink()
    command("resume", "run", "--quiet")
    for name in PROMISED:
        assert (tmp_path / "run" / name).read_bytes() == (finished / name).read_bytes(), name


# ---- price


def test_price_to_a_file_is_price_to_stdout(command: Command, tmp_path: Path) -> None:
    (tmp_path / "cases.csv").write_text("case_id,product,model,option_type,spot,strike,time_to_expiry,rate,dividend_yield,volatility\n"
                                        "hull,european,black_scholes,call,42,40,0.5,0.1,0,0.2\n")
    shown = command("price", "cases.csv", "--device", "reference").out
    (row,) = csv.DictReader(io.StringIO(shown))
    assert float(row["price"]) == pytest.approx(4.759422392871533, rel=1e-13)
    assert command("price", "cases.csv", "--device", "reference", "--out", "values.csv").out == ""
    assert (tmp_path / "values.csv").read_text() == shown


# ---- a finished run


def test_explain_as_data(command: Command, finished: Path) -> None:
    """Charges add up, contributions sum to the expected shortfall, the worst scenarios are the worst."""
    margin = pd.read_parquet(finished / "margin.parquet").set_index("account_id")
    for account in margin.index:
        found = json.loads(command("explain", finished, "--account", account, "--json").out)
        row = margin.loc[account]
        for name in ("initial_margin", "expected_shortfall", "value_at_risk", "equity", "excess"):
            assert found[name] == row[name]
        assert found["status"] == row["status"]
        assert found["core"] + sum(found["charges"].values()) == pytest.approx(row["initial_margin"], rel=1e-12)
        assert sum(c["contribution"] for c in found["contributions"]) == pytest.approx(row["expected_shortfall"], rel=1e-9)
        pnl = [w["pnl"] for w in found["worst_scenarios"]]
        assert pnl == sorted(pnl) and len(pnl) == 10 and -pnl[-1] > row["value_at_risk"]
        assert set(found["worst_scenarios"][0]["states"]) == set(FACTORS)


def test_histogram_of_any_account(command: Command, finished: Path) -> None:
    """Counts are those of the report's own histograms, VaR and ES those of margin.csv, to the bit."""
    margin = pd.read_parquet(finished / "margin.parquet").set_index("account_id")
    kept = pd.read_parquet(finished / "report" / "histograms.parquet")
    for account in margin.index:
        found = json.loads(command("explain", finished, "--account", account, "--histogram", "--json").out)["histogram"]
        (unit,) = found["units"]
        assert (found["account_id"], found["level"], found["horizon_days"], found["scenarios"], found["notes"]) == (account, 0.99, 2.0, 4096, [])
        for name in ("value_at_risk", "expected_shortfall", "expected_shortfall_standard_error"):
            assert unit[name] == margin.loc[account, name]
        wanted = kept[(kept["account_id"] == account) & (kept["horizon_days"] == 2.0)]
        assert [b["count"] for b in unit["bins"]] == wanted["count"].tolist() and sum(b["count"] for b in unit["bins"]) == 4096
        assert [b["left"] for b in unit["bins"]] == wanted["bin_left"].tolist()


def test_histogram_for_people(command: Command, finished: Path) -> None:
    """Bars, VaR and ES marked on the bin they fall into."""
    margin = pd.read_parquet(finished / "margin.parquet").set_index("account_id")
    text = command("explain", finished, "--account", "A", "--histogram").out
    lines = text[text.index("P&L over 2 days, USD, 4,096 scenarios"):].splitlines()
    bars = [line for line in lines if " |" in line]
    assert len(bars) == 40
    left = [float(line.split("|")[0].replace(",", "")) for line in bars]
    assert left == sorted(left)
    assert sum(int(line.split("|")[1].split("<-")[0].replace("#", "").replace(",", "")) for line in bars) == 4096
    for mark, name in (("VaR", "value_at_risk"), ("ES", "expected_shortfall")):
        (number,) = (n for n, line in enumerate(bars) if "<-" in line and mark in line.split("<-")[1])
        assert left[number] - 1.0 <= -margin.loc["A", name] <= left[number + 1] + 1.0
    assert f"VaR 99 % {margin.loc['A', 'value_at_risk']:,.2f}" in lines


def test_histogram_of_a_pool_and_of_an_account_without_lines(command: Command, tmp_path: Path) -> None:
    """An account margined in two units shows both; one with nothing but cash shows no loss."""
    lines = POSITIONS.splitlines()
    text = "\n".join([lines[0] + ",netting_set", *(line + "," for line in lines[1:]), "A,ETH-PERP,500,desk", "B,ETH-PERP,-100,desk"]) + "\n"
    small_run(tmp_path / "in", text)
    (tmp_path / "in" / "book" / "accounts.csv").write_text("account_id,member_id\nA,M\nB,M\nE,\n")
    with (tmp_path / "in" / "book" / "collateral.csv").open("a") as stream:
        stream.write("E,USD,100\n")
    command("run", tmp_path / "in" / "run.toml", "--out", "run", "--quiet")
    found = json.loads(command("explain", "run", "--account", "A", "--histogram", "--json").out)["histogram"]
    assert [u["unit"] for u in found["units"]] == ["A", "M/desk"]
    units = pd.read_parquet(tmp_path / "run" / "margin_by_netting_set.parquet")
    for unit in found["units"]:
        assert unit["expected_shortfall"] in units["expected_shortfall"].to_numpy(), units
    assert "unit M/desk" in command("explain", "run", "--account", "B", "--histogram").out
    (alone,) = json.loads(command("explain", "run", "--account", "E", "--histogram", "--json").out)["histogram"]["units"]
    assert (alone["lines"], alone["value_at_risk"], alone["expected_shortfall"]) == (0, 0.0, 0.0)


def test_report_again_is_the_same_report(command: Command, run_copy: Path) -> None:
    before = {p: p.read_bytes() for p in run_copy.rglob("*") if p.is_file() and p.name != "run.log.jsonl"}
    assert command("report", "run").out == "run/report.html\n"
    assert {p: p.read_bytes() for p in before} == before
    (run_copy / "report.html").write_text("scribbled over")
    command("report", "run")
    assert (run_copy / "report.html").read_bytes() == before[run_copy / "report.html"]
    command("verify", "run")


def test_resume_of_a_finished_run_does_nothing(command: Command, run_copy: Path) -> None:
    before = {p: p.read_bytes() for p in run_copy.rglob("*") if p.is_file()}
    assert command("resume", "run").out == "run: finished already, nothing to do.\n"
    assert json.loads(command("resume", "run", "--json").out) == {"run": "run", "finished": True}
    assert command("resume", "run", "--quiet") == Said(0, "", "")
    assert {p: p.read_bytes() for p in run_copy.rglob("*") if p.is_file()} == before


def test_verify_counts_what_it_checked(command: Command, finished: Path) -> None:
    listed = len((finished / "SHA256SUMS").read_text().splitlines())
    assert command("verify", finished).out == f"{finished}: {listed} files, every checksum as written\n"


def test_the_manifest_repeats_the_run(command: Command, finished: Path, small: Path) -> None:
    """Seed, count, precision, device, hashes, and the seconds of each phase."""
    manifest = json.loads((finished / "manifest.json").read_text())
    assert (manifest["format"], manifest["seed"], manifest["scenarios"], manifest["precision"]) == (1, 7, 4096, "mixed")
    assert manifest["methodology"].startswith("house") and manifest["reporting_currency"] == "USD"
    assert {"engine", "simulate", "price", "aggregate", "tail"} <= set(manifest["timings"])
    assert manifest["timings"]["engine"] >= 0.0 and time.strptime(manifest["valuation_time"], "%Y-%m-%dT%H:%M:%SZ")
    assert {"config.toml", "methodology.toml", "book/positions.csv", "market/history.csv"} <= set(manifest["inputs"])
