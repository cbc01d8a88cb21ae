"""Faults 69, 98 and 99 on the real engine: `upm run` on a small book, killed at file operations of every phase, then `upm resume`.

Compared are the files that are promised to be equal: margin, contributions, worst scenarios, calls, rejects, report inputs.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from importlib import resources
from pathlib import Path

import pytest

from upm_gpu.errors import IntegrityError
from upm_gpu.run.verify import verify_run

ROOT = Path(__file__).parents[2]
SAMPLE = Path(str(resources.files("upm_gpu").joinpath("errors.py"))).parent / "sample" / "crypto"
PROMISED = ("margin.parquet", "margin.csv", "contributions.parquet", "worst_scenarios.parquet", "calls.csv", "rejects.csv", "greeks.parquet", "portfolio_haircuts.parquet")
EARLY, LATE = 60, 110
"""file operations of the run with value tables: amid the third table, amid the chunks"""
CHARGES = 340
"""of a run with charges: amid the last of its passes"""
AMERICAN = {"FEB": "2026-02-27", "MAR": "2026-03-27", "APR": "2026-04-24", "JUN": "2026-06-26"}
KILLER = """
import sys
sys.path.insert(0, {folder!r})
import toy_run
toy_run.kill_at({operation})
from upm_gpu.cli import main
sys.argv = ["upm", *{arguments!r}]
main()
"""


def upm(arguments: list[str], kill: int = 0) -> subprocess.CompletedProcess:
    """The command line in a process of its own, killed at its n-th file operation."""
    text = KILLER.format(folder=str(Path(__file__).parent), operation=kill or -1, arguments=arguments)
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, "-c", text], env=environment, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six accounts over the sample's market, five chunks of one block."""
    place = tmp_path_factory.mktemp("small")
    book = place / "book"
    book.mkdir()
    shutil.copy(SAMPLE / "book" / "instruments.csv", book)
    options = [line.split(",")[0] for line in (book / "instruments.csv").read_text().splitlines() if ",option,BTC," in line][:200:20]
    lines = ["account_id,instrument_id,quantity"]
    lines += [f"A-{a},{name},{(-1) ** (a + n) * (n + 1)}" for a in range(6) for n, name in enumerate(options) if (a + n) % 3]
    (book / "positions.csv").write_text("\n".join(lines) + "\n")
    (book / "collateral.csv").write_text("account_id,asset,quantity\nA-0,USD,100000\nA-1,BTC,2\n")
    path = place / "run.toml"
    path.write_text(f'schema_version = 1\n[book]\npath = "{book}"\n[market]\npath = "sample:crypto"\n'
                    "[model]\nhorizons = [\"2d\"]\n[scenarios]\ncount = 20480\nseed = 7\n[compute]\ndevice = \"auto\"\nchunk = 4096\n")
    return path


@pytest.fixture(scope="module")
def clean(config: Path) -> Path:
    folder = config.parent / "clean"
    done = upm(["run", str(config), "--out", str(folder), "--quiet"])
    assert done.returncode in (0, 4), done.stderr
    return folder


# Of about 200 operations the first 50 copy the inputs, the next 90 keep five chunks, the last 60 write results and seal.
@pytest.mark.parametrize("operation", [100, 150, *(pytest.param(n, marks=pytest.mark.slow) for n in range(3, 199, 8))])
def test_a_killed_run_resumes_to_the_same_bytes(config: Path, clean: Path, tmp_path: Path, operation: int) -> None:
    folder = tmp_path / "run"
    killed = upm(["run", str(config), "--out", str(folder), "--quiet"], kill=operation)
    assert killed.returncode == -signal.SIGKILL, (killed.returncode, killed.stderr)
    if (folder / "plan.json").exists():
        again = upm(["resume", str(folder), "--quiet"])
    else:
        again = upm(["run", str(config), "--out", str(folder), "--quiet"])
    assert again.returncode in (0, 4), again.stderr
    for name in PROMISED:
        assert (folder / name).read_bytes() == (clean / name).read_bytes(), name
    assert verify_run(folder)["leftovers"] == []


