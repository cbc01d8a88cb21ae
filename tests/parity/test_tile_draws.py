"""Draws and tables that the host computes a tile at a time have the bits of the formula one at a time, on every instruction set.

A run never meets the outermost piece of the quantile (2.8e-11 of all uniforms), so the tile's functions are called on uniforms made for it.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from upm_gpu.backend import cpu

HERE = Path(__file__).resolve().parent
KERNELS = HERE.parents[1] / "kernels"
FLAGS = {"plain": ("-DUPM_VECTOR_BYTES=16",), "avx2": ("-DUPM_VECTOR_BYTES=32", "-mavx2", "-mfma"),
         "avx512": ("-DUPM_VECTOR_BYTES=64", "-mavx512f", "-mavx512dq", "-mavx512vl", "-mavx512bw", "-mavx2", "-mfma")}


@pytest.mark.parametrize("isa", FLAGS)
def test_a_tile_has_the_bits_of_single_draws(isa: str, tmp_path: Path) -> None:
    compiler = shutil.which("g++")
    if compiler is None or isa not in cpu.isas():
        pytest.skip(f"needs g++ and a processor with {isa}")
    program = tmp_path / "driver"
    subprocess.run([compiler, "-std=gnu++17", "-O2", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math", *FLAGS[isa], f"-I{KERNELS}", f"-I{KERNELS / 'host'}",
                    str(HERE / "tile_driver.cpp"), "-o", str(program)], check=True, capture_output=True)
    found = subprocess.run([program], check=True, capture_output=True, text=True).stdout.split()
    assert dict(zip(("uniforms", "quantiles", "extreme quantiles", "tables"), found, strict=True)) == {
        "uniforms": "0", "quantiles": "0", "extreme quantiles": "0", "tables": "0"}
