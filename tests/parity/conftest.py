"""One fixture, `backend`: every way the operations of `backend/contract.py` are carried out on this machine."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from typing import Any

import pytest

from upm_gpu.backend import cpu, reference

ISAS = ("avx512", "avx2", "plain")


@dataclass(frozen=True)
class CpuBackend:
    """The cpu backend held to one instruction set."""

    isa: str
    name: str = "cpu"

    states = staticmethod(cpu.states)
    unit_pnl = staticmethod(cpu.unit_pnl)
    row_pnl = staticmethod(cpu.row_pnl)
    row_tail = staticmethod(cpu.row_tail)
    attribution = staticmethod(cpu.attribution)

    def prepare(self, compiled: Any, rows: Any, precision: Any, threads: int = 2) -> cpu.Prepared:
        return cpu.prepare(compiled, rows, precision, threads, isa=self.isa)

    def values(self, operation: str, columns: dict[str, Any]) -> dict[str, Any]:
        return cpu.values(operation, columns, isa=self.isa)


def cpu_backend(isa: str) -> CpuBackend:
    """The cpu backend, or a skip with its reason: no compiler here, or a processor without the instruction set."""
    runs, code, text = cpu.available()
    if not runs and not any(shutil.which(c) for c in ("c++", "g++", "clang++")):
        pytest.skip(f"{code} {text}")
    assert runs, f"{code} {text}"
    if isa not in cpu.isas():
        pytest.skip(f"this processor or build has no {isa}")
    return CpuBackend(isa)


def cuda_backend(kind: str) -> Any:
    """The CUDA backend on the emulator, or on a device: then a skip where there is none, a failure under UPM_REQUIRE_GPU=1."""
    if kind == "emulated":
        from emulator import build
        from emulator.backend import EmulatedCuda

        if reason := build.unavailable():
            pytest.skip(reason)
        return EmulatedCuda(build.build())
    from upm_gpu.backend import cuda

    runs, code, text = cuda.available()
    if not runs:
        (pytest.fail if os.environ.get("UPM_REQUIRE_GPU") == "1" else pytest.skip)(f"{code} {text}")
    return cuda


@pytest.fixture(scope="session", params=["reference", *(f"cpu-{isa}" for isa in ISAS), "cuda-emulated", pytest.param("cuda-device", marks=pytest.mark.gpu)])
def backend(request: pytest.FixtureRequest) -> Any:
    name, _, kind = request.param.partition("-")
    return reference if name == "reference" else cuda_backend(kind) if name == "cuda" else cpu_backend(kind)
