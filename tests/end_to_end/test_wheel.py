"""What is installed is what runs: the source distribution, the wheel made from it, and the wheel of a machine without a compiler.

Everything runs from an empty folder with only the installed package and the libraries on the import path, so that a file that
the wheel lacks is missed here and not by a user.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from command_line import Said, environment, small_run

ROOT = Path(__file__).parents[2]
SAMPLE = ("book/collateral.csv", "book/instruments.csv", "book/positions.csv.gz", "market/forwards.csv", "market/history.csv.gz", "market/implied_vols.csv",
          "market/spots.csv", "next_day/forwards.csv", "next_day/implied_vols.csv", "next_day/settlements.csv", "next_day/spots.csv", "README.md")


def quiet(command: list[object], cwd: Path, **changes: str) -> str:
    done = subprocess.run([str(c) for c in command], cwd=cwd, env=environment(PIP_NO_INDEX="1", PIP_DISABLE_PIP_VERSION_CHECK="1", PYTHONPATH=None, **changes),
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout[-4000:]
    return done.stdout


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unpacked source distribution."""
    folder = tmp_path_factory.mktemp("sdist")
    quiet([sys.executable, "-c", f"import scikit_build_core.build as b; b.build_sdist({str(folder)!r})"], ROOT)
    (archive,) = folder.glob("*.tar.gz")
    with tarfile.open(archive) as packed:
        packed.extractall(folder, filter="data")
    return next(p for p in folder.iterdir() if p.is_dir())


