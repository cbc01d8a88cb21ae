"""The house stands: a room imports only rooms below it, light commands stay light, heavy libraries stay out of the run path."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "upm_gpu"
ORDER = ("errors", "arrays", "rng", "formula", "domain", "market", "scenario", "model", "calibrate", "pricing", "risk", "margin", "run", "report", "backend", "rulebook")
"""rooms from the ground up; files of the package root stand above them all unless they are listed"""
GROUND = {"errors", "shipped", "strict_toml", "compiled_library", "__init__"}
"""root files that rooms may import: the error tree, files that ship with the package, strict TOML, opening the compiled library"""


def rooms_imported(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{a.name}" if node.module == "upm_gpu" else node.module for a in node.names]
        elif isinstance(node, ast.Import):
            names = [a.name for a in node.names]
        found |= {n.split(".")[1] for n in names if n.startswith("upm_gpu.")}
    return {r for r in found if (PACKAGE / r).is_dir() or (PACKAGE / f"{r}.py").is_file()}


def test_a_room_imports_only_rooms_below_it():
    wrong = []
    for place, room in enumerate(ORDER):
        for path in sorted((PACKAGE / room).rglob("*.py")) if (PACKAGE / room).is_dir() else []:
            above = rooms_imported(path) - set(ORDER[: place + 1]) - GROUND
            wrong += [f"{path.relative_to(PACKAGE)} imports {name}" for name in sorted(above)]
    assert not wrong


def test_the_engine_knows_no_guest():
    assert not rooms_imported(PACKAGE / "engine.py") & {"backtest", "campaign", "desk", "distributed", "generate", "service", "report"}


@pytest.mark.parametrize(("code", "forbidden"), [
    ("import upm_gpu", {"numpy", "pandas", "typer"}),
    ("import upm_gpu.cli", {"numpy", "pandas", "pydantic", "rich.console"}),
    ("import upm_gpu.backend.cuda, upm_gpu.engine", {"plotly", "duckdb", "arch", "cupy", "scipy.stats", "jax"}),
])
def test_imports_stay_light(code, forbidden):
    shown = subprocess.run([sys.executable, "-c", f"{code}\nimport sys; print(' '.join(sys.modules))"], capture_output=True, text=True, check=True)
    assert not forbidden & set(shown.stdout.split())


@pytest.mark.parametrize(("library", "place"), [("cupy", "backend/cuda/device.py"), ("jax", "calibrate/automatic/library.py")])
def test_only_one_file_imports_a_device_library(library, place):
    users = [p.relative_to(PACKAGE).as_posix() for p in PACKAGE.rglob("*.py")
             for node in ast.walk(ast.parse(p.read_text()))
             if (isinstance(node, ast.Import) and any(a.name.split(".")[0] == library for a in node.names))
             or (isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == library)]
    assert set(users) <= {place}
