"""The tree is clean under the checkers that pyproject.toml configures."""

from __future__ import annotations

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
