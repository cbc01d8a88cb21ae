"""The loops that carry the engine's time are vectorised: a small inner loop or a call would stop GCC without a word.

Asked of the compiler's own report rather than of a clock, so that it holds on a busy machine.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TILE = ROOT / "kernels" / "host" / "tile.cpp"
FLAGS = ("-std=c++17", "-O3", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math", "-fPIC", "-mavx2", "-mfma", "-DUPM_ISA=tested",
         "-DUPM_VECTOR_BYTES=32", f"-I{TILE.parents[1]}", f"-I{TILE.parent}")


def test_marked_loops_are_vectorised(tmp_path: Path) -> None:
    compiler = shutil.which("g++")
    if compiler is None or "x86_64" not in subprocess.run([compiler, "-dumpmachine"], capture_output=True, text=True, check=True).stdout:
        pytest.skip("needs GCC for x86-64, whose vectorisation report is read")
    marked = {(path.name, n) for path in (TILE, *TILE.parent.glob("*.inc")) for n, line in enumerate(path.read_text().splitlines(), 1)
              if line.rstrip().endswith("// vectorised")}
    assert len(marked) >= 9
    report = subprocess.run([compiler, *FLAGS, "-fopt-info-vec-optimized", "-c", str(TILE), "-o", str(tmp_path / "tile.o")], capture_output=True, text=True, check=True)
    done = {(name, int(n)) for name, n in re.findall(r"(\w+\.(?:cpp|inc)):(\d+):\d+: optimized: loop vectorized using 32 byte vectors", report.stderr)}
    assert marked <= done, f"lines {sorted(marked - done)} run one scenario at a time"


def test_build_flags_are_those_of_the_wheel() -> None:
    """No contraction, no fast math: the promise of equal bits hangs on these."""
    text = (ROOT / "CMakeLists.txt").read_text()
    assert all(flag in text for flag in FLAGS[2:5])
    assert not re.search(r"-f(?!no-|p-contract|visibility)\S*(fast|unsafe|associative|reciprocal)|-Ofast|-march=native", text.split("set(UPM_FLAGS")[1])
