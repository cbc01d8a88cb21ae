"""The tree is clean under the checkers that pyproject.toml configures."""

from __future__ import annotations

import ast
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("checker", [("ruff", "check", "--quiet", "."), ("mypy", "--no-error-summary")], ids=lambda words: words[0])
def test_the_tree_is_clean(checker: tuple[str, ...]) -> None:
    if importlib.util.find_spec(checker[0]) is None:
        pytest.skip(f"{checker[0]} is not installed")
    found = subprocess.run([sys.executable, "-m", *checker], cwd=ROOT, capture_output=True, text=True)
    assert found.returncode == 0, found.stdout + found.stderr


def test_every_public_name_says_what_it_is() -> None:
    """Functions and classes of the package; the methods of a class may leave it to the protocol they fulfil."""
    bare = [f"{path.name}: {node.name}" for path in sorted((ROOT / "upm_gpu").rglob("*.py")) for node in ast.parse(path.read_text()).body
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_") and not ast.get_docstring(node)]
    assert not bare