def make_wheel(sources: Path, folder: Path, **changes: str) -> Path:
    quiet([sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-cache-dir", "-w", folder, "."], sources, **changes)
    (wheel,) = folder.glob("*.whl")
    return wheel


def install(wheel: Path, folder: Path) -> Path:
    quiet([sys.executable, "-m", "pip", "install", "--no-deps", "--target", folder, wheel], folder.parent)
    return folder


@pytest.fixture(scope="module")
def wheel(sources: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_wheel(sources, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install(wheel, tmp_path_factory.mktemp("installed") / "target")


@pytest.fixture(scope="module")
def plain_wheel(sources: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel where no compiler works."""
    return make_wheel(sources, tmp_path_factory.mktemp("plain_wheel"), CC="/bin/false", CXX="/bin/false")


@pytest.fixture(scope="module")
def plain(plain_wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install(plain_wheel, tmp_path_factory.mktemp("plain") / "target")


def python(target: Path, cwd: Path, *arguments: object) -> Said:
    """Python with `target` and the libraries on its path, path files (editable installs) not read."""
    libraries = dict.fromkeys([sysconfig.get_paths()["purelib"], sysconfig.get_paths()["platlib"]])
    env = environment(PYTHONPATH=os.pathsep.join([str(target), *libraries]))
    done = subprocess.run([sys.executable, "-S", *map(str, arguments)], cwd=cwd, env=env, capture_output=True, text=True, timeout=300)
    assert "Traceback" not in done.stderr, done.stderr
    return Said(done.returncode, done.stdout, done.stderr)


def test_the_source_distribution_is_whole(sources: Path) -> None:
    """Sources, kernels, configurations, sample and tests; nothing that a build or a run left in the tree."""
    for name in ("pyproject.toml", "CMakeLists.txt", "README.md", "CHANGELOG.md", "kernels/platform.cuh", "kernels/host/api.cpp", "configs/quickstart.toml",
                 "upm_gpu/sample/crypto/README.md", "tests/end_to_end/test_wheel.py", "notebooks/from_chain_to_margin.ipynb"):
        assert (sources / name).is_file(), name
    names = [p.relative_to(sources).as_posix() for p in sources.rglob("*")]
    assert not [n for n in names if "__pycache__" in n or n.endswith((".so", ".pyc")) or n.split("/")[0] in ("runs", "build", ".venv", ".git")]


def test_the_wheel_holds_everything(wheel: Path, sources: Path) -> None:
    """One wheel for every Python 3 on this platform, with library, kernels, configurations and sample."""
    assert wheel.name.split("-", 2)[2].startswith("py3-none-") and not wheel.name.endswith("-any.whl")
    with zipfile.ZipFile(wheel) as packed:
        names = set(packed.namelist())
        assert packed.testzip() is None
        assert b"upm = upm_gpu.__main__:main" in packed.read(next(n for n in names if n.endswith("entry_points.txt")))
    wanted = {"upm_gpu/lib/libupm_host.so", "upm_gpu/py.typed", "upm_gpu/report/report.html.j2", *(f"upm_gpu/sample/crypto/{n}" for n in SAMPLE)}
    for room in ("kernels", "configs"):
        wanted |= {f"upm_gpu/{p.relative_to(sources).as_posix()}" for p in (sources / room).rglob("*") if p.is_file()}
    wanted |= {p.relative_to(sources).as_posix() for p in (sources / "upm_gpu").rglob("*.py")}
    assert not wanted - names
    assert not [n for n in names if n.startswith(("tests/", "benchmarks/", "upm_gpu/tests"))]
    assert wheel.stat().st_size < 5_000_000


def test_the_installed_package_runs_the_sample_from_an_empty_folder(installed: Path, tmp_path: Path) -> None:
    where = python(installed, tmp_path, "-c", "import upm_gpu; from upm_gpu.shipped import package_file\n"
                   "from upm_gpu.backend.cpu.library import library_path\n"
                   "print(upm_gpu.__file__, package_file('kernels'), package_file('configs'), package_file('sample/crypto'), library_path(), sep='\\n')")
    assert all(line.startswith(f"{installed}{os.sep}upm_gpu{os.sep}") for line in where.out.splitlines()) and len(where.out.splitlines()) == 5, where
    said = python(installed, tmp_path, "-m", "upm_gpu", "run", "configs/quickstart.toml", "--paths", "4096", "--device", "cpu", "--out", "run", "--json")
    assert said.code in (0, 4), said
    summary = json.loads(said.out)
    assert (summary["accounts"], summary["run"]) == (2000, "run")
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert manifest["kernels_sha256"] and manifest["backend"] == "cpu"
    assert (tmp_path / "run" / "report.html").stat().st_size > 100_000
    assert python(installed, tmp_path, "-m", "upm_gpu", "verify", "run").code == 0
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


def test_without_a_compiler_the_install_is_pure_python(plain_wheel: Path) -> None:
    assert plain_wheel.name.endswith("-py3-none-any.whl")
    with zipfile.ZipFile(plain_wheel) as packed:
        names = packed.namelist()
    assert "upm_gpu/kernels/platform.cuh" in names and "upm_gpu/configs/quickstart.toml" in names
    assert not [n for n in names if n.endswith(".so")]


def test_without_a_compiler_the_reference_runs_and_everyone_is_told(plain: Path, installed: Path, tmp_path: Path) -> None:
    """One warning line, the doctor and the manifest name the reason; the margins are those of the compiled engine."""
    run = ("-m", "upm_gpu", "run", small_run(tmp_path / "in") / "run.toml", "--precision", "double")
    said = python(plain, tmp_path, *run, "--out", "reference")
    assert said.code == 0, said
    told = [line for line in said.err.splitlines() if "UPM-DV" in line]
    assert len(told) == 1 and told[0].startswith("UPM-DV-098 ") and "UPM-DV-010" in told[0] and "pure-Python install" in told[0], said.err
    manifest = json.loads((tmp_path / "reference" / "manifest.json").read_text())
    assert manifest["backend"] == "reference" and "UPM-DV-010" in manifest["device_reason"] and told[0] in manifest["warnings"]
    found = json.loads(python(plain, tmp_path, "-m", "upm_gpu", "doctor", "--json").out)
    assert found["default_device"] == "reference"
    assert (found["backends"]["cpu"]["runs"], found["backends"]["cpu"]["code"]) == (False, "UPM-DV-010")
    assert "Install a C++ compiler" in " ".join(python(plain, tmp_path, "-m", "upm_gpu", "doctor").out.split())
    python(plain, tmp_path, *run, "--device", "cpu", "--out", "cpu").refused(7, "UPM-DV-010", "--device reference")
    assert python(installed, tmp_path, *run, "--device", "cpu", "--out", "cpu").code == 0
    slow, quick = (pd.read_csv(tmp_path / name / "margin.csv")["initial_margin"].to_numpy() for name in ("reference", "cpu"))
    assert np.abs(slow - quick).max() <= 1e-10 * np.abs(quick).max()