def test_a_killed_importance_run_resumes_to_the_same_bytes(config: Path, tmp_path: Path) -> None:
    """Two directional accounts; the guide, the weights and the depth of the tail are found again."""
    book, text = tmp_path / "book", config.read_text()
    shutil.copytree(config.parent / "book", book)
    (book / "positions.csv").write_text("account_id,instrument_id,quantity\nA-0,BTC-PERPETUAL,20000\nA-1,BTC-PERPETUAL,-300000\n")
    run = tmp_path / "run.toml"
    run.write_text(text.replace(str(config.parent / "book"), str(book)).replace("seed = 7", 'seed = 7\nsampler = "importance"'))
    for name, kill in (("clean", 0), ("run", 100)):
        done = upm(["run", str(run), "--out", str(tmp_path / name), "--quiet"], kill=kill)
        assert done.returncode == (-signal.SIGKILL if kill else 0), done.stderr
    again = upm(["resume", str(tmp_path / "run"), "--quiet"])
    assert again.returncode == 0, again.stderr
    for name in (*PROMISED, "report/tails.parquet", "report/histograms.parquet"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "clean" / name).read_bytes(), name
    assert b"variance_ratio" in (tmp_path / "clean" / "margin.csv").read_bytes()


def test_a_killed_run_resumes_inside_the_passes_of_its_charges(config: Path, tmp_path: Path) -> None:
    """Stopped in the second pass over the base set, whose rows are found again from the first."""
    run = tmp_path / "run.toml"
    run.write_text(config.read_text() + '[methodology]\nfile = "configs/methodology/stans_v1.toml"\n')
    for name, kill in (("clean", 0), ("run", CHARGES)):
        done = upm(["run", str(run), "--out", str(tmp_path / name), "--quiet"], kill=kill)
        assert done.returncode == (-signal.SIGKILL if kill else 0), done.stderr
    assert {f.name.split("-")[0] for f in (tmp_path / "run" / "chunks").glob("*.upm")} == {"0", "1000", "1002", "1004", "1005"}
    again = upm(["resume", str(tmp_path / "run"), "--quiet"])
    assert again.returncode == 0, again.stderr
    for name in PROMISED:
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "clean" / name).read_bytes(), name
    assert b"charge_concentration" in (tmp_path / "clean" / "margin.csv").read_bytes()
    assert [p["scenarios"] for p in json.loads((tmp_path / "clean" / "manifest.json").read_text())["further_passes"]] == [10_000] * 4


ALL_FACTORS = """basis = true
basis_volatility = 3e-4
funding = "path"
funding_rate = 3e-4
funding_volatility = 4e-4
rates = "moving"
rate_volatility = 6e-4
surface_factors = ["level", "skew", "slope"]
arbitrage = "project"
skew_half_life = 8.0
[[model.correlation_regimes]]
name = "crisis"
probability = 0.2
share = 0.8
toward = "one"
"""
"""derived states of every kind, moved surfaces, regimes"""
FILTERED = 'name = "filtered_historical"\nfilter = "ewma"\nfunding = "path"\nfunding_rate = 3e-4\n'


@pytest.mark.parametrize(("model", "kill"), [(ALL_FACTORS, 110), (FILTERED, 140)], ids=["all factors", "filtered history"])
def test_a_killed_run_of_another_model_resumes_to_the_same_bytes(config: Path, tmp_path: Path, model: str, kill: int) -> None:
    """Counts of events (projected surfaces) and regimes are sums over chunks as well, and stand in the manifest."""
    book = tmp_path / "book"
    shutil.copytree(config.parent / "book", book)
    with (book / "positions.csv").open("a") as file:
        file.write("A-0,BTC-PERPETUAL,20000\nA-6,BTC-PERPETUAL,-300000\n")
    run = tmp_path / "run.toml"
    run.write_text(config.read_text().replace(str(config.parent / "book"), str(book)).replace("[model]\nhorizons = [\"2d\"]\n", f'[model]\nhorizons = ["2d"]\n{model}'))
    for name, at in (("clean", 0), ("run", kill)):
        done = upm(["run", str(run), "--out", str(tmp_path / name), "--quiet"], kill=at)
        assert done.returncode in ((-signal.SIGKILL,) if at else (0, 4)), done.stderr
    kept = len(list((tmp_path / "run").glob("chunks/*")))
    again = upm(["resume", str(tmp_path / "run"), "--quiet"])
    assert again.returncode in (0, 4), again.stderr
    assert kept
    for name in (*PROMISED, "report/tails.parquet", "report/histograms.parquet"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "clean" / name).read_bytes(), name
    told = [json.loads((tmp_path / name / "manifest.json").read_text()) for name in ("run", "clean")]
    for key in ("derived_events", "correlation_regimes"):
        assert told[0].get(key) == told[1].get(key)
    assert (model == FILTERED) or told[0]["derived_events"]


