"""Can the tests fail? Every mutant of mutants/*.toml, applied in a copy of the tree, must be caught by the tests it names.

`pytest -m mutant tests/test_mutants.py` runs them (minutes). That each still fits the source is checked in every run.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted((ROOT / "tests" / "mutants").glob("*.toml"))
MUTANTS = [mutant for file in FILES for mutant in tomllib.loads(file.read_text())["mutant"]]
COPIED = ("upm_gpu", "kernels", "tests", "configs", "pyproject.toml", "CMakeLists.txt")
ENGINE = ("-std=c++17", "-O1", "-fPIC", "-shared", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math", "-DUPM_ISA=upm_plain", "-DUPM_VECTOR_BYTES=16")
"""the plain build alone: a mutant needs no speed"""
FAILED, NONE_SELECTED = 1, 5


def copy_tree(folder: Path) -> None:
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__", "results"))
        else:
            shutil.copy2(source, folder / name)


def build_engine(folder: Path) -> None:
    """The CPU engine of the copy, in the copy."""
    library = folder / "upm_gpu" / "lib" / "libupm_host.so"
    library.parent.mkdir(exist_ok=True)
    library.unlink(missing_ok=True)
    sources = [str(p) for p in sorted((folder / "kernels" / "host").glob("*.cpp"))]
    result = subprocess.run(["g++", *ENGINE, f"-I{folder / 'kernels'}", f"-I{folder / 'kernels' / 'host'}", *sources, "-lpthread", "-o", str(library)],
                            capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[:3000]


def run_tests(folder: Path, tests: list[str], only: str) -> subprocess.CompletedProcess[str]:
    """The named tests in the copy, stopping at the first failure."""
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTEST_ADDOPTS", "PYTEST_CURRENT_TEST")} | {"PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    words = [sys.executable, "-m", "pytest", "-x", "-p", "no:cacheprovider", "-m", "not slow and not mutant and not gpu and not sanitizer", "--tb=line", *tests]
    return subprocess.run([*words, *(["-k", only] if only else [])], cwd=folder, env=environment, capture_output=True, text=True)


def test_mutants_still_fit_the_source() -> None:
    names = [m["name"] for m in MUTANTS]
    assert len(names) == len(set(names))
    wrong = []
    for mutant in MUTANTS:
        found = (ROOT / mutant["file"]).read_text().count(mutant["find"])
        if found != 1 or mutant["find"] == mutant["replace"]:
            wrong.append(f"{mutant['name']}: its text stands {found} times in {mutant['file']}")
        wrong += [f"{mutant['name']}: {test} does not exist" for test in mutant["tests"] if not (ROOT / test).exists()]
    assert not wrong, "; ".join(wrong) + ". Bring tests/mutants/ up to date."


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An unchanged copy, with its own engine where a compiler is."""
    if not shutil.which("g++"):
        pytest.skip("no g++ to build the copies with")
    folder = tmp_path_factory.mktemp("clean")
    copy_tree(folder)
    build_engine(folder)
    return folder


@pytest.mark.mutant
@pytest.mark.parametrize("mutant", MUTANTS, ids=[m["name"] for m in MUTANTS])
def test_mutant_is_caught(mutant: dict, clean: Path, tmp_path: Path) -> None:
    """The named tests pass in the clean copy and fail in the changed one."""
    only = mutant.get("only", "")
    before = run_tests(clean, mutant["tests"], only)
    assert before.returncode == 0, f"the tests do not pass without the mutant:\n{before.stdout[-3000:]}"
    copy_tree(tmp_path)
    path = tmp_path / mutant["file"]
    path.write_text(path.read_text().replace(mutant["find"], mutant["replace"]))
    if mutant.get("build") == "host":
        build_engine(tmp_path)
    else:
        shutil.copytree(clean / "upm_gpu" / "lib", tmp_path / "upm_gpu" / "lib", dirs_exist_ok=True)
    after = run_tests(tmp_path, mutant["tests"], only)
    assert after.returncode == FAILED, f"survived (pytest exit {after.returncode}):\n{after.stdout[-1500:]}"
    assert " failed" in after.stdout, after.stdout[-1500:]
