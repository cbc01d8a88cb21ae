"""The lists in the documents are whole, and what they point at is there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_every_decision_is_in_the_index() -> None:
    folder = ROOT / "docs" / "design"
    index = (folder / "README.md").read_text()
    assert not [p.name for p in folder.glob("*.md") if p.name != "README.md" and f"({p.name})" not in index]
    assert not [link for link in re.findall(r"\]\(([^)#]+)\)", index) if not (folder / link).exists()]


def test_every_kernel_is_in_the_table_with_tests_that_exist() -> None:
    folder = ROOT / "kernels"
    text = (folder / "README.md").read_text()
    files = [p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.suffix in (".cu", ".cuh", ".def", ".h", ".cpp")]
    assert not [name for name in files if f"`{name}`" not in text]
    named = set(re.findall(r"`((?:host/)?[a-z_]+\.(?:cuh?|def|h|cpp))`", text))
    assert not named - set(files)
    tests = {name for line in text.splitlines() if line.startswith("|") for name in re.findall(r"`([a-z_]+/(?:test_[a-z_]+\.py)?)`", line.split("|")[-2])}
    assert tests and not [name for name in tests if not (ROOT / "tests" / name).exists()]
    twins = {name for line in text.splitlines() if line.startswith("|") for name in re.findall(r"`([a-z_]+/[a-z_/]*(?:\.py)?)`", line.split("|")[3])}
    assert twins and not [name for name in twins if not (ROOT / "upm_gpu" / name).exists()]