def test_a_killed_run_with_value_tables_reads_them_again(config: Path, tmp_path: Path) -> None:
    """American options: killed in the middle of keeping the third of the four tables of the scenarios, then among the chunks; four more are those of the stresses shown. The tables are part of what is sealed; a spoiled one is made again."""
    book, text = tmp_path / "book", config.read_text()
    shutil.copytree(config.parent / "book", book)
    with (book / "instruments.csv").open("a") as file:
        for month, expiry in AMERICAN.items():
            file.write(f"AM-{month},option,BTC,linear,USD,1,{expiry}T08:00:00Z,70000,call,american\n")
    (book / "positions.csv").write_text("account_id,instrument_id,quantity\nA-0,AM-FEB,-1\nA-0,AM-MAR,2\nA-1,AM-APR,-2\nA-1,AM-JUN,1\n")
    run = tmp_path / "run.toml"
    run.write_text(text.replace(str(config.parent / "book"), str(book)))
    done = upm(["run", str(run), "--out", str(tmp_path / "clean"), "--quiet"])
    assert done.returncode == 0, done.stderr
    kept = sorted(p.name for p in (tmp_path / "clean" / "tables").iterdir())
    assert len(kept) == 8 and all(f"  tables/{name}\n" in (tmp_path / "clean" / "SHA256SUMS").read_text() for name in kept)
    for name, kill, left in (("early", EARLY, 2), ("late", LATE, 4)):
        folder = tmp_path / name
        killed = upm(["run", str(run), "--out", str(folder), "--quiet"], kill=kill)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        assert len(list((folder / "tables").glob("*.upm"))) == left
        spoiled = name == "late"
        if spoiled:
            one = min((folder / "tables").glob("*.upm"))
            one.write_bytes(one.read_bytes()[:-8] + bytes(8))
        again = upm(["resume", str(folder)])
        assert again.returncode == 0, again.stderr
        assert ("UPM-RN-051" in again.stderr) == spoiled, again.stderr
        said = next(line for line in map(json.loads, reversed((folder / "run.log.jsonl").read_text().splitlines())) if line.get("event") == "value tables")
        assert (said["read"], said["made"]) == (left - spoiled, 4 - left + spoiled)
        for file in (*PROMISED, *(f"tables/{n}" for n in kept)):
            assert (folder / file).read_bytes() == (tmp_path / "clean" / file).read_bytes(), file
        assert verify_run(folder)["leftovers"] == []
    (tmp_path / "clean" / "tables" / kept[0]).unlink()
    with pytest.raises(IntegrityError, match=f"missing: tables/{kept[0]}"):
        verify_run(tmp_path / "clean")


def test_a_run_is_repeated_from_its_own_folder(clean: Path, tmp_path: Path) -> None:
    """What another machine needs is `inputs/`: the same command on it gives the same bytes."""
    kept = tmp_path / "elsewhere"
    shutil.copytree(clean / "inputs", kept)
    done = upm(["run", str(kept / "config.toml"), "--book", str(kept / "book"), "--market", str(kept / "market"), "--methodology",
                str(kept / "methodology.toml"), "--chunk", "8192", "--out", str(tmp_path / "run"), "--quiet"])
    assert done.returncode in (0, 4), done.stderr
    for name in PROMISED:
        assert (tmp_path / "run" / name).read_bytes() == (clean / name).read_bytes(), name


def test_the_log_of_a_real_run_can_be_shown_to_others(clean: Path) -> None:
    text = (clean / "run.log.jsonl").read_text()
    assert "run finished" in text
    for hidden in ("A-0", "A-1", "BTC-", "100000", str(clean.parent), str(Path.home())):
        assert hidden not in text, hidden
